/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/stream.h"

#include "kafka/batch.h"

#define TO(s) (1u << STREAM_##s)
static const struct {
    const char *name;
    uint32_t next;
} stream_states[STREAM_STATE_COUNT] = {
    [STREAM_GREETING] = {"greeting", TO(OPEN) | TO(CLOSED)},
    [STREAM_OPEN] = {"open", TO(CLOSED)},
    [STREAM_CLOSED] = {"closed", 0},
};

static void stream_move(struct stream *s, enum stream_state to)
{
    TIDE_ASSERT(stream_states[s->state].next & 1u << to);
    s->state = to;
    if (to == STREAM_CLOSED)
        s->version = 0;
    stream_check(s);
}

/* ---- both ends ---------------------------------------------------------------------------------- */

static enum tide_status greet(struct stream *s)
{
    enum tide_status status = peer_put_hello(&s->out, s->config.pool, &s->ours);
    s->greeted = status == TIDE_OK;
    return status;
}

enum tide_status stream_init(struct stream *s, uint64_t now_ns, const struct stream_config *config, const struct peer_hello *ours)
{
    *s = (struct stream){.config = *config, .ours = *ours, .heard_ns = now_ns, .state = STREAM_GREETING};
    s->beat_ns = now_ns + config->beat_ms * TIDE_NS_PER_MS;
    return config->end == STREAM_FOLLOWER ? greet(s) : TIDE_OK;
}

void stream_deinit(struct stream *s)
{
    tide_rope_clear(&s->in);
    tide_rope_clear(&s->out);
}

/* A message that is not whole must not sit on receive buffers for long. Without memory it stays where it
 * is: the rest of it is on the way, and peers have a reserve of receive buffers. */
static void make_dense(struct stream *s)
{
    struct tide_rope dense = {0};
    struct tide_slice all;
    const uint8_t *piece;
    uint32_t n;
    if (s->in.len == 0 || s->in.tail->pool == s->config.dense_pool)
        return;
    all = tide_rope_slice(&s->in, 0, s->in.len);
    while ((n = tide_slice_next(&all, &piece)) != 0) {
        if (tide_rope_copy_in(&dense, s->config.dense_pool, piece, n) != TIDE_OK) {
            tide_rope_clear(&dense);
            return;
        }
    }
    tide_rope_clear(&s->in);
    s->in = dense;
}

void stream_on_bytes(struct stream *s, uint64_t now_ns, struct tide_rope *bytes, bool receive_low)
{
    if (s->state == STREAM_CLOSED) {
        tide_rope_clear(bytes);
        return;
    }
    s->heard_ns = now_ns;
    /* Behind a dense part of a message its rest is copied, so that it is copied once. */
    if (s->in.tail != NULL && s->in.tail->pool == s->config.dense_pool) {
        struct tide_slice all = tide_rope_slice(bytes, 0, bytes->len);
        const uint8_t *piece;
        uint32_t n;
        while ((n = tide_slice_next(&all, &piece)) != 0) {
            if (tide_rope_copy_in(&s->in, s->config.dense_pool, piece, n) != TIDE_OK)
                break;
            tide_rope_drop(bytes, n);
        }
    }
    tide_rope_join(&s->in, bytes);
    if (s->in.len > STREAM_DENSE_ABOVE || receive_low) {
        int64_t front = peer_front(&s->in, s->config.message_max);
        if (front > s->in.len)
            make_dense(s);
    }
}

/* Which messages this end may hear, and when. */
static bool is_expected(const struct stream *s, const struct peer_message *m)
{
    bool leader = s->config.end == STREAM_LEADER;
    if (s->state == STREAM_GREETING)
        return !s->heard_hello && (m->kind == PEER_HELLO || (!leader && m->kind == PEER_REFUSED));
    switch (m->kind) {
    case PEER_SUBSCRIBE:
    case PEER_ACK:
    case PEER_UNSUBSCRIBE: return leader;
    case PEER_TRUNCATE:
    case PEER_GRANTED:
    case PEER_APPEND:
    case PEER_BEAT:
    case PEER_REFUSED: return !leader;
    default: return false;
    }
}

enum stream_step stream_next(struct stream *s, struct peer_message *ret)
{
    int64_t front;
    if (s->state == STREAM_CLOSED)
        return STREAM_STEP_BAD;
    tide_rope_drop(&s->in, s->taken);
    s->taken = 0;
    front = peer_front(&s->in, s->state == STREAM_OPEN ? s->config.message_max : PEER_SMALL_MAX);
    if (front == 0 || (front > 0 && s->in.len < front))
        return STREAM_STEP_MORE;
    if (front < 0 || peer_read(tide_rope_slice(&s->in, 0, (uint32_t)front), s->version, ret) != TIDE_OK || !is_expected(s, ret)) {
        stream_move(s, STREAM_CLOSED);
        return STREAM_STEP_BAD;
    }
    s->taken = (uint32_t)front;
    if (ret->kind == PEER_HELLO) {
        s->heard_hello = true;
        s->theirs = ret->hello;
    }
    return STREAM_STEP_MESSAGE;
}

struct tide_slice stream_message_bytes(const struct stream *s)
{
    return tide_rope_slice(&s->in, 0, s->taken);
}

enum tide_status stream_accept(struct stream *s, uint64_t now_ns)
{
    uint8_t version = peer_version_of(&s->theirs, s->ours.version_min, s->ours.version_max);
    TIDE_ASSERT(s->state == STREAM_GREETING && s->heard_hello);
    if (version == 0)
        return TIDE_REFUSED;
    if (!s->greeted && greet(s) != TIDE_OK)
        return TIDE_FULL;
    s->version = version;
    s->beat_ns = now_ns + s->config.beat_ms * TIDE_NS_PER_MS;
    stream_move(s, STREAM_OPEN);
    return TIDE_OK;
}

void stream_refuse(struct stream *s, int16_t error)
{
    const struct peer_refused r = {.tag = PEER_TAG_NONE, .error = error, .leader_epoch = -1};
    uint8_t version = s->version != 0 ? s->version : s->ours.version_min;
    if (s->state == STREAM_CLOSED)
        return;
    if (s->config.end == STREAM_LEADER)
        (void)!peer_put_refused(&s->out, s->config.pool, version, &r);
    stream_move(s, STREAM_CLOSED);
}

void stream_close(struct stream *s)
{
    if (s->state != STREAM_CLOSED)
        stream_move(s, STREAM_CLOSED);
}

bool stream_is_silent(const struct stream *s, uint64_t now_ns)
{
    return now_ns >= s->heard_ns + s->config.timeout_ms * TIDE_NS_PER_MS;
}

uint64_t stream_deadline_ns(const struct stream *s)
{
    uint64_t silent = s->heard_ns + s->config.timeout_ms * TIDE_NS_PER_MS;
    if (s->state == STREAM_CLOSED)
        return TIDE_NEVER;
    return s->state == STREAM_OPEN && s->config.end == STREAM_LEADER ? TIDE_MIN(silent, s->beat_ns) : silent;
}

void stream_check(const struct stream *s)
{
    TIDE_ASSERT((s->version != 0) == (s->state == STREAM_OPEN)); /* S1 */
    TIDE_ASSERT(s->state != STREAM_OPEN || (s->greeted && s->heard_hello));
    TIDE_ASSERT(s->taken <= s->in.len); /* S2 */
}

/* ---- the leader's side ----------------------------------------------------------------------------- */

void feed_init(struct feed *f, struct log *log, int32_t tag, uint32_t number, int32_t leader_epoch, int64_t next_offset)
{
    *f = (struct feed){.tag = tag, .number = number, .leader_epoch = leader_epoch, .log = log, .next_offset = next_offset,
                       .told_high_watermark = -1, .told_log_start = -1};
}

/* Where the batches of the rope end, and whether they join what was sent before and one another. */
static bool walk_batches(const struct tide_rope *bytes, int64_t next, int64_t *ret_base, int64_t *ret_end, bool *ret_gaps)
{
    struct tide_slice left = tide_rope_slice(bytes, 0, bytes->len);
    struct batch_header h;
    int64_t at = next;
    *ret_gaps = false;
    *ret_base = -1;
    while (left.len != 0) {
        if (!batch_header_read(left, &h) || h.batch_length < BATCH_LENGTH_MIN || batch_size(&h) > left.len)
            return false;
        if (*ret_base < 0)
            *ret_base = h.base_offset;
        else if (h.base_offset < at)
            return false;
        if (h.base_offset != at)
            *ret_gaps = true;
        at = batch_last_offset(&h) + 1;
        left = tide_slice_after(left, batch_size(&h));
    }
    *ret_end = at;
    return at > next;
}

static void feed_forget(struct feed *f)
{
    tide_rope_clear(&f->read.bytes);
    f->began = false;
}

static enum feed_result feed_send(struct feed *f, struct stream *s, uint64_t now_ns, const struct feed_marks *marks,
                                  struct peer_append *ret_sent)
{
    struct peer_append a = {.tag = f->tag,
                            .number = f->number,
                            .leader_epoch = f->leader_epoch,
                            .log_end = marks->log_end,
                            .high_watermark = marks->high_watermark,
                            .log_start = marks->log_start,
                            .sent_ns = now_ns,
                            .bytes = f->read.bytes.len};
    int64_t end;
    if (!walk_batches(&f->read.bytes, f->next_offset, &a.base_offset, &end, &a.compacted)) {
        feed_forget(f);
        return FEED_FAILED;
    }
    /* The marks were read before the bytes: what was appended since may be among them. */
    a.log_end = TIDE_MAX(a.log_end, end);
    if (peer_put_append(&s->out, s->config.pool, s->version, &a, &f->read.bytes) != TIDE_OK) {
        feed_forget(f);
        return FEED_WAITS;
    }
    feed_forget(f);
    TIDE_ASSERT(end > f->next_offset); /* F1 */
    f->next_offset = end;
    f->told_high_watermark = a.high_watermark;
    f->told_log_start = a.log_start;
    *ret_sent = a;
    return FEED_SENT;
}

bool feed_may_read_disk(const struct feed_disk_use *u, bool waited_for)
{
    return u->reads < u->reads_max && (u->queued < u->queued_max || waited_for);
}

enum feed_result feed_push(struct feed *f, struct stream *s, uint64_t now_ns, const struct feed_marks *marks, uint64_t room,
                           struct log_core *core, uint32_t read_slot, bool may_read_disk, struct tide_out *out, struct peer_append *ret_sent)
{
    static struct tide_out no_room = {.op_count = TIDE_OUT_OPS, .job_count = TIDE_OUT_JOBS}; /* nobody writes into it */
    if (f->reading)
        return FEED_READING;
    if (!f->began) {
        if (f->next_offset >= marks->push_end)
            return FEED_IDLE;
        if (room == 0)
            return FEED_STARVED;
        f->read = (struct log_read){.offset = f->next_offset,
                                    .end_offset = marks->push_end,
                                    .max_bytes = (uint32_t)TIDE_MIN(room, (uint64_t)STREAM_PUSH_BYTES),
                                    .at_least_one = true};
        f->began = true;
    }
    switch (log_read(f->log, core, read_slot, &f->read, may_read_disk ? out : &no_room)) {
    case TIDE_OK:
        if (f->read.bytes.len != 0)
            return feed_send(f, s, now_ns, marks, ret_sent);
        feed_forget(f);
        return FEED_IDLE;
    case TIDE_AGAIN:
        f->reading = true;
        return FEED_READING;
    case TIDE_FULL:
        return FEED_WAITS;
    case TIDE_ABSENT:
        feed_forget(f);
        return FEED_LOST;
    case TIDE_BAD:
        feed_forget(f);
        return FEED_ROTTEN;
    default:
        feed_forget(f);
        return FEED_FAILED;
    }
}

void feed_on_disk(struct feed *f, const struct disk_done *done)
{
    if (!TIDE_EXPECT(f->reading && f->read.disk_id == done->id))
        return;
    f->reading = false;
    log_read_on_disk(&f->read, done);
}

void feed_deinit(struct feed *f, struct log_core *core)
{
    TIDE_ASSERT(!f->reading);
    if (f->began) {
        tide_rope_clear(&f->read.bytes);
        log_read_abandon(core, &f->read);
    }
    f->began = false;
}

void feed_beat(struct feed *f, const struct feed_marks *marks, struct peer_beat *ret)
{
    *ret = (struct peer_beat){.tag = f->tag,
                              .number = f->number,
                              .leader_epoch = f->leader_epoch,
                              .log_end = marks->log_end,
                              .high_watermark = marks->high_watermark,
                              .log_start = marks->log_start};
}

/* ---- the follower's side ------------------------------------------------------------------------------ */

void intake_init(struct intake *i, const struct peer_granted *g, uint64_t window)
{
    *i = (struct intake){.place = g->place, .number = g->number, .leader_epoch = g->leader_epoch, .window = window,
                         .told_credit = window};
}

void intake_deinit(struct intake *i)
{
    tide_rope_clear(&i->waiting);
}

enum tide_status intake_hold(struct intake *i, struct rte_mempool *dense_pool, struct tide_slice message)
{
    struct tide_rope copy = {0};
    const uint8_t *piece;
    uint32_t n;
    while ((n = tide_slice_next(&message, &piece)) != 0) {
        if (tide_rope_copy_in(&copy, dense_pool, piece, n) != TIDE_OK) {
            tide_rope_clear(&copy);
            return TIDE_FULL;
        }
    }
    tide_rope_join(&i->waiting, &copy);
    return TIDE_OK;
}

bool intake_waiting(const struct intake *i, uint8_t version, struct peer_message *ret)
{
    int64_t front = i->waiting.len != 0 ? peer_front(&i->waiting, UINT32_MAX) : 0;
    if (front == 0)
        return false;
    enum tide_status status = peer_read(tide_rope_slice(&i->waiting, 0, (uint32_t)front), version, ret);
    TIDE_ASSERT(status == TIDE_OK); /* it was read before it was kept */
    return true;
}

void intake_drop(struct intake *i, const struct peer_message *m)
{
    tide_rope_drop(&i->waiting, PEER_HEAD + PEER_APPEND_BYTES + m->append.bytes);
    i->applied = 0;
}

void intake_on_taken(struct intake *i, uint32_t bytes)
{
    i->taken += bytes;
}

uint64_t intake_credit(const struct intake *i)
{
    return i->taken + i->window;
}

bool intake_credit_is_due(const struct intake *i)
{
    return intake_credit(i) - i->told_credit >= i->window / 4;
}

void intake_credit_told(struct intake *i, uint64_t credit)
{
    i->told_credit = credit;
}
