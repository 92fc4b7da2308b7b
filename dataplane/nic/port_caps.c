/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/port_caps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "tidemark/rss.h"
#include "tidemark/types.h"

enum {
    MTU_MIN = 576,
    MTU_DEFAULT = 1500,
    DESCRIPTORS_DEFAULT = 1024,
    DATA_ROOM = 2048,          /* behind the headroom; suffices for MTU_DEFAULT everywhere */
    UMEM_DATA_ROOM_MAX = 3776, /* an object of 4096 bytes with its headers (floors 1.5) */
    UMEM_BESIDE_PACKET = 278,  /* XDP's headroom of 256, Ethernet's 18, a VLAN tag */
    RING_FRAME = 2048,         /* af_packet's for MTU_DEFAULT */
    RING_BESIDE_FRAME = 66,    /* of which the kernel's header and address take so much (TPACKET_V2) */
    RING_BESIDE_DATA = 32,     /* and the driver wants room in an mbuf for all but its header */
    RING_BLOCK = 4 << 20,
    RING_BLOCKS = 4,
};

static uint16_t clamp(uint16_t wish, uint16_t otherwise, uint16_t max)
{
    uint16_t v = wish != 0 ? wish : otherwise;
    return max != 0 && v > max ? max : v;
}

static bool is_af_xdp(const struct port_caps *caps)
{
    return strcmp(caps->driver, "net_af_xdp") == 0;
}

static bool is_af_packet(const char *driver)
{
    return strncmp(driver, "net_af_packet", 13) == 0;
}

/* Largest mtu by everything the driver says of itself, and by what is known of it besides. */
static uint16_t largest_mtu(const struct port_caps *caps)
{
    uint32_t mtu = caps->max_mtu != 0 ? caps->max_mtu : UINT16_MAX;
    if (caps->max_rx_pktlen > PORT_FRAME_OVERHEAD)
        mtu = TIDE_MIN(mtu, caps->max_rx_pktlen - PORT_FRAME_OVERHEAD);
    if (is_af_xdp(caps))
        mtu = TIDE_MIN(mtu, (uint32_t)PORT_AF_XDP_MTU_MAX);
    return (uint16_t)mtu;
}

/* What one received frame needs, so that none comes as a chain. */
static uint16_t data_room(const struct port_caps *caps, uint16_t mtu)
{
    uint32_t need = (uint32_t)mtu + PORT_FRAME_OVERHEAD + RTE_VLAN_HLEN;
    if (is_af_xdp(caps))
        need = TIDE_MIN((uint32_t)mtu + UMEM_BESIDE_PACKET, (uint32_t)UMEM_DATA_ROOM_MAX);
    else if (is_af_packet(caps->driver))
        need = TIDE_MAX(need, caps->max_rx_pktlen - RTE_ETHER_CRC_LEN + RING_BESIDE_FRAME - RING_BESIDE_DATA);
    return (uint16_t)TIDE_MIN(RTE_ALIGN_CEIL(TIDE_MAX(need, (uint32_t)DATA_ROOM), 64u),
                              (uint32_t)UINT16_MAX - RTE_PKTMBUF_HEADROOM);
}

enum tide_status port_plan_make(const struct port_caps *caps, const struct port_wish *wish,
                                struct port_plan *ret)
{
    const uint64_t rss = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
    const uint64_t for_segments = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    struct port_plan p = {0};
    if (caps->max_rx_queues == 0 || caps->max_tx_queues == 0 || wish->queues == 0)
        return TIDE_REFUSED;
    p.mtu = TIDE_MIN(wish->mtu != 0 ? wish->mtu : (uint16_t)MTU_DEFAULT, largest_mtu(caps));
    if (p.mtu < MTU_MIN || p.mtu < caps->min_mtu)
        return TIDE_REFUSED;
    p.rx_queues = TIDE_MIN(wish->queues, caps->max_rx_queues);
    p.tx_queues = TIDE_MIN(wish->queues, caps->max_tx_queues);
    p.rx_descriptors = clamp(wish->rx_descriptors, DESCRIPTORS_DEFAULT, caps->rx_descriptors_max);
    p.tx_descriptors = clamp(wish->tx_descriptors, DESCRIPTORS_DEFAULT, caps->tx_descriptors_max);
    p.rx_offloads =
        caps->rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
    p.tx_offloads =
        caps->tx_offload_capa & (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                                 RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_TCP_TSO);
    if (caps->has_clock)
        p.rx_offloads |= caps->rx_offload_capa & RTE_ETH_RX_OFFLOAD_TIMESTAMP;
    if (wish->no_offloads)
        p.rx_offloads = p.tx_offloads = 0;
    if (strcmp(caps->driver, "net_tap") == 0) /* it gets the sums of chained packets wrong (22.11, seen on the wire) */
        p.tx_offloads &= ~(RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO);
    if ((p.tx_offloads & for_segments) != for_segments || (caps->tx_segments_max != 0 && caps->tx_segments_max < PORT_LARGE_SEGMENTS))
        p.tx_offloads &= ~RTE_ETH_TX_OFFLOAD_TCP_TSO;
    p.tx_segments_tcp = (p.tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
    p.rss_types = p.rx_queues > 1 ? caps->rss_offloads & rss : 0;
    p.rx_ip_checked = (p.rx_offloads & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0;
    p.rx_tcp_checked = (p.rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) != 0;
    p.tx_ip_summed = (p.tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
    p.tx_tcp_summed = (p.tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
    p.rx_stamped = (p.rx_offloads & RTE_ETH_RX_OFFLOAD_TIMESTAMP) != 0;
    p.one_segment = (p.tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0;
    p.segments_max = caps->tx_segments_max != 0 ? caps->tx_segments_max : UINT16_MAX;
    if (p.one_segment)
        p.segments_max = 1;
    p.flavour = is_af_xdp(caps) ? POOL_UMEM : POOL_DEFAULT;
    p.data_room = data_room(caps, p.mtu);
    *ret = p;
    return TIDE_OK;
}

uint16_t port_reta_queue(uint16_t i, unsigned cores, uint16_t queues)
{
    return (uint16_t)(tide_rss_core(i, cores) % queues);
}

/* Cards take the low bits of the hash. */
bool port_reta_agrees(uint16_t size, unsigned cores, uint16_t queues)
{
    if (size == 0 || (size & (size - 1)) != 0 || queues < cores)
        return false;
    return size >= TIDE_RSS_BUCKETS || (size >= cores && (cores & (cores - 1)) == 0);
}

static const char *who(bool port)
{
    return port ? "port" : "software";
}

size_t port_plan_text(const struct port_caps *caps, const struct port_wish *wish,
                      const struct port_plan *p, char *text, size_t size)
{
    char spread[48] = "one queue";
    char mtu[48] = "";
    if (p->rss_types != 0)
        snprintf(spread, sizeof(spread), "rss by the port (%u entries)", caps->reta_size);
    else if (p->rx_queues > 1)
        snprintf(spread, sizeof(spread), "spread by the driver's own hash");
    else if (wish->queues > 1)
        snprintf(spread, sizeof(spread), "one queue, flows spread in software");
    if (wish->mtu > p->mtu)
        snprintf(mtu, sizeof(mtu), " (%u wished, the port takes no more)", wish->mtu);
    int n =
        snprintf(text, size,
                 "driver %s, queues rx %u tx %u (of %u/%u, %u cores), descriptors %u/%u, %s, "
                 "rx checksums ip %s tcp %s, tx checksums ip %s tcp %s, "
                 "segments %s, arrival times %s, mtu %u%s%s",
                 caps->driver, p->rx_queues, p->tx_queues, caps->max_rx_queues, caps->max_tx_queues,
                 wish->queues, p->rx_descriptors, p->tx_descriptors, spread, who(p->rx_ip_checked),
                 who(p->rx_tcp_checked), who(p->tx_ip_summed), who(p->tx_tcp_summed),
                 p->one_segment ? "joined in software" : "by the port", who(p->rx_stamped), p->mtu, mtu,
                 p->tx_segments_tcp ? ", large tcp packets cut by the port" : "");
    return n < 0 ? 0 : TIDE_MIN((size_t)n, size - 1);
}

/* Domain, bus, device and function in hexadecimal, as in 0000:03:00.0; the domain may be left
 * out, and is then put in front, since ethdev knows the port by its whole address. */
static bool complete_pci_address(char name[PORT_NAME])
{
    unsigned domain;
    unsigned bus;
    unsigned device;
    unsigned function;
    int end = 0;
    bool whole = sscanf(name, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4;
    if (!whole || name[end] != 0) {
        domain = 0;
        end = 0;
        if (sscanf(name, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3 || name[end] != 0)
            return false;
    }
    snprintf(name, PORT_NAME, "%04x:%02x:%02x.%x", domain, bus, device, function);
    return true;
}

static bool is_vdev_name(const char *name)
{
    return strncmp(name, "net_", 4) == 0 || strncmp(name, "virtio_user", 11) == 0;
}

static bool copy_part(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size)
        return false;
    memcpy(to, from, len);
    to[len] = 0;
    return true;
}

/* The value of `key` in "a=1,b=2"; NULL when it is not there. */
static const char *argument(const char *arguments, const char *key, size_t *ret_len)
{
    size_t key_len = strlen(key);
    for (const char *at = arguments; at != NULL && *at != 0;) {
        const char *comma = strchr(at, ',');
        size_t len = comma != NULL ? (size_t)(comma - at) : strlen(at);
        if (len > key_len && strncmp(at, key, key_len) == 0 && at[key_len] == '=') {
            *ret_len = len - key_len - 1;
            return at + key_len + 1;
        }
        at = comma != NULL ? comma + 1 : NULL;
    }
    return NULL;
}

enum tide_status port_device_parse(const char *text, struct port_device *ret, char *error_text,
                                   size_t size)
{
    static const char prefix[] = "vdev:";
    struct port_device d = {.kind = PORT_PCI};
    const char *name = text;
    size_t len;
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0) {
        d.kind = PORT_VDEV;
        name = text + sizeof(prefix) - 1;
    }
    size_t name_len = strcspn(name, ",");
    const char *arguments = name[name_len] == ',' ? name + name_len + 1 : "";
    if (name_len == 0 || !copy_part(d.name, sizeof(d.name), name, name_len) ||
        !copy_part(d.arguments, sizeof(d.arguments), arguments, strlen(arguments)))
        goto bad;
    if (d.kind == PORT_PCI && !complete_pci_address(d.name))
        goto bad;
    if (d.kind == PORT_VDEV && !is_vdev_name(d.name))
        goto bad;
    const char *interface = argument(d.arguments, "iface", &len);
    if (interface != NULL && !copy_part(d.interface, sizeof(d.interface), interface, len))
        goto bad;
    *ret = d;
    return TIDE_OK;
bad:
    snprintf(error_text, size,
             "port \"%.128s\": expected a PCI address as 0000:03:00.0, or a virtual device as "
             "vdev:net_af_xdp0,iface=INTERFACE",
             text);
    return TIDE_BAD;
}

static bool is_given(const struct port_device *d, const char *key)
{
    size_t ignored;
    return argument(d->arguments, key, &ignored) != NULL;
}

static bool add_argument(struct port_device *d, const char *key, const char *value)
{
    size_t used = strlen(d->arguments);
    if (is_given(d, key))
        return true;
    int n = snprintf(d->arguments + used, sizeof(d->arguments) - used, "%s%s=%s",
                     used != 0 ? "," : "", key, value);
    return n > 0 && (size_t)n < sizeof(d->arguments) - used;
}

/* Frames of the ring stand one behind the other, so a block has a whole number of them; and it is of whole pages.
 * Who gives one of the sizes may count on what the others were without it. */
static bool add_ring(struct port_device *d, uint16_t mtu)
{
    char text[3][16];
    uint32_t need = (uint32_t)(mtu != 0 ? mtu : MTU_DEFAULT) + RTE_ETHER_HDR_LEN + RING_BESIDE_FRAME;
    uint32_t frame = TIDE_MAX(RTE_ALIGN_CEIL(need, 1024u), (uint32_t)RING_FRAME);
    if (is_given(d, "blocksz") || is_given(d, "framesz") || is_given(d, "framecnt"))
        frame = RING_FRAME;
    uint32_t in_block = RING_BLOCK / frame / 4 * 4;
    snprintf(text[0], sizeof(text[0]), "%u", in_block * frame);
    snprintf(text[1], sizeof(text[1]), "%u", frame);
    snprintf(text[2], sizeof(text[2]), "%u", in_block * RING_BLOCKS);
    return add_argument(d, "blocksz", text[0]) && add_argument(d, "framesz", text[1]) && add_argument(d, "framecnt", text[2]) &&
           add_argument(d, "qdisc_bypass", "1");
}

uint32_t port_device_rx_pktlen(const struct port_device *d, uint32_t otherwise)
{
    size_t len;
    const char *frame = is_af_packet(d->name) ? argument(d->arguments, "framesz", &len) : NULL;
    unsigned long size = frame != NULL ? strtoul(frame, NULL, 10) : 0;
    if (size <= RING_BESIDE_FRAME || size > UINT16_MAX)
        return otherwise;
    return (uint32_t)size - RING_BESIDE_FRAME + RTE_ETHER_CRC_LEN;
}

enum tide_status port_device_complete(struct port_device *d, const char *xdp_object, uint16_t mtu)
{
    bool fits = true;
    if (d->kind == PORT_VDEV && strncmp(d->name, "net_af_xdp", 10) == 0) {
        fits = add_argument(d, "busy_budget", "0");
        if (xdp_object != NULL)
            fits = fits && add_argument(d, "xdp_prog", xdp_object);
    } else if (d->kind == PORT_VDEV && is_af_packet(d->name)) {
        fits = add_ring(d, mtu);
    }
    return fits ? TIDE_OK : TIDE_FULL;
}
