/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn of a core's Kafka side: mail, bells, completions, what waited for room, timeouts.
 */
#include "broker/coordinators.h"
#include "broker/peers.h"

#include <errno.h>
#include <stdio.h>

#include <rte_malloc.h>

enum {
    SWEEP_INTERVAL_MS = 1000, /* every partition gets a turn at least this often (expiry) */
    SWEEP_STEP = 16,          /* partitions per turn of the sweep */
    READY_STALLED_MAX = 64,   /* stalled sessions looked at per turn, */
    STALLED_IN_VAIN_MAX = 4,  /* ... and so many in vain, unless it is time to look at all */
    ROOM_LOOK_MS = 1,
    PARKED_LOOK_MS = 10,      /* between looks at parked appends at whose log nothing happens, ... */
    PARKED_LOOK_STEP = 64,    /* ... and slots of them per look */
    DEADLINES_MAX = 64,       /* timeouts handled per turn */
    EVICT_MAX = 4,
    IDLE_STEP = 512,          /* sessions per turn of the idle look */
};

static void *zeroed(size_t count, size_t size)
{
    return rte_zmalloc("broker", count * size, TIDE_CACHE_LINE);
}

static void init_lists(struct broker *b)
{
    link_init(&b->retry);
    link_init(&b->free_sessions);
    link_init(&b->stalled);
    link_init(&b->partial);
    link_init(&b->ready);
    link_init(&b->parked);
    link_init(&b->roused);
    link_init(&b->uncancelled);
    link_init(&b->unsent);
    link_init(&b->unsent_later);
    link_init(&b->free_unsent);
    for (uint32_t i = 0; i < b->config.requests_max; i++)
        link_append(&b->free_unsent, &b->unsents[i].in_list);
    for (uint32_t i = 0; i < b->config.sessions_max; i++) {
        link_init(&b->sessions[i].in_free);
        link_append(&b->free_sessions, &b->sessions[i].in_free);
    }
    for (uint32_t i = b->config.requests_max; i-- != 0;)
        b->free_requests[b->free_request_count++] = i;
    for (uint32_t i = CHECKS_MAX; i-- != 0;)
        b->free_checks[b->free_check_count++] = i;
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++) {
        for (unsigned k = 0; k < WAIT_KIND_COUNT; k++)
            link_init(&b->waits[i].lists[k]);
        link_init(&b->waits[i].in_parked);
    }
}

struct broker *broker_create(const struct broker_config *config)
{
    static _Atomic unsigned brokers;
    static struct trace off; /* nobody ever turns it on */
    struct broker *b = zeroed(1, sizeof(*b));
    char name[RTE_MEMPOOL_NAMESIZE];
    if (b == NULL)
        return NULL;
    b->config = *config;
    b->settings = config->settings;
    b->counters = config->counters;
    b->trace = config->trace != NULL ? config->trace : &off;
    b->requests = zeroed(config->requests_max, sizeof(*b->requests));
    b->free_requests = zeroed(config->requests_max, sizeof(*b->free_requests));
    b->heap = zeroed(config->requests_max, sizeof(*b->heap));
    b->unsents = zeroed(config->requests_max, sizeof(*b->unsents));
    b->sessions = zeroed(config->sessions_max, sizeof(*b->sessions));
    b->waits = zeroed(TIDE_PARTITIONS_MAX, sizeof(*b->waits));
    b->home = zeroed(TIDE_PARTITIONS_MAX, sizeof(*b->home));
    b->dirty = zeroed(TIDE_PARTITIONS_MAX, sizeof(*b->dirty));
    b->homes = zeroed(TIDE_PARTITIONS_MAX, sizeof(*b->homes));
    snprintf(name, sizeof(name), "mails%u_%u", config->core, brokers++);
    /* No cache: only its core takes, and the count of what is left must be exact. */
    b->mails = rte_mempool_create(name, config->mails_max, sizeof(struct tide_mail), 0, 0, NULL,
                                  NULL, NULL, NULL, SOCKET_ID_ANY, RTE_MEMPOOL_F_SC_GET);
    if (b->requests == NULL || b->free_requests == NULL || b->heap == NULL || b->sessions == NULL || b->unsents == NULL ||
        b->waits == NULL || b->home == NULL || b->dirty == NULL || b->homes == NULL ||
        b->mails == NULL) {
        broker_destroy(b);
        return NULL;
    }
    init_lists(b);
    if (!fetch_create(b) || !coordinators_create(b) || peers_create(b) == NULL) {
        broker_destroy(b);
        return NULL;
    }
    return b;
}

static void forget_unsent(struct broker *b)
{
    for (uint32_t to = 0; to < MAIL_PARTIES_MAX; to++)
        for (struct tide_mail *m = b->unsent_head[to]; m != NULL; m = m->next)
            if (m->kind == MAIL_GROUP)
                tide_rope_clear(&m->group.answer);
}

void broker_forget(struct broker *b)
{
    log_core_lost(b->config.log_core);
    coordinators_forget(b);
    forget_unsent(b);
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++) {
        for (struct tide_mail *m = b->waits[i].parked_head; m != NULL; m = m->next)
            tide_slice_release(m->append.records);
        b->waits[i].parked_head = NULL;
    }
    for (uint32_t i = 0; i < b->config.requests_max; i++) {
        struct request *r = &b->requests[i];
        if (r->state == REQUEST_FREE)
            continue;
        r->outstanding = 0;
        if (r->api_key == KAFKA_API_FETCH && r->fetch.reading != NULL) {
            r->fetch.reading->reading = false;
            log_read_lost(&r->fetch.reading->read);
        }
        request_give(b, r);
    }
    for (uint32_t i = 0; i < b->config.sessions_max; i++) {
        if (!b->sessions[i].in_use)
            continue;
        tide_rope_clear(&b->sessions[i].in);
        tide_rope_clear(&b->sessions[i].out);
    }
    link_init(&b->parked);
    link_init(&b->roused);
}

void broker_destroy(struct broker *b)
{
    if (b == NULL)
        return;
    if (b->ready.next != NULL) /* it was made whole */
        broker_forget(b);
    peers_destroy(b);
    fetch_sessions_destroy(b->fetch_sessions);
    coordinators_destroy(b);
    rte_mempool_free(b->mails);
    rte_free(b->homes);
    rte_free(b->dirty);
    rte_free(b->home);
    rte_free(b->waits);
    rte_free(b->sessions);
    rte_free(b->unsents);
    rte_free(b->heap);
    rte_free(b->free_requests);
    rte_free(b->requests);
    rte_free(b);
}

/* ---- letters -------------------------------------------------------------------------------- */

struct tide_mail *mail_take(struct broker *b, enum mail_kind kind)
{
    void *at;
    struct tide_mail *m;
    if (rte_mempool_get(b->mails, &at) != 0)
        return NULL;
    if (b->mails_sure != 0)
        b->mails_sure--;
    m = at;
    memset(m, 0, sizeof(*m));
    m->kind = kind;
    m->from = b->config.core;
    m->pool = b->mails;
    return m;
}

bool mails_suffice(struct broker *b, uint32_t count)
{
    if (b->mails_sure < count)
        b->mails_sure = rte_mempool_avail_count(b->mails);
    return b->mails_sure >= count;
}

/* Sends, behind what could not be sent before. */
void mail_out(struct broker *b, uint32_t to, struct tide_mail *m)
{
    m->next = NULL;
    if (b->unsent_head[to] == NULL &&
        post_send(b->config.office, b->config.core, to, m) == TIDE_OK)
        return;
    tide_count(b->counters, COUNTER_mail_full);
    if (b->unsent_head[to] == NULL)
        b->unsent_head[to] = m;
    else
        b->unsent_tail[to]->next = m;
    b->unsent_tail[to] = m;
    b->unsent_count++;
}

static unsigned send_unsent(struct broker *b)
{
    unsigned did = 0;
    for (uint32_t to = 0; b->unsent_count != 0 && to <= b->config.office->core_count; to++) {
        struct tide_mail *m;
        while ((m = b->unsent_head[to]) != NULL) {
            struct tide_mail *next = m->next;
            if (post_send(b->config.office, b->config.core, to, m) != TIDE_OK)
                break;
            b->unsent_head[to] = next;
            b->unsent_count--;
            did++;
        }
    }
    return did;
}

void broker_tell_neighbour(struct broker *b, const struct tide_addr *addr, const uint8_t mac[6], uint8_t source)
{
    for (uint32_t to = 0; to < b->config.office->core_count; to++) {
        struct tide_mail *m = to == b->config.core ? NULL : mail_take(b, MAIL_NEIGHBOUR);
        if (m == NULL)
            continue; /* ourselves, or no letter left: the sibling will ask the wire */
        m->neighbour.addr = *addr;
        m->neighbour.source = source;
        memcpy(m->neighbour.mac, mac, sizeof(m->neighbour.mac));
        mail_out(b, to, m);
    }
}

/* ---- waiting -------------------------------------------------------------------------------- */

static bool slot_has_waiters(const struct slot_waits *w)
{
    if (w->uses != 0)
        return true;
    for (unsigned k = 0; k < WAIT_KIND_COUNT; k++)
        if (!link_is_empty(&w->lists[k]))
            return true;
    return false;
}

static struct slot_waits *slot_enter(struct broker *b, struct partition *p)
{
    struct slot_waits *slot = &b->waits[partition_slot(p)];
    if (slot->partition != p) {
        TIDE_ASSERT(slot->partition == NULL);
        slot->partition = p;
        partition_set_interest(p, b->config.core, true);
        tide_fence(); /* interest before the look: pairs with home_moved */
    }
    return slot;
}

static void slot_leave(struct broker *b, struct slot_waits *slot)
{
    if (slot->partition == NULL || slot_has_waiters(slot))
        return;
    partition_set_interest(slot->partition, b->config.core, false);
    slot->partition = NULL;
}

void slot_use(struct broker *b, struct partition *p)
{
    slot_enter(b, p)->uses++;
}

void slot_unuse(struct broker *b, struct partition *p)
{
    struct slot_waits *slot = &b->waits[partition_slot(p)];
    TIDE_ASSERT(slot->partition == p && slot->uses != 0);
    slot->uses--;
    slot_leave(b, slot);
}

/* The caller reads the marks after this (they may have moved before the interest was seen). */
void wait_add(struct broker *b, struct waiter *w, enum wait_for kind, struct partition *p)
{
    struct slot_waits *slot = slot_enter(b, p);
    w->partition = p;
    link_append(&slot->lists[kind], &w->in_slot);
}

void wait_remove(struct broker *b, struct waiter *w)
{
    struct slot_waits *slot;
    if (w->partition == NULL)
        return;
    slot = &b->waits[partition_slot(w->partition)];
    link_remove(&w->in_slot);
    w->partition = NULL;
    slot_leave(b, slot);
}

void slot_dirty(struct broker *b, uint32_t slot)
{
    if (b->waits[slot].dirty)
        return;
    b->waits[slot].dirty = true;
    b->dirty[b->dirty_count++] = slot;
}

/* Gives every waiter of the slot a look. Completing one may remove others of the same request,
 * so the list is walked by taking its front into a private list. */
static void look_at_slot(struct broker *b, uint32_t slot, struct tide_out *out)
{
    struct slot_waits *s = &b->waits[slot];
    struct partition_look look;
    if (s->partition == NULL)
        return;
    partition_look(s->partition, &look);
    for (enum wait_for k = 0; k <= WAIT_HIGH_WATERMARK; k++) {
        int64_t reached = k == WAIT_COUNTED_END ? look.counted_end : look.high_watermark;
        /* Ends of one list only grow within an epoch: the first that must wait ends the walk. */
        while (!link_is_empty(&s->lists[k])) {
            struct waiter *w = LINK_OF(struct waiter, in_slot, s->lists[k].next);
            if (look.leader && !look.failed && w->leader_epoch == look.leader_epoch &&
                w->end > reached)
                break;
            link_remove(&w->in_slot);
            w->partition = NULL;
            produce_on_mark(b, w, &look, k);
        }
    }
    if (!link_is_empty(&s->lists[WAIT_FETCH])) {
        struct link mine;
        link_init(&mine);
        mine.next = s->lists[WAIT_FETCH].next;
        mine.prev = s->lists[WAIT_FETCH].prev;
        mine.next->prev = &mine;
        mine.prev->next = &mine;
        link_init(&s->lists[WAIT_FETCH]);
        while (!link_is_empty(&mine)) {
            struct waiter *w = LINK_OF(struct waiter, in_slot, mine.next);
            link_remove(&w->in_slot);
            link_append(&s->lists[WAIT_FETCH], &w->in_slot);
            fetch_on_mark(b, w, out);
        }
    }
    slot_leave(b, s); /* for all of them */
}

void broker_on_bell(struct broker *b, const struct tide_time *t, uint32_t slot, struct tide_out *out)
{
    (void)t;
    look_at_slot(b, slot, out);
    feeds_on_moved(b, slot);
    if (b->home[slot].partition != NULL) /* a follower has acknowledged */
        slot_dirty(b, slot);
}

void home_moved(struct broker *b, struct partition *p, struct tide_out *out)
{
    uint32_t slot = partition_slot(p);
    if (!partition_take_moved(p))
        return;
    if (trace_has(b->trace, slot))
        trace_mark(b, p);
    tide_fence(); /* published before the interest is read: pairs with wait_add */
    for (uint32_t core = 0; core < b->config.office->core_count; core++) {
        if (core == b->config.core || !partition_has_interest(p, core))
            continue;
        post_ring(b->config.office, b->config.core, core, slot);
        tide_count(b->counters, COUNTER_doorbells);
    }
    if (b->waits[slot].partition == p)
        look_at_slot(b, slot, out);
    feeds_on_moved(b, slot);
    follows_on_moved(b, slot);
    coordinators_on_moved(b, slot, out);
}

/* ---- the home side of appends ---------------------------------------------------------------- */

static struct partition_append append_of(const struct tide_mail *m)
{
    return (struct partition_append){.records = m->append.records,
                                     .acks = m->append.acks,
                                     .api_version = m->append.api_version,
                                     .transactional_id_given = m->append.transactional_id_given,
                                     .leader_epoch = m->append.leader_epoch,
                                     .arrived_ms = m->append.arrived_ms};
}

/* Sends a compressed batch to a helper, unless one has it or there is none: then later. */
static void check_begin(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct batch_check *c = m->append.check;
    struct partition_append a = append_of(m);
    struct batch_header header;
    struct batch_walk_limits limits;
    if (c != NULL || !partition_wants_check(m->append.partition, &b->time, &a, &header, &limits))
        return;
    if (b->free_check_count == 0 || !tide_out_has_job_room(out)) {
        tide_count(b->counters, COUNTER_produce_check_waits);
        return;
    }
    c = &b->checks[b->free_checks[--b->free_check_count]];
    batch_check_prepare(c, a.records, &header, &limits);
    c->job.owner = b->config.core;
    c->job.cookie = partition_slot(m->append.partition);
    m->append.check = c;
    tide_out_job(out, &c->job);
    tide_count(b->counters, COUNTER_produce_checks);
}

static void check_give(struct broker *b, struct tide_mail *m)
{
    struct batch_check *c = m->append.check;
    if (c == NULL)
        return;
    b->check_came |= b->free_check_count == 0;
    b->free_checks[b->free_check_count++] = (uint32_t)(c - b->checks);
    m->append.check = NULL;
}

/* What waits does not keep receive buffers from others (design 10), as long as there is request memory. */
static void keep_densely(struct broker *b, struct mail_append *a)
{
    struct tide_rope dense;
    if (a->records.len == 0 || a->records.m->pool == b->config.request_pool || !copy_densely(b, a->records, &dense))
        return;
    tide_slice_release(a->records);
    a->records = tide_rope_slice(&dense, 0, dense.len);
}

/* Without room for a job none was asked for: it is tried again in the next turn. */
static void park_slot(struct broker *b, struct slot_waits *s, const struct tide_out *out)
{
    link_append(tide_out_has_job_room(out) ? &b->parked : &b->roused, &s->in_parked);
}

void append_park(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    uint32_t slot = partition_slot(m->append.partition);
    struct slot_waits *s = &b->waits[slot];
    m->next = NULL;
    m->append.parked = true;
    keep_densely(b, &m->append); /* before a helper reads it */
    check_begin(b, m, out);
    if (s->parked_head == NULL) {
        s->parked_head = m;
        park_slot(b, s, out);
    } else {
        s->parked_tail->next = m;
    }
    s->parked_tail = m;
}

static void stamp_appended(struct request *r, const struct mail_append *a)
{
    stage_reach(r->stamps, STAMP_AT_HOME, a->at_home_ns);
    stage_reach(r->stamps, STAMP_APPENDED, a->appended_ns);
}

static void append_answered(struct broker *b, struct tide_mail *m, const struct partition_appended *a)
{
    produce_to_mail(a, &m->append);
    m->append.appended_ns = stage_now(b);
    if (m->from != b->config.core) {
        uint32_t to = m->from;
        m->from = b->config.core; /* tells the answer from the question */
        mail_out(b, to, m);
        return;
    }
    struct request *r = m->append.request;
    struct produce_entry *e = m->append.entry;
    struct partition *p = m->append.partition;
    tide_slice_release(m->append.records);
    stamp_appended(r, &m->append);
    mail_give(m);
    if (request_came_back(b, r))
        produce_on_appended(b, r, e, a);
    slot_unuse(b, p); /* only now it may be freed */
}

void count_append(struct broker *b, uint32_t bytes, const struct partition_appended *a)
{
    if (a->error != 0) {
        tide_count(b->counters, COUNTER_produce_errors);
    } else if (a->duplicate) {
        tide_count(b->counters, COUNTER_produce_duplicates);
    } else {
        tide_count(b->counters, COUNTER_produce_batches);
        tide_count_many(b->counters, COUNTER_produce_bytes, bytes);
        tide_count_many(b->counters, COUNTER_produce_records, (uint64_t)(a->end_offset - a->base_offset));
    }
}

/* As partition_append says it; TIDE_FULL, too, while a helper has not seen all of the batch. */
static enum tide_status append_now(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct partition_append a = append_of(m);
    struct partition *p = m->append.partition;
    struct partition_appended ret;
    struct batch_check *c = m->append.check;
    enum tide_status status;
    if (c != NULL && !c->done)
        return TIDE_FULL;
    if (c != NULL)
        a.walked = &c->walked;
    status = partition_append(p, &b->time, &a, out, &ret);
    if (status != TIDE_OK)
        return status;
    check_give(b, m);
    count_append(b, a.records.len, &ret);
    slot_dirty(b, partition_slot(p));
    append_answered(b, m, &ret);
    return TIDE_OK;
}

/* A letter asks us to append. The partition may have left since: then it says so itself. */
static void on_append(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    uint32_t slot = partition_slot(m->append.partition);
    m->append.at_home_ns = stage_now(b);
    if (b->home[slot].partition != m->append.partition) {
        struct partition_appended gone = {.error = KAFKA_NOT_LEADER_OR_FOLLOWER, .bad_record = -1,
                                          .leader_epoch = -1, .base_offset = -1, .end_offset = -1,
                                          .log_append_time_ms = -1, .log_start_offset = -1};
        append_answered(b, m, &gone);
        return;
    }
    if (b->waits[slot].parked_head != NULL || append_now(b, m, out) != TIDE_OK)
        append_park(b, m, out);
}

/* Something happened that the slot's parked appends may have waited for. */
static void append_rouse(struct broker *b, uint32_t slot)
{
    struct slot_waits *s = &b->waits[slot];
    if (s->parked_head == NULL)
        return;
    link_remove(&s->in_parked);
    link_append(&b->roused, &s->in_parked);
}

/* A write or a job of its log came back. Who waits for a tail buffer waits for its turn instead. */
static void on_progress(struct broker *b, struct partition *p)
{
    if (!log_is_in_line(partition_log(p)))
        append_rouse(b, partition_slot(p));
}

static unsigned try_parked(struct broker *b, struct slot_waits *s, struct tide_out *out)
{
    unsigned did = 0;
    struct tide_mail *m;
    link_remove(&s->in_parked);
    tide_count(b->counters, COUNTER_produce_retries);
    while ((m = s->parked_head) != NULL) {
        struct tide_mail *next = m->next;
        enum tide_status status = append_now(b, m, out);
        if (status == TIDE_AGAIN) /* there was no helper before */
            check_begin(b, m, out);
        if (status != TIDE_OK)
            break;
        s->parked_head = next;
        did++;
    }
    if (s->parked_head != NULL)
        park_slot(b, s, out);
    return did;
}

/* Those who wait for tail buffers, in turn. A follower and a group coordinator stand in the same line, and try in each turn. */
static unsigned serve_line(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    uint32_t slot;
    while ((slot = log_line_next(b->config.log_core)) != UINT32_MAX && b->waits[slot].parked_head != NULL) {
        did += try_parked(b, &b->waits[slot], out);
        if (log_line_next(b->config.log_core) == slot) /* it waits for something else by now */
            log_line_leave(partition_log(b->home[slot].partition));
    }
    return did;
}

static unsigned retry_parked(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    struct link mine;
    if (b->check_came)
        link_join(&b->roused, &b->parked);
    b->check_came = false;
    if (!link_is_empty(&b->parked) && b->time.now_ns >= b->parked_look_ns) {
        b->parked_look_ns = b->time.now_ns + PARKED_LOOK_MS * TIDE_NS_PER_MS;
        for (unsigned i = 0; i < PARKED_LOOK_STEP && !link_is_empty(&b->parked); i++) {
            struct link *l = b->parked.next;
            link_remove(l);
            link_append(&b->roused, l);
        }
    }
    link_init(&mine);
    link_join(&mine, &b->roused);
    while (!link_is_empty(&mine))
        did += try_parked(b, LINK_OF(struct slot_waits, in_parked, mine.next), out);
    return did + serve_line(b, out);
}

/* ---- orders of control ------------------------------------------------------------------------ */

static void forget_home(struct broker *b, uint32_t slot)
{
    for (uint32_t i = 0; i < b->home_count; i++) {
        if (b->homes[i] == slot) {
            b->homes[i] = b->homes[--b->home_count];
            break;
        }
    }
    b->home[slot] = (struct home_slot){0};
}

static void try_release(struct broker *b, uint32_t slot, struct tide_out *out)
{
    struct home_slot *h = &b->home[slot];
    struct tide_mail *m = h->release;
    coordinators_on_release(b, h->partition, out);
    home_resign(b, h->partition);
    follows_on_release(b, slot);
    if (b->waits[slot].parked_head != NULL || !partition_release(h->partition, out)) {
        slot_dirty(b, slot);
        home_moved(b, h->partition, out);
        return;
    }
    home_moved(b, h->partition, out);
    forget_home(b, slot);
    mail_out(b, b->config.office->core_count, m);
}

static void become(struct broker *b, struct partition *p, const struct mail_role *role, struct tide_out *out)
{
    if (!partition_become(p, &b->time, role, out))
        return;
    log_line_leave(partition_log(p));
    append_rouse(b, partition_slot(p));
    follows_on_role(b, p, role);
    home_on_role(b, p, role);
    coordinators_look(b, p, out);
    slot_dirty(b, partition_slot(p));
    home_moved(b, p, out);
}

static void on_order(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct partition *p = m->kind == MAIL_BECOME ? m->become.partition : m->order.partition;
    uint32_t slot = partition_slot(p);
    switch (m->kind) {
    case MAIL_ADOPT:
        TIDE_ASSERT(b->home[slot].partition == NULL);
        b->home[slot] = (struct home_slot){.partition = p};
        b->homes[b->home_count++] = slot;
        partition_adopt(p, b->config.log_core, &b->time);
        home_adopt(b, p);
        follows_adopt(b, p);
        slot_dirty(b, slot);
        break;
    case MAIL_BECOME:
        if (b->home[slot].partition == p)
            become(b, p, &m->become.role, out);
        break;
    case MAIL_CONFIGURE:
        if (b->home[slot].partition == p)
            partition_configure(p, &m->order.config);
        break;
    case MAIL_RELEASE:
        TIDE_ASSERT(b->home[slot].partition == p);
        b->home[slot].release = m;
        try_release(b, slot, out);
        return;
    default:
        break;
    }
    mail_out(b, b->config.office->core_count, m);
}

static void on_answer(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct request *r = m->ask.request;
    struct tide_rope body = m->ask.answer;
    enum ask_result result = m->ask.result;
    mail_give(m);
    if (!request_came_back(b, r)) {
        tide_rope_clear(&body);
        return;
    }
    if (r->session == NULL) {
        tide_rope_clear(&body);
        return;
    }
    if (result == ASK_BODY) {
        tide_rope_join(&r->response, &body);
        r->ask.rerun = false;
    } else if (result == ASK_RERUN) {
        r->ask.rerun = true;
    } else {
        r->close_after = true;
        r->silent = true;
        request_done(b, r);
        return;
    }
    fetch_abandon(b, r);
    request_retry(b, r);
    (void)dispatch_again(r, out);
}

void broker_on_mail(struct broker *b, const struct tide_time *t, struct tide_mail *m, struct tide_out *out)
{
    (void)t;
    switch (m->kind) {
    case MAIL_APPEND:
        if (m->pool != b->mails) {
            on_append(b, m, out);
        } else { /* our own, answered */
            struct request *r = m->append.request;
            struct produce_entry *e = m->append.entry;
            struct partition_appended a;
            struct partition *p = m->append.partition;
            produce_from_mail(&m->append, &a);
            tide_slice_release(m->append.records);
            stamp_appended(r, &m->append);
            mail_give(m);
            if (request_came_back(b, r))
                produce_on_appended(b, r, e, &a);
            slot_unuse(b, p); /* only now it may be freed */
        }
        break;
    case MAIL_TRIM:
        if (m->pool != b->mails)
            trim_begin(b, m, out);
        else
            delete_records_on_answer(b, m);
        break;
    case MAIL_GROUP:
        if (m->pool != b->mails)
            coordinators_on_question(b, m, out);
        else
            groups_api_on_answer(b, m, out);
        break;
    case MAIL_GROUP_CANCEL:
        if (m->pool != b->mails) {
            coordinators_on_cancel(b, m->cancel.question, out);
            mail_out(b, m->from, m);
        } else {
            groups_api_on_cancelled(b, m, out);
        }
        break;
    case MAIL_ADOPT:
    case MAIL_RELEASE:
    case MAIL_CONFIGURE:
    case MAIL_BECOME:
        on_order(b, m, out);
        break;
    case MAIL_SUBSCRIBE:
    case MAIL_UNSUBSCRIBE:
    case MAIL_ISR:
        home_on_mail(b, m, out);
        break;
    case MAIL_QUIESCE:
        b->quiesced = true;
        mail_out(b, b->config.office->core_count, m);
        break;
    case MAIL_FAILED: /* control knows */
        mail_give(m);
        break;
    case MAIL_ROTTEN:
        slot_unuse(b, m->rotten.partition);
        mail_give(m);
        break;
    case MAIL_ASK:
        on_answer(b, m, out);
        break;
    default:
        TIDE_ASSERT(!"a letter of this kind is not for the broker");
    }
}

/* ---- completions ------------------------------------------------------------------------------- */

void broker_on_disk(struct broker *b, const struct tide_time *t, const struct disk_done *done,
                    struct tide_out *out)
{
    uint32_t slot = DISK_ID_SLOT(done->id);
    room_came(b); /* a fetch may have waited for the buffer, or for what was on its way to the disk */
    feeds_on_room(b);
    if (DISK_ID_OWNER(done->id) == DISK_OWNER_AHEAD) {
        log_core_on_disk(b->config.log_core, done, out);
        return;
    }
    if (DISK_ID_OWNER(done->id) == DISK_OWNER_LOG) {
        struct partition *p = slot < TIDE_PARTITIONS_MAX ? b->home[slot].partition : NULL;
        if (!TIDE_EXPECT(p != NULL))
            return;
        partition_on_disk(p, t, done, out);
        if (trace_has(b->trace, slot))
            trace_written(b, p);
        on_progress(b, p);
        slot_dirty(b, slot);
        home_moved(b, p, out);
        return;
    }
    if (slot >= COORDINATOR_READS_FIRST(b)) {
        coordinators_on_disk(b, slot - COORDINATOR_READS_FIRST(b), done, out);
        return;
    }
    if (slot >= FEED_READS_FIRST(b)) {
        peers_on_disk(b, slot - FEED_READS_FIRST(b), done, out);
        return;
    }
    struct request *r = &b->requests[slot];
    if (TIDE_EXPECT(r->state != REQUEST_FREE && r->outstanding != 0))
        fetch_on_disk(b, r, done, out);
}

void broker_on_job(struct broker *b, const struct tide_time *t, struct tide_job *job, struct tide_out *out)
{
    if (job->kind == JOB_LOG_OFFSETS) {
        struct list_entry *e = (struct list_entry *)(uintptr_t)job->cookie;
        struct request *r = e->request;
        if (job->result == -EILSEQ)
            rot_found(b, e->partition, -1);
        slot_unuse(b, e->partition);
        if (request_came_back(b, r))
            list_offsets_on_job(b, r, e);
        return;
    }
    if (job->kind == JOB_BATCH_CHECK) { /* its letter is parked */
        ((struct batch_check *)job)->done = true;
        append_rouse(b, (uint32_t)job->cookie);
        return;
    }
    if (job->kind == JOB_BATCH_UNPACK) {
        coordinators_on_job(b, job, out);
        return;
    }
    uint32_t slot = (uint32_t)job->cookie;
    struct partition *p = slot < TIDE_PARTITIONS_MAX ? b->home[slot].partition : NULL;
    if (!TIDE_EXPECT(p != NULL))
        return;
    partition_on_job(p, t, job, out);
    on_progress(b, p);
    slot_dirty(b, slot);
    home_moved(b, p, out);
}

/* ---- a turn ------------------------------------------------------------------------------------ */

void broker_begin_turn(struct broker *b, const struct tide_time *t, bool receive_buffers_low)
{
    b->time = *t;
    b->looked_ns = t->now_ns;
    b->receive_low = receive_buffers_low;
    link_join(&b->unsent, &b->unsent_later);
    bool was_full = log_core_turn(b->config.log_core, t);
    const struct tide_view *view = atomic_load_explicit(&b->config.publication->now, memory_order_acquire);
    if (was_full || view != b->view) /* reads wait for a turn that has not given them all; requests for the first view */
        room_came(b);
    if (view != b->view || (view != NULL && view->version != b->topic_version)) { /* or another in the place of one that is gone */
        b->topic_version = view != NULL ? view->version : 0;
        b->topic = NULL;
    }
    b->view = view;
}

bool broker_takes_clients(const struct broker *b)
{
    return b->view != NULL && b->view->takes_clients;
}

static void tell_rotten(struct broker *b, struct partition *p, int64_t offset)
{
    struct tide_mail *m = partition_rot_is_noted(p, b->config.core) ? NULL : mail_take(b, MAIL_ROTTEN);
    if (m == NULL)
        return; /* without a letter: it is met again */
    partition_note_rot(p, b->config.core);
    tide_count(b->counters, COUNTER_log_rot);
    m->rotten = (struct mail_rotten){.partition = p, .offset = offset};
    slot_use(b, p);
    mail_out(b, b->config.office->core_count, m);
}

void rot_found(struct broker *b, struct partition *p, int64_t offset)
{
    struct partition_look look;
    partition_look(p, &look);
    if (look.leader || look.follower) /* else its log may have been cut under the read */
        tell_rotten(b, p, offset);
}

/* P11: control closes and recovers what failed. False: there is no letter now. */
static bool tell_failed(struct broker *b, struct home_slot *h)
{
    struct tide_mail *m;
    if (h->failed_told || h->release != NULL || !(h->of_no_use || partition_is_failed(h->partition)))
        return true;
    follows_on_failed(b, partition_slot(h->partition));
    m = mail_take(b, MAIL_FAILED);
    if (m == NULL)
        return false;
    m->failed.partition = h->partition;
    m->failed.disk = log_is_failed(partition_log(h->partition));
    h->failed_told = true;
    tide_count(b->counters, COUNTER_log_failures);
    mail_out(b, b->config.office->core_count, m);
    return true;
}

/* Partitions with something to start: one write each, jobs, the high watermark. */
static unsigned turn_partitions(struct broker *b, struct tide_out *out)
{
    uint32_t count = b->dirty_count;
    uint32_t kept = 0;
    unsigned did = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = b->dirty[i];
        struct home_slot *h = &b->home[slot];
        if (h->partition == NULL) {
            b->waits[slot].dirty = false;
            continue;
        }
        uint32_t ops = out->op_count + out->job_count;
        partition_turn(h->partition, &b->time, out);
        home_turn(b, h->partition);
        coordinators_look(b, h->partition, out);
        did += out->op_count + out->job_count - ops;
        home_moved(b, h->partition, out);
        bool told = tell_failed(b, h);
        if (log_take_rot(partition_log(h->partition)))
            tell_rotten(b, h->partition, -1);
        if (h->release != NULL)
            try_release(b, slot, out);
        if (b->home[slot].partition != NULL &&
            (partition_has_work(b->home[slot].partition) || home_has_work(b, b->home[slot].partition) || h->release != NULL || !told)) {
            b->dirty[kept++] = slot;
        } else {
            b->waits[slot].dirty = false;
        }
    }
    /* What became dirty while we walked stands behind `count`. */
    memmove(&b->dirty[kept], &b->dirty[count], (b->dirty_count - count) * sizeof(*b->dirty));
    b->dirty_count = kept + (b->dirty_count - count);
    return did;
}

static void sweep(struct broker *b)
{
    if (b->home_count == 0 || b->time.now_ns < b->sweep_ns)
        return;
    for (uint32_t i = 0; i < SWEEP_STEP && b->sweep < b->home_count; i++)
        slot_dirty(b, b->homes[b->sweep++]);
    if (b->sweep >= b->home_count) {
        b->sweep = 0;
        b->sweep_ns = b->time.now_ns + SWEEP_INTERVAL_MS * TIDE_NS_PER_MS;
    }
}

static unsigned run_deadlines(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    while (b->heap_count != 0 && b->heap[0]->deadline_ns <= b->time.now_ns && did < DEADLINES_MAX) {
        struct request *r = b->heap[0];
        request_set_deadline(b, r, TIDE_NEVER);
        if (r->api_key == KAFKA_API_PRODUCE)
            produce_on_deadline(b, r);
        else if (r->api_key == KAFKA_API_DELETE_RECORDS)
            delete_records_on_deadline(b, r);
        else if (r->api_key == KAFKA_API_FETCH)
            fetch_on_deadline(b, r, out);
        else
            groups_api_on_deadline(r);
        did++;
    }
    return did;
}

/* Who is refused again goes to the end, so that one who needs more than there is does not keep it from the others. */
static unsigned run_stalled(struct broker *b, unsigned in_vain_max, struct tide_out *out)
{
    unsigned did = 0, in_vain = 0;
    const struct link *last = b->stalled.prev, *l = &b->stalled;
    for (unsigned i = 0; i < READY_STALLED_MAX && in_vain < in_vain_max && l != last; i++) {
        struct session *s = LINK_OF(struct session, in_stalled, b->stalled.next);
        uint32_t before = s->in.len;
        l = &s->in_stalled;
        link_remove(&s->in_stalled);
        session_run(s, out);
        if (s->in.len != before)
            did++;
        else
            in_vain++;
    }
    return did;
}

static unsigned run_retry(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    struct link mine;
    link_init(&mine);
    while (!link_is_empty(&b->retry)) {
        struct link *l = b->retry.next;
        link_remove(l);
        link_append(&mine, l);
    }
    while (!link_is_empty(&mine)) {
        struct request *r = LINK_OF(struct request, in_retry, mine.next);
        link_remove(&r->in_retry);
        (void)dispatch_again(r, out);
        did += !link_is_listed(&r->in_retry) || r->goes_on;
        b->room_came |= r->goes_on;
    }
    return did;
}

/* Those that wait for a pool. What they get on with may have given something back, too. */
static unsigned run_waiting(struct broker *b, struct tide_out *out)
{
    bool all = b->time.now_ns >= b->room_look_ns;
    unsigned did;
    if ((!all && !b->room_came) || (link_is_empty(&b->stalled) && link_is_empty(&b->retry)))
        return 0;
    if (all)
        b->room_look_ns = b->time.now_ns + ROOM_LOOK_MS * TIDE_NS_PER_MS;
    b->room_came = false;
    did = run_stalled(b, all ? READY_STALLED_MAX : STALLED_IN_VAIN_MAX, out);
    did += run_retry(b, out);
    b->room_came |= did != 0;
    return did;
}

/* Receive buffers are short and request memory cannot take them over: the stalest partial
 * request goes (design 10). */
static void evict(struct broker *b)
{
    uint64_t patience = EVICT_AFTER_MS * TIDE_NS_PER_MS;
    bool request_memory_low = rte_mempool_avail_count(b->config.request_pool) <
                              b->config.request_pool->size / 8;
    if (!b->receive_low && !request_memory_low)
        return;
    for (unsigned i = 0; i < EVICT_MAX && !link_is_empty(&b->partial); i++) {
        struct session *s = LINK_OF(struct session, in_partial, b->partial.next);
        if (s->progress_ns + patience > b->time.now_ns) {
            /* The list is in order of first becoming partial; look at the next one next time. */
            link_remove(&s->in_partial);
            link_append(&b->partial, &s->in_partial);
            continue;
        }
        tide_count(b->counters, COUNTER_request_evicted);
        tide_rope_clear(&s->in);
        link_remove(&s->in_partial);
        s->closing = true;
        s->aborted = true;
        session_ready(s);
    }
}

/* Closes connections on which nothing has happened for connections.max.idle.ms; one with a request
 * in progress is not idle. Every session is looked at about once per SWEEP_INTERVAL_MS. */
static void close_idle(struct broker *b)
{
    uint64_t patience = (uint64_t)b->settings->connections_max_idle_ms * TIDE_NS_PER_MS;
    if (b->settings->connections_max_idle_ms < 0 || b->session_count == 0 || b->time.now_ns < b->idle_look_ns)
        return;
    for (uint32_t i = 0; i < IDLE_STEP && b->idle_at < b->config.sessions_max; i++) {
        struct session *s = &b->sessions[b->idle_at++];
        if (!s->in_use || s->closing || s->request_count != 0 || s->out.len != 0 || b->time.now_ns - s->progress_ns < patience)
            continue;
        tide_count(b->counters, COUNTER_sessions_idle);
        tide_rope_clear(&s->in);
        link_remove(&s->in_partial);
        link_remove(&s->in_stalled);
        s->closing = true;
        session_ready(s);
    }
    if (b->idle_at >= b->config.sessions_max) {
        b->idle_at = 0;
        b->idle_look_ns = b->time.now_ns + SWEEP_INTERVAL_MS * TIDE_NS_PER_MS;
    }
}

unsigned broker_turn(struct broker *b, const struct tide_time *t, struct tide_out *out)
{
    unsigned did = 0;
    (void)t;
    if (b->unsent_count != 0)
        did += send_unsent(b);
    did += retry_parked(b, out);
    if (b->trims != NULL)
        did += trim_retry(b, out);
    did += run_waiting(b, out);
    did += run_deadlines(b, out);
    if (!link_is_empty(&b->uncancelled))
        did += groups_api_turn(b, out);
    did += coordinators_turn(b, out);
    sweep(b);
    close_idle(b);
    did += turn_partitions(b, out);
    did += peers_turn(b, out); /* what moved above leaves in this turn */
    if (!link_is_empty(&b->partial))
        evict(b);
    return did;
}

uint64_t broker_deadline_ns(const struct broker *b)
{
    uint64_t soonest = b->heap_count != 0 ? b->heap[0]->deadline_ns : TIDE_NEVER;
    bool again = !link_is_empty(&b->roused) || !link_is_empty(&b->uncancelled) || b->trims != NULL || b->unsent_count != 0;
    if (b->home_count != 0)
        soonest = TIDE_MIN(soonest, b->sweep_ns);
    if (b->session_count != 0 && b->settings->connections_max_idle_ms >= 0)
        soonest = TIDE_MIN(soonest, b->idle_look_ns);
    soonest = TIDE_MIN(soonest, TIDE_MIN(peers_deadline_ns(b), coordinators_deadline_ns(b)));
    if (!link_is_empty(&b->stalled) || !link_is_empty(&b->retry))
        soonest = TIDE_MIN(soonest, b->room_look_ns);
    if (!link_is_empty(&b->parked))
        soonest = TIDE_MIN(soonest, b->parked_look_ns);
    soonest = TIDE_MIN(soonest, log_line_deadline_ns(b->config.log_core));
    if (again) /* what is waited for rings us; this only bounds a wait for a pool */
        soonest = TIDE_MIN(soonest, b->time.now_ns + TIDE_NS_PER_MS);
    if (!link_is_empty(&b->partial))
        soonest = TIDE_MIN(soonest, b->time.now_ns + EVICT_AFTER_MS * TIDE_NS_PER_MS / 4);
    return soonest;
}

void broker_gauges(const struct broker *b, struct broker_gauges *ret)
{
    *ret = (struct broker_gauges){
        .sessions = b->session_count,
        .requests_in_progress = b->config.requests_max - b->free_request_count,
        .mails = b->config.mails_max,
        .mails_free = rte_mempool_avail_count(b->mails),
    };
    peers_gauges(b, ret);
    coordinators_gauges(b, ret);
}

const struct rte_mempool *broker_letters(const struct broker *b)
{
    return b->mails;
}

const struct tide_histogram *broker_stage(const struct broker *b, enum broker_stage stage)
{
    if (stage >= STAGE_DISK_WAIT)
        return log_core_stage(b->config.log_core, stage == STAGE_DISK ? LOG_STAGE_WRITE : LOG_STAGE_WAIT);
    return &b->stages.of[stage];
}

const struct stage_follower *broker_stage_follower(const struct broker *b, uint32_t i)
{
    return &b->stages.followers[i];
}

static void stages_check(const struct broker *b)
{
    uint32_t listed = 0;
    for (const struct link *l = b->free_unsent.next; l != &b->free_unsent; l = l->next)
        listed++;
    for (uint32_t i = 0; i < b->config.sessions_max; i++) {
        const struct session *s = &b->sessions[i];
        if (!s->in_use)
            continue;
        for (const struct link *l = s->unsent.next; l != &s->unsent; l = l->next)
            listed++;
        TIDE_ASSERT(link_is_empty(&s->unsent) || link_is_listed(&s->in_unsent)); /* T2 */
    }
    TIDE_ASSERT(listed == b->config.requests_max); /* T1 */
}

void broker_check(const struct broker *b)
{
    uint32_t open = 0;
    stages_check(b);
    peers_check(b);
    fetch_sessions_check(b->fetch_sessions);
    coordinators_check(b);
    for (uint32_t i = 0; i < b->config.requests_max; i++) {
        const struct request *r = &b->requests[i];
        if (r->state == REQUEST_FREE)
            continue;
        open++;
        TIDE_ASSERT(r->session != NULL || r->outstanding != 0); /* B1 */
    }
    TIDE_ASSERT(open + b->free_request_count == b->config.requests_max);
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++)
        if (slot_has_waiters(&b->waits[i]))
            TIDE_ASSERT(b->waits[i].partition != NULL); /* B4 */
    for (uint32_t i = 0; i < TIDE_PARTITIONS_MAX; i++)
        TIDE_ASSERT((b->waits[i].parked_head != NULL) == link_is_listed(&b->waits[i].in_parked)); /* B5 */
    for (uint32_t i = 1; i < b->heap_count; i++)
        TIDE_ASSERT(b->heap[(i - 1) / 2]->deadline_ns <= b->heap[i]->deadline_ns);
}
