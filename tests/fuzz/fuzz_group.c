/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group coordinator that hears anything: questions of every API, replayed records, time, commitment, a log that says no, leadership that ends.
 *
 * An input is a list of steps: a byte that says what, and what belongs to it (`step` below). Questions and records are exactly sized blocks.
 * After every step the invariants hold; at the end nothing is left in the heap and in the pool.
 */
#include "../unit/unit.h"

#include "group/internal.h"
#include "kafka/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { POOL = 8191, PARTITIONS = 4, STEPS_MAX = 400, BODY_MAX = 4000 };

static struct rte_mempool *pool;
static struct tide_settings settings;
static struct view_topic topics[1];
static struct view_partition partitions[PARTITIONS];
static uint32_t by_name[4], by_id[4];
static const uint32_t no_names[1];
static struct tide_view view;

static struct tide_heap *heap;
static struct groups *g;
static struct tide_time now;
static int64_t log_end;
static uint8_t log_says; /* 0 all right, 1 full, 2 an error */
static uintptr_t cookie;

struct input {
    const uint8_t *p, *end;
};

static uint8_t byte(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static enum tide_status append(void *context, struct tide_slice batch, int64_t *ret_end, int16_t *ret_error)
{
    struct batch_header h;
    bool read = batch_header_read(batch, &h);
    TIDE_ASSERT(read && batch_size(&h) == batch.len && h.crc == batch_crc(batch) && h.record_count > 0);
    if (log_says == 1)
        return TIDE_FULL;
    *ret_error = log_says == 2 ? KAFKA_NOT_ENOUGH_REPLICAS : 0;
    if (log_says == 0)
        log_end += h.record_count;
    *ret_end = log_end;
    return TIDE_OK;
}

static struct groups *create(void)
{
    return groups_create(&(struct groups_config){.settings = &settings, .heap = heap, .pool = pool, .log = {.append = append}, .seed = 5});
}

static void begin(void)
{
    if (pool == NULL) {
        unit_eal();
        pool = unit_pool("fuzz", POOL, 512);
        settings = (struct tide_settings){
            .group_min_session_timeout_ms = 1, .group_max_session_timeout_ms = 1800000, .group_initial_rebalance_delay_ms = 100, .group_max_size = 20,
            .group_member_metadata_max_bytes = 2000, .group_groups_max = 20, .group_offsets_max = 40, .offsets_retention_minutes = 1,
            .offsets_retention_check_interval_ms = 5000, .offsets_commit_timeout_ms = 1000, .offset_metadata_max_bytes = 100,
            .group_consumer_session_timeout_ms = 10000, .group_consumer_heartbeat_interval_ms = 1000, .group_consumer_max_size = 20,
            .group_consumer_migration_policy = 3, .group_consumer_assignors = "uniform,range", .group_consumer_assignment_interval_ms = 500};
        topics[0] = (struct view_topic){.id = {{1}}, .name = "t", .name_len = 1, .partition_count = PARTITIONS, .partitions = partitions};
        tide_view_index(topics, 1, 4, by_name, by_id);
    }
    view = (struct tide_view){.version = 1, .topic_count = 1, .topics = topics, .hash_mask = 3, .by_name = by_name, .by_id = by_id};
    heap = tide_heap_create(1 << 18); /* small: full is met */
    now = (struct tide_time){.now_ns = TIDE_NS_PER_S, .wall_ms = 1000000};
    log_end = 0;
    log_says = 0;
    g = create();
    TIDE_ASSERT(g != NULL);
}

/* The next n bytes of the input, in a rope of their own. */
static struct tide_rope take(struct input *in, uint32_t n)
{
    struct tide_rope r = {0};
    n = TIDE_MIN(n, (uint32_t)(in->end - in->p));
    for (uint32_t at = 0; at < n; at += 200)
        tide_rope_push(&r, unit_exact_mbuf(pool, in->p + at, (uint16_t)TIDE_MIN(200u, n - at)));
    in->p += n;
    return r;
}

static void answers(void)
{
    struct groups_answer a;
    while (groups_next_answer(g, &a))
        tide_rope_clear(&a.body);
}

static void ask(struct input *in)
{
    static const struct {
        int16_t key, low, high;
    } apis[] = {{8, 2, 9}, {9, 1, 9}, {11, 0, 9}, {12, 0, 4}, {13, 0, 5}, {14, 0, 5}, {15, 0, 6}, {16, 0, 5}, {42, 0, 2}, {47, 0, 0}, {10, 0, 5},
                {68, 0, 1}, {69, 0, 1}};
    uint8_t api = byte(in) % (uint8_t)TIDE_ARRAY_LEN(apis), version = byte(in), head = byte(in);
    struct groups_question q = {.api_key = apis[api].key, .client_id = "c", .client_host = "/h", .view = &view, .cookie = (void *)++cookie,
                                .element = (int32_t)(head >> 5) - 1};
    uint32_t n = (uint32_t)(head & 31) << 8;
    n |= byte(in);
    q.version = (int16_t)(apis[api].low + version % (apis[api].high - apis[api].low + 1));
    struct tide_rope r = take(in, TIDE_MIN(n, (uint32_t)BODY_MAX));
    wire_cursor_init(&q.body, tide_rope_slice(&r, 0, r.len));
    (void)groups_ask(g, &now, &q);
    tide_rope_clear(&r);
}

/* One record, whole. */
static void replay(struct input *in)
{
    static uint8_t batch[8192];
    uint8_t key_len = byte(in);
    uint32_t value_len = (uint32_t)(byte(in) & 15) << 8;
    value_len |= byte(in);
    struct batch_build_record record = {.timestamp = 1};
    key_len = (uint8_t)TIDE_MIN((size_t)key_len, (size_t)(in->end - in->p));
    record.key = in->p;
    record.key_len = key_len;
    in->p += key_len;
    value_len = TIDE_MIN(value_len, (uint32_t)(in->end - in->p));
    record.value = value_len == 0 ? NULL : in->p;
    record.value_len = (int32_t)value_len;
    in->p += value_len;
    size_t n = batch_build(batch, sizeof(batch), &record, 1, -1, -1, -1);
    struct input whole = {batch, batch + n};
    struct tide_rope r = take(&whole, (uint32_t)n);
    (void)groups_replay(g, &now, tide_rope_slice(&r, 0, r.len));
    tide_rope_clear(&r);
}

static void pass(struct input *in)
{
    uint64_t ms = 1ull << byte(in) % 24;
    now.now_ns += ms * TIDE_NS_PER_MS;
    now.wall_ms += (int64_t)ms;
    groups_turn(g, &now, &view);
    (void)groups_deadline_ns(g);
}

static void leadership(void)
{
    groups_resign(g);
    groups_check(g);
    answers();
    groups_destroy(g);
    tide_heap_check(heap);
    TIDE_ASSERT(tide_heap_free_bytes(heap) == tide_heap_bytes(heap));
    g = create();
}

static void step(struct input *in)
{
    uint8_t what = byte(in);
    if (!groups_is_active(g) && what < 0xc0) {
        if (what < 0x80)
            replay(in);
        else
            groups_loaded(g, &now, log_end);
        return;
    }
    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        ask(in);
        break;
    case 3:
        pass(in);
        break;
    case 4:
        groups_on_committed(g, &now, log_end);
        answers();
        break;
    case 5:
        groups_cancel(g, (void *)(cookie - byte(in) % 8));
        break;
    case 6:
        log_says = byte(in) % 3;
        view.version++;
        view.topic_count = view.topic_count == 1 && byte(in) % 4 == 0 ? 0 : 1;
        view.hash_mask = view.topic_count == 1 ? 3 : 0;
        view.by_name = view.topic_count == 1 ? by_name : no_names;
        view.by_id = view.topic_count == 1 ? by_id : no_names;
        break;
    default:
        if (what == 0xff)
            leadership();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {bytes, bytes + len};
    begin();
    for (unsigned i = 0; i < STEPS_MAX && in.p < in.end; i++) {
        step(&in);
        groups_check(g);
    }
    groups_destroy(g);
    tide_heap_check(heap);
    TIDE_ASSERT(tide_heap_free_bytes(heap) == tide_heap_bytes(heap));
    tide_heap_destroy(heap);
    TIDE_ASSERT(rte_mempool_in_use_count(pool) == 0);
    return 0;
}
