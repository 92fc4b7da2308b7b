/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of ports while the broker runs: links that go and come, rings that stand still, ports that must be started
 * anew, and which of two ports carries the address. Pure: signs and time in, news out; nic_watch.c reads and acts.
 *
 * Owner: the control thread.
 *
 *        stuck or reset        every core has passed a quiet point
 *   IN ────────────────> LEAVING ────────────────> OUT ──┐ not restarted: again after PORT_RETRY_NS
 *    ^                                              │ ^──┘
 *    └───────────── restarted ──────────────────────┘
 *   IN: the cores use the port. LEAVING: they are told not to, and may still be at it. OUT: nobody but us touches it.
 *
 * A port is stuck when frames have waited for its ring, and none of them left, for stuck_ns while its link was up. The active port is
 * kept as long as it is IN with a link; then the first that is takes over, and keeps the address when the other one comes back: a link that
 * flaps moves the address once.
 *
 * Invariants (port_watch_check):
 *   W1  active < count.
 *   W2  a port whose ring is timed (still_since_ns != 0) is IN.
 */
#ifndef TIDEMARK_NIC_PORT_WATCH_H
#define TIDEMARK_NIC_PORT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/types.h"

#define PORT_RETRY_NS TIDE_NS_PER_S

enum port_state { PORT_IN, PORT_LEAVING, PORT_OUT, PORT_STATE_COUNT };

/* What is seen of a port now. */
struct port_signs {
    bool link;
    bool wants_reset;    /* its driver said so, once */
    bool can_restart;    /* by us; a kernel's interface cannot be */
    uint32_t waiting;    /* frames that its rings have not taken */
    uint64_t sent;       /* frames they have taken, ever */
};

enum port_news {
    PORT_NEWS_UP = 1 << 0,
    PORT_NEWS_DOWN = 1 << 1,
    PORT_NEWS_STUCK = 1 << 2,
    PORT_NEWS_LEAVE = 1 << 3,   /* tell the cores, and call port_watch_on_quiet when they have heard */
    PORT_NEWS_RESTART = 1 << 4, /* start it anew now, and call port_watch_on_restarted */
};

struct port_life {
    uint8_t state; /* enum port_state */
    bool link;
    bool with_reset;         /* the restart that is due is a reset of the device */
    bool is_told;            /* its ring is known to stand still, and said so */
    uint64_t sent;           /* at the last look */
    uint64_t still_since_ns; /* 0: it moves */
    uint64_t retry_ns;
    uint64_t downs, stucks, resets, restarts;
};

struct port_watch {
    unsigned count;
    unsigned active;
    uint64_t stuck_ns; /* 0: never */
    uint64_t failovers;
    struct port_life lives[TIDE_PORTS_MAX];
};

/* Every port IN, with the link that it has. */
void port_watch_init(struct port_watch *, unsigned count, uint64_t stuck_ns);
/* A set of enum port_news. */
uint32_t port_watch_on_signs(struct port_watch *, uint64_t now_ns, unsigned port, const struct port_signs *);
void port_watch_on_quiet(struct port_watch *, uint64_t now_ns, unsigned port);
void port_watch_on_restarted(struct port_watch *, uint64_t now_ns, unsigned port, bool well);
/* After the signs of all ports: true when another one is active now. */
bool port_watch_choose(struct port_watch *);
void port_watch_check(const struct port_watch *);

#endif
