/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap on the ports: copies of the frames that come and go, for a capture file. Off, it is one branch per burst.
 *
 * Owner: control turns it on and off and takes; each core writes into a ring of its own, which has one writer and one
 * reader. A core that finds its ring full counts the frame as lost and goes on.
 *
 *          tap_on               tap_off                a grace period has passed (tap_on_quiet)
 *   OFF ───────────────> ON ───────────────> ENDING ───────────────────────────────────────> OFF
 *   In ENDING cores may still be writing, so the memory stays.
 */
#ifndef TIDEMARK_NIC_TAP_H
#define TIDEMARK_NIC_TAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_mbuf.h>

#include "tidemark/published.h"
#include "tidemark/status.h"
#include "tidemark/types.h"

enum tap_limit { TAP_SNAP_MAX = 65535, TAP_SLOTS = 4096, TAP_BYTES_MAX = 32 << 20 /* of one core's ring */ };

enum tap_state { TAP_OFF, TAP_ON, TAP_ENDING, TAP_STATE_COUNT };

struct tap_wish {
    uint32_t snap;         /* bytes kept of a frame */
    bool one_conn;         /* only frames from or to this address, and port if not 0 */
    struct tide_addr addr;
    uint16_t port;
};

struct tap_frame {
    uint64_t time_ns; /* since 1970 */
    uint32_t len;     /* on the wire */
    uint32_t kept;
    uint16_t port;
    bool is_out;
    uint8_t bytes[];
};

struct tap_ring {
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 head; /* of the core: frames written */
    uint64_t tail_seen;
    struct tide_pub64 lost_pub; /* an old value is told a little later */
    _Alignas(TIDE_CACHE_LINE) struct tide_pub64 tail; /* of control: frames taken; an old value loses a frame */
    uint8_t *slots;
};

struct tap {
    uint8_t state; /* enum tap_state, of control */
    _Atomic bool is_on;
    unsigned cores;
    uint32_t slots, slot_size;
    struct tap_wish wish; /* constant while it is on */
    uint64_t lost_told;
    struct tap_ring rings[TIDE_CORES_MAX];
};

/* [control] TIDE_EXISTS: there is one, or it has not ended yet. TIDE_FULL: no memory. */
TIDE_MUST_USE enum tide_status tap_on(struct tap *t, unsigned cores, const struct tap_wish *wish);
void tap_off(struct tap *t);
void tap_on_quiet(struct tap *t);
/* [control] Writes the frames of all cores, oldest first as far as they are there, as pcapng blocks, and how many more were lost. */
void tap_take(struct tap *t, FILE *f);

/* [core] */
static inline bool tap_is_on(const struct tap *t)
{
    return __builtin_expect(atomic_load_explicit(&t->is_on, memory_order_acquire), 0);
}
void tap_see(struct tap *t, unsigned core, struct rte_mbuf *const *frames, unsigned count, uint16_t port, bool is_out);

/* The beginning of a pcapng file (draft-ietf-opsawg-pcapng): a section, and an interface per port. */
void pcapng_begin(FILE *f, const char *const *names, unsigned count, uint32_t snap);

#endif
