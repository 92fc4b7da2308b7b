/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directories while the broker runs: which of them have failed (node/disks.h), what the cluster is told of it, and
 * which replica lives in which.
 */
#include "control/internal.h"

#include "control/edge/files.h"
#include "control/node/node.h"

#include <errno.h>
#include <stdio.h>

#define PROBE_NAME ".probe"
enum { ASSIGN_MAX = 256 }; /* replicas of one command */

static bool holds_partitions(const struct control *c, uint32_t dir)
{
    const struct tide_settings *s = c->config.settings;
    return !s->metadata_only || dir != s->metadata_log_dir_index;
}

/* ---- probes ---------------------------------------------------------------------------------------------- */

static void run_probe(struct tide_job *job, const struct tide_fs *fs)
{
    const struct directory *d = (const struct directory *)(uintptr_t)job->cookie;
    char path[FILES_PATH_MAX];
    int e = files_write(fs, d->path, PROBE_NAME, "tidemark\n");
    files_path(path, d->path, PROBE_NAME);
    job->result = e == 0 ? fs->unlink(fs->self, path) : e;
}

static void submit_probe(struct control *c, struct directory *d)
{
    d->unsent = c->config.data.submit(c->config.data.self, &d->probe) != TIDE_OK;
}

void directories_on_probe(struct control *c, struct tide_job *job)
{
    const struct directory *d = (const struct directory *)(uintptr_t)job->cookie;
    bool was = disks_is_offline(&c->disks, d->number);
    disks_on_probe(&c->disks, control_now_ms(c), d->number, job->result);
    if (!was && disks_is_offline(&c->disks, d->number))
        control_log("%s cannot be written: %s", d->path, strerror((int)-job->result));
}

void directories_on_failure(struct control *c, uint32_t dir, bool again)
{
    disks_on_failure(&c->disks, control_now_ms(c), dir, again);
}

bool directories_are_probed(const struct control *c)
{
    return disks_are_probed(&c->disks);
}

/* ---- what the cluster knows ---------------------------------------------------------------------------------- */

static bool is_registered(const struct cluster_broker *b, const struct tide_uuid *directory)
{
    for (uint32_t i = 0; i < b->directory_count; i++)
        if (tide_uuid_equal(&b->directories[i], directory))
            return true;
    return false;
}

static const struct cluster_broker *our_record(const struct control *c)
{
    const struct cluster_broker *b = cluster_find_broker(c->config.cluster, c->config.broker_id);
    return b != NULL && b->epoch == node_member(c->config.node)->epoch ? b : NULL;
}

/* One that is well again, and that the cluster took out of our registration, is registered again. */
static void register_again(struct control *c)
{
    const struct cluster_broker *b = our_record(c);
    bool missing = false;
    if (b == NULL || c->dirs_out || c->stopping)
        return;
    for (uint32_t i = 0; i < c->disks.count; i++)
        missing |= !c->directories[i].offline && !is_registered(b, &c->directories[i].id);
    if (missing)
        c->dirs_out = changes_register_directories(c, b);
}

void directories_assign(struct control *c)
{
    const struct cluster_broker *b = our_record(c);
    struct cluster_dir_assignment wanted[ASSIGN_MAX];
    uint32_t count = 0;
    /* With a single one there is nothing to tell: a broker without it is fenced. */
    if (b == NULL || c->dirs_out || c->stopping || c->disks.count < 2)
        return;
    for (uint32_t i = 0; i < c->replica_end && count < ASSIGN_MAX; i++) {
        const struct replica *r = c->replicas[i];
        const struct cluster_partition *p = r != NULL ? cluster_find_partition(c->config.cluster, &r->topic_id, r->index) : NULL;
        for (uint32_t k = 0; p != NULL && k < p->replica_count; k++) {
            const struct tide_uuid *lives = &c->directories[r->log_dir].id, *known = &p->directories[k];
            if (p->replicas[k] != c->config.broker_id || tide_uuid_equal(known, lives) || !is_registered(b, lives))
                continue;
            if (!tide_uuid_equal(known, &cluster_directory_lost)) /* that is taken back when it is not so any more */
                wanted[count++] = (struct cluster_dir_assignment){r->topic_id, r->index, *lives};
        }
    }
    if (count != 0)
        c->dirs_out = changes_assign_directories(c, wanted, count);
}

void directories_on_told(struct control *c)
{
    c->dirs_out = false;
    c->reconcile = true; /* there may be more */
}

/* ---- the look ---------------------------------------------------------------------------------------------------- */

static void follow(struct control *c, uint32_t dir)
{
    struct directory *d = &c->directories[dir];
    bool offline = disks_is_offline(&c->disks, dir);
    if (offline == d->offline)
        return;
    d->offline = offline;
    dirs_set_offline(c->config.dirs, dir, offline);
    control_log("%s is %s", d->path, offline ? "offline: others lead what lives there, until it has been well for a while" : "well again");
}

void directories_look(struct control *c, struct node_health *ret)
{
    bool alone = cluster_broker_count(c->config.cluster) < 2;
    uint32_t dir, offline = 0, usable = 0;
    for (uint32_t i = 0; i < c->disks.count; i++)
        if (c->directories[i].unsent)
            submit_probe(c, &c->directories[i]);
    while (!c->stopping && disks_take_probe(&c->disks, control_now_ms(c), &dir))
        submit_probe(c, &c->directories[dir]);
    disks_on_time(&c->disks, control_now_ms(c));
    for (uint32_t i = 0; i < c->disks.count; i++) {
        follow(c, i);
        usable += holds_partitions(c, i);
        offline += c->directories[i].offline && holds_partitions(c, i);
    }
    register_again(c);
    if (alone)
        return; /* nobody could lead in its place */
    ret->faulty |= offline != 0 && offline == usable;
    for (uint32_t i = 0; i < c->disks.count && offline != usable; i++)
        if (c->directories[i].offline)
            ret->offline[ret->offline_count++] = c->directories[i].id;
}

void directories_init(struct control *c)
{
    disks_init(&c->disks, dirs_count(c->config.dirs), (uint64_t)c->config.settings->data_recover_ms);
    for (uint32_t i = 0; i < c->disks.count; i++) {
        struct directory *d = &c->directories[i];
        d->number = i;
        d->path = dirs_path(c->config.dirs, i);
        dirs_id(c->config.dirs, i, &d->id);
        d->probe = (struct tide_job){.run = run_probe, .owner = TIDE_JOB_CONTROL, .kind = JOB_CONTROL_PROBE, .cookie = (uint64_t)(uintptr_t)d};
    }
}
