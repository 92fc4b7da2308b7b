/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our TCP on a port, without a broker: what bench/tcp.py measures against the kernel's.
 *
 *   bench_tcp_end DEVICE ADDRESS/PREFIX [SECONDS]     e.g. vdev:net_af_packet0,iface=veth0 10.78.0.1/24
 *
 *   port 7001  takes bytes; tells how many when the peer has finished (8 bytes, big-endian)
 *   port 7002  gives as many bytes as the first 8 received say, then closes
 *   port 7003  sends back what comes
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <rte_malloc.h>

#include "net/net.h"
#include "nic/nic.h"
#include "tcp/tcp.h"
#include "tidemark/bytes.h"

enum { SINK = 7001, SOURCE = 7002, ECHO = 7003, BURST = 64, CONNECTIONS = 64, BLOCK = 16384, BLOCKS = 1024, EMPTY_POLLS = 200, MORE_BELOW = 1 << 19 };

struct conn {
    struct tcp_conn *tcp;
    uint16_t port;
    uint64_t taken, wanted;
    uint8_t head[8];
    unsigned head_len;
    bool ending;
};

struct end {
    struct nic *nic;
    struct net net;
    struct tcp_stack *tcp;
    struct rte_mempool *blocks;
    struct tide_counters counters;
    struct conn conns[CONNECTIONS];
    struct rte_mbuf *tx[1024];
    unsigned tx_count;
};

static volatile sig_atomic_t stop;
static void on_signal(int s) { (void)s; stop = 1; }

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * TIDE_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void quiet(void *opaque, const char *line)
{
    (void)opaque;
    if (getenv("BENCH_VERBOSE") != NULL)
        fprintf(stderr, "%s\n", line);
}

static void die(const char *what)
{
    fprintf(stderr, "bench_tcp_end: %s\n", what);
    exit(1);
}

static void give(struct end *e, struct conn *c)
{
    while (c->wanted != 0 && tcp_send_room(c->tcp) >= BLOCK) {
        struct tide_rope r = {0};
        struct rte_mbuf *m = rte_pktmbuf_alloc(e->blocks);
        if (m == NULL)
            return;
        m->data_len = (uint16_t)TIDE_MIN(c->wanted, (uint64_t)BLOCK);
        c->wanted -= m->data_len;
        tide_rope_push(&r, m);
        tcp_write(c->tcp, &r);
    }
    if (c->wanted == 0) {
        tcp_close(c->tcp);
        c->tcp = NULL;
    }
}

static void take_head(struct conn *c, const struct tide_rope *r)
{
    struct tide_slice s = tide_rope_slice(r, 0, TIDE_MIN(r->len, (uint32_t)(sizeof(c->head) - c->head_len)));
    const uint8_t *piece;
    uint32_t n;
    while ((n = tide_slice_next(&s, &piece)) != 0) {
        memcpy(c->head + c->head_len, piece, n);
        c->head_len += n;
    }
    if (c->head_len == sizeof(c->head))
        c->wanted = load_be64(c->head);
}

static void readable(struct end *e, struct conn *c)
{
    struct tide_rope r = {0};
    uint32_t n = tcp_read(c->tcp, &r);
    c->taken += n;
    tcp_consumed(c->tcp, n);
    if (c->port == ECHO) {
        tcp_write(c->tcp, &r);
        return;
    }
    if (c->port == SOURCE && c->head_len < sizeof(c->head))
        take_head(c, &r);
    tide_rope_clear(&r);
    if (c->port == SOURCE && c->head_len == sizeof(c->head))
        give(e, c);
}

static void tell_and_close(struct end *e, struct conn *c)
{
    uint8_t count[8];
    struct tide_rope r = {0};
    store_be64(count, c->taken);
    if (c->port == SINK && tide_rope_copy_in(&r, e->blocks, count, sizeof(count)) == TIDE_OK)
        tcp_write(c->tcp, &r);
    tcp_close(c->tcp);
    c->tcp = NULL;
}

static struct conn *new_conn(struct end *e, struct tcp_conn *tcp)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (e->conns[i].tcp == NULL) {
            e->conns[i] = (struct conn){.tcp = tcp, .port = tcp_local(tcp).port};
            tcp_set_user(tcp, &e->conns[i]);
            return &e->conns[i];
        }
    tcp_abort(tcp);
    return NULL;
}

static void serve(struct end *e)
{
    struct tcp_event ev;
    while (tcp_next_event(e->tcp, &ev)) {
        struct conn *c = ev.bits & TCP_EVENT_ACCEPTED ? new_conn(e, ev.conn) : tcp_user(ev.conn);
        if (c == NULL)
            continue;
        if (ev.bits & TCP_EVENT_READABLE)
            readable(e, c);
        if (c->tcp != NULL && ev.bits & TCP_EVENT_WRITABLE && c->port == SOURCE && c->wanted != 0)
            give(e, c);
        if (c->tcp != NULL && ev.bits & TCP_EVENT_PEER_CLOSED && c->port != SOURCE)
            tell_and_close(e, c);
        if (ev.bits & TCP_EVENT_GONE)
            c->tcp = NULL;
    }
}

static unsigned turn(struct end *e)
{
    struct rte_mbuf *frames[BURST], *packets[BURST];
    struct tcp_meta metas[BURST];
    unsigned n = nic_rx(e->nic, 0, frames, BURST), did = n;
    uint64_t t = now();
    for (unsigned i = 0; i < n; i++) {
        struct net_packet p;
        if (net_input(&e->net, t, frames[i], &p) == NET_TCP)
            tcp_input(e->tcp, t, frames[i], &(struct tcp_meta){.src = p.source, .dst = p.destination, .ecn = p.ecn});
    }
    if (tcp_deadline_ns(e->tcp) <= t)
        tcp_on_time(e->tcp, t);
    if (net_deadline_ns(&e->net) <= t)
        net_on_time(&e->net, t);
    serve(e);
    while (net_tx_room(&e->net) >= BURST) {
        n = tcp_output(e->tcp, t, packets, metas, BURST);
        for (unsigned i = 0; i < n; i++)
            if (net_output(&e->net, t, packets[i], &metas[i].src, &metas[i].dst, metas[i].ecn) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
        did += n;
        if (n < BURST)
            break;
    }
    e->tx_count += net_take_tx(&e->net, e->tx + e->tx_count, TIDE_ARRAY_LEN(e->tx) - e->tx_count);
    n = nic_tx(e->nic, 0, e->tx, e->tx_count);
    e->tx_count -= n;
    memmove(e->tx, e->tx + n, e->tx_count * sizeof(e->tx[0]));
    return did + n;
}

static void open_all(struct end *e, const char *device, const char *address)
{
    char error[NIC_ERROR_TEXT], host[64];
    const char *devices[] = {device};
    const char *slash = strchr(address, '/');
    struct in_addr in;
    struct nic_port_info port;
    struct nic_eal_config eal = {.file_prefix = "bench_tcp", .memory = NIC_MEMORY_PAGES, .memory_mb = 512, .devices = devices, .device_count = 1};
    struct nic_config nic = {.devices = devices, .device_count = 1, .queues = 1, .log_line = quiet};
    struct net_config net = {.announce = true};
    struct tcp_config tcp = {.connections_max = 1024, .syn_backlog = 256, .receive_window_bytes = 1 << 20, .send_buffer_bytes = 1 << 21,
                             .rto_min_us = 5000, .time_wait_ms = 100, .secret = {1, 2, 3}};
    if (slash == NULL || (size_t)(slash - address) >= sizeof(host))
        die("ADDRESS/PREFIX");
    snprintf(host, sizeof(host), "%.*s", (int)(slash - address), address);
    if (inet_pton(AF_INET, host, &in) != 1)
        die("an IPv4 address, please");
    if (nic_eal_start(&eal) != 0)
        die("EAL did not start");
    nic.counters[0] = &e->counters;
    if (nic_open(&e->nic, &nic, error, sizeof(error)) != TIDE_OK)
        die(error);
    nic_port_info(e->nic, 0, &port);
    net.addr = tide_addr_v4(ntohl(in.s_addr));
    net.prefix_len = (uint8_t)atoi(slash + 1);
    net.mac = port.mac;
    net.mtu = port.mtu;
    net.tx_pool = tcp.tx_pool = nic_tx_pool(e->nic);
    net.counters = tcp.counters = &e->counters;
    tcp.mss = (uint16_t)(port.mtu - 40);
    e->tcp = tcp_stack_create(&tcp);
    e->blocks = rte_pktmbuf_pool_create("blocks", BLOCKS - 1, 0, 0, BLOCK + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
    if (net_init(&e->net, &net, now()) != TIDE_OK || e->tcp == NULL || e->blocks == NULL)
        die("no memory");
    if (tcp_listen(e->tcp, SINK) != TIDE_OK || tcp_listen(e->tcp, SOURCE) != TIDE_OK || tcp_listen(e->tcp, ECHO) != TIDE_OK)
        die("listen");
}

int main(int argc, char **argv)
{
    static struct end e;
    unsigned empty = 0;
    uint64_t until;
    struct pollfd fd;
    if (argc < 3) {
        fputs("bench_tcp_end DEVICE ADDRESS/PREFIX [SECONDS]\n", stderr);
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    open_all(&e, argv[1], argv[2]);
    until = now() + (argc > 3 ? strtoull(argv[3], NULL, 10) : 600) * TIDE_NS_PER_S;
    fd = (struct pollfd){.fd = nic_wait_fd(e.nic, 0, 0), .events = POLLIN};
    puts("ready");
    fflush(stdout);
    while (!stop && now() < until) {
        empty = turn(&e) != 0 ? 0 : empty + 1;
        if (empty > EMPTY_POLLS && fd.fd >= 0 && nic_tx_waiting(e.nic, 0) == 0) {
            uint64_t next = TIDE_MIN(tcp_deadline_ns(e.tcp), net_deadline_ns(&e.net)), t = now();
            struct timespec wait = {.tv_nsec = (long)TIDE_MIN(next > t ? next - t : 0, 50000000ull)};
            (void)ppoll(&fd, 1, &wait, NULL);
        }
    }
    for (unsigned i = 0; i < TCP_STAT_COUNT; i++) {
#define X(name, help) #name,
        static const char *const names[] = {TCP_STATS(X)};
#undef X
        uint64_t values[TCP_STAT_COUNT];
        memcpy(values, tcp_stats(e.tcp), sizeof(values));
        if (values[i] != 0)
            printf("%s %lu\n", names[i], values[i]);
    }
    for (unsigned i = 0; i < e.tx_count; i++)
        rte_pktmbuf_free(e.tx[i]);
    tcp_stack_destroy(e.tcp);
    net_deinit(&e.net);
    nic_close(e.nic);
    nic_eal_stop();
    return 0;
}
