/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where new replicas go (control-plane 4.7): racks in the order of their names, brokers of a rack in the order of their
 * ids, both rotated by a seed that the proposer drew. Partition k begins at rack k and takes one broker of each rack in
 * turn; within a rack leaders go round, and followers go round once more than leaders do, so that what one broker leads
 * is followed by all others in turn.
 */
#include "cluster/state.h"

struct rack {
    const char *name;
    uint32_t first, count; /* in ids */
};

struct room {
    struct rack *racks;
    int32_t *ids; /* by rack, then by id */
    uint32_t *taken;
    uint32_t rack_count, id_count;
};

/* Those in controlled shutdown or with a suspect data network are left out as long as the others are enough. */
static bool is_candidate(const struct cluster_broker *b, bool best_only)
{
    return !b->fenced && (!best_only || (!b->in_shutdown && !b->suspect));
}

static uint32_t candidates(const struct cluster *c, bool best_only)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->broker_count; i++)
        n += is_candidate(&c->brokers[i]->b, best_only);
    return n;
}

/* The smallest rack name after `after`. */
static const char *next_rack(const struct cluster *c, const char *after, bool best_only)
{
    const char *found = NULL;
    for (uint32_t i = 0; i < c->broker_count; i++) {
        const struct cluster_broker *b = &c->brokers[i]->b;
        if (is_candidate(b, best_only) && (after == NULL || strcmp(b->rack, after) > 0) && (found == NULL || strcmp(b->rack, found) < 0))
            found = b->rack;
    }
    return found;
}

static void gather(const struct cluster *c, struct room *room, bool best_only)
{
    for (const char *name = next_rack(c, NULL, best_only); name != NULL; name = next_rack(c, name, best_only)) {
        struct rack *r = &room->racks[room->rack_count++];
        *r = (struct rack){.name = name, .first = room->id_count};
        for (uint32_t i = 0; i < c->broker_count; i++) {
            const struct cluster_broker *b = &c->brokers[i]->b;
            if (is_candidate(b, best_only) && strcmp(b->rack, name) == 0) {
                room->ids[room->id_count++] = b->id;
                r->count++;
            }
        }
    }
}

static void place_one(const struct room *room, uint64_t k, uint32_t factor, int32_t *to)
{
    uint64_t round = k / room->rack_count;
    uint64_t shift = k / room->id_count;
    uint32_t home = (uint32_t)(k % room->rack_count);
    uint32_t placed = 0;
    memset(room->taken, 0, room->rack_count * sizeof(*room->taken));
    for (uint64_t step = k; placed < factor; step++) {
        uint32_t at = (uint32_t)(step % room->rack_count);
        const struct rack *r = &room->racks[at];
        uint32_t turn = room->taken[at];
        uint64_t in_rack;
        if (turn == r->count)
            continue; /* every broker of the rack has one */
        room->taken[at]++;
        if (at != home)
            in_rack = round + shift + turn;
        else if (turn == 0)
            in_rack = round;
        else
            in_rack = round + 1 + (shift + turn - 1) % (r->count - 1);
        to[placed++] = room->ids[r->first + in_rack % r->count];
    }
}

enum tide_status placement_choose(const struct cluster *c, uint32_t seed, uint32_t first, uint32_t count, uint32_t factor,
                                  struct cluster_assignment *ret)
{
    struct room room = {0};
    bool best_only = candidates(c, true) >= factor;
    enum tide_status status = TIDE_FULL;
    TIDE_ASSERT(factor >= 1 && factor <= candidates(c, false));
    room.racks = cluster_take(c->memory, c->broker_count * sizeof(*room.racks));
    room.ids = cluster_take(c->memory, c->broker_count * sizeof(*room.ids));
    room.taken = cluster_take(c->memory, c->broker_count * sizeof(*room.taken));
    if (room.racks != NULL && room.ids != NULL && room.taken != NULL) {
        gather(c, &room, best_only);
        for (uint32_t i = 0; i < count; i++) {
            ret[i] = (struct cluster_assignment){.partition = (int32_t)(first + i), .replica_count = factor};
            place_one(&room, (uint64_t)seed + first + i, factor, ret[i].replicas);
        }
        status = TIDE_OK;
    }
    cluster_give(c->memory, room.racks);
    cluster_give(c->memory, room.ids);
    cluster_give(c->memory, room.taken);
    return status;
}
