/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a worker's connections reach their peers: the kernel's TCP (kernel.c), our own on a DPDK port (port.c), a script (the unit
 * test). A connection is a line, numbered by the worker; it is opened again after it was closed.
 *
 * Owner: the worker's thread.
 */
#ifndef TIDEMARK_BENCH_LOAD_TRANSPORT_H
#define TIDEMARK_BENCH_LOAD_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/load/options.h"
#include "tidemark/rope.h"
#include "tidemark/types.h"

struct load_address {
    struct tide_addr addr;
    uint16_t port;
};

enum load_event_bit { LOAD_UP = 1, LOAD_READABLE = 2, LOAD_WRITABLE = 4, LOAD_DOWN = 8 };
struct load_event {
    uint32_t line;
    uint32_t bits;
};

struct load_transport;
struct load_transport_ops {
    uint64_t (*now_ns)(struct load_transport *);
    /* UP or DOWN follows. False: at once not. */
    bool (*connect)(struct load_transport *, uint32_t line, const struct load_address *);
    /* Bytes that `write` would rather take now. */
    uint32_t (*room)(struct load_transport *, uint32_t line);
    void (*write)(struct load_transport *, uint32_t line, struct tide_rope *); /* takes all of it */
    void (*read)(struct load_transport *, uint32_t line, struct tide_rope *into);
    void (*close)(struct load_transport *, uint32_t line); /* no event follows; what was not sent is lost */
    bool (*next)(struct load_transport *, struct load_event *ret);
    /* Moves bytes, collects events, and waits for some until then, if the transport may wait. */
    void (*turn)(struct load_transport *, uint64_t until_ns);
    void (*destroy)(struct load_transport *);
};

struct load_transport {
    const struct load_transport_ops *ops;
    struct rte_mempool *pool; /* what is written comes from here */
};

/* A name or a number, "[v6]:port" for an address of IPv6. Blocks for a name. */
bool load_resolve(const char *host, uint16_t port, struct load_address *ret);
/* One of "HOST:PORT,HOST:PORT"; false: there is none at *at, or it is wrong. */
bool load_resolve_next(const char **at, struct load_address *ret);

/* NULL: error_text says why. `lines` connections. */
struct load_transport *load_kernel_create(const struct load_options *, struct rte_mempool *, uint32_t lines, char error_text[LOAD_ERROR_MAX]);
struct load_transport *load_port_create(const struct load_options *, struct rte_mempool *, uint32_t lines, char error_text[LOAD_ERROR_MAX]);

#endif
