/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of whole brokers, cores and control together, in virtual time (sim_whole_world.h), under faults.
 *
 *   sim_whole [--seeds N] [--from SEED] [--verbose] [--trace]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim_seconds.h"
#include "sim_whole_world.h"

enum { SETTLE_S = 120 };

static bool tracing, faults = true;

static uint64_t run(const struct sim_pools *pools, uint64_t seed, bool verbose)
{
    struct whole *s = calloc(1, sizeof(*s));
    unsigned before[SIM_POOLS];
    uint64_t digest;
    clock_t cpu = clock();
    TIDE_ASSERT(s != NULL);
    sim_pools_count(pools, before);
    whole_init(s, seed, pools);
    s->trace = tracing;
    while (!whole_is_settled(s)) {
        whole_step(s, TIDE_NEVER);
        if (!s->client.created)
            sim_client_create_topic(&s->client, s->w.now_ns, (unsigned)tide_random_below(&s->w.random, s->brokers));
        if (s->w.now_ns - s->begin_ns > SETTLE_S * TIDE_NS_PER_S)
            whole_fail(s, "P9: no end in sight");
    }
    whole_compare(s);
    if (verbose) {
        double ran = (double)(clock() - cpu) / CLOCKS_PER_SEC, lived = (double)(s->w.now_ns - s->begin_ns) / 1e9;
        printf("seed %lu: %u brokers, %u voters, %u cores, %u partitions of %u records, %lu frames, %lu turns, %lu of control, %lu commands, "
               "%lu elections, %lu fences, %u lost of acks=1, %.1f s in %.2f s\n", seed, s->brokers, s->voters, s->core_count, s->partitions,
               s->client.config.records, s->wire.frames, s->turns, s->control_turns, s->newest, s->elections, s->fences, s->client.lost, lived, ran);
    }
    digest = s->wire.digest * 31 + s->w.digest;
    whole_deinit(s);
    if (!sim_pools_are_back(pools, before))
        abort();
    free(s);
    return digest;
}

static int run_seeds(uint64_t from, uint64_t seeds, bool verbose)
{
    struct sim_pools pools;
    uint64_t all = 0;
    sim_pools_make(&pools);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(&pools, seed, verbose);
        if (seed % 10 == 0 && run(&pools, seed, false) != digest) {
            fprintf(stderr, "P12: two runs of seed %lu differ\n", seed);
            return 1;
        }
        all ^= digest * (seed + 1);
        if (verbose)
            fflush(stdout);
        if (sim_time_is_up())
            seeds = seed - from + 1;
    }
    printf("%lu seeds from %lu, digest %016lx\n", seeds, from, all);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'}, {"trace", no_argument, NULL, 't'}, {"calm", no_argument, NULL, 'c'}, {0}};
    uint64_t seeds = 100, from = 1;
    bool verbose = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        case 't': tracing = true; break;
        case 'c': faults = false; break;
        default: return 2;
        }
    }
    if (getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0)
        seeds *= 20;
    return run_seeds(from, seeds, verbose);
}
