/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of the classic protocol in a consumer_world: what they say, as bytes, and what they hear. JoinGroup 5, SyncGroup 3, Heartbeat 3,
 * LeaveGroup 3.
 */
#ifndef TIDEMARK_TESTS_CLASSIC_SAYS_H
#define TIDEMARK_TESTS_CLASSIC_SAYS_H

#include "consumer_world.h"

enum { CLASSIC_JOIN = 5, CLASSIC_SYNC = 3, CLASSIC_HEARTBEAT = 3, CLASSIC_LEAVE = 3, CLASSIC_LISTED = 16, CLASSIC_ID = 64 };

/* NULL: none. */
struct classic_says {
    const char *group, *member, *instance;
    const char *topics;            /* "a b" */
    const char *protocols;         /* "range roundrobin"; NULL: range */
    const struct world_set *owned; /* NULL: the subscription is of version 0, which has no place for it */
    int session_ms, rebalance_ms, generation;
    bool garbage;                  /* for a subscription */
};

struct classic_listed { /* for a leader */
    char member[CLASSIC_ID];
    uint64_t topics; /* a bit each, by their numbers in the world */
    struct world_set owned;
};
struct classic_hears {
    int16_t error;
    int generation;
    char member[CLASSIC_ID], leader[CLASSIC_ID];
    int listed;
    struct classic_listed list[CLASSIC_LISTED];
    struct world_set assignment;
};

void classic_put_join(const struct world *, struct wire_writer *, const struct classic_says *);
/* `parts`: what the leader gives to those of the list; NULL: it does not lead. */
void classic_put_sync(const struct world *, struct wire_writer *, const struct classic_says *, const struct classic_listed *, const struct world_set *parts,
                      int count);
void classic_put_heartbeat(struct wire_writer *, const struct classic_says *);
void classic_put_leave(struct wire_writer *, const struct classic_says *);
void classic_read(const struct world *, int16_t api, struct tide_rope *body, struct classic_hears *ret);

/* Asked and answered. False: it is not answered at once, and its answer will be the next one that comes (classic_next). */
bool classic_ask(struct world *, int16_t api, const struct classic_says *, struct classic_hears *ret);
bool classic_next(struct world *, int16_t api, struct classic_hears *ret);
int16_t classic_version(int16_t api);

#endif
