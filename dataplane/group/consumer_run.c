/* SPDX-License-Identifier: Apache-2.0 */
#include "group/consumer_run.h"

#include <string.h>

#include "group/consumer_internal.h"
#include "tidemark/assert.h"

enum {
    WRITE_BYTES = 65536, /* of a batch of targets, before the one that passes it */
    WRITE_RECORDS = 256,
};

void consumer_run_end(struct consumer *c)
{
    struct consumer_run *run = c->run;
    if (run == NULL)
        return;
    for (uint32_t m = 0; m < run->member_count; m++)
        if (run->members[m] != NULL)
            run->members[m]->number = ASSIGN_NOBODY;
    tide_heap_give(c->heap, run->subscribers);
    tide_heap_give(c->heap, run);
    c->run = NULL;
}

void consumer_run_forget(struct consumer_run *run, struct consumer_member *m)
{
    if (m->number != ASSIGN_NOBODY)
        run->members[m->number] = NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(&((const struct run_topic *)a)->id, &((const struct run_topic *)b)->id, sizeof(struct tide_uuid));
}

/* A part of the one block of a run. */
static void *part(uint8_t **at, size_t bytes)
{
    uint8_t *here = *at;
    *at += (bytes + 7) & ~(size_t)7;
    return here;
}

static uint32_t *numbers(uint8_t **at, uint32_t count) { return part(at, count * sizeof(uint32_t)); }

/* The same walk twice: how much, and where. */
static size_t lay_out(struct consumer_run *run, uint8_t *block, uint32_t members, uint32_t topics, uint32_t partitions)
{
    uint8_t *at = block + sizeof(*run);
    struct consumer_run r = {.member_count = members, .topic_count = topics};
    r.members = part(&at, members * sizeof(*r.members));
    r.ids = part(&at, topics * sizeof(*r.ids));
    r.topics = part(&at, topics * sizeof(*r.topics));
    r.filled = numbers(&at, topics);
    r.memory.order = numbers(&at, topics);
    r.previous = numbers(&at, partitions);
    r.list = numbers(&at, partitions);
    r.memory.owners = numbers(&at, partitions);
    r.memory.counts = numbers(&at, members);
    r.memory.held = numbers(&at, members);
    r.memory.wanted = numbers(&at, members);
    r.first = numbers(&at, members + 1);
    r.problem = (struct assign_problem){.topic_count = topics, .member_count = members, .partition_count = partitions};
    if (run != NULL)
        *run = r;
    return (size_t)(at - block);
}

static void number_topics(struct consumer *c, struct consumer_run *run)
{
    uint32_t n = 0, first = 0;
    for (uint32_t i = 0; i < c->topic_count; i++) {
        c->topics[i]->number = ASSIGN_NOBODY;
        if (c->topics[i]->partitions != 0)
            run->ids[n++] = (struct run_topic){.id = c->topics[i]->id, .topic = c->topics[i]};
    }
    group_sort(run->ids, n, sizeof(*run->ids), compare_ids);
    for (uint32_t t = 0; t < n; t++) {
        run->ids[t].topic->number = t;
        run->topics[t] = (struct assign_topic){.first = first, .partitions = run->ids[t].topic->partitions};
        first += run->topics[t].partitions;
    }
}

/* False: the heap is full. */
static bool begin(struct groups *g, struct consumer *c)
{
    uint32_t members = 0, topics = 0, partitions = 0;
    for (uint32_t m = 0; m < c->member_count; m++)
        members += c->members[m]->has_metadata;
    for (uint32_t t = 0; t < c->topic_count; t++) {
        topics += c->topics[t]->partitions != 0;
        partitions += c->topics[t]->partitions;
    }
    uint8_t *block = tide_heap_take(c->heap, lay_out(NULL, (uint8_t *)c, members, topics, partitions));
    if (block == NULL)
        return false;
    struct consumer_run *run = c->run = (struct consumer_run *)block;
    (void)lay_out(run, block, members, topics, partitions);
    run->kind = consumer_assignor(c);
    run->epoch = c->epoch;
    run->changes = c->changes;
    uint32_t n = 0;
    for (uint32_t m = 0; m < c->member_count; m++) {
        if (!c->members[m]->has_metadata)
            continue;
        c->members[m]->number = n;
        run->members[n++] = c->members[m];
    }
    number_topics(c, run);
    for (uint32_t p = 0; p < partitions; p++)
        run->previous[p] = ASSIGN_NOBODY;
    return true;
}

/* The numbers of what the member subscribes to. */
static bool next_topic(struct consumer_subscription *s, uint32_t *ret)
{
    const struct consumer_topic *t;
    while ((t = consumer_subscription_next(s)) != NULL) {
        *ret = t->number;
        if (*ret != ASSIGN_NOBODY)
            return true;
    }
    return false;
}

static void count_subscribers(struct consumer_run *run, const struct consumer_member *m)
{
    struct consumer_subscription s = {.member = m};
    uint32_t t;
    while (next_topic(&s, &t))
        run->topics[t].subscribers++;
}

static void fill_subscribers(struct consumer_run *run, const struct consumer_member *m)
{
    struct consumer_subscription s = {.member = m};
    uint32_t t;
    while (next_topic(&s, &t))
        run->subscribers[run->topics[t].subscriber_first + run->filled[t]++] = m->number;
}

static bool sum_subscribers(struct consumer *c, struct consumer_run *run)
{
    for (uint32_t t = 0; t < run->topic_count; t++) {
        run->topics[t].subscriber_first = run->subscriber_count;
        run->subscriber_count += run->topics[t].subscribers;
    }
    run->subscribers = tide_heap_take(c->heap, ((size_t)run->subscriber_count + 1) * sizeof(uint32_t));
    return run->subscribers != NULL;
}

static void read_previous(struct consumer_run *run, const struct consumer_member *m)
{
    for (uint32_t i = 0, n; i < m->target.count; i += n) {
        struct run_topic wanted = {.id = m->target.at[i].topic};
        uint32_t low = 0, high = run->topic_count;
        n = partition_set_run(&m->target, i);
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (compare_ids(&run->ids[middle], &wanted) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == run->topic_count || compare_ids(&run->ids[low], &wanted) != 0)
            continue;
        for (uint32_t k = i; k < i + n; k++)
            if (m->target.at[k].partition >= 0 && (uint32_t)m->target.at[k].partition < run->topics[low].partitions)
                run->previous[run->topics[low].first + (uint32_t)m->target.at[k].partition] = m->number;
    }
}

/* One member of one of the first three phases. */
static void read_member(struct consumer_run *run, uint32_t *budget)
{
    const struct consumer_member *m = run->members[run->next++];
    if (run->phase == RUN_SUBSCRIBERS)
        count_subscribers(run, m);
    else if (run->phase == RUN_FILL)
        fill_subscribers(run, m);
    else
        read_previous(run, m);
    assign_spend(budget, 1 + (run->phase == RUN_PREVIOUS ? m->target.count : consumer_subscription_size(m)));
}

static bool next_phase(struct consumer *c, struct consumer_run *run)
{
    run->next = 0;
    if (run->phase == RUN_SUBSCRIBERS && !sum_subscribers(c, run))
        return false;
    if (run->phase == RUN_PREVIOUS) {
        run->problem.topics = run->topics;
        run->problem.subscribers = run->subscribers;
        run->problem.previous = run->previous;
        assign_init(&run->assign, run->kind, &run->problem, &run->memory);
    }
    run->phase++;
    return true;
}

/* Partitions member by member, in order. */
static void list_partitions(struct consumer_run *run, uint32_t *budget)
{
    uint32_t *at = run->memory.held;
    run->first[0] = 0;
    for (uint32_t m = 0; m < run->member_count; m++) {
        at[m] = run->first[m];
        run->first[m + 1] = run->first[m] + run->memory.counts[m];
    }
    for (uint32_t p = 0; p < run->problem.partition_count; p++)
        if (run->memory.owners[p] != ASSIGN_NOBODY)
            run->list[at[run->memory.owners[p]]++] = p;
    assign_spend(budget, 2 * run->problem.partition_count);
}

/* Goes through what member `m` shall have, in the order of sets. */
struct run_iter {
    const struct consumer_run *run;
    uint32_t at, end, topic;
};

static bool iter_next(struct run_iter *i, struct group_partition *ret)
{
    if (i->at == i->end)
        return false;
    uint32_t p = i->run->list[i->at++];
    while (p >= i->run->topics[i->topic].first + i->run->topics[i->topic].partitions)
        i->topic++;
    *ret = (struct group_partition){.topic = i->run->ids[i->topic].id, .partition = (int32_t)(p - i->run->topics[i->topic].first)};
    return true;
}

static bool is_same(const struct consumer_run *run, uint32_t m)
{
    struct run_iter i = {.run = run, .at = run->first[m], .end = run->first[m + 1]};
    const struct partition_set *old = &run->members[m]->target;
    struct group_partition p;
    if (run->memory.counts[m] != old->count)
        return false;
    for (uint32_t k = 0; iter_next(&i, &p); k++)
        if (group_partition_compare(&old->at[k], &p) != 0)
            return false;
    return true;
}

static void put_target(struct groups *g, struct group_batch *b, const struct consumer *c, const struct consumer_run *run, uint32_t m)
{
    struct run_iter i = {.run = run, .at = run->first[m], .end = run->first[m + 1]}, ahead = i;
    struct group_partition p;
    struct wire_writer key, value;
    int32_t topics = 0;
    uint32_t last = UINT32_MAX;
    consumer_member_key(g, &key, CONSUMER_TARGET_MEMBER, c, run->members[m]->id);
    consumer_value(g, &value);
    while (iter_next(&ahead, &p)) {
        topics += ahead.topic != last;
        last = ahead.topic;
    }
    consumer_group_target_assignment_member_value_open_topic_partitions(&value, 0, topics);
    while (i.at != i.end) {
        int32_t count = 0;
        ahead = i;
        (void)iter_next(&ahead, &p);
        uint32_t topic = ahead.topic;
        for (ahead = i; iter_next(&ahead, &p) && ahead.topic == topic;)
            count++;
        consumer_group_target_assignment_member_value_topic_partition_put_topic_id(&value, 0, &run->ids[topic].id);
        consumer_group_target_assignment_member_value_topic_partition_open_partitions(&value, 0, count);
        for (; count != 0 && iter_next(&i, &p); count--)
            wire_put_i32(&value, p.partition);
        consumer_group_target_assignment_member_value_topic_partition_end(&value, 0);
    }
    consumer_group_target_assignment_member_value_end(&value, 0);
    group_batch_put(b, &key, &value);
}

/* One batch. TIDE_OK: written, `*ret_last` when it was the last one. */
static enum tide_status write_some(struct groups *g, struct group *group, uint32_t *budget, int16_t *ret_error, bool *ret_last)
{
    struct consumer *c = group->consumer;
    struct consumer_run *run = c->run;
    struct group_batch b;
    uint32_t m = run->next;
    size_t memory = 0;
    group_batch_begin(g, &b);
    for (; m < run->member_count && b.w.out.len < WRITE_BYTES && b.count < WRITE_RECORDS; m++) {
        if (run->members[m] == NULL || is_same(run, m))
            continue;
        put_target(g, &b, c, run, m);
        memory += consumer_set_bytes(run->memory.counts[m]);
        assign_spend(budget, 8 * run->memory.counts[m]);
    }
    assign_spend(budget, m - run->next + 1000); /* an append costs something too */
    *ret_last = m == run->member_count;
    if (*ret_last)
        consumer_put_target_epoch(g, &b, c, run->epoch);
    enum tide_status status = consumer_write(g, group, &b, memory, ret_error);
    if (status == TIDE_OK && *ret_error == 0)
        run->next = m;
    return status;
}

/* Gives up, or is done; another one not before then. */
static void end(struct groups *g, struct consumer *c, int64_t after_ms)
{
    consumer_run_end(c);
    c->assign_after_ns = group_after_ms(g, after_ms);
}

static bool has_changed(const struct consumer *c) { return c->run->phase <= RUN_PREVIOUS && c->run->changes != c->changes; }

enum tide_status consumer_assign(struct groups *g, struct group *group, uint32_t budget)
{
    struct consumer *c = group->consumer;
    if (c->run != NULL && has_changed(c))
        consumer_run_end(c);
    if (c->run == NULL) {
        if (!consumer_assign_is_due(g, c))
            return TIDE_OK;
        (void)consumer_look(c, g->view);
        if (!begin(g, c)) {
            end(g, c, GROUP_RETRY_MS);
            return TIDE_OK;
        }
        assign_spend(&budget, c->run->problem.partition_count / 4 + c->run->topic_count);
    }
    struct consumer_run *run = c->run;
    while (budget != 0) {
        if (run->phase == RUN_COMPUTE) {
            if (!assign_step(&run->assign, &budget))
                return TIDE_AGAIN;
            list_partitions(run, &budget);
            run->phase = RUN_WRITE;
        } else if (run->phase == RUN_WRITE) {
            int16_t error;
            bool last;
            enum tide_status status = write_some(g, group, &budget, &error, &last);
            if (status != TIDE_OK)
                return TIDE_AGAIN;
            if (error != 0 || last) {
                end(g, c, error != 0 ? GROUP_RETRY_MS : c->settings->group_consumer_assignment_interval_ms);
                return TIDE_OK;
            }
        } else if (run->next < run->member_count) {
            read_member(run, &budget);
        } else if (!next_phase(c, run)) {
            end(g, c, GROUP_RETRY_MS);
            return TIDE_OK;
        }
    }
    return TIDE_AGAIN;
}
