/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hands every frame to the AF_XDP socket bound to the queue it came in on. A frame of a queue
 * without a socket goes on to the kernel.
 *
 * The driver looks the map up by the name xsks_map and puts its sockets into it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 64);
    __uint(key_size, sizeof(int));
    __uint(value_size, sizeof(int));
} xsks_map SEC(".maps");

SEC("xdp")
int xsk_redirect(struct xdp_md *context)
{
    return (int)bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_PASS);
}

char xsk_license[] SEC("license") = "Apache-2.0";
