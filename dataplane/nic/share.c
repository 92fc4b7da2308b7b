/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/share.h"

#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_flow.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/rss.h"

enum { ROUTE_UP = 1 };

static bool has_addr6(const struct nic_share *share)
{
    static const struct tide_addr none;
    return memcmp(&share->addr6, &none, sizeof(none)) != 0;
}

enum tide_status share_fill(uint8_t *object, size_t size, const struct nic_share *share)
{
    struct share_layout l = {.source_first = share->source_first, .source_last = share->source_last, .has_addr6 = has_addr6(share)};
    uint8_t *place = memmem(object, size, SHARE_MARK, SHARE_MARK_LEN);
    if (place == NULL || (size_t)(object + size - place) < sizeof(l))
        return TIDE_BAD;
    if (memmem(place + 1, (size_t)(object + size - place - 1), SHARE_MARK, SHARE_MARK_LEN) != NULL)
        return TIDE_BAD;
    memcpy(l.mark, SHARE_MARK, SHARE_MARK_LEN);
    memcpy(&l.addr4, share->addr.bytes + 12, sizeof(l.addr4));
    memcpy(l.addr6, share->addr6.bytes, sizeof(l.addr6));
    memcpy(l.ports, share->ports, sizeof(l.ports));
    memcpy(place, &l, sizeof(l));
    return TIDE_OK;
}

bool share_is_default_route(const char *routes, const char *interface)
{
    for (const char *line = strchr(routes, '\n'); line != NULL && line[1] != 0; line = strchr(line + 1, '\n')) {
        char name[64];
        unsigned destination, gateway, flags, references, use, metric, mask;
        if (sscanf(line + 1, "%63s %x %x %x %u %u %u %x", name, &destination, &gateway, &flags, &references, &use, &metric, &mask) != 8)
            continue;
        if (destination == 0 && mask == 0 && (flags & ROUTE_UP) != 0 && strcmp(name, interface) == 0)
            return true;
    }
    return false;
}

/* ---- cards whose driver leaves the kernel's alone ------------------------------------------------------------------- */

enum tide_status share_isolate(uint16_t port, char *error_text, size_t size)
{
    struct rte_flow_error e = {0};
    if (rte_flow_isolate(port, 1, &e) == 0)
        return TIDE_OK;
    snprintf(error_text, size, "data.port.shared: the driver of this port cannot leave it to the kernel (%s); it can on mlx5 cards and with net_af_xdp. Give the "
             "broker a port of its own, or a virtual function", e.message != NULL ? e.message : "no flow isolation");
    return TIDE_REFUSED;
}

/* The rules of one port while they are made. A range is at most 2 * 15 blocks. */
struct rules {
    uint16_t id;
    const struct nic_share *share;
    const struct rte_flow_action *actions;
    unsigned count;
    struct rte_flow *made[2 * (30 + SHARE_PORTS)];
    struct rte_flow_error error;
};

struct rule {
    struct rte_flow_item_ipv4 ip, ip_mask;
    struct rte_flow_item_ipv6 ip6, ip6_mask;
    struct rte_flow_item_tcp tcp, tcp_mask;
};

/* TCP to our address and to the ports `port` under `mask`. */
static bool add_rule(struct rules *rs, bool v6, uint16_t port, uint16_t mask)
{
    struct rule r;
    struct rte_flow_attr attr = {.ingress = 1};
    struct rte_flow_item pattern[4];
    memset(&r, 0, sizeof(r));
    memcpy(&r.ip.hdr.dst_addr, rs->share->addr.bytes + 12, sizeof(r.ip.hdr.dst_addr));
    memset(&r.ip_mask.hdr.dst_addr, 0xff, sizeof(r.ip_mask.hdr.dst_addr));
    memcpy(&r.ip6.hdr.dst_addr, rs->share->addr6.bytes, sizeof(r.ip6.hdr.dst_addr));
    memset(&r.ip6_mask.hdr.dst_addr, 0xff, sizeof(r.ip6_mask.hdr.dst_addr));
    store_be16(&r.tcp.hdr.dst_port, port);
    store_be16(&r.tcp_mask.hdr.dst_port, mask);
    pattern[0] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_ETH};
    pattern[1] = v6 ? (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &r.ip6, .mask = &r.ip6_mask}
                    : (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &r.ip, .mask = &r.ip_mask};
    pattern[2] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &r.tcp, .mask = &r.tcp_mask};
    pattern[3] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_END};
    TIDE_ASSERT(rs->count < TIDE_ARRAY_LEN(rs->made));
    rs->made[rs->count] = rte_flow_create(rs->id, &attr, pattern, rs->actions, &rs->error);
    if (rs->made[rs->count] == NULL)
        return false;
    rs->count++;
    return true;
}

/* A range of ports as masks: the fewest blocks of powers of two that make it up. */
static bool add_range(struct rules *rs, bool v6)
{
    const struct nic_share *share = rs->share;
    uint32_t at = share->source_first;
    TIDE_ASSERT(at != 0);
    while (at <= share->source_last) {
        uint32_t block = at & -at;
        while (at + block - 1 > share->source_last)
            block /= 2;
        if (!add_rule(rs, v6, (uint16_t)at, (uint16_t)~(block - 1)))
            return false;
        at += block;
    }
    return true;
}

static bool add_family(struct rules *rs, bool v6)
{
    bool well = add_range(rs, v6);
    for (unsigned i = 0; i < SHARE_PORTS && well; i++)
        if (rs->share->ports[i] != 0)
            well = add_rule(rs, v6, rs->share->ports[i], 0xffff);
    return well;
}

enum tide_status share_rules(uint16_t port, const struct nic_share *share, uint16_t queues, uint64_t rss_types, char *error_text, size_t size)
{
    uint16_t list[TIDE_RSS_BUCKETS];
    uint8_t key[40];
    struct rte_flow_action_rss rss = {.types = rss_types, .key = key, .key_len = sizeof(key), .queue = list, .queue_num = queues > 1 ? TIDE_RSS_BUCKETS : 1};
    const struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &rss}, {.type = RTE_FLOW_ACTION_TYPE_END}};
    struct rules rs = {.id = port, .share = share, .actions = actions};
    memcpy(key, tide_rss_key, sizeof(key));
    for (uint16_t i = 0; i < TIDE_RSS_BUCKETS; i++)
        list[i] = (uint16_t)tide_rss_core(i, queues);
    if (add_family(&rs, false) && (!has_addr6(share) || add_family(&rs, true)))
        return TIDE_OK;
    /* Half of them would take some of our connections from the kernel and leave it the others, to be reset. */
    unsigned refused = rs.count + 1;
    struct rte_flow_error ignored;
    while (rs.count != 0)
        (void)rte_flow_destroy(port, rs.made[--rs.count], &ignored);
    snprintf(error_text, size, "data.port.shared: the port takes no rule for TCP to our address and ports (the %u. of them): %s", refused,
             rs.error.message != NULL ? rs.error.message : "no reason given");
    return TIDE_REFUSED;
}
