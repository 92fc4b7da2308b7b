/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PTP hardware clock of a network interface (PHC), beside the system's clock: how far it is ahead of CLOCK_REALTIME. Where the
 * kernel keeps the interface and its driver has such a clock; else there is nothing to tell.
 *
 * Owner: the control thread, which reads it once a second: PTP_READINGS readings by one ioctl, some microseconds each.
 */
#ifndef TIDEMARK_CONTROL_EDGE_PTP_H
#define TIDEMARK_CONTROL_EDGE_PTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/status.h"

enum { PTP_READINGS = 5 };
#define PTP_LOOK_NS 1000000000ull

/* Nanoseconds of the Unix epoch: the system's clock, the card's, the system's, ... as PTP_SYS_OFFSET gives them: 2 * count + 1. */
struct ptp_offset {
    int64_t ns;        /* of the card's clock ahead of the system's. A card that keeps TAI is ahead by the leap seconds (37) */
    uint64_t within_ns; /* it may be off by so much: half of what the quickest reading took */
};
/* The quickest reading tells; false: none of them makes sense (the system's clock went back). */
bool ptp_offset_of(const int64_t *times_ns, unsigned count, struct ptp_offset *ret);

struct ptp {
    int index; /* of /dev/ptpN; -1: there is none */
    int fd;
    uint64_t next_ns;
    bool is_known;
    struct ptp_offset offset;
};

/* [start] TIDE_ABSENT: the interface has no such clock (an empty name: no interface); TIDE_REFUSED: it has one that cannot be opened, which the
 * text tells. */
TIDE_MUST_USE enum tide_status ptp_open(struct ptp *, const char *interface, char *error, size_t size);
/* Reads it when that is due. */
void ptp_look(struct ptp *, uint64_t now_ns);
void ptp_close(struct ptp *);

#endif
