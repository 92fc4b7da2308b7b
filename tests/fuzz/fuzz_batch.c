/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a record batch: header, checksum, the walk over two pieces, the iterator over one.
 *
 * An input is a byte of limits, two bytes that say where the rest is cut, and the rest. All blocks
 * are exactly sized. What the walk takes the iterator gives, record by record.
 */
#include "../unit/unit.h"

#include "kafka/batch.h"
#include "tidemark/assert.h"
#include "tidemark/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { POOL = 63, INPUT_HEAD = 3, INPUT_MAX = 65535 };

static struct rte_mempool *pool;

static void walk(struct tide_slice batch, const struct batch_header *h, uint8_t how, struct batch_walk *ret)
{
    const struct batch_walk_limits limits = {.refuse_null_keys = how & 1,
                                             .check_timestamps = how & 2,
                                             .timestamp_min = how & 4 ? INT64_MIN : 0,
                                             .timestamp_max = how & 8 ? INT64_MAX : 1000000};
    batch_walk_records(batch, h, &limits, ret);
    TIDE_ASSERT((ret->error == 0) == (ret->message == NULL));
    TIDE_ASSERT(ret->bad_record >= -1 && ret->bad_record <= (int64_t)batch.len);
}

static bool inside(const uint8_t *p, int64_t n, const uint8_t *from, size_t len)
{
    return n >= 0 && p >= from && n <= from + len - p;
}

static void iterate(const struct batch_header *h, const uint8_t *records, size_t len, bool good)
{
    struct batch_iter it;
    struct batch_record r;
    int64_t count = 0;
    batch_iter_init(&it, h, records, len);
    while (batch_iter_next(&it, &r)) {
        TIDE_ASSERT(r.key == NULL || inside(r.key, r.key_len, records, len));
        TIDE_ASSERT(r.value == NULL || inside(r.value, r.value_len, records, len));
        TIDE_ASSERT(inside(r.headers, r.headers_len, records, len));
        count++;
    }
    TIDE_ASSERT(count <= (int64_t)len);
    TIDE_ASSERT(!good || (!it.bad && count == TIDE_MAX(h->record_count, 0)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct tide_rope r = {0};
    struct batch_header h;
    struct batch_walk walked;
    if (len < INPUT_HEAD || len > INPUT_MAX)
        return 0;
    if (pool == NULL) {
        unit_eal();
        pool = unit_pool("fuzz_batch", POOL, 0);
    }
    const uint8_t *batch = bytes + INPUT_HEAD;
    size_t rest = len - INPUT_HEAD;
    size_t cut = (size_t)(bytes[1] << 8 | bytes[2]) % (rest + 1);
    tide_rope_push(&r, unit_exact_mbuf(pool, batch, (uint16_t)cut));
    tide_rope_push(&r, unit_exact_mbuf(pool, batch + cut, (uint16_t)(rest - cut)));
    struct tide_slice s = tide_rope_slice(&r, 0, r.len);
    if (batch_header_read(s, &h)) {
        uint8_t again[BATCH_HEADER];
        batch_header_store(&h, again);
        TIDE_ASSERT(memcmp(again, batch, BATCH_HEADER) == 0);
        TIDE_ASSERT(batch_crc(s) == batch_crc_update(0, batch + BATCH_ATTRIBUTES, rest - BATCH_ATTRIBUTES));
        walk(s, &h, bytes[0], &walked);
        iterate(&h, batch + BATCH_HEADER, rest - BATCH_HEADER, walked.error == 0);
    }
    tide_rope_clear(&r);
    TIDE_ASSERT(rte_mempool_avail_count(pool) == POOL);
    return 0;
}
