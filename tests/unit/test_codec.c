/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generated writers and readers of requests against each other, for every version (codec_parts.h).
 */
#include "codec_parts.h"

enum { BYTES_MAX = 8192, ROUNDS = 30 };

static uint8_t bytes[BYTES_MAX];

static void for_all(void (*one)(const struct codec_request *, int16_t v))
{
    const struct codec_requests *const all[] = {&codec_clients, &codec_admin};
    for (size_t k = 0; k < TIDE_ARRAY_LEN(all); k++)
        for (size_t i = 0; i < all[k]->count; i++)
            for (int16_t v = all[k]->at[i].low; v <= all[k]->at[i].high; v++)
                one(&all[k]->at[i], v);
}

static uint32_t written(const struct codec_request *q, int16_t v, uint64_t seed)
{
    struct tide_random r = {seed};
    struct wire_writer w;
    wire_writer_init(&w, codec_pool);
    q->write(&w, v, &r);
    uint32_t len = w.out.len;
    assert_false(w.failed);
    assert_true(len < BYTES_MAX);
    tide_slice_copy(tide_rope_slice(&w.out, 0, len), bytes);
    wire_writer_abandon(&w);
    return len;
}

static bool reads(const struct codec_request *q, int16_t v, uint32_t len, uint32_t cut)
{
    struct tide_rope rope = codec_halves(bytes, len, cut);
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
    bool good = q->read(&c, v);
    tide_rope_clear(&rope);
    return good;
}

static void there_and_back(const struct codec_request *q, int16_t v)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        uint32_t len = written(q, v, seed);
        struct tide_random cuts = {seed + 1000};
        struct tide_rope rope = codec_halves(bytes, len, (uint32_t)tide_random_below(&cuts, len + 1));
        struct tide_random r = {seed};
        struct wire_cursor c;
        wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
        q->check(&c, v, &r);
        assert_true(wire_done(&c));
        tide_rope_clear(&rope);
    }
}

static void test_there_and_back(void **state)
{
    for_all(there_and_back);
}

static void cut_at_every_byte(const struct codec_request *q, int16_t v)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint32_t len = written(q, v, seed);
        for (uint32_t cut = 0; cut < len; cut++)
            if (reads(q, v, cut, cut / 2))
                fail_msg("%s v%d taken with %u of %u bytes", q->name, v, cut, len);
    }
}

static void test_cut_at_every_byte(void **state)
{
    for_all(cut_at_every_byte);
}

static void one_byte_behind(const struct codec_request *q, int16_t v)
{
    uint32_t len = written(q, v, 1);
    bytes[len] = 0;
    assert_true(reads(q, v, len, 0));
    if (!reads(q, v, len + 1, len / 2))
        fail_msg("%s v%d refused for a byte behind", q->name, v);
}

/* Kafka does not look at it, and librdkafka 2.0.2 writes some requests so. */
static void test_one_byte_behind(void **state)
{
    for_all(one_byte_behind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_one_byte_behind),
    };
    return cmocka_run_group_tests(tests, codec_setup, codec_teardown);
}
