/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One story without faults, which sim_cluster tells three times: a broker that was away is filled while producers go on; as
 * fast as it goes, at leader.replication.throttled.rate, and at follower.replication.throttled.rate. What comes in is counted
 * at every step, and nobody waits longer for an acknowledgement.
 */
#include <stdio.h>

#include "sim_cluster_world.h"

enum { FILL_RATE = 1000000, FILL_FROM = 600 };

bool fill_is_told(const struct sim *s)
{
    return s->story >= STORY_FILL_FAST && s->story <= STORY_FILL_BY_FOLLOWER;
}

void fill_plan(struct sim *s)
{
    s->brokers = 3;
    s->core_count = 1; /* or each would have its share */
    s->partitions = 2;
    s->topic.segment_bytes = 1 << 20;
    s->settings.replication_window_bytes = 1 << 20;
    s->throttle_rate = FILL_RATE;
    s->leader_throttled = s->story == STORY_FILL_BY_LEADER;
    s->follower_throttled = s->story == STORY_FILL_BY_FOLLOWER;
}

static uint64_t bytes_held(const struct sim *s, unsigned b)
{
    uint64_t n = 0;
    for (unsigned p = 0; p < s->partitions; p++)
        n += (uint64_t)log_size_bytes(partition_log(s->machines[b].partitions[p]));
    return n;
}

static uint32_t most_unacknowledged(const struct sim *s)
{
    uint32_t most = 0;
    for (unsigned p = 0; p < s->partitions; p++)
        most = TIDE_MAX(most, s->client.producers[p].sent - s->client.producers[p].acked);
    return most;
}

/* Broker 3 is away until so much is acknowledged, then it is filled while two records in 10 ms come in. Nothing comes faster
 * than the pace allows, but for a burst and a few batches; and the pace is used. */
void fill_run(struct sim *s)
{
    struct machine *m = &s->machines[2];
    const uint64_t slack = FILL_RATE / 10 + 24 * 2700; /* of ten seeds the most is 21 batches; without a pace it is hundreds */
    uint64_t since_ns = 0, first_ns = 0, over = 0, got = 0;
    while (s->client.producers[0].acked < 50 || !control_has_in_sync(s, 2))
        sim_step(s);
    machine_halt(m);
    m->boot_ns = UINT64_MAX;
    while (s->client.producers[0].acked < FILL_FROM || s->client.producers[1].acked < FILL_FROM)
        sim_step(s);
    if (control_has_in_sync(s, 2))
        sim_give_up(s, "who is away is in sync");
    m->boot_ns = since_ns = s->now_ns;
    sim_step(s);
    uint64_t held = bytes_held(s, 2);
    while (!control_has_in_sync(s, 2)) {
        sim_step(s);
        got = bytes_held(s, 2) - held;
        if (got != 0 && first_ns == 0)
            first_ns = s->now_ns;
        over += got > (s->now_ns - since_ns) * FILL_RATE / TIDE_NS_PER_S + slack;
        if (most_unacknowledged(s) > 2)
            sim_give_up(s, "a producer waits for a broker that is being filled");
    }
    uint64_t took_ms = (s->now_ns - first_ns) / TIDE_NS_PER_MS;
    printf("filled %s: %lu bytes in %lu ms\n", s->story == STORY_FILL_FAST ? "as fast as it goes" : s->story == STORY_FILL_BY_LEADER ? "by the leader's pace" : "by the follower's pace",
           got, took_ms);
    if (s->story == STORY_FILL_FAST && over == 0)
        sim_give_up(s, "without a throttle it is as slow: the test tells nothing");
    if (s->story != STORY_FILL_FAST && over != 0)
        sim_give_up(s, "more came in than the pace allows");
    if (s->story != STORY_FILL_FAST && got < took_ms * FILL_RATE / 1000 * 8 / 10)
        sim_give_up(s, "the pace is not used");
}
