/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group APIs at the core of the session: a request is cut into questions, one per group; each goes as a letter to the
 * home core of its coordinator, and what comes back is joined in the order of the request. The questions are copied into
 * request memory, each as the body of a request that names one group only: a parked JoinGroup holds no receive
 * buffers, and what a coordinator reads for one group does not grow with the others.
 *
 * A request whose session goes away sends after its letters that nobody waits for them (MAIL_GROUP_CANCEL): else a JoinGroup
 * would keep its slot for as long as a rebalance may take.
 *
 * Timers: a client that has sent its last byte is waited for as long as GROUP_HALF_CLOSED_MS; most have gone. Coordinators
 * have theirs.
 */
#include "broker/coordinators.h"

#include <arpa/inet.h>
#include <stdio.h>

enum {
    QUESTIONS_OUT_MAX = 16,     /* of one request at a time, those whose answers are not joined included */
    TURN_STEPS_MAX = 64,        /* questions asked and answers joined before others have their turn, */
    TURN_BYTES_MAX = 256 << 10, /* and bytes of those answers */
    MAILS_KEPT_PART = 4,        /* a quarter of the letters is not for questions, which may stay away for long */
    HOST_MAX = INET6_ADDRSTRLEN + 2,
    KEY_GROUP = 0,
    KEY_TRANSACTION = 1,
};

/* ---- what the APIs look like ------------------------------------------------------------------------- */

enum shape {
    SHAPE_ONE,    /* begins with a group's id; the answer is the whole body */
    SHAPE_NAMES,  /* begins with a list of ids, and the answer is a list */
    SHAPE_GROUPS, /* begins with a list of groups */
    SHAPE_ALL,    /* names none: every coordinator is asked */
};

struct group_api {
    int16_t key;
    enum shape shape;
    int16_t list_from;     /* before that version it is SHAPE_ONE */
    int16_t flag_from;     /* a boolean stands behind the list */
    int16_t throttle_from; /* of an answer that is a list */
    int16_t group_version; /* the level of that feature below which it is answered with UNSUPPORTED_VERSION; ApiVersions lists it at any */
};

static const struct group_api group_apis[] = {
    {KAFKA_API_OFFSET_COMMIT, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_OFFSET_FETCH, SHAPE_GROUPS, 8, 7, 3, 0},
    {KAFKA_API_JOIN_GROUP, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_HEARTBEAT, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_LEAVE_GROUP, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_SYNC_GROUP, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_DESCRIBE_GROUPS, SHAPE_NAMES, 0, 3, 1, 0},
    {KAFKA_API_LIST_GROUPS, SHAPE_ALL, 0, 0, 1, 0},
    {KAFKA_API_DELETE_GROUPS, SHAPE_NAMES, 0, INT16_MAX, 0, 0},
    {KAFKA_API_OFFSET_DELETE, SHAPE_ONE, 0, 0, 0, 0},
    {KAFKA_API_CONSUMER_GROUP_HEARTBEAT, SHAPE_ONE, 0, 0, 0, 1},
    {KAFKA_API_CONSUMER_GROUP_DESCRIBE, SHAPE_NAMES, 0, 0, 0, 1},
};

static const struct group_api *api_of(const struct request *r)
{
    unsigned i = 0;
    while (group_apis[i].key != r->api_key)
        i++;
    return &group_apis[i];
}

static enum shape shape_of(const struct request *r)
{
    const struct group_api *a = api_of(r);
    return r->api_version >= a->list_from ? a->shape : SHAPE_ONE;
}

static bool is_flexible(const struct request *r)
{
    return r->api_version >= r->row->flexible;
}

/* ---- what a request remembers ------------------------------------------------------------------------- */

struct group_client {
    struct work_item head;
    char id[TIDE_CLIENT_ID_MAX];
    char host[HOST_MAX]; /* "/10.0.0.1", as Kafka's tools show it */
};

struct group_entry {
    struct work_item head;
    uint32_t at, len;  /* of its question */
    uint32_t core;     /* SHAPE_ALL: of whom it is asked */
    struct tide_mail *letter; /* out; not given back while `cancel` is */
    struct tide_mail *cancel;
    bool answered;            /* the letter is back */
    bool done;
    int16_t error;
    int32_t elements;
    struct tide_rope answer;
};

static struct group_entry *next_entry(struct request *r, struct work_at *at)
{
    struct work_item *item;
    while ((item = work_next(&r->work, at)) != NULL && item->kind != ITEM_GROUP)
        ;
    return (struct group_entry *)item;
}

static const struct group_client *client_of(struct request *r)
{
    struct work_at at = {0};
    return work_next(&r->work, &at); /* the first item */
}

static bool remember(struct broker *b, struct request *r)
{
    struct group_client *c = work_add(&r->work, b->config.request_pool, ITEM_GROUP_CLIENT, sizeof(*c));
    const struct tide_addr *from = &r->session->address;
    if (c == NULL)
        return false;
    memcpy(c->id, r->session->client_id, sizeof(c->id));
    c->host[0] = '/';
    (void)inet_ntop(tide_addr_is_v4(from) ? AF_INET : AF_INET6, tide_addr_is_v4(from) ? from->bytes + 12 : from->bytes, c->host + 1, HOST_MAX - 1);
    return true;
}

static struct group_entry *add_entry(struct broker *b, struct request *r)
{
    struct group_entry *e = work_add(&r->work, b->config.request_pool, ITEM_GROUP, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->at = r->group.questions.len;
    r->group.count++;
    return e;
}

static bool copy_in(struct broker *b, struct request *r, struct tide_slice from)
{
    const uint8_t *piece;
    uint32_t n;
    while ((n = tide_slice_next(&from, &piece)) != 0)
        if (tide_rope_copy_in(&r->group.questions, b->config.request_pool, piece, n) != TIDE_OK)
            return false;
    return true;
}

static bool put(struct broker *b, struct request *r, const void *bytes, uint32_t n)
{
    return tide_rope_copy_in(&r->group.questions, b->config.request_pool, bytes, n) == TIDE_OK;
}

/* What the cursor has before it. */
static struct tide_slice ahead(const struct wire_cursor *c)
{
    struct wire_cursor copy = *c;
    return wire_get_slice(&copy, wire_left(c));
}

/* ---- reading the request ------------------------------------------------------------------------------- */

static enum tide_status lay_out_one(struct broker *b, struct request *r, struct wire_cursor *body)
{
    struct group_entry *e = add_entry(b, r);
    if (e == NULL || !copy_in(b, r, ahead(body)))
        return TIDE_FULL;
    e->len = r->group.questions.len - e->at;
    return TIDE_OK;
}

/* The list that the request begins with, once all of it was found to be well formed. False: it is not. */
static bool read_list(struct request *r, struct wire_cursor *body, struct wire_list *ret, bool *ret_flag)
{
    int16_t v = r->api_version;
    struct describe_groups_request describe;
    struct delete_groups_request delete;
    struct offset_fetch_request fetch;
    struct consumer_group_describe_request consumers;
    *ret_flag = false;
    switch (r->api_key) {
    case KAFKA_API_CONSUMER_GROUP_DESCRIBE:
        if (!consumer_group_describe_request_read(body, v, &consumers))
            return false;
        *ret = consumers.group_ids;
        *ret_flag = consumers.include_authorized_operations;
        return true;
    case KAFKA_API_DESCRIBE_GROUPS:
        if (!describe_groups_request_read(body, v, &describe))
            return false;
        *ret = describe.groups;
        *ret_flag = describe.include_authorized_operations;
        return true;
    case KAFKA_API_DELETE_GROUPS:
        if (!delete_groups_request_read(body, v, &delete))
            return false;
        *ret = delete.groups_names;
        return true;
    default:
        if (!offset_fetch_request_read(body, v, &fetch))
            return false;
        *ret = fetch.groups;
        *ret_flag = fetch.require_stable;
        return true;
    }
}

static bool skip_element(struct request *r, struct wire_list *list)
{
    struct offset_fetch_request_group group;
    struct wire_bytes name;
    return shape_of(r) == SHAPE_GROUPS ? offset_fetch_request_group_next(list, r->api_version, &group)
                                       : wire_list_next_string(list, is_flexible(r), &name);
}

/* A body that names this element only. */
static bool put_question(struct broker *b, struct request *r, struct tide_slice element, bool flag)
{
    static const uint8_t one[2][4] = {{0, 0, 0, 1}, {2}}; /* a list of one, in both ways */
    const uint8_t end[2] = {flag, 0};
    bool flexible = is_flexible(r);
    bool has_flag = r->api_version >= api_of(r)->flag_from;
    return put(b, r, one[flexible], flexible ? 1 : 4) && copy_in(b, r, element) && put(b, r, end + !has_flag, (uint32_t)has_flag + flexible);
}

static enum tide_status lay_out_list(struct broker *b, struct request *r, struct wire_cursor *body)
{
    struct wire_list list;
    bool flag;
    if (!read_list(r, body, &list, &flag) || list.count > REQUEST_PARTITIONS_MAX)
        return TIDE_BAD;
    for (;;) {
        struct tide_slice element = ahead(&list.at);
        struct group_entry *e;
        if (!skip_element(r, &list))
            return TIDE_OK;
        element.len -= wire_left(&list.at);
        e = add_entry(b, r);
        if (e == NULL || !put_question(b, r, element, flag))
            return TIDE_FULL;
        e->len = r->group.questions.len - e->at;
    }
}

static enum tide_status lay_out_all(struct broker *b, struct request *r, struct wire_cursor *body)
{
    uint32_t cores = b->config.office->core_count;
    uint32_t len = wire_left(body);
    if (!copy_in(b, r, ahead(body)))
        return TIDE_FULL;
    for (uint32_t core = 0; core < cores; core++) {
        struct group_entry *e = add_entry(b, r);
        if (e == NULL)
            return TIDE_FULL;
        e->at = 0;
        e->len = len;
        e->core = core;
    }
    return TIDE_OK;
}

static enum tide_status lay_out(struct broker *b, struct request *r, struct wire_cursor *body)
{
    if (!remember(b, r))
        return TIDE_FULL;
    switch (shape_of(r)) {
    case SHAPE_ONE: return lay_out_one(b, r, body);
    case SHAPE_ALL: return lay_out_all(b, r, body);
    default: return lay_out_list(b, r, body);
    }
}

/* ---- asking --------------------------------------------------------------------------------------------- */

static struct tide_slice question_at(const struct request *r, const struct group_entry *e)
{
    return tide_rope_slice(&r->group.questions, e->at, e->len);
}

/* The group's id, which stands at the front of a question, behind the count of a list. False: malformed. */
static bool group_of(const struct request *r, const struct group_entry *e, struct tide_slice *ret)
{
    struct wire_cursor c;
    struct wire_bytes id;
    wire_cursor_init(&c, question_at(r, e));
    if (shape_of(r) != SHAPE_ONE)
        (void)wire_get_count(&c, is_flexible(r), false);
    id = wire_get_string(&c, is_flexible(r), false);
    *ret = id.at;
    return !c.failed;
}

/* The partition whose leader coordinates the group; NULL: no topic. */
static const struct view_partition *place_of(const struct broker *b, struct tide_slice group_id)
{
    const struct view_topic *t = tide_view_topic(b->view, TIDE_OFFSETS_TOPIC, sizeof(TIDE_OFFSETS_TOPIC) - 1);
    return t == NULL ? NULL : tide_view_partition(t, groups_partition_of(group_id, (int32_t)t->partition_count));
}

/* It is malformed, or its answer larger than any may be. */
static void give_up(struct request *r)
{
    r->silent = true;
    r->close_after = true;
    r->group.ended = true;
}

static bool has_letters(const struct broker *b)
{
    return rte_mempool_avail_count(b->mails) > b->config.mails_max / MAILS_KEPT_PART;
}

static void send_letter(struct broker *b, struct request *r, struct group_entry *e, struct partition *p, uint32_t core, struct tide_out *out)
{
    const struct group_client *client = client_of(r);
    struct tide_mail *m = mail_take(b, MAIL_GROUP);
    TIDE_ASSERT(m != NULL); /* has_letters */
    m->group = (struct mail_group){.partition = p,
                                   .api_key = r->api_key,
                                   .api_version = r->api_version,
                                   .element = shape_of(r) == SHAPE_ONE || shape_of(r) == SHAPE_ALL ? -1 : 0,
                                   .body = question_at(r, e),
                                   .client_id = client->id,
                                   .client_host = client->host,
                                   .request = r,
                                   .entry = e};
    e->letter = m;
    r->group.out++;
    r->outstanding++;
    if (p != NULL)
        slot_use(b, p);
    if (core == b->config.core)
        coordinators_on_question(b, m, out);
    else
        mail_out(b, core, m);
}

static void ask(struct broker *b, struct request *r, struct group_entry *e, struct tide_out *out)
{
    const struct view_partition *vp;
    struct tide_slice id;
    if (shape_of(r) == SHAPE_ALL) {
        send_letter(b, r, e, NULL, e->core, out);
        return;
    }
    int16_t level = api_of(r)->group_version;
    if (level != 0 && tide_view_feature(b->view, TIDE_FEATURE_GROUP) < level) {
        e->error = KAFKA_UNSUPPORTED_VERSION;
        e->done = true;
        return;
    }
    if (!group_of(r, e, &id)) {
        give_up(r);
        return;
    }
    vp = place_of(b, id);
    if (vp != NULL && vp->local != NULL && vp->leader == b->view->self && has_lease(b)) {
        send_letter(b, r, e, vp->local, vp->home_core, out);
        return;
    }
    e->error = KAFKA_NOT_COORDINATOR;
    e->done = true;
}

/* ---- joining what came back ------------------------------------------------------------------------------ */

/* Nobody has answered but for us. TIDE_FULL: no memory. TIDE_BAD: malformed. */
static enum tide_status write_error(struct broker *b, struct request *r, struct group_entry *e)
{
    const struct group_client *client = client_of(r);
    struct wire_writer w;
    struct groups_question q = {.api_key = r->api_key,
                                .version = r->api_version,
                                .element = shape_of(r) == SHAPE_ONE ? -1 : 0,
                                .client_id = client->id,
                                .client_host = client->host,
                                .view = b->view};
    wire_cursor_init(&q.body, question_at(r, e));
    wire_writer_init(&w, b->config.response_pool);
    bool good = groups_write_error(&q, e->error, &w);
    if (!good || w.failed) {
        wire_writer_abandon(&w);
        return good ? TIDE_FULL : TIDE_BAD;
    }
    e->answer = w.out;
    e->elements = 1;
    e->error = 0;
    return TIDE_OK;
}

/* Copied, so that an answer of a few bytes does not keep a whole block for as long as the others take. */
static enum tide_status join_copy(struct broker *b, struct request *r, struct group_entry *e)
{
    const uint8_t *piece;
    uint32_t n;
    while (e->answer.len != 0) {
        struct tide_slice rest = tide_rope_slice(&e->answer, 0, e->answer.len);
        n = tide_slice_next(&rest, &piece);
        if (tide_rope_copy_in(&r->group.joined, b->config.response_pool, piece, n) != TIDE_OK)
            return TIDE_FULL;
        tide_rope_drop(&e->answer, n);
    }
    return r->group.joined.len > response_bytes_max(b->config.response_pool) ? TIDE_BAD : TIDE_OK;
}

static enum tide_status join(struct broker *b, struct request *r, struct group_entry *e)
{
    enum shape shape = shape_of(r);
    enum tide_status status = TIDE_OK;
    if (e->error != 0 && shape == SHAPE_ALL) {
        r->group.error = e->error; /* what the others listed would look like all there is */
        return TIDE_OK;
    }
    if (e->error != 0)
        status = write_error(b, r, e);
    if (status != TIDE_OK)
        return status;
    if (shape == SHAPE_ONE)
        tide_rope_join(&r->group.joined, &e->answer);
    else
        status = join_copy(b, r, e);
    if (status == TIDE_OK)
        r->group.elements += e->elements;
    return status;
}

static enum tide_status respond(struct broker *b, struct request *r)
{
    static const uint8_t no_tags;
    struct wire_writer w;
    bool list = shape_of(r) != SHAPE_ONE;
    if (r->group.error != 0) {
        tide_rope_clear(&r->group.joined);
        r->group.elements = 0;
    }
    if (list && is_flexible(r) && !r->group.tagged) {
        if (tide_rope_copy_in(&r->group.joined, b->config.response_pool, &no_tags, 1) != TIDE_OK)
            return TIDE_FULL;
        r->group.tagged = true;
    }
    response_begin(b, r, &w);
    if (list) {
        if (r->api_version >= api_of(r)->throttle_from)
            wire_put_i32(&w, 0);
        if (shape_of(r) == SHAPE_ALL)
            wire_put_i16(&w, r->group.error);
        wire_put_count(&w, is_flexible(r), r->group.elements);
    }
    if (w.failed) {
        wire_writer_abandon(&w);
        return TIDE_FULL;
    }
    wire_put_rope(&w, &r->group.joined);
    return response_end(r, &w);
}

/* Few answers wait to be joined: one of a few bytes has a block of its own until then. */
static bool may_ask(const struct broker *b, const struct request *r)
{
    return r->group.asked != r->group.count && r->group.asked - r->group.joined_count < QUESTIONS_OUT_MAX &&
           (r->group.out == 0 || b->unsent_count == 0) && has_letters(b);
}

static void ask_next(struct broker *b, struct request *r, struct tide_out *out)
{
    struct group_entry *e = next_entry(r, &r->group.asked_at);
    r->group.asked++;
    ask(b, r, e, out);
}

/* TIDE_AGAIN: the next answer is not there yet. */
static enum tide_status join_next(struct broker *b, struct request *r)
{
    struct work_at next = r->group.joined_at;
    struct group_entry *e;
    enum tide_status status;
    if (r->group.joined_count == r->group.asked)
        return TIDE_AGAIN;
    e = next_entry(r, &next);
    status = e->done ? join(b, r, e) : TIDE_AGAIN;
    if (status == TIDE_OK) {
        r->group.joined_at = next;
        r->group.joined_count++;
    }
    return status;
}

/* Asks what may be asked, joins what is there; responds at the end. Many groups take several turns, also when every answer is there at
 * once: each may be as large as a group is. */
static void proceed(struct broker *b, struct request *r, struct tide_out *out)
{
    enum tide_status status = TIDE_OK;
    uint32_t bytes_before = r->group.joined.len;
    unsigned steps = 0;
    if (r->group.proceeding || r->state != REQUEST_OPEN || r->session == NULL)
        return;
    r->group.proceeding = true;
    while (!r->group.ended && status == TIDE_OK && steps++ < TURN_STEPS_MAX && r->group.joined.len - bytes_before < TURN_BYTES_MAX) {
        if (may_ask(b, r))
            ask_next(b, r, out);
        else
            status = join_next(b, r);
    }
    r->group.proceeding = false;
    r->goes_on = status == TIDE_OK;
    if (status == TIDE_BAD)
        give_up(r);
    if (r->group.out != 0) /* also when it has ended: letters name its memory */
        return;
    if (!r->group.ended && r->group.joined_count == r->group.count)
        status = respond(b, r);
    if (r->group.ended || (r->group.joined_count == r->group.count && status == TIDE_OK))
        request_done(b, r);
    else
        request_retry(b, r);
}

void groups_api_on_answer(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct request *r = m->group.request;
    struct group_entry *e = m->group.entry;
    if (m->group.partition != NULL)
        slot_unuse(b, m->group.partition);
    e->done = true;
    e->error = m->group.error;
    e->elements = m->group.elements;
    if (m->group.malformed)
        give_up(r);
    tide_rope_join(&e->answer, &m->group.answer);
    r->group.out--;
    if (e->cancel != NULL) {
        e->answered = true; /* the other letter still names this one */
    } else {
        e->letter = NULL;
        mail_give(m);
    }
    if (request_came_back(b, r))
        proceed(b, r, out);
}

/* ---- nobody waits any more ------------------------------------------------------------------------------- */

static void cancel_one(struct broker *b, struct request *r, struct group_entry *e)
{
    struct tide_mail *question = e->letter;
    uint32_t core = question->group.partition != NULL ? partition_home(question->group.partition) : e->core;
    if (core == b->config.core) {
        coordinators_on_cancel(b, question, NULL);
        return;
    }
    e->cancel = mail_take(b, MAIL_GROUP_CANCEL);
    if (e->cancel == NULL) {
        r->group.uncancelled = true;
        return;
    }
    e->cancel->cancel = (struct mail_group_cancel){.question = question, .request = r, .entry = e};
    r->outstanding++;
    mail_out(b, core, e->cancel);
}

void groups_api_on_end(struct broker *b, struct request *r)
{
    if (r->row != NULL && r->row->handle == groups_handle && r->state == REQUEST_OPEN)
        request_set_deadline(b, r, b->time.now_ns + GROUP_HALF_CLOSED_MS * TIDE_NS_PER_MS);
}

void groups_api_on_deadline(struct request *r)
{
    if (r->session != NULL)
        session_abort(r->session);
}

/* The session is gone: what is out comes back soon, and then the request is given back. */
void groups_api_cancel(struct broker *b, struct request *r)
{
    struct work_at at = {0};
    struct group_entry *e;
    if (r->row == NULL || r->row->handle != groups_handle || r->outstanding == 0)
        return;
    r->group.uncancelled = false;
    r->outstanding++; /* so that it stays while we look */
    while ((e = next_entry(r, &at)) != NULL)
        if (e->letter != NULL && e->cancel == NULL && !e->answered)
            cancel_one(b, r, e);
    if (request_came_back(b, r) && r->group.uncancelled)
        link_append(&b->uncancelled, &r->in_retry);
}

void groups_api_on_cancelled(struct broker *b, struct tide_mail *m, struct tide_out *out)
{
    struct request *r = m->cancel.request;
    struct group_entry *e = m->cancel.entry;
    (void)out;
    e->cancel = NULL;
    if (e->answered) {
        mail_give(e->letter);
        e->letter = NULL;
    }
    mail_give(m);
    (void)request_came_back(b, r);
}

unsigned groups_api_turn(struct broker *b, struct tide_out *out)
{
    unsigned did = 0;
    struct link mine;
    (void)out;
    link_init(&mine);
    while (!link_is_empty(&b->uncancelled)) {
        struct link *l = b->uncancelled.next;
        link_remove(l);
        link_append(&mine, l);
    }
    while (!link_is_empty(&mine)) {
        struct request *r = LINK_OF(struct request, in_retry, mine.next);
        link_remove(&r->in_retry);
        groups_api_cancel(b, r);
        did += !link_is_listed(&r->in_retry);
    }
    return did;
}

void groups_api_forget(struct request *r)
{
    struct work_at at = {0};
    struct group_entry *e;
    if (r->row == NULL || r->row->handle != groups_handle)
        return;
    while ((e = next_entry(r, &at)) != NULL)
        tide_rope_clear(&e->answer);
    tide_rope_clear(&r->group.questions);
    tide_rope_clear(&r->group.joined);
}

enum tide_status groups_handle(struct broker *b, struct request *r, struct wire_cursor *body, const struct tide_slice *frame, struct tide_out *out)
{
    (void)frame;
    if (!r->group.laid_out) {
        enum tide_status status = lay_out(b, r, body);
        if (status != TIDE_OK)
            return status;
        r->group.laid_out = true;
        if (r->session->ended)
            groups_api_on_end(b, r);
    }
    proceed(b, r, out);
    return TIDE_OK;
}

/* ---- FindCoordinator -------------------------------------------------------------------------------------- */

struct found {
    int16_t error;
    int32_t id;
    const struct view_endpoint *at; /* NULL with an error */
};

static struct found find(const struct broker *b, uint32_t listener, int8_t type, const struct wire_bytes *key)
{
    struct found none = {.error = KAFKA_COORDINATOR_NOT_AVAILABLE, .id = -1};
    const struct view_partition *vp;
    if (type != KEY_GROUP) {
        none.error = type == KEY_TRANSACTION ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_INVALID_REQUEST;
        return none;
    }
    vp = place_of(b, key->at);
    if (vp == NULL || vp->leader < 0 || !tide_view_reaches(b->view, vp->leader, listener))
        return none;
    return (struct found){.id = vp->leader, .at = &tide_view_broker(b->view, vp->leader)->endpoints[listener]};
}

static const char *message_of(int16_t error)
{
    switch (error) {
    case 0: return NULL;
    case KAFKA_INVALID_REQUEST: return "there is no coordinator of that kind";
    default: return "no broker is the coordinator now";
    }
}

static void write_found(struct wire_writer *w, int16_t v, const struct wire_bytes *key, const struct found *f)
{
    const char *message = message_of(f->error);
    const char *host = f->at != NULL ? f->at->host : "";
    find_coordinator_response_coordinator_put_key_slice(w, v, key);
    find_coordinator_response_coordinator_put_node_id(w, v, f->id);
    find_coordinator_response_coordinator_put_host(w, v, host, (uint32_t)strlen(host));
    find_coordinator_response_coordinator_put_port(w, v, f->at != NULL ? f->at->port : -1);
    find_coordinator_response_coordinator_put_error_code(w, v, f->error);
    find_coordinator_response_coordinator_put_error_message(w, v, message, message != NULL ? (uint32_t)strlen(message) : 0);
    find_coordinator_response_coordinator_end(w, v);
}

enum tide_status find_coordinator_handle(struct broker *b, struct request *r, struct wire_cursor *body, const struct tide_slice *frame,
                                         struct tide_out *out)
{
    enum { LISTS_FROM = 4 };
    struct find_coordinator_request in;
    struct wire_cursor start = *body;
    struct wire_writer w;
    struct wire_bytes key;
    struct found one = {.id = -1};
    uint32_t listener = r->session->listener;
    int16_t v = r->api_version;
    const char *message, *host;
    enum tide_status status;

    (void)out;
    if (!find_coordinator_request_read(body, v, &in) || in.coordinator_keys.count > REQUEST_PARTITIONS_MAX)
        return TIDE_BAD;
    if (in.key_type == KEY_GROUP && !r->ask.rerun && tide_view_topic(b->view, TIDE_OFFSETS_TOPIC, sizeof(TIDE_OFFSETS_TOPIC) - 1) == NULL)
        return request_ask(b, r, frame, &start); /* control creates it */
    if (v < LISTS_FROM)
        one = find(b, listener, in.key_type, &in.key);
    message = message_of(one.error);
    host = one.at != NULL ? one.at->host : "";
    response_begin(b, r, &w);
    find_coordinator_response_put_throttle_time_ms(&w, v, 0);
    find_coordinator_response_put_error_code(&w, v, one.error);
    find_coordinator_response_put_error_message(&w, v, message, message != NULL ? (uint32_t)strlen(message) : 0);
    find_coordinator_response_put_node_id(&w, v, one.id);
    find_coordinator_response_put_host(&w, v, host, (uint32_t)strlen(host));
    find_coordinator_response_put_port(&w, v, one.at != NULL ? one.at->port : -1);
    find_coordinator_response_open_coordinators(&w, v, v >= LISTS_FROM ? TIDE_MAX(in.coordinator_keys.count, 0) : 0);
    while (v >= LISTS_FROM && !w.failed && wire_list_next_string(&in.coordinator_keys, true, &key)) {
        struct found f = find(b, listener, in.key_type, &key);
        write_found(&w, v, &key, &f);
    }
    find_coordinator_response_end(&w, v);
    status = response_end(r, &w);
    if (status == TIDE_OK)
        request_done(b, r);
    return status;
}
