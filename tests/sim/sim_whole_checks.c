/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be so at any time in a cluster of whole brokers, as seen from outside.
 */
#include "sim_whole_world.h"

#include <stdio.h>

#include "partition/partition.h"

/* ---- metadata -------------------------------------------------------------------------------------------------------- */

static bool process_is(const struct whole *s, const struct machine *m)
{
    return m->host->alive && node_member(m->host->node)->epoch == s->epochs[m->id];
}

/* Nobody is fenced for silence while its cores may act as leader. */
static void on_fenced(struct whole *s, unsigned b)
{
    const struct machine *m = &s->machines[b];
    uint64_t until;
    s->fences++;
    if (!process_is(s, m) || m->stopping || m->control->health.faulty)
        return;
    until = atomic_load(&m->data.publication.lease_until_ns);
    if (until > whole_local(s, m))
        whole_fail(s, "P8: a broker was fenced before its lease was over");
}

static void look_at_brokers(struct whole *s, const struct cluster *c)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct cluster_broker *r = cluster_find_broker(c, (int32_t)b + 1);
        if (r == NULL)
            continue;
        if (r->fenced && !s->fenced[b] && r->epoch == s->epochs[b])
            on_fenced(s, b);
        s->fenced[b] = r->fenced;
        s->epochs[b] = r->epoch;
    }
}

static void look_at_partition(struct whole *s, const struct cluster_partition *now, unsigned p)
{
    struct committed *c = &s->committed[p];
    if (now->leader_epoch < c->leader_epoch || now->partition_epoch < c->partition_epoch)
        whole_fail(s, "an epoch fell");
    if (now->leader_epoch == c->leader_epoch && now->leader != (c->leader < 0 ? -1 : c->leader + 1))
        whole_fail(s, "P8: another leader in the same epoch");
    if (now->unclean_epoch < c->unclean_epoch || (now->recovering && now->unclean_epoch < 0))
        whole_fail(s, "an unclean epoch was forgotten");
    if (now->unclean_epoch >= 0 && (!s->loses || p >= s->partitions))
        whole_fail(s, "P1: an unclean election");
    if (now->partition_epoch == c->partition_epoch)
        return;
    s->elections += now->leader_epoch != c->leader_epoch;
    *c = (struct committed){.leader = now->leader < 0 ? -1 : now->leader - 1, .leader_epoch = now->leader_epoch,
                            .partition_epoch = now->partition_epoch, .unclean_epoch = now->unclean_epoch, .replicas = now->replica_count,
                            .led_since_ns = now->leader_epoch != c->leader_epoch ? s->w.now_ns : c->led_since_ns};
    for (uint32_t i = 0; i < now->isr_count; i++)
        c->isr |= 1u << (now->isr[i] - 1);
    whole_trace(s, "partition %u: leader %d epoch %d/%d isr %x", p, now->leader, now->leader_epoch, now->partition_epoch, c->isr);
}

void checks_on_metadata(struct whole *s, struct machine *m)
{
    const struct cluster *c = node_cluster(m->host->node);
    if (cluster_index(c) <= s->newest)
        return;
    s->newest = cluster_index(c);
    cluster_check(c);
    look_at_brokers(s, c);
    for (unsigned p = 0; p < s->places; p++)
        if (whole_place(s, c, p) != NULL)
            look_at_partition(s, whole_place(s, c, p), p);
}

/* ---- partitions ------------------------------------------------------------------------------------------------------- */

/* What it has on its disk, or in memory, where that counts. */
static int64_t counted_end(const struct whole *s, unsigned b, unsigned p)
{
    return s->memory && p < s->partitions ? s->machines[b].log_end[p] : s->machines[b].durable_end[p];
}

static bool has_all(const struct whole *s, unsigned b, unsigned p)
{
    const struct machine *m = &s->machines[b];
    return process_is(s, m) && m->ill_until_ns == 0 && m->partitions[p] != NULL && (s->committed[p].isr & 1u << b) &&
           m->log_end[p] >= s->committed_end[p];
}

bool whole_may_fall(const struct whole *s, unsigned broker)
{
    for (unsigned p = 0; s->memory && !s->loses && p < s->partitions; p++) {
        bool other = s->committed[p].replicas == 0;
        for (unsigned b = 0; b < s->brokers; b++)
            other |= b != broker && has_all(s, b, p);
        if (!other)
            return false;
    }
    return true;
}

bool whole_serves(const struct whole *s)
{
    for (unsigned b = 0; b < s->brokers; b++)
        if (!process_is(s, &s->machines[b]) || s->fenced[b])
            return false;
    return true;
}

bool whole_is_whole(const struct whole *s)
{
    if (!whole_serves(s))
        return false;
    for (unsigned p = 0; p < s->partitions; p++)
        if ((uint32_t)__builtin_popcount(s->committed[p].isr) != s->committed[p].replicas)
            return false;
    return true;
}

/* P3: whoever is in sync has on its disk what is committed, whether the leader knows of its membership already or not; and so
 * many have it. */
static void look_at_members(struct whole *s, unsigned p, int64_t high, bool rose)
{
    unsigned have = 0;
    for (unsigned b = 0; b < s->brokers; b++) {
        have += counted_end(s, b, p) >= high;
        if (s->memory && s->machines[b].host->alive && !process_is(s, &s->machines[b]))
            continue; /* it was another incarnation, which the cluster learns with this one's registration */
        if (s->committed[p].isr & 1u << b && counted_end(s, b, p) < high)
            whole_fail(s, "P3: a member of the ISR lacks what is committed");
    }
    if (rose && have < TIDE_MIN(2u, s->committed[p].replicas)) /* one broker stood when the first group came: its topic has one */
        whole_fail(s, "P3: less than min.insync.replicas have what is committed");
}

/* A leader has all that was committed, unless the metadata say that it was elected without. */
static void look_at_beginning(struct machine *m, unsigned p)
{
    struct whole *s = m->whole;
    int64_t start = partition_marks(m->partitions[p])->epoch_start;
    int32_t unclean = s->committed[p].unclean_epoch;
    if (unclean > s->lost_epoch[p]) {
        whole_trace(s, "partition %u: broker %u leads without what was committed from %ld to %ld", p, m->id + 1, start, s->committed_end[p]);
        s->losses += start < s->committed_end[p];
        s->committed_end[p] = TIDE_MIN(s->committed_end[p], start);
        s->lost_epoch[p] = unclean;
        sim_client_lose(&s->client, s->w.now_ns, p, start);
    } else if (start < s->committed_end[p]) {
        whole_fail(s, "P1: a leader begins without all that was committed, and was not elected uncleanly");
    }
}

static void look_at_leader(struct machine *m, unsigned p, const struct partition_look *l, int64_t end_before)
{
    struct whole *s = m->whole;
    bool same = m->was_leader[p] && m->high_epoch[p] == l->leader_epoch;
    if (l->leader_epoch < 0 || l->leader_epoch >= 4096)
        whole_fail(s, "an epoch out of this test's bounds");
    if (s->leader_of_epoch[p][l->leader_epoch] != 0 && s->leader_of_epoch[p][l->leader_epoch] != (int)m->id + 1)
        whole_fail(s, "P8: two leaders in one epoch");
    if (s->leader_of_epoch[p][l->leader_epoch] == 0 && l->leader_epoch == s->committed[p].leader_epoch)
        look_at_beginning(m, p);
    s->leader_of_epoch[p][l->leader_epoch] = (int)m->id + 1;
    if (same && l->high_watermark < m->high[p])
        whole_fail(s, "P3: a high watermark fell");
    /* Whoever was fenced, or is registered no more, takes nothing: its lease was over first. */
    if (same && l->log_end > end_before && s->fenced[m->id] && process_is(s, m) && !m->stopping && !m->control->health.faulty)
        whole_fail(s, "P8: a fenced leader appended");
    /* I12: whoever led before does so for a lease at most (and what clocks differ). */
    if (same && l->log_end > end_before && l->leader_epoch < s->committed[p].leader_epoch &&
        s->w.now_ns > s->committed[p].led_since_ns + s->session_ms * TIDE_NS_PER_MS)
        whole_fail(s, "P8: a former leader appended after its lease must be over");
    if (s->committed[p].leader_epoch == l->leader_epoch)
        look_at_members(s, p, l->high_watermark, same && l->high_watermark > m->high[p]);
    m->high_epoch[p] = l->leader_epoch;
    m->high[p] = l->high_watermark;
}

static void look_at_replica(struct machine *m, unsigned p)
{
    struct partition_look l;
    int64_t end_before = m->log_end[p], durable_before = m->durable_end[p];
    partition_look(m->partitions[p], &l);
    m->log_end[p] = l.log_end;
    m->durable_end[p] = log_durable_end(partition_log(m->partitions[p]));
    if (l.log_end != end_before || m->durable_end[p] != durable_before)
        whole_trace(m->whole, "broker %u partition %u: epoch %d %s log ends at %ld, durable %ld, high %ld", m->id + 1, p, l.leader_epoch,
                    l.leader ? "leader" : "follower", l.log_end, m->durable_end[p], l.high_watermark);
    if (l.leader)
        look_at_leader(m, p, &l, end_before);
    /* A follower's, too: it may have led until the middle of this turn. */
    if (m->whole->lost_epoch[p] < 0 || l.leader_epoch >= m->whole->lost_epoch[p])
        m->whole->committed_end[p] = TIDE_MAX(m->whole->committed_end[p], l.high_watermark);
    m->was_leader[p] = l.leader;
}

/* A core has it, or may have. */
static bool is_with_its_core(const struct machine *m, unsigned p)
{
    const struct replica *r = m->partitions[p] != NULL ? replicas_of(m->control, m->partitions[p]) : NULL;
    return r != NULL && r->state >= REPLICA_ADOPTING && r->state <= REPLICA_RELEASING;
}

void checks_on_turn(struct machine *m, uint32_t core)
{
    struct whole *s = m->whole;
    for (unsigned p = 0; p < s->places; p++) {
        if (!is_with_its_core(m, p) || partition_home(m->partitions[p]) != core)
            continue;
        look_at_replica(m, p);
        if (s->turns % 16 == 0)
            partition_check(m->partitions[p]);
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------------------ */

/* P9: everything is acknowledged and read, every broker leads again, every replica is in sync. */
bool whole_is_settled(const struct whole *s)
{
    if (!s->client.created || !sim_client_is_done(&s->client))
        return false;
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct machine *m = &s->machines[b];
        if (!machine_runs(m) || node_member(m->host->node)->state != MEMBER_ACTIVE || cluster_index(node_cluster(m->host->node)) != s->newest)
            return false;
    }
    for (unsigned p = 0; p < s->places; p++) {
        unsigned here = 0;
        if (s->committed[p].replicas == 0 || (uint32_t)__builtin_popcount(s->committed[p].isr) != s->committed[p].replicas)
            return false;
        for (unsigned b = 0; b < s->brokers; b++)
            here += s->machines[b].partitions[p] != NULL;
        if (here != s->committed[p].replicas)
            return false;
        for (unsigned b = 0; b < s->brokers; b++) {
            struct partition_look l;
            if (s->machines[b].partitions[p] == NULL)
                continue;
            partition_look(s->machines[b].partitions[p], &l);
            if (l.high_watermark != s->committed_end[p] || l.log_end != s->committed_end[p])
                return false;
        }
    }
    return true;
}

/* P4 of what coordinators wrote. */
static void compare_groups(struct whole *s)
{
    uint64_t first = 0, other;
    bool have = false;
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (m->partitions[s->partitions] == NULL)
            continue;
        if (!sim_machine_read(&m->data, m->partitions[s->partitions], 0, s->committed_end[s->partitions], &other, NULL, NULL))
            whole_fail(s, "P4: a replica of the groups' log cannot be read");
        if (have && other != first)
            whole_fail(s, "P4: replicas of the groups' log hold different bytes");
        have = true;
        first = other;
    }
    s->wire.digest = sim_mix(s->wire.digest, &first, sizeof(first));
}

/* P4, P1 and P5 once more, over all that is there. */
void whole_compare(struct whole *s)
{
    for (unsigned p = 0; p < s->partitions; p++) {
        struct sim_replica replicas[SIM_BROKERS_MAX];
        uint64_t first;
        for (unsigned b = 0; b < s->brokers; b++)
            replicas[b] = (struct sim_replica){&s->machines[b].data, s->machines[b].partitions[p]};
        first = sim_client_compare(&s->client, p, replicas, s->brokers, s->committed_end[p]);
        s->wire.digest = sim_mix(s->wire.digest, &first, sizeof(first));
    }
    compare_groups(s);
    for (unsigned b = 1; b < s->brokers; b++)
        if (cluster_hash(node_cluster(s->machines[b].host->node)) != cluster_hash(node_cluster(s->machines[0].host->node)))
            whole_fail(s, "I2: brokers have different metadata");
    sim_client_judge(&s->client);
}

void whole_tell(const struct whole *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct machine *m = &s->machines[b];
        if (!m->host->alive)
            fprintf(stderr, "  broker %u: down\n", b + 1);
        else
            fprintf(stderr, "  broker %u: %s%s, controller %d, metadata %lu of %lu, lease %s\n", b + 1, member_state_name(node_member(m->host->node)->state),
                    s->w.now_ns < m->host->paused_until_ns ? ", paused" : "", (int)node_controller(m->host->node),
                    cluster_index(node_cluster(m->host->node)), s->newest,
                    atomic_load(&m->data.publication.lease_until_ns) > whole_local(s, m) ? "held" : "over");
    }
    fprintf(stderr, "  group: %ld acknowledged of %u, %ld asked, %ld read\n", s->client.group.acked + 1, s->client.config.commits, s->client.group.asked,
            s->client.group.read);
    for (unsigned p = 0; p < s->places; p++) {
        const struct committed *c = &s->committed[p];
        bool groups = p == s->partitions;
        fprintf(stderr, "  partition %u (kind %d): leader %d epoch %d/%d isr %x; acknowledged %u of %u, committed %ld, read %ld\n", p,
                groups ? -1 : (int)s->client.config.kinds[p], c->leader + 1, c->leader_epoch, c->partition_epoch, c->isr,
                groups ? 0 : s->client.producers[p].acked, s->client.config.records, s->committed_end[p], groups ? 0 : s->client.producers[p].read);
        for (unsigned b = 0; b < s->brokers; b++) {
            const struct machine *m = &s->machines[b];
            struct partition_look l;
            if (m->partitions[p] == NULL)
                continue;
            partition_look(m->partitions[p], &l);
            fprintf(stderr, "    broker %u: %s epoch %d log %ld..%ld counted %ld high %ld\n", b + 1, l.leader ? "leader" : l.failed ? "failed" : "-",
                    l.leader_epoch, l.log_start, l.log_end, l.counted_end, l.high_watermark);
        }
    }
}
