/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong in sim_cluster: power, processes, both networks, leadership that moves, and batches of one replica that rot.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "sim_cluster_world.h"

/* ---- rot ---- */

/* Batches of a replica's files, in order; `see` says whether to go on. */
struct batch_on_disk {
    char path[SIM_PATH_MAX];
    uint64_t position;
    struct batch_header h;
    bool right;
};

struct segments {
    int64_t base[64];
    unsigned count;
};

static int see_segment(void *arg, const char *name, bool is_dir)
{
    struct segments *l = arg;
    const char *suffix = strstr(name, ".log");
    if (!is_dir && suffix != NULL && suffix[4] == '\0' && l->count < TIDE_ARRAY_LEN(l->base))
        l->base[l->count++] = atoll(name);
    return 0;
}

static int by_base(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Up to `limit` (an offset), or to what is no batch. The number of batches; the one of number `pick` in *ret. */
static unsigned walk_disk(struct machine *m, unsigned p, int64_t limit, unsigned pick, struct batch_on_disk *ret, bool *ret_right)
{
    const struct tide_fs *fs = sim_fs_verbs(m->data.fs);
    struct segments l = {.count = 0};
    static uint8_t bytes[1 << 20];
    char dir[32];
    unsigned n = 0;
    int64_t next = 0;
    *ret_right = true;
    snprintf(dir, sizeof(dir), "/data/t-%u", p);
    (void)fs->list(fs->self, dir, see_segment, &l);
    qsort(l.base, l.count, sizeof(l.base[0]), by_base);
    for (unsigned i = 0; i < l.count && next < limit; i++) {
        struct batch_on_disk d = {.position = 0};
        snprintf(d.path, sizeof(d.path), "%s/%020ld.log", dir, l.base[i]);
        int file = fs->open(fs->self, d.path, TIDE_FS_READ);
        int64_t size = file < 0 ? 0 : fs->pread(fs->self, file, bytes, sizeof(bytes), 0);
        while (next < limit && d.position + BATCH_HEADER <= (uint64_t)TIDE_MAX(size, 0)) {
            batch_header_parse(bytes + d.position, &d.h);
            if (d.h.magic != 2 || d.h.base_offset != next || d.h.batch_length < BATCH_LENGTH_MIN || d.position + batch_size(&d.h) > (uint64_t)size)
                break;
            if (batch_crc_update(0, bytes + d.position + BATCH_ATTRIBUTES, batch_size(&d.h) - BATCH_ATTRIBUTES) != d.h.crc)
                *ret_right = false;
            next = batch_last_offset(&d.h) + 1;
            if (next <= limit && n++ == pick)
                *ret = d;
            d.position += batch_size(&d.h);
        }
        if (file >= 0)
            fs->close(fs->self, file);
    }
    *ret_right &= next >= limit;
    return n;
}

/* A bit of a committed batch that another one in sync has on its disk: what a cluster promises to survive. */
static void rot(struct sim *s, unsigned b, unsigned p)
{
    struct machine *m = &s->machines[b];
    struct batch_on_disk d;
    int64_t limit = 0;
    bool right;
    for (unsigned o = 0; o < s->brokers; o++)
        if (o != b && s->committed[p].isr & 1u << o)
            limit = TIDE_MAX(limit, TIDE_MIN(m->mark[p], s->machines[o].durable_seen[p]));
    if (s->rotted[p] != 0 || s->committed[p].lost != 0 || m->life[p] != LIFE_OPEN)
        return;
    unsigned n = walk_disk(m, p, limit, UINT_MAX, &d, &right);
    if (n == 0)
        return;
    (void)walk_disk(m, p, limit, (unsigned)tide_random_below(&s->random, n), &d, &right);
    uint64_t at = d.position + tide_random_below(&s->random, batch_size(&d.h));
    if (!sim_fs_rot(m->data.fs, d.path, at, (unsigned)tide_random_below(&s->random, 8)))
        sim_give_up(s, "there is no such byte");
    sim_trace(s, "broker %u partition %u: rot in the batch at offset %ld, byte %lu of %u", b + 1, p, d.h.base_offset, at - d.position, batch_size(&d.h));
    s->rotted[p] = b + 1;
    s->rots++;
}

/* At the end: what was not met yet is looked for. Its broker starts anew, so that nothing is in memory, then it leads and is
 * read from the beginning. False: something of that is under way. */
bool faults_rot_is_settled(struct sim *s)
{
    bool settled = true;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        struct batch_on_disk d;
        bool right;
        if (s->rotted[p] == 0)
            continue;
        struct machine *m = &s->machines[s->rotted[p] - 1];
        settled = false;
        if (!s->calm)
            break;
        (void)walk_disk(m, p, s->committed_end[p], 0, &d, &right);
        uint64_t digest; /* a batch's epoch is not in its sum: readers compare it with the history */
        if (right && sim_machine_read(&m->data, m->partitions[p], 0, s->committed_end[p], &digest, NULL, NULL)) { /* it was cut away, or written over, for another reason */
            s->rotted[p] = 0;
        } else if (s->looked[p] == 0) {
            s->looked[p]++;
            machine_halt(m);
            m->boot_ns = s->now_ns;
        } else if (s->looked[p] == 1) {
            s->looked[p]++;
            c->leader = (int)m->id;
            c->leader_epoch++;
            control_changed(s, p);
            s->client.producers[p].read = 0;
            s->client.producers[p].preferred = -1;
            s->client.config.racks = false; /* from the leader, and from nobody else */
        } else {
            sim_give_up(s, "P4: what rotted was not met");
        }
        break;
    }
    return settled;
}

/* P1 promises what one member of the ISR has who lives on: with ack.durability=memory there is always one. */
static bool may_fall(const struct sim *s, unsigned b)
{
    for (unsigned p = 0; s->memory && p < s->partitions; p++) {
        bool other = false;
        for (unsigned o = 0; o < s->brokers; o++) {
            const struct machine *m = &s->machines[o];
            other |= o != b && m->up && m->registered && m->registered_ns >= m->boot_ns && (s->committed[p].isr & 1u << o) &&
                     m->end_seen[p] >= s->committed_end[p];
        }
        if (!other)
            return false;
    }
    return true;
}

void faults_strike(struct sim *s)
{
    unsigned b = (unsigned)tide_random_below(&s->random, s->brokers);
    unsigned p = (unsigned)tide_random_below(&s->random, s->partitions);
    unsigned to = (unsigned)tide_random_below(&s->random, SIM_NODES);
    /* Some come close together, while what the last one began is still under way. */
    s->next_fault_ns = s->now_ns + sim_below_ms(s, tide_random_hits(&s->random, 2) ? 400 : 20);
    unsigned kind = (unsigned)tide_random_below(&s->random, 11);
    sim_trace(s, "fault %u: broker %u, partition %u, node %u", kind, b + 1, p, to + 1);
    switch (kind) {
    case 8: /* all at once: nothing is left but what was durable */
        for (b = 0; b < s->brokers; b++) {
            struct machine *m = &s->machines[b];
            if (!may_fall(s, b))
                continue;
            if (m->up)
                machine_halt(m);
            m->deaf_until_ns = m->paused_until_ns = 0;
            m->boot_ns = s->now_ns + sim_below_ms(s, 300);
        }
        s->crashes++;
        break;
    case 6:
        s->machines[b].deaf_until_ns = s->now_ns + sim_below_ms(s, 400);
        s->deafs++;
        break;
    case 7:
        s->machines[b].paused_until_ns = s->now_ns + sim_below_ms(s, 300);
        s->pauses++;
        break;
    case 0:
        if (!s->machines[b].up || !may_fall(s, b))
            break;
        s->machines[b].deaf_until_ns = s->machines[b].paused_until_ns = 0;
        machine_halt(&s->machines[b]);
        s->machines[b].boot_ns = s->now_ns + sim_below_ms(s, 300);
        s->crashes++;
        break;
    case 1:
    case 2:
        if (s->committed[p].leader < 0)
            break;
        control_elect(s, p, s->committed[p].leader);
        s->moves++;
        break;
    case 3:
    case 4:
        s->wire.cut[b][to] = true;
        if (tide_random_hits(&s->random, 2))
            s->wire.cut[to][b] = true;
        s->cuts++;
        break;
    case 9:
    case 10:
        if (!s->memory)
            rot(s, b, p);
        break;
    default: memset(s->wire.cut, 0, sizeof(s->wire.cut));
    }
}

void faults_elect_amid_cuts(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++)
        for (unsigned p = 0; p < s->partitions; p++) {
            struct machine *m = &s->machines[b];
            if (!m->up || !m->adopted[p] || partition_is_settled(m->partitions[p]) || !tide_random_hits(&s->random, 64))
                continue;
            control_elect(s, p, s->committed[p].leader);
            s->moves++;
        }
}
