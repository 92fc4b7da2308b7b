/* SPDX-License-Identifier: Apache-2.0 */
#include "log/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ring.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"

static_assert(sizeof(struct log_index_chunk) == 4080, "a chunk fits a page");
static_assert(LOG_INDEX_CHUNKS <= 64, "one bit each in `heap`");

enum { LOOKUP_TRIES = 4 };

/* ---- entries ---- */

static struct log_index_chunk *chunk_at(const struct log_index *x, uint32_t i)
{
    return (struct log_index_chunk *)(uintptr_t)tide_pub64_peek(&x->chunks[i]);
}

/* NULL only for a reader that raced with a reset. */
static struct log_index_entry *entry_at(const struct log_index *x, uint64_t i)
{
    if (i < LOG_INDEX_INLINE)
        return (struct log_index_entry *)&x->first[i];
    i -= LOG_INDEX_INLINE;
    struct log_index_chunk *c = chunk_at(x, (uint32_t)(i / LOG_INDEX_PER_CHUNK));
    return c != NULL ? &c->entries[i % LOG_INDEX_PER_CHUNK] : NULL;
}

static uint64_t room(const struct log_index *x)
{
    return LOG_INDEX_INLINE + (uint64_t)x->chunk_count * LOG_INDEX_PER_CHUNK;
}

static uint64_t place_pack(uint32_t relative, uint32_t position)
{
    return (uint64_t)relative << 32 | position;
}

static struct log_place place_unpack(uint64_t word)
{
    return (struct log_place){.relative = (uint32_t)(word >> 32), .position = (uint32_t)word};
}

static void entry_copy(struct log_index_entry *to, const struct log_index_entry *from)
{
    tide_pub64_set(&to->place, tide_pub64_own(&from->place));
    tide_pub64_set(&to->time, tide_pub64_own(&from->time));
    tide_pub64_set(&to->time_relative, tide_pub64_own(&from->time_relative));
}

/* Pairs with the two looks at `version` in stable(): a reader that saw an entry between the two
 * bumps sees an odd or a newer version afterwards. */
static void moving_begin(struct log_index *x)
{
    tide_pub64_set(&x->version, tide_pub64_own(&x->version) + 1);
    tide_fence();
}

static void moving_end(struct log_index *x)
{
    tide_fence();
    tide_pub64_set(&x->version, tide_pub64_own(&x->version) + 1);
}

void log_index_init(struct log_index *x, uint32_t interval_bytes)
{
    memset(x, 0, sizeof(*x));
    x->interval = interval_bytes;
    x->interval_now = interval_bytes;
    x->max_time = -1;
    tide_pub64_set(&x->segment, UINT64_MAX);
}

void log_index_reset(struct log_index *x, uint64_t segment)
{
    moving_begin(x);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        struct log_index_chunk *c = chunk_at(x, i);
        tide_pub64_set(&x->chunks[i], 0);
        if ((x->heap >> i & 1) != 0) {
            tide_pub64_set(&x->chunks[kept++], (uintptr_t)c);
        } else {
            int full = rte_ring_mp_enqueue(x->pool, c);
            TIDE_ASSERT(full == 0);
        }
    }
    x->heap = kept == 64 ? UINT64_MAX : (1ull << kept) - 1;
    x->chunk_count = kept;
    x->interval_now = x->interval;
    x->bytes_since_entry = 0;
    x->max_time = -1;
    x->max_time_relative = 0;
    tide_pub64_set(&x->count, 0);
    tide_pub64_set(&x->segment, segment);
    moving_end(x);
}

void log_index_deinit(struct log_index *x)
{
    log_index_reset(x, UINT64_MAX);
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        free(chunk_at(x, i));
        tide_pub64_set(&x->chunks[i], 0);
    }
    x->chunk_count = 0;
    x->heap = 0;
}

static bool grow(struct log_index *x)
{
    void *c = NULL;
    if (x->chunk_count == LOG_INDEX_CHUNKS)
        return false;
    if (x->may_allocate) {
        c = calloc(1, sizeof(struct log_index_chunk));
        if (c == NULL)
            return false;
        x->heap |= 1ull << x->chunk_count;
    } else if (x->pool == NULL || rte_ring_sc_dequeue(x->pool, &c) != 0) {
        return false;
    }
    tide_pub64_set(&x->chunks[x->chunk_count++], (uintptr_t)c);
    return true;
}

/* Keeps every second entry, the last one among them. From now on they come as far apart as the
 * ones that are kept, or batches larger than the interval would make the old part the sparse one.
 */
static void thin(struct log_index *x)
{
    uint64_t n = tide_pub64_own(&x->count);
    moving_begin(x);
    for (uint64_t i = 0; i < n / 2; i++)
        entry_copy(entry_at(x, i), entry_at(x, 2 * i + 1));
    tide_pub64_set(&x->count, n / 2);
    uint32_t last = place_unpack(tide_pub64_own(&entry_at(x, n / 2 - 1)->place)).position;
    uint32_t apart = (uint32_t)(last / (n / 2));
    if (x->interval_now <= UINT32_MAX / 2)
        x->interval_now = 2 * x->interval_now > apart ? 2 * x->interval_now : apart;
    moving_end(x);
}

static void entry_add(struct log_index *x, uint32_t last_relative, uint32_t position)
{
    if (tide_pub64_own(&x->count) == room(x) && !grow(x))
        thin(x);
    uint64_t n = tide_pub64_own(&x->count);
    struct log_index_entry *e = entry_at(x, n);
    tide_pub64_set(&e->place, place_pack(last_relative, position));
    tide_pub64_set(&e->time, (uint64_t)x->max_time);
    tide_pub64_set(&e->time_relative, x->max_time_relative);
    tide_pub64_set(&x->count, n + 1);
}

void log_index_add(struct log_index *x, uint32_t last_relative, uint32_t position, uint32_t bytes,
                   int64_t max_timestamp)
{
    if (max_timestamp > x->max_time) {
        x->max_time = max_timestamp;
        x->max_time_relative = last_relative;
    }
    if (x->bytes_since_entry > x->interval_now) {
        entry_add(x, last_relative, position);
        x->bytes_since_entry = 0;
    }
    x->bytes_since_entry =
        bytes > UINT32_MAX - x->bytes_since_entry ? UINT32_MAX : x->bytes_since_entry + bytes;
}

void log_index_skip(struct log_index *x, uint32_t bytes)
{
    x->bytes_since_entry = bytes;
}

/* ---- lookups ---- */

/* The number of leading entries whose key, offset or time, lies below `bound`. */
static uint64_t lower_part(const struct log_index *x, uint64_t count, bool by_time, int64_t bound)
{
    uint64_t lo = 0;
    uint64_t hi = count;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        const struct log_index_entry *e = entry_at(x, mid);
        if (e == NULL)
            return 0;
        int64_t key = by_time ? (int64_t)tide_pub64_peek(&e->time)
                              : (int64_t)(tide_pub64_peek(&e->place) >> 32);
        if (key < bound)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool look_up(const struct log_index *x, uint64_t segment, bool by_time, int64_t bound,
                    struct log_place *ret)
{
    for (int i = 0; i < LOOKUP_TRIES; i++) {
        uint64_t version = tide_pub64_peek(&x->version);
        uint64_t word = 0;
        uint64_t time = 0;
        if ((version & 1) != 0)
            continue;
        if (tide_pub64_peek(&x->segment) != segment)
            return false;
        uint64_t n = lower_part(x, tide_pub64_peek(&x->count), by_time, bound);
        const struct log_index_entry *e = n != 0 ? entry_at(x, n - 1) : NULL;
        if (e != NULL) {
            word = tide_pub64_peek(&e->place);
            time = tide_pub64_peek(&e->time);
        }
        tide_fence(); /* the entries before the second look at the version */
        if (tide_pub64_peek(&x->version) != version)
            continue;
        if (e == NULL)
            return false;
        *ret = place_unpack(word);
        ret->time = (int64_t)time;
        return true;
    }
    return false;
}

bool log_index_floor(const struct log_index *x, uint64_t segment, uint32_t relative,
                     struct log_place *ret)
{
    return look_up(x, segment, false, (int64_t)relative + 1, ret);
}

bool log_index_before_time(const struct log_index *x, uint64_t segment, int64_t timestamp,
                           struct log_place *ret)
{
    return look_up(x, segment, true, timestamp, ret);
}

/* ---- on disk ---- */

bool index_file_floor(const uint8_t *entries, uint32_t count, uint32_t relative,
                      struct log_place *ret)
{
    uint32_t lo = 0;
    uint32_t hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (load_be32(entries + (size_t)mid * LOG_INDEX_ENTRY_BYTES) <= relative)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return false;
    const uint8_t *e = entries + (size_t)(lo - 1) * LOG_INDEX_ENTRY_BYTES;
    *ret = (struct log_place){.relative = load_be32(e), .position = load_be32(e + 4)};
    return true;
}

bool index_file_before_time(const uint8_t *entries, uint32_t count, int64_t timestamp,
                            uint32_t *ret_relative)
{
    uint32_t lo = 0;
    uint32_t hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if ((int64_t)load_be64(entries + (size_t)mid * LOG_TIME_ENTRY_BYTES) < timestamp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return false;
    *ret_relative = load_be32(entries + (size_t)(lo - 1) * LOG_TIME_ENTRY_BYTES + 8);
    return true;
}

bool index_file_is_sane(const uint8_t *entries, size_t bytes, uint64_t segment_bytes, uint64_t span)
{
    int64_t relative = -1;
    int64_t position = -1;
    if (bytes % LOG_INDEX_ENTRY_BYTES != 0)
        return false;
    for (size_t i = 0; i < bytes; i += LOG_INDEX_ENTRY_BYTES) {
        if (load_be32(entries + i) <= relative || load_be32(entries + i + 4) <= position)
            return false;
        relative = load_be32(entries + i);
        position = load_be32(entries + i + 4);
    }
    return relative < (int64_t)span && position < (int64_t)segment_bytes;
}

bool time_file_is_sane(const uint8_t *entries, size_t bytes, uint64_t span)
{
    int64_t time = INT64_MIN;
    if (bytes % LOG_TIME_ENTRY_BYTES != 0)
        return false;
    for (size_t i = 0; i < bytes; i += LOG_TIME_ENTRY_BYTES) {
        int64_t t = (int64_t)load_be64(entries + i);
        if (t <= time || load_be32(entries + i + 8) >= span)
            return false;
        time = t;
    }
    return true;
}

static void image_add_time(struct index_image *image, int64_t time, uint32_t relative)
{
    uint8_t *at = image->time_index + image->time_bytes;
    if (time < 0)
        return;
    if (image->time_bytes != 0 && time <= (int64_t)load_be64(at - LOG_TIME_ENTRY_BYTES))
        return;
    store_be64(at, (uint64_t)time);
    store_be32(at + 8, relative);
    image->time_bytes += LOG_TIME_ENTRY_BYTES;
}

int log_index_image(const struct log_index *x, struct index_image *ret)
{
    uint64_t n = tide_pub64_peek(&x->count);
    struct index_image image = {0};
    image.index = malloc((n + 1) * LOG_INDEX_ENTRY_BYTES);
    image.time_index = malloc((n + 1) * LOG_TIME_ENTRY_BYTES);
    if (image.index == NULL || image.time_index == NULL) {
        index_image_free(&image);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < n; i++) {
        const struct log_index_entry *e = entry_at(x, i);
        struct log_place p = place_unpack(tide_pub64_peek(&e->place));
        store_be32(image.index + image.index_bytes, p.relative);
        store_be32(image.index + image.index_bytes + 4, p.position);
        image.index_bytes += LOG_INDEX_ENTRY_BYTES;
        image_add_time(&image, (int64_t)tide_pub64_peek(&e->time),
                       (uint32_t)tide_pub64_peek(&e->time_relative));
    }
    image_add_time(&image, x->max_time, x->max_time_relative);
    *ret = image;
    return 0;
}

uint32_t log_index_entries(const struct log_index *x, uint64_t segment, uint32_t limit, uint8_t *to,
                           uint32_t max)
{
    uint64_t version = tide_pub64_peek(&x->version);
    uint32_t n = 0;
    if ((version & 1) != 0 || tide_pub64_peek(&x->segment) != segment)
        return 0;
    uint64_t count = tide_pub64_peek(&x->count);
    for (; n < count && n < max; n++) {
        const struct log_index_entry *e = entry_at(x, n);
        if (e == NULL)
            return 0;
        struct log_place p = place_unpack(tide_pub64_peek(&e->place));
        if (p.position >= limit)
            break;
        uint8_t *at = to + (size_t)n * LOG_INDEX_STORED_BYTES;
        store_be32(at, p.relative);
        store_be32(at + 4, p.position);
        store_be64(at + 8, tide_pub64_peek(&e->time));
        store_be32(at + 16, (uint32_t)tide_pub64_peek(&e->time_relative));
    }
    tide_fence(); /* the entries before the second look at the version */
    return tide_pub64_peek(&x->version) == version ? n : 0;
}

bool log_index_put_stored(struct log_index *x, const uint8_t bytes[LOG_INDEX_STORED_BYTES],
                          uint64_t segment_bytes)
{
    uint64_t n = tide_pub64_own(&x->count);
    uint32_t relative = load_be32(bytes);
    uint32_t position = load_be32(bytes + 4);
    int64_t time = (int64_t)load_be64(bytes + 8);
    if (position >= segment_bytes || load_be32(bytes + 16) > relative)
        return false;
    if (n != 0) {
        struct log_place last = place_unpack(tide_pub64_own(&entry_at(x, n - 1)->place));
        if (relative <= last.relative || position <= last.position || time < x->max_time)
            return false;
    }
    x->max_time = time;
    x->max_time_relative = load_be32(bytes + 16);
    entry_add(x, relative, position);
    return true;
}

void index_image_free(struct index_image *image)
{
    free(image->index);
    free(image->time_index);
    *image = (struct index_image){0};
}

void log_index_check(const struct log_index *x)
{
    uint64_t n = tide_pub64_own(&x->count);
    TIDE_ASSERT(n <= room(x)); /* X2 */
    int64_t relative = -1;
    int64_t position = -1;
    int64_t time = INT64_MIN;
    for (uint64_t i = 0; i < n; i++) {
        const struct log_index_entry *e = entry_at(x, i);
        TIDE_ASSERT(e != NULL); /* X2 */
        struct log_place p = place_unpack(tide_pub64_own(&e->place));
        TIDE_ASSERT(p.relative > relative);                     /* X1 */
        TIDE_ASSERT(p.position > position);                     /* X1 */
        TIDE_ASSERT((int64_t)tide_pub64_own(&e->time) >= time); /* X1 */
        relative = p.relative;
        position = p.position;
        time = (int64_t)tide_pub64_own(&e->time);
    }
}
