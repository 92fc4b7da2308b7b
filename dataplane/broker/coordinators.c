/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries the group coordinators (coordinators.h): loads them, writes and reads their logs, tells them the marks and
 * the time, and takes letters to them and back.
 */
#include "broker/coordinators.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/peers.h"

#define TO(s) (1u << COORDINATOR_##s)
static const struct {
    const char *name;
    uint32_t next;
} coordinator_states[COORDINATOR_STATE_COUNT] = {
    [COORDINATOR_NONE] = {"none", TO(LOADING) | TO(BROKEN)},
    [COORDINATOR_LOADING] = {"loading", TO(UNPACKING) | TO(COMMITTING) | TO(BROKEN) | TO(ENDING) | TO(NONE)},
    [COORDINATOR_UNPACKING] = {"unpacking", TO(LOADING) | TO(ENDING)},
    [COORDINATOR_COMMITTING] = {"committing", TO(ACTIVE) | TO(NONE)},
    [COORDINATOR_ACTIVE] = {"active", TO(NONE)},
    [COORDINATOR_BROKEN] = {"broken", TO(LOADING) | TO(BROKEN) | TO(NONE)},
    [COORDINATOR_ENDING] = {"ending", TO(NONE)},
};
#undef TO

static void coordinator_move(struct coordinator *c, enum coordinator_state to)
{
    TIDE_ASSERT(coordinator_states[c->state].next & 1u << to);
    c->state = to;
}

static uint32_t slot_of(const struct broker *b, const struct coordinator *c)
{
    return (uint32_t)(c - b->coordinators->by_slot);
}

static struct coordinator *of(const struct broker *b, const struct partition *p)
{
    return &b->coordinators->by_slot[partition_slot(p)];
}

/* Something happens to one of them: the next turn looks at all. A core that has none, or waits for its clients only, pays nothing. */
static void enter(struct broker *b, struct tide_out *out)
{
    b->coordinators->out = out;
    b->coordinators->wake_ns = 0;
}

bool coordinators_create(struct broker *b)
{
    struct coordinators *all = calloc(1, sizeof(*all));
    b->coordinators = all;
    if (all == NULL)
        return false;
    link_init(&all->all);
    all->random.state = b->config.seed;
    all->heap = tide_heap_create((size_t)b->settings->group_memory_bytes);
    /* Untouched until a partition of groups lives there, or has compressed batches. */
    all->by_slot = calloc(TIDE_PARTITIONS_MAX, sizeof(*all->by_slot));
    all->plain.bytes = malloc(COORDINATOR_PLAIN_BYTES);
    all->plain.views = aligned_alloc(_Alignof(struct rte_mbuf), COORDINATOR_PLAIN_VIEWS * sizeof(struct rte_mbuf));
    return all->heap != NULL && all->by_slot != NULL && all->plain.bytes != NULL && all->plain.views != NULL;
}

static void forget_reading(struct broker *b, struct coordinator *c)
{
    tide_rope_clear(&c->loaded);
    tide_rope_clear(&c->read.bytes);
    if (c->read_begun)
        log_read_abandon(b->config.log_core, &c->read);
    c->read_begun = false;
}

/* Letters are forgotten by whoever has sent them, but not what is in them. */
static void forget_groups(struct coordinator *c)
{
    struct groups_answer a;
    groups_resign(c->groups);
    while (groups_next_answer(c->groups, &a)) {
        struct tide_mail *m = a.cookie;
        tide_rope_clear(&a.body);
        tide_rope_clear(&m->group.answer);
    }
    groups_destroy(c->groups);
    c->groups = NULL;
}

void coordinators_forget(struct broker *b)
{
    struct coordinators *all = b->coordinators;
    for (struct link *l = all->all.next; l != &all->all; l = l->next) {
        struct coordinator *c = LINK_OF(struct coordinator, in_all, l);
        if (c->reading)
            log_read_lost(&c->read);
        c->reading = false;
        forget_reading(b, c);
        if (c->groups != NULL)
            forget_groups(c);
        c->parked_head = c->held = NULL;
        c->state = COORDINATOR_NONE;
    }
    link_init(&all->all);
    all->plain.user = NULL;
    all->reading = 0;
    for (struct tide_mail *m = all->lists; m != NULL; m = m->next)
        tide_rope_clear(&m->group.answer);
    all->lists = NULL;
}

void coordinators_destroy(struct broker *b)
{
    if (b->coordinators == NULL)
        return;
    tide_heap_destroy(b->coordinators->heap);
    free(b->coordinators->by_slot);
    free(b->coordinators->plain.bytes);
    free(b->coordinators->plain.views);
    free(b->coordinators);
    b->coordinators = NULL;
}

/* ---- letters back ------------------------------------------------------------------------------------- */

static void send_back(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    m->group.state = MAIL_GROUP_ANSWERED;
    if (m->pool != b->mails)
        mail_out(b, m->from, m);
    else
        groups_api_on_answer(b, m, out);
}

static void refuse(struct broker *b, struct tide_mail *m, int16_t error, struct tide_out *out)
{
    m->group.error = error;
    send_back(b, m, out);
}

static void hold(struct coordinator *c, struct tide_mail *m)
{
    m->group.state = MAIL_GROUP_HELD;
    m->group.held_before = NULL;
    m->group.held_next = c->held;
    if (c->held != NULL)
        c->held->group.held_before = m;
    c->held = m;
}

static void unhold(struct coordinator *c, struct tide_mail *m)
{
    if (m->group.held_before != NULL)
        m->group.held_before->group.held_next = m->group.held_next;
    else
        c->held = m->group.held_next;
    if (m->group.held_next != NULL)
        m->group.held_next->group.held_before = m->group.held_before;
    m->group.state = MAIL_GROUP_SENT;
}

static void list_on(struct broker *b, struct tide_mail *m, struct tide_out *out);

/* Its coordinator is none any more. */
static void turn_away(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    if (m->group.partition != NULL)
        refuse(b, m, KAFKA_NOT_COORDINATOR, out);
    else
        list_on(b, m, out); /* another broker lists its groups */
}

/* Answers that may leave. A question that an answer brings about is asked here as well, and answered by the same loop. */
static void let_go(struct broker *b, struct coordinator *c, unsigned max, struct tide_out *out)
{
    struct groups_answer a;
    unsigned n = 0;
    if (c->answering || c->groups == NULL)
        return;
    c->answering = true;
    c->more = false;
    while (n < max && groups_next_answer(c->groups, &a)) {
        struct tide_mail *m = a.cookie;
        n++;
        unhold(c, m);
        tide_rope_join(&m->group.answer, &a.body);
        m->group.elements += a.elements;
        if (m->group.partition != NULL) {
            send_back(b, m, out);
        } else {
            if (a.error != KAFKA_NOT_COORDINATOR) /* it has moved: another broker lists its groups */
                m->group.error = a.error;
            if (b->coordinators->listing != m)
                list_on(b, m, out);
        }
    }
    c->more = n == max;
    c->answering = false;
}

/* ---- letters that wait -------------------------------------------------------------------------------- */

static void park(struct coordinator *c, struct tide_mail *m)
{
    m->next = NULL;
    m->group.state = MAIL_GROUP_PARKED;
    if (c->parked_head == NULL)
        c->parked_head = m;
    else
        c->parked_tail->next = m;
    c->parked_tail = m;
}

/* NULL: none is parked. */
static struct tide_mail *take_parked(struct coordinator *c)
{
    struct tide_mail *m = c->parked_head;
    if (m != NULL)
        c->parked_head = m->next;
    return m;
}

static void park_first(struct coordinator *c, struct tide_mail *m)
{
    if (c->parked_head == NULL)
        c->parked_tail = m;
    m->next = c->parked_head;
    m->group.state = MAIL_GROUP_PARKED;
    c->parked_head = m;
}

static void unpark(struct coordinator *c, struct tide_mail *m)
{
    struct tide_mail *before = NULL;
    for (struct tide_mail *at = c->parked_head; at != m; at = at->next)
        before = at;
    if (before == NULL)
        c->parked_head = m->next;
    else
        before->next = m->next;
    if (c->parked_tail == m)
        c->parked_tail = before;
}

/* ---- life --------------------------------------------------------------------------------------------- */

static bool leads(const struct coordinator *c)
{
    struct partition_look look;
    partition_look(c->partition, &look);
    return look.leader && !look.failed && look.leader_epoch == c->leader_epoch && partition_has_started(c->partition);
}

static bool may_act(const struct broker *b, const struct coordinator *c)
{
    return c->state == COORDINATOR_ACTIVE && leads(c) && partition_has_lease(c->partition, &b->time);
}

/* The state is one already in which nobody asks any more: who hears the answers may ask at once again. */
static void drop_groups(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    struct tide_mail *m;
    while ((m = take_parked(c)) != NULL)
        refuse(b, m, KAFKA_NOT_COORDINATOR, out);
    if (c->groups == NULL)
        return;
    groups_resign(c->groups);
    let_go(b, c, UINT32_MAX, out);
    groups_destroy(c->groups);
    c->groups = NULL;
    while ((m = c->held) != NULL) { /* there was no memory to write them an answer */
        unhold(c, m);
        turn_away(b, m, out);
    }
}

/* Nobody is out with the buffer: it may be another's. */
static void give_plain(struct broker *b, struct coordinator *c)
{
    if (b->coordinators->plain.user == c)
        b->coordinators->plain.user = NULL;
}

/* Its role has ended, and nothing is out. */
static void leave(struct broker *b, struct coordinator *c)
{
    forget_reading(b, c);
    give_plain(b, c);
    link_remove(&c->in_all);
    coordinator_move(c, COORDINATOR_NONE);
}

/* It holds read buffers, or is about to. */
static bool is_reading(const struct coordinator *c)
{
    return c->read_begun || c->loaded.len != 0;
}

static void end(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    if (c->state == COORDINATOR_NONE || c->state == COORDINATOR_ENDING)
        return;
    b->coordinators->reading -= is_reading(c);
    if (c->reading || c->state == COORDINATOR_UNPACKING) /* what is out has to come back first */
        coordinator_move(c, COORDINATOR_ENDING);
    else
        leave(b, c);
    drop_groups(b, c, out);
}

/* What the log cannot give, or the heap not hold. */
static void give_up(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    forget_reading(b, c);
    give_plain(b, c);
    tide_count(b->counters, COUNTER_group_load_failures);
    c->retry_ns = b->time.now_ns + COORDINATOR_RETRY_MS * TIDE_NS_PER_MS;
    coordinator_move(c, COORDINATOR_BROKEN);
    drop_groups(b, c, out);
}

/* For groups_log: the batch goes into the log as a producer's with acks=all. */
static enum tide_status append(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error)
{
    struct coordinator *c = context;
    struct broker *b = c->broker;
    struct partition_append a = {.records = batch, .acks = -1, .api_version = INT16_MAX, .leader_epoch = c->leader_epoch};
    struct partition_appended ret;
    if (b->coordinators->out == NULL || partition_append(c->partition, &b->time, &a, b->coordinators->out, &ret) != TIDE_OK)
        return TIDE_FULL;
    /* Who waits for the marks is told in the partition's turn: not within a call of the groups. */
    slot_dirty(b, partition_slot(c->partition));
    tide_count(b->counters, ret.error == 0 ? COUNTER_group_appends : COUNTER_group_append_errors);
    *ret_error = ret.error;
    *ret_end = ret.end_offset;
    return TIDE_OK;
}

static void begin(struct broker *b, struct coordinator *c, struct partition *p, int32_t leader_epoch, struct tide_out *out)
{
    struct log *log = partition_log(p);
    struct groups_config config = {.partition = partition_index(p),
                                   .settings = b->settings,
                                   .heap = b->coordinators->heap,
                                   .pool = b->config.response_pool,
                                   .log = {.context = c, .append = append},
                                   .names = &b->coordinators->names,
                                   .seed = tide_random_u64(&b->coordinators->random)};
    if (c->state == COORDINATOR_NONE) {
        *c = (struct coordinator){.broker = b, .partition = p, .leader_epoch = leader_epoch};
        link_append(&b->coordinators->all, &c->in_all);
    }
    c->began_ns = b->time.now_ns;
    c->load_at = log_start_offset(log);
    c->load_end = log_next_offset(log); /* nobody else writes: of this epoch there is nothing that these groups have not seen */
    c->groups = groups_create(&config);
    if (c->groups == NULL)
        give_up(b, c, out);
    else
        coordinator_move(c, COORDINATOR_LOADING);
}

static bool is_of_groups(const struct partition *p)
{
    return strcmp(partition_topic(p), TIDE_OFFSETS_TOPIC) == 0;
}

void coordinators_look(struct broker *b, struct partition *p, struct tide_out *out)
{
    uint32_t slot = partition_slot(p);
    struct coordinator *c = of(b, p);
    struct home_slot *h = &b->home[slot];
    struct partition_look look;
    if (c->state == COORDINATOR_NONE && !is_of_groups(p))
        return;
    b->coordinators->out = out;
    if (c->state != COORDINATOR_NONE && (c->partition != p || !leads(c))) {
        enter(b, out);
        end(b, c, out);
    }
    if (c->state != COORDINATOR_NONE || h->release != NULL || !partition_has_started(p))
        return;
    enter(b, out);
    partition_look(p, &look);
    begin(b, c, p, look.leader_epoch, out);
}

void coordinators_on_release(struct broker *b, struct partition *p, struct tide_out *out)
{
    struct coordinator *c = of(b, p);
    if (c->partition != p)
        return;
    enter(b, out);
    end(b, c, out);
}

/* ---- loading ------------------------------------------------------------------------------------------ */

/* Everything is read, and the epoch's start is committed. */
static void on_marks(struct broker *b, struct coordinator *c)
{
    struct partition_look look;
    partition_look(c->partition, &look);
    if (!look.leader || look.failed || look.leader_epoch != c->leader_epoch || !partition_has_lease(c->partition, &b->time))
        return;
    if (c->state == COORDINATOR_COMMITTING && look.epoch_committed && look.high_watermark >= c->load_end) {
        coordinator_move(c, COORDINATOR_ACTIVE);
        groups_loaded(c->groups, &b->time, c->load_end);
        tide_count(b->counters, COUNTER_group_loads);
        tide_count_many(b->counters, COUNTER_group_load_ms, (b->time.now_ns - c->began_ns) / TIDE_NS_PER_MS);
    }
    if (c->state == COORDINATOR_ACTIVE)
        groups_on_committed(c->groups, &b->time, look.high_watermark);
}

void coordinators_on_moved(struct broker *b, uint32_t slot, struct tide_out *out)
{
    struct coordinator *c = &b->coordinators->by_slot[slot];
    if (c->state != COORDINATOR_COMMITTING && c->state != COORDINATOR_ACTIVE)
        return;
    enter(b, out);
    on_marks(b, c);
    if (may_act(b, c))
        let_go(b, c, COORDINATOR_ANSWERS_MAX, out);
}

/* Gives the batch to a helper. TIDE_AGAIN: it has it, or the buffer is another's, or there is no room for a job. */
static enum tide_status unpack(struct broker *b, struct coordinator *c, const struct batch_header *h, struct tide_slice batch,
                               struct tide_out *out)
{
    struct coordinator_plain *plain = &b->coordinators->plain;
    if (plain->user != NULL || !tide_out_has_job_room(out))
        return TIDE_AGAIN;
    plain->user = c;
    plain->left = -1;
    plain->count = h->record_count;
    batch_unpack_prepare(&plain->unpack, batch, h, plain->bytes, COORDINATOR_PLAIN_BYTES);
    plain->unpack.job.owner = b->config.core;
    plain->unpack.job.cookie = slot_of(b, c);
    slot_use(b, c->partition);
    tide_out_job(out, &plain->unpack.job);
    tide_count(b->counters, COUNTER_group_batches_unpacked);
    coordinator_move(c, COORDINATOR_UNPACKING);
    return TIDE_AGAIN;
}

/* What came out, as a slice. */
static struct tide_slice look_at_plain(struct coordinator_plain *plain)
{
    uint32_t len = (uint32_t)plain->unpack.len;
    for (uint32_t at = 0, i = 0; at < len; at += COORDINATOR_PLAIN_VIEW, i++) {
        struct rte_mbuf *m = &plain->views[i];
        memset(m, 0, sizeof(*m));
        m->buf_addr = plain->bytes + at;
        m->data_len = (uint16_t)TIDE_MIN(len - at, (uint32_t)COORDINATOR_PLAIN_VIEW);
        m->next = len - at > COORDINATOR_PLAIN_VIEW ? m + 1 : NULL;
    }
    return len == 0 ? (struct tide_slice){0} : (struct tide_slice){.m = plain->views, .len = len};
}

/* Records that a helper has unpacked, as many as the turn still takes. TIDE_AGAIN: there are more. TIDE_FULL: the heap is
 * full, or the helper had no memory. */
static enum tide_status replay_plain(struct broker *b, struct coordinator *c)
{
    struct coordinator_plain *plain = &b->coordinators->plain;
    int64_t *turn = &b->coordinators->load_left;
    if (plain->unpack.job.result == -ENOMEM)
        return TIDE_FULL;
    if (plain->unpack.job.result != 0) {
        tide_count(b->counters, COUNTER_group_batches_skipped);
    } else {
        if (plain->left < 0) {
            plain->records = look_at_plain(plain);
            plain->left = TIDE_MAX(plain->count, 0);
        }
        uint32_t before = plain->records.len;
        if (groups_replay_records(c->groups, &b->time, &plain->records, &plain->left, (uint32_t)*turn) != TIDE_OK)
            return TIDE_FULL;
        *turn -= before - plain->records.len;
        if (plain->left != 0)
            return TIDE_AGAIN;
    }
    give_plain(b, c);
    return TIDE_OK;
}

/* Kafka's transactions do not come to an end here: their batches are left out as plain ones are. */
static bool wants_unpacking(const struct batch_header *h)
{
    return batch_codec_of(h) != CODEC_NONE && h->magic == 2 && (h->attributes & (BATCH_TRANSACTIONAL | BATCH_CONTROL)) == 0;
}

/* The batch at the front of what was read. TIDE_BAD: it is none. TIDE_AGAIN: it is not done. */
static enum tide_status replay(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    struct batch_header h;
    struct tide_slice batch = tide_rope_slice(&c->loaded, 0, c->loaded.len);
    enum tide_status status;
    if (!batch_header_read(batch, &h) || h.batch_length < BATCH_LENGTH_MIN || batch_size(&h) > batch.len)
        return TIDE_BAD;
    batch.len = batch_size(&h);
    if (b->coordinators->plain.user == c)
        status = replay_plain(b, c);
    else if (wants_unpacking(&h))
        status = unpack(b, c, &h, batch, out);
    else
        status = groups_replay(c->groups, &b->time, batch);
    if (status != TIDE_OK)
        return status;
    c->load_at = TIDE_MAX(c->load_at, batch_last_offset(&h) + 1);
    b->coordinators->load_left -= batch.len;
    tide_count_many(b->counters, COUNTER_group_load_bytes, batch.len);
    tide_rope_drop(&c->loaded, batch.len);
    return TIDE_OK;
}

/* More of the log. TIDE_OK: there are bytes, or it is at its end. TIDE_AGAIN and TIDE_FULL: not now. */
static enum tide_status read_on(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    struct log *log = partition_log(c->partition);
    enum tide_status status;
    if (!c->read_begun) {
        c->read = (struct log_read){.offset = c->load_at, .end_offset = c->load_end, .max_bytes = COORDINATOR_LOAD_READ_BYTES, .at_least_one = true};
        c->read_begun = true;
    }
    status = log_read(log, b->config.log_core, COORDINATOR_READS_FIRST(b) + slot_of(b, c), &c->read, out);
    if (status == TIDE_FULL)
        return status;
    if (status == TIDE_AGAIN) {
        c->reading = true;
        slot_use(b, c->partition);
        return status;
    }
    c->read_begun = false;
    if (status == TIDE_OK) {
        tide_rope_join(&c->loaded, &c->read.bytes);
        if (c->loaded.len == 0) /* the last records of it were compacted away */
            c->load_at = c->load_end;
    } else if (status == TIDE_ABSENT && c->load_at < log_start_offset(log)) {
        c->load_at = log_start_offset(log);
        status = TIDE_OK;
    } else if (status == TIDE_BAD) {
        rot_found(b, c->partition, c->load_at);
    }
    return status;
}

/* A slice. True when something was done. */
static bool load_some(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    int64_t *left = &b->coordinators->load_left;
    int64_t before_all = *left;
    enum tide_status status = TIDE_OK;
    while (status == TIDE_OK && *left > 0 && c->load_at < c->load_end) {
        if (c->loaded.len == 0) {
            status = read_on(b, c, out);
            continue;
        }
        status = replay(b, c, out);
        if (status == TIDE_FULL) {
            give_up(b, c, out);
            return true;
        }
    }
    if (status == TIDE_AGAIN || status == TIDE_FULL)
        return c->reading || c->state == COORDINATOR_UNPACKING || *left != before_all;
    if (status != TIDE_OK) {
        give_up(b, c, out);
    } else if (c->load_at >= c->load_end) {
        tide_rope_clear(&c->loaded); /* nothing is left */
        coordinator_move(c, COORDINATOR_COMMITTING);
        on_marks(b, c);
    }
    return true;
}

/* Few at a time: they share the read buffers with everybody else. */
static bool load(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    struct coordinators *all = b->coordinators;
    bool before = is_reading(c);
    bool did;
    if (!before && all->reading >= COORDINATOR_LOADS_MAX)
        return false;
    did = load_some(b, c, out);
    all->reading = all->reading - before + is_reading(c);
    return did;
}

/* What was out is back, and the next turn goes on with it. */
static void came_back(struct broker *b, struct coordinator *c)
{
    struct partition *p = c->partition;
    uint32_t slot = slot_of(b, c);
    b->coordinators->wake_ns = 0;
    if (c->state == COORDINATOR_ENDING) {
        leave(b, c);
        if (b->home[slot].partition == p)
            slot_dirty(b, slot); /* it may lead again */
    }
    slot_unuse(b, p);
}

void coordinators_on_disk(struct broker *b, uint32_t slot, const struct disk_done *done, struct tide_out *out)
{
    struct coordinator *c = slot < TIDE_PARTITIONS_MAX ? &b->coordinators->by_slot[slot] : NULL;
    if (!TIDE_EXPECT(c != NULL && c->reading && c->read.disk_id == done->id))
        return;
    c->reading = false;
    log_read_on_disk(&c->read, done);
    came_back(b, c);
}

void coordinators_on_job(struct broker *b, struct tide_job *job, struct tide_out *out)
{
    struct coordinator *c = b->coordinators->plain.user;
    if (!TIDE_EXPECT(c != NULL && job == &b->coordinators->plain.unpack.job))
        return;
    if (c->state == COORDINATOR_UNPACKING)
        coordinator_move(c, COORDINATOR_LOADING);
    came_back(b, c);
}

/* ---- questions ---------------------------------------------------------------------------------------- */

static struct groups_question question_of(const struct broker *b, struct tide_mail *m)
{
    struct groups_question q = {.api_key = m->group.api_key,
                                .version = m->group.api_version,
                                .element = m->group.element,
                                .client_id = m->group.client_id,
                                .client_host = m->group.client_host,
                                .view = b->view,
                                .cookie = m};
    wire_cursor_init(&q.body, m->group.body);
    return q;
}

static enum tide_status ask(struct broker *b, struct coordinator *c, struct tide_mail *m)
{
    struct groups_question q = question_of(b, m);
    enum tide_status status;
    hold(c, m);
    status = groups_ask(c->groups, &b->time, &q);
    if (status != TIDE_OK)
        unhold(c, m);
    tide_count(b->counters, status == TIDE_OK ? COUNTER_group_questions : COUNTER_group_waits);
    return status;
}

/* 0: it can be asked. */
static int16_t reason_against(const struct broker *b, struct partition *p, const struct coordinator *c)
{
    if (b->home[partition_slot(p)].partition != p || !partition_is_leader(p) || !partition_has_lease(p, &b->time))
        return KAFKA_NOT_COORDINATOR;
    if (c->state == COORDINATOR_BROKEN)
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    return may_act(b, c) ? 0 : KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
}

/* TIDE_FULL: it is to be asked again. */
static enum tide_status try_to_ask(struct broker *b, struct coordinator *c, struct tide_mail *m, struct tide_out *out)
{
    enum tide_status status = ask(b, c, m);
    if (status == TIDE_BAD) {
        m->group.malformed = true;
        send_back(b, m, out);
        return TIDE_OK;
    }
    return status;
}

/* ListGroups: one coordinator after the other, by slots. The next one after those that were asked, NULL none. */
static struct coordinator *next_to_list(struct broker *b, const struct tide_mail *m)
{
    struct coordinator *next = NULL;
    for (struct link *l = b->coordinators->all.next; l != &b->coordinators->all; l = l->next) {
        struct coordinator *c = LINK_OF(struct coordinator, in_all, l);
        if (slot_of(b, c) >= m->group.next_slot && c->state != COORDINATOR_ENDING && (next == NULL || c < next))
            next = c;
    }
    return next;
}

/* True: it is asked, and its answer is not there yet, or it waits for room. */
static bool list_one(struct broker *b, struct coordinator *c, struct tide_mail *m, struct tide_out *out)
{
    int16_t error = reason_against(b, c->partition, c);
    enum tide_status status = TIDE_OK;
    if (error == 0)
        status = ask(b, c, m);
    if (status == TIDE_FULL) {
        m->group.state = MAIL_GROUP_PARKED;
        m->next = b->coordinators->lists;
        b->coordinators->lists = m;
        return true;
    }
    m->group.next_slot = slot_of(b, c) + 1;
    m->group.malformed = status != TIDE_OK;
    if (error != 0 && error != KAFKA_NOT_COORDINATOR)
        m->group.error = error;
    if (error == 0 && status == TIDE_OK)
        let_go(b, c, COORDINATOR_ANSWERS_MAX, out);
    return m->group.state == MAIL_GROUP_HELD && error == 0 && status == TIDE_OK;
}

static void list_on(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct tide_mail *outer = b->coordinators->listing;
    struct coordinator *c;
    bool waits = false;
    b->coordinators->listing = m;
    while (!waits && m->group.error == 0 && !m->group.malformed && (c = next_to_list(b, m)) != NULL)
        waits = list_one(b, c, m, out);
    b->coordinators->listing = outer;
    if (waits)
        return;
    if (m->group.error != 0)
        tide_rope_clear(&m->group.answer);
    send_back(b, m, out);
}

void coordinators_on_question(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct partition *p = m->group.partition;
    struct coordinator *c;
    int16_t error;
    enter(b, out);
    if (p == NULL) {
        list_on(b, m, out);
        return;
    }
    c = of(b, p);
    error = reason_against(b, p, c);
    if (error != 0) {
        refuse(b, m, error, out);
        return;
    }
    if (c->parked_head != NULL || try_to_ask(b, c, m, out) != TIDE_OK)
        park(c, m);
    let_go(b, c, COORDINATOR_ANSWERS_MAX, out);
}

void coordinators_on_cancel(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct coordinator *c = m->group.partition != NULL ? of(b, m->group.partition) : NULL;
    if (c == NULL || m->group.state == MAIL_GROUP_ANSWERED || m->group.state == MAIL_GROUP_SENT)
        return; /* it is on its way back, or will be soon */
    enter(b, out);
    tide_count(b->counters, COUNTER_group_cancels);
    if (m->group.state == MAIL_GROUP_PARKED) {
        unpark(c, m);
    } else {
        groups_cancel(c->groups, m);
        unhold(c, m);
    }
    refuse(b, m, KAFKA_NOT_COORDINATOR, out);
}

static unsigned retry_parked(struct broker *b, struct coordinator *c, struct tide_out *out)
{
    unsigned did = 0;
    struct tide_mail *m;
    while ((m = take_parked(c)) != NULL) {
        if (try_to_ask(b, c, m, out) != TIDE_OK) {
            park_first(c, m);
            break;
        }
        did++;
    }
    return did;
}

static unsigned retry_lists(struct broker *b, struct tide_out *out)
{
    struct tide_mail *m = b->coordinators->lists;
    unsigned did = 0;
    b->coordinators->lists = NULL;
    while (m != NULL) {
        struct tide_mail *next = m->next;
        list_on(b, m, out);
        did++;
        m = next;
    }
    return did;
}

/* ---- a turn ------------------------------------------------------------------------------------------- */

static unsigned turn_active(struct broker *b, struct coordinator *c, bool view_changed, struct tide_out *out)
{
    bool due = view_changed || groups_deadline_ns(c->groups) <= b->time.now_ns;
    unsigned did = 0;
    if ((!due && c->held == NULL && c->parked_head == NULL) || !may_act(b, c))
        return 0;
    if (due) {
        groups_turn(c->groups, &b->time, b->view);
        did++;
    }
    did += retry_parked(b, c, out);
    let_go(b, c, COORDINATOR_ANSWERS_MAX, out);
    return did;
}

static void count_groups(struct broker *b)
{
    struct coordinators *all = b->coordinators;
    if (b->time.now_ns < all->gauges_ns) {
        all->wake_ns = TIDE_MIN(all->wake_ns, all->gauges_ns);
        return;
    }
    all->gauges_ns = b->time.now_ns + COORDINATOR_GAUGES_MS * TIDE_NS_PER_MS;
    all->gauges = (struct groups_gauges){0};
    all->active = all->loading = 0;
    for (struct link *l = all->all.next; l != &all->all; l = l->next) {
        struct coordinator *c = LINK_OF(struct coordinator, in_all, l);
        struct groups_gauges g;
        all->active += c->state == COORDINATOR_ACTIVE;
        all->loading += c->state == COORDINATOR_LOADING || c->state == COORDINATOR_UNPACKING || c->state == COORDINATOR_COMMITTING ||
                        c->state == COORDINATOR_BROKEN;
        if (c->groups == NULL)
            continue;
        groups_gauges(c->groups, &g);
        all->gauges.groups += g.groups;
        all->gauges.members += g.members;
        all->gauges.parked += g.parked;
        all->gauges.offsets += g.offsets;
        all->gauges.skipped_records += g.skipped_records;
    }
}

/* 0: in every turn, for a pool, a buffer, others that are read, or an answer. */
static uint64_t next_look(const struct broker *b, const struct coordinator *c)
{
    uint64_t now = b->time.now_ns;
    switch (c->state) {
    case COORDINATOR_LOADING:
        return c->reading ? TIDE_NEVER : 0;
    case COORDINATOR_COMMITTING: /* a lease comes back without a sound */
        return now + COORDINATOR_LEASE_MS * TIDE_NS_PER_MS;
    case COORDINATOR_BROKEN:
        return c->retry_ns;
    case COORDINATOR_ACTIVE: /* what is overdue waits for the lease */
        return c->held != NULL || c->parked_head != NULL ? 0 : TIDE_MAX(groups_deadline_ns(c->groups), now + TIDE_NS_PER_MS);
    default:
        return TIDE_NEVER;
    }
}

unsigned coordinators_turn(struct broker *b, struct tide_out *out)
{
    struct coordinators *all = b->coordinators;
    bool view_changed = b->view != NULL && (b->view != all->seen || b->view->version != all->seen_version);
    unsigned did = 0;
    if (!view_changed && b->time.now_ns < all->wake_ns)
        return 0;
    all->wake_ns = TIDE_NEVER;
    all->out = out;
    all->load_left = COORDINATOR_LOAD_TURN_BYTES;
    if (all->lists != NULL)
        did += retry_lists(b, out);
    for (struct link *l = all->all.next, *next = l->next; l != &all->all; l = next, next = l->next) {
        struct coordinator *c = LINK_OF(struct coordinator, in_all, l);
        if (c->state == COORDINATOR_LOADING && !c->reading)
            did += load(b, c, out);
        else if (c->state == COORDINATOR_COMMITTING)
            on_marks(b, c);
        else if (c->state == COORDINATOR_BROKEN && c->retry_ns <= b->time.now_ns)
            begin(b, c, c->partition, c->leader_epoch, out);
        else if (c->state == COORDINATOR_ACTIVE)
            did += turn_active(b, c, view_changed, out);
        all->wake_ns = TIDE_MIN(all->wake_ns, next_look(b, c));
    }
    if (all->lists != NULL)
        all->wake_ns = 0;
    count_groups(b);
    if (b->view != NULL) {
        all->seen = b->view;
        all->seen_version = b->view->version;
    }
    return did;
}

uint64_t coordinators_deadline_ns(const struct broker *b)
{
    const struct coordinators *all = b->coordinators;
    uint64_t soonest = TIDE_NEVER;
    if (all->wake_ns != 0)
        return all->wake_ns;
    if (all->lists != NULL)
        return b->time.now_ns + TIDE_NS_PER_MS;
    for (const struct link *l = all->all.next; l != &all->all; l = l->next) {
        const struct coordinator *c = LINK_OF(const struct coordinator, in_all, l);
        bool waits = (c->state == COORDINATOR_LOADING && !c->reading) || c->parked_head != NULL || c->more;
        uint64_t at = waits ? b->time.now_ns + TIDE_NS_PER_MS : next_look(b, c);
        if (at == 0) /* letters are held: what answers them is an event, or the time */
            at = TIDE_MAX(groups_deadline_ns(c->groups), b->time.now_ns + TIDE_NS_PER_MS);
        soonest = TIDE_MIN(soonest, at);
    }
    return soonest;
}

void coordinators_gauges(const struct broker *b, struct broker_gauges *ret)
{
    const struct coordinators *all = b->coordinators;
    ret->groups = all->gauges.groups;
    ret->group_members = all->gauges.members;
    ret->group_waits = all->gauges.parked;
    ret->group_offsets = all->gauges.offsets;
    ret->group_skipped_records = all->gauges.skipped_records;
    ret->group_heap_bytes = tide_heap_bytes(all->heap);
    ret->group_heap_free_bytes = tide_heap_free_bytes(all->heap);
    ret->coordinators = all->active;
    ret->coordinators_loading = all->loading;
}

static void check_plain(const struct coordinators *all)
{
    const struct coordinator *c = all->plain.user;
    if (c == NULL)
        return;
    TIDE_ASSERT(!c->reading); /* C4 */
    TIDE_ASSERT(c->loaded.len != 0); /* C4 */
    TIDE_ASSERT(c->state == COORDINATOR_UNPACKING || c->state == COORDINATOR_ENDING || c->state == COORDINATOR_LOADING); /* C4 */
}

void coordinators_check(const struct broker *b)
{
    const struct coordinators *all = b->coordinators;
    uint32_t reading = 0;
    for (const struct link *l = all->all.next; l != &all->all; l = l->next) {
        const struct coordinator *c = LINK_OF(const struct coordinator, in_all, l);
        bool has = c->state == COORDINATOR_LOADING || c->state == COORDINATOR_UNPACKING || c->state == COORDINATOR_COMMITTING ||
                   c->state == COORDINATOR_ACTIVE;
        TIDE_ASSERT(c->state != COORDINATOR_UNPACKING || all->plain.user == c); /* C4 */
        TIDE_ASSERT(c->state != COORDINATOR_NONE);
        TIDE_ASSERT((c->groups != NULL) == has); /* C1 */
        if (c->state != COORDINATOR_ENDING)
            TIDE_ASSERT(b->home[slot_of(b, c)].partition == c->partition); /* C2 */
        TIDE_ASSERT(c->parked_head == NULL || c->state == COORDINATOR_ACTIVE); /* C3 */
        TIDE_ASSERT(c->held == NULL || c->state == COORDINATOR_ACTIVE);        /* C3 */
        reading += c->state != COORDINATOR_ENDING && is_reading(c);
        if (c->groups != NULL)
            groups_check(c->groups);
    }
    TIDE_ASSERT(reading == all->reading);
    check_plain(all);
}
