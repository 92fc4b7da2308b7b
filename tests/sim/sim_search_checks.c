/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is promised in every state of sim_search.
 *   P1  what was acknowledged, or was ever below a leader's high watermark, is in the log of the
 *       replica that control has elected
 *   P3  every in-sync replica holds, in the way that counts, what is below the high watermark of the
 *       leader that control has elected; no high watermark falls within an epoch (an assertion)
 *   P4  replicas agree below their high watermarks
 *   P8  no two replicas lead in one epoch
 *   and that the newest leader does not answer LATEST below what an earlier one showed (KIP-207)
 */
#include "sim_search_world.h"

static int64_t counted(const struct node *n)
{
    return limits->device ? n->durable : n->log_end;
}

static bool holds(const struct node *n, int64_t end, int at, int8_t epoch, int8_t record)
{
    return at < end && n->epochs[at] == epoch && n->records[at] == record;
}

static void check_elected(const struct world *w)
{
    if (w->control.leader < 0)
        return;
    const struct node *n = &w->nodes[w->control.leader];
    if (!n->up)
        return;
    for (int at = 0; at < w->committed_count; at++)
        if (!holds(n, n->log_end, at, w->committed_epochs[at], w->committed[at]))
            FAIL("P1: %d is elected and lacks what was committed at offset %d", w->control.leader, at);
    for (int k = 0; k < w->record_count; k++)
        if (w->records[k].state == ACKNOWLEDGED) {
            int at = w->records[k].end - 1;
            if (!holds(n, n->log_end, at, w->records[k].epoch, (int8_t)(k + 1)))
                FAIL("P1: %d is elected and lacks record %d, which was acknowledged", w->control.leader, k + 1);
        }
    if (!n->leads || n->leader_epoch != w->control.leader_epoch)
        return;
    if (watermark_epoch_committed(&n->marks) && watermark_high(&n->marks) < w->committed_count)
        FAIL("KIP-207: %d answers LATEST with %d after %d was shown", w->control.leader, (int)watermark_high(&n->marks),
             w->committed_count);
    for (int i = 0; i < NODES; i++) {
        const struct node *m = &w->nodes[i];
        if (!(w->control.isr & 1 << i) || (!m->up && !limits->device))
            continue;
        for (int at = 0; at < watermark_high(&n->marks); at++)
            if (!holds(m, m->up ? counted(m) : m->durable, at, n->epochs[at], n->records[at]))
                FAIL("P3: %d is in sync and lacks offset %d below the high watermark", i, at);
    }
}

static void check_pairs(const struct world *w)
{
    for (int i = 0; i < NODES; i++)
        for (int k = 0; k < i; k++) {
            const struct node *a = &w->nodes[i];
            const struct node *b = &w->nodes[k];
            if (!a->up || !b->up)
                continue;
            if (a->leads && b->leads && a->leader_epoch == b->leader_epoch)
                FAIL("P8: %d and %d lead in epoch %d", k, i, a->leader_epoch);
            int64_t high = TIDE_MIN(watermark_high(&a->marks), watermark_high(&b->marks));
            for (int at = 0; at < high; at++)
                if (a->epochs[at] != b->epochs[at] || a->records[at] != b->records[at])
                    FAIL("P4: %d and %d differ at offset %d below both high watermarks", k, i, at);
        }
}

void world_check(const struct world *w)
{
    check_elected(w);
    check_pairs(w);
    for (int i = 0; i < NODES; i++)
        if (w->nodes[i].up)
            watermark_check(&w->nodes[i].marks);
}
