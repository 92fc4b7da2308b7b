/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "edge/ptp.h"

#include "tidemark/types.h"

#define US 1000

/* Readings as cards give them: one was interrupted, the others took two microseconds across PCI Express. */
static void the_quickest_reading_tells(void **state)
{
    static const int64_t at = 1764334800000000000;
    static const int64_t tai = 37000000000;
    const struct {
        const char *what;
        int64_t times[7];
        bool known;
        int64_t ns;
        uint64_t within;
    } rows[] = {
        {"equal", {at, at + 1 * US, at + 2 * US, at + 3 * US, at + 4 * US, at + 5 * US, at + 6 * US}, true, 0, 1 * US},
        {"interrupted twice", {at, at + 90 * US, at + 100 * US, at + 101 * US + 7, at + 102 * US, at + 190 * US, at + 202 * US}, true, 7, 1 * US},
        {"ahead by the leap seconds", {at, at + tai + 1 * US, at + 2 * US, at + tai + 4 * US, at + 6 * US, at + tai + 9 * US, at + 12 * US}, true, tai, 1 * US},
        {"behind", {at, at - 5 * US, at + 10 * US, at, at + 20 * US, at + 19 * US, at + 22 * US}, true, -2 * US, 1 * US},
        {"a card that counts from its start", {at, 12 * US, at + 2 * US, 90 * US, at + 88 * US, 200 * US, at + 300 * US}, true, 12 * US - at - 1 * US, 1 * US},
        {"the system's clock went back once", {at, at + US, at - 5 * US, at - 4 * US, at - 3 * US, at, at + 9 * US}, true, 0, 1 * US},
        {"and every time", {at, at, at - 1, at, at - 2, at, at - 3}, false, 0, 0},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct ptp_offset o = {0};
        print_message("  %s\n", rows[i].what);
        assert_int_equal(ptp_offset_of(rows[i].times, 3, &o), rows[i].known);
        assert_true(o.ns == rows[i].ns);
        assert_true(o.within_ns == rows[i].within);
    }
}

static void an_interface_without_a_clock(void **state)
{
    static const char *const names[] = {"lo", "nosuchif0", ""};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(names); i++) {
        struct ptp p;
        char error[256] = "";
        assert_int_equal(ptp_open(&p, names[i], error, sizeof(error)), TIDE_ABSENT);
        ptp_look(&p, 5);
        assert_false(p.is_known);
        ptp_close(&p);
    }
}

/* What is no clock (any file) is not known; it is tried again a second later, and not before. */
static void a_clock_that_cannot_be_read(void **state)
{
    struct ptp p = {.index = 0, .fd = dup(0), .is_known = true};
    ptp_look(&p, 7);
    assert_false(p.is_known);
    assert_true(p.next_ns == 7 + PTP_LOOK_NS);
    p.is_known = true;
    ptp_look(&p, 6 + PTP_LOOK_NS);
    assert_true(p.is_known);
    ptp_look(&p, 7 + PTP_LOOK_NS);
    assert_false(p.is_known);
    ptp_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickest_reading_tells),
        cmocka_unit_test(an_interface_without_a_clock),
        cmocka_unit_test(a_clock_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
