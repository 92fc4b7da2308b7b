/* SPDX-License-Identifier: Apache-2.0 */
#include "classic_says.h"

#include "kafka/errors.h"
#include "kafka/messages.h"
#include "tidemark/assert.h"

int16_t classic_version(int16_t api)
{
    return api == KAFKA_API_JOIN_GROUP ? CLASSIC_JOIN : CLASSIC_SYNC; /* the others are the same */
}

/* ---- words that lie in bytes of their own ------------------------------------------------------------ */

static int next_word(const char **at, char word[CLASSIC_ID])
{
    *at += strspn(*at, " ");
    int n = (int)strcspn(*at, " ");
    (void)snprintf(word, CLASSIC_ID, "%.*s", n, *at);
    *at += n;
    return n;
}

static int32_t words(const char *text)
{
    char word[CLASSIC_ID];
    int32_t n = 0;
    while (next_word(&text, word) != 0)
        n++;
    return n;
}

/* One by one: any form is legal. */
static void put_set(const struct world *world, struct wire_writer *w, const struct world_set *s)
{
    wire_put_i32(w, s != NULL ? (int32_t)s->count : 0);
    for (uint32_t i = 0; s != NULL && i < s->count; i++) {
        const char *name = world->topics[s->at[i].topic].name;
        wire_put_string(w, false, name, (uint32_t)strlen(name));
        wire_put_i32(w, 1);
        wire_put_i32(w, s->at[i].partition);
    }
}

static void put_subscription(const struct world *world, struct wire_writer *w, const struct classic_says *s)
{
    const char *at = s->topics;
    char word[CLASSIC_ID];
    if (s->garbage) {
        wire_put_i32(w, 77);
        return;
    }
    wire_put_i16(w, s->owned != NULL ? 1 : 0);
    wire_put_i32(w, words(at));
    while (next_word(&at, word) != 0)
        wire_put_string(w, false, word, (uint32_t)strlen(word));
    wire_put_bytes(w, false, NULL, 0);
    if (s->owned != NULL)
        put_set(world, w, s->owned);
}

static void put_bytes_of(struct wire_writer *w, struct wire_writer *part)
{
    wire_put_bytes_slice(w, false, &(struct wire_bytes){.at = tide_rope_slice(&part->out, 0, part->out.len)});
    wire_writer_abandon(part);
}

static void read_set(const struct world *w, struct wire_cursor *c, struct world_set *ret)
{
    char name[CLASSIC_ID];
    ret->count = 0;
    for (int32_t topics = wire_get_i32(c); topics > 0 && !c->failed; topics--) {
        struct wire_bytes b = wire_get_string(c, false, false);
        (void)wire_bytes_copy(&b, name, sizeof(name));
        int n = world_topic_number(w, name);
        for (int32_t k = wire_get_i32(c); k > 0 && !c->failed; k--) {
            int32_t partition = wire_get_i32(c);
            if (n < 0)
                continue;
            TIDE_ASSERT(ret->count < WORLD_SET);
            ret->at[ret->count].topic = n;
            ret->at[ret->count++].partition = partition;
        }
    }
}

static void read_subscription(const struct world *w, struct wire_cursor *c, struct classic_listed *ret)
{
    char name[CLASSIC_ID];
    int16_t v = wire_get_i16(c);
    ret->topics = 0;
    ret->owned.count = 0;
    for (int32_t n = wire_get_i32(c); n > 0 && !c->failed; n--) {
        struct wire_bytes b = wire_get_string(c, false, false);
        (void)wire_bytes_copy(&b, name, sizeof(name));
        int topic = world_topic_number(w, name);
        ret->topics |= topic >= 0 ? 1ull << topic : 0;
    }
    (void)wire_get_bytes(c, false, true);
    if (v >= 1)
        read_set(w, c, &ret->owned);
    TIDE_ASSERT(!c->failed);
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static void put_text(struct wire_writer *w, const char *text) { wire_put_string(w, false, text, text != NULL ? (uint32_t)strlen(text) : 0); }

void classic_put_join(const struct world *world, struct wire_writer *w, const struct classic_says *s)
{
    const char *at = s->protocols != NULL ? s->protocols : "range";
    char word[CLASSIC_ID];
    put_text(w, s->group);
    wire_put_i32(w, s->session_ms != 0 ? s->session_ms : 10000);
    wire_put_i32(w, s->rebalance_ms != 0 ? s->rebalance_ms : 60000);
    put_text(w, s->member != NULL ? s->member : "");
    put_text(w, s->instance);
    put_text(w, "consumer");
    wire_put_i32(w, words(at));
    while (next_word(&at, word) != 0) {
        struct wire_writer metadata;
        wire_writer_init(&metadata, world->pool);
        put_subscription(world, &metadata, s);
        put_text(w, word);
        put_bytes_of(w, &metadata);
    }
}

void classic_put_sync(const struct world *world, struct wire_writer *w, const struct classic_says *s, const struct classic_listed *list,
                      const struct world_set *parts, int count)
{
    put_text(w, s->group);
    wire_put_i32(w, s->generation);
    put_text(w, s->member);
    put_text(w, s->instance);
    wire_put_i32(w, parts != NULL ? count : 0);
    for (int i = 0; parts != NULL && i < count; i++) {
        struct wire_writer assignment;
        wire_writer_init(&assignment, world->pool);
        wire_put_i16(&assignment, 0);
        put_set(world, &assignment, &parts[i]);
        wire_put_bytes(&assignment, false, NULL, 0);
        put_text(w, list[i].member);
        put_bytes_of(w, &assignment);
    }
}

void classic_put_heartbeat(struct wire_writer *w, const struct classic_says *s)
{
    put_text(w, s->group);
    wire_put_i32(w, s->generation);
    put_text(w, s->member);
    put_text(w, s->instance);
}

void classic_put_leave(struct wire_writer *w, const struct classic_says *s)
{
    put_text(w, s->group);
    wire_put_i32(w, 1);
    put_text(w, s->member);
    put_text(w, s->instance);
}

/* ---- answers --------------------------------------------------------------------------------------------- */

static void read_join(const struct world *w, struct wire_cursor *c, struct classic_hears *ret)
{
    struct join_group_response r;
    struct join_group_response_member m;
    bool read = join_group_response_read(c, CLASSIC_JOIN, &r);
    TIDE_ASSERT(read);
    ret->error = r.error_code;
    ret->generation = r.generation_id;
    (void)wire_bytes_copy(&r.member_id, ret->member, sizeof(ret->member));
    (void)wire_bytes_copy(&r.leader, ret->leader, sizeof(ret->leader));
    while (join_group_response_member_next(&r.members, CLASSIC_JOIN, &m)) {
        struct classic_listed *l = &ret->list[ret->listed++];
        struct wire_cursor metadata;
        TIDE_ASSERT(ret->listed <= CLASSIC_LISTED);
        (void)wire_bytes_copy(&m.member_id, l->member, sizeof(l->member));
        wire_cursor_init(&metadata, m.metadata.at);
        read_subscription(w, &metadata, l);
    }
}

static void read_sync(const struct world *w, struct wire_cursor *c, struct classic_hears *ret)
{
    struct sync_group_response r;
    struct wire_cursor assignment;
    bool read = sync_group_response_read(c, CLASSIC_SYNC, &r);
    TIDE_ASSERT(read);
    ret->error = r.error_code;
    if (r.error_code != 0 || r.assignment.at.len == 0)
        return;
    wire_cursor_init(&assignment, r.assignment.at);
    (void)wire_get_i16(&assignment);
    read_set(w, &assignment, &ret->assignment);
    TIDE_ASSERT(!assignment.failed);
}

static void read_leave(struct wire_cursor *c, struct classic_hears *ret)
{
    struct leave_group_response r;
    struct leave_group_response_member_response m;
    bool read = leave_group_response_read(c, CLASSIC_LEAVE, &r);
    TIDE_ASSERT(read);
    ret->error = r.error_code;
    if (r.error_code == 0 && leave_group_response_member_response_next(&r.members, CLASSIC_LEAVE, &m))
        ret->error = m.error_code;
}

void classic_read(const struct world *w, int16_t api, struct tide_rope *body, struct classic_hears *ret)
{
    struct heartbeat_response beat;
    struct wire_cursor c;
    ret->error = 0;
    ret->generation = -1;
    ret->listed = 0;
    ret->assignment.count = 0;
    ret->member[0] = ret->leader[0] = 0;
    wire_cursor_init(&c, tide_rope_slice(body, 0, body->len));
    if (api == KAFKA_API_JOIN_GROUP) {
        read_join(w, &c, ret);
    } else if (api == KAFKA_API_SYNC_GROUP) {
        read_sync(w, &c, ret);
    } else if (api == KAFKA_API_LEAVE_GROUP) {
        read_leave(&c, ret);
    } else {
        bool read = heartbeat_response_read(&c, CLASSIC_HEARTBEAT, &beat);
        TIDE_ASSERT(read);
        ret->error = beat.error_code;
    }
    tide_rope_clear(body);
}

/* ---- at once ----------------------------------------------------------------------------------------------- */

bool classic_next(struct world *w, int16_t api, struct classic_hears *ret)
{
    struct tide_rope answer = {0};
    void *cookie;
    if (!world_next_answer(w, &cookie, &answer))
        return false;
    classic_read(w, api, &answer, ret);
    return true;
}

bool classic_ask(struct world *w, int16_t api, const struct classic_says *s, struct classic_hears *ret)
{
    static uintptr_t cookies;
    struct wire_writer body;
    wire_writer_init(&body, w->pool);
    if (api == KAFKA_API_JOIN_GROUP)
        classic_put_join(w, &body, s);
    else if (api == KAFKA_API_SYNC_GROUP)
        classic_put_sync(w, &body, s, NULL, NULL, 0);
    else if (api == KAFKA_API_LEAVE_GROUP)
        classic_put_leave(&body, s);
    else
        classic_put_heartbeat(&body, s);
    TIDE_ASSERT(!body.failed);
    enum tide_status status;
    while ((status = world_ask(w, api, classic_version(api), -1, &body.out, (void *)++cookies)) == TIDE_FULL) {
        w->now.now_ns += TIDE_NS_PER_MS;
        world_turn(w);
    }
    TIDE_ASSERT(status == TIDE_OK);
    wire_writer_abandon(&body);
    groups_check(w->groups);
    return classic_next(w, api, ret);
}
