/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of sim_cluster: machines that start, turn and fall, the wire between them, the client, and time.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_cluster_world.h"

enum { CALM_S = 60 };

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

_Noreturn void sim_give_up(const struct sim *s, const char *what)
{
    fprintf(stderr, "sim_cluster --seeds 1 --from %lu: %s after %lu ms: %u crashes, %u moves, %u cuts\n", s->seed, what, (s->now_ns - s->begin_ns) / 1000000, s->crashes, s->moves, s->cuts);
    tell(s);
    abort();
}

static void vtrace(const struct sim *s, const char *format, va_list args)
{
    if (!s->trace)
        return;
    printf("%9.3f  ", (double)(s->now_ns - s->begin_ns) / 1e6);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
}

void sim_trace(const struct sim *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vtrace(s, format, args);
    va_end(args);
}

uint64_t sim_below_ms(struct sim *s, uint64_t ms)
{
    return tide_random_below(&s->random, ms * TIDE_NS_PER_MS);
}

/* ---- a machine -------------------------------------------------------------------------------------------- */

static uint64_t grace_begin(void *self)
{
    struct machine *m = self;
    return m->sim->now_ns + sim_below_ms(m->sim, 2);
}

static bool grace_passed(void *self, uint64_t token)
{
    return ((struct machine *)self)->sim->now_ns >= token;
}

bool machine_open(struct machine *m, unsigned p, bool repair)
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
        sim_trace(s, "broker %u partition %u: %s", m->id + 1, p, error);
        partition_destroy(m->partitions[p]);
        m->partitions[p] = NULL;
        return false;
    }
    if (e != 0) {
        fprintf(stderr, "partition_open: %d %s\n", e, error);
        sim_give_up(s, "a partition could not be opened");
    }
    return true;
}

void machine_order(struct machine *m, enum mail_kind kind, unsigned p)
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
        sim_give_up(s, "a full ring");
}

/* What it has after a fall: all that its kernel had taken, if it was a kill. */
static void note_end(struct machine *m, unsigned p)
{
    int64_t end = log_next_offset(partition_log(m->partitions[p]));
    if (end > m->end_seen[p] || (m->killed && end < m->durable_seen[p]))
        sim_give_up(m->sim, "P1: a log came back with more than it had, or without what its kernel had");
    m->sim->forgotten += (uint64_t)(m->end_seen[p] - end);
    m->end_seen[p] = m->durable_seen[p] = end;
}

void machine_boot(struct machine *m)
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
        m->rotten[p] = !machine_open(m, p, false);
        m->life[p] = m->rotten[p] ? LIFE_REFUSED : LIFE_OPEN;
        if (s->memory)
            note_end(m, p);
        if (m->life[p] == LIFE_OPEN)
            machine_order(m, MAIL_ADOPT, p);
    }
    m->up = true;
    m->heard_ns = s->now_ns;
    sim_trace(s, "broker %u starts", m->id + 1);
}

void machine_halt(struct machine *m)
{
    struct sim *s = m->sim;
    unsigned kept = 0;
    m->killed = s->memory && tide_random_hits(&s->random, 2);
    s->kills += m->killed;
    sim_trace(s, "broker %u: %s", m->id + 1, m->killed ? "is killed" : "the power goes");
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

/* ---- a turn of a core -------------------------------------------------------------------------------------------- */

static void machine_turn(struct machine *m, uint32_t i)
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
        checks_on_turn(m, p);
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
    sim_give_up(self, what);
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
        if (control_hears(s, &s->machines[s->questions[i].from]))
            t = TIDE_MIN(t, s->questions[i].at_ns);
    for (unsigned b = 0; b < s->brokers; b++)
        if (s->machines[b].view_stale && control_hears(s, &s->machines[b]))
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

void sim_step(struct sim *s)
{
    s->now_ns = next_time(s);
    if (!s->calm && s->now_ns >= s->next_fault_ns)
        faults_strike(s);
    if (!s->calm)
        faults_elect_amid_cuts(s);
    if (!s->calm && s->now_ns >= s->calm_ns) {
        s->calm = s->wire.calm = true;
        s->next_fault_ns = UINT64_MAX;
        memset(s->wire.cut, 0, sizeof(s->wire.cut));
    }
    for (unsigned b = 0; b < s->brokers; b++)
        if (!s->machines[b].up && s->now_ns >= s->machines[b].boot_ns)
            machine_boot(&s->machines[b]);
    deliver(s);
    for (unsigned b = 0; b < s->brokers; b++)
        for (uint32_t i = 0; s->machines[b].up && s->now_ns >= s->machines[b].paused_until_ns && i < s->core_count; i++)
            if (sim_core_has_cause(&s->machines[b].data.cores[i], s->now_ns))
                machine_turn(&s->machines[b], i);
    control_turn(s);
    sim_client_turn(&s->client, s->now_ns);
    if (s->now_ns - s->begin_ns > CALM_S * TIDE_NS_PER_S)
        sim_give_up(s, "P9: no end in sight");
}

/* ---- begin and end --------------------------------------------------------------------------------------------------- */

static void tell_client(void *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell_client(void *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vtrace(self, format, args);
    va_end(args);
}

static void make_client(struct sim *s)
{
    struct sim_client_config c = {.wire = &s->wire, .pools = s->pools, .brokers = s->brokers, .partitions = s->partitions, .topic = "t",
                                  .records = 50 + (uint32_t)tide_random_below(&s->random, 150), .arg = s, .leader = leader_of,
                                  .committed = committed_of, .fail = give_up_of, .trace = tell_client};
    c.pace_ns = (s->calm_ns - s->now_ns) / c.records;
    c.racks = s->seed % 2 != 0;
    c.sessions = s->seed / 2 % 2 != 0;
    if (fill_is_told(s)) {
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

void sim_begin(struct sim *s)
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
    if (fill_is_told(s))
        fill_plan(s);
    else if (s->story == STORY_BEHIND_MEMORY)
        behind_plan(s);
    sim_wire_init(&s->wire, &s->random, s->pools->client, s->brokers, s->core_count);
    s->wire.loss = tide_random_hits(&s->random, 2) ? 100 : 0;
    s->wire.duplicate = tide_random_hits(&s->random, 2) ? 50 : 0;
    s->wire.reorder = tide_random_hits(&s->random, 2) ? 20 : 0;
    s->wire.delay_ns = 20000 + tide_random_below(&s->random, 300000);
    job_ms = tide_random_hits(&s->random, 2) ? 3 : 60;
    s->calm_ns = s->now_ns + sim_below_ms(s, 4000);
    s->next_fault_ns = s->now_ns + sim_below_ms(s, 500);
    if (s->story != STORY_NONE) {
        s->wire.loss = s->wire.duplicate = s->wire.reorder = 0;
        s->wire.delay_ns = fill_is_told(s) ? 100000 : 1000000;
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
        m->data.fs = sim_fs_create(&(struct sim_fs_config){.seed = s->seed * 8 + b});
        const struct tide_fs *fs = sim_fs_verbs(m->data.fs);
        if (fs->mkdir(fs->self, "/data") != 0 || fs->sync_dir(fs->self, "/") != 0)
            sim_give_up(s, "mkdir");
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        s->committed[p] = (struct committed){.leader = -1, .isr = (1u << s->brokers) - 1};
    }
    for (unsigned b = 0; b < s->brokers; b++) {
        s->machines[b].boot_ns = s->now_ns;
        machine_boot(&s->machines[b]);
    }
}

void sim_end(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        if (s->machines[b].up)
            machine_halt(&s->machines[b]);
        sim_fs_destroy(s->machines[b].data.fs);
    }
    sim_wire_deinit(&s->wire);
    sim_client_deinit(&s->client);
}
