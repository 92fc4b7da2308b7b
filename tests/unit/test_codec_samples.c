/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Samples of messages written by hand, and the headers in front of requests and responses.
 */
#include "codec_parts.h"

static void write_sample_api_versions_v0(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_API_VERSIONS, 0, 1, "c", 1);
    api_versions_request_end(w, 0);
}

static void write_sample_api_versions_v3(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_API_VERSIONS, 3, 2, "c", 1);
    api_versions_request_put_client_software_name(w, 3, "lib", 3);
    api_versions_request_put_client_software_version(w, 3, "1", 1);
    api_versions_request_end(w, 3);
}

static void write_sample_metadata_v1(struct wire_writer *w)
{
    kafka_request_header_write(w, KAFKA_API_METADATA, 1, 3, NULL, 0);
    metadata_request_open_topics(w, 1, 1);
    metadata_request_topic_put_name(w, 1, "t", 1);
    metadata_request_topic_end(w, 1);
    metadata_request_end(w, 1);
}

static void write_sample_produce_v3(struct wire_writer *w)
{
    struct tide_rope records = {0};
    tide_rope_push(&records, unit_exact_mbuf(codec_exact, "\xaa\xbb\xcc", 3));
    kafka_request_header_write(w, KAFKA_API_PRODUCE, 3, 4, "c", 1);
    produce_request_put_transactional_id(w, 3, NULL, 0);
    produce_request_put_acks(w, 3, -1);
    produce_request_put_timeout_ms(w, 3, 1000);
    produce_request_open_topic_data(w, 3, 1);
    produce_request_topic_data_put_name(w, 3, "t", 1);
    produce_request_topic_data_open_partition_data(w, 3, 1);
    produce_request_partition_data_put_index(w, 3, 7);
    produce_request_partition_data_put_records(w, 3, &records);
    produce_request_partition_data_end(w, 3);
    produce_request_topic_data_end(w, 3);
    produce_request_end(w, 3);
}

static void write_sample_produce_response_v3(struct wire_writer *w)
{
    struct produce_response_partition_response_tags tags = {0};
    kafka_response_header_write(w, KAFKA_API_PRODUCE, 3, 4);
    produce_response_open_responses(w, 3, 1);
    produce_response_topic_produce_response_put_name(w, 3, "t", 1);
    produce_response_topic_produce_response_open_partition_responses(w, 3, 1);
    produce_response_partition_response_put_index(w, 3, 7);
    produce_response_partition_response_put_error_code(w, 3, 2);
    produce_response_partition_response_put_base_offset(w, 3, 5);
    produce_response_partition_response_put_log_append_time_ms(w, 3, -1);
    produce_response_partition_response_put_log_start_offset(w, 3, 99); /* since 5 */
    produce_response_partition_response_end(w, 3, &tags);
    produce_response_topic_produce_response_end(w, 3);
    produce_response_put_throttle_time_ms(w, 3, 6);
    produce_response_end(w, 3);
}

static void write_sample_api_versions_response_v3(struct wire_writer *w)
{
    kafka_response_header_write(w, KAFKA_API_API_VERSIONS, 3, 2);
    api_versions_response_put_error_code(w, 3, 0);
    api_versions_response_open_api_keys(w, 3, 1);
    api_versions_response_api_version_put_api_key(w, 3, 18);
    api_versions_response_api_version_put_min_version(w, 3, 0);
    api_versions_response_api_version_put_max_version(w, 3, 4);
    api_versions_response_api_version_end(w, 3);
    api_versions_response_put_throttle_time_ms(w, 3, 0);
    api_versions_response_end(w, 3);
}

static void test_samples_are_written_byte_by_byte(void **state)
{
    static const struct {
        void (*write)(struct wire_writer *);
        const char *hex;
    } samples[] = {
        {write_sample_api_versions_v0, "0012" "0000" "00000001" "000163"},
        {write_sample_api_versions_v3, "0012" "0003" "00000002" "000163" "00" "046c6962" "0231" "00"},
        {write_sample_metadata_v1, "0003" "0001" "00000003" "ffff" "00000001" "000174"},
        {write_sample_produce_v3, "0000" "0003" "00000004" "000163" "ffff" "ffff" "000003e8" "00000001" "000174"
                                  "00000001" "00000007" "00000003" "aabbcc"},
        {write_sample_produce_response_v3, "00000004" "00000001" "000174" "00000001" "00000007" "0002"
                                           "0000000000000005" "ffffffffffffffff" "00000006"},
        /* No tags behind the correlation id (KIP-511). */
        {write_sample_api_versions_response_v3, "00000002" "0000" "02" "0012" "0000" "0004" "00" "00000000" "00"},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(samples); i++) {
        uint8_t bytes[128];
        char hex[257] = "";
        struct wire_writer w;
        wire_writer_init(&w, codec_pool);
        samples[i].write(&w);
        assert_true(w.out.len <= sizeof(bytes));
        tide_slice_copy(tide_rope_slice(&w.out, 0, w.out.len), bytes);
        for (uint32_t k = 0; k < w.out.len; k++)
            snprintf(hex + 2 * k, 3, "%02x", bytes[k]);
        wire_writer_abandon(&w);
        assert_string_equal(hex, samples[i].hex);
    }
}

static void test_request_headers(void **state)
{
    static const struct {
        int16_t key, version;
        const char *bytes;
        uint32_t len;
        bool good;
    } cases[] = {
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\x00\x01g", 11, true},
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g\x00", 12, true},
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g\x01\x05\x01x", 15, true}, /* an unknown tag */
        {18, 3, "\x00\x12\x00\x03\x00\x00\x00\x09\x00\x01g", 11, false},
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\x00\x02g", 11, false},
        {18, 0, "\x00\x12\x00\x00\x00\x00\x00\x09\xff\xfeg", 11, false},
        {0, 9, "\x00\x00\x00\x09\x00\x00\x00\x09\x00\x01g\x00", 12, true},
        {0, 8, "\x00\x00\x00\x08\x00\x00\x00\x09\x00\x01g", 11, true},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++)
        for (uint32_t cut = 0; cut <= cases[i].len; cut++) {
            struct tide_rope rope = codec_halves((const uint8_t *)cases[i].bytes, cases[i].len, cut);
            struct kafka_request_header h;
            struct wire_cursor c;
            char id[2];
            wire_cursor_init(&c, tide_rope_slice(&rope, 0, rope.len));
            assert_int_equal(kafka_request_header_read(&c, &h), cases[i].good);
            assert_int_equal(h.request_api_key, cases[i].key);
            assert_int_equal(h.request_api_version, cases[i].version);
            assert_int_equal(h.correlation_id, 9);
            if (cases[i].good) {
                assert_int_equal(wire_bytes_copy(&h.client_id, id, sizeof(id)), 1);
                assert_string_equal(id, "g");
                assert_true(wire_done(&c));
            }
            tide_rope_clear(&rope);
        }
}

static void test_response_headers_there_and_back(void **state)
{
    for (size_t key = 0; key < 70; key++)
        for (int16_t version = 0; version < 20; version++) {
            struct wire_writer w;
            struct wire_cursor c;
            int32_t id = 0;
            wire_writer_init(&w, codec_pool);
            kafka_response_header_write(&w, (int16_t)key, version, 77);
            if (key == KAFKA_API_API_VERSIONS)
                assert_int_equal(w.out.len, 4);
            wire_cursor_init(&c, tide_rope_slice(&w.out, 0, w.out.len));
            assert_true(kafka_response_header_read(&c, (int16_t)key, version, &id));
            assert_int_equal(id, 77);
            assert_true(wire_done(&c));
            wire_writer_abandon(&w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_written_byte_by_byte),
        cmocka_unit_test(test_request_headers),
        cmocka_unit_test(test_response_headers_there_and_back),
    };
    return cmocka_run_group_tests(tests, codec_setup, codec_teardown);
}
