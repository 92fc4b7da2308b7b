/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "kafka/wire.h"
#include "tidemark/random.h"

enum { BYTES_MAX = 4096 };

static struct rte_mempool *pool;
static struct rte_mempool *small; /* a few mbufs, to run out of */

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("wire", 8191, 64);
    small = unit_pool("wire_small", 3, 16);
    return 0;
}

/* In two mbufs, cut at `cut`; one when the cut is at an end. */
static struct tide_rope halves(const uint8_t *bytes, uint32_t len, uint32_t cut)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes, (uint16_t)cut));
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + cut, (uint16_t)(len - cut)));
    return r;
}

static struct tide_rope pieces(const uint8_t *bytes, uint32_t len, uint32_t piece)
{
    struct tide_rope r = {0};
    for (uint32_t at = 0; at < len; at += piece)
        tide_rope_push(&r, unit_exact_mbuf(pool, bytes + at, (uint16_t)TIDE_MIN(piece, len - at)));
    return r;
}

static struct wire_cursor cursor_of(const struct tide_rope *r)
{
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(r, 0, r->len));
    return c;
}

static struct tide_rope held; /* what the last cursor_over() goes over */

/* A cursor over bytes in one mbuf, for one check; the bytes are kept until the next call. */
static struct wire_cursor cursor_over(const void *bytes, uint32_t len)
{
    tide_rope_clear(&held);
    if (len != 0)
        tide_rope_push(&held, unit_exact_mbuf(pool, bytes, (uint16_t)len));
    return cursor_of(&held);
}

static int teardown(void **state)
{
    tide_rope_clear(&held);
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
    return 0;
}

static void expect_text(const struct wire_bytes *b, const char *want)
{
    char text[BYTES_MAX];
    assert_int_equal(b->null, want == NULL);
    assert_int_equal(b->at.len, want == NULL ? 0 : strlen(want));
    assert_int_equal(wire_bytes_copy(b, text, sizeof(text)), b->at.len);
    assert_string_equal(text, want == NULL ? "" : want);
}

/* ---- all types, there and back --------------------------------------------------------------- */

static const struct tide_uuid uuid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static void write_all(struct wire_writer *w)
{
    wire_put_i8(w, -128);
    wire_put_bool(w, true);
    wire_put_i16(w, -32768);
    wire_put_u16(w, 0xfedc);
    wire_put_i32(w, INT32_MIN + 1);
    wire_put_i32(w, (int32_t)0xdeadbeef);
    wire_put_i64(w, INT64_MIN + 2);
    wire_put_uuid(w, &uuid);
    wire_put_uvarint(w, UINT32_MAX);
    for (int flexible = 0; flexible < 2; flexible++) {
        wire_put_string(w, flexible, "tide", 4);
        wire_put_string(w, flexible, "", 0);
        wire_put_string(w, flexible, NULL, 0);
        wire_put_count(w, flexible, -1);
        wire_put_count(w, flexible, 1);
        wire_put_count(w, flexible, 0);
    }
    wire_put_bool(w, false);
}

static void read_all(struct wire_cursor *c)
{
    struct tide_uuid u;
    assert_int_equal(wire_get_i8(c), -128);
    assert_true(wire_get_bool(c));
    assert_int_equal(wire_get_i16(c), -32768);
    assert_int_equal(wire_get_u16(c), 0xfedc);
    assert_int_equal(wire_get_i32(c), INT32_MIN + 1);
    assert_true(wire_get_u32(c) == 0xdeadbeef);
    assert_true(wire_get_i64(c) == INT64_MIN + 2);
    u = wire_get_uuid(c);
    assert_memory_equal(&u, &uuid, sizeof(u));
    assert_true(wire_get_uvarint(c) == UINT32_MAX);
    for (int flexible = 0; flexible < 2; flexible++) {
        struct wire_bytes b = wire_get_string(c, flexible, false);
        expect_text(&b, "tide");
        b = wire_get_string(c, flexible, false);
        expect_text(&b, "");
        b = wire_get_string(c, flexible, true);
        expect_text(&b, NULL);
        assert_int_equal(wire_get_count(c, flexible, true), -1);
        assert_int_equal(wire_get_count(c, flexible, false), 1);
        assert_int_equal(wire_get_count(c, flexible, false), 0);
    }
    assert_false(c->failed);
    assert_int_equal(wire_left(c), 1);
    assert_false(wire_get_bool(c));
}

static uint32_t written_all(uint8_t *bytes)
{
    struct wire_writer w;
    wire_writer_init(&w, pool);
    write_all(&w);
    assert_false(w.failed);
    uint32_t len = w.out.len;
    assert_true(len <= BYTES_MAX);
    tide_slice_copy(tide_rope_slice(&w.out, 0, len), bytes);
    wire_writer_abandon(&w);
    return len;
}

static void test_everything_split_at_every_position(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    unsigned before = rte_mempool_avail_count(pool);
    uint32_t len = written_all(bytes);
    for (uint32_t cut = 0; cut <= len; cut++) {
        struct tide_rope r = halves(bytes, len, cut);
        struct wire_cursor c = cursor_of(&r);
        read_all(&c);
        assert_true(wire_done(&c));
        tide_rope_clear(&r);
    }
    assert_int_equal(rte_mempool_avail_count(pool), before);
}

static void test_everything_in_small_pieces(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    uint32_t len = written_all(bytes);
    for (uint32_t piece = 1; piece < 20; piece++) {
        struct tide_rope r = pieces(bytes, len, piece);
        struct wire_cursor c = cursor_of(&r);
        read_all(&c);
        assert_true(wire_done(&c));
        tide_rope_clear(&r);
    }
}

/* Without asserting values: reads the same sequence. */
static void read_blindly(struct wire_cursor *c)
{
    wire_get_i8(c);
    wire_get_bool(c);
    wire_get_i16(c);
    wire_get_u16(c);
    wire_get_i32(c);
    wire_get_u32(c);
    wire_get_i64(c);
    wire_get_uuid(c);
    wire_get_uvarint(c);
    for (int flexible = 0; flexible < 2; flexible++) {
        wire_get_string(c, flexible, false);
        wire_get_string(c, flexible, false);
        wire_get_string(c, flexible, true);
        wire_get_count(c, flexible, true);
        wire_get_count(c, flexible, true);
        wire_get_count(c, flexible, true);
    }
    wire_get_bool(c);
}

static void test_cut_at_every_byte(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    uint32_t len = written_all(bytes);
    for (uint32_t cut = 0; cut < len; cut++) {
        struct wire_cursor c = cursor_over(bytes, cut);
        read_blindly(&c);
        assert_true(c.failed);
        assert_false(wire_done(&c));
    }
}

/* The bytes go on behind the slice; they are not the cursor's. */
static void test_a_slice_ends_before_its_mbuf(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    uint32_t len = written_all(bytes);
    struct tide_rope r = halves(bytes, len, len / 2);
    for (uint32_t cut = 0; cut < len; cut++) {
        struct wire_cursor c;
        wire_cursor_init(&c, tide_rope_slice(&r, 0, cut));
        read_blindly(&c);
        assert_true(c.failed);
    }
    tide_rope_clear(&r);
}

/* ---- unsigned varints --------------------------------------------------------------------------- */

static void test_uvarints(void **state)
{
    static const struct {
        uint8_t bytes[6];
        uint32_t len;
        uint32_t value;
        bool good;
    } cases[] = {
        {{0x00}, 1, 0, true},
        {{0x7f}, 1, 127, true},
        {{0x80, 0x01}, 2, 128, true},
        {{0xff, 0x7f}, 2, 16383, true},
        {{0x80, 0x80, 0x01}, 3, 16384, true},
        {{0xff, 0xff, 0x7f}, 3, 2097151, true},
        {{0xff, 0xff, 0xff, 0x7f}, 4, 268435455, true},
        {{0x80, 0x80, 0x80, 0x80, 0x01}, 5, 268435456, true},
        {{0xff, 0xff, 0xff, 0xff, 0x07}, 5, INT32_MAX, true},
        {{0xff, 0xff, 0xff, 0xff, 0x0f}, 5, UINT32_MAX, true},
        {{0x80, 0x80, 0x80, 0x80, 0x10}, 5, 0, false}, /* 2^32 */
        {{0xff, 0xff, 0xff, 0xff, 0x7f}, 5, 0, false},
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, 6, 0, false},
        {{0}, 0, 0, false},
        {{0x80}, 1, 0, false},
        {{0xff, 0xff, 0xff, 0xff}, 4, 0, false},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        for (uint32_t piece = 1; piece <= 6; piece++) {
            struct tide_rope r = pieces(cases[i].bytes, cases[i].len, piece);
            struct wire_cursor c = cursor_of(&r);
            assert_true(wire_get_uvarint(&c) == cases[i].value);
            assert_int_equal(wire_done(&c), cases[i].good);
            assert_int_equal(c.failed, !cases[i].good);
            tide_rope_clear(&r);
        }
}

static void test_uvarints_there_and_back(void **state)
{
    struct tide_random random = {7};
    for (unsigned i = 0; i < 5000; i++) {
        uint32_t v = (uint32_t)(tide_random_u64(&random) >> (32 + tide_random_below(&random, 32)));
        struct wire_writer w;
        wire_writer_init(&w, pool);
        wire_put_uvarint(&w, v);
        struct wire_cursor c = cursor_of(&w.out);
        assert_true(wire_get_uvarint(&c) == v);
        assert_true(wire_done(&c));
        wire_writer_abandon(&w);
    }
}

/* ---- hostile lengths and counts ----------------------------------------------------------------- */

enum kind { STRING, BYTES, COUNT };

static const struct hostile {
    enum kind kind;
    bool flexible;
    bool nullable;
    uint8_t bytes[8];
    uint32_t len;
    bool good;
} hostiles[] = {
    {STRING, false, true, {0xff, 0xff}, 2, true},         /* -1 */
    {STRING, false, false, {0xff, 0xff}, 2, false},
    {STRING, false, true, {0xff, 0xfe}, 2, false},        /* -2 */
    {STRING, false, true, {0x80, 0x00}, 2, false},        /* the smallest */
    {STRING, false, true, {0x7f, 0xff, 'a'}, 3, false},   /* 32767 */
    {STRING, false, true, {0x00, 0x02, 'a'}, 3, false},   /* one more than there is */
    {STRING, false, false, {0x00, 0x01, 'a'}, 3, true},
    {STRING, true, true, {0x00}, 1, true},                /* null */
    {STRING, true, false, {0x00}, 1, false},
    {STRING, true, false, {0x01}, 1, true},
    {STRING, true, false, {0x03, 'a'}, 2, false},
    {STRING, true, true, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5, false},
    {STRING, true, true, {0xff, 0xff, 0xff, 0xff, 0x1f}, 5, false},
    {BYTES, false, true, {0xff, 0xff, 0xff, 0xff}, 4, true},
    {BYTES, false, false, {0xff, 0xff, 0xff, 0xff}, 4, false},
    {BYTES, false, true, {0xff, 0xff, 0xff, 0xfe}, 4, false},
    {BYTES, false, true, {0x80, 0, 0, 0}, 4, false},
    {BYTES, false, true, {0x7f, 0xff, 0xff, 0xff, 'a'}, 5, false},
    {BYTES, false, true, {0, 0, 0, 2, 'a'}, 5, false},
    {BYTES, false, false, {0, 0, 0, 1, 'a'}, 5, true},
    {BYTES, true, true, {0x00}, 1, true},
    {BYTES, true, false, {0x00}, 1, false},
    {BYTES, true, true, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5, false},
    {COUNT, false, true, {0xff, 0xff, 0xff, 0xff}, 4, true},
    {COUNT, false, false, {0xff, 0xff, 0xff, 0xff}, 4, false},
    {COUNT, false, true, {0xff, 0xff, 0xff, 0xfe}, 4, false},      /* -2 */
    {COUNT, false, true, {0x80, 0, 0, 0}, 4, false},
    {COUNT, false, true, {0x7f, 0xff, 0xff, 0xff, 1}, 5, false},   /* 2^31 - 1 */
    {COUNT, false, true, {0, 0, 0, 1}, 4, false},                  /* nothing behind it */
    {COUNT, false, false, {0, 0, 0, 0}, 4, true},
    {COUNT, true, true, {0x00}, 1, true},
    {COUNT, true, false, {0x00}, 1, false},
    {COUNT, true, true, {0x80, 0x80, 0x80, 0x80, 0x08, 1}, 6, false}, /* 2^31 - 1 */
    {COUNT, true, true, {0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 6, false}, /* 2^32 - 2 */
    {COUNT, true, true, {0x02}, 1, false},
    {COUNT, true, true, {0x01}, 1, true},
};

static void get(struct wire_cursor *c, const struct hostile *h)
{
    switch (h->kind) {
    case STRING:
        (void)wire_get_string(c, h->flexible, h->nullable);
        break;
    case BYTES:
        (void)wire_get_bytes(c, h->flexible, h->nullable);
        break;
    default:
        (void)wire_get_count(c, h->flexible, h->nullable);
    }
}

static void test_hostile_lengths(void **state)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(hostiles); i++)
        for (uint32_t piece = 1; piece <= 8; piece++) {
            struct tide_rope r = pieces(hostiles[i].bytes, hostiles[i].len, piece);
            struct wire_cursor c = cursor_of(&r);
            get(&c, &hostiles[i]);
            if (c.failed == hostiles[i].good)
                fail_msg("row %zu in pieces of %u: %s", i, piece, c.failed ? "refused" : "taken");
            tide_rope_clear(&r);
        }
}

static void test_a_count_of_what_is_left_is_good(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 2, 9, 9};
    static const uint8_t flexible[] = {3, 9, 9};
    struct wire_cursor c = cursor_over(bytes, sizeof(bytes));
    assert_int_equal(wire_get_count(&c, false, false), 2);
    c = cursor_over(flexible, sizeof(flexible));
    assert_int_equal(wire_get_count(&c, true, false), 2);
    assert_int_equal(wire_left(&c), 2);
}

static void test_skip(void **state)
{
    static const uint8_t bytes[20] = {[19] = 7};
    for (uint32_t n = 0; n <= 21; n++) {
        struct tide_rope r = pieces(bytes, sizeof(bytes), 3);
        struct wire_cursor c = cursor_of(&r);
        wire_skip(&c, n);
        assert_int_equal(c.failed, n > 20);
        assert_int_equal(wire_left(&c), n > 20 ? 0 : 20 - n);
        if (n == 19)
            assert_int_equal(wire_get_i8(&c), 7);
        tide_rope_clear(&r);
    }
}

static void test_a_failure_sticks(void **state)
{
    static const uint8_t bytes[64] = {[0 ... 63] = 1};
    static const struct tide_uuid zero;
    struct wire_cursor c = cursor_over(bytes, sizeof(bytes));
    struct tide_uuid u;
    struct wire_tags t;
    uint8_t raw[4] = {5, 5, 5, 5};
    wire_skip(&c, 65);
    assert_true(c.failed);
    assert_int_equal(wire_left(&c), 0);
    assert_int_equal(wire_get_i8(&c), 0);
    assert_int_equal(wire_get_i16(&c), 0);
    assert_int_equal(wire_get_i32(&c), 0);
    assert_true(wire_get_i64(&c) == 0);
    assert_true(wire_get_uvarint(&c) == 0);
    assert_int_equal(wire_get_count(&c, false, true), 0);
    assert_int_equal(wire_get_count(&c, true, true), 0);
    assert_int_equal(wire_get_string(&c, false, true).at.len, 0);
    assert_int_equal(wire_get_bytes(&c, true, true).at.len, 0);
    u = wire_get_uuid(&c);
    assert_memory_equal(&u, &zero, sizeof(u));
    wire_get_raw(&c, raw, 4);
    assert_int_equal(raw[0] | raw[3], 0);
    wire_skip(&c, 0);
    wire_skip_tags(&c);
    wire_tags_begin(&c, &t);
    assert_false(wire_tags_next(&c, &t));
    assert_true(c.failed);
    assert_false(wire_done(&c));
}

/* ---- tagged fields -------------------------------------------------------------------------------- */

static void test_tags(void **state)
{
    static const struct {
        const char *name;
        uint8_t bytes[16];
        uint32_t len;
        bool good;
    } cases[] = {
        {"none", {0}, 1, true},
        {"one", {1, 0, 1, 9}, 4, true},
        {"two", {2, 0, 1, 9, 5, 0}, 6, true},
        {"a large tag", {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 7, true},
        {"the same tag twice", {2, 3, 0, 3, 0}, 5, false},
        {"not ascending", {2, 3, 0, 2, 0}, 5, false},
        {"a size beyond the end", {1, 0, 2, 9}, 4, false},
        {"a huge size", {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 9}, 8, false},
        {"a tag too long", {1, 0xff, 0xff, 0xff, 0xff, 0x1f, 0}, 7, false},
        {"too few", {2, 0, 1, 9}, 4, false},
        {"no section", {0}, 0, false},
        {"65 tags", {65, 0, 0}, 3, false},
        {"2^32 - 1 tags", {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0}, 7, false},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        for (uint32_t cut = 0; cut <= cases[i].len; cut++) {
            struct tide_rope r = halves(cases[i].bytes, cases[i].len, cut);
            struct wire_cursor c = cursor_of(&r);
            wire_skip_tags(&c);
            if (wire_done(&c) != cases[i].good)
                fail_msg("%s, cut at %u", cases[i].name, cut);
            tide_rope_clear(&r);
        }
}

/* `count` empty tags, all ascending. */
static uint32_t many_tags(uint8_t *bytes, uint32_t count)
{
    uint32_t n = 0;
    bytes[n++] = (uint8_t)count;
    for (uint32_t i = 0; i < count; i++) {
        bytes[n++] = (uint8_t)i;
        bytes[n++] = 0;
    }
    return n;
}

static void test_the_number_of_tags_is_bounded(void **state)
{
    uint8_t bytes[256];
    struct wire_cursor c = cursor_over(bytes, many_tags(bytes, WIRE_TAGS_MAX));
    wire_skip_tags(&c);
    assert_true(wire_done(&c));
    c = cursor_over(bytes, many_tags(bytes, WIRE_TAGS_MAX + 1));
    wire_skip_tags(&c);
    assert_true(c.failed);
}

static void test_tags_one_by_one(void **state)
{
    static const uint8_t bytes[] = {2, 1, 2, 0xab, 0xcd, 0x80, 0x01, 1, 0xee, 0x55};
    struct wire_cursor c = cursor_over(bytes, sizeof(bytes));
    struct wire_tags t;
    wire_tags_begin(&c, &t);
    assert_true(wire_tags_next(&c, &t));
    assert_int_equal(t.tag, 1);
    assert_int_equal(t.size, 2);
    assert_int_equal(wire_get_u16(&c), 0xabcd);
    assert_true(wire_tags_next(&c, &t));
    assert_int_equal(t.tag, 128);
    assert_int_equal(t.size, 1);
    wire_skip(&c, t.size);
    assert_false(wire_tags_next(&c, &t));
    assert_int_equal(wire_get_i8(&c), 0x55);
    assert_true(wire_done(&c));
}

/* ---- slices out of the cursor, lists ----------------------------------------------------------------- */

static void test_a_string_over_many_mbufs(void **state)
{
    static const uint8_t bytes[] = {0, 11, 't', 'i', 'd', 'e', ' ', 'm', 'a', 'r', 'k', 'e', 'd', 1};
    for (uint32_t piece = 1; piece <= sizeof(bytes); piece++) {
        struct tide_rope r = pieces(bytes, sizeof(bytes), piece);
        struct wire_cursor c = cursor_of(&r);
        struct wire_bytes b = wire_get_string(&c, false, false);
        char text[5];
        expect_text(&b, "tide marked");
        assert_int_equal(wire_bytes_copy(&b, text, sizeof(text)), 11);
        assert_string_equal(text, "tide");
        assert_int_equal(wire_bytes_copy(&b, text, 1), 11);
        assert_string_equal(text, "");
        assert_int_equal(wire_get_i8(&c), 1);
        assert_true(wire_done(&c));
        tide_rope_clear(&r);
    }
}

static void test_lists(void **state)
{
    static const uint8_t numbers[] = {0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t strings[] = {0, 1, 'a', 0xff, 0xff, 0, 0};
    struct wire_list l = {.at = cursor_over(numbers, sizeof(numbers)), .count = 2};
    struct wire_bytes b;
    int32_t v;
    assert_true(wire_list_next_i32(&l, &v));
    assert_int_equal(v, 1);
    assert_true(wire_list_next_i32(&l, &v));
    assert_int_equal(v, -1);
    assert_false(wire_list_next_i32(&l, &v));
    l = (struct wire_list){.at = cursor_over(strings, sizeof(strings)), .count = 3};
    assert_true(wire_list_next_string(&l, false, &b));
    expect_text(&b, "a");
    assert_true(wire_list_next_string(&l, false, &b));
    expect_text(&b, NULL);
    assert_true(wire_list_next_string(&l, false, &b));
    expect_text(&b, "");
    assert_false(wire_list_next_string(&l, false, &b));
    l.count = -1;
    assert_false(wire_list_next_string(&l, false, &b));
    assert_false(wire_list_next_i32(&l, &v));
}

/* ---- the writer --------------------------------------------------------------------------------------- */

static void expect_bytes(struct wire_writer *w, const void *want, uint32_t len)
{
    uint8_t bytes[BYTES_MAX];
    assert_int_equal(w->out.len, len);
    tide_slice_copy(tide_rope_slice(&w->out, 0, len), bytes);
    assert_memory_equal(bytes, want, len);
}

static void test_written_bytes(void **state)
{
    static const uint8_t want[] = {
        0, 0, 0, 34,                               /* the frame's size */
        0x01, 0x02,                                /* i16 */
        0x01, 0x02, 0x03, 0x04,                    /* i32 */
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0xac, 0x02,                                /* uvarint 300 */
        0, 1, 'x', 2, 'y',                         /* strings */
        0xff, 0xff, 0,                             /* null strings */
        0xff, 0xff, 0xff, 0xff, 0,                 /* null counts */
        0, 0, 0, 2, 3,                             /* two elements */
    };
    struct wire_writer w;
    wire_writer_init(&w, pool);
    wire_frame_begin(&w);
    wire_put_i16(&w, 0x0102);
    wire_put_i32(&w, 0x01020304);
    wire_put_i64(&w, 0x0102030405060708);
    wire_put_uvarint(&w, 300);
    wire_put_string(&w, false, "x", 1);
    wire_put_string(&w, true, "y", 1);
    wire_put_string(&w, false, NULL, 0);
    wire_put_string(&w, true, NULL, 0);
    wire_put_count(&w, false, -1);
    wire_put_count(&w, true, -1);
    wire_put_count(&w, false, 2);
    wire_put_count(&w, true, 2);
    assert_true(wire_frame_end(&w));
    expect_bytes(&w, want, sizeof(want));
    wire_writer_abandon(&w);
}

static void test_string_slices_are_copied(void **state)
{
    static const uint8_t bytes[] = {0, 5, 'a', 'b', 'c', 'd', 'e'};
    static const uint8_t want[] = {0, 5, 'a', 'b', 'c', 'd', 'e', 6, 'a', 'b', 'c', 'd', 'e', 0xff, 0xff, 0};
    struct tide_rope r = pieces(bytes, sizeof(bytes), 2);
    struct wire_cursor c = cursor_of(&r);
    struct wire_bytes b = wire_get_string(&c, false, false);
    struct wire_bytes null = {.null = true};
    struct wire_writer w;
    wire_writer_init(&w, pool);
    wire_put_string_slice(&w, false, &b);
    wire_put_string_slice(&w, true, &b);
    wire_put_string_slice(&w, false, &null);
    wire_put_string_slice(&w, true, &null);
    tide_rope_clear(&r);
    expect_bytes(&w, want, sizeof(want));
    wire_writer_abandon(&w);
}

static void test_records_are_spliced_in(void **state)
{
    for (int flexible = 0; flexible < 2; flexible++) {
        static const uint8_t bytes[] = {1, 2, 3};
        unsigned before = rte_mempool_avail_count(pool);
        struct tide_rope r = pieces(bytes, sizeof(bytes), 2);
        struct tide_rope rest = pieces(bytes, 1, 1);
        struct rte_mbuf *first = r.head;
        struct wire_bytes b;
        struct wire_writer w;
        wire_writer_init(&w, pool);
        wire_frame_begin(&w);
        wire_put_records(&w, flexible, &r);
        wire_put_i16(&w, 7);
        wire_put_rope(&w, &rest);
        assert_null(r.head);
        assert_null(rest.head);
        assert_true(w.out.head->next == first); /* no copy */
        assert_true(wire_frame_end(&w));

        struct wire_cursor c = cursor_of(&w.out);
        assert_int_equal(wire_get_u32(&c), w.out.len - 4);
        b = wire_get_bytes(&c, flexible, false);
        assert_int_equal(b.at.len, 3);
        assert_int_equal(wire_get_i16(&c), 7);
        assert_int_equal(wire_get_i8(&c), 1);
        assert_true(wire_done(&c));
        wire_writer_abandon(&w);
        assert_int_equal(rte_mempool_avail_count(pool), before);
    }
}

static void test_an_empty_pool_sticks(void **state)
{
    static const uint8_t bytes[200] = {1};
    struct tide_rope r = pieces(bytes, 10, 5);
    unsigned room = rte_mempool_avail_count(small);
    unsigned before = rte_mempool_avail_count(pool);
    struct wire_writer w;
    uint32_t len;
    wire_writer_init(&w, small);
    wire_frame_begin(&w);
    wire_put_i16(&w, 1);
    assert_false(w.failed);
    wire_put_raw(&w, bytes, sizeof(bytes));
    assert_true(w.failed);
    len = w.out.len;
    wire_put_i8(&w, 1); /* would fit */
    wire_put_string(&w, true, "a", 1);
    assert_int_equal(w.out.len, len);
    wire_put_records(&w, true, &r); /* dropped */
    assert_null(r.head);
    assert_int_equal(rte_mempool_avail_count(pool), before + 2);
    assert_false(wire_frame_end(&w));
    wire_writer_abandon(&w);
    assert_int_equal(rte_mempool_avail_count(small), room);
}

static void test_a_frame_without_any_mbuf(void **state)
{
    struct rte_mbuf *all[3];
    struct wire_writer w;
    assert_int_equal(rte_pktmbuf_alloc_bulk(small, all, 3), 0);
    wire_writer_init(&w, small);
    wire_frame_begin(&w);
    assert_true(w.failed);
    wire_put_i64(&w, 1);
    assert_false(wire_frame_end(&w));
    wire_writer_abandon(&w);
    rte_pktmbuf_free_bulk(all, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_split_at_every_position),
        cmocka_unit_test(test_everything_in_small_pieces),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_a_slice_ends_before_its_mbuf),
        cmocka_unit_test(test_uvarints),
        cmocka_unit_test(test_uvarints_there_and_back),
        cmocka_unit_test(test_hostile_lengths),
        cmocka_unit_test(test_a_count_of_what_is_left_is_good),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_a_failure_sticks),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_the_number_of_tags_is_bounded),
        cmocka_unit_test(test_tags_one_by_one),
        cmocka_unit_test(test_a_string_over_many_mbufs),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_written_bytes),
        cmocka_unit_test(test_string_slices_are_copied),
        cmocka_unit_test(test_records_are_spliced_in),
        cmocka_unit_test(test_an_empty_pool_sticks),
        cmocka_unit_test(test_a_frame_without_any_mbuf),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
