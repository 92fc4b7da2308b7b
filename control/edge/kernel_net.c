/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/kernel_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

enum { ANSWER = 65536, MAC = 6, REQUEST_ROOM = 64, READS_PER_LOOK = 16 };

/* The mac may be used, old or not: the kernel checks it again when it is asked. */
enum { USABLE = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP };

struct request {
    struct nlmsghdr header;
    union {
        struct ndmsg neighbour;
        struct rtmsg route;
        struct ifaddrmsg addr;
        struct ifinfomsg link;
    } body;
    uint8_t attributes[REQUEST_ROOM];
};

struct kernel_net {
    struct kernel_net_config config;
    int index;
    int fd;
    bool is_dirty; /* routes, addresses or the link have changed */
    struct kernel_way way;
    uv_poll_t poll;
    uint8_t answer[ANSWER];
};

static int open_socket(uint32_t groups, int flags)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void begin(struct request *r, uint16_t type, uint16_t flags, size_t body)
{
    memset(r, 0, sizeof(*r));
    r->header = (struct nlmsghdr){.nlmsg_len = (uint32_t)NLMSG_LENGTH(body), .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
}

static void attribute(struct request *r, uint16_t type, const void *data, size_t len)
{
    struct rtattr *a = (struct rtattr *)((uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* ---- reading all of a kind, at once ---------------------------------------------------------------------------------- */

typedef void see_message(void *arg, const struct nlmsghdr *h);

static bool dump(uint16_t type, uint8_t family, size_t body, see_message *see, void *arg)
{
    static _Alignas(struct nlmsghdr) uint8_t answer[ANSWER];
    struct request r;
    bool done = false;
    int fd = open_socket(0, 0);
    if (fd < 0)
        return false;
    begin(&r, type, NLM_F_DUMP, body);
    r.body.route.rtm_family = family; /* the first byte of each of them */
    bool good = send(fd, &r, r.header.nlmsg_len, 0) == (ssize_t)r.header.nlmsg_len;
    while (good && !done) {
        ssize_t n = recv(fd, answer, sizeof(answer), 0);
        const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
        good = n > 0;
        for (int left = (int)n; good && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            done |= h->nlmsg_type == NLMSG_DONE;
            good = h->nlmsg_type != NLMSG_ERROR;
            if (!done && good)
                see(arg, h);
        }
    }
    close(fd);
    return good;
}

struct looking {
    int index;
    struct tide_addr addr, addr6; /* addr6 all zero: none is looked for */
    bool found, found6;
    uint32_t best_metric, best_metric6;
    struct kernel_way way;
    char *others;
    size_t size;
};

static const struct rtattr *find(const void *body, size_t body_len, const struct nlmsghdr *h, uint16_t type)
{
    const struct rtattr *a = (const struct rtattr *)((const uint8_t *)body + NLMSG_ALIGN(body_len));
    int left = (int)NLMSG_PAYLOAD(h, body_len);
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if ((a->rta_type & NLA_TYPE_MASK) == type)
            return a;
    return NULL;
}

static bool is_none(const struct tide_addr *a)
{
    static const struct tide_addr none;
    return memcmp(a, &none, sizeof(none)) == 0;
}

/* False: it is no address of that family. */
static bool addr_of(const struct rtattr *a, uint8_t family, struct tide_addr *ret)
{
    size_t len = family == AF_INET ? 4 : sizeof(ret->bytes);
    if (a == NULL || (family != AF_INET && family != AF_INET6) || RTA_PAYLOAD(a) != len)
        return false;
    *ret = tide_addr_v4(0);
    memcpy(ret->bytes + sizeof(ret->bytes) - len, RTA_DATA(a), len);
    return true;
}

static const char *addr_text(const struct tide_addr *a, char *text, size_t size)
{
    bool v4 = tide_addr_is_v4(a);
    return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->bytes + 12 : a->bytes, text, (socklen_t)size);
}

static uint32_t word_of(const struct rtattr *a)
{
    uint32_t v = 0;
    if (a != NULL && RTA_PAYLOAD(a) >= sizeof(v))
        memcpy(&v, RTA_DATA(a), sizeof(v));
    return v;
}

static void see_addr(void *arg, const struct nlmsghdr *h)
{
    struct looking *l = arg;
    const struct ifaddrmsg *m = NLMSG_DATA(h);
    char text[INET6_ADDRSTRLEN];
    struct tide_addr addr;
    if (h->nlmsg_type != RTM_NEWADDR || (int)m->ifa_index != l->index)
        return;
    const struct rtattr *local = find(m, sizeof(*m), h, IFA_LOCAL);
    if (!addr_of(local != NULL ? local : find(m, sizeof(*m), h, IFA_ADDRESS), m->ifa_family, &addr))
        return;
    if (memcmp(&addr, &l->addr, sizeof(addr)) == 0) {
        l->found = true;
        l->way.prefix_len = m->ifa_prefixlen;
    } else if (memcmp(&addr, &l->addr6, sizeof(addr)) == 0) {
        l->found6 = true;
        l->way.prefix6_len = m->ifa_prefixlen;
    } else if (l->others != NULL && addr_text(&addr, text, sizeof(text)) != NULL) {
        size_t used = strlen(l->others);
        snprintf(l->others + used, l->size - used, " %s/%u", text, m->ifa_prefixlen);
    }
}

static void see_route(void *arg, const struct nlmsghdr *h)
{
    struct looking *l = arg;
    const struct rtmsg *m = NLMSG_DATA(h);
    if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_dst_len != 0 || m->rtm_table != RT_TABLE_MAIN || m->rtm_type != RTN_UNICAST)
        return;
    struct tide_addr gateway;
    uint32_t metric = word_of(find(m, sizeof(*m), h, RTA_PRIORITY));
    uint32_t *best = m->rtm_family == AF_INET ? &l->best_metric : &l->best_metric6;
    if ((int)word_of(find(m, sizeof(*m), h, RTA_OIF)) != l->index || metric >= *best || !addr_of(find(m, sizeof(*m), h, RTA_GATEWAY), m->rtm_family, &gateway))
        return;
    *best = metric;
    if (m->rtm_family == AF_INET)
        l->way.gateway = tide_addr_to_v4(&gateway);
    else
        l->way.gateway6 = gateway;
}

static void see_link(void *arg, const struct nlmsghdr *h)
{
    struct looking *l = arg;
    const struct ifinfomsg *m = NLMSG_DATA(h);
    if (h->nlmsg_type == RTM_NEWLINK && m->ifi_index == l->index)
        l->way.mtu = word_of(find(m, sizeof(*m), h, IFLA_MTU));
}

static bool look(int index, const struct tide_addr *addr, const struct tide_addr *addr6, char *others, size_t size, struct looking *ret)
{
    *ret = (struct looking){.index = index, .addr = *addr, .addr6 = *addr6, .best_metric = UINT32_MAX, .best_metric6 = UINT32_MAX, .others = others, .size = size};
    if (!dump(RTM_GETADDR, AF_INET, sizeof(struct ifaddrmsg), see_addr, ret) || !dump(RTM_GETROUTE, AF_INET, sizeof(struct rtmsg), see_route, ret) ||
        !dump(RTM_GETLINK, AF_UNSPEC, sizeof(struct ifinfomsg), see_link, ret))
        return false;
    return is_none(addr6) || (dump(RTM_GETADDR, AF_INET6, sizeof(struct ifaddrmsg), see_addr, ret) &&
                              dump(RTM_GETROUTE, AF_INET6, sizeof(struct rtmsg), see_route, ret));
}

enum tide_status kernel_net_look(const char *interface, const struct tide_addr *addr, const struct tide_addr *addr6, struct kernel_way *ret, char *error, size_t size)
{
    char others[512] = "";
    char text[INET6_ADDRSTRLEN] = "";
    struct looking l;
    int index = (int)if_nametoindex(interface);
    if (index == 0 || !look(index, addr, addr6, others, sizeof(others), &l)) {
        snprintf(error, size, "data.port.shared: the kernel says nothing of interface %s", interface);
        return TIDE_IO;
    }
    bool lacks6 = l.found && !is_none(addr6) && !l.found6;
    if (!l.found || lacks6) {
        addr_text(lacks6 ? addr6 : addr, text, sizeof(text));
        snprintf(error, size, "data.port.shared: data.address%s %s is not an address of %s, which has:%s; a shared port has the host's own addresses", lacks6 ? "6" : "", text, interface,
                 others[0] != 0 ? others : " none");
        return TIDE_ABSENT;
    }
    *ret = l.way;
    return TIDE_OK;
}

/* ---- being told ------------------------------------------------------------------------------------------------------ */

static void see_neighbour(struct kernel_net *k, const struct nlmsghdr *h)
{
    const struct ndmsg *m = NLMSG_DATA(h);
    const struct rtattr *to = find(m, sizeof(*m), h, NDA_DST);
    const struct rtattr *mac = find(m, sizeof(*m), h, NDA_LLADDR);
    struct tide_addr addr;
    if (m->ndm_ifindex != k->index || (m->ndm_state & USABLE) == 0 || mac == NULL || RTA_PAYLOAD(mac) != MAC || !addr_of(to, m->ndm_family, &addr))
        return;
    k->config.on_neighbour(k->config.arg, &addr, RTA_DATA(mac));
}

static void read_way(struct kernel_net *k)
{
    struct looking l;
    k->is_dirty = false;
    if (!look(k->index, &k->config.addr, &k->config.addr6, NULL, 0, &l) || !l.found)
        return; /* without its address nothing of ours goes anywhere; it is looked at again when it comes back */
    if (!l.found6)
        l.way.prefix6_len = k->way.prefix6_len;
    if (l.way.prefix_len == k->way.prefix_len && l.way.gateway == k->way.gateway && l.way.mtu == k->way.mtu && l.way.prefix6_len == k->way.prefix6_len &&
        memcmp(&l.way.gateway6, &k->way.gateway6, sizeof(l.way.gateway6)) == 0)
        return;
    k->way = l.way;
    k->config.on_way(k->config.arg, &k->way);
}

/* Does it change our address, our link, or a default route? A host has others of all of them, and reading anew walks all its routes. */
static bool is_about_way(const struct kernel_net *k, const struct nlmsghdr *h)
{
    switch (h->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return ((const struct ifinfomsg *)NLMSG_DATA(h))->ifi_index == k->index;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return (int)((const struct ifaddrmsg *)NLMSG_DATA(h))->ifa_index == k->index;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return ((const struct rtmsg *)NLMSG_DATA(h))->rtm_dst_len == 0;
    default:
        return false;
    }
}

static void see(struct kernel_net *k, ssize_t n)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)k->answer;
    for (int left = (int)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        if (h->nlmsg_type == RTM_NEWNEIGH)
            see_neighbour(k, h);
        k->is_dirty |= is_about_way(k, h);
    }
}

/* A socket that held too little says so once, by ENOBUFS, and loses more until it is empty: only then is what was lost read anew. libuv ends
 * a poll that tells of it. */
static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kernel_net *k = poll->data;
    (void)events;
    if (status < 0) {
        k->is_dirty = true;
        uv_poll_start(&k->poll, UV_READABLE, on_readable);
    }
    for (unsigned i = 0; i < READS_PER_LOOK; i++) {
        ssize_t n = recv(k->fd, k->answer, sizeof(k->answer), 0);
        if (n > 0) {
            see(k, n);
        } else if (n < 0 && errno == ENOBUFS) {
            k->is_dirty = true;
        } else {
            if (k->is_dirty)
                read_way(k);
            return;
        }
    }
}

struct kernel_net *kernel_net_start(uv_loop_t *loop, const struct kernel_net_config *config)
{
    struct kernel_net *k = calloc(1, sizeof(*k));
    struct looking l;
    if (k == NULL)
        return NULL;
    k->config = *config;
    k->index = (int)if_nametoindex(config->interface);
    k->fd = open_socket(RTMGRP_NEIGH | RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE, SOCK_NONBLOCK);
    if (k->fd < 0 || uv_poll_init(loop, &k->poll, k->fd) != 0) {
        if (k->fd >= 0)
            close(k->fd);
        free(k);
        return NULL;
    }
    if (look(k->index, &config->addr, &config->addr6, NULL, 0, &l))
        k->way = l.way;
    k->poll.data = k;
    uv_poll_start(&k->poll, UV_READABLE, on_readable);
    return k;
}

/* What it knows it tells; and it makes sure, or begins to look (NTF_USE). */
void kernel_net_ask(struct kernel_net *k, const struct tide_addr *addr)
{
    bool v4 = tide_addr_is_v4(addr);
    struct request r;
    for (unsigned i = 0; i < 2; i++) {
        begin(&r, i == 0 ? RTM_GETNEIGH : RTM_NEWNEIGH, i == 0 ? 0 : NLM_F_CREATE, sizeof(r.body.neighbour));
        r.body.neighbour = (struct ndmsg){.ndm_family = v4 ? AF_INET : AF_INET6, .ndm_ifindex = k->index, .ndm_flags = i == 0 ? 0 : NTF_USE};
        attribute(&r, NDA_DST, v4 ? addr->bytes + 12 : addr->bytes, v4 ? 4 : sizeof(addr->bytes));
        (void)!send(k->fd, &r, r.header.nlmsg_len, MSG_DONTWAIT); /* a lost question is asked again */
    }
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void kernel_net_stop(struct kernel_net *k)
{
    if (k == NULL)
        return;
    uv_poll_stop(&k->poll);
    close(k->fd);
    uv_close((uv_handle_t *)&k->poll, on_closed);
}
