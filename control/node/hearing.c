/* SPDX-License-Identifier: Apache-2.0 */
#include "node/hearing.h"

#include <string.h>

#include "tidemark/assert.h"

void hearing_init(struct hearing *h, int32_t self)
{
    memset(h, 0, sizeof(*h));
    h->self = self;
}

static struct hearing_peer *find(struct hearing *h, int32_t broker)
{
    uint32_t low = 0, high = h->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (h->peers[middle].broker < broker)
            low = middle + 1;
        else
            high = middle;
    }
    return low < h->count && h->peers[low].broker == broker ? &h->peers[low] : NULL;
}

/* ---- who is expected ----------------------------------------------------------------------------------------- */

/* By place in the metadata's list of brokers, which is sorted by number. */
struct expected {
    bool at[CLUSTER_BROKERS_MAX];
};

static void expect(struct expected *e, const struct cluster *c, int32_t broker)
{
    uint32_t low = 0, high = cluster_broker_count(c);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cluster_broker_at(c, middle)->id < broker)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < cluster_broker_count(c) && cluster_broker_at(c, low)->id == broker)
        e->at[low] = !cluster_broker_at(c, low)->fenced;
}

static void expect_of(struct expected *e, const struct cluster *c, const struct cluster_partition *p, int32_t self)
{
    bool ours = false;
    for (uint32_t i = 0; i < p->replica_count; i++)
        ours |= p->replicas[i] == self;
    if (!ours)
        return;
    if (p->leader != self)
        expect(e, c, p->leader);
    for (uint32_t i = 0; p->leader == self && i < p->replica_count; i++)
        if (p->replicas[i] != self)
            expect(e, c, p->replicas[i]);
}

void hearing_on_metadata(struct hearing *h, uint64_t now_ns, const struct cluster *c)
{
    struct expected e = {0};
    struct hearing_peer next[CLUSTER_BROKERS_MAX];
    uint32_t count = 0;
    if (h->index == cluster_index(c))
        return;
    h->index = cluster_index(c);
    for (uint32_t i = 0; i < cluster_topic_count(c); i++)
        for (uint32_t k = 0; k < cluster_topic_at(c, i)->partition_count; k++)
            expect_of(&e, c, &cluster_topic_at(c, i)->partitions[k], h->self);
    for (uint32_t i = 0; i < cluster_broker_count(c); i++) {
        const struct cluster_broker *b = cluster_broker_at(c, i);
        const struct hearing_peer *known = find(h, b->id);
        uint64_t due_ns = now_ns + HEARING_GRACE_NS;
        if (!e.at[i])
            continue;
        if (known != NULL && known->epoch == b->epoch)
            next[count++] = *known;
        else
            next[count++] = (struct hearing_peer){.broker = b->id, .epoch = b->epoch, .heard_ns = due_ns, .confirmed_ns = due_ns};
    }
    memcpy(h->peers, next, count * sizeof(next[0]));
    h->count = count;
    hearing_check(h);
}

/* ---- who is silent --------------------------------------------------------------------------------------------- */

void hearing_on_signs(struct hearing *h, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns)
{
    struct hearing_peer *p = find(h, broker);
    if (p == NULL)
        return;
    p->heard_ns = TIDE_MAX(p->heard_ns, heard_ns);
    p->confirmed_ns = TIDE_MAX(p->confirmed_ns, confirmed_ns);
}

static uint32_t age_ms(uint64_t now_ns, uint64_t then_ns)
{
    uint64_t ms = now_ns > then_ns ? (now_ns - then_ns) / TIDE_NS_PER_MS : 0;
    return (uint32_t)TIDE_MIN(ms, (uint64_t)UINT32_MAX);
}

uint32_t hearing_silent(const struct hearing *h, uint64_t now_ns, uint64_t timeout_ns, struct health_silence *ret)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < h->count && count < HEALTH_SILENT_MAX; i++) {
        const struct hearing_peer *p = &h->peers[i];
        uint64_t older_ns = TIDE_MIN(p->heard_ns, p->confirmed_ns);
        if (now_ns > older_ns && now_ns - older_ns >= timeout_ns)
            ret[count++] = (struct health_silence){p->broker, age_ms(now_ns, p->heard_ns), age_ms(now_ns, p->confirmed_ns)};
    }
    return count;
}

void hearing_check(const struct hearing *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        TIDE_ASSERT(h->peers[i].broker != h->self);                            /* H1 */
        TIDE_ASSERT(i == 0 || h->peers[i - 1].broker < h->peers[i].broker);    /* H1 */
    }
}
