/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules left out of a simulator, chosen at run time, in builds with TIDE_MUTANTS only. For the one file that has its main().
 */
#ifndef TIDE_SIM_MUTANTS_H
#define TIDE_SIM_MUTANTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim_seconds.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

#ifdef TIDE_MUTANTS
enum tide_mutant tide_mutant;

static const char *const sim_mutant_names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "NONE",
#define MUTANT_ROW(name, text) [MUTANT_##name] = #name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
};

/* Did it die of it? In a process of its own. */
static bool sim_mutant_is_noticed(enum tide_mutant i, uint64_t from, uint64_t seeds, int (*run)(uint64_t from, uint64_t seeds, bool verbose))
{
    int status = 0;
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        tide_mutant = i;
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        _exit(run(from, seeds, false));
    }
    TIDE_ASSERT(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

/* None of them must survive its seeds, but the one that leaves nothing out must: what fails without a cause would notice everything. */
static int sim_run_mutants(const enum tide_mutant *list, unsigned count, uint64_t from, uint64_t seeds,
                           int (*run)(uint64_t from, uint64_t seeds, bool verbose))
{
    enum { SEEDS_OF_NONE = 5 };
    int missed = 0;
    (void)unsetenv("TIDE_SECONDS"); /* a bound of time would miss one on a slow machine */
    for (unsigned k = 0; k < count; k++) {
        bool found = sim_mutant_is_noticed(list[k], from, list[k] == MUTANT_NONE ? SEEDS_OF_NONE : seeds, run);
        bool right = found == (list[k] != MUTANT_NONE);
        printf("%-20s %s%s\n", sim_mutant_names[list[k]], found ? "noticed" : "not noticed", right ? "" : ": WRONG");
        missed += !right;
    }
    return missed != 0;
}
#endif

/* For this process. False: there is no such rule, or this build leaves none out. */
static inline bool sim_choose_mutant(const char *name)
{
#ifdef TIDE_MUTANTS
    for (unsigned i = 0; i < MUTANT_COUNT; i++)
        if (strcmp(sim_mutant_names[i], name) == 0)
            tide_mutant = (enum tide_mutant)i;
    return tide_mutant != MUTANT_NONE;
#else
    return name == NULL;
#endif
}

#endif
