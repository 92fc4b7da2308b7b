/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of the consumer protocol (KIP-848) with members that behave as clients do: they join, live, take their time to give partitions
 * up, pause, stop with and without a word, come back under another id, and ask again after a timeout; requests and answers get lost. The
 * coordinator is loaded anew at any moment, with what was committed only; appends are refused or find no room; topics come and grow. Some members
 * subscribe by a regular expression, and some by names of topics that are not there yet.
 * In every second seed some members speak the classic protocol (eager ones or cooperative ones), and clients come back with the other one: the group
 * changes its kind under them, and while it is classic one of them leads.
 *
 * Checked at every step:
 *   S1  no two members that are in touch with the coordinator use the same partition (a member that was silent for a session, or takes
 *       longer than its rebalance timeout to give something up, is out of it)
 *   S2  the epoch that a member is told of does not fall while it is in the group
 *   S3  a commit that is acknowledged is younger than the one that was acknowledged before it, whoever made it
 *   groups_check, C1 among it; a coordinator that loads what another wrote knows what the other knew
 * and at the end, when nothing has been lost for a while:
 *   S4  every partition of a topic that someone wants is used by one of them, and the group is Stable
 *   S5  the last acknowledged commit of every partition is there, or a younger one
 *
 *   --seeds N [--from S] [--verbose]    or, in the build that can leave rules out,    --mutants [--seeds N]
 */
#include <getopt.h>
#include <inttypes.h>

#include "../unit/classic_says.h"
#include "group/internal.h"
#include "kafka/errors.h"
#include "kafka/messages.h"
#include "sim_mutants.h"
#include "tidemark/random.h"

enum {
    CLIENTS = 8,
    TOPICS = 5, /* in the order in which they come */
    PARTITIONS = 12,
    STEPS = 1500,
    SESSION_MS = 45000,
    REBALANCE_MS = 60000,
    SLOW_MS = 90000, /* a client that takes too long to give something up */
    ANSWER_MS = 6000, /* who waits longer asks again */
    JOIN_MS = 100000, /* and who waits for a generation */
};

enum client_state { OUT, IN, LEAVING };

/* What a member of the classic protocol does next. */
enum classic_step { JOIN, SYNC, BEAT };

struct question {
    bool used;
    bool is_commit;
    int16_t api, version;
    struct client *client;
    unsigned life; /* of the client, when it asked */
    struct tide_rope body;
    bool asked;
    uint64_t at_ns; /* not before then */
    uint64_t asked_ns;
    /* a commit */
    int topic;
    int32_t partition;
    int64_t offset;
};

struct client {
    char id[16], instance[16];
    unsigned number, life;
    enum client_state state;
    int epoch;
    int leave_epoch;
    bool tell_all;         /* the next heartbeat is a full one */
    bool tell_owned;
    unsigned topics;       /* that it names, a bit each */
    unsigned expression;
    struct world_set owned; /* what it uses and names */
    struct world_set wanted;
    bool revoking;
    uint64_t revoking_since_ns, revoked_at_ns;
    uint64_t beat_at_ns, paused_until_ns, heard_ns;
    struct question *asking, *committing;
    /* of the classic protocol; `epoch` is the generation */
    bool classic, leads;
    enum classic_step step;
    char given[CLASSIC_ID]; /* the id of the member */
    uint64_t called_ns;     /* it is to join again; 0: no */
    uint64_t topics_seen;   /* version of the topics when it joined */
    uint64_t silent_since_ns; /* it heard nothing for a session, and is yet in the group: its answers were lost, or a late commit kept it alive; 0: no */
    int listed;
    struct classic_listed *list; /* for a leader */
};

static struct sim {
    struct tide_random random;
    struct client clients[CLIENTS];
    struct question questions[4 * CLIENTS];
    int64_t acknowledged[TOPICS][WORLD_PARTITIONS];
    int64_t offsets;
    bool calm, mixed, cooperative;
    unsigned topics; /* that there are */
    unsigned classic_share; /* of eight that come, so many speak the classic protocol */
    uint64_t digest;
} sim;
static struct world w;
static bool verbose;
static uint64_t seed_now;
static struct {
    uint64_t joins, handovers, reloads, fenced, commits, stale, lost, refused, led, upgrades, downgrades, expressions, created;
} counts;

static const char *const topic_names[TOPICS] = {"ta", "tb", "tc", "td", "te"};
static const struct {
    const char *text;
    unsigned topics; /* that it matches, a bit each */
} expressions[] = {{"", 0}, {"t[ab]", 3}, {"t.*", 31}, {"t(c|d)", 12}, {"(?i)TE|ta", 17}, {"[^t].*", 0}, {"t\\p{Ll}", 31}};
static char text[WORLD_TEXT];

#define SAY(...)                                                                                   \
    do {                                                                                           \
        if (verbose) {                                                                             \
            printf("%8.3f ", (double)w.now.now_ns / 1e9 - 1000);                                   \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static _Noreturn void give_up(const char *what)
{
    if (w.committed == w.log_end)
        world_describe(&w, "g", text);
    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ": %s\n%s\n", seed_now, what, text);
    for (unsigned i = 0; i < CLIENTS; i++)
        fprintf(stderr, "  %s state %d epoch %d owned %s\n", sim.clients[i].id, sim.clients[i].state, sim.clients[i].epoch, world_set_text(&w, &sim.clients[i].owned, text));
    fprintf(stderr, "again: sim_group_consumer --from %" PRIu64 " --seeds 1 --verbose\n", seed_now);
    abort();
}

static bool hits(uint64_t one_in) { return !sim.calm && tide_random_hits(&sim.random, one_in); }
static uint64_t below(uint64_t n) { return tide_random_below(&sim.random, n); }
static uint64_t after_ms(uint64_t ms) { return w.now.now_ns + ms * TIDE_NS_PER_MS; }

/* Topics may be gone: sets name them by their number in the world, which changes then. */
static int topic_of(const char *name) { return world_topic_number(&w, name); }
static int index_of(int topic)
{
    for (int i = 0; i < TOPICS; i++)
        if (strcmp(w.topics[topic].name, topic_names[i]) == 0)
            return i;
    return -1;
}

static unsigned subscribes_to(const struct client *c) { return c->topics | expressions[c->expression].topics; }

/* Those of the classic protocol name what is there: nobody would tell them of what comes. */
static void subscribe(struct client *c)
{
    c->topics = (unsigned)below(1 << TOPICS);
    c->expression = !c->classic && tide_random_hits(&sim.random, 2) ? (unsigned)below(TIDE_ARRAY_LEN(expressions)) : 0;
    if (c->classic)
        c->topics &= (1u << sim.topics) - 1;
    if (c->topics == 0 && c->expression == 0)
        c->topics = 1;
}

/* ---- members -------------------------------------------------------------------------------------------- */

static void born(struct client *c)
{
    unsigned number = (unsigned)(c - sim.clients), life = c->life + 1;
    free(c->list);
    *c = (struct client){.number = number, .life = life};
    c->classic = sim.mixed && below(8) < sim.classic_share;
    subscribe(c);
    (void)snprintf(c->id, sizeof(c->id), "m%u-%u", number, life);
    if (number % 4 == 3)
        (void)snprintf(c->instance, sizeof(c->instance), "i%u", number);
}

/* It has nothing any more. Questions that are out are nobody's. */
static void forget(struct client *c)
{
    c->owned.count = c->wanted.count = 0;
    c->revoking = false;
}

static void die(struct client *c)
{
    SAY("%s dies", c->id);
    born(c);
    c->beat_at_ns = after_ms(below(20000));
}

static bool has(const struct world_set *s, const struct world_set *of, uint32_t i) { return world_set_has(s, of->at[i].topic, of->at[i].partition); }

static void settle_assignment(struct client *c)
{
    bool lost = false;
    for (uint32_t i = 0; i < c->owned.count; i++)
        lost |= !has(&c->wanted, &c->owned, i);
    if (!lost) {
        c->owned = c->wanted;
        c->revoking = false;
        c->tell_owned = true;
        c->silent_since_ns = 0;
        return;
    }
    if (!c->revoking) {
        c->revoking = true;
        c->revoking_since_ns = c->silent_since_ns != 0 ? c->silent_since_ns : w.now.now_ns; /* the coordinator may count from there */
        c->silent_since_ns = 0;
        c->revoked_at_ns = after_ms(hits(30) ? SLOW_MS : below(sim.calm ? 10 : 15000));
        counts.handovers++;
    }
}

/* It hears again. What it is to revoke it may have been told in answers that were lost. */
static void note_silence(struct client *c, uint64_t asked_ns)
{
    if (c->state == IN && asked_ns > c->heard_ns + SESSION_MS * TIDE_NS_PER_MS)
        c->silent_since_ns = c->heard_ns + 1;
}

/* It may have been fenced for it. */
static bool is_late(const struct client *c)
{
    if (c->called_ns != 0 && w.now.now_ns >= c->called_ns + (REBALANCE_MS - SESSION_MS) * TIDE_NS_PER_MS)
        return true;
    return c->revoking && w.now.now_ns >= c->revoking_since_ns + (REBALANCE_MS - SESSION_MS) * TIDE_NS_PER_MS;
}

static void revoke_if_time(struct client *c)
{
    if (!c->revoking || w.now.now_ns < c->revoked_at_ns || w.now.now_ns < c->paused_until_ns)
        return;
    if (is_late(c))
        c->heard_ns = 0; /* until it hears that it was not */
    c->revoking = false;
    c->owned = c->wanted; /* what is new in it begins only now */
    c->tell_owned = true;
    c->step = JOIN;
    c->beat_at_ns = w.now.now_ns; /* tells at once */
}

static bool is_in_touch(const struct client *c)
{
    if (c->state == OUT || c->epoch <= 0)
        return false;
    if (w.now.now_ns >= c->heard_ns + (SESSION_MS - 100) * TIDE_NS_PER_MS)
        return false;
    return !is_late(c);
}

static void check_use(void) /* S1 */
{
    static const struct client *users[WORLD_TOPICS][WORLD_PARTITIONS];
    memset(users, 0, sizeof(users));
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct client *c = &sim.clients[i];
        if (!is_in_touch(c))
            continue;
        for (uint32_t k = 0; k < c->owned.count; k++) {
            const struct client **user = &users[c->owned.at[k].topic][c->owned.at[k].partition];
            if (*user != NULL)
                give_up("S1: two members use one partition");
            *user = c;
        }
    }
}

/* ---- questions -------------------------------------------------------------------------------------------- */

static struct question *new_question(struct client *c)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(sim.questions); i++) {
        struct question *q = &sim.questions[i];
        if (q->used)
            continue;
        *q = (struct question){.used = true, .client = c, .life = c->life, .at_ns = w.now.now_ns, .asked_ns = w.now.now_ns};
        return q;
    }
    give_up("no room for a question");
}

static void end_question(struct question *q)
{
    if (q->asked)
        groups_cancel(w.groups, q);
    tide_rope_clear(&q->body);
    if (q->client->life == q->life && q->client->asking == q)
        q->client->asking = NULL;
    if (q->client->life == q->life && q->client->committing == q)
        q->client->committing = NULL;
    *q = (struct question){0};
}

static const char *names_of(const struct client *c)
{
    static char names[64];
    names[0] = 0;
    for (unsigned t = 0; t < TOPICS; t++)
        if (c->topics & 1u << t) {
            strcat(names, " ");
            strcat(names, topic_names[t]);
        }
    return names;
}

/* ---- the classic protocol ----------------------------------------------------------------------------------- */

static struct classic_hears heard;

static void send(struct client *c, int16_t api, int16_t version, struct wire_writer *body)
{
    struct question *q = c->asking = new_question(c);
    q->api = api;
    q->version = version;
    q->body = body->out;
    if (hits(20)) { /* lost on its way */
        counts.lost++;
        q->at_ns = UINT64_MAX;
    }
}

/* Each partition to the member whose turn it is; what another still holds (cooperative ones say so) to nobody yet. */
static struct world_set *share_out(const struct client *c)
{
    static struct world_set parts[CLASSIC_LISTED];
    for (int m = 0; m < c->listed; m++)
        parts[m].count = 0;
    for (uint32_t t = 0; t < w.view.topic_count; t++)
        for (uint32_t p = 0; p < w.topics[t].partition_count; p++) {
            int subscribers = 0, to = -1, turn, owner = -1;
            for (int m = 0; m < c->listed; m++) {
                subscribers += (c->list[m].topics >> t & 1) != 0;
                if (world_set_has(&c->list[m].owned, (int)t, (int32_t)p))
                    owner = m;
            }
            turn = subscribers != 0 ? (int)((t + p) % (uint32_t)subscribers) : -1;
            for (int m = 0; m < c->listed && to < 0 && turn >= 0; m++)
                if ((c->list[m].topics >> t & 1) && turn-- == 0)
                    to = m;
            if (to < 0 || (owner >= 0 && owner != to))
                continue;
            parts[to].at[parts[to].count].topic = (int)t;
            parts[to].at[parts[to].count++].partition = (int32_t)p;
        }
    return parts;
}

static void ask_classic(struct client *c)
{
    struct classic_says s = {.group = "g", .member = c->given, .instance = c->instance[0] != 0 ? c->instance : NULL, .topics = names_of(c),
                             .generation = c->epoch, .session_ms = SESSION_MS, .rebalance_ms = REBALANCE_MS,
                             .protocols = sim.cooperative ? "cooperative-sticky" : "range", .owned = sim.cooperative ? &c->owned : NULL};
    struct wire_writer body;
    int16_t api = KAFKA_API_HEARTBEAT;
    wire_writer_init(&body, w.pool);
    if (c->state == LEAVING) {
        api = KAFKA_API_LEAVE_GROUP;
        classic_put_leave(&body, &s);
    } else if (c->step == JOIN) {
        api = KAFKA_API_JOIN_GROUP;
        c->topics_seen = w.view.version;
        classic_put_join(&w, &body, &s);
    } else if (c->step == SYNC) {
        api = KAFKA_API_SYNC_GROUP;
        classic_put_sync(&w, &body, &s, c->list, c->leads ? share_out(c) : NULL, c->listed);
    } else {
        classic_put_heartbeat(&body, &s);
    }
    c->beat_at_ns = after_ms(3000);
    SAY("%s asks %d as %s in %d with %s", c->id, api, c->given, c->epoch, world_set_text(&w, &c->owned, text));
    send(c, api, classic_version(api), &body);
}

/* It joins again. Eager members give everything up before, and take their time for it. */
static void call(struct client *c)
{
    if (c->called_ns == 0)
        c->called_ns = w.now.now_ns;
    c->step = JOIN;
    c->beat_at_ns = w.now.now_ns;
    if (sim.cooperative || c->owned.count == 0)
        return;
    c->wanted.count = 0;
    settle_assignment(c);
    c->beat_at_ns = c->revoked_at_ns;
}

static void on_classic_error(struct client *c, int16_t error)
{
    bool leaving = c->state == LEAVING;
    switch (error) {
    case KAFKA_MEMBER_ID_REQUIRED:
        (void)snprintf(c->given, sizeof(c->given), "%s", heard.member);
        c->beat_at_ns = w.now.now_ns;
        return;
    case KAFKA_REBALANCE_IN_PROGRESS:
        call(c);
        return;
    case KAFKA_FENCED_INSTANCE_ID:
        die(c);
        return;
    case KAFKA_UNKNOWN_MEMBER_ID:
        c->given[0] = 0;
        /* fallthrough */
    case KAFKA_ILLEGAL_GENERATION:
        counts.fenced++;
        forget(c);
        c->called_ns = 0;
        c->epoch = 0;
        c->step = JOIN;
        if (leaving)
            born(c);
        c->beat_at_ns = after_ms(below(leaving ? 20000 : 1000));
        return;
    case KAFKA_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_COORDINATOR_LOAD_IN_PROGRESS:
    case KAFKA_NOT_COORDINATOR:
        if (c->step == SYNC)
            c->step = JOIN;
        c->beat_at_ns = after_ms(100 + below(2000));
        return;
    default:
        SAY("%s error %d", c->id, error);
        give_up("an error that no classic member should see");
    }
}

static void on_joined(struct client *c)
{
    (void)snprintf(c->given, sizeof(c->given), "%s", heard.member);
    counts.joins += c->state == OUT;
    c->state = IN;
    c->epoch = heard.generation;
    c->called_ns = 0;
    c->leads = heard.listed != 0;
    c->listed = heard.listed;
    counts.led += c->leads;
    free(c->list);
    c->list = c->leads ? calloc((size_t)heard.listed, sizeof(*c->list)) : NULL;
    if (c->leads)
        memcpy(c->list, heard.list, (size_t)heard.listed * sizeof(*c->list));
    c->step = SYNC;
    c->beat_at_ns = w.now.now_ns;
}

static void on_classic(struct question *q, struct tide_rope *body)
{
    struct client *c = q->client;
    bool is_mine = c->life == q->life && c->asking == q;
    uint64_t asked_ns = q->asked_ns;
    int16_t api = q->api;
    classic_read(&w, api, body, &heard);
    q->asked = false;
    end_question(q);
    if (!is_mine)
        return;
    sim.digest = sim.digest * 31 + (uint64_t)heard.error * 7 + (uint64_t)heard.generation;
    SAY("%s api %d error %d generation %d assignment %s", c->id, api, heard.error, heard.generation, world_set_text(&w, &heard.assignment, text));
    if (heard.error != 0) {
        on_classic_error(c, heard.error);
        return;
    }
    if (api == KAFKA_API_LEAVE_GROUP) {
        born(c);
        c->beat_at_ns = after_ms(below(20000));
        return;
    }
    note_silence(c, asked_ns);
    c->heard_ns = asked_ns;
    if (api == KAFKA_API_JOIN_GROUP) {
        on_joined(c);
    } else if (api == KAFKA_API_SYNC_GROUP) {
        c->step = BEAT;
        c->wanted = heard.assignment;
        settle_assignment(c);
    } else if (c->leads && c->topics_seen != w.view.version) {
        call(c); /* there is more to share out */
    }
}

static void ask_beat(struct client *c)
{
    bool all = c->tell_all || c->epoch == 0;
    struct world_beat b = {.group = "g", .member = c->id, .instance = c->instance[0] != 0 ? c->instance : NULL, .epoch = c->epoch,
                           .rebalance_ms = -1, .version = 1};
    struct wire_writer body;
    if (c->state == LEAVING) {
        b.epoch = c->leave_epoch;
    } else {
        b.rebalance_ms = all ? REBALANCE_MS : -1;
        b.topics = all || hits(40) ? names_of(c) : NULL;
        b.regex = all || hits(40) ? expressions[c->expression].text : NULL;
        counts.expressions += b.regex != NULL && c->expression != 0;
        b.owned = all || c->tell_owned ? &c->owned : NULL;
    }
    c->beat_at_ns = after_ms(5000);
    wire_writer_init(&body, w.pool);
    world_put_beat(&w, &body, &b);
    send(c, KAFKA_API_CONSUMER_GROUP_HEARTBEAT, 1, &body);
    c->tell_owned = c->tell_all = false;
}

static void on_beat_error(struct client *c, int16_t error)
{
    switch (error) {
    case KAFKA_UNKNOWN_MEMBER_ID:
    case KAFKA_FENCED_MEMBER_EPOCH:
        counts.fenced++;
        forget(c);
        c->epoch = 0;
        if (c->state == LEAVING) {
            born(c);
            c->beat_at_ns = after_ms(below(20000));
        } else {
            c->beat_at_ns = after_ms(below(1000));
        }
        break;
    case KAFKA_FENCED_INSTANCE_ID:
        die(c);
        break;
    case KAFKA_UNRELEASED_INSTANCE_ID: /* the one before has not come to its end */
    case KAFKA_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_COORDINATOR_LOAD_IN_PROGRESS:
    case KAFKA_NOT_COORDINATOR:
        c->tell_all = true;
        c->beat_at_ns = after_ms(100 + below(2000));
        break;
    default:
        give_up("an error that no member should see");
    }
}

static void on_beat(struct question *q, struct tide_rope *body)
{
    static struct world_answer r;
    struct client *c = q->client;
    bool is_mine = c->life == q->life && c->asking == q;
    uint64_t asked_ns = q->asked_ns;
    world_read_answer(&w, body, 1, &r);
    q->asked = false;
    end_question(q);
    if (!is_mine)
        return;
    sim.digest = sim.digest * 31 + (uint64_t)r.error * 7 + (uint64_t)r.epoch;
    if (r.error != 0) {
        SAY("%s error %d", c->id, r.error);
        on_beat_error(c, r.error);
        return;
    }
    SAY("%s epoch %d assignment %s", c->id, r.epoch, r.has_assignment ? world_set_text(&w, &r.assignment, text) : "as before");
    if (c->state == LEAVING) {
        born(c);
        c->beat_at_ns = after_ms(below(20000));
        return;
    }
    if (c->state == OUT)
        counts.joins++;
    if (c->state == IN && r.epoch < c->epoch)
        give_up("S2: an epoch fell");
    note_silence(c, asked_ns);
    c->state = IN;
    c->epoch = r.epoch;
    c->heard_ns = asked_ns;
    if (r.has_assignment) {
        c->wanted = r.assignment;
        settle_assignment(c);
    }
}

static void ask_commit(struct client *c)
{
    uint32_t n = (uint32_t)below(c->owned.count);
    int16_t v = c->classic ? 8 : 9;
    struct wire_writer b;
    struct question *q = c->committing = new_question(c);
    q->is_commit = true;
    q->api = KAFKA_API_OFFSET_COMMIT;
    q->version = v;
    q->topic = index_of(c->owned.at[n].topic);
    q->partition = c->owned.at[n].partition;
    q->offset = ++sim.offsets;
    wire_writer_init(&b, w.pool);
    offset_commit_request_put_group_id(&b, v, "g", 1);
    offset_commit_request_put_generation_id_or_member_epoch(&b, v, c->epoch);
    const char *member = c->classic ? c->given : c->id;
    offset_commit_request_put_member_id(&b, v, member, (uint32_t)strlen(member));
    offset_commit_request_put_group_instance_id(&b, v, NULL, 0);
    offset_commit_request_open_topics(&b, v, 1);
    offset_commit_request_topic_put_name(&b, v, topic_names[q->topic], (uint32_t)strlen(topic_names[q->topic]));
    offset_commit_request_topic_open_partitions(&b, v, 1);
    offset_commit_request_partition_put_partition_index(&b, v, q->partition);
    offset_commit_request_partition_put_committed_offset(&b, v, q->offset);
    offset_commit_request_partition_put_committed_leader_epoch(&b, v, -1);
    offset_commit_request_partition_put_committed_metadata(&b, v, "", 0);
    offset_commit_request_partition_end(&b, v);
    offset_commit_request_topic_end(&b, v);
    offset_commit_request_end(&b, v);
    q->body = b.out;
    SAY("%s is going to commit %s-%d %" PRId64 " at epoch %d", c->id, topic_names[q->topic], q->partition, q->offset, c->epoch);
    if (hits(6)) /* arrives when another may have the partition */
        q->at_ns = after_ms(below(100000));
}

static void on_commit(struct question *q, struct tide_rope *body)
{
    struct offset_commit_response in;
    struct offset_commit_response_topic t;
    struct offset_commit_response_partition p;
    struct wire_cursor c;
    wire_cursor_init(&c, tide_rope_slice(body, 0, body->len));
    bool read = offset_commit_response_read(&c, 9, &in) && offset_commit_response_topic_next(&in.topics, 9, &t) &&
                offset_commit_response_partition_next(&t.partitions, 9, &p);
    TIDE_ASSERT(read);
    tide_rope_clear(body);
    SAY("%s commits %s-%d %" PRId64 ": %d", q->client->id, topic_names[q->topic], q->partition, q->offset, p.error_code);
    if (p.error_code == 0) {
        counts.commits++;
        if (q->offset <= sim.acknowledged[q->topic][q->partition])
            give_up("S3: a commit went back");
        sim.acknowledged[q->topic][q->partition] = q->offset;
    } else {
        bool is_old = p.error_code == (q->version == 8 ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH);
        /* The group may be of the other kind since it asked. */
        bool is_of_other = sim.mixed && (p.error_code == KAFKA_REBALANCE_IN_PROGRESS || p.error_code == KAFKA_ILLEGAL_GENERATION);
        counts.stale += is_old;
        if (!is_old && !is_of_other && p.error_code != KAFKA_UNKNOWN_MEMBER_ID && p.error_code != KAFKA_COORDINATOR_NOT_AVAILABLE &&
            p.error_code != KAFKA_NOT_COORDINATOR && p.error_code != KAFKA_UNKNOWN_TOPIC_OR_PARTITION && p.error_code != KAFKA_GROUP_ID_NOT_FOUND)
            give_up("an error that no commit should see");
    }
    q->asked = false;
    end_question(q);
}

static void deliver(void)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(sim.questions); i++) {
        struct question *q = &sim.questions[i];
        if (!q->used)
            continue;
        if (!q->asked && q->at_ns <= w.now.now_ns) {
            enum tide_status status = world_ask(&w, q->api, q->version, -1, &q->body, q);
            if (status == TIDE_BAD)
                give_up("malformed");
            q->asked = status == TIDE_OK;
            q->asked_ns = w.now.now_ns;
        }
        /* A client that has waited long enough gives its question up. It may have been, or yet be, answered. */
        uint64_t patience_ms = q->asked && (q->api == KAFKA_API_JOIN_GROUP || q->api == KAFKA_API_SYNC_GROUP) ? JOIN_MS : ANSWER_MS;
        if (!q->is_commit && w.now.now_ns > q->asked_ns + patience_ms * TIDE_NS_PER_MS) {
            struct client *c = q->client;
            if (c->life == q->life && c->asking == q) {
                c->tell_all = true;
                c->beat_at_ns = w.now.now_ns;
                if (c->step == SYNC)
                    c->step = JOIN;
            }
            end_question(q);
        }
    }
}

static void take_answers(void)
{
    struct tide_rope body;
    void *cookie;
    while (world_next_answer(&w, &cookie, &body)) {
        struct question *q = cookie;
        if (hits(20)) { /* the answer is lost */
            counts.lost++;
            tide_rope_clear(&body);
            q->asked = false;
            q->at_ns = UINT64_MAX;
            if (q->is_commit)
                end_question(q);
            continue;
        }
        if (q->is_commit)
            on_commit(q, &body);
        else if (q->api == KAFKA_API_CONSUMER_GROUP_HEARTBEAT)
            on_beat(q, &body);
        else
            on_classic(q, &body);
    }
}

/* ---- what happens ------------------------------------------------------------------------------------------- */

static void act(struct client *c)
{
    if (w.now.now_ns < c->paused_until_ns)
        return;
    revoke_if_time(c);
    if (c->asking == NULL && w.now.now_ns >= c->beat_at_ns && !(c->classic && c->revoking && c->step != BEAT)) {
        if (c->state == IN && hits(60)) {
            c->state = LEAVING;
            c->leave_epoch = c->instance[0] != 0 && hits(2) ? -2 : -1;
            forget(c);
            SAY("%s leaves with %d", c->id, c->leave_epoch);
        } else if (c->state == IN && hits(80)) {
            subscribe(c);
            c->tell_all = true;
            if (c->classic)
                call(c);
        }
        if (!c->classic)
            ask_beat(c);
        else if (!c->revoking || c->step == BEAT)
            ask_classic(c);
    }
    if (c->state == IN && c->committing == NULL && c->owned.count != 0 && tide_random_hits(&sim.random, 4))
        ask_commit(c);
    if (hits(300))
        die(c);
    else if (c->state == IN && hits(200))
        c->paused_until_ns = after_ms(below(120000));
}

/* Another coordinator, and what was not committed is gone. Whoever had asked hears nothing more. */
static void reload(void)
{
    char before[WORLD_TEXT];
    bool whole = w.committed == w.log_end;
    if (whole)
        world_describe(&w, "g", before);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(sim.questions); i++)
        if (sim.questions[i].used && sim.questions[i].asked) {
            groups_cancel(w.groups, &sim.questions[i]);
            sim.questions[i].asked = false;
            sim.questions[i].at_ns = UINT64_MAX;
            if (sim.questions[i].is_commit)
                end_question(&sim.questions[i]);
        }
    world_reload(&w, true);
    counts.reloads++;
    SAY("another coordinator");
    if (whole) {
        world_describe(&w, "g", text);
        if (strcmp(before, text) != 0)
            give_up("what was loaded is not what was written");
    }
}

static void change_topics(void)
{
    if (sim.topics < TOPICS && tide_random_hits(&sim.random, 2)) {
        SAY("topic %s", topic_names[sim.topics]);
        counts.created++;
        world_topic(&w, topic_names[sim.topics++], 1 + (uint32_t)below(PARTITIONS));
        return;
    }
    unsigned t = (unsigned)below(TOPICS);
    int n = topic_of(topic_names[t]);
    if (n >= 0 && w.topics[n].partition_count < PARTITIONS)
        world_topic(&w, topic_names[t], w.topics[n].partition_count + 1 + (uint32_t)below(3));
}

/* How often the group changes its kind under its members. */
static void count_kinds(void)
{
    static const struct group_kind *before;
    const struct group *group = TAILQ_FIRST(&w.groups->all);
    const struct group_kind *kind = group != NULL && !group->kind->is_empty(group) ? group->kind : NULL;
    if (before != NULL && kind != NULL && kind != before) {
        counts.downgrades += kind == &classic_kind;
        counts.upgrades += kind != &classic_kind;
    }
    before = kind;
}

static void step(void)
{
    w.append_full = hits(15);
    w.fail_append = hits(25) ? 1 : 0;
    counts.refused += w.append_full || w.fail_append != 0;
    w.now.now_ns += 1 + below(sim.calm ? 200 : 700) * TIDE_NS_PER_MS;
    w.now.wall_ms = (int64_t)(w.now.now_ns / TIDE_NS_PER_MS);
    for (unsigned i = 0; i < CLIENTS; i++)
        act(&sim.clients[(i + sim.digest) % CLIENTS]);
    deliver();
    world_turn(&w);
    w.append_full = false;
    w.fail_append = 0;
    if (!w.auto_commit && !hits(3))
        world_commit(&w, w.committed + (int64_t)below((uint64_t)(w.log_end - w.committed) + 1));
    take_answers();
    if (hits(100))
        reload();
    if (hits(200))
        change_topics();
    if (hits(150))
        sim.classic_share = (unsigned)below(2) * 8;
    groups_check(w.groups);
    check_use();
    count_kinds();
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void check_converged(void)
{
    unsigned wanted = 0;
    bool all_classic = true;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (sim.clients[i].state == IN) {
            wanted |= subscribes_to(&sim.clients[i]);
            all_classic &= sim.clients[i].classic;
        }
    world_describe(&w, "g", text);
    if (wanted != 0 && !all_classic && strncmp(text, "Stable ", 7) != 0)
        give_up("S4: the group is not stable");
    for (unsigned t = 0; t < TOPICS; t++) {
        int n = topic_of(topic_names[t]);
        for (uint32_t p = 0; n >= 0 && (wanted & 1u << t) && p < w.topics[n].partition_count; p++) {
            unsigned users = 0;
            for (unsigned i = 0; i < CLIENTS; i++)
                users += sim.clients[i].state == IN && world_set_has(&sim.clients[i].owned, n, (int32_t)p) && (subscribes_to(&sim.clients[i]) & 1u << t);
            if (users != 1)
                give_up("S4: a partition is not used by one member");
        }
    }
}

static void check_offsets(void) /* S5 */
{
    struct offset_fetch_response_group group;
    struct offset_fetch_response_topics topic;
    struct offset_fetch_response_partitions p;
    struct wire_writer b;
    struct tide_rope answer = {0};
    void *cookie;
    int16_t v = 9;
    int64_t found[TOPICS][WORLD_PARTITIONS];
    memset(found, 0, sizeof(found));
    wire_writer_init(&b, w.pool);
    offset_fetch_request_open_groups(&b, v, 1);
    offset_fetch_request_group_put_group_id(&b, v, "g", 1);
    offset_fetch_request_group_put_member_id(&b, v, NULL, 0);
    offset_fetch_request_group_put_member_epoch(&b, v, -1);
    offset_fetch_request_group_open_topics(&b, v, -1);
    offset_fetch_request_group_end(&b, v);
    offset_fetch_request_put_require_stable(&b, v, false);
    offset_fetch_request_end(&b, v);
    enum tide_status status = world_ask(&w, KAFKA_API_OFFSET_FETCH, v, 0, &b.out, &w);
    TIDE_ASSERT(status == TIDE_OK);
    wire_writer_abandon(&b);
    bool answered = world_next_answer(&w, &cookie, &answer);
    TIDE_ASSERT(answered && cookie == &w);
    struct wire_list l = {.count = 1};
    wire_cursor_init(&l.at, tide_rope_slice(&answer, 0, answer.len));
    bool read = offset_fetch_response_group_next(&l, v, &group) && group.error_code == 0;
    TIDE_ASSERT(read);
    while (offset_fetch_response_topics_next(&group.topics, v, &topic)) {
        char name[8];
        (void)wire_bytes_copy(&topic.name, name, sizeof(name));
        int t = index_of(topic_of(name));
        while (offset_fetch_response_partitions_next(&topic.partitions, v, &p))
            found[t][p.partition_index] = p.committed_offset;
    }
    tide_rope_clear(&answer);
    for (unsigned t = 0; t < TOPICS; t++)
        for (unsigned i = 0; i < PARTITIONS + 3; i++)
            if (found[t][i] < sim.acknowledged[t][i])
                give_up("S5: an acknowledged commit is lost");
}

static void calm_down(void)
{
    sim.calm = true;
    w.auto_commit = true;
    world_commit(&w, w.log_end);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &sim.clients[i];
        c->paused_until_ns = 0;
        c->revoked_at_ns = TIDE_MIN(c->revoked_at_ns, w.now.now_ns);
    }
    for (size_t i = 0; i < TIDE_ARRAY_LEN(sim.questions); i++)
        if (sim.questions[i].used && sim.questions[i].is_commit && !sim.questions[i].asked)
            end_question(&sim.questions[i]);
    /* Members that are gone time out; then a few rounds. */
    for (unsigned i = 0; i < 1600; i++)
        step();
}

static void run_seed(uint64_t seed)
{
    memset(&sim, 0, sizeof(sim));
    seed_now = seed;
    sim.random.state = seed * 0x9e3779b97f4a7c15ull + 1;
    sim.mixed = seed % 2 == 0;
    sim.cooperative = seed % 4 == 0;
    world_begin(&w, 16u << 20);
    w.auto_commit = tide_random_hits(&sim.random, 3);
    w.settings.group_consumer_assignment_interval_ms = tide_random_hits(&sim.random, 2) ? 0 : 1000;
    sim.topics = 1 + (unsigned)below(TOPICS);
    for (unsigned t = 0; t < sim.topics; t++)
        world_topic(&w, topic_names[t], 1 + (uint32_t)below(PARTITIONS));
    sim.classic_share = (unsigned)below(9);
    unsigned clients = 2 + (unsigned)below(sim.mixed ? 3 : CLIENTS - 1);
    for (unsigned i = 0; i < CLIENTS; i++) {
        born(&sim.clients[i]);
        sim.clients[i].beat_at_ns = i < clients ? after_ms(below(60000)) : UINT64_MAX;
    }
    for (unsigned i = 0; i < STEPS; i++)
        step();
    calm_down();
    check_converged();
    check_offsets();
    world_reload(&w, false);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(sim.questions); i++)
        if (sim.questions[i].used) {
            sim.questions[i].asked = false;
            end_question(&sim.questions[i]);
        }
    for (unsigned i = 0; i < CLIENTS; i++)
        free(sim.clients[i].list);
    world_end(&w);
}

static int run(uint64_t from, uint64_t seeds, bool loud)
{
    uint64_t digest = 0;
    verbose = loud;
    for (uint64_t i = 0; i < seeds; i++) {
        run_seed(from + i);
        digest = digest * 31 + sim.digest;
        if (sim_time_is_up())
            seeds = i + 1;
    }
    printf("%" PRIu64 " seeds: %" PRIu64 " joins, %" PRIu64 " revocations, %" PRIu64 " coordinators, %" PRIu64 " fenced, %" PRIu64 " commits, %" PRIu64
           " stale ones, %" PRIu64 " messages lost, %" PRIu64 " appends refused, %" PRIu64 " classic generations led, %" PRIu64 " upgrades, %" PRIu64
           " downgrades, %" PRIu64 " expressions, %" PRIu64 " topics created, digest %016" PRIx64 "\n",
           seeds, counts.joins, counts.handovers, counts.reloads, counts.fenced, counts.commits, counts.stale, counts.lost, counts.refused,
           counts.led, counts.upgrades, counts.downgrades, counts.expressions, counts.created, digest);
    return seeds >= 20 && (counts.handovers == 0 || counts.reloads == 0 || counts.fenced == 0 || counts.stale == 0 ||
                           counts.led == 0 || counts.upgrades == 0 || counts.downgrades == 0 || counts.expressions == 0 || counts.created == 0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 's'}, {"from", required_argument, NULL, 'f'},
                                            {"verbose", no_argument, NULL, 'v'},     {"mutants", no_argument, NULL, 'm'},
                                            {NULL, 0, NULL, 0}};
    uint64_t seeds = 100, from = 1;
    bool loud = false, mutants = false;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's': seeds = strtoull(optarg, NULL, 10) * (sim_is_full() ? 20 : 1); break;
        case 'f': from = strtoull(optarg, NULL, 10); break;
        case 'v': loud = true; break;
        case 'm': mutants = true; break;
        default: return 2;
        }
    }
    unit_eal();
#ifdef TIDE_MUTANTS
    static const enum tide_mutant list[] = {MUTANT_NONE, MUTANT_CONSUMER_REVOCATION, MUTANT_CONSUMER_OWNER, MUTANT_CONSUMER_COMMIT, MUTANT_CONSUMER_SUBSET,
                                             MUTANT_CONSUMER_CLAIMS, MUTANT_CONSUMER_TAKEN_OUT, MUTANT_CONSUMER_EXPRESSION};
    if (mutants)
        return sim_run_mutants(list, TIDE_ARRAY_LEN(list), from, seeds, run);
#else
    if (mutants)
        return 2;
#endif
    return run(from, seeds, loud);
}
