/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trace_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/control.h"
#include "daemon/trace_join.h"
#include "edge/mgmt.h"
#include "partition/partition.h"
#include "tidemark/grace.h"

struct tracing {
    uint64_t id; /* of who traces */
    uint64_t asked_ns;
    struct tide_uuid topic;
    struct trace_join *join;
};

static int say(char **ret, size_t *ret_len, int status, const char *text)
{
    *ret = strdup(text);
    *ret_len = strlen(text);
    return status;
}

static const struct tide_view *view_of(const struct world *w)
{
    return atomic_load_explicit(&w->publication.now, memory_order_relaxed); /* our own */
}

static bool read_number(const struct http_query *q, const char *name, uint64_t *ret)
{
    const char *text = http_query(q, name);
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *end == 0 && errno == 0;
}

static int begin(struct world *w, const struct http_query *q, uint64_t id, char **ret, size_t *ret_len)
{
    const char *name = http_query(q, "topic");
    struct trace_wish wish = {0};
    const struct view_topic *t;
    bool has = false;
    if (name == NULL || !read_number(q, "slower_ns", &wish.slower_ns))
        return say(ret, ret_len, 400, "topic and slower_ns are missing\n");
    t = view_of(w) != NULL ? tide_view_topic(view_of(w), name, (uint32_t)strlen(name)) : NULL;
    if (t == NULL)
        return say(ret, ret_len, 404, "there is no such topic\n");
    for (uint32_t i = 0; i < t->partition_count; i++) {
        if (t->partitions[i].local == NULL)
            continue;
        uint32_t slot = partition_slot(t->partitions[i].local);
        wish.slots[slot / 64] |= 1ull << slot % 64;
        has = true;
    }
    if (!has)
        return say(ret, ret_len, 404, "this broker has no replica of that topic: ask one that leads partitions of it\n");
    if (w->trace.state != TRACE_OFF)
        return say(ret, ret_len, 503, "the last trace has not ended yet\n");
    struct tracing *n = calloc(1, sizeof(*n));
    struct trace_join *j = trace_join_create();
    if (n == NULL || j == NULL || trace_on(&w->trace, w->core_count, &wish) != TIDE_OK) {
        trace_join_destroy(j);
        free(n);
        return say(ret, ret_len, 503, "no memory\n");
    }
    *n = (struct tracing){.id = id, .topic = t->id, .join = j};
    w->tracing = n;
    control_log("a trace of %s has begun", name);
    return 0;
}

static void end(struct world *w)
{
    trace_off(&w->trace);
    w->trace_quiet = tide_grace_over(w->publication.qsbr).begin(w->publication.qsbr);
    trace_join_destroy(w->tracing->join);
    free(w->tracing);
    w->tracing = NULL;
    control_log("the trace has ended");
}

static void look(struct world *w)
{
    uint64_t until[TIDE_CORES_MAX];
    struct trace_event e;
    for (uint32_t core = 0; core < w->core_count; core++)
        until[core] = trace_end(&w->trace, core);
    trace_join_look(w->tracing->join, loop_now_ns());
    for (uint32_t core = 0; core < w->core_count; core++)
        while (trace_take(&w->trace, core, until[core], &e))
            trace_join_add(w->tracing->join, core, &e);
}

static void tell(FILE *f, uint32_t partition, const struct trace_timeline *t)
{
    fprintf(f, "request %u %ld %d %u %u", partition, t->end, t->acks, t->core, t->home);
    for (unsigned i = 0; i < STAMP_COUNT; i++)
        fprintf(f, " %lu", t->stamps[i]);
    fprintf(f, "\nwrite %lu %lu\n", t->write_since_ns, t->write_done_ns);
    for (uint32_t i = 0; i < t->follower_count; i++)
        fprintf(f, "follower %d %lu %lu\n", t->followers[i].broker, t->followers[i].sent_ns, t->followers[i].acknowledged_ns);
    fprintf(f, "mark %lu\nend\n", t->mark_ns);
}

/* Slots change hands: the partition that has it now, unless that is another topic's. */
static bool find_partition(const struct view_topic *t, uint32_t slot, uint32_t *ret)
{
    for (uint32_t i = 0; i < t->partition_count; i++) {
        if (t->partitions[i].local != NULL && partition_slot(t->partitions[i].local) == slot) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static void tell_all(struct world *w, const struct view_topic *t, uint32_t max, FILE *f)
{
    struct trace_timeline line;
    uint32_t partition;
    for (uint32_t n = 0; n < max && trace_join_next(w->tracing->join, &line); n++)
        if (find_partition(t, line.slot, &partition))
            tell(f, partition, &line);
}

static void head(const struct world *w, const struct view_topic *t, uint64_t now_ns, FILE *f)
{
    struct timespec wall;
    uint32_t led = 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    for (uint32_t i = 0; i < t->partition_count; i++)
        led += t->partitions[i].leader == view_of(w)->self;
    fprintf(f, "trace %lu %lu %u %u %lu %lu\n", now_ns, (unsigned long)wall.tv_sec * (unsigned long)TIDE_NS_PER_S + (unsigned long)wall.tv_nsec, led, t->partition_count,
            trace_lost(&w->trace), trace_join_omitted(w->tracing->join));
}

int trace_take_page(void *arg, const struct http_query *q, char **ret_bytes, size_t *ret_len)
{
    struct world *w = arg;
    uint64_t id = 0, now_ns = loop_now_ns();
    bool last = http_query(q, "end") != NULL;
    if (!read_number(q, "id", &id) || id == 0)
        return say(ret_bytes, ret_len, 400, "an id is missing\n");
    if (w->tracing != NULL && w->tracing->id != id)
        return say(ret_bytes, ret_len, 409, "another trace is running\n");
    if (w->tracing == NULL) {
        int status = begin(w, q, id, ret_bytes, ret_len);
        if (status != 0)
            return status;
    }
    const struct view_topic *t = tide_view_topic_by_id(view_of(w), &w->tracing->topic);
    if (t == NULL) {
        end(w);
        return say(ret_bytes, ret_len, 410, "the topic was deleted\n");
    }
    FILE *f = open_memstream(ret_bytes, ret_len);
    if (f == NULL)
        return 500;
    w->tracing->asked_ns = now_ns;
    look(w);
    if (last)
        look(w); /* what the first one found is ripe */
    tell_all(w, t, last ? TRACE_REQUESTS_KEPT : TRACE_TOLD, f);
    head(w, t, now_ns, f);
    if (last)
        end(w);
    return fclose(f) == 0 ? 200 : 500;
}

void trace_on_time(struct world *w, uint64_t now_ns)
{
    struct tide_grace grace = tide_grace_over(w->publication.qsbr);
    if (w->tracing != NULL && now_ns >= w->tracing->asked_ns + TRACE_PATIENCE_NS)
        end(w);
    if (w->trace.state == TRACE_ENDING && grace.passed(grace.self, w->trace_quiet))
        trace_on_quiet(&w->trace);
}

void trace_close(struct world *w)
{
    if (w->tracing != NULL)
        end(w);
    if (w->trace.state == TRACE_ENDING)
        trace_on_quiet(&w->trace);
}
