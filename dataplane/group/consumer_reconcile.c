/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a member has to what it shall have. A partition goes from one member to another in three steps, each of them a
 * record: it is taken from the one's assignment, the one no longer names it (or is fenced), and then it is given to the other.
 */
#include "group/consumer_internal.h"

#include "tidemark/assert.h"
#include "tidemark/mutant.h"

bool consumer_owns_any(consumer_owned owned, int16_t version, const struct partition_set *set)
{
    struct consumer_group_heartbeat_request_topic_partitions topic;
    int32_t partition;
    while (consumer_group_heartbeat_request_topic_partitions_next(&owned, version, &topic))
        while (wire_list_next_i32(&topic.partitions, &partition))
            if (partition_set_find(set, &topic.topic_id, partition) != NULL)
                return true;
    return false;
}

bool consumer_owns_only(consumer_owned owned, int16_t version, const struct partition_set *set)
{
    struct consumer_group_heartbeat_request_topic_partitions topic;
    int32_t partition;
    while (consumer_group_heartbeat_request_topic_partitions_next(&owned, version, &topic))
        while (wire_list_next_i32(&topic.partitions, &partition))
            if (partition_set_find(set, &topic.topic_id, partition) == NULL)
                return false;
    return true;
}

/* One walk over what the member has and what it shall have. */
struct walk {
    const struct consumer *c;
    const struct tide_view *view;
    const struct consumer_member *m;
    struct partition_set kept, lost, gained; /* parts of what it has, and of what it shall have */
    bool unreleased;
};

static void consider_target(struct walk *w, const struct group_partition *p, bool has)
{
    if (has)
        return;
    const struct consumer_member *owner = consumer_owner_of(w->c, &p->topic, p->partition);
    /* Its own is what it has just given up. */
    if (owner != NULL && owner != w->m && !MUTANT(CONSUMER_OWNER)) {
        w->unreleased = true;
        return;
    }
    w->gained.at[w->gained.count] = *p;
    w->gained.at[w->gained.count++].epoch = w->c->assignment_epoch;
}

static void walk_topics(struct walk *w)
{
    const struct partition_set *has = &w->m->assigned, *wants = &w->m->target;
    const struct tide_uuid *topic = NULL;
    bool subscribed = false;
    for (uint32_t h = 0, t = 0; h < has->count || t < wants->count;) {
        int order = h == has->count ? 1 : t == wants->count ? -1 : group_partition_compare(&has->at[h], &wants->at[t]);
        const struct group_partition *p = order <= 0 ? &has->at[h] : &wants->at[t];
        if (topic == NULL || !tide_uuid_equal(topic, &p->topic)) {
            topic = &p->topic;
            subscribed = consumer_subscribes(w->m, w->view, topic);
        }
        /* A target of what it no longer subscribes to is none. */
        if (order <= 0) {
            struct partition_set *to = order == 0 && subscribed ? &w->kept : &w->lost;
            to->at[to->count++] = has->at[h];
        }
        if (order >= 0 && subscribed)
            consider_target(w, &wants->at[t], order == 0);
        h += order <= 0;
        t += order >= 0;
    }
}

/* All of `kept` and `gained`, in order. */
static void join(struct partition_set *to, const struct partition_set *kept, const struct partition_set *gained)
{
    uint32_t k = 0, n = 0;
    to->count = 0;
    while (k < kept->count || n < gained->count) {
        bool from_kept = n == gained->count || (k < kept->count && group_partition_compare(&kept->at[k], &gained->at[n]) < 0);
        to->at[to->count++] = from_kept ? kept->at[k++] : gained->at[n++];
    }
}

static enum tide_status next_assignment(const struct consumer *c, const struct tide_view *view, const struct consumer_member *m,
                                        consumer_owned owned, int16_t version, struct consumer_current *ret)
{
    struct walk w = {.c = c, .view = view, .m = m};
    enum tide_status status = TIDE_FULL;
    struct partition_set assigned = {0};
    if (partition_set_make(&w.kept, c->heap, m->assigned.count) != TIDE_OK ||
        partition_set_make(&w.lost, c->heap, m->assigned.count) != TIDE_OK ||
        partition_set_make(&w.gained, c->heap, m->target.count) != TIDE_OK ||
        partition_set_make(&assigned, c->heap, m->assigned.count + m->target.count) != TIDE_OK)
        goto out;
    w.kept.count = w.lost.count = w.gained.count = assigned.count = 0;
    walk_topics(&w);
    *ret = (struct consumer_current){.epoch = m->epoch, .previous_epoch = m->epoch};
    if (w.lost.count != 0 && !MUTANT(CONSUMER_REVOCATION) && (owned.count < 0 || consumer_owns_any(owned, version, &w.lost))) {
        ret->state = CONSUMER_UNREVOKED;
        ret->assigned = w.kept;
        ret->revoking = w.lost;
        w.kept = w.lost = (struct partition_set){0};
    } else {
        ret->state = w.unreleased ? CONSUMER_UNRELEASED : CONSUMER_STABLE;
        ret->epoch = c->assignment_epoch;
        join(&assigned, &w.kept, &w.gained);
        ret->assigned = assigned;
        assigned = (struct partition_set){0};
    }
    status = TIDE_OK;
out:
    partition_set_free(&w.kept, c->heap);
    partition_set_free(&w.lost, c->heap);
    partition_set_free(&w.gained, c->heap);
    partition_set_free(&assigned, c->heap);
    return status;
}

bool consumer_waits(const struct consumer *c, const struct tide_view *view, const struct consumer_member *m)
{
    for (uint32_t i = 0, n; i < m->target.count; i += n) {
        n = partition_set_run(&m->target, i);
        if (!consumer_subscribes(m, view, &m->target.at[i].topic))
            continue;
        for (uint32_t k = i; k < i + n; k++) {
            const struct consumer_member *owner = consumer_owner_of(c, &m->target.at[k].topic, m->target.at[k].partition);
            if (owner != NULL && owner != m)
                return true;
        }
    }
    return false;
}

/* As the member is, except that the previous epoch may differ. */
static bool is_as_before(const struct consumer_member *m, const struct consumer_current *next)
{
    return m->has_current && next->epoch == m->epoch && next->state == m->state && partition_set_equal(&next->assigned, &m->assigned) &&
           partition_set_equal(&next->revoking, &m->revoking);
}

enum tide_status consumer_reconcile(const struct consumer *c, const struct tide_view *view, const struct consumer_member *m, consumer_owned owned,
                                    int16_t version, struct consumer_current *ret)
{
    if (m->state == CONSUMER_STABLE && m->has_current && m->epoch == c->assignment_epoch)
        return TIDE_EXISTS;
    if (m->state == CONSUMER_UNREVOKED && !MUTANT(CONSUMER_REVOCATION) && (owned.count < 0 || consumer_owns_any(owned, version, &m->revoking)))
        return TIDE_EXISTS;
    enum tide_status status = next_assignment(c, view, m, owned, version, ret);
    if (status == TIDE_OK && is_as_before(m, ret)) {
        partition_set_free(&ret->assigned, c->heap);
        partition_set_free(&ret->revoking, c->heap);
        return TIDE_EXISTS;
    }
    return status;
}
