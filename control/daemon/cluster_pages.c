/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/cluster_pages.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/world.h"

static void voters(FILE *f, const struct world *w)
{
    const struct quorum *q = node_quorum(w->node);
    const struct quorum_members *m = q != NULL ? quorum_members(q) : NULL;
    const struct tide_settings *s = w->settings;
    for (uint32_t i = 0; m != NULL && i < m->count; i++)
        fprintf(f, "voter %d %s%s\n", (int)m->member[i].id, m->member[i].address, m->member[i].role == QUORUM_VOTES ? "" : " joining");
    for (uint32_t i = 0; (m == NULL || m->count == 0) && i < s->voter_count; i++)
        fprintf(f, "voter %d %s:%u\n", (int)s->voter[i].id, s->voter[i].host, (unsigned)s->voter[i].port);
}

static void brokers(FILE *f, const struct cluster *c)
{
    for (uint32_t i = 0; i < cluster_broker_count(c); i++) {
        const struct cluster_broker *b = cluster_broker_at(c, i);
        fprintf(f, "broker %d %s%s epoch %" PRId64 " leads %u of %u replicas, %u in sync\n", (int)b->id,
                b->fenced ? "fenced" : b->in_shutdown ? "leaving" : "active", b->suspect ? " suspect" : "", b->epoch, b->leader_count,
                b->replica_count, b->isr_count);
    }
}

/* What all brokers go by unless a topic or one of them has a value of its own. */
static void configs(FILE *f, const struct cluster *c)
{
    const struct cluster_config *list;
    uint32_t count = cluster_broker_configs(c, -1, &list);
    for (uint32_t i = 0; i < count; i++)
        fprintf(f, "config %s=%s\n", list[i].name, list[i].value);
}

int cluster_render(void *arg, char **ret_text)
{
    const struct world *w = arg;
    const struct cluster *c = node_cluster(w->node);
    char id[TIDE_UUID_TEXT];
    size_t size;
    FILE *f = open_memstream(ret_text, &size);
    if (f == NULL)
        return 500;
    tide_uuid_to_text(cluster_id(c), id);
    fprintf(f, "cluster %s\n", id);
    fprintf(f, "controller %d epoch %" PRIu64 "\n", (int)node_controller(w->node), cluster_controller_epoch(c));
    fprintf(f, "metadata %" PRIu64 " commands as broker %d has them, which is %s\n", cluster_index(c), (int)w->settings->node_id,
            member_state_name(node_member(w->node)->state));
    voters(f, w);
    brokers(f, c);
    configs(f, c);
    fprintf(f, "topics %u, partitions %u, without a leader %u\n", cluster_topic_count(c), cluster_partition_count(c), cluster_leaderless_count(c));
    return fclose(f) == 0 ? 200 : 500;
}

static bool number(const char *text, int32_t *ret)
{
    char *end;
    long v = strtol(text, &end, 10);
    *ret = (int32_t)v;
    return end != text && *end == 0 && v >= 0 && v <= INT32_MAX;
}

int voters_act(void *arg, const struct http_query *q, char **ret_text)
{
    struct world *w = arg;
    const char *add = http_query(q, "add"), *remove = http_query(q, "remove"), *address = http_query(q, "address");
    char error[256] = "?add=ID&address=HOST:PORT or ?remove=ID";
    int32_t id;
    bool good = (add != NULL) != (remove != NULL) && number(add != NULL ? add : remove, &id) &&
                (add == NULL || (address != NULL && strchr(address, ':') != NULL && strlen(address) < QUORUM_ADDRESS_MAX));
    int status = 400;
    if (good) {
        struct control *c = control_loop_control(w->control);
        status = control_change_voter(c, mgmt_now_ns(), id, add != NULL ? address : NULL, error, sizeof(error)) == 0 ? 202 : 409;
        control_loop_turn(w->control);
    }
    if (asprintf(ret_text, "%s\n", status == 202 ? "begun" : error) < 0)
        return 500;
    return status;
}

int config_act(void *arg, const struct http_query *q, char **ret_text)
{
    struct world *w = arg;
    const char *set = http_query(q, "set"), *value = http_query(q, "value"), *removed = http_query(q, "delete");
    char error[512] = "?set=NAME&value=VALUE or ?delete=NAME";
    bool good = (set != NULL) != (removed != NULL) && (set != NULL) == (value != NULL);
    int status = 400;
    if (good) {
        struct control *c = control_loop_control(w->control);
        status = control_change_config(c, mgmt_now_ns(), set != NULL ? set : removed, value, error, sizeof(error)) == 0 ? 202 : 409;
        control_loop_turn(w->control);
    }
    if (asprintf(ret_text, "%s\n", status == 202 ? "begun" : error) < 0)
        return 500;
    return status;
}

int drain_act(void *arg, const struct http_query *q, char **ret_text)
{
    struct world *w = arg;
    (void)q;
    *ret_text = strdup("begun\n");
    control_log("asked to give its leaderships away and to stop");
    control_stop(control_loop_control(w->control), mgmt_now_ns());
    control_loop_turn(w->control);
    return 202;
}
