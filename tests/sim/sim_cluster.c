/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of brokers in virtual time: two or three of them with one or two cores each, whole data
 * planes (TCP stacks, sessions, partitions, logs, peer streams), over a wire that loses, doubles, reorders
 * and is cut in one direction or both, and disks that lose what was not made durable, and on which a
 * batch of one replica rots. Control is a script here: it registers brokers, fences them, elects leaders
 * from the ISR (or else from those that were in it while it was large enough), moves leadership, and
 * commits the ISRs that leaders propose, by compare-and-set. A replica that rotted is put down as lost when
 * another one can lead, then opened anew and filled again. A client produces idempotently at acks=all
 * to several partitions and reads all the while.
 *
 * One seed of eight has ack.durability=memory. Brokers are killed as well as their power goes; one that comes back is no member of ISR or
 * ELR, whatever it was before (control-plane 4.8). Nothing rots there, and nobody falls without another member of the ISR that lives on
 * with everything: so nothing that was acknowledged may be lost, although all but one may have lost the ends of their logs.
 *
 * Checked: P1 every acknowledged record is there, at its offset; P2 acks=all only; P3 a high watermark
 * never falls within an epoch; P4 replicas hold the same bytes below it at the end, what rotted included; P5 and P6 a consumer
 * sees every record once and in order; P8 one leader per epoch; P9 after the faults stop all is
 * acknowledged, read, and every replica is in sync again, in bounded time; P12 a seed run twice gives the
 * same digest.
 *
 * Beside the seeds one story without faults is run three times: a broker that was away is filled while producers go on; as
 * fast as it goes, at leader.replication.throttled.rate, and at follower.replication.throttled.rate. What comes in is counted
 * at every step, and nobody waits longer for an acknowledgement. In another one a follower in sync falls behind memory in one partition, and is
 * read for although the stream to it stays busy with others.
 *
 *   sim_cluster [--seeds N] [--from SEED] [--verbose] [--trace]
 *   sim_cluster_mutants --mutants [--seeds N]   leaves out one rule after the other: each must be missed
 *                       --mutant NAME           one of include/tidemark/mutants.def, in this process
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "settings/settings.h"
#include "sim_client.h"
#include "sim_machine.h"
#include "sim_mutants.h"
#include "sim_seconds.h"
#include "sim_wire.h"
#include "tidemark/mutant.h"

enum {
    LETTERS_MAX = 256, TAKEN = 16, LEASE_MS = 60, FENCE_MS = 100, CALM_S = 60,
};

struct sim;

/* The stories of a broker that is filled, and of one that is in sync and behind memory; without faults. */
enum story { STORY_NONE, STORY_FILL_FAST, STORY_FILL_BY_LEADER, STORY_FILL_BY_FOLLOWER, STORY_BEHIND_MEMORY };

/* A replica, as control sees it. */
enum life {
    LIFE_OPEN,      /* adopted, or on the way there */
    LIFE_RELEASING,
    LIFE_DRAINING,  /* closed; somebody may still name it */
    LIFE_REFUSED,   /* recovery did not open it */
};

struct machine {
    struct sim *sim;
    unsigned id; /* broker id - 1 */
    bool up;     /* the process runs */
    bool killed; /* and the power stayed, when it fell last */
    uint64_t deaf_until_ns;   /* its management network is gone: control hears nothing of it, and it nothing of control */
    uint64_t paused_until_ns; /* it is stopped, and continues as if nothing had happened */
    bool registered;
    uint64_t boot_ns, heard_ns, registered_ns;
    int64_t epoch;
    uint64_t starts;
    struct tide_uuid incarnation;
    struct sim_machine data;
    struct partition *partitions[SIM_PARTITIONS_MAX];
    bool adopted[SIM_PARTITIONS_MAX];
    struct tide_view *view;
    bool view_stale;
    uint64_t sync_ns; /* when control's news reach it */
    int64_t end_seen[SIM_PARTITIONS_MAX], durable_seen[SIM_PARTITIONS_MAX];
    /* the last role told, so that none is told twice */
    int32_t told[SIM_PARTITIONS_MAX];
    int64_t high[SIM_PARTITIONS_MAX]; /* P3 */
    int32_t high_epoch[SIM_PARTITIONS_MAX];
    int64_t mark[SIM_PARTITIONS_MAX]; /* its replication-offset-checkpoint */
    enum life life[SIM_PARTITIONS_MAX];
    bool rotten[SIM_PARTITIONS_MAX];  /* it was met */
    struct tide_mail releases[SIM_PARTITIONS_MAX]; /* a core may hold one for long, and go down with it */
};

/* The committed state of a partition. */
struct committed {
    int32_t leader; /* broker number, -1 none */
    int32_t leader_epoch, partition_epoch;
    uint32_t isr; /* bit per broker */
    uint32_t elr; /* not in it, and yet with everything: the high watermark stands still since they left */
    uint32_t lost; /* they do not lead */
};

/* What control was asked and answers later. */
struct question {
    uint64_t at_ns, order;
    unsigned from;
    bool decided;
    struct tide_mail *mail;
};

struct sim {
    struct tide_random random;
    uint64_t now_ns, order, turns, begin_ns;
    uint64_t calm_ns;
    uint64_t seed;
    bool calm, trace;
    bool memory; /* ack.durability */
    enum story story;
    bool leader_throttled, follower_throttled;
    int64_t throttle_rate; /* of a broker */
    struct sim_wire wire;
    struct tide_settings settings;
    struct tide_topic_config topic;
    struct tide_uuid topic_id, cluster_id;
    const struct sim_pools *pools;
    unsigned brokers, core_count, partitions;
    struct machine machines[SIM_BROKERS_MAX];
    struct committed committed[SIM_PARTITIONS_MAX];
    int64_t next_epoch;
    struct question questions[LETTERS_MAX];
    unsigned question_count;
    unsigned crashes, kills, moves, cuts, deafs, pauses, rots, repairs;
    uint64_t forgotten; /* records that replicas had held and lost */
    unsigned rotted[SIM_PARTITIONS_MAX]; /* by broker id: whose replica has a bit flipped, 0 nobody's */
    unsigned looked[SIM_PARTITIONS_MAX]; /* how far the search for it is, at the end */
    uint64_t next_fault_ns;
    int leader_of_epoch[SIM_PARTITIONS_MAX][4096]; /* P8 */
    int64_t committed_end[SIM_PARTITIONS_MAX];
    struct sim_client client;
};

static void tell(const struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        const struct committed *c = &s->committed[p];
        fprintf(stderr, "  partition %u: leader %d epoch %d/%d isr %x; acknowledged %u of %u, read %ld\n", p, c->leader + 1, c->leader_epoch,
                c->partition_epoch, c->isr, s->client.producers[p].acked, s->client.config.records,
                s->client.producers[p].read);
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
static void vtrace(const struct sim *s, const char *format, va_list args)
{
    if (!s->trace)
        return;
    printf("%9.3f  ", (double)(s->now_ns - s->begin_ns) / 1e6);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
}

static void trace(const struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void trace(const struct sim *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vtrace(s, format, args);
    va_end(args);
}

static uint64_t below_ms(struct sim *s, uint64_t ms)
{
    return tide_random_below(&s->random, ms * TIDE_NS_PER_MS);
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

static bool open_partition(struct machine *m, unsigned p, bool repair)
{
    struct sim *s = m->sim;
    char dir[32], error[512] = "";
    struct partition_config c = sim_machine_partition(&m->data);
    c.topic = "t";
    c.topic_id = s->topic_id;
    c.index = (int32_t)p;
    c.slot = p + 1;
    c.dir = dir;
    c.topic_config = s->topic;
    c.high_watermark = m->mark[p];
    c.repair = repair;
    c.home_core = tide_home_core(&s->topic_id, (int32_t)p, s->core_count);
    snprintf(dir, sizeof(dir), "/data/t-%u", p);
    m->partitions[p] = partition_create(&c);
    int e = partition_open(m->partitions[p], sim_fs_verbs(m->data.fs), error, sizeof(error));
    if (e == -EBADMSG && s->rotted[p] == m->id + 1 && !repair) {
        trace(s, "broker %u partition %u: %s", m->id + 1, p, error);
        partition_destroy(m->partitions[p]);
        m->partitions[p] = NULL;
        return false;
    }
    if (e != 0) {
        fprintf(stderr, "partition_open: %d %s\n", e, error);
        give_up(s, "a partition could not be opened");
    }
    return true;
}

static void order(struct machine *m, enum mail_kind kind, unsigned p)
{
    struct sim *s = m->sim;
    const struct committed *c = &s->committed[p];
    struct tide_mail *letter = kind == MAIL_RELEASE ? &m->releases[p] : calloc(1, sizeof(*letter));
    *letter = (struct tide_mail){.kind = kind};
    letter->from = s->core_count;
    if (kind != MAIL_BECOME) {
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
    if (post_send(m->data.office, s->core_count, partition_home(m->partitions[p]), letter) != TIDE_OK)
        give_up(s, "a full ring");
}

/* What it has after a fall: all that its kernel had taken, if it was a kill. */
static void note_end(struct machine *m, unsigned p)
{
    int64_t end = log_next_offset(partition_log(m->partitions[p]));
    if (end > m->end_seen[p] || (m->killed && end < m->durable_seen[p]))
        give_up(m->sim, "P1: a log came back with more than it had, or without what its kernel had");
    m->sim->forgotten += (uint64_t)(m->end_seen[p] - end);
    m->end_seen[p] = m->durable_seen[p] = end;
}

static void boot(struct machine *m)
{
    struct sim *s = m->sim;
    sim_machine_boot(&m->data, &(struct sim_machine_config){.node = m->id, .core_count = s->core_count, .settings = &s->settings, .pools = s->pools,
                                                            .keeps_connections = true,
                                                            .grace = {.self = m, .begin = grace_begin, .passed = grace_passed}}, &s->random, s->now_ns);
    m->starts++;
    for (unsigned i = 0; i < sizeof(m->incarnation.bytes); i++)
        m->incarnation.bytes[i] = (uint8_t)tide_random_u64(&s->random);
    for (unsigned p = 0; p < s->partitions; p++) {
        m->adopted[p] = false;
        m->told[p] = -1;
        m->high[p] = -1;
        m->high_epoch[p] = -1;
        m->rotten[p] = !open_partition(m, p, false);
        m->life[p] = m->rotten[p] ? LIFE_REFUSED : LIFE_OPEN;
        if (s->memory)
            note_end(m, p);
        if (m->life[p] == LIFE_OPEN)
            order(m, MAIL_ADOPT, p);
    }
    m->up = true;
    m->heard_ns = s->now_ns;
    trace(s, "broker %u starts", m->id + 1);
}

/* The power goes, or the machine is taken down at the end; with ack.durability=memory it may be the process alone. */
static void halt(struct machine *m)
{
    struct sim *s = m->sim;
    unsigned kept = 0;
    m->killed = s->memory && tide_random_hits(&s->random, 2);
    s->kills += m->killed;
    trace(s, "broker %u: %s", m->id + 1, m->killed ? "is killed" : "the power goes");
    for (unsigned p = 0; s->memory && p < s->partitions; p++) {
        m->end_seen[p] = log_next_offset(partition_log(m->partitions[p]));
        m->durable_seen[p] = log_durable_end(partition_log(m->partitions[p]));
    }
    for (unsigned i = 0; i < s->question_count; i++)
        if (s->questions[i].from != m->id)
            s->questions[kept++] = s->questions[i];
    s->question_count = kept;
    sim_machine_cut(&m->data, m->killed ? SIM_CRASH_KILLS : SIM_CRASH_RANDOM);
    for (unsigned p = 0; p < s->partitions; p++)
        partition_destroy(m->partitions[p]);
    sim_machine_clear(&m->data);
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
        if (c->isr & ~c->lost & 1u << b && is_alive(s, b) && (to < 0 || (int)b != not))
            to = to < 0 || to == not ? (int)b : to;
    }
    c->leader = to;
    c->leader_epoch++;
    changed(s, p);
}

static void set_isr(struct sim *s, unsigned p, uint32_t isr)
{
    struct committed *c = &s->committed[p];
    c->elr = __builtin_popcount(isr) >= 2 ? 0 : (c->elr | c->isr) & ~isr;
    c->isr = isr;
}

static bool some_is_alive(const struct sim *s, uint32_t brokers)
{
    for (unsigned b = 0; b < s->brokers; b++)
        if (brokers & 1u << b && is_alive(s, b))
            return true;
    return false;
}

/* The broker has not what it had: it is in sync no more, and what it acknowledged in this epoch is not true. Unless nobody
 * else can lead, who has all that is committed; at its registration it is no question. */
static bool lose(struct sim *s, unsigned p, unsigned b, bool registers)
{
    struct committed *c = &s->committed[p];
    uint32_t others = c->isr & ~(1u << b);
    if (others == 0)
        others = c->elr & ~(1u << b);
    if (!registers && !some_is_alive(s, others))
        return false;
    if (others == 0)
        give_up(s, "everything rotted");
    trace(s, "partition %u: broker %u has not what it had", p, b + 1);
    set_isr(s, p, others);
    c->elr &= ~(1u << b);
    if (c->leader < 0 || c->leader == (int)b || !(c->isr & 1u << c->leader)) {
        elect(s, p, (int)b);
    } else {
        c->leader_epoch++;
        changed(s, p);
    }
    return true;
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
            set_isr(s, p, without);
        if (led)
            elect(s, p, (int)b);
        else
            changed(s, p);
    }
}

static void enroll(struct sim *s, unsigned b)
{
    struct machine *m = &s->machines[b];
    bool again = m->registered_ns >= m->boot_ns;
    m->registered = true;
    if (m->registered_ns < m->boot_ns) /* another incarnation; else it is only heard again */
        m->epoch = ++s->next_epoch;
    m->registered_ns = s->now_ns;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        bool lost = !again && ((s->memory && m->starts > 1) || m->life[p] == LIFE_REFUSED || partition_lost_committed(m->partitions[p]));
        if (lost && (c->isr | c->elr) & 1u << b)
            (void)lose(s, p, b, true);
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
        struct view_broker brokers[SIM_BROKERS_MAX];
        struct view_topic topic;
        struct view_partition partitions[SIM_PARTITIONS_MAX];
        int32_t replicas[SIM_BROKERS_MAX], isr[SIM_PARTITIONS_MAX][SIM_BROKERS_MAX];
        uint32_t by_name[16], by_id[16];
    } *v = calloc(1, sizeof(*v));
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct machine *o = &s->machines[b];
        v->replicas[b] = (int32_t)b + 1;
        v->brokers[b] = (struct view_broker){.id = (int32_t)b + 1, .fenced = !o->registered, .epoch = o->epoch, .incarnation = o->incarnation,
                                             .replication_addr = sim_addr(b), .replication_port = SIM_PEER_PORT, .core_count = s->core_count,
                                             .endpoints = {{.port = SIM_KAFKA_PORT}}};
        sim_rack(b, v->brokers[b].rack);
        snprintf(v->brokers[b].endpoints[0].host, sizeof(v->brokers[b].endpoints[0].host), "10.0.0.%u", b + 1);
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        const struct committed *c = &s->committed[p];
        struct view_partition *vp = &v->partitions[p];
        *vp = (struct view_partition){.leader = c->leader < 0 ? -1 : c->leader + 1, .leader_epoch = c->leader_epoch, .partition_epoch = c->partition_epoch,
                                      .replica_count = (uint16_t)s->brokers, .replicas = v->replicas, .isr = v->isr[p],
                                      .leader_throttled = s->leader_throttled, .follower_throttled = s->follower_throttled};
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
    v->view = (struct tide_view){.version = ++s->order, .takes_clients = true, .self = (int32_t)m->id + 1, .controller = 1, .broker_count = s->brokers, .brokers = v->brokers,
                                 .topic_count = 1, .topics = &v->topic, .hash_mask = 15, .by_name = v->by_name, .by_id = v->by_id,
                                 .leader_throttle_rate = s->throttle_rate, .follower_throttle_rate = s->throttle_rate};
    tide_uuid_to_text(&s->cluster_id, v->view.cluster_id);
    tide_view_index(&v->topic, 1, 16, v->by_name, v->by_id);
    atomic_store(&m->data.publication.now, &v->view);
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
        set_isr(s, p, isr);
        changed(s, p);
        a->partition_epoch = c->partition_epoch;
        a->leader_epoch = c->leader_epoch;
    }
}

static void take_letters(struct machine *m)
{
    struct sim *s = m->sim;
    struct tide_mail *letters[TAKEN], *letter;
    unsigned n = post_take(m->data.office, s->core_count, letters, TAKEN);
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
        case MAIL_RELEASE:
            if (partition_close(letter->order.partition, sim_fs_verbs(m->data.fs)) != 0 && !log_is_failed(partition_log(letter->order.partition)))
                give_up(s, "a replica could not be closed");
            m->life[partition_index(letter->order.partition)] = LIFE_DRAINING;
            break;
        case MAIL_ROTTEN:
            trace(s, "broker %u partition %d: rot at offset %ld", m->id + 1, partition_index(letter->rotten.partition), letter->rotten.offset);
            m->rotten[partition_index(letter->rotten.partition)] = true;
            if (post_send(m->data.office, s->core_count, letter->from, letter) != TIDE_OK)
                give_up(s, "a full ring");
            break;
        case MAIL_ISR:
            if (s->question_count == LETTERS_MAX)
                give_up(s, "too many questions");
            s->questions[s->question_count++] = (struct question){.at_ns = s->now_ns + below_ms(s, 10), .order = s->order++, .from = m->id, .mail = letter};
            break;
        case MAIL_FAILED: /* a cut came upon what rotted */
            if (s->rotted[partition_index(letter->failed.partition)] != m->id + 1)
                give_up(s, "a replica says that its log failed");
            m->rotten[partition_index(letter->failed.partition)] = true;
            if (post_send(m->data.office, s->core_count, letter->from, letter) != TIDE_OK)
                give_up(s, "a full ring");
            break;
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
        if (post_send(m->data.office, s->core_count, home, q->mail) != TIDE_OK)
            give_up(s, "a full ring");
    }
    s->question_count = kept;
}

static bool is_named(const struct machine *m, unsigned p)
{
    for (uint32_t i = 0; i < m->sim->core_count; i++)
        if (partition_has_interest(m->partitions[p], i))
            return true;
    return false;
}

static void repair(struct machine *m, unsigned p)
{
    struct sim *s = m->sim;
    partition_destroy(m->partitions[p]);
    (void)open_partition(m, p, true);
    trace(s, "broker %u partition %u: repaired, it ends at %ld", m->id + 1, p, log_next_offset(partition_log(m->partitions[p])));
    m->rotten[p] = false;
    m->life[p] = LIFE_OPEN;
    m->told[p] = -1;
    m->high[p] = -1;
    m->high_epoch[p] = -1;
    if (s->rotted[p] == m->id + 1) {
        s->rotted[p] = 0;
        s->repairs++;
    }
    order(m, MAIL_ADOPT, p);
}

/* What rotted is given up, cut and filled again (control/replicas.c), one step now and one some time. */
static void mend(struct sim *s, struct machine *m, unsigned p)
{
    struct committed *c = &s->committed[p];
    uint32_t bit = 1u << m->id;
    bool lost = (c->lost & bit) != 0;
    if ((!m->rotten[p] && !lost) || !m->registered || tide_random_below(&s->random, 8) != 0)
        return;
    if (!lost) {
        if (lose(s, p, m->id, false))
            c->lost |= bit;
    } else if (m->rotten[p] && m->life[p] == LIFE_OPEN && m->adopted[p]) {
        m->adopted[p] = false;
        m->life[p] = LIFE_RELEASING;
        publish(m);
        order(m, MAIL_RELEASE, p);
    } else if (m->life[p] == LIFE_REFUSED || (m->life[p] == LIFE_DRAINING && !is_named(m, p))) {
        repair(m, p);
    } else if (!m->rotten[p] && m->adopted[p]) {
        c->lost &= ~bit;
        changed(s, p);
    }
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
        for (unsigned p = 0; p < s->partitions; p++) {
            adopted &= m->adopted[p] || m->life[p] != LIFE_OPEN;
            if (heard && m->adopted[p] && tide_random_hits(&s->random, 16))
                m->mark[p] = partition_checkpoint(m->partitions[p]);
            if (heard)
                mend(s, m, p);
        }
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
        atomic_store(&m->data.publication.lease_until_ns, m->registered ? s->now_ns + LEASE_MS * TIDE_NS_PER_MS : 0);
        if (!m->view_stale || s->now_ns < m->sync_ns)
            continue;
        for (unsigned p = 0; p < s->partitions; p++)
            if (m->adopted[p] && m->registered && m->told[p] != s->committed[p].partition_epoch &&
                !(m->rotten[p] && s->committed[p].lost & 1u << b))
                order(m, MAIL_BECOME, p);
        m->view_stale = false;
        publish(m);
    }
}

/* ---- a turn of a core -------------------------------------------------------------------------------------------- */

/* What it has on its disk, or in memory, where that counts. */
static int64_t counted_seen(const struct sim *s, unsigned b, unsigned p)
{
    return s->memory ? s->machines[b].end_seen[p] : s->machines[b].durable_seen[p];
}

/* P3: whoever is in sync has on its disk what is committed, whether the leader knows of its membership already or
 * not; and so many have it. */
static void look_at_members(struct sim *s, unsigned p, int64_t high, bool rose)
{
    unsigned have = 0;
    for (unsigned b = 0; b < s->brokers; b++) {
        int64_t end = counted_seen(s, b, p);
        have += end >= high;
        if (s->committed[p].isr & 1u << b && end < high) {
            trace(s, "partition %u: broker %u has %ld of %ld", p, b + 1, end, high);
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
    struct sim_core *k = &m->data.cores[i];
    struct tide_time t = {.now_ns = s->now_ns, .wall_ms = 1700000000000 + (int64_t)(s->now_ns / TIDE_NS_PER_MS)};
    sim_core_turn(&m->data, i, &s->random, &t);
    s->turns++;
    for (unsigned f = 0; f < k->io.tx_count; f++)
        sim_wire_send(&s->wire, s->now_ns, m->id, k->io.tx[f]);
    k->io.tx_count = 0;
    if (s->wire.strays == SIM_STRAYS_NONE)
        TIDE_ASSERT(core_counters(k->core)->values[COUNTER_rx_handed] == 0);
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

/* ---- what the client asks ----------------------------------------------------------------------------------------- */

static int leader_of(void *self, unsigned p)
{
    return ((struct sim *)self)->committed[p].leader;
}

static int64_t committed_of(void *self, unsigned p)
{
    return ((struct sim *)self)->committed_end[p];
}

static void give_up_of(void *self, const char *what)
{
    give_up(self, what);
}

/* ---- the run ----------------------------------------------------------------------------------------------------------- */

static void deliver(struct sim *s)
{
    struct sim_flight f;
    while (sim_wire_take(&s->wire, s->now_ns, &f))
        if (f.to == SIM_CLIENT)
            sim_client_receive(&s->client, s->now_ns, f.m);
        else if (s->machines[f.to].up)
            sim_core_receive(&s->machines[f.to].data.cores[f.queue], f.m);
        else
            rte_pktmbuf_free(f.m);
}

static uint64_t next_time(const struct sim *s)
{
    uint64_t t = TIDE_MIN(sim_client_deadline_ns(&s->client), sim_wire_deadline_ns(&s->wire));
    t = TIDE_MIN(t, s->next_fault_ns);
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
            const struct sim_core *k = &s->machines[b].data.cores[i];
            if (sim_core_has_cause(k, s->now_ns))
                return s->now_ns + 1000;
            t = TIDE_MIN(t, sim_core_deadline_ns(k));
        }
    }
    return TIDE_MIN(TIDE_MAX(t, s->now_ns + 1000), s->now_ns + 5 * TIDE_NS_PER_MS);
}

/* ---- rot ---- */

/* Batches of a replica's files, in order; `see` says whether to go on. */
struct batch_on_disk {
    char path[SIM_PATH_MAX];
    uint64_t position;
    struct batch_header h;
    bool right;
};

struct segments {
    int64_t base[64];
    unsigned count;
};

static int see_segment(void *arg, const char *name, bool is_dir)
{
    struct segments *l = arg;
    const char *suffix = strstr(name, ".log");
    if (!is_dir && suffix != NULL && suffix[4] == '\0' && l->count < TIDE_ARRAY_LEN(l->base))
        l->base[l->count++] = atoll(name);
    return 0;
}

static int by_base(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Up to `limit` (an offset), or to what is no batch. The number of batches; the one of number `pick` in *ret. */
static unsigned walk_disk(struct machine *m, unsigned p, int64_t limit, unsigned pick, struct batch_on_disk *ret, bool *ret_right)
{
    const struct tide_fs *fs = sim_fs_verbs(m->data.fs);
    struct segments l = {.count = 0};
    static uint8_t bytes[1 << 20];
    char dir[32];
    unsigned n = 0;
    int64_t next = 0;
    *ret_right = true;
    snprintf(dir, sizeof(dir), "/data/t-%u", p);
    (void)fs->list(fs->self, dir, see_segment, &l);
    qsort(l.base, l.count, sizeof(l.base[0]), by_base);
    for (unsigned i = 0; i < l.count && next < limit; i++) {
        struct batch_on_disk d = {.position = 0};
        snprintf(d.path, sizeof(d.path), "%s/%020ld.log", dir, l.base[i]);
        int file = fs->open(fs->self, d.path, TIDE_FS_READ);
        int64_t size = file < 0 ? 0 : fs->pread(fs->self, file, bytes, sizeof(bytes), 0);
        while (next < limit && d.position + BATCH_HEADER <= (uint64_t)TIDE_MAX(size, 0)) {
            batch_header_parse(bytes + d.position, &d.h);
            if (d.h.magic != 2 || d.h.base_offset != next || d.h.batch_length < BATCH_LENGTH_MIN || d.position + batch_size(&d.h) > (uint64_t)size)
                break;
            if (batch_crc_update(0, bytes + d.position + BATCH_ATTRIBUTES, batch_size(&d.h) - BATCH_ATTRIBUTES) != d.h.crc)
                *ret_right = false;
            next = batch_last_offset(&d.h) + 1;
            if (next <= limit && n++ == pick)
                *ret = d;
            d.position += batch_size(&d.h);
        }
        if (file >= 0)
            fs->close(fs->self, file);
    }
    *ret_right &= next >= limit;
    return n;
}

/* A bit of a committed batch that another one in sync has on its disk: what a cluster promises to survive. */
static void rot(struct sim *s, unsigned b, unsigned p)
{
    struct machine *m = &s->machines[b];
    struct batch_on_disk d;
    int64_t limit = 0;
    bool right;
    for (unsigned o = 0; o < s->brokers; o++)
        if (o != b && s->committed[p].isr & 1u << o)
            limit = TIDE_MAX(limit, TIDE_MIN(m->mark[p], s->machines[o].durable_seen[p]));
    if (s->rotted[p] != 0 || s->committed[p].lost != 0 || m->life[p] != LIFE_OPEN)
        return;
    unsigned n = walk_disk(m, p, limit, UINT_MAX, &d, &right);
    if (n == 0)
        return;
    (void)walk_disk(m, p, limit, (unsigned)tide_random_below(&s->random, n), &d, &right);
    uint64_t at = d.position + tide_random_below(&s->random, batch_size(&d.h));
    if (!sim_fs_rot(m->data.fs, d.path, at, (unsigned)tide_random_below(&s->random, 8)))
        give_up(s, "there is no such byte");
    trace(s, "broker %u partition %u: rot in the batch at offset %ld, byte %lu of %u", b + 1, p, d.h.base_offset, at - d.position, batch_size(&d.h));
    s->rotted[p] = b + 1;
    s->rots++;
}

/* At the end: what was not met yet is looked for. Its broker starts anew, so that nothing is in memory, then it leads and is
 * read from the beginning. False: something of that is under way. */
static bool rot_is_settled(struct sim *s)
{
    bool settled = true;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        struct batch_on_disk d;
        bool right;
        if (s->rotted[p] == 0)
            continue;
        struct machine *m = &s->machines[s->rotted[p] - 1];
        settled = false;
        if (!s->calm)
            break;
        (void)walk_disk(m, p, s->committed_end[p], 0, &d, &right);
        uint64_t digest; /* a batch's epoch is not in its sum: readers compare it with the history */
        if (right && sim_machine_read(&m->data, m->partitions[p], 0, s->committed_end[p], &digest, NULL, NULL)) { /* it was cut away, or written over, for another reason */
            s->rotted[p] = 0;
        } else if (s->looked[p] == 0) {
            s->looked[p]++;
            halt(m);
            m->boot_ns = s->now_ns;
        } else if (s->looked[p] == 1) {
            s->looked[p]++;
            c->leader = (int)m->id;
            c->leader_epoch++;
            changed(s, p);
            s->client.producers[p].read = 0;
            s->client.producers[p].preferred = -1;
            s->client.config.racks = false; /* from the leader, and from nobody else */
        } else {
            give_up(s, "P4: what rotted was not met");
        }
        break;
    }
    return settled;
}

/* P1 promises what one member of the ISR has who lives on: with ack.durability=memory there is always one. */
static bool may_fall(const struct sim *s, unsigned b)
{
    for (unsigned p = 0; s->memory && p < s->partitions; p++) {
        bool other = false;
        for (unsigned o = 0; o < s->brokers; o++) {
            const struct machine *m = &s->machines[o];
            other |= o != b && m->up && m->registered && m->registered_ns >= m->boot_ns && (s->committed[p].isr & 1u << o) &&
                     m->end_seen[p] >= s->committed_end[p];
        }
        if (!other)
            return false;
    }
    return true;
}

static void fault(struct sim *s)
{
    unsigned b = (unsigned)tide_random_below(&s->random, s->brokers);
    unsigned p = (unsigned)tide_random_below(&s->random, s->partitions);
    unsigned to = (unsigned)tide_random_below(&s->random, SIM_NODES);
    /* Some come close together, while what the last one began is still under way. */
    s->next_fault_ns = s->now_ns + below_ms(s, tide_random_hits(&s->random, 2) ? 400 : 20);
    unsigned kind = (unsigned)tide_random_below(&s->random, 11);
    trace(s, "fault %u: broker %u, partition %u, node %u", kind, b + 1, p, to + 1);
    switch (kind) {
    case 8: /* all at once: nothing is left but what was durable */
        for (b = 0; b < s->brokers; b++) {
            struct machine *m = &s->machines[b];
            if (!may_fall(s, b))
                continue;
            if (m->up)
                halt(m);
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
        if (!s->machines[b].up || !may_fall(s, b))
            break;
        s->machines[b].deaf_until_ns = s->machines[b].paused_until_ns = 0;
        halt(&s->machines[b]);
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
        s->wire.cut[b][to] = true;
        if (tide_random_hits(&s->random, 2))
            s->wire.cut[to][b] = true;
        s->cuts++;
        break;
    case 9:
    case 10:
        if (!s->memory)
            rot(s, b, p);
        break;
    default: memset(s->wire.cut, 0, sizeof(s->wire.cut));
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
    if (!sim_client_is_done(&s->client))
        return false;
    for (unsigned p = 0; p < s->partitions; p++) {
        if (s->committed[p].isr != (1u << s->brokers) - 1)
            return false;
        for (unsigned b = 0; b < s->brokers; b++) {
            struct partition_look l;
            if (!s->machines[b].up || s->machines[b].life[p] != LIFE_OPEN || s->machines[b].rotten[p] || s->committed[p].lost != 0)
                return false;
            partition_look(s->machines[b].partitions[p], &l);
            if (l.high_watermark != s->committed_end[p])
                return false;
        }
    }
    return true;
}

static void compare_replicas(struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        struct sim_replica replicas[SIM_BROKERS_MAX];
        uint64_t first;
        for (unsigned b = 0; b < s->brokers; b++)
            replicas[b] = (struct sim_replica){&s->machines[b].data, s->machines[b].partitions[p]};
        first = sim_client_compare(&s->client, p, replicas, s->brokers, s->committed_end[p]);
        s->wire.digest = sim_mix(s->wire.digest, &first, sizeof(first));
    }
    sim_client_judge(&s->client);
}

static void tell_client(void *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell_client(void *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vtrace(self, format, args);
    va_end(args);
}

static bool is_filling(const struct sim *s)
{
    return s->story >= STORY_FILL_FAST && s->story <= STORY_FILL_BY_FOLLOWER;
}

static void make_client(struct sim *s)
{
    struct sim_client_config c = {.wire = &s->wire, .pools = s->pools, .brokers = s->brokers, .partitions = s->partitions, .topic = "t",
                                  .records = 50 + (uint32_t)tide_random_below(&s->random, 150), .arg = s, .leader = leader_of,
                                  .committed = committed_of, .fail = give_up_of, .trace = tell_client};
    c.pace_ns = (s->calm_ns - s->now_ns) / c.records;
    c.racks = s->seed % 2 != 0;
    c.sessions = s->seed / 2 % 2 != 0;
    if (is_filling(s)) {
        c.records = 900;
        c.pace_ns = 10 * TIDE_NS_PER_MS;
    } else if (s->story == STORY_BEHIND_MEMORY) {
        c.records = 1 << 14; /* more than are sent */
        c.pace_ns = 0;
        c.no_consumer = true;
        for (unsigned p = 0; p < s->partitions; p++)
            c.kinds[p] = SIM_PLAIN_ONE; /* it waits for no follower */
    }
    sim_client_init(&s->client, &c, s->now_ns);
}

enum { FILL_RATE = 1000000, FILL_FROM = 600 };

static void plan_filling(struct sim *s)
{
    s->brokers = 3;
    s->core_count = 1; /* or each would have its share */
    s->partitions = 2;
    s->topic.segment_bytes = 1 << 20;
    s->settings.replication_window_bytes = 1 << 20;
    s->throttle_rate = FILL_RATE;
    s->leader_throttled = s->story == STORY_FILL_BY_LEADER;
    s->follower_throttled = s->story == STORY_FILL_BY_FOLLOWER;
}

/* One stream to one follower; what waits in it keeps everything from being read that may be kept. */
static void plan_lagging(struct sim *s)
{
    s->brokers = 2;
    s->core_count = 1;
    s->partitions = 4;
    s->topic.segment_bytes = 1 << 20;
    s->settings.replication_window_bytes = 1 << 16;
    s->settings.replication_catchup_bytes = 1;
    s->settings.replica_lag_time_max_ms = 30000;
    s->memory = true;
    s->topic.ack_durability = ACK_DURABILITY_MEMORY;
    s->leader_throttled = s->follower_throttled = false;
}

static void begin(struct sim *s, uint64_t seed)
{
    uint64_t job_ms;
    settings_defaults(&s->settings);
    s->settings.replica_lag_time_max_ms = 300 + (int64_t)tide_random_below(&s->random, 700);
    s->settings.replication_peers_max = 16;
    s->settings.replication_beat_ms = 20;
    s->settings.replication_reconnect_backoff_max_ms = 200;
    if (tide_random_hits(&s->random, 3))
        s->settings.replication_window_bytes = 8192;
    s->settings.rack_aware = true;
    s->settings.replication_push = s->seed % 4 == 3 ? REPLICATION_PUSH_DURABLE : REPLICATION_PUSH_PARALLEL;
    s->settings.fetch_zero_copy = s->seed % 3 != 2;
    s->settings.max_incremental_fetch_session_cache_slots = 1 + s->seed % 7;
    settings_topic_defaults(&s->settings, &s->topic);
    s->topic.segment_bytes = tide_random_hits(&s->random, 2) ? 1 << 20 : 1 << 16;
    s->topic.min_insync_replicas = 2;
    s->memory = s->seed % 8 == 5;
    if (s->memory)
        s->topic.ack_durability = ACK_DURABILITY_MEMORY;
    s->leader_throttled = tide_random_hits(&s->random, 4);
    s->follower_throttled = tide_random_hits(&s->random, 4);
    s->throttle_rate = 65536 + (int64_t)tide_random_below(&s->random, 1 << 20);
    s->topic_id.bytes[0] = 7;
    s->cluster_id.bytes[0] = 9;
    s->brokers = 2 + (unsigned)tide_random_below(&s->random, 2);
    s->core_count = 1 + (unsigned)tide_random_below(&s->random, 2);
    s->partitions = 1 + (unsigned)tide_random_below(&s->random, SIM_PARTITIONS_MAX);
    if (is_filling(s))
        plan_filling(s);
    else if (s->story == STORY_BEHIND_MEMORY)
        plan_lagging(s);
    sim_wire_init(&s->wire, &s->random, s->pools->client, s->brokers, s->core_count);
    s->wire.loss = tide_random_hits(&s->random, 2) ? 100 : 0;
    s->wire.duplicate = tide_random_hits(&s->random, 2) ? 50 : 0;
    s->wire.reorder = tide_random_hits(&s->random, 2) ? 20 : 0;
    s->wire.delay_ns = 20000 + tide_random_below(&s->random, 300000);
    job_ms = tide_random_hits(&s->random, 2) ? 3 : 60;
    s->calm_ns = s->now_ns + below_ms(s, 4000);
    s->next_fault_ns = s->now_ns + below_ms(s, 500);
    if (s->story != STORY_NONE) {
        s->wire.loss = s->wire.duplicate = s->wire.reorder = 0;
        s->wire.delay_ns = is_filling(s) ? 100000 : 1000000;
        job_ms = 3;
        s->calm = s->wire.calm = true;
        s->next_fault_ns = UINT64_MAX;
    }
    make_client(s);
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        m->sim = s;
        m->id = b;
        m->epoch = -1;
        m->data.job_ms = job_ms;
        m->data.fs = sim_fs_create(&(struct sim_fs_config){.seed = seed * 8 + b});
        const struct tide_fs *fs = sim_fs_verbs(m->data.fs);
        if (fs->mkdir(fs->self, "/data") != 0 || fs->sync_dir(fs->self, "/") != 0)
            give_up(s, "mkdir");
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        s->committed[p] = (struct committed){.leader = -1, .isr = (1u << s->brokers) - 1};
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
            halt(&s->machines[b]);
        sim_fs_destroy(s->machines[b].data.fs);
    }
    sim_wire_deinit(&s->wire);
    sim_client_deinit(&s->client);
}

static bool tracing;

static void step(struct sim *s)
{
    s->now_ns = next_time(s);
    if (!s->calm && s->now_ns >= s->next_fault_ns)
        fault(s);
    if (!s->calm)
        elect_amid_cuts(s);
    if (!s->calm && s->now_ns >= s->calm_ns) {
        s->calm = s->wire.calm = true;
        s->next_fault_ns = UINT64_MAX;
        memset(s->wire.cut, 0, sizeof(s->wire.cut));
    }
    for (unsigned b = 0; b < s->brokers; b++)
        if (!s->machines[b].up && s->now_ns >= s->machines[b].boot_ns)
            boot(&s->machines[b]);
    deliver(s);
    for (unsigned b = 0; b < s->brokers; b++)
        for (uint32_t i = 0; s->machines[b].up && s->now_ns >= s->machines[b].paused_until_ns && i < s->core_count; i++)
            if (sim_core_has_cause(&s->machines[b].data.cores[i], s->now_ns))
                core_turn_once(&s->machines[b], i);
    control_turn(s);
    sim_client_turn(&s->client, s->now_ns);
    if (s->now_ns - s->begin_ns > CALM_S * TIDE_NS_PER_S)
        give_up(s, "P9: no end in sight");
}

/* ---- a broker is filled -------------------------------------------------------------------------------------------------- */

static uint64_t bytes_held(const struct sim *s, unsigned b)
{
    uint64_t n = 0;
    for (unsigned p = 0; p < s->partitions; p++)
        n += (uint64_t)log_size_bytes(partition_log(s->machines[b].partitions[p]));
    return n;
}

static bool in_sync_everywhere(const struct sim *s, unsigned b)
{
    for (unsigned p = 0; p < s->partitions; p++)
        if (!(s->committed[p].isr & 1u << b))
            return false;
    return true;
}

static uint32_t most_unacknowledged(const struct sim *s)
{
    uint32_t most = 0;
    for (unsigned p = 0; p < s->partitions; p++)
        most = TIDE_MAX(most, s->client.producers[p].sent - s->client.producers[p].acked);
    return most;
}

/* Broker 3 is away until so much is acknowledged, then it is filled while two records in 10 ms come in. Nothing comes faster
 * than the pace allows, but for a burst and a few batches; and the pace is used. */
static void fill_a_broker(struct sim *s)
{
    struct machine *m = &s->machines[2];
    const uint64_t slack = FILL_RATE / 10 + 24 * 2700; /* of ten seeds the most is 21 batches; without a pace it is hundreds */
    uint64_t since_ns = 0, first_ns = 0, over = 0, got = 0;
    while (s->client.producers[0].acked < 50 || !in_sync_everywhere(s, 2))
        step(s);
    halt(m);
    m->boot_ns = UINT64_MAX;
    while (s->client.producers[0].acked < FILL_FROM || s->client.producers[1].acked < FILL_FROM)
        step(s);
    if (in_sync_everywhere(s, 2))
        give_up(s, "who is away is in sync");
    m->boot_ns = since_ns = s->now_ns;
    step(s);
    uint64_t held = bytes_held(s, 2);
    while (!in_sync_everywhere(s, 2)) {
        step(s);
        got = bytes_held(s, 2) - held;
        if (got != 0 && first_ns == 0)
            first_ns = s->now_ns;
        over += got > (s->now_ns - since_ns) * FILL_RATE / TIDE_NS_PER_S + slack;
        if (most_unacknowledged(s) > 2)
            give_up(s, "a producer waits for a broker that is being filled");
    }
    uint64_t took_ms = (s->now_ns - first_ns) / TIDE_NS_PER_MS;
    printf("filled %s: %lu bytes in %lu ms\n", s->story == STORY_FILL_FAST ? "as fast as it goes" : s->story == STORY_FILL_BY_LEADER ? "by the leader's pace" : "by the follower's pace",
           got, took_ms);
    if (s->story == STORY_FILL_FAST && over == 0)
        give_up(s, "without a throttle it is as slow: the test tells nothing");
    if (s->story != STORY_FILL_FAST && over != 0)
        give_up(s, "more came in than the pace allows");
    if (s->story != STORY_FILL_FAST && got < took_ms * FILL_RATE / 1000 * 8 / 10)
        give_up(s, "the pace is not used");
}

/* ---- a follower in sync is behind memory -------------------------------------------------------------------------------- */

static void lead_all(struct sim *s, int broker)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        s->committed[p].leader = broker;
        s->committed[p].leader_epoch++;
        changed(s, p);
    }
}

static int64_t behind(const struct sim *s, unsigned p)
{
    return s->machines[0].end_seen[p] - s->machines[1].end_seen[p];
}

static void step_until(struct sim *s, uint64_t at_ns)
{
    while (s->now_ns < at_ns)
        step(s);
}

enum { AWAY_MS = 1500, CATCH_UP_MS = 3000, BACK_AT = 300, APART_NS = 700000 };

/* Broker 1 leads, and broker 2 hears nothing for a while in which partition 0 is written to without waiting for it. */
static void lose_sight(struct sim *s)
{
    const uint32_t nobody = (1u << s->partitions) - 1;
    s->client.config.quiet = nobody;
    while (!in_sync_everywhere(s, 0) || !in_sync_everywhere(s, 1) || s->committed[0].leader < 0)
        step(s);
    lead_all(s, 0);
    step_until(s, s->now_ns + 500 * TIDE_NS_PER_MS);
    s->wire.cut[0][1] = s->wire.cut[1][0] = true;
    s->client.config.quiet = nobody & ~1u;
    step_until(s, s->now_ns + AWAY_MS * TIDE_NS_PER_MS);
    s->client.config.quiet = nobody;
    memset(s->wire.cut, 0, sizeof(s->wire.cut));
}

/* Then the connection comes to its pace again, and the other partitions are written to, one after the other so that something of them is on its way
 * at any time, and all of it from memory. */
static void make_the_stream_busy(struct sim *s)
{
    while (s->machines[1].end_seen[0] < BACK_AT)
        step(s);
    for (unsigned p = 1; p < s->partitions; p++) {
        s->client.config.quiet &= ~(1u << p);
        step_until(s, s->now_ns + APART_NS);
    }
}

/* The follower gets what it lacks of partition 0 all the same, since the high watermark waits for it. */
static void fall_behind_memory(struct sim *s)
{
    const struct tide_counters *counters = core_counters(s->machines[0].data.cores[0].core);
    uint64_t since_ns, read;
    int64_t lacked, others = 0;
    lose_sight(s);
    make_the_stream_busy(s);
    read = counters->values[COUNTER_peer_catchup_bytes];
    since_ns = s->now_ns;
    lacked = behind(s, 0);
    while (behind(s, 0) != 0 && s->now_ns < since_ns + CATCH_UP_MS * TIDE_NS_PER_MS)
        step(s);
    read = counters->values[COUNTER_peer_catchup_bytes] - read;
    for (unsigned p = 1; p < s->partitions; p++)
        others += s->machines[0].end_seen[p];
    printf("behind memory: %ld records, %lu bytes read from the disk in %lu ms, beside %ld records of other partitions\n", lacked, read,
           (unsigned long)((s->now_ns - since_ns) / TIDE_NS_PER_MS), others);
    if (!in_sync_everywhere(s, 1) || lacked == 0)
        give_up(s, "it was not behind, or left: the test tells nothing");
    if (behind(s, 0) != 0)
        give_up(s, "who the high watermark waits for is not read for while its stream is busy");
    if (read == 0)
        give_up(s, "all of it was in memory: the test tells nothing");
}

static uint64_t run(const struct sim_pools *pools, uint64_t seed, bool verbose, enum story story)
{
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before[SIM_POOLS];
    uint64_t digest;
    s->story = story;
    sim_pools_count(pools, before);
    s->random.state = s->seed = seed;
    s->pools = pools;
    s->trace = tracing;
    s->now_ns = s->begin_ns = TIDE_NS_PER_S * (1 + tide_random_below(&s->random, 1000));
    begin(s, seed);
    if (is_filling(s))
        fill_a_broker(s);
    else if (story == STORY_BEHIND_MEMORY)
        fall_behind_memory(s);
    while (story != STORY_BEHIND_MEMORY && (!is_finished(s) || !rot_is_settled(s)))
        step(s);
    if (story != STORY_BEHIND_MEMORY)
        compare_replicas(s);
    if (verbose)
        printf("seed %lu: %u brokers, %u cores, %u partitions of %u records, %u crashes, %u moves, %u cuts, %u times deaf, %u pauses, %u rotted, %u repaired, %u answers of sessions, %u times sent to a follower, %u answers of followers, %u killed, %lu records forgotten by a replica, %lu frames, %lu turns, %lu ms, digest %016lx\n",
               seed, s->brokers, s->core_count, s->partitions, s->client.config.records, s->crashes, s->moves, s->cuts, s->deafs, s->pauses, s->rots, s->repairs, s->client.incremental, s->client.sent_near, s->client.near, s->kills, s->forgotten, s->wire.frames, s->turns,
               (s->now_ns - s->begin_ns) / 1000000, s->wire.digest);
    end(s);
    if (!sim_pools_are_back(pools, before))
        give_up(s, "mbufs are missing");
    digest = s->wire.digest;
    free(s);
    return digest;
}

static int run_seeds(uint64_t from, uint64_t seeds, bool verbose)
{
    struct sim_pools pools;
    uint64_t all = 0;
    sim_pools_make(&pools);
    for (enum story t = STORY_FILL_FAST; from == 1 && t <= STORY_BEHIND_MEMORY; t++)
        (void)run(&pools, 1, verbose, t);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(&pools, seed, verbose, STORY_NONE);
        if (seed % 10 == 0 && run(&pools, seed, false, STORY_NONE) != digest) {
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

/* The other rules are guarded twice in a whole data plane, or need more seeds than a normal run has: the exhaustive search
 * (sim_search) tells them. */
static int run_mutants(uint64_t from, uint64_t seeds)
{
#ifdef TIDE_MUTANTS
    static const enum tide_mutant list[] = {MUTANT_NONE, MUTANT_FREEZE, MUTANT_MAXIMAL_ISR, MUTANT_DURABLE, MUTANT_FOLLOWER_MARK};
    return sim_run_mutants(list, TIDE_ARRAY_LEN(list), from, seeds, run_seeds);
#else
    fprintf(stderr, "sim_cluster_mutants does that, from %lu and %lu seeds\n", from, seeds);
    return 2;
#endif
}

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
            if (!sim_choose_mutant(optarg))
                return 2;
            break;
        default: return 2;
        }
    }
    if (sim_is_full())
        seeds *= 20;
    return mutants ? run_mutants(from, seeds) : run_seeds(from, seeds, verbose);
}
