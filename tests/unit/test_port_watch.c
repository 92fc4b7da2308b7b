/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdlib.h>

#include "nic/port_watch.h"
#include "tidemark/random.h"

#define MS TIDE_NS_PER_MS

static struct port_watch w;

static uint32_t see(uint64_t ms, unsigned port, bool link, uint32_t waiting, uint64_t sent, bool reset, bool can_restart)
{
    struct port_signs s = {.link = link, .wants_reset = reset, .can_restart = can_restart, .waiting = waiting, .sent = sent};
    uint32_t news = port_watch_on_signs(&w, ms * MS, port, &s);
    port_watch_check(&w);
    return news;
}

static void links_go_and_come(void **state)
{
    port_watch_init(&w, 1, 2000 * MS);
    assert_int_equal(see(0, 0, true, 0, 0, false, true), 0);
    assert_int_equal(see(50, 0, false, 0, 0, false, true), PORT_NEWS_DOWN);
    assert_int_equal(see(100, 0, false, 0, 0, false, true), 0);
    assert_int_equal(see(150, 0, true, 0, 0, false, true), PORT_NEWS_UP);
    assert_int_equal(w.lives[0].downs, 1);
    assert_false(port_watch_choose(&w)); /* there is no other */
    port_watch_init(&w, 1, 0);
    assert_int_equal(see(0, 0, false, 0, 0, false, true), PORT_NEWS_DOWN); /* it begins so */
}

static void a_ring_that_stands_still_is_stuck(void **state)
{
    port_watch_init(&w, 1, 2000 * MS);
    (void)see(0, 0, true, 5, 10, false, false);
    assert_int_equal(see(1000, 0, true, 5, 10, false, false), 0);
    assert_int_equal(see(1900, 0, true, 9, 11, false, false), 0); /* one left */
    assert_int_equal(see(3800, 0, true, 9, 11, false, false), 0);
    assert_int_equal(see(4000, 0, true, 9, 11, false, false), 0);
    assert_int_equal(see(5800, 0, true, 9, 11, false, false), PORT_NEWS_STUCK);
    assert_int_equal(see(9000, 0, true, 9, 11, false, false), 0); /* said once */
    assert_int_equal(see(9050, 0, true, 9, 12, false, false), 0);
    assert_int_equal(see(9100, 0, true, 9, 12, false, false), 0);
    assert_int_equal(see(11100, 0, true, 9, 12, false, false), PORT_NEWS_STUCK);
    assert_int_equal(w.lives[0].stucks, 2);
    (void)see(12000, 0, false, 9, 12, false, false); /* without a link nothing can leave */
    assert_int_equal(see(20000, 0, false, 9, 12, false, false), 0);
    assert_int_equal(see(20050, 0, true, 9, 12, false, false), PORT_NEWS_UP);
    assert_int_equal(see(22000, 0, true, 9, 12, false, false), 0);
    assert_int_equal(see(22050, 0, true, 9, 12, false, false), PORT_NEWS_STUCK);
    port_watch_init(&w, 1, 0);
    (void)see(0, 0, true, 5, 10, false, true);
    assert_int_equal(see(100000, 0, true, 5, 10, false, true), 0);
}

static void a_stuck_port_is_started_anew(void **state)
{
    port_watch_init(&w, 1, 2000 * MS);
    (void)see(0, 0, true, 5, 10, false, true);
    assert_int_equal(see(2000, 0, true, 5, 10, false, true), 0);
    assert_int_equal(see(3950, 0, true, 5, 10, false, true), 0);
    assert_int_equal(see(4000, 0, true, 5, 10, false, true), PORT_NEWS_STUCK | PORT_NEWS_LEAVE);
    assert_int_equal(see(4050, 0, true, 5, 10, false, true), 0);
    assert_int_equal(w.lives[0].state, PORT_LEAVING);
    port_watch_on_quiet(&w, 4100 * MS, 0);
    assert_int_equal(see(4100, 0, true, 5, 10, false, true), PORT_NEWS_RESTART);
    port_watch_on_restarted(&w, 4100 * MS, 0, false);
    assert_int_equal(see(4200, 0, true, 5, 10, false, true), 0);
    assert_true(w.lives[0].with_reset);
    assert_int_equal(see(5100, 0, true, 5, 10, false, true), PORT_NEWS_RESTART);
    port_watch_on_restarted(&w, 5100 * MS, 0, true);
    assert_int_equal(w.lives[0].state, PORT_IN);
    assert_int_equal(w.lives[0].restarts, 1);
    assert_int_equal(see(5150, 0, true, 0, 15, false, true), 0);
}

static void a_driver_may_ask_for_a_reset(void **state)
{
    port_watch_init(&w, 1, 2000 * MS);
    assert_int_equal(see(0, 0, true, 0, 0, true, true), PORT_NEWS_LEAVE);
    assert_int_equal(see(50, 0, true, 0, 0, false, true), 0);
    port_watch_on_quiet(&w, 60 * MS, 0);
    assert_int_equal(see(60, 0, true, 0, 0, true, true), PORT_NEWS_RESTART); /* and once more meanwhile: one reset does */
    port_watch_on_restarted(&w, 60 * MS, 0, true);
    assert_int_equal(see(100, 0, true, 0, 0, false, true), 0);
    assert_int_equal(w.lives[0].resets, 2);
    assert_int_equal(see(150, 0, true, 0, 0, true, false), 0); /* a kernel's interface is its driver's to reset */
    assert_int_equal(w.lives[0].state, PORT_IN);
}

static void the_address_moves_and_stays(void **state)
{
    port_watch_init(&w, 2, 2000 * MS);
    (void)see(0, 0, true, 0, 0, false, true);
    (void)see(0, 1, true, 0, 0, false, true);
    assert_false(port_watch_choose(&w));
    (void)see(50, 0, false, 0, 0, false, true);
    assert_true(port_watch_choose(&w));
    assert_int_equal(w.active, 1);
    (void)see(100, 0, true, 0, 0, false, true);
    assert_false(port_watch_choose(&w)); /* it does not come back by itself */
    (void)see(150, 1, true, 0, 0, true, true); /* being started anew is as good as no link */
    assert_true(port_watch_choose(&w));
    assert_int_equal(w.active, 0);
    (void)see(200, 0, false, 0, 0, false, true);
    assert_false(port_watch_choose(&w)); /* nobody can: it stays */
    assert_int_equal(w.active, 0);
    assert_int_equal(w.failovers, 2);
}

/* Whatever is seen: only legal moves (asserted), and the active port is one that can carry if any can. */
static void chance(void **state)
{
    struct tide_random r = {11};
    for (unsigned run = 0; run < 200; run++) {
        uint64_t now = 0;
        unsigned count = 1 + (unsigned)tide_random_below(&r, 3);
        port_watch_init(&w, count, tide_random_below(&r, 3) * 300 * MS);
        for (unsigned step = 0; step < 300; step++) {
            bool can = false;
            now += 50;
            for (unsigned i = 0; i < count; i++) {
                bool link = tide_random_below(&r, 8) != 0;
                uint32_t news = see(now, i, link, (uint32_t)tide_random_below(&r, 2), tide_random_below(&r, 3), tide_random_below(&r, 50) == 0, i != 2);
                if (w.lives[i].state == PORT_LEAVING && tide_random_below(&r, 2) == 0)
                    port_watch_on_quiet(&w, now * MS, i);
                else if (news & PORT_NEWS_RESTART)
                    port_watch_on_restarted(&w, now * MS, i, tide_random_below(&r, 2) == 0);
            }
            (void)port_watch_choose(&w);
            for (unsigned i = 0; i < count; i++)
                can |= w.lives[i].state == PORT_IN && w.lives[i].link;
            if (can)
                assert_true(w.lives[w.active].state == PORT_IN && w.lives[w.active].link);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_go_and_come),           cmocka_unit_test(a_ring_that_stands_still_is_stuck), cmocka_unit_test(a_stuck_port_is_started_anew),
        cmocka_unit_test(a_driver_may_ask_for_a_reset), cmocka_unit_test(the_address_moves_and_stays),       cmocka_unit_test(chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
