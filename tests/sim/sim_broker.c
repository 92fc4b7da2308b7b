/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker's core over a simulated wire and a simulated disk: the product's object files from
 * net_input to io_uring's place, in virtual time. A client on a stack of its own produces
 * idempotently at acks=all over a wire that loses, doubles and reorders; the power goes at random
 * moments, also while writes are in flight; the core, its memory and everything not durable are
 * gone, and it starts again on what the disk kept. In most runs the disk is ill for a while, too:
 * writes, reads and syncs fail (EIO, ENOSPC), come up short or take 50 times as long, and completions
 * of operations long done come once more. What control does about a failed log (control.h) is done
 * here in small: the view without it, MAIL_RELEASE, close, and open again until that succeeds.
 *
 * One seed of eight has ack.durability=memory. Its broker is also killed alone, or stopped in good order and the power goes then. What was
 * acknowledged may be missing from the end of its log, which is less than it was after a power cut and ends no earlier than what the kernel had
 * taken when the process or its log fell; a stop in good order takes nothing. The client hears of a loss as any does, or at once, and sends
 * what is lost again: under the same sequences or in a new epoch, with other bytes, so that what was lost must not come back.
 *
 * Checked: P1 every acknowledged record is there, at the offset that was answered; P6 none twice,
 * none missing in between, in order; P9 after the faults stop everything is acknowledged in bounded
 * time; P11 a failed log is released and comes back through recovery; P12 a seed run twice gives the same digest. Invariants of all modules after every turn.
 *
 *   sim_broker [--seeds N] [--from SEED] [--verbose]
 *   sim_broker --takes N   N runs of a few seeds, in each of which exactly one take from a pool fails
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <zstd.h>

#include "../unit/fail_pool.h"
#include "../unit/unit.h"
#include "core/core.h"
#include "kafka/batch.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "log/plain.h"
#include "partition/partition.h"
#include "settings/settings.h"
#include "sim_fs.h"
#include "sim_seconds.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

enum {
    WIRE_MAX = 8192, RECORDS_MAX = 4000, IN_FLIGHT = 5, JOBS_MAX = 64, FRAME_ROOM = 1800, VALUE_MAX = 3000,
    GIVE_UP_S = 900, RECONNECT_MS = 50, ASK_AGAIN_MS = 3000, REOPEN_MS = 20, ILL_S = 20, OLD_DONE_MAX = 32,
};

/* As control's replica states. */
enum replica { OPENING, ADOPTING, SERVING, LEAVING, RELEASING, DRAINING, REPLICA_COUNT };

/* Over all runs: a test of failures without any would be none. */
static struct {
    uint64_t failures, opens_failed, stale, disk_errors;
    uint64_t memory_runs, kills, stops, lost, kept, refused; /* of ack.durability=memory; losses, records that outlived a fall, OUT_OF_ORDER of clients that did not know */
} totals;

/* How a process ends. In runs of ack.durability=device it is always the power. */
enum fall { FALL_POWER, FALL_KILL, FALL_STOP, FALL_COUNT };

struct flight {
    uint64_t at_ns, order;
    unsigned to; /* 0 broker, 1 client */
    struct rte_mbuf *m;
};

struct job_flight {
    uint64_t at_ns;
    struct tide_job *job;
};

struct sim {
    struct tide_random random;
    uint64_t now_ns, order, digest, frames, turns;
    unsigned loss, duplicate, reorder;
    uint64_t delay_ns;
    bool calm; /* the faults have stopped */
    struct flight wire[WIRE_MAX];
    unsigned wire_count;

    /* the broker's machine */
    struct sim_fs *fs;
    struct sim_disk *disk;
    struct tide_settings settings;
    struct rte_mempool *tx_pool, *request_pool, *response_pool, *client_pool;
    struct post_office *office;
    struct tide_publication publication;
    struct log_core *log_core;
    struct core *core;
    struct core_io io;
    struct partition *partition;
    struct tide_counters counters;
    struct tide_mail adopt, release;
    enum replica replica;
    uint64_t reopen_ns, left_turn;
    struct disk_done old_done[OLD_DONE_MAX];
    unsigned old_done_count, stale_one_in;
    bool ill; /* its disk is */
    struct tide_view view;
    struct view_broker view_broker;
    struct view_topic view_topic;
    struct view_partition view_partition;
    int32_t replicas[1];
    uint32_t by_name[16], by_id[16];
    struct job_flight jobs[JOBS_MAX];
    unsigned job_count;
    int32_t epoch;
    unsigned crashes;
    bool up;

    /* ack.durability=memory */
    bool memory, stopping, ended, power_went;
    enum fall next_fall;
    int64_t synced; /* the log does not end before, whatever happens */
    int64_t floor, ceiling; /* and between these after the last fall; a broker that runs does not use them */
    int64_t lost_from; /* its client does not know yet; INT64_MAX: it knows all */
    int16_t producer_epoch;
    uint32_t epoch_begin; /* the record with its sequence 0 */
    uint8_t lives[RECORDS_MAX]; /* how often a record was acknowledged and lost */

    /* the client */
    struct net net;
    struct tide_counters net_counters;
    struct tcp_stack *stack;
    struct tcp_conn *conn;
    struct tide_rope in;
    uint16_t port;
    uint64_t reconnect_ns, asked_ns, connected_ns, progress_ns;
    uint32_t records, sent, acked; /* numbers below are sent / acknowledged */
    int64_t offsets[RECORDS_MAX];
    bool fetching, done;
    uint32_t seen;
    int64_t next_offset;
};

static void give_up(const struct sim *s, const char *what)
{
    fprintf(stderr, "%s at %lu ns: %u of %u acknowledged, %u read back, replica state %d, epoch %d, %u crashes\n", what, s->now_ns, s->acked, s->records, s->seen, (int)s->replica, s->epoch,
            s->crashes);
    abort();
}

static void mix(struct sim *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        s->digest = (s->digest ^ p[i]) * 0x100000001b3ull;
}

/* ---- the wire ------------------------------------------------------------------------------------------ */

static void fly(struct sim *s, unsigned to, const uint8_t *bytes, uint32_t len)
{
    uint64_t at = s->now_ns + s->delay_ns;
    if (s->wire_count == WIRE_MAX || (!s->calm && tide_random_hits(&s->random, s->loss)))
        return;
    if (!s->calm && tide_random_hits(&s->random, s->reorder))
        at += tide_random_below(&s->random, 8 * s->delay_ns);
    s->wire[s->wire_count++] = (struct flight){.at_ns = at, .order = s->order++, .to = to,
                                               .m = unit_exact_mbuf(s->client_pool, bytes, (uint16_t)len)};
}

static void send_frame(struct sim *s, unsigned to, struct rte_mbuf *chain)
{
    uint8_t bytes[FRAME_ROOM];
    uint32_t at = 0;
    for (struct rte_mbuf *m = chain; m != NULL; m = m->next) {
        if (at + m->data_len > sizeof(bytes))
            give_up(s, "a frame is too long");
        memcpy(bytes + at, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
        at += m->data_len;
    }
    rte_pktmbuf_free(chain);
    mix(s, bytes, at);
    s->frames++;
    fly(s, to, bytes, at);
    if (!s->calm && tide_random_hits(&s->random, s->duplicate))
        fly(s, to, bytes, at);
}

/* ---- the broker -------------------------------------------------------------------------------------------- */

static const struct rte_ether_addr broker_mac = {{2, 0, 0, 0, 0, 1}}, client_mac = {{2, 0, 0, 0, 0, 2}};

static void make_view(struct sim *s)
{
    s->replicas[0] = 1;
    s->view_broker = (struct view_broker){.id = 1, .endpoints = {{.host = "10.0.0.1", .port = 9092}}};
    s->view_partition = (struct view_partition){.leader = 1, .leader_epoch = s->epoch, .replica_count = 1, .isr_count = 1,
                                                .replicas = s->replicas, .isr = s->replicas};
    if (s->replica == SERVING)
        s->view_partition.local = s->partition;
    memset(&s->view_topic, 0, sizeof(s->view_topic));
    memcpy(s->view_topic.name, "t", 2);
    s->view_topic.name_len = 1;
    s->view_topic.id.bytes[0] = 7;
    s->view_topic.partition_count = 1;
    s->view_topic.partitions = &s->view_partition;
    s->view = (struct tide_view){.version = (uint64_t)s->epoch + 1, .takes_clients = true, .self = 1, .controller = 1, .broker_count = 1,
                                 .brokers = &s->view_broker, .topic_count = 1, .topics = &s->view_topic, .hash_mask = 15,
                                 .by_name = s->by_name, .by_id = s->by_id};
    tide_view_index(&s->view_topic, 1, 16, s->by_name, s->by_id);
}

/* ---- what may be lost -------------------------------------------------------------------------------------- */

static void disconnect(struct sim *s);

/* The log fell, with its process or alone; `power`: what was not synced may go. */
static void note_fall(struct sim *s, bool power)
{
    if (s->partition != NULL) {
        s->floor = log_durable_end(partition_log(s->partition));
        s->ceiling = log_next_offset(partition_log(s->partition));
    }
    if (power)
        s->floor = s->synced;
    s->power_went |= power;
}

/* The client learns of it: it sends again from there, and reads again from there. */
static void client_knows(struct sim *s)
{
    if (s->lost_from < (int64_t)s->acked) {
        s->acked = (uint32_t)s->lost_from;
        /* As Kafka's producers do, which have no other way; nothing behind what is left can be there or be appended under the old epoch. */
        if (s->acked < s->epoch_begin || tide_random_hits(&s->random, 2)) {
            s->producer_epoch++;
            s->epoch_begin = s->acked;
        }
    }
    s->lost_from = INT64_MAX;
    disconnect(s);
}

/* The log is open again, up to `end`. */
static void note_return(struct sim *s, int64_t end)
{
    if (!s->memory)
        return;
    if (end < s->floor || end > s->ceiling) {
        fprintf(stderr, "the log ends at %ld, and must between %ld and %ld\n", end, s->floor, s->ceiling);
        give_up(s, "P1: more is lost than may be, or there is more than there was");
    }
    totals.kept += (uint64_t)(end - s->synced);
    if (s->power_went) /* what is there is on the device */
        s->synced = end;
    s->power_went = false;
    bool lost = end < s->ceiling, told_so = end < (int64_t)s->acked;
    s->floor = s->ceiling = end;
    if (told_so) {
        totals.lost++;
        for (uint32_t n = (uint32_t)end; n < s->acked; n++)
            s->lives[n]++;
    }
    if (s->seen > (uint32_t)end) {
        s->seen = (uint32_t)end;
        s->next_offset = end;
    }
    if (!lost)
        return;
    s->lost_from = TIDE_MIN(s->lost_from, end);
    /* A producer that nobody knows would be taken at any sequence (kafka-protocol 5.3), and one with a new epoch at its first. */
    if (s->lost_from == 0 || s->lost_from < s->epoch_begin || !told_so || tide_random_hits(&s->random, 2))
        client_knows(s);
}

/* Nothing is told when it fails: it is tried again. */
static void open_partition(struct sim *s)
{
    struct partition_config c = {.topic = "t", .topic_id = {{7}}, .dir = "/data/t-0", .preallocate_bytes = 65536,
                                 .producer_expiry_ms = 86400000, .producers_max = 16};
    char error[512] = "";
    int e;
    settings_topic_defaults(&s->settings, &c.topic_config);
    c.topic_config.segment_bytes = s->memory ? 1 << 17 : 1 << 20;
    if (s->memory)
        c.topic_config.ack_durability = ACK_DURABILITY_MEMORY;
    s->partition = partition_create(&c);
    e = partition_open(s->partition, sim_fs_verbs(s->fs), error, sizeof(error));
    if (e != 0) {
        if (!s->ill)
            fprintf(stderr, "partition_open: %d %s\n", e, error);
        if (!s->ill || error[0] == '\0')
            give_up(s, "the partition could not be opened");
        totals.opens_failed++;
        partition_destroy(s->partition);
        s->partition = NULL;
        s->replica = OPENING;
        s->reopen_ns = s->now_ns + REOPEN_MS * TIDE_NS_PER_MS;
        return;
    }
    note_return(s, log_next_offset(partition_log(s->partition)));
    s->replica = ADOPTING;
    s->adopt = (struct tide_mail){.kind = MAIL_ADOPT, .from = 1};
    s->adopt.order.partition = s->partition;
    if (post_send(s->office, 1, 0, &s->adopt) != TIDE_OK)
        give_up(s, "a full ring");
}

static void boot(struct sim *s)
{
    static const struct core_listener listeners[] = {{9092, 0}};
    struct log_core_config log = {.tail_buffer_bytes = 16384, .tail_buffers = 32, .read_buffer_bytes = 65536, .read_buffers = 8, .reads_out_max = 2,
                                  .aheads_out_max = 1, .read_piece_bytes = 16384, .read_turn_bytes = 65536,
                                  .index_chunks = 64, .views = 4095, .counters = &s->counters};
    struct core_config c = {.core_count = 1, .settings = &s->settings, .publication = &s->publication, .start_ns = s->now_ns,
                            .listeners = listeners, .listener_count = 1};
    s->office = post_office_create(1);
    s->log_core = log_core_create(&log);
    s->disk = sim_disk_create(s->fs, &(struct sim_disk_config){.jitter_ns = 400000});
    c.office = s->office;
    c.log_core = s->log_core;
    c.net = (struct net_config){.mac = broker_mac, .addr = tide_addr_v4(0x0a000001), .prefix_len = 24, .mtu = 1500, .announce = true,
                                .tx_pool = s->tx_pool};
    c.tcp = (struct tcp_config){.connections_max = 64, .syn_backlog = 16, .receive_window_bytes = 65536, .send_buffer_bytes = 262144,
                                .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 1000, .tx_pool = s->tx_pool};
    for (unsigned i = 0; i < sizeof(c.tcp.secret); i++)
        c.tcp.secret[i] = (uint8_t)tide_random_u64(&s->random);
    c.broker = (struct broker_config){.request_pool = s->request_pool, .response_pool = s->response_pool, .requests_max = 256,
                                      .sessions_max = 64, .mails_max = 255};
    s->core = core_create(&c);
    if (s->office == NULL || s->log_core == NULL || s->core == NULL)
        give_up(s, "no memory");
    atomic_store(&s->publication.now, NULL);
    atomic_store(&s->publication.lease_until_ns, UINT64_MAX);
    open_partition(s);
    s->up = true;
}

/* The power goes, or only the process. What the core held in memory is simply forgotten. */
static void crash(struct sim *s, bool power)
{
    note_fall(s, power);
    sim_fs_crash(s->fs, power ? SIM_CRASH_RANDOM : SIM_CRASH_KILLS);
    for (unsigned i = 0; i < s->io.tx_count; i++)
        rte_pktmbuf_free(s->io.tx[i]);
    s->io.tx_count = s->io.rx_count = s->io.done_count = s->io.jobs_done_count = 0;
    s->io.out.op_count = s->io.out.job_count = 0;
    s->job_count = 0;
    s->old_done_count = 0;
    sim_disk_destroy(s->disk);
    core_destroy(s->core);
    partition_destroy(s->partition);
    s->partition = NULL;
    log_core_destroy(s->log_core);
    post_office_destroy(s->office);
    s->up = s->stopping = s->ended = false;
    s->epoch++;
    s->crashes++;
}

/* Of an epoch in which nobody else has a replica. */
static void lead(struct sim *s)
{
    s->adopt = (struct tide_mail){.kind = MAIL_BECOME, .from = 1};
    s->adopt.become.partition = s->partition;
    s->adopt.become.role = (struct mail_role){.self = 1, .leader = 1, .leader_epoch = s->epoch, .unclean_epoch = -1, .replica_count = 1,
                                              .isr_count = 1, .replicas = {1}, .isr = {1}, .broker_epochs = {-1}};
    if (post_send(s->office, 1, 0, &s->adopt) != TIDE_OK)
        give_up(s, "a full ring");
}

static void close_partition(struct sim *s)
{
    bool failed = log_is_failed(partition_log(s->partition));
    bool closed = partition_close(s->partition, sim_fs_verbs(s->fs)) == 0;
    if (closed && (failed || !s->stopping))
        give_up(s, "P11: a failed log was closed as if nothing had been");
    if (!closed && !failed && !s->ill)
        give_up(s, "a log could not be closed");
    note_fall(s, false);
    if (closed)
        s->synced = s->floor = s->ceiling;
    s->replica = DRAINING;
}

/* In good order. */
static void stop(struct sim *s)
{
    s->stopping = true;
    if (s->replica != SERVING)
        return;
    s->replica = LEAVING;
    s->left_turn = s->turns;
    make_view(s);
    atomic_store(&s->publication.now, &s->view);
}

static void control_turn(struct sim *s)
{
    struct tide_mail *letters[2], *m; /* a place for each sender */
    while (post_take(s->office, 1, letters, 2) != 0) {
        m = letters[0];
        if (m->kind == MAIL_ADOPT && s->replica == ADOPTING) {
            lead(s);
        } else if (m->kind == MAIL_BECOME && s->replica == ADOPTING) {
            s->replica = SERVING;
        } else if (m->kind == MAIL_FAILED && s->replica == SERVING && m->failed.partition == s->partition) {
            s->replica = LEAVING;
            s->left_turn = s->turns;
            totals.failures++;
            if (post_send(s->office, 1, 0, m) != TIDE_OK)
                give_up(s, "a full ring");
        } else if (m->kind == MAIL_FAILED && s->stopping) {
            if (post_send(s->office, 1, 0, m) != TIDE_OK)
                give_up(s, "a full ring");
        } else if (m->kind == MAIL_RELEASE && s->replica == RELEASING) {
            close_partition(s);
        } else {
            give_up(s, "an unexpected letter");
        }
        make_view(s);
        atomic_store(&s->publication.now, &s->view);
    }
    if (s->replica == LEAVING && s->turns > s->left_turn) {
        s->replica = RELEASING;
        s->release = (struct tide_mail){.kind = MAIL_RELEASE, .from = 1};
        s->release.order.partition = s->partition;
        if (post_send(s->office, 1, 0, &s->release) != TIDE_OK)
            give_up(s, "a full ring");
    } else if (s->replica == DRAINING && !partition_has_interest(s->partition, 0) && !partition_is_read(s->partition)) {
        partition_destroy(s->partition);
        s->partition = NULL;
        s->replica = OPENING;
        s->ended = s->stopping;
        s->epoch++;
        s->reopen_ns = s->now_ns + REOPEN_MS * TIDE_NS_PER_MS;
    } else if (s->replica == OPENING && s->stopping) {
        s->ended = true;
    } else if (s->replica == SERVING && s->stopping) {
        stop(s);
    } else if (s->replica == OPENING && s->now_ns >= s->reopen_ns) {
        open_partition(s);
    }
}

/* Completions of operations that were answered before. Their owners are long past them. */
static void come_again(struct sim *s, unsigned first)
{
    for (unsigned i = first; i < s->io.done_count; i++)
        s->old_done[s->old_done_count++ % OLD_DONE_MAX] = s->io.done[i];
    if (s->old_done_count < OLD_DONE_MAX || s->io.done_count == CORE_DONE_MAX || s->calm || !tide_random_hits(&s->random, s->stale_one_in))
        return;
    s->io.done[s->io.done_count++] = s->old_done[s->old_done_count % OLD_DONE_MAX];
    totals.stale++;
}

static void run_jobs(struct sim *s)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->job_count; i++) {
        if (s->jobs[i].at_ns > s->now_ns || s->io.jobs_done_count == CORE_JOBS_MAX) {
            s->jobs[kept++] = s->jobs[i];
            continue;
        }
        s->jobs[i].job->run(s->jobs[i].job, sim_fs_verbs(s->fs));
        s->io.jobs_done[s->io.jobs_done_count++] = s->jobs[i].job;
    }
    s->job_count = kept;
}

static void broker_turn_once(struct sim *s)
{
    struct tide_time t = {.now_ns = s->now_ns, .wall_ms = 1700000000000 + (int64_t)(s->now_ns / TIDE_NS_PER_MS)};
    run_jobs(s);
    unsigned first = s->io.done_count;
    s->io.done_count += sim_disk_take(s->disk, s->now_ns, s->io.done + s->io.done_count, CORE_DONE_MAX - s->io.done_count);
    come_again(s, first);
    (void)core_turn(s->core, &t, &s->io);
    s->turns++;
    for (unsigned i = 0; i < s->io.tx_count; i++)
        send_frame(s, 1, s->io.tx[i]);
    s->io.tx_count = 0;
    if (s->io.out.op_count != 0 && sim_disk_submit(s->disk, s->now_ns, s->io.out.ops, s->io.out.op_count) == TIDE_OK)
        s->io.out.op_count = 0;
    for (unsigned i = 0; i < s->io.out.job_count; i++) {
        if (s->job_count == JOBS_MAX)
            give_up(s, "too many jobs");
        s->jobs[s->job_count++] = (struct job_flight){s->now_ns + tide_random_below(&s->random, 3 * TIDE_NS_PER_MS), s->io.out.jobs[i]};
    }
    s->io.out.job_count = 0;
    control_turn(s);
    core_check(s->core);
    if (s->replica == SERVING)
        partition_check(s->partition);
}

/* ---- the client -------------------------------------------------------------------------------------------------- */

static uint32_t value_of(const struct sim *s, uint32_t number, uint8_t *to)
{
    uint32_t len = 8 + number * 7919u % VALUE_MAX;
    memset(to, (int)(number & 0xff), len);
    memcpy(to, &number, sizeof(number));
    to[4] = (uint8_t)(to[4] + s->lives[number]);
    return len;
}

static void send_request(struct sim *s, struct wire_writer *w)
{
    if (!wire_frame_end(w))
        give_up(s, "no memory for a request");
    tcp_write(s->conn, &w->out);
}

/* Every third batch is compressed, so that helpers look into it and others wait behind it. */
static size_t compress_some(uint32_t number, uint8_t *batch, size_t len, size_t cap)
{
    uint8_t copy[VALUE_MAX + 200];
    if (number % 3 != 0)
        return len;
    memcpy(copy, batch, len);
    size_t n = ZSTD_compress(batch + BATCH_HEADER, cap - BATCH_HEADER, copy + BATCH_HEADER, len - BATCH_HEADER, 1);
    if (ZSTD_isError(n))
        return 0;
    store_be32(batch + BATCH_LENGTH, (uint32_t)(BATCH_HEADER + n - BATCH_LENGTH_OVERHEAD));
    store_be16(batch + BATCH_ATTRIBUTES, CODEC_ZSTD);
    batch_seal(batch, BATCH_HEADER + n);
    return BATCH_HEADER + n;
}

static void send_produce(struct sim *s, uint32_t number)
{
    uint8_t value[8 + VALUE_MAX], batch[VALUE_MAX + 400];
    struct batch_build_record r = {.timestamp = 1700000000000, .value = value};
    struct wire_writer w;
    struct tide_rope records = {0};
    size_t len;
    r.value_len = (int32_t)value_of(s, number, value);
    len = batch_build(batch, VALUE_MAX + 200, &r, 1, 42, s->producer_epoch, (int32_t)(number - s->epoch_begin));
    len = compress_some(number, batch, len, sizeof(batch));
    if (len == 0 || tide_rope_copy_in(&records, s->client_pool, batch, (uint32_t)len) != TIDE_OK)
        give_up(s, "no memory for a batch");
    wire_writer_init(&w, s->client_pool);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_PRODUCE, 7, (int32_t)number, "sim", 3);
    produce_request_put_transactional_id(&w, 7, NULL, 0);
    produce_request_put_acks(&w, 7, -1);
    produce_request_put_timeout_ms(&w, 7, 30000);
    produce_request_open_topic_data(&w, 7, 1);
    produce_request_topic_data_put_name(&w, 7, "t", 1);
    produce_request_topic_data_open_partition_data(&w, 7, 1);
    produce_request_partition_data_put_index(&w, 7, 0);
    produce_request_partition_data_put_records(&w, 7, &records);
    send_request(s, &w);
}

static void send_fetch(struct sim *s)
{
    struct wire_writer w;
    wire_writer_init(&w, s->client_pool);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_FETCH, 4, -1, "sim", 3);
    fetch_request_put_replica_id(&w, 4, -1);
    fetch_request_put_max_wait_ms(&w, 4, 100);
    fetch_request_put_min_bytes(&w, 4, 1);
    fetch_request_put_max_bytes(&w, 4, 100000);
    fetch_request_put_isolation_level(&w, 4, 1);
    fetch_request_open_topics(&w, 4, 1);
    fetch_request_topic_put_topic(&w, 4, "t", 1);
    fetch_request_topic_open_partitions(&w, 4, 1);
    fetch_request_partition_put_partition(&w, 4, 0);
    fetch_request_partition_put_fetch_offset(&w, 4, s->next_offset);
    fetch_request_partition_put_partition_max_bytes(&w, 4, 60000);
    send_request(s, &w);
    s->asked_ns = s->now_ns;
}

static void disconnect(struct sim *s)
{
    if (s->conn != NULL)
        tcp_abort(s->conn);
    s->conn = NULL;
    tide_rope_clear(&s->in);
    s->reconnect_ns = s->now_ns + RECONNECT_MS * TIDE_NS_PER_MS;
    s->sent = s->acked; /* what was not answered is sent again, with the same sequence */
    s->asked_ns = 0;
}

static void on_produced(struct sim *s, uint32_t number, struct wire_cursor *c)
{
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response p;
    if (!produce_response_read(c, 7, &in) || !produce_response_topic_produce_response_next(&in.responses, 7, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, 7, &p))
        give_up(s, "a malformed produce response");
    if (number != s->acked)
        give_up(s, "answers out of order");
    if (p.error_code == 6 || p.error_code == 3 || p.error_code == 56 || p.error_code == 19) {
        disconnect(s); /* not the leader yet: again */
        return;
    }
    if (p.error_code == 45 && s->lost_from < (int64_t)s->acked) { /* OUT_OF_ORDER_SEQUENCE_NUMBER: it had acknowledged what it does not know */
        totals.refused++;
        client_knows(s);
        return;
    }
    if (p.error_code != 0) {
        fprintf(stderr, "error %d for %u\n", p.error_code, number);
        give_up(s, "a produce was refused");
    }
    s->offsets[s->acked++] = p.base_offset;
    s->progress_ns = s->now_ns;
}

/* P1, P6: record n of the log is number n, at the offset that was answered for it. */
static void on_fetched(struct sim *s, struct wire_cursor *c)
{
    static uint8_t bytes[200000];
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    uint32_t at = 0;
    if (!fetch_response_read(c, 4, &in) || !fetch_response_fetchable_topic_response_next(&in.responses, 4, &t) ||
        !fetch_response_partition_data_next(&t.partitions, 4, &p))
        give_up(s, "a malformed fetch response");
    s->asked_ns = 0;
    if (p.error_code != 0) {
        disconnect(s);
        return;
    }
    if (p.records.at.len > sizeof(bytes))
        give_up(s, "too long a fetch");
    tide_slice_copy(p.records.at, bytes);
    while (at + BATCH_HEADER <= p.records.at.len) {
        struct batch_header h;
        struct batch_iter it;
        struct batch_record r;
        uint8_t want[8 + VALUE_MAX];
        batch_header_parse(bytes + at, &h);
        if (batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) != h.crc)
            give_up(s, "P4: a damaged batch was served");
        uint8_t *plain;
        size_t plain_len;
        if (log_records_plain(&h, bytes + at, batch_size(&h), &plain, &plain_len) != 0)
            give_up(s, "a batch that cannot be decompressed");
        batch_iter_init(&it, &h, plain, plain_len);
        while (batch_iter_next(&it, &r)) {
            if (r.offset < s->next_offset)
                continue;
            if (r.offset != s->next_offset || (uint32_t)r.value_len != value_of(s, s->seen, want) || memcmp(r.value, want, (size_t)r.value_len) != 0)
                give_up(s, "P6: a record is missing, doubled or out of order");
            if (s->offsets[s->seen] != r.offset)
                give_up(s, "P1: a record is not at the offset that was answered");
            s->seen++;
            s->next_offset++;
            s->progress_ns = s->now_ns;
        }
        if (plain != bytes + at + BATCH_HEADER)
            free(plain);
        at += batch_size(&h);
    }
    s->done = s->seen == s->records;
}

static void take_responses(struct sim *s)
{
    while (s->in.len >= 8) {
        uint8_t head[8];
        uint32_t size;
        int32_t correlation;
        struct wire_cursor c;
        tide_slice_copy(tide_rope_slice(&s->in, 0, 8), head);
        size = load_be32(head);
        if (s->in.len < size + 4)
            return;
        correlation = (int32_t)load_be32(head + 4);
        wire_cursor_init(&c, tide_rope_slice(&s->in, 8, size - 4));
        if (correlation >= 0)
            on_produced(s, (uint32_t)correlation, &c);
        else
            on_fetched(s, &c);
        if (s->in.len != 0) /* not disconnected meanwhile */
            tide_rope_drop(&s->in, size + 4);
    }
}

static void client_turn(struct sim *s)
{
    struct tcp_endpoint from = {tide_addr_v4(0x0a000002), 0}, to = {tide_addr_v4(0x0a000001), 9092};
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    struct tcp_event e;
    unsigned n;
    tcp_on_time(s->stack, s->now_ns);
    net_on_time(&s->net, s->now_ns);
    while (tcp_next_event(s->stack, &e)) {
        if (e.conn != s->conn)
            continue;
        if (e.bits & (TCP_EVENT_GONE | TCP_EVENT_PEER_CLOSED)) {
            if (e.bits & TCP_EVENT_GONE)
                s->conn = NULL;
            disconnect(s);
            continue;
        }
        if (e.bits & TCP_EVENT_READABLE) {
            tcp_consumed(s->conn, tcp_read(s->conn, &s->in));
            take_responses(s);
        }
    }
    if (s->conn == NULL && s->now_ns >= s->reconnect_ns) {
        from.port = (uint16_t)(20000 + s->port++ % 20000);
        s->conn = tcp_connect(s->stack, s->now_ns, &from, &to);
        s->connected_ns = s->now_ns;
    }
    if (s->conn != NULL && s->now_ns - TIDE_MAX(s->connected_ns, s->progress_ns) > ASK_AGAIN_MS * TIDE_NS_PER_MS)
        disconnect(s); /* as a client's request timeout does */
    if (s->acked == s->records && s->lost_from < (int64_t)s->acked)
        client_knows(s);
    if (s->conn != NULL) {
        while (s->sent < s->records && s->sent < s->acked + IN_FLIGHT)
            send_produce(s, s->sent++);
        if (s->acked == s->records && !s->done && s->asked_ns == 0)
            send_fetch(s);
    }
    while ((n = tcp_output(s->stack, s->now_ns, packets, metas, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (net_output(&s->net, s->now_ns, packets[i], &metas[i].src, &metas[i].dst, 0) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
    while ((n = net_take_tx(&s->net, packets, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            send_frame(s, 0, packets[i]);
}

/* ---- the run --------------------------------------------------------------------------------------------------------- */

static void deliver(struct sim *s)
{
    for (;;) {
        unsigned best = s->wire_count;
        for (unsigned i = 0; i < s->wire_count; i++)
            if (s->wire[i].at_ns <= s->now_ns && (best == s->wire_count || s->wire[i].at_ns < s->wire[best].at_ns ||
                                                  (s->wire[i].at_ns == s->wire[best].at_ns && s->wire[i].order < s->wire[best].order)))
                best = i;
        if (best == s->wire_count)
            return;
        struct flight f = s->wire[best];
        s->wire[best] = s->wire[--s->wire_count];
        if (f.to == 0) {
            if (!s->up || s->io.rx_count == CORE_RX_MAX)
                rte_pktmbuf_free(f.m);
            else
                s->io.rx[s->io.rx_count++] = f.m;
        } else {
            struct net_packet p;
            if (net_input(&s->net, s->now_ns, f.m, &p) == NET_TCP)
                tcp_input(s->stack, s->now_ns, f.m, &(struct tcp_meta){.src = p.source, .dst = p.destination});
        }
    }
}

static uint64_t next_time(const struct sim *s)
{
    uint64_t t = TIDE_MIN(tcp_deadline_ns(s->stack), net_deadline_ns(&s->net));
    for (unsigned i = 0; i < s->wire_count; i++)
        t = TIDE_MIN(t, s->wire[i].at_ns);
    if (s->conn == NULL)
        t = TIDE_MIN(t, s->reconnect_ns);
    if (s->up) {
        t = TIDE_MIN(t, TIDE_MIN(core_deadline_ns(s->core), sim_disk_deadline_ns(s->disk)));
        for (unsigned i = 0; i < s->job_count; i++)
            t = TIDE_MIN(t, s->jobs[i].at_ns);
    }
    return TIDE_MIN(TIDE_MAX(t, s->now_ns + 1000), s->now_ns + 10 * TIDE_NS_PER_MS);
}

/* The disk's illness, if any, until the faults stop. */
static void fall_ill(struct sim *s)
{
    static const uint64_t rates[] = {0, 0, 20, 60, 200};
    struct sim_faults *f = sim_fs_faults(s->fs);
    if (tide_random_hits(&s->random, 3))
        return;
    s->ill = true;
    f->write_error_one_in = rates[tide_random_below(&s->random, 5)];
    f->read_error_one_in = rates[tide_random_below(&s->random, 5)];
    f->sync_error_one_in = rates[tide_random_below(&s->random, 5)];
    f->short_one_in = rates[tide_random_below(&s->random, 5)];
    f->spike_one_in = rates[tide_random_below(&s->random, 5)];
    f->spike_ns = 50 * TIDE_NS_PER_MS;
    f->fail_error = tide_random_hits(&s->random, 3) ? -ENOSPC : 0;
    s->stale_one_in = (unsigned)rates[tide_random_below(&s->random, 5)];
}

static void recover_from_illness(struct sim *s)
{
    struct sim_faults *f = sim_fs_faults(s->fs);
    s->ill = false;
    *f = (struct sim_faults){0};
}

static void make_client(struct sim *s)
{
    struct net_config n = {.mac = client_mac, .addr = tide_addr_v4(0x0a000002), .prefix_len = 24, .mtu = 1500, .tx_pool = s->tx_pool,
                           .counters = &s->net_counters};
    struct tcp_config c = {.connections_max = 256, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 1 << 20, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = s->tx_pool, .secret = {1}};
    if (net_init(&s->net, &n, s->now_ns) != TIDE_OK)
        give_up(s, "net_init");
    s->stack = tcp_stack_create(&c);
}

static enum fall some_fall(struct sim *s)
{
    return s->memory ? (enum fall)tide_random_below(&s->random, FALL_COUNT) : FALL_POWER;
}

/* Take number `fail_take` of the run fails, if it is not 0. */
static uint64_t run(struct rte_mempool *const pools[4], uint64_t seed, uint64_t fail_take, bool verbose)
{
    fail_pool_fail_at = fail_take != 0 ? fail_pool_takes + fail_take : 0;
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before[4];
    uint64_t digest, begin, next_crash;
    unsigned crashes_wanted;
    for (unsigned i = 0; i < 4; i++)
        before[i] = rte_mempool_avail_count(pools[i]);
    s->random.state = seed;
    s->memory = seed % 8 == 5;
    s->lost_from = INT64_MAX;
    totals.memory_runs += s->memory;
    s->digest = 0xcbf29ce484222325ull;
    s->tx_pool = pools[0];
    s->request_pool = pools[1];
    s->response_pool = pools[2];
    s->client_pool = pools[3];
    settings_defaults(&s->settings);
    s->now_ns = begin = TIDE_NS_PER_S * (1 + tide_random_below(&s->random, 1000));
    s->progress_ns = s->now_ns;
    s->records = 100 + (uint32_t)tide_random_below(&s->random, 400);
    s->loss = tide_random_hits(&s->random, 2) ? 50 : 0;
    s->duplicate = tide_random_hits(&s->random, 2) ? 30 : 0;
    s->reorder = tide_random_hits(&s->random, 2) ? 10 : 0;
    s->delay_ns = 20000 + tide_random_below(&s->random, 500000);
    crashes_wanted = (unsigned)tide_random_below(&s->random, 6);
    s->fs = sim_fs_create(&(struct sim_fs_config){.seed = seed});
    if (sim_fs_verbs(s->fs)->mkdir(sim_fs_verbs(s->fs)->self, "/data") != 0 ||
        sim_fs_verbs(s->fs)->sync_dir(sim_fs_verbs(s->fs)->self, "/") != 0)
        give_up(s, "mkdir");
    make_client(s);
    fall_ill(s);
    boot(s);
    next_crash = s->now_ns + tide_random_below(&s->random, 300) * TIDE_NS_PER_MS;
    s->next_fall = some_fall(s);
    while (!s->done) {
        s->now_ns = next_time(s);
        deliver(s);
        if (s->up)
            broker_turn_once(s);
        client_turn(s);
        if (s->crashes < crashes_wanted && s->now_ns >= next_crash && s->next_fall == FALL_STOP && !s->stopping)
            stop(s);
        if (s->crashes < crashes_wanted && s->now_ns >= next_crash && (!s->stopping || s->ended)) {
            totals.kills += s->next_fall == FALL_KILL;
            totals.stops += s->next_fall == FALL_STOP;
            crash(s, s->next_fall != FALL_KILL);
            s->next_fall = some_fall(s);
            s->now_ns += tide_random_below(&s->random, 50) * TIDE_NS_PER_MS;
            boot(s);
            next_crash = s->now_ns + tide_random_below(&s->random, 400) * TIDE_NS_PER_MS;
        }
        s->calm = s->now_ns - begin > 30 * TIDE_NS_PER_S;
        if (s->ill && s->now_ns - begin > ILL_S * TIDE_NS_PER_S)
            recover_from_illness(s);
        if (s->now_ns - begin > GIVE_UP_S * TIDE_NS_PER_S)
            give_up(s, "P9: no end in sight");
    }
    mix(s, s->offsets, s->records * sizeof(s->offsets[0]));
    if (verbose)
        printf("seed %lu: %u records, %u crashes, %lu frames, %lu turns, %lu ms, digest %016lx\n", seed, s->records, s->crashes, s->frames,
               s->turns, (s->now_ns - begin) / 1000000, s->digest);
    crash(s, true); /* the quickest way to give everything back */
    while (s->wire_count != 0)
        rte_pktmbuf_free(s->wire[--s->wire_count].m);
    tide_rope_clear(&s->in);
    tcp_stack_destroy(s->stack);
    net_deinit(&s->net);
    sim_fs_destroy(s->fs);
    for (unsigned i = 0; i < 4; i++)
        if (rte_mempool_avail_count(pools[i]) != before[i])
            give_up(s, "mbufs are missing");
    digest = s->digest;
    totals.disk_errors += s->counters.values[COUNTER_disk_errors];
    free(s);
    return digest;
}

static int takes(struct rte_mempool *const pools[4], uint64_t count, bool verbose)
{
    enum { SEEDS = 8 };
    uint64_t all = 0, of[SEEDS];
    for (uint64_t i = 0; i < SEEDS; i++) {
        uint64_t before = fail_pool_takes;
        (void)run(pools, i + 1, 0, false);
        of[i] = fail_pool_takes - before;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seed = i % SEEDS + 1;
        all = all * 31 + run(pools, seed, 1 + i * 2654435761u % of[seed - 1], verbose);
    }
    printf("%lu runs with one take failing, %lu failed, digest %016lx\n", count, fail_pool_failed, all);
    return fail_pool_failed == count ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"takes", required_argument, NULL, 't'}, {"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'}, {0}};
    uint64_t seeds = 100, from = 1, all = 0, fail_takes = 0;
    bool verbose = false;
    struct rte_mempool *pools[4];
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't': fail_takes = strtoull(optarg, NULL, 10); break;
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    if (getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0) {
        seeds *= 10;
        fail_takes = fail_takes != 0 ? 3000 : 0;
    }
    unit_eal();
    pools[0] = fail_pool("sim_tx", 8191, 1800);
    pools[1] = fail_pool("sim_request", 255, 16384);
    pools[2] = fail_pool("sim_response", 1023, 8192);
    pools[3] = unit_pool("sim_client", 16383, 1800);
    if (fail_takes != 0)
        return takes(pools, fail_takes, verbose);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(pools, seed, 0, verbose);
        if (seed % 5 == 0 && run(pools, seed, 0, false) != digest) {
            fprintf(stderr, "P12: two runs of seed %lu differ\n", seed);
            return 1;
        }
        all ^= digest * (seed + 1);
        if (verbose)
            fflush(stdout);
        if (sim_time_is_up())
            seeds = seed - from + 1;
    }
    printf("%lu seeds from %lu, %lu failed logs, %lu failed opens, %lu disk errors, %lu stale completions, digest %016lx\n", seeds, from,
           totals.failures, totals.opens_failed, totals.disk_errors, totals.stale, all);
    printf("%lu runs with ack.durability=memory: %lu kills, %lu stops, %lu times acknowledged records were lost, %lu records outlived a fall unsynced, %lu times a client was told so\n",
           totals.memory_runs, totals.kills, totals.stops, totals.lost, totals.kept, totals.refused);
    if (seeds >= 50 && (totals.failures == 0 || totals.opens_failed == 0 || totals.disk_errors == 0 || totals.stale == 0)) {
        fprintf(stderr, "the disk was too healthy\n");
        return 1;
    }
    if (seeds >= 100 && (totals.kills == 0 || totals.stops == 0 || totals.lost == 0 || totals.kept == 0 || totals.refused == 0)) {
        fprintf(stderr, "what is acknowledged in memory was never lost, or always\n");
        return 1;
    }
    return 0;
}
