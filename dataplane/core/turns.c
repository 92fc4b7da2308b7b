/* SPDX-License-Identifier: Apache-2.0 */
#include "core/turns.h"

#include "tidemark/assert.h"
#include "tidemark/types.h"

#define X(name, help) #name,
const char *const turn_work_names[TURN_WORK_COUNT] = {TURN_WORK(X)};
#undef X
#define X(name, help) help,
const char *const turn_work_help[TURN_WORK_COUNT] = {TURN_WORK(X)};
#undef X

enum { READ_TRIES = 1000 };
static const uint64_t period_ns = TURN_PERIOD_S * TIDE_NS_PER_S;

/* Readers see an odd version, or one that changed, and look again (turns_longest). */
static void remember(struct turns *s, uint64_t now_ns, const struct turn *t)
{
    uint64_t version = tide_pub64_own(&s->version);
    bool over = now_ns - s->period_ns >= period_ns;
    if (!over && t->took_ns <= s->longest[0].took_ns)
        return;
    tide_pub64_set(&s->version, version + 1);
    tide_fence();
    if (over) {
        s->longest[1] = now_ns - s->period_ns < 2 * period_ns ? s->longest[0] : (struct turn){0};
        s->period_ns = now_ns;
    }
    if (over || t->took_ns > s->longest[0].took_ns)
        s->longest[0] = *t;
    tide_pub64_set(&s->version, version + 2);
}

void turns_on_end(struct turns *s, const struct turn *t)
{
    tide_histogram_add(&s->lengths, t->took_ns);
    if (t->took_ns >= TURN_STALL_US * 1000ull)
        tide_pub64_set(&s->stalls, tide_pub64_own(&s->stalls) + 1);
    remember(s, t->begun_ns + t->took_ns, t);
}

void turns_longest(const struct turns *s, uint64_t now_ns, struct turn *ret)
{
    struct turn both[2];
    uint64_t before, after;
    unsigned tries = 0;
    *ret = (struct turn){0};
    do { /* the core writes some words a few times in ten seconds */
        if (tries++ == READ_TRIES)
            return;
        before = tide_pub64_peek(&s->version);
        for (unsigned i = 0; i < 2; i++) {
            both[i].begun_ns = __atomic_load_n(&s->longest[i].begun_ns, __ATOMIC_RELAXED);
            both[i].took_ns = __atomic_load_n(&s->longest[i].took_ns, __ATOMIC_RELAXED);
            for (unsigned k = 0; k < TURN_WORK_COUNT; k++)
                both[i].work[k] = __atomic_load_n(&s->longest[i].work[k], __ATOMIC_RELAXED);
        }
        tide_fence();
        after = tide_pub64_peek(&s->version);
    } while (before != after || before % 2 != 0);
    for (unsigned i = 0; i < 2; i++)
        if (both[i].took_ns > ret->took_ns && both[i].begun_ns + 2 * period_ns > now_ns)
            *ret = both[i];
}

void turns_check(const struct turns *s)
{
    for (unsigned i = 0; i < 2; i++)
        TIDE_ASSERT(s->longest[i].took_ns <= s->lengths.max_ns); /* U1 */
}
