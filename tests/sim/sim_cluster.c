/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of brokers in virtual time: two or three of them with one or two cores each, whole data
 * planes (TCP stacks, sessions, partitions, logs, peer streams), over a wire that loses, doubles, reorders
 * and is cut in one direction or both, and disks that lose what was not made durable, and on which a
 * batch of one replica rots. Control is a script here: it registers brokers, fences them, elects leaders
 * from the ISR (or else from those that were in it while it was large enough), moves leadership, and
 * commits the ISRs that leaders propose, by compare-and-set. A replica that rotted is put down as lost when
 * another one can lead, then opened anew and filled again. A client produces idempotently at acks=all
 * to several partitions and reads all the while.
 *
 * One seed of eight has ack.durability=memory. Brokers are killed as well as their power goes; one that comes back is no member of ISR or
 * ELR, whatever it was before (control-plane 4.8). Nothing rots there, and nobody falls without another member of the ISR that lives on
 * with everything: so nothing that was acknowledged may be lost, although all but one may have lost the ends of their logs.
 *
 * Checked: P1 every acknowledged record is there, at its offset; P2 acks=all only; P3 a high watermark
 * never falls within an epoch; P4 replicas hold the same bytes below it at the end, what rotted included; P5 and P6 a consumer
 * sees every record once and in order; P8 one leader per epoch; P9 after the faults stop all is
 * acknowledged, read, and every replica is in sync again, in bounded time; P12 a seed run twice gives the
 * same digest.
 *
 * Beside the seeds one story without faults is run three times: a broker that was away is filled while producers go on; as
 * fast as it goes, at leader.replication.throttled.rate, and at follower.replication.throttled.rate. What comes in is counted
 * at every step, and nobody waits longer for an acknowledgement. In another one a follower in sync falls behind memory in one partition, and is
 * read for although the stream to it stays busy with others.
 *
 * sim_cluster_world.h says which file has which part of it.
 *
 *   sim_cluster [--seeds N] [--from SEED] [--verbose] [--trace]
 *   sim_cluster_mutants --mutants [--seeds N]   leaves out one rule after the other: each must be missed
 *                       --mutant NAME           one of include/tidemark/mutants.def, in this process
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim_cluster_world.h"
#include "sim_mutants.h"
#include "sim_seconds.h"

static bool tracing;

static uint64_t run(const struct sim_pools *pools, uint64_t seed, bool verbose, enum story story)
{
    struct sim *s = calloc(1, sizeof(*s));
    unsigned before[SIM_POOLS];
    uint64_t digest;
    s->story = story;
    sim_pools_count(pools, before);
    s->random.state = s->seed = seed;
    s->pools = pools;
    s->trace = tracing;
    s->now_ns = s->begin_ns = TIDE_NS_PER_S * (1 + tide_random_below(&s->random, 1000));
    sim_begin(s);
    if (fill_is_told(s))
        fill_run(s);
    else if (story == STORY_BEHIND_MEMORY)
        behind_run(s);
    while (story != STORY_BEHIND_MEMORY && (!checks_are_done(s) || !faults_rot_is_settled(s)))
        sim_step(s);
    if (story != STORY_BEHIND_MEMORY)
        checks_compare(s);
    if (verbose)
        printf("seed %lu: %u brokers, %u cores, %u partitions of %u records, %u crashes, %u moves, %u cuts, %u times deaf, %u pauses, %u rotted, %u repaired, %u answers of sessions, %u times sent to a follower, %u answers of followers, %u killed, %lu records forgotten by a replica, %lu frames, %lu turns, %lu ms, digest %016lx\n",
               seed, s->brokers, s->core_count, s->partitions, s->client.config.records, s->crashes, s->moves, s->cuts, s->deafs, s->pauses, s->rots, s->repairs, s->client.incremental, s->client.sent_near, s->client.near, s->kills, s->forgotten, s->wire.frames, s->turns,
               (s->now_ns - s->begin_ns) / 1000000, s->wire.digest);
    sim_end(s);
    if (!sim_pools_are_back(pools, before))
        sim_give_up(s, "mbufs are missing");
    digest = s->wire.digest;
    free(s);
    return digest;
}

static int run_seeds(uint64_t from, uint64_t seeds, bool verbose)
{
    struct sim_pools pools;
    uint64_t all = 0;
    sim_pools_make(&pools);
    for (enum story t = STORY_FILL_FAST; from == 1 && t <= STORY_BEHIND_MEMORY; t++)
        (void)run(&pools, 1, verbose, t);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t digest = run(&pools, seed, verbose, STORY_NONE);
        if (seed % 10 == 0 && run(&pools, seed, false, STORY_NONE) != digest) {
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

/* The other rules are guarded twice in a whole data plane, or need more seeds than a normal run has: the exhaustive search
 * (sim_search) tells them. */
static int run_mutants(uint64_t from, uint64_t seeds)
{
#ifdef TIDE_MUTANTS
    static const enum tide_mutant list[] = {MUTANT_NONE, MUTANT_FREEZE, MUTANT_MAXIMAL_ISR, MUTANT_DURABLE, MUTANT_FOLLOWER_MARK};
    return sim_run_mutants(list, TIDE_ARRAY_LEN(list), from, seeds, run_seeds);
#else
    fprintf(stderr, "sim_cluster_mutants does that, from %lu and %lu seeds\n", from, seeds);
    return 2;
#endif
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'}, {"trace", no_argument, NULL, 't'}, {"mutants", no_argument, NULL, 'm'},
                                            {"mutant", required_argument, NULL, 'o'}, {0}};
    uint64_t seeds = 100, from = 1;
    bool verbose = false, mutants = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        case 't': tracing = true; break;
        case 'm': mutants = true; break;
        case 'o':
            if (!sim_choose_mutant(optarg))
                return 2;
            break;
        default: return 2;
        }
    }
    if (sim_is_full())
        seeds *= 20;
    return mutants ? run_mutants(from, seeds) : run_seeds(from, seeds, verbose);
}
