/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another story without faults: a follower in sync falls behind memory in one partition, and is read for although the stream to
 * it stays busy with others.
 */
#include <stdio.h>
#include <string.h>

#include "sim_cluster_world.h"

enum { AWAY_MS = 1500, CATCH_UP_MS = 3000, BACK_AT = 300, APART_NS = 700000 };

void behind_plan(struct sim *s)
{
    s->brokers = 2;
    s->core_count = 1;
    s->partitions = 4;
    s->topic.segment_bytes = 1 << 20;
    s->settings.replication_window_bytes = 1 << 16;
    s->settings.replication_catchup_bytes = 1;
    s->settings.replica_lag_time_max_ms = 30000;
    s->memory = true;
    s->topic.ack_durability = ACK_DURABILITY_MEMORY;
    s->leader_throttled = s->follower_throttled = false;
}

static void lead_all(struct sim *s, int broker)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        s->committed[p].leader = broker;
        s->committed[p].leader_epoch++;
        control_changed(s, p);
    }
}

static int64_t behind(const struct sim *s, unsigned p)
{
    return s->machines[0].end_seen[p] - s->machines[1].end_seen[p];
}

static void step_until(struct sim *s, uint64_t at_ns)
{
    while (s->now_ns < at_ns)
        sim_step(s);
}

/* Broker 1 leads, and broker 2 hears nothing for a while in which partition 0 is written to without waiting for it. */
static void lose_sight(struct sim *s)
{
    const uint32_t nobody = (1u << s->partitions) - 1;
    s->client.config.quiet = nobody;
    while (!control_has_in_sync(s, 0) || !control_has_in_sync(s, 1) || s->committed[0].leader < 0)
        sim_step(s);
    lead_all(s, 0);
    step_until(s, s->now_ns + 500 * TIDE_NS_PER_MS);
    s->wire.cut[0][1] = s->wire.cut[1][0] = true;
    s->client.config.quiet = nobody & ~1u;
    step_until(s, s->now_ns + AWAY_MS * TIDE_NS_PER_MS);
    s->client.config.quiet = nobody;
    memset(s->wire.cut, 0, sizeof(s->wire.cut));
}

/* Then the connection comes to its pace again, and the other partitions are written to, one after the other so that something of them is on its way
 * at any time, and all of it from memory. */
static void make_the_stream_busy(struct sim *s)
{
    while (s->machines[1].end_seen[0] < BACK_AT)
        sim_step(s);
    for (unsigned p = 1; p < s->partitions; p++) {
        s->client.config.quiet &= ~(1u << p);
        step_until(s, s->now_ns + APART_NS);
    }
}

/* The follower gets what it lacks of partition 0 all the same, since the high watermark waits for it. */
void behind_run(struct sim *s)
{
    const struct tide_counters *counters = core_counters(s->machines[0].data.cores[0].core);
    uint64_t since_ns, read;
    int64_t lacked, others = 0;
    lose_sight(s);
    make_the_stream_busy(s);
    read = counters->values[COUNTER_peer_catchup_bytes];
    since_ns = s->now_ns;
    lacked = behind(s, 0);
    while (behind(s, 0) != 0 && s->now_ns < since_ns + CATCH_UP_MS * TIDE_NS_PER_MS)
        sim_step(s);
    read = counters->values[COUNTER_peer_catchup_bytes] - read;
    for (unsigned p = 1; p < s->partitions; p++)
        others += s->machines[0].end_seen[p];
    printf("behind memory: %ld records, %lu bytes read from the disk in %lu ms, beside %ld records of other partitions\n", lacked, read,
           (unsigned long)((s->now_ns - since_ns) / TIDE_NS_PER_MS), others);
    if (!control_has_in_sync(s, 1) || lacked == 0)
        sim_give_up(s, "it was not behind, or left: the test tells nothing");
    if (behind(s, 0) != 0)
        sim_give_up(s, "who the high watermark waits for is not read for while its stream is busy");
    if (read == 0)
        sim_give_up(s, "all of it was in memory: the test tells nothing");
}
