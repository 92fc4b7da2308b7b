/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `tidemark group reset-offsets`: where a group that nobody is a member of goes on.
 */
#include "tool/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the time ------------------------------------------------------------------------------------------- */

/* Exactly `digits` of them. */
static bool take_digits(const char **p, int digits, int *ret)
{
    int n = 0;
    for (int i = 0; i < digits; i++, ++*p) {
        if (**p < '0' || **p > '9')
            return false;
        n = n * 10 + (**p - '0');
    }
    *ret = n;
    return true;
}

static bool take(const char **p, char c)
{
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static bool parse_zone(const char **p, int *ret_minutes)
{
    int sign, hours, minutes;
    *ret_minutes = 0;
    if (take(p, 'Z') || **p == 0)
        return true;
    sign = **p == '-' ? -1 : 1;
    if (!take(p, '+') && !take(p, '-'))
        return false;
    if (!take_digits(p, 2, &hours) || (take(p, ':'), !take_digits(p, 2, &minutes)) || hours > 14 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

bool group_parse_datetime(const char *p, int64_t *ret_ms)
{
    struct tm t = {0}, back;
    int ms = 0, zone = 0;
    time_t seconds;
    if (!take_digits(&p, 4, &t.tm_year) || !take(&p, '-') || !take_digits(&p, 2, &t.tm_mon) || !take(&p, '-') || !take_digits(&p, 2, &t.tm_mday))
        return false;
    if (take(&p, 'T')) {
        if (!take_digits(&p, 2, &t.tm_hour) || !take(&p, ':') || !take_digits(&p, 2, &t.tm_min) || !take(&p, ':') || !take_digits(&p, 2, &t.tm_sec))
            return false;
        if (take(&p, '.') && !take_digits(&p, 3, &ms))
            return false;
    }
    if (!parse_zone(&p, &zone) || *p != 0)
        return false;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    back = t;
    seconds = timegm(&back);
    if (back.tm_mon != t.tm_mon || back.tm_mday != t.tm_mday || back.tm_hour != t.tm_hour || back.tm_min != t.tm_min || back.tm_sec != t.tm_sec)
        return false; /* there is no such day or minute */
    *ret_ms = ((int64_t)seconds - zone * 60) * 1000 + ms;
    return *ret_ms >= 0;
}

/* ---- which partitions ---------------------------------------------------------------------------------------- */

static bool add_all(rd_kafka_t *rk, const char *topic, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_t *t = rd_kafka_topic_new(rk, topic, NULL);
    const rd_kafka_metadata_t *m;
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, t, &m, CLIENT_TIMEOUT_MS);
    rd_kafka_topic_destroy(t);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        err = m->topic_cnt == 1 ? m->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        for (int i = 0; err == RD_KAFKA_RESP_ERR_NO_ERROR && i < m->topics[0].partition_cnt; i++)
            if (rd_kafka_topic_partition_list_find(list, topic, m->topics[0].partitions[i].id) == NULL)
                rd_kafka_topic_partition_list_add(list, topic, m->topics[0].partitions[i].id);
        rd_kafka_metadata_destroy(m);
    }
    return client_is_good(topic, err, NULL);
}

/* Of the topics that were named, or of all that were committed. False after a message. */
static bool choose(rd_kafka_t *rk, const struct group_reset *r, const rd_kafka_topic_partition_list_t *committed, rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; r->all_topics && i < committed->cnt; i++)
        rd_kafka_topic_partition_list_add(list, committed->elems[i].topic, committed->elems[i].partition);
    for (unsigned i = 0; i < r->topic_count; i++) {
        const char *colon = strchr(r->topics[i], ':');
        char name[256];
        if (colon == NULL) {
            if (!add_all(rk, r->topics[i], list))
                return false;
            continue;
        }
        snprintf(name, sizeof(name), "%.*s", (int)(colon - r->topics[i]), r->topics[i]);
        if (rd_kafka_topic_partition_list_find(list, name, atoi(colon + 1)) == NULL)
            rd_kafka_topic_partition_list_add(list, name, atoi(colon + 1));
    }
    rd_kafka_topic_partition_list_sort(list, NULL, NULL);
    if (list->cnt == 0)
        fprintf(stderr, "tidemark: %s has committed nothing: name topics with --topic\n", r->group);
    return list->cnt != 0;
}

/* ---- where they go ---------------------------------------------------------------------------------------------- */

/* What is asked of one partition, within what it has. -1: it cannot be said. */
static int64_t wanted(const struct group_reset *r, int64_t committed, int64_t at_time, int64_t first, int64_t end)
{
    int64_t to = end;
    switch (r->target) {
    case RESET_EARLIEST: to = first; break;
    case RESET_OFFSET: to = r->value; break;
    case RESET_DATETIME: to = at_time >= 0 ? at_time : end; break; /* all of it is older */
    case RESET_SHIFT:
        if (committed < 0)
            return -1;
        if (r->value > 0 && committed > INT64_MAX - r->value)
            to = end;
        else
            to = committed + r->value; /* both are not negative, or one of them is not */
        break;
    default: break;
    }
    return to < first ? first : to > end ? end : to;
}

struct marks {
    rd_kafka_topic_partition_list_t *first, *end, *at_time;
};

static bool read_marks(rd_kafka_t *rk, const struct group_reset *r, const rd_kafka_topic_partition_list_t *list, struct marks *ret)
{
    ret->first = rd_kafka_topic_partition_list_copy(list);
    ret->end = rd_kafka_topic_partition_list_copy(list);
    ret->at_time = rd_kafka_topic_partition_list_copy(list);
    return group_offsets_at(rk, ret->first, RD_KAFKA_OFFSET_BEGINNING) && group_offsets_at(rk, ret->end, RD_KAFKA_OFFSET_END) &&
           (r->target != RESET_DATETIME || group_offsets_at(rk, ret->at_time, r->value));
}

static const rd_kafka_topic_partition_t *of(const rd_kafka_topic_partition_list_t *list, const rd_kafka_topic_partition_t *p)
{
    return rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)list, p->topic, p->partition);
}

static bool is_known(const rd_kafka_topic_partition_t *p)
{
    return p != NULL && p->err == RD_KAFKA_RESP_ERR_NO_ERROR && p->offset >= 0;
}

/* Fills in the new offsets and shows them. False: one of them cannot be said, so nothing is done. */
static bool plan(rd_kafka_t *rk, const struct group_reset *r, const rd_kafka_topic_partition_list_t *committed, rd_kafka_topic_partition_list_t *list)
{
    struct marks m;
    bool good = read_marks(rk, r, list, &m);
    if (good)
        printf("%-30s %9s %12s %12s\n", "TOPIC", "PARTITION", "COMMITTED", "NEW");
    for (int i = 0; i < list->cnt && good; i++) {
        rd_kafka_topic_partition_t *p = &list->elems[i];
        const rd_kafka_topic_partition_t *now = of(committed, p), *first = of(m.first, p), *end = of(m.end, p), *at_time = of(m.at_time, p);
        char old[24] = "-";
        if (!is_known(first) || !is_known(end)) {
            rd_kafka_resp_err_t err = end != NULL && end->err != RD_KAFKA_RESP_ERR_NO_ERROR ? end->err : RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
            fprintf(stderr, "tidemark: %s partition %d: %s\n", p->topic, p->partition, rd_kafka_err2name(err));
            good = false;
            continue;
        }
        p->offset = wanted(r, is_known(now) ? now->offset : -1, at_time != NULL ? at_time->offset : -1, first->offset, end->offset);
        if (p->offset < 0) {
            fprintf(stderr, "tidemark: %s partition %d: nothing was committed that could be shifted\n", p->topic, p->partition);
            good = false;
            continue;
        }
        if (is_known(now))
            snprintf(old, sizeof(old), "%" PRId64, now->offset);
        printf("%-30s %9d %12s %12" PRId64 "\n", p->topic, p->partition, old, p->offset);
    }
    rd_kafka_topic_partition_list_destroy(m.first);
    rd_kafka_topic_partition_list_destroy(m.end);
    rd_kafka_topic_partition_list_destroy(m.at_time);
    return good;
}

/* ---- doing it ------------------------------------------------------------------------------------------------------- */

static bool has_members(rd_kafka_t *rk, const char *group, bool *ret)
{
    rd_kafka_event_t *e;
    const rd_kafka_ConsumerGroupDescription_t *g = group_look(rk, group, &e);
    size_t members;
    if (g == NULL)
        return false;
    members = rd_kafka_ConsumerGroupDescription_member_count(g);
    *ret = members != 0;
    if (*ret)
        fprintf(stderr, "tidemark: %s has %zu members (%s): stop its consumers first\n", group, members,
                rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(g)));
    rd_kafka_event_destroy(e);
    return true;
}

static int commit(rd_kafka_t *rk, const char *group, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_AlterConsumerGroupOffsets_t *ask = rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_event_t *e;
    int status = 1;
    rd_kafka_AlterConsumerGroupOffsets(rk, &ask, 1, NULL, q);
    e = client_wait(q, "reset-offsets");
    if (e != NULL) {
        size_t count = 0;
        const rd_kafka_group_result_t **found =
            rd_kafka_AlterConsumerGroupOffsets_result_groups(rd_kafka_event_AlterConsumerGroupOffsets_result(e), &count);
        const rd_kafka_error_t *error = count == 1 ? rd_kafka_group_result_error(found[0]) : NULL;
        const rd_kafka_topic_partition_list_t *done = count == 1 ? rd_kafka_group_result_partitions(found[0]) : NULL;
        status = count != 1 || (error != NULL && !client_is_good(group, rd_kafka_error_code(error), rd_kafka_error_string(error)));
        for (int i = 0; done != NULL && i < done->cnt; i++) {
            if (done->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
                continue;
            fprintf(stderr, "tidemark: %s partition %d: %s%s\n", done->elems[i].topic, done->elems[i].partition, rd_kafka_err2name(done->elems[i].err),
                    done->elems[i].err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ? ": the group has members by now" : "");
            status = 1;
        }
        rd_kafka_event_destroy(e);
    }
    rd_kafka_queue_destroy(q);
    rd_kafka_AlterConsumerGroupOffsets_destroy(ask);
    return status;
}

int group_reset(rd_kafka_t *rk, const struct group_reset *r)
{
    rd_kafka_topic_partition_list_t *committed, *list;
    bool active = false;
    int status = 1;
    if (!has_members(rk, r->group, &active) || active)
        return 1;
    committed = group_committed(rk, r->group);
    if (committed == NULL)
        return 1;
    list = rd_kafka_topic_partition_list_new(committed->cnt);
    if (choose(rk, r, committed, list) && plan(rk, r, committed, list)) {
        if (r->execute) {
            status = commit(rk, r->group, list);
        } else {
            puts("nothing was changed: this is what --execute would do");
            status = 0;
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_topic_partition_list_destroy(committed);
    return status;
}
