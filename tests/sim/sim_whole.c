/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster of whole brokers, cores and control together, in virtual time (sim_whole_world.h), under faults for some seconds. Then
 * everything is healed.
 *
 * In one seed of eight the client's topic has ack.durability=memory. P1 holds there as long as one member of the ISR lives on: so one broker, or
 * all but one, are killed, lose their power or have an ill disk while everybody is in sync, and other faults come when they have registered.
 * A power cut after a stop in good order takes nothing. In one more of sixteen anybody falls at any time: what an unclean election takes back is gone, and
 * nothing else.
 *
 * Checked at every step (sim_whole_checks.c, sim_client.h): P1 what was acknowledged with acks=all is there; P2, P5 what is acknowledged
 * or read was committed; P3 marks do not fall, and whoever is in sync has what is committed; P6 idempotence; P8 one leader per epoch, nobody
 * is fenced while its lease holds, whoever is fenced appends nothing; a leader begins with all that was committed, and no election is unclean but
 * where all that have a log from memory may fall; at the end P9 everything is acknowledged, read, led
 * and in sync in bounded time, with no hand; P4 replicas and metadata are equal; P12 a seed run twice is the same run.
 *
 *   sim_whole [--seeds N] [--from SEED] [--verbose] [--trace]      100 seeds; 2,000 with TIDE_FULL=1
 *             [--calm]                                             without faults
 *   sim_whole_mutants --mutants [--seeds N]   leaves out one rule after the other: each must be missed
 *                     --mutant NAME           one of include/tidemark/mutants.def, in this process
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_mutants.h"
#include "sim_seconds.h"
#include "sim_whole_world.h"
#include "tidemark/mutant.h"

enum { SETTLE_S = 120, FAULTS_FROM_MS = 700 };

enum fault {
    FAULT_POWER,     /* what was not durable is decided */
    FAULT_KILL,      /* the process only: what it wrote is there */
    FAULT_POWER_ALL, /* nothing is left but what was durable */
    FAULT_KILL_TWO,
    FAULT_STOP, /* in good order */
    FAULT_PAUSE,
    FAULT_PAUSE_ALL,
    FAULT_CUT_DATA,
    FAULT_CUT_MANAGEMENT,
    FAULT_CUT_BOTH,
    FAULT_CUT_OFF, /* one broker's data or management network, from and to everybody */
    FAULT_MEND,
    FAULT_BREAK, /* a connection of the management network */
    FAULT_SLOW_DISK,
    FAULT_ILL_DISK,
    FAULT_DARK_PORT,
    FAULT_STALL,
    FAULT_WALL_JUMP,
    FAULT_COUNT
};

static const char *const fault_names[FAULT_COUNT] = {
    [FAULT_POWER] = "power", [FAULT_KILL] = "kill", [FAULT_POWER_ALL] = "power of all", [FAULT_KILL_TWO] = "two killed", [FAULT_STOP] = "stop",
    [FAULT_PAUSE] = "pause", [FAULT_PAUSE_ALL] = "pause of all", [FAULT_CUT_DATA] = "cut data", [FAULT_CUT_MANAGEMENT] = "cut management",
    [FAULT_CUT_BOTH] = "cut both", [FAULT_CUT_OFF] = "cut off", [FAULT_MEND] = "mend", [FAULT_BREAK] = "break", [FAULT_SLOW_DISK] = "slow disk",
    [FAULT_ILL_DISK] = "ill disk", [FAULT_DARK_PORT] = "dark port", [FAULT_STALL] = "stalled core", [FAULT_WALL_JUMP] = "wall clock",
};

static bool tracing, faults = true;
static const char *mutant; /* for the line that shows it again */
static uint64_t happened[FAULT_COUNT];

/* ---- faults --------------------------------------------------------------------------------------------------------- */

static uint64_t below_ms(struct whole *s, uint64_t ms)
{
    return tide_random_below(&s->w.random, ms * TIDE_NS_PER_MS);
}

static unsigned some(struct whole *s)
{
    return (unsigned)tide_random_below(&s->w.random, s->brokers);
}

static void gone(struct whole *s, struct machine *m, enum sim_crash how)
{
    if (!whole_may_fall(s, m->id))
        return;
    if (s->memory && how == SIM_CRASH_KEEPS)
        how = SIM_CRASH_KILLS;
    if (m->host->alive)
        machine_halt(m, how);
    m->boot_ns = s->w.now_ns + below_ms(s, 600);
}

static void cut(struct whole *s, bool data, bool management)
{
    unsigned a = some(s), b = some(s), to = data && !management ? (unsigned)tide_random_below(&s->w.random, SIM_NODES) : b;
    bool both = tide_random_hits(&s->w.random, 2);
    if (data) {
        s->wire.cut[a][to] = true;
        s->wire.cut[to][a] |= both;
    }
    if (management && a != b) {
        s->w.cut[a][b] = true;
        s->w.cut[b][a] |= both;
    }
}

static void cut_off(struct whole *s, unsigned b, bool data)
{
    for (unsigned k = 0; k < SIM_NODES; k++) {
        if (data)
            s->wire.cut[b][k] = s->wire.cut[k][b] = true;
        else if (k < s->brokers && k != b)
            s->w.cut[b][k] = s->w.cut[k][b] = true;
    }
}

static void mend(struct whole *s)
{
    memset(s->wire.cut, 0, sizeof(s->wire.cut));
    memset(s->w.cut, 0, sizeof(s->w.cut));
}

/* A cut that lasts is noticed: the kernel's TCP gives up. */
static void break_what_is_cut(struct whole *s)
{
    for (uint32_t a = 0; a < s->brokers; a++)
        for (uint32_t b = 0; b < s->brokers; b++)
            if ((s->w.cut[a][b] || s->w.cut[b][a]) && tide_random_hits(&s->w.random, 4))
                wire_break(&s->w, a, b);
}

static void make_ill(struct whole *s, struct machine *m)
{
    struct sim_faults *f = sim_fs_faults(m->data.fs);
    uint64_t one_in = 1ull << (1 + tide_random_below(&s->w.random, 6));
    if (!whole_may_fall(s, m->id))
        return;
    *f = (struct sim_faults){.write_error_one_in = one_in, .sync_error_one_in = one_in * 4, .read_error_one_in = one_in * 4, .short_one_in = one_in};
    m->ill_until_ns = s->w.now_ns + below_ms(s, 500);
}

static void make_slow(struct whole *s, struct machine *m)
{
    struct sim_faults *f = sim_fs_faults(m->data.fs);
    *f = (struct sim_faults){.spike_one_in = 2, .spike_ns = below_ms(s, 200) + 1};
    m->ill_until_ns = m->host->slow_until_ns = s->w.now_ns + below_ms(s, 1000);
}

static void happen(struct whole *s, enum fault kind)
{
    unsigned b = some(s);
    struct machine *m = &s->machines[b];
    /* Some pauses are longer than lease and session, some between them. */
    uint64_t pause_ns = s->w.now_ns + below_ms(s, tide_random_hits(&s->w.random, 2) ? 2 * s->session_ms : 200);
    happened[kind]++;
    whole_trace(s, "fault: %s, broker %u", fault_names[kind], b + 1);
    switch (kind) {
    case FAULT_POWER: gone(s, m, SIM_CRASH_RANDOM); break;
    case FAULT_KILL: gone(s, m, SIM_CRASH_KEEPS); break;
    case FAULT_POWER_ALL:
        for (b = 0; b < s->brokers; b++)
            gone(s, &s->machines[b], SIM_CRASH_RANDOM);
        break;
    case FAULT_KILL_TWO:
        gone(s, m, SIM_CRASH_KEEPS);
        gone(s, &s->machines[some(s)], SIM_CRASH_RANDOM);
        break;
    case FAULT_STOP:
        if (machine_runs(m) && !m->stopping)
            machine_stop(m);
        break;
    case FAULT_PAUSE: m->host->paused_until_ns = pause_ns; break;
    case FAULT_PAUSE_ALL:
        for (b = 0; b < s->brokers; b++)
            s->machines[b].host->paused_until_ns = s->w.now_ns + below_ms(s, 2 * s->session_ms);
        break;
    case FAULT_CUT_DATA: cut(s, true, false); break;
    case FAULT_CUT_MANAGEMENT: cut(s, false, true); break;
    case FAULT_CUT_BOTH: cut(s, true, true); break;
    case FAULT_CUT_OFF: cut_off(s, b, tide_random_hits(&s->w.random, 2)); break;
    case FAULT_MEND: mend(s); break;
    case FAULT_BREAK: wire_break(&s->w, some(s), b); break;
    case FAULT_SLOW_DISK: make_slow(s, m); break;
    case FAULT_ILL_DISK: make_ill(s, m); break;
    case FAULT_DARK_PORT: m->dark_until_ns = pause_ns; break;
    case FAULT_STALL: m->stalled_until_ns[tide_random_below(&s->w.random, s->core_count)] = pause_ns; break;
    case FAULT_WALL_JUMP: m->wall_jump_ms = (int64_t)tide_random_below(&s->w.random, 6000000) - 3000000; break; /* message.timestamp.after.max.ms is an hour */
    case FAULT_COUNT: break;
    }
}

static bool is_disturbed(const struct whole *s)
{
    bool disturbed = false;
    for (unsigned a = 0; a < s->brokers; a++) {
        const struct machine *m = &s->machines[a];
        disturbed |= s->w.now_ns < TIDE_MAX(m->host->paused_until_ns, m->dark_until_ns) || m->stopping || m->ill_until_ns != 0;
        for (uint32_t i = 0; i < s->core_count; i++)
            disturbed |= s->w.now_ns < m->stalled_until_ns[i];
        for (unsigned b = 0; b < SIM_NODES; b++)
            disturbed |= s->wire.cut[a][b] || s->wire.cut[b][a] || (b < s->brokers && (s->w.cut[a][b] || s->w.cut[b][a]));
    }
    return disturbed;
}

static enum fault some_fall(struct whole *s)
{
    static const enum fault falls[] = {FAULT_POWER, FAULT_KILL, FAULT_POWER_ALL, FAULT_KILL_TWO, FAULT_ILL_DISK};
    return falls[tide_random_below(&s->w.random, TIDE_ARRAY_LEN(falls))];
}

/* With ack.durability=memory: who lives on with everything must not be taken for dead before those that are, or nobody knows of it. So
 * one or all but one fall while everything is well, and nothing else happens until they have registered (or an ill disk's are in sync) again. */
static bool may_happen(struct whole *s, enum fault kind)
{
    bool falls = kind <= FAULT_KILL_TWO || kind == FAULT_ILL_DISK;
    s->fallen &= !(s->was_ill ? whole_is_whole(s) : whole_serves(s)) || is_disturbed(s);
    if (s->fallen)
        return kind == FAULT_MEND || kind == FAULT_WALL_JUMP;
    if (falls && (!whole_is_whole(s) || is_disturbed(s)))
        return false;
    s->fallen = falls;
    s->was_ill = kind == FAULT_ILL_DISK;
    return true;
}

static void something_happens(struct whole *s)
{
    enum fault kind = (enum fault)tide_random_below(&s->w.random, FAULT_COUNT);
    if (s->memory && !s->fallen && tide_random_hits(&s->w.random, 2))
        kind = some_fall(s);
    if (s->memory && (s->loses ? kind == FAULT_ILL_DISK : !may_happen(s, kind))) /* a log that fails alone may lead on with less, and nobody is told */
        kind = FAULT_MEND;
    if (!s->memory && (kind == FAULT_POWER_ALL || kind == FAULT_PAUSE_ALL) && !tide_random_hits(&s->w.random, 3))
        kind = FAULT_MEND; /* too often they hide the rest */
    happen(s, kind);
    break_what_is_cut(s);
    for (unsigned b = 0; b < s->brokers; b++)
        host_flush(&s->w, s->machines[b].host);
}

/* What ails a disk is over when its time is. */
static void cure(struct whole *s)
{
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (m->ill_until_ns == 0 || s->w.now_ns < m->ill_until_ns)
            continue;
        *sim_fs_faults(m->data.fs) = (struct sim_faults){0};
        m->ill_until_ns = 0;
    }
}

static void heal(struct whole *s)
{
    whole_trace(s, "everything is healed");
    mend(s);
    s->calm = s->wire.calm = true;
    s->w.late_notices = false;
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        m->host->slow_until_ns = m->dark_until_ns = 0;
        m->ill_until_ns = TIDE_MIN(m->ill_until_ns, s->w.now_ns);
        m->host->paused_until_ns = TIDE_MIN(m->host->paused_until_ns, s->w.now_ns);
        m->boot_ns = TIDE_MIN(m->boot_ns, s->w.now_ns);
        for (uint32_t i = 0; i < s->core_count; i++)
            m->stalled_until_ns[i] = 0;
    }
    cure(s);
}

/* ---- a run ------------------------------------------------------------------------------------------------------------ */

struct pace {
    uint64_t gap_ms;
    bool spares_the_beginning; /* until there is a topic */
};

/* Until then there are faults; the client goes on as long. */
static uint64_t trouble(struct whole *s, struct pace *ret)
{
    *ret = (struct pace){.gap_ms = 60 + tide_random_below(&s->w.random, tide_random_hits(&s->w.random, 2) ? 1500 : 400),
                         .spares_the_beginning = tide_random_hits(&s->w.random, 2)};
    if (!faults) {
        s->calm = s->wire.calm = true;
        return s->w.now_ns;
    }
    s->wire.loss = tide_random_hits(&s->w.random, 2) ? 100 : 0;
    s->wire.duplicate = tide_random_hits(&s->w.random, 2) ? 50 : 0;
    s->wire.reorder = tide_random_hits(&s->w.random, 2) ? 20 : 0;
    return s->w.now_ns + 3 * TIDE_NS_PER_S + below_ms(s, 5000);
}

static uint64_t run(const struct sim_pools *pools, uint64_t seed, bool verbose)
{
    struct whole *s = calloc(1, sizeof(*s));
    unsigned before[SIM_POOLS];
    uint64_t digest, calm_ns, fault_ns;
    struct pace pace;
    clock_t cpu = clock();
    TIDE_ASSERT(s != NULL);
    sim_pools_count(pools, before);
    whole_init(s, seed, pools);
    s->trace = tracing;
    s->what_fails = mutant;
    calm_ns = trouble(s, &pace);
    fault_ns = s->w.now_ns + below_ms(s, FAULTS_FROM_MS);
    while (!s->calm || !whole_is_settled(s)) {
        whole_step(s, s->calm ? TIDE_NEVER : TIDE_MIN(fault_ns, calm_ns));
        cure(s);
        if (!s->calm && s->w.now_ns >= fault_ns) {
            /* Some come close together, while what the last one began is still under way. */
            fault_ns = s->w.now_ns + below_ms(s, tide_random_hits(&s->w.random, 4) ? 30 : 2 * pace.gap_ms);
            if (s->client.created || !pace.spares_the_beginning)
                something_happens(s);
        }
        if (!s->calm && s->w.now_ns >= calm_ns)
            heal(s);
        if (!s->client.created)
            sim_client_create_topic(&s->client, s->w.now_ns, (unsigned)tide_random_below(&s->w.random, s->brokers));
        if (s->w.now_ns > calm_ns + SETTLE_S * TIDE_NS_PER_S)
            whole_fail(s, "P9: no end in sight");
    }
    whole_compare(s);
    if (verbose) {
        double ran = (double)(clock() - cpu) / CLOCKS_PER_SEC, lived = (double)(s->w.now_ns - s->begin_ns) / 1e9;
        printf("seed %lu: %u brokers, %u voters, %u cores, %u partitions of %u records, %lu frames, %lu turns, %lu of control, %lu commands, "
               "%lu elections, %lu fences, %u lost of acks=1, %lu times all that had it fell, %u records taken back, %u answers of sessions, %u of followers, %.1f s in %.2f s\n", seed, s->brokers, s->voters, s->core_count, s->partitions,
               s->client.config.records, s->wire.frames, s->turns, s->control_turns, s->newest, s->elections, s->fences, s->client.lost, s->losses, s->client.taken_back, s->client.incremental,
               s->client.near, lived, ran);
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
    for (unsigned i = 0; i < FAULT_COUNT && verbose; i++)
        printf("%s%s %lu", i == 0 ? "" : ", ", fault_names[i], happened[i]);
    printf("%s%lu seeds from %lu, digest %016lx\n", verbose ? "\n" : "", seeds, from, all);
    return 0;
}

/* What cores and control decide together. The last two need more seeds than a normal run has. */
static int run_mutants(uint64_t from, uint64_t seeds)
{
#ifdef TIDE_MUTANTS
    static const enum tide_mutant list[] = {MUTANT_NONE, MUTANT_LEASE, MUTANT_INCARNATION, MUTANT_CUT_RELEASE, MUTANT_KNOWLEDGE};
    enum { ALWAYS = 3 };
    return sim_run_mutants(list, sim_is_full() ? TIDE_ARRAY_LEN(list) : ALWAYS, from, seeds, run_seeds);
#else
    fprintf(stderr, "sim_whole_mutants does that, from %lu and %lu seeds\n", from, seeds);
    return 2;
#endif
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'}, {"trace", no_argument, NULL, 't'}, {"calm", no_argument, NULL, 'c'},
                                            {"mutants", no_argument, NULL, 'm'}, {"mutant", required_argument, NULL, 'o'}, {0}};
    uint64_t seeds = 100, from = 1;
    bool verbose = false, mutants = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': verbose = true; break;
        case 't': tracing = true; break;
        case 'c': faults = false; break;
        case 'm': mutants = true; break;
        case 'o':
            if (!sim_choose_mutant(optarg))
                return 2;
            mutant = optarg;
            break;
        default: return 2;
        }
    }
    if (sim_is_full())
        seeds *= 20;
    return mutants ? run_mutants(from, seeds) : run_seeds(from, seeds, verbose);
}
