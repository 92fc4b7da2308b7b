/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <isa-l.h>

#include "node/rpc.h"

static uint8_t frame[1 << 16];
static uint8_t list[256];
static uint8_t payload[64];

static struct rpc_message message(enum rpc_kind kind)
{
    struct rpc_message m = {.kind = kind, .sender = 7, .receiver = 9};
    memset(&m.cluster, 0x11, sizeof(m.cluster));
    memset(&m.incarnation, 0x22, sizeof(m.incarnation));
    return m;
}

/* One of every kind, with everything in it that can vary. */
static struct rpc_message sample(enum rpc_kind kind)
{
    struct rpc_message m = message(kind);
    size_t at = 0;
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7);
    switch (kind) {
    case RPC_HELLO:
        m.hello = (struct rpc_hello){1, 3, true, true};
        break;
    case RPC_HELLO_REPLY:
        m.hello_reply.result = RPC_ID_IN_USE;
        snprintf(m.hello_reply.reason, sizeof(m.hello_reply.reason), "broker 7 runs already");
        break;
    case RPC_RAFT:
        m.raft = (struct rpc_bytes){payload, 64};
        break;
    case RPC_SUBMIT:
        m.submit = (struct rpc_submit){1, UINT64_MAX, {payload, 17}};
        break;
    case RPC_SUBMIT_REPLY:
        m.submit_reply = (struct rpc_submit_reply){1, 2, RPC_NOT_CONTROLLER, -1};
        break;
    case RPC_HEARTBEAT:
        m.heartbeat = (struct rpc_heartbeat){.number = 3, .epoch = -1, .version = 5, .wants_fenced = true, .wants_shutdown = true};
        m.heartbeat.health.faulty = true;
        m.heartbeat.health.silent_count = HEALTH_SILENT_MAX;
        m.heartbeat.health.offline_count = HEALTH_OFFLINE_MAX;
        for (int i = 0; i < HEALTH_SILENT_MAX; i++)
            m.heartbeat.health.silent[i] = (struct health_silence){i, (uint32_t)i * 10, UINT32_MAX};
        for (int i = 0; i < HEALTH_OFFLINE_MAX; i++)
            m.heartbeat.health.offline[i].bytes[3] = (uint8_t)i;
        break;
    case RPC_HEARTBEAT_REPLY:
        m.heartbeat_reply = (struct rpc_heartbeat_reply){3, 77, true, true, 4};
        break;
    case RPC_PULL:
        m.pull = (struct rpc_pull){1, 2, 3};
        break;
    case RPC_ENTRIES:
        at = rpc_entry_put(list, at, payload, 5);
        at = rpc_entry_put(list, at, NULL, 0);
        at = rpc_entry_put(list, at, payload, 64);
        m.entries = (struct rpc_entries){.first = 10, .end = 13, .controller = 2, .term = 8, .count = 3, .list = {list, at}};
        break;
    case RPC_CHUNK:
        m.chunk = (struct rpc_chunk){10, 100, 36, 2, 8, {payload, 64}};
        break;
    default:
        m.probe = (struct rpc_probe){123, 4};
    }
    return m;
}

static void seal(size_t len)
{
    uint32_t crc = ~crc32_iscsi(frame + 8, (int)len - 8, ~0u);
    uint32_t said = (uint32_t)len - 4;
    memcpy(frame, &said, 4);
    memcpy(frame + 4, &crc, 4);
}

static void test_there_and_back(void **state)
{
    for (enum rpc_kind kind = RPC_HELLO; kind < RPC_KIND_COUNT; kind++) {
        struct rpc_message m = sample(kind), back;
        static uint8_t again[sizeof(frame)];
        size_t len = rpc_encode(&m, frame), said;
        assert_true(len <= rpc_size_max(&m));
        assert_int_equal(rpc_frame_len(frame, len, RPC_FRAME_MAX, &said), TIDE_OK);
        assert_int_equal(said, len);
        assert_int_equal(rpc_decode(frame, len, &back), TIDE_OK);
        assert_int_equal(back.kind, kind);
        assert_int_equal(back.sender, 7);
        assert_int_equal(back.receiver, 9);
        assert_true(tide_uuid_equal(&back.cluster, &m.cluster));
        assert_int_equal(rpc_encode(&back, again), len);
        assert_memory_equal(frame, again, len);
    }
}

static void test_fields(void **state)
{
    struct rpc_message m = sample(RPC_HEARTBEAT), back;
    size_t len = rpc_encode(&m, frame);
    assert_int_equal(rpc_decode(frame, len, &back), TIDE_OK);
    assert_int_equal(back.heartbeat.epoch, -1);
    assert_true(back.heartbeat.wants_fenced && back.heartbeat.wants_shutdown && back.heartbeat.health.faulty);
    assert_int_equal(back.heartbeat.health.silent[31].broker, 31);
    assert_int_equal(back.heartbeat.health.offline[15].bytes[3], 15);
    m = sample(RPC_ENTRIES);
    len = rpc_encode(&m, frame);
    assert_int_equal(rpc_decode(frame, len, &back), TIDE_OK);
    struct rpc_bytes entry;
    assert_true(rpc_entry_next(&back.entries.list, &entry));
    assert_int_equal(entry.len, 5);
    assert_true(rpc_entry_next(&back.entries.list, &entry));
    assert_int_equal(entry.len, 0);
    assert_true(rpc_entry_next(&back.entries.list, &entry));
    assert_memory_equal(entry.at, payload, 64);
    assert_false(rpc_entry_next(&back.entries.list, &entry));
}

static void test_a_flipped_bit_is_found(void **state)
{
    for (enum rpc_kind kind = RPC_HELLO; kind < RPC_KIND_COUNT; kind++) {
        struct rpc_message m = sample(kind), back;
        size_t len = rpc_encode(&m, frame);
        for (size_t bit = 0; bit < len * 8; bit++) {
            frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(rpc_decode(frame, len, &back), TIDE_BAD);
            frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* Every shorter or longer body with a right sum is refused: no field is read past the end, none is left. */
static void test_other_lengths(void **state)
{
    for (enum rpc_kind kind = RPC_HELLO; kind < RPC_KIND_COUNT; kind++) {
        struct rpc_message m = sample(kind), back;
        size_t len = rpc_encode(&m, frame);
        for (size_t cut = RPC_HEADER; cut <= len + 3; cut++) {
            uint8_t *exact = malloc(cut);
            (void)rpc_encode(&m, frame);
            memset(frame + len, 0, 8);
            seal(cut);
            memcpy(exact, frame, cut);
            if (cut != len)
                assert_int_equal(rpc_decode(exact, cut, &back), TIDE_BAD);
            free(exact);
        }
    }
}

static void test_lengths_of_frames(void **state)
{
    static const struct {
        uint32_t said;
        size_t max;
        enum tide_status status;
    } cases[] = {
        {RPC_HEADER - 4, RPC_FRAME_MAX, TIDE_OK},
        {RPC_HEADER - 5, RPC_FRAME_MAX, TIDE_BAD},
        {0, RPC_FRAME_MAX, TIDE_BAD},
        {UINT32_MAX, RPC_FRAME_MAX, TIDE_BAD},
        {RPC_FRAME_MAX - 4, RPC_FRAME_MAX, TIDE_OK},
        {RPC_FRAME_MAX - 3, RPC_FRAME_MAX, TIDE_BAD},
        {RPC_HELLO_FRAME_MAX - 3, RPC_HELLO_FRAME_MAX, TIDE_BAD},
    };
    size_t len;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        assert_int_equal(rpc_frame_len((const uint8_t *)&cases[i].said, 4, cases[i].max, &len), cases[i].status);
    assert_int_equal(rpc_frame_len((const uint8_t *)&cases[0].said, 3, RPC_FRAME_MAX, &len), TIDE_AGAIN);
}

static void test_hostile_fields(void **state)
{
    static const struct {
        enum rpc_kind kind;
        size_t at; /* behind the header */
        uint8_t value;
    } cases[] = {
        {RPC_HELLO, 2, 4},
        {RPC_HELLO_REPLY, 0, RPC_HELLO_RESULT_COUNT},
        {RPC_HELLO_REPLY, 5, '\n'},                      /* would forge a line of the log */
        {RPC_SUBMIT_REPLY, 16, RPC_SUBMIT_RESULT_COUNT},
        {RPC_HEARTBEAT, 24, 8},
        {RPC_HEARTBEAT, 25, HEALTH_SILENT_MAX + 1},
        {RPC_HEARTBEAT, 26, HEALTH_OFFLINE_MAX + 1},
        {RPC_HEARTBEAT_REPLY, 10, 4},
        {RPC_ENTRIES, 28, 2},                            /* fewer than there are */
        {RPC_ENTRIES, 28, 4},
        {RPC_ENTRIES, 8, 12},                            /* more than the sender has */
        {RPC_ENTRIES, 36, 255},                          /* length of the first */
        {RPC_CHUNK, 8, 99},                              /* beyond the total */
        {RPC_CHUNK, 16, 101},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct rpc_message m = sample(cases[i].kind), back;
        size_t len = rpc_encode(&m, frame);
        frame[RPC_HEADER + cases[i].at] = cases[i].value;
        seal(len);
        if (rpc_decode(frame, len, &back) != TIDE_BAD)
            fail_msg("case %zu", i);
    }
    for (unsigned kind = 0; kind < 256; kind++) {
        struct rpc_message m = sample(RPC_PROBE), back;
        size_t len = rpc_encode(&m, frame);
        frame[9] = (uint8_t)kind;
        seal(len);
        if (kind == 0 || kind >= RPC_KIND_COUNT)
            assert_int_equal(rpc_decode(frame, len, &back), TIDE_BAD);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_a_flipped_bit_is_found),
        cmocka_unit_test(test_other_lengths),
        cmocka_unit_test(test_lengths_of_frames),
        cmocka_unit_test(test_hostile_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
