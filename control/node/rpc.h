/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between brokers on the management network, as bytes.
 *
 * A frame: u32 length of what follows, u32 CRC32C of what follows that, u8 version, u8 kind, u16 zero,
 * i32 sender, i32 receiver, 16 bytes cluster id, 16 bytes incarnation of the sender, body. Everything
 * little-endian. A frame of a version that is not ours, of another cluster or for another receiver, or
 * with a byte too many, closes the connection.
 *
 * A connection belongs to who opened it: it carries HELLO first, then its requests and Raft messages; the
 * other end sends on it HELLO_REPLY and its answers, nothing else (rpc_is_answer).
 *
 * Pure; whoever calls owns the memory. What decoding finds in variable length points into the frame.
 */
#ifndef TIDEMARK_CONTROL_NODE_RPC_H
#define TIDEMARK_CONTROL_NODE_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/health.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum rpc_limit {
    RPC_VERSION = 1,
    RPC_HELLO_VERSION = 1,        /* of HELLO and its answer: stays, so that releases that share no version can tell each other */
    RPC_HEADER = 52,              /* before the body */
    RPC_HELLO_FRAME_MAX = 256,    /* nobody who is unknown sends more */
    RPC_FRAME_MAX = 5 << 20, /* a message of the quorum is 4 MiB at most */
    RPC_ENTRIES_BYTES = 256 << 10, /* of commands in one answer, unless a single one is larger */
    RPC_CHUNK_BYTES = 256 << 10,  /* of a snapshot */
    RPC_REASON_MAX = 160,
};

enum rpc_kind {
    RPC_HELLO = 1,
    RPC_HELLO_REPLY,
    RPC_RAFT,
    RPC_SUBMIT,
    RPC_SUBMIT_REPLY,
    RPC_HEARTBEAT,
    RPC_HEARTBEAT_REPLY,
    RPC_PULL,
    RPC_ENTRIES,
    RPC_CHUNK,
    RPC_PROBE,
    RPC_PROBE_REPLY,
    RPC_KIND_COUNT
};

/* First frame of a connection. */
struct rpc_hello {
    uint8_t version_min; /* of frames that the sender understands */
    uint8_t version_max;
    bool voter; /* it is to be one by its settings */
    bool fresh; /* it has no log of the quorum yet */
};

enum rpc_hello_result {
    RPC_WELCOME,
    RPC_ID_IN_USE,
    RPC_VERSION_UNKNOWN,
    RPC_CLUSTER_UNKNOWN,
    RPC_NOT_HERE,  /* this is another broker than the one that was called */
    RPC_LOST_LOG,  /* a voter that was here before comes without its log */
    RPC_HELLO_RESULT_COUNT
};

struct rpc_hello_reply {
    enum rpc_hello_result result;
    char reason[RPC_REASON_MAX];
};

struct rpc_bytes {
    const uint8_t *at;
    size_t len;
};

/* A command for the controller, as the state machine encodes it. */
struct rpc_submit {
    uint64_t requester;
    uint64_t sequence;
    struct rpc_bytes command;
};

enum rpc_submit_result {
    RPC_TAKEN,          /* it is in the controller's log; the sender sees it when it is applied */
    RPC_NOT_CONTROLLER, /* no effect */
    RPC_BUSY,           /* no effect; later */
    RPC_MALFORMED,      /* no effect, never */
    RPC_SUBMIT_RESULT_COUNT
};

struct rpc_submit_reply {
    uint64_t requester;
    uint64_t sequence;
    enum rpc_submit_result result;
    int32_t controller; /* as far as known; -1 */
};

struct rpc_heartbeat {
    uint64_t number; /* grows; the answer names it */
    int64_t epoch;   /* of the sender's registration */
    uint64_t version; /* metadata that all its cores have acted on */
    bool wants_fenced;
    bool wants_shutdown;
    struct node_health health;
};

struct rpc_heartbeat_reply {
    uint64_t number;
    int16_t error; /* Kafka's: 0, STALE_BROKER_EPOCH, NOT_CONTROLLER */
    bool fenced;
    bool may_stop;
    int32_t controller; /* as far as known; -1 */
};

/* Committed commands from `from` on, or a snapshot from byte `offset` on. */
struct rpc_pull {
    uint64_t from;           /* index */
    uint64_t snapshot_index; /* that is being fetched; 0: none */
    uint64_t offset;
};

struct rpc_entries {
    uint64_t first; /* index of the first; what was asked for */
    uint64_t end;   /* one above the last that the sender has applied */
    int32_t controller;
    uint64_t term;
    uint32_t count;
    struct rpc_bytes list; /* {u32 length, bytes} each; an empty one is no command but has its index */
};

struct rpc_chunk {
    uint64_t index; /* that the snapshot stands for */
    uint64_t total;
    uint64_t offset;
    int32_t controller;
    uint64_t term;
    struct rpc_bytes bytes;
};

/* "Are you in my term?" Token: the asker's clock. */
struct rpc_probe {
    uint64_t token;
    uint64_t term;
};

struct rpc_message {
    enum rpc_kind kind;
    int32_t sender;
    int32_t receiver; /* -1 in a HELLO: whoever answers here */
    struct tide_uuid cluster;
    struct tide_uuid incarnation;
    union {
        struct rpc_hello hello;
        struct rpc_hello_reply hello_reply;
        struct rpc_bytes raft;
        struct rpc_submit submit;
        struct rpc_submit_reply submit_reply;
        struct rpc_heartbeat heartbeat;
        struct rpc_heartbeat_reply heartbeat_reply;
        struct rpc_pull pull;
        struct rpc_entries entries;
        struct rpc_chunk chunk;
        struct rpc_probe probe; /* and its reply: the answerer's term */
    };
};

/* Bytes that rpc_encode needs at most. */
size_t rpc_size_max(const struct rpc_message *);
/* Length of the frame; the buffer has rpc_size_max. */
size_t rpc_encode(const struct rpc_message *, uint8_t *to);

/* How long the frame is that begins here. TIDE_AGAIN: fewer bytes than say it; TIDE_BAD: no frame is so
 * long, or so short. */
TIDE_MUST_USE enum tide_status rpc_frame_len(const uint8_t *bytes, size_t have, size_t frame_max, size_t *ret_len);
/* A whole frame. TIDE_BAD: it is none of ours. */
TIDE_MUST_USE enum tide_status rpc_decode(const uint8_t *frame, size_t len, struct rpc_message *ret);

/* Sent by the end that did not open the connection. */
bool rpc_is_answer(enum rpc_kind);

/* Appends one entry to a list of ENTRIES; `to` has room for 4 + len. The new length. */
size_t rpc_entry_put(uint8_t *to, size_t at, const uint8_t *bytes, size_t len);
/* The next entry of a list that rpc_decode has found good. */
bool rpc_entry_next(struct rpc_bytes *list, struct rpc_bytes *ret);

#endif
