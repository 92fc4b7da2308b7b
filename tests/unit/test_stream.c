/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ends of a stream, back to back in memory: bytes that one gives the other gets, in pieces of any
 * size. The leader's end feeds from a real log; the follower's end is a list that is compared with what
 * was appended, byte for byte.
 */
#include "log_world.h"

#include "replica/stream.h"
#include "tidemark/bytes.h"

enum { BLOCKS = 2047, BLOCK = 256, DENSE_BLOCKS = 255, DENSE_BLOCK = 16384, MESSAGE_MAX = 1 << 20, READ_SLOT = 5, WINDOW = 1 << 20 };

static struct rte_mempool *pool, *dense, *frames;

static const struct peer_hello hello_of_follower = {.version_min = 1, .version_max = 1, .broker = 2, .broker_epoch = 22, .core_count = 1,
                                                    .incarnation = {{2}}, .cluster_id = {{9}}};
static const struct peer_hello hello_of_leader = {.version_min = 1, .version_max = 1, .broker = 1, .broker_epoch = 11, .core_count = 1,
                                                  .incarnation = {{1}}, .cluster_id = {{9}}};

static int setup(void **state)
{
    (void)state;
    unit_eal();
    pool = unit_pool("stream", BLOCKS, BLOCK);
    dense = unit_pool("stream_dense", DENSE_BLOCKS, DENSE_BLOCK);
    frames = unit_pool("stream_frames", 4095, 0);
    return 0;
}

struct pair {
    struct stream follower, leader;
    struct tide_random random;
    uint32_t piece_max; /* of the bytes on their way; 0: as much as fits */
    uint64_t now_ns;
    bool low;
};

static void pair_init_with(struct pair *p, uint8_t leader_min, uint8_t leader_max)
{
    struct stream_config c = {.end = STREAM_FOLLOWER, .message_max = MESSAGE_MAX, .timeout_ms = 1000, .beat_ms = 100, .pool = pool, .dense_pool = dense};
    struct peer_hello theirs = hello_of_leader;
    *p = (struct pair){.random.state = 1, .now_ns = TIDE_NS_PER_S};
    theirs.version_min = leader_min;
    theirs.version_max = leader_max;
    assert_int_equal(stream_init(&p->follower, p->now_ns, &c, &hello_of_follower), TIDE_OK);
    c.end = STREAM_LEADER;
    assert_int_equal(stream_init(&p->leader, p->now_ns, &c, &theirs), TIDE_OK);
}

static void pair_deinit(struct pair *p)
{
    stream_deinit(&p->follower);
    stream_deinit(&p->leader);
    assert_int_equal(rte_mempool_avail_count(pool), BLOCKS);
    assert_int_equal(rte_mempool_avail_count(dense), DENSE_BLOCKS);
    assert_int_equal(rte_mempool_avail_count(frames), 4095);
}

/* One frame's worth of bytes from one end to the other, as exactly sized blocks. False: there is none. */
static bool carry(struct pair *p, struct stream *from, struct stream *to)
{
    uint8_t bytes[1460];
    uint32_t n = TIDE_MIN(from->out.len, (uint32_t)sizeof(bytes));
    struct tide_rope frame = {0};
    uint32_t piece = p->piece_max != 0 ? 1 + (uint32_t)tide_random_below(&p->random, p->piece_max) : n;
    n = TIDE_MIN(n, piece);
    if (n == 0)
        return false;
    tide_slice_copy(tide_rope_slice(&from->out, 0, n), bytes);
    tide_rope_drop(&from->out, n);
    tide_rope_push(&frame, unit_exact_mbuf(frames, bytes, (uint16_t)n));
    stream_on_bytes(to, p->now_ns, &frame, p->low);
    assert_int_equal(frame.len, 0);
    stream_check(to);
    return true;
}

/* The next message at that end, or STREAM_STEP_MORE when nothing is left on the way. */
static enum stream_step hear(struct pair *p, struct stream *at, struct peer_message *m)
{
    struct stream *from = at == &p->leader ? &p->follower : &p->leader;
    enum stream_step step;
    while ((step = stream_next(at, m)) == STREAM_STEP_MORE && carry(p, from, at))
        ;
    return step;
}

static void greet(struct pair *p)
{
    struct peer_message m;
    assert_int_equal(hear(p, &p->leader, &m), STREAM_STEP_MESSAGE);
    assert_int_equal(m.kind, PEER_HELLO);
    assert_int_equal(m.hello.broker, 2);
    assert_int_equal(stream_accept(&p->leader, p->now_ns), TIDE_OK);
    assert_int_equal(hear(p, &p->follower, &m), STREAM_STEP_MESSAGE);
    assert_int_equal(m.kind, PEER_HELLO);
    assert_int_equal(m.hello.broker, 1);
    assert_int_equal(stream_accept(&p->follower, p->now_ns), TIDE_OK);
    assert_int_equal(p->leader.version, 1);
    assert_int_equal(p->follower.version, 1);
    assert_int_equal(stream_next(&p->leader, &m), STREAM_STEP_MORE); /* the HELLOs' bytes go */
    assert_int_equal(stream_next(&p->follower, &m), STREAM_STEP_MORE);
}

/* ---- greeting ---------------------------------------------------------------------------------------- */

static void test_greeting_in_any_pieces(void **state)
{
    (void)state;
    for (uint32_t piece = 0; piece < 20; piece++) {
        struct pair p;
        pair_init_with(&p, 1, 1);
        p.piece_max = piece;
        greet(&p);
        pair_deinit(&p);
    }
}

static void test_no_version_in_common(void **state)
{
    struct pair p;
    struct peer_message m;
    (void)state;
    pair_init_with(&p, 2, 3);
    assert_int_equal(hear(&p, &p.leader, &m), STREAM_STEP_MESSAGE);
    assert_int_equal(stream_accept(&p.leader, p.now_ns), TIDE_REFUSED);
    stream_refuse(&p.leader, 35);
    assert_int_equal(p.leader.state, STREAM_CLOSED);
    assert_int_equal(hear(&p, &p.follower, &m), STREAM_STEP_MESSAGE);
    assert_int_equal(m.kind, PEER_REFUSED);
    assert_int_equal(m.refused.error, 35);
    assert_int_equal(m.refused.tag, PEER_TAG_NONE);
    pair_deinit(&p);
}

/* Whoever speaks out of turn is closed. */
static void test_out_of_turn(void **state)
{
    static const struct {
        const char *name;
        bool to_leader, greeted;
        enum peer_kind kind;
        bool good;
    } cases[] = {
        {"a SUBSCRIBE before the greeting", true, false, PEER_SUBSCRIBE, false},
        {"a REFUSED from a follower, before", true, false, PEER_REFUSED, false},
        {"a BEAT before the greeting", false, false, PEER_BEAT, false},
        {"a REFUSED from a leader, before", false, false, PEER_REFUSED, true},
        {"a second HELLO to the leader", true, true, PEER_HELLO, false},
        {"a second HELLO to the follower", false, true, PEER_HELLO, false},
        {"a SUBSCRIBE to the leader", true, true, PEER_SUBSCRIBE, true},
        {"a SUBSCRIBE to the follower", false, true, PEER_SUBSCRIBE, false},
        {"an ACK to the leader", true, true, PEER_ACK, true},
        {"an ACK to the follower", false, true, PEER_ACK, false},
        {"a BEAT to the leader", true, true, PEER_BEAT, false},
        {"a BEAT to the follower", false, true, PEER_BEAT, true},
        {"an UNSUBSCRIBE to the follower", false, true, PEER_UNSUBSCRIBE, false},
        {"a REFUSED to the leader", true, true, PEER_REFUSED, false},
    };
    (void)state;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        const struct peer_subscribe subscribe = {.tag = 1, .last_epoch = -1};
        const struct peer_refused refused = {.tag = PEER_TAG_NONE, .error = 1, .leader_epoch = -1};
        struct pair p;
        struct peer_message m;
        struct tide_rope r = {0};
        enum tide_status status = TIDE_OK;
        pair_init_with(&p, 1, 1);
        struct stream *at = cases[i].to_leader ? &p.leader : &p.follower;
        if (cases[i].greeted)
            greet(&p);
        switch (cases[i].kind) {
        case PEER_HELLO: status = peer_put_hello(&r, pool, &hello_of_follower); break;
        case PEER_SUBSCRIBE: status = peer_put_subscribe(&r, pool, 1, &subscribe); break;
        case PEER_ACK: status = peer_put_acks(&r, pool, 1, NULL, 0); break;
        case PEER_BEAT: status = peer_put_beats(&r, pool, 1, 1, NULL, 0); break;
        case PEER_UNSUBSCRIBE: status = peer_put_unsubscribe(&r, pool, 1, 1, 1); break;
        default: status = peer_put_refused(&r, pool, 1, &refused); break;
        }
        assert_int_equal(status, TIDE_OK);
        stream_on_bytes(at, p.now_ns, &r, false);
        if ((stream_next(at, &m) == STREAM_STEP_MESSAGE) != cases[i].good)
            fail_msg("%s", cases[i].name);
        assert_int_equal(at->state == STREAM_CLOSED, !cases[i].good);
        pair_deinit(&p);
    }
}

/* A stranger cannot make us keep more than a greeting. */
static void test_length_before_the_greeting(void **state)
{
    struct pair p;
    struct peer_message m;
    struct tide_rope r = {0};
    uint8_t bytes[8] = {0, 0, 0, 0, PEER_APPEND, 1};
    (void)state;
    pair_init_with(&p, 1, 1);
    store_be32(bytes, PEER_SMALL_MAX + 1);
    tide_rope_push(&r, unit_exact_mbuf(frames, bytes, sizeof(bytes)));
    stream_on_bytes(&p.leader, p.now_ns, &r, false);
    assert_int_equal(stream_next(&p.leader, &m), STREAM_STEP_BAD);
    assert_int_equal(p.leader.state, STREAM_CLOSED);
    pair_deinit(&p);
}

static void test_silence_and_beats(void **state)
{
    struct pair p;
    struct tide_rope r = {0};
    (void)state;
    pair_init_with(&p, 1, 1);
    assert_int_equal(stream_deadline_ns(&p.leader), p.now_ns + 1000 * TIDE_NS_PER_MS);
    greet(&p);
    assert_int_equal(stream_deadline_ns(&p.leader), p.now_ns + 100 * TIDE_NS_PER_MS); /* a BEAT */
    assert_int_equal(stream_deadline_ns(&p.follower), p.now_ns + 1000 * TIDE_NS_PER_MS);
    assert_false(stream_is_silent(&p.follower, p.now_ns + 999 * TIDE_NS_PER_MS));
    assert_true(stream_is_silent(&p.follower, p.now_ns + 1000 * TIDE_NS_PER_MS));
    assert_int_equal(peer_put_beats(&r, pool, 1, 1, NULL, 0), TIDE_OK);
    stream_on_bytes(&p.follower, p.now_ns + 500 * TIDE_NS_PER_MS, &r, false);
    assert_false(stream_is_silent(&p.follower, p.now_ns + 1000 * TIDE_NS_PER_MS));
    stream_close(&p.follower);
    assert_int_equal(stream_deadline_ns(&p.follower), TIDE_NEVER);
    pair_deinit(&p);
}

/* ---- what lies in receive buffers ------------------------------------------------------------------------ */

static uint32_t frames_held(void)
{
    return 4095 - rte_mempool_avail_count(frames);
}

/* A long message leaves the receive buffers before it is whole; so does a short one when they are scarce. */
static void test_partial_messages_leave_receive_buffers(void **state)
{
    (void)state;
    for (unsigned low = 0; low < 2; low++) {
        struct pair p;
        struct peer_message m;
        struct tide_rope records = {0};
        static uint8_t bytes[200000];
        struct peer_append a = {.bytes = sizeof(bytes)};
        uint32_t most = 0, n = 0;
        pair_init_with(&p, 1, 1);
        greet(&p);
        p.low = low;
        for (uint32_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(i * 7);
        assert_int_equal(tide_rope_copy_in(&records, dense, bytes, sizeof(bytes)), TIDE_OK);
        assert_int_equal(peer_put_append(&p.leader.out, pool, 1, &a, &records), TIDE_OK);
        while (stream_next(&p.follower, &m) == STREAM_STEP_MORE) {
            assert_true(carry(&p, &p.leader, &p.follower));
            most = TIDE_MAX(most, frames_held());
        }
        assert_true(most <= (low ? 1 : STREAM_DENSE_ABOVE / 1460 + 2));
        assert_int_equal(frames_held(), 0);
        const uint8_t *piece;
        uint32_t got;
        while ((got = tide_slice_next(&m.rest, &piece)) != 0) {
            assert_memory_equal(piece, bytes + n, got);
            n += got;
        }
        assert_int_equal(n, sizeof(bytes));
        pair_deinit(&p);
    }
}

static void test_intake_keeps_copies(void **state)
{
    struct pair p;
    struct peer_message m, w;
    struct intake i;
    const struct peer_granted g = {.place = 3, .number = 4, .leader_epoch = 5};
    (void)state;
    pair_init_with(&p, 1, 1);
    greet(&p);
    intake_init(&i, &g, 1000);
    assert_false(intake_waiting(&i, 1, &w));
    for (unsigned k = 0; k < 3; k++) {
        struct tide_rope records = {0};
        struct peer_append a = {.number = 4, .leader_epoch = 5, .base_offset = k, .log_end = 10, .bytes = 100};
        uint8_t bytes[100];
        memset(bytes, (int)('a' + k), sizeof(bytes));
        assert_int_equal(tide_rope_copy_in(&records, pool, bytes, sizeof(bytes)), TIDE_OK);
        assert_int_equal(peer_put_append(&p.leader.out, pool, 1, &a, &records), TIDE_OK);
        assert_int_equal(hear(&p, &p.follower, &m), STREAM_STEP_MESSAGE);
        assert_int_equal(intake_hold(&i, dense, stream_message_bytes(&p.follower)), TIDE_OK);
    }
    assert_int_equal(stream_next(&p.follower, &m), STREAM_STEP_MORE);
    assert_int_equal(frames_held(), 0); /* I1 */
    assert_int_equal(intake_credit(&i), 1000);
    for (unsigned k = 0; k < 3; k++) {
        uint8_t first;
        assert_true(intake_waiting(&i, 1, &w));
        assert_int_equal(w.append.base_offset, k);
        struct tide_slice one = w.rest;
        one.len = 1;
        tide_slice_copy(one, &first);
        assert_int_equal(first, 'a' + k);
        assert_int_equal(intake_credit_is_due(&i), false);
        intake_on_taken(&i, w.append.bytes);
        intake_drop(&i, &w);
    }
    assert_false(intake_waiting(&i, 1, &w));
    assert_int_equal(intake_credit(&i), 1300);
    assert_true(intake_credit_is_due(&i)); /* more than a quarter of the window */
    intake_credit_told(&i, 1300);
    assert_false(intake_credit_is_due(&i));
    intake_deinit(&i);
    pair_deinit(&p);
}

static void test_intake_without_memory(void **state)
{
    struct rte_mbuf *held[DENSE_BLOCKS + 1];
    unsigned n = 0;
    struct intake i;
    struct tide_rope r = {0};
    const struct peer_granted g = {.number = 1};
    (void)state;
    intake_init(&i, &g, 1000);
    assert_int_equal(tide_rope_copy_in(&r, pool, "abc", 3), TIDE_OK);
    while ((held[n] = rte_pktmbuf_alloc(dense)) != NULL)
        n++;
    assert_int_equal(intake_hold(&i, dense, tide_rope_slice(&r, 0, 3)), TIDE_FULL);
    assert_int_equal(i.waiting.len, 0);
    while (n != 0)
        rte_pktmbuf_free(held[--n]);
    tide_rope_clear(&r);
}

/* ---- feeding -------------------------------------------------------------------------------------------------- */

struct line {
    struct world w;
    struct pair p;
    struct feed feed;
    int64_t seen;      /* the follower's end */
    unsigned seen_batches;
    uint64_t taken;    /* record bytes */
};

static void line_init(struct line *l)
{
    world_init(&l->w, 7);
    assert_int_equal(world_open(&l->w), 0);
    world_begin_epoch(&l->w, 3);
    pair_init_with(&l->p, 1, 1);
    greet(&l->p);
    feed_init(&l->feed, l->w.log, 9, 77, 3, 0);
    l->seen = 0;
    l->seen_batches = 0;
    l->taken = 0;
}

static void line_deinit(struct line *l)
{
    feed_deinit(&l->feed, l->w.core);
    pair_deinit(&l->p);
    world_deinit(&l->w);
}

static struct feed_marks marks_now(struct line *l)
{
    int64_t end = log_next_offset(l->w.log);
    return (struct feed_marks){.log_end = end, .push_end = end, .high_watermark = log_durable_end(l->w.log), .log_start = log_start_offset(l->w.log)};
}

static enum feed_result push_below(struct line *l, int64_t push_end, uint64_t room, bool may_read_disk)
{
    struct feed_marks marks = marks_now(l);
    struct peer_append sent;
    marks.push_end = push_end;
    enum feed_result r = feed_push(&l->feed, &l->p.leader, l->p.now_ns, &marks, room, l->w.core, READ_SLOT, may_read_disk, &l->w.out, &sent);
    if (r == FEED_SENT)
        l->taken += sent.bytes;
    return r;
}

static enum feed_result push(struct line *l, uint64_t room, bool may_read_disk)
{
    return push_below(l, log_next_offset(l->w.log), room, may_read_disk);
}

/* The follower's end takes everything that is on its way and compares it with what was appended. */
static void take(struct line *l)
{
    struct peer_message m;
    while (hear(&l->p, &l->p.follower, &m) == STREAM_STEP_MESSAGE) {
        assert_int_equal(m.kind, PEER_APPEND);
        assert_int_equal(m.append.tag, 9);
        assert_int_equal(m.append.number, 77);
        assert_int_equal(m.append.leader_epoch, 3);
        assert_int_equal(m.append.base_offset, l->seen);
        assert_false(m.append.compacted);
        assert_true(m.append.high_watermark <= m.append.log_end);
        struct tide_slice left = m.rest;
        while (left.len != 0) {
            const struct world_batch *b = &l->w.batches[l->seen_batches++];
            static uint8_t got[1 << 20];
            struct tide_slice one = left;
            assert_true(b->size <= left.len);
            one.len = b->size;
            tide_slice_copy(one, got);
            assert_memory_equal(got, b->bytes, b->size);
            l->seen = b->last_offset + 1;
            left = tide_slice_after(left, b->size);
        }
        assert_true(l->seen <= m.append.log_end);
    }
}

/* New bytes leave before the leader's own write has begun, and they leave without a copy. */
static void test_tail_is_pushed_before_it_is_written(void **state)
{
    struct line l;
    (void)state;
    line_init(&l);
    l.w.hold_writes = true;
    for (unsigned i = 0; i < 20; i++) {
        unsigned before;
        assert_int_equal(world_append(&l.w, 3, 500, 1000), TIDE_OK);
        before = rte_mempool_avail_count(pool);
        assert_int_equal(push(&l, UINT64_MAX, false), FEED_SENT);
        assert_true(RTE_MBUF_HAS_EXTBUF(l.p.leader.out.tail)); /* a view of the tail's buffer */
        assert_true(before - rte_mempool_avail_count(pool) <= 1); /* the head alone was written */
        assert_int_equal(push(&l, UINT64_MAX, false), FEED_IDLE);
        take(&l);
    }
    assert_int_equal(log_durable_end(l.w.log), 0);
    assert_int_equal(l.seen, world_model_end(&l.w));
    l.w.hold_writes = false;
    world_pump(&l.w);
    line_deinit(&l);
}

/* replication.push=durable: the write comes first, and then all of it leaves. */
static void test_what_is_not_to_be_pushed_yet_stays(void **state)
{
    struct line l;
    (void)state;
    line_init(&l);
    assert_int_equal(world_append(&l.w, 3, 500, 1000), TIDE_OK);
    world_flush(&l.w);
    l.w.hold_writes = true;
    assert_int_equal(world_append(&l.w, 2, 500, 1000), TIDE_OK);
    assert_int_equal(log_durable_end(l.w.log), 3);
    assert_int_equal(push_below(&l, log_durable_end(l.w.log), UINT64_MAX, false), FEED_SENT);
    assert_int_equal(push_below(&l, log_durable_end(l.w.log), UINT64_MAX, false), FEED_IDLE);
    take(&l);
    assert_int_equal(l.seen, 3);
    l.w.hold_writes = false;
    world_flush(&l.w);
    assert_int_equal(push_below(&l, log_durable_end(l.w.log), UINT64_MAX, false), FEED_SENT);
    take(&l);
    assert_int_equal(l.seen, 5);
    line_deinit(&l);
}

static void test_any_pieces(void **state)
{
    struct line l;
    (void)state;
    line_init(&l);
    l.p.piece_max = 90;
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(world_append(&l.w, 1 + (int32_t)(i % 5), 20 + i * 37 % 3000, 1000), TIDE_OK);
        if (i % 7 == 0)
            world_flush(&l.w);
        if (i % 3 == 0) {
            while (push(&l, UINT64_MAX, false) == FEED_SENT)
                ;
            take(&l);
        }
    }
    while (push(&l, UINT64_MAX, false) == FEED_SENT)
        ;
    take(&l);
    assert_int_equal(l.seen, world_model_end(&l.w));
    line_deinit(&l);
}

/* A batch more than the room at the most (F1 of the credit), nothing without room. */
static void test_room(void **state)
{
    struct line l;
    (void)state;
    line_init(&l);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(world_append(&l.w, 1, 1000, 1000), TIDE_OK);
    assert_int_equal(push(&l, 0, false), FEED_STARVED);
    assert_int_equal(push(&l, 1, false), FEED_SENT);
    take(&l);
    assert_int_equal(l.seen_batches, 1);
    assert_int_equal(push(&l, 2500, false), FEED_SENT);
    take(&l);
    assert_int_equal(l.seen_batches, 3);
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_SENT);
    take(&l);
    assert_int_equal(l.seen_batches, 10);
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_IDLE);
    line_deinit(&l);
}

static void finish_read(struct line *l)
{
    l->w.reading = &l->feed.read;
    assert_true(l->feed.reading);
    l->feed.reading = false; /* as feed_on_disk does; the world gives the completion to the read */
    world_pump(&l->w);
}

/* What the tail has lost comes from the disk, and only if the caller allows it; then the tail is joined. */
static void test_catching_up(void **state)
{
    struct line l;
    unsigned reads = 0;
    (void)state;
    line_init(&l);
    for (unsigned i = 0; i < 300; i++) { /* far more than the tail's buffers hold */
        assert_int_equal(world_append(&l.w, 2, 1500, 1000), TIDE_OK);
        world_flush(&l.w);
    }
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_WAITS);
    assert_int_equal(l.p.leader.out.len, 0);
    while (l.seen < world_model_end(&l.w)) {
        enum feed_result r = push(&l, UINT64_MAX, true);
        if (r == FEED_READING) {
            assert_int_equal(push(&l, UINT64_MAX, true), FEED_READING);
            assert_true(l.feed.reading);
            reads++;
            finish_read(&l);
        } else if (r == FEED_WAITS) { /* it is being read ahead */
            assert_true(l.w.out.op_count + l.w.op_count != 0);
            world_pump(&l.w);
        } else {
            assert_int_equal(r, FEED_SENT);
            take(&l);
        }
    }
    assert_true(reads >= 3);
    assert_int_equal(world_append(&l.w, 2, 1500, 1000), TIDE_OK);
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_SENT); /* from memory again */
    take(&l);
    assert_int_equal(l.seen, world_model_end(&l.w));
    line_deinit(&l);
}

static void test_behind_the_start(void **state)
{
    struct line l;
    (void)state;
    line_init(&l);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(world_append(&l.w, 2, 1500, 1000), TIDE_OK);
        world_flush(&l.w);
    }
    while (log_trim(l.w.log, 250, &l.w.out) == TIDE_AGAIN)
        world_pump(&l.w);
    assert_int_equal(push(&l, UINT64_MAX, true), FEED_LOST);
    line_deinit(&l);
}

/* Without a block for the head nothing leaves, and nothing is lost. */
static void test_no_memory_for_a_head(void **state)
{
    struct rte_mbuf *held[BLOCKS + 1];
    struct line l;
    unsigned n = 0;
    (void)state;
    line_init(&l);
    assert_int_equal(world_append(&l.w, 1, 1000, 1000), TIDE_OK);
    while ((held[n] = rte_pktmbuf_alloc(pool)) != NULL)
        n++;
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_WAITS);
    assert_int_equal(l.p.leader.out.len, 0);
    while (n != 0)
        rte_pktmbuf_free(held[--n]);
    assert_int_equal(push(&l, UINT64_MAX, false), FEED_SENT);
    take(&l);
    assert_int_equal(l.seen, world_model_end(&l.w));
    line_deinit(&l);
}

static void test_who_may_read_the_disk(void **state)
{
    struct feed_disk_use u = {.reads = 3, .reads_max = 4, .queued = 99, .queued_max = 100};
    assert_true(feed_may_read_disk(&u, false));
    assert_true(feed_may_read_disk(&u, true));
    u.queued = 100; /* of a stream that is busy from memory it never gets less */
    assert_false(feed_may_read_disk(&u, false));
    assert_true(feed_may_read_disk(&u, true));
    u.reads = 4;
    assert_false(feed_may_read_disk(&u, true));
    u.queued = 0;
    assert_false(feed_may_read_disk(&u, false));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting_in_any_pieces),
        cmocka_unit_test(test_no_version_in_common),
        cmocka_unit_test(test_out_of_turn),
        cmocka_unit_test(test_length_before_the_greeting),
        cmocka_unit_test(test_silence_and_beats),
        cmocka_unit_test(test_partial_messages_leave_receive_buffers),
        cmocka_unit_test(test_intake_keeps_copies),
        cmocka_unit_test(test_intake_without_memory),
        cmocka_unit_test(test_tail_is_pushed_before_it_is_written),
        cmocka_unit_test(test_what_is_not_to_be_pushed_yet_stays),
        cmocka_unit_test(test_any_pieces),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_catching_up),
        cmocka_unit_test(test_behind_the_start),
        cmocka_unit_test(test_no_memory_for_a_head),
        cmocka_unit_test(test_who_may_read_the_disk),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
