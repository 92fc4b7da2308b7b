/* SPDX-License-Identifier: Apache-2.0 */
#include "nic/soft.h"

#include <netinet/in.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"
#include "tidemark/ipv6.h"
#include "tidemark/types.h"

enum { SUM_RIGHT = 0xffff, FRAGMENT_BITS = 0x3fff };

/* Where a frame's headers are; l4_len 0 when there is nothing to be summed behind the IP header. */
struct layers {
    const uint8_t *ip;
    uint64_t pseudo_sum;   /* of the TCP packet, if it is one */
    uint16_t ip_sum_len;   /* bytes of the header that have a sum of their own; 0 in IPv6 */
    uint16_t l4_off;
    uint16_t l4_len;
};

static bool find_ipv6(const struct rte_mbuf *m, uint16_t at, struct layers *ret)
{
    enum { ADDRESSES = 8 };
    const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, at);
    struct tide_ipv6_view v;
    if (tide_ipv6_parse(ip, m->data_len - (uint32_t)at, m->pkt_len - at, &v) != TIDE_OK)
        return false;
    *ret = (struct layers){.ip = ip, .l4_off = (uint16_t)(at + v.header_len)};
    if (v.protocol == TIDE_IPV6_TCP) {
        ret->l4_len = v.payload_len;
        ret->pseudo_sum = tide_ipv6_pseudo_sum(ip + ADDRESSES, TIDE_IPV6_TCP, v.payload_len);
    }
    return true;
}

/* The pseudo-header's part of a TCP sum. */
static uint64_t ipv4_pseudo_sum(const struct rte_ipv4_hdr *ip, uint16_t l4_len)
{
    struct rte_ipv4_hdr h;
    memcpy(&h, ip, sizeof(h));
    return tide_sum_add(0, &h.src_addr, 8) + __builtin_bswap16(h.next_proto_id) +
           __builtin_bswap16(l4_len);
}

static bool find_ipv4(const struct rte_mbuf *m, uint16_t at, struct layers *ret)
{
    const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, const void *, at);
    if (m->data_len < at + sizeof(*ip))
        return false;
    uint16_t ip_len = rte_ipv4_hdr_len(ip);
    uint16_t total_len = load_be16(&ip->total_length);
    if (ip->version_ihl >> 4 != IPVERSION || ip_len < sizeof(*ip) || m->data_len < at + ip_len)
        return false;
    if (total_len < ip_len || m->pkt_len < (uint32_t)at + total_len)
        return false;
    *ret = (struct layers){.ip = (const uint8_t *)ip, .ip_sum_len = ip_len, .l4_off = (uint16_t)(at + ip_len)};
    bool whole = (load_be16(&ip->fragment_offset) & FRAGMENT_BITS) == 0;
    if (whole && ip->next_proto_id == IPPROTO_TCP) {
        ret->l4_len = (uint16_t)(total_len - ip_len);
        ret->pseudo_sum = ipv4_pseudo_sum(ip, ret->l4_len);
    }
    return true;
}

/* False when the frame is not a well-formed IP packet with its headers in one segment's front. */
static bool find_layers(const struct rte_mbuf *m, struct layers *ret)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    uint16_t at = RTE_ETHER_HDR_LEN;
    if (m->data_len < at + sizeof(struct rte_ipv4_hdr)) /* less than any IP header, more than a tag */
        return false;
    uint16_t type = load_be16(bytes + 12);
    if (type == RTE_ETHER_TYPE_VLAN) {
        type = load_be16(bytes + 16);
        at += RTE_VLAN_HLEN;
    }
    if (type == RTE_ETHER_TYPE_IPV6)
        return find_ipv6(m, at, ret);
    return type == RTE_ETHER_TYPE_IPV4 && find_ipv4(m, at, ret);
}

static enum soft_verdict check_tcp(const struct rte_mbuf *m, const struct layers *at)
{
    uint16_t copy;
    if (tide_sum_fold(tide_sum_add_mbuf(at->pseudo_sum, m, at->l4_off, at->l4_len)) == SUM_RIGHT)
        return SOFT_PASS;
    const uint16_t *field = rte_pktmbuf_read(
        m, at->l4_off + (uint32_t)offsetof(struct rte_tcp_hdr, cksum), sizeof(copy), &copy);
    TIDE_ASSERT(field != NULL); /* l4_len covers a header and the frame covers l4_len */
    memcpy(&copy, field, sizeof(copy));
    return copy == tide_sum_fold(at->pseudo_sum) ? SOFT_PARTIAL : SOFT_BAD;
}

enum soft_verdict soft_rx_check(const struct rte_mbuf *m, bool port_checks_ip, bool port_checks_tcp)
{
    uint64_t ip_flag = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
    uint64_t tcp_flag = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    struct layers at;
    if (port_checks_ip && ip_flag == RTE_MBUF_F_RX_IP_CKSUM_BAD)
        return SOFT_BAD;
    bool ip_done = port_checks_ip && ip_flag != RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN;
    /* NONE: the port vouches for the data although the field is not filled in (virtio). */
    bool tcp_done = port_checks_tcp && (tcp_flag == RTE_MBUF_F_RX_L4_CKSUM_GOOD ||
                                        tcp_flag == RTE_MBUF_F_RX_L4_CKSUM_NONE);
    if (ip_done && tcp_done)
        return SOFT_PASS;
    if (!find_layers(m, &at))
        return SOFT_PASS;
    if (!ip_done && at.ip_sum_len != 0 && tide_sum_fold(tide_sum_add(0, at.ip, at.ip_sum_len)) != SUM_RIGHT)
        return SOFT_BAD;
    if (tcp_done || at.l4_len < sizeof(struct rte_tcp_hdr))
        return SOFT_PASS;
    return check_tcp(m, &at); /* also when the port says bad: it may be a partial sum */
}

void soft_tx_sums(struct rte_mbuf *m, bool ip, bool tcp)
{
    uint8_t *front = rte_pktmbuf_mtod(m, uint8_t *);
    uint32_t l4_off = m->l2_len + m->l3_len;
    uint16_t sum;
    if (tcp && (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM) {
        uint8_t *field = front + l4_off + offsetof(struct rte_tcp_hdr, cksum);
        TIDE_ASSERT(m->data_len >= l4_off + sizeof(struct rte_tcp_hdr));
        /* The field holds the pseudo-header sum, so the sum over header and payload is the rest. */
        sum = (uint16_t)~tide_sum_fold(tide_sum_add_mbuf(0, m, l4_off, m->pkt_len - l4_off));
        memcpy(field, &sum, sizeof(sum));
        m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
    }
    if (ip && (m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
        uint8_t *field = front + m->l2_len + offsetof(struct rte_ipv4_hdr, hdr_checksum);
        TIDE_ASSERT(m->data_len >= l4_off);
        memset(field, 0, sizeof(sum));
        sum = (uint16_t)~tide_sum_fold(tide_sum_add(0, front + m->l2_len, m->l3_len));
        memcpy(field, &sum, sizeof(sum));
        m->ol_flags &= ~RTE_MBUF_F_TX_IP_CKSUM;
    }
    if ((m->ol_flags & (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK)) == 0)
        m->ol_flags &= ~(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6);
}

enum tide_status soft_linearise(struct rte_mbuf *m, struct rte_mempool *pool, struct rte_mbuf **ret)
{
    if (m->pkt_len > (uint32_t)(rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM))
        return TIDE_BAD;
    struct rte_mbuf *copy = rte_pktmbuf_alloc(pool);
    if (copy == NULL)
        return TIDE_FULL;
    uint8_t *to = (uint8_t *)rte_pktmbuf_append(copy, (uint16_t)m->pkt_len);
    TIDE_ASSERT(to != NULL);
    for (const struct rte_mbuf *s = m; s != NULL; s = s->next) {
        memcpy(to, rte_pktmbuf_mtod(s, const void *), s->data_len);
        to += s->data_len;
    }
    copy->ol_flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
    copy->tx_offload = m->tx_offload;
    copy->vlan_tci = m->vlan_tci;
    copy->port = m->port;
    rte_pktmbuf_free(m);
    *ret = copy;
    return TIDE_OK;
}
