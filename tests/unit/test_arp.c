/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "net/arp.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"

#define S TIDE_NS_PER_S

static struct rte_mempool *pool;
static const struct rte_ether_addr mac_a = {{2, 0, 0, 0, 0, 0xa}};
static const struct rte_ether_addr mac_b = {{2, 0, 0, 0, 0, 0xb}};

static struct arp_cache *cache_new(void)
{
    struct arp_cache *c = malloc(sizeof(*c));
    arp_init(c);
    arp_check(c);
    return c;
}

static void cache_free(struct arp_cache *c)
{
    arp_check(c);
    arp_deinit(c);
    free(c);
    assert_int_equal(rte_mempool_avail_count(pool), pool->size);
}

struct way {
    enum arp_answer answer;
    struct rte_ether_addr mac;
    uint16_t index;
    bool must_ask;
    struct arp_ask ask;
};

static struct way resolve(struct arp_cache *c, uint64_t now_ns, uint32_t addr)
{
    struct way w = {.index = ARP_NONE};
    w.answer = arp_resolve(c, now_ns, addr, &w.mac, &w.index, &w.must_ask, &w.ask);
    arp_check(c);
    return w;
}

static void packets(void **state)
{
    static const struct {
        const char *what;
        uint8_t at, value;
        uint32_t len;
        enum tide_status status;
    } rows[] = {
        {"good request", 7, 1, 28, TIDE_OK},
        {"good reply", 7, 2, 28, TIDE_OK},
        {"reverse ARP", 7, 3, 28, TIDE_BAD},
        {"operation 0", 7, 0, 28, TIDE_BAD},
        {"operation 257", 6, 1, 28, TIDE_BAD},
        {"cut", 7, 1, 27, TIDE_BAD},
        {"empty", 7, 1, 0, TIDE_BAD},
        {"hardware 6", 1, 6, 28, TIDE_BAD},
        {"protocol IPv6", 2, 0x86, 28, TIDE_BAD},
        {"hardware length 8", 4, 8, 28, TIDE_BAD},
        {"protocol length 16", 5, 16, 28, TIDE_BAD},
        {"multicast sender", 8, 1, 28, TIDE_BAD},
        {"broadcast sender", 8, 0xff, 28, TIDE_BAD},
    };
    struct arp_packet good = {.operation = ARP_REQUEST,
                              .sender_mac = mac_a,
                              .target_mac = mac_b,
                              .sender = 0x0a000002,
                              .target = 0x0a000001};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[ARP_PACKET];
        struct arp_packet p;
        print_message("  %s\n", rows[i].what);
        arp_write(bytes, &good);
        bytes[rows[i].at] = rows[i].value;
        uint8_t *exact = malloc(rows[i].len + 1);
        memcpy(exact + 1, bytes, rows[i].len);
        assert_int_equal(arp_parse(exact + 1, rows[i].len, &p), rows[i].status);
        free(exact);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(p.operation, rows[i].value);
        assert_int_equal(p.sender, good.sender);
        assert_int_equal(p.target, good.target);
        assert_true(rte_is_same_ether_addr(&p.sender_mac, &mac_a));
        assert_true(rte_is_same_ether_addr(&p.target_mac, &mac_b));
    }
}

static void an_unknown_neighbour_is_asked_for_once_a_second_and_three_times(void **state)
{
    struct arp_cache *c = cache_new();
    struct arp_ask asks[ARP_ASKS];
    unsigned lost = 0;
    struct way w = resolve(c, 5 * S, 100);
    assert_int_equal(w.answer, ARP_WAIT);
    assert_true(w.must_ask);
    assert_true(rte_is_broadcast_ether_addr(&w.ask.to));
    assert_int_equal(w.ask.addr, 100);
    assert_int_equal(arp_hold(c, w.index, rte_pktmbuf_alloc(pool)), TIDE_OK);
    assert_false(resolve(c, 5 * S + 1, 100).must_ask);

    assert_int_equal(arp_deadline_ns(c), 6 * S);
    assert_int_equal(arp_on_time(c, 6 * S - 1, asks, &lost), 0);
    assert_int_equal(arp_on_time(c, 6 * S, asks, &lost), 1);
    assert_int_equal(arp_on_time(c, 6 * S, asks, &lost), 0);
    assert_int_equal(arp_on_time(c, 7 * S, asks, &lost), 1);
    assert_int_equal(lost, 0);
    assert_int_equal(arp_on_time(c, 8 * S, asks, &lost), 0);
    assert_int_equal(lost, 1);
    assert_int_equal(arp_deadline_ns(c), TIDE_NEVER);
    assert_true(resolve(c, 8 * S, 100).must_ask);
    cache_free(c);
}

static void an_answer_gives_back_what_waited_in_order(void **state)
{
    struct arp_cache *c = cache_new();
    struct rte_mbuf *sent[ARP_PENDING_EACH];
    struct way w = resolve(c, S, 100);
    for (unsigned i = 0; i < ARP_PENDING_EACH; i++) {
        sent[i] = rte_pktmbuf_alloc(pool);
        assert_int_equal(arp_hold(c, w.index, sent[i]), TIDE_OK);
        arp_check(c);
    }
    struct rte_mbuf *more = rte_pktmbuf_alloc(pool);
    assert_int_equal(arp_hold(c, w.index, more), TIDE_FULL);
    rte_pktmbuf_free(more);

    assert_int_equal(arp_learn(c, S + 5, 100, &mac_a, ARP_FROM_ARP), w.index);
    for (unsigned i = 0; i < ARP_PENDING_EACH; i++) {
        assert_ptr_equal(arp_take_pending(c, w.index), sent[i]);
        rte_pktmbuf_free(sent[i]);
    }
    assert_null(arp_take_pending(c, w.index));
    w = resolve(c, 2 * S, 100);
    assert_int_equal(w.answer, ARP_SEND);
    assert_false(w.must_ask);
    assert_true(rte_is_same_ether_addr(&w.mac, &mac_a));
    cache_free(c);
}

static void all_neighbours_together_hold_a_bounded_number(void **state)
{
    struct arp_cache *c = cache_new();
    unsigned held = 0;
    for (uint32_t addr = 1; addr < 40; addr++) {
        struct way w = resolve(c, S, addr);
        for (unsigned i = 0; i < ARP_PENDING_EACH; i++) {
            struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
            if (arp_hold(c, w.index, m) == TIDE_OK)
                held++;
            else
                rte_pktmbuf_free(m);
        }
    }
    assert_int_equal(held, ARP_PENDING);
    cache_free(c);
}

static void an_old_entry_is_used_while_it_is_asked_for_again(void **state)
{
    struct arp_cache *c = cache_new();
    struct arp_ask asks[ARP_ASKS];
    unsigned lost = 0;
    uint64_t t = S;
    (void)arp_learn(c, t, 100, &mac_a, ARP_FROM_FRAME);
    t += ARP_FRESH_NS;
    assert_false(resolve(c, t, 100).must_ask);
    t += 1;
    struct way w = resolve(c, t, 100);
    assert_int_equal(w.answer, ARP_SEND);
    assert_true(w.must_ask);
    assert_true(rte_is_same_ether_addr(&w.ask.to, &mac_a)); /* by unicast first */
    assert_int_equal(arp_on_time(c, t + S, asks, &lost), 1);
    assert_true(rte_is_same_ether_addr(&asks[0].to, &mac_a));
    assert_int_equal(arp_on_time(c, t + 2 * S, asks, &lost), 1);
    assert_true(rte_is_broadcast_ether_addr(&asks[0].to));
    assert_int_equal(resolve(c, t + 2 * S, 100).answer, ARP_SEND);
    assert_int_equal(arp_on_time(c, t + 3 * S, asks, &lost), 0);
    assert_int_equal(resolve(c, t + 3 * S, 100).answer, ARP_WAIT);
    (void)arp_learn(c, t + 4 * S, 100, &mac_b, ARP_FROM_ARP);
    assert_int_equal(arp_on_time(c, t + 9 * S, asks, &lost), 0);
    cache_free(c);
}

static void who_may_replace_a_mac(void **state)
{
    static const struct {
        const char *what;
        uint64_t age_ns;
        enum arp_source source;
        bool replaced;
    } rows[] = {
        {"ARP to us", S, ARP_FROM_ARP, true},
        {"an announcement", S, ARP_FROM_OTHER, true},
        {"a frame, entry fresh", S, ARP_FROM_FRAME, false},
        {"a frame, entry old", ARP_FRESH_NS + 1, ARP_FROM_FRAME, true},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arp_cache *c = cache_new();
        print_message("  %s\n", rows[i].what);
        (void)arp_learn(c, S, 100, &mac_a, ARP_FROM_ARP);
        uint16_t index = arp_learn(c, S + rows[i].age_ns, 100, &mac_b, rows[i].source);
        assert_int_equal(index != ARP_NONE, rows[i].replaced);
        struct way w = resolve(c, S + rows[i].age_ns, 100);
        assert_true(rte_is_same_ether_addr(&w.mac, rows[i].replaced ? &mac_b : &mac_a));
        cache_free(c);
    }
}

static void what_is_said_to_others_creates_nothing(void **state)
{
    struct arp_cache *c = cache_new();
    assert_int_equal(arp_learn(c, S, 100, &mac_a, ARP_FROM_OTHER), ARP_NONE);
    assert_int_equal(resolve(c, S, 100).answer, ARP_WAIT);
    assert_int_not_equal(arp_learn(c, S, 100, &mac_a, ARP_FROM_OTHER), ARP_NONE);
    assert_int_equal(resolve(c, S, 100).answer, ARP_SEND);
    cache_free(c);
}

static void a_full_cache_gives_up_what_was_not_used(void **state)
{
    struct arp_cache *c = cache_new();
    for (uint32_t i = 0; i < ARP_NEIGHBOURS; i++)
        (void)arp_learn(c, S, 1000 + i, &mac_a, ARP_FROM_FRAME);
    assert_int_equal(resolve(c, 2 * S, 1000).answer, ARP_SEND);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_not_equal(arp_learn(c, 2 * S, 900000 + i, &mac_b, ARP_FROM_FRAME), ARP_NONE);
        if (i % 64 == 0)
            assert_int_equal(resolve(c, 3 * S + i, 1000).answer, ARP_SEND);
    }
    cache_free(c);
}

static void a_cache_full_of_questions_takes_no_more(void **state)
{
    struct arp_cache *c = cache_new();
    struct arp_ask asks[ARP_ASKS];
    unsigned lost = 0;
    unsigned asked = 0;
    for (uint32_t i = 0; i < ARP_NEIGHBOURS; i++)
        assert_int_equal(resolve(c, S, 1000 + i).answer, ARP_WAIT);
    assert_int_equal(resolve(c, S, 77).answer, ARP_LOST);
    assert_int_equal(arp_learn(c, S, 77, &mac_a, ARP_FROM_FRAME), ARP_NONE);
    for (unsigned call = 0; call < ARP_NEIGHBOURS / ARP_ASKS; call++) {
        assert_true(arp_deadline_ns(c) <= 2 * S);
        asked += arp_on_time(c, 2 * S, asks, &lost);
        arp_check(c);
    }
    assert_int_equal(asked, ARP_NEIGHBOURS);
    assert_int_equal(arp_on_time(c, 2 * S, asks, &lost), 0);
    cache_free(c);
}

static void random_lives(void **state)
{
    struct tide_random r = {20};
    struct arp_cache *c = cache_new();
    struct arp_ask asks[ARP_ASKS];
    unsigned lost = 0;
    uint64_t t = S;
    for (unsigned i = 0; i < 60000; i++) {
        uint32_t addr = 1 + (uint32_t)tide_random_below(&r, 1500);
        struct rte_ether_addr mac = tide_random_hits(&r, 2) ? mac_a : mac_b;
        t += tide_random_below(&r, S / 20);
        if (tide_random_hits(&r, 2)) {
            uint16_t index = arp_learn(c, t, addr, &mac, (enum arp_source)tide_random_below(&r, 3));
            struct rte_mbuf *m;
            while (index != ARP_NONE && (m = arp_take_pending(c, index)) != NULL)
                rte_pktmbuf_free(m);
        } else {
            struct rte_ether_addr to;
            struct arp_ask ask;
            uint16_t index;
            bool must_ask;
            if (arp_resolve(c, t, addr, &to, &index, &must_ask, &ask) == ARP_WAIT) {
                struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
                if (arp_hold(c, index, m) != TIDE_OK)
                    rte_pktmbuf_free(m);
            }
        }
        if (t >= arp_deadline_ns(c))
            (void)arp_on_time(c, t, asks, &lost);
        if (i % 50 == 0)
            arp_check(c);
    }
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets),
        cmocka_unit_test(an_unknown_neighbour_is_asked_for_once_a_second_and_three_times),
        cmocka_unit_test(an_answer_gives_back_what_waited_in_order),
        cmocka_unit_test(all_neighbours_together_hold_a_bounded_number),
        cmocka_unit_test(an_old_entry_is_used_while_it_is_asked_for_again),
        cmocka_unit_test(who_may_replace_a_mac),
        cmocka_unit_test(what_is_said_to_others_creates_nothing),
        cmocka_unit_test(a_full_cache_gives_up_what_was_not_used),
        cmocka_unit_test(a_cache_full_of_questions_takes_no_more),
        cmocka_unit_test(random_lives),
    };
    unit_eal();
    pool = unit_pool("arp", 511, 128);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
