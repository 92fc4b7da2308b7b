/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdlib.h>

#include "nic/port_clock.h"
#include "tidemark/random.h"

#define MS TIDE_NS_PER_MS
#define S TIDE_NS_PER_S

static struct port_clock c;

/* The port's clock, read at `ns` in so many ns. */
static bool look(uint64_t ns, uint64_t ticks, uint64_t took)
{
    struct port_clock_reading r = {.ticks = ticks, .before_ns = ns - took / 2, .after_ns = ns - took / 2 + took};
    bool news = port_clock_on_reading(&c, &r);
    port_clock_check(&c);
    return news;
}

static uint64_t error_of(uint64_t ticks, uint64_t ns)
{
    uint64_t told = 0;
    assert_true(port_clock_ns(&c.model, ticks, &told));
    return told > ns ? told - ns : ns - told;
}

/* Clocks of every rate that cards have, one of which wraps, for a minute with readings that are off by some microseconds. */
static void a_line_follows_the_clock(void **state)
{
    static const struct {
        double ticks_per_ns;
        uint64_t first;
    } rows[] = {
        {1, 12345}, {1, 0ull - 3 * S}, {0.078125, 0}, {0.1, UINT64_MAX}, {1.000099, 5}, {0.001, 1}, {2.5, 1ull << 63}, {7.9, 0},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct tide_random random = {i};
        double rate = rows[i].ticks_per_ns;
        uint64_t start = 77 * S, worst = 0;

        port_clock_init(&c, true);
        assert_false(look(start, rows[i].first, 2000));
        assert_int_equal(c.state, PORT_CLOCK_LEARNING);
        for (uint64_t at = 200 * MS; at < 60 * S; at += at == 200 * MS ? 800 * MS : S) {
            int64_t off = (int64_t)tide_random_below(&random, 4000) - 2000;
            assert_true(look(start + at + (uint64_t)off, rows[i].first + (uint64_t)((double)at * rate), 4000));
            assert_int_equal(c.state, PORT_CLOCK_KNOWN);
            for (uint64_t later = 0; at > S && later < S; later += 100 * MS)
                worst = TIDE_MAX(worst, error_of(rows[i].first + (uint64_t)((double)(at + later) * rate), start + at + later));
        }
        print_message("  %.6f ticks a ns: off by %lu ns\n", rate, worst);
        assert_true(worst < 12000); /* twice the two errors that a line is drawn through */
        assert_int_equal(c.lost, 0);
    }
}

/* No frame is told by a line that does not reach it. */
static void a_line_reaches_so_far(void **state)
{
    uint64_t told;
    port_clock_init(&c, true);
    (void)look(10 * S, 1000, 0);
    (void)look(11 * S, 1000 + S, 0);
    assert_int_equal(error_of(1000 + S + 4 * S, 15 * S), 0);
    assert_int_equal(error_of(1000 + S - 4 * S, 7 * S), 0);
    assert_false(port_clock_ns(&c.model, 1000 + S + PORT_CLOCK_STALE_NS + 1, &told));
    assert_false(port_clock_ns(&c.model, 1000 + S - PORT_CLOCK_STALE_NS - 1, &told));
    assert_false(port_clock_ns(&c.model, 0x8000000000000000ull + 1000 + S, &told));
}

/* Rows are readings behind a clock of one tick a ns that is known since 1 s. */
static void what_ends_a_line(void **state)
{
    static const struct {
        const char *what;
        uint64_t ns, ticks, took;
        bool known;
    } rows[] = {
        {"as foreseen", 2 * S, 2 * S, 10, true},
        {"a little off", 2 * S, 2 * S + 900000, 10, true},
        {"ahead by more than it may", 2 * S, 2 * S + 1000001 + 1, 10, false},
        {"behind by more than it may", 2 * S, 2 * S - 1000001 - 1, 10, false},
        {"set to another time", 2 * S, 1764000000 * S, 10, false},
        {"began anew", 2 * S, 5, 10, false},
        {"stands still", 2 * S, S, 10, false},
        {"half as fast", 2 * S, S + S / 2, 10, false},
        {"a reading that took too long is left out", 2 * S, 5, PORT_CLOCK_READ_MAX_NS + 2, true},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        port_clock_init(&c, true);
        (void)look(800 * MS, 800 * MS, 10);
        (void)look(S, S, 10);
        assert_int_equal(c.state, PORT_CLOCK_KNOWN);
        print_message("  %s\n", rows[i].what);
        bool news = look(rows[i].ns, rows[i].ticks, rows[i].took);
        assert_int_equal(c.state == PORT_CLOCK_KNOWN, rows[i].known);
        assert_int_equal(news, rows[i].took == 10); /* a new line, or none any more */
        assert_int_equal(c.lost, !rows[i].known);
        if (rows[i].known)
            continue;
        /* That reading is the first of two. */
        assert_true(look(rows[i].ns + 200 * MS, rows[i].ticks + 200 * MS, 10));
        assert_int_equal(c.state, PORT_CLOCK_KNOWN);
        assert_int_equal(error_of(rows[i].ticks + 100 * MS, rows[i].ns + 100 * MS), 0);
    }
}

static void a_clock_that_is_not_read_is_forgotten(void **state)
{
    port_clock_init(&c, true);
    (void)look(S, S, 10);
    (void)look(2 * S, 2 * S, 10);
    assert_int_equal(port_clock_deadline_ns(&c), 3 * S);
    assert_false(port_clock_on_silence(&c, 3 * S));
    assert_int_equal(port_clock_deadline_ns(&c), 3 * S + PORT_CLOCK_APART_NS);
    assert_false(port_clock_on_silence(&c, 2 * S + PORT_CLOCK_STALE_NS - 1));
    assert_true(port_clock_on_silence(&c, 2 * S + PORT_CLOCK_STALE_NS));
    assert_int_equal(c.state, PORT_CLOCK_LEARNING);
    assert_false(port_clock_on_silence(&c, 9 * S));
    assert_false(look(10 * S, 10 * S, 10)); /* nothing of before is a first reading */
    assert_true(look(11 * S, 11 * S, 10));
    /* Readings that all take too long are no readings. */
    assert_false(look(12 * S, 12 * S, PORT_CLOCK_READ_MAX_NS + 2));
    assert_true(look(17 * S, 17 * S, PORT_CLOCK_READ_MAX_NS + 2));
    assert_int_equal(c.unsure, 2);
    assert_int_equal(c.lost, 2);
}

static void a_port_that_starts_anew(void **state)
{
    port_clock_init(&c, true);
    assert_false(port_clock_on_restart(&c));
    (void)look(S, S, 10);
    (void)look(2 * S, 2 * S, 10);
    assert_true(port_clock_on_restart(&c));
    assert_int_equal(c.state, PORT_CLOCK_LEARNING);
    assert_int_equal(port_clock_deadline_ns(&c), 0); /* at once */
    assert_false(look(3 * S, 100, 10));
    assert_true(look(4 * S, 100 + S, 10));
}

static void a_port_without_a_clock(void **state)
{
    port_clock_init(&c, false);
    assert_true(port_clock_deadline_ns(&c) == TIDE_NEVER);
    assert_false(look(S, S, 10));
    assert_false(look(2 * S, 2 * S, 10));
    assert_false(port_clock_on_silence(&c, 100 * S));
    assert_false(port_clock_on_restart(&c));
    assert_int_equal(c.state, PORT_CLOCK_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_follows_the_clock),
        cmocka_unit_test(a_line_reaches_so_far),
        cmocka_unit_test(what_ends_a_line),
        cmocka_unit_test(a_clock_that_is_not_read_is_forgotten),
        cmocka_unit_test(a_port_that_starts_anew),
        cmocka_unit_test(a_port_without_a_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
