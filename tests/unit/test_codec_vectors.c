/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generated readers against bytes that another encoder made, for every version of every
 * message: whole, cut at every byte, with a byte behind, and spread over many mbufs.
 */
#include "unit.h"

#include "kafka/messages.h"
#include "tidemark/random.h"
#include "tidemark/rope.h"

enum {
    BYTES_MAX = 16384,
    VERSIONS = 357, /* of all messages together */
    DAMAGES = 64,
};

static struct rte_mempool *pool;

/* Reads one of each kind; the structs are large only together. */
#define READ(message)                                                                              \
    static bool read_##message(struct wire_cursor *c, int16_t v)                                   \
    {                                                                                              \
        struct message ret;                                                                        \
        return message##_read(c, v, &ret);                                                         \
    }
READ(alter_configs_request)
READ(alter_configs_response)
READ(alter_partition_reassignments_request)
READ(alter_partition_reassignments_response)
READ(api_versions_request)
READ(api_versions_response)
READ(consumer_group_describe_request)
READ(consumer_group_describe_response)
READ(consumer_group_heartbeat_request)
READ(consumer_group_heartbeat_response)
READ(consumer_group_current_member_assignment_value)
READ(consumer_group_member_key)
READ(consumer_group_member_metadata_value)
READ(consumer_group_metadata_key)
READ(consumer_group_metadata_value)
READ(consumer_group_target_assignment_member_value)
READ(consumer_group_target_assignment_metadata_value)
READ(create_partitions_request)
READ(create_partitions_response)
READ(create_topics_request)
READ(create_topics_response)
READ(delete_groups_request)
READ(delete_groups_response)
READ(delete_records_request)
READ(delete_records_response)
READ(delete_topics_request)
READ(delete_topics_response)
READ(describe_cluster_request)
READ(describe_cluster_response)
READ(describe_configs_request)
READ(describe_configs_response)
READ(describe_groups_request)
READ(describe_groups_response)
READ(describe_log_dirs_request)
READ(describe_log_dirs_response)
READ(describe_quorum_request)
READ(describe_quorum_response)
READ(describe_topic_partitions_request)
READ(describe_topic_partitions_response)
READ(elect_leaders_request)
READ(elect_leaders_response)
READ(fetch_request)
READ(fetch_response)
READ(find_coordinator_request)
READ(find_coordinator_response)
READ(heartbeat_request)
READ(heartbeat_response)
READ(incremental_alter_configs_request)
READ(incremental_alter_configs_response)
READ(init_producer_id_request)
READ(init_producer_id_response)
READ(join_group_request)
READ(join_group_response)
READ(leave_group_request)
READ(leave_group_response)
READ(list_groups_request)
READ(list_groups_response)
READ(list_offsets_request)
READ(list_offsets_response)
READ(list_partition_reassignments_request)
READ(list_partition_reassignments_response)
READ(metadata_request)
READ(metadata_response)
READ(offset_commit_request)
READ(offset_commit_response)
READ(offset_delete_request)
READ(offset_delete_response)
READ(offset_fetch_request)
READ(offset_fetch_response)
READ(offset_for_leader_epoch_request)
READ(offset_for_leader_epoch_response)
READ(produce_request)
READ(produce_response)
READ(sync_group_request)
READ(sync_group_response)
READ(update_features_request)
READ(update_features_response)

static const struct {
    const char *name;
    bool (*read)(struct wire_cursor *, int16_t v);
    int16_t version;
    const char *hex;
} vectors[] = {
#define VECTOR(message, version, hex) {#message, read_##message, version, hex},
#include "codec_vectors.def"
#undef VECTOR
};

static uint32_t from_hex(const char *hex, uint8_t *to)
{
    uint32_t n = 0;
    for (; hex[0] != 0; hex += 2) {
        unsigned byte;
        assert_true(n < BYTES_MAX);
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        to[n++] = (uint8_t)byte;
    }
    return n;
}

/* The bytes in mbufs of exact sizes; pieces of at most piece_max bytes. */
static struct tide_rope spread(const uint8_t *bytes, uint32_t len, struct tide_random *r, uint32_t piece_max)
{
    struct tide_rope rope = {0};
    for (uint32_t at = 0; at < len;) {
        uint32_t n = 1 + (uint32_t)tide_random_below(r, piece_max);
        if (n > len - at)
            n = len - at;
        tide_rope_push(&rope, unit_exact_mbuf(pool, bytes + at, (uint16_t)n));
        at += n;
    }
    return rope;
}

static bool is_request(size_t i)
{
    const char *end = strrchr(vectors[i].name, '_');
    return end != NULL && strcmp(end, "_request") == 0;
}

static bool read_spread(size_t i, const uint8_t *bytes, uint32_t len, struct tide_random *r, uint32_t piece_max)
{
    struct tide_rope rope = spread(bytes, len, r, piece_max);
    struct wire_cursor c;
    bool good;
    wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
    good = vectors[i].read(&c, vectors[i].version);
    assert_int_equal(good, is_request(i) ? wire_taken(&c) : wire_done(&c));
    tide_rope_clear(&rope);
    return good;
}

static void expect_read(size_t i, const uint8_t *bytes, uint32_t len, struct tide_random *r, uint32_t piece_max,
                        bool want)
{
    if (read_spread(i, bytes, len, r, piece_max) != want)
        fail_msg("%s v%d, %u bytes: %s", vectors[i].name, vectors[i].version, len, want ? "refused" : "taken");
}

static void test_whole(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    struct tide_random r = {1};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++)
        expect_read(i, bytes, from_hex(vectors[i].hex, bytes), &r, BYTES_MAX, true);
}

static void test_in_pieces(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    static const uint32_t piece_max[] = {1, 2, 7, 60};
    struct tide_random r = {2};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++) {
        uint32_t len = from_hex(vectors[i].hex, bytes);
        for (size_t p = 0; p < TIDE_ARRAY_LEN(piece_max); p++)
            expect_read(i, bytes, len, &r, piece_max[p], true);
    }
}

static void test_cut_at_every_byte(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    struct tide_random r = {3};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++) {
        uint32_t len = from_hex(vectors[i].hex, bytes);
        for (uint32_t cut = 0; cut < len; cut++) {
            expect_read(i, bytes, cut, &r, BYTES_MAX, false);
            expect_read(i, bytes, cut, &r, 40, false);
        }
    }
}

/* A slice ends before its mbuf does: nothing behind it is looked at. */
static void test_cut_inside_of_an_mbuf(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++) {
        uint32_t len = from_hex(vectors[i].hex, bytes);
        struct tide_rope rope = {0};
        if (len == 0)
            continue;
        tide_rope_push(&rope, unit_exact_mbuf(pool, bytes, (uint16_t)len));
        for (uint32_t cut = 0; cut < len; cut++) {
            struct wire_cursor c;
            wire_cursor_init(&c, tide_rope_slice(&rope, 0, cut));
            assert_false(vectors[i].read(&c, vectors[i].version));
        }
        tide_rope_clear(&rope);
    }
}

/* Of a request it is not looked at. */
static void test_a_byte_behind(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    struct tide_random r = {4};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++) {
        uint32_t len = from_hex(vectors[i].hex, bytes);
        bytes[len] = 0;
        expect_read(i, bytes, len + 1, &r, BYTES_MAX, is_request(i));
    }
}

/* Damaged bytes: any answer, in bounded time, without a step outside. */
static void test_damage(void **state)
{
    static uint8_t bytes[BYTES_MAX];
    static const uint8_t nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    struct tide_random r = {5};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i++) {
        uint32_t len = from_hex(vectors[i].hex, bytes);
        for (unsigned round = 0; len != 0 && round < DAMAGES; round++) {
            uint32_t run = 1 + (uint32_t)tide_random_below(&r, 5);
            uint32_t at = (uint32_t)tide_random_below(&r, len);
            for (uint32_t k = at; k < at + run && k < len; k++)
                bytes[k] = nasty[tide_random_below(&r, sizeof(nasty))];
            (void)read_spread(i, bytes, len, &r, round % 2 ? 50 : BYTES_MAX);
            if (round % 4 == 3)
                (void)from_hex(vectors[i].hex, bytes);
        }
    }
}

/* Every version that an API has is here twice. */
static void test_nothing_is_missing(void **state)
{
    size_t rows = 0;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(vectors); i += 2) {
        assert_string_equal(vectors[i].name, vectors[i + 1].name);
        assert_int_equal(vectors[i].version, vectors[i + 1].version);
        rows++;
    }
    assert_int_equal(rows, VERSIONS);
}

static void test_pool_is_whole_again(void **state)
{
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_in_pieces),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_cut_inside_of_an_mbuf),
        cmocka_unit_test(test_a_byte_behind),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_nothing_is_missing),
        cmocka_unit_test(test_pool_is_whole_again),
    };
    unit_eal();
    pool = unit_pool("vectors", 16383, 64);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
