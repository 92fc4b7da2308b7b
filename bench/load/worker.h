/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread of a load: its part of the schedule, its producers and consumers. Without I/O of its own (transport.h).
 *
 * A request is due when the schedule says so, whatever became of the ones before. It waits when its producer has no leader, too
 * many in flight, or no room; it is sent again when its connection is lost or it is refused for a while. Its latency counts from
 * the moment it was due to the answer, and one that never gets an answer counts with the time it has waited at the end.
 * A sample is a request; its records are due together.
 *
 *   IDLE -> CONNECTING -> ASKING (producer id, or where to begin) -> READY, and from each of them back to IDLE when the
 *   connection is lost. worker.c has the table.
 *
 * Timers, looked at every LOAD_SWEEP_NS: the pause before something is tried again (retry.ms), an answer that does not come
 * (request.timeout.ms; a second for a connection and for control's questions), questions for metadata while somebody has no
 * leader or waits for an answer for LOAD_STALE_NS.
 *
 * Owner: its thread; the result is read when that has ended.
 *
 * Invariants (load_worker_check):
 *   L1  every request is free, waiting, or in flight.
 *   L2  in flight only on a READY connection, at most in.flight.max, in the order of their correlation ids.
 *   L3  waiting and in flight ascend by number.
 */
#ifndef TIDEMARK_BENCH_LOAD_WORKER_H
#define TIDEMARK_BENCH_LOAD_WORKER_H

#include "bench/load/content.h"
#include "bench/load/hist.h"
#include "bench/load/options.h"
#include "bench/load/proto.h"
#include "bench/load/schedule.h"
#include "bench/load/transport.h"

enum { LOAD_ADDRESSES_MAX = 16, LOAD_ERROR_CODES = 160, LOAD_FRAME_MAX = 64 << 20 };
#define LOAD_SWEEP_NS (1 * TIDE_NS_PER_MS)
#define LOAD_STALE_NS (500 * TIDE_NS_PER_MS)

/* Whole run, requests unless it says otherwise. */
#define LOAD_COUNTERS(X)                                               \
    X(due, "that the schedule asked for")                              \
    X(late, "noticed later than lag.us after they were due")           \
    X(not_sent, "found no room (outstanding.max) or time")             \
    X(sent, "sent for the first time")                                 \
    X(resent, "sent again")                                            \
    X(acked, "acknowledged; with acks=0 handed over")                  \
    X(failed, "refused for good")                                      \
    X(unanswered, "without an answer at the end")                      \
    X(connects, "connections made")                                    \
    X(lost, "connections lost in the run")                             \
    X(timeouts, "connections given up because an answer did not come") \
    X(malformed, "answers that make no sense")                         \
    X(fetches, "fetches answered")                                     \
    X(records, "records read")                                         \
    X(bytes, "bytes of record batches read")                           \
    X(duplicates, "records read twice")                                \
    X(disorder, "batches read behind a later one of their producer")   \
    X(damaged, "records that are not as they were sent")               \
    X(foreign, "records of others")                                    \
    X(missing, "batches acknowledged and never read")

struct load_interval {
    uint64_t due, sent, acked, read, errors; /* in this interval; `read` batches */
    uint64_t lag_max_ns, waiting_max;
    struct load_hist produce, e2e; /* of what was due in it */
};

struct load_result {
#define X(name, help) uint64_t name;
    LOAD_COUNTERS(X)
#undef X
    uint64_t errors[LOAD_ERROR_CODES]; /* answers by code, from -1 on; those that were tried again, too */
    uint64_t measured_due, measured_acked; /* after the warm-up; acknowledged before the schedule's end */
    uint64_t backlog;                      /* due and not answered when the schedule ended */
    uint64_t waiting_max;
    struct load_hist produce, e2e, lag, queue; /* after the warm-up; queue: from due to sent for the first time */
    unsigned interval_count;
    uint64_t interval_ns;
    struct load_interval *intervals;
};
bool load_result_init(struct load_result *, const struct load_options *);
void load_result_deinit(struct load_result *);
void load_result_merge(struct load_result *, const struct load_result *from);
/* Where something counts that is so far from the start; the last one takes all that is later. */
struct load_interval *load_result_interval(struct load_result *, uint64_t from_start_ns);

struct load_request {
    struct load_request *next;
    uint64_t number;      /* of its producer */
    uint64_t intended_ns; /* from the start of the run */
    uint64_t sent_ns;     /* last; 0: not yet */
    int32_t correlation;
};
struct load_queue {
    struct load_request *head, *tail;
    uint64_t count;
};

enum load_role { LOAD_CONTROL, LOAD_PRODUCER, LOAD_CONSUMER };
enum client_state { CLIENT_IDLE, CLIENT_CONNECTING, CLIENT_ASKING, CLIENT_READY, CLIENT_STATE_COUNT };

struct load_client {
    enum load_role role;
    enum client_state state;
    uint32_t line;
    uint32_t partition;
    int32_t leader; /* whom it is connected to */
    int32_t correlation;
    struct tide_rope in;
    uint64_t again_ns; /* nothing is tried before */
    uint64_t lost_ns;  /* metadata that is older is not believed */
    uint64_t asked_ns; /* 0: nothing is asked (requests in flight stand in `flight`) */
    int16_t asked_api;
    /* producer */
    uint32_t producer;
    bool retrying; /* something refused waits: nothing is sent before all in flight is answered */
    int64_t producer_id;
    int16_t producer_epoch;
    uint64_t next_number;
    struct load_queue waiting, flight;
    struct content_fate fate;
    /* consumer */
    int64_t offset; /* -1: not known */
};

struct load_worker {
    const struct load_options *options;
    struct load_transport *transport;
    struct proto_topic topic;
    unsigned index, workers;
    struct load_address bootstrap[LOAD_ADDRESSES_MAX];
    unsigned bootstrap_count;

    uint64_t now_ns;
    uint64_t sweep_ns;
    uint64_t start_ns; /* 0: not started */
    int64_t start_wall_ms;
    uint64_t warmup_ns, end_ns; /* from the start */
    struct load_schedule schedule;
    bool schedule_over;

    struct proto_versions versions;
    bool versions_known;
    bool create_asked;
    unsigned address_at; /* next for control */
    uint64_t metadata_ns; /* when the last answer came; 0: never */
    bool metadata_wanted;
    struct proto_metadata *metadata;
    struct load_address addresses[PROTO_BROKERS_MAX]; /* of metadata->brokers; port 0: not found */
    char hosts[PROTO_BROKERS_MAX][PROTO_HOST_MAX];    /* whose those are */

    uint32_t client_count, producer_count;
    struct load_client *clients; /* control, then producers, then consumers */
    uint32_t *client_of_producer; /* by number; 0: not ours */
    struct load_request *requests, *free;
    uint64_t request_count, waiting, in_flight;
    struct content content;
    uint8_t *scratch; /* a fetched answer in one piece: LOAD_FRAME_MAX, of which only what came is touched */

    struct load_result result;
    char error[LOAD_ERROR_MAX]; /* setup has failed */
};

/* Lines that worker `index` of `workers` needs. */
uint32_t load_worker_lines(const struct load_options *, unsigned index, unsigned workers);
/* False: no memory, or error says. `run` is the same for all workers of a run, and of no other run. */
bool load_worker_init(struct load_worker *, const struct load_options *, struct load_transport *, unsigned index, unsigned workers, uint64_t run);
void load_worker_deinit(struct load_worker *);
/* One round: what is due, what came, what is to be tried again; then the transport waits. */
void load_worker_turn(struct load_worker *);
/* Everybody is connected and knows where to begin. */
bool load_worker_ready(const struct load_worker *);
void load_worker_start(struct load_worker *, uint64_t start_ns, int64_t wall_ms);
/* All is answered and read, or the time for that is over. */
bool load_worker_done(struct load_worker *);
/* Accounts for what was not answered or not read. */
void load_worker_finish(struct load_worker *);
void load_worker_check(const struct load_worker *);

#endif
