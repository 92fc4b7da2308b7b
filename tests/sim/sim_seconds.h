/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a simulator goes through its seeds. tests/run.sh bounds what is random by --seconds, which arrives as
 * TIDE_SECONDS of this process's processor time; by hand, and with TIDE_FULL=1, all seeds are run.
 */
#ifndef TIDE_SIM_SECONDS_H
#define TIDE_SIM_SECONDS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline bool sim_is_full(void)
{
    const char *full = getenv("TIDE_FULL");
    return full != NULL && strcmp(full, "1") == 0;
}

/* Asked after a seed, so that one is always run. */
static inline bool sim_time_is_up(void)
{
    const char *seconds = getenv("TIDE_SECONDS");
    if (seconds == NULL || sim_is_full())
        return false;
    return clock() / CLOCKS_PER_SEC >= strtol(seconds, NULL, 10);
}

#endif
