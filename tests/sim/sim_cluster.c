/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of brokers in virtual time: two or three of them with one or two cores each, whole data
 * planes (TCP stacks, sessions, partitions, logs, peer streams), over a wire that loses, doubles, reorders
 * and is cut in one direction or both, and disks that lose what was not made durable. Control is a
 * script here: it registers brokers, fences them, elects leaders from the ISR, moves leadership, and
 * commits the ISRs that leaders propose, by compare-and-set. A client produces idempotently at acks=all
 * to several partitions and reads all the while.
 *
 * Checked: P1 every acknowledged record is there, at its offset; P2 acks=all only; P3 a high watermark
 * never falls within an epoch; P4 replicas hold the same bytes below it at the end; P5 and P6 a consumer
 * sees every record once and in order; P8 one leader per epoch; P9 after the faults stop all is
 * acknowledged, read, and every replica is in sync again, in bounded time; P12 a seed run twice gives the
 * same digest.
 *
 *   sim_cluster [--seeds N] [--from SEED] [--verbose] [--trace]
 *   sim_cluster_mutants --mutants [--seeds N]   leaves out one rule after the other: each must be missed
 *                       --mutant NAME           one of include/tidemark/mutants.def, in this process
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_malloc.h>

#include "../unit/unit.h"
#include "core/core.h"
#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "partition/partition.h"
#include "settings/settings.h"
#include "sim_fs.h"
#include "sim_seconds.h"
#include "tidemark/bytes.h"
#include "tidemark/mutant.h"
#include "tidemark/random.h"

enum {
    BROKERS_MAX = 3, CORES_MAX = 2, PARTITIONS_MAX = 4, WIRE_MAX = 16384, JOBS_MAX = 128, FRAME_ROOM = 1800,
    RECORDS_MAX = 2000, VALUE_MAX = 2500, IN_FLIGHT = 5, LETTERS_MAX = 256, TAKEN = 16,
    CLIENT = BROKERS_MAX, NODES = BROKERS_MAX + 1,
    KAFKA_PORT = 9092, PEER_PORT = 9093,
    RETRY_MS = 20, ANSWER_MS = 2000, LEASE_MS = 60, FENCE_MS = 100, CALM_S = 60, GIVE_UP_S = 300,
};

struct flight {
    uint64_t at_ns, order;
    unsigned to;
    uint32_t core; /* whose queue it arrives on */
    struct rte_mbuf *m;
};

struct job_flight {
    uint64_t at_ns;
    struct tide_job *job;
};

struct sim;

struct machine_core {
    struct sim_disk *disk;
    struct log_core *log_core;
    struct core *core;
    struct core_io io;
    struct job_flight jobs[JOBS_MAX];
    unsigned job_count;
    struct tide_counters counters;
};

struct machine {
    struct sim *sim;
    unsigned id; /* broker id - 1 */
    bool up;     /* the process runs */
    uint64_t deaf_until_ns;   /* its management network is gone: control hears nothing of it, and it nothing of control */
    uint64_t paused_until_ns; /* it is stopped, and continues as if nothing had happened */
    bool registered;
    uint64_t boot_ns, heard_ns, registered_ns;
    int64_t epoch;
    uint64_t starts;
    struct tide_uuid incarnation;
    struct sim_fs *fs;
    struct post_office *office;
    struct steer *steer;
    struct tide_publication publication;
    struct machine_core cores[CORES_MAX];
    struct partition *partitions[PARTITIONS_MAX];
    bool adopted[PARTITIONS_MAX];
    struct tide_view *view;
    bool view_stale;
    uint64_t sync_ns; /* when control's news reach it */
    int64_t end_seen[PARTITIONS_MAX], durable_seen[PARTITIONS_MAX];
    /* the last role told, so that none is told twice */
    int32_t told[PARTITIONS_MAX];
    int64_t high[PARTITIONS_MAX]; /* P3 */
    int32_t high_epoch[PARTITIONS_MAX];
};

/* The committed state of a partition. */
struct committed {
    int32_t leader; /* broker number, -1 none */
    int32_t leader_epoch, partition_epoch;
    uint32_t isr; /* bit per broker */
};

/* What control was asked and answers later. */
struct question {
    uint64_t at_ns, order;
    unsigned from;
    bool decided;
    struct tide_mail *mail;
};

struct producer {
    uint32_t sent, acked, generation;
    uint64_t retry_ns, progress_ns;
    int leader;
    uint64_t asked_ns;
    int fetch_from;
    uint32_t fetch_generation;
    int64_t read; /* next offset of the consumer */
};

struct line {
    struct tcp_conn *conn;
    struct tide_rope in;
    uint64_t again_ns, since_ns, heard_ns;
};

struct sim {
    struct tide_random random;
    uint64_t now_ns, order, digest, frames, turns, begin_ns;
    unsigned loss, duplicate, reorder;
    uint64_t job_ms; /* that a helper takes, at most */
    uint64_t delay_ns, calm_ns, pace_ns; /* between two new records of a partition, so that faults come among them */
    uint64_t seed;
    bool calm, verbose, trace;
    bool cut[NODES][NODES];
    struct flight *wire;
    unsigned wire_count;
    struct tide_settings settings;
    struct tide_topic_config topic;
    struct tide_uuid topic_id, cluster_id;
    struct rte_mempool *tx_pool, *request_pool, *response_pool, *client_pool, *peer_pool;
    unsigned brokers, core_count, partitions;
    struct machine machines[BROKERS_MAX];
    struct committed committed[PARTITIONS_MAX];
    int64_t next_epoch;
    struct question questions[LETTERS_MAX];
    unsigned question_count;
    unsigned crashes, moves, cuts, deafs, pauses;
    uint64_t next_fault_ns;
    int leader_of_epoch[PARTITIONS_MAX][4096]; /* P8 */
    int64_t committed_end[PARTITIONS_MAX];

    struct net net;
    struct tide_counters net_counters;
    struct tcp_stack *stack;
    struct line lines[BROKERS_MAX];
    uint16_t port;
    uint32_t records;
    struct producer producers[PARTITIONS_MAX];
};

static void tell(const struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        const struct committed *c = &s->committed[p];
        fprintf(stderr, "  partition %u: leader %d epoch %d/%d isr %x; acknowledged %u of %u, read %ld\n", p, c->leader + 1, c->leader_epoch,
                c->partition_epoch, c->isr, s->producers[p].acked, s->records, s->producers[p].read);
        for (unsigned b = 0; b < s->brokers; b++) {
            struct partition_look l;
            if (!s->machines[b].up || s->machines[b].partitions[p] == NULL)
                continue;
            partition_look(s->machines[b].partitions[p], &l);
            fprintf(stderr, "    broker %u%s: %s epoch %d log %ld..%ld counted %ld high %ld\n", b + 1, s->machines[b].registered ? "" : " (fenced)",
                    l.leader ? "leader" : l.failed ? "failed" : "-", l.leader_epoch, l.log_start, l.log_end, l.counted_end, l.high_watermark);
        }
    }
}

_Noreturn static void give_up(const struct sim *s, const char *what)
{
    fprintf(stderr, "sim_cluster --seeds 1 --from %lu: %s after %lu ms: %u crashes, %u moves, %u cuts\n", s->seed, what, (s->now_ns - s->begin_ns) / 1000000, s->crashes, s->moves, s->cuts);
    tell(s);
    abort();
}

/* What happened, line by line, when a seed is looked into. */
static void trace(const struct sim *s, const char *format, ...)
{
    va_list args;
    if (!s->trace)
        return;
    printf("%9.3f  ", (double)(s->now_ns - s->begin_ns) / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void mix(struct sim *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++)
        s->digest = (s->digest ^ p[i]) * 0x100000001b3ull;
}

static uint64_t below_ms(struct sim *s, uint64_t ms)
{
    return tide_random_below(&s->random, ms * TIDE_NS_PER_MS);
}

/* ---- the wire ----------------------------------------------------------------------------------------- */

static struct rte_ether_addr mac_of(unsigned node)
{
    return (struct rte_ether_addr){{2, 0, 0, 0, 0, (uint8_t)(node + 1)}};
}

static struct tide_addr addr_of(unsigned node)
{
    return tide_addr_v4(0x0a000001 + node);
}

static void fly(struct sim *s, unsigned from, unsigned to, const uint8_t *bytes, uint32_t len)
{
    uint64_t at = s->now_ns + s->delay_ns;
    if (s->cut[from][to] || s->wire_count == WIRE_MAX || (!s->calm && tide_random_hits(&s->random, s->loss)))
        return;
    if (!s->calm && tide_random_hits(&s->random, s->reorder))
        at += tide_random_below(&s->random, 8 * s->delay_ns);
    s->wire[s->wire_count++] = (struct flight){.at_ns = at, .order = s->order++, .to = to, .core = (uint32_t)tide_random_below(&s->random, s->core_count),
                                               .m = unit_exact_mbuf(s->client_pool, bytes, (uint16_t)len)};
}

static void send_frame(struct sim *s, unsigned from, struct rte_mbuf *chain)
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
    for (unsigned to = 0; to < NODES; to++) {
        struct rte_ether_addr mac = mac_of(to);
        if (to == from || (to < BROKERS_MAX && to >= s->brokers))
            continue;
        if (!(bytes[0] & 1) && memcmp(bytes, mac.addr_bytes, 6) != 0)
            continue;
        fly(s, from, to, bytes, at);
        if (!s->calm && tide_random_hits(&s->random, s->duplicate))
            fly(s, from, to, bytes, at);
    }
}

/* ---- a machine -------------------------------------------------------------------------------------------- */

static uint64_t grace_begin(void *self)
{
    struct machine *m = self;
    return m->sim->now_ns + below_ms(m->sim, 2);
}

static bool grace_passed(void *self, uint64_t token)
{
    return ((struct machine *)self)->sim->now_ns >= token;
}

static void open_partition(struct machine *m, unsigned p)
{
    struct sim *s = m->sim;
    char dir[32], error[512] = "";
    struct partition_config c = {.topic = "t", .topic_id = s->topic_id, .index = (int32_t)p, .slot = p + 1, .dir = dir, .preallocate_bytes = 65536,
                                 .producer_expiry_ms = 86400000, .producers_max = 16, .topic_config = s->topic,
                                 .home_core = tide_home_core(&s->topic_id, (int32_t)p, s->core_count),
                                 .lease_until_ns = &m->publication.lease_until_ns,
                                 .grace = {.self = m, .begin = grace_begin, .passed = grace_passed}};
    snprintf(dir, sizeof(dir), "/data/t-%u", p);
    m->partitions[p] = partition_create(&c);
    int e = partition_open(m->partitions[p], sim_fs_verbs(m->fs), error, sizeof(error));
    if (e != 0) {
        fprintf(stderr, "partition_open: %d %s\n", e, error);
        give_up(s, "a partition could not be opened");
    }
}

static void order(struct machine *m, enum mail_kind kind, unsigned p)
{
    struct sim *s = m->sim;
    const struct committed *c = &s->committed[p];
    struct tide_mail *letter = calloc(1, sizeof(*letter));
    letter->kind = kind;
    letter->from = s->core_count;
    if (kind == MAIL_ADOPT) {
        letter->order.partition = m->partitions[p];
    } else {
        struct mail_role *r = &letter->become.role;
        letter->become.partition = m->partitions[p];
        *r = (struct mail_role){.self = (int32_t)m->id + 1, .leader = c->leader < 0 ? -1 : c->leader + 1, .leader_epoch = c->leader_epoch,
                                .partition_epoch = c->partition_epoch, .replica_count = s->brokers, .unclean_epoch = -1};
        for (unsigned b = 0; b < s->brokers; b++) {
            r->replicas[b] = (int32_t)b + 1;
            r->broker_epochs[b] = s->machines[b].epoch;
            if (c->isr & 1u << b)
                r->isr[r->isr_count++] = (int32_t)b + 1;
        }
        m->told[p] = c->partition_epoch;
    }
    if (post_send(m->office, s->core_count, partition_home(m->partitions[p]), letter) != TIDE_OK)
        give_up(s, "a full ring");
}

static void boot_core(struct machine *m, uint32_t i)
{
    static const struct core_listener listeners[] = {{KAFKA_PORT, 0}};
    struct sim *s = m->sim;
    struct machine_core *k = &m->cores[i];
    struct log_core_config log = {.core = i, .tail_buffer_bytes = 16384, .tail_buffers = 24, .read_buffer_bytes = 65536, .read_buffers = 8,
                                  .index_chunks = 64, .views = 4095, .counters = &k->counters};
    struct core_config c = {.number = i, .core_count = s->core_count, .settings = &s->settings, .publication = &m->publication, .office = m->office,
                            .start_ns = s->now_ns, .listeners = listeners, .listener_count = 1, .replication_port = PEER_PORT, .steer = m->steer};
    memset(k, 0, sizeof(*k));
    k->log_core = log_core_create(&log);
    k->disk = sim_disk_create(m->fs, &(struct sim_disk_config){.jitter_ns = 400000});
    c.log_core = k->log_core;
    c.net = (struct net_config){.mac = mac_of(m->id), .addr = addr_of(m->id), .prefix_len = 24, .mtu = 1500, .announce = i == 0, .tx_pool = s->tx_pool};
    c.tcp = (struct tcp_config){.connections_max = 64, .syn_backlog = 16, .receive_window_bytes = 65536, .send_buffer_bytes = 262144, .mss = 1460,
                                .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = s->tx_pool};
    for (unsigned b = 0; b < sizeof(c.tcp.secret); b++)
        c.tcp.secret[b] = (uint8_t)tide_random_u64(&s->random);
    c.broker = (struct broker_config){.request_pool = s->request_pool, .response_pool = s->response_pool, .peer_pool = s->peer_pool, .requests_max = 128,
                                      .sessions_max = 32, .mails_max = 127,
                                      .grace = {.self = m, .begin = grace_begin, .passed = grace_passed}};
    k->core = core_create(&c);
    if (k->log_core == NULL || k->core == NULL)
        give_up(s, "no memory for a core");
}

static void boot(struct machine *m)
{
    struct sim *s = m->sim;
    m->office = post_office_create(s->core_count);
    m->steer = s->core_count > 1 ? steer_create(s->core_count) : NULL;
    atomic_store(&m->publication.now, NULL);
    atomic_store(&m->publication.lease_until_ns, 0);
    m->starts++;
    for (unsigned i = 0; i < sizeof(m->incarnation.bytes); i++)
        m->incarnation.bytes[i] = (uint8_t)tide_random_u64(&s->random);
    for (uint32_t i = 0; i < s->core_count; i++)
        boot_core(m, i);
    for (unsigned p = 0; p < s->partitions; p++) {
        open_partition(m, p);
        m->adopted[p] = false;
        m->told[p] = -1;
        m->high[p] = -1;
        m->high_epoch[p] = -1;
        order(m, MAIL_ADOPT, p);
    }
    m->up = true;
    m->heard_ns = s->now_ns;
    trace(s, "broker %u starts", m->id + 1);
}

static void forget_letter(struct tide_mail *m)
{
    if (m->kind == MAIL_APPEND)
        tide_slice_release(m->append.records);
    if (m->pool == NULL)
        free(m);
}

/* The power goes, or the machine is taken down at the end. */
static void halt(struct machine *m, bool power_cut)
{
    struct sim *s = m->sim;
    struct tide_mail *letters[TAKEN];
    unsigned n;
    trace(s, "broker %u: the power goes", m->id + 1);
    if (power_cut)
        sim_fs_crash(m->fs, SIM_CRASH_RANDOM);
    unsigned kept = 0;
    for (unsigned i = 0; i < s->question_count; i++)
        if (s->questions[i].from != m->id)
            s->questions[kept++] = s->questions[i];
    s->question_count = kept;
    for (uint32_t i = 0; i < s->core_count; i++) {
        struct machine_core *k = &m->cores[i];
        for (unsigned f = 0; f < k->io.tx_count; f++)
            rte_pktmbuf_free(k->io.tx[f]);
        for (unsigned f = 0; f < k->io.rx_count; f++)
            rte_pktmbuf_free(k->io.rx[f]);
        while ((n = post_take(m->office, i, letters, TAKEN)) != 0)
            for (unsigned l = 0; l < n; l++)
                forget_letter(letters[l]);
        sim_disk_destroy(k->disk);
    }
    while ((n = post_take(m->office, s->core_count, letters, TAKEN)) != 0)
        for (unsigned l = 0; l < n; l++)
            forget_letter(letters[l]);
    for (uint32_t i = 0; i < s->core_count; i++)
        core_forget(m->cores[i].core);
    for (uint32_t i = 0; i < s->core_count; i++)
        core_destroy(m->cores[i].core);
    for (unsigned p = 0; p < s->partitions; p++)
        partition_destroy(m->partitions[p]);
    for (uint32_t i = 0; i < s->core_count; i++)
        log_core_destroy(m->cores[i].log_core);
    steer_destroy(m->steer);
    post_office_destroy(m->office);
    free(m->view);
    m->view = NULL;
    m->up = false;
}

/* ---- control, as a script ------------------------------------------------------------------------------------- */

/* News travel fast, or not at all fast. */
static uint64_t some_ms(struct sim *s)
{
    return below_ms(s, tide_random_hits(&s->random, 3) ? 60 : 3);
}

static void changed(struct sim *s, unsigned p)
{
    s->committed[p].partition_epoch++;
    trace(s, "partition %u: leader %d epoch %d/%d isr %x", p, s->committed[p].leader + 1, s->committed[p].leader_epoch, s->committed[p].partition_epoch,
          s->committed[p].isr);
    for (unsigned b = 0; b < s->brokers; b++)
        if (!s->machines[b].view_stale) {
            s->machines[b].view_stale = true;
            s->machines[b].sync_ns = s->now_ns + some_ms(s);
        }
}

static bool is_heard(const struct sim *s, const struct machine *m)
{
    return m->up && s->now_ns >= m->deaf_until_ns && s->now_ns >= m->paused_until_ns;
}

static bool is_alive(const struct sim *s, unsigned b)
{
    return s->machines[b].registered;
}

/* A new leader out of the ISR; `not` is passed over when another is there. */
static void elect(struct sim *s, unsigned p, int not)
{
    struct committed *c = &s->committed[p];
    int to = -1;
    unsigned first = (unsigned)tide_random_below(&s->random, s->brokers);
    for (unsigned i = 0; i < s->brokers; i++) {
        unsigned b = (first + i) % s->brokers;
        if (c->isr & 1u << b && is_alive(s, b) && (to < 0 || (int)b != not))
            to = to < 0 || to == not ? (int)b : to;
    }
    c->leader = to;
    c->leader_epoch++;
    changed(s, p);
}

static void fence(struct sim *s, unsigned b)
{
    s->machines[b].registered = false;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        bool led = c->leader == (int)b;
        uint32_t without = c->isr & ~(1u << b);
        if (without == c->isr && !led)
            continue;
        if (without != 0) /* the last one stays: only it is known to have everything */
            c->isr = without;
        if (led)
            elect(s, p, (int)b);
        else
            changed(s, p);
    }
}

static void enroll(struct sim *s, unsigned b)
{
    struct machine *m = &s->machines[b];
    m->registered = true;
    if (m->registered_ns < m->boot_ns) /* another incarnation; else it is only heard again */
        m->epoch = ++s->next_epoch;
    m->registered_ns = s->now_ns;
    for (unsigned p = 0; p < s->partitions; p++) {
        if (s->committed[p].leader < 0)
            elect(s, p, -1);
        else
            changed(s, p);
    }
}

static void publish(struct machine *m)
{
    struct sim *s = m->sim;
    struct image {
        struct tide_view view;
        struct view_broker brokers[BROKERS_MAX];
        struct view_topic topic;
        struct view_partition partitions[PARTITIONS_MAX];
        int32_t replicas[BROKERS_MAX], isr[PARTITIONS_MAX][BROKERS_MAX];
        uint32_t by_name[16], by_id[16];
    } *v = calloc(1, sizeof(*v));
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct machine *o = &s->machines[b];
        v->replicas[b] = (int32_t)b + 1;
        v->brokers[b] = (struct view_broker){.id = (int32_t)b + 1, .fenced = !o->registered, .epoch = o->epoch, .incarnation = o->incarnation,
                                             .replication_addr = addr_of(b), .replication_port = PEER_PORT, .core_count = s->core_count,
                                             .endpoints = {{.port = KAFKA_PORT}}};
        snprintf(v->brokers[b].endpoints[0].host, sizeof(v->brokers[b].endpoints[0].host), "10.0.0.%u", b + 1);
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        const struct committed *c = &s->committed[p];
        struct view_partition *vp = &v->partitions[p];
        *vp = (struct view_partition){.leader = c->leader < 0 ? -1 : c->leader + 1, .leader_epoch = c->leader_epoch, .partition_epoch = c->partition_epoch,
                                      .replica_count = (uint16_t)s->brokers, .replicas = v->replicas, .isr = v->isr[p]};
        for (unsigned b = 0; b < s->brokers; b++)
            if (c->isr & 1u << b)
                v->isr[p][vp->isr_count++] = (int32_t)b + 1;
        if (m->adopted[p]) {
            vp->local = m->partitions[p];
            vp->home_core = partition_home(m->partitions[p]);
        }
    }
    memcpy(v->topic.name, "t", 2);
    v->topic.name_len = 1;
    v->topic.id = s->topic_id;
    v->topic.partition_count = s->partitions;
    v->topic.partitions = v->partitions;
    v->topic.config = s->topic;
    v->view = (struct tide_view){.version = ++s->order, .self = (int32_t)m->id + 1, .controller = 1, .broker_count = s->brokers, .brokers = v->brokers,
                                 .topic_count = 1, .topics = &v->topic, .hash_mask = 15, .by_name = v->by_name, .by_id = v->by_id};
    tide_uuid_to_text(&s->cluster_id, v->view.cluster_id);
    tide_view_index(&v->topic, 1, 16, v->by_name, v->by_id);
    atomic_store(&m->publication.now, &v->view);
    free(m->view); /* no core is within a turn */
    m->view = &v->view;
}

/* Compare and set. */
static void on_isr(struct sim *s, struct machine *m, struct tide_mail *letter)
{
    struct mail_isr *a = &letter->isr;
    unsigned p = (unsigned)partition_index(a->partition);
    struct committed *c = &s->committed[p];
    uint32_t isr = 0;
    a->error = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        unsigned b = (unsigned)a->isr[i] - 1;
        isr |= 1u << b;
        if (!is_alive(s, b) || (a->broker_epochs[i] != -1 && a->broker_epochs[i] != s->machines[b].epoch))
            a->error = KAFKA_INELIGIBLE_REPLICA;
    }
    if (!is_alive(s, m->id) || c->leader != (int)m->id || c->leader_epoch != a->leader_epoch)
        a->error = KAFKA_FENCED_LEADER_EPOCH;
    else if (c->partition_epoch != a->partition_epoch)
        a->error = KAFKA_INVALID_UPDATE_VERSION;
    if (a->error == 0) {
        if (!(isr & 1u << m->id))
            give_up(s, "a leader proposes an ISR without itself");
        c->isr = isr;
        changed(s, p);
        a->partition_epoch = c->partition_epoch;
        a->leader_epoch = c->leader_epoch;
    }
}

static void take_letters(struct machine *m)
{
    struct sim *s = m->sim;
    struct tide_mail *letters[TAKEN], *letter;
    unsigned n = post_take(m->office, s->core_count, letters, TAKEN);
    for (unsigned i = 0; i < n; i++) {
        letter = letters[i];
        switch (letter->kind) {
        case MAIL_ADOPT:
            m->adopted[partition_index(letter->order.partition)] = true;
            m->view_stale = true;
            m->sync_ns = s->now_ns;
            free(letter);
            break;
        case MAIL_BECOME: free(letter); break;
        case MAIL_ISR:
            if (s->question_count == LETTERS_MAX)
                give_up(s, "too many questions");
            s->questions[s->question_count++] = (struct question){.at_ns = s->now_ns + below_ms(s, 10), .order = s->order++, .from = m->id, .mail = letter};
            break;
        case MAIL_FAILED: give_up(s, "a replica says that its log failed");
        default: give_up(s, "an unexpected letter");
        }
    }
}

static void answer_questions(struct sim *s)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->question_count; i++) {
        struct question *q = &s->questions[i];
        struct machine *m = &s->machines[q->from];
        uint32_t home;
        if (q->at_ns > s->now_ns || !is_heard(s, m)) {
            s->questions[kept++] = *q;
            continue;
        }
        if (!q->decided) { /* what is committed is heard of later, or never */
            on_isr(s, m, q->mail);
            q->decided = true;
            q->at_ns = s->now_ns + some_ms(s);
            s->questions[kept++] = *q;
            continue;
        }
        home = partition_home(q->mail->isr.partition);
        if (post_send(m->office, s->core_count, home, q->mail) != TIDE_OK)
            give_up(s, "a full ring");
    }
    s->question_count = kept;
}

static void control_turn(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++)
        if (is_heard(s, &s->machines[b]))
            take_letters(&s->machines[b]);
    answer_questions(s);
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        bool heard = is_heard(s, m);
        bool adopted = heard;
        for (unsigned p = 0; p < s->partitions; p++)
            adopted &= m->adopted[p];
        if (heard)
            m->heard_ns = s->now_ns; /* heartbeats are not simulated */
        if (m->registered && m->registered_ns < m->boot_ns && heard)
            fence(s, b); /* it is another incarnation */
        if (m->registered && !heard && s->now_ns >= m->heard_ns + FENCE_MS * TIDE_NS_PER_MS)
            fence(s, b);
        if (heard && !m->registered && adopted && s->now_ns >= m->boot_ns + 5 * TIDE_NS_PER_MS)
            enroll(s, b);
    }
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (!is_heard(s, m))
            continue;
        atomic_store(&m->publication.lease_until_ns, m->registered ? s->now_ns + LEASE_MS * TIDE_NS_PER_MS : 0);
        if (!m->view_stale || s->now_ns < m->sync_ns)
            continue;
        for (unsigned p = 0; p < s->partitions; p++)
            if (m->adopted[p] && m->registered && m->told[p] != s->committed[p].partition_epoch)
                order(m, MAIL_BECOME, p);
        m->view_stale = false;
        publish(m);
    }
}

/* ---- a turn of a core -------------------------------------------------------------------------------------------- */

static bool has_cause(const struct sim *s, const struct machine_core *k)
{
    bool due = k->io.rx_count != 0 || k->io.tx_count != 0 || core_has_mail(k->core) || core_deadline_ns(k->core) <= s->now_ns ||
               sim_disk_deadline_ns(k->disk) <= s->now_ns || k->io.out.op_count != 0;
    for (unsigned i = 0; i < k->job_count && !due; i++)
        due = k->jobs[i].at_ns <= s->now_ns;
    return due;
}

/* P3: whoever is in sync has on its disk what is committed, whether the leader knows of its membership already or
 * not; and so many have it. */
static void look_at_members(struct sim *s, unsigned p, int64_t high, bool rose)
{
    unsigned have = 0;
    for (unsigned b = 0; b < s->brokers; b++) {
        have += s->machines[b].durable_seen[p] >= high;
        if (s->committed[p].isr & 1u << b && s->machines[b].durable_seen[p] < high) {
            trace(s, "partition %u: broker %u has %ld of %ld", p, b + 1, s->machines[b].durable_seen[p], high);
            give_up(s, "P3: a member of the ISR lacks what is committed");
        }
    }
    if (rose && have < 2)
        give_up(s, "P3: less than min.insync.replicas have what is committed");
}

/* P3 and P8, as seen from outside. */
static void watch(struct machine *m, unsigned p)
{
    struct sim *s = m->sim;
    struct partition_look l;
    partition_look(m->partitions[p], &l);
    if (l.log_end != m->end_seen[p] || log_durable_end(partition_log(m->partitions[p])) != m->durable_seen[p])
        trace(s, "broker %u partition %u: epoch %d %s log ends at %ld, counted %ld, high %ld", m->id + 1, p, l.leader_epoch, l.leader ? "leader" : "follower",
              l.log_end, l.counted_end, l.high_watermark);
    m->end_seen[p] = l.log_end;
    m->durable_seen[p] = log_durable_end(partition_log(m->partitions[p]));
    if (!l.leader)
        return;
    if (l.leader_epoch < 0 || l.leader_epoch >= 4096)
        give_up(s, "an epoch out of this test's bounds");
    if (s->leader_of_epoch[p][l.leader_epoch] != 0 && s->leader_of_epoch[p][l.leader_epoch] != (int)m->id + 1)
        give_up(s, "P8: two leaders in one epoch");
    s->leader_of_epoch[p][l.leader_epoch] = (int)m->id + 1;
    if (m->high_epoch[p] == l.leader_epoch && l.high_watermark < m->high[p])
        give_up(s, "P3: a high watermark fell");
    if (s->committed[p].leader_epoch == l.leader_epoch)
        look_at_members(s, p, l.high_watermark, m->high_epoch[p] == l.leader_epoch && l.high_watermark > m->high[p]);
    m->high_epoch[p] = l.leader_epoch;
    m->high[p] = l.high_watermark;
    if (l.high_watermark > s->committed_end[p])
        s->committed_end[p] = l.high_watermark;
}

static void core_turn_once(struct machine *m, uint32_t i)
{
    struct sim *s = m->sim;
    struct machine_core *k = &m->cores[i];
    struct tide_time t = {.now_ns = s->now_ns, .wall_ms = 1700000000000 + (int64_t)(s->now_ns / TIDE_NS_PER_MS)};
    unsigned kept = 0;
    for (unsigned j = 0; j < k->job_count; j++) {
        if (k->jobs[j].at_ns > s->now_ns || k->io.jobs_done_count == CORE_JOBS_MAX) {
            k->jobs[kept++] = k->jobs[j];
            continue;
        }
        k->jobs[j].job->run(k->jobs[j].job, sim_fs_verbs(m->fs));
        k->io.jobs_done[k->io.jobs_done_count++] = k->jobs[j].job;
    }
    k->job_count = kept;
    k->io.done_count += sim_disk_take(k->disk, s->now_ns, k->io.done + k->io.done_count, CORE_DONE_MAX - k->io.done_count);
    (void)core_turn(k->core, &t, &k->io);
    s->turns++;
    for (unsigned f = 0; f < k->io.tx_count; f++)
        send_frame(s, m->id, k->io.tx[f]);
    k->io.tx_count = 0;
    if (k->io.out.op_count != 0 && sim_disk_submit(k->disk, s->now_ns, k->io.out.ops, k->io.out.op_count) == TIDE_OK)
        k->io.out.op_count = 0;
    for (unsigned j = 0; j < k->io.out.job_count; j++) {
        if (k->job_count == JOBS_MAX)
            give_up(s, "too many jobs");
        k->jobs[k->job_count++] = (struct job_flight){s->now_ns + below_ms(s, s->job_ms), k->io.out.jobs[j]};
    }
    k->io.out.job_count = 0;
    if (s->turns % 16 == 0)
        core_check(k->core);
    for (unsigned p = 0; p < s->partitions; p++) {
        if (!m->adopted[p] || partition_home(m->partitions[p]) != i)
            continue;
        watch(m, p);
        if (s->turns % 16 == 0)
            partition_check(m->partitions[p]);
    }
}

/* ---- the client ----------------------------------------------------------------------------------------------------- */

static uint32_t value_of(unsigned p, uint32_t number, uint8_t *to)
{
    uint32_t len = 8 + (number * 7919u + p * 31u) % VALUE_MAX;
    memset(to, (int)(number & 0xff), len);
    memcpy(to, &number, sizeof(number));
    to[4] = (uint8_t)p;
    return len;
}

/* kind 1 bit, partition 3, generation 12, number 15 */
static int32_t correlation_of(bool fetch, unsigned p, uint32_t generation, uint32_t number)
{
    return (int32_t)((uint32_t)fetch << 30 | p << 27 | (generation & 0xfff) << 15 | number);
}

static void send_request(struct sim *s, struct line *l, struct wire_writer *w)
{
    if (!wire_frame_end(w))
        give_up(s, "no memory for a request");
    tcp_write(l->conn, &w->out);
}

static void send_produce(struct sim *s, unsigned p, struct line *l, uint32_t number)
{
    uint8_t value[8 + VALUE_MAX], batch[VALUE_MAX + 400];
    struct batch_build_record r = {.timestamp = 1700000000000, .value = value};
    struct wire_writer w;
    struct tide_rope records = {0};
    size_t len;
    trace(s, "client: partition %u record %u to broker %ld", p, number, l - s->lines + 1);
    r.value_len = (int32_t)value_of(p, number, value);
    len = batch_build(batch, sizeof(batch), &r, 1, 42 + (int64_t)p, 0, (int32_t)number);
    if (len == 0 || tide_rope_copy_in(&records, s->client_pool, batch, (uint32_t)len) != TIDE_OK)
        give_up(s, "no memory for a batch");
    wire_writer_init(&w, s->client_pool);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_PRODUCE, 7, correlation_of(false, p, s->producers[p].generation, number), "sim", 3);
    produce_request_put_transactional_id(&w, 7, NULL, 0);
    produce_request_put_acks(&w, 7, -1);
    produce_request_put_timeout_ms(&w, 7, 1500);
    produce_request_open_topic_data(&w, 7, 1);
    produce_request_topic_data_put_name(&w, 7, "t", 1);
    produce_request_topic_data_open_partition_data(&w, 7, 1);
    produce_request_partition_data_put_index(&w, 7, (int32_t)p);
    produce_request_partition_data_put_records(&w, 7, &records);
    send_request(s, l, &w);
}

static void send_fetch(struct sim *s, unsigned p, struct line *l)
{
    struct producer *d = &s->producers[p];
    struct wire_writer w;
    wire_writer_init(&w, s->client_pool);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_FETCH, 4, correlation_of(true, p, ++d->fetch_generation, 0), "sim", 3);
    fetch_request_put_replica_id(&w, 4, -1);
    fetch_request_put_max_wait_ms(&w, 4, 200);
    fetch_request_put_min_bytes(&w, 4, 1);
    fetch_request_put_max_bytes(&w, 4, 60000);
    fetch_request_put_isolation_level(&w, 4, 1);
    fetch_request_open_topics(&w, 4, 1);
    fetch_request_topic_put_topic(&w, 4, "t", 1);
    fetch_request_topic_open_partitions(&w, 4, 1);
    fetch_request_partition_put_partition(&w, 4, (int32_t)p);
    fetch_request_partition_put_fetch_offset(&w, 4, d->read);
    fetch_request_partition_put_partition_max_bytes(&w, 4, 40000);
    send_request(s, l, &w);
    d->asked_ns = s->now_ns;
}

/* Everything that was not acknowledged is sent again, with the same sequences, to whoever leads then. */
static void start_over(struct sim *s, unsigned p)
{
    struct producer *d = &s->producers[p];
    d->generation++;
    d->sent = d->acked;
    d->leader = -1;
    d->retry_ns = s->now_ns + RETRY_MS * TIDE_NS_PER_MS;
}

static void hang_up(struct sim *s, unsigned b)
{
    struct line *l = &s->lines[b];
    if (l->conn != NULL)
        tcp_abort(l->conn);
    l->conn = NULL;
    tide_rope_clear(&l->in);
    l->again_ns = s->now_ns + RETRY_MS * TIDE_NS_PER_MS;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct producer *d = &s->producers[p];
        if (d->leader == (int)b)
            start_over(s, p);
        if (d->fetch_from == (int)b)
            d->asked_ns = 0, d->fetch_from = -1;
    }
}

static void on_produced(struct sim *s, unsigned p, uint32_t generation, uint32_t number, struct wire_cursor *c)
{
    struct producer *d = &s->producers[p];
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response r;
    if (!produce_response_read(c, 7, &in) || !produce_response_topic_produce_response_next(&in.responses, 7, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, 7, &r))
        give_up(s, "a malformed produce response");
    if ((d->generation & 0xfff) != generation)
        return;
    trace(s, "client: partition %u record %u: error %d, offset %ld", p, number, r.error_code, r.base_offset);
    if (number != d->acked)
        give_up(s, "answers out of order");
    switch (r.error_code) {
    case 0:
        if (r.base_offset != (int64_t)number)
            give_up(s, "P6: a record was acknowledged at an offset that is not its own");
        d->acked++;
        d->progress_ns = s->now_ns;
        break;
    case KAFKA_NOT_LEADER_OR_FOLLOWER:
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION:
    case KAFKA_LEADER_NOT_AVAILABLE:
    case KAFKA_NOT_ENOUGH_REPLICAS:
    case KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case KAFKA_REQUEST_TIMED_OUT:
    case KAFKA_KAFKA_STORAGE_ERROR: start_over(s, p); break;
    default:
        fprintf(stderr, "error %d for record %u of partition %u\n", r.error_code, number, p);
        give_up(s, "P6: a produce was refused for good");
    }
}

/* P1, P5, P6: offset n holds record n, whatever was acknowledged when. */
static void on_fetched(struct sim *s, unsigned p, struct wire_cursor *c)
{
    static uint8_t bytes[200000];
    struct producer *d = &s->producers[p];
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data r;
    uint32_t at = 0;
    if (!fetch_response_read(c, 4, &in) || !fetch_response_fetchable_topic_response_next(&in.responses, 4, &t) ||
        !fetch_response_partition_data_next(&t.partitions, 4, &r))
        give_up(s, "a malformed fetch response");
    d->asked_ns = 0;
    d->fetch_from = -1;
    if (r.error_code == KAFKA_OFFSET_OUT_OF_RANGE && d->read <= (int64_t)d->acked)
        give_up(s, "P1: what was acknowledged is out of range");
    if (r.error_code != 0 || r.records.at.len > sizeof(bytes))
        return;
    tide_slice_copy(r.records.at, bytes);
    while (at + BATCH_HEADER <= r.records.at.len) {
        struct batch_header h;
        struct batch_iter it;
        struct batch_record rec;
        uint8_t want[8 + VALUE_MAX];
        batch_header_parse(bytes + at, &h);
        if (batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) != h.crc)
            give_up(s, "P4: a damaged batch was served");
        batch_iter_init(&it, &h, bytes + at + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
        while (batch_iter_next(&it, &rec)) {
            if (rec.offset < d->read)
                continue;
            if (rec.offset != d->read || (uint32_t)rec.value_len != value_of(p, (uint32_t)rec.offset, want) ||
                memcmp(rec.value, want, (size_t)rec.value_len) != 0)
                give_up(s, "P5: a record is missing, doubled, out of order, or another one");
            if (rec.offset >= s->committed_end[p])
                give_up(s, "P5: a record was served that nobody committed");
            d->read++;
            d->progress_ns = s->now_ns;
        }
        at += batch_size(&h);
    }
}

static void take_responses(struct sim *s, unsigned b)
{
    struct line *l = &s->lines[b];
    while (l->in.len >= 8) {
        uint8_t head[8];
        uint32_t size, id;
        struct wire_cursor c;
        unsigned p;
        tide_slice_copy(tide_rope_slice(&l->in, 0, 8), head);
        size = load_be32(head);
        if (l->in.len < size + 4)
            return;
        id = load_be32(head + 4);
        p = id >> 27 & 7;
        wire_cursor_init(&c, tide_rope_slice(&l->in, 8, size - 4));
        if (p >= s->partitions)
            give_up(s, "an answer to no question");
        if (!(id >> 30))
            on_produced(s, p, id >> 15 & 0xfff, id & 0x7fff, &c);
        else if ((s->producers[p].fetch_generation & 0xfff) == (id >> 15 & 0xfff) && s->producers[p].fetch_from == (int)b)
            on_fetched(s, p, &c);
        l->heard_ns = s->now_ns;
        tide_rope_drop(&l->in, size + 4);
    }
}

static bool is_waiting(const struct sim *s, unsigned b)
{
    for (unsigned p = 0; p < s->partitions; p++)
        if ((s->producers[p].leader == (int)b && s->producers[p].sent != s->producers[p].acked) || s->producers[p].fetch_from == (int)b)
            return true;
    return false;
}

static void client_work(struct sim *s, unsigned p)
{
    struct producer *d = &s->producers[p];
    int leader = s->committed[p].leader;
    if (d->leader < 0 && s->now_ns >= d->retry_ns && leader >= 0 && s->lines[leader].conn != NULL)
        d->leader = leader;
    if (d->leader >= 0 && s->lines[d->leader].conn != NULL)
        /* The first goes alone: nobody knows the producer yet, and any sequence would be taken (kafka-protocol 5.3). */
        while (d->sent < s->records && d->sent < d->acked + (d->acked == 0 ? 1 : IN_FLIGHT) && s->now_ns >= s->begin_ns + d->sent * s->pace_ns)
            send_produce(s, p, &s->lines[d->leader], d->sent++);
    if (d->asked_ns == 0 && d->read < (int64_t)s->records && leader >= 0 && s->lines[leader].conn != NULL && s->now_ns >= d->retry_ns) {
        d->fetch_from = leader;
        send_fetch(s, p, &s->lines[leader]);
    }
}

static void client_turn(struct sim *s)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    struct tcp_event e;
    unsigned n;
    tcp_on_time(s->stack, s->now_ns);
    net_on_time(&s->net, s->now_ns);
    while (tcp_next_event(s->stack, &e)) {
        unsigned b = 0;
        while (b < s->brokers && s->lines[b].conn != e.conn)
            b++;
        if (b == s->brokers)
            continue;
        if (e.bits & TCP_EVENT_READABLE) {
            tcp_consumed(e.conn, tcp_read(e.conn, &s->lines[b].in));
            take_responses(s, b);
        }
        if (e.bits & (TCP_EVENT_GONE | TCP_EVENT_PEER_CLOSED)) {
            if (e.bits & TCP_EVENT_GONE)
                s->lines[b].conn = NULL;
            hang_up(s, b);
        }
    }
    for (unsigned b = 0; b < s->brokers; b++) {
        struct line *l = &s->lines[b];
        if (l->conn == NULL && s->now_ns >= l->again_ns) {
            struct tcp_endpoint from = {addr_of(CLIENT), (uint16_t)(20000 + s->port++ % 20000)}, to = {addr_of(b), KAFKA_PORT};
            l->conn = tcp_connect(s->stack, s->now_ns, &from, &to);
            l->since_ns = l->heard_ns = s->now_ns;
        }
        if (!is_waiting(s, b))
            l->heard_ns = s->now_ns;
        else if (l->conn != NULL && s->now_ns - l->heard_ns > ANSWER_MS * TIDE_NS_PER_MS)
            hang_up(s, b); /* as a client's request timeout does */
    }
    for (unsigned p = 0; p < s->partitions; p++)
        client_work(s, p);
    while ((n = tcp_output(s->stack, s->now_ns, packets, metas, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (net_output(&s->net, s->now_ns, packets[i], &metas[i].src, &metas[i].dst, 0) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
    while ((n = net_take_tx(&s->net, packets, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            send_frame(s, CLIENT, packets[i]);
}

/* ---- the run ----------------------------------------------------------------------------------------------------------- */

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
        if (f.to == CLIENT) {
            struct net_packet p;
            if (net_input(&s->net, s->now_ns, f.m, &p) == NET_TCP)
                tcp_input(s->stack, s->now_ns, f.m, &(struct tcp_meta){.src = p.source, .dst = p.destination});
            continue;
        }
        struct machine *m = &s->machines[f.to];
        struct machine_core *k = &m->cores[f.core];
        if (!m->up || k->io.rx_count == CORE_RX_MAX)
            rte_pktmbuf_free(f.m);
        else
            k->io.rx[k->io.rx_count++] = f.m;
    }
}

static uint64_t next_time(const struct sim *s)
{
    uint64_t t = TIDE_MIN(tcp_deadline_ns(s->stack), net_deadline_ns(&s->net));
    t = TIDE_MIN(t, s->next_fault_ns);
    for (unsigned i = 0; i < s->wire_count; i++)
        t = TIDE_MIN(t, s->wire[i].at_ns);
    for (unsigned i = 0; i < s->question_count; i++)
        if (is_heard(s, &s->machines[s->questions[i].from]))
            t = TIDE_MIN(t, s->questions[i].at_ns);
    for (unsigned b = 0; b < s->brokers; b++)
        if (s->machines[b].view_stale && is_heard(s, &s->machines[b]))
            t = TIDE_MIN(t, s->machines[b].sync_ns);
    for (unsigned b = 0; b < s->brokers; b++) {
        if (!s->machines[b].up) {
            t = TIDE_MIN(t, s->machines[b].boot_ns);
            continue;
        }
        if (s->machines[b].paused_until_ns > s->now_ns) {
            t = TIDE_MIN(t, s->machines[b].paused_until_ns);
            continue;
        }
        for (uint32_t i = 0; i < s->core_count; i++) {
            const struct machine_core *k = &s->machines[b].cores[i];
            if (has_cause(s, k))
                return s->now_ns + 1000;
            t = TIDE_MIN(t, TIDE_MIN(core_deadline_ns(k->core), sim_disk_deadline_ns(k->disk)));
            for (unsigned j = 0; j < k->job_count; j++)
                t = TIDE_MIN(t, k->jobs[j].at_ns);
        }
    }
    return TIDE_MIN(TIDE_MAX(t, s->now_ns + 1000), s->now_ns + 5 * TIDE_NS_PER_MS);
}

static void fault(struct sim *s)
{
    unsigned b = (unsigned)tide_random_below(&s->random, s->brokers);
    unsigned p = (unsigned)tide_random_below(&s->random, s->partitions);
    unsigned to = (unsigned)tide_random_below(&s->random, NODES);
    /* Some come close together, while what the last one began is still under way. */
    s->next_fault_ns = s->now_ns + below_ms(s, tide_random_hits(&s->random, 2) ? 400 : 20);
    unsigned kind = (unsigned)tide_random_below(&s->random, 9);
    trace(s, "fault %u: broker %u, partition %u, node %u", kind, b + 1, p, to + 1);
    switch (kind) {
    case 8: /* all at once: nothing is left but what was durable */
        for (b = 0; b < s->brokers; b++) {
            struct machine *m = &s->machines[b];
            if (m->up)
                halt(m, true);
            m->deaf_until_ns = m->paused_until_ns = 0;
            m->boot_ns = s->now_ns + below_ms(s, 300);
        }
        s->crashes++;
        break;
    case 6:
        s->machines[b].deaf_until_ns = s->now_ns + below_ms(s, 400);
        s->deafs++;
        break;
    case 7:
        s->machines[b].paused_until_ns = s->now_ns + below_ms(s, 300);
        s->pauses++;
        break;
    case 0:
        if (!s->machines[b].up)
            break;
        s->machines[b].deaf_until_ns = s->machines[b].paused_until_ns = 0;
        halt(&s->machines[b], true);
        s->machines[b].boot_ns = s->now_ns + below_ms(s, 300);
        s->crashes++;
        break;
    case 1:
    case 2:
        if (s->committed[p].leader < 0)
            break;
        elect(s, p, s->committed[p].leader);
        s->moves++;
        break;
    case 3:
    case 4:
        s->cut[b][to] = true;
        if (tide_random_hits(&s->random, 2))
            s->cut[to][b] = true;
        s->cuts++;
        break;
    default: memset(s->cut, 0, sizeof(s->cut));
    }
}

/* A log that is being cut or moved on is where another election hurts most. */
static void elect_amid_cuts(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++)
        for (unsigned p = 0; p < s->partitions; p++) {
            struct machine *m = &s->machines[b];
            if (!m->up || !m->adopted[p] || partition_is_settled(m->partitions[p]) || !tide_random_hits(&s->random, 64))
                continue;
            elect(s, p, s->committed[p].leader);
            s->moves++;
        }
}

/* P9 and P4: everything is acknowledged and read, every replica in sync; then all hold the same bytes. */
static bool is_finished(const struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        if (s->producers[p].acked != s->records || s->producers[p].read != (int64_t)s->records || s->committed[p].isr != (1u << s->brokers) - 1)
            return false;
        for (unsigned b = 0; b < s->brokers; b++) {
            struct partition_look l;
            if (!s->machines[b].up)
                return false;
            partition_look(s->machines[b].partitions[p], &l);
            if (l.high_watermark != (int64_t)s->records)
                return false;
        }
    }
    return true;
}

static uint64_t bytes_of(struct sim *s, struct machine *m, unsigned p)
{
    struct machine_core *k = &m->cores[0];
    uint64_t digest = 0xcbf29ce484222325ull;
    static struct tide_out out;
    struct log_read r = {.end_offset = (int64_t)s->records};
    while (r.offset < (int64_t)s->records) {
        struct log_read read = {.offset = r.offset, .end_offset = r.end_offset, .max_bytes = 60000, .at_least_one = true};
        enum tide_status status;
        out.op_count = 0;
        while ((status = log_read(partition_log(m->partitions[p]), k->log_core, 0, &read, &out)) == TIDE_AGAIN) {
            struct disk_done done = {.id = out.ops[0].id};
            done.result = sim_fs_verbs(m->fs)->pread(sim_fs_verbs(m->fs)->self, out.ops[0].file, out.ops[0].buf, out.ops[0].len, out.ops[0].position);
            out.op_count = 0;
            log_read_on_disk(&read, &done);
        }
        if (status != TIDE_OK || read.bytes.len == 0)
            give_up(s, "P4: a replica cannot be read");
        struct tide_slice all = tide_rope_slice(&read.bytes, 0, read.bytes.len);
        struct batch_header h;
        while (all.len != 0 && batch_header_read(all, &h)) {
            struct tide_slice one = all;
            const uint8_t *piece;
            uint32_t n;
            one.len = batch_size(&h);
            while ((n = tide_slice_next(&one, &piece)) != 0)
                for (uint32_t i = 0; i < n; i++)
                    digest = (digest ^ piece[i]) * 0x100000001b3ull;
            r.offset = batch_last_offset(&h) + 1;
            all = tide_slice_after(all, batch_size(&h));
        }
        tide_rope_clear(&read.bytes);
    }
    return digest;
}

static void compare_replicas(struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        uint64_t first = bytes_of(s, &s->machines[0], p);
        for (unsigned b = 1; b < s->brokers; b++)
            if (bytes_of(s, &s->machines[b], p) != first)
                give_up(s, "P4: replicas hold different bytes");
        mix(s, &first, sizeof(first));
    }
}

static void make_client(struct sim *s)
{
    struct net_config n = {.mac = mac_of(CLIENT), .addr = addr_of(CLIENT), .prefix_len = 24, .mtu = 1500, .tx_pool = s->tx_pool,
                           .counters = &s->net_counters};
    struct tcp_config c = {.connections_max = 256, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 1 << 20, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = s->tx_pool, .secret = {1}};
    if (net_init(&s->net, &n, s->now_ns) != TIDE_OK)
        give_up(s, "net_init");
    s->stack = tcp_stack_create(&c);
}

static void begin(struct sim *s, uint64_t seed)
{
    settings_defaults(&s->settings);
    s->settings.replica_lag_time_max_ms = 300 + (int64_t)tide_random_below(&s->random, 700);
    s->settings.replication_peers_max = 16;
    s->settings.replication_beat_ms = 20;
    s->settings.replication_reconnect_backoff_max_ms = 200;
    if (tide_random_hits(&s->random, 3))
        s->settings.replication_window_bytes = 8192;
    settings_topic_defaults(&s->settings, &s->topic);
    s->topic.segment_bytes = 1 << 20;
    s->topic.min_insync_replicas = 2;
    s->topic_id.bytes[0] = 7;
    s->cluster_id.bytes[0] = 9;
    s->brokers = 2 + (unsigned)tide_random_below(&s->random, 2);
    s->core_count = 1 + (unsigned)tide_random_below(&s->random, 2);
    s->partitions = 1 + (unsigned)tide_random_below(&s->random, PARTITIONS_MAX);
    s->records = 50 + (uint32_t)tide_random_below(&s->random, 150);
    s->loss = tide_random_hits(&s->random, 2) ? 100 : 0;
    s->duplicate = tide_random_hits(&s->random, 2) ? 50 : 0;
    s->reorder = tide_random_hits(&s->random, 2) ? 20 : 0;
    s->delay_ns = 20000 + tide_random_below(&s->random, 300000);
    s->job_ms = tide_random_hits(&s->random, 2) ? 3 : 60;
    s->calm_ns = s->now_ns + below_ms(s, 4000);
    s->pace_ns = (s->calm_ns - s->now_ns) / s->records;
    s->next_fault_ns = s->now_ns + below_ms(s, 500);
    make_client(s);
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        m->sim = s;
        m->id = b;
        m->epoch = -1;
        m->fs = sim_fs_create(&(struct sim_fs_config){.seed = seed * 8 + b});
        const struct tide_fs *fs = sim_fs_verbs(m->fs);
        if (fs->mkdir(fs->self, "/data") != 0 || fs->sync_dir(fs->self, "/") != 0)
            give_up(s, "mkdir");
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        s->committed[p] = (struct committed){.leader = -1, .isr = (1u << s->brokers) - 1};
        s->producers[p].leader = s->producers[p].fetch_from = -1;
    }
    for (unsigned b = 0; b < s->brokers; b++) {
        s->machines[b].boot_ns = s->now_ns;
        boot(&s->machines[b]);
    }
}

static void end(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        if (s->machines[b].up)
            halt(&s->machines[b], true);
        sim_fs_destroy(s->machines[b].fs);
        tide_rope_clear(&s->lines[b].in);
    }
    while (s->wire_count != 0)
        rte_pktmbuf_free(s->wire[--s->wire_count].m);
    tcp_stack_destroy(s->stack);
    net_deinit(&s->net);
}

enum { POOLS = 5 };
static bool tracing;

static uint64_t run(struct rte_mempool *const pools[POOLS], uint64_t seed, bool verbose)
{
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before[POOLS];
    uint64_t digest;
    for (unsigned i = 0; i < POOLS; i++)
        before[i] = rte_mempool_avail_count(pools[i]);
    s->wire = calloc(WIRE_MAX, sizeof(*s->wire));
    s->random.state = s->seed = seed;
    s->digest = 0xcbf29ce484222325ull;
    s->tx_pool = pools[0];
    s->request_pool = pools[1];
    s->response_pool = pools[2];
    s->client_pool = pools[3];
    s->peer_pool = pools[4];
    s->verbose = verbose;
    s->trace = tracing;
    s->now_ns = s->begin_ns = TIDE_NS_PER_S * (1 + tide_random_below(&s->random, 1000));
    begin(s, seed);
    while (!is_finished(s)) {
        s->now_ns = next_time(s);
        if (!s->calm && s->now_ns >= s->next_fault_ns)
            fault(s);
        if (!s->calm)
            elect_amid_cuts(s);
        if (!s->calm && s->now_ns >= s->calm_ns) {
            s->calm = true;
            s->next_fault_ns = UINT64_MAX;
            memset(s->cut, 0, sizeof(s->cut));
        }
        for (unsigned b = 0; b < s->brokers; b++)
            if (!s->machines[b].up && s->now_ns >= s->machines[b].boot_ns)
                boot(&s->machines[b]);
        deliver(s);
        for (unsigned b = 0; b < s->brokers; b++)
            for (uint32_t i = 0; s->machines[b].up && s->now_ns >= s->machines[b].paused_until_ns && i < s->core_count; i++)
                if (has_cause(s, &s->machines[b].cores[i]))
                    core_turn_once(&s->machines[b], i);
        control_turn(s);
        client_turn(s);
        if (s->now_ns - s->begin_ns > CALM_S * TIDE_NS_PER_S)
            give_up(s, "P9: no end in sight");
    }
    compare_replicas(s);
    if (verbose)
        printf("seed %lu: %u brokers, %u cores, %u partitions of %u records, %u crashes, %u moves, %u cuts, %u times deaf, %u pauses, %lu frames, %lu turns, %lu ms, digest %016lx\n",
               seed, s->brokers, s->core_count, s->partitions, s->records, s->crashes, s->moves, s->cuts, s->deafs, s->pauses, s->frames, s->turns,
               (s->now_ns - s->begin_ns) / 1000000, s->digest);
    end(s);
    for (unsigned i = 0; i < POOLS; i++)
        if (rte_mempool_avail_count(pools[i]) != before[i]) {
            fprintf(stderr, "pool %u: %u of %u\n", i, rte_mempool_avail_count(pools[i]), before[i]);
            give_up(s, "mbufs are missing");
        }
    digest = s->digest;
    free(s->wire);
    free(s);
    return digest;
}

static int run_seeds(uint64_t from, uint64_t seeds, bool verbose)
{
    struct rte_mempool *pools[POOLS];
    uint64_t all = 0;
    unit_eal();
    pools[0] = unit_pool("sim_tx", 16383, 1800);
    pools[1] = unit_pool("sim_request", 511, 16384);
    pools[2] = unit_pool("sim_response", 1023, 8192);
    pools[3] = unit_pool("sim_client", 32767, 256);
    pools[4] = unit_pool("sim_peer", 8191, 256);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(pools, seed, verbose);
        if (seed % 10 == 0 && run(pools, seed, false) != digest) {
            fprintf(stderr, "P12: two runs of seed %lu differ\n", seed);
            return 1;
        }
        all ^= digest * (seed + 1);
        if (verbose)
            fflush(stdout);
        if (sim_time_is_up())
            seeds = seed - from + 1;
    }
    printf("%lu seeds from %lu, digest %016lx\n", seeds, from, all);
    return 0;
}

#ifdef TIDE_MUTANTS
enum tide_mutant tide_mutant;

static const char *const mutant_names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "NONE",
#define MUTANT_ROW(name, text) [MUTANT_##name] = #name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
};

/* Each in a process of its own, which must not survive its seeds; without one it must. The other rules are guarded twice in a whole
 * data plane, or need more seeds than a normal run has: the exhaustive search (sim_search) tells them. */
static int run_mutants(uint64_t from, uint64_t seeds)
{
    static const enum tide_mutant here[] = {MUTANT_NONE, MUTANT_FREEZE, MUTANT_MAXIMAL_ISR, MUTANT_DURABLE};
    int missed = 0;
    (void)unsetenv("TIDE_SECONDS"); /* a bound of time would miss one on a slow machine */
    for (unsigned k = 0; k < TIDE_ARRAY_LEN(here); k++) {
        const enum tide_mutant i = here[k];
        int status = 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            tide_mutant = i;
            if (freopen("/dev/null", "w", stderr) == NULL)
                _exit(0);
            _exit(run_seeds(from, i == MUTANT_NONE ? 5 : seeds, false));
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        bool found = WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
        if (i == MUTANT_NONE) { /* what fails without a cause would notice everything */
            printf("%-20s %s\n", mutant_names[i], found ? "FAILED" : "passes");
            missed += found;
            continue;
        }
        printf("%-20s %s\n", mutant_names[i], found ? "noticed" : "NOT NOTICED");
        missed += !found;
    }
    return missed != 0;
}

static bool choose(const char *name)
{
    for (unsigned i = 0; i < MUTANT_COUNT; i++)
        if (strcmp(mutant_names[i], name) == 0)
            tide_mutant = (enum tide_mutant)i;
    return tide_mutant != MUTANT_NONE;
}
#else
static int run_mutants(uint64_t from, uint64_t seeds)
{
    (void)from;
    (void)seeds;
    fprintf(stderr, "sim_cluster_mutants does that\n");
    return 2;
}

static bool choose(const char *name)
{
    (void)name;
    return false;
}
#endif

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'}, {"trace", no_argument, NULL, 't'}, {"mutants", no_argument, NULL, 'm'},
                                            {"mutant", required_argument, NULL, 'o'}, {0}};
    uint64_t seeds = 100, from = 1;
    bool verbose = false, mutants = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        case 't': tracing = true; break;
        case 'm': mutants = true; break;
        case 'o':
            if (!choose(optarg))
                return 2;
            break;
        default: return 2;
        }
    }
    if (getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0)
        seeds *= 20;
    return mutants ? run_mutants(from, seeds) : run_seeds(from, seeds, verbose);
}
