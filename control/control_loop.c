/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control_loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct control_loop {
    uv_loop_t *loop;
    struct post_office *office;
    struct control *control;
    struct mgmt *mgmt; /* NULL: it is just being started */
    uv_timer_t timer;
    uv_poll_t doorbell;
};

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

static void on_timer(uv_timer_t *t)
{
    control_loop_turn(t->data);
}

static void on_doorbell(uv_poll_t *p, int status, int events)
{
    struct control_loop *l = p->data;
    uint64_t count;
    (void)status;
    (void)events;
    (void)!read(l->office->parties[l->office->core_count].wake_fd, &count, sizeof(count));
    control_loop_turn(l);
}

static void set_timer(struct control_loop *l)
{
    uint64_t at = control_deadline_ns(l->control), now = mgmt_now_ns();
    uint64_t ms = at <= now ? 0 : (at - now + TIDE_NS_PER_MS - 1) / TIDE_NS_PER_MS;
    uv_update_time(l->loop);
    if (at == TIDE_NEVER)
        uv_timer_stop(&l->timer);
    else
        uv_timer_start(&l->timer, on_timer, ms, 0);
}

/* What the node was given by control it may want to send. */
static void on_node(void *arg)
{
    struct control_loop *l = arg;
    if (l->mgmt == NULL || !control_on_node(l->control, mgmt_now_ns()))
        return;
    mgmt_turn(l->mgmt);
    set_timer(l);
}

void control_loop_turn(struct control_loop *l)
{
    control_turn(l->control, mgmt_now_ns());
    mgmt_turn(l->mgmt);
    set_timer(l);
}

struct control_loop *control_loop_start(uv_loop_t *loop, const struct control_config *config, struct quorum_files *files, char *error, size_t size)
{
    struct control_loop *l = calloc(1, sizeof(*l));
    struct mgmt_config mgmt = {.loop = loop, .settings = config->settings, .node = config->node, .files = files, .say = control_log,
                               .on_turn = on_node, .arg = l};
    if (l == NULL || (l->control = control_create(config)) == NULL) {
        snprintf(error, size, "no memory");
        free(l);
        return NULL;
    }
    l->loop = loop;
    l->office = config->office;
    uv_timer_init(loop, &l->timer);
    uv_poll_init(loop, &l->doorbell, l->office->parties[l->office->core_count].wake_fd);
    l->timer.data = l->doorbell.data = l;
    uv_poll_start(&l->doorbell, UV_READABLE, on_doorbell);
    l->mgmt = mgmt_start(&mgmt, error, size);
    if (l->mgmt == NULL) {
        control_destroy(l->control);
        free(l);
        return NULL;
    }
    control_loop_turn(l);
    return l;
}

void control_loop_destroy(struct control_loop *l)
{
    mgmt_stop(l->mgmt);
    control_destroy(l->control);
    free(l);
}

struct control *control_loop_control(struct control_loop *l)
{
    return l->control;
}

void control_loop_gauges(const struct control_loop *l, struct mgmt_gauges *ret)
{
    mgmt_gauges(l->mgmt, ret);
}
