/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_whole_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/dirs.h"
#include "edge/files.h"
#include "raft/quorum_files.h"
#include "settings/settings.h"
#include "tidemark/grace.h"

enum { ORDERS = 255, SEGMENT_BYTES = 65536, BOOT_AGAIN_MS = 100, ERROR_MAX = 1024 };

#define DATA "/data"

/* Verbs without an argument ask here. */
static struct whole *running;

/* ---- time and chance ------------------------------------------------------------------------------------------------ */

uint64_t whole_local(const struct whole *s, const struct machine *m)
{
    return host_time(&s->w, m->host);
}

static uint64_t below(struct whole *s, uint64_t n)
{
    return tide_random_below(&s->w.random, n);
}

static struct tide_uuid some_uuid(void)
{
    struct tide_uuid u;
    for (unsigned i = 0; i < sizeof(u.bytes); i++)
        u.bytes[i] = (uint8_t)tide_random_u64(&running->w.random);
    u.bytes[0] &= 0x7f;
    return u;
}

static struct tide_uuid new_id(void *arg)
{
    (void)arg;
    return some_uuid();
}

/* ---- telling ---------------------------------------------------------------------------------------------------------- */

static void vtrace(const struct whole *s, const char *format, va_list args)
{
    printf("%9.3f  ", (double)(s->w.now_ns - s->begin_ns) / 1e6);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
}

void whole_trace(const struct whole *s, const char *format, ...)
{
    va_list args;
    if (!s->trace)
        return;
    va_start(args, format);
    vtrace(s, format, args);
    va_end(args);
}

static const struct machine *speaker; /* whose control turns */

void control_log(const char *format, ...)
{
    char line[1024];
    va_list args;
    if (running == NULL || !running->trace)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    whole_trace(running, "broker %u says: %s", speaker != NULL ? speaker->id + 1 : 0, line);
}

void whole_fail(const struct whole *s, const char *what)
{
    fprintf(stderr, "sim_whole --seeds 1 --from %lu%s%s: %s after %lu ms\n", s->seed, s->what_fails != NULL ? " --mutant " : "",
            s->what_fails != NULL ? s->what_fails : "", what, (s->w.now_ns - s->begin_ns) / 1000000);
    whole_tell(s);
    abort();
}

static void fail_of(void *arg, const char *what)
{
    whole_fail(arg, what);
}

/* ---- what control calls of the data plane (as in boot.c) --------------------------------------------------------------- */

static struct partition *data_create(void *self, const struct control_replica *r)
{
    struct machine *m = self;
    struct partition_config c = sim_machine_partition(&m->data);
    unsigned place = strcmp(r->topic, TIDE_OFFSETS_TOPIC) == 0 ? m->whole->partitions : (unsigned)r->index;
    c.topic = r->topic;
    c.topic_id = r->topic_id;
    c.index = r->index;
    c.slot = r->slot;
    c.home_core = r->home_core;
    c.dir = r->dir;
    c.topic_config = *r->config;
    c.high_watermark = r->high_watermark;
    c.repair = r->repair;
    TIDE_ASSERT(place < m->whole->places);
    TIDE_ASSERT(m->partitions[place] == NULL);
    m->partitions[place] = partition_create(&c);
    m->high_epoch[place] = -1;
    m->was_leader[place] = false;
    return m->partitions[place];
}

const struct cluster_partition *whole_place(const struct whole *s, const struct cluster *c, unsigned place)
{
    bool groups = place == s->partitions;
    const struct cluster_topic *t = cluster_find_topic(c, groups ? TIDE_OFFSETS_TOPIC : s->client.config.topic);
    return t != NULL ? &t->partitions[groups ? 0 : place] : NULL;
}

static void data_destroy(struct partition *p)
{
    for (unsigned b = 0; b < running->brokers; b++)
        for (unsigned i = 0; i < SIM_PLACES; i++)
            if (running->machines[b].partitions[i] == p)
                running->machines[b].partitions[i] = NULL;
    partition_destroy(p);
}

static void data_measure(struct partition *p, int64_t *ret_bytes, int64_t *ret_lag)
{
    struct partition_look look;
    partition_look(p, &look);
    *ret_bytes = log_size_bytes(partition_log(p));
    *ret_lag = TIDE_MAX(look.high_watermark - look.log_end, 0);
}

static bool data_in_use(void *self, const struct partition *p)
{
    const struct machine *m = self;
    for (uint32_t i = 0; i < m->data.config.core_count; i++)
        if (partition_has_interest(p, i))
            return true;
    return false;
}

static bool data_port_is_up(void *self)
{
    const struct machine *m = self;
    return m->whole->w.now_ns >= m->dark_until_ns;
}

static void data_each_peer(void *self, uint64_t now_ns, void (*tell)(void *arg, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns), void *arg)
{
    const struct machine *m = self;
    struct broker_peer_signs signs;
    for (uint32_t core = 0; core < m->data.config.core_count; core++) {
        const struct broker *b = core_broker(m->data.cores[core].core);
        for (uint32_t i = 0; i < broker_peer_count(b); i++)
            if (broker_peer_signs(b, i, now_ns, &signs))
                tell(arg, signs.broker, signs.heard_ns, signs.confirmed_ns);
    }
}

static enum tide_status data_submit(void *self, struct tide_job *job)
{
    struct machine *m = self;
    if (m->job_count == SIM_JOBS_MAX)
        return TIDE_FULL;
    m->jobs[m->job_count++] = (struct sim_job){whole_local(m->whole, m) + below(m->whole, m->data.job_ms * TIDE_NS_PER_MS), job};
    return TIDE_OK;
}

static unsigned data_take(void *self, struct tide_job **jobs, unsigned max)
{
    struct machine *m = self;
    uint64_t local = whole_local(m->whole, m);
    unsigned kept = 0, n = 0;
    for (unsigned i = 0; i < m->job_count; i++) {
        if (m->jobs[i].at_ns > local || n == max) {
            m->jobs[kept++] = m->jobs[i];
            continue;
        }
        m->jobs[i].job->run(m->jobs[i].job, sim_fs_verbs(m->data.fs));
        jobs[n++] = m->jobs[i].job;
    }
    m->job_count = kept;
    return n;
}

/* ---- a process begins and ends ------------------------------------------------------------------------------------------ */

static void on_ready(void *arg)
{
    const struct machine *m = arg;
    whole_trace(m->whole, "broker %u is ready", m->id + 1);
}

static void on_stopped(void *arg, bool clean)
{
    struct machine *m = arg;
    m->ended = true;
    m->clean = clean;
}

static bool open_dirs(struct machine *m, struct dirs_identity *ret, char *error)
{
    const struct tide_settings *s = &m->settings;
    const char *path = DATA;
    struct dirs_wanted wanted = {.paths = &path, .count = 1, .node_id = (int32_t)s->node_id, .fresh_cluster_id = &m->whole->cluster_id,
                                 .fresh_directory_id = some_uuid, .unlocked = true};
    return dirs_open(&wanted, sim_fs_verbs(m->data.fs), &m->dirs, ret, error, ERROR_MAX) == TIDE_OK;
}

static struct node *open_node(struct machine *m, char *error)
{
    struct whole *s = m->whole;
    struct dirs_identity who;
    struct node_config c;
    struct quorum_boot boot = {0};
    struct quorum_files_config files = {.fs = sim_fs_verbs(m->data.fs), .dir = DATA "/__cluster_metadata-0", .cluster_id = s->cluster_id,
                                        .segment_bytes = SEGMENT_BYTES};
    struct node *node;
    if (!open_dirs(m, &who, error) || (m->settings.is_voter && quorum_files_open(&files, &m->files, &boot, error, ERROR_MAX) != TIDE_OK))
        return NULL;
    control_node_config(&m->settings, m->dirs, m->birth, &c);
    c.cluster_id = who.cluster_id;
    m->host->incarnation = c.incarnation = some_uuid();
    c.previous_epoch = who.epoch;
    c.created_ms = 1700000000000;
    c.seed = tide_random_u64(&s->w.random);
    node = node_create(&c, m->settings.is_voter ? &boot : NULL, whole_local(s, m), error, ERROR_MAX);
    quorum_boot_deinit(&boot);
    return node;
}

static void close_files(struct machine *m)
{
    if (m->files != NULL)
        quorum_files_close(m->files);
    if (m->dirs != NULL)
        dirs_close(m->dirs);
    m->files = NULL;
    m->dirs = NULL;
}

static void start_control(struct machine *m, struct node *node)
{
    struct control_config c = {.settings = &m->settings, .dirs = m->dirs, .fs = sim_fs_verbs(m->data.fs), .node = node,
                               .office = m->data.office, .publication = &m->data.publication,
                               .data = {.self = m, .create = data_create, .open = partition_open, .close = partition_close,
                                        .destroy = data_destroy, .measure = data_measure, .checkpoint = partition_checkpoint,
                                        .lost = partition_lost_committed, .port_is_up = data_port_is_up, .each_peer = data_each_peer, .in_use = data_in_use, .submit = data_submit, .take = data_take},
                               .response_pool = m->whole->pools->response, .order_pool = m->orders, .broker_id = (int32_t)m->settings.node_id,
                               .incarnation = m->host->incarnation, .on_ready = on_ready, .on_stopped = on_stopped, .new_id = new_id, .arg = m};
    m->control = control_create(&c);
    TIDE_ASSERT(m->control != NULL);
}

void machine_boot(struct machine *m)
{
    static unsigned boots; /* names of pools are global in EAL */
    struct whole *s = m->whole;
    char error[ERROR_MAX] = "", name[RTE_MEMPOOL_NAMESIZE];
    struct node *node = open_node(m, error);
    uint64_t local = whole_local(s, m);
    m->stopping = m->ended = m->clean = false;
    if (node == NULL) {
        whole_trace(s, "broker %u does not start: %s", m->id + 1, error);
        if (m->ill_until_ns == 0)
            whole_fail(s, error);
        close_files(m);
        sim_fs_crash(m->data.fs, SIM_CRASH_KEEPS);
        m->failed_starts++;
        m->boot_ns = s->w.now_ns + BOOT_AGAIN_MS * TIDE_NS_PER_MS;
        return;
    }
    TIDE_ASSERT(rte_rcu_qsbr_init(m->qsbr, SIM_CORES_MAX) == 0);
    m->data.publication.qsbr = m->qsbr;
    sim_machine_boot(&m->data, &(struct sim_machine_config){.node = m->id, .core_count = s->core_count, .settings = &m->settings, .pools = s->pools,
                                                            .keeps_connections = true,
                                                            .grace = tide_grace_over(m->qsbr)}, &s->w.random, local);
    for (uint32_t i = 0; i < s->core_count; i++) {
        TIDE_ASSERT(rte_rcu_qsbr_thread_register(m->qsbr, i) == 0);
        m->online[i] = false;
        m->stalled_until_ns[i] = 0;
    }
    snprintf(name, sizeof(name), "sim_orders%u", boots++);
    m->orders = rte_mempool_create(name, ORDERS, sizeof(struct tide_mail), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    TIDE_ASSERT(m->orders != NULL);
    start_control(m, node);
    m->starts++;
    m->ring_ns = s->w.now_ns;
    whole_trace(s, "broker %u starts", m->id + 1);
    host_begin(&s->w, m->host, node, m->files);
}

/* The quorum's write that is under way is done in part. */
static void tear(struct machine *m)
{
    struct sim_faults *f = sim_fs_faults(m->data.fs), before = *f;
    if (m->host->op == NULL || m->files == NULL || !tide_random_hits(&m->whole->w.random, 2))
        return;
    f->fail_at = sim_fs_operations(m->data.fs) + below(m->whole, 12) + 1;
    f->fail_ever_after = true;
    f->fail_error = -EIO;
    (void)quorum_files_run(m->files, m->host->op);
    *f = before;
}

void machine_halt(struct machine *m, enum sim_crash how)
{
    struct whole *s = m->whole;
    whole_trace(s, "broker %u is gone", m->id + 1);
    tear(m);
    sim_machine_cut(&m->data, how);
    control_cut(m->control);
    control_destroy(m->control);
    m->control = NULL;
    m->job_count = 0;
    sim_machine_clear(&m->data);
    rte_mempool_free(m->orders);
    close_files(m);
    m->host->paused_until_ns = 0;
    host_crash(&s->w, m->host);
    for (unsigned p = 0; p < SIM_PLACES; p++)
        TIDE_ASSERT(m->partitions[p] == NULL);
}

void machine_stop(struct machine *m)
{
    m->stopping = true;
    control_stop(m->control, whole_local(m->whole, m));
    m->ring_ns = m->whole->w.now_ns;
}

bool machine_runs(const struct machine *m)
{
    return m->host->alive && m->whole->w.now_ns >= m->host->paused_until_ns;
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------ */

static void deliver(struct whole *s)
{
    struct sim_flight f;
    while (sim_wire_take(&s->wire, s->w.now_ns, &f))
        if (f.to == SIM_CLIENT)
            sim_client_receive(&s->client, s->w.now_ns, f.m);
        else if (s->machines[f.to].host->alive && s->w.now_ns >= s->machines[f.to].dark_until_ns)
            sim_core_receive(&s->machines[f.to].data.cores[f.queue], f.m);
        else
            rte_pktmbuf_free(f.m);
}

static bool core_can_turn(const struct machine *m, uint32_t i)
{
    return machine_runs(m) && m->whole->w.now_ns >= m->stalled_until_ns[i];
}

static void turn_core(struct machine *m, uint32_t i)
{
    struct whole *s = m->whole;
    struct sim_core *k = &m->data.cores[i];
    uint64_t local = whole_local(s, m);
    struct tide_time t = {.now_ns = local, .wall_ms = 1700000000000 + (int64_t)((s->w.now_ns - s->begin_ns) / TIDE_NS_PER_MS) + m->wall_jump_ms};
    if (!m->online[i])
        rte_rcu_qsbr_thread_online(m->qsbr, i);
    sim_core_turn(&m->data, i, &s->w.random, &t);
    rte_rcu_qsbr_quiescent(m->qsbr, i);
    m->online[i] = true;
    m->quiet_ns[i] = s->w.now_ns + (tide_random_hits(&s->w.random, 8) ? below(s, 2 * TIDE_NS_PER_MS) : 0);
    s->turns++;
    for (unsigned f = 0; f < k->io.tx_count; f++)
        if (s->w.now_ns >= m->dark_until_ns)
            sim_wire_send(&s->wire, s->w.now_ns, m->id, k->io.tx[f]);
        else
            rte_pktmbuf_free(k->io.tx[f]);
    k->io.tx_count = 0;
    if (s->wire.strays == SIM_STRAYS_NONE)
        TIDE_ASSERT(core_counters(k->core)->values[COUNTER_rx_handed] == 0);
    if (s->turns % 16 == 0)
        core_check(k->core);
    checks_on_turn(m, i);
    if (post_has_mail(m->data.office, s->core_count))
        m->ring_ns = TIDE_MIN(m->ring_ns, s->w.now_ns + below(s, 100000));
}

static void turn_cores(struct machine *m)
{
    uint64_t now_ns = m->whole->w.now_ns;
    for (uint32_t i = 0; i < m->whole->core_count; i++) {
        if (core_can_turn(m, i) && sim_core_has_cause(&m->data.cores[i], whole_local(m->whole, m)))
            turn_core(m, i);
        if (m->host->alive && m->online[i] && core_can_turn(m, i) && now_ns >= m->quiet_ns[i]) {
            rte_rcu_qsbr_thread_offline(m->qsbr, i);
            m->online[i] = false;
        }
    }
}

static uint64_t control_due_ns(const struct machine *m)
{
    const struct whole *s = m->whole;
    uint64_t due = m->ring_ns;
    due = TIDE_MIN(due, world_time_of(&s->w, m->host, control_deadline_ns(m->control)));
    for (unsigned i = 0; i < m->job_count; i++)
        due = TIDE_MIN(due, world_time_of(&s->w, m->host, m->jobs[i].at_ns));
    return due;
}

static void turn_control(struct machine *m)
{
    struct whole *s = m->whole;
    m->ring_ns = TIDE_NEVER;
    speaker = m;
    control_turn(m->control, whole_local(s, m));
    speaker = NULL;
    s->control_turns++;
    checks_on_metadata(s, m);
    host_flush(&s->w, m->host);
}

/* The node was given something. */
static void on_turn(void *arg, struct host *h)
{
    struct whole *s = arg;
    struct machine *m = &s->machines[h->id - 1];
    if (m->control == NULL)
        return;
    speaker = m;
    (void)control_on_node(m->control, whole_local(s, m));
    speaker = NULL;
    checks_on_metadata(s, m);
}

static void end_processes(struct whole *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (!m->host->alive || !m->ended)
            continue;
        whole_trace(s, "broker %u ends%s", b + 1, m->clean ? ", cleanly" : "");
        if (m->clean && dirs_mark_clean(m->dirs, node_member(m->host->node)->epoch) != 0)
            whole_trace(s, "broker %u: no mark of it", b + 1);
        machine_halt(m, s->memory && m->clean ? SIM_CRASH_RANDOM : SIM_CRASH_KEEPS); /* after a clean stop nothing is to be lost */
        m->boot_ns = s->w.now_ns + BOOT_AGAIN_MS * TIDE_NS_PER_MS;
    }
}

static uint64_t machine_due_ns(const struct machine *m)
{
    const struct whole *s = m->whole;
    uint64_t t = TIDE_NEVER, local = whole_local(s, m);
    if (!m->host->alive)
        return m->boot_ns;
    for (uint32_t i = 0; i < s->core_count; i++) {
        const struct sim_core *k = &m->data.cores[i];
        uint64_t due = sim_core_has_cause(k, local) ? s->w.now_ns : world_time_of(&s->w, m->host, sim_core_deadline_ns(k));
        if (m->online[i])
            due = TIDE_MIN(due, m->quiet_ns[i]);
        t = TIDE_MIN(t, TIDE_MAX(due, m->stalled_until_ns[i]));
    }
    t = TIDE_MIN(t, control_due_ns(m));
    return TIDE_MAX(t, m->host->paused_until_ns);
}

static uint64_t next_ns(const struct whole *s)
{
    uint64_t t = TIDE_MIN(sim_client_deadline_ns(&s->client), sim_wire_deadline_ns(&s->wire));
    t = TIDE_MIN(t, world_next_ns(&s->w));
    for (unsigned b = 0; b < s->brokers; b++)
        t = TIDE_MIN(t, machine_due_ns(&s->machines[b]));
    return TIDE_MAX(t, s->w.now_ns + 1000);
}

void whole_step(struct whole *s, uint64_t until_ns)
{
    uint64_t t = TIDE_MIN(next_ns(s), TIDE_MIN(TIDE_MAX(until_ns, s->w.now_ns + 1000), s->w.now_ns + 5 * TIDE_NS_PER_MS)); /* the client looks at its clock, too */
    running = s;
    while (world_step(&s->w, t + 1)) {
    }
    for (unsigned b = 0; b < s->brokers; b++)
        if (!s->machines[b].host->alive && s->w.now_ns >= s->machines[b].boot_ns)
            machine_boot(&s->machines[b]);
    deliver(s);
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (m->host->alive)
            turn_cores(m);
        if (machine_runs(m) && control_due_ns(m) <= s->w.now_ns)
            turn_control(m);
    }
    sim_client_turn(&s->client, s->w.now_ns);
    end_processes(s);
}

/* ---- what the client asks -------------------------------------------------------------------------------------------------- */

/* As some broker's Metadata would say now. */
static int leader_of(void *self, unsigned p)
{
    struct whole *s = self;
    const struct machine *m = &s->machines[below(s, s->brokers)];
    const struct view_topic *t;
    if (!machine_runs(m) || m->control->view == NULL)
        return -1;
    if (s->committed[p].unclean_epoch > s->lost_epoch[p])
        return -1; /* the client sends nothing before it knows what is gone */
    t = tide_view_topic(m->control->view, s->client.config.topic, (uint32_t)strlen(s->client.config.topic));
    return t != NULL && p < t->partition_count && t->partitions[p].leader > 0 ? t->partitions[p].leader - 1 : -1;
}

static int coordinator_of(void *self)
{
    struct whole *s = self;
    const struct machine *m = &s->machines[below(s, s->brokers)];
    const struct view_topic *t;
    if (!machine_runs(m) || m->control->view == NULL)
        return -1;
    t = tide_view_topic(m->control->view, TIDE_OFFSETS_TOPIC, sizeof(TIDE_OFFSETS_TOPIC) - 1);
    return t == NULL ? -2 : t->partitions[0].leader > 0 ? t->partitions[0].leader - 1 : -1;
}

static int64_t committed_of(void *self, unsigned p)
{
    return ((struct whole *)self)->committed_end[p];
}

static void trace_of(void *self, const char *format, ...)
{
    const struct whole *s = self;
    va_list args;
    if (!s->trace)
        return;
    va_start(args, format);
    vtrace(s, format, args);
    va_end(args);
}

/* ---- the beginning and the end ------------------------------------------------------------------------------------------------ */

static void read_settings(struct machine *m)
{
    const struct whole *s = m->whole;
    char text[2048], voters[256] = "", error[SETTINGS_ERROR_MAX];
    struct tide_random chance = {s->seed};
    char id[TIDE_UUID_TEXT], rack[SIM_RACK_ROOM];
    int line;
    size_t len;
    sim_rack(m->id, rack);
    for (unsigned i = 0; i < s->voters; i++)
        snprintf(voters + strlen(voters), sizeof(voters) - strlen(voters), "%s%u@host%u:9093", i == 0 ? "" : ",", i + 1, i + 1);
    tide_uuid_to_text(&s->cluster_id, id);
    len = (size_t)snprintf(text, sizeof(text),
                           "node.id=%u\ncluster.id=%s\nquorum.voters=%s\ndata.ports=vdev:net_null0\ndata.address=10.0.0.%u/24\n"
                           "listeners=PLAINTEXT://10.0.0.%u:%d\nlog.dirs=%s\ndata.core.count=%u\nreplication.port=%d\n"
                           "broker.session.timeout.ms=%lu\nreplica.lag.time.max.ms=%lu\nreplication.beat.ms=20\n"
                           "replication.reconnect.backoff.max.ms=200\nreplication.peers.max=16\nquorum.election.timeout.ms=%lu\n"
                           "metadata.snapshot.commands=%lu\nmetadata.log.trailing=%lu\nauto.create.topics.enable=false\n"
                           "controller.request.timeout.ms=200\nleader.imbalance.check.interval.seconds=2\n"
                           "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\nbroker.rack=%s\n"
                           "offsets.topic.num.partitions=1\noffsets.topic.min.insync.replicas=2\n"
                           "replica.high.watermark.checkpoint.interval.ms=%lu\n",
                           m->id + 1, id, voters, m->id + 1, m->id + 1, SIM_KAFKA_PORT, DATA, s->core_count, SIM_PEER_PORT, s->session_ms,
                           300 + tide_random_below(&chance, 700), 100 + tide_random_below(&chance, 400),
                           tide_random_hits(&chance, 2) ? 30ul : 65536ul, tide_random_hits(&chance, 2) ? 16ul : 16384ul, rack,
                           s->seed % 3 == 0 ? 5000ul : 20 + s->seed * 7919 % 500);
    if (settings_parse(text, len, &m->settings, &line, error, sizeof(error)) != TIDE_OK) {
        fprintf(stderr, "line %d: %s\n", line, error);
        abort();
    }
    if (tide_random_hits(&chance, 3))
        m->settings.replication_window_bytes = 8192;
}

static void make_client(struct whole *s, uint64_t faults_ns)
{
    struct sim_client_config c = {.wire = &s->wire, .pools = s->pools, .brokers = s->brokers, .partitions = s->partitions, .topic = "t",
                                  .records = 50 + (uint32_t)below(s, 150), .arg = s, .leader = leader_of, .committed = committed_of, .coordinator = coordinator_of, .commits = 20 + (uint32_t)below(s, 80),
                                  .fail = fail_of, .trace = trace_of};
    for (unsigned p = 0; p < s->partitions; p++)
        c.kinds[p] = (enum sim_producer_kind)below(s, 3);
    c.pace_ns = faults_ns / c.records;
    s->loses = s->seed % 16 == 9;
    c.racks = s->seed % 2 != 0 && !s->loses; /* a follower that does not know it yet would serve what is gone */
    c.sessions = s->seed / 2 % 2 != 0;
    c.memory = s->memory = s->seed % 8 == 5 || s->loses;
    sim_client_init(&s->client, &c, s->w.now_ns);
}

void whole_init(struct whole *s, uint64_t seed, const struct sim_pools *pools)
{
    uint64_t job_ms;
    memset(s, 0, sizeof(*s));
    running = s;
    world_init(&s->w, seed, SIM_BROKERS_MAX, SIM_BROKERS_MAX);
    s->seed = seed;
    s->pools = pools;
    s->w.on_turn = on_turn;
    s->w.fail = fail_of;
    s->w.arg = s;
    s->w.late_notices = true;
    s->w.now_ns = s->begin_ns = TIDE_NS_PER_S * (1 + below(s, 1000));
    s->w.count = s->brokers = 2 + (unsigned)(below(s, 4) != 0);
    s->voters = s->brokers == 3 && below(s, 4) != 0 ? 3 : 1;
    s->core_count = 1 + (uint32_t)below(s, 2);
    s->partitions = 1 + (unsigned)below(s, SIM_PARTITIONS_MAX);
    s->session_ms = 300 + below(s, 700);
    s->cluster_id = some_uuid();
    sim_wire_init(&s->wire, &s->w.random, pools->client, s->brokers, s->core_count);
    s->wire.delay_ns = 20000 + below(s, 300000);
    job_ms = tide_random_hits(&s->w.random, 2) ? 3 : 60;
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        size_t size = rte_rcu_qsbr_get_memsize(SIM_CORES_MAX);
        m->whole = s;
        m->id = b;
        m->host = &s->w.hosts[b];
        m->host->voter = b < s->voters;
        m->data.job_ms = job_ms;
        m->data.fs = sim_fs_create(&(struct sim_fs_config){.seed = seed * 8 + b});
        m->qsbr = m->qsbr_memory = aligned_alloc(TIDE_CACHE_LINE, (size + TIDE_CACHE_LINE - 1) / TIDE_CACHE_LINE * TIDE_CACHE_LINE);
        TIDE_ASSERT(m->qsbr != NULL);
        read_settings(m);
        m->boot_ns = s->w.now_ns + below(s, 50 * TIDE_NS_PER_MS);
        m->ring_ns = TIDE_NEVER;
        s->epochs[b] = -1;
        s->fenced[b] = true;
    }
    s->places = s->partitions + 1;
    for (unsigned p = 0; p < s->places; p++)
        s->committed[p] = (struct committed){.leader = -1, .leader_epoch = -1, .partition_epoch = -1, .unclean_epoch = s->lost_epoch[p] = -1};
    make_client(s, 4 * TIDE_NS_PER_S);
}

void whole_deinit(struct whole *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (m->host->alive)
            machine_halt(m, SIM_CRASH_RANDOM);
        sim_fs_destroy(m->data.fs);
        free(m->qsbr_memory);
    }
    s->w.count = SIM_BROKERS_MAX;
    world_deinit(&s->w);
    sim_wire_deinit(&s->wire);
    sim_client_deinit(&s->client);
    running = NULL;
}
