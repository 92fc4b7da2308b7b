/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A regular expression over names of topics, in the syntax of RE2 (KIP-848), evaluated by PCRE2.
 *
 * It is taken token by token into a pattern of PCRE2's; what RE2 does not know is refused: backreferences, look-around, atomic groups,
 * possessive quantifiers, recursion, conditions, verbs, callouts, comments. A name matches as a whole.
 *
 * Bounds. PCRE2's matcher without backtracking is used: for each character of a name it goes through at most TOPIC_PATTERN_STATES states, in
 * time of their square: a millisecond for the longest name. What needs more is no match but an error. All memory is the heap's.
 *
 * Owner: whoever holds it. A pattern is matched by one thread at a time.
 */
#ifndef TIDEMARK_GROUP_TOPIC_PATTERN_H
#define TIDEMARK_GROUP_TOPIC_PATTERN_H

#include <stdint.h>

#include "tidemark/heap.h"
#include "tidemark/status.h"

enum topic_pattern_limit {
    TOPIC_PATTERN_MAX = 1024,      /* bytes */
    TOPIC_PATTERN_REPEAT_MAX = 1000, /* RE2's */
    TOPIC_PATTERN_NESTING_MAX = 64,
    TOPIC_PATTERN_STATES = 256,
    TOPIC_PATTERN_FEW = 32,    /* states, which are enough for nearly all; */
    TOPIC_PATTERN_COSTLY = 64, /* a name that needs more costs as much as so many others */
};

struct topic_pattern;

/* TIDE_BAD: it is none of RE2's, and `*ret_problem` says why. TIDE_FULL: the heap is full. */
enum tide_status topic_pattern_make(struct tide_heap *, const char *text, uint32_t len, struct topic_pattern **ret, const char **ret_problem);
/* NULL is nothing. */
void topic_pattern_free(struct topic_pattern *);
/* TIDE_OK: `*ret` is the answer. TIDE_BAD: it takes more states than there may be. TIDE_FULL: the heap is full. What it cost goes off the budget. */
enum tide_status topic_pattern_match(const struct topic_pattern *, const char *name, uint32_t len, uint32_t *budget, bool *ret);

#endif
