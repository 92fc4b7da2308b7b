/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of one broker: what an acknowledgement means, and what is there after the power went. */
#include <stdio.h>

#include "../unit/unit.h"
#include "story.h"

static struct story *one_broker(void)
{
    struct story *s = story_begin(1);
    story_boots(s, 1);
    story_leads(s, 1);
    story_client(s, "ann", 1);
    story_client(s, "ben", 1);
    story_told(s, "   0  broker 1 boots: its log ends at 0\n"
                  "   0  broker 1 leads epoch 1\n");
    return s;
}

/* P1: the answer to acks=all waits for the disk. */
static void durable_then_answered(void **state)
{
    struct story *s = one_broker();
    story_sends(s, "ann", -1, "red green");
    story_passes(s, 5);
    story_told(s, "   0  ann sends red, green with acks=all\n"
                  "   0  broker 1 appends: its log ends at 2\n"
                  "   0  broker 1: its disk holds all below 2, committed is all below 2\n"
                  "   0  ann hears: red, green are at 0\n");
    story_end(s);
}

/* P2: so does acks=1; acks=0 is not answered at all. */
static void one_waits_for_the_leader_and_none_for_nobody(void **state)
{
    struct story *s = one_broker();
    story_sends(s, "ann", 1, "red");
    story_passes(s, 2);
    story_sends(s, "ann", 0, "green");
    story_passes(s, 2);
    story_told(s, "   0  ann sends red with acks=1\n"
                  "   0  broker 1 appends: its log ends at 1\n"
                  "   0  broker 1: its disk holds all below 1, committed is all below 1\n"
                  "   0  ann hears: red is at 0\n"
                  "   2  ann sends green with acks=0\n"
                  "   2  broker 1 appends: its log ends at 2\n"
                  "   2  broker 1: its disk holds all below 2, committed is all below 2\n");
    story_end(s);
}

/* ack.durability=memory: the answer comes first, the disk later; what the power takes meanwhile is gone (P2). */
static void memory_is_enough(void **state)
{
    struct story *s = story_begin(1);
    story_memory_is_enough(s);
    story_boots(s, 1);
    story_leads(s, 1);
    story_client(s, "ann", 1);
    story_sends(s, "ann", -1, "red");
    story_passes(s, 1);
    story_sends(s, "ann", -1, "green");
    story_passes(s, 0.4);
    story_loses_power(s, 1);
    story_boots(s, 1);
    story_told(s, "   0  broker 1 boots: its log ends at 0\n"
                  "   0  broker 1 leads epoch 1\n"
                  "   0  ann sends red with acks=all\n"
                  "   0  broker 1 appends: its log ends at 1\n"
                  "   0  broker 1: committed is all below 1\n"
                  "   0  ann hears: red is at 0\n"
                  "   0  broker 1: its disk has written all below 1\n"
                  "   1  ann sends green with acks=all\n"
                  "   1  broker 1 appends: its log ends at 2\n"
                  "   1  broker 1: committed is all below 2\n"
                  "   1  ann hears: green is at 1\n"
                  "   1  the power of broker 1 goes\n"
                  "   1  broker 1 boots: its log ends at 0\n");
    story_end(s);
}

/* One write is in flight at a time; what comes meanwhile goes out together in the next. */
static void what_comes_during_a_write_goes_out_together(void **state)
{
    struct story *s = one_broker();
    story_sends(s, "ann", -1, "red");
    story_passes(s, 0.3);
    story_sends(s, "ben", -1, "green");
    story_passes(s, 0.2);
    story_sends(s, "ann", -1, "blue");
    story_passes(s, 3);
    story_told(s, "   0  ann sends red with acks=all\n"
                  "   0  broker 1 appends: its log ends at 1\n"
                  "   0  ben sends green with acks=all\n"
                  "   0  broker 1 appends: its log ends at 2\n"
                  "   0  ann sends blue with acks=all\n"
                  "   0  broker 1 appends: its log ends at 3\n"
                  "   0  broker 1: its disk holds all below 1, committed is all below 1\n"
                  "   0  ann hears: red is at 0\n"
                  "   1  broker 1: its disk holds all below 3, committed is all below 3\n"
                  "   1  ann hears: blue is at 2\n"
                  "   1  ben hears: green is at 1\n");
    story_end(s);
}

/* More requests than a connection may have in progress, and a disk that takes its time: the core sleeps meanwhile. */
static void what_waits_lets_the_core_rest(void **state)
{
    enum { SENT = 70, AT_ONCE = 64 };
    static char told[16384];
    char *end = told;
    struct story *s = one_broker();
    for (unsigned i = 0; i < SENT; i++) {
        story_sends(s, "ann", -1, "red");
        end += sprintf(end, "   0  ann sends red with acks=all\n");
    }
    story_passes(s, 0.2);
    story_rests(s, 1);
    story_passes(s, 3);
    end += sprintf(end, "   0  broker 1 appends: its log ends at 64\n"
                        "   0  broker 1 appends: its log ends at 70\n"
                        "   0  broker 1: its disk holds all below 64, committed is all below 64\n");
    for (unsigned i = 0; i < AT_ONCE; i++)
        end += sprintf(end, "   0  ann hears: red is at %u\n", i);
    end += sprintf(end, "   1  broker 1: its disk holds all below 70, committed is all below 70\n");
    for (unsigned i = AT_ONCE; i < SENT; i++)
        end += sprintf(end, "   1  ann hears: red is at %u\n", i);
    story_told(s, told);
    story_end(s);
}

/* P5: a reader that waits is woken by the commit, not by the append. */
static void a_reader_that_waits(void **state)
{
    struct story *s = one_broker();
    story_asks(s, "ben", 0, 1000);
    story_passes(s, 3);
    story_sends(s, "ann", -1, "red green");
    story_passes(s, 2);
    story_asks(s, "ben", 2, 5);
    story_passes(s, 10);
    story_told(s, "   0  ben asks for what is at 0 and behind\n"
                  "   3  ann sends red, green with acks=all\n"
                  "   3  broker 1 appends: its log ends at 2\n"
                  "   3  broker 1: its disk holds all below 2, committed is all below 2\n"
                  "   3  ann hears: red, green are at 0\n"
                  "   3  ben reads red at 0, green at 1\n"
                  "   5  ben asks for what is at 2 and behind\n"
                  "  10  ben reads nothing\n");
    story_end(s);
}

/* P1, P6: the power goes between the write and its end. What was answered is there, what was not is not, and a repeated
 * batch is taken once. */
static void the_power_goes_during_a_write(void **state)
{
    struct story *s = one_broker();
    story_sends_numbered(s, "ann", 0, "red green");
    story_passes(s, 2);
    story_sends_numbered(s, "ann", 2, "blue");
    story_passes(s, 0.4);
    story_loses_power(s, 1);
    story_passes(s, 1);
    story_boots(s, 1);
    story_leads(s, 1);
    story_reconnects(s, "ann", 1);
    story_reconnects(s, "ben", 1);
    story_told(s, "   0  ann sends red, green with acks=all\n"
                  "   0  broker 1 appends: its log ends at 2\n"
                  "   0  broker 1: its disk holds all below 2, committed is all below 2\n"
                  "   0  ann hears: red, green are at 0\n"
                  "   2  ann sends blue with acks=all\n"
                  "   2  broker 1 appends: its log ends at 3\n"
                  "   2  the power of broker 1 goes\n"
                  "   3  broker 1 boots: its log ends at 2\n"
                  "   3  broker 1 leads epoch 2\n"
                  "   3  broker 1: committed is all below 2\n");
    story_sends_numbered(s, "ann", 2, "blue");
    story_passes(s, 2);
    story_sends_numbered(s, "ann", 2, "blue");
    story_passes(s, 2);
    story_asks(s, "ben", 0, 0);
    story_passes(s, 1);
    story_told(s, "   6  ann sends blue with acks=all\n"
                  "   6  broker 1 appends: its log ends at 3\n"
                  "   6  broker 1: its disk holds all below 3, committed is all below 3\n"
                  "   6  ann hears: blue is at 2\n"
                  "   8  ann sends blue with acks=all\n"
                  "   8  ann hears: blue is at 2\n"
                  "  10  ben asks for what is at 0 and behind\n"
                  "  10  ben reads red at 0, green at 1, blue at 2\n");
    story_end(s);
}

/* The power goes after the write and before the answer: the record is there, and the repeated batch is the same one (P6). */
static void the_power_goes_before_the_answer(void **state)
{
    struct story *s = one_broker();
    story_sends_numbered(s, "ann", 0, "red");
    story_passes(s, 0.9); /* a tenth is the helper that zeroes space for the first append */
    story_loses_power(s, 1);
    story_boots(s, 1);
    story_leads(s, 1);
    story_reconnects(s, "ann", 1);
    story_sends_numbered(s, "ann", 0, "red");
    story_passes(s, 2);
    story_told(s, "   0  ann sends red with acks=all\n"
                  "   0  broker 1 appends: its log ends at 1\n"
                  "   0  broker 1: its disk holds all below 1, committed is all below 1\n"
                  "   0  the power of broker 1 goes\n"
                  "   0  broker 1 boots: its log ends at 1\n"
                  "   0  broker 1 leads epoch 2\n"
                  "   1  broker 1: committed is all below 1\n"
                  "   2  ann sends red with acks=all\n"
                  "   2  ann hears: red is at 0\n");
    story_end(s);
}

/* A producer sends ahead: the first batch finds no leader, the second does, and is refused alike; a second later the gap is
 * its own. */
static void what_follows_a_refused_batch_is_refused_alike(void **state)
{
    struct story *s = one_broker();
    story_sends_numbered(s, "ann", 0, "red");
    story_passes(s, 1);
    story_nobody_leads(s);
    story_sends_numbered(s, "ann", 1, "green");
    story_passes(s, 0.5);
    story_leads(s, 1);
    story_sends_numbered(s, "ann", 2, "blue");
    story_passes(s, 0.5);
    story_told(s, "   0  ann sends red with acks=all\n"
                  "   0  broker 1 appends: its log ends at 1\n"
                  "   0  broker 1: its disk holds all below 1, committed is all below 1\n"
                  "   0  ann hears: red is at 0\n"
                  "   1  nobody leads\n"
                  "   1  ann sends green with acks=all\n"
                  "   1  ann hears of green: NOT_LEADER_OR_FOLLOWER\n"
                  "   1  broker 1 leads epoch 3\n"
                  "   1  ann sends blue with acks=all\n"
                  "   1  ann hears of blue: NOT_LEADER_OR_FOLLOWER\n");
    story_sends_numbered(s, "ann", 1, "green");
    story_sends_numbered(s, "ann", 2, "blue");
    story_passes(s, 1000);
    story_told(s, "   2  ann sends green with acks=all\n"
                  "   2  ann sends blue with acks=all\n"
                  "   2  broker 1 appends: its log ends at 3\n"
                  "   2  broker 1: its disk holds all below 3, committed is all below 3\n"
                  "   2  ann hears: green is at 1\n"
                  "   2  ann hears: blue is at 2\n");
    story_sends_numbered(s, "ann", 4, "black");
    story_passes(s, 1);
    story_told(s, "1002  ann sends black with acks=all\n"
                  "1002  ann hears of black: OUT_OF_ORDER_SEQUENCE_NUMBER\n");
    story_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durable_then_answered),
        cmocka_unit_test(one_waits_for_the_leader_and_none_for_nobody),
        cmocka_unit_test(memory_is_enough),
        cmocka_unit_test(what_comes_during_a_write_goes_out_together),
        cmocka_unit_test(what_waits_lets_the_core_rest),
        cmocka_unit_test(a_reader_that_waits),
        cmocka_unit_test(the_power_goes_during_a_write),
        cmocka_unit_test(the_power_goes_before_the_answer),
        cmocka_unit_test(what_follows_a_refused_batch_is_refused_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
