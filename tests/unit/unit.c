/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <sched.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

void unit_eal(void)
{
    static int started;
    if (started)
        return;
    static char args[][24] = {"unit", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                              "--log-level=error", "-m", "256", "--lcores=0@0"};
    enum { ARGS = sizeof(args) / sizeof(args[0]) };
    char *argv[ARGS + 1] = {NULL};
    for (unsigned i = 0; i < ARGS; i++)
        argv[i] = args[i];
    /* The EAL binds its caller to CPU 0, where two tests side by side would share one processor. */
    cpu_set_t before;
    bool restore = sched_getaffinity(0, sizeof(before), &before) == 0;
    if (rte_eal_init(ARGS, argv) < 0) {
        fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
        abort();
    }
    if (restore)
        (void)sched_setaffinity(0, sizeof(before), &before);
    started = 1;
}

struct rte_mempool *unit_pool(const char *name, unsigned count, uint16_t data_room)
{
    struct rte_mempool *p = rte_pktmbuf_pool_create(
        name, count, 0, 0, (uint16_t)(data_room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
    if (p == NULL) {
        fprintf(stderr, "no pool %s: %s\n", name, rte_strerror(rte_errno));
        abort();
    }
    return p;
}

static void free_exact(void *addr, void *opaque)
{
    free(addr);
    free(opaque);
}

struct rte_mbuf *unit_exact_mbuf(struct rte_mempool *pool, const void *bytes, uint16_t len)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    struct rte_mbuf_ext_shared_info *info = malloc(sizeof(*info));
    uint8_t *block = malloc(len ? len : 1);
    if (m == NULL || info == NULL || block == NULL)
        abort();
    memcpy(block, bytes, len);
    info->free_cb = free_exact;
    info->fcb_opaque = info;
    rte_mbuf_ext_refcnt_set(info, 1);
    rte_pktmbuf_attach_extbuf(m, block, RTE_BAD_IOVA, len, info);
    m->data_off = 0;
    m->data_len = len;
    m->pkt_len = len;
    return m;
}
