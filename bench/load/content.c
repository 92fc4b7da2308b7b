/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/content.h"

#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "tidemark/bytes.h"
#include "tidemark/random.h"
#include "tidemark/types.h"

enum { MAGIC = 0x54644c64, AT_RUN = 4, AT_PRODUCER = 12, AT_NUMBER = 16, AT_INTENDED = 24, RECORD_ROOM = 48 };

/* ---- what is sent ------------------------------------------------------------------------------------------------ */

/* Where the values lie: found by walking what batch_build made. */
static bool find_values(struct content *c)
{
    struct batch_header h;
    struct batch_iter it;
    struct batch_record r;
    uint32_t n = 0;
    batch_header_parse(c->batch, &h);
    batch_iter_init(&it, &h, c->batch + BATCH_HEADER, c->batch_bytes - BATCH_HEADER);
    while (batch_iter_next(&it, &r))
        c->values[n++] = (uint32_t)(r.value - c->batch);
    return !it.bad && n == c->batch_records;
}

bool content_init(struct content *c, uint64_t run, uint32_t record_bytes, uint32_t batch_records, uint64_t seed)
{
    struct tide_random chance = {.state = seed};
    size_t room = BATCH_HEADER + (size_t)batch_records * (record_bytes + RECORD_ROOM);
    struct batch_build_record *records = calloc(batch_records, sizeof(*records));
    uint8_t *value = malloc(record_bytes);
    *c = (struct content){.run = run, .record_bytes = record_bytes, .batch_records = batch_records, .batch = malloc(room),
                          .values = calloc(batch_records, sizeof(uint32_t)), .fill = malloc(record_bytes)};
    bool good = records != NULL && value != NULL && c->batch != NULL && c->values != NULL && c->fill != NULL;
    if (good) {
        for (uint32_t i = 0; i < record_bytes; i++)
            value[i] = (uint8_t)tide_random_u64(&chance);
        memcpy(c->fill, value + CONTENT_HEAD, record_bytes - CONTENT_HEAD);
        for (uint32_t i = 0; i < batch_records; i++)
            records[i] = (struct batch_build_record){.value = value, .value_len = (int32_t)record_bytes};
        c->batch_bytes = (uint32_t)batch_build(c->batch, room, records, (int32_t)batch_records, -1, -1, -1);
        good = c->batch_bytes != 0 && find_values(c);
    }
    free(records);
    free(value);
    if (!good)
        content_deinit(c);
    return good;
}

void content_deinit(struct content *c)
{
    free(c->batch);
    free(c->values);
    free(c->fill);
    *c = (struct content){0};
}

void content_stamp(struct content *c, const struct content_stamp *s)
{
    for (uint32_t i = 0; i < c->batch_records; i++) {
        uint8_t *v = c->batch + c->values[i];
        store_be32(v, MAGIC);
        store_be64(v + AT_RUN, c->run);
        store_be32(v + AT_PRODUCER, s->producer);
        store_be64(v + AT_NUMBER, s->batch * c->batch_records + i);
        store_be64(v + AT_INTENDED, s->intended_ns);
    }
    store_be64(c->batch + BATCH_BASE_TIMESTAMP, (uint64_t)s->wall_ms); /* the records' deltas are 0 */
    store_be64(c->batch + BATCH_MAX_TIMESTAMP, (uint64_t)s->wall_ms);
    store_be64(c->batch + BATCH_PRODUCER_ID, (uint64_t)s->producer_id);
    store_be16(c->batch + BATCH_PRODUCER_EPOCH, (uint16_t)s->producer_epoch);
    store_be32(c->batch + BATCH_BASE_SEQUENCE, s->producer_id < 0 ? UINT32_MAX : (uint32_t)(s->batch * c->batch_records) & INT32_MAX);
    batch_seal(c->batch, c->batch_bytes);
}

/* ---- what became of it --------------------------------------------------------------------------------------------- */

bool content_fate_init(struct content_fate *f, uint64_t bound)
{
    *f = (struct content_fate){.bound = bound, .acked = calloc(bound / 64 + 1, 8), .seen = calloc(bound / 64 + 1, 8)};
    return f->acked != NULL && f->seen != NULL;
}

void content_fate_deinit(struct content_fate *f)
{
    free(f->acked);
    free(f->seen);
}

static bool bit(const uint64_t *bits, uint64_t i) { return (bits[i / 64] >> i % 64 & 1) != 0; }
static void set_bit(uint64_t *bits, uint64_t i) { bits[i / 64] |= 1ull << i % 64; }

bool content_acked(struct content_fate *f, uint64_t batch)
{
    bool fresh = !bit(f->acked, batch);
    set_bit(f->acked, batch);
    return fresh;
}

bool content_producer(const struct content *c, const uint8_t *value, size_t len, uint32_t *ret_producer)
{
    if (len < CONTENT_HEAD || load_be32(value) != MAGIC || load_be64(value + AT_RUN) != c->run)
        return false;
    *ret_producer = load_be32(value + AT_PRODUCER);
    return true;
}

static enum content_verdict first_of_batch(struct content_fate *f, uint64_t number, uint64_t batch)
{
    f->at = number;
    f->again = bit(f->seen, batch);
    if (f->again)
        return CONTENT_DUPLICATE;
    set_bit(f->seen, batch);
    if (batch < f->highest)
        return CONTENT_DISORDER;
    f->highest = batch + 1;
    return CONTENT_FIRST;
}

enum content_verdict content_seen(const struct content *c, struct content_fate *f, const uint8_t *value, size_t len, uint64_t *ret_intended_ns)
{
    uint64_t number = load_be64(value + AT_NUMBER), batch = number / c->batch_records;
    if (len != c->record_bytes || batch >= f->bound || memcmp(value + CONTENT_HEAD, c->fill, len - CONTENT_HEAD) != 0)
        return CONTENT_DAMAGED;
    *ret_intended_ns = load_be64(value + AT_INTENDED);
    if (number % c->batch_records == 0)
        return first_of_batch(f, number, batch);
    if (number != f->at + 1)
        return CONTENT_DAMAGED; /* batches are whole */
    f->at = number;
    return f->again ? CONTENT_DUPLICATE : CONTENT_MORE;
}

uint64_t content_missing(const struct content_fate *f)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i <= f->bound / 64; i++)
        n += (uint64_t)__builtin_popcountll(f->acked[i] & ~f->seen[i]);
    return n;
}
