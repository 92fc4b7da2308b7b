/* SPDX-License-Identifier: Apache-2.0 */
#include "log/cache.h"

#include <errno.h>

#include <rte_common.h>
#include <rte_malloc.h>

#include "log/internal.h"
#include "tidemark/assert.h"

/* ---- names ---- */

static uint64_t buffer_bytes(const struct log_core *c)
{
    return c->config.read_buffer_bytes;
}

static uint64_t chunk_start(const struct log_core *c, uint64_t position)
{
    return position - position % buffer_bytes(c);
}

static struct log_buffer **bucket_of(const struct log_core *c, uint64_t id, uint64_t start)
{
    uint64_t hash = (id * 0x9e3779b97f4a7c15ull + start / buffer_bytes(c)) * 0xbf58476d1ce4e5b9ull;
    return &c->cache.buckets[hash >> 32 & c->cache.mask];
}

bool log_cache_init(struct log_core *c)
{
    uint32_t buckets = rte_align32pow2(2 * c->config.read_buffers);
    TAILQ_INIT(&c->cache.list);
    c->cache.mask = buckets - 1;
    c->cache.buckets = rte_zmalloc(NULL, buckets * sizeof(struct log_buffer *), RTE_CACHE_LINE_SIZE);
    return c->cache.buckets != NULL;
}

void log_cache_deinit(struct log_core *c)
{
    rte_free(c->cache.buckets);
}

static bool is_cached(const struct log_buffer *b)
{
    return tide_pub64_own(&b->cached.id) != 0;
}

struct log_buffer *log_cache_find(const struct log_core *c, uint64_t id, uint64_t position)
{
    uint64_t start = chunk_start(c, position);
    struct log_buffer *b = *bucket_of(c, id, start);
    while (b != NULL && (tide_pub64_own(&b->cached.id) != id || b->cached.start != start))
        b = b->cached.next;
    return b;
}

static void enter(struct log_core *c, struct log_buffer *b, uint64_t id, uint64_t position)
{
    uint64_t start = chunk_start(c, position);
    struct log_buffer **bucket = bucket_of(c, id, start);
    b->cached = (struct log_cached){.start = start,
                                    .from = position,
                                    .to = position,
                                    .ended = UINT64_MAX,
                                    .generation = b->cached.generation,
                                    .next = *bucket};
    tide_pub64_set(&b->cached.id, id);
    *bucket = b;
    TAILQ_INSERT_TAIL(&c->cache.list, b, link);
}

void log_cache_forget(struct log_core *c, struct log_buffer *b)
{
    if (!is_cached(b))
        return;
    struct log_buffer **at = bucket_of(c, tide_pub64_own(&b->cached.id), b->cached.start);
    while (*at != b)
        at = &(*at)->cached.next;
    *at = b->cached.next;
    TAILQ_REMOVE(&c->cache.list, b, link);
    tide_pub64_set(&b->cached.id, 0);
    if (b->cached.ahead)
        tide_count(c->config.counters, COUNTER_read_ahead_wasted);
    b->cached.ahead = false;
    log_buffer_drop(b);
}

/* Those that are held count as of use: they will not be the first to be looked at again. */
bool log_cache_evict(struct log_core *c)
{
    for (unsigned i = 0; i < LOG_CACHE_LOOK && !TAILQ_EMPTY(&c->cache.list); i++) {
        struct log_buffer *b = TAILQ_FIRST(&c->cache.list);
        /* Pairs with the release in log_buffer_drop: whoever had it has read what it wanted. */
        if (atomic_load_explicit(&b->refs, memory_order_acquire) == 1) {
            log_cache_forget(c, b);
            return true;
        }
        TAILQ_REMOVE(&c->cache.list, b, link);
        TAILQ_INSERT_TAIL(&c->cache.list, b, link);
    }
    return false;
}

struct log_buffer *log_cache_make(struct log_core *c, uint64_t id, uint64_t position)
{
    struct log_buffer *b = log_read_buffer_take(c);
    if (b == NULL)
        return NULL;
    struct log_buffer *old = log_cache_find(c, id, position);
    if (old != NULL)
        log_cache_forget(c, old);
    enter(c, b, id, position); /* its reference is the cache's */
    bool held = log_buffer_try_ref(b);
    TIDE_ASSERT(held);
    return b;
}

void log_cache_use(struct log_core *c, struct log_buffer *b)
{
    if (!is_cached(b))
        return;
    if (b->cached.ahead)
        tide_count(c->config.counters, COUNTER_read_ahead_used);
    b->cached.ahead = false;
    TAILQ_REMOVE(&c->cache.list, b, link);
    TAILQ_INSERT_TAIL(&c->cache.list, b, link);
}

/* ---- whose turn it is ---- */

static bool has_turn(const struct log_core *c)
{
    const struct log_cache *k = &c->cache;
    return c->config.reads_out_max == 0 || k->reads_out < (k->writes_out != 0 ? 1 : c->config.reads_out_max);
}

bool log_fill_may_begin(struct log_core *c)
{
    c->cache.waited = !has_turn(c);
    return !c->cache.waited;
}

bool log_ahead_may_begin(const struct log_core *c)
{
    return !c->cache.waited && c->cache.aheads_out < c->config.aheads_out_max && has_turn(c);
}

void log_cache_on_write(struct log_core *c)
{
    c->cache.writes_out++;
}

void log_cache_on_written(struct log_core *c)
{
    TIDE_ASSERT(c->cache.writes_out != 0);
    c->cache.writes_out--;
}

/* ---- fills ---- */

void log_fill_begin(struct log_core *c, struct log_buffer *b, int file, uint64_t wanted, uint64_t limit, uint64_t id,
                    struct tide_out *out)
{
    struct log_cached *k = &b->cached;
    uint64_t piece = c->config.read_piece_bytes != 0 ? c->config.read_piece_bytes : b->size;
    uint64_t end = TIDE_MIN(log_block_ceil(TIDE_MIN(wanted, limit)), k->start + b->size);
    end = TIDE_MIN(end, k->to + piece);
    TIDE_ASSERT(!k->filling);
    TIDE_ASSERT(k->to % TIDE_BLOCK == 0 && end > k->to);
    k->filling = true;
    k->filling_to = TIDE_MIN(end, limit);
    c->cache.reads_out++;
    tide_out_op(out, &(struct disk_op){.kind = DISK_READ,
                                       .file = file,
                                       .len = (uint32_t)(end - k->to),
                                       .position = k->to,
                                       .buf = b->base + (k->to - k->start),
                                       .id = id});
    tide_count(c->config.counters, COUNTER_disk_reads);
    tide_count_many(c->config.counters, COUNTER_disk_read_bytes, end - k->to);
}

int log_fill_end(struct log_core *c, struct log_buffer *b, int64_t result)
{
    struct log_cached *k = &b->cached;
    uint64_t asked = log_block_ceil(k->filling_to) - k->to;
    int e = 0;
    TIDE_ASSERT(k->filling && c->cache.reads_out != 0);
    k->filling = false;
    c->cache.reads_out--;
    if (result < 0)
        e = (int)TIDE_MAX(result, (int64_t)INT32_MIN);
    else if (result == 0 || (uint64_t)result > asked)
        e = -EIO;
    else if (k->to + (uint64_t)result >= k->filling_to)
        k->to = k->filling_to;
    else if (result % TIDE_BLOCK == 0)
        k->to += (uint64_t)result;
    else
        e = -EIO;
    if (e != 0)
        tide_count(c->config.counters, COUNTER_disk_errors);
    if (k->from == k->to)
        log_cache_forget(c, b);
    return e;
}

/* ---- ahead ---- */

static void ahead_piece(struct log_core *c, struct log_buffer *b, struct tide_out *out)
{
    struct log_cached *k = &b->cached;
    uint64_t id = DISK_ID(DISK_OWNER_AHEAD, (uint32_t)(b - c->reads), ++k->generation);
    log_fill_begin(c, b, k->segment->file, k->wanted, k->limit, id, out);
}

static void ahead_end(struct log_core *c, struct log_buffer *b)
{
    c->cache.aheads_out--;
    log_segment_unpin(b->cached.segment);
    /* Releases the segment's file; log_is_read acquires. */
    atomic_fetch_sub_explicit(&b->cached.log->aheads, 1, memory_order_release);
    b->cached.segment = NULL;
    b->cached.log = NULL;
    log_buffer_drop(b);
}

void log_ahead_begin(struct log_core *c, struct log_buffer *b, struct log *log, struct log_segment *s, uint64_t wanted,
                     uint64_t limit, struct tide_out *out)
{
    struct log_cached *k = &b->cached;
    bool held = log_buffer_try_ref(b);
    TIDE_ASSERT(held && k->log == NULL);
    atomic_fetch_add_explicit(&log->aheads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->pins, 1, memory_order_acquire);
    k->log = log;
    k->segment = s;
    k->wanted = wanted;
    k->limit = limit;
    k->ahead = true;
    c->cache.aheads_out++;
    ahead_piece(c, b, out);
}

static bool has_more(const struct log_cached *k)
{
    return k->to < TIDE_MIN(k->wanted, k->limit) && k->to % TIDE_BLOCK == 0;
}

void log_core_on_disk(struct log_core *c, const struct disk_done *done, struct tide_out *out)
{
    uint32_t n = DISK_ID_SLOT(done->id);
    struct log_buffer *b = n < c->config.read_buffers ? &c->reads[n] : NULL;
    if (!TIDE_EXPECT(b != NULL && b->cached.log != NULL && b->cached.generation == DISK_ID_GENERATION(done->id)))
        return;
    bool more = log_fill_end(c, b, done->result) == 0 && is_cached(b) && has_more(&b->cached);
    c->cache.aheads_out--; /* it is not in its own way */
    more = more && log_ahead_may_begin(c) && tide_out_has_op_room(out);
    c->cache.aheads_out++;
    if (more)
        ahead_piece(c, b, out);
    else
        ahead_end(c, b);
}

void log_core_lost(struct log_core *c)
{
    for (uint32_t i = 0; i < c->config.read_buffers; i++) {
        struct log_buffer *b = &c->reads[i];
        if (b->cached.log == NULL)
            continue;
        (void)log_fill_end(c, b, -EIO);
        ahead_end(c, b);
    }
    c->cache.writes_out = 0;
}

bool log_core_turn(struct log_core *c, const struct tide_time *t)
{
    bool was_full = c->config.read_turn_bytes != 0 && c->served >= c->config.read_turn_bytes;
    c->time = *t;
    c->served = 0;
    return was_full;
}

const struct tide_histogram *log_core_stage(const struct log_core *c, enum log_stage stage)
{
    return &c->stages[stage];
}

/* ---- looking ---- */

void log_cache_check(const struct log_core *c)
{
    const struct log_cache *k = &c->cache;
    const struct log_buffer *b;
    uint32_t cached = 0, listed = 0, filling = 0, aheads = 0;
    for (uint32_t i = 0; i < c->config.read_buffers; i++) {
        b = &c->reads[i];
        filling += b->cached.filling;
        aheads += b->cached.log != NULL;
        cached += is_cached(b);
        TIDE_ASSERT(b->cached.log == NULL || b->cached.filling); /* C3 */
        if (!is_cached(b))
            continue;
        TIDE_ASSERT(log_cache_find(c, tide_pub64_own(&b->cached.id), b->cached.start) == b); /* C1, C4 */
        TIDE_ASSERT(atomic_load_explicit(&b->refs, memory_order_relaxed) != 0);              /* C1 */
        TIDE_ASSERT(b->cached.start % buffer_bytes(c) == 0);                                 /* C2 */
        TIDE_ASSERT(b->cached.start <= b->cached.from && b->cached.from <= b->cached.to);    /* C2 */
        TIDE_ASSERT(b->cached.to <= b->cached.start + b->size);                              /* C2 */
    }
    TAILQ_FOREACH(b, &k->list, link)
        listed++;
    TIDE_ASSERT(listed == cached);         /* C1 */
    TIDE_ASSERT(filling == k->reads_out);  /* C3 */
    TIDE_ASSERT(aheads == k->aheads_out);  /* C3 */
}
