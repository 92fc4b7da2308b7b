/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For an interface that the host uses as well: hands our frames to the AF_XDP socket of their queue, and lets the kernel have
 * the rest. Ours is TCP to our address and one of our ports, those that our own connections come from included, and ICMP errors
 * about such packets. ARP, neighbour discovery, echo and fragments stay the kernel's.
 *
 * What is ours is written into the constants before the program is loaded (share.h). The driver looks the map up by the name
 * xsks_map and puts its sockets into it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "share_layout.h"

enum { TCP = 6, ICMP = 1, ICMP6 = 58, FRAGMENT = 0x3fff, ICMP_HEADER = 8 };

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 64);
    __uint(key_size, sizeof(int));
    __uint(value_size, sizeof(int));
} xsks_map SEC(".maps");

const volatile struct share_layout share = {.mark = SHARE_MARK};

struct ipv4 {
    __u8 version_length, tos;
    __be16 length, id, fragment;
    __u8 ttl, protocol;
    __be16 sum;
    __be32 source, destination;
};

struct ipv6 {
    __be32 first;
    __be16 length;
    __u8 protocol, hops;
    __u32 source[4], destination[4];
};

static __always_inline int is_our_port(__u16 port)
{
    if (port >= share.source_first && port <= share.source_last)
        return 1;
    for (int i = 0; i < SHARE_PORTS; i++)
        if (share.ports[i] != 0 && share.ports[i] == port)
            return 1;
    return 0;
}

static __always_inline int is_our_addr6(const __u32 *a)
{
    return share.has_addr6 && a[0] == share.addr6[0] && a[1] == share.addr6[1] && a[2] == share.addr6[2] && a[3] == share.addr6[3];
}

/* The two ports of a TCP header at `at`, in the order in which they stand. */
static __always_inline int ports_are_ours(void *at, void *end, int from_us)
{
    __be16 *ports = at;
    if ((void *)(ports + 2) > end)
        return 0;
    return is_our_port(bpf_ntohs(ports[from_us ? 0 : 1]));
}

static __always_inline int is_ours4(void *at, void *end)
{
    struct ipv4 *ip = at;
    if ((void *)(ip + 1) > end || ip->version_length != 0x45 || ip->destination != share.addr4 || (ip->fragment & bpf_htons(FRAGMENT)) != 0)
        return 0;
    if (ip->protocol == TCP)
        return ports_are_ours(ip + 1, end, 0);
    if (ip->protocol != ICMP)
        return 0;
    __u8 *icmp = (__u8 *)(ip + 1);
    struct ipv4 *quoted = (struct ipv4 *)(icmp + ICMP_HEADER);
    if ((void *)(quoted + 1) > end || (icmp[0] != 3 && icmp[0] != 11 && icmp[0] != 12))
        return 0;
    return quoted->version_length == 0x45 && quoted->source == share.addr4 && quoted->protocol == TCP && ports_are_ours(quoted + 1, end, 1);
}

static __always_inline int is_ours6(void *at, void *end)
{
    struct ipv6 *ip = at;
    if ((void *)(ip + 1) > end || !is_our_addr6(ip->destination))
        return 0;
    if (ip->protocol == TCP)
        return ports_are_ours(ip + 1, end, 0);
    if (ip->protocol != ICMP6)
        return 0;
    __u8 *icmp = (__u8 *)(ip + 1);
    struct ipv6 *quoted = (struct ipv6 *)(icmp + ICMP_HEADER);
    if ((void *)(quoted + 1) > end || icmp[0] == 0 || icmp[0] > 4)
        return 0;
    return is_our_addr6(quoted->source) && quoted->protocol == TCP && ports_are_ours(quoted + 1, end, 1);
}

SEC("xdp")
int xsk_share(struct xdp_md *context)
{
    void *end = (void *)(long)context->data_end;
    struct ethhdr *eth = (void *)(long)context->data;
    int ours = 0;
    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    if (eth->h_proto == bpf_htons(ETH_P_IP))
        ours = is_ours4(eth + 1, end);
    else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
        ours = is_ours6(eth + 1, end);
    return ours ? (int)bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_PASS) : XDP_PASS;
}

char xsk_license[] SEC("license") = "Apache-2.0";
