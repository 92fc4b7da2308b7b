/* SPDX-License-Identifier: Apache-2.0 */
#include "control/internal.h"

#include "control/node/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 1, LOOK_MS = 50, JOBS_TAKEN = 64, LETTERS_TAKEN = 128 };

void control_log(const char *format, ...)
{
    char stamp[40];
    struct timespec now;
    struct tm utc;
    va_list args;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(stderr, "tidemarkd: %s.%03ldZ ", stamp, now.tv_nsec / 1000000);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

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
    return uv_now(c->config.loop);
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

/* ---- the loop -------------------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *t)
{
    control_wake(t->data);
}

static void write_marks(struct control *c)
{
    uint64_t now_ms = control_now_ms(c);
    if (c->stopping || now_ms - c->marks_ms < (uint64_t)c->config.settings->replica_high_watermark_checkpoint_interval_ms)
        return;
    c->marks_ms = now_ms;
    replicas_note_marks(c);
    marks_write(&c->marks, c->config.data.submit, c->config.data.self);
}

static void on_look(uv_timer_t *t)
{
    health_look(t->data);
    write_marks(t->data);
}

static void on_doorbell(uv_poll_t *p, int status, int events)
{
    struct control *c = p->data;
    uint64_t count;
    (void)status;
    (void)events;
    (void)!read(c->config.office->parties[c->config.office->core_count].wake_fd, &count, sizeof(count));
    control_wake(c);
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
                replicas_on_failed(c, letters[i]->failed.partition);
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
    if (c->stopped_told || !(c->failed || (c->stopping && replicas_gone(c) && !marks_is_writing(&c->marks))))
        return;
    if (!c->failed && marks_write_now(&c->marks, c->config.fs) != 0)
        c->unclean = true;
    c->stopped_told = true;
    c->config.on_stopped(c->config.arg, !c->unclean && !c->failed);
}

static void wake_once(struct control *c)
{
    bool waiting;
    uint64_t retry_ms;
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
    waiting |= changes_tick(c);
    waiting |= free_retired(c);
    waiting |= admin_tick(c);
    waiting |= send_unsent(c);
    wake_rung(c);
    tell_progress(c);
    if (waiting && !uv_is_active((uv_handle_t *)&c->tick))
        uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
    else if (!waiting)
        uv_timer_stop(&c->tick);
    retry_ms = replicas_retry_ms(c);
    if (retry_ms != UINT64_MAX)
        uv_timer_start(&c->retry, on_tick, retry_ms - TIDE_MIN(retry_ms, uv_now(c->config.loop)), 0);
    else
        uv_timer_stop(&c->retry);
}

/* What control tells the node may come back at once, and the other way round: until nobody has anything to say. */
void control_wake(struct control *c)
{
    if (c->waking) {
        c->again = true;
        return;
    }
    c->waking = true;
    do {
        c->again = false;
        wake_once(c);
        if (c->mgmt != NULL)
            mgmt_turn(c->mgmt);
    } while (c->again && !c->stopped_told);
    c->waking = false;
}

static void on_node(void *arg)
{
    struct control *c = arg;
    if (c->mgmt == NULL)
        return; /* it is just being started */
    changes_take(c);
    if (c->again && !c->waking)
        control_wake(c);
    atomic_store_explicit(&c->config.publication->lease_until_ns, node_lease_until_ns(c->config.node), memory_order_release);
}

struct control *control_start(const struct control_config *config, char *error, size_t size)
{
    struct control *c = calloc(1, sizeof(*c));
    uint32_t self = config->office->core_count;
    struct mgmt_config mgmt;
    if (c == NULL) {
        snprintf(error, size, "no memory");
        return NULL;
    }
    c->config = *config;
    c->config.cluster = node_cluster(config->node);
    const char *paths[TIDE_LOG_DIRS_MAX];
    for (uint32_t i = 0; i < dirs_count(config->dirs); i++)
        paths[i] = dirs_path(config->dirs, i);
    if (!marks_load(&c->marks, config->fs, paths, dirs_count(config->dirs), control_log)) {
        snprintf(error, size, "no memory");
        free(c);
        return NULL;
    }
    hearing_init(&c->hearing, config->broker_id);
    c->orders = rte_mempool_create("orders", ORDERS_MAX - 1, sizeof(struct tide_mail), 0, 0, NULL, NULL,
                                   NULL, NULL, SOCKET_ID_ANY, 0);
    if (c->orders == NULL) {
        snprintf(error, size, "no memory for letters to the cores: raise dpdk.memory.mb");
        marks_deinit(&c->marks);
        free(c);
        return NULL;
    }
    uv_timer_init(config->loop, &c->tick);
    c->tick.data = c;
    uv_timer_init(config->loop, &c->retry);
    c->retry.data = c;
    uv_timer_init(config->loop, &c->look);
    c->look.data = c;
    uv_poll_init(config->loop, &c->doorbell, config->office->parties[self].wake_fd);
    c->doorbell.data = c;
    uv_poll_start(&c->doorbell, UV_READABLE, on_doorbell);
    /* The loop sleeps in its own way: it is always to be woken. */
    atomic_store(&config->office->parties[self].asleep, 1);
    mgmt = (struct mgmt_config){.loop = config->loop,
                                .settings = config->settings,
                                .node = config->node,
                                .files = config->files,
                                .say = control_log,
                                .on_turn = on_node,
                                .arg = c};
    c->view_stale = true;
    c->mgmt = mgmt_start(&mgmt, error, size);
    if (c->mgmt == NULL) {
        rte_mempool_free(c->orders);
        marks_deinit(&c->marks);
        free(c);
        return NULL;
    }
    uv_timer_start(&c->look, on_look, LOOK_MS, LOOK_MS);
    control_wake(c);
    return c;
}

void control_stop(struct control *c)
{
    if (c->leaving)
        return;
    c->leaving = true;
    node_stop(c->config.node, mgmt_now_ns());
    control_wake(c);
}

void control_leave(struct control *c)
{
    c->stopping = true;
    replicas_stop(c);
}

void control_destroy(struct control *c)
{
    mgmt_stop(c->mgmt);
    while (c->retired != NULL) {
        struct retired *old = c->retired;
        c->retired = old->next;
        view_free(old->view);
        free(old);
    }
    admin_abandon(c);
    view_free(c->view);
    rte_mempool_free(c->orders);
    marks_deinit(&c->marks);
    free(c);
}

void control_gauges(const struct control *c, struct control_gauges *ret)
{
    struct mgmt_gauges mgmt;
    uint64_t now_ns = mgmt_now_ns(), lease_ns = node_lease_until_ns(c->config.node);
    memset(ret, 0, sizeof(*ret));
    mgmt_gauges(c->mgmt, &mgmt);
    ret->controller = node_controller(c->config.node);
    ret->controller_epoch = cluster_controller_epoch(c->config.cluster);
    ret->metadata_index = cluster_index(c->config.cluster);
    ret->lease_left_ms = lease_ns > now_ns ? (lease_ns - now_ns) / TIDE_NS_PER_MS : 0;
    ret->member_state = (int)node_member(c->config.node)->state;
    ret->links = mgmt.links;
    ret->guests = mgmt.guests;
    ret->refused = mgmt.refused;
    ret->topics = cluster_topic_count(c->config.cluster);
    ret->view_version = c->version;
    ret->commands = cluster_index(c->config.cluster);
    ret->replica_failures = c->replica_failures;
    ret->replicas_rotten = replicas_rotten(c);
    ret->replica_reopens = c->replica_reopens;
    ret->silent = c->health.silent_count;
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++) {
        const struct replica *r = c->replicas[i];
        ret->replicas_serving += r != NULL && r->state == REPLICA_SERVING;
        ret->replicas_failed += r != NULL && (r->state == REPLICA_FAILED || r->again || r->tries != 0) && r->state != REPLICA_SERVING;
    }
}
