/* SPDX-License-Identifier: Apache-2.0 */
#include "codec_parts.h"

struct rte_mempool *codec_pool;
struct rte_mempool *codec_exact;

int codec_setup(void **state)
{
    unit_eal();
    codec_pool = unit_pool("codec", 4095, 64);
    codec_exact = unit_pool("codec_exact", 4095, 0);
    return 0;
}

int codec_teardown(void **state)
{
    assert_int_equal(rte_mempool_in_use_count(codec_pool), 0);
    assert_int_equal(rte_mempool_in_use_count(codec_exact), 0);
    return 0;
}

struct tide_rope codec_halves(const uint8_t *bytes, uint32_t len, uint32_t cut)
{
    struct tide_rope rope = {0};
    tide_rope_push(&rope, unit_exact_mbuf(codec_exact, bytes, (uint16_t)cut));
    tide_rope_push(&rope, unit_exact_mbuf(codec_exact, bytes + cut, (uint16_t)(len - cut)));
    return rope;
}

struct text draw_text(struct tide_random *r, bool nullable)
{
    struct text t = {.len = (uint32_t)tide_random_below(r, CODEC_TEXT_MAX + 1)};
    t.null = tide_random_hits(r, 4) && nullable;
    for (uint32_t i = 0; i < t.len; i++)
        t.bytes[i] = (char)('a' + tide_random_below(r, 26));
    if (t.null)
        t.len = 0;
    return t;
}

struct tide_uuid draw_uuid(struct tide_random *r)
{
    struct tide_uuid u;
    for (unsigned i = 0; i < sizeof(u.bytes); i++)
        u.bytes[i] = (uint8_t)tide_random_u64(r);
    return u;
}

int32_t draw_count(struct tide_random *r, bool nullable)
{
    int32_t n = (int32_t)tide_random_below(r, CODEC_LIST_MAX + 1);
    return tide_random_hits(r, 4) && nullable ? -1 : n;
}

struct tide_rope draw_rope(const struct text *t)
{
    struct tide_rope rope = {0};
    tide_rope_push(&rope, unit_exact_mbuf(codec_exact, t->bytes, (uint16_t)t->len));
    return rope;
}

void is_text(const struct wire_bytes *got, struct tide_random *r, bool present, bool nullable)
{
    struct text want = draw_text(r, nullable);
    char text[CODEC_TEXT_MAX + 1];
    if (!present) {
        assert_int_equal(got->at.len, 0);
        return;
    }
    assert_int_equal(got->null, want.null);
    assert_int_equal(wire_bytes_copy(got, text, sizeof(text)), want.len);
    assert_memory_equal(text, want.bytes, want.len);
}

void is_uuid(const struct tide_uuid *got, struct tide_random *r, bool present)
{
    struct tide_uuid want = draw_uuid(r);
    if (!present)
        memset(&want, 0, sizeof(want));
    assert_true(tide_uuid_equal(got, &want));
}

int32_t is_count(const struct wire_list *got, struct tide_random *r, bool nullable)
{
    int32_t want = draw_count(r, nullable);
    assert_int_equal(got->count, want);
    return want;
}

void put_texts(struct wire_writer *w, struct tide_random *r, bool flexible, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct text t = draw_text(r, false);
        wire_put_string(w, flexible, t.bytes, t.len);
    }
}

void are_texts(struct wire_list *l, struct tide_random *r, bool flexible)
{
    struct wire_bytes b;
    while (wire_list_next_string(l, flexible, &b))
        is_text(&b, r, true, false);
}

void put_numbers(struct wire_writer *w, struct tide_random *r, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        wire_put_i32(w, (int32_t)tide_random_u64(r));
}

void are_numbers(struct wire_list *l, struct tide_random *r)
{
    int32_t n;
    while (wire_list_next_i32(l, &n))
        IS(n, int32_t, true, 0);
}
