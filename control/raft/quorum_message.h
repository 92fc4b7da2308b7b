/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The six messages of Raft as bytes between voters. Little-endian, one version:
 *
 *      u32 length of everything   u32 CRC32C of what follows   u16 version   u16 type   u32 zero
 *      16 bytes cluster id   i32 sender   i32 receiver   u64 term   fields of the type
 *
 * A snapshot travels in pieces, so that no length from the wire asks for memory that was not sent:
 * the first carries the membership, each says how much there is in all and where it belongs.
 *
 * Reading checks everything that the library trusts. What it does not like is TIDE_BAD, and the
 * connection is to be closed: a peer of the same cluster does not send such bytes.
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_MESSAGE_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_MESSAGE_H

#include <raft.h>

#include "raft/quorum.h"

enum {
    QUORUM_MESSAGE_VERSION = 1,
    QUORUM_MESSAGE_HEAD = 48,
    QUORUM_MESSAGE_ENTRY_HEAD = 16,
    QUORUM_MESSAGE_ENTRIES_BYTES = 1 << 20, /* of one message; a single entry may be longer */
};

/* Who talks to whom. */
struct quorum_ends {
    struct tide_uuid cluster_id;
    int32_t sender;
    int32_t receiver;
};

struct quorum_piece {
    uint64_t index;
    uint64_t term; /* of the entry at `index` */
    uint64_t members_index;
    uint64_t total;
    uint64_t offset;
    uint32_t members_len; /* 0 but in the piece at offset 0 */
    uint32_t len;
    const uint8_t *members;
    const uint8_t *bytes;
};

/* The message, in memory of its own; the caller frees ret->bytes. An AppendEntries takes its entries
 * from `entries`, with indices from prev_log_index + 1 on; an InstallSnapshot is a piece. */
void quorum_message_write(const struct quorum_ends *, const struct raft_message *, const struct quorum_entry *entries,
                          const struct quorum_piece *, struct quorum_message *ret);

/*
 * `ret` for the library: the entries of an AppendEntries are in one array of raft_malloc, their bytes
 * in one block of raft_malloc that is the batch of each. An InstallSnapshot is in *ret_piece, borrowed
 * from the bytes. Nothing is allocated when the answer is not TIDE_OK.
 */
TIDE_MUST_USE enum tide_status quorum_message_read(const struct quorum_ends *, const void *bytes, size_t len, struct raft_message *ret,
                                                   struct quorum_piece *ret_piece);

#endif
