/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three replicas with their real logs, marks and producer state, and an idempotent producer that
 * sends again what was not acknowledged. Leaders change, replicas crash and lose what was not on the
 * device, completions come late and twice. A seed is a run.
 *
 * What carries bytes and acknowledgements between the replicas is a call: the search (sim_search.c)
 * is about messages, this is about what they are kept in. Checked:
 *   P1  what was acknowledged is at its offset in the log of the last leader
 *   P4  at the end all replicas hold the same bytes
 *   P6  the producer's sequences stand in that log once each, in order, without a gap
 *
 * usage: sim_replicas [--seeds N] [--seed N] [--mutant NAME | --mutants]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "memory_fs.h"
#include "partition/internal.h"
#include "replica/follower.h"
#include "tidemark/bytes.h"
#include "tidemark/mutant.h"
#include "tidemark/random.h"
#include "log/internal.h"
#include "unit.h"

enum { NODES = 3, STEPS = 600, UNACKED = 3, SENT_MAX = 4096, BATCH_ROOM = 8192, PRODUCER = 77, COPY_ROOM = 1 << 20 };

enum tide_mutant tide_mutant;

struct node {
    struct memory_fs disk;
    struct log_core *core;
    struct tide_counters counters;
    struct partition *p;
    struct tide_out out;
    int32_t known_epoch;
    bool streams; /* agrees with the leader of the epoch */
    bool has_late;
    struct disk_done late; /* a completion that comes again */
    bool failed;
};

struct sent {
    int32_t sequence, count;
    int64_t base; /* -1: not appended in this epoch */
    int64_t end;
    bool acked;
};

static struct node nodes[NODES];
static struct tide_random chance;
static struct tide_time now;
static struct rte_mempool *input;
static int leader;
static int32_t epoch, partition_epoch_now;
static struct sent sent[SENT_MAX];
static int sent_count, first_unacked;
static char why[400];

#define FAIL(...)                                   \
    do {                                            \
        if (why[0] == '\0')                         \
            snprintf(why, sizeof(why), __VA_ARGS__); \
    } while (0)

/* ---- one replica ---- */

static void open_node(int i)
{
    struct node *n = &nodes[i];
    char error[256];
    const struct partition_config config = {.topic = "events", .slot = (uint32_t)i, .home_core = 0, .dir = "/data/events-0",
                                            .topic_id = {{1}},
                                            .topic_config = {.segment_bytes = 16384, .segment_ms = INT64_MAX / 2, .index_interval_bytes = 512,
                                                             .max_message_bytes = 4000, .min_insync_replicas = 2,
                                                             .ack_durability = ACK_DURABILITY_DEVICE,
                                                             .message_timestamp_before_max_ms = INT64_MAX,
                                                             .message_timestamp_after_max_ms = INT64_MAX},
                                            .preallocate_bytes = 8192, .producer_expiry_ms = INT64_MAX, .producers_max = 8};
    n->p = partition_create(&config);
    TIDE_ASSERT(n->p != NULL);
    if (partition_open(n->p, &n->disk.fs, error, sizeof(error)) != 0)
        FAIL("%d does not open: %s", i, error);
    if (why[0] != '\0')
        return;
    partition_adopt(n->p, n->core, &now);
    n->known_epoch = -1;
    n->streams = n->failed = n->has_late = false;
}

/* One thing that the machine has to do; false: there is none. */
static bool work(struct node *n)
{
    struct tide_out *o = &n->out;
    if (o->job_count != 0) {
        struct tide_job *job = o->jobs[0];
        memmove(&o->jobs[0], &o->jobs[1], --o->job_count * sizeof(o->jobs[0]));
        job->run(job, &n->disk.fs);
        partition_on_job(n->p, &now, job, o);
        return true;
    }
    if (o->op_count != 0) {
        struct disk_op op = o->ops[0];
        memmove(&o->ops[0], &o->ops[1], --o->op_count * sizeof(o->ops[0]));
        n->late = (struct disk_done){.id = op.id, .result = memory_fs_disk(&n->disk, &op)};
        n->has_late = true;
        partition_on_disk(n->p, &now, &n->late, o);
        return true;
    }
    return false;
}

static void turn(struct node *n)
{
    partition_turn(n->p, &now, &n->out);
    n->failed |= partition_take_failed(n->p);
    partition_check(n->p);
}

static void pump(struct node *n)
{
    do
        turn(n);
    while (work(n));
}

/* The process dies: what it asked of its device and helpers and is not done never happens. */
static void kill_node(struct node *n)
{
    struct partition *p = n->p;
    struct log *log = partition_log(p);
    n->out.op_count = n->out.job_count = 0;
    log->write.out = log->extend_job.out = log->prepare_job.out = log->seal_job.out = log->epoch_job.out = log->trim_job.out =
        log->reap_job.out = log->truncate_job.out = log->checkpoint_job.out = log->skip_job.out = false;
    p->reload.out = false;
    if (log->state != LOG_FAILED)
        log_fail(log);
    TIDE_ASSERT(log_release(log, &n->out));
    (void)log_close(log, &n->disk.fs);
    partition_destroy(p);
    n->p = NULL;
    n->out.op_count = n->out.job_count = 0;
    memory_fs_crash(&n->disk, NULL);
}

/* ---- roles ---- */

static uint32_t member_of(int i)
{
    return members_number(partition_members(nodes[leader].p), i);
}

static void tell(int i)
{
    struct mail_role role = {.self = i, .leader = leader, .leader_epoch = epoch, .partition_epoch = partition_epoch_now, .replica_count = NODES,
                             .isr_count = NODES, .unclean_epoch = -1};
    for (int k = 0; k < NODES; k++)
        role.replicas[k] = role.isr[k] = k;
    if (partition_become(nodes[i].p, &now, &role, &nodes[i].out) && nodes[i].known_epoch != epoch) {
        nodes[i].known_epoch = epoch;
        nodes[i].streams = false;
    }
}

static void elect(int who)
{
    leader = who;
    epoch++;
    partition_epoch_now++;
    for (int k = first_unacked; k < sent_count; k++)
        sent[k].base = -1;
    tell(who);
    pump(&nodes[who]);
}

/* Until the logs agree; the rounds are the follower's own (follower.h). */
static void agree(int i)
{
    struct node *n = &nodes[i];
    struct log *theirs = partition_log(nodes[leader].p);
    struct log *ours = partition_log(n->p);
    struct follower f;
    follower_init(&f, 0);
    follower_become(&f, 1, leader, epoch, -1);
    follower_on_stream(&f, 1, true);
    for (int round = 0; round < 20 && f.state != FOLLOWER_STREAMING && !n->failed; round++) {
        struct partition_look look;
        struct follower_subscribe s;
        partition_look(n->p, &look);
        struct follower_log log = {.last_epoch = log_last_batch_epoch(ours), .log_start = look.log_start, .log_end = look.log_end,
                                   .durable_end = log_durable_end(ours), .high_watermark = look.high_watermark};
        follower_subscribe(&f, &log, &s);
        struct follower_answer a = {.attempt = s.attempt, .leader_epoch = epoch, .subscription = 1};
        int32_t own_epoch;
        int64_t own_end;
        log_end_for_epoch(theirs, s.last_epoch, &a.truncate_epoch, &a.truncate_end);
        a.truncate = s.log_end != 0 && (a.truncate_epoch != s.last_epoch || s.log_end > a.truncate_end);
        log_end_for_epoch(ours, a.truncate_epoch, &own_epoch, &own_end);
        enum follower_verdict v = follower_on_answer(&f, 1, &a, &log, own_epoch, own_end);
        if (v == FOLLOWER_FAIL)
            FAIL("%d is to be cut below its high watermark", i);
        if (v != FOLLOWER_SETTLE)
            continue;
        enum tide_status status;
        for (int k = 0; k < 100 && (status = partition_truncate(n->p, f.settle_to, &n->out)) == TIDE_AGAIN; k++)
            pump(n);
        follower_on_settled(&f, 1, true);
    }
    n->streams = f.state == FOLLOWER_STREAMING;
    if (n->streams)
        watermark_listen(partition_marks(nodes[leader].p), member_of(i));
}

/* ---- bytes from the leader ---- */

static uint8_t copy[COPY_ROOM];

/* The batches from `offset` on, as the log has them. */
static size_t read_log(struct node *n, int64_t offset, size_t room)
{
    struct log_read r = {.offset = offset, .end_offset = INT64_MAX, .max_bytes = (uint32_t)room, .at_least_one = true};
    struct tide_out out = {0};
    enum tide_status status;
    while ((status = log_read(partition_log(n->p), n->core, 0, &r, &out)) == TIDE_AGAIN) {
        struct disk_op op = out.ops[--out.op_count];
        log_read_on_disk(&r, &(struct disk_done){.id = op.id, .result = memory_fs_disk(&n->disk, &op)});
    }
    size_t len = status == TIDE_OK ? r.bytes.len : 0;
    if (status == TIDE_OK)
        tide_slice_copy(tide_rope_slice(&r.bytes, 0, r.bytes.len), copy);
    if (status != TIDE_OK && status != TIDE_FULL)
        FAIL("a log cannot be read at %lld", (long long)offset);
    tide_rope_clear(&r.bytes);
    return len;
}

static struct tide_slice slice_of(struct tide_rope *r, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += 1000)
        tide_rope_push(r, unit_exact_mbuf(input, bytes + at, (uint16_t)TIDE_MIN((size_t)1000, len - at)));
    return tide_rope_slice(r, 0, r->len);
}

static void pull(int i)
{
    struct node *n = &nodes[i];
    struct partition_look theirs;
    struct partition_followed ret;
    struct tide_rope rope = {0};
    if (i == leader || n->known_epoch != epoch || n->failed)
        return;
    if (!n->streams) {
        agree(i);
        return;
    }
    partition_look(nodes[leader].p, &theirs);
    int64_t end = log_next_offset(partition_log(n->p));
    size_t len = end < theirs.log_end ? read_log(&nodes[leader], end, 4096) : 0;
    struct partition_follow a = {.leader_epoch = epoch, .base_offset = end, .high_watermark = theirs.high_watermark};
    a.records = slice_of(&rope, copy, len);
    enum tide_status status = partition_follow_append(n->p, &now, &a, &n->out, &ret);
    tide_rope_clear(&rope);
    if (status == TIDE_BAD)
        FAIL("%d cannot follow: %s", i, ret.message);
}

static void acknowledge(int i)
{
    const struct node *n = &nodes[i];
    if (i != leader && n->streams && n->known_epoch == epoch && !n->failed)
        (void)watermark_acknowledged(partition_marks(nodes[leader].p), member_of(i), log_next_offset(partition_log(n->p)),
                                     watermark_durable_end(partition_marks(n->p)));
}

/* ---- the producer ---- */

static void send_one(struct sent *s)
{
    static uint8_t bytes[BATCH_ROOM];
    struct batch_build_record records[3];
    struct partition_appended ret;
    struct tide_rope rope = {0};
    for (int i = 0; i < s->count; i++)
        records[i] = (struct batch_build_record){.timestamp = now.wall_ms, .value = "a value of some length", .value_len = 22};
    size_t len = batch_build(bytes, sizeof(bytes), records, s->count, PRODUCER, 0, s->sequence);
    struct partition_append a = {.acks = -1, .api_version = 9, .leader_epoch = -1};
    a.records = slice_of(&rope, bytes, len);
    enum tide_status status = partition_append(nodes[leader].p, &now, &a, &nodes[leader].out, &ret);
    tide_rope_clear(&rope);
    if (status != TIDE_OK || ret.error == KAFKA_NOT_LEADER_OR_FOLLOWER || ret.error == KAFKA_KAFKA_STORAGE_ERROR)
        return;
    if (ret.error != 0) {
        FAIL("P6: sequence %d was answered with error %d", s->sequence, ret.error);
        return;
    }
    s->base = ret.base_offset;
    s->end = ret.end_offset;
}

/* The oldest that this leader has not got, or a new one. */
static void produce(bool more)
{
    for (int k = first_unacked; k < sent_count; k++)
        if (sent[k].base < 0) {
            send_one(&sent[k]);
            return;
        }
    if (!more || sent_count - first_unacked >= UNACKED || sent_count == SENT_MAX)
        return;
    struct sent *last = sent_count != 0 ? &sent[sent_count - 1] : NULL;
    sent[sent_count] = (struct sent){.sequence = last != NULL ? last->sequence + last->count : 0,
                                     .count = 1 + (int32_t)tide_random_below(&chance, 3), .base = -1};
    send_one(&sent[sent_count++]);
}

static void take_acks(void)
{
    struct partition_look look;
    partition_look(nodes[leader].p, &look);
    while (look.leader && first_unacked < sent_count && sent[first_unacked].base >= 0 && look.high_watermark >= sent[first_unacked].end)
        sent[first_unacked++].acked = true;
}

/* ---- faults ---- */

static void crash(int i)
{
    bool led = i == leader;
    kill_node(&nodes[i]);
    open_node(i);
    if (why[0] != '\0')
        return;
    if (led)
        elect((i + 1 + (int)tide_random_below(&chance, NODES - 1)) % NODES);
}

static void late_completion(struct node *n)
{
    struct disk_done done = n->late;
    if (!n->has_late || n->out.op_count == 0)
        return;
    done.result = n->out.ops[0].len;
    partition_on_disk(n->p, &now, &done, &n->out);
}

static void step(void)
{
    int i = (int)tide_random_below(&chance, NODES);
    struct node *n = &nodes[i];
    switch (tide_random_below(&chance, 64)) {
    case 0:
        if (i != leader)
            elect(i);
        break;
    case 1:
        crash(i);
        break;
    case 2:
    case 3:
        late_completion(n);
        break;
    default:
        switch (tide_random_below(&chance, 6)) {
        case 0:
            produce(true);
            break;
        case 1:
        case 2:
            turn(n);
            (void)work(n);
            break;
        case 3:
            pull(i);
            break;
        case 4:
            acknowledge(i);
            break;
        default:
            tell(i);
            break;
        }
    }
    if (why[0] != '\0')
        return;
    if (n->failed) { /* control opens it anew */
        crash(i);
        return;
    }
    turn(&nodes[leader]);
    take_acks();
}

/* ---- the end ---- */

static void settle(void)
{
    for (int round = 0; round < 400 && why[0] == '\0'; round++) {
        for (int i = 0; i < NODES; i++) {
            tell(i);
            pump(&nodes[i]);
            if (nodes[i].failed) {
                crash(i);
                continue;
            }
            pull(i);
            pump(&nodes[i]);
            acknowledge(i);
        }
        if (first_unacked < sent_count)
            produce(false);
        pump(&nodes[leader]);
        take_acks();
    }
    if (first_unacked < sent_count)
        FAIL("P9: sequence %d is never acknowledged", sent[first_unacked].sequence);
}

static void check_end(void)
{
    static uint8_t first[COPY_ROOM];
    size_t first_len = 0;
    int32_t next_sequence = 0;
    int at_sent = 0;
    for (int i = 0; i < NODES && why[0] == '\0'; i++) {
        size_t len = 0;
        int64_t offset = 0;
        static uint8_t all[COPY_ROOM];
        while (offset < log_next_offset(partition_log(nodes[i].p)) && why[0] == '\0') {
            size_t n = read_log(&nodes[i], offset, 4096);
            struct batch_header h;
            struct tide_rope rope = {0};
            if (n == 0)
                break;
            TIDE_ASSERT(len + n <= sizeof(all));
            memcpy(all + len, copy, n);
            for (size_t at = 0; at < n;) {
                struct tide_slice s = slice_of(&rope, copy + at, BATCH_HEADER);
                TIDE_ASSERT(batch_header_read(s, &h));
                tide_rope_clear(&rope);
                at += batch_size(&h);
                offset = h.base_offset + h.last_offset_delta + 1;
                if (i != 0)
                    continue;
                if (h.base_sequence != next_sequence)
                    FAIL("P6: sequence %d follows where %d is due, at offset %lld", h.base_sequence, next_sequence, (long long)h.base_offset);
                next_sequence = h.base_sequence + h.last_offset_delta + 1;
                if (at_sent < sent_count && sent[at_sent].acked && sent[at_sent].base != h.base_offset)
                    FAIL("P1: sequence %d was acknowledged at %lld and is at %lld", sent[at_sent].sequence, (long long)sent[at_sent].base,
                         (long long)h.base_offset);
                at_sent++;
            }
            len += n;
        }
        if (i == 0) {
            memcpy(first, all, len);
            first_len = len;
        } else if (len != first_len || memcmp(first, all, len) != 0) {
            FAIL("P4: %d and 0 differ", i);
        }
    }
    if (at_sent < sent_count)
        FAIL("P1: %d of %d batches are there", at_sent, sent_count);
}

static bool run(uint64_t seed)
{
    static const struct log_core_config core = {.core = 0, .tail_buffer_bytes = 8192, .tail_buffers = 32, .read_buffer_bytes = 16384,
                                                .read_buffers = 8, .index_chunks = 16, .views = 256};
    chance = (struct tide_random){.state = seed};
    why[0] = '\0';
    now = (struct tide_time){.now_ns = 1, .wall_ms = 1000000};
    epoch = partition_epoch_now = 0;
    sent_count = first_unacked = 0;
    for (int i = 0; i < NODES; i++) {
        struct log_core_config c = core;
        memset(&nodes[i], 0, sizeof(nodes[i]));
        c.counters = &nodes[i].counters;
        nodes[i].core = log_core_create(&c);
        TIDE_ASSERT(nodes[i].core != NULL);
        memory_fs_init(&nodes[i].disk);
        open_node(i);
    }
    elect(0);
    for (int k = 0; k < STEPS && why[0] == '\0'; k++)
        step();
    settle();
    if (why[0] == '\0')
        check_end();
    for (int i = 0; i < NODES && why[0] == '\0'; i++) {
        kill_node(&nodes[i]);
        log_core_destroy(nodes[i].core);
        memory_fs_deinit(&nodes[i].disk);
    }
    if (why[0] != '\0')
        printf("sim_replicas --seed %llu: %s\n", (unsigned long long)seed, why);
    fflush(stdout);
    return why[0] == '\0';
}

static const char *const mutant_names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "none",
#define MUTANT_ROW(name, text) [MUTANT_##name] = #name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
};

static bool run_seeds(uint64_t from, uint64_t count)
{
    unit_eal();
    input = unit_pool("replicas_input", 4096, 2048);
    for (uint64_t s = from; s < from + count; s++)
        if (!run(s))
            return false;
    printf("%llu seeds, no violation\n", (unsigned long long)count);
    return true;
}

static bool is_noticed(enum tide_mutant m, uint64_t from, uint64_t count)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    TIDE_ASSERT(child >= 0);
    if (child == 0) {
        tide_mutant = m;
        bool good = run_seeds(from, count);
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    TIDE_ASSERT(waitpid(child, &status, 0) == child);
    printf("%s: %s\n", mutant_names[m], status != 0 ? "noticed" : "NOT NOTICED");
    return status != 0;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, count = 200;
    bool mutants = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutants") == 0)
            mutants = true;
        else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            from = strtoull(argv[++i], NULL, 10);
            count = 1;
        } else if (i + 1 < argc && strcmp(argv[i], "--mutant") == 0) {
            i++;
            for (int m = 0; m < MUTANT_COUNT; m++)
                if (strcmp(argv[i], mutant_names[m]) == 0)
                    tide_mutant = (enum tide_mutant)m;
        } else {
            fprintf(stderr, "sim_replicas: what is %s?\n", argv[i]);
            return 2;
        }
    }
    const char *full = getenv("TIDE_FULL");
    if (!mutants && count > 1 && full != NULL && strcmp(full, "1") == 0)
        count *= 10;
    if (!mutants)
        return run_seeds(from, count) ? 0 : 1;
    bool deduplication = is_noticed(MUTANT_DEDUPLICATION, from, count);
    bool id = is_noticed(MUTANT_COMPLETION_ID, from, count);
    return deduplication && id ? 0 : 1;
}
