/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The constants of xsk_share.bpf.c, which share.c writes into its object file before it is loaded. Both include this, and the object is
 * for the machine that runs us: one byte order, and addresses are in the network's.
 */
#ifndef TIDEMARK_NIC_SHARE_LAYOUT_H
#define TIDEMARK_NIC_SHARE_LAYOUT_H

#include <linux/types.h>

#define SHARE_MARK "tidemark share 1"
enum { SHARE_PORTS = 20, SHARE_MARK_LEN = 16 };

struct share_layout {
    __u8 mark[SHARE_MARK_LEN]; /* by which the place is found */
    __u32 addr4;
    __u32 addr6[4];
    __u32 has_addr6;
    __u16 source_first, source_last; /* ports of ours that connections of ours come from */
    __u16 ports[SHARE_PORTS];        /* ports of ours that others connect to; 0: none */
};

#endif
