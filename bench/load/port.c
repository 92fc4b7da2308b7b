/* SPDX-License-Identifier: Apache-2.0 */
/* Our own TCP on a DPDK port: what a client sees that passes the kernel by. EAL has been started. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_malloc.h>

#include "bench/load/transport.h"
#include "net/net.h"
#include "nic/nic.h"
#include "tcp/tcp.h"

enum { BURST = 64, TX_MAX = 1024, EMPTY_POLLS = 200, PORT_FIRST = 20000, PORT_COUNT = 40000, SEND_BUFFER = 4 << 20 };

struct line {
    struct tcp_conn *conn; /* NULL: closed */
    bool up;
};

struct port {
    struct load_transport base;
    struct nic *nic;
    struct net *net;
    struct tcp_stack *tcp;
    struct tide_counters counters;
    struct tide_addr addr;
    uint16_t next_port;
    bool spin;
    int wait_fd;
    unsigned empty;
    uint32_t line_count;
    struct line *lines;
    struct rte_mbuf *tx[TX_MAX];
    unsigned tx_count;
};

static struct port *of(struct load_transport *t) { return (struct port *)t; }

static uint64_t port_now_ns(struct load_transport *t)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static bool port_connect(struct load_transport *t, uint32_t line, const struct load_address *to)
{
    struct port *p = of(t);
    struct tcp_endpoint local = {.addr = p->addr, .port = (uint16_t)(PORT_FIRST + p->next_port)};
    struct tcp_endpoint remote = {.addr = to->addr, .port = to->port};
    p->next_port = (uint16_t)((p->next_port + 1) % PORT_COUNT);
    struct tcp_conn *c = tcp_connect(p->tcp, port_now_ns(t), &local, &remote);
    if (c == NULL)
        return false;
    tcp_set_user(c, &p->lines[line]);
    p->lines[line] = (struct line){.conn = c};
    return true;
}

static uint32_t port_room(struct load_transport *t, uint32_t line)
{
    return tcp_send_room(of(t)->lines[line].conn);
}

static void port_write(struct load_transport *t, uint32_t line, struct tide_rope *r)
{
    tcp_write(of(t)->lines[line].conn, r);
}

static void port_read(struct load_transport *t, uint32_t line, struct tide_rope *into)
{
    struct tcp_conn *c = of(t)->lines[line].conn;
    uint32_t n = tcp_read(c, into);
    tcp_consumed(c, n);
}

static void port_close(struct load_transport *t, uint32_t line)
{
    struct line *l = &of(t)->lines[line];
    if (l->conn != NULL)
        tcp_abort(l->conn); /* and no event follows */
    l->conn = NULL;
}

static bool port_next(struct load_transport *t, struct load_event *ret)
{
    struct port *p = of(t);
    struct tcp_event e;
    while (tcp_next_event(p->tcp, &e)) {
        struct line *l = tcp_user(e.conn);
        if (l == NULL || l->conn != e.conn)
            continue;
        *ret = (struct load_event){.line = (uint32_t)(l - p->lines)};
        if (e.bits & TCP_EVENT_WRITABLE)
            ret->bits |= l->up ? LOAD_WRITABLE : LOAD_UP | LOAD_WRITABLE;
        l->up |= (e.bits & TCP_EVENT_WRITABLE) != 0;
        if (e.bits & TCP_EVENT_READABLE)
            ret->bits |= LOAD_READABLE;
        if (e.bits & TCP_EVENT_PEER_CLOSED)
            ret->bits |= LOAD_DOWN;
        if (e.bits & TCP_EVENT_GONE) { /* and nothing is asked of it any more, whatever came before */
            l->conn = NULL;
            ret->bits = LOAD_DOWN;
        }
        return true;
    }
    return false;
}

static unsigned receive(struct port *p, uint64_t now)
{
    struct rte_mbuf *frames[BURST];
    unsigned n = nic_rx(p->nic, 0, frames, BURST);
    for (unsigned i = 0; i < n; i++) {
        struct net_packet in;
        if (net_input(p->net, now, frames[i], &in) == NET_TCP)
            tcp_input(p->tcp, now, frames[i], &(struct tcp_meta){.src = in.source, .dst = in.destination, .ecn = in.ecn});
    }
    if (tcp_deadline_ns(p->tcp) <= now)
        tcp_on_time(p->tcp, now);
    if (net_deadline_ns(p->net) <= now)
        net_on_time(p->net, now);
    return n;
}

static unsigned transmit(struct port *p, uint64_t now)
{
    struct rte_mbuf *packets[BURST];
    struct tcp_meta metas[BURST];
    unsigned did = 0, n = BURST;
    while (n == BURST && net_tx_room(p->net) >= BURST) {
        n = tcp_output(p->tcp, now, packets, metas, BURST);
        for (unsigned i = 0; i < n; i++)
            if (net_output(p->net, now, packets[i], &metas[i].src, &metas[i].dst, metas[i].ecn) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
        did += n;
    }
    p->tx_count += net_take_tx(p->net, p->tx + p->tx_count, TX_MAX - p->tx_count);
    n = nic_tx(p->nic, 0, p->tx, p->tx_count);
    p->tx_count -= n;
    memmove(p->tx, p->tx + n, p->tx_count * sizeof(p->tx[0]));
    return did + n;
}

/* What the worker wrote goes out first. The wait ends early when a frame comes. */
static void port_turn(struct load_transport *t, uint64_t until_ns)
{
    struct port *p = of(t);
    uint64_t now = port_now_ns(t);
    unsigned did = transmit(p, now) + receive(p, now);
    p->empty = did != 0 ? 0 : p->empty + 1;
    if (p->spin || p->empty <= EMPTY_POLLS || p->wait_fd < 0 || nic_tx_waiting(p->nic, 0) != 0)
        return;
    struct pollfd fd = {.fd = p->wait_fd, .events = POLLIN};
    uint64_t tcp_ns = tcp_deadline_ns(p->tcp), net_ns = net_deadline_ns(p->net);
    uint64_t next = TIDE_MIN(until_ns, TIDE_MIN(tcp_ns, net_ns));
    struct timespec wait = {.tv_nsec = (long)(next > now ? TIDE_MIN(next - now, 50 * TIDE_NS_PER_MS) : 0)};
    (void)ppoll(&fd, 1, &wait, NULL);
}

static void port_destroy(struct load_transport *t)
{
    struct port *p = of(t);
    for (uint32_t i = 0; i < p->line_count; i++)
        port_close(t, i);
    if (p->nic != NULL && p->tcp != NULL)
        (void)transmit(p, port_now_ns(t)); /* the resets */
    for (unsigned i = 0; i < p->tx_count; i++)
        rte_pktmbuf_free(p->tx[i]);
    if (p->tcp != NULL)
        tcp_stack_destroy(p->tcp);
    if (p->net != NULL)
        net_deinit(p->net);
    rte_free(p->net);
    if (p->nic != NULL)
        nic_close(p->nic);
    free(p->lines);
    free(p);
}

static void quiet(void *opaque, const char *line)
{
    (void)opaque;
    if (getenv("BENCH_VERBOSE") != NULL)
        fprintf(stderr, "%s\n", line);
}

static bool parse_address(const char *text, struct tide_addr *ret, uint8_t *ret_prefix)
{
    char host[64];
    struct in_addr in;
    const char *slash = strchr(text, '/');
    size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (n >= sizeof(host))
        return false;
    memcpy(host, text, n);
    host[n] = 0;
    if (inet_pton(AF_INET, host, &in) != 1)
        return false;
    *ret = tide_addr_v4(ntohl(in.s_addr));
    *ret_prefix = slash != NULL ? (uint8_t)atoi(slash + 1) : 32;
    return true;
}

static bool open_port(struct port *p, const struct load_options *o, char *error_text)
{
    const char *devices[] = {o->transport};
    struct nic_config nic = {.devices = devices, .device_count = 1, .queues = 1, .log_line = quiet, .counters = {&p->counters}};
    struct net_config net = {.announce = true, .counters = &p->counters};
    struct tcp_config tcp = {.connections_max = p->line_count + 1024, .syn_backlog = 16, .receive_window_bytes = 1 << 20, .send_buffer_bytes = SEND_BUFFER,
                             .rto_min_us = 5000, .time_wait_ms = 100, .counters = &p->counters};
    struct nic_port_info info;
    uint8_t ignored;
    uint64_t now = port_now_ns(&p->base);
    if (!parse_address(o->address, &net.addr, &net.prefix_len) || (o->gateway[0] != 0 && !parse_address(o->gateway, &net.gateway, &ignored))) {
        snprintf(error_text, LOAD_ERROR_MAX, "address is IPv4's ADDRESS/PREFIX, gateway an address");
        return false;
    }
    if (nic_open(&p->nic, &nic, error_text, LOAD_ERROR_MAX) != TIDE_OK)
        return false;
    nic_port_info(p->nic, 0, &info);
    net.mac = info.mac;
    net.mtu = info.mtu;
    net.tx_pool = tcp.tx_pool = nic_tx_pool(p->nic);
    tcp.mss = (uint16_t)(info.mtu - 40);
    memcpy(tcp.secret, &now, sizeof(now));
    p->addr = net.addr;
    p->next_port = (uint16_t)(now / TIDE_NS_PER_MS % PORT_COUNT);
    p->net = rte_zmalloc("net", sizeof(*p->net), 0);
    p->tcp = tcp_stack_create(&tcp);
    p->wait_fd = nic_wait_fd(p->nic, 0, 0);
    snprintf(error_text, LOAD_ERROR_MAX, "no memory for the stack, or the address is no host's");
    return p->net != NULL && p->tcp != NULL && net_init(p->net, &net, now) == TIDE_OK;
}

struct load_transport *load_port_create(const struct load_options *o, struct rte_mempool *pool, uint32_t lines, char error_text[LOAD_ERROR_MAX])
{
    static const struct load_transport_ops ops = {port_now_ns, port_connect, port_room, port_write, port_read, port_close, port_next, port_turn, port_destroy};
    struct port *p = calloc(1, sizeof(*p));
    struct line *table = calloc(lines, sizeof(*table));
    if (p == NULL || table == NULL) {
        snprintf(error_text, LOAD_ERROR_MAX, "no memory");
        free(p);
        free(table);
        return NULL;
    }
    p->base = (struct load_transport){.ops = &ops, .pool = pool};
    p->line_count = lines;
    p->lines = table;
    p->spin = o->wait != 0;
    if (!open_port(p, o, error_text)) {
        if (p->tcp == NULL || p->net == NULL)
            rte_free(p->net), p->net = NULL;
        port_destroy(&p->base);
        return NULL;
    }
    return &p->base;
}
