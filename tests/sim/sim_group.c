/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of groups against coordinators over a log that three brokers replicate. A seed is a run in virtual time.
 *
 *   --seeds N [--from S]   N runs
 *   --seed S [--verbose]   one of them, with what happens
 *   --mutant NAME | --mutants   with a rule left out (builds with TIDE_MUTANTS)
 *
 * Members follow the protocol as clients do: they find the coordinator, join (with the id that they are given), the leader assigns, they sync,
 * fetch what is committed, heartbeat and commit what they have read. Some are static and come back under their name; some read and commit on while they
 * join again, as cooperative ones do. Requests and answers are lost, late, and come twice; members pause, are killed, come back. Leadership moves
 * at any time and right behind an append; what was not committed is lost with it, or is not. A coordinator loads what its log has.
 * Once leadership has moved the old coordinator says nothing more (the lease, design 9), and answers NOT_COORDINATOR when it learns of it.
 *
 * Checked: what was told to members of one generation overlaps nowhere (G1, in the wire's truth); a commit that was acknowledged is seen
 * by whoever fetches later; committed offsets never fall in the log; groups_check after every step; after the faults every partition
 * has one owner that is alive, in one generation, in bounded time. A seed that is run twice gives the same digest.
 */
#include <getopt.h>
#include <inttypes.h>

#include "group/internal.h"
#include "sim_mutants.h"
#include "tidemark/random.h"
#include "unit.h"

enum {
    BROKERS = 3,
    GROUPS = 2,
    MEMBERS = 10,
    PARTITIONS = 6,
    TICK_MS = 50,
    FAULTS_MS = 180000,
    CALM_MS = 120000, /* in which all must have come to rest */
    LOG_MAX = 40000,
    MESSAGES_MAX = 512,
    BODY_MAX = 2000,
    QUESTIONS_MAX = 1024,
    ID_MAX = 100,
    GENERATIONS_MAX = 2000,
};

/* ---- the log -------------------------------------------------------------------------------------------------- */

struct entry {
    uint8_t *bytes; /* NULL: the start of an epoch */
    uint32_t len;
    int32_t epoch;
    uint64_t id;
    int64_t end;
};

struct broker {
    struct entry log[LOG_MAX];
    uint32_t count;
    struct groups *groups;
    uint32_t loaded; /* entries it has read */
    int32_t epoch;   /* it was made for */
    bool up, leads;
    int64_t deposed_at; /* it learns of it then */
};

struct message {
    bool used, answer;
    int64_t at_ms;
    int broker, member;
    uint32_t question; /* of the member */
    int16_t api, version;
    uint32_t life; /* of the group, when it was answered */
    uint32_t len;
    uint8_t body[BODY_MAX];
};

struct question {
    bool used;
    int member, broker;
    uint32_t question;
    int16_t api, version;
};

/* ---- members ---------------------------------------------------------------------------------------------------- */

enum member_state { LOST, JOINING, SYNCING, FETCHING, READING, GONE };

struct member {
    enum member_state state;
    int group;
    bool is_static, cooperative;
    char id[ID_MAX];
    int broker;      /* whom it takes for the coordinator */
    int32_t generation;
    bool leads;
    char assigned[PARTITIONS + 1]; /* '1': it has it */
    int64_t position[PARTITIONS];
    uint32_t question, commit;     /* that it waits for; 0: none */
    int64_t asked_ms, committed_ms, heartbeat_ms, paused_until, back_at;
    int32_t commit_generation; /* of the last one, and when it was sent */
    int64_t commit_sent_ms;
    bool commits[PARTITIONS];
    int64_t committing[PARTITIONS];
    int64_t floor[PARTITIONS];     /* what a fetch that is out must see at least */
    char list[MEMBERS][ID_MAX];    /* for the leader */
    int listed;
};

static struct broker brokers[BROKERS];
static struct message messages[MESSAGES_MAX];
static struct question questions[QUESTIONS_MAX];
static struct member members[MEMBERS];
static struct tide_random chance;
static struct tide_settings settings;
static struct tide_heap *heap;
static struct rte_mempool *pool;
static struct tide_view view;
static struct view_topic topics[1];
static struct view_partition partitions[PARTITIONS];
static uint32_t by_name[4], by_id[4];
static int64_t now_ms, committed;
static int leader;
static int32_t epoch;
static uint64_t entries_made, digest;
static uint32_t questions_asked;
static bool faults, verbose, move_soon;
static int64_t acknowledged[GROUPS][PARTITIONS]; /* by commits that were answered */
static int64_t in_log[GROUPS][PARTITIONS];       /* in the committed part */
static char owner[GROUPS][GENERATIONS_MAX][PARTITIONS]; /* member + 1 that was told so */
static uint32_t owner_life[GROUPS][GENERATIONS_MAX];
static int32_t last_generation[GROUPS];
static bool is_there[GROUPS];
static int64_t empty_since[GROUPS]; /* by the log; INT64_MAX: it is not empty */
static uint32_t lives[GROUPS]; /* an empty group without offsets is deleted, and begins anew with generation 1 */
static struct groups *shadow; /* reads what is committed */
static uint32_t shadow_read;
static uint64_t stat_moves, stat_generations, stat_commits, stat_rejoins, stat_fenced;
static const char *const group_names[GROUPS] = {"g", "h"};
static uint64_t seed_now;

#define SAY(...)                                         \
    do {                                                 \
        if (verbose)                                     \
            printf("%8" PRId64 " ", now_ms), printf(__VA_ARGS__), printf("\n"); \
    } while (0)

static _Noreturn void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "sim_group --seed %" PRIu64 ": at %" PRId64 " ms: ", seed_now, now_ms);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void mix(uint64_t v)
{
    digest = (digest ^ v) * 0x100000001b3ull;
    digest ^= digest >> 29;
}

static uint64_t roll(uint64_t n) { return tide_random_below(&chance, n); }
static bool hits(uint64_t n) { return faults && roll(n) == 0; }
static struct tide_time time_now(void) { return (struct tide_time){.now_ns = (uint64_t)now_ms * TIDE_NS_PER_MS, .wall_ms = 1700000000000 + now_ms}; }
static int64_t end_of(const struct broker *b) { return b->count == 0 ? 0 : b->log[b->count - 1].end; }

/* ---- replication -------------------------------------------------------------------------------------------------- */

static void add_entry(struct broker *b, const uint8_t *bytes, uint32_t len, int64_t records)
{
    struct entry *e = &b->log[b->count];
    if (b->count + 1 >= LOG_MAX)
        give_up("the log is full");
    *e = (struct entry){.len = len, .epoch = b->epoch, .id = ++entries_made, .end = end_of(b) + records};
    if (bytes != NULL) {
        e->bytes = malloc(len);
        memcpy(e->bytes, bytes, len);
    }
    b->count++;
}

static void drop_entries(struct broker *b, uint32_t from)
{
    while (b->count > from)
        free(b->log[--b->count].bytes);
}

static enum tide_status append(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error)
{
    static uint8_t bytes[1 << 20];
    struct broker *b = context;
    struct wire_cursor c;
    *ret_error = 0;
    if (hits(60))
        return TIDE_FULL;
    if (!b->leads || hits(60)) {
        *ret_error = b->leads ? KAFKA_NOT_ENOUGH_REPLICAS : KAFKA_NOT_LEADER_OR_FOLLOWER;
        return TIDE_OK;
    }
    TIDE_ASSERT(batch.len <= sizeof(bytes));
    tide_slice_copy(batch, bytes);
    wire_cursor_init(&c, tide_slice_after(batch, 57));
    add_entry(b, bytes, batch.len, wire_get_i32(&c));
    *ret_end = end_of(b);
    move_soon |= hits(40); /* leadership goes right behind it */
    return TIDE_OK;
}

/* One entry more, after what does not agree is cut. */
static void follow(struct broker *f, struct broker *l)
{
    uint32_t same = TIDE_MIN(f->count, l->count);
    while (same > 0 && f->log[same - 1].id != l->log[same - 1].id)
        same--;
    if (f->count > same)
        drop_entries(f, same);
    for (unsigned i = 0; i < 4 && f->count < l->count; i++) {
        f->log[f->count] = l->log[f->count];
        if (f->log[f->count].bytes != NULL) {
            f->log[f->count].bytes = malloc(f->log[f->count].len);
            memcpy(f->log[f->count].bytes, l->log[f->count].bytes, f->log[f->count].len);
        }
        f->count++;
    }
}

static int64_t offset_of(struct groups *g, int group, int partition)
{
    const struct group *at;
    const struct group_topic *t;
    TAILQ_FOREACH (at, &g->all, all)
        if (at->id->at[0] == group_names[group][0])
            TAILQ_FOREACH (t, &at->topics, in_group)
                for (uint32_t i = 0; i < t->count; i++)
                    if (t->offsets[i].partition == partition)
                        return t->offsets[i].offset;
    return -1;
}

static bool knows(const struct groups *g, int group, int64_t *ret_empty_since)
{
    const struct group *at;
    TAILQ_FOREACH (at, &g->all, all)
        if (at->id->at[0] == group_names[group][0]) {
            *ret_empty_since = at->classic.state == CLASSIC_EMPTY ? at->classic.state_ms : INT64_MAX;
            return at->durable;
        }
    return false;
}

/* Offsets of a group that was empty for so long may go, and who comes then begins anew. */
static bool may_be_forgotten(int g)
{
    return empty_since[g] != INT64_MAX && time_now().wall_ms - empty_since[g] >= settings.offsets_retention_minutes * 60000;
}

static void look_for_offset(int g, int p)
{
    int64_t offset = offset_of(shadow, g, p);
    if (offset < 0 && may_be_forgotten(g)) {
        acknowledged[g][p] = in_log[g][p] = -1;
        for (int i = 0; i < MEMBERS; i++)
            members[i].floor[p] = members[i].group == g ? -1 : members[i].floor[p];
    }
    if (offset < in_log[g][p])
        give_up("%s/%d: the committed offset falls from %" PRId64 " to %" PRId64, group_names[g], p, in_log[g][p], offset);
    in_log[g][p] = offset;
}

static void replay(struct groups *g, const struct entry *e)
{
    struct tide_rope r = {0};
    struct tide_time t = time_now();
    if (e->bytes == NULL)
        return;
    enum tide_status status = tide_rope_copy_in(&r, pool, e->bytes, e->len);
    TIDE_ASSERT(status == TIDE_OK);
    if (groups_replay(g, &t, tide_rope_slice(&r, 0, r.len)) != TIDE_OK)
        give_up("a log cannot be loaded");
    tide_rope_clear(&r);
}

/* What is committed stays, and goes forwards. */
static void commit_more(void)
{
    struct broker *l = &brokers[leader];
    int64_t ends[BROKERS], end;
    unsigned n = 0;
    for (int i = 0; i < BROKERS; i++) { /* what a follower has of the leader's log */
        uint32_t same = TIDE_MIN(brokers[i].count, l->count);
        while (same > 0 && brokers[i].log[same - 1].id != l->log[same - 1].id)
            same--;
        ends[n++] = same == 0 ? 0 : l->log[same - 1].end;
    }
    for (int i = 0; i < BROKERS; i++)
        for (int k = i + 1; k < BROKERS; k++)
            if (ends[k] > ends[i]) {
                int64_t t = ends[i];
                ends[i] = ends[k];
                ends[k] = t;
            }
    end = ends[1];
    uint32_t at = l->count;
    while (at > 0 && l->log[at - 1].end > end)
        at--;
    if (at == 0 || l->log[at - 1].epoch != epoch || end <= committed)
        return; /* nothing counts before the start of this epoch does */
    committed = end;
    while (shadow_read < at) {
        replay(shadow, &l->log[shadow_read++]);
        for (int g = 0; g < GROUPS; g++) {
            for (int p = 0; p < PARTITIONS; p++)
                look_for_offset(g, p);
            bool there = knows(shadow, g, &empty_since[g]);
            lives[g] += is_there[g] && !there;
            is_there[g] = there;
        }
    }
    if (l->groups != NULL && groups_is_active(l->groups)) {
        struct tide_time t = time_now();
        groups_on_committed(l->groups, &t, committed);
    }
}

static void make_coordinator(int i)
{
    struct broker *b = &brokers[i];
    b->groups = groups_create(&(struct groups_config){.partition = 3, .settings = &settings, .heap = heap, .pool = pool,
                                                     .log = {.context = b, .append = append}, .seed = roll(UINT64_MAX)});
    TIDE_ASSERT(b->groups != NULL);
    b->loaded = 0;
}

static void elect(int who)
{
    struct broker *b = &brokers[who];
    SAY("broker %d leads, epoch %d", who, epoch + 1);
    leader = who;
    b->epoch = ++epoch;
    b->leads = true;
    b->deposed_at = INT64_MAX;
    add_entry(b, NULL, 0, 1);
    make_coordinator(who);
    stat_moves++;
}

static void send_answers(int i);

static void end_coordinator(int i, bool tells)
{
    struct broker *b = &brokers[i];
    struct tide_time t = time_now();
    (void)t;
    if (b->groups == NULL)
        return;
    groups_resign(b->groups);
    groups_check(b->groups);
    if (tells)
        send_answers(i);
    groups_destroy(b->groups);
    b->groups = NULL;
    for (unsigned k = 0; k < QUESTIONS_MAX; k++)
        if (questions[k].broker == i)
            questions[k].used = false;
}

/* To a broker whose log has everything that is committed. */
static void move_leadership(bool dies)
{
    int best = -1;
    struct broker *old = &brokers[leader];
    for (int i = 0; i < BROKERS; i++) {
        const struct broker *b = &brokers[i], *a = best >= 0 ? &brokers[best] : NULL;
        if (i == leader || !b->up || b->groups != NULL)
            continue;
        int32_t epoch_b = b->count != 0 ? b->log[b->count - 1].epoch : 0;
        int32_t epoch_a = a != NULL && a->count != 0 ? a->log[a->count - 1].epoch : 0;
        if (a == NULL || epoch_b > epoch_a || (epoch_b == epoch_a && b->count > a->count))
            best = i;
    }
    if (best < 0 || end_of(&brokers[best]) < committed)
        return;
    uint32_t at = 0;
    while (at < brokers[best].count && brokers[best].log[at].end < committed)
        at++;
    if (committed != 0 && (at == brokers[best].count || at >= old->count || brokers[best].log[at].id != old->log[at].id))
        return;
    old->leads = false;
    old->deposed_at = now_ms + (int64_t)roll(3000);
    if (dies) {
        end_coordinator(leader, false);
        old->up = false;
        old->deposed_at = now_ms + 1000 + (int64_t)roll(8000); /* and comes back */
    }
    elect(best);
}

/* ---- the wire --------------------------------------------------------------------------------------------------------- */

static void post(struct message *m, int64_t delay_ms)
{
    if (hits(50))
        return; /* lost */
    for (unsigned i = 0; i < MESSAGES_MAX; i++)
        if (!messages[i].used) {
            messages[i] = *m;
            messages[i].used = true;
            messages[i].at_ms = now_ms + delay_ms;
            return;
        }
    give_up("too many messages");
}

static int64_t some_delay(bool commit)
{
    if (hits(25))
        return (int64_t)roll(commit ? 4000 : 15000); /* late; a commit never so late that the next one has overtaken it */
    return (int64_t)roll(100);
}

static void send_answers(int i)
{
    struct groups_answer a;
    while (groups_next_answer(brokers[i].groups, &a)) {
        struct question *q = &questions[(uintptr_t)a.cookie];
        struct message m = {.answer = true, .broker = i, .member = q->member, .question = q->question, .api = q->api, .version = q->version, .len = a.body.len,
                            .life = lives[members[q->member].group]};
        TIDE_ASSERT(q->used && q->broker == i);
        TIDE_ASSERT(a.body.len <= BODY_MAX);
        tide_slice_copy(tide_rope_slice(&a.body, 0, a.body.len), m.body);
        tide_rope_clear(&a.body);
        q->used = false;
        post(&m, some_delay(false));
    }
}

static struct tide_slice slice_of(struct tide_rope *r, const struct message *m)
{
    enum tide_status status = tide_rope_copy_in(r, pool, m->body, m->len);
    TIDE_ASSERT(status == TIDE_OK);
    return tide_rope_slice(r, 0, r->len);
}

/* A request reaches a broker. False: it could not be taken now. */
static bool on_request(const struct message *m)
{
    struct broker *b = &brokers[m->broker];
    struct tide_rope r = {0};
    struct groups_question q = {.api_key = m->api, .version = m->version, .element = -1, .client_host = "/h", .view = &view};
    struct tide_time t = time_now();
    char client[8];
    unsigned i = 0;
    if (!b->up)
        return true;
    (void)snprintf(client, sizeof(client), "m%d", m->member);
    q.client_id = client;
    wire_cursor_init(&q.body, slice_of(&r, m));
    if (!b->leads || b->groups == NULL) {
        struct wire_writer w;
        struct message answer = {.answer = true, .broker = m->broker, .member = m->member, .question = m->question, .api = m->api, .version = m->version};
        wire_writer_init(&w, pool);
        bool wrote = groups_write_error(&q, KAFKA_NOT_COORDINATOR, &w);
        TIDE_ASSERT(wrote && !w.failed);
        answer.len = w.out.len;
        tide_slice_copy(tide_rope_slice(&w.out, 0, w.out.len), answer.body);
        wire_writer_abandon(&w);
        post(&answer, some_delay(false));
        tide_rope_clear(&r);
        return true;
    }
    while (questions[i].used)
        if (++i == QUESTIONS_MAX)
            give_up("too many questions");
    questions[i] = (struct question){.used = true, .member = m->member, .broker = m->broker, .question = m->question, .api = m->api, .version = m->version};
    q.cookie = (void *)(uintptr_t)i;
    enum tide_status status = groups_ask(b->groups, &t, &q);
    tide_rope_clear(&r);
    if (status == TIDE_BAD)
        give_up("api %d: malformed", m->api);
    if (status == TIDE_FULL)
        questions[i].used = false;
    groups_check(b->groups);
    if (status == TIDE_OK && hits(80)) { /* its connection breaks */
        groups_cancel(b->groups, q.cookie);
        questions[i].used = false;
    }
    return status == TIDE_OK;
}

/* ---- what members send ------------------------------------------------------------------------------------------------- */

static uint32_t ask(int member, int16_t api, int16_t version, struct wire_writer *w)
{
    struct message m = {.broker = members[member].broker, .member = member, .question = ++questions_asked, .api = api, .version = version, .len = w->out.len};
    TIDE_ASSERT(!w->failed && w->out.len <= BODY_MAX);
    tide_slice_copy(tide_rope_slice(&w->out, 0, w->out.len), m.body);
    wire_writer_abandon(w);
    post(&m, some_delay(api == KAFKA_API_OFFSET_COMMIT));
    if (api != KAFKA_API_OFFSET_COMMIT && hits(30))
        post(&m, some_delay(false)); /* twice */
    return m.question;
}

static uint32_t len_of(const char *t) { return (uint32_t)strlen(t); }

static const char *instance_of(int i)
{
    static char text[8];
    (void)snprintf(text, sizeof(text), "i%d", i);
    return members[i].is_static ? text : NULL;
}

static void put_instance(int i, struct wire_writer *w, void (*put)(struct wire_writer *, int16_t, const char *, uint32_t), int16_t v)
{
    const char *instance = instance_of(i);
    put(w, v, instance, instance == NULL ? 0 : len_of(instance));
}

static void send_join(int i)
{
    enum { V = 7 };
    static const uint8_t subscription[] = {0, 0, 0, 0, 0, 1, 0, 6, 'e', 'v', 'e', 'n', 't', 's', 0xff, 0xff, 0xff, 0xff};
    struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    wire_writer_init(&w, pool);
    join_group_request_put_group_id(&w, V, group, len_of(group));
    join_group_request_put_session_timeout_ms(&w, V, 8000);
    join_group_request_put_rebalance_timeout_ms(&w, V, 12000);
    join_group_request_put_member_id(&w, V, m->id, len_of(m->id));
    put_instance(i, &w, join_group_request_put_group_instance_id, V);
    join_group_request_put_protocol_type(&w, V, "consumer", 8);
    join_group_request_open_protocols(&w, V, 1);
    join_group_request_protocol_put_name(&w, V, "range", 5);
    join_group_request_protocol_put_metadata(&w, V, subscription, sizeof(subscription));
    join_group_request_protocol_end(&w, V);
    join_group_request_end(&w, V);
    m->state = JOINING;
    m->asked_ms = now_ms;
    m->question = ask(i, KAFKA_API_JOIN_GROUP, V, &w);
    stat_rejoins++;
}

static void send_sync(int i)
{
    enum { V = 5 };
    struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    wire_writer_init(&w, pool);
    sync_group_request_put_group_id(&w, V, group, len_of(group));
    sync_group_request_put_generation_id(&w, V, m->generation);
    sync_group_request_put_member_id(&w, V, m->id, len_of(m->id));
    put_instance(i, &w, sync_group_request_put_group_instance_id, V);
    sync_group_request_put_protocol_type(&w, V, "consumer", 8);
    sync_group_request_put_protocol_name(&w, V, "range", 5);
    sync_group_request_open_assignments(&w, V, m->leads ? m->listed : 0);
    for (int k = 0; m->leads && k < m->listed; k++) {
        char part[PARTITIONS + 1];
        for (int p = 0; p < PARTITIONS; p++)
            part[p] = p % m->listed == k ? '1' : '0';
        sync_group_request_assignment_put_member_id(&w, V, m->list[k], len_of(m->list[k]));
        sync_group_request_assignment_put_assignment(&w, V, part, PARTITIONS);
        sync_group_request_assignment_end(&w, V);
    }
    sync_group_request_end(&w, V);
    m->state = SYNCING;
    m->asked_ms = now_ms;
    m->question = ask(i, KAFKA_API_SYNC_GROUP, V, &w);
}

static void send_heartbeat(int i)
{
    enum { V = 4 };
    struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    wire_writer_init(&w, pool);
    heartbeat_request_put_group_id(&w, V, group, len_of(group));
    heartbeat_request_put_generation_id(&w, V, m->generation);
    heartbeat_request_put_member_id(&w, V, m->id, len_of(m->id));
    put_instance(i, &w, heartbeat_request_put_group_instance_id, V);
    heartbeat_request_end(&w, V);
    m->asked_ms = m->heartbeat_ms = now_ms;
    m->question = ask(i, KAFKA_API_HEARTBEAT, V, &w);
}

static void send_leave(int i)
{
    enum { V = 1 };
    const struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    wire_writer_init(&w, pool);
    leave_group_request_put_group_id(&w, V, group, len_of(group));
    leave_group_request_put_member_id(&w, V, m->id, len_of(m->id));
    leave_group_request_end(&w, V);
    (void)ask(i, KAFKA_API_LEAVE_GROUP, V, &w);
}

static void send_fetch(int i)
{
    enum { V = 7 };
    struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    wire_writer_init(&w, pool);
    offset_fetch_request_put_group_id(&w, V, group, len_of(group));
    offset_fetch_request_open_topics(&w, V, 1);
    offset_fetch_request_topic_put_name(&w, V, "events", 6);
    offset_fetch_request_topic_open_partition_indexes(&w, V, PARTITIONS);
    for (int32_t p = 0; p < PARTITIONS; p++)
        wire_put_i32(&w, p);
    offset_fetch_request_topic_end(&w, V);
    offset_fetch_request_put_require_stable(&w, V, true);
    offset_fetch_request_end(&w, V);
    memcpy(m->floor, acknowledged[m->group], sizeof(m->floor));
    m->state = FETCHING;
    m->asked_ms = now_ms;
    m->question = ask(i, KAFKA_API_OFFSET_FETCH, V, &w);
}

static void send_commit(int i)
{
    enum { V = 7 };
    struct member *m = &members[i];
    const char *group = group_names[m->group];
    struct wire_writer w;
    int32_t count = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        bool quiet = p == 0 && m->position[p] != 0; /* nobody writes to that partition any more: nothing new to commit */
        m->commits[p] = m->assigned[p] == '1' && !quiet;
        if (p == 0 && m->commits[p])
            m->position[p] = 1 + (int64_t)roll(20);
        count += m->commits[p];
    }
    m->committed_ms = now_ms;
    if (count == 0)
        return;
    wire_writer_init(&w, pool);
    offset_commit_request_put_group_id(&w, V, group, len_of(group));
    offset_commit_request_put_generation_id_or_member_epoch(&w, V, m->generation);
    offset_commit_request_put_member_id(&w, V, m->id, len_of(m->id));
    put_instance(i, &w, offset_commit_request_put_group_instance_id, V);
    offset_commit_request_open_topics(&w, V, 1);
    offset_commit_request_topic_put_name(&w, V, "events", 6);
    offset_commit_request_topic_open_partitions(&w, V, count);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        m->committing[p] = -1;
        if (!m->commits[p])
            continue;
        m->position[p] += p == 0 ? 0 : (int64_t)roll(20);
        m->committing[p] = m->position[p];
        offset_commit_request_partition_put_partition_index(&w, V, p);
        offset_commit_request_partition_put_committed_offset(&w, V, m->position[p]);
        offset_commit_request_partition_put_committed_leader_epoch(&w, V, 1);
        offset_commit_request_partition_put_committed_metadata(&w, V, NULL, 0);
        offset_commit_request_partition_end(&w, V);
    }
    offset_commit_request_topic_end(&w, V);
    offset_commit_request_end(&w, V);
    m->commit_generation = m->generation;
    m->commit_sent_ms = now_ms;
    m->commit = ask(i, KAFKA_API_OFFSET_COMMIT, V, &w);
}

/* ---- what members hear ------------------------------------------------------------------------------------------------------ */

static void lose_all(struct member *m)
{
    memset(m->assigned, '0', PARTITIONS);
    m->generation = -1;
}

static void restart(int i, bool forget_id)
{
    struct member *m = &members[i];
    if (forget_id)
        m->id[0] = 0;
    lose_all(m);
    m->state = LOST;
    m->question = m->commit = 0;
}

/* True: the answer is an error, and what follows from it is done. */
static bool on_error(int i, int16_t error)
{
    struct member *m = &members[i];
    switch (error) {
    case 0:
        return false;
    case KAFKA_NOT_COORDINATOR:
    case KAFKA_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_COORDINATOR_LOAD_IN_PROGRESS:
        m->broker = error == KAFKA_NOT_COORDINATOR ? (int)roll(BROKERS) : m->broker;
        m->asked_ms = now_ms - 1000000; /* ask the same again, as soon as it may */
        return true;
    case KAFKA_UNKNOWN_MEMBER_ID:
        restart(i, true);
        return true;
    case KAFKA_FENCED_INSTANCE_ID: /* another one has its name; here: an earlier life of its own */
        stat_fenced++;
        restart(i, true);
        return true;
    case KAFKA_ILLEGAL_GENERATION:
        restart(i, false);
        return true;
    case KAFKA_REBALANCE_IN_PROGRESS:
        if (!m->cooperative)
            memset(m->assigned, '0', PARTITIONS);
        send_join(i);
        return true;
    default:
        give_up("member %d: error %d", i, error);
    }
}

static void on_joined(int i, struct wire_cursor *c, int16_t v)
{
    struct member *m = &members[i];
    struct join_group_response in;
    struct join_group_response_member e;
    char name[ID_MAX];
    bool read = join_group_response_read(c, v, &in);
    TIDE_ASSERT(read);
    if (in.error_code == KAFKA_MEMBER_ID_REQUIRED) {
        (void)wire_bytes_copy(&in.member_id, m->id, ID_MAX);
        send_join(i);
        return;
    }
    if (in.error_code == KAFKA_REBALANCE_IN_PROGRESS) {
        m->asked_ms = now_ms - 1000000;
        return;
    }
    if (on_error(i, in.error_code))
        return;
    (void)wire_bytes_copy(&in.member_id, m->id, ID_MAX);
    (void)wire_bytes_copy(&in.leader, name, ID_MAX);
    m->generation = in.generation_id;
    m->leads = strcmp(name, m->id) == 0;
    m->listed = 0;
    memset(m->assigned, '0', PARTITIONS);
    m->commit = 0;
    while (join_group_response_member_next(&in.members, v, &e)) {
        TIDE_ASSERT(m->listed < MEMBERS);
        (void)wire_bytes_copy(&e.member_id, m->list[m->listed++], ID_MAX);
    }
    SAY("member %d joined %s generation %d%s", i, group_names[m->group], m->generation, m->leads ? ", leads" : "");
    send_sync(i);
}

static void on_synced(int i, struct wire_cursor *c, int16_t v, uint32_t life)
{
    struct member *m = &members[i];
    struct sync_group_response in;
    bool read = sync_group_response_read(c, v, &in);
    TIDE_ASSERT(read);
    if (in.error_code == KAFKA_COORDINATOR_NOT_AVAILABLE || in.error_code == KAFKA_NOT_COORDINATOR ||
        in.error_code == KAFKA_COORDINATOR_LOAD_IN_PROGRESS || in.error_code == KAFKA_UNKNOWN_SERVER_ERROR) {
        m->broker = (int)roll(BROKERS);
        send_join(i); /* as clients do: from the beginning */
        return;
    }
    if (on_error(i, in.error_code))
        return;
    char part[PARTITIONS + 1] = {0};
    if (in.assignment.at.len != 0)
        (void)wire_bytes_copy(&in.assignment, part, sizeof(part));
    if (m->generation >= GENERATIONS_MAX)
        give_up("too many generations");
    if (life > owner_life[m->group][m->generation]) {
        owner_life[m->group][m->generation] = life;
        memset(owner[m->group][m->generation], 0, PARTITIONS);
    }
    for (int p = 0; p < PARTITIONS; p++) {
        char *who = &owner[m->group][m->generation][p];
        m->assigned[p] = part[p] == '1' ? '1' : '0';
        if (m->assigned[p] != '1' || life < owner_life[m->group][m->generation])
            continue;
        if (*who != 0 && *who != i + 1)
            give_up("G1: partition %d of %s has two owners in generation %d: members %d and %d", p, group_names[m->group], m->generation, *who - 1, i);
        *who = (char)(i + 1);
    }
    if (m->generation > last_generation[m->group]) {
        last_generation[m->group] = m->generation;
        stat_generations++;
    }
    SAY("member %d has %s of generation %d", i, m->assigned, m->generation);
    m->state = FETCHING;
    m->asked_ms = now_ms - 1000000;
}

static void on_fetched(int i, struct wire_cursor *c, int16_t v)
{
    struct member *m = &members[i];
    struct offset_fetch_response in;
    struct offset_fetch_response_topic t;
    struct offset_fetch_response_partition p;
    bool read = offset_fetch_response_read(c, v, &in);
    TIDE_ASSERT(read);
    if (on_error(i, in.error_code))
        return;
    bool has = offset_fetch_response_topic_next(&in.topics, v, &t);
    TIDE_ASSERT(has);
    while (offset_fetch_response_partition_next(&t.partitions, v, &p)) {
        if (p.committed_offset < m->floor[p.partition_index])
            give_up("%s/%d: %" PRId64 " was acknowledged, and %" PRId64 " is fetched", group_names[m->group], p.partition_index, m->floor[p.partition_index],
                 p.committed_offset);
        m->position[p.partition_index] = p.committed_offset < 0 ? 0 : p.committed_offset;
    }
    m->state = READING;
    m->heartbeat_ms = now_ms;
    m->committed_ms = now_ms;
}

static void on_commit_answer(int i, struct wire_cursor *c, int16_t v)
{
    struct member *m = &members[i];
    struct offset_commit_response in;
    struct offset_commit_response_topic t;
    struct offset_commit_response_partition p;
    bool read = offset_commit_response_read(c, v, &in);
    TIDE_ASSERT(read);
    m->commit = 0;
    while (offset_commit_response_topic_next(&in.topics, v, &t))
        while (offset_commit_response_partition_next(&t.partitions, v, &p)) {
            int64_t *at = &acknowledged[m->group][p.partition_index];
            if (p.error_code == 0 && m->committing[p.partition_index] > *at)
                *at = m->committing[p.partition_index];
            if (p.error_code == 0)
                stat_commits++;
            if (p.error_code == KAFKA_NOT_COORDINATOR)
                m->broker = (int)roll(BROKERS);
        }
}

static void on_answer(const struct message *a)
{
    struct member *m = &members[a->member];
    struct tide_rope r = {0};
    struct wire_cursor c;
    bool commit = a->api == KAFKA_API_OFFSET_COMMIT;
    if (m->state == GONE || a->question != (commit ? m->commit : m->question))
        return; /* of a question that it has given up */
    wire_cursor_init(&c, slice_of(&r, a));
    mix((uint64_t)a->member * 64 + (uint64_t)a->api);
    mix(a->len);
    if (!commit)
        m->question = 0;
    switch (a->api) {
    case KAFKA_API_JOIN_GROUP:
        on_joined(a->member, &c, a->version);
        break;
    case KAFKA_API_SYNC_GROUP:
        on_synced(a->member, &c, a->version, a->life);
        break;
    case KAFKA_API_HEARTBEAT: {
        struct heartbeat_response in;
        bool read = heartbeat_response_read(&c, a->version, &in);
        TIDE_ASSERT(read);
        (void)on_error(a->member, in.error_code);
        break;
    }
    case KAFKA_API_OFFSET_FETCH:
        on_fetched(a->member, &c, a->version);
        break;
    case KAFKA_API_OFFSET_COMMIT:
        on_commit_answer(a->member, &c, a->version);
        break;
    default:
        break;
    }
    tide_rope_clear(&r);
}

/* ---- a member's turn ------------------------------------------------------------------------------------------------------------ */

static void disturb(int i)
{
    struct member *m = &members[i];
    if (hits(1500)) {
        m->paused_until = now_ms + (int64_t)roll(20000);
        SAY("member %d pauses until %" PRId64, i, m->paused_until);
    }
    if (hits(1500)) { /* goes away, politely or not; a static one says nothing */
        SAY("member %d goes", i);
        if (!m->is_static && roll(2) == 0 && m->id[0] != 0)
            send_leave(i);
        restart(i, true);
        m->state = GONE;
        m->back_at = now_ms + (int64_t)roll(15000);
    }
}

static void on_turn(int i)
{
    struct member *m = &members[i];
    int64_t patience = m->state == JOINING ? 20000 : m->state == SYNCING ? 15000 : 3000;
    bool waits = m->question != 0;
    if (m->state == GONE && now_ms >= m->back_at)
        m->state = LOST;
    if (m->state == GONE || now_ms < m->paused_until)
        return;
    if (waits && now_ms - m->asked_ms > patience) { /* no answer: perhaps somebody else coordinates */
        m->question = 0;
        m->broker = (int)roll(BROKERS);
        waits = false;
    }
    if (m->commit != 0 && now_ms - m->committed_ms > 6000)
        m->commit = 0;
    bool reads = m->state == READING || (m->cooperative && (m->state == JOINING) && m->generation > 0);
    if (reads && m->commit == 0 && now_ms - m->committed_ms > 700)
        send_commit(i);
    if (waits || (m->state != READING && now_ms - m->asked_ms < 300))
        return;
    switch (m->state) {
    case LOST:
    case JOINING:
        send_join(i);
        break;
    case SYNCING:
        send_join(i);
        break;
    case FETCHING:
        /* Given the same generation once more, it waits for its own commit that may be under way: no fence is between the two. */
        if (m->commit_generation != m->generation || now_ms - m->commit_sent_ms > 5000)
            send_fetch(i);
        break;
    case READING:
        if (now_ms - m->heartbeat_ms > 1500 || now_ms - m->asked_ms > 900000)
            send_heartbeat(i);
        break;
    default:
        break;
    }
}

/* ---- a run ---------------------------------------------------------------------------------------------------------------------- */

static void broker_turn(int i)
{
    struct broker *b = &brokers[i];
    struct tide_time t = time_now();
    if (!b->leads && now_ms >= b->deposed_at) {
        end_coordinator(i, b->up);
        b->up = true;
        b->deposed_at = INT64_MAX;
    }
    if (!b->up)
        return;
    if (i != leader) {
        if (b->groups == NULL && roll(10) < 7)
            follow(b, &brokers[leader]);
        return;
    }
    if (!groups_is_active(b->groups)) {
        for (unsigned n = 0; n < 50 && b->loaded < b->count; n++)
            replay(b->groups, &b->log[b->loaded++]);
        if (b->loaded == b->count && committed >= end_of(b))
            groups_loaded(b->groups, &t, committed);
        return;
    }
    if (groups_deadline_ns(b->groups) <= t.now_ns || b->groups->swept_view != view.version) {
        groups_turn(b->groups, &t, &view);
        groups_check(b->groups);
    }
    send_answers(i);
}

static bool all_is_well(void)
{
    for (int g = 0; g < GROUPS; g++) {
        int32_t generation = -1;
        char owned[PARTITIONS] = {0};
        for (int i = 0; i < MEMBERS; i++) {
            const struct member *m = &members[i];
            if (m->group != g)
                continue;
            if (m->state != READING || (generation >= 0 && m->generation != generation))
                return false;
            generation = m->generation;
            for (int p = 0; p < PARTITIONS; p++)
                owned[p] = (char)(owned[p] + (m->assigned[p] == '1'));
        }
        for (int p = 0; p < PARTITIONS; p++)
            if (generation >= 0 && owned[p] != 1)
                return false;
    }
    return true;
}

static void deliver(void)
{
    for (unsigned i = 0; i < MESSAGES_MAX; i++) {
        struct message *m = &messages[i];
        if (!m->used || m->at_ms > now_ms)
            continue;
        if (m->answer && now_ms < members[m->member].paused_until)
            continue;
        if (m->answer) {
            struct message copy = *m;
            m->used = false;
            on_answer(&copy);
        } else if (on_request(m)) {
            m->used = false;
        }
    }
}

static void start(uint64_t seed)
{
    chance = (struct tide_random){seed};
    seed_now = seed;
    now_ms = 1000;
    committed = 0;
    epoch = 0;
    digest = seed;
    shadow_read = 0;
    entries_made = 0;
    questions_asked = 0;
    faults = true;
    move_soon = false;
    memset(messages, 0, sizeof(messages));
    memset(questions, 0, sizeof(questions));
    memset(members, 0, sizeof(members));
    memset(owner, 0, sizeof(owner));
    memset(owner_life, 0, sizeof(owner_life));
    memset(is_there, 0, sizeof(is_there));
    memset(lives, 0, sizeof(lives));
    for (int g = 0; g < GROUPS; g++)
        empty_since[g] = INT64_MAX;
    memset(last_generation, 0, sizeof(last_generation));
    memset(acknowledged, 0xff, sizeof(acknowledged));
    memset(in_log, 0xff, sizeof(in_log));
    heap = tide_heap_create(8 << 20);
    for (int i = 0; i < BROKERS; i++) {
        brokers[i].count = 0;
        brokers[i].up = true;
        brokers[i].leads = false;
        brokers[i].deposed_at = INT64_MAX;
        brokers[i].groups = NULL;
    }
    for (int i = 0; i < MEMBERS; i++) {
        members[i] = (struct member){.group = roll(3) == 0, .is_static = roll(4) == 0, .cooperative = roll(2) == 0, .broker = (int)roll(BROKERS),
                                     .state = GONE, .back_at = now_ms + (int64_t)roll(20000), .asked_ms = -100000};
        lose_all(&members[i]);
    }
    settings.group_initial_rebalance_delay_ms = (int64_t)roll(2) * 1000;
    shadow = groups_create(&(struct groups_config){.settings = &settings, .heap = heap, .pool = pool, .seed = 1});
    elect((int)roll(BROKERS));
}

static void finish(void)
{
    for (int i = 0; i < BROKERS; i++) {
        if (brokers[i].groups != NULL)
            end_coordinator(i, false);
        mix((uint64_t)end_of(&brokers[i]));
        drop_entries(&brokers[i], 0);
    }
    groups_destroy(shadow);
    tide_heap_check(heap);
    TIDE_ASSERT(tide_heap_free_bytes(heap) == tide_heap_bytes(heap));
    tide_heap_destroy(heap);
    TIDE_ASSERT(rte_mempool_in_use_count(pool) == 0);
}

static uint64_t run_seed(uint64_t seed)
{
    int64_t well_since = -1;
    start(seed);
    for (; now_ms < FAULTS_MS + CALM_MS; now_ms += TICK_MS) {
        faults = now_ms < FAULTS_MS;
        deliver();
        for (int i = 0; i < MEMBERS; i++) {
            disturb(i);
            on_turn(i);
        }
        for (int i = 0; i < BROKERS; i++)
            broker_turn(i);
        commit_more();
        if (move_soon || hits(250))
            move_leadership(roll(3) == 0);
        move_soon = false;
        if (faults || !all_is_well())
            well_since = -1;
        else if (well_since < 0)
            well_since = now_ms;
        if (well_since >= 0 && now_ms - well_since > 15000)
            break; /* longer than any session: nobody is about to be missed */
    }
    if (well_since < 0)
        give_up("no convergence in %d s without faults", CALM_MS / 1000);
    mix((uint64_t)now_ms);
    finish();
    return digest;
}

static int run(uint64_t from, uint64_t seeds, bool verbosely)
{
    uint64_t all = 0, done = 0;
    verbose = verbosely;
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        uint64_t d = run_seed(seed);
        if (seed == from && run_seed(seed) != d)
            give_up("P12: the same seed gives another digest");
        all = (all ^ d) * 0x100000001b3ull;
        done++;
        if (sim_time_is_up())
            break;
    }
    printf("%" PRIu64 " seeds: %" PRIu64 " leaders, %" PRIu64 " generations, %" PRIu64 " joins, %" PRIu64 " commits acknowledged, %" PRIu64
           " fenced, digest %016" PRIx64 "\n", done, stat_moves, stat_generations, stat_rejoins, stat_commits, stat_fenced, all);
    return 0;
}

static void prepare(void)
{
    unit_eal();
    pool = unit_pool("sim", 16383, 512);
    settings = (struct tide_settings){
        .group_min_session_timeout_ms = 6000, .group_max_session_timeout_ms = 1800000, .group_max_size = 1000, .group_member_metadata_max_bytes = 10000,
        .group_groups_max = 100, .group_offsets_max = 1000, .offsets_retention_minutes = 2, .offsets_retention_check_interval_ms = 10000,
        .offsets_commit_timeout_ms = 5000, .offset_metadata_max_bytes = 100};
    topics[0] = (struct view_topic){.id = {{1}}, .name = "events", .name_len = 6, .partition_count = PARTITIONS, .partitions = partitions};
    tide_view_index(topics, 1, 4, by_name, by_id);
    view = (struct tide_view){.version = 1, .topic_count = 1, .topics = topics, .hash_mask = 3, .by_name = by_name, .by_id = by_id};
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 'n'}, {"from", required_argument, NULL, 'f'},
                                            {"seed", required_argument, NULL, 's'}, {"verbose", no_argument, NULL, 'v'},
                                            {"mutant", required_argument, NULL, 'm'}, {"mutants", no_argument, NULL, 'M'}, {NULL, 0, NULL, 0}};
    uint64_t seeds = 100, from = 1;
    bool verbosely = false, mutants = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'n')
            seeds = strtoull(optarg, NULL, 10);
        else if (c == 'f')
            from = strtoull(optarg, NULL, 10);
        else if (c == 's')
            from = strtoull(optarg, NULL, 10), seeds = 1;
        else if (c == 'v')
            verbosely = true;
        else if (c == 'M')
            mutants = true;
        else if (c != 'm' || !sim_choose_mutant(optarg))
            return 2;
    }
    if (sim_is_full() && seeds > 1 && !mutants)
        seeds *= 20;
    prepare();
#ifdef TIDE_MUTANTS
    if (mutants) {
        static const enum tide_mutant list[] = {MUTANT_NONE, MUTANT_GROUP_ANSWER, MUTANT_GROUP_GENERATION, MUTANT_GROUP_SESSION, MUTANT_GROUP_EXPIRY};
        return sim_run_mutants(list, TIDE_ARRAY_LEN(list), from, seeds, run);
    }
#endif
    return mutants ? 2 : run(from, seeds, verbosely);
}
