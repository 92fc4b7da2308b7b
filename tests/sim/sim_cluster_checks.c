/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be so in sim_cluster, as seen from outside: P3 and P8 behind every turn of a core; P9 and P4 at the end.
 */
#include "sim_cluster_world.h"

/* What it has on its disk, or in memory, where that counts. */
static int64_t counted_seen(const struct sim *s, unsigned b, unsigned p)
{
    return s->memory ? s->machines[b].end_seen[p] : s->machines[b].durable_seen[p];
}

/* P3: whoever is in sync has on its disk what is committed, whether the leader knows of its membership already or
 * not; and so many have it. */
static void look_at_members(struct sim *s, unsigned p, int64_t high, bool rose)
{
    unsigned have = 0;
    for (unsigned b = 0; b < s->brokers; b++) {
        int64_t end = counted_seen(s, b, p);
        have += end >= high;
        if (s->committed[p].isr & 1u << b && end < high) {
            sim_trace(s, "partition %u: broker %u has %ld of %ld", p, b + 1, end, high);
            sim_give_up(s, "P3: a member of the ISR lacks what is committed");
        }
    }
    if (rose && have < 2)
        sim_give_up(s, "P3: less than min.insync.replicas have what is committed");
}

void checks_on_turn(struct machine *m, unsigned p)
{
    struct sim *s = m->sim;
    struct partition_look l;
    partition_look(m->partitions[p], &l);
    if (l.log_end != m->end_seen[p] || log_durable_end(partition_log(m->partitions[p])) != m->durable_seen[p])
        sim_trace(s, "broker %u partition %u: epoch %d %s log ends at %ld, counted %ld, high %ld", m->id + 1, p, l.leader_epoch, l.leader ? "leader" : "follower",
              l.log_end, l.counted_end, l.high_watermark);
    m->end_seen[p] = l.log_end;
    m->durable_seen[p] = log_durable_end(partition_log(m->partitions[p]));
    if (!l.leader)
        return;
    if (l.leader_epoch < 0 || l.leader_epoch >= 4096)
        sim_give_up(s, "an epoch out of this test's bounds");
    if (s->leader_of_epoch[p][l.leader_epoch] != 0 && s->leader_of_epoch[p][l.leader_epoch] != (int)m->id + 1)
        sim_give_up(s, "P8: two leaders in one epoch");
    s->leader_of_epoch[p][l.leader_epoch] = (int)m->id + 1;
    if (m->high_epoch[p] == l.leader_epoch && l.high_watermark < m->high[p])
        sim_give_up(s, "P3: a high watermark fell");
    if (s->committed[p].leader_epoch == l.leader_epoch)
        look_at_members(s, p, l.high_watermark, m->high_epoch[p] == l.leader_epoch && l.high_watermark > m->high[p]);
    m->high_epoch[p] = l.leader_epoch;
    m->high[p] = l.high_watermark;
    if (l.high_watermark > s->committed_end[p])
        s->committed_end[p] = l.high_watermark;
}

bool checks_are_done(const struct sim *s)
{
    if (!sim_client_is_done(&s->client))
        return false;
    for (unsigned p = 0; p < s->partitions; p++) {
        if (s->committed[p].isr != (1u << s->brokers) - 1)
            return false;
        for (unsigned b = 0; b < s->brokers; b++) {
            struct partition_look l;
            if (!s->machines[b].up || s->machines[b].life[p] != LIFE_OPEN || s->machines[b].rotten[p] || s->committed[p].lost != 0)
                return false;
            partition_look(s->machines[b].partitions[p], &l);
            if (l.high_watermark != s->committed_end[p])
                return false;
        }
    }
    return true;
}

void checks_compare(struct sim *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        struct sim_replica replicas[SIM_BROKERS_MAX];
        uint64_t first;
        for (unsigned b = 0; b < s->brokers; b++)
            replicas[b] = (struct sim_replica){&s->machines[b].data, s->machines[b].partitions[p]};
        first = sim_client_compare(&s->client, p, replicas, s->brokers, s->committed_end[p]);
        s->wire.digest = sim_mix(s->wire.digest, &first, sizeof(first));
    }
    sim_client_judge(&s->client);
}
