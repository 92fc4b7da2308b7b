/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of three brokers: what is acknowledged when, by whom, and what is left of it when one of them goes. */
#include "../unit/unit.h"
#include "story.h"

/* Broker 1 leads, all are in sync, and min.insync.replicas is 2. */
static struct story *three_brokers(void)
{
    struct story *s = story_begin(3);
    story_needs_in_sync(s, 2);
    for (unsigned b = 1; b <= 3; b++)
        story_boots(s, b);
    story_leads(s, 1);
    story_client(s, "ann", 1);
    story_told(s, "   0  broker 1 boots: its log ends at 0\n"
                  "   0  broker 2 boots: its log ends at 0\n"
                  "   0  broker 3 boots: its log ends at 0\n"
                  "   0  broker 1 leads epoch 1\n");
    return s;
}

/* P1, P3: acks=all waits for every replica that is in sync; its disk and theirs write at the same time. */
static void all_is_all_that_are_in_sync(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 100);
    story_sends(s, "ann", -1, "red green");
    story_passes(s, 5);
    story_told(s, " 100  ann sends red, green with acks=all\n"
                  " 100  broker 1 appends: its log ends at 2\n"
                  " 100  broker 2 appends: its log ends at 2\n"
                  " 100  broker 3 appends: its log ends at 2\n"
                  " 100  broker 1: its disk holds all below 2\n"
                  " 101  broker 2: its disk holds all below 2\n"
                  " 101  broker 3: its disk holds all below 2\n"
                  " 101  broker 1: committed is all below 2\n"
                  " 101  ann hears: red, green are at 0\n"
                  " 104  broker 2: committed is all below 2\n"
                  " 104  broker 3: committed is all below 2\n");
    story_says_where_time_went(s, 1);
    story_says_where_time_went(s, 2);
    /* Each log waits for its helper before its first append. */
    story_told(s, " 105  broker 1 says: append 100 us, watermark 1100 us, produce 1200 us, disk 600 us, 2 has it after 1100 us, 3 has it after 1100 us\n"
                  " 105  broker 2 says: disk_wait 100 us, disk 600 us\n");
    story_end(s);
}

/* The experiment: the writes of the leader and of its followers come one after the other. */
static void followers_wait_for_the_leaders_disk(void **state)
{
    struct story *s = three_brokers();
    story_pushes_what_is_durable(s);
    story_passes(s, 100);
    story_sends(s, "ann", -1, "red green");
    story_passes(s, 5);
    story_told(s, " 100  ann sends red, green with acks=all\n"
                  " 100  broker 1 appends: its log ends at 2\n"
                  " 100  broker 1: its disk holds all below 2\n"
                  " 101  broker 2 appends: its log ends at 2\n"
                  " 101  broker 3 appends: its log ends at 2\n"
                  " 101  broker 2: its disk holds all below 2\n"
                  " 101  broker 3: its disk holds all below 2\n"
                  " 101  broker 1: committed is all below 2\n"
                  " 102  ann hears: red, green are at 0\n"
                  " 104  broker 2: committed is all below 2\n"
                  " 104  broker 3: committed is all below 2\n");
    story_end(s);
}

/* P2: acks=1 waits for the leader alone. */
static void one_is_the_leader_alone(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 100);
    story_cuts_off(s, 3);
    story_sends(s, "ann", 1, "red");
    story_passes(s, 5);
    story_told(s, " 100  broker 3 is cut off\n"
                  " 100  ann sends red with acks=1\n"
                  " 100  broker 1 appends: its log ends at 1\n"
                  " 100  broker 2 appends: its log ends at 1\n"
                  " 100  broker 1: its disk holds all below 1\n"
                  " 100  ann hears: red is at 0\n"
                  " 101  broker 2: its disk holds all below 1\n");
    story_end(s);
}

/* A follower that is cut off holds acks=all up until it is out of sync, once; then nothing waits for it. It comes back by
 * catching up. */
static void a_follower_is_waited_for_once(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 100);
    story_cuts_off(s, 3);
    story_sends(s, "ann", -1, "red");
    story_passes(s, 300);
    story_sends(s, "ann", -1, "green");
    story_passes(s, 5);
    story_told(s, " 100  broker 3 is cut off\n"
                  " 100  ann sends red with acks=all\n"
                  " 100  broker 1 appends: its log ends at 1\n"
                  " 100  broker 2 appends: its log ends at 1\n"
                  " 100  broker 1: its disk holds all below 1\n"
                  " 101  broker 2: its disk holds all below 1\n"
                  " 204  in sync: 1, 2\n"
                  " 204  broker 1: committed is all below 1\n"
                  " 204  ann hears: red is at 0\n"
                  " 209  broker 2: committed is all below 1\n"
                  " 400  ann sends green with acks=all\n"
                  " 400  broker 1 appends: its log ends at 2\n"
                  " 400  broker 2 appends: its log ends at 2\n"
                  " 400  broker 1: its disk holds all below 2\n"
                  " 400  broker 2: its disk holds all below 2\n"
                  " 400  broker 1: committed is all below 2\n"
                  " 401  ann hears: green is at 1\n");
    story_heals(s, 3);
    story_passes(s, 200);
    story_told(s, " 405  broker 3 is heard again\n"
                  " 406  broker 2: committed is all below 2\n"
                  " 406  broker 3 appends: its log ends at 2\n"
                  " 406  broker 3: committed is all below 1\n"
                  " 407  broker 3: its disk holds all below 2\n"
                  " 407  in sync: 1, 2, 3\n"
                  " 506  broker 3: committed is all below 2\n");
    story_end(s);
}

/* Below min.insync.replicas nothing is taken (P1). */
static void too_few_are_in_sync(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 100);
    story_loses_power(s, 2);
    story_loses_power(s, 3);
    story_fences(s, 2);
    story_fences(s, 3);
    story_passes(s, 1);
    story_sends(s, "ann", -1, "red");
    story_sends(s, "ann", 1, "green");
    story_passes(s, 5);
    story_told(s, " 100  the power of broker 2 goes\n"
                  " 100  the power of broker 3 goes\n"
                  " 100  broker 2 is fenced\n"
                  " 100  in sync: 1, 3\n"
                  " 100  broker 3 is fenced\n"
                  " 100  in sync: 1\n"
                  " 101  ann sends red with acks=all\n"
                  " 101  ann sends green with acks=1\n"
                  " 101  broker 1 appends: its log ends at 1\n"
                  " 101  ann hears of red: NOT_ENOUGH_REPLICAS\n"
                  " 101  broker 1: its disk holds all below 1\n"
                  " 101  ann hears: green is at 0\n");
    story_end(s);
}

/* P1, P4, P6: the leader goes with what only it had; the next one has all that was acknowledged to acks=all; the old one
 * cuts off the rest when it comes back. Green, to which acks=1 said yes, is the promised loss (P2); black was sent in the
 * same moment with acks=all, is lost as well, and nobody was told otherwise. */
static void the_leader_goes(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 100);
    story_sends(s, "ann", -1, "red");
    story_passes(s, 2);
    story_cuts_off(s, 2);
    story_cuts_off(s, 3);
    story_sends(s, "ann", 1, "green");
    story_sends(s, "ann", -1, "black");
    story_passes(s, 2);
    story_loses_power(s, 1);
    story_heals(s, 2);
    story_heals(s, 3);
    story_fences(s, 1);
    story_leads(s, 2);
    story_passes(s, 20);
    story_told(s, " 100  ann sends red with acks=all\n"
                  " 100  broker 1 appends: its log ends at 1\n"
                  " 100  broker 2 appends: its log ends at 1\n"
                  " 100  broker 3 appends: its log ends at 1\n"
                  " 100  broker 1: its disk holds all below 1\n"
                  " 101  broker 2: its disk holds all below 1\n"
                  " 101  broker 3: its disk holds all below 1\n"
                  " 101  broker 1: committed is all below 1\n"
                  " 101  ann hears: red is at 0\n"
                  " 102  broker 2 is cut off\n"
                  " 102  broker 3 is cut off\n"
                  " 102  ann sends green with acks=1\n"
                  " 102  ann sends black with acks=all\n"
                  " 102  broker 1 appends: its log ends at 3\n"
                  " 102  broker 1: its disk holds all below 3\n"
                  " 102  ann hears: green is at 1\n"
                  " 104  the power of broker 1 goes\n"
                  " 104  broker 2 is heard again\n"
                  " 104  broker 3 is heard again\n"
                  " 104  broker 1 is fenced\n"
                  " 104  in sync: 2, 3\n"
                  " 104  broker 2 leads epoch 2\n"
                  " 105  broker 2: committed is all below 1\n"
                  " 109  broker 3: committed is all below 1\n");
    story_client(s, "ben", 2);
    story_sends(s, "ben", -1, "blue");
    story_passes(s, 5);
    story_told(s, " 124  ben sends blue with acks=all\n"
                  " 124  broker 2 appends: its log ends at 2\n"
                  " 124  broker 3 appends: its log ends at 2\n"
                  " 124  broker 2: its disk holds all below 2\n"
                  " 125  broker 3: its disk holds all below 2\n"
                  " 125  broker 2: committed is all below 2\n"
                  " 125  ben hears: blue is at 1\n");
    story_boots(s, 1);
    story_passes(s, 20);
    story_asks(s, "ben", 0, 0);
    story_passes(s, 5);
    story_told(s, " 129  broker 1 boots: its log ends at 3\n"
                  " 130  broker 1 cuts off what is not of this epoch: its log ends at 1\n"
                  " 130  broker 1: its disk holds all below 1\n"
                  " 130  broker 3: committed is all below 2\n"
                  " 130  broker 1: committed is all below 1\n"
                  " 130  broker 1 appends: its log ends at 2\n"
                  " 130  broker 1: committed is all below 2\n"
                  " 131  broker 1: its disk holds all below 2\n"
                  " 131  in sync: 1, 2, 3\n"
                  " 141  ann loses the connection\n"
                  " 149  ben asks for what is at 0 and behind\n"
                  " 149  ben reads red at 0, blue at 1\n");
    story_end(s);
}

/* A leader that nobody hears and that does not know it commits nothing alone (P8). */
static void a_leader_that_is_cut_off_commits_nothing(void **state)
{
    struct story *s = three_brokers();
    story_client(s, "ben", 2);
    story_passes(s, 100);
    story_sends(s, "ann", -1, "red");
    story_passes(s, 0.3);
    story_cuts_off(s, 1);
    story_passes(s, 1);
    story_fences(s, 1);
    story_leads(s, 2);
    story_passes(s, 20);
    story_sends(s, "ben", -1, "green");
    story_passes(s, 10);
    story_told(s, " 100  ann sends red with acks=all\n"
                  " 100  broker 1 appends: its log ends at 1\n"
                  " 100  broker 1 is cut off\n"
                  " 100  broker 1: its disk holds all below 1\n"
                  " 101  broker 1 is fenced\n"
                  " 101  in sync: 2, 3\n"
                  " 101  broker 2 leads epoch 2\n"
                  " 121  ben sends green with acks=all\n"
                  " 121  broker 2 appends: its log ends at 1\n"
                  " 121  broker 3 appends: its log ends at 1\n"
                  " 122  broker 2: its disk holds all below 1\n"
                  " 122  broker 3: its disk holds all below 1\n"
                  " 122  broker 2: committed is all below 1\n"
                  " 122  ben hears: green is at 0\n"
                  " 127  broker 3: committed is all below 1\n");
    story_heals(s, 1);
    story_hears(s, 1);
    story_passes(s, 300);
    story_told(s, " 131  broker 1 is heard again\n"
                  " 131  control hears broker 1\n"
                  " 131  ann hears of red: NOT_LEADER_OR_FOLLOWER\n"
                  " 132  broker 1 cuts off what is not of this epoch: its log ends at 0\n"
                  " 132  broker 1: its disk holds all below 0\n"
                  " 132  broker 1 appends: its log ends at 1\n"
                  " 132  broker 1: committed is all below 1\n"
                  " 133  broker 1: its disk holds all below 1\n"
                  " 133  in sync: 1, 2, 3\n");
    story_end(s);
}

/* What a core publishes of its peers: a cable that is cut in one direction is seen at both of its ends, whichever it is, and
 * while both processes are well. Followers know nothing of one another. */
static void a_cable_cut_in_one_direction_is_seen_at_both_ends(void **state)
{
    struct story *s = three_brokers();
    story_passes(s, 1000);
    for (unsigned b = 1; b <= 3; b++)
        story_says_whom_it_hears(s, b);
    story_mutes(s, 3);
    story_passes(s, 1000);
    for (unsigned b = 1; b <= 3; b++)
        story_says_whom_it_hears(s, b);
    story_heals(s, 3);
    story_passes(s, 3000);
    story_says_whom_it_hears(s, 3);
    story_deafens(s, 1);
    story_passes(s, 1000);
    for (unsigned b = 1; b <= 3; b++)
        story_says_whom_it_hears(s, b);
    story_heals(s, 1);
    story_passes(s, 3000);
    story_says_whom_it_hears(s, 1);
    story_told(s, "1000  broker 1 hears 2 3, is heard by 2 3\n"
                  "1000  broker 2 hears 1, is heard by 1\n"
                  "1000  broker 3 hears 1, is heard by 1\n"
                  "1000  broker 3 is mute\n"
                  "1104  in sync: 1, 2\n"
                  "2000  broker 1 hears 2, is heard by 2\n"
                  "2000  broker 2 hears 1, is heard by 1\n"
                  "2000  broker 3 hears 1, is heard by nobody\n"
                  "2000  broker 3 is heard again\n"
                  "2998  in sync: 1, 2, 3\n"
                  "5000  broker 3 hears 1, is heard by 1\n"
                  "5000  broker 1 is deaf\n"
                  "5104  in sync: 1\n"
                  "6000  broker 1 hears nobody, is heard by nobody\n"
                  "6000  broker 2 hears 1, is heard by nobody\n"
                  "6000  broker 3 hears 1, is heard by nobody\n"
                  "6000  broker 1 is heard again\n"
                  "6998  in sync: 1, 2, 3\n"
                  "9000  broker 1 hears 2 3, is heard by 2 3\n");
    story_end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_all_that_are_in_sync),
        cmocka_unit_test(followers_wait_for_the_leaders_disk),
        cmocka_unit_test(one_is_the_leader_alone),
        cmocka_unit_test(a_follower_is_waited_for_once),
        cmocka_unit_test(too_few_are_in_sync),
        cmocka_unit_test(the_leader_goes),
        cmocka_unit_test(a_leader_that_is_cut_off_commits_nothing),
        cmocka_unit_test(a_cable_cut_in_one_direction_is_seen_at_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
