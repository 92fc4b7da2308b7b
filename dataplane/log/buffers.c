/* SPDX-License-Identifier: Apache-2.0 */
#include "log/buffers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_memory.h>

#include "log/index.h"
#include "log/internal.h"
#include "log/tail.h"
#include "tidemark/assert.h"
#include "tidemark/types.h"

enum { POOL_NAME_MAX = 24 };

/* ---- references ------------------------------------------------------------------------------ */

bool log_buffer_try_ref(struct log_buffer *b)
{
    uint32_t n = atomic_load_explicit(&b->refs, memory_order_relaxed);
    while (n != 0)
        /* Acquires what the log wrote before it published the slot; see tail_pin. */
        if (atomic_compare_exchange_weak_explicit(&b->refs, &n, n + 1, memory_order_seq_cst,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void log_buffer_drop(struct log_buffer *b)
{
    /* Releases our reads of the bytes to whoever fills the buffer next; the ring hands it on. */
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_seq_cst);
    TIDE_ASSERT(before != 0);
    if (before != 1)
        return;
#ifdef TIDE_SLOW_CHECKS
    memset(b->base, 0xdb, b->size); /* a reader without a reference shall notice */
#endif
    int full = rte_ring_mp_enqueue(b->home, b);
    TIDE_ASSERT(full == 0);
}

static struct log_buffer *buffer_take(struct rte_ring *ring)
{
    void *b = NULL;
    if (rte_ring_sc_dequeue(ring, &b) != 0)
        return NULL;
    atomic_store_explicit(&((struct log_buffer *)b)->refs, 1, memory_order_seq_cst);
    return b;
}

struct log_buffer *log_read_buffer_take(struct log_core *c)
{
    if (rte_ring_count(c->free_reads) == 0)
        (void)log_cache_evict(c);
    return buffer_take(c->free_reads);
}

/* ---- tail buffers ---------------------------------------------------------------------------- */

/* Takes back the oldest buffer that is written and that no reader holds: one that is pinned would
 * bring nothing now, and stays readable. */
static bool reclaim_one(struct log_core *c, const struct log *keep)
{
    struct log_buffer *b;
    TAILQ_FOREACH(b, &c->attached, link)
    {
        if (atomic_load_explicit(&b->refs, memory_order_relaxed) != 1)
            continue;
        if (tail_is_reclaimable(b->log, b->slot, b->log == keep)) {
            tail_drop_slot(b->log, b->slot);
            return true;
        }
    }
    return false;
}

void log_core_relax(struct log_core *c)
{
    bool low = rte_ring_count(c->free_tails) < c->reserve;
    tide_pub64_set(&c->pins_stopped, low);
}

struct log_buffer *log_tail_buffer_take(struct log_core *c, const struct log *keep)
{
    if (rte_ring_count(c->free_tails) <= c->reserve)
        (void)reclaim_one(c, keep);
    struct log_buffer *b = buffer_take(c->free_tails);
    log_core_relax(c);
    return b;
}

void log_tail_buffer_attach(struct log_core *c, struct log_buffer *b, struct log *log,
                            uint32_t slot)
{
    b->log = log;
    b->slot = slot;
    TAILQ_INSERT_TAIL(&c->attached, b, link);
    c->attached_count++;
}

void log_tail_buffer_detach(struct log_core *c, struct log_buffer *b)
{
    TAILQ_REMOVE(&c->attached, b, link);
    c->attached_count--;
    b->log = NULL;
    log_buffer_drop(b);
}

/* ---- the line for them ------------------------------------------------------------------------ */

static bool moves(const struct log_core *c)
{
    return c->line_moves || rte_ring_count(c->free_tails) != 0 || c->time.now_ns >= c->line_look_ns;
}

/* Without those that have not come although it was their turn. */
static struct log *first_in_line(struct log_core *c, const struct log *here)
{
    struct log *first;
    while ((first = TAILQ_FIRST(&c->line)) != NULL && first != here &&
           c->time.now_ns - first->line_tried_ns > LOG_LINE_PATIENCE_MS * TIDE_NS_PER_MS)
        log_line_leave(first);
    return first;
}

bool log_line_admits(struct log_core *c, const struct log *log)
{
    const struct log *first = first_in_line(c, log);
    return first == NULL || (first == log && moves(c));
}

void log_line_join(struct log_core *c, struct log *log)
{
    if (!log->in_line)
        TAILQ_INSERT_TAIL(&c->line, log, line);
    log->in_line = true;
    log->line_tried_ns = c->time.now_ns;
    if (TAILQ_FIRST(&c->line) != log || !moves(c))
        return;
    c->line_moves = false;
    c->line_look_ns = c->time.now_ns + LOG_LINE_LOOK_MS * TIDE_NS_PER_MS;
}

void log_line_leave(struct log *log)
{
    struct log_core *c = log->core;
    struct log *first;
    if (!log->in_line)
        return;
    TAILQ_REMOVE(&c->line, log, line);
    log->in_line = false;
    first = TAILQ_FIRST(&c->line);
    if (first != NULL) /* its time begins */
        first->line_tried_ns = c->time.now_ns;
    c->line_moves = true;
}

void log_line_move(struct log_core *c)
{
    c->line_moves = true;
}

bool log_is_in_line(const struct log *log)
{
    return log->in_line;
}

uint32_t log_line_next(struct log_core *c)
{
    const struct log *first = moves(c) ? first_in_line(c, NULL) : NULL;
    return first != NULL ? first->config.slot : UINT32_MAX;
}

uint64_t log_line_deadline_ns(const struct log_core *c)
{
    return TAILQ_EMPTY(&c->line) ? TIDE_NEVER : c->line_moves ? 0 : c->line_look_ns;
}

/* ---- views ----------------------------------------------------------------------------------- */

static void lease_end(void *addr, void *opaque)
{
    struct log_lease *lease = opaque;
    log_buffer_drop(lease->buffer);
    rte_mempool_put(lease->pool, lease);
}

static unsigned views_of(const struct log_run *run)
{
    return (run->len + LOG_VIEW_BYTES - 1) / LOG_VIEW_BYTES;
}

static void view_fill(struct rte_mbuf *m, struct log_lease *lease, const struct log_run *run,
                      uint32_t done, uint16_t len)
{
    bool held = log_buffer_try_ref(run->buffer);
    TIDE_ASSERT(held); /* the caller holds one */
    lease->buffer = run->buffer;
    lease->shared.free_cb = lease_end;
    lease->shared.fcb_opaque = lease;
    rte_mbuf_ext_refcnt_set(&lease->shared, 1);
    uint32_t at = run->offset + done;
    rte_pktmbuf_attach_extbuf(m, run->buffer->base + at, run->buffer->iova + at, len,
                              &lease->shared);
    m->data_off = 0;
    m->data_len = len;
    m->pkt_len = len;
}

enum tide_status log_views_push(struct log_core *c, const struct log_run *runs, unsigned count,
                                struct tide_rope *rope)
{
    struct rte_mbuf *views[LOG_VIEWS_PER_READ];
    void *leases[LOG_VIEWS_PER_READ];
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++)
        n += views_of(&runs[i]);
    if (n > LOG_VIEWS_PER_READ)
        return TIDE_FULL;
    if (n == 0)
        return TIDE_OK;
    if (rte_mempool_get_bulk(c->leases, leases, n) != 0)
        return TIDE_FULL;
    if (rte_pktmbuf_alloc_bulk(c->views, views, n) != 0) {
        rte_mempool_put_bulk(c->leases, leases, n);
        return TIDE_FULL;
    }
    unsigned v = 0;
    for (unsigned i = 0; i < count; i++) {
        for (uint32_t done = 0; done < runs[i].len; v++) {
            uint16_t len = (uint16_t)TIDE_MIN(runs[i].len - done, (uint32_t)LOG_VIEW_BYTES);
            view_fill(views[v], leases[v], &runs[i], done, len);
            tide_rope_push(rope, views[v]);
            done += len;
        }
    }
    TIDE_ASSERT(v == n);
    return TIDE_OK;
}

/* ---- start and end --------------------------------------------------------------------------- */

static void lease_init(struct rte_mempool *pool, void *opaque, void *object, unsigned index)
{
    struct log_lease *lease = object;
    memset(lease, 0, sizeof(*lease));
    lease->pool = pool;
}

static struct rte_ring *ring_create(uint32_t count)
{
    unsigned slots = rte_align32pow2(count + 1);
    ssize_t bytes = rte_ring_get_memsize(slots);
    if (bytes < 0)
        return NULL;
    struct rte_ring *r = rte_zmalloc(NULL, (size_t)bytes, RTE_CACHE_LINE_SIZE);
    if (r == NULL)
        return NULL;
    if (rte_ring_init(r, "log_free", slots, RING_F_SC_DEQ) != 0) {
        rte_free(r);
        return NULL;
    }
    return r;
}

/* Alignment so that a buffer of `bytes` does not straddle huge pages more than it must. */
static unsigned buffer_align(uint32_t bytes)
{
    return TIDE_MIN(rte_align32pow2(bytes), 1u << 21);
}

static struct log_buffer *buffers_create(uint32_t count, uint32_t bytes, uint8_t **ret_memory,
                                         struct rte_ring *ring)
{
    uint8_t *memory = rte_zmalloc(NULL, (size_t)count * bytes, buffer_align(bytes));
    struct log_buffer *buffers = rte_zmalloc(NULL, count * sizeof(*buffers), RTE_CACHE_LINE_SIZE);
    *ret_memory = memory;
    if (memory == NULL || buffers == NULL)
        goto fail;
    for (uint32_t i = 0; i < count; i++) {
        struct log_buffer *b = &buffers[i];
        b->base = memory + (size_t)i * bytes;
        b->size = bytes;
        b->home = ring;
        b->iova = rte_mem_virt2iova(b->base);
        /* A view hands one address to the port: its bytes must lie side by side for it, too. */
        if (b->iova != RTE_BAD_IOVA &&
            rte_mem_virt2iova(b->base + bytes - 1) != b->iova + bytes - 1)
            goto fail;
        if (rte_ring_mp_enqueue(ring, b) != 0)
            goto fail;
    }
    return buffers;
fail:
    rte_free(buffers);
    return NULL;
}

static bool chunks_create(struct log_core *c)
{
    uint32_t count = TIDE_MAX(c->config.index_chunks, 1u);
    c->chunk_memory =
        rte_zmalloc(NULL, (size_t)count * sizeof(struct log_index_chunk), RTE_CACHE_LINE_SIZE);
    if (c->chunk_memory == NULL)
        return false;
    for (uint32_t i = 0; i < c->config.index_chunks; i++)
        if (rte_ring_mp_enqueue(c->free_chunks,
                                c->chunk_memory + i * sizeof(struct log_index_chunk)) != 0)
            return false;
    return true;
}

static bool mempools_create(struct log_core *c)
{
    static _Atomic uint32_t created; /* pool names are process-wide; a simulator has many cores 0 */
    uint32_t serial = atomic_fetch_add_explicit(&created, 1, memory_order_relaxed);
    unsigned cache = c->config.views >= 1024 ? 64 : 0;
    char name[POOL_NAME_MAX];
    snprintf(name, sizeof(name), "log_view_%u", serial);
    c->views = rte_pktmbuf_pool_create(name, c->config.views, cache, 0, 0, SOCKET_ID_ANY);
    /* Packets made from a view outlive it, so there are more leases than views. */
    snprintf(name, sizeof(name), "log_lease_%u", serial);
    c->leases = rte_mempool_create(name, 2 * c->config.views, sizeof(struct log_lease), cache, 0,
                                   NULL, NULL, lease_init, NULL, SOCKET_ID_ANY, 0);
    return c->views != NULL && c->leases != NULL;
}

static bool config_is_sane(const struct log_core_config *c)
{
    return c->tail_buffer_bytes >= TIDE_BLOCK && rte_is_power_of_2(c->tail_buffer_bytes) &&
           c->read_buffer_bytes >= 2 * TIDE_BLOCK && c->read_buffer_bytes % TIDE_BLOCK == 0 &&
           c->read_piece_bytes % TIDE_BLOCK == 0 && c->tail_buffers >= 4 && c->read_buffers >= 3 && c->views >= 4 && c->counters != NULL;
}

static uint64_t batch_bytes_max(const struct log_core_config *c)
{
    uint64_t window = c->tail_buffer_bytes;
    uint64_t views = TIDE_MIN(c->views, (uint32_t)LOG_VIEWS_PER_READ);
    uint64_t views_per_window = (window + LOG_VIEW_BYTES - 1) / LOG_VIEW_BYTES;
    uint64_t windows = TIDE_MIN(LOG_TAIL_SLOTS - 1, views / views_per_window);
    windows = TIDE_MIN(windows, (uint64_t)c->tail_buffers / 2 + 1);
    uint64_t max = (windows - 1) * window;
    uint64_t buffers = TIDE_MIN((uint64_t)TIDE_ARRAY_LEN(((struct log_read *)NULL)->buffers),
                                (uint64_t)c->read_buffers);
    /* It begins anywhere in the first one. A peer's message has a head before it. */
    max = TIDE_MIN(max, (buffers - 1) * c->read_buffer_bytes - 2 * TIDE_BLOCK);
    return TIDE_MIN(max, (views - buffers) * LOG_VIEW_BYTES);
}

struct log_core *log_core_create(const struct log_core_config *config)
{
    if (!config_is_sane(config))
        return NULL;
    struct log_core *c = rte_zmalloc(NULL, sizeof(*c), RTE_CACHE_LINE_SIZE);
    if (c == NULL)
        return NULL;
    c->config = *config;
    c->reserve = config->tail_buffers / 4;
    c->batch_bytes_max = batch_bytes_max(config);
    TAILQ_INIT(&c->attached);
    TAILQ_INIT(&c->line);
    c->free_tails = ring_create(config->tail_buffers);
    c->free_reads = ring_create(config->read_buffers);
    c->free_chunks = ring_create(TIDE_MAX(config->index_chunks, 1u));
    if (c->free_tails == NULL || c->free_reads == NULL || c->free_chunks == NULL)
        goto fail;
    c->tails = buffers_create(config->tail_buffers, config->tail_buffer_bytes, &c->tail_memory,
                              c->free_tails);
    c->reads = buffers_create(config->read_buffers, config->read_buffer_bytes, &c->read_memory,
                              c->free_reads);
    if (c->tails == NULL || c->reads == NULL || !log_cache_init(c) || !chunks_create(c) || !mempools_create(c))
        goto fail;
    return c;
fail:
    log_core_destroy(c);
    return NULL;
}

void log_core_destroy(struct log_core *c)
{
    if (c == NULL)
        return;
    rte_mempool_free(c->views);
    rte_mempool_free(c->leases);
    log_cache_deinit(c);
    rte_free(c->tails);
    rte_free(c->reads);
    rte_free(c->tail_memory);
    rte_free(c->read_memory);
    rte_free(c->chunk_memory);
    rte_free(c->free_tails);
    rte_free(c->free_reads);
    rte_free(c->free_chunks);
    rte_free(c);
}

unsigned log_core_regions(const struct log_core *c, void **ret_base, size_t *ret_len, unsigned max)
{
    unsigned n = 0;
    if (n < max) {
        ret_base[n] = c->tail_memory;
        ret_len[n++] = (size_t)c->config.tail_buffers * c->config.tail_buffer_bytes;
    }
    if (n < max) {
        ret_base[n] = c->read_memory;
        ret_len[n++] = (size_t)c->config.read_buffers * c->config.read_buffer_bytes;
    }
    return n;
}

/* ---- looking --------------------------------------------------------------------------------- */

static uint32_t only_cached(const struct log_core *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->config.read_buffers; i++)
        n += tide_pub64_peek(&c->reads[i].cached.id) != 0 &&
             atomic_load_explicit(&c->reads[i].refs, memory_order_relaxed) == 1;
    return n;
}

struct log_core_free log_core_free_now(const struct log_core *c)
{
    return (struct log_core_free){
        .tails = rte_ring_count(c->free_tails),
        .reads = rte_ring_count(c->free_reads) + only_cached(c),
        .chunks = rte_ring_count(c->free_chunks),
        .views = rte_mempool_avail_count(c->views),
        .leases = rte_mempool_avail_count(c->leases),
    };
}

void log_core_check(const struct log_core *c)
{
    const struct log_buffer *b;
    uint32_t n = 0;
    TAILQ_FOREACH(b, &c->attached, link)
    {
        TIDE_ASSERT(atomic_load_explicit(&b->refs, memory_order_relaxed) != 0); /* B1 */
        TIDE_ASSERT(b->log != NULL);                                            /* B3 */
        TIDE_ASSERT(tail_slot_buffer(b->log, b->slot) == b);                    /* B3 */
        n++;
    }
    TIDE_ASSERT(n == c->attached_count); /* B2 */
    const struct log *log;
    TAILQ_FOREACH(log, &c->line, line)
        TIDE_ASSERT(log->in_line && log->core == c); /* B4 */
    TIDE_ASSERT(n + rte_ring_count(c->free_tails) <= c->config.tail_buffers);
    log_cache_check(c);
}
