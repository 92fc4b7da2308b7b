/* SPDX-License-Identifier: Apache-2.0 */
#include "control/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TICK_MS = 1, JOBS_TAKEN = 64, LETTERS_TAKEN = 128 };

/* ---- letters ------------------------------------------------------------------------------------ */

static void wake_rung(struct control *c)
{
    struct post_office *o = c->config.office;
    struct mail_party *me = &o->parties[o->core_count];
    uint64_t rung = me->rung;
    me->rung = 0;
    tide_fence(); /* pairs with the fence of a core that falls asleep */
    for (; rung != 0; rung &= rung - 1) {
        struct mail_party *p = &o->parties[__builtin_ctzll(rung)];
        uint64_t one = 1;
        if (atomic_load_explicit(&p->asleep, memory_order_relaxed) != 0 && p->wake_fd >= 0)
            (void)!write(p->wake_fd, &one, sizeof(one));
    }
}

void control_send(struct control *c, uint32_t core, struct tide_mail *m)
{
    m->next = NULL;
    if (c->unsent_head[core] == NULL &&
        post_send(c->config.office, c->config.office->core_count, core, m) == TIDE_OK)
        return;
    if (c->unsent_head[core] == NULL)
        c->unsent_head[core] = m;
    else
        c->unsent_tail[core]->next = m;
    c->unsent_tail[core] = m;
}

static bool send_unsent(struct control *c)
{
    bool left = false;
    for (uint32_t core = 0; core < c->config.office->core_count; core++) {
        struct tide_mail *m;
        while ((m = c->unsent_head[core]) != NULL) {
            struct tide_mail *next = m->next;
            if (post_send(c->config.office, c->config.office->core_count, core, m) != TIDE_OK)
                break;
            c->unsent_head[core] = next;
        }
        left |= c->unsent_head[core] != NULL;
    }
    return left;
}

void control_answer(struct control *c, struct tide_mail *m)
{
    control_send(c, m->from, m);
}

uint64_t control_now_ms(const struct control *c)
{
    return c->now_ns / TIDE_NS_PER_MS;
}

uint64_t control_show(struct control *c)
{
    if (c->reconcile || c->view_stale || !replicas_settled(c))
        return 0;
    return rte_rcu_qsbr_start(c->config.publication->qsbr);
}

bool control_is_seen(const struct control *c, uint64_t token)
{
    return rte_rcu_qsbr_check(c->config.publication->qsbr, token, false) == 1;
}

/* ---- the view ------------------------------------------------------------------------------------------ */

static void publish(struct control *c)
{
    struct tide_view *v = view_build(c);
    struct retired *old;
    if (v == NULL) {
        control_log("no memory for a new view; trying again");
        return;
    }
    old = c->view != NULL ? calloc(1, sizeof(*old)) : NULL;
    if (c->view != NULL && old == NULL) {
        view_free(v);
        return;
    }
    v->version = ++c->version;
    atomic_store_explicit(&c->config.publication->now, v, memory_order_release);
    c->view_stale = false;
    if (old != NULL) {
        old->view = c->view;
        old->token = rte_rcu_qsbr_start(c->config.publication->qsbr);
        old->next = c->retired;
        c->retired = old;
    }
    c->view = v;
}

static bool free_retired(struct control *c)
{
    struct retired **at = &c->retired;
    while (*at != NULL) {
        struct retired *old = *at;
        if (rte_rcu_qsbr_check(c->config.publication->qsbr, old->token, false) != 1) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        view_free(old->view);
        free(old);
    }
    return c->retired != NULL;
}

/* ---- a turn ------------------------------------------------------------------------------------------------ */

static void write_marks(struct control *c)
{
    uint64_t now_ms = control_now_ms(c);
    if (c->stopping || now_ms - c->marks_ms < (uint64_t)c->config.settings->replica_high_watermark_checkpoint_interval_ms)
        return;
    c->marks_ms = now_ms;
    replicas_note_marks(c);
    marks_write(&c->marks, c->config.data.submit, c->config.data.self);
}


static void take_letters(struct control *c)
{
    struct tide_mail *letters[LETTERS_TAKEN];
    unsigned n;
    do {
        n = post_take(c->config.office, c->config.office->core_count, letters, LETTERS_TAKEN);
        for (unsigned i = 0; i < n; i++) {
            if (letters[i]->kind == MAIL_ASK)
                admin_on_ask(c, letters[i]);
            else if (letters[i]->kind == MAIL_ADOPT || letters[i]->kind == MAIL_RELEASE || letters[i]->kind == MAIL_CONFIGURE)
                replicas_on_order(c, letters[i]);
            else if (letters[i]->kind == MAIL_BECOME)
                replicas_on_role(c, letters[i]);
            else if (letters[i]->kind == MAIL_ISR)
                changes_on_isr(c, letters[i]);
            else if (letters[i]->kind == MAIL_FAILED) {
                replicas_on_failed(c, &letters[i]->failed);
                control_answer(c, letters[i]);
            } else if (letters[i]->kind == MAIL_ROTTEN) {
                replicas_on_rotten(c, letters[i]->rotten.partition, letters[i]->rotten.offset);
                control_answer(c, letters[i]);
            } else
                rte_mempool_put(letters[i]->pool, letters[i]);
        }
    } while (n != 0);
}

static void take_jobs(struct control *c)
{
    struct tide_job *jobs[JOBS_TAKEN];
    unsigned n;
    while ((n = c->config.data.take(c->config.data.self, jobs, JOBS_TAKEN)) != 0)
        for (unsigned i = 0; i < n; i++) {
            if (jobs[i]->kind == JOB_CONTROL_MARKS)
                marks_on_job(&c->marks, jobs[i], control_log);
            else if (jobs[i]->kind == JOB_CONTROL_PROBE)
                directories_on_probe(c, jobs[i]);
            else
                replicas_on_job(c, jobs[i]);
        }
}

static void tell_progress(struct control *c)
{
    if (!c->ready_told && !c->stopping && c->was_active && c->finished >= (uint64_t)node_member(c->config.node)->epoch &&
        replicas_settled(c) && !c->view_stale) {
        c->ready_told = true;
        c->config.on_ready(c->config.arg);
    }
    if (c->stopped_told || !(c->failed || (c->stopping && replicas_gone(c) && !marks_is_writing(&c->marks))) || directories_are_probed(c))
        return;
    if (!c->failed && marks_write_now(&c->marks, c->config.fs) != 0)
        c->unclean = true;
    c->stopped_told = true;
    c->config.on_stopped(c->config.arg, !c->unclean && !c->failed);
}

static uint64_t due_ns(const struct control *c, bool waiting)
{
    uint64_t retry_ms = replicas_retry_ms(c);
    uint64_t due = TIDE_MIN(c->look_ns, waiting ? c->now_ns + TICK_MS * TIDE_NS_PER_MS : TIDE_NEVER);
    return retry_ms != UINT64_MAX ? TIDE_MIN(due, retry_ms * TIDE_NS_PER_MS) : due;
}

static void turn_once(struct control *c)
{
    bool waiting;
    take_jobs(c);
    take_letters(c);
    changes_take(c);
    if (c->reconcile && c->caught_up) {
        c->reconcile = false;
        replicas_reconcile(c);
    }
    if (c->view_stale)
        publish(c);
    waiting = replicas_tick(c);
    if (c->view_stale || (c->reconcile && c->caught_up))
        waiting = true;
    health_look(c);
    write_marks(c);
    waiting |= changes_tick(c);
    waiting |= free_retired(c);
    waiting |= admin_tick(c);
    waiting |= send_unsent(c);
    wake_rung(c);
    tell_progress(c);
    c->due_ns = due_ns(c, waiting);
}

/* What control tells the node may come back at once, and the other way round: until nobody has anything to say. */
void control_turn(struct control *c, uint64_t now_ns)
{
    c->now_ns = now_ns;
    do {
        c->again = false;
        turn_once(c);
    } while (c->again && !c->stopped_told);
}

bool control_on_node(struct control *c, uint64_t now_ns)
{
    bool more;
    c->now_ns = now_ns;
    changes_take(c);
    more = c->again && !c->stopped_told;
    if (more)
        control_turn(c, now_ns);
    changes_lease(c);
    return more;
}

uint64_t control_deadline_ns(const struct control *c)
{
    return c->stopped_told ? TIDE_NEVER : c->due_ns;
}

struct control *control_create(const struct control_config *config)
{
    struct control *c = calloc(1, sizeof(*c));
    const char *paths[TIDE_LOG_DIRS_MAX];
    for (uint32_t i = 0; i < dirs_count(config->dirs); i++)
        paths[i] = dirs_path(config->dirs, i);
    if (c == NULL || !marks_load(&c->marks, config->fs, paths, dirs_count(config->dirs), control_log)) {
        free(c);
        return NULL;
    }
    c->config = *config;
    c->config.cluster = node_cluster(config->node);
    hearing_init(&c->hearing, config->broker_id);
    directories_init(c);
    /* It sleeps in its own way: it is always to be woken. */
    atomic_store(&config->office->parties[config->office->core_count].asleep, 1);
    c->view_stale = true;
    return c;
}

void control_stop(struct control *c, uint64_t now_ns)
{
    if (c->leaving)
        return;
    c->leaving = true;
    node_stop(c->config.node, now_ns);
}

void control_leave(struct control *c)
{
    c->stopping = true;
    c->takes_clients = false;
    c->view_stale = true;
    replicas_stop(c);
}

void control_cut(struct control *c)
{
    replicas_abandon(c);
}

void control_destroy(struct control *c)
{
    while (c->retired != NULL) {
        struct retired *old = c->retired;
        c->retired = old->next;
        view_free(old->view);
        free(old);
    }
    admin_abandon(c);
    changes_abandon(c);
    view_free(c->view);
    marks_deinit(&c->marks);
    free(c);
}

void control_gauges(const struct control *c, uint64_t now_ns, struct control_gauges *ret)
{
    uint64_t lease_ns = node_lease_until_ns(c->config.node);
    memset(ret, 0, sizeof(*ret));
    ret->controller = node_controller(c->config.node);
    ret->controller_epoch = cluster_controller_epoch(c->config.cluster);
    ret->metadata_index = cluster_index(c->config.cluster);
    ret->lease_left_ms = lease_ns > now_ns ? (lease_ns - now_ns) / TIDE_NS_PER_MS : 0;
    ret->member_state = (int)node_member(c->config.node)->state;
    ret->topics = cluster_topic_count(c->config.cluster);
    ret->view_version = c->version;
    ret->commands = cluster_index(c->config.cluster);
    ret->replica_failures = c->replica_failures;
    ret->replicas_rotten = replicas_rotten(c);
    ret->replica_reopens = c->replica_reopens;
    ret->silent = c->health.silent_count;
    ret->directories_offline = 0;
    for (uint32_t i = 0; i < c->disks.count; i++)
        ret->directories_offline += c->directories[i].offline;
    for (uint32_t i = 0; i < c->replica_end; i++) {
        const struct replica *r = c->replicas[i];
        ret->replicas_serving += r != NULL && r->state == REPLICA_SERVING;
        ret->replicas_failed += r != NULL && (r->state == REPLICA_FAILED || r->again || r->tries != 0) && r->state != REPLICA_SERVING;
    }
}
