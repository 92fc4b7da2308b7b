/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/shared_port.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_malloc.h>
#include <rte_ring_elem.h>

#include "control/control.h"
#include "edge/kernel_net.h"
#include "net/neighbour.h"

enum { ASK_MS = 10 };

static_assert(TIDE_CORES_MAX <= 32, "a bit for each core");
static_assert((int)SHARE_PORTS > (int)TIDE_LISTENERS_MAX, "replication.port and every listener have a place");

struct shared_port {
    struct core_kernel cores; /* first: given to the cores */
    struct kernel_net *net;
    uv_timer_t timer;
    struct kernel_way way;
    uint32_t untold; /* cores that have not been told of it, a bit each */
};

static bool read_range(char *text, size_t size)
{
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    bool good = f != NULL && fgets(text, (int)size, f) != NULL;
    if (f != NULL)
        fclose(f);
    return good;
}

bool shared_port_claim(const struct tide_settings *s, const struct net_config *addresses, struct nic_share *ret, char *error, size_t size)
{
    char range[64];
    unsigned n = 0;
    *ret = (struct nic_share){.addr = addresses->addr, .addr6 = addresses->addr6, .source_first = (uint16_t)s->data_source_port_first,
                              .source_last = (uint16_t)s->data_source_port_last};
    ret->ports[n++] = (uint16_t)s->replication_port;
    for (unsigned i = 0; i < s->listener_count && n < SHARE_PORTS; i++)
        ret->ports[n++] = s->listener[i].port;
    if (!read_range(range, sizeof(range)) || !share_ports_collide(range, ret->source_first, ret->source_last))
        return true;
    snprintf(error, size, "data.port.shared: data.source.port.first and last (%u to %u) overlap the ports that this host takes for its own connections "
             "(net.ipv4.ip_local_port_range: %.*s): choose others, or narrow that range", ret->source_first, ret->source_last, (int)strcspn(range, "\n"), range);
    return false;
}

bool shared_port_join(struct world *w, struct net_config *net, char *error, size_t size)
{
    struct nic_port_info port;
    const struct kernel_way *way;
    if (w->shared == NULL) {
        w->shared = rte_zmalloc("shared_port", sizeof(*w->shared), TIDE_CACHE_LINE);
        if (w->shared != NULL)
            w->shared->cores.wanted = rte_ring_create_elem("wanted", sizeof(struct tide_addr), CORE_WANTED, SOCKET_ID_ANY, RING_F_SC_DEQ);
        if (w->shared == NULL || w->shared->cores.wanted == NULL) {
            snprintf(error, size, "no memory");
            return false;
        }
    }
    nic_port_info(w->nic, 0, &port);
    if (kernel_net_look(port.interface, &net->addr, &net->addr6, &w->shared->way, error, size) != TIDE_OK)
        return false;
    net->is_kernels = true;
    net->announce = false;
    way = &w->shared->way;
    net->prefix_len = way->prefix_len;
    net->gateway = way->gateway != 0 ? tide_addr_v4(way->gateway) : (struct tide_addr){0};
    net->prefix6_len = way->prefix6_len;
    net->gateway6 = way->gateway6;
    return true;
}

/* ---- while it runs ----------------------------------------------------------------------------------------------------- */

/* NULL: none is left. */
static struct tide_mail *letter(struct world *w, enum mail_kind kind)
{
    void *taken;
    struct tide_mail *m;
    if (rte_mempool_get(w->order_pool, &taken) != 0)
        return NULL;
    m = taken;
    memset(m, 0, sizeof(*m));
    m->kind = kind;
    m->from = w->core_count;
    m->pool = w->order_pool;
    return m;
}

static bool send_letter(struct world *w, uint32_t core, struct tide_mail *m)
{
    uint64_t one = 1;
    if (post_send(w->office, w->core_count, core, m) != TIDE_OK) {
        rte_mempool_put(w->order_pool, m);
        return false;
    }
    (void)!write(w->office->parties[core].wake_fd, &one, sizeof(one));
    return true;
}

/* Who is not told asks again. */
static void on_neighbour(void *arg, const struct tide_addr *addr, const uint8_t mac[6])
{
    struct world *w = arg;
    for (uint32_t core = 0; core < w->core_count; core++) {
        struct tide_mail *m = letter(w, MAIL_NEIGHBOUR);
        if (m == NULL)
            return;
        m->neighbour.addr = *addr;
        m->neighbour.source = NEIGHBOUR_FROM_ASK;
        memcpy(m->neighbour.mac, mac, sizeof(m->neighbour.mac));
        (void)send_letter(w, core, m);
    }
}

static void tell_way(struct world *w)
{
    const struct kernel_way *way = &w->shared->way;
    for (uint32_t core = 0; core < w->core_count; core++) {
        struct tide_mail *m = w->shared->untold & 1u << core ? letter(w, MAIL_WAY) : NULL;
        if (m == NULL)
            continue;
        m->way = (struct mail_way){.prefix_len = way->prefix_len, .gateway = way->gateway, .prefix6_len = way->prefix6_len, .gateway6 = way->gateway6};
        if (send_letter(w, core, m))
            w->shared->untold &= ~(1u << core);
    }
}

static void on_way(void *arg, const struct kernel_way *way)
{
    struct world *w = arg;
    char gateway[INET6_ADDRSTRLEN] = "none", gateway6[INET6_ADDRSTRLEN] = "", six[INET6_ADDRSTRLEN + 32] = "";
    uint32_t v4 = htonl(way->gateway);
    bool other_mtu = way->mtu != w->shared->way.mtu;
    w->shared->way = *way;
    w->shared->untold = (uint32_t)((1ull << w->core_count) - 1);
    if (v4 != 0)
        inet_ntop(AF_INET, &v4, gateway, sizeof(gateway));
    inet_ntop(AF_INET6, way->gateway6.bytes, gateway6, sizeof(gateway6));
    if (way->prefix6_len != 0)
        snprintf(six, sizeof(six), ", of IPv6 prefix /%u, gateway %s", way->prefix6_len, strcmp(gateway6, "::") == 0 ? "none" : gateway6);
    control_log("shared port: the kernel's way out is now prefix /%u, gateway %s%s, mtu %u%s", way->prefix_len, gateway, six, way->mtu,
                other_mtu ? "; the mtu counts after a restart" : "");
    tell_way(w);
}

static void on_timer(uv_timer_t *t)
{
    struct world *w = t->data;
    struct tide_addr wanted[16];
    unsigned n;
    while ((n = rte_ring_sc_dequeue_burst_elem(w->shared->cores.wanted, wanted, sizeof(wanted[0]), TIDE_ARRAY_LEN(wanted), NULL)) != 0)
        for (unsigned i = 0; i < n; i++)
            kernel_net_ask(w->shared->net, &wanted[i]);
    if (w->shared->untold != 0)
        tell_way(w);
}

bool shared_port_start(struct world *w, const struct net_config *net, char *error, size_t size)
{
    struct nic_port_info port;
    struct kernel_net_config config = {.addr = net->addr, .addr6 = net->addr6, .on_neighbour = on_neighbour, .on_way = on_way, .arg = w};
    nic_port_info(w->nic, 0, &port);
    config.interface = port.interface;
    w->shared->net = kernel_net_start(&w->loop, &config);
    if (w->shared->net == NULL) {
        snprintf(error, size, "data.port.shared: the kernel does not tell of its neighbours");
        return false;
    }
    uv_timer_init(&w->loop, &w->shared->timer);
    w->shared->timer.data = w;
    uv_timer_start(&w->shared->timer, on_timer, ASK_MS, ASK_MS);
    control_log("shared port: %s stays the host's; ours is TCP to our ports, neighbours and routes are the kernel's", port.interface);
    return true;
}

void shared_port_stop(struct world *w)
{
    if (w->shared == NULL)
        return;
    if (w->shared->net != NULL) {
        uv_close((uv_handle_t *)&w->shared->timer, NULL);
        kernel_net_stop(w->shared->net);
        uv_run(&w->loop, UV_RUN_NOWAIT); /* closes both, which the loop has in its list */
    }
    rte_ring_free(w->shared->cores.wanted);
    rte_free(w->shared);
    w->shared = NULL;
}
