/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumer groups, by librdkafka: the tool is a client like any other.
 */
#include "tool/group.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool/tool.h"

enum { REQUEST_TIMEOUT_MS = 10000, RETRY_MS = 200, PATIENCE_S = 30 };

struct options {
    const char *action;
    const char *bootstrap;
    struct group_reset reset; /* its group is that of the other commands, too */
};

static int usage(FILE *f, int status)
{
    fputs("tidemark group list          --bootstrap HOST:PORT\n"
          "tidemark group describe      --bootstrap HOST:PORT [--group NAME]\n"
          "tidemark group reset-offsets --bootstrap HOST:PORT --group NAME (--topic NAME[:PARTITION])... | --all-topics\n"
          "                             --to-earliest | --to-latest | --to-offset N | --shift-by N | --to-datetime 2026-01-31T12:00:00\n"
          "                             [--execute]; without it, it only shows what would be changed\n"
          "tidemark group delete        --bootstrap HOST:PORT --group NAME\n", f);
    return status;
}

/* ---- what a group is ----------------------------------------------------------------------------- */

static rd_kafka_AdminOptions_t *options_for(rd_kafka_t *rk, rd_kafka_admin_op_t op)
{
    char error[128];
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(rk, op);
    (void)rd_kafka_AdminOptions_set_request_timeout(o, REQUEST_TIMEOUT_MS, error, sizeof(error));
    return o;
}

static bool is_well(const char *name, const rd_kafka_error_t *e)
{
    return e == NULL || client_is_good(name, rd_kafka_error_code(e), rd_kafka_error_string(e));
}

/* A coordinator that is being found (the first use of groups makes their topic), or reads its log, will answer soon. */
static bool passes(const rd_kafka_error_t *e)
{
    switch (e != NULL ? rd_kafka_error_code(e) : RD_KAFKA_RESP_ERR_NO_ERROR) {
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR: return true;
    default: return false;
    }
}

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static rd_kafka_event_t *ask_about(rd_kafka_t *rk, const char *group)
{
    rd_kafka_AdminOptions_t *o = options_for(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_event_t *e;
    rd_kafka_DescribeConsumerGroups(rk, &group, 1, o, q);
    e = client_wait(q, group);
    rd_kafka_queue_destroy(q);
    rd_kafka_AdminOptions_destroy(o);
    return e;
}

const rd_kafka_ConsumerGroupDescription_t *group_look(rd_kafka_t *rk, const char *group, rd_kafka_event_t **ret)
{
    const time_t until = time(NULL) + PATIENCE_S;
    for (;;) {
        rd_kafka_event_t *e = ask_about(rk, group);
        bool again = time(NULL) < until;
        const rd_kafka_ConsumerGroupDescription_t **found;
        const rd_kafka_error_t *error;
        size_t count = 0;
        if (e == NULL)
            return NULL;
        found = rd_kafka_DescribeConsumerGroups_result_groups(rd_kafka_event_DescribeConsumerGroups_result(e), &count);
        error = count == 1 ? rd_kafka_ConsumerGroupDescription_error(found[0]) : NULL;
        again &= passes(error);
        if (count == 1 && !again && is_well(group, error)) {
            *ret = e;
            return found[0];
        }
        rd_kafka_event_destroy(e);
        if (!again)
            return NULL;
        pause_ms(RETRY_MS);
    }
}

/* Every partition that there is. NULL after a message. */
static rd_kafka_topic_partition_list_t *all_partitions(rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *list;
    const rd_kafka_metadata_t *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 1, NULL, &m, CLIENT_TIMEOUT_MS);
    if (!client_is_good("metadata", err, rd_kafka_err2str(err)))
        return NULL;
    list = rd_kafka_topic_partition_list_new(m->topic_cnt);
    for (int i = 0; i < m->topic_cnt; i++)
        for (int k = 0; k < m->topics[i].partition_cnt; k++)
            rd_kafka_topic_partition_list_add(list, m->topics[i].topic, m->topics[i].partitions[k].id);
    rd_kafka_metadata_destroy(m);
    return list;
}

static rd_kafka_topic_partition_list_t *committed_among(const rd_kafka_topic_partition_list_t *all)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(all->cnt);
    for (int i = 0; i < all->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &all->elems[i];
        rd_kafka_topic_partition_t *to;
        if (p->err == RD_KAFKA_RESP_ERR_NO_ERROR && p->offset < 0)
            continue;
        to = rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
        to->offset = p->offset;
        to->err = p->err;
    }
    return list;
}

/* Asked for by name: a broker that looks behind a request would refuse how version 2.0.2 of the library asks for all. */
rd_kafka_topic_partition_list_t *group_committed(rd_kafka_t *rk, const char *group)
{
    rd_kafka_topic_partition_list_t *all = all_partitions(rk), *list = NULL;
    rd_kafka_AdminOptions_t *o;
    rd_kafka_ListConsumerGroupOffsets_t *ask;
    rd_kafka_queue_t *q;
    rd_kafka_event_t *e;
    if (all == NULL || all->cnt == 0)
        return all;
    o = options_for(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    ask = rd_kafka_ListConsumerGroupOffsets_new(group, all);
    q = rd_kafka_queue_new(rk);
    rd_kafka_ListConsumerGroupOffsets(rk, &ask, 1, o, q);
    e = client_wait(q, group);
    if (e != NULL) {
        size_t count = 0;
        const rd_kafka_group_result_t **found =
            rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(e), &count);
        if (count == 1 && is_well(group, rd_kafka_group_result_error(found[0])))
            list = committed_among(rd_kafka_group_result_partitions(found[0]));
        rd_kafka_event_destroy(e);
    }
    rd_kafka_queue_destroy(q);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    rd_kafka_AdminOptions_destroy(o);
    rd_kafka_topic_partition_list_destroy(all);
    return list;
}

bool group_offsets_at(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t timestamp)
{
    rd_kafka_resp_err_t err;
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = timestamp;
    if (list->cnt == 0)
        return true;
    err = rd_kafka_offsets_for_times(rk, list, CLIENT_TIMEOUT_MS);
    for (int i = 0; err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && i < list->cnt; i++) /* none of them is there any more */
        list->elems[i].err = err;
    return err == RD_KAFKA_RESP_ERR_NO_ERROR || err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || client_is_good("offsets", err, rd_kafka_err2str(err));
}

/* ---- list ---------------------------------------------------------------------------------------------- */

/* Its type: the library knows the protocol of a group since version 2.6. */
static const char *type_of(const rd_kafka_ConsumerGroupListing_t *g)
{
#if RD_KAFKA_VERSION >= 0x020600ff
    if (rd_kafka_ConsumerGroupListing_type(g) != RD_KAFKA_CONSUMER_GROUP_TYPE_UNKNOWN)
        return rd_kafka_consumer_group_type_name(rd_kafka_ConsumerGroupListing_type(g));
#endif
    return rd_kafka_ConsumerGroupListing_is_simple_consumer_group(g) ? "simple" : "-";
}

static int by_name(const void *a, const void *b)
{
    return strcmp(rd_kafka_ConsumerGroupListing_group_id(*(const rd_kafka_ConsumerGroupListing_t *const *)a),
                  rd_kafka_ConsumerGroupListing_group_id(*(const rd_kafka_ConsumerGroupListing_t *const *)b));
}

static rd_kafka_event_t *ask_for_all(rd_kafka_t *rk)
{
    rd_kafka_AdminOptions_t *o = options_for(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_event_t *e;
    rd_kafka_ListConsumerGroups(rk, o, q);
    e = client_wait(q, "list");
    rd_kafka_queue_destroy(q);
    rd_kafka_AdminOptions_destroy(o);
    return e;
}

/* All groups of all brokers, by name, to `visit`. What one broker cannot tell does not hide what the others do. */
static int each_group(rd_kafka_t *rk, int (*visit)(rd_kafka_t *, const rd_kafka_ConsumerGroupListing_t *))
{
    const time_t until = time(NULL) + PATIENCE_S;
    for (;;) {
        rd_kafka_event_t *e = ask_for_all(rk);
        const rd_kafka_error_t **failed;
        const rd_kafka_ConsumerGroupListing_t **found;
        size_t count = 0, errors = 0;
        bool again = false;
        int status;
        if (e == NULL)
            return 1;
        failed = rd_kafka_ListConsumerGroups_result_errors(rd_kafka_event_ListConsumerGroups_result(e), &errors);
        found = rd_kafka_ListConsumerGroups_result_valid(rd_kafka_event_ListConsumerGroups_result(e), &count);
        for (size_t i = 0; i < errors; i++)
            again |= passes(failed[i]);
        if (again && time(NULL) < until) {
            rd_kafka_event_destroy(e);
            pause_ms(RETRY_MS);
            continue;
        }
        status = errors != 0;
        for (size_t i = 0; i < errors; i++)
            (void)is_well("a broker", failed[i]);
        qsort(found, count, sizeof(found[0]), by_name);
        for (size_t i = 0; i < count; i++)
            status |= visit(rk, found[i]);
        rd_kafka_event_destroy(e);
        return status;
    }
}

static int print_listing(rd_kafka_t *rk, const rd_kafka_ConsumerGroupListing_t *g)
{
    (void)rk;
    printf("%-40s %-20s %s\n", rd_kafka_ConsumerGroupListing_group_id(g),
           rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupListing_state(g)), type_of(g));
    return 0;
}

static int list(rd_kafka_t *rk)
{
    printf("%-40s %-20s %s\n", "GROUP", "STATE", "TYPE");
    return each_group(rk, print_listing);
}

/* ---- describe ------------------------------------------------------------------------------------------------- */

/* The member that has the partition, NULL nobody. */
static const rd_kafka_MemberDescription_t *owner_of(const rd_kafka_ConsumerGroupDescription_t *g, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
        const rd_kafka_MemberDescription_t *m = rd_kafka_ConsumerGroupDescription_member(g, i);
        const rd_kafka_topic_partition_list_t *has = rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(m));
        if (has != NULL && rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)has, topic, partition) != NULL)
            return m;
    }
    return NULL;
}

/* What members have and the group has not committed yet joins the list, with no offset. */
static void add_assigned(const rd_kafka_ConsumerGroupDescription_t *g, rd_kafka_topic_partition_list_t *list)
{
    for (size_t i = 0; i < rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
        const rd_kafka_topic_partition_list_t *has =
            rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(rd_kafka_ConsumerGroupDescription_member(g, i)));
        for (int k = 0; has != NULL && k < has->cnt; k++)
            if (rd_kafka_topic_partition_list_find(list, has->elems[k].topic, has->elems[k].partition) == NULL)
                rd_kafka_topic_partition_list_add(list, has->elems[k].topic, has->elems[k].partition)->offset = RD_KAFKA_OFFSET_INVALID;
    }
}

/* "-": not known. */
static const char *number(char room[24], bool known, int64_t n)
{
    snprintf(room, 24, known ? "%" PRId64 : "-", n);
    return room;
}

static void print_partition(const rd_kafka_ConsumerGroupDescription_t *g, const rd_kafka_topic_partition_t *p, const rd_kafka_topic_partition_t *end)
{
    const rd_kafka_MemberDescription_t *m = owner_of(g, p->topic, p->partition);
    bool committed = p->err == RD_KAFKA_RESP_ERR_NO_ERROR && p->offset >= 0;
    bool ends = end != NULL && end->err == RD_KAFKA_RESP_ERR_NO_ERROR && end->offset >= 0;
    char a[24], b[24], c[24];
    printf("%-30s %9d %12s %12s %12s  %s %s %s\n", p->topic, p->partition, number(a, committed, p->offset),
           number(b, ends, ends ? end->offset : 0), number(c, committed && ends, ends ? end->offset - p->offset : 0),
           m != NULL ? rd_kafka_MemberDescription_consumer_id(m) : "-", m != NULL ? rd_kafka_MemberDescription_client_id(m) : "-",
           m != NULL ? rd_kafka_MemberDescription_host(m) : "-");
}

/* The ends are read after the commits: what was committed lies below them. */
static int print_offsets(rd_kafka_t *rk, const rd_kafka_ConsumerGroupDescription_t *g, const char *group)
{
    rd_kafka_topic_partition_list_t *committed = group_committed(rk, group), *ends;
    int status = 1;
    if (committed == NULL)
        return 1;
    add_assigned(g, committed);
    rd_kafka_topic_partition_list_sort(committed, NULL, NULL);
    ends = rd_kafka_topic_partition_list_copy(committed);
    if (group_offsets_at(rk, ends, RD_KAFKA_OFFSET_END)) {
        printf("%-30s %9s %12s %12s %12s  %s %s %s\n", "TOPIC", "PARTITION", "COMMITTED", "LOG-END", "LAG", "MEMBER", "CLIENT", "HOST");
        for (int i = 0; i < committed->cnt; i++)
            print_partition(g, &committed->elems[i],
                            rd_kafka_topic_partition_list_find(ends, committed->elems[i].topic, committed->elems[i].partition));
        status = 0;
    }
    rd_kafka_topic_partition_list_destroy(ends);
    rd_kafka_topic_partition_list_destroy(committed);
    return status;
}

/* Those who have nothing would not be seen in the table. */
static void print_idle(const rd_kafka_ConsumerGroupDescription_t *g)
{
    for (size_t i = 0; i < rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
        const rd_kafka_MemberDescription_t *m = rd_kafka_ConsumerGroupDescription_member(g, i);
        const rd_kafka_topic_partition_list_t *has = rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(m));
        if (has == NULL || has->cnt == 0)
            printf("%-30s %9s %12s %12s %12s  %s %s %s\n", "-", "-", "-", "-", "-", rd_kafka_MemberDescription_consumer_id(m),
                   rd_kafka_MemberDescription_client_id(m), rd_kafka_MemberDescription_host(m));
    }
}

static int describe(rd_kafka_t *rk, const char *group)
{
    rd_kafka_event_t *e;
    const rd_kafka_ConsumerGroupDescription_t *g = group_look(rk, group, &e);
    const rd_kafka_Node_t *coordinator;
    int status;
    if (g == NULL)
        return 1;
    if (rd_kafka_ConsumerGroupDescription_state(g) == RD_KAFKA_CONSUMER_GROUP_STATE_DEAD) {
        fprintf(stderr, "tidemark: there is no group %s\n", group);
        rd_kafka_event_destroy(e);
        return 1;
    }
    coordinator = rd_kafka_ConsumerGroupDescription_coordinator(g);
    printf("Group: %s\tState: %s\tAssignor: %s\tMembers: %zu\tCoordinator: %d\n", group,
           rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(g)),
           rd_kafka_ConsumerGroupDescription_partition_assignor(g)[0] != 0 ? rd_kafka_ConsumerGroupDescription_partition_assignor(g) : "-",
           rd_kafka_ConsumerGroupDescription_member_count(g), coordinator != NULL ? rd_kafka_Node_id(coordinator) : -1);
    status = print_offsets(rk, g, group);
    print_idle(g);
    rd_kafka_event_destroy(e);
    return status;
}

static int describe_listed(rd_kafka_t *rk, const rd_kafka_ConsumerGroupListing_t *g)
{
    return describe(rk, rd_kafka_ConsumerGroupListing_group_id(g));
}

/* ---- delete ------------------------------------------------------------------------------------------------------ */

static int delete(rd_kafka_t *rk, const char *group)
{
    rd_kafka_AdminOptions_t *o;
    rd_kafka_DeleteGroup_t *g;
    rd_kafka_queue_t *q;
    int status = 1;
    rd_kafka_event_t *e;
    if (group_look(rk, group, &e) == NULL) /* until its coordinator answers */
        return 1;
    rd_kafka_event_destroy(e);
    o = options_for(rk, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    g = rd_kafka_DeleteGroup_new(group);
    q = rd_kafka_queue_new(rk);
    rd_kafka_DeleteGroups(rk, &g, 1, o, q);
    e = client_wait(q, "delete");
    if (e != NULL) {
        size_t count = 0;
        const rd_kafka_group_result_t **found = rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(e), &count);
        if (count == 1 && is_well(group, rd_kafka_group_result_error(found[0]))) {
            printf("deleted group %s\n", group);
            status = 0;
        } else if (count == 1 && rd_kafka_error_code(rd_kafka_group_result_error(found[0])) == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP) {
            fprintf(stderr, "tidemark: %s has members: stop its consumers first\n", group);
        }
        rd_kafka_event_destroy(e);
    }
    rd_kafka_queue_destroy(q);
    rd_kafka_DeleteGroup_destroy(g);
    rd_kafka_AdminOptions_destroy(o);
    return status;
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return *text != 0 && *end == 0 && errno == 0;
}

/* False: another target was given before, or the value is none. */
static bool set_target(struct group_reset *r, enum reset_target target, const char *value)
{
    if (r->target != RESET_NONE)
        return false;
    r->target = target;
    switch (target) {
    case RESET_OFFSET: return parse_number(value, &r->value) && r->value >= 0;
    case RESET_SHIFT: return parse_number(value, &r->value);
    case RESET_DATETIME: return group_parse_datetime(value, &r->value);
    default: return true;
    }
}

static bool add_topic(struct group_reset *r, const char *topic)
{
    const char *colon = strchr(topic, ':');
    int64_t partition = 0;
    if (r->topic_count == RESET_TOPICS_MAX || topic[0] == 0 || topic[0] == ':')
        return false;
    if (colon != NULL && (!parse_number(colon + 1, &partition) || partition < 0 || partition > INT32_MAX))
        return false;
    r->topics[r->topic_count++] = topic;
    return true;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"bootstrap", required_argument, NULL, 'b'}, {"group", required_argument, NULL, 'g'},
        {"topic", required_argument, NULL, 't'},     {"all-topics", no_argument, NULL, 'a'},
        {"to-earliest", no_argument, NULL, 'E'},     {"to-latest", no_argument, NULL, 'L'},
        {"to-offset", required_argument, NULL, 'O'}, {"shift-by", required_argument, NULL, 'S'},
        {"to-datetime", required_argument, NULL, 'D'}, {"execute", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},            {0}};
    struct group_reset *r = &o->reset;
    bool good = true;
    int c;
    *o = (struct options){0};
    while (good && (c = getopt_long(argc, argv, "b:g:t:h", names, NULL)) != -1) {
        switch (c) {
        case 'b': o->bootstrap = optarg; break;
        case 'g': r->group = optarg; break;
        case 't': good = add_topic(r, optarg); break;
        case 'a': r->all_topics = true; break;
        case 'E': good = set_target(r, RESET_EARLIEST, NULL); break;
        case 'L': good = set_target(r, RESET_LATEST, NULL); break;
        case 'O': good = set_target(r, RESET_OFFSET, optarg); break;
        case 'S': good = set_target(r, RESET_SHIFT, optarg); break;
        case 'D': good = set_target(r, RESET_DATETIME, optarg); break;
        case 'x': r->execute = true; break;
        case 'h': return -1;
        default: return 2;
        }
    }
    if (!good || optind + 1 != argc)
        return 2;
    o->action = argv[optind];
    return 0;
}

/* What only one command has is wrong with the others. */
static bool is_complete(const struct options *o)
{
    const struct group_reset *r = &o->reset;
    bool resets = strcmp(o->action, "reset-offsets") == 0;
    bool needs_group = resets || strcmp(o->action, "delete") == 0;
    if (!needs_group && strcmp(o->action, "list") != 0 && strcmp(o->action, "describe") != 0)
        return false;
    if (o->bootstrap == NULL || (needs_group && (r->group == NULL || r->group[0] == 0)) || (strcmp(o->action, "list") == 0 && r->group != NULL))
        return false;
    if (!resets)
        return r->target == RESET_NONE && r->topic_count == 0 && !r->all_topics && !r->execute;
    return r->target != RESET_NONE && (r->topic_count != 0) != r->all_topics;
}

int tool_group(int argc, char **argv)
{
    struct options o;
    rd_kafka_t *rk;
    int status = parse(argc, argv, &o);
    if (status != 0)
        return status < 0 ? usage(stdout, 0) : usage(stderr, 2);
    if (!is_complete(&o))
        return usage(stderr, 2);
    rk = client_open(o.bootstrap);
    if (rk == NULL)
        return 1;
    if (strcmp(o.action, "list") == 0)
        status = list(rk);
    else if (strcmp(o.action, "delete") == 0)
        status = delete(rk, o.reset.group);
    else if (strcmp(o.action, "reset-offsets") == 0)
        status = group_reset(rk, &o.reset);
    else
        status = o.reset.group != NULL ? describe(rk, o.reset.group) : each_group(rk, describe_listed);
    rd_kafka_destroy(rk);
    return status;
}
