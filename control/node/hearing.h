/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which other brokers are heard on the data network (control-plane 10.1).
 *
 * A broker is expected to be heard while one of us follows the other in some partition: then a stream is open between us, on
 * which something goes in both directions at least once per beat. Whoever is fenced is not expected; a new process of a
 * broker, and one that begins to be expected, has HEARING_GRACE_NS to come.
 *
 * Signs of life come from the data cores: when bytes of it came in, and when it last acknowledged bytes of ours. So a cut in
 * one direction is seen at both ends.
 *
 * Owner: the control thread.
 *
 * Invariants (hearing_check):
 *   H1  peers are sorted by broker, and we are not among them.
 */
#ifndef TIDEMARK_CONTROL_NODE_HEARING_H
#define TIDEMARK_CONTROL_NODE_HEARING_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "node/health.h"

/* A connection that does not come up is tried anew after a second. */
#define HEARING_GRACE_NS TIDE_NS_PER_S

struct hearing_peer {
    int32_t broker;
    int64_t epoch;         /* of its registration */
    uint64_t heard_ns;     /* or when it is to have come */
    uint64_t confirmed_ns;
};

struct hearing {
    int32_t self;
    uint64_t index; /* of the metadata, as of which the peers are known */
    uint32_t count;
    struct hearing_peer peers[CLUSTER_BROKERS_MAX]; /* expected ones */
};

void hearing_init(struct hearing *, int32_t self);
/* Brings the expectations in line with the metadata. */
void hearing_on_metadata(struct hearing *, uint64_t now_ns, const struct cluster *);
/* What a core knows of a stream to that broker; several streams may be open. */
void hearing_on_signs(struct hearing *, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns);
/* Those not heard for `timeout_ns`, or that do not hear us: at most HEALTH_SILENT_MAX. */
uint32_t hearing_silent(const struct hearing *, uint64_t now_ns, uint64_t timeout_ns, struct health_silence *ret);
void hearing_check(const struct hearing *);

#endif
