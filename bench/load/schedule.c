/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/schedule.h"

#include <math.h>

#include "tidemark/types.h"

static void find_next(struct load_schedule *s)
{
    if (s->kind == LOAD_CONSTANT)
        s->at_ns = s->phase_ns + (double)s->number * s->mean_ns; /* a sum would drift */
    else
        s->at_ns += -log1p(-(double)(tide_random_u64(&s->chance) >> 11) * 0x1p-53) * s->mean_ns;
    s->next_ns = s->left == 0 || s->at_ns >= (double)s->end_ns ? TIDE_NEVER : (uint64_t)s->at_ns;
}

void load_schedule_init(struct load_schedule *s, enum load_arrivals kind, double per_s, double phase, uint64_t seed, uint64_t duration_ns, uint64_t most)
{
    double mean_ns = 1e9 / per_s;
    *s = (struct load_schedule){.kind = kind, .mean_ns = mean_ns, .phase_ns = phase * mean_ns, .end_ns = duration_ns, .left = most,
                                .chance = {.state = seed * 0x9e3779b97f4a7c15ull + 1}};
    find_next(s);
}

uint64_t load_schedule_take(struct load_schedule *s)
{
    s->left--;
    uint64_t number = s->number++;
    find_next(s);
    return number;
}

uint64_t load_schedule_bound(double per_s, uint64_t duration_ns, uint64_t most)
{
    double mean = per_s * (double)duration_ns / 1e9;
    return (uint64_t)fmin((double)most, mean + 6 * sqrt(mean) + 20);
}
