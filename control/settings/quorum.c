/* SPDX-License-Identifier: Apache-2.0 */
#include "settings/quorum.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings.h"
#include "tidemark/types.h"

static bool is_given(const struct tide_settings *s, const char *name)
{
    for (unsigned i = 0; i < setting_row_count; i++)
        if (strcmp(setting_rows[i].name, name) == 0)
            return settings_is_given(s, &setting_rows[i]);
    return false;
}

/* ---- where ------------------------------------------------------------------------------------------- */

/* host:port or [IPv6 address]:port. */
static bool parse_host_port(const char *text, char host[LISTENER_HOST_MAX], uint16_t *port)
{
    uint8_t a[16];
    const char *last = strrchr(text, ':');
    size_t len = last != NULL ? (size_t)(last - text) : 0;
    bool brackets = text[0] == '[';
    char *end;
    long number;
    if (len == 0 || len >= LISTENER_HOST_MAX || last[1] < '0' || last[1] > '9')
        return false;
    number = strtol(last + 1, &end, 10);
    if (*end != 0 || number < 1 || number > 65535)
        return false;
    if (brackets) {
        if (len < 3 || text[len - 1] != ']')
            return false;
        text++;
        len -= 2;
    }
    memcpy(host, text, len);
    host[len] = 0;
    if (brackets ? inet_pton(AF_INET6, host, a) != 1 : strpbrk(host, ":[] @/") != NULL)
        return false;
    *port = (uint16_t)number;
    return true;
}

static enum tide_status parse_voter(struct tide_settings *s, const char *text, char *error, size_t size)
{
    struct settings_voter *v = &s->voter[s->voter_count];
    char *at;
    long id = strtol(text, &at, 10);
    if (s->voter_count == TIDE_VOTERS_MAX) {
        snprintf(error, size, "quorum.voters: more than %d voters", TIDE_VOTERS_MAX);
        return TIDE_BAD;
    }
    if (at == text || *at != '@' || id < 0 || id > INT32_MAX || !parse_host_port(at + 1, v->host, &v->port)) {
        snprintf(error, size, "quorum.voters: '%.200s' is not ID@host:port or ID@[IPv6 address]:port", text);
        return TIDE_BAD;
    }
    v->id = (int32_t)id;
    for (uint32_t i = 0; i < s->voter_count; i++) {
        bool same_place = s->voter[i].port == v->port && strcmp(s->voter[i].host, v->host) == 0;
        if (s->voter[i].id == v->id || same_place) {
            snprintf(error, size, "quorum.voters: '%.200s' has the %s of another voter", text, same_place ? "address" : "number");
            return TIDE_BAD;
        }
    }
    s->voter_count++;
    return TIDE_OK;
}

/* Without a word about it, this broker decides alone, and nobody is let in. */
static enum tide_status derive_voters(struct tide_settings *s, char *error, size_t size)
{
    char copy[SETTING_TEXT_MAX];
    char *save = NULL;
    s->voter_count = 0;
    s->is_voter = false;
    snprintf(copy, sizeof(copy), "%s", s->quorum_voters);
    for (char *one = strtok_r(copy, ", ", &save); one != NULL; one = strtok_r(NULL, ", ", &save))
        if (parse_voter(s, one, error, size) != TIDE_OK)
            return TIDE_BAD;
    if (s->voter_count == 0) {
        s->voter[0] = (struct settings_voter){.id = (int32_t)s->node_id};
        s->voter_count = 1;
    } else if (s->voter_count % 2 == 0) {
        snprintf(error, size, "quorum.voters: %u voters survive no more failures than %u; name 1, 3 or 5", s->voter_count,
                 s->voter_count - 1);
        return TIDE_BAD;
    }
    for (uint32_t i = 0; i < s->voter_count; i++)
        s->is_voter |= s->voter[i].id == s->node_id;
    return TIDE_OK;
}

static enum tide_status derive_listener(struct tide_settings *s, char *error, size_t size)
{
    s->controller_host[0] = 0;
    s->controller_port = 0;
    if (s->controller_listener[0] != 0) {
        if (parse_host_port(s->controller_listener, s->controller_host, &s->controller_port))
            return TIDE_OK;
        snprintf(error, size, "controller.listener: '%.200s' is not host:port or [IPv6 address]:port", s->controller_listener);
        return TIDE_BAD;
    }
    for (uint32_t i = 0; i < s->voter_count; i++)
        if (s->voter[i].id == s->node_id && s->voter[i].port != 0) {
            memcpy(s->controller_host, s->voter[i].host, sizeof(s->controller_host));
            s->controller_port = s->voter[i].port;
        }
    return TIDE_OK;
}

/* ---- who may come ---------------------------------------------------------------------------------------- */

static bool parse_network(const char *text, struct settings_network *ret)
{
    char host[64];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    char *end = NULL;
    struct in_addr v4;
    long bits = slash != NULL ? strtol(slash + 1, &end, 10) : -1;
    if (len >= sizeof(host) || (slash != NULL && (end == slash + 1 || *end != 0 || bits < 0)))
        return false;
    memcpy(host, text, len);
    host[len] = 0;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        struct tide_addr a = tide_addr_v4(ntohl(v4.s_addr));
        memcpy(ret->bytes, a.bytes, sizeof(ret->bytes));
        ret->prefix_len = (uint8_t)(bits < 0 ? 128 : bits + 96);
        return bits <= 32;
    }
    ret->prefix_len = (uint8_t)(bits < 0 ? 128 : bits);
    return bits <= 128 && inet_pton(AF_INET6, host, ret->bytes) == 1;
}

static enum tide_status derive_allow(struct tide_settings *s, char *error, size_t size)
{
    char copy[SETTING_TEXT_MAX];
    char *save = NULL;
    s->allow_count = 0;
    snprintf(copy, sizeof(copy), "%s", s->controller_allow);
    for (char *one = strtok_r(copy, ", ", &save); one != NULL; one = strtok_r(NULL, ", ", &save)) {
        if (s->allow_count == TIDE_ALLOW_MAX || !parse_network(one, &s->allow[s->allow_count])) {
            snprintf(error, size, "controller.allow: '%.200s' is no address or network; write controller.allow=10.0.0.0/24 (at most %d)",
                     one, TIDE_ALLOW_MAX);
            return TIDE_BAD;
        }
        s->allow_count++;
    }
    return TIDE_OK;
}

/* ---- times ----------------------------------------------------------------------------------------------- */

static enum tide_status derive_times(struct tide_settings *s, char *error, size_t size)
{
    if (!is_given(s, "quorum.heartbeat.ms"))
        s->quorum_heartbeat_ms = s->quorum_election_timeout_ms / 5;
    if (!is_given(s, "broker.heartbeat.interval.ms"))
        s->broker_heartbeat_interval_ms = s->broker_session_timeout_ms / 6;
    if (!is_given(s, "broker.lease.ms"))
        s->broker_lease_ms = s->broker_session_timeout_ms * 4 / 5;
    if (s->quorum_heartbeat_ms * 5 > s->quorum_election_timeout_ms) {
        snprintf(error, size, "quorum.heartbeat.ms (%lld) is more than a fifth of quorum.election.timeout.ms (%lld)",
                 (long long)s->quorum_heartbeat_ms, (long long)s->quorum_election_timeout_ms);
        return TIDE_BAD;
    }
    if (s->broker_lease_ms * 5 > s->broker_session_timeout_ms * 4) {
        snprintf(error, size, "broker.lease.ms (%lld) is more than 0.8 of broker.session.timeout.ms (%lld): a broker would still lead "
                 "when its leaderships are given away", (long long)s->broker_lease_ms, (long long)s->broker_session_timeout_ms);
        return TIDE_BAD;
    }
    if (s->broker_heartbeat_interval_ms * 2 > s->broker_lease_ms) {
        snprintf(error, size, "broker.heartbeat.interval.ms (%lld) is more than half of broker.lease.ms (%lld): one lost report would "
                 "end the lease", (long long)s->broker_heartbeat_interval_ms, (long long)s->broker_lease_ms);
        return TIDE_BAD;
    }
    return TIDE_OK;
}

enum tide_status settings_derive_quorum(struct tide_settings *s, char *error, size_t size)
{
    struct tide_uuid id;
    if (s->cluster_id[0] != 0 && (!tide_uuid_from_text(s->cluster_id, strlen(s->cluster_id), &id) || tide_uuid_is_zero(&id))) {
        snprintf(error, size, "cluster.id: '%.100s' is no id of 22 characters; `tidemark cluster id` makes one", s->cluster_id);
        return TIDE_BAD;
    }
    if (derive_voters(s, error, size) != TIDE_OK || derive_listener(s, error, size) != TIDE_OK ||
        derive_allow(s, error, size) != TIDE_OK)
        return TIDE_BAD;
    if (s->is_voter && s->voter_count > 1 && s->controller_port == 0) {
        snprintf(error, size, "controller.listener is missing");
        return TIDE_BAD;
    }
    return derive_times(s, error, size);
}
