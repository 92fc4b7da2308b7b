/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a replica on control's side, over a real cluster of three brokers: what happens when its log fails. The
 * cores, the helpers, the clock and the road to the quorum are this file's.
 */
#include "unit.h"

#include <errno.h>

#include "control/edge/files.h"
#include "control/internal.h"
#include "control/node/node.h"

enum { BROKERS = 3 };

static struct rte_mempool *orders;
static struct rte_rcu_qsbr *qsbr;

static struct world {
    struct control c;
    struct tide_publication publication;
    struct post_office office;
    uint64_t index;
    struct tide_mail *letter; /* the last one to a core */
    struct mail_role role;    /* that its core took last */
    struct tide_job *job;
    int open_result;
    enum ack_durability durability;
    bool absent; /* there is no directory of the partition */
    bool replaced; /* the data directory is another one than the cluster knows */
    bool ends_early; /* before what was known to be committed */
    int64_t high_watermark; /* that the partition was made with */
    unsigned made; /* partitions that are there */
    unsigned asked; /* times that another leader was wanted */
    int32_t asked_epoch;
    unsigned assigned; /* times that another directory was wanted */
    struct tide_uuid directory;
    int32_t assigned_epoch;
    bool repairs; /* the partition made last */
    unsigned repaired;
    unsigned dir_count;
    bool placed_aside[2];  /* nothing new is placed in that directory */
    int probe_result;
    struct member member;
    struct tide_settings settings;
} w;

static struct cluster *cluster(void)
{
    return (struct cluster *)(uintptr_t)w.c.config.cluster;
}

static struct tide_uuid directory_of(int32_t id)
{
    return (struct tide_uuid){{0x44, (uint8_t)id, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}};
}

static const struct tide_uuid second_directory = {{0x46}};

/* ---- what is around ------------------------------------------------------------------------------------------ */

void control_log(const char *format, ...)
{
    (void)format;
}

void control_send(struct control *c, uint32_t core, struct tide_mail *m)
{
    assert_ptr_equal(c, &w.c);
    assert_int_equal(core, 0);
    assert_null(w.letter);
    w.letter = m;
}

uint64_t control_now_ms(const struct control *c)
{
    return c->now_ns / TIDE_NS_PER_MS;
}

void topic_config_of(const struct control *c, const struct cluster_topic *t, struct tide_topic_config *ret)
{
    (void)c;
    (void)t;
    memset(ret, 0, sizeof(*ret));
    ret->ack_durability = w.durability;
}

void configs_refresh(struct control *c)
{
    (void)c;
}

const char *dirs_path(const struct dirs *d, uint32_t dir)
{
    (void)d;
    return dir == 0 ? "/data" : "/more";
}

uint32_t dirs_count(const struct dirs *d)
{
    (void)d;
    return w.dir_count;
}

void dirs_set_offline(struct dirs *d, uint32_t dir, bool offline)
{
    (void)d;
    w.placed_aside[dir] = offline;
}

const struct member *node_member(const struct node *n)
{
    assert_null(n);
    return &w.member;
}

static int unlink_it(void *self, const char *path)
{
    (void)self;
    return strcmp(path, "/data/.probe") == 0 ? 0 : -ENOENT;
}

void dirs_id(const struct dirs *d, uint32_t dir, struct tide_uuid *ret)
{
    (void)d;
    *ret = dir == 1 ? second_directory : w.replaced ? (struct tide_uuid){{0x45}} : directory_of(1);
}

bool dirs_has(const struct dirs *d, const char *topic, int32_t index)
{
    (void)d;
    assert_string_equal(topic, "t");
    assert_int_equal(index, 0);
    return !w.absent;
}

bool dirs_place(struct dirs *d, const char *topic, int32_t index, uint32_t *ret_dir)
{
    (void)d;
    (void)topic;
    (void)index;
    *ret_dir = 0;
    return true;
}

bool dirs_is_of_topic(const struct tide_fs *f, const char *path, const struct tide_uuid *topic_id)
{
    (void)f;
    (void)path;
    return topic_id != NULL;
}

int dirs_remove_whole(const struct tide_fs *f, const char *path)
{
    (void)f;
    (void)path;
    return 0;
}

void dirs_forget(struct dirs *d, const char *topic, int32_t index)
{
    (void)d;
    (void)topic;
    (void)index;
}

bool changes_assign_dir(struct control *c, const struct replica *r, const struct tide_uuid *directory, int32_t partition_epoch)
{
    assert_ptr_equal(r, c->replicas[0]);
    w.assigned++;
    w.directory = *directory;
    w.assigned_epoch = partition_epoch;
    return true;
}

bool changes_move_leader(struct control *c, const struct replica *r, int32_t leader_epoch)
{
    assert_ptr_equal(r, c->replicas[0]);
    w.asked++;
    w.asked_epoch = leader_epoch;
    return true;
}

static int rename_it(void *self, const char *from, const char *to)
{
    (void)self;
    return strcmp(from, to) == 0 ? -EINVAL : 0;
}

static int sync_it(void *self, const char *path)
{
    (void)self;
    return path == NULL ? -EINVAL : 0;
}

static int open_file(void *self, const char *path, unsigned flags)
{
    (void)self;
    assert_string_equal(path, "/data/.probe.tmp");
    assert_int_equal(flags, TIDE_FS_WRITE | TIDE_FS_CREATE);
    return 3;
}

static int truncate_file(void *self, int file, uint64_t length)
{
    (void)self;
    assert_int_equal(length, 0);
    return file == 3 ? 0 : -EBADF;
}

static int64_t write_file(void *self, int file, const void *at, size_t len, uint64_t position)
{
    (void)self;
    assert_non_null(at);
    assert_int_equal(position, 0);
    return file != 3 ? -EBADF : w.probe_result != 0 ? w.probe_result : (int64_t)len;
}

static int with_file(void *self, int file)
{
    (void)self;
    return file == 3 ? 0 : -EBADF;
}

static const struct tide_fs fs = {.rename = rename_it, .sync_dir = sync_it, .unlink = unlink_it, .open = open_file, .truncate = truncate_file,
                                  .pwrite = write_file, .sync = with_file, .close = with_file};

static struct partition *create(void *self, const struct control_replica *what)
{
    (void)self;
    w.high_watermark = what->high_watermark;
    w.repairs = what->repair;
    w.made++;
    return malloc(1);
}

static int open_it(struct partition *p, const struct tide_fs *f, char *error, size_t size)
{
    (void)p;
    (void)f;
    snprintf(error, size, "%s", w.open_result == 0 ? "" : "a sector");
    w.repaired += w.repairs;
    return w.repairs && w.open_result == -EBADMSG ? 0 : w.open_result;
}

static int close_it(struct partition *p, const struct tide_fs *f)
{
    (void)p;
    (void)f;
    return -EIO; /* as it is with a log that failed */
}

static int64_t checkpoint(const struct partition *p)
{
    assert_non_null(p);
    return 70;
}

static bool lost(const struct partition *p)
{
    assert_non_null(p);
    return w.ends_early;
}

static void destroy(struct partition *p)
{
    w.made--;
    free(p);
}

static bool in_use(void *self, const struct partition *p)
{
    (void)self;
    return p == NULL;
}

static enum tide_status take_job(void *self, struct tide_job *job)
{
    (void)self;
    assert_null(w.job);
    w.job = job;
    return TIDE_OK;
}

/* ---- the cluster ----------------------------------------------------------------------------------------------- */

static int16_t give(const struct cluster_command *m)
{
    struct cluster_command stamped = *m;
    struct cluster_result r = {0};
    int16_t error;
    stamped.controller_epoch = cluster_controller_epoch(cluster());
    assert_int_equal(cluster_apply(cluster(), ++w.index, &stamped, &r), TIDE_OK);
    cluster_check(cluster());
    error = r.error != 0 || r.item_count == 0 ? r.error : r.items[0].error;
    cluster_result_free(&r);
    return error;
}

static void fence(int32_t id, bool fenced)
{
    struct cluster_command m = {.kind = fenced ? CLUSTER_FENCE_BROKER : CLUSTER_UNFENCE_BROKER};
    m.broker.id = id;
    m.broker.epoch = cluster_find_broker(cluster(), id)->epoch;
    assert_int_equal(give(&m), 0);
}

static struct tide_uuid process_of(int32_t id, uint8_t life)
{
    return (struct tide_uuid){{(uint8_t)id, life}};
}

/* A process of it registers; every life but the first follows a kill. */
static void join(int32_t id, uint8_t life)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    struct cluster_broker *b = &m.register_broker.broker;
    m.register_broker.cluster_id = *cluster_id(cluster());
    m.register_broker.previous_epoch = -1;
    b->id = id;
    b->incarnation = process_of(id, life);
    b->endpoint_count = 1;
    snprintf(b->endpoints[0].name, sizeof(b->endpoints[0].name), "PLAINTEXT");
    snprintf(b->endpoints[0].host, sizeof(b->endpoints[0].host), "h%d", id);
    b->endpoints[0].port = 9092;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        b->features[b->feature_count++] = *cluster_known_feature(i);
    b->directory_count = 1;
    b->directories[0] = directory_of(id);
    assert_int_equal(give(&m), 0);
    fence(id, false);
    if (id == 1)
        w.member.epoch = cluster_find_broker(cluster(), 1)->epoch;
}

/* What control asks of the cluster about its directories: done at once, and told at the next turn. */
static bool told;

bool changes_assign_directories(struct control *c, const struct cluster_dir_assignment *changes, uint32_t count)
{
    struct cluster_command m = {.kind = CLUSTER_ASSIGN_DIRS, .assign_dirs = {.broker = 1, .broker_epoch = w.member.epoch, .count = count, .changes = changes}};
    assert_ptr_equal(c, &w.c);
    assert_int_equal(give(&m), 0);
    told = true;
    return true;
}

bool changes_register_directories(struct control *c, const struct cluster_broker *ours)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    struct cluster_broker *b = &m.register_broker.broker;
    *b = *ours;
    b->directory_count = 0;
    for (uint32_t i = 0; i < c->disks.count; i++)
        if (!c->directories[i].offline)
            b->directories[b->directory_count++] = c->directories[i].id;
    m.register_broker.cluster_id = *cluster_id(cluster());
    assert_int_equal(give(&m), 0);
    told = true;
    return true;
}

static const struct cluster_partition *partition_now(void)
{
    return &cluster_topic_at(cluster(), 0)->partitions[0];
}

/* What the quorum says to the wish that was asked for last. */
static void decide(void)
{
    struct cluster_command m = {.kind = CLUSTER_MOVE_LEADER};
    int16_t error;
    m.move_leader.topic_id = w.c.replicas[0]->topic_id;
    m.move_leader.leader_epoch = w.asked_epoch;
    m.move_leader.excluded = 1;
    error = give(&m);
    replicas_on_moved(&w.c, &m.move_leader.topic_id, 0, w.asked_epoch, error);
}

static int16_t put(int32_t id, const struct tide_uuid *directory)
{
    struct cluster_dir_assignment n = {w.c.replicas[0]->topic_id, 0, *directory};
    struct cluster_command m = {.kind = CLUSTER_ASSIGN_DIRS};
    m.assign_dirs.broker = id;
    m.assign_dirs.broker_epoch = cluster_find_broker(cluster(), id)->epoch;
    m.assign_dirs.count = 1;
    m.assign_dirs.changes = &n;
    return give(&m);
}

static void decide_place(void)
{
    replicas_on_assigned(&w.c, &w.c.replicas[0]->topic_id, 0, w.assigned_epoch, put(1, &w.directory));
}

static void want_isr(int32_t leader, const int32_t *isr, uint32_t count)
{
    struct cluster_partition_change n = {.topic_id = {{9, 9}}, .isr_count = count, .leader_epoch = partition_now()->leader_epoch,
                                         .partition_epoch = partition_now()->partition_epoch};
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION};
    for (uint32_t i = 0; i < count; i++)
        n.isr[i] = (struct cluster_isr_member){isr[i], -1};
    m.alter_partition.broker = leader;
    m.alter_partition.broker_epoch = cluster_find_broker(cluster(), leader)->epoch;
    m.alter_partition.count = 1;
    m.alter_partition.changes = &n;
    assert_int_equal(give(&m), 0);
}

/* ---- the life of a replica --------------------------------------------------------------------------------------- */

/* Until nothing waits but time, or an answer. */
static void turn(void)
{
    for (unsigned i = 0; i < 50; i++) {
        struct tide_mail *m = w.letter;
        struct tide_job *job = w.job;
        w.c.view_stale = false;
        w.letter = NULL;
        w.job = NULL;
        if (m != NULL && m->kind == MAIL_BECOME) {
            w.role = m->become.role;
            replicas_on_role(&w.c, m);
        } else if (m != NULL)
            replicas_on_order(&w.c, m);
        if (job != NULL) {
            job->run(job, &fs);
            if (job->kind == JOB_CONTROL_PROBE)
                directories_on_probe(&w.c, job);
            else
                replicas_on_job(&w.c, job);
        }
        if (told) {
            told = false;
            directories_on_told(&w.c);
        }
        if (w.c.reconcile) {
            w.c.reconcile = false;
            replicas_reconcile(&w.c);
        }
        (void)replicas_tick(&w.c);
    }
}

static void wait_ms(uint64_t ms)
{
    w.c.now_ns += ms * TIDE_NS_PER_MS;
    turn();
}

static void fail_log(void)
{
    replicas_on_failed(&w.c, &(struct mail_failed){.partition = w.c.replicas[0]->partition, .disk = true});
}

/* As control looks, and as the controller does what it hears. */
static struct node_health look(void)
{
    struct node_health health = {0};
    struct cluster_command m = {.kind = CLUSTER_DIRS_OFFLINE, .dirs_offline = {.id = 1, .epoch = w.member.epoch}};
    assert_null(w.job);
    directories_look(&w.c, &health);
    m.dirs_offline.count = health.offline_count;
    memcpy(m.dirs_offline.directories, health.offline, sizeof(health.offline));
    if (health.offline_count != 0)
        assert_int_equal(give(&m), 0);
    w.c.reconcile = true;
    turn();
    return health;
}

static void with_directories(unsigned count)
{
    w.dir_count = count;
    directories_init(&w.c);
    (void)changes_register_directories(&w.c, cluster_find_broker(cluster(), 1));
    told = false;
}

static int setup(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT};
    (void)state;
    memset(&w, 0, sizeof(w));
    w.c.now_ns = TIDE_NS_PER_S;
    w.office.core_count = 1;
    w.publication.qsbr = qsbr;
    w.c.marks.dir_count = 1;
    w.c.config = (struct control_config){.cluster = cluster_create(NULL),
                                         .office = &w.office,
                                         .order_pool = orders,
                                         .publication = &w.publication,
                                         .broker_id = 1,
                                         .incarnation = process_of(1, 1),
                                         .data = {.create = create, .open = open_it, .close = close_it, .destroy = destroy, .in_use = in_use,
                                                  .checkpoint = checkpoint, .lost = lost,
                                                  .submit = take_job}};
    assert_non_null(w.c.config.cluster);
    m.init.cluster_id = (struct tide_uuid){{1, 2, 3}};
    assert_int_equal(give(&m), 0);
    m = (struct cluster_command){.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {.node = 1, .term = 1}};
    assert_int_equal(give(&m), 0);
    for (int32_t id = 1; id <= BROKERS; id++)
        join(id, 1);
    w.settings.data_recover_ms = 5000;
    w.c.config.settings = &w.settings;
    with_directories(1);
    return 0;
}

/* Led by the first of them. */
static void make(uint32_t count, const int32_t *replicas)
{
    struct cluster_assignment a = {.replica_count = count};
    struct cluster_command m = {.kind = CLUSTER_CREATE_TOPIC};
    memcpy(a.replicas, replicas, count * sizeof(*replicas));
    snprintf(m.create_topic.name, sizeof(m.create_topic.name), "t");
    m.create_topic.id = (struct tide_uuid){{9, 9}};
    m.create_topic.partition_count = -1;
    m.create_topic.replication_factor = -1;
    m.create_topic.assignment_count = 1;
    m.create_topic.assignment = &a;
    assert_int_equal(give(&m), 0);
    w.c.reconcile = true;
    turn();
}

static int teardown(void **state)
{
    (void)state;
    w.c.stopping = true;
    replicas_stop(&w.c);
    turn();
    assert_true(replicas_gone(&w.c));
    assert_int_equal(w.made, 0);
    assert_null(w.letter);
    marks_deinit(&w.c.marks);
    cluster_destroy(cluster());
    return 0;
}

static enum replica_state state_now(void)
{
    return w.c.replicas[0] != NULL ? w.c.replicas[0]->state : REPLICA_ABSENT;
}

static void test_a_failed_leader_is_not_opened_before_another_leads(void **state)
{
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(partition_now()->leader, 1);
    fail_log();
    assert_int_equal(w.asked, 1); /* at once */
    assert_int_equal(w.asked_epoch, 0);
    turn();
    wait_ms(60000);
    assert_int_equal(state_now(), REPLICA_FAILED); /* as a leader of the same epoch it would cut what others have */
    assert_int_equal(w.asked, 1);
    assert_int_equal(replicas_retry_ms(&w.c), UINT64_MAX); /* the answer wakes, not the clock */
    decide();
    assert_int_equal(partition_now()->leader, 2);
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch); /* as a follower */
    assert_int_equal(w.asked, 1);
}

static void test_a_failed_leader_without_others_leads_again(void **state)
{
    (void)state;
    make(1, (const int32_t[]){1});
    fail_log();
    turn();
    assert_int_equal(state_now(), REPLICA_FAILED);
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.asked, 0);
}

/* The other one in sync is away, and so is nobody's leader. */
static void test_the_cluster_may_have_nobody_else(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_SET_DATA_SUSPECT};
    (void)state;
    make(2, (const int32_t[]){1, 2});
    m.broker.id = 2;
    m.broker.epoch = cluster_find_broker(cluster(), 2)->epoch;
    m.broker.on = true;
    assert_int_equal(give(&m), 0);
    w.open_result = -EIO;
    fail_log();
    turn();
    decide();
    assert_int_equal(partition_now()->leader, 1);
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_FAILED); /* it was tried */
    assert_int_equal(w.c.replicas[0]->tries, 1);
    m.broker.on = false;
    assert_int_equal(give(&m), 0);
    while (partition_now()->leader == 1) { /* asked with each try, for as long as it takes */
        unsigned asked = w.asked;
        wait_ms(30000);
        assert_int_equal(w.asked, asked + 1);
        decide();
    }
    assert_int_equal(partition_now()->leader, 2);
    w.open_result = 0;
    wait_ms(30000);
    assert_int_equal(state_now(), REPLICA_SERVING);
}

static void test_nobody_answered(void **state)
{
    struct tide_uuid id;
    (void)state;
    make(2, (const int32_t[]){1, 2});
    id = w.c.replicas[0]->topic_id;
    fail_log();
    turn();
    wait_ms(200);
    replicas_on_moved(&w.c, &id, 0, 0, KAFKA_REQUEST_TIMED_OUT);
    turn();
    assert_int_equal(w.asked, 1);
    wait_ms(100);
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.asked, 2); /* again, and it is not opened meanwhile */
    decide();
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(partition_now()->leader, 2);
}

/* Who fails to open what he follows may be elected meanwhile. */
static void test_elected_while_failed(void **state)
{
    (void)state;
    make(3, (const int32_t[]){2, 1, 3});
    w.open_result = -EIO;
    fail_log();
    turn();
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.asked, 0);
    fence(2, true);
    assert_int_equal(partition_now()->leader, 1);
    w.c.reconcile = true;
    turn();
    assert_int_equal(w.asked, 1); /* not only with the next try */
    decide();
    assert_int_equal(partition_now()->leader, 3);
}

static void test_elected_while_failed_and_alone(void **state)
{
    (void)state;
    make(2, (const int32_t[]){2, 1});
    assert_int_equal(partition_now()->leader, 2);
    w.open_result = -EIO;
    fail_log();
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.asked, 0);
    fence(2, true);
    assert_int_equal(partition_now()->leader, 1);
    w.c.reconcile = true;
    turn();
    assert_int_equal(w.asked, 0); /* alone in sync */
    w.open_result = 0;
    wait_ms(30000);
    assert_int_equal(state_now(), REPLICA_SERVING);
}

static void test_the_topic_goes_while_it_is_asked(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_DELETE_TOPIC};
    struct tide_uuid id;
    (void)state;
    make(2, (const int32_t[]){1, 2});
    id = w.c.replicas[0]->topic_id;
    fail_log();
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_FAILED);
    m.delete_topic = id;
    assert_int_equal(give(&m), 0);
    w.c.reconcile = true;
    turn();
    assert_int_equal(state_now(), REPLICA_ABSENT);
    replicas_on_moved(&w.c, &id, 0, 0, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
}

static bool is_lost_now(void)
{
    for (uint32_t i = 0; i < partition_now()->replica_count; i++)
        if (partition_now()->replicas[i] == 1)
            return tide_uuid_equal(&partition_now()->directories[i], &cluster_directory_lost);
    return false;
}

static bool is_in_sync(int32_t id)
{
    for (uint32_t i = 0; i < partition_now()->isr_count; i++)
        if (partition_now()->isr[i] == id)
            return true;
    return false;
}

/* Out of the ISR first, then cut, then it may lead again. */
static void test_what_rotted_is_filled_again(void **state)
{
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    replicas_on_rotten(&w.c, w.c.replicas[0]->partition, 5);
    replicas_on_rotten(&w.c, w.c.replicas[0]->partition, 7);
    assert_int_equal(w.assigned, 1);
    assert_true(tide_uuid_equal(&w.directory, &cluster_directory_lost));
    assert_int_equal(replicas_rotten(&w.c), 1);
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_SERVING); /* nothing is cut while it counts */
    decide_place();
    assert_int_equal(partition_now()->leader, 2);
    assert_false(is_in_sync(1));
    turn();
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.repaired, 0);
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.repaired, 1);
    assert_int_equal(replicas_rotten(&w.c), 0);
    assert_int_equal(w.assigned, 2);
    assert_true(is_lost_now());
    decide_place();
    assert_false(is_lost_now());
    turn();
    assert_int_equal(w.assigned, 2);
    assert_int_equal(replicas_retry_ms(&w.c), UINT64_MAX);
}

/* In the epoch that begins without it the old log acknowledges nothing: it is not told of it. */
static void test_what_is_lost_takes_no_role(void **state)
{
    struct tide_mail *m;
    (void)state;
    make(3, (const int32_t[]){2, 1, 3});
    fence(3, true);
    replicas_reconcile(&w.c);
    m = w.letter;
    assert_non_null(m); /* the role without 3 is on its way */
    assert_int_equal(m->kind, MAIL_BECOME);
    w.letter = NULL;
    replicas_on_rotten(&w.c, w.c.replicas[0]->partition, 5);
    int32_t before = partition_now()->leader_epoch;
    decide_place();
    assert_int_equal(partition_now()->leader, 2);
    assert_int_equal(partition_now()->leader_epoch, before + 1);
    replicas_on_role(&w.c, m);
    assert_null(w.letter);
    turn();
    wait_ms(200);
    assert_int_equal(w.repaired, 1);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch);
}

/* Nobody else has it: it stays. Somebody comes to have it: then it goes. */
static void test_what_rotted_and_is_nowhere_else(void **state)
{
    const int32_t both[] = {1, 2};
    (void)state;
    make(2, both);
    fence(2, true);
    w.c.reconcile = true;
    turn();
    replicas_on_rotten(&w.c, w.c.replicas[0]->partition, 5);
    decide_place();
    for (unsigned i = 0; i < 3; i++) {
        w.c.reconcile = true;
        wait_ms(60000);
    }
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(partition_now()->leader, 1);
    assert_int_equal(w.assigned, 1);
    assert_int_equal(replicas_rotten(&w.c), 1);
    fence(2, false);
    want_isr(1, both, 2);
    w.c.reconcile = true;
    turn();
    assert_int_equal(w.assigned, 2);
    decide_place();
    assert_int_equal(partition_now()->leader, 2);
    turn();
    wait_ms(200);
    assert_int_equal(w.repaired, 1);
    assert_int_equal(state_now(), REPLICA_SERVING);
}

/* Recovery met it, and did not open the log. */
static void test_what_rotted_while_it_was_down(void **state)
{
    (void)state;
    w.open_result = -EBADMSG;
    make(3, (const int32_t[]){2, 1, 3});
    wait_ms(100);
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.assigned, 1);
    wait_ms(60000);
    assert_int_equal(w.repaired, 0);
    replicas_on_assigned(&w.c, &w.c.replicas[0]->topic_id, 0, w.assigned_epoch, KAFKA_REQUEST_TIMED_OUT);
    wait_ms(200);
    assert_int_equal(w.assigned, 2);
    decide_place();
    assert_false(is_in_sync(1));
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.repaired, 1);
    assert_int_equal(w.assigned, 3);
    decide_place();
    assert_false(is_lost_now());
}

/* The process that gave it up is not the one that opened it. */
static void test_put_down_as_lost_by_an_earlier_life(void **state)
{
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(put(1, &cluster_directory_lost), 0);
    w.c.reconcile = true;
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.repaired, 0);
    assert_int_equal(w.assigned, 1);
    decide_place();
    assert_false(is_lost_now());
}

/* The mark of a clean stop says that nothing acknowledged is missing. */
static void test_a_failure_leaves_a_clean_stop(void **state)
{
    (void)state;
    make(1, (const int32_t[]){1});
    fail_log();
    turn();
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_false(w.c.unclean); /* all of it was on the disk */
}

static void test_a_failure_from_memory_leaves_no_clean_stop(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    make(1, (const int32_t[]){1});
    fail_log();
    assert_true(w.c.unclean);
}

/* ---- acknowledged from memory ------------------------------------------------------------------------------------ */

/* This process is another one than the cluster knows: the one before was killed. */
static void come_back(void)
{
    w.c.config.incarnation = process_of(1, 2);
}

/* Its log may lack what it acknowledged. In the epoch that it led the others would be cut to what is left here; that epoch ends
 * when it registers. */
static void test_who_was_killed_as_leader_leads_no_more(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    come_back();
    make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(partition_now()->leader, 1);
    for (unsigned i = 0; i < 3; i++) {
        w.c.reconcile = true;
        wait_ms(1000);
    }
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.c.replicas[0]->role_epoch, -1);
    join(1, 2);
    assert_int_equal(partition_now()->leader, 2);
    w.c.reconcile = true;
    turn();
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch);
}

/* Nobody is cut to what a follower has. */
static void test_who_was_killed_as_follower_follows_at_once(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    come_back();
    make(3, (const int32_t[]){2, 1, 3});
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch);
}

/* All that it acknowledged is on its disk. */
static void test_from_the_device_a_killed_leader_leads_on(void **state)
{
    (void)state;
    come_back();
    make(3, (const int32_t[]){1, 2, 3});
    assert_int_equal(partition_now()->leader, 1);
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch);
}

/* What its log had in memory only is gone: it counts for nothing before it is opened, and is filled again. */
static void test_what_failed_with_records_in_memory_is_lost_first(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    make(3, (const int32_t[]){2, 1, 3});
    fail_log();
    for (unsigned i = 0; i < 3; i++)
        wait_ms(60000);
    assert_int_equal(state_now(), REPLICA_FAILED); /* nobody answered: it is a member of the ISR still */
    assert_int_equal(w.assigned, 1);
    assert_true(tide_uuid_equal(&w.directory, &cluster_directory_lost));
    assert_int_equal(replicas_retry_ms(&w.c), UINT64_MAX);
    replicas_on_assigned(&w.c, &w.c.replicas[0]->topic_id, 0, w.assigned_epoch, KAFKA_REQUEST_TIMED_OUT);
    wait_ms(50);
    assert_int_equal(w.assigned, 1);
    assert_int_equal(state_now(), REPLICA_FAILED);
    wait_ms(100);
    assert_int_equal(w.assigned, 2); /* asked again, and not opened meanwhile */
    assert_int_equal(state_now(), REPLICA_FAILED);
    decide_place();
    assert_false(is_in_sync(1));
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.repaired, 0); /* what is left of it is as it was written */
    assert_int_equal(w.c.replicas[0]->role_epoch, partition_now()->partition_epoch);
    assert_int_equal(w.assigned, 3);
    decide_place();
    assert_false(is_lost_now());
    turn();
    assert_int_equal(w.assigned, 3);
}

/* Of a leader both is asked: that another one leads, and that it is put down as lost. The latter alone ends its epoch, too. */
static void test_a_leader_that_failed_with_records_in_memory(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    make(3, (const int32_t[]){1, 2, 3});
    fail_log();
    turn();
    assert_int_equal(w.asked, 1);
    decide();
    assert_int_equal(partition_now()->leader, 2);
    assert_true(is_in_sync(1));
    wait_ms(60000);
    assert_int_equal(state_now(), REPLICA_FAILED);
    assert_int_equal(w.assigned, 1);
    decide_place(); /* as of the epoch before, or of this one: what counts is that it has it not */
    assert_false(is_in_sync(1));
    turn();
    assert_int_equal(state_now(), REPLICA_SERVING);
    decide_place();
    assert_false(is_lost_now());
}

/* Then what is left of it is all that there is. */
static void test_what_failed_with_records_in_memory_and_is_nowhere_else(void **state)
{
    (void)state;
    w.durability = ACK_DURABILITY_MEMORY;
    make(2, (const int32_t[]){1, 2});
    fence(2, true);
    w.c.reconcile = true;
    turn();
    fail_log();
    turn();
    wait_ms(1000);
    assert_int_equal(w.assigned, 1);
    assert_int_equal(state_now(), REPLICA_FAILED);
    decide_place();
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.assigned, 1);
    assert_int_equal(partition_now()->leader, 1);
}

/* Also in a partition epoch in which it could not be spared before. */
static void test_what_fails_again_with_records_in_memory_is_asked_again(void **state)
{
    (void)state;
    test_what_failed_with_records_in_memory_and_is_nowhere_else(state);
    fail_log();
    turn();
    wait_ms(1000);
    assert_int_equal(w.assigned, 2);
    decide_place();
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_SERVING);
}

static void test_what_failed_from_the_device_is_not_lost(void **state)
{
    (void)state;
    make(3, (const int32_t[]){2, 1, 3});
    fail_log();
    turn();
    wait_ms(1000);
    assert_int_equal(state_now(), REPLICA_SERVING);
    assert_int_equal(w.assigned, 0);
    assert_true(is_in_sync(1));
}

/* ---- an unclean election that is over --------------------------------------------------------------------------- */

/* 2 leads with less than we have, and has long reported itself recovered, when we hear of it. Unless we are told, we refuse to be cut
 * below what we know as committed, and so does every later process of ours. */
static void test_an_unclean_epoch_is_told_afterwards(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS, .elect_leaders = {.election = CLUSTER_ELECT_UNCLEAN, .count = 1}};
    struct cluster_partition_ref ref = {.topic_id = {{9, 9}}};
    (void)state;
    make(2, (const int32_t[]){1, 2});
    assert_int_equal(w.role.unclean_epoch, -1);
    fence(2, true);
    fence(1, true);
    fence(2, false);
    assert_int_equal(partition_now()->leader, -1);
    m.elect_leaders.partitions = &ref;
    assert_int_equal(give(&m), 0);
    assert_int_equal(partition_now()->leader, 2);
    assert_true(partition_now()->recovering);
    want_isr(2, (const int32_t[]){2}, 1);
    assert_false(partition_now()->recovering);
    w.c.reconcile = true;
    turn();
    assert_int_equal(w.role.partition_epoch, partition_now()->partition_epoch);
    assert_false(w.role.recovering);
    assert_int_equal(w.role.unclean_epoch, 2);
    assert_int_equal(w.role.leader_epoch, 2);
}

/* ---- what the cluster is told was lost -------------------------------------------------------------------------- */

static void know(int64_t offset)
{
    struct mark m = {.topic_id = {{9, 9}}, .offset = offset, .topic = "t"};
    assert_true(marks_set(&w.c.marks, &m));
}

static uint32_t lost_now(void)
{
    struct cluster_partition_ref ref[2];
    uint32_t count;
    make(3, (const int32_t[]){1, 2, 3});
    count = replicas_lost(&w.c, ref, TIDE_ARRAY_LEN(ref));
    assert_true(count <= 1);
    if (count == 1)
        assert_memory_equal(&ref[0].topic_id, &w.c.replicas[0]->topic_id, sizeof(ref[0].topic_id));
    return count;
}

static void test_what_is_whole_is_not_lost(void **state)
{
    (void)state;
    know(50);
    assert_int_equal(lost_now(), 0);
    assert_int_equal(w.high_watermark, 50);
}

static void test_what_ends_early_is_lost(void **state)
{
    (void)state;
    w.ends_early = true;
    assert_int_equal(lost_now(), 1);
}

static void test_what_cannot_be_opened_is_lost(void **state)
{
    (void)state;
    w.open_result = -EIO;
    assert_int_equal(lost_now(), 1);
    w.open_result = 0;
    wait_ms(200);
}

/* The time of the next try comes, and it is under way. */
static void try_again(uint64_t ms)
{
    w.c.now_ns += ms * TIDE_NS_PER_MS;
    (void)replicas_tick(&w.c);
    assert_int_equal(state_now(), REPLICA_OPENING);
}

static void test_what_is_being_tried_again_is_lost(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    w.open_result = -EIO;
    make(3, (const int32_t[]){2, 1, 3});
    try_again(100);
    assert_true(replicas_recovered(&w.c)); /* a disk that makes nothing but tries keeps nobody from registering */
    assert_int_equal(replicas_lost(&w.c, &ref, 1), 1);
    w.open_result = 0;
    turn();
    wait_ms(200);
}

/* It would be led again by an unclean election only. */
static void test_the_last_one_is_given_time(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    w.open_result = -EIO;
    make(1, (const int32_t[]){1});
    assert_false(replicas_recovered(&w.c));
    wait_ms(100);
    assert_false(replicas_recovered(&w.c));
    w.open_result = 0;
    wait_ms(200);
    assert_true(replicas_recovered(&w.c));
    assert_int_equal(replicas_lost(&w.c, &ref, 1), 0);
}

static void test_the_last_one_is_not_waited_for_for_ever(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    w.open_result = -EIO;
    make(1, (const int32_t[]){1});
    for (uint64_t ms = 100; ms <= 800; ms *= 2) {
        assert_false(replicas_recovered(&w.c));
        wait_ms(ms);
    }
    try_again(1600);
    assert_false(replicas_recovered(&w.c));
    turn();
    assert_true(replicas_recovered(&w.c));
    assert_int_equal(replicas_lost(&w.c, &ref, 1), 1);
    w.open_result = 0;
    wait_ms(3200);
}

static void test_what_was_served_and_is_gone_is_lost(void **state)
{
    (void)state;
    w.absent = true;
    know(0);
    assert_int_equal(lost_now(), 1);
}

static void test_what_was_on_another_disk_is_lost(void **state)
{
    (void)state;
    w.absent = w.replaced = true;
    assert_int_equal(lost_now(), 1);
}

/* The broker was killed before it could tell: its log is there by now, and empty. */
static void test_what_was_on_another_disk_is_lost_at_the_next_start_too(void **state)
{
    (void)state;
    w.replaced = true;
    assert_int_equal(lost_now(), 1);
}

/* On one of the disks that stayed. */
static void test_what_is_known_is_there_although_another_disk_is_gone(void **state)
{
    (void)state;
    w.replaced = true;
    know(50);
    assert_int_equal(lost_now(), 0);
}

/* The broker was killed right after the topic was made. */
static void test_what_never_was_is_not_lost(void **state)
{
    (void)state;
    w.absent = true;
    assert_int_equal(lost_now(), 0);
    assert_int_equal(w.high_watermark, 0);
}

static void test_what_nobody_counts_on_is_not_lost(void **state)
{
    struct cluster_partition_ref ref;
    (void)state;
    w.ends_early = true;
    assert_int_equal(lost_now(), 1);
    assert_int_equal(replicas_lost(&w.c, &ref, 0), 0);
    fence(1, true); /* the others are in sync, it is not */
    assert_int_equal(replicas_lost(&w.c, &ref, 1), 0);
}

static void test_what_is_served_is_noted(void **state)
{
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    replicas_note_marks(&w.c); /* nobody has been told yet what is missing here */
    assert_int_equal(marks_find(&w.c.marks, &w.c.replicas[0]->topic_id, 0), -1);
    w.c.was_active = true;
    replicas_note_marks(&w.c);
    assert_int_equal(marks_find(&w.c.marks, &w.c.replicas[0]->topic_id, 0), 70);
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

static void test_the_cluster_hears_where_replicas_live(void **state)
{
    struct tide_uuid first;
    (void)state;
    with_directories(2);
    dirs_id(NULL, 0, &first);
    make(3, (const int32_t[]){1, 2, 3});
    assert_true(tide_uuid_equal(&partition_now()->directories[0], &first));
    assert_false(w.c.dirs_out);
}

static void test_with_one_directory_there_is_nothing_to_tell(void **state)
{
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    assert_true(tide_uuid_is_zero(&partition_now()->directories[0]));
}

/* The last one that a broker has: it asks to be fenced, and is no more told than that. */
static void test_a_broker_without_a_directory_is_faulty(void **state)
{
    struct node_health h;
    (void)state;
    make(3, (const int32_t[]){1, 2, 3});
    w.probe_result = -EROFS;
    fail_log();
    (void)look(); /* it is probed */
    h = look();
    assert_true(h.faulty);
    assert_int_equal(h.offline_count, 0);
    w.probe_result = 0;
    for (unsigned i = 0; i < 7 && h.faulty; i++) {
        wait_ms(1000);
        h = look();
    }
    assert_false(h.faulty);
}

static void test_a_single_broker_goes_on(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_UNREGISTER_BROKER};
    (void)state;
    for (m.broker.id = 2; m.broker.id <= BROKERS; m.broker.id++) {
        fence(m.broker.id, true);
        assert_int_equal(give(&m), 0);
    }
    make(1, (const int32_t[]){1});
    w.probe_result = -EROFS;
    fail_log();
    (void)look();
    assert_false(look().faulty);
    assert_int_equal(partition_now()->leader, 1);
    wait_ms(200);
    assert_int_equal(state_now(), REPLICA_SERVING); /* tried on */
}

/* Others lead; it is out of sync until the directory has been well for a while; then it is registered again. */
static void test_a_directory_that_fails_and_is_well_again(void **state)
{
    struct node_health h;
    (void)state;
    with_directories(2);
    make(3, (const int32_t[]){1, 2, 3});
    w.probe_result = -EIO;
    fail_log();
    (void)look();
    h = look();
    assert_false(h.faulty);
    assert_int_equal(h.offline_count, 1);
    assert_true(w.placed_aside[0]);
    assert_int_equal(cluster_find_broker(cluster(), 1)->directory_count, 1);
    assert_int_equal(partition_now()->leader, 2);
    assert_int_equal(partition_now()->isr_count, 2);
    assert_false(cluster_can_lead(cluster(), partition_now(), 1));
    w.probe_result = 0;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(cluster_find_broker(cluster(), 1)->directory_count, 1);
        wait_ms(1000);
        h = look();
    }
    assert_int_equal(h.offline_count, 0);
    assert_false(w.placed_aside[0]);
    assert_int_equal(cluster_find_broker(cluster(), 1)->directory_count, 2);
    assert_true(cluster_can_lead(cluster(), partition_now(), 1));
    assert_false(w.c.dirs_out);
    decide();
    turn();
}

static void test_a_full_disk_is_no_failure_of_its_directory(void **state)
{
    (void)state;
    with_directories(2);
    make(3, (const int32_t[]){1, 2, 3});
    w.probe_result = -ENOSPC;
    fail_log();
    (void)look();
    assert_int_equal(look().offline_count, 0);
    decide();
    turn();
}

/* It opens and can be probed, and what is written comes to nothing. */
static void test_a_log_that_goes_on_failing_ends_its_directory(void **state)
{
    (void)state;
    with_directories(2);
    make(3, (const int32_t[]){2, 1, 3});
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(look().offline_count, 0);
        assert_int_equal(state_now(), REPLICA_SERVING);
        fail_log();
        turn();
        wait_ms(400);
    }
    assert_int_equal(look().offline_count, 1);
}

/* What it holds is not what its leader has: the directory has nothing to do with it. */
static void test_a_replica_of_no_use_says_nothing_of_its_directory(void **state)
{
    (void)state;
    with_directories(2);
    make(3, (const int32_t[]){2, 1, 3});
    for (unsigned i = 0; i < 5; i++) {
        replicas_on_failed(&w.c, &(struct mail_failed){.partition = w.c.replicas[0]->partition});
        turn();
        wait_ms(30000);
        assert_int_equal(look().offline_count, 0);
    }
}

static int open_world(void **state)
{
    (void)state;
    unit_eal();
    orders = rte_mempool_create("orders", 63, sizeof(struct tide_mail), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    qsbr = calloc(1, rte_rcu_qsbr_get_memsize(1) + TIDE_CACHE_LINE);
    qsbr = (void *)(((uintptr_t)qsbr + TIDE_CACHE_LINE - 1) / TIDE_CACHE_LINE * TIDE_CACHE_LINE);
    assert_non_null(orders);
    return rte_rcu_qsbr_init(qsbr, 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_failed_leader_is_not_opened_before_another_leads),
        CASE(test_a_failed_leader_without_others_leads_again),
        CASE(test_the_cluster_may_have_nobody_else),
        CASE(test_nobody_answered),
        CASE(test_elected_while_failed),
        CASE(test_elected_while_failed_and_alone),
        CASE(test_what_rotted_is_filled_again),
        CASE(test_what_is_lost_takes_no_role),
        CASE(test_what_rotted_and_is_nowhere_else),
        CASE(test_what_rotted_while_it_was_down),
        CASE(test_put_down_as_lost_by_an_earlier_life),
        CASE(test_a_failure_leaves_a_clean_stop),
        CASE(test_a_failure_from_memory_leaves_no_clean_stop),
        CASE(test_who_was_killed_as_leader_leads_no_more),
        CASE(test_who_was_killed_as_follower_follows_at_once),
        CASE(test_from_the_device_a_killed_leader_leads_on),
        CASE(test_what_failed_with_records_in_memory_is_lost_first),
        CASE(test_a_leader_that_failed_with_records_in_memory),
        CASE(test_what_failed_with_records_in_memory_and_is_nowhere_else),
        CASE(test_what_fails_again_with_records_in_memory_is_asked_again),
        CASE(test_what_failed_from_the_device_is_not_lost),
        CASE(test_an_unclean_epoch_is_told_afterwards),
        CASE(test_the_topic_goes_while_it_is_asked),
        CASE(test_what_is_whole_is_not_lost),
        CASE(test_what_ends_early_is_lost),
        CASE(test_what_cannot_be_opened_is_lost),
        CASE(test_what_is_being_tried_again_is_lost),
        CASE(test_the_last_one_is_given_time),
        CASE(test_the_last_one_is_not_waited_for_for_ever),
        CASE(test_what_was_served_and_is_gone_is_lost),
        CASE(test_what_was_on_another_disk_is_lost),
        CASE(test_what_was_on_another_disk_is_lost_at_the_next_start_too),
        CASE(test_what_is_known_is_there_although_another_disk_is_gone),
        CASE(test_what_never_was_is_not_lost),
        CASE(test_what_nobody_counts_on_is_not_lost),
        CASE(test_what_is_served_is_noted),
        CASE(test_the_cluster_hears_where_replicas_live),
        CASE(test_with_one_directory_there_is_nothing_to_tell),
        CASE(test_a_broker_without_a_directory_is_faulty),
        CASE(test_a_single_broker_goes_on),
        CASE(test_a_directory_that_fails_and_is_well_again),
        CASE(test_a_full_disk_is_no_failure_of_its_directory),
        CASE(test_a_log_that_goes_on_failing_ends_its_directory),
        CASE(test_a_replica_of_no_use_says_nothing_of_its_directory),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
