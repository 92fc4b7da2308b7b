/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "replica/peer.h"
#include "tidemark/bytes.h"

enum { POOL = 255, ROOM = 256, VERSION = 1 };

static struct rte_mempool *pool;

static int setup(void **state)
{
    (void)state;
    unit_eal();
    pool = unit_pool("peer", POOL, ROOM);
    return 0;
}

static size_t unhex(const char *text, uint8_t *to)
{
    size_t n = 0;
    for (; *text != 0; text += *text == ' ' ? 1 : 2) {
        unsigned v;
        if (*text == ' ')
            continue;
        assert_int_equal(sscanf(text, "%2x", &v), 1);
        to[n++] = (uint8_t)v;
        if (text[1] == 0)
            break;
    }
    return n;
}

static const struct peer_hello hello = {.version_min = 1, .version_max = 3, .cluster_id = {{0xc1, [15] = 0xc2}}, .broker = 7,
                                        .incarnation = {{0xa1, [15] = 0xa2}}, .broker_epoch = 0x1122334455667788, .core_count = 4, .core = 3};
static const struct peer_subscribe subscribe = {.tag = 5, .topic_id = {{0xd1, [15] = 0xd2}}, .partition = 6, .leader_epoch = 8,
                                                .last_epoch = -1, .log_end = 0x0102030405060708, .credit = 0x100000};
static const struct peer_truncate truncation = {.tag = 5, .leader_epoch = 9, .epoch = 8, .end_offset = 77, .skip = true};
static const struct peer_granted granted = {.tag = 5, .place = 17, .number = 0xdeadbeef, .leader_epoch = 8, .log_end = 100, .high_watermark = 90, .log_start = 10};
static const struct peer_append append = {.tag = 5, .number = 0xdeadbeef, .leader_epoch = 8, .base_offset = 90, .log_end = 100, .high_watermark = 80,
                                          .log_start = 10, .sent_ns = 0x1020304050607080, .compacted = true, .bytes = 3};
static const struct peer_ack acks[2] = {{.place = 17, .number = 1, .leader_epoch = 8, .log_end = 100, .durable_end = 90, .credit = 4096},
                                        {.place = 18, .number = 2, .leader_epoch = 9, .log_end = 0, .durable_end = 0, .credit = 1}};
static const struct peer_beat beats[1] = {{.tag = 5, .number = 3, .leader_epoch = 8, .log_end = 100, .high_watermark = 90, .log_start = 10}};
static const struct peer_refused refused = {.tag = PEER_TAG_NONE, .error = 6, .leader_epoch = -1};

enum sample { S_HELLO, S_SUBSCRIBE, S_TRUNCATE, S_GRANTED, S_APPEND, S_ACK, S_EMPTY_ACK, S_BEAT, S_UNSUBSCRIBE, S_REFUSED, SAMPLES };

static const char *const samples[SAMPLES] = {
    [S_HELLO] = "0000003c 01 01 54444d50 01 03 c10000000000000000000000000000c2 00000007 a10000000000000000000000000000a2"
                "1122334455667788 0004 0003 00000000",
    [S_SUBSCRIBE] = "00000032 02 01 00000005 d10000000000000000000000000000d2 00000006 00000008 ffffffff 0102030405060708 0000000000100000",
    [S_TRUNCATE] = "00000017 03 01 00000005 00000009 00000008 000000000000004d 01",
    [S_GRANTED] = "0000002a 04 01 00000005 00000011 deadbeef 00000008 0000000000000064 000000000000005a 000000000000000a",
    [S_APPEND] = "0000003e 05 01 00000005 deadbeef 00000008 000000000000005a 0000000000000064 0000000000000050 000000000000000a"
                 "1020304050607080 01 00000003 616263",
    [S_ACK] = "0000004e 06 01 00000002 00000011 00000001 00000008 0000000000000064 000000000000005a 0000000000001000"
              "00000012 00000002 00000009 0000000000000000 0000000000000000 0000000000000001",
    [S_EMPTY_ACK] = "00000006 06 01 00000000",
    [S_BEAT] = "00000032 07 01 0000000000000009 00000001 00000005 00000003 00000008 0000000000000064 000000000000005a 000000000000000a",
    [S_UNSUBSCRIBE] = "0000000a 08 01 00000011 deadbeef",
    [S_REFUSED] = "0000000c 09 01 ffffffff 0006 ffffffff",
};

static enum tide_status put(enum sample i, struct tide_rope *out)
{
    struct tide_rope records = {0};
    enum tide_status status;
    switch (i) {
    case S_HELLO: return peer_put_hello(out, pool, &hello);
    case S_SUBSCRIBE: return peer_put_subscribe(out, pool, VERSION, &subscribe);
    case S_TRUNCATE: return peer_put_truncate(out, pool, VERSION, &truncation);
    case S_GRANTED: return peer_put_granted(out, pool, VERSION, &granted);
    case S_APPEND:
        assert_int_equal(tide_rope_copy_in(&records, pool, "abc", 3), TIDE_OK);
        status = peer_put_append(out, pool, VERSION, &append, &records);
        assert_int_equal(records.len, status == TIDE_OK ? 0 : 3);
        tide_rope_clear(&records);
        return status;
    case S_ACK: return peer_put_acks(out, pool, VERSION, acks, 2);
    case S_EMPTY_ACK: return peer_put_acks(out, pool, VERSION, NULL, 0);
    case S_BEAT: return peer_put_beats(out, pool, VERSION, 9, beats, 1);
    case S_UNSUBSCRIBE: return peer_put_unsubscribe(out, pool, VERSION, 17, 0xdeadbeef);
    default: return peer_put_refused(out, pool, VERSION, &refused);
    }
}

static uint32_t sample_bytes(enum sample i, uint8_t *to)
{
    return (uint32_t)unhex(samples[i], to);
}

/* In two exactly sized pieces, so that a field lies across them for some `cut`. */
static struct tide_rope rope_of(const uint8_t *bytes, uint32_t len, uint32_t cut)
{
    struct tide_rope r = {0};
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes, (uint16_t)cut));
    tide_rope_push(&r, unit_exact_mbuf(pool, bytes + cut, (uint16_t)(len - cut)));
    return r;
}

static enum tide_status read_bytes(const uint8_t *bytes, uint32_t len, uint8_t version, struct peer_message *ret)
{
    struct tide_rope r = rope_of(bytes, len, len / 2);
    enum tide_status status = peer_read(tide_rope_slice(&r, 0, r.len), version, ret);
    tide_rope_clear(&r); /* what `rest` names is not looked at */
    return status;
}

static void test_exact_bytes(void **state)
{
    (void)state;
    for (enum sample i = 0; i < SAMPLES; i++) {
        uint8_t want[ROOM], got[ROOM];
        struct tide_rope out = {0};
        uint32_t n = sample_bytes(i, want);
        assert_int_equal(put(i, &out), TIDE_OK);
        assert_int_equal(out.len, n);
        tide_slice_copy(tide_rope_slice(&out, 0, n), got);
        assert_memory_equal(got, want, n);
        assert_int_equal(peer_front(&out, 1000), n);
        tide_rope_clear(&out);
    }
}

static void check_fields(enum sample i, struct peer_message *m)
{
    struct peer_ack a;
    struct peer_beat b;
    uint8_t records[3];
    switch (i) {
    case S_HELLO:
        assert_int_equal(m->hello.version_min, 1);
        assert_int_equal(m->hello.version_max, 3);
        assert_true(tide_uuid_equal(&m->hello.cluster_id, &hello.cluster_id));
        assert_int_equal(m->hello.broker, 7);
        assert_true(tide_uuid_equal(&m->hello.incarnation, &hello.incarnation));
        assert_int_equal(m->hello.broker_epoch, hello.broker_epoch);
        assert_int_equal(m->hello.core_count, 4);
        assert_int_equal(m->hello.core, 3);
        break;
    case S_SUBSCRIBE:
        assert_int_equal(m->subscribe.tag, 5);
        assert_true(tide_uuid_equal(&m->subscribe.topic_id, &subscribe.topic_id));
        assert_int_equal(m->subscribe.partition, 6);
        assert_int_equal(m->subscribe.leader_epoch, 8);
        assert_int_equal(m->subscribe.last_epoch, -1);
        assert_int_equal(m->subscribe.log_end, subscribe.log_end);
        assert_int_equal(m->subscribe.credit, subscribe.credit);
        break;
    case S_TRUNCATE:
        assert_int_equal(m->truncate.tag, 5);
        assert_int_equal(m->truncate.leader_epoch, 9);
        assert_int_equal(m->truncate.epoch, 8);
        assert_int_equal(m->truncate.end_offset, 77);
        assert_true(m->truncate.skip);
        break;
    case S_GRANTED:
        assert_int_equal(m->granted.place, 17);
        assert_int_equal(m->granted.number, 0xdeadbeef);
        assert_int_equal(m->granted.log_end, 100);
        assert_int_equal(m->granted.high_watermark, 90);
        assert_int_equal(m->granted.log_start, 10);
        break;
    case S_APPEND:
        assert_int_equal(m->append.tag, 5);
        assert_int_equal(m->append.number, 0xdeadbeef);
        assert_int_equal(m->append.base_offset, 90);
        assert_int_equal(m->append.log_end, 100);
        assert_int_equal(m->append.high_watermark, 80);
        assert_int_equal(m->append.sent_ns, append.sent_ns);
        assert_true(m->append.compacted);
        assert_int_equal(m->rest.len, 3);
        tide_slice_copy(m->rest, records);
        assert_memory_equal(records, "abc", 3);
        break;
    case S_ACK:
        for (unsigned k = 0; k < 2; k++) {
            assert_true(peer_next_ack(m, &a));
            assert_int_equal(a.place, acks[k].place);
            assert_int_equal(a.number, acks[k].number);
            assert_int_equal(a.leader_epoch, acks[k].leader_epoch);
            assert_int_equal(a.log_end, acks[k].log_end);
            assert_int_equal(a.durable_end, acks[k].durable_end);
            assert_int_equal(a.credit, acks[k].credit);
        }
        assert_false(peer_next_ack(m, &a));
        break;
    case S_EMPTY_ACK: assert_false(peer_next_ack(m, &a)); break;
    case S_BEAT:
        assert_int_equal(m->beat.sent_ns, 9);
        assert_true(peer_next_beat(m, &b));
        assert_int_equal(b.tag, beats[0].tag);
        assert_int_equal(b.number, beats[0].number);
        assert_int_equal(b.leader_epoch, beats[0].leader_epoch);
        assert_int_equal(b.log_end, beats[0].log_end);
        assert_int_equal(b.high_watermark, beats[0].high_watermark);
        assert_int_equal(b.log_start, beats[0].log_start);
        assert_false(peer_next_beat(m, &b));
        break;
    case S_UNSUBSCRIBE:
        assert_int_equal(m->unsubscribe.place, 17);
        assert_int_equal(m->unsubscribe.number, 0xdeadbeef);
        break;
    default:
        assert_int_equal(m->refused.tag, PEER_TAG_NONE);
        assert_int_equal(m->refused.error, 6);
        assert_int_equal(m->refused.leader_epoch, -1);
    }
}

static void test_read_back_cut_anywhere(void **state)
{
    (void)state;
    for (enum sample i = 0; i < SAMPLES; i++) {
        uint8_t bytes[ROOM];
        uint32_t n = sample_bytes(i, bytes);
        for (uint32_t cut = 0; cut <= n; cut++) {
            struct tide_rope r = rope_of(bytes, n, cut);
            struct peer_message m;
            assert_int_equal(peer_read(tide_rope_slice(&r, 0, n), VERSION, &m), TIDE_OK);
            assert_int_equal(m.kind, bytes[4]);
            check_fields(i, &m);
            tide_rope_clear(&r);
        }
    }
}

/* Every shorter message is either not whole yet, or, with a length that says so, malformed. */
static void test_truncated_at_every_byte(void **state)
{
    (void)state;
    for (enum sample i = 0; i < SAMPLES; i++) {
        uint8_t bytes[ROOM];
        uint32_t n = sample_bytes(i, bytes);
        for (uint32_t len = 0; len < n; len++) {
            struct tide_rope r = rope_of(bytes, len, len / 3);
            struct peer_message m;
            int64_t front = peer_front(&r, 1000);
            assert_true(front == 0 ? len < 4 : front == n);
            tide_rope_clear(&r);
            assert_int_equal(read_bytes(bytes, len, VERSION, &m), TIDE_BAD);
            if (len < PEER_HEAD)
                continue;
            store_be32(bytes, len - 4);
            assert_int_equal(read_bytes(bytes, len, VERSION, &m), TIDE_BAD);
            (void)sample_bytes(i, bytes);
        }
    }
}

static void test_one_byte_more(void **state)
{
    (void)state;
    for (enum sample i = 0; i < SAMPLES; i++) {
        uint8_t bytes[ROOM];
        struct peer_message m;
        uint32_t n = sample_bytes(i, bytes);
        bytes[n] = 0;
        store_be32(bytes, n + 1 - 4);
        /* A HELLO of a later version may say more. */
        assert_int_equal(read_bytes(bytes, n + 1, VERSION, &m), i == S_HELLO ? TIDE_OK : TIDE_BAD);
    }
}

static void test_lengths(void **state)
{
    static const struct {
        uint32_t length, limit;
        int64_t front;
    } cases[] = {
        {0, 1000, -1}, {1, 1000, -1}, {2, 1000, 6}, {996, 1000, 1000}, {997, 1000, -1}, {0x7fffffff, 1000, -1}, {0xffffffff, 1000, -1},
        {0x16030100, 1 << 20, -1} /* a TLS hello */, {0x47455420, 1 << 20, -1} /* "GET " */,
    };
    (void)state;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        uint8_t bytes[4];
        store_be32(bytes, cases[i].length);
        struct tide_rope r = rope_of(bytes, 4, 1);
        assert_int_equal(peer_front(&r, cases[i].limit), cases[i].front);
        tide_rope_clear(&r);
    }
}

/* One field of a good message is made impossible. */
static void test_impossible_fields(void **state)
{
    static const struct {
        const char *name;
        enum sample sample;
        uint32_t at;
        const char *bytes;
    } cases[] = {
        {"no magic", S_HELLO, 6, "54444d51"},
        {"versions from 0", S_HELLO, 10, "00"},
        {"versions that end before they begin", S_HELLO, 10, "04"},
        {"a negative broker", S_HELLO, 28, "80000000"},
        {"a core beyond the cores", S_HELLO, 58, "0004"},
        {"too many cores", S_HELLO, 56, "0100"},
        {"an unknown kind", S_ACK, 4, "0a"},
        {"kind 0", S_ACK, 4, "00"},
        {"another version", S_ACK, 5, "02"},
        {"a negative tag", S_SUBSCRIBE, 6, "ffffffff"},
        {"a negative partition", S_SUBSCRIBE, 26, "ffffffff"},
        {"a negative leader epoch", S_SUBSCRIBE, 30, "ffffffff"},
        {"an epoch below -1", S_SUBSCRIBE, 34, "fffffffe"},
        {"a negative end", S_SUBSCRIBE, 38, "8000000000000000"},
        {"a negative end", S_TRUNCATE, 18, "ffffffffffffffff"},
        {"unknown flags", S_TRUNCATE, 26, "03"},
        {"a mark above the end", S_GRANTED, 30, "0000000000000065"},
        {"a start above the end", S_GRANTED, 38, "0000000000000065"},
        {"a negative mark", S_GRANTED, 30, "ffffffffffffffff"},
        {"a negative tag", S_APPEND, 6, "80000000"},
        {"unknown flags", S_APPEND, 58, "02"},
        {"more records than bytes", S_APPEND, 59, "00000004"},
        {"fewer records than bytes", S_APPEND, 59, "00000002"},
        {"records behind the end", S_APPEND, 18, "0000000000000065"},
        {"a mark above the end", S_APPEND, 34, "0000000000000065"},
        {"a negative start", S_APPEND, 42, "ffffffffffffffff"},
        {"more entries than bytes", S_ACK, 6, "00000003"},
        {"fewer entries than bytes", S_ACK, 6, "00000001"},
        {"a count bomb", S_ACK, 6, "7fffffff"},
        {"a count whose bytes wrap around", S_BEAT, 14, "40000001"},
        {"no error", S_REFUSED, 10, "0000"},
        {"a tag below none", S_REFUSED, 6, "fffffffe"},
    };
    (void)state;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        uint8_t bytes[ROOM];
        struct peer_message m;
        uint32_t n = sample_bytes(cases[i].sample, bytes);
        (void)unhex(cases[i].bytes, bytes + cases[i].at);
        if (read_bytes(bytes, n, VERSION, &m) != TIDE_BAD)
            fail_msg("%s was taken", cases[i].name);
    }
}

static void test_an_append_without_records(void **state)
{
    uint8_t bytes[ROOM];
    struct peer_message m;
    uint32_t n = sample_bytes(S_APPEND, bytes) - 3;
    (void)state;
    store_be32(bytes, n - 4);
    store_be32(bytes + 59, 0);
    assert_int_equal(read_bytes(bytes, n, VERSION, &m), TIDE_BAD);
}

static void test_too_many_entries(void **state)
{
    static uint8_t bytes[PEER_SMALL_MAX + 2 * PEER_ACK_BYTES];
    struct peer_message m;
    uint32_t n = PEER_HEAD + 4 + (PEER_ENTRIES_MAX + 1) * PEER_ACK_BYTES;
    (void)state;
    store_be32(bytes, n - 4);
    bytes[4] = PEER_ACK;
    bytes[5] = VERSION;
    store_be32(bytes + 6, PEER_ENTRIES_MAX + 1);
    assert_int_equal(read_bytes(bytes, n, VERSION, &m), TIDE_BAD);
    n -= PEER_ACK_BYTES;
    store_be32(bytes, n - 4);
    store_be32(bytes + 6, PEER_ENTRIES_MAX);
    assert_int_equal(read_bytes(bytes, n, VERSION, &m), TIDE_OK);
}

/* Before versions are agreed on nothing but the greeting is taken. */
static void test_before_the_greeting(void **state)
{
    (void)state;
    for (enum sample i = 0; i < SAMPLES; i++) {
        uint8_t bytes[ROOM];
        struct peer_message m;
        uint32_t n = sample_bytes(i, bytes);
        assert_int_equal(read_bytes(bytes, n, 0, &m), i == S_HELLO || i == S_REFUSED ? TIDE_OK : TIDE_BAD);
    }
}

static void test_versions(void **state)
{
    static const struct {
        uint8_t their_min, their_max, our_min, our_max, version;
    } cases[] = {{1, 1, 1, 1, 1}, {1, 3, 1, 2, 2}, {1, 2, 1, 3, 2}, {3, 5, 1, 2, 0}, {1, 2, 3, 5, 0}, {2, 4, 4, 9, 4}, {7, 7, 7, 7, 7}};
    (void)state;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        struct peer_hello h = {.version_min = cases[i].their_min, .version_max = cases[i].their_max};
        assert_int_equal(peer_version_of(&h, cases[i].our_min, cases[i].our_max), cases[i].version);
    }
}

/* An empty pool leaves no half a message behind. */
static void test_no_memory(void **state)
{
    struct rte_mbuf *held[POOL + 1]; /* the last take finds nothing */
    struct tide_rope out = {0};
    unsigned n = 0;
    (void)state;
    while ((held[n] = rte_pktmbuf_alloc(pool)) != NULL)
        n++;
    assert_int_equal(n, POOL);
    for (enum sample i = 0; i < SAMPLES; i++) {
        if (i == S_APPEND) { /* its records take one */
            rte_pktmbuf_free(held[--n]);
            assert_int_equal(put(i, &out), TIDE_FULL);
            held[n] = rte_pktmbuf_alloc(pool);
            assert_non_null(held[n++]);
        } else {
            assert_int_equal(put(i, &out), TIDE_FULL);
        }
        assert_int_equal(out.len, 0);
    }
    while (n != 0)
        rte_pktmbuf_free(held[--n]);
    assert_int_equal(rte_mempool_avail_count(pool), POOL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_bytes),         cmocka_unit_test(test_read_back_cut_anywhere),
        cmocka_unit_test(test_truncated_at_every_byte), cmocka_unit_test(test_one_byte_more),
        cmocka_unit_test(test_lengths),             cmocka_unit_test(test_impossible_fields),
        cmocka_unit_test(test_an_append_without_records), cmocka_unit_test(test_too_many_entries),
        cmocka_unit_test(test_before_the_greeting), cmocka_unit_test(test_versions),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
