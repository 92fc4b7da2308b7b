/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the replicas that this broker hosts; the states are drawn in control.h.
 */
#include "control/internal.h"

#include "tidemark/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TO(s) (1u << REPLICA_##s)
static const struct {
    const char *name;
    uint32_t next;
} replica_states[REPLICA_STATE_COUNT] = {
    [REPLICA_ABSENT] = {"absent", TO(OPENING)},
    [REPLICA_OPENING] = {"opening", TO(ADOPTING) | TO(FAILED) | TO(CLOSING)},
    [REPLICA_ADOPTING] = {"adopting", TO(SERVING)},
    [REPLICA_SERVING] = {"serving", TO(LEAVING)},
    [REPLICA_LEAVING] = {"leaving", TO(RELEASING)},
    [REPLICA_RELEASING] = {"releasing", TO(CLOSING)},
    [REPLICA_CLOSING] = {"closing", TO(DRAINING)},
    [REPLICA_DRAINING] = {"draining", TO(ABSENT) | TO(FAILED)},
    [REPLICA_FAILED] = {"failed", TO(OPENING) | TO(CLOSING) | TO(ABSENT)},
};

enum {
    RETRY_FIRST_MS = 100,
    RETRY_MOST_MS = 30000,
    CALM_MS = 60000,
    LAST_ONE_TRIES = 5, /* to open a log again that nobody else has, before the cluster is told that it is lost: three seconds */
    AGAIN = 2, /* a log that fails after so many tries in a row does so because of its directory */
};

static void replica_move(struct replica *r, enum replica_state to)
{
    TIDE_ASSERT(replica_states[r->state].next & 1u << to);
    r->state = to;
}

struct replica *replicas_find(const struct control *c, const struct tide_uuid *topic_id, int32_t index)
{
    for (uint32_t i = 0; i < c->replica_end; i++) {
        struct replica *r = c->replicas[i];
        if (r != NULL && r->index == index && tide_uuid_equal(&r->topic_id, topic_id))
            return r;
    }
    return NULL;
}

/* ---- orders to cores ---------------------------------------------------------------------------- */

static uint32_t home_core(const struct control *c, const struct tide_uuid *id, int32_t index)
{
    return tide_home_core(id, index, c->config.office->core_count);
}

uint32_t replica_home(const struct control *c, const struct replica *r)
{
    return home_core(c, &r->topic_id, r->index);
}

static void send_order(struct control *c, struct replica *r, enum mail_kind kind)
{
    void *at;
    struct tide_mail *m;
    uint32_t self = c->config.office->core_count;
    TIDE_ASSERT(rte_mempool_get(c->config.order_pool, &at) == 0); /* one per slot at most, and some */
    m = at;
    memset(m, 0, sizeof(*m));
    m->kind = kind;
    m->from = self;
    m->pool = c->config.order_pool;
    m->order.partition = r->partition;
    m->order.cookie = r;
    m->order.config = r->config;
    control_send(c, home_core(c, &r->topic_id, r->index), m);
}

struct replica *replicas_of(const struct control *c, const struct partition *p)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL && c->replicas[i]->partition == p)
            return c->replicas[i];
    return NULL;
}

/* The cluster knows that this broker has not what it had of it. */
static bool is_lost(const struct control *c, const struct cluster_partition *p)
{
    for (uint32_t i = 0; i < p->replica_count; i++)
        if (p->replicas[i] == c->config.broker_id)
            return tide_uuid_equal(&p->directories[i], &cluster_directory_lost);
    return false;
}

/* This process was killed as leader, and the cluster does not know yet: it has not registered. What it acknowledged from memory may be
 * gone, and in the old epoch whoever lives on would cut its log to what is left here. The epoch ends with the registration. */
static bool leads_before_it_registers(const struct control *c, const struct replica *r, const struct cluster_partition *p)
{
    const struct cluster_broker *b = cluster_find_broker(c->config.cluster, c->config.broker_id);
    return r->config.ack_durability == ACK_DURABILITY_MEMORY && p->leader == c->config.broker_id &&
           (b == NULL || !tide_uuid_equal(&b->incarnation, &c->config.incarnation));
}

/* What the replica is to be now, if its core does not know. One letter at a time; the next follows its answer. */
static void send_role(struct control *c, struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    struct tide_mail *m;
    struct mail_role *role;
    void *at;
    if (r->state != REPLICA_SERVING || p == NULL || r->role_out || p->partition_epoch == r->role_epoch)
        return;
    if (leads_before_it_registers(c, r, p))
        return;
    if (r->rotten && is_lost(c, p)) /* it acknowledges nothing in the epoch that begins without it, before it is cut */
        return;
    TIDE_ASSERT(rte_mempool_get(c->config.order_pool, &at) == 0); /* one per slot at most, and as many others */
    m = at;
    memset(m, 0, sizeof(*m));
    m->kind = MAIL_BECOME;
    m->from = c->config.office->core_count;
    m->pool = c->config.order_pool;
    m->become.partition = r->partition;
    m->become.cookie = r;
    role = &m->become.role;
    role->self = c->config.broker_id;
    role->leader = p->leader;
    role->leader_epoch = p->leader_epoch;
    role->partition_epoch = p->partition_epoch;
    role->recovering = p->recovering;
    role->unclean_epoch = p->unclean_epoch;
    role->replica_count = p->replica_count;
    role->isr_count = p->isr_count;
    memcpy(role->replicas, p->replicas, sizeof(role->replicas));
    memcpy(role->isr, p->isr, sizeof(role->isr));
    for (uint32_t i = 0; i < p->replica_count; i++) {
        const struct cluster_broker *b = cluster_find_broker(c->config.cluster, p->replicas[i]);
        role->broker_epochs[i] = b != NULL ? b->epoch : -1;
    }
    r->role_out = true;
    r->role_epoch = p->partition_epoch;
    c->orders_out++;
    control_send(c, home_core(c, &r->topic_id, r->index), m);
}

void replicas_on_role(struct control *c, struct tide_mail *m)
{
    struct replica *r = m->become.cookie;
    rte_mempool_put(m->pool, m);
    TIDE_ASSERT(r->role_out && c->orders_out > 0);
    r->role_out = false;
    c->orders_out--;
    send_role(c, r);
}

static void send_roles(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL)
            send_role(c, c->replicas[i]);
}

/* ---- what is known to be committed ---------------------------------------------------------------- */

/* Not before the cluster has been told what is missing: the mark is what tells it. */
static void note_mark(struct control *c, const struct replica *r)
{
    if (!c->was_active)
        return;
    struct mark m = {.topic_id = r->topic_id, .index = r->index, .dir = r->log_dir};
    m.offset = c->config.data.checkpoint(r->partition);
    snprintf(m.topic, sizeof(m.topic), "%s", r->topic);
    (void)marks_set(&c->marks, &m); /* without memory the older one stands, which is true as well */
}

void replicas_note_marks(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL && c->replicas[i]->state == REPLICA_SERVING)
            note_mark(c, c->replicas[i]);
}

static bool is_among(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The cluster believes that whatever was acknowledged is here. */
static bool holds_acknowledged(const struct control *c, const struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    return p != NULL && (is_among(p->isr, p->isr_count, c->config.broker_id) || is_among(p->elr, p->elr_count, c->config.broker_id));
}

static bool is_ours(const struct dirs *dirs, const struct tide_uuid *directory)
{
    struct tide_uuid id;
    for (uint32_t i = 0; i < dirs_count(dirs); i++) {
        dirs_id(dirs, i, &id);
        if (tide_uuid_equal(&id, directory))
            return true;
    }
    return false;
}

/* One that this broker registered with before: its disk was replaced, or emptied. */
static bool lost_a_directory(const struct control *c)
{
    const struct cluster_broker *b = cluster_find_broker(c->config.cluster, c->config.broker_id);
    for (uint32_t i = 0; b != NULL && i < b->directory_count; i++)
        if (!is_ours(c->config.dirs, &b->directories[i]))
            return true;
    return false;
}

/* Its files are not there, cannot be read (one that is being tried again could not so far), or end before what was committed. One that never came to have files, since
 * the broker was killed right after the topic was made, has lost nothing: were all of them called lost, nobody could ever lead.
 * The same again when the broker was killed before it could tell: what was opened meanwhile is there now, and empty, but no
 * mark was written (note_mark), and the cluster still knows the directory that is gone. */
static bool has_lost(const struct control *c, const struct replica *r, bool directory_is_gone)
{
    bool known = marks_find(&c->marks, &r->topic_id, r->index) != -1;
    if (!known && directory_is_gone)
        return true;
    return (r->was_absent && known) || r->state == REPLICA_FAILED || r->state == REPLICA_OPENING || r->ends_early;
}

uint32_t replicas_lost(const struct control *c, struct cluster_partition_ref *ret, uint32_t max)
{
    uint32_t count = 0;
    bool directory_is_gone = lost_a_directory(c);
    for (uint32_t i = 0; i < c->replica_end && count < max; i++) {
        const struct replica *r = c->replicas[i];
        if (r == NULL || !holds_acknowledged(c, r) || !has_lost(c, r, directory_is_gone))
            continue;
        ret[count++] = (struct cluster_partition_ref){.topic_id = r->topic_id, .partition = r->index};
        control_log("replica %s-%d has not what it had: the cluster is told, and it is filled again from the others", r->topic, r->index);
    }
    return count;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static void run_open(struct tide_job *job, const struct tide_fs *fs)
{
    struct replica *r = (struct replica *)(uintptr_t)job->cookie;
    job->result = r->control->config.data.open(r->partition, fs, r->error, sizeof(r->error));
    r->opened = job->result == 0;
}

/* Renamed first, so that a crash in between leaves no half topic under its own name. What was never
 * opened and does not say that it is this topic's is kept under the other name: nobody knows what
 * is in it. */
static int delete_dir(struct replica *r, const struct tide_fs *fs)
{
    char gone[DIR_MAX + 64];
    char id[TIDE_UUID_TEXT];
    bool ours = r->opened || dirs_is_of_topic(fs, r->dir, &r->topic_id);
    int e;
    tide_uuid_to_text(&r->topic_id, id);
    snprintf(gone, sizeof(gone), "%s.%s-%s", r->dir, id, ours ? "delete" : "stray");
    e = fs->rename(fs->self, r->dir, gone);
    if (e == -ENOENT && !ours)
        return 0;
    if (e == 0)
        e = fs->sync_dir(fs->self, dirs_path(r->control->config.dirs, r->log_dir));
    return e == 0 && ours ? dirs_remove_whole(fs, gone) : e;
}

static void run_close(struct tide_job *job, const struct tide_fs *fs)
{
    struct replica *r = (struct replica *)(uintptr_t)job->cookie;
    job->result = r->partition != NULL && r->opened ? r->control->config.data.close(r->partition, fs) : 0;
    if (r->deleting)
        job->result = delete_dir(r, fs);
}

static void submit(struct control *c, struct replica *r, void (*run)(struct tide_job *, const struct tide_fs *))
{
    r->job = (struct tide_job){.run = run,
                               .owner = TIDE_JOB_CONTROL,
                               .kind = JOB_CONTROL_FIRST,
                               .cookie = (uint64_t)(uintptr_t)r};
    r->job_unsent = c->config.data.submit(c->config.data.self, &r->job) != TIDE_OK;
}

/* False without memory. */
static bool create_partition(struct control *c, struct replica *r, const struct cluster_topic *t)
{
    struct control_replica what = {.topic = r->topic,
                                   .topic_id = t->id,
                                   .index = r->index,
                                   .slot = r->slot,
                                   .home_core = home_core(c, &t->id, r->index),
                                   .dir = r->dir,
                                   .config = &r->config,
                                   .high_watermark = TIDE_MAX(marks_find(&c->marks, &t->id, r->index), 0),
                                   .repair = r->repairs};
    topic_config_of(c, t, &r->config);
    r->config_stale = false;
    r->partition = c->config.data.create(c->config.data.self, &what);
    return r->partition != NULL;
}

static struct replica *add_replica(struct control *c, const struct cluster_topic *t, int32_t index)
{
    struct replica *r;
    uint32_t slot = 0;
    while (slot < TIDE_PARTITIONS_MAX && c->replicas[slot] != NULL)
        slot++;
    if (slot == TIDE_PARTITIONS_MAX) {
        control_log("no slot for %s-%d: this broker hosts %d replicas already", t->name, index, TIDE_PARTITIONS_MAX);
        return NULL;
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->control = c;
    r->slot = slot;
    r->topic_id = t->id;
    r->index = index;
    r->role_epoch = r->kept_epoch = r->spare_epoch = -1;
    snprintf(r->topic, sizeof(r->topic), "%s", t->name);
    r->was_absent = !dirs_has(c->config.dirs, t->name, index);
    if (r->was_absent && c->recovered) /* it begins here, or begins anew after it was somewhere else */
        marks_remove(&c->marks, &t->id, index);
    if (!dirs_place(c->config.dirs, t->name, index, &r->log_dir)) {
        control_log("no memory for the replica %s-%d", t->name, index);
        free(r);
        return NULL;
    }
    snprintf(r->dir, sizeof(r->dir), "%s/%s-%d", dirs_path(c->config.dirs, r->log_dir), t->name, index);
    if (!create_partition(c, r, t)) {
        control_log("no memory for the replica %s-%d", t->name, index);
        free(r);
        return NULL;
    }
    c->replicas[slot] = r;
    c->replica_end = TIDE_MAX(c->replica_end, slot + 1);
    replica_move(r, REPLICA_OPENING);
    submit(c, r, run_open);
    return r;
}

static bool lives_here(const struct control *c, const struct cluster_partition *p)
{
    return is_among(p->replicas, p->replica_count, c->config.broker_id);
}

static void open_missing(struct control *c)
{
    for (uint32_t i = 0; i < cluster_topic_count(c->config.cluster); i++) {
        const struct cluster_topic *t = cluster_topic_at(c->config.cluster, i);
        for (uint32_t p = 0; p < t->partition_count; p++)
            if (lives_here(c, &t->partitions[p]) && replicas_find(c, &t->id, (int32_t)p) == NULL &&
                !directory_is_busy(c, t->name, (int32_t)p))
                (void)add_replica(c, t, (int32_t)p);
    }
}

/* A topic of the same name that is still on its way out owns the directory until it is gone. */
bool directory_is_busy(const struct control *c, const char *topic, int32_t index)
{
    for (uint32_t i = 0; i < c->replica_end; i++) {
        const struct replica *r = c->replicas[i];
        if (r != NULL && r->index == index && strcmp(r->topic, topic) == 0)
            return true;
    }
    return false;
}

static void close_replica(struct control *c, struct replica *r);

static void leave(struct control *c, struct replica *r, bool delete_files)
{
    r->delete_files |= delete_files;
    if (r->state == REPLICA_SERVING) {
        replica_move(r, REPLICA_LEAVING);
        r->token = 0; /* the next view is without it */
        c->view_stale = true;
    }
}

/* Is it this broker's by the cluster's word? */
static bool is_assigned(const struct control *c, const struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    return p != NULL && lives_here(c, p);
}

static void send_away(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++) {
        struct replica *r = c->replicas[i];
        if (r != NULL && !is_assigned(c, r))
            leave(c, r, true);
    }
}

/* ---- a leader without its log ---------------------------------------------------------------------- */

/* Its disk may be long in coming back, and what it acknowledged from memory is gone: somebody else in sync leads on, who
 * has all of it. Alone in sync it leads again when it is open. */
static void give_lead(struct control *c, struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    if (r->move_out || c->stopping || p == NULL || p->leader != c->config.broker_id || p->isr_count < 2 || p->leader_epoch == r->kept_epoch)
        return;
    r->move_out = changes_move_leader(c, r, p->leader_epoch);
}

/* The cluster may have made it leader meanwhile. */
static void give_leads(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL && (c->replicas[i]->state == REPLICA_FAILED || c->replicas[i]->again))
            give_lead(c, c->replicas[i]);
}

void replicas_on_moved(struct control *c, const struct tide_uuid *topic_id, int32_t index, int32_t leader_epoch, int16_t error)
{
    struct replica *r = replicas_find(c, topic_id, index);
    if (r == NULL)
        return; /* its topic is gone */
    r->move_out = false;
    if (error == KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE)
        r->kept_epoch = leader_epoch;
    else if (error != 0) /* nobody knows: asked again, but not at once */
        r->retry_ms = control_now_ms(c) + RETRY_FIRST_MS;
}

/* ---- a log that rotted ------------------------------------------------------------------------------ */

static void assign(struct control *c, struct replica *r, const struct tide_uuid *directory, int32_t partition_epoch)
{
    r->assign_out = changes_assign_dir(c, r, directory, partition_epoch);
    if (!r->assign_out)
        r->assign_ms = control_now_ms(c) + RETRY_FIRST_MS;
}

/* A replica that has not what it had counts for nothing before it is cut: the cluster puts it down as lost, if somebody
 * else in sync (or eligible) leads then. That takes it out of the ISR and lets it lead no more. Then it is opened anew, what
 * rotted goes with all that follows, and it is filled again as any follower is; in its directory again it may lead. */
static void mend(struct control *c, struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    struct tide_uuid home;
    if (r->assign_out || control_now_ms(c) < r->assign_ms)
        return;
    r->assign_ms = 0;
    if (p == NULL || c->stopping || !is_assigned(c, r))
        return;
    if ((r->rotten || r->forgot) && !is_lost(c, p) && p->partition_epoch != r->spare_epoch) {
        assign(c, r, &cluster_directory_lost, p->partition_epoch);
    } else if (r->rotten && is_lost(c, p) && r->state == REPLICA_SERVING) {
        control_log("replica %s-%d: the others have what rotted here; it is cut and filled again", r->topic, r->index);
        r->again = true;
        leave(c, r, false);
    } else if (!r->rotten && is_lost(c, p) && r->state == REPLICA_SERVING) {
        dirs_id(c->config.dirs, r->log_dir, &home);
        assign(c, r, &home, p->partition_epoch);
    }
}

static void mend_all(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL)
            mend(c, c->replicas[i]);
}

void replicas_on_assigned(struct control *c, const struct tide_uuid *topic_id, int32_t index, int32_t partition_epoch, int16_t error)
{
    struct replica *r = replicas_find(c, topic_id, index);
    if (r == NULL)
        return; /* its topic is gone */
    r->assign_out = false;
    if (error == 0 || error == KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE) /* the cluster knows, or nobody else has it */
        r->forgot = false;
    if (error == KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE) {
        control_log("replica %s-%d: nobody else is known to have what %s", r->topic, r->index,
                    r->rotten ? "rotted here; it stays, without those batches" : "its log lost; it is served as it is");
        r->spare_epoch = partition_epoch;
    } else if (error != 0) { /* nobody knows: asked again, but not at once */
        r->assign_ms = control_now_ms(c) + RETRY_FIRST_MS;
    } else {
        r->retry_ms = control_now_ms(c); /* when it is FAILED: at once */
        c->reconcile = true;
    }
}

void replicas_on_rotten(struct control *c, const struct partition *p, int64_t offset)
{
    struct replica *r = replicas_of(c, p);
    if (r == NULL || r->rotten)
        return;
    if (offset >= 0)
        control_log("replica %s-%d: what is on the disk at offset %ld is not what was written", r->topic, r->index, (long)offset);
    else
        control_log("replica %s-%d: something on the disk is not what was written", r->topic, r->index);
    r->rotten = true;
    r->spare_epoch = -1;
    mend(c, r);
}

uint32_t replicas_rotten(const struct control *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->replica_end; i++)
        count += c->replicas[i] != NULL && c->replicas[i]->rotten;
    return count;
}

/* ---- settings ---------------------------------------------------------------------------------------- */

/* Notes whose settings may be other ones than they were when this was last asked. */
static void note_settings(struct control *c)
{
    struct cluster_feed feed = cluster_feed_since(c->configured);
    struct cluster_change change;
    while (cluster_feed_next(c->config.cluster, &feed, &change)) {
        bool all = change.kind == CLUSTER_CHANGED_BROKER_CONFIGS;
        if (!all && change.kind != CLUSTER_CHANGED_TOPIC_CONFIGS)
            continue;
        for (uint32_t i = 0; i < c->replica_end; i++)
            if (c->replicas[i] != NULL && (all || tide_uuid_equal(&c->replicas[i]->topic_id, &change.topic->id)))
                c->replicas[i]->config_stale = true;
    }
    c->configured = cluster_index(c->config.cluster);
}

/* Sends new settings to the core; one order of a replica at a time, the newest ones with the next. */
static void configure(struct control *c, struct replica *r)
{
    const struct cluster_topic *t = cluster_find_topic_by_id(c->config.cluster, &r->topic_id);
    struct tide_topic_config config;
    if (!r->config_stale || r->configuring || r->state != REPLICA_SERVING || t == NULL)
        return;
    r->config_stale = false;
    topic_config_of(c, t, &config);
    if (memcmp(&config, &r->config, sizeof(config)) == 0)
        return;
    r->config = config;
    r->configuring = true;
    send_order(c, r, MAIL_CONFIGURE);
}

static void configure_all(struct control *c)
{
    configs_refresh(c);
    note_settings(c);
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL)
            configure(c, c->replicas[i]);
}

void replicas_reconcile(struct control *c)
{
    if (c->stopping)
        return;
    configure_all(c);
    send_away(c);
    open_missing(c);
    give_leads(c);
    mend_all(c);
    send_roles(c);
    directories_assign(c);
    c->view_stale = true;
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void close_replica(struct control *c, struct replica *r)
{
    if (r->state == REPLICA_RELEASING)
        note_mark(c, r);
    replica_move(r, REPLICA_CLOSING);
    r->deleting = r->delete_files;
    submit(c, r, run_close);
}

static void forget(struct control *c, struct replica *r)
{
    if (r->partition != NULL)
        c->config.data.destroy(r->partition);
    c->replicas[r->slot] = NULL;
    replica_move(r, REPLICA_ABSENT);
    free(r);
    c->reconcile = true; /* a topic of the same name may wait for the directory */
}

/* ---- failure ------------------------------------------------------------------------------------------ */

/* Nobody names the partition any more; recovery begins with a new one. */
static void fail(struct control *c, struct replica *r)
{
    uint32_t doublings = TIDE_MIN(r->tries, 16u);
    c->config.data.destroy(r->partition);
    r->partition = NULL;
    r->again = false;
    r->kept_epoch = -1; /* asked again with each try: another one may be back */
    replica_move(r, REPLICA_FAILED);
    r->retry_ms = control_now_ms(c) + TIDE_MIN((uint64_t)RETRY_FIRST_MS << doublings, (uint64_t)RETRY_MOST_MS);
    c->view_stale = true;
}

void replicas_on_failed(struct control *c, const struct mail_failed *f)
{
    for (uint32_t i = 0; i < c->replica_end; i++) {
        struct replica *r = c->replicas[i];
        if (r == NULL || r->partition != f->partition || r->state != REPLICA_SERVING)
            continue;
        if (control_now_ms(c) - r->served_ms > CALM_MS)
            r->tries = 0;
        control_log("replica %s-%d: its log has failed; it is closed and recovered", r->topic, r->index);
        c->replica_failures++;
        if (f->disk)
            directories_on_failure(c, r->log_dir, r->tries >= AGAIN);
        r->again = true;
        if (r->config.ack_durability == ACK_DURABILITY_MEMORY) { /* what it acknowledged is not all on its disk */
            c->unclean = r->forgot = true;
            r->spare_epoch = -1;
        }
        give_lead(c, r);
        leave(c, r, false);
    }
}

static void open_again(struct control *c, struct replica *r, const struct cluster_topic *t)
{
    r->tries++;
    r->repairs = r->rotten && is_lost(c, &t->partitions[r->index]);
    c->replica_reopens++;
    r->error[0] = '\0';
    if (!create_partition(c, r, t)) {
        r->retry_ms = control_now_ms(c) + RETRY_MOST_MS;
        return;
    }
    replica_move(r, REPLICA_OPENING);
    submit(c, r, run_open);
}

/* A FAILED one waits for its time, for the end of its topic, or for ours. True: it was forgotten. */
static bool failed_tick(struct control *c, struct replica *r)
{
    const struct cluster_topic *t = is_assigned(c, r) ? cluster_find_topic_by_id(c->config.cluster, &r->topic_id) : NULL;
    if (c->stopping) {
        forget(c, r);
        return true;
    }
    if (t == NULL) {
        r->delete_files = true;
        close_replica(c, r);
    } else if (control_now_ms(c) >= r->retry_ms) {
        give_lead(c, r);
        mend(c, r);
        r->forgot &= !is_lost(c, &t->partitions[r->index]);
        if (r->forgot && !r->assign_out) /* a member of the ISR that lacks what was committed must not take part */
            r->retry_ms = TIDE_MAX(r->assign_ms, control_now_ms(c) + RETRY_FIRST_MS);
        else if (!r->move_out && !r->assign_out) /* else the answer says as what it comes back */
            open_again(c, r, t);
    }
    return false;
}

static uint64_t retry_of(const struct replica *r)
{
    if (r->move_out || r->assign_out)
        return UINT64_MAX;
    if (r->state == REPLICA_FAILED)
        return r->retry_ms;
    return r->state == REPLICA_SERVING && r->assign_ms != 0 ? r->assign_ms : UINT64_MAX;
}

uint64_t replicas_retry_ms(const struct control *c)
{
    uint64_t soonest = UINT64_MAX;
    for (uint32_t i = 0; i < c->replica_end; i++)
        soonest = TIDE_MIN(soonest, c->replicas[i] != NULL ? retry_of(c->replicas[i]) : UINT64_MAX);
    return soonest;
}

/* ---- jobs and orders that came back ---------------------------------------------------------------------- */

void replicas_on_job(struct control *c, struct tide_job *job)
{
    struct replica *r = (struct replica *)(uintptr_t)job->cookie;
    if (r->state == REPLICA_OPENING && job->result == 0 && c->stopping) {
        close_replica(c, r);
    } else if (r->state == REPLICA_OPENING && job->result == 0) {
        r->ends_early = c->config.data.lost(r->partition);
        r->role_epoch = -1;
        replica_move(r, REPLICA_ADOPTING);
        r->rotten &= !r->repairs;
        send_order(c, r, MAIL_ADOPT);
    } else if (r->state == REPLICA_OPENING) {
        fail(c, r);
        c->replica_failures++;
        directories_on_failure(c, r->log_dir, false);
        r->rotten |= job->result == -EBADMSG; /* recovery will not cut what may be nowhere else */
        control_log("replica %s-%d could not be opened: %s; again in %lu ms", r->topic, r->index,
                    r->error[0] ? r->error : strerror((int)-job->result), r->retry_ms - control_now_ms(c));
    } else if (r->state == REPLICA_CLOSING) {
        if (job->result != 0 && !r->again) {
            control_log("replica %s-%d was not closed cleanly: %s", r->topic, r->index, strerror((int)-job->result));
            c->unclean = true;
        }
        if (r->deleting && job->result == 0) {
            dirs_forget(c->config.dirs, r->topic, r->index);
            marks_remove(&c->marks, &r->topic_id, r->index);
        }
        replica_move(r, REPLICA_DRAINING);
        r->token = rte_rcu_qsbr_start(c->config.publication->qsbr);
    }
}

void replicas_on_order(struct control *c, struct tide_mail *m)
{
    struct replica *r = m->order.cookie;
    enum mail_kind kind = m->kind;
    rte_mempool_put(m->pool, m);
    if (kind == MAIL_ADOPT) {
        replica_move(r, REPLICA_SERVING);
        r->served_ms = control_now_ms(c);
        if (r->tries != 0)
            control_log("replica %s-%d is served again", r->topic, r->index);
        c->view_stale = true;
        if (c->stopping)
            leave(c, r, false);
        else if (!is_assigned(c, r))
            leave(c, r, true);
        else
            send_role(c, r);
        mend(c, r);
        c->reconcile |= r->config_stale;
    } else if (kind == MAIL_CONFIGURE) { /* a replica that leaves is released behind it: r is still there */
        r->configuring = false;
        c->reconcile |= r->config_stale;
    } else if (kind == MAIL_RELEASE) {
        close_replica(c, r);
    }
}

bool replicas_tick(struct control *c)
{
    struct rte_rcu_qsbr *q = c->config.publication->qsbr;
    bool waiting = false;
    for (uint32_t i = 0; i < c->replica_end; i++) {
        struct replica *r = c->replicas[i];
        if (r == NULL)
            continue;
        if (r->job_unsent)
            r->job_unsent = c->config.data.submit(c->config.data.self, &r->job) != TIDE_OK;
        if (r->state == REPLICA_LEAVING && r->token == 0 && !c->view_stale)
            r->token = rte_rcu_qsbr_start(q); /* the view without it is out */
        if (r->state == REPLICA_LEAVING && r->token != 0 && rte_rcu_qsbr_check(q, r->token, false) == 1) {
            replica_move(r, REPLICA_RELEASING);
            send_order(c, r, MAIL_RELEASE);
        }
        if (r->state == REPLICA_FAILED && failed_tick(c, r))
            continue;
        if (r->state == REPLICA_SERVING && r->assign_ms != 0)
            mend(c, r);
        if (r->state == REPLICA_DRAINING && rte_rcu_qsbr_check(q, r->token, false) == 1 &&
            (r->partition == NULL || !c->config.data.in_use(c->config.data.self, r->partition))) {
            if (!r->again || r->deleting || c->stopping) {
                forget(c, r);
                continue;
            }
            fail(c, r);
        }
        waiting |= r->job_unsent || r->state == REPLICA_LEAVING || r->state == REPLICA_DRAINING;
    }
    return waiting;
}

void replicas_stop(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL)
            leave(c, c->replicas[i], false);
}

/* Nobody else has what was acknowledged of it. */
static bool is_the_last(const struct control *c, const struct replica *r)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    return holds_acknowledged(c, r) && p->isr_count + p->elr_count == 1;
}

/* What cannot be opened counts as lost when the broker registers. That is soon said, and only slow if others have it; of the last one it
 * would end in an unclean election, so its disk is given some time. */
static bool is_to_be_opened(const struct control *c, const struct replica *r)
{
    bool patient = !c->recovered && is_the_last(c, r);
    switch (r->state) {
    case REPLICA_ADOPTING: return true;
    case REPLICA_OPENING: return r->tries == 0 || (patient && r->tries <= LAST_ONE_TRIES);
    case REPLICA_FAILED: return patient && r->tries < LAST_ONE_TRIES;
    default: return false;
    }
}

bool replicas_recovered(const struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL && is_to_be_opened(c, c->replicas[i]))
            return false;
    return true;
}

bool replicas_settled(const struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL && c->replicas[i]->configuring)
            return false;
    return replicas_recovered(c);
}

bool replicas_gone(const struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++)
        if (c->replicas[i] != NULL)
            return false;
    return true;
}

void replicas_abandon(struct control *c)
{
    for (uint32_t i = 0; i < c->replica_end; i++) {
        struct replica *r = c->replicas[i];
        if (r != NULL && r->partition != NULL)
            c->config.data.destroy(r->partition);
        free(r);
    }
}
