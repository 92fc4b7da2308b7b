/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_content.h"

#include <stdlib.h>
#include <string.h>

#include "tidemark/assert.h"
#include "tidemark/types.h"

enum { CHUNK = 65536, CHUNK_SECTORS = CHUNK / SIM_SECTOR, WRITE_BACK_ONE_IN = 4 };

struct sim_chunk {
    uint8_t now[CHUNK];
    uint8_t kept[CHUNK];
    bool forgotten[CHUNK_SECTORS];
};

/* One sector of a chunk that exists. */
struct sector {
    uint8_t *now;
    uint8_t *kept;
    bool *forgotten;
};

static const uint8_t zeros[SIM_SECTOR];

void *sim_grow(void *at, size_t count, size_t size)
{
    void *more = realloc(at, count * size);
    TIDE_ASSERT(more != NULL);
    return more;
}

uint64_t sim_digest(uint64_t digest, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++)
        digest = (digest ^ at[i]) * 0x100000001b3ull;
    return digest;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += SIM_SECTOR)
        if (memcmp(bytes + at, zeros, TIDE_MIN(len - at, (size_t)SIM_SECTOR)) != 0)
            return false;
    return true;
}

/* NULL: a hole. */
static struct sim_chunk *chunk_at(const struct sim_content *c, uint64_t number)
{
    return number < c->chunk_count ? c->chunks[number] : NULL;
}

static struct sim_chunk *chunk_make(struct sim_content *c, uint64_t number)
{
    TIDE_ASSERT(number < SIM_FILE_MAX / CHUNK);
    if (number >= c->chunk_count) {
        uint32_t count = (uint32_t)TIDE_MAX(number + 1, c->chunk_count * 2ull);
        c->chunks = sim_grow(c->chunks, count, sizeof(*c->chunks));
        memset(c->chunks + c->chunk_count, 0, (count - c->chunk_count) * sizeof(*c->chunks));
        c->chunk_count = count;
    }
    if (c->chunks[number] == NULL) {
        c->chunks[number] = calloc(1, sizeof(*c->chunks[number]));
        TIDE_ASSERT(c->chunks[number] != NULL);
    }
    return c->chunks[number];
}

static struct sector sector_of(struct sim_chunk *chunk, uint64_t i)
{
    return (struct sector){.now = chunk->now + i * SIM_SECTOR,
                           .kept = chunk->kept + i * SIM_SECTOR,
                           .forgotten = &chunk->forgotten[i]};
}

static bool sector_is_kept(const struct sector *s)
{
    return memcmp(s->now, s->kept, SIM_SECTOR) == 0;
}

/* Calls `visit` for every sector that is no hole and touches [position, position + len). */
typedef void (*sector_visit)(struct sector, void *arg);

static void sectors_visit(const struct sim_content *c, uint64_t position, uint64_t len,
                          sector_visit visit, void *arg)
{
    uint64_t end = TIDE_MIN(position + len, (uint64_t)c->chunk_count * CHUNK);
    uint64_t at = position / SIM_SECTOR * SIM_SECTOR;
    while (at < end) {
        struct sim_chunk *chunk = chunk_at(c, at / CHUNK);
        if (chunk == NULL) {
            at = (at / CHUNK + 1) * CHUNK;
            continue;
        }
        visit(sector_of(chunk, at % CHUNK / SIM_SECTOR), arg);
        at += SIM_SECTOR;
    }
}

void sim_content_deinit(struct sim_content *c)
{
    for (uint32_t i = 0; i < c->chunk_count; i++)
        free(c->chunks[i]);
    free(c->chunks);
    memset(c, 0, sizeof(*c));
}

size_t sim_content_read(const struct sim_content *c, void *buf, size_t len, uint64_t position)
{
    uint8_t *to = buf;
    if (position >= c->size)
        return 0;
    len = TIDE_MIN(len, c->size - position);
    for (size_t at = 0; at < len;) {
        uint64_t from = position + at;
        size_t n = TIDE_MIN(len - at, (size_t)(CHUNK - from % CHUNK));
        const struct sim_chunk *chunk = chunk_at(c, from / CHUNK);
        if (chunk == NULL)
            memset(to + at, 0, n);
        else
            memcpy(to + at, chunk->now + from % CHUNK, n);
        at += n;
    }
    return len;
}

/* A part of one sector gets new bytes for the reader. */
static void sector_write(struct sim_content *c, struct tide_random *chance, const uint8_t *bytes,
                         size_t len, uint64_t position)
{
    struct sim_chunk *chunk = chunk_at(c, position / CHUNK);
    if (chunk == NULL && is_zero(bytes, len))
        return;
    chunk = chunk_make(c, position / CHUNK);
    struct sector s = sector_of(chunk, position % CHUNK / SIM_SECTOR);
    if (chance != NULL && !*s.forgotten && !sector_is_kept(&s) &&
        tide_random_hits(chance, WRITE_BACK_ONE_IN))
        memcpy(s.kept, s.now, SIM_SECTOR);
    memcpy(s.now + position % SIM_SECTOR, bytes, len);
    *s.forgotten = false;
}

void sim_content_write(struct sim_content *c, struct tide_random *chance, const void *buf,
                       size_t len, uint64_t position)
{
    const uint8_t *from = buf;
    TIDE_ASSERT(position + len <= SIM_FILE_MAX);
    for (size_t at = 0; at < len;) {
        size_t n = TIDE_MIN(len - at, (size_t)(SIM_SECTOR - (position + at) % SIM_SECTOR));
        sector_write(c, chance, from + at, n, position + at);
        at += n;
    }
    c->size = TIDE_MAX(c->size, position + len);
}

static void clear_now(struct sector s, void *arg)
{
    (void)arg;
    memset(s.now, 0, SIM_SECTOR);
    *s.forgotten = false;
}

void sim_content_resize(struct sim_content *c, uint64_t size)
{
    uint64_t whole = (size + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
    TIDE_ASSERT(size <= SIM_FILE_MAX);
    if (size < c->size) {
        if (whole != size)
            sector_write(c, NULL, zeros, (size_t)(whole - size), size);
        sectors_visit(c, whole, SIM_FILE_MAX - whole, clear_now, NULL);
    }
    c->size = size;
}

static void keep_unless_forgotten(struct sector s, void *arg)
{
    (void)arg;
    if (!*s.forgotten)
        memcpy(s.kept, s.now, SIM_SECTOR);
}

void sim_content_keep(struct sim_content *c)
{
    sectors_visit(c, 0, SIM_FILE_MAX, keep_unless_forgotten, NULL);
    c->kept_size = c->size;
}

void sim_content_keep_range(struct sim_content *c, uint64_t position, uint64_t len)
{
    sectors_visit(c, position, len, keep_unless_forgotten, NULL);
    c->kept_size = TIDE_MAX(c->kept_size, TIDE_MIN(c->size, position + len));
}

static void forget(struct sector s, void *arg)
{
    (void)arg;
    *s.forgotten = !sector_is_kept(&s);
}

void sim_content_forget(struct sim_content *c)
{
    sectors_visit(c, 0, SIM_FILE_MAX, forget, NULL);
}

enum landing { LANDS_NOT, LANDS_WHOLE, LANDS_PREFIX, LANDS_ANY, LANDING_COUNT };

static void sector_land(struct sim_content *c, struct tide_random *chance, const uint8_t *bytes,
                        uint64_t position, bool torn)
{
    struct sector s = sector_of(chunk_make(c, position / CHUNK), position % CHUNK / SIM_SECTOR);
    size_t cut = torn ? (size_t)tide_random_below(chance, SIM_SECTOR + 1) : SIM_SECTOR;
    bool head = tide_random_hits(chance, 2);
    if (head || !torn)
        memcpy(s.now, bytes, cut);
    else
        memcpy(s.now + cut, bytes + cut, SIM_SECTOR - cut);
    memcpy(s.kept, s.now, SIM_SECTOR);
    *s.forgotten = false;
}

void sim_content_land(struct sim_content *c, struct tide_random *chance, const void *buf,
                      size_t len, uint64_t position, bool whole_sectors)
{
    const uint8_t *from = buf;
    enum landing landing = (enum landing)tide_random_below(chance, LANDING_COUNT);
    size_t sectors =
        position < c->size ? (size_t)(TIDE_MIN(len, c->size - position) / SIM_SECTOR) : 0;
    TIDE_ASSERT(position % SIM_SECTOR == 0);
    if (sectors == 0 || landing == LANDS_NOT)
        return;
    size_t prefix = (size_t)tide_random_below(chance, sectors + 1);
    size_t torn = (size_t)tide_random_below(chance, sectors);
    if (landing == LANDS_PREFIX)
        torn = prefix;
    for (size_t i = 0; i < sectors; i++) {
        bool tears = i == torn && !whole_sectors && landing != LANDS_WHOLE;
        bool lands = landing == LANDS_WHOLE || (landing == LANDS_PREFIX && i < prefix) ||
                     (landing == LANDS_ANY && tide_random_hits(chance, 2));
        if (lands || tears)
            sector_land(c, chance, from + i * SIM_SECTOR, position + i * SIM_SECTOR, tears);
    }
}

struct decision {
    struct tide_random *chance;
    enum sim_crash crash;
};

static void decide(struct sector s, void *arg)
{
    const struct decision *d = arg;
    bool new = d->crash == SIM_CRASH_KEEPS;
    if (!sector_is_kept(&s)) {
        if (d->crash == SIM_CRASH_RANDOM)
            new = tide_random_hits(d->chance, 2);
        if (new)
            memcpy(s.kept, s.now, SIM_SECTOR);
        else
            memcpy(s.now, s.kept, SIM_SECTOR);
    }
    *s.forgotten = false;
}

static void clear_both(struct sector s, void *arg)
{
    clear_now(s, arg);
    memset(s.kept, 0, SIM_SECTOR);
}

/* The length after a crash: the old one, the new one, or one between them. */
static uint64_t decide_size(const struct sim_content *c, const struct decision *d)
{
    uint64_t low = TIDE_MIN(c->size, c->kept_size);
    uint64_t high = TIDE_MAX(c->size, c->kept_size);
    if (d->crash != SIM_CRASH_RANDOM || low == high)
        return d->crash == SIM_CRASH_KEEPS ? c->size : c->kept_size;
    switch (tide_random_below(d->chance, 3)) {
    case 0:
        return c->kept_size;
    case 1:
        return c->size;
    default:
        return low + tide_random_below(d->chance, high - low + 1) / SIM_SECTOR * SIM_SECTOR;
    }
}

void sim_content_crash(struct sim_content *c, struct tide_random *chance, enum sim_crash crash)
{
    struct decision d = {chance, crash};
    /* Often all or nothing, which the toss of a coin for each sector hardly ever gives. */
    if (crash == SIM_CRASH_RANDOM && tide_random_hits(chance, 2))
        d.crash = tide_random_hits(chance, 2) ? SIM_CRASH_LOSES : SIM_CRASH_KEEPS;
    uint64_t size = decide_size(c, &d);
    uint64_t whole = (size + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
    sectors_visit(c, 0, SIM_FILE_MAX, decide, &d);
    sectors_visit(c, whole, SIM_FILE_MAX - whole, clear_both, NULL);
    if (whole != size) {
        sector_write(c, NULL, zeros, (size_t)(whole - size), size);
        sectors_visit(c, size, 1, keep_unless_forgotten, NULL);
    }
    c->size = c->kept_size = size;
}

void sim_content_flip(struct sim_content *c, uint64_t position, unsigned bit)
{
    struct sim_chunk *chunk = chunk_make(c, position / CHUNK);
    chunk->now[position % CHUNK] ^= (uint8_t)(1u << bit % 8);
    chunk->kept[position % CHUNK] ^= (uint8_t)(1u << bit % 8);
}

static void note_unkept(struct sector s, void *arg)
{
    if (!sector_is_kept(&s))
        *(bool *)arg = false;
}

bool sim_content_is_kept(const struct sim_content *c, uint64_t position, uint64_t len)
{
    bool kept = c->kept_size >= position + len;
    sectors_visit(c, position, len, note_unkept, &kept);
    return kept;
}

uint64_t sim_content_digest(const struct sim_content *c, bool medium, uint64_t digest)
{
    uint64_t size = medium ? c->kept_size : c->size;
    digest = sim_digest(digest, &size, sizeof(size));
    for (uint64_t at = 0; at < (uint64_t)c->chunk_count * CHUNK; at += SIM_SECTOR) {
        struct sim_chunk *chunk = chunk_at(c, at / CHUNK);
        if (chunk == NULL) {
            at += CHUNK - SIM_SECTOR;
            continue;
        }
        struct sector s = sector_of(chunk, at % CHUNK / SIM_SECTOR);
        const uint8_t *bytes = medium ? s.kept : s.now;
        if (is_zero(bytes, SIM_SECTOR))
            continue; /* a hole and written zeros are the same content */
        digest = sim_digest(digest, &at, sizeof(at));
        digest = sim_digest(digest, bytes, SIM_SECTOR);
    }
    return digest;
}

static void check_forgotten(struct sector s, void *arg)
{
    (void)arg;
    TIDE_ASSERT(!*s.forgotten || !sector_is_kept(&s)); /* F2 */
}

static void check_zero(struct sector s, void *arg)
{
    (void)arg;
    TIDE_ASSERT(is_zero(s.now, SIM_SECTOR)); /* F1 */
}

void sim_content_check(const struct sim_content *c)
{
    uint64_t whole = (c->size + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
    const struct sim_chunk *last = chunk_at(c, c->size / CHUNK);
    sectors_visit(c, 0, SIM_FILE_MAX, check_forgotten, NULL);
    sectors_visit(c, whole, SIM_FILE_MAX - whole, check_zero, NULL);
    if (last != NULL && whole != c->size)
        TIDE_ASSERT(is_zero(last->now + c->size % CHUNK, (size_t)(whole - c->size))); /* F1 */
}
