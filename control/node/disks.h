/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which data directories can be relied on.
 *
 *   WELL ──a probe failed, or a log went on failing──> OFFLINE
 *   OFFLINE ──the last probe was well, and nothing failed for a while──> WELL
 *
 *   WELL     what fails there is a replica's own misfortune; each failure is followed by a probe
 *   OFFLINE  the cluster lets no replica lead that lives there, nor count as in sync; its replicas are tried on
 *
 * A probe is a small file written, synced and removed: it tells a directory that is gone or read-only from one bad file. It
 * does not go the way of the records, so a log that fails again and again counts without it. A full disk is not a failure.
 *
 * Time to come back: `recover_ms`, doubled with each time that it went offline within ten minutes, up to five minutes.
 *
 * Timers: probes of what is offline every DISKS_PROBE_MS; coming back.
 *
 * Owner: the control thread.
 *
 * Invariants (disks_check):
 *   K1  at most one probe of a directory is out.
 *   K2  OFFLINE: it is known since when, and how often.
 */
#ifndef TIDEMARK_CONTROL_NODE_DISKS_H
#define TIDEMARK_CONTROL_NODE_DISKS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/settings.h"

enum {
    DISKS_PROBE_MS = 1000,
    DISKS_ROW_MS = 600000,
    DISKS_RECOVER_MAX_MS = 300000,
};

enum disk_state { DISK_WELL, DISK_OFFLINE, DISK_STATE_COUNT };

struct disk {
    enum disk_state state;
    bool wants_probe, probing;
    bool probed_well;     /* the last probe was */
    uint64_t probe_at_ms; /* OFFLINE: the next one */
    uint64_t failed_ms;   /* something failed there last */
    uint64_t offline_ms;  /* it went offline last */
    uint32_t times;       /* in a row */
};

struct disks {
    uint64_t recover_ms;
    uint32_t count;
    struct disk at[TIDE_LOG_DIRS_MAX];
};

void disks_init(struct disks *, uint32_t count, uint64_t recover_ms);
/* A log there could not be written or opened. `again`: and not for the first time since it was opened anew. */
void disks_on_failure(struct disks *, uint64_t now_ms, uint32_t dir, bool again);
/* The next directory to be probed now. False: none. */
bool disks_take_probe(struct disks *, uint64_t now_ms, uint32_t *ret_dir);
/* 0 or -errno. */
void disks_on_probe(struct disks *, uint64_t now_ms, uint32_t dir, int64_t result);
/* What has been well for long enough comes back. */
void disks_on_time(struct disks *, uint64_t now_ms);
bool disks_is_offline(const struct disks *, uint32_t dir);
/* A probe is out. */
bool disks_are_probed(const struct disks *);
void disks_check(const struct disks *);

#endif
