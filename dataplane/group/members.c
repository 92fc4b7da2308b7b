/* SPDX-License-Identifier: Apache-2.0 */
#include "group/internal.h"

#include "tidemark/bytes.h"

/* ---- finding ------------------------------------------------------------------------------------------- */

struct group_member *group_find_member(const struct groups *g, const struct group *group, const struct wire_bytes *id)
{
    uint64_t hash = group_hash_slice(g, group->node.hash, id->at);
    for (struct group_node *n = group_table_first(&g->members, hash); n != NULL; n = n->next) {
        struct group_member *m = GROUP_OF(n, struct group_member, by_id);
        if (n->hash == hash && m->group == group && group_text_is(m->id, id))
            return m;
    }
    return NULL;
}

struct group_member *group_find_instance(const struct groups *g, const struct group *group, const struct wire_bytes *instance)
{
    uint64_t hash = group_hash_slice(g, group->node.hash, instance->at);
    for (struct group_node *n = group_table_first(&g->instances, hash); n != NULL; n = n->next) {
        struct group_member *m = GROUP_OF(n, struct group_member, by_instance);
        if (n->hash == hash && m->group == group && group_text_is(m->instance, instance))
            return m;
    }
    return NULL;
}

/* ---- coming and going ------------------------------------------------------------------------------------- */

static uint64_t hash_text(const struct groups *g, const struct group *group, const struct group_text *t)
{
    return group_hash_bytes(g, group->node.hash, t->at, t->len);
}

static struct group_text *text_in_heap(struct groups *g, struct tide_slice s)
{
    struct group_text *t = tide_heap_take(g->config.heap, sizeof(*t) + s.len);
    if (t != NULL) {
        t->len = s.len;
        tide_slice_copy(s, t->at);
    }
    return t;
}

static bool take_texts(struct groups *g, struct group_member *m, const struct member_start *s)
{
    m->id = s->made_id != NULL ? group_text_of(g, s->made_id, s->made_id_len) : text_in_heap(g, s->id.at);
    m->instance = s->instance.null ? NULL : text_in_heap(g, s->instance.at);
    m->client_id = s->client_id != NULL ? group_text_of(g, s->client_id, (uint32_t)strlen(s->client_id)) : text_in_heap(g, s->client_id_bytes.at);
    m->client_host = s->client_host != NULL ? group_text_of(g, s->client_host, (uint32_t)strlen(s->client_host)) :
                                              text_in_heap(g, s->client_host_bytes.at);
    return m->id != NULL && (m->instance != NULL || s->instance.null) && m->client_id != NULL && m->client_host != NULL;
}

static void give_texts(struct groups *g, struct group_member *m)
{
    group_text_give(g, m->id);
    group_text_give(g, m->instance);
    group_text_give(g, m->client_id);
    group_text_give(g, m->client_host);
    group_text_give(g, m->assignment);
    tide_heap_give(g->config.heap, m->protocols);
}

struct group_member *member_add(struct groups *g, struct group *group, const struct member_start *s)
{
    struct classic *c = &group->classic;
    struct group_member *m = tide_heap_take(g->config.heap, sizeof(*m));
    if (m == NULL)
        return NULL;
    if (!take_texts(g, m, s) || !group_timer_own(g)) {
        give_texts(g, m);
        tide_heap_give(g->config.heap, m);
        return NULL;
    }
    m->group = group;
    m->protocols = s->protocols;
    m->session_ms = s->session_ms;
    m->rebalance_ms = s->rebalance_ms;
    m->pending = s->pending;
    m->timer.kind = GROUP_TIMER_MEMBER;
    group_table_put(&g->members, &m->by_id, hash_text(g, group, m->id));
    if (m->instance != NULL)
        group_table_put(&g->instances, &m->by_instance, hash_text(g, group, m->instance));
    if (m->pending) {
        TAILQ_INSERT_TAIL(&c->pending, m, in_group);
        c->pending_count++;
    } else {
        TAILQ_INSERT_TAIL(&c->members, m, in_group);
        c->member_count++;
        g->gauges.members++;
    }
    return m;
}

void member_free(struct groups *g, struct group_member *m)
{
    struct classic *c = &m->group->classic;
    TIDE_ASSERT(m->join == NULL);
    TIDE_ASSERT(m->sync == NULL);
    group_timer_disown(g, &m->timer);
    group_table_remove(&g->members, &m->by_id);
    if (m->instance != NULL)
        group_table_remove(&g->instances, &m->by_instance);
    if (m->pending) {
        TAILQ_REMOVE(&c->pending, m, in_group);
        c->pending_count--;
    } else {
        TAILQ_REMOVE(&c->members, m, in_group);
        c->member_count--;
        g->gauges.members--;
        c->unsynced -= m->unsynced;
        if (c->leader == m)
            c->leader = TAILQ_FIRST(&c->members);
    }
    give_texts(g, m);
    tide_heap_give(g->config.heap, m);
}

void member_rename(struct groups *g, struct group_member *m, struct group_text *id)
{
    group_table_remove(&g->members, &m->by_id);
    group_text_give(g, m->id);
    m->id = id;
    group_table_put(&g->members, &m->by_id, hash_text(g, m->group, id));
}

/* ---- what they offer ------------------------------------------------------------------------------------------ */

enum { PROTOCOL_OVERHEAD = 6 };

uint32_t protocol_bytes(const struct wire_bytes *name, const struct wire_bytes *metadata)
{
    return PROTOCOL_OVERHEAD + name->at.len + metadata->at.len;
}

uint8_t *protocol_put(uint8_t *to, const struct wire_bytes *name, const struct wire_bytes *metadata)
{
    store_be16(to, (uint16_t)name->at.len);
    tide_slice_copy(name->at, to + 2);
    to += 2 + name->at.len;
    store_be32(to, metadata->at.len);
    tide_slice_copy(metadata->at, to + 4);
    return to + 4 + metadata->at.len;
}

struct group_protocols *protocols_take(struct groups *g, const struct wire_list *list, int16_t v)
{
    struct wire_list l = *list;
    struct join_group_request_protocol in;
    struct group_protocols *p;
    uint32_t len = 0;
    while (join_group_request_protocol_next(&l, v, &in))
        len += protocol_bytes(&in.name, &in.metadata);
    p = tide_heap_take(g->config.heap, sizeof(*p) + len);
    if (p == NULL)
        return NULL;
    p->count = (uint32_t)list->count;
    p->len = len;
    uint8_t *to = p->at;
    l = *list;
    while (join_group_request_protocol_next(&l, v, &in))
        to = protocol_put(to, &in.name, &in.metadata);
    TIDE_ASSERT(to == p->at + len);
    return p;
}

struct group_protocols *protocols_of_one(struct groups *g, const struct wire_bytes *name, const struct wire_bytes *metadata)
{
    uint32_t len = protocol_bytes(name, metadata);
    struct group_protocols *p = tide_heap_take(g->config.heap, sizeof(*p) + len);
    if (p == NULL)
        return NULL;
    p->count = 1;
    p->len = len;
    (void)protocol_put(p->at, name, metadata);
    return p;
}

bool protocols_next(const struct group_protocols *p, uint32_t *at, struct group_protocol *ret)
{
    if (p == NULL || *at >= p->len)
        return false;
    const uint8_t *from = p->at + *at;
    ret->name_len = load_be16(from);
    ret->name = (const char *)from + 2;
    from += 2 + ret->name_len;
    ret->metadata_len = load_be32(from);
    ret->metadata = from + 4;
    *at += PROTOCOL_OVERHEAD + ret->name_len + ret->metadata_len;
    return true;
}

bool protocols_find(const struct group_protocols *p, const char *name, uint32_t len, struct group_protocol *ret)
{
    uint32_t at = 0;
    while (protocols_next(p, &at, ret))
        if (ret->name_len == len && memcmp(ret->name, name, len) == 0)
            return true;
    return false;
}

bool protocols_equal(const struct group_protocols *a, const struct group_protocols *b)
{
    return a->count == b->count && a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

static bool all_support(const struct classic *c, const struct group_protocol *p, const struct group_member *but)
{
    struct group_protocol found;
    const struct group_member *m;
    TAILQ_FOREACH (m, &c->members, in_group)
        if (m != but && !protocols_find(m->protocols, p->name, p->name_len, &found))
            return false;
    return true;
}

bool protocols_fit(const struct classic *c, const struct group_protocols *offered, const struct group_member *but)
{
    struct group_protocol p;
    uint32_t at = 0;
    while (protocols_next(offered, &at, &p))
        if (all_support(c, &p, but))
            return true;
    return false;
}

/* Its first one that is a candidate. */
static int vote_of(const struct group_protocols *p, const struct group_protocol *candidates, int count)
{
    struct group_protocol own;
    uint32_t at = 0;
    while (protocols_next(p, &at, &own))
        for (int i = 0; i < count; i++)
            if (candidates[i].name_len == own.name_len && memcmp(candidates[i].name, own.name, own.name_len) == 0)
                return i;
    return -1;
}

bool protocols_vote(const struct classic *c, const struct group_member *changed, const struct group_protocols *changed_to,
                    struct group_protocol *ret)
{
    struct group_protocol candidates[GROUP_PROTOCOLS_MAX], p;
    uint32_t votes[GROUP_PROTOCOLS_MAX] = {0};
    const struct group_member *m = TAILQ_FIRST(&c->members);
    uint32_t at = 0;
    int count = 0, best = 0;
    const struct group_protocols *first = m == NULL ? NULL : m == changed ? changed_to : m->protocols;
    while (count < GROUP_PROTOCOLS_MAX && protocols_next(first, &at, &p)) {
        struct group_protocol found;
        bool theirs = changed == NULL || protocols_find(changed_to, p.name, p.name_len, &found);
        if (theirs && all_support(c, &p, changed))
            candidates[count++] = p;
    }
    if (count == 0)
        return false;
    TAILQ_FOREACH (m, &c->members, in_group) {
        int i = vote_of(m == changed ? changed_to : m->protocols, candidates, count);
        if (i >= 0)
            votes[i]++;
    }
    for (int i = 1; i < count; i++)
        if (votes[i] > votes[best])
            best = i;
    *ret = candidates[best];
    return true;
}
