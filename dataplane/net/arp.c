/* SPDX-License-Identifier: Apache-2.0 */
#include "net/arp.h"

#include "tidemark/bytes.h"

enum { ARP_HARDWARE_ETHERNET = 1, ARP_PROTOCOL_IPV4 = 0x0800 };

enum tide_status arp_parse(const uint8_t *bytes, uint32_t len, struct arp_packet *ret)
{
    struct arp_packet p;
    if (len < ARP_PACKET)
        return TIDE_BAD;
    if (load_be16(bytes) != ARP_HARDWARE_ETHERNET || load_be16(bytes + 2) != ARP_PROTOCOL_IPV4)
        return TIDE_BAD;
    if (bytes[4] != 6 || bytes[5] != 4)
        return TIDE_BAD;
    p.operation = load_be16(bytes + 6);
    if (p.operation != ARP_REQUEST && p.operation != ARP_REPLY)
        return TIDE_BAD;
    memcpy(&p.sender_mac, bytes + 8, 6);
    p.sender = load_be32(bytes + 14);
    memcpy(&p.target_mac, bytes + 18, 6);
    p.target = load_be32(bytes + 24);
    if (!rte_is_valid_assigned_ether_addr(&p.sender_mac))
        return TIDE_BAD;
    *ret = p;
    return TIDE_OK;
}

void arp_write(uint8_t *at, const struct arp_packet *p)
{
    store_be16(at, ARP_HARDWARE_ETHERNET);
    store_be16(at + 2, ARP_PROTOCOL_IPV4);
    at[4] = 6;
    at[5] = 4;
    store_be16(at + 6, p->operation);
    memcpy(at + 8, &p->sender_mac, 6);
    store_be32(at + 14, p->sender);
    memcpy(at + 18, &p->target_mac, 6);
    store_be32(at + 24, p->target);
}
