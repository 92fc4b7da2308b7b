/* SPDX-License-Identifier: Apache-2.0 */
#include "replicas_world.h"

#include <errno.h>

static struct rte_mempool *orders;
static struct rte_rcu_qsbr *qsbr;

struct world world;

struct cluster *world_cluster(void)
{
    return (struct cluster *)(uintptr_t)world.c.config.cluster;
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
    assert_ptr_equal(c, &world.c);
    assert_int_equal(core, 0);
    assert_null(world.letter);
    world.letter = m;
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
    ret->ack_durability = world.durability;
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
    return world.dir_count;
}

void dirs_set_offline(struct dirs *d, uint32_t dir, bool offline)
{
    (void)d;
    world.placed_aside[dir] = offline;
}

const struct member *node_member(const struct node *n)
{
    assert_null(n);
    return &world.member;
}

static int unlink_it(void *self, const char *path)
{
    (void)self;
    return strcmp(path, "/data/.probe") == 0 ? 0 : -ENOENT;
}

void dirs_id(const struct dirs *d, uint32_t dir, struct tide_uuid *ret)
{
    (void)d;
    *ret = dir == 1 ? second_directory : world.replaced ? (struct tide_uuid){{0x45}} : directory_of(1);
}

bool dirs_has(const struct dirs *d, const char *topic, int32_t index)
{
    (void)d;
    assert_string_equal(topic, "t");
    assert_int_equal(index, 0);
    return !world.absent;
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
    world.assigned++;
    world.directory = *directory;
    world.assigned_epoch = partition_epoch;
    return true;
}

bool changes_move_leader(struct control *c, const struct replica *r, int32_t leader_epoch)
{
    assert_ptr_equal(r, c->replicas[0]);
    world.asked++;
    world.asked_epoch = leader_epoch;
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
    return file != 3 ? -EBADF : world.probe_result != 0 ? world.probe_result : (int64_t)len;
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
    world.high_watermark = what->high_watermark;
    world.repairs = what->repair;
    world.made++;
    return malloc(1);
}

static int open_it(struct partition *p, const struct tide_fs *f, char *error, size_t size)
{
    (void)p;
    (void)f;
    snprintf(error, size, "%s", world.open_result == 0 ? "" : "a sector");
    world.repaired += world.repairs;
    return world.repairs && world.open_result == -EBADMSG ? 0 : world.open_result;
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
    return world.ends_early;
}

static void destroy(struct partition *p)
{
    world.made--;
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
    assert_null(world.job);
    world.job = job;
    return TIDE_OK;
}

/* ---- the cluster ----------------------------------------------------------------------------------------------- */

int16_t world_give(const struct cluster_command *m)
{
    struct cluster_command stamped = *m;
    struct cluster_result r = {0};
    int16_t error;
    stamped.controller_epoch = cluster_controller_epoch(world_cluster());
    assert_int_equal(cluster_apply(world_cluster(), ++world.index, &stamped, &r), TIDE_OK);
    cluster_check(world_cluster());
    error = r.error != 0 || r.item_count == 0 ? r.error : r.items[0].error;
    cluster_result_free(&r);
    return error;
}

void world_fence(int32_t id, bool fenced)
{
    struct cluster_command m = {.kind = fenced ? CLUSTER_FENCE_BROKER : CLUSTER_UNFENCE_BROKER};
    m.broker.id = id;
    m.broker.epoch = cluster_find_broker(world_cluster(), id)->epoch;
    assert_int_equal(world_give(&m), 0);
}

struct tide_uuid world_process_of(int32_t id, uint8_t life)
{
    return (struct tide_uuid){{(uint8_t)id, life}};
}

void world_join(int32_t id, uint8_t life)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    struct cluster_broker *b = &m.register_broker.broker;
    m.register_broker.cluster_id = *cluster_id(world_cluster());
    m.register_broker.previous_epoch = -1;
    b->id = id;
    b->incarnation = world_process_of(id, life);
    b->endpoint_count = 1;
    snprintf(b->endpoints[0].name, sizeof(b->endpoints[0].name), "PLAINTEXT");
    snprintf(b->endpoints[0].host, sizeof(b->endpoints[0].host), "h%d", id);
    b->endpoints[0].port = 9092;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        b->features[b->feature_count++] = *cluster_known_feature(i);
    b->directory_count = 1;
    b->directories[0] = directory_of(id);
    assert_int_equal(world_give(&m), 0);
    world_fence(id, false);
    if (id == 1)
        world.member.epoch = cluster_find_broker(world_cluster(), 1)->epoch;
}

/* What control asks of the cluster about its directories: done at once, and told at the next turn. */
static bool told;

bool changes_assign_directories(struct control *c, const struct cluster_dir_assignment *changes, uint32_t count)
{
    struct cluster_command m = {.kind = CLUSTER_ASSIGN_DIRS, .assign_dirs = {.broker = 1, .broker_epoch = world.member.epoch, .count = count, .changes = changes}};
    assert_ptr_equal(c, &world.c);
    assert_int_equal(world_give(&m), 0);
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
    m.register_broker.cluster_id = *cluster_id(world_cluster());
    assert_int_equal(world_give(&m), 0);
    told = true;
    return true;
}

const struct cluster_partition *world_partition(void)
{
    return &cluster_topic_at(world_cluster(), 0)->partitions[0];
}

void world_decide(void)
{
    struct cluster_command m = {.kind = CLUSTER_MOVE_LEADER};
    int16_t error;
    m.move_leader.topic_id = world.c.replicas[0]->topic_id;
    m.move_leader.leader_epoch = world.asked_epoch;
    m.move_leader.excluded = 1;
    error = world_give(&m);
    replicas_on_moved(&world.c, &m.move_leader.topic_id, 0, world.asked_epoch, error);
}

int16_t world_put(int32_t id, const struct tide_uuid *directory)
{
    struct cluster_dir_assignment n = {world.c.replicas[0]->topic_id, 0, *directory};
    struct cluster_command m = {.kind = CLUSTER_ASSIGN_DIRS};
    m.assign_dirs.broker = id;
    m.assign_dirs.broker_epoch = cluster_find_broker(world_cluster(), id)->epoch;
    m.assign_dirs.count = 1;
    m.assign_dirs.changes = &n;
    return world_give(&m);
}

void world_decide_place(void)
{
    replicas_on_assigned(&world.c, &world.c.replicas[0]->topic_id, 0, world.assigned_epoch, world_put(1, &world.directory));
}

void world_want_isr(int32_t leader, const int32_t *isr, uint32_t count)
{
    struct cluster_partition_change n = {.topic_id = {{9, 9}}, .isr_count = count, .leader_epoch = world_partition()->leader_epoch,
                                         .partition_epoch = world_partition()->partition_epoch};
    struct cluster_command m = {.kind = CLUSTER_ALTER_PARTITION};
    for (uint32_t i = 0; i < count; i++)
        n.isr[i] = (struct cluster_isr_member){isr[i], -1};
    m.alter_partition.broker = leader;
    m.alter_partition.broker_epoch = cluster_find_broker(world_cluster(), leader)->epoch;
    m.alter_partition.count = 1;
    m.alter_partition.changes = &n;
    assert_int_equal(world_give(&m), 0);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

void world_turn(void)
{
    for (unsigned i = 0; i < 50; i++) {
        struct tide_mail *m = world.letter;
        struct tide_job *job = world.job;
        world.c.view_stale = false;
        world.letter = NULL;
        world.job = NULL;
        if (m != NULL && m->kind == MAIL_BECOME) {
            world.role = m->become.role;
            replicas_on_role(&world.c, m);
        } else if (m != NULL)
            replicas_on_order(&world.c, m);
        if (job != NULL) {
            job->run(job, &fs);
            if (job->kind == JOB_CONTROL_PROBE)
                directories_on_probe(&world.c, job);
            else
                replicas_on_job(&world.c, job);
        }
        if (told) {
            told = false;
            directories_on_told(&world.c);
        }
        if (world.c.reconcile) {
            world.c.reconcile = false;
            replicas_reconcile(&world.c);
        }
        (void)replicas_tick(&world.c);
    }
}

void world_wait_ms(uint64_t ms)
{
    world.c.now_ns += ms * TIDE_NS_PER_MS;
    world_turn();
}

void world_fail_log(void)
{
    replicas_on_failed(&world.c, &(struct mail_failed){.partition = world.c.replicas[0]->partition, .disk = true});
}

struct node_health world_look(void)
{
    struct node_health health = {0};
    struct cluster_command m = {.kind = CLUSTER_DIRS_OFFLINE, .dirs_offline = {.id = 1, .epoch = world.member.epoch}};
    assert_null(world.job);
    directories_look(&world.c, &health);
    m.dirs_offline.count = health.offline_count;
    memcpy(m.dirs_offline.directories, health.offline, sizeof(health.offline));
    if (health.offline_count != 0)
        assert_int_equal(world_give(&m), 0);
    world.c.reconcile = true;
    world_turn();
    return health;
}

void world_with_directories(unsigned count)
{
    world.dir_count = count;
    directories_init(&world.c);
    (void)changes_register_directories(&world.c, cluster_find_broker(world_cluster(), 1));
    told = false;
}

int world_setup(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT};
    (void)state;
    memset(&world, 0, sizeof(world));
    world.c.now_ns = TIDE_NS_PER_S;
    world.office.core_count = 1;
    world.publication.qsbr = qsbr;
    world.c.marks.dir_count = 1;
    world.c.config = (struct control_config){.cluster = cluster_create(NULL),
                                         .office = &world.office,
                                         .order_pool = orders,
                                         .publication = &world.publication,
                                         .broker_id = 1,
                                         .incarnation = world_process_of(1, 1),
                                         .data = {.create = create, .open = open_it, .close = close_it, .destroy = destroy, .in_use = in_use,
                                                  .checkpoint = checkpoint, .lost = lost,
                                                  .submit = take_job}};
    assert_non_null(world.c.config.cluster);
    m.init.cluster_id = (struct tide_uuid){{1, 2, 3}};
    assert_int_equal(world_give(&m), 0);
    m = (struct cluster_command){.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {.node = 1, .term = 1}};
    assert_int_equal(world_give(&m), 0);
    for (int32_t id = 1; id <= BROKERS; id++)
        world_join(id, 1);
    world.settings.data_recover_ms = 5000;
    world.c.config.settings = &world.settings;
    world_with_directories(1);
    return 0;
}

void world_make(uint32_t count, const int32_t *replicas)
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
    assert_int_equal(world_give(&m), 0);
    world.c.reconcile = true;
    world_turn();
}

int world_teardown(void **state)
{
    (void)state;
    world.c.stopping = true;
    replicas_stop(&world.c);
    world_turn();
    assert_true(replicas_gone(&world.c));
    assert_int_equal(world.made, 0);
    assert_null(world.letter);
    marks_deinit(&world.c.marks);
    cluster_destroy(world_cluster());
    return 0;
}

enum replica_state world_state(void)
{
    return world.c.replicas[0] != NULL ? world.c.replicas[0]->state : REPLICA_ABSENT;
}

bool world_is_lost(void)
{
    for (uint32_t i = 0; i < world_partition()->replica_count; i++)
        if (world_partition()->replicas[i] == 1)
            return tide_uuid_equal(&world_partition()->directories[i], &cluster_directory_lost);
    return false;
}

bool world_is_in_sync(int32_t id)
{
    for (uint32_t i = 0; i < world_partition()->isr_count; i++)
        if (world_partition()->isr[i] == id)
            return true;
    return false;
}

int world_open(void **state)
{
    (void)state;
    unit_eal();
    orders = rte_mempool_create("orders", 63, sizeof(struct tide_mail), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    qsbr = calloc(1, rte_rcu_qsbr_get_memsize(1) + TIDE_CACHE_LINE);
    qsbr = (void *)(((uintptr_t)qsbr + TIDE_CACHE_LINE - 1) / TIDE_CACHE_LINE * TIDE_CACHE_LINE);
    assert_non_null(orders);
    return rte_rcu_qsbr_init(qsbr, 1);
}
