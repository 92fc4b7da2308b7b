/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/neighbour.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

#define S TIDE_NS_PER_S

static struct rte_mempool *pool;
static const struct rte_ether_addr mac_a = {{2, 0, 0, 0, 0, 0xa}};
static const struct rte_ether_addr mac_b = {{2, 0, 0, 0, 0, 0xb}};

static struct neighbour_cache *cache_new(void)
{
    struct neighbour_cache *c = malloc(sizeof(*c));
    neighbour_init(c);
    neighbour_check(c);
    return c;
}

static void cache_free(struct neighbour_cache *c)
{
    neighbour_check(c);
    neighbour_deinit(c);
    free(c);
    assert_int_equal(rte_mempool_avail_count(pool), pool->size);
}

/* Every third address is of the other family: one cache serves both. */
static struct tide_addr addr_of(uint32_t number)
{
    struct tide_addr a = tide_addr_v4(number);
    if (number % 3 == 0)
        memcpy(a.bytes, (const uint8_t[12]){0xfd}, 12);
    return a;
}

static uint16_t learn(struct neighbour_cache *c, uint64_t now_ns, uint32_t addr, const struct rte_ether_addr *mac,
                      enum neighbour_source source)
{
    struct tide_addr a = addr_of(addr);
    return neighbour_learn(c, now_ns, &a, mac, source);
}

struct way {
    enum neighbour_answer answer;
    struct rte_ether_addr mac;
    uint16_t index;
    bool must_ask;
    struct neighbour_ask ask;
};

static struct way resolve(struct neighbour_cache *c, uint64_t now_ns, uint32_t addr)
{
    struct way w = {.index = NEIGHBOUR_NONE};
    struct tide_addr a = addr_of(addr);
    w.answer = neighbour_resolve(c, now_ns, &a, &w.mac, &w.index, &w.must_ask, &w.ask);
    neighbour_check(c);
    return w;
}

static void an_unknown_neighbour_is_asked_for_once_a_second_and_three_times(void **state)
{
    struct neighbour_cache *c = cache_new();
    struct neighbour_ask asks[NEIGHBOUR_ASKS];
    unsigned lost = 0;
    struct way w = resolve(c, 5 * S, 100);
    assert_int_equal(w.answer, NEIGHBOUR_WAIT);
    assert_true(w.must_ask);
    assert_true(rte_is_broadcast_ether_addr(&w.ask.to));
    struct tide_addr hundred = addr_of(100);
    assert_memory_equal(&w.ask.addr, &hundred, sizeof(hundred));
    assert_int_equal(neighbour_hold(c, w.index, rte_pktmbuf_alloc(pool)), TIDE_OK);
    assert_false(resolve(c, 5 * S + 1, 100).must_ask);

    assert_int_equal(neighbour_deadline_ns(c), 6 * S);
    assert_int_equal(neighbour_on_time(c, 6 * S - 1, asks, &lost), 0);
    assert_int_equal(neighbour_on_time(c, 6 * S, asks, &lost), 1);
    assert_int_equal(neighbour_on_time(c, 6 * S, asks, &lost), 0);
    assert_int_equal(neighbour_on_time(c, 7 * S, asks, &lost), 1);
    assert_int_equal(lost, 0);
    assert_int_equal(neighbour_on_time(c, 8 * S, asks, &lost), 0);
    assert_int_equal(lost, 1);
    assert_int_equal(neighbour_deadline_ns(c), TIDE_NEVER);
    assert_true(resolve(c, 8 * S, 100).must_ask);
    cache_free(c);
}

static void an_answer_gives_back_what_waited_in_order(void **state)
{
    struct neighbour_cache *c = cache_new();
    struct rte_mbuf *sent[NEIGHBOUR_PENDING_EACH];
    struct way w = resolve(c, S, 100);
    for (unsigned i = 0; i < NEIGHBOUR_PENDING_EACH; i++) {
        sent[i] = rte_pktmbuf_alloc(pool);
        assert_int_equal(neighbour_hold(c, w.index, sent[i]), TIDE_OK);
        neighbour_check(c);
    }
    struct rte_mbuf *more = rte_pktmbuf_alloc(pool);
    assert_int_equal(neighbour_hold(c, w.index, more), TIDE_FULL);
    rte_pktmbuf_free(more);

    assert_int_equal(learn(c, S + 5, 100, &mac_a, NEIGHBOUR_FROM_ASK), w.index);
    for (unsigned i = 0; i < NEIGHBOUR_PENDING_EACH; i++) {
        assert_ptr_equal(neighbour_take_pending(c, w.index), sent[i]);
        rte_pktmbuf_free(sent[i]);
    }
    assert_null(neighbour_take_pending(c, w.index));
    w = resolve(c, 2 * S, 100);
    assert_int_equal(w.answer, NEIGHBOUR_SEND);
    assert_false(w.must_ask);
    assert_true(rte_is_same_ether_addr(&w.mac, &mac_a));
    cache_free(c);
}

static void all_neighbours_together_hold_a_bounded_number(void **state)
{
    struct neighbour_cache *c = cache_new();
    unsigned held = 0;
    for (uint32_t addr = 1; addr < 40; addr++) {
        struct way w = resolve(c, S, addr);
        for (unsigned i = 0; i < NEIGHBOUR_PENDING_EACH; i++) {
            struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
            if (neighbour_hold(c, w.index, m) == TIDE_OK)
                held++;
            else
                rte_pktmbuf_free(m);
        }
    }
    assert_int_equal(held, NEIGHBOUR_PENDING);
    cache_free(c);
}

static void an_old_entry_is_used_while_it_is_asked_for_again(void **state)
{
    struct neighbour_cache *c = cache_new();
    struct neighbour_ask asks[NEIGHBOUR_ASKS];
    unsigned lost = 0;
    uint64_t t = S;
    (void)learn(c, t, 100, &mac_a, NEIGHBOUR_FROM_FRAME);
    t += NEIGHBOUR_FRESH_NS;
    assert_false(resolve(c, t, 100).must_ask);
    t += 1;
    struct way w = resolve(c, t, 100);
    assert_int_equal(w.answer, NEIGHBOUR_SEND);
    assert_true(w.must_ask);
    assert_true(rte_is_same_ether_addr(&w.ask.to, &mac_a)); /* by unicast first */
    assert_int_equal(neighbour_on_time(c, t + S, asks, &lost), 1);
    assert_true(rte_is_same_ether_addr(&asks[0].to, &mac_a));
    assert_int_equal(neighbour_on_time(c, t + 2 * S, asks, &lost), 1);
    assert_true(rte_is_broadcast_ether_addr(&asks[0].to));
    assert_int_equal(resolve(c, t + 2 * S, 100).answer, NEIGHBOUR_SEND);
    assert_int_equal(neighbour_on_time(c, t + 3 * S, asks, &lost), 0);
    assert_int_equal(resolve(c, t + 3 * S, 100).answer, NEIGHBOUR_WAIT);
    (void)learn(c, t + 4 * S, 100, &mac_b, NEIGHBOUR_FROM_ASK);
    assert_int_equal(neighbour_on_time(c, t + 9 * S, asks, &lost), 0);
    cache_free(c);
}

static void who_may_replace_a_mac(void **state)
{
    static const struct {
        const char *what;
        uint64_t age_ns;
        enum neighbour_source source;
        bool replaced;
    } rows[] = {
        {"ARP to us", S, NEIGHBOUR_FROM_ASK, true},
        {"an announcement", S, NEIGHBOUR_FROM_OTHER, true},
        {"a frame, entry fresh", S, NEIGHBOUR_FROM_FRAME, false},
        {"a frame, entry old", NEIGHBOUR_FRESH_NS + 1, NEIGHBOUR_FROM_FRAME, true},
        {"an advertisement without override", S, NEIGHBOUR_FROM_WEAK, false},
        {"also when the entry is old", NEIGHBOUR_FRESH_NS + 1, NEIGHBOUR_FROM_WEAK, false},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct neighbour_cache *c = cache_new();
        print_message("  %s\n", rows[i].what);
        (void)learn(c, S, 100, &mac_a, NEIGHBOUR_FROM_ASK);
        uint16_t index = learn(c, S + rows[i].age_ns, 100, &mac_b, rows[i].source);
        assert_int_equal(index != NEIGHBOUR_NONE, rows[i].replaced);
        struct way w = resolve(c, S + rows[i].age_ns, 100);
        assert_true(rte_is_same_ether_addr(&w.mac, rows[i].replaced ? &mac_b : &mac_a));
        cache_free(c);
    }
}

/* RFC 4861 7.2.5: with override clear, another mac makes the entry stale, the same one confirms it, and a question
 * under way takes the answer. */
static void an_advertisement_without_override(void **state)
{
    struct neighbour_cache *c = cache_new();
    assert_int_equal(learn(c, S, 99, &mac_a, NEIGHBOUR_FROM_WEAK), NEIGHBOUR_NONE);
    assert_int_equal(resolve(c, S, 99).answer, NEIGHBOUR_WAIT);
    assert_int_not_equal(learn(c, S, 99, &mac_a, NEIGHBOUR_FROM_WEAK), NEIGHBOUR_NONE);
    assert_false(resolve(c, S + 1, 99).must_ask);
    assert_int_equal(learn(c, S + 2, 99, &mac_b, NEIGHBOUR_FROM_WEAK), NEIGHBOUR_NONE);
    struct way w = resolve(c, S + 3, 99);
    assert_int_equal(w.answer, NEIGHBOUR_SEND);
    assert_true(w.must_ask);
    assert_true(rte_is_same_ether_addr(&w.mac, &mac_a));
    assert_int_not_equal(learn(c, S + 4, 99, &mac_a, NEIGHBOUR_FROM_WEAK), NEIGHBOUR_NONE);
    assert_false(resolve(c, S + NEIGHBOUR_FRESH_NS, 99).must_ask);
    cache_free(c);
}

/* 0.0.0.99 as IPv4 and an IPv6 address that ends in the same bytes are two neighbours. */
static void families_do_not_mix(void **state)
{
    struct neighbour_cache *c = cache_new();
    struct tide_addr v4 = tide_addr_v4(99);
    (void)learn(c, S, 99, &mac_a, NEIGHBOUR_FROM_ASK);
    assert_int_equal(neighbour_learn(c, S, &v4, &mac_b, NEIGHBOUR_FROM_OTHER), NEIGHBOUR_NONE);
    (void)neighbour_learn(c, S, &v4, &mac_b, NEIGHBOUR_FROM_ASK);
    struct way w = resolve(c, S, 99);
    assert_true(rte_is_same_ether_addr(&w.mac, &mac_a));
    cache_free(c);
}

static void what_is_said_to_others_creates_nothing(void **state)
{
    struct neighbour_cache *c = cache_new();
    assert_int_equal(learn(c, S, 100, &mac_a, NEIGHBOUR_FROM_OTHER), NEIGHBOUR_NONE);
    assert_int_equal(resolve(c, S, 100).answer, NEIGHBOUR_WAIT);
    assert_int_not_equal(learn(c, S, 100, &mac_a, NEIGHBOUR_FROM_OTHER), NEIGHBOUR_NONE);
    assert_int_equal(resolve(c, S, 100).answer, NEIGHBOUR_SEND);
    cache_free(c);
}

static void a_full_cache_gives_up_what_was_not_used(void **state)
{
    struct neighbour_cache *c = cache_new();
    for (uint32_t i = 0; i < NEIGHBOURS; i++)
        (void)learn(c, S, 1000 + i, &mac_a, NEIGHBOUR_FROM_FRAME);
    assert_int_equal(resolve(c, 2 * S, 1000).answer, NEIGHBOUR_SEND);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_not_equal(learn(c, 2 * S, 900000 + i, &mac_b, NEIGHBOUR_FROM_FRAME), NEIGHBOUR_NONE);
        if (i % 64 == 0)
            assert_int_equal(resolve(c, 3 * S + i, 1000).answer, NEIGHBOUR_SEND);
    }
    cache_free(c);
}

static void a_cache_full_of_questions_takes_no_more(void **state)
{
    struct neighbour_cache *c = cache_new();
    struct neighbour_ask asks[NEIGHBOUR_ASKS];
    unsigned lost = 0;
    unsigned asked = 0;
    for (uint32_t i = 0; i < NEIGHBOURS; i++)
        assert_int_equal(resolve(c, S, 1000 + i).answer, NEIGHBOUR_WAIT);
    assert_int_equal(resolve(c, S, 77).answer, NEIGHBOUR_LOST);
    assert_int_equal(learn(c, S, 77, &mac_a, NEIGHBOUR_FROM_FRAME), NEIGHBOUR_NONE);
    for (unsigned call = 0; call < NEIGHBOURS / NEIGHBOUR_ASKS; call++) {
        assert_true(neighbour_deadline_ns(c) <= 2 * S);
        asked += neighbour_on_time(c, 2 * S, asks, &lost);
        neighbour_check(c);
    }
    assert_int_equal(asked, NEIGHBOURS);
    assert_int_equal(neighbour_on_time(c, 2 * S, asks, &lost), 0);
    cache_free(c);
}

static void random_lives(void **state)
{
    struct tide_random r = {20};
    struct neighbour_cache *c = cache_new();
    struct neighbour_ask asks[NEIGHBOUR_ASKS];
    struct neighbour remembered = {0};
    uint64_t generation = 0;
    uint16_t at = 0;
    unsigned lost = 0, held = 0;
    uint64_t t = S;
    for (unsigned i = 0; i < 60000; i++) {
        uint32_t addr = 1 + (uint32_t)tide_random_below(&r, 1500);
        struct rte_ether_addr mac = tide_random_hits(&r, 2) ? mac_a : mac_b;
        t += tide_random_below(&r, S / 20);
        if (tide_random_hits(&r, 2)) {
            uint16_t index = learn(c, t, addr, &mac, (enum neighbour_source)tide_random_below(&r, NEIGHBOUR_SOURCE_COUNT));
            struct rte_mbuf *m;
            while (index != NEIGHBOUR_NONE && (m = neighbour_take_pending(c, index)) != NULL)
                rte_pktmbuf_free(m);
        } else {
            struct rte_ether_addr to;
            struct neighbour_ask ask;
            uint16_t index;
            bool must_ask;
            struct tide_addr a = addr_of(addr);
            enum neighbour_answer answer = neighbour_resolve(c, t, &a, &to, &index, &must_ask, &ask);
            if (answer == NEIGHBOUR_WAIT) {
                struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
                if (neighbour_hold(c, index, m) != TIDE_OK)
                    rte_pktmbuf_free(m);
            } else if (answer == NEIGHBOUR_SEND && c->generation != generation) {
                generation = c->generation;
                remembered = c->neighbours[index];
                at = index;
            }
        }
        if (c->generation == generation) { /* A4 */
            const struct neighbour *n = &c->neighbours[at];
            assert_true(n->state == NEIGHBOUR_REACHABLE || n->state == NEIGHBOUR_REFRESHING);
            assert_memory_equal(&n->addr, &remembered.addr, sizeof(n->addr));
            assert_memory_equal(&n->mac, &remembered.mac, sizeof(n->mac));
            held++;
        }
        if (t >= neighbour_deadline_ns(c))
            (void)neighbour_on_time(c, t, asks, &lost);
        if (i % 50 == 0)
            neighbour_check(c);
    }
    assert_true(held > 1000);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_neighbour_is_asked_for_once_a_second_and_three_times),
        cmocka_unit_test(an_answer_gives_back_what_waited_in_order),
        cmocka_unit_test(all_neighbours_together_hold_a_bounded_number),
        cmocka_unit_test(an_old_entry_is_used_while_it_is_asked_for_again),
        cmocka_unit_test(who_may_replace_a_mac),
        cmocka_unit_test(an_advertisement_without_override),
        cmocka_unit_test(families_do_not_mix),
        cmocka_unit_test(what_is_said_to_others_creates_nothing),
        cmocka_unit_test(a_full_cache_gives_up_what_was_not_used),
        cmocka_unit_test(a_cache_full_of_questions_takes_no_more),
        cmocka_unit_test(random_lives),
    };
    unit_eal();
    pool = unit_pool("neighbour", 511, 128);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
