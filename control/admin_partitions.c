/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions: CreatePartitions, ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments,
 * DescribeTopicPartitions.
 */
#include "control/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DESCRIBED_MAX = 2000 }; /* partitions of one DescribeTopicPartitions answer */

bool admin_read_ids(struct wire_list ids, struct cluster_assignment *ret)
{
    int32_t id;
    ret->replica_count = 0;
    if (ids.count > (int32_t)TIDE_REPLICAS_MAX)
        return false;
    while (wire_list_next_i32(&ids, &id))
        ret->replicas[ret->replica_count++] = id;
    return true;
}

/* ---- CreatePartitions ------------------------------------------------------------------------------------ */

struct growth {
    struct admin_verdict verdict;
    char *name;
    struct tide_uuid id;
    int32_t count; /* the new total */
    uint32_t assignment_count;
    struct cluster_assignment *assignment;
};

struct growths {
    bool validate_only;
    uint32_t count;
    struct growth each[];
};

static void read_growth(struct control *c, struct growth *g, const struct create_partitions_request_topic *t, int16_t v)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    const struct cluster_topic *topic = admin_topic_name(&t->name, name) ? cluster_find_topic(c->config.cluster, name) : NULL;
    struct create_partitions_request_assignment row;
    struct wire_list rows = t->assignments;
    g->name = strdup(name);
    g->count = t->count;
    if (topic == NULL) {
        admin_refuse(&g->verdict, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic");
        return;
    }
    g->id = topic->id;
    if (rows.count < 0)
        return;
    /* A list that is there has a row for each new partition, none for the old ones. */
    if (rows.count > (int32_t)CLUSTER_PARTITIONS_MAX || (int64_t)rows.count != (int64_t)t->count - topic->partition_count) {
        if (t->count > (int32_t)topic->partition_count)
            admin_refuse(&g->verdict, KAFKA_INVALID_REPLICA_ASSIGNMENT, "the assignment must have one list of brokers for each new partition");
        return; /* a total that does not grow is told by the cluster */
    }
    g->assignment = calloc((uint32_t)rows.count + 1, sizeof(*g->assignment));
    if (g->assignment == NULL) {
        admin_refuse(&g->verdict, KAFKA_UNKNOWN_SERVER_ERROR, "no memory");
        return;
    }
    while (create_partitions_request_assignment_next(&rows, v, &row)) {
        struct cluster_assignment *a = &g->assignment[g->assignment_count];
        a->partition = (int32_t)(topic->partition_count + g->assignment_count++);
        if (!admin_read_ids(row.broker_ids, a))
            admin_refuse(&g->verdict, KAFKA_INVALID_REPLICA_ASSIGNMENT, "too many brokers for one partition");
    }
}

static int growth_by_name(const void *a, const void *b)
{
    const struct growth *x = *(const struct growth *const *)a;
    const struct growth *y = *(const struct growth *const *)b;
    return strcmp(x->name != NULL ? x->name : "", y->name != NULL ? y->name : "");
}

static void refuse_twins(struct growths *all)
{
    static const char message[] = "the request names this topic twice";
    struct growth **sorted = calloc(all->count + 1, sizeof(struct growth *));
    if (sorted == NULL)
        return; /* each is judged on its own then */
    for (uint32_t i = 0; i < all->count; i++)
        sorted[i] = &all->each[i];
    qsort(sorted, all->count, sizeof(*sorted), growth_by_name);
    for (uint32_t i = 1; i < all->count; i++) {
        if (growth_by_name(&sorted[i - 1], &sorted[i]) != 0)
            continue;
        admin_overrule(&sorted[i - 1]->verdict, KAFKA_INVALID_REQUEST, message);
        admin_overrule(&sorted[i]->verdict, KAFKA_INVALID_REQUEST, message);
    }
    free(sorted);
}

static bool begin_create(struct admin_ask *a, struct wire_cursor *body)
{
    struct create_partitions_request in;
    struct create_partitions_request_topic t;
    struct growths *all;
    uint32_t items = 0;
    if (!create_partitions_request_read(body, a->v, &in) || in.topics.count < 0 || in.topics.count > ADMIN_ITEMS_MAX)
        return false;
    a->data = all = calloc(1, sizeof(*all) + (uint32_t)in.topics.count * sizeof(all->each[0]));
    if (all == NULL)
        return false;
    all->count = (uint32_t)in.topics.count;
    all->validate_only = in.validate_only;
    admin_set_timeout(a, in.timeout_ms);
    for (uint32_t i = 0; create_partitions_request_topic_next(&in.topics, a->v, &t); i++) {
        if (!admin_has_room(&items, t.assignments.count))
            return false;
        read_growth(a->control, &all->each[i], &t, a->v);
    }
    refuse_twins(all);
    for (uint32_t i = 0; i < all->count; i++) {
        struct growth *g = &all->each[i];
        struct cluster_command m = {.kind = CLUSTER_CREATE_PARTITIONS};
        m.create_partitions.id = g->id;
        m.create_partitions.validate_only = all->validate_only;
        m.create_partitions.partition_count = g->count;
        m.create_partitions.placement_seed = load_be32(g->id.bytes);
        m.create_partitions.assignment_count = g->assignment_count;
        m.create_partitions.assignment = g->assignment;
        if (g->verdict.error == 0)
            admin_submit(a, &m, i, &g->verdict);
    }
    return true;
}

static void on_created(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct growths *all = a->data;
    admin_decide(a, &all->each[index].verdict, r, !all->validate_only);
}

static void write_created(struct admin_ask *a, struct wire_writer *w)
{
    const struct growths *all = a->data;
    int16_t v = a->v;
    create_partitions_response_put_throttle_time_ms(w, v, 0);
    create_partitions_response_open_results(w, v, (int32_t)all->count);
    for (uint32_t i = 0; i < all->count && !w->failed; i++) {
        const struct growth *g = &all->each[i];
        const char *message = admin_message(a, &g->verdict);
        create_partitions_response_result_put_name(w, v, g->name != NULL ? g->name : "", admin_text_len(g->name));
        create_partitions_response_result_put_error_code(w, v, admin_error(a, &g->verdict));
        create_partitions_response_result_put_error_message(w, v, message, admin_text_len(message));
        create_partitions_response_result_end(w, v);
    }
    create_partitions_response_end(w, v);
}

static void forget_created(struct admin_ask *a)
{
    struct growths *all = a->data;
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        free(all->each[i].name);
        free(all->each[i].assignment);
        admin_verdict_free(&all->each[i].verdict);
    }
}

const struct admin_api admin_create_partitions = {KAFKA_API_CREATE_PARTITIONS, begin_create, on_created, write_created, forget_created};

/* ---- requests that list partitions by topic: one command for all of them ----------------------------------- */

struct row {
    struct admin_verdict verdict;
    uint32_t topic;   /* in topics */
    int32_t partition;
    bool left_out;    /* of the answer */
};

struct row_topic {
    char *name; /* as it came, or of the cluster */
    struct tide_uuid id;
    bool known;
};

struct rows {
    bool good;      /* memory was there */
    bool all;       /* ElectLeaders of everything */
    int16_t error;  /* of the whole request */
    char message[CLUSTER_MESSAGE_MAX];
    uint32_t topic_count, topic_room;
    struct row_topic *topics;
    uint32_t count, room;
    struct row *each;
    uint32_t *submitted; /* the command's items: numbers of rows */
    uint32_t submitted_count;
};

static struct rows *make_rows(void)
{
    struct rows *r = calloc(1, sizeof(*r));
    if (r != NULL)
        r->good = true;
    return r;
}

static bool grow(void **list, uint32_t *room, uint32_t count, size_t size)
{
    uint32_t want = *room == 0 ? 16 : *room * 2;
    void *more;
    if (count < *room)
        return true;
    more = realloc(*list, want * size);
    if (more == NULL)
        return false;
    *list = more;
    *room = want;
    return true;
}

/* NULL without memory; r->good is false then. */
static struct row_topic *add_topic(struct rows *r, const char *name)
{
    struct row_topic *t;
    r->good = r->good && grow((void **)&r->topics, &r->topic_room, r->topic_count, sizeof(*r->topics));
    if (!r->good)
        return NULL;
    t = &r->topics[r->topic_count++];
    *t = (struct row_topic){.name = strdup(name)};
    r->good = t->name != NULL;
    return t;
}

static struct row *add_row(struct rows *r, int32_t partition)
{
    struct row *row;
    r->good = r->good && grow((void **)&r->each, &r->room, r->count, sizeof(*r->each));
    if (!r->good)
        return NULL;
    row = &r->each[r->count++];
    *row = (struct row){.topic = r->topic_count - 1, .partition = partition};
    if (!r->topics[row->topic].known)
        admin_refuse(&row->verdict, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic");
    return row;
}

static struct row_topic *add_named_topic(struct control *c, struct rows *r, const struct wire_bytes *from)
{
    char name[TIDE_TOPIC_NAME_MAX + 1];
    const struct cluster_topic *topic = admin_topic_name(from, name) ? cluster_find_topic(c->config.cluster, name) : NULL;
    struct row_topic *t = add_topic(r, name);
    if (t != NULL && topic != NULL) {
        t->known = true;
        t->id = topic->id;
    }
    return t;
}

static void forget_rows(struct admin_ask *a)
{
    struct rows *r = a->data;
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->topic_count; i++)
        free(r->topics[i].name);
    for (uint32_t i = 0; i < r->count; i++)
        admin_verdict_free(&r->each[i].verdict);
    free(r->topics);
    free(r->each);
    free(r->submitted);
}

/* What the command says of the whole goes to the request, what it says of an item to its row. */
static void on_rows(struct admin_ask *a, const struct cluster_result *r)
{
    struct rows *rows = a->data;
    for (uint32_t i = 0; i < rows->submitted_count; i++) {
        struct row *row = &rows->each[rows->submitted[i]];
        row->verdict.undecided = false;
        if (r->error != 0 || i >= r->item_count)
            admin_refuse(&row->verdict, r->error != 0 ? r->error : KAFKA_UNKNOWN_SERVER_ERROR, r->message);
        else if (r->items[i].error != 0)
            admin_refuse(&row->verdict, r->items[i].error, r->items[i].message);
        else
            row->verdict.applied = true;
    }
    a->changed |= r->changed != 0;
}

static uint32_t rows_of(const struct rows *r, uint32_t topic, uint32_t *at)
{
    uint32_t n = 0;
    while (*at < r->count && r->each[*at].topic == topic)
        n += !r->each[(*at)++].left_out;
    return n;
}

/* Lists the rows that go into the command: those that are good so far. False without memory. */
static bool list_submitted(struct rows *r)
{
    r->submitted = calloc(r->count + 1, sizeof(*r->submitted));
    if (r->submitted == NULL)
        return false;
    for (uint32_t i = 0; i < r->count; i++)
        if (r->each[i].verdict.error == 0)
            r->submitted[r->submitted_count++] = i;
    return true;
}

/* ---- ElectLeaders ----------------------------------------------------------------------------------------------- */

static void on_elected_all(struct admin_ask *a, const struct cluster_result *r)
{
    struct rows *rows = a->data;
    for (uint32_t i = 0; i < r->item_count; i++) {
        const struct cluster_item *item = &r->items[i];
        const struct cluster_topic *t = cluster_find_topic_by_id(a->control->config.cluster, &item->topic_id);
        struct row_topic *last = rows->topic_count != 0 ? &rows->topics[rows->topic_count - 1] : NULL;
        struct row *row;
        if (t == NULL)
            continue;
        if (last == NULL || !tide_uuid_equal(&last->id, &t->id)) {
            last = add_topic(rows, t->name);
            if (last == NULL)
                break;
            last->id = t->id;
            last->known = true;
        }
        row = add_row(rows, item->partition);
        if (row == NULL)
            break;
        if (item->error != 0)
            admin_refuse(&row->verdict, item->error, item->message);
        else
            row->verdict.applied = true;
    }
    a->changed |= r->changed != 0;
    if (!rows->good)
        rows->error = KAFKA_UNKNOWN_SERVER_ERROR;
}

static void on_elected(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    struct rows *rows = a->data;
    (void)index;
    if (r->error != 0) {
        rows->error = r->error;
        snprintf(rows->message, sizeof(rows->message), "%s", r->message);
    }
    if (rows->all && r->error == 0)
        on_elected_all(a, r);
    else
        on_rows(a, r);
}

static bool read_elections(struct admin_ask *a, struct rows *rows, struct wire_list topics)
{
    struct elect_leaders_request_topic_partitions t;
    int32_t partition;
    uint32_t items = 0;
    while (elect_leaders_request_topic_partitions_next(&topics, a->v, &t)) {
        if (!admin_has_room(&items, t.partitions.count))
            return false;
        (void)add_named_topic(a->control, rows, &t.topic);
        while (rows->good && wire_list_next_i32(&t.partitions, &partition))
            (void)add_row(rows, partition);
        if (!rows->good)
            return false;
    }
    return list_submitted(rows);
}

static bool submit_election(struct admin_ask *a, struct rows *rows, uint8_t election)
{
    struct cluster_command m = {.kind = CLUSTER_ELECT_LEADERS};
    struct cluster_partition_ref *refs = calloc(rows->submitted_count + 1, sizeof(*refs));
    if (refs == NULL)
        return false;
    for (uint32_t i = 0; i < rows->submitted_count; i++) {
        struct row *row = &rows->each[rows->submitted[i]];
        refs[i] = (struct cluster_partition_ref){rows->topics[row->topic].id, row->partition};
        row->verdict.undecided = true;
    }
    m.elect_leaders.election = election;
    m.elect_leaders.all = rows->all;
    m.elect_leaders.count = rows->submitted_count;
    m.elect_leaders.partitions = refs;
    if (rows->all || rows->submitted_count != 0)
        admin_submit(a, &m, 0, NULL);
    free(refs);
    return true;
}

static bool begin_elect(struct admin_ask *a, struct wire_cursor *body)
{
    struct elect_leaders_request in;
    struct rows *rows;
    if (!elect_leaders_request_read(body, a->v, &in))
        return false;
    a->data = rows = make_rows();
    if (rows == NULL)
        return false;
    admin_set_timeout(a, in.timeout_ms);
    if (in.election_type != CLUSTER_ELECT_PREFERRED && in.election_type != CLUSTER_ELECT_UNCLEAN) {
        rows->error = KAFKA_INVALID_REQUEST;
        return true;
    }
    rows->all = in.topic_partitions.count < 0;
    return read_elections(a, rows, in.topic_partitions) && submit_election(a, rows, (uint8_t)in.election_type);
}

static void write_elected(struct admin_ask *a, struct wire_writer *w)
{
    const struct rows *rows = a->data;
    int16_t v = a->v;
    uint32_t at = 0;
    elect_leaders_response_put_throttle_time_ms(w, v, 0);
    elect_leaders_response_put_error_code(w, v, rows->error == 0 && a->late && rows->all && a->waiting != 0 ? KAFKA_REQUEST_TIMED_OUT
                                                                                                            : rows->error);
    elect_leaders_response_open_replica_election_results(w, v, (int32_t)rows->topic_count);
    for (uint32_t t = 0; t < rows->topic_count && !w->failed; t++) {
        uint32_t begin = at;
        elect_leaders_response_replica_election_result_put_topic(w, v, rows->topics[t].name, admin_text_len(rows->topics[t].name));
        elect_leaders_response_replica_election_result_open_partition_result(w, v, (int32_t)rows_of(rows, t, &at));
        for (uint32_t i = begin; i < at; i++) {
            const struct row *row = &rows->each[i];
            const char *message = admin_message(a, &row->verdict);
            elect_leaders_response_partition_result_put_partition_id(w, v, row->partition);
            elect_leaders_response_partition_result_put_error_code(w, v, admin_error(a, &row->verdict));
            elect_leaders_response_partition_result_put_error_message(w, v, message, admin_text_len(message));
            elect_leaders_response_partition_result_end(w, v);
        }
        elect_leaders_response_replica_election_result_end(w, v);
    }
    elect_leaders_response_end(w, v);
}

const struct admin_api admin_elect_leaders = {KAFKA_API_ELECT_LEADERS, begin_elect, on_elected, write_elected, forget_rows};

/* ---- AlterPartitionReassignments ----------------------------------------------------------------------------------- */

struct reassignments {
    struct cluster_reassignment *changes; /* one a row, good or not */
    uint32_t room;
};

static bool read_reassignments(struct admin_ask *a, struct rows *rows, struct reassignments *r, struct wire_list topics)
{
    struct alter_partition_reassignments_request_topic t;
    struct alter_partition_reassignments_request_partition p;
    uint32_t items = 0;
    while (alter_partition_reassignments_request_topic_next(&topics, a->v, &t)) {
        if (!admin_has_room(&items, t.partitions.count))
            return false;
        (void)add_named_topic(a->control, rows, &t.name);
        while (rows->good && alter_partition_reassignments_request_partition_next(&t.partitions, a->v, &p)) {
            struct cluster_assignment ids;
            struct row *row = add_row(rows, p.partition_index);
            struct cluster_reassignment *to;
            if (row == NULL || !grow((void **)&r->changes, &r->room, rows->count - 1, sizeof(*r->changes)))
                return false;
            to = &r->changes[rows->count - 1];
            *to = (struct cluster_reassignment){.topic_id = rows->topics[row->topic].id, .partition = p.partition_index,
                                                .cancel = p.replicas.count < 0};
            if (!admin_read_ids(p.replicas, &ids))
                admin_refuse(&row->verdict, KAFKA_INVALID_REPLICA_ASSIGNMENT, "too many brokers for one partition");
            to->replica_count = ids.replica_count;
            memcpy(to->replicas, ids.replicas, ids.replica_count * sizeof(ids.replicas[0]));
        }
        if (!rows->good)
            return false;
    }
    return list_submitted(rows);
}

static void submit_reassignments(struct admin_ask *a, struct rows *rows, struct cluster_reassignment *changes)
{
    struct cluster_command m = {.kind = CLUSTER_ALTER_REASSIGNMENTS};
    for (uint32_t i = 0; i < rows->submitted_count; i++) { /* i is never ahead of the row's number */
        changes[i] = changes[rows->submitted[i]];
        rows->each[rows->submitted[i]].verdict.undecided = true;
    }
    m.alter_reassignments.count = rows->submitted_count;
    m.alter_reassignments.changes = changes;
    if (rows->submitted_count != 0)
        admin_submit(a, &m, 0, NULL);
}

static bool begin_reassign(struct admin_ask *a, struct wire_cursor *body)
{
    struct alter_partition_reassignments_request in;
    struct reassignments r = {0};
    struct rows *rows;
    bool good;
    if (!alter_partition_reassignments_request_read(body, a->v, &in))
        return false;
    a->data = rows = make_rows();
    if (rows == NULL)
        return false;
    admin_set_timeout(a, in.timeout_ms);
    good = read_reassignments(a, rows, &r, in.topics);
    if (good)
        submit_reassignments(a, rows, r.changes);
    free(r.changes);
    return good;
}

static void on_reassigned(struct admin_ask *a, uint32_t index, const struct cluster_result *r)
{
    (void)index;
    on_rows(a, r);
}

static void write_reassigned(struct admin_ask *a, struct wire_writer *w)
{
    const struct rows *rows = a->data;
    int16_t v = a->v;
    uint32_t at = 0;
    alter_partition_reassignments_response_put_throttle_time_ms(w, v, 0);
    alter_partition_reassignments_response_put_error_code(w, v, 0);
    alter_partition_reassignments_response_put_error_message(w, v, NULL, 0);
    alter_partition_reassignments_response_open_responses(w, v, (int32_t)rows->topic_count);
    for (uint32_t t = 0; t < rows->topic_count && !w->failed; t++) {
        uint32_t begin = at;
        alter_partition_reassignments_response_topic_response_put_name(w, v, rows->topics[t].name, admin_text_len(rows->topics[t].name));
        alter_partition_reassignments_response_topic_response_open_partitions(w, v, (int32_t)rows_of(rows, t, &at));
        for (uint32_t i = begin; i < at; i++) {
            const struct row *row = &rows->each[i];
            const char *message = admin_message(a, &row->verdict);
            alter_partition_reassignments_response_partition_response_put_partition_index(w, v, row->partition);
            alter_partition_reassignments_response_partition_response_put_error_code(w, v, admin_error(a, &row->verdict));
            alter_partition_reassignments_response_partition_response_put_error_message(w, v, message, admin_text_len(message));
            alter_partition_reassignments_response_partition_response_end(w, v);
        }
        alter_partition_reassignments_response_topic_response_end(w, v);
    }
    alter_partition_reassignments_response_end(w, v);
}

const struct admin_api admin_alter_reassignments = {KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, begin_reassign, on_reassigned, write_reassigned,
                                                    forget_rows};

/* ---- ListPartitionReassignments -------------------------------------------------------------------------------------- */

/* What is listed must not be older than the request: it waits for a command that was proposed after it (7.2). */
static bool begin_list(struct admin_ask *a, struct wire_cursor *body)
{
    struct list_partition_reassignments_request in;
    struct list_partition_reassignments_request_topic t;
    uint32_t items = 0;
    if (!list_partition_reassignments_request_read(body, a->v, &in))
        return false;
    while (list_partition_reassignments_request_topic_next(&in.topics, a->v, &t))
        if (!admin_has_room(&items, t.partition_indexes.count))
            return false;
    admin_set_timeout(a, in.timeout_ms);
    return admin_begin_fresh(a);
}

static bool is_moving(const struct cluster_partition *p)
{
    return p->adding_count != 0 || p->removing_count != 0;
}

static void write_ids(struct wire_writer *w, const int32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        wire_put_i32(w, ids[i]);
}

static void write_moving(struct wire_writer *w, int16_t v, const struct cluster_partition *p, int32_t index)
{
    list_partition_reassignments_response_ongoing_partition_put_partition_index(w, v, index);
    list_partition_reassignments_response_ongoing_partition_open_replicas(w, v, (int32_t)p->replica_count);
    write_ids(w, p->replicas, p->replica_count);
    list_partition_reassignments_response_ongoing_partition_open_adding_replicas(w, v, (int32_t)p->adding_count);
    write_ids(w, p->adding, p->adding_count);
    list_partition_reassignments_response_ongoing_partition_open_removing_replicas(w, v, (int32_t)p->removing_count);
    write_ids(w, p->removing, p->removing_count);
    list_partition_reassignments_response_ongoing_partition_end(w, v);
}

/* Topic by topic: which of them have something to show. `w` NULL: only counts. asked: NULL for all partitions. */
static uint32_t list_topic(struct wire_writer *w, int16_t v, const struct cluster_topic *t, const struct wire_list *asked)
{
    uint32_t n = 0;
    int32_t index;
    if (asked == NULL) {
        for (uint32_t i = 0; i < t->partition_count; i++) {
            n += is_moving(&t->partitions[i]);
            if (w != NULL && is_moving(&t->partitions[i]))
                write_moving(w, v, &t->partitions[i], (int32_t)i);
        }
        return n;
    }
    for (struct wire_list l = *asked; wire_list_next_i32(&l, &index);) {
        if (index < 0 || (uint32_t)index >= t->partition_count || !is_moving(&t->partitions[index]))
            continue;
        n++;
        if (w != NULL)
            write_moving(w, v, &t->partitions[index], index);
    }
    return n;
}

static void write_moving_topic(struct wire_writer *w, int16_t v, const struct cluster_topic *t, const struct wire_list *asked, uint32_t *count)
{
    uint32_t n = t != NULL ? list_topic(NULL, v, t, asked) : 0;
    *count += n != 0;
    if (n == 0 || w == NULL)
        return;
    list_partition_reassignments_response_ongoing_topic_put_name(w, v, t->name, admin_text_len(t->name));
    list_partition_reassignments_response_ongoing_topic_open_partitions(w, v, (int32_t)n);
    (void)list_topic(w, v, t, asked);
    list_partition_reassignments_response_ongoing_topic_end(w, v);
}

static uint32_t write_moving_topics(struct admin_ask *a, struct wire_writer *w)
{
    const struct cluster *cluster = a->control->config.cluster;
    struct list_partition_reassignments_request in;
    struct list_partition_reassignments_request_topic t;
    struct wire_cursor body;
    uint32_t count = 0;
    char name[TIDE_TOPIC_NAME_MAX + 1];
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(list_partition_reassignments_request_read(&body, a->v, &in));
    if (in.topics.count < 0) {
        for (uint32_t i = 0; i < cluster_topic_count(cluster) && (w == NULL || !w->failed); i++)
            write_moving_topic(w, a->v, cluster_topic_at(cluster, i), NULL, &count);
        return count;
    }
    while (list_partition_reassignments_request_topic_next(&in.topics, a->v, &t) && (w == NULL || !w->failed))
        write_moving_topic(w, a->v, admin_topic_name(&t.name, name) ? cluster_find_topic(cluster, name) : NULL, &t.partition_indexes, &count);
    return count;
}

static void write_list(struct admin_ask *a, struct wire_writer *w)
{
    const struct admin_verdict *d = a->data;
    int16_t v = a->v;
    int16_t error = admin_error(a, d);
    const char *message = admin_message(a, d);
    list_partition_reassignments_response_put_throttle_time_ms(w, v, 0);
    list_partition_reassignments_response_put_error_code(w, v, error);
    list_partition_reassignments_response_put_error_message(w, v, message, admin_text_len(message));
    list_partition_reassignments_response_open_topics(w, v, error != 0 ? 0 : (int32_t)write_moving_topics(a, NULL));
    if (error == 0)
        (void)write_moving_topics(a, w);
    list_partition_reassignments_response_end(w, v);
}

const struct admin_api admin_list_reassignments = {KAFKA_API_LIST_PARTITION_REASSIGNMENTS, begin_list, admin_on_fresh, write_list,
                                                   admin_forget_fresh};

/* ---- DescribeTopicPartitions --------------------------------------------------------------------------------------------- */

/* The topics of the answer, in order of name, each once. */
struct described {
    uint32_t count;
    char (*names)[TIDE_TOPIC_NAME_MAX + 1]; /* NULL: all of the cluster */
    uint32_t *ends;   /* by topic: partitions told of it end here */
    uint32_t *begins; /* and begin here */
    uint32_t told;    /* topics that are in the answer */
    bool more;        /* the cursor stands at `next` */
    uint32_t next;
    int32_t next_partition;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool begin_partitions(struct admin_ask *a, struct wire_cursor *body)
{
    struct describe_topic_partitions_request in;
    return describe_topic_partitions_request_read(body, a->v, &in) && in.topics.count >= 0 && in.topics.count <= ADMIN_ITEMS_MAX;
}

static const struct cluster_topic *described_topic(const struct control *c, const struct described *d, uint32_t i)
{
    return d->names == NULL ? cluster_topic_at(c->config.cluster, i) : cluster_find_topic(c->config.cluster, d->names[i]);
}

static const char *described_name(const struct control *c, const struct described *d, uint32_t i)
{
    return d->names == NULL ? cluster_topic_at(c->config.cluster, i)->name : d->names[i];
}

static bool list_described(struct control *c, struct described *d, struct describe_topic_partitions_request *in, int16_t v)
{
    struct describe_topic_partitions_request_topic t;
    uint32_t n = 0;
    d->count = in->topics.count == 0 ? cluster_topic_count(c->config.cluster) : (uint32_t)in->topics.count;
    d->begins = calloc(d->count + 1, sizeof(*d->begins));
    d->ends = calloc(d->count + 1, sizeof(*d->ends));
    if (in->topics.count != 0)
        d->names = calloc(d->count, sizeof(*d->names));
    if (d->begins == NULL || d->ends == NULL || (in->topics.count != 0 && d->names == NULL))
        return false;
    if (d->names == NULL)
        return true;
    for (uint32_t i = 0; describe_topic_partitions_request_topic_next(&in->topics, v, &t); i++)
        if (!admin_topic_name(&t.name, d->names[i]))
            snprintf(d->names[i], sizeof(d->names[i]), "/"); /* like every name that no topic can have */
    qsort(d->names, d->count, sizeof(*d->names), compare_names);
    for (uint32_t i = 0; i < d->count; i++)
        if (i == 0 || strcmp(d->names[i], d->names[n - 1]) != 0)
            memmove(d->names[n++], d->names[i], sizeof(d->names[i]));
    d->count = n;
    return true;
}

/* How much of each topic is told, from the cursor on. */
static void measure(struct control *c, struct described *d, const struct describe_topic_partitions_request *in)
{
    uint32_t room = (uint32_t)TIDE_MIN(TIDE_MAX(in->response_partition_limit, 1), (int32_t)DESCRIBED_MAX);
    char start[TIDE_TOPIC_NAME_MAX + 1] = "";
    uint32_t i = 0;
    if (in->has_cursor)
        (void)wire_bytes_copy(&in->cursor.topic_name, start, sizeof(start));
    while (i < d->count && strcmp(described_name(c, d, i), start) < 0)
        i++;
    d->next = i; /* the first that is told */
    for (uint32_t first = i; i < d->count; i++) {
        const struct cluster_topic *t = described_topic(c, d, i);
        uint32_t all = t != NULL ? t->partition_count : 0;
        bool resumed = i == first && in->has_cursor && strcmp(described_name(c, d, i), start) == 0;
        if (room == 0)
            break;
        d->begins[i] = resumed && in->cursor.partition_index > 0 ? TIDE_MIN((uint32_t)in->cursor.partition_index, all) : 0;
        d->ends[i] = TIDE_MIN(all, d->begins[i] + room);
        room -= d->ends[i] - d->begins[i];
        d->told++;
        if (d->ends[i] < all) {
            d->more = true;
            d->next_partition = (int32_t)d->ends[i];
            break;
        }
    }
    if (i < d->count && !d->more) {
        d->more = true;
        d->next_partition = 0;
    }
}

/* Reached by who came in through this listener? */
static bool reaches(const struct control *c, int32_t broker, uint32_t listener)
{
    const struct cluster_broker *b = cluster_find_broker(c->config.cluster, broker);
    return b != NULL && !b->fenced && listener < b->endpoint_count && b->endpoints[listener].port != 0;
}

static int16_t leader_error(const struct control *c, const struct cluster_partition *p, uint32_t listener)
{
    const struct cluster_broker *b = p->leader >= 0 ? cluster_find_broker(c->config.cluster, p->leader) : NULL;
    if (b == NULL || b->fenced)
        return KAFKA_LEADER_NOT_AVAILABLE;
    return reaches(c, p->leader, listener) ? 0 : KAFKA_LISTENER_NOT_FOUND;
}

static void write_described_partition(struct admin_ask *a, struct wire_writer *w, const struct cluster_partition *p, int32_t index)
{
    int16_t v = a->v;
    uint32_t listener = a->mail->ask.listener;
    int16_t error = leader_error(a->control, p, listener);
    int32_t offline = 0;
    for (uint32_t i = 0; i < p->replica_count; i++)
        offline += !reaches(a->control, p->replicas[i], listener);
    describe_topic_partitions_response_partition_put_error_code(w, v, error);
    describe_topic_partitions_response_partition_put_partition_index(w, v, index);
    describe_topic_partitions_response_partition_put_leader_id(w, v, error != 0 ? -1 : p->leader);
    describe_topic_partitions_response_partition_put_leader_epoch(w, v, p->leader_epoch);
    describe_topic_partitions_response_partition_open_replica_nodes(w, v, (int32_t)p->replica_count);
    write_ids(w, p->replicas, p->replica_count);
    describe_topic_partitions_response_partition_open_isr_nodes(w, v, (int32_t)p->isr_count);
    write_ids(w, p->isr, p->isr_count);
    describe_topic_partitions_response_partition_open_eligible_leader_replicas(w, v, (int32_t)p->elr_count);
    write_ids(w, p->elr, p->elr_count);
    describe_topic_partitions_response_partition_open_last_known_elr(w, v, p->last_known_elr >= 0 ? 1 : 0);
    if (p->last_known_elr >= 0)
        wire_put_i32(w, p->last_known_elr);
    describe_topic_partitions_response_partition_open_offline_replicas(w, v, offline);
    for (uint32_t i = 0; i < p->replica_count; i++)
        if (!reaches(a->control, p->replicas[i], listener))
            wire_put_i32(w, p->replicas[i]);
    describe_topic_partitions_response_partition_end(w, v);
}

static void write_described_topic(struct admin_ask *a, struct wire_writer *w, const struct described *d, uint32_t i, int16_t refused)
{
    static const struct tide_uuid none;
    const struct cluster_topic *t = described_topic(a->control, d, i);
    const char *name = described_name(a->control, d, i);
    int16_t v = a->v;
    int16_t error = refused != 0 ? refused : t != NULL ? 0
                    : cluster_topic_name_is_legal(name, strlen(name)) ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_INVALID_TOPIC_EXCEPTION;
    uint32_t end = error == 0 ? d->ends[i] : d->begins[i];
    describe_topic_partitions_response_topic_put_error_code(w, v, error);
    describe_topic_partitions_response_topic_put_name(w, v, name, admin_text_len(name));
    describe_topic_partitions_response_topic_put_topic_id(w, v, error == 0 ? &t->id : &none);
    describe_topic_partitions_response_topic_put_is_internal(w, v, error == 0 && admin_is_internal(t->name));
    describe_topic_partitions_response_topic_open_partitions(w, v, (int32_t)(end - d->begins[i]));
    for (uint32_t p = d->begins[i]; p < end && !w->failed; p++)
        write_described_partition(a, w, &t->partitions[p], (int32_t)p);
    describe_topic_partitions_response_topic_put_topic_authorized_operations(w, v, error == 0 ? ADMIN_TOPIC_OPERATIONS : INT32_MIN);
    describe_topic_partitions_response_topic_end(w, v);
}

static void write_partitions(struct admin_ask *a, struct wire_writer *w)
{
    struct describe_topic_partitions_request in;
    struct described d = {0};
    struct wire_cursor body;
    int16_t v = a->v;
    int16_t refused;
    uint32_t i;
    wire_cursor_init(&body, a->mail->ask.body);
    TIDE_ASSERT(describe_topic_partitions_request_read(&body, v, &in));
    refused = in.has_cursor && in.cursor.partition_index < 0 ? KAFKA_INVALID_REQUEST : 0;
    if (!list_described(a->control, &d, &in, v)) {
        w->failed = true; /* no memory: the client comes again */
    } else {
        measure(a->control, &d, &in);
        describe_topic_partitions_response_put_throttle_time_ms(w, v, 0);
        describe_topic_partitions_response_open_topics(w, v, (int32_t)d.told);
        for (i = d.next; i < d.next + d.told && !w->failed; i++)
            write_described_topic(a, w, &d, i, refused);
        i = d.next_partition > 0 ? i - 1 : i; /* a topic that is not told to its end */
        describe_topic_partitions_response_open_next_cursor(w, v, d.more && refused == 0);
        if (d.more && refused == 0) {
            const char *name = described_name(a->control, &d, i);
            describe_topic_partitions_response_cursor_put_topic_name(w, v, name, admin_text_len(name));
            describe_topic_partitions_response_cursor_put_partition_index(w, v, d.next_partition);
            describe_topic_partitions_response_cursor_end(w, v);
        }
        describe_topic_partitions_response_end(w, v);
    }
    free(d.names);
    free(d.begins);
    free(d.ends);
}

const struct admin_api admin_describe_topic_partitions = {KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, begin_partitions, NULL, write_partitions, NULL};
