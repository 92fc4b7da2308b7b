/* SPDX-License-Identifier: Apache-2.0 */
/* What a script may set, call and ask. */
#include "script.h"

#include <inttypes.h>

enum { LISTEN = 9092, PEER_PORT = 40000, OUR_PORT = 5000 };

static bool bad(const struct script *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool bad(const struct script *s, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s:%u: ", s->file, s->line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

void script_init(struct script *s, const char *file, struct rte_mempool *pool, bool trace)
{
    s->file = file;
    s->trace = trace;
    s->pool = pool;
    s->start_ns = s->now_ns = s->time_ns = 3600 * TIDE_NS_PER_S;
    s->addr = tide_addr_v4(0x0a000001);
    s->config = (struct tcp_config){.connections_max = 8, .syn_backlog = 8, .receive_window_bytes = 65535, .send_buffer_bytes = 1 << 20,
                                    .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 60000, .secret = {3, 1, 4}, .tx_pool = pool};
    s->peer_isn = 1000000;
    s->peer = &s->peers[0];
}

bool script_configure(struct script *s, char *text)
{
    const struct { const char *name; uint32_t *at; } numbers[] = {
        {"connections", &s->config.connections_max}, {"backlog", &s->config.syn_backlog}, {"window", &s->config.receive_window_bytes},
        {"send_buffer", &s->config.send_buffer_bytes}, {"rto_min_us", &s->config.rto_min_us}, {"rto_start_ms", &s->config.rto_start_ms},
        {"time_wait_ms", &s->config.time_wait_ms}, {"keepalive_ms", &s->config.keepalive_ms},
        {"user_timeout_ms", &s->config.user_timeout_ms}, {"records", &s->config.records}, {"syns_per_turn", &s->config.syns_per_turn},
        {"peer_isn", &s->peer_isn}, {"segmented", &s->config.segmented_max}};
    for (char *at = strtok(text, " \t"); at != NULL; at = strtok(NULL, " \t")) {
        char *value = strchr(at, '=');
        bool found = false;
        if (s->stack != NULL || value == NULL)
            return bad(s, "config NAME=VALUE, before everything else");
        *value++ = 0;
        for (unsigned i = 0; i < TIDE_ARRAY_LEN(numbers); i++)
            if (strcmp(at, numbers[i].name) == 0) {
                *numbers[i].at = (uint32_t)strtoul(value, NULL, 0);
                found = true;
            }
        if (strcmp(at, "mss") == 0)
            s->config.mss = (uint16_t)strtoul(value, NULL, 0), found = true;
        if (strcmp(at, "ecn") == 0)
            s->config.ecn = strcmp(value, "on") == 0 ? TCP_ECN_ON : strcmp(value, "off") == 0 ? TCP_ECN_OFF : TCP_ECN_PASSIVE, found = true;
        if (strcmp(at, "cc") == 0)
            s->config.congestion = strcmp(value, "reno") == 0 ? TCP_RENO : TCP_CUBIC, found = true;
        if (!found)
            return bad(s, "no such setting: %s", at);
    }
    return true;
}

bool script_begin(struct script *s)
{
    for (unsigned i = 0; i < PEERS; i++)
        s->peers[i] = (struct peer){.addr = tide_addr_v4(0x0a000002 + i), .port = (uint16_t)(PEER_PORT + i), .local_port = LISTEN,
                                    .theirs = s->peer_isn, .written = 1, .read = 1};
    s->stack = tcp_stack_create(&s->config);
    return (s->stack != NULL && tcp_listen(s->stack, LISTEN) == TIDE_OK) || bad(s, "no stack");
}

static bool write_bytes(struct script *s, uint32_t n)
{
    struct tide_rope r = {0};
    while (n != 0) {
        uint8_t bytes[4096];
        uint32_t piece = TIDE_MIN(n, (uint32_t)sizeof(bytes));
        for (uint32_t i = 0; i < piece; i++)
            bytes[i] = script_pattern(1, s->peer->written + i);
        if (tide_rope_copy_in(&r, s->pool, bytes, piece) != TIDE_OK) {
            tide_rope_clear(&r);
            return bad(s, "no memory");
        }
        s->peer->written += piece;
        n -= piece;
    }
    tcp_write(s->peer->conn, &r);
    return true;
}

/* All that is there, `n` bytes; gives the window back when `consume`. */
static bool read_bytes(struct script *s, uint32_t n, bool consume)
{
    struct tide_rope r = {0};
    struct tide_slice all;
    const uint8_t *piece;
    uint32_t len, got = tcp_read(s->peer->conn, &r);
    bool good = true;
    all = tide_rope_slice(&r, 0, r.len);
    while ((len = tide_slice_next(&all, &piece)) != 0)
        for (uint32_t i = 0; i < len; i++)
            good &= piece[i] == script_pattern(0, s->peer->read++);
    tide_rope_clear(&r);
    if (consume)
        tcp_consumed(s->peer->conn, got);
    if (got != n)
        return bad(s, "%u bytes were there", got);
    return good || bad(s, "a byte differs from what was sent");
}

static bool event(struct script *s, const char *name)
{
    static const struct { const char *name; uint32_t bit; } names[] = {
        {"accepted", TCP_EVENT_ACCEPTED}, {"readable", TCP_EVENT_READABLE}, {"writable", TCP_EVENT_WRITABLE},
        {"peer_closed", TCP_EVENT_PEER_CLOSED}, {"gone", TCP_EVENT_GONE}};
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i].name) != 0)
            continue;
        if (!(s->peer->events & names[i].bit))
            return bad(s, "no such event: %s", name);
        s->peer->events &= ~names[i].bit;
        return true;
    }
    return bad(s, "no event is called %s", name);
}

static bool no_event(struct script *s)
{
    uint32_t left = s->peer->events & ~(uint32_t)TCP_EVENT_WRITABLE;
    return left == 0 || bad(s, "events %x", left);
}

static bool find_info(struct script *s, struct tcp_conn_info *ret)
{
    for (uint32_t i = 0; i < s->config.connections_max; i++)
        if (tcp_info_at(s->stack, s->now_ns, i, ret) && ret->remote.port == s->peer->port &&
            memcmp(&ret->remote.addr, &s->peer->addr, sizeof(ret->remote.addr)) == 0)
            return true;
    return false;
}

static bool compare(struct script *s, const char *what, uint64_t got, const char *want)
{
    const char *digits = want + strspn(want, "<>=");
    uint64_t n = strtoull(digits, NULL, 0);
    bool good = want[0] == '<' ? got <= n : want[0] == '>' ? got >= n : got == n;
    return good || bad(s, "%s is %" PRIu64 ", not %s", what, got, want);
}

static bool info(struct script *s, const char *what, const char *want)
{
    struct tcp_conn_info i = {0};
    const struct { const char *name; uint64_t value; } values[] = {
        {"cwnd", 0}, {"ssthresh", 0}, {"in_flight", 0}, {"mss", 0}, {"rto_us", 0}, {"srtt_us", 0}, {"held", 0}, {"send_queue", 0},
        {"send_window", 0}, {"cwnd_limited", 0}, {"window_limited", 0}, {"dropped", 0}, {"sack", 0}, {"timestamps", 0}, {"ecn", 0}, {"wscale", 0}};
    if (strcmp(what, "state") == 0)
        return (strcmp(find_info(s, &i) ? i.state : "NONE", want) == 0) || bad(s, "the state is %s", i.state != NULL ? i.state : "NONE");
    if (!find_info(s, &i))
        return bad(s, "there is no connection");
    uint64_t got[] = {i.cwnd, i.ssthresh, i.in_flight, i.mss, i.rto_ns / 1000, i.srtt_ns / 1000, i.held, i.send_queue, i.send_window,
                      i.cwnd_limited, i.window_limited, i.dropped, i.sack, i.timestamps, i.ecn, i.window_scaling};
    for (unsigned k = 0; k < TIDE_ARRAY_LEN(values); k++)
        if (strcmp(what, values[k].name) == 0)
            return compare(s, what, got[k], want);
    return bad(s, "nothing is called %s", what);
}

static bool stat(struct script *s, const char *what, const char *want)
{
#define X(name, help) #name,
    static const char *const names[] = {TCP_STATS(X)};
#undef X
    uint64_t values[TCP_STAT_COUNT];
    memcpy(values, tcp_stats(s->stack), sizeof(values));
    for (unsigned i = 0; i < TCP_STAT_COUNT; i++)
        if (strcmp(what, names[i]) == 0)
            return compare(s, what, values[i], want);
    return bad(s, "no statistic is called %s", what);
}

static bool connect_out(struct script *s)
{
    struct tcp_endpoint a = {s->addr, OUR_PORT}, b = {s->peer->addr, s->peer->port};
    s->peer->local_port = OUR_PORT;
    s->peer->knows_ours = false;
    s->peer->conn = tcp_connect(s->stack, s->now_ns, &a, &b);
    return s->peer->conn != NULL || bad(s, "connect was refused");
}

static bool icmp(struct script *s, const char *what, const char *seq, const char *mtu)
{
    struct tcp_endpoint a = {s->addr, s->peer->local_port}, b = {s->peer->addr, s->peer->port};
    tcp_on_icmp(s->stack, s->now_ns, &a, &b, (uint32_t)strtoul(seq, NULL, 0) + s->peer->ours,
                strcmp(what, "too_big") == 0 ? TCP_ICMP_TOO_BIG : TCP_ICMP_UNREACHABLE, (uint32_t)strtoul(mtu, NULL, 0));
    return true;
}

/* Another life of this pair of addresses, or another pair. */
static void new_life(struct script *s, const char *isn)
{
    s->peer->knows_ours = false;
    s->peer->lived = s->peer->ours + s->peer->written + 1; /* its FIN included */
    s->peer->theirs = (uint32_t)strtoul(isn, NULL, 0);
    s->peer->written = s->peer->read = 1;
    s->peer->events = 0;
}

/* Our numbers begin behind those of the life before. */
static bool goes_on(struct script *s)
{
    return (int32_t)(s->peer->ours - s->peer->lived) >= 0 || bad(s, "our numbers begin at %u, before %u", s->peer->ours, s->peer->lived);
}

static bool on_conn(struct script *s, const char *name, const char *a)
{
    struct tcp_conn *c = s->peer->conn;
    if (c == NULL)
        return bad(s, "%s: no connection", name);
    if (strcmp(name, "write") == 0)
        return write_bytes(s, (uint32_t)strtoul(a, NULL, 0));
    if (strcmp(name, "read") == 0)
        return read_bytes(s, (uint32_t)strtoul(a, NULL, 0), true);
    if (strcmp(name, "take") == 0)
        return read_bytes(s, (uint32_t)strtoul(a, NULL, 0), false);
    if (strcmp(name, "consume") == 0)
        return tcp_consumed(c, (uint32_t)strtoul(a, NULL, 0)), true;
    if (strcmp(name, "ack_now") == 0)
        return tcp_ack_now(c), true;
    if (strcmp(name, "prompt") == 0)
        return tcp_set_prompt_peer(c), true;
    if (strcmp(name, "close") == 0)
        return s->peer->conn = NULL, tcp_close(c), true;
    if (strcmp(name, "abort") == 0)
        return s->peer->conn = NULL, tcp_abort(c), true;
    return bad(s, "no call is named %s", name);
}

bool script_call(struct script *s, char *text)
{
    const char *w[4] = {"", "", "", ""};
    unsigned n = 0;
    for (char *at = strtok(text, " \t"); at != NULL && n < 4; at = strtok(NULL, " \t"))
        w[n++] = at;
    if (strcmp(w[0], "connect") == 0)
        return connect_out(s);
    if (strcmp(w[0], "event") == 0)
        return event(s, w[1]);
    if (strcmp(w[0], "no_event") == 0)
        return no_event(s);
    if (strcmp(w[0], "info") == 0)
        return info(s, w[1], w[2]);
    if (strcmp(w[0], "state") == 0)
        return info(s, "state", w[1]);
    if (strcmp(w[0], "stat") == 0)
        return stat(s, w[1], w[2]);
    if (strcmp(w[0], "conns") == 0)
        return compare(s, "connections", tcp_connection_count(s->stack), w[1]);
    if (strcmp(w[0], "icmp") == 0)
        return icmp(s, w[1], w[2], w[3]);
    if (strcmp(w[0], "peer") == 0)
        return s->peer = &s->peers[strtoul(w[1], NULL, 0) % PEERS], true;
    if (strcmp(w[0], "life") == 0)
        return new_life(s, w[1]), true;
    if (strcmp(w[0], "goes_on") == 0)
        return goes_on(s);
    if (strcmp(w[0], "port") == 0)
        return s->peer->local_port = (uint16_t)strtoul(w[1], NULL, 0), true;
    return on_conn(s, w[0], w[1]);
}
