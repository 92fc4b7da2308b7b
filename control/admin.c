/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an ask; the states are drawn in admin.h.
 *
 * Timers: admin_tick() looks at every ask once a millisecond while there are some.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct admin_api *const apis[] = {
    &admin_create_topics, &admin_delete_topics, &admin_metadata, &admin_find_coordinator, &admin_create_partitions, &admin_elect_leaders,
    &admin_alter_reassignments, &admin_list_reassignments, &admin_describe_topic_partitions, &admin_describe_configs,
    &admin_incremental_alter_configs, &admin_alter_configs, &admin_init_producer_id, &admin_describe_quorum, &admin_update_features,
    &admin_describe_log_dirs,
};

#define TO(s) (1u << ASK_##s)
static const struct {
    const char *name;
    uint32_t next;
} ask_states[ASK_STATE_COUNT] = {
    [ASK_BEGINNING] = {"beginning", TO(COMMITTING) | TO(SHOWING) | TO(ANSWERED)},
    [ASK_COMMITTING] = {"committing", TO(SHOWING) | TO(ANSWERED)},
    [ASK_SHOWING] = {"showing", TO(ANSWERED)},
    [ASK_ANSWERED] = {"answered", 0},
};
#undef TO

static void ask_check(const struct admin_ask *a)
{
    TIDE_ASSERT((a->state == ASK_ANSWERED) == (a->mail == NULL)); /* A1 */
    TIDE_ASSERT(a->state != ASK_COMMITTING || a->waiting != 0);   /* A2 */
    TIDE_ASSERT(a->state != ASK_SHOWING || a->waiting == 0);      /* A2 */
}

static void ask_move(struct admin_ask *a, enum ask_state to)
{
    TIDE_ASSERT(ask_states[a->state].next & 1u << to);
    a->state = to;
}

void admin_check(const struct control *c)
{
    for (const struct admin_ask *a = c->asks; a != NULL; a = a->next)
        ask_check(a);
}

/* ---- words of the families --------------------------------------------------------------------------- */

bool admin_topic_name(const struct wire_bytes *from, char ret_name[TIDE_TOPIC_NAME_MAX + 1])
{
    uint32_t len = wire_bytes_copy(from, ret_name, TIDE_TOPIC_NAME_MAX + 1);
    return len <= TIDE_TOPIC_NAME_MAX && strlen(ret_name) == len;
}

void admin_refuse(struct admin_verdict *d, int16_t error, const char *message)
{
    if (d->error != 0 || error == 0)
        return;
    d->error = error;
    d->message = message != NULL ? strdup(message) : NULL; /* without memory there is no sentence */
}

void admin_overrule(struct admin_verdict *d, int16_t error, const char *message)
{
    admin_verdict_free(d);
    d->error = 0;
    admin_refuse(d, error, message);
}

void admin_refuse_by(struct admin_verdict *d, const struct cluster_result *r)
{
    if (r->error == 0 && r->item_count == 1)
        admin_refuse(d, r->items[0].error, r->items[0].message);
    else
        admin_refuse(d, r->error, r->message);
}

void admin_decide(struct admin_ask *a, struct admin_verdict *d, const struct cluster_result *r, bool changes)
{
    d->undecided = false;
    admin_refuse_by(d, r);
    d->applied = changes && d->error == 0;
    a->changed |= d->applied;
}

void admin_verdict_free(struct admin_verdict *d)
{
    free(d->message);
    d->message = NULL;
}

int16_t admin_error(const struct admin_ask *a, const struct admin_verdict *d)
{
    return d->error == 0 && a->late && (d->undecided || d->applied) ? KAFKA_REQUEST_TIMED_OUT : d->error;
}

const char *admin_message(const struct admin_ask *a, const struct admin_verdict *d)
{
    if (admin_error(a, d) == KAFKA_REQUEST_TIMED_OUT && d->error == 0)
        return "not decided or not served everywhere within the request's time; it may still happen";
    return d->error != 0 ? d->message : NULL;
}

void admin_submit(struct admin_ask *a, const struct cluster_command *command, uint32_t index, struct admin_verdict *d)
{
    if (d != NULL)
        d->undecided = true;
    a->waiting++;
    control_submit(a->control, command, a, index);
}

void admin_set_timeout(struct admin_ask *a, int32_t timeout_ms)
{
    int32_t wait = TIDE_MAX(timeout_ms, 0);
    a->deadline_ms = control_now_ms(a->control) + (uint64_t)TIDE_MIN(wait, (int32_t)ADMIN_TIMEOUT_MS_MAX);
}

/* ---- the life --------------------------------------------------------------------------------------------- */

static void forget(struct admin_ask *a)
{
    if (a->api->forget != NULL)
        a->api->forget(a);
    free(a->data);
    free(a);
}

static void answer(struct admin_ask *a)
{
    struct tide_mail *m = a->mail;
    struct wire_writer w;
    if (a->api->write == NULL) {
        m->ask.result = ASK_RERUN;
    } else {
        wire_writer_init(&w, a->control->config.response_pool);
        a->api->write(a, &w);
        m->ask.result = w.failed ? ASK_CLOSE : ASK_BODY; /* no memory for an answer: the client comes again */
        if (w.failed)
            wire_writer_abandon(&w);
        else
            m->ask.answer = w.out;
    }
    a->mail = NULL;
    ask_move(a, ASK_ANSWERED);
    control_answer(a->control, m);
}

/* Nothing is due any more. */
static void settle(struct admin_ask *a)
{
    if (a->state == ASK_ANSWERED)
        return; /* admin_tick frees it */
    if (a->changed && !a->control->stopping)
        ask_move(a, ASK_SHOWING);
    else
        answer(a);
}

void admin_came_back(struct admin_ask *a)
{
    TIDE_ASSERT(a->waiting != 0);
    if (--a->waiting == 0)
        settle(a);
}

void admin_on_result(struct control *c, struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    (void)c;
    TIDE_ASSERT(a->waiting != 0);
    a->api->on_result(a, index, r);
    admin_came_back(a);
}

static const struct admin_api *api_of(int16_t key)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++)
        if (apis[i]->key == key)
            return apis[i];
    return NULL;
}

void admin_on_ask(struct control *c, struct tide_mail *m)
{
    const struct admin_api *api = api_of(m->ask.api_key);
    struct admin_ask *a = api != NULL ? calloc(1, sizeof(*a)) : NULL;
    struct wire_cursor body;
    if (a == NULL) {
        m->ask.result = ASK_CLOSE;
        control_answer(c, m);
        return;
    }
    *a = (struct admin_ask){.next = c->asks, .control = c, .api = api, .mail = m, .v = m->ask.api_version, .waiting = 1};
    admin_set_timeout(a, ADMIN_TIMEOUT_MS);
    wire_cursor_init(&body, m->ask.body);
    if (!api->begin(a, &body)) {
        forget(a);
        m->ask.result = ASK_CLOSE;
        control_answer(c, m);
        return;
    }
    c->asks = a;
    if (a->waiting > 1)
        ask_move(a, ASK_COMMITTING);
    admin_came_back(a);
}

static void tick(struct admin_ask *a, uint64_t now_ms)
{
    if (a->state == ASK_SHOWING) {
        if (a->token == 0)
            a->token = control_show(a->control);
        if (a->token != 0 && control_is_seen(a->control, a->token)) {
            answer(a);
            return;
        }
    }
    if (a->state != ASK_ANSWERED && now_ms >= a->deadline_ms) {
        a->late = true;
        answer(a);
    }
}

bool admin_tick(struct control *c)
{
    uint64_t now_ms = control_now_ms(c);
    struct admin_ask **at = &c->asks;
    bool left = false;
    while (*at != NULL) {
        struct admin_ask *a = *at;
        tick(a, now_ms);
        if (a->state == ASK_ANSWERED && a->waiting == 0) {
            *at = a->next;
            forget(a);
            continue;
        }
        left |= a->state != ASK_ANSWERED;
        at = &a->next;
    }
    return left;
}

void admin_abandon(struct control *c)
{
    while (c->asks != NULL) {
        struct admin_ask *a = c->asks;
        c->asks = a->next;
        forget(a);
    }
}
