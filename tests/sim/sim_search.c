/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded exhaustive search over the replication of one partition: three replicas, few records,
 * elections and crashes, messages that are lost, doubled and put into another order. What can happen
 * in it is in sim_search_world.h, what is checked in every state in sim_search_checks.c.
 *
 * usage: sim_search [--states N] [--scenario NAME] [--walks N] [--seed N] [--mutant NAME | --mutants]
 *   --states   distinct states per scenario at the most (60000)
 *   --walks    random walks per scenario behind the search (0)
 *   --mutants  every mutant that belongs to these sources must be noticed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim_search_world.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"
#include "tidemark/random.h"

enum tide_mutant tide_mutant;

/* ---- scenarios: how the search begins ------------------------------------------------------------------------------ */

/* Everything that can happen without faults, until nothing is left; some nodes and messages may be
 * held back. */
struct hold {
    int8_t disk, learn;        /* nodes whose disk, whose news wait */
    int8_t from, to;           /* messages from and to these nodes wait */
    int8_t kinds;              /* of these kinds only; 0: all of them */
    bool alter, grace;
};

static bool is_held(const struct world *w, struct action a, const struct hold *h)
{
    if (a.kind == DELIVER) {
        const struct message *m = &w->net[a.a];
        if (m->kind == ALTER)
            return h->alter;
        if (m->kind == ALTERED)
            return h->learn & 1 << m->to;
        if (h->kinds != 0 && !(h->kinds & 1 << m->kind))
            return false;
        return (m->from >= 0 && h->from & 1 << m->from) || (m->to >= 0 && h->to & 1 << m->to);
    }
    if (a.kind == DISK)
        return h->disk & 1 << a.a;
    if (a.kind == LEARN)
        return h->learn & 1 << a.a;
    if (a.kind == GRACE)
        return h->grace;
    return a.kind != CLOSED && a.kind != SETTLE;
}

static void run(struct world *w, struct hold h)
{
    static uint8_t before[PACKED_MAX], after[PACKED_MAX];
    struct action actions[ACTIONS_MAX];
    bool moved = true;
    while (moved && violation[0] == '\0') {
        unsigned n = world_actions(w, actions);
        moved = false;
        for (unsigned i = 0; i < n && !moved; i++) {
            if (is_held(w, actions[i], &h))
                continue;
            size_t len = world_pack(w, before);
            world_act(w, actions[i]);
            moved = world_pack(w, after) != len || memcmp(before, after, len) != 0;
        }
    }
}

static void step(struct world *w, enum action_kind kind, int a, int b)
{
    world_act(w, (struct action){.kind = (uint8_t)kind, .a = (uint8_t)a, .b = (uint8_t)b});
}
static const struct hold none;

/* All three in sync, nothing written. */
static void prefix_plain(struct world *w)
{
    run(w, none);
}

/* Record 1 is everywhere and acknowledged; the followers do not know it yet. */
static void prefix_one(struct world *w)
{
    run(w, none);
    step(w, PRODUCE, 0, 0);
    run(w, (struct hold){.to = 6, .kinds = 1 << BEAT});
}

/* Record 1 is everywhere; record 2 is with the leader 0 and with 2 alone. */
static void prefix_branch(struct world *w)
{
    prefix_one(w);
    step(w, PRODUCE, 0, 1);
    run(w, (struct hold){.to = 2, .from = 2, .kinds = 1 << BEAT | 1 << APPEND | 1 << ACK});
}

/* Replica 2 has left the ISR. */
static void prefix_out(struct world *w)
{
    run(w, none);
    step(w, SHRINK, 0, 2);
    run(w, (struct hold){.grace = true, .to = 4, .from = 4});
}

/* Replica 2 has crashed, with what it had, and is back. */
static void prefix_back(struct world *w)
{
    prefix_one(w);
    step(w, CRASH, 2, 0);
    step(w, RESTART, 2, 0);
}

/* Leader 0 asked to be alone in the ISR; control agreed, and it has not heard of it. Replica 1 left before
 * record 2 was committed. */
static void prefix_alone(struct world *w)
{
    const struct hold without_1 = {.from = 2, .to = 2, .grace = true};
    run(w, none);
    step(w, PRODUCE, 0, 0);
    run(w, none);
    step(w, SHRINK, 0, 1);
    step(w, PRODUCE, 0, 1);
    run(w, without_1);
    step(w, SHRINK, 0, 2);
    run(w, (struct hold){.from = 6, .to = 6, .learn = 1, .grace = true});
}

/* 0 led with two records, of which 1 has one; 1 leads and has cut 2 back. */
static void prefix_cut(struct world *w)
{
    prefix_branch(w);
    step(w, ELECT, 1, 0);
    step(w, LEARN, 1, 0);
    step(w, LEARN, 2, 0);
    run(w, none);
}

static const struct limits scenarios[] = {
    {"plain", true, 2, 2, 1, 1, 6, 4, prefix_plain},
    {"plain-memory", false, 2, 2, 1, 1, 6, 4, prefix_plain},
    {"one", true, 2, 2, 1, 1, 6, 4, prefix_one},
    {"branch", true, 2, 2, 1, 1, 6, 4, prefix_branch},
    {"out", true, 2, 2, 1, 1, 6, 4, prefix_out},
    {"back-memory", false, 2, 2, 1, 1, 6, 4, prefix_back},
    {"alone-memory", false, 3, 2, 1, 2, 6, 6, prefix_alone},
    {"cut", true, 3, 2, 1, 1, 8, 4, prefix_cut},
    {"cut-memory", false, 3, 2, 1, 1, 8, 4, prefix_cut},
};

static void begin(struct world *w)
{
    world_begin(w);
    limits->prefix(w);
}

/* ---- the search -------------------------------------------------------------------------------------------------------- */

struct seen {
    uint64_t hash;
    uint32_t parent;
    struct action action;
};

struct search {
    uint32_t count, cap, mask;
    struct seen *states;
    uint32_t *table; /* state + 1 */
    uint8_t **packed; /* of those that are not expanded yet */
    uint64_t transitions;
};

static uint64_t hash_bytes(const uint8_t *bytes, size_t len)
{
    uint64_t h = 0x9e3779b97f4a7c15ull ^ len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x = 0;
        memcpy(&x, bytes + i, TIDE_MIN(len - i, (size_t)8));
        h = (h ^ x) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    return h * 0xc4ceb9fe1a85ec53ull ^ h >> 29;
}

static void search_init(struct search *s, uint32_t cap)
{
    uint32_t slots = 1024;
    while (slots < 2 * cap)
        slots *= 2;
    *s = (struct search){.cap = cap, .mask = slots - 1};
    s->states = calloc(cap, sizeof(*s->states));
    s->packed = calloc(cap, sizeof(*s->packed));
    s->table = calloc(slots, sizeof(*s->table));
    TIDE_ASSERT(s->states != NULL && s->packed != NULL && s->table != NULL);
}

static void search_deinit(struct search *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        free(s->packed[i]);
    free(s->states);
    free(s->packed);
    free(s->table);
}

/* True when it is new. */
static bool search_add(struct search *s, const uint8_t *bytes, size_t len, uint32_t parent, struct action action)
{
    uint64_t hash = hash_bytes(bytes, len);
    uint32_t at = (uint32_t)hash & s->mask;
    for (; s->table[at] != 0; at = (at + 1) & s->mask)
        if (s->states[s->table[at] - 1].hash == hash)
            return false;
    if (s->count == s->cap)
        return false;
    s->states[s->count] = (struct seen){.hash = hash, .parent = parent, .action = action};
    s->packed[s->count] = malloc(len);
    TIDE_ASSERT(s->packed[s->count] != NULL);
    memcpy(s->packed[s->count], bytes, len);
    s->table[at] = ++s->count;
    return true;
}

static void print_path(const struct search *s, uint32_t state, struct action last)
{
    static struct world w;
    static struct action path[4096];
    unsigned n = 0;
    path[n++] = last;
    for (uint32_t i = state; i != 0 && n < TIDE_ARRAY_LEN(path); i = s->states[i].parent)
        path[n++] = s->states[i].action;
    char why[sizeof(violation)];
    memcpy(why, violation, sizeof(why));
    violation[0] = '\0';
    begin(&w);
    printf("scenario %s, then:\n", limits->name);
    while (n-- > 0) {
        world_print_action(&w, path[n]);
        world_act(&w, path[n]);
    }
    printf("%s\n", why);
}

static bool search(uint32_t cap, uint32_t *ret_states, bool *ret_whole)
{
    static struct world w, next;
    static uint8_t bytes[PACKED_MAX];
    struct action actions[ACTIONS_MAX];
    struct search s;
    search_init(&s, cap);
    begin(&w);
    (void)search_add(&s, bytes, world_pack(&w, bytes), 0, (struct action){0});
    for (uint32_t at = 0; at < s.count && violation[0] == '\0'; at++) {
        world_unpack(&w, s.packed[at]);
        unsigned n = world_actions(&w, actions);
        for (unsigned i = 0; i < n && violation[0] == '\0'; i++) {
            world_unpack(&next, s.packed[at]);
            world_act(&next, actions[i]);
            s.transitions++;
            if (violation[0] != '\0')
                print_path(&s, at, actions[i]);
            else
                (void)search_add(&s, bytes, world_pack(&next, bytes), at, actions[i]);
        }
        free(s.packed[at]);
        s.packed[at] = NULL;
    }
    *ret_states = s.count;
    *ret_whole = s.count < s.cap;
    search_deinit(&s);
    return violation[0] == '\0';
}

/* One path at random, deeper than the search gets. */
static bool walk(uint64_t seed)
{
    static struct world w;
    static struct action path[400];
    struct action actions[ACTIONS_MAX];
    struct tide_random random;
    unsigned n;
    unsigned depth = 0;
    random = (struct tide_random){.state = seed};
    begin(&w);
    for (; depth < TIDE_ARRAY_LEN(path) && violation[0] == '\0' && (n = world_actions(&w, actions)) != 0; depth++) {
        path[depth] = actions[tide_random_below(&random, n)];
        world_act(&w, path[depth]);
    }
    if (violation[0] == '\0')
        return true;
    printf("scenario %s, walk %llu: %s\n", limits->name, (unsigned long long)seed, violation);
    return false;
}

struct options {
    uint32_t states;
    uint64_t walks, seed;
    const char *scenario;
};

static bool run_scenario(const struct limits *l, const struct options *o, uint64_t *states)
{
    uint32_t count;
    bool whole;
    limits = l;
    violation[0] = '\0';
    bool good = search(o->states, &count, &whole);
    *states += count;
    printf("%-14s %8u distinct states%s\n", l->name, count, good && whole ? ", which are all there are" : "");
    for (uint64_t i = 0; good && i < o->walks; i++)
        good = walk(o->seed + i);
    fflush(stdout);
    return good;
}

static bool run_all(const struct options *o)
{
    uint64_t states = 0;
    bool good = true;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(scenarios) && good; i++)
        if (o->scenario == NULL || strcmp(o->scenario, scenarios[i].name) == 0)
            good = run_scenario(&scenarios[i], o, &states);
    printf("%llu distinct states, %s\n", (unsigned long long)states, good ? "no violation" : violation);
    return good;
}

/* ---- mutants ----------------------------------------------------------------------------------------------------------- */

static const char *const mutant_names[MUTANT_COUNT] = {
    [MUTANT_NONE] = "none",
#define MUTANT_ROW(name, text) [MUTANT_##name] = #name,
#include "tidemark/mutants.def"
#undef MUTANT_ROW
};

/* Those whose rule is in the sources that are searched. */
static const enum tide_mutant searched[] = {
    MUTANT_TRUNCATE_BY_HIGH, MUTANT_MAXIMAL_ISR, MUTANT_GROW_LOOK, MUTANT_SUBSCRIPTION_FENCE, MUTANT_FREEZE,
    MUTANT_INCARNATION,      MUTANT_ACK_EPOCH,   MUTANT_DURABLE,   MUTANT_EPOCH_START,
};

static bool is_noticed(enum tide_mutant m, const struct options *o)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    TIDE_ASSERT(child >= 0);
    if (child == 0) {
        tide_mutant = m;
        _exit(run_all(o) ? 0 : 1);
    }
    TIDE_ASSERT(waitpid(child, &status, 0) == child);
    bool noticed = status != 0;
    printf("%s: %s\n", mutant_names[m], noticed ? "noticed" : "NOT NOTICED");
    return noticed;
}

/* All of them; with TIDE_ROTATION=N, as in a normal run of all tests, the Nth two. */
static bool are_noticed(const struct options *o)
{
    const char *turn = getenv("TIDE_ROTATION");
    unsigned long first = turn != NULL ? 2 * strtoul(turn, NULL, 10) : 0;
    unsigned long n = turn != NULL ? 2 : TIDE_ARRAY_LEN(searched);
    bool good = true;
    for (unsigned long i = first; i < first + n; i++)
        good &= is_noticed(searched[i % TIDE_ARRAY_LEN(searched)], o);
    return good;
}

int main(int argc, char **argv)
{
    struct options o = {.states = 60000, .seed = 1};
    bool mutants = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutants") == 0)
            mutants = true;
        else if (i + 1 < argc && strcmp(argv[i], "--states") == 0)
            o.states = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--walks") == 0)
            o.walks = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
            o.seed = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--scenario") == 0)
            o.scenario = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--mutant") == 0) {
            i++;
            for (int m = 0; m < MUTANT_COUNT; m++)
                if (strcmp(argv[i], mutant_names[m]) == 0)
                    tide_mutant = (enum tide_mutant)m;
        } else {
            fprintf(stderr, "sim_search: what is %s?\n", argv[i]);
            return 2;
        }
    }
    if (mutants)
        return are_noticed(&o) ? 0 : 1;
    const char *full = getenv("TIDE_FULL");
    if (full != NULL && strcmp(full, "1") == 0) { /* more than two million states together */
        o.states = TIDE_MAX(o.states, 250000u);
        o.walks = TIDE_MAX(o.walks, 2000u);
    }
    return run_all(&o) ? 0 : 1;
}
