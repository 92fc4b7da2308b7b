/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARP packets (RFC 826): bytes <-> structs. Addresses are IPv4 in host order; what they teach is kept by neighbour.h.
 */
#ifndef TIDEMARK_NET_ARP_H
#define TIDEMARK_NET_ARP_H

#include <stdint.h>

#include <rte_ether.h>

#include "tidemark/status.h"

enum { ARP_PACKET = 28 };

enum arp_operation { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_packet {
    uint16_t operation;
    struct rte_ether_addr sender_mac;
    struct rte_ether_addr target_mac;
    uint32_t sender;
    uint32_t target;
};

/* TIDE_BAD for anything but Ethernet and IPv4, an operation other than request and reply, or a
 * sender's mac that is no single station. */
TIDE_MUST_USE enum tide_status arp_parse(const uint8_t *bytes, uint32_t len,
                                         struct arp_packet *ret);

/* Writes ARP_PACKET bytes. */
void arp_write(uint8_t *at, const struct arp_packet *p);

#endif
