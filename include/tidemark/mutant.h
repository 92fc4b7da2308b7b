/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that a simulator leaves out, one at a time, to show that it would notice.
 *
 * In the product MUTANT() is the constant false and nothing of it is compiled. The simulators build
 * the same sources again with TIDE_MUTANTS, and choose at run time.
 */
#ifndef TIDEMARK_MUTANT_H
#define TIDEMARK_MUTANT_H

enum tide_mutant {
    MUTANT_NONE,
#define MUTANT_ROW(name, text) MUTANT_##name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
    MUTANT_COUNT
};

#ifdef TIDE_MUTANTS
extern enum tide_mutant tide_mutant; /* of this process; the simulator's main defines it */
#define MUTANT(name) (tide_mutant == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
