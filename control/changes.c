/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between control and the node: changes on their way to the cluster, and what comes back of them and of others'.
 */
#include "control/admin.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/node/node.h"
#include "control/settings/settings.h"

enum {
    PATIENCE_MS = 30000, /* of a change that names no time of its own */
    SAY_AGAIN_MS = 10000,
};

/* What a result of the node belongs to: an ask, a leader's wish for another ISR, news of our directories, a setting of all
 * brokers, a leadership that is given away, a replica that is put down as lost or as found, or a change of the quorum's
 * membership. */
struct submission {
    struct submission *next, **at; /* of control's list */
    struct admin_ask *ask;
    uint32_t index;
    struct tide_mail *isr;
    bool dirs;
    bool config;
    bool moves, assigns;
    struct tide_uuid topic_id; /* of these two: the replica may be gone when the result comes */
    int32_t partition;
    int32_t leader_epoch, partition_epoch;
    int32_t voter; /* none of these */
};

/* ---- how this broker registers -------------------------------------------------------------------------- */

/* Where followers come in: the address of the data port. */
static struct tide_addr replication_address(const struct tide_settings *s)
{
    char host[64];
    struct in_addr a;
    snprintf(host, sizeof(host), "%.*s", (int)TIDE_MIN(strcspn(s->data_address, "/"), sizeof(host) - 1), s->data_address);
    return inet_pton(AF_INET, host, &a) == 1 ? tide_addr_v4(ntohl(a.s_addr)) : (struct tide_addr){{0}};
}

void control_registration(const struct tide_settings *s, const struct dirs *dirs, struct cluster_broker *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->id = (int32_t)s->node_id;
    snprintf(ret->rack, sizeof(ret->rack), "%.200s", s->broker_rack);
    ret->endpoint_count = s->listener_count;
    for (uint32_t i = 0; i < s->listener_count; i++) {
        snprintf(ret->endpoints[i].name, sizeof(ret->endpoints[i].name), "%s", s->listener[i].name);
        snprintf(ret->endpoints[i].host, sizeof(ret->endpoints[i].host), "%s", s->listener[i].advertised_host);
        ret->endpoints[i].port = s->listener[i].advertised_port;
    }
    ret->replication_address = replication_address(s);
    ret->replication_port = (uint16_t)s->replication_port;
    ret->core_count = (uint16_t)s->data_core_count;
    for (const struct cluster_feature_range *f; (f = cluster_known_feature(ret->feature_count)) != NULL;)
        ret->features[ret->feature_count++] = *f;
    ret->directory_count = TIDE_MIN(dirs_count(dirs), (uint32_t)TIDE_LOG_DIRS_MAX);
    for (uint32_t i = 0; i < ret->directory_count; i++)
        dirs_id(dirs, i, &ret->directories[i]);
}

static void name_voters(const struct tide_settings *s, struct node_config *c)
{
    c->voter_count = s->voter_count;
    for (uint32_t i = 0; i < s->voter_count; i++) {
        const struct settings_voter *v = &s->voter[i];
        bool six = strchr(v->host, ':') != NULL;
        c->voters[i].id = v->id;
        snprintf(c->voters[i].address, sizeof(c->voters[i].address), six ? "[%.200s]:%u" : "%.200s:%u", v->port != 0 ? v->host : "localhost",
                 (unsigned)v->port);
    }
}

void control_node_config(const struct tide_settings *s, const struct dirs *dirs, struct cluster_config *birth, struct node_config *ret)
{
    *ret = (struct node_config){.id = (int32_t)s->node_id,
                                .session_ms = (uint64_t)s->broker_session_timeout_ms,
                                .heartbeat_ms = (uint64_t)s->broker_heartbeat_interval_ms,
                                .lease_ms = (uint64_t)s->broker_lease_ms,
                                .request_ms = (uint64_t)s->controller_request_timeout_ms,
                                .leave_ms = (uint64_t)s->controlled_shutdown_timeout_ms,
                                .election_ms = (uint32_t)s->quorum_election_timeout_ms,
                                .quorum_heartbeat_ms = (uint32_t)s->quorum_heartbeat_ms,
                                .idle_ms = (uint32_t)s->metadata_max_idle_interval_ms,
                                .balance_ms = s->auto_leader_rebalance_enable ? (uint64_t)s->leader_imbalance_check_interval_seconds * 1000 : 0,
                                .probe_ms = (uint64_t)s->data_probe_timeout_ms,
                                .suspect_ms = (uint64_t)s->data_suspect_ms,
                                .recover_ms = (uint64_t)s->data_recover_ms,
                                .shrink_guard_ms = (uint64_t)s->isr_shrink_guard_ms,
                                .snapshot_commands = (uint32_t)TIDE_MIN(s->metadata_snapshot_commands, (int64_t)UINT32_MAX),
                                .snapshot_bytes = (uint64_t)s->metadata_snapshot_bytes,
                                .trailing = (uint32_t)TIDE_MIN(s->metadata_log_trailing, (int64_t)UINT32_MAX),
                                .init_config_count = cluster_birth_configs(s, birth),
                                .init_configs = birth,
                                .previous_epoch = -1};
    name_voters(s, ret);
    control_registration(s, dirs, &ret->broker);
}

/* ---- the quorum, for those who ask ------------------------------------------------------------------------------ */

static void add_member(struct control_quorum_member *members, uint32_t *count, uint32_t room, int32_t id, int64_t log_end)
{
    if (*count < room)
        members[(*count)++] = (struct control_quorum_member){.node = id, .log_end = log_end, .last_fetch_ms = -1, .last_caught_up_ms = -1};
}

/* How far the others are only the controller's library knows, and does not say. */
void control_quorum(const struct control *c, struct control_quorum *ret)
{
    const struct node *n = c->config.node;
    const struct tide_settings *s = c->config.settings;
    const struct quorum_members *members = node_quorum(n) != NULL ? quorum_members(node_quorum(n)) : NULL;
    memset(ret, 0, sizeof(*ret));
    ret->leader = node_controller(n);
    ret->epoch = (int32_t)cluster_controller_epoch(c->config.cluster);
    ret->high_watermark = (int64_t)node_applied(n) + 1;
    for (uint32_t i = 0; members != NULL && i < members->count; i++)
        if (members->member[i].role == QUORUM_VOTES)
            add_member(ret->voters, &ret->voter_count, TIDE_VOTERS_MAX, members->member[i].id,
                       members->member[i].id == c->config.broker_id ? ret->high_watermark : -1);
    for (uint32_t i = 0; ret->voter_count == 0 && i < s->voter_count; i++)
        add_member(ret->voters, &ret->voter_count, TIDE_VOTERS_MAX, s->voter[i].id, -1);
    for (uint32_t i = 0; i < cluster_broker_count(c->config.cluster); i++) {
        int32_t id = cluster_broker_at(c->config.cluster, i)->id;
        bool votes = false;
        for (uint32_t k = 0; k < ret->voter_count; k++)
            votes |= ret->voters[k].node == id;
        if (!votes)
            add_member(ret->observers, &ret->observer_count, CLUSTER_BROKERS_MAX, id, id == c->config.broker_id ? ret->high_watermark : -1);
    }
}

/* ---- on the way there ---------------------------------------------------------------------------------------- */

static void came_to_nothing(struct control *c, struct admin_ask *ask, uint32_t index, int16_t error, const char *why)
{
    struct cluster_result result = {.error = error};
    snprintf(result.message, sizeof(result.message), "%s", why);
    admin_on_result(c, ask, index, &result);
}

static void keep(struct control *c, struct submission *s)
{
    s->next = c->submissions;
    s->at = &c->submissions;
    if (s->next != NULL)
        s->next->at = &s->next;
    c->submissions = s;
}

static struct submission take_back(uint64_t cookie)
{
    struct submission *s = (struct submission *)(uintptr_t)cookie;
    struct submission what = *s;
    *s->at = s->next;
    if (s->next != NULL)
        s->next->at = s->at;
    free(s);
    return what;
}

void changes_abandon(struct control *c)
{
    while (c->submissions != NULL)
        (void)take_back((uint64_t)(uintptr_t)c->submissions);
}

static enum tide_status submit(struct control *c, const struct cluster_command *command, struct submission what, uint64_t patience_ms)
{
    struct submission *s = malloc(sizeof(*s));
    enum tide_status status;
    if (s == NULL)
        return TIDE_FULL;
    *s = what;
    status = node_submit(c->config.node, c->now_ns, command, patience_ms * TIDE_NS_PER_MS, (uint64_t)(uintptr_t)s);
    if (status == TIDE_OK)
        keep(c, s);
    else
        free(s);
    c->again = true;
    return status;
}

void control_submit(struct control *c, const struct cluster_command *command, struct admin_ask *ask, uint32_t index)
{
    struct cluster_result result;
    uint64_t now_ms = control_now_ms(c);
    uint64_t patience_ms = ask != NULL && ask->deadline_ms > now_ms ? ask->deadline_ms - now_ms : PATIENCE_MS;
    if (!cluster_command_check(command, &result)) {
        admin_on_result(c, ask, index, &result);
        cluster_result_free(&result);
        return;
    }
    cluster_result_free(&result);
    switch (submit(c, command, (struct submission){.ask = ask, .index = index}, patience_ms)) {
    case TIDE_OK:
        break;
    case TIDE_BAD:
        came_to_nothing(c, ask, index, KAFKA_INVALID_REQUEST, "larger than a change of the cluster may be");
        break;
    default:
        came_to_nothing(c, ask, index, KAFKA_REQUEST_TIMED_OUT, "too many changes wait already");
    }
}

int control_change_voter(struct control *c, uint64_t now_ns, int32_t id, const char *address, char *error, size_t size)
{
    struct submission *s = calloc(1, sizeof(*s));
    uint64_t cookie = (uint64_t)(uintptr_t)s;
    enum tide_status status;
    if (s == NULL)
        return -1;
    s->voter = id;
    status = address != NULL ? node_add_voter(c->config.node, now_ns, id, address, cookie) : node_remove_voter(c->config.node, now_ns, id, cookie);
    if (status == TIDE_OK) {
        keep(c, s);
        return 0;
    }
    free(s);
    if (!node_is_controller(c->config.node))
        snprintf(error, size, "broker %d is the controller: ask it", (int)node_controller(c->config.node));
    else
        snprintf(error, size, "%s", status == TIDE_AGAIN ? "another change of the quorum runs, or the controller is too new: again in a moment"
                                    : address != NULL    ? "it is a voter already, or its address is another's"
                                                         : "it is no voter, or the last one");
    return -1;
}

int control_change_config(struct control *c, uint64_t now_ns, const char *name, const char *value, char *error, size_t size)
{
    struct cluster_config_change change = {.op = value != NULL ? CLUSTER_CONFIG_SET : CLUSTER_CONFIG_DELETE};
    struct cluster_resource_change all = {.type = CLUSTER_RESOURCE_BROKER, .change_count = 1, .changes = &change};
    struct cluster_command command = {.kind = CLUSTER_ALTER_CONFIGS, .alter_configs = {.count = 1, .resources = &all}};
    struct cluster_result result = {0};
    enum tide_status status;
    bool good;
    if (strlen(name) >= sizeof(change.name) || (value != NULL && strlen(value) >= sizeof(change.value))) {
        snprintf(error, size, "too long a name or value");
        return -1;
    }
    if (strcmp(name, "ack.durability") == 0) {
        snprintf(error, size, "ack.durability is set when a topic is created, and for all brokers with the cluster");
        return -1;
    }
    memcpy(change.name, name, strlen(name));
    if (value != NULL)
        memcpy(change.value, value, strlen(value));
    good = cluster_command_check(&command, &result);
    if (!good)
        snprintf(error, size, "%s", result.item_count != 0 ? result.items[0].message : result.message);
    cluster_result_free(&result);
    if (!good)
        return -1;
    c->now_ns = now_ns;
    status = submit(c, &command, (struct submission){.config = true}, PATIENCE_MS);
    if (status != TIDE_OK)
        snprintf(error, size, "too many changes wait already");
    return status == TIDE_OK ? 0 : -1;
}

/* The error of the whole, or else of its first item. */
static int16_t error_of(const struct node_event *e)
{
    if (e->outcome != NODE_DONE)
        return KAFKA_REQUEST_TIMED_OUT;
    if (e->result.error != 0)
        return e->result.error;
    return e->result.item_count != 0 ? e->result.items[0].error : KAFKA_UNKNOWN_SERVER_ERROR;
}

/* ---- the ISR that a leader wants -------------------------------------------------------------------------------- */

static void answer_isr(struct control *c, struct tide_mail *m, int16_t error)
{
    m->isr.error = error;
    control_answer(c, m);
}

/* A leader asks again and again: what the metadata here says already is not asked of the controller. */
static bool adds_whom_the_cluster_refuses(const struct control *c, const struct replica *r, const struct tide_mail *m)
{
    const struct cluster_partition *p = cluster_find_partition(c->config.cluster, &r->topic_id, r->index);
    for (uint32_t i = 0; p != NULL && i < m->isr.count; i++)
        if (!cluster_can_lead(c->config.cluster, p, m->isr.isr[i]))
            return true;
    return false;
}

void changes_on_isr(struct control *c, struct tide_mail *m)
{
    const struct replica *r = replicas_of(c, m->isr.partition);
    struct cluster_partition_change change = {0};
    struct cluster_command command = {.kind = CLUSTER_ALTER_PARTITION};
    if (r == NULL || c->stopping) {
        answer_isr(c, m, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        return;
    }
    change.topic_id = r->topic_id;
    change.partition = r->index;
    change.leader_epoch = m->isr.leader_epoch;
    change.partition_epoch = m->isr.partition_epoch;
    change.recovering = m->isr.recovering;
    change.isr_count = m->isr.count;
    if (adds_whom_the_cluster_refuses(c, r, m)) {
        answer_isr(c, m, KAFKA_INELIGIBLE_REPLICA);
        return;
    }
    for (uint32_t i = 0; i < m->isr.count; i++)
        change.isr[i] = (struct cluster_isr_member){m->isr.isr[i], m->isr.broker_epochs[i]};
    command.alter_partition.broker = c->config.broker_id;
    command.alter_partition.broker_epoch = node_member(c->config.node)->epoch;
    command.alter_partition.count = 1;
    command.alter_partition.changes = &change;
    if (submit(c, &command, (struct submission){.isr = m}, PATIENCE_MS) != TIDE_OK)
        answer_isr(c, m, KAFKA_REQUEST_TIMED_OUT);
}

static void on_isr_result(struct control *c, struct tide_mail *m, const struct node_event *e)
{
    const struct cluster_item *item = e->result.items;
    int16_t error = error_of(e);
    if (error == 0 && item->has_state) {
        m->isr.leader_epoch = item->leader_epoch;
        m->isr.partition_epoch = item->partition_epoch;
        m->isr.recovering = item->recovering;
        m->isr.count = item->id_count;
        memcpy(m->isr.isr, item->ids, sizeof(m->isr.isr));
    }
    answer_isr(c, m, error);
}

/* ---- the leader of a partition whose log failed here ------------------------------------------------------------ */

bool changes_move_leader(struct control *c, const struct replica *r, int32_t leader_epoch)
{
    struct cluster_command command = {.kind = CLUSTER_MOVE_LEADER};
    struct submission what = {.moves = true, .topic_id = r->topic_id, .partition = r->index, .leader_epoch = leader_epoch};
    command.move_leader.topic_id = r->topic_id;
    command.move_leader.partition = r->index;
    command.move_leader.leader_epoch = leader_epoch;
    command.move_leader.excluded = c->config.broker_id;
    return submit(c, &command, what, PATIENCE_MS) == TIDE_OK;
}

static bool submit_assignments(struct control *c, const struct cluster_dir_assignment *changes, uint32_t count, struct submission what)
{
    struct cluster_command command = {.kind = CLUSTER_ASSIGN_DIRS};
    command.assign_dirs.broker = c->config.broker_id;
    command.assign_dirs.broker_epoch = node_member(c->config.node)->epoch;
    command.assign_dirs.count = count;
    command.assign_dirs.changes = changes;
    return command.assign_dirs.broker_epoch >= 0 && submit(c, &command, what, PATIENCE_MS) == TIDE_OK;
}

bool changes_assign_dir(struct control *c, const struct replica *r, const struct tide_uuid *directory, int32_t partition_epoch)
{
    struct cluster_dir_assignment change = {.topic_id = r->topic_id, .partition = r->index, .directory = *directory};
    return submit_assignments(c, &change, 1, (struct submission){.assigns = true, .topic_id = r->topic_id, .partition = r->index,
                                                                 .partition_epoch = partition_epoch});
}

/* ---- directories -------------------------------------------------------------------------------------------------- */

bool changes_register_directories(struct control *c, const struct cluster_broker *ours)
{
    struct cluster_command command = {.kind = CLUSTER_REGISTER_BROKER};
    struct cluster_broker *b = &command.register_broker.broker;
    control_registration(c->config.settings, c->config.dirs, b);
    b->incarnation = c->config.incarnation;
    b->directory_count = 0;
    for (uint32_t i = 0; i < c->disks.count; i++)
        if (!c->directories[i].offline)
            b->directories[b->directory_count++] = c->directories[i].id;
    command.register_broker.cluster_id = *cluster_id(c->config.cluster);
    command.register_broker.previous_epoch = ours->previous_epoch;
    return submit(c, &command, (struct submission){.dirs = true}, PATIENCE_MS) == TIDE_OK;
}

bool changes_assign_directories(struct control *c, const struct cluster_dir_assignment *changes, uint32_t count)
{
    return submit_assignments(c, changes, count, (struct submission){.dirs = true});
}

/* ---- what comes back ------------------------------------------------------------------------------------------------ */

static void on_result(struct control *c, struct node_event *e)
{
    struct submission what = take_back(e->cookie);
    if (what.isr != NULL)
        on_isr_result(c, what.isr, e);
    else if (what.dirs)
        directories_on_told(c);
    else if (what.moves)
        replicas_on_moved(c, &what.topic_id, what.partition, what.leader_epoch, error_of(e));
    else if (what.assigns)
        replicas_on_assigned(c, &what.topic_id, what.partition, what.partition_epoch, error_of(e));
    else if (what.config)
        control_log("a setting of all brokers: %s", error_of(e) == 0 ? "changed" : e->result.item_count != 0 ? e->result.items[0].message : "not changed");
    else if (what.ask == NULL)
        control_log("voter %d: %s", (int)what.voter, e->outcome == NODE_DONE ? "the quorum has changed" : "the quorum has not changed");
    else if (e->outcome == NODE_TIMED_OUT)
        came_to_nothing(c, what.ask, what.index, KAFKA_REQUEST_TIMED_OUT, "the controller did not answer in time; it may still happen");
    else if (e->outcome == NODE_REFUSED)
        came_to_nothing(c, what.ask, what.index, KAFKA_INVALID_REQUEST, "the controller does not understand the change");
    else
        admin_on_result(c, what.ask, what.index, &e->result);
}

static void give_up(struct control *c, const char *why)
{
    control_log("%s", why);
    c->failed = true;
}

/* Another broker did not let us in. Before we are registered it is the start that fails. */
static void on_refused(struct control *c, const struct node_event *e)
{
    uint64_t now_ms = control_now_ms(c);
    bool registered = node_member(c->config.node)->epoch >= 0;
    if (c->refused_said_ms == 0 || now_ms - c->refused_said_ms >= SAY_AGAIN_MS) {
        c->refused_said_ms = now_ms;
        control_log("broker %d refuses this one: %s", (int)e->peer, e->text);
    }
    if (registered)
        return;
    if (e->refusal == RPC_CLUSTER_UNKNOWN || e->refusal == RPC_VERSION_UNKNOWN || e->refusal == RPC_LOST_LOG)
        give_up(c, "it cannot be part of this cluster as it is");
    else if (e->refusal == RPC_ID_IN_USE && c->refused_ms == 0)
        c->refused_ms = now_ms;
}

static void on_member(struct control *c)
{
    const struct member *m = node_member(c->config.node);
    control_log("this broker is %s", member_state_name(m->state));
    switch (m->state) {
    case MEMBER_FENCED:
        c->takes_clients = true;
        break;
    case MEMBER_ACTIVE:
        c->refused_ms = 0;
        c->takes_clients = true;
        c->was_active = true;
        break;
    case MEMBER_REFUSED:
        give_up(c, m->refusal);
        break;
    case MEMBER_LEFT:
        control_leave(c);
        break;
    default:
        break;
    }
    c->view_stale = true;
}

static bool is_known(void *arg, const char *topic, int32_t index, const struct tide_uuid *topic_id)
{
    const struct control *c = arg;
    const struct cluster_topic *t = cluster_find_topic(c->config.cluster, topic);
    return t != NULL && (uint32_t)index < t->partition_count && (tide_uuid_is_zero(topic_id) || tide_uuid_equal(topic_id, &t->id));
}

/* What the file says for the birth of a cluster and the cluster, being there already, does not go by. */
static void warn_of_birth_settings(const struct control *c)
{
    struct cluster_config wanted[CLUSTER_BIRTH_CONFIGS_MAX];
    uint32_t count = cluster_birth_configs(c->config.settings, wanted);
    struct tide_settings standard;
    settings_defaults(&standard);
    for (uint32_t i = 0; i < count; i++) {
        const char *now = cluster_broker_config(c->config.cluster, -1, wanted[i].name);
        char text[CLUSTER_CONFIG_VALUE_MAX];
        settings_text(&standard, settings_topic_row(wanted[i].name), text, sizeof(text));
        if (strcmp(now != NULL ? now : text, wanted[i].value) == 0)
            continue;
        control_log("warning: %s=%s in the settings file counted only when the cluster was created; the cluster goes by %s", wanted[i].name,
                    wanted[i].value, now != NULL ? now : text);
        if (strcmp(wanted[i].name, "ack.durability") == 0)
            control_log("warning: it stays so; a topic can be created with --config %s=%s", wanted[i].name, wanted[i].value);
        else
            control_log("warning: to change it: tidemark cluster config --set %s=%s --control %s", wanted[i].name, wanted[i].value,
                        c->config.settings->control_address);
    }
}

static void on_caught_up(struct control *c)
{
    char error[DIRS_ERROR_MAX];
    if (dirs_set_strays_aside(c->config.dirs, is_known, control_log, c, error, sizeof(error)) != 0) {
        give_up(c, error);
        return;
    }
    c->caught_up = true;
    c->reconcile = true;
    warn_of_birth_settings(c);
}

static void on_event(struct control *c, struct node_event *e)
{
    switch (e->kind) {
    case NODE_RESULT:
        on_result(c, e);
        break;
    case NODE_CHANGED:
        c->reconcile = true;
        break;
    case NODE_CAUGHT_UP:
        on_caught_up(c);
        break;
    case NODE_CONTROLLER:
        if (e->peer >= 0)
            control_log("broker %d is the controller, epoch %" PRIu64, (int)e->peer, e->epoch);
        else
            control_log("no controller is known");
        c->view_stale = true;
        break;
    case NODE_MEMBER:
        on_member(c);
        break;
    case NODE_STOPPED:
        give_up(c, node_error(c->config.node));
        break;
    case NODE_HELLO_REFUSED:
        on_refused(c, e);
        break;
    }
}

void changes_take(struct control *c)
{
    struct node_event e;
    while (!c->failed && node_event_take(c->config.node, &e)) {
        on_event(c, &e);
        cluster_result_free(&e.result);
        c->again = true;
    }
}

/* ---- how far the cores are ---------------------------------------------------------------------------------------------- */

static void tell_progress(struct control *c, uint64_t now_ns)
{
    if (!c->caught_up || c->recovered || c->reconcile || !replicas_recovered(c))
        return;
    struct cluster_partition_ref *lost = calloc(TIDE_PARTITIONS_MAX, sizeof(*lost));
    if (lost == NULL)
        return; /* with the next turn */
    c->recovered = true;
    node_on_recovered(c->config.node, now_ns, lost, replicas_lost(c, lost, TIDE_PARTITIONS_MAX));
    free(lost);
    node_on_serving(c->config.node, now_ns);
    c->again = true;
}

static bool tell_finished(struct control *c, uint64_t now_ns)
{
    uint64_t index = cluster_index(c->config.cluster);
    bool quiet = c->recovered && !c->reconcile && !c->view_stale && c->orders_out == 0;
    if (c->finishing_token != 0 && control_is_seen(c, c->finishing_token)) {
        c->finished = c->finishing;
        c->finishing_token = 0;
        node_on_finished(c->config.node, now_ns, c->finished);
        c->again = true;
    }
    if (c->finishing_token == 0 && quiet && index > c->finished) {
        c->finishing = index;
        c->finishing_token = rte_rcu_qsbr_start(c->config.publication->qsbr);
    }
    return c->finishing_token != 0;
}

/* A process of our number that goes on living keeps us from registering. */
static void look_for_twin(struct control *c)
{
    const struct member *m = node_member(c->config.node);
    uint64_t patience_ms = 2 * (uint64_t)c->config.settings->broker_session_timeout_ms + 2000;
    if (m->state != MEMBER_REGISTERING && m->state != MEMBER_WAITING)
        return;
    if (c->refused_ms == 0 && m->refusal[0] != 0)
        c->refused_ms = control_now_ms(c);
    if (c->refused_ms != 0 && control_now_ms(c) - c->refused_ms > patience_ms)
        give_up(c, "another process runs as this broker: stop it, or give this one another node.id");
}

/* Read by every core before it acts as leader; a stale value ends the lease too early at most. */
void changes_lease(struct control *c)
{
    atomic_store_explicit(&c->config.publication->lease_until_ns, node_lease_until_ns(c->config.node), memory_order_release);
}

bool changes_tick(struct control *c)
{
    uint64_t now_ns = c->now_ns;
    bool waiting;
    if (c->failed)
        return false;
    tell_progress(c, now_ns);
    waiting = tell_finished(c, now_ns);
    look_for_twin(c);
    changes_lease(c);
    return waiting;
}
