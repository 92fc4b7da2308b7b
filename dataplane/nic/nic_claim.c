/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/nic_claim.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "tidemark/types.h"

/* The functions in xsk_redirect.bpf.c and xsk_share.bpf.c. */
#define PROGRAM_NAME "xsk_redirect"
#define SHARE_NAME "xsk_share"
static_assert(sizeof(PROGRAM_NAME) <= BPF_OBJ_NAME_LEN, "the kernel keeps the whole name");

enum tide_status nic_claim(const char *interface, int *ret_fd, char *error_text, size_t size)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    /* A leading NUL makes the name abstract. */
    int n = snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "tidemark/port/%s", interface);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, len) == 0) {
        *ret_fd = fd;
        return TIDE_OK;
    }
    bool taken = fd >= 0 && errno == EADDRINUSE;
    if (taken)
        snprintf(error_text, size, "interface %s: another broker uses it", interface);
    else
        snprintf(error_text, size, "interface %s: cannot claim it: %s", interface, strerror(errno));
    if (fd >= 0)
        close(fd);
    return taken ? TIDE_EXISTS : TIDE_IO;
}

/* One request about a link: a header, the link, and room for the attributes of an XDP change. */
struct link_request {
    struct nlmsghdr header;
    struct ifinfomsg link;
    uint8_t attributes[64];
};

struct attached {
    uint8_t mode; /* XDP_ATTACHED_NONE when there is nothing */
    uint32_t id;
};

static void *add_attribute(struct link_request *r, uint16_t type, const void *data, uint16_t len)
{
    struct rtattr *a = (struct rtattr *)((uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len != 0)
        memcpy(RTA_DATA(a), data, len);
    r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
    return a;
}

/* Sends the request and receives the answer; its length, or -1. */
static ssize_t exchange(const struct link_request *r, uint8_t *answer, size_t size)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t n = -1;
    if (fd < 0)
        return -1;
    if (send(fd, r, r->header.nlmsg_len, 0) == (ssize_t)r->header.nlmsg_len)
        n = recv(fd, answer, size, 0);
    close(fd);
    return n;
}

static void read_xdp(const struct rtattr *nested, struct attached *ret)
{
    const struct rtattr *a = RTA_DATA(nested);
    int left = (int)RTA_PAYLOAD(nested);
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFLA_XDP_ATTACHED && RTA_PAYLOAD(a) >= sizeof(ret->mode))
            memcpy(&ret->mode, RTA_DATA(a), sizeof(ret->mode));
        if (a->rta_type == IFLA_XDP_PROG_ID && RTA_PAYLOAD(a) >= sizeof(ret->id))
            memcpy(&ret->id, RTA_DATA(a), sizeof(ret->id));
    }
}

static bool query(unsigned index, struct attached *ret)
{
    struct link_request r = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(r.link)),
                   .nlmsg_type = RTM_GETLINK,
                   .nlmsg_flags = NLM_F_REQUEST},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index},
    };
    static _Alignas(struct nlmsghdr) uint8_t answer[32768];
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    ssize_t n = exchange(&r, answer, sizeof(answer));
    *ret = (struct attached){0};
    if (n < 0 || !NLMSG_OK(h, (size_t)n) || h->nlmsg_type != RTM_NEWLINK)
        return false;
    const struct rtattr *a = IFLA_RTA(NLMSG_DATA(h));
    int left = (int)IFLA_PAYLOAD(h);
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
        if ((a->rta_type & NLA_TYPE_MASK) == IFLA_XDP)
            read_xdp(a, ret);
    return true;
}

static bool detach(unsigned index, uint8_t mode)
{
    struct link_request r = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(r.link)),
                   .nlmsg_type = RTM_SETLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index},
    };
    _Alignas(struct nlmsghdr) uint8_t answer[1024];
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    const int none = -1;
    const uint32_t flags = mode == XDP_ATTACHED_SKB ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
    struct rtattr *nested = add_attribute(&r, IFLA_XDP | NLA_F_NESTED, NULL, 0);
    add_attribute(&r, IFLA_XDP_FD, &none, sizeof(none));
    add_attribute(&r, IFLA_XDP_FLAGS, &flags, sizeof(flags));
    nested->rta_len = (uint16_t)((uint8_t *)&r + r.header.nlmsg_len - (uint8_t *)nested);
    ssize_t n = exchange(&r, answer, sizeof(answer));
    if (n < 0 || !NLMSG_OK(h, (size_t)n) || h->nlmsg_type != NLMSG_ERROR)
        return false;
    return ((const struct nlmsgerr *)NLMSG_DATA(h))->error == 0;
}

/* The name of a loaded program; "" when it cannot be had. */
static void program_name(uint32_t id, char name[BPF_OBJ_NAME_LEN])
{
    union bpf_attr by_id;
    union bpf_attr get_info;
    struct bpf_prog_info info;
    name[0] = 0;
    memset(&by_id, 0, sizeof(by_id));
    by_id.prog_id = id;
    int fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &by_id, sizeof(by_id));
    if (fd < 0)
        return;
    memset(&info, 0, sizeof(info));
    memset(&get_info, 0, sizeof(get_info));
    get_info.info.bpf_fd = (uint32_t)fd;
    get_info.info.info_len = sizeof(info);
    get_info.info.info = (uintptr_t)&info;
    if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &get_info, sizeof(get_info)) == 0)
        memcpy(name, info.name, BPF_OBJ_NAME_LEN);
    name[BPF_OBJ_NAME_LEN - 1] = 0;
    close(fd);
}

enum tide_status nic_claim_clear_xdp(const char *interface, char *error_text, size_t size)
{
    char name[BPF_OBJ_NAME_LEN];
    struct attached now;
    unsigned index = if_nametoindex(interface);
    if (index == 0 || !query(index, &now) || now.mode == XDP_ATTACHED_NONE)
        return TIDE_OK; /* when there is more to it, the driver says so */
    program_name(now.id, name);
    if ((strcmp(name, PROGRAM_NAME) == 0 || strcmp(name, SHARE_NAME) == 0) && detach(index, now.mode))
        return TIDE_OK;
    snprintf(error_text, size,
             "interface %s: the XDP program \"%s\" (id %u) is attached to it; remove it, for "
             "example with: ip link set %s xdp off",
             interface, name, now.id, interface);
    return TIDE_REFUSED;
}
