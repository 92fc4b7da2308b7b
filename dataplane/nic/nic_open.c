/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <dirent.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include "nic/nic_claim.h"
#include "nic/nic_internal.h"
#include "nic/nic_socket.h"
#include "nic/share.h"
#include "tidemark/arrival.h"
#include "tidemark/assert.h"
#include "tidemark/rss.h"
#include "xsk_redirect.h"
#include "xsk_share.h"

static_assert(POOL_FLAVOUR_COUNT == TIDE_ARRAY_LEN(((struct nic_pools_report *)0)->rx),
              "the report has a row for each flavour");
static_assert((NIC_HANDOVER & (NIC_HANDOVER - 1)) == 0, "a ring's size is a power of two");

enum {
    MBUFS_DEFAULT = 16384,
    MBUFS_SPARE = 1024,          /* beyond what rings and caches can hold */
    MBUFS_CACHED_PER_CORE = 512, /* mempool's caches swell to 1.5 times their size */
    UMEM_FILL = 2048,            /* what af_xdp puts into each fill ring, whatever is configured */
};

/* The text of the error, being written. */
struct complaint {
    char *text;
    size_t size;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void say(struct complaint *c, const char *format, ...)
{
    va_list args;
    if (c->used + 1 >= c->size)
        return;
    va_start(args, format);
    int n = vsnprintf(c->text + c->used, c->size - c->used, format, args);
    va_end(args);
    if (n > 0)
        c->used = TIDE_MIN(c->used + (size_t)n, c->size - 1);
}

void nic_log_line(const struct nic *nic, const char *line)
{
    if (nic->config.log_line != NULL)
        nic->config.log_line(nic->config.log_opaque, line);
    else
        fprintf(stderr, "%s\n", line);
}

void nic_tell(const struct nic *nic, unsigned index, const char *format, ...)
{
    char line[NIC_ERROR_TEXT + 128];
    va_list args;
    int n = snprintf(line, sizeof(line), "port %u %s: ", index, nic->ports[index].device.name);
    va_start(args, format);
    vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
    va_end(args);
    nic_log_line(nic, line);
}

/* Reads the first line of a small file of sysfs; "" when it cannot be read. */
static void read_line(const char *path, char *ret, size_t size)
{
    FILE *f = fopen(path, "re");
    ret[0] = 0;
    if (f == NULL)
        return;
    if (fgets(ret, (int)size, f) == NULL)
        ret[0] = 0;
    fclose(f);
}

static void say_interfaces(struct complaint *c)
{
    struct if_nameindex *all = if_nameindex();
    say(c, "; there are:");
    for (const struct if_nameindex *i = all; i != NULL && i->if_name != NULL; i++)
        say(c, " %s", i->if_name);
    if (all != NULL)
        if_freenameindex(all);
}

/* Name of the kernel driver bound to a PCI device; "no driver" when there is none. */
static void pci_driver(const char *address, char *ret, size_t size)
{
    char path[128];
    char target[256];
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0) {
        snprintf(ret, size, "no driver");
        return;
    }
    target[n] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(ret, size, "%.48s", slash != NULL ? slash + 1 : target);
}

static void say_pci_devices(struct complaint *c)
{
    DIR *d = opendir("/sys/bus/pci/devices");
    struct dirent *e;
    bool any = false;
    say(c, "; network devices here:");
    while (d != NULL && (e = readdir(d)) != NULL) {
        char path[320];
        char class[32];
        char driver[64];
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/class", e->d_name);
        read_line(path, class, sizeof(class));
        if (strncmp(class, "0x02", 4) != 0)
            continue;
        pci_driver(e->d_name, driver, sizeof(driver));
        say(c, " %s (%s)", e->d_name, driver);
        any = true;
    }
    if (!any)
        say(c, " none");
    if (d != NULL)
        closedir(d);
}

static enum tide_status find_pci(struct nic_port *p, struct complaint *c)
{
    char path[128];
    char driver[64];
    if (rte_eth_dev_get_port_by_name(p->device.name, &p->id) == 0)
        return TIDE_OK;
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", p->device.name);
    if (access(path, F_OK) != 0) {
        say(c, "port %s: no such PCI device", p->device.name);
        say_pci_devices(c);
        return TIDE_ABSENT;
    }
    pci_driver(p->device.name, driver, sizeof(driver));
    say(c,
        "port %s: the PCI device is bound to %s and no DPDK driver took it; most need vfio-pci, "
        "and DPDK must have been started with this device",
        p->device.name, driver);
    return TIDE_REFUSED;
}

static enum tide_status make_vdev(struct nic_port *p, struct complaint *c)
{
    const struct port_device *d = &p->device;
    if (d->interface[0] != 0 && if_nametoindex(d->interface) == 0 &&
        strncmp(d->name, "net_tap", 7) != 0) {
        say(c, "port %s: no interface \"%s\" in this network namespace", d->name, d->interface);
        say_interfaces(c);
        return TIDE_ABSENT;
    }
    if (rte_eth_dev_get_port_by_name(d->name, &p->id) == 0) {
        say(c, "port %s: there is a port of this name already", d->name);
        return TIDE_EXISTS;
    }
    int failed = rte_eal_hotplug_add("vdev", d->name, d->arguments);
    if (failed != 0 || rte_eth_dev_get_port_by_name(d->name, &p->id) != 0) {
        /* EFAULT: the bus does not know the name; the driver is not installed, or misspelt. */
        bool unknown = failed == -EFAULT || failed == -ENODEV || failed == -ENOENT;
        say(c, "port %s with \"%s\": %s", d->name, d->arguments,
            unknown       ? "there is no driver of that name"
            : failed != 0 ? rte_strerror(-failed)
                          : "the driver made no port");
        return unknown ? TIDE_ABSENT : TIDE_IO;
    }
    p->is_probed = true;
    return TIDE_OK;
}

/* The operator sets the mtu of a kernel interface, we keep to it. 0: not known. */
static uint16_t interface_mtu(const struct port_device *d)
{
    char path[128];
    char text[32];
    if (d->interface[0] == 0)
        return 0;
    snprintf(path, sizeof(path), "/sys/class/net/%s/mtu", d->interface);
    read_line(path, text, sizeof(text));
    unsigned long mtu = strtoul(text, NULL, 10);
    return (uint16_t)TIDE_MIN(mtu, UINT16_MAX);
}

/* A virtual port has the node of the card under its interface. */
static int node_of(const struct nic_port *p)
{
    char path[128];
    char text[16];
    if (p->device.kind == PORT_PCI)
        return rte_eth_dev_socket_id(p->id);
    snprintf(path, sizeof(path), "/sys/class/net/%s/device/numa_node", p->device.interface);
    read_line(path, text, sizeof(text));
    return text[0] >= '0' && text[0] <= '9' ? atoi(text) : SOCKET_ID_ANY;
}

static struct port_caps caps_of(const struct nic_port *p, const struct rte_eth_dev_info *info)
{
    uint16_t kernel_mtu = interface_mtu(&p->device);
    struct port_caps caps = {
        .driver = info->driver_name,
        .rx_offload_capa = info->rx_offload_capa,
        .tx_offload_capa = info->tx_offload_capa,
        .rss_offloads = info->flow_type_rss_offloads,
        .max_rx_pktlen = port_device_rx_pktlen(&p->device, info->max_rx_pktlen),
        .max_mtu = info->max_mtu,
        .min_mtu = info->min_mtu,
        .max_rx_queues = info->max_rx_queues,
        .max_tx_queues = info->max_tx_queues,
        .reta_size = info->reta_size,
        .rx_descriptors_max = info->rx_desc_lim.nb_max,
        .tx_descriptors_max = info->tx_desc_lim.nb_max,
        .tx_segments_max = info->tx_desc_lim.nb_mtu_seg_max,
        .has_clock = nic_clock_is_there(p->id),
    };
    if (kernel_mtu != 0)
        caps.max_mtu = TIDE_MIN(caps.max_mtu != 0 ? caps.max_mtu : UINT16_MAX, kernel_mtu);
    return caps;
}

static struct port_wish wish_of(const struct nic *nic)
{
    return (struct port_wish){
        .queues = (uint16_t)nic->config.queues,
        .mtu = nic->config.mtu,
        .rx_descriptors = nic->config.rx_descriptors,
        .tx_descriptors = nic->config.tx_descriptors,
        .no_offloads = nic->config.no_offloads,
    };
}

/* Receive queues that the kernel's interface has. */
static unsigned kernel_queues(const char *interface)
{
    char path[128];
    struct dirent *e;
    unsigned n = 0;
    snprintf(path, sizeof(path), "/sys/class/net/%s/queues", interface);
    DIR *d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL)
        n += strncmp(e->d_name, "rx-", 3) == 0;
    if (d != NULL)
        closedir(d);
    return n;
}

/* What arrives at a queue that we do not read is the kernel's, which knows nothing of our connections and resets them. */
static enum tide_status reads_all_queues(const struct nic *nic, const struct nic_port *p, struct complaint *c)
{
    unsigned there = nic->config.share != NULL && p->device.interface[0] != 0 ? kernel_queues(p->device.interface) : 0;
    if (there <= p->plan.rx_queues)
        return TIDE_OK;
    say(c, "port %s: data.port.shared: %s has %u receive queues, the broker reads %u, and what arrives at another is refused by the kernel: "
           "ethtool -L %s combined %u", p->device.name, p->device.interface, there, p->plan.rx_queues, p->device.interface, p->plan.rx_queues);
    return TIDE_REFUSED;
}

/* Where a frame says when it arrived. Without a place for it the port need not say so. */
static void prepare_stamps(struct port_plan *plan)
{
    if (!plan->rx_stamped || rte_mbuf_dyn_rx_timestamp_register(&tide_arrival_field.offset, &tide_arrival_field.flag) == 0)
        return;
    tide_arrival_field.offset = -1;
    plan->rx_stamped = false;
    plan->rx_offloads &= ~RTE_ETH_RX_OFFLOAD_TIMESTAMP;
}

/* ethdev refuses more than the driver says; af_packet's says less than it takes, and does not look at it again. */
static uint32_t mtu_for_driver(const struct port_plan *plan, const struct rte_eth_dev_info *info)
{
    bool is_less = info->max_rx_pktlen > PORT_FRAME_OVERHEAD && info->max_rx_pktlen - PORT_FRAME_OVERHEAD < plan->mtu;
    return is_less ? info->max_rx_pktlen - PORT_FRAME_OVERHEAD : plan->mtu;
}

static enum tide_status configure_port(struct nic *nic, struct nic_port *p, struct complaint *c)
{
    struct rte_eth_dev_info info;
    struct rte_eth_conf conf = {0};
    struct port_wish wish = wish_of(nic);
    uint8_t key[TIDE_RSS_KEY_MAX];
    if (rte_eth_dev_info_get(p->id, &info) != 0) {
        say(c, "port %s: the driver says nothing of itself", p->device.name);
        return TIDE_IO;
    }
    struct port_caps caps = caps_of(p, &info);
    if (port_plan_make(&caps, &wish, &p->plan) != TIDE_OK) {
        say(c, "port %s (%s): %u receive and %u transmit queues, largest mtu %u: not usable",
            p->device.name, caps.driver, caps.max_rx_queues, caps.max_tx_queues, caps.max_mtu);
        return TIDE_REFUSED;
    }
    if (reads_all_queues(nic, p, c) != TIDE_OK)
        return TIDE_REFUSED;
    prepare_stamps(&p->plan);
    snprintf(p->driver, sizeof(p->driver), "%s", caps.driver);
    p->reta_size = caps.reta_size;
    p->node = node_of(p);
    conf.rxmode.mtu = mtu_for_driver(&p->plan, &info);
    conf.rxmode.offloads = p->plan.rx_offloads;
    conf.txmode.offloads = p->plan.tx_offloads;
    if (p->plan.rss_types != 0) {
        bool known = info.hash_key_size != 0 && info.hash_key_size <= TIDE_RSS_KEY_MAX;
        memcpy(key, tide_rss_key, sizeof(key)); /* ethdev wants to be able to write */
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = p->plan.rss_types;
        conf.rx_adv_conf.rss_conf.rss_key = known ? key : NULL;
        conf.rx_adv_conf.rss_conf.rss_key_len = known ? info.hash_key_size : 0;
    }
    int failed = rte_eth_dev_configure(p->id, p->plan.rx_queues, p->plan.tx_queues, &conf);
    if (failed == 0)
        failed = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &p->plan.rx_descriptors,
                                                  &p->plan.tx_descriptors);
    if (failed == 0)
        failed = rte_eth_macaddr_get(p->id, &p->mac);
    if (failed != 0) {
        say(c, "port %s (%s): configuring it failed: %s", p->device.name, caps.driver,
            rte_strerror(-failed));
        return TIDE_IO;
    }
    p->is_configured = true;
    return TIDE_OK;
}

/* Frames that the receive rings of the ports of one flavour and the caches can hold back. */
static unsigned rx_mbufs_needed(const struct nic *nic, unsigned flavour)
{
    unsigned n = MBUFS_SPARE + nic->config.queues * MBUFS_CACHED_PER_CORE;
    for (unsigned i = 0; i < nic->port_count; i++) {
        const struct port_plan *plan = &nic->ports[i].plan;
        unsigned ring = plan->rx_descriptors;
        if (plan->flavour != flavour)
            continue;
        if (flavour == POOL_UMEM)
            ring += UMEM_FILL + plan->tx_descriptors; /* sent frames are copied into it, too */
        n += plan->rx_queues * ring;
    }
    return n;
}

static enum tide_status make_pool(const struct pool_config *pc, struct rte_mempool **ret,
                                  struct complaint *c)
{
    *ret = pool_create(pc);
    if (*ret != NULL)
        return TIDE_OK;
    say(c,
        "packet pool %s of %u buffers of %u bytes: %s; give DPDK more memory or ask for fewer "
        "buffers",
        pc->name, pc->count, pc->data_room, rte_strerror(rte_errno));
    return TIDE_FULL;
}

static enum tide_status make_pools(struct nic *nic, struct complaint *c)
{
    static const char *const names[POOL_FLAVOUR_COUNT] = {"nic_rx", "nic_rx_umem"};
    uint16_t room[POOL_FLAVOUR_COUNT] = {0};
    struct pool_config tx = {.name = "nic_tx", .count = nic->config.tx_mbufs, .node = nic->ports[0].node};
    for (unsigned i = 0; i < nic->port_count; i++) {
        const struct port_plan *plan = &nic->ports[i].plan;
        room[plan->flavour] = TIDE_MAX(room[plan->flavour], plan->data_room);
        tx.data_room = TIDE_MAX(tx.data_room, plan->data_room);
    }
    for (unsigned f = 0; f < POOL_FLAVOUR_COUNT; f++) {
        struct pool_config rx = {.name = names[f], .data_room = room[f], .flavour = f, .node = nic->ports[0].node};
        if (room[f] == 0)
            continue;
        rx.count = TIDE_MAX(nic->config.rx_mbufs, rx_mbufs_needed(nic, f));
        enum tide_status s = make_pool(&rx, &nic->rx_pools[f], c);
        if (s != TIDE_OK)
            return s;
    }
    for (unsigned i = 0; i < nic->port_count; i++)
        nic->ports[i].rx_pool = nic->rx_pools[nic->ports[i].plan.flavour];
    return make_pool(&tx, &nic->tx_pool, c);
}

/* The family of the sockets a driver receives from; -1: none that can be waited for. */
static int socket_family(const struct nic_port *p)
{
    if (strcmp(p->driver, "net_af_xdp") == 0)
        return AF_XDP;
    if (strcmp(p->driver, "net_af_packet") == 0)
        return AF_PACKET;
    return -1;
}

static enum tide_status set_up_queues(struct nic_port *p, struct complaint *c)
{
    int socket = rte_eth_dev_socket_id(p->id);
    for (uint16_t q = 0; q < p->plan.rx_queues; q++) {
        struct nic_sockets before;
        struct nic_sockets now;
        nic_sockets_list(AF_XDP, &before);
        int failed = rte_eth_rx_queue_setup(p->id, q, p->plan.rx_descriptors, (unsigned)socket,
                                            NULL, p->rx_pool);
        if (failed != 0) {
            say(c, "port %s (%s): receive queue %u: %s%s", p->device.name, p->driver, q,
                rte_strerror(-failed),
                socket_family(p) == AF_XDP
                    ? "; af_xdp needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK, and "
                      "an interface on whose queue no other program has an AF_XDP socket"
                    : "");
            return TIDE_IO;
        }
        /* af_xdp makes the socket of a queue here; af_packet made its own with the port. */
        nic_sockets_list(AF_XDP, &now);
        if (socket_family(p) == AF_XDP)
            p->wait_fds[q] = nic_sockets_new(&before, &now, 0);
    }
    for (uint16_t q = 0; q < p->plan.tx_queues; q++) {
        int failed =
            rte_eth_tx_queue_setup(p->id, q, p->plan.tx_descriptors, (unsigned)socket, NULL);
        if (failed != 0) {
            say(c, "port %s (%s): transmit queue %u: %s", p->device.name, p->driver, q,
                rte_strerror(-failed));
            return TIDE_IO;
        }
    }
    return TIDE_OK;
}

static enum tide_status make_backlogs(struct nic *nic, unsigned index, struct complaint *c)
{
    struct nic_port *p = &nic->ports[index];
    for (unsigned q = 0; q < nic->config.queues; q++) {
        if (q < p->plan.tx_queues) {
            p->backlogs[q] =
                rte_zmalloc("nic_backlog", sizeof(*p->backlogs[q]), RTE_CACHE_LINE_SIZE);
        } else {
            char name[48];
            snprintf(name, sizeof(name), "nic_handover_%u_%u", index, q);
            p->handover[q] = rte_ring_create(name, NIC_HANDOVER, SOCKET_ID_ANY,
                                             RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
        }
        if (p->backlogs[q] == NULL && p->handover[q] == NULL) {
            say(c, "port %s: no memory for its backlogs", p->device.name);
            return TIDE_FULL;
        }
    }
    return TIDE_OK;
}

static enum tide_status start_port(struct nic *nic, struct nic_port *p, struct complaint *c)
{
    /* Where a kernel interface carries the port its mtu stays as it is: see interface_mtu. */
    if (p->device.interface[0] == 0 && p->plan.mtu != RTE_ETHER_MTU) {
        int failed = rte_eth_dev_set_mtu(p->id, p->plan.mtu);
        if (failed != 0 && failed != -ENOTSUP) {
            say(c, "port %s (%s): mtu %u: %s", p->device.name, p->driver, p->plan.mtu,
                rte_strerror(-failed));
            return TIDE_IO;
        }
    }
    int failed = rte_eth_dev_start(p->id);
    if (failed != 0) {
        say(c, "port %s (%s): starting it failed: %s", p->device.name, p->driver,
            rte_strerror(-failed));
        return TIDE_IO;
    }
    p->is_started = true;
    if (nic->config.promiscuous) /* a wish: without it the port just hears less */
        p->is_promiscuous = rte_eth_promiscuous_enable(p->id) == 0;
    if (nic->config.share != NULL && p->device.kind == PORT_PCI)
        return share_rules(p->id, nic->config.share, p->plan.rx_queues, p->plan.rss_types, c->text, c->size);
    return TIDE_OK;
}

void nic_hear_groups(struct nic *nic, unsigned port, const struct rte_ether_addr *groups, unsigned count)
{
    struct nic_port *p = &nic->ports[port];
    struct rte_ether_addr list[NIC_GROUPS_MAX] = {0};
    const char *how = "filters nothing";
    char line[160];
    TIDE_ASSERT(port < nic->port_count);
    TIDE_ASSERT(count <= NIC_GROUPS_MAX);
    if (count == 0)
        return;
    memcpy(list, groups, count * sizeof(list[0])); /* ethdev wants to be able to write */
    memcpy(p->groups, list, sizeof(p->groups));
    p->group_count = count;
    if (p->is_promiscuous)
        how = "promiscuous";
    else if (rte_eth_dev_set_mc_addr_list(p->id, list, count) == 0)
        how = "filters them";
    else if (rte_eth_allmulticast_enable(p->id) == 0)
        how = "all groups";
    else if (rte_eth_promiscuous_enable(p->id) == 0)
        how = "promiscuous, it knows no groups";
    p->is_promiscuous = rte_eth_promiscuous_get(p->id) == 1;
    snprintf(line, sizeof(line), "port %u: hears %u Ethernet groups for IPv6: %s", port, count, how);
    nic_log_line(nic, line);
}

static void spread_flows(struct nic *nic, unsigned index)
{
    struct nic_port *p = &nic->ports[index];
    char what[160];
    char line[PORT_NAME + 192];
    if (p->beside[0] != 0) { /* the rules spread */
        p->spreads = p->plan.rx_queues == nic->config.queues;
        return;
    }
    nic_rss_apply(p, nic->config.queues, what, sizeof(what));
    if (what[0] == 0)
        return;
    snprintf(line, sizeof(line), "port %u %s: %s", index, p->device.name, what);
    nic_log_line(nic, line);
}

static void log_port(const struct nic *nic, unsigned index)
{
    const struct nic_port *p = &nic->ports[index];
    struct rte_eth_dev_info info;
    struct port_wish wish = wish_of(nic);
    char what[PORT_TEXT];
    char line[PORT_TEXT + 256];
    char mac[RTE_ETHER_ADDR_FMT_SIZE];
    if (rte_eth_dev_info_get(p->id, &info) != 0)
        return;
    struct port_caps caps = caps_of(p, &info);
    port_plan_text(&caps, &wish, &p->plan, what, sizeof(what));
    rte_ether_format_addr(mac, sizeof(mac), &p->mac);
    snprintf(line, sizeof(line), "port %u %s%s%s: %s, mac %s, link %s, %s, pool of %u x %u bytes%s",
             index, p->device.name, p->device.interface[0] != 0 ? " on " : "", p->device.interface,
             what, mac, nic_link_up(nic, index) ? "up" : "down",
             p->wait_fds[0] >= 0 ? "waits on a descriptor" : "no descriptor to wait on: polled",
             p->rx_pool->size, p->plan.data_room,
             p->plan.flavour == POOL_UMEM ? " in one array" : "");
    nic_log_line(nic, line);
}

static bool write_object(int fd, const struct nic_share *share)
{
    static uint8_t copy[sizeof(xsk_share_bytes)];
    if (share == NULL)
        return write(fd, xsk_redirect_bytes, xsk_redirect_size) == (ssize_t)xsk_redirect_size;
    memcpy(copy, xsk_share_bytes, sizeof(copy));
    return share_fill(copy, xsk_share_size, share) == TIDE_OK && write(fd, copy, xsk_share_size) == (ssize_t)xsk_share_size;
}

/* The XDP program of this build, as a file that the driver can open by name. NULL: there is none,
 * and the library's own is used. */
static const char *xdp_object(struct nic *nic, char *path, size_t size)
{
    if (xsk_redirect_size == 0)
        return NULL;
    if (nic->xdp_object_fd < 0) {
        nic->xdp_object_fd = memfd_create("xsk.o", MFD_CLOEXEC);
        if (nic->xdp_object_fd < 0 || !write_object(nic->xdp_object_fd, nic->config.share))
            return NULL;
    }
    snprintf(path, size, "/proc/self/fd/%d", nic->xdp_object_fd);
    return path;
}

static bool carries_default_route(const char *interface)
{
    static char routes[65536];
    FILE *f = fopen("/proc/net/route", "re");
    size_t n;
    if (f == NULL)
        return false;
    n = fread(routes, 1, sizeof(routes) - 1, f);
    routes[n] = 0;
    fclose(f);
    return share_is_default_route(routes, interface);
}

/* What is the host's stays the host's, unless somebody says otherwise. */
static enum tide_status spare_the_host(const struct nic *nic, const struct nic_port *p, struct complaint *c)
{
    const char *interface = p->device.interface;
    bool is_xdp = strncmp(p->device.name, "net_af_xdp", 10) == 0;
    if (nic->config.share == NULL) {
        if (!is_xdp || nic->config.take_default_route || !carries_default_route(interface))
            return TIDE_OK;
        say(c, "port %s: the default route of this host goes through %s, and a broker on it takes every frame: the host would be cut off. To share it, "
               "set data.port.shared=true; to take it all the same, data.port.take.default.route=true", p->device.name, interface);
        return TIDE_REFUSED;
    }
    if (!is_xdp) {
        say(c, "port %s: data.port.shared needs net_af_xdp on a kernel interface, or a card whose driver leaves it to the kernel", p->device.name);
        return TIDE_REFUSED;
    }
    if (xsk_share_size == 0) {
        say(c, "port %s: data.port.shared: this build has no XDP program, since there was no clang when it was made", p->device.name);
        return TIDE_REFUSED;
    }
    return TIDE_OK;
}

/* True when another device of the configuration sits on the same kernel interface. */
static bool is_interface_shared(const struct nic *nic, const struct nic_port *p)
{
    unsigned count = 0;
    for (unsigned i = 0; i < nic->config.device_count; i++) {
        struct port_device d;
        char ignored[NIC_ERROR_TEXT];
        if (port_device_parse(nic->config.devices[i], &d, ignored, sizeof(ignored)) == TIDE_OK)
            count += strcmp(d.interface, p->device.interface) == 0;
    }
    return count > 1;
}

static bool is_interface_claimed(const struct nic *nic, const char *interface)
{
    for (unsigned i = 0; i < nic->port_count; i++)
        if (nic->ports[i].claim_fd >= 0 && strcmp(nic->ports[i].device.interface, interface) == 0)
            return true;
    return false;
}

/* Makes the interface of a vdev ours, and adds what its driver needs. Our XDP program is attached
 * once, so two ports on one interface share the library's. */
static enum tide_status prepare_vdev(struct nic *nic, struct nic_port *p, struct complaint *c)
{
    struct port_device *d = &p->device;
    char path[64];
    const char *object = NULL;
    enum tide_status s = TIDE_OK;
    if (if_nametoindex(d->interface) != 0)
        s = spare_the_host(nic, p, c);
    if (s == TIDE_OK && if_nametoindex(d->interface) != 0 && !is_interface_claimed(nic, d->interface))
        s = nic_claim(d->interface, &p->claim_fd, c->text, c->size);
    if (s != TIDE_OK)
        return s;
    if (!is_interface_shared(nic, p))
        object = xdp_object(nic, path, sizeof(path));
    if (object != NULL && strncmp(d->name, "net_af_xdp", 10) == 0)
        s = nic_claim_clear_xdp(d->interface, c->text, c->size);
    if (s != TIDE_OK)
        return s;
    uint16_t kernel_mtu = interface_mtu(d);
    if (port_device_complete(d, object, kernel_mtu != 0 ? TIDE_MIN(kernel_mtu, nic->config.mtu) : nic->config.mtu) != TIDE_OK) {
        say(c, "port %s: too many arguments", d->name);
        return TIDE_BAD;
    }
    return TIDE_OK;
}

/* The kernel's interface of a card that its driver leaves to both. */
static void find_beside(struct nic_port *p)
{
    char path[128];
    struct dirent *e;
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/net", p->device.name);
    DIR *d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            snprintf(p->beside, sizeof(p->beside), "%.63s", e->d_name);
    if (d != NULL)
        closedir(d);
}

static enum tide_status find_port(struct nic *nic, struct nic_port *p, const char *text,
                                  struct complaint *c)
{
    struct nic_sockets before;
    struct nic_sockets now;
    enum tide_status s = port_device_parse(text, &p->device, c->text, c->size);
    if (s != TIDE_OK)
        return s;
    if (p->device.kind == PORT_PCI) {
        s = find_pci(p, c);
        if (s != TIDE_OK || nic->config.share == NULL)
            return s;
        find_beside(p);
        return share_isolate(p->id, c->text, c->size);
    }
    s = prepare_vdev(nic, p, c);
    if (s != TIDE_OK)
        return s;
    nic_sockets_list(AF_PACKET, &before);
    s = make_vdev(p, c);
    if (s != TIDE_OK)
        return s;
    nic_sockets_list(AF_PACKET, &now);
    if (strncmp(p->device.name, "net_af_packet", 13) == 0)
        for (unsigned q = 0; q < TIDE_CORES_MAX; q++)
            p->wait_fds[q] = nic_sockets_new(&before, &now, q);
    return TIDE_OK;
}

static enum tide_status open_ports(struct nic *nic, struct complaint *c)
{
    enum tide_status s = TIDE_OK;
    for (unsigned i = 0; i < nic->config.device_count && s == TIDE_OK; i++) {
        struct nic_port *p = &nic->ports[nic->port_count++];
        p->claim_fd = -1;
        for (unsigned q = 0; q < TIDE_CORES_MAX; q++)
            p->wait_fds[q] = -1;
        s = find_port(nic, p, nic->config.devices[i], c);
        if (s == TIDE_OK)
            s = configure_port(nic, p, c);
    }
    if (s == TIDE_OK)
        s = make_pools(nic, c);
    for (unsigned i = 0; i < nic->port_count && s == TIDE_OK; i++) {
        s = set_up_queues(&nic->ports[i], c);
        if (s == TIDE_OK)
            s = make_backlogs(nic, i, c);
        if (s == TIDE_OK)
            s = start_port(nic, &nic->ports[i], c);
    }
    return s;
}

enum tide_status nic_port_restart(struct nic *nic, unsigned index, bool with_reset, char *error_text, size_t size)
{
    struct complaint c = {.text = error_text, .size = size};
    struct nic_port *p = &nic->ports[index];
    enum tide_status s = TIDE_OK;
    if (p->is_started)
        (void)rte_eth_dev_stop(p->id);
    p->is_started = false;
    if (with_reset && rte_eth_dev_reset(p->id) == 0) { /* where there is none, a start must do */
        s = configure_port(nic, p, &c);
        if (s == TIDE_OK)
            s = set_up_queues(p, &c);
    }
    if (s == TIDE_OK)
        s = start_port(nic, p, &c);
    if (s != TIDE_OK)
        return s;
    spread_flows(nic, index);
    nic_hear_groups(nic, index, p->groups, p->group_count);
    return TIDE_OK;
}

static bool is_config_usable(const struct nic_config *c)
{
    if (c->device_count == 0 || c->device_count > TIDE_PORTS_MAX)
        return false;
    if (c->queues == 0 || c->queues > TIDE_CORES_MAX)
        return false;
    for (unsigned q = 0; q < c->queues; q++)
        if (c->counters[q] == NULL)
            return false;
    return true;
}

enum tide_status nic_open(struct nic **ret, const struct nic_config *config, char *error_text,
                          size_t size)
{
    struct complaint c = {.text = error_text, .size = size};
    error_text[0] = 0;
    if (!is_config_usable(config)) {
        say(&c, "ports: 1 to %u ports and 1 to %u cores are possible, %u and %u were asked for",
            TIDE_PORTS_MAX, TIDE_CORES_MAX, config->device_count, config->queues);
        return TIDE_BAD;
    }
    struct nic *nic = rte_zmalloc("nic", sizeof(*nic), RTE_CACHE_LINE_SIZE);
    if (nic == NULL) {
        say(&c, "ports: no memory");
        return TIDE_FULL;
    }
    nic->config = *config;
    nic->xdp_object_fd = -1;
    if (nic->config.rx_mbufs == 0)
        nic->config.rx_mbufs = MBUFS_DEFAULT;
    if (nic->config.tx_mbufs == 0)
        nic->config.tx_mbufs = MBUFS_DEFAULT;
    for (unsigned q = 0; q < config->queues; q++)
        nic->cores[q].counters = config->counters[q];
    enum tide_status s = open_ports(nic, &c);
    if (s != TIDE_OK) {
        nic_close(nic);
        return s;
    }
    for (unsigned i = 0; i < nic->port_count; i++) {
        log_port(nic, i);
        spread_flows(nic, i);
    }
    nic_watch_begin(nic);
    nic->config.devices = NULL; /* borrowed for this call only */
    *ret = nic;
    return TIDE_OK;
}

static void free_backlogs(struct nic_port *p)
{
    for (unsigned q = 0; q < TIDE_CORES_MAX; q++) {
        struct nic_backlog *b = p->backlogs[q];
        struct rte_mbuf *m;
        for (unsigned i = 0; b != NULL && i < b->count; i++)
            rte_pktmbuf_free(b->frames[(b->head + i) % NIC_BACKLOG]);
        rte_free(b);
        while (p->handover[q] != NULL && rte_ring_sc_dequeue(p->handover[q], (void **)&m) == 0)
            rte_pktmbuf_free(m);
        rte_ring_free(p->handover[q]);
    }
}

static void close_port(struct nic_port *p)
{
    nic_watch_end(p);
    free_backlogs(p);
    if (p->is_promiscuous) /* a kernel interface would keep it */
        (void)rte_eth_promiscuous_disable(p->id);
    if (p->is_started)
        (void)rte_eth_dev_stop(p->id);
    if (p->is_configured)
        (void)rte_eth_dev_close(p->id);
    if (p->is_probed)
        (void)rte_eal_hotplug_remove("vdev", p->device.name);
    if (p->claim_fd >= 0)
        close(p->claim_fd);
}

void nic_close(struct nic *nic)
{
    if (nic->tap.state == TAP_ON)
        tap_off(&nic->tap);
    if (nic->tap.state == TAP_ENDING)
        tap_on_quiet(&nic->tap); /* no core runs any more */
    for (unsigned i = 0; i < nic->port_count; i++)
        close_port(&nic->ports[i]);
    for (unsigned f = 0; f < POOL_FLAVOUR_COUNT; f++)
        rte_mempool_free(nic->rx_pools[f]);
    rte_mempool_free(nic->tx_pool);
    if (nic->xdp_object_fd >= 0)
        close(nic->xdp_object_fd);
    rte_free(nic);
}
