/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake core around a broker: one or two real brokers with real partitions over a file system in
 * memory, helpers and devices that can be held back, a control thread that keeps what it is asked, and
 * clients that are ropes of bytes. Time moves only when a test says so.
 *
 * Topic "t", and __consumer_offsets where a test wants groups; partition i is at home on core i % cores. Sessions live on core 0.
 */
#ifndef TIDEMARK_TESTS_BROKER_WORLD_H
#define TIDEMARK_TESTS_BROKER_WORLD_H

#include "broker/internal.h"
#include "fail_pool.h"
#include "memory_fs.h"
#include "tidemark/bytes.h"
#include "unit.h"

enum { BW_CORES = 2, BW_PARTITIONS = 4, BW_OPS = 256, BW_EPOCH = 3 };

struct bw_core {
    struct broker *broker;
    struct log_core *log_core;
    struct tide_counters counters;
    struct tide_out out;
    struct disk_op ops[BW_OPS]; /* submitted */
    unsigned op_count;
    struct tide_job *jobs[BW_OPS];
    unsigned job_count;
};

struct broker_world {
    struct memory_fs *disk;
    struct tide_settings settings;
    struct post_office *office;
    struct tide_publication publication;
    struct trace trace;
    struct tide_view view;
    struct view_broker view_broker;
    struct view_topic topics[2]; /* sorted by name: with groups their topic comes first */
    struct view_partition partitions[2 * BW_PARTITIONS]; /* of "t", and of groups; by slot */
    uint32_t partition_count;
    int32_t replicas[1];
    uint32_t by_name[16], by_id[16];
    struct bw_core cores[BW_CORES];
    uint32_t core_count;
    struct tide_mail orders[2 * BW_PARTITIONS];
    struct tide_mail *asks[64]; /* letters that control was sent and has not answered */
    unsigned ask_count;
    struct tide_time time;
    bool hold_disk, hold_jobs; /* completions wait */
    enum job_kind hold_kind;   /* those of such jobs; 0: none */
    bool receive_low;
    uint64_t stamp_ns; /* what clients send says that it arrived then; 0: nothing */
    int64_t disk_error; /* every operation of the disk ends with it */
    unsigned before[2]; /* what the pools had */
};

struct bw_client {
    struct broker_world *w;
    struct session *s;
    struct tide_rope in; /* what the broker sent */
    uint64_t taken;      /* bytes of it */
    uint64_t credit;
    bool slow;           /* takes nothing of the output */
    bool closed, aborted;
};

extern int64_t bw_append_times[8]; /* of the partitions of the last bw_produced */
extern struct rte_mempool *bw_request_pool, *bw_response_pool, *bw_client_pool;

void bw_init(struct broker_world *, uint32_t cores);
/* With partitions of __consumer_offsets that are led; the view has the topic from bw_show_groups() on. */
void bw_init_groups(struct broker_world *, uint32_t cores);
void bw_show_groups(struct broker_world *);
/* Control says who leads. */
void bw_become(struct broker_world *, uint32_t slot, int32_t leader, int32_t leader_epoch);
/* Ends everything; nothing may be missing anywhere. */
void bw_deinit(struct broker_world *);
/* One turn of every core. True when something happened. */
bool bw_turn(struct broker_world *);
/* Turns until nothing happens any more. */
void bw_pump(struct broker_world *);
/* A first append waits until a helper has zeroed space for it: not for any partition from now on. */
void bw_zero_space(struct broker_world *);
/* Time passes; turns. */
void bw_pass(struct broker_world *, uint64_t ms);
uint64_t bw_count(const struct broker_world *, enum tide_counter); /* over all cores */

void bw_connect(struct broker_world *, struct bw_client *);
void bw_disconnect(struct bw_client *);
void bw_send_bytes(struct bw_client *, const void *bytes, size_t len);
void bw_send_cut(struct bw_client *, const void *bytes, size_t len, size_t cut); /* a packet ends there */
/* What the session wants is done, as the core does after each event. */
void bw_serve(struct bw_client *);

/* Requests as bytes; the length. */
size_t bw_produce(uint8_t *to, int32_t correlation, int16_t acks, int32_t timeout_ms, const int32_t *partitions, unsigned count,
                  uint32_t value_bytes);
struct bw_fetch {
    int32_t max_wait_ms, min_bytes, max_bytes, partition_max_bytes;
    int64_t offset;
    int32_t partitions[BW_PARTITIONS];
    unsigned count;
};
size_t bw_fetch(uint8_t *to, int32_t correlation, const struct bw_fetch *);
size_t bw_api_versions(uint8_t *to, int32_t correlation);
/* Any header, and `len` bytes of body. */
size_t bw_raw(uint8_t *to, int16_t key, int16_t version, int32_t correlation, const void *body, size_t len);

/* The next response: its correlation id, the cursor at its body. False when there is none. The body
 * stays readable until the next call. */
bool bw_next(struct bw_client *, int32_t *ret_correlation, struct wire_cursor *ret);
/* The next response is that of a produce with this correlation; its errors and base offsets. */
void bw_produced(struct bw_client *, int32_t correlation, int16_t *errors, int64_t *bases, unsigned count);
/* ... of a fetch; the error, high watermark and bytes of records of each partition. */
struct bw_fetched {
    int16_t error;
    int64_t high_watermark;
    uint32_t bytes;
    int64_t first, last; /* offsets of the records, -1 none */
};
void bw_fetched(struct bw_client *, int32_t correlation, struct bw_fetched *, unsigned count);
/* A fetch of any version, of one topic: by name "t", or its id. */
struct bw_ask {
    int16_t version;
    int32_t session_id, session_epoch;
    int32_t max_wait_ms, min_bytes, max_bytes; /* max_bytes 0: plenty */
    const char *rack;
    bool read_committed;
    unsigned count, forget_count;
    struct {
        int32_t partition;
        int64_t offset;
        int32_t max_bytes; /* 0: plenty */
        int32_t leader_epoch, last_epoch; /* 0: not said */
    } what[BW_PARTITIONS];
    int32_t forget[BW_PARTITIONS];
};
size_t bw_ask(uint8_t *to, int32_t correlation, const struct bw_ask *);
struct bw_answer {
    int16_t error;
    int32_t session_id;
    unsigned topics, count;
    struct bw_told {
        int32_t partition;
        int16_t error;
        int64_t high_watermark, last_stable_offset, log_start;
        int32_t preferred, diverging_epoch, leader;
        int64_t diverging_end;
        uint32_t bytes;
        int64_t first, last;
    } told[2 * BW_PARTITIONS];
};
void bw_answer(struct bw_client *, int32_t correlation, int16_t version, struct bw_answer *);
/* Nothing has come. */
void bw_silent(struct bw_client *);

#endif
