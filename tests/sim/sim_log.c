/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log against its disk (tests/README.md):
 *
 *   --images N   N times: a random life of a log, the power goes at a random operation on files or
 *                device, the real recovery opens what is left. Every tenth time it goes once more
 *                inside of the recovery. Every fourth log writes without RWF_DSYNC (ack.durability=memory): the power
 *                may take more of its end, and what is left is whole.
 *   --fail N     N times: exactly one operation of a life fails (EIO, ENOSPC), or is short; every eighth
 *                time one of the very first start, and the power goes after it.
 *   --alloc N    N times: exactly one allocation of the log, its helpers or its recovery fails.
 *   --rot N      N times: a bit of some file flips while the log is closed. No wrong byte is served:
 *                the log refuses to open, a read refuses, or the log ends earlier (a flip behind the
 *                last sealed segment looks like a torn tail), or it does not matter. Every second time
 *                recovery knows what was committed: then no end is lost but to a file that was prepared.
 *                At last the log is repaired: every batch that is left can be read.
 *   --model N    N actions on one log, with stops and power cuts in between.
 *   --seed S --verbose   one image of that seed, with what happens
 *
 * Same numbers, same digest.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_heap.h"
#include "sim_log_world.h"

static uint64_t first_seed = 1;
static bool verbose;

static void must_open(struct sim_log *s)
{
    int e = sim_log_open(s);
    if (e != 0)
        sim_log_give_up(s, "it does not open: %s (%s)", s->error, strerror(-e));
}

static void must_close(struct sim_log *s)
{
    int e = sim_log_close(s);
    if (e != 0)
        sim_log_give_up(s, "it does not close: %s", strerror(-e));
}

/* A life of so many actions, or until the log fails. */
static void live(struct sim_log *s, uint64_t actions)
{
    for (uint64_t i = 0; i < actions && !log_is_failed(s->log); i++)
        sim_log_act(s);
}

/* It still works: something is appended, it is stopped, and all is there. */
static void goes_on(struct sim_log *s)
{
    s->epoch++;
    for (unsigned i = 0; i < 12; i++)
        if (!sim_log_append(s, 2000))
            sim_log_give_up(s, "it takes nothing any more");
    sim_log_settle(s);
    if (log_durable_end(s->log) != log_next_offset(s->log))
        sim_log_give_up(s, "what was appended does not become durable");
    must_close(s);
    must_open(s);
    sim_log_verify(s, false);
    must_close(s);
}

/* ---- power cuts ---- */

static uint64_t image(uint64_t seed, uint64_t *second)
{
    struct sim_log s;
    sim_log_init(&s, seed);
    s.verbose = verbose;
    s.memory = seed % 4 == 3;
    struct sim_faults *faults = sim_fs_faults(s.fs);
    uint64_t actions = 10 + tide_random_below(&s.random, 300);
    must_open(&s);
    if (tide_random_hits(&s.random, 3)) { /* one that was stopped and started before */
        live(&s, actions / 2);
        must_close(&s);
        must_open(&s);
    }
    /* From some operation on nothing reaches the device any more; then the power is off. */
    faults->fail_at = sim_fs_operations(s.fs) + 1 + tide_random_below(&s.random, 4 * actions);
    faults->fail_ever_after = true;
    live(&s, actions);
    if (verbose)
        fprintf(stderr, "power off at operation %" PRIu64 ", acknowledged %" PRId64 "\n",
                TIDE_MIN(faults->fail_at, sim_fs_operations(s.fs)), s.acked);
    faults->fail_at = 0;
    faults->fail_ever_after = false;
    enum sim_crash how = (enum sim_crash)tide_random_below(&s.random, 3);
    sim_log_crash(&s, how);
    if (seed % 10 == 0) {
        faults->fail_at = sim_fs_operations(s.fs) + 1 + tide_random_below(&s.random, 60);
        faults->fail_ever_after = true;
        (void)sim_log_open(&s);
        faults->fail_at = 0;
        faults->fail_ever_after = false;
        if (s.core == NULL)
            sim_fs_crash(s.fs, SIM_CRASH_RANDOM);
        else
            sim_log_crash(&s, SIM_CRASH_RANDOM);
        ++*second;
    }
    must_open(&s);
    sim_log_verify(&s, false);
    goes_on(&s);
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

/* ---- one failure ---- */

static uint64_t failure(uint64_t seed)
{
    static const int errors[] = {0, -ENOSPC, -EIO, -EAGAIN};
    struct sim_log s;
    sim_log_init(&s, seed / 16 + 1); /* the same life with sixteen different failures */
    s.verbose = verbose;
    s.memory = seed / 16 % 4 == 3;
    struct sim_faults *faults = sim_fs_faults(s.fs);
    must_open(&s);
    faults->fail_at = sim_fs_operations(s.fs) + 1 + (seed * 2654435761u) % 700;
    faults->fail_error = errors[seed % 4];
    faults->short_one_in = seed % 4 == 3 ? 20 : 0;
    live(&s, 150);
    bool failed = log_is_failed(s.log);
    if (!failed)
        sim_log_settle(&s);
    if (verbose)
        fprintf(stderr, "operation %" PRIu64 " of %" PRIu64 " failed, the log %s, durable up to %" PRId64 " of %" PRId64 "\n",
                faults->fail_at, sim_fs_operations(s.fs), failed ? "failed" : "lives",
                log_durable_end(s.log), log_next_offset(s.log));
    int e = sim_log_close(&s);
    if (verbose)
        fprintf(stderr, "closed: %d\n", e);
    faults->fail_at = 0;
    faults->short_one_in = 0;
    if (failed && e == 0)
        sim_log_give_up(&s, "a failed log closed as if nothing was");
    must_open(&s);
    sim_log_verify(&s, false);
    goes_on(&s);
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

/* An operation of the very first start fails; the next try succeeds and records are acknowledged; the
 * power goes. What the first try made and could not make durable must not take them along. */
static uint64_t first_start(uint64_t seed)
{
    struct sim_log s;
    sim_log_init(&s, seed);
    s.verbose = verbose;
    struct sim_faults *faults = sim_fs_faults(s.fs);
    faults->fail_at = sim_fs_operations(s.fs) + 1 + seed / 8 % 24;
    int e = sim_log_open(&s);
    faults->fail_at = 0;
    if (e != 0)
        must_open(&s);
    live(&s, 5 + tide_random_below(&s.random, 40));
    sim_log_settle(&s);
    sim_log_crash(&s, tide_random_hits(&s.random, 2) ? SIM_CRASH_LOSES : SIM_CRASH_RANDOM);
    must_open(&s);
    sim_log_verify(&s, false);
    goes_on(&s);
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

/* ---- one allocation ---- */

static uint64_t allocation(uint64_t seed, uint64_t *met)
{
    struct sim_log s;
    uint64_t before = sim_heap_allocations;
    sim_log_init(&s, seed / 16 + 1);
    s.verbose = verbose;
    sim_heap_fail_at = before + 1 + (seed * 2654435761u) % 45;
    int e = sim_log_open(&s);
    if (e != 0 && e != -ENOMEM)
        sim_log_give_up(&s, "it does not open: %d %s", e, s.error);
    if (e != 0)
        must_open(&s);
    live(&s, 60);
    bool failed = log_is_failed(s.log); /* a truncation that stopped in the middle */
    if (!failed)
        sim_log_settle(&s);
    e = sim_log_close(&s);
    if (failed ? e == 0 : e != 0 && e != -ENOMEM)
        sim_log_give_up(&s, "it does not close: %d", e);
    e = sim_log_open(&s); /* recovery, which allocates most */
    if (e != 0 && e != -ENOMEM)
        sim_log_give_up(&s, "it does not open again: %d %s", e, s.error);
    *met += sim_heap_allocations >= sim_heap_fail_at;
    sim_heap_fail_at = 0;
    if (e != 0)
        must_open(&s);
    sim_log_verify(&s, false);
    goes_on(&s);
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

/* ---- rot ---- */

struct names {
    char name[512][64];
    unsigned count;
};

static int see_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    if (!is_dir && n->count < TIDE_ARRAY_LEN(n->name) && strlen(name) < sizeof(n->name[0]))
        strcpy(n->name[n->count++], name);
    return 0;
}

static int see_prepared(void *arg, const char *name, bool is_dir)
{
    *(bool *)arg |= !is_dir && strcmp(name, "next.prepared") == 0;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool flip(struct sim_log *s)
{
    static struct names n;
    char path[SIM_PATH_MAX];
    const struct tide_fs *fs = sim_fs_verbs(s->fs);
    n.count = 0;
    (void)fs->list(fs->self, SIM_LOG_DIR, see_name, &n);
    qsort(n.name, n.count, sizeof(n.name[0]), by_name);
    snprintf(path, sizeof(path), "%s/%s", SIM_LOG_DIR, n.name[tide_random_below(&s->random, n.count)]);
    int file = fs->open(fs->self, path, TIDE_FS_READ);
    int64_t size = fs->size(fs->self, file);
    fs->close(fs->self, file);
    if (size <= 0)
        return false;
    uint64_t at = tide_random_below(&s->random, (uint64_t)size);
    unsigned bit = (unsigned)tide_random_below(&s->random, 8);
    if (s->verbose)
        fprintf(stderr, "flip bit %u of byte %" PRIu64 " of %s (%" PRId64 " bytes)\n", bit, at, path, size);
    return sim_fs_rot(s->fs, path, at, bit);
}

static uint64_t rot(uint64_t seed, uint64_t *refused, uint64_t *read_refused, uint64_t *shorter)
{
    struct sim_log s;
    sim_log_init(&s, seed);
    s.verbose = verbose;
    must_open(&s);
    live(&s, 20 + tide_random_below(&s.random, 150));
    sim_log_settle(&s);
    int64_t end = log_next_offset(s.log);
    bool prepared_is_there = false;
    if (tide_random_hits(&s.random, 2))
        must_close(&s);
    else
        sim_log_crash(&s, SIM_CRASH_LOSES);
    (void)sim_fs_verbs(s.fs)->list(sim_fs_verbs(s.fs)->self, SIM_LOG_DIR, see_prepared, &prepared_is_there);
    s.committed = seed % 2 == 0 ? s.acked : 0;
    (void)flip(&s);
    bool opened = sim_log_open(&s) == 0;
    if (!opened) {
        if (s.error[0] == 0)
            sim_log_give_up(&s, "it refuses without a sentence");
        ++*refused;
    } else {
        if (log_next_offset(s.log) < s.committed && !prepared_is_there)
            sim_log_give_up(&s, "committed up to %" PRId64 ", and it ends at %" PRId64, s.committed, log_next_offset(s.log));
        *shorter += log_next_offset(s.log) < end;
        s.read_refusals = 0;
        sim_log_verify(&s, true);
        *read_refused += s.read_refusals != 0;
        (void)sim_log_close(&s);
    }
    s.repair = true;
    if (sim_log_open(&s) == 0) {
        s.read_refusals = 0;
        sim_log_verify(&s, true);
        if (s.read_refusals != 0)
            sim_log_give_up(&s, "repaired, and %u batches cannot be read", (unsigned)s.read_refusals);
        (void)sim_log_close(&s);
    } else if (opened) {
        sim_log_give_up(&s, "it opened, and cannot be repaired: %s", s.error);
    }
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

/* ---- a long life ---- */

static uint64_t model(uint64_t actions)
{
    struct sim_log s;
    uint64_t stops = 0, cuts = 0;
    sim_log_init(&s, first_seed);
    must_open(&s);
    for (uint64_t i = 0; i < actions; i++) {
        sim_log_act(&s);
        if (log_is_failed(s.log))
            sim_log_give_up(&s, "it failed although nothing was wrong");
        if (log_size_bytes(s.log) > 4 << 20) { /* it stays small, so that starts stay quick */
            s.start_asked = TIDE_MAX(s.start_asked, log_durable_end(s.log) - 2000);
            (void)log_trim(s.log, log_durable_end(s.log) - 2000, &s.out);
        }
        if (tide_random_hits(&s.random, 2000)) {
            must_close(&s);
            stops++;
        } else if (tide_random_hits(&s.random, 2000)) {
            sim_log_crash(&s, SIM_CRASH_RANDOM);
            cuts++;
        } else {
            continue;
        }
        must_open(&s);
        sim_log_verify(&s, false);
        s.epoch++;
    }
    printf("model: %" PRIu64 " actions, %" PRIu64 " stops, %" PRIu64 " power cuts, %" PRIu64
           " reads, digest %016" PRIx64 "\n",
           actions, stops, cuts, s.reads, s.digest);
    must_close(&s);
    uint64_t digest = s.digest;
    sim_log_deinit(&s);
    return digest;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"images", required_argument, NULL, 'i'}, {"fail", required_argument, NULL, 'f'},
        {"rot", required_argument, NULL, 'r'},    {"model", required_argument, NULL, 'm'},
        {"alloc", required_argument, NULL, 'a'},
        {"seed", required_argument, NULL, 's'},   {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0}};
    uint64_t images = 0, failures = 0, rots = 0, actions = 0, allocations = 0, met = 0;
    bool full = getenv("TIDE_FULL") != NULL && strcmp(getenv("TIDE_FULL"), "1") == 0;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t n = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 'i': images = full ? 10000 : n; break;
        case 'f': failures = full ? 5000 : n; break;
        case 'a': allocations = full ? 3000 : n; break;
        case 'r': rots = full ? 10000 : n; break;
        case 'm': actions = full ? 1000000 : n; break;
        case 's': first_seed = n; break;
        case 'v': verbose = true; break;
        default: return 2;
        }
    }
    uint64_t digest = 0, second = 0, refused = 0, read_refused = 0, shorter = 0;
    for (uint64_t i = 0; i < images; i++)
        digest = digest * 31 + image(first_seed + i, &second);
    if (images != 0)
        printf("%" PRIu64 " images, %" PRIu64 " with a second cut, digest %016" PRIx64 "\n", images,
               second, digest);
    for (uint64_t i = 0; i < failures; i++)
        digest = digest * 31 + (i % 8 == 7 ? first_start(first_seed + i) : failure(first_seed + i));
    if (failures != 0)
        printf("%" PRIu64 " failures, digest %016" PRIx64 "\n", failures, digest);
    for (uint64_t i = 0; i < allocations; i++)
        digest = digest * 31 + allocation(first_seed + i, &met);
    if (allocations != 0) {
        printf("%" PRIu64 " runs with one allocation failing, %" PRIu64 " of them came so far, digest %016" PRIx64 "\n", allocations, met,
               digest);
        if (allocations >= 100 && met < allocations / 4)
            return 1;
    }
    for (uint64_t i = 0; i < rots; i++)
        digest = digest * 31 + rot(first_seed + i, &refused, &read_refused, &shorter);
    if (rots != 0)
        printf("%" PRIu64 " flips: %" PRIu64 " not opened, %" PRIu64 " with reads refused, %" PRIu64
               " shorter, digest %016" PRIx64 "\n",
               rots, refused, read_refused, shorter, digest);
    if (actions != 0)
        (void)model(actions);
    return 0;
}
