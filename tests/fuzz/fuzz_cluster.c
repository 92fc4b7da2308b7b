/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata state machine fed with foreign bytes. The first byte says as what: 0 one command whole, 1 several commands
 * whose heads are put right here ({kind, flags, u16 length, fields}), 2 a snapshot whose sum is put right, with such
 * commands behind it, 3 a result. Whatever is taken keeps the invariants and is written as it was read.
 */
#include <stdlib.h>
#include <string.h>

#include "cluster/cluster.h"
#include "kafka/batch.h"
#include "tidemark/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { HEAD = 32, COMMANDS_MAX = 64, FLAG_BROKER = 1, FLAG_CLIENT = 2 };

static uint8_t again[CLUSTER_COMMAND_MAX];

static void *copy_of(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len != 0 ? len : 1);
    TIDE_ASSERT(exact != NULL);
    if (len != 0)
        memcpy(exact, bytes, len);
    return exact;
}

static void apply_bytes(struct cluster *c, const uint8_t *bytes, size_t len)
{
    struct cluster_result result;
    enum tide_status status = cluster_apply_bytes(c, cluster_index(c) + 1, bytes, len, &result);
    TIDE_ASSERT(status == TIDE_OK || status == TIDE_BAD);
    if (status == TIDE_OK) {
        size_t got = 0;
        static uint8_t room[CLUSTER_RESULT_MAX];
        struct cluster_result back;
        TIDE_ASSERT(cluster_result_encode(&result, room, sizeof(room), &got) == TIDE_OK);
        TIDE_ASSERT(cluster_result_decode(NULL, room, got, &back) == TIDE_OK);
        cluster_result_free(&back);
        cluster_result_free(&result);
    }
    cluster_check(c);
}

/* A cluster with three active brokers, so that something can happen. */
static struct cluster *world(void)
{
    struct cluster *c = cluster_create(NULL);
    struct cluster_command m = {.kind = CLUSTER_INIT, .init = {.cluster_id = {{1}}}};
    struct cluster_result result;
    TIDE_ASSERT(c != NULL && cluster_apply(c, 1, &m, &result) == TIDE_OK);
    for (int32_t id = 0; id < 3; id++) {
        struct cluster_broker *b = &m.register_broker.broker;
        memset(&m, 0, sizeof(m));
        m.kind = CLUSTER_REGISTER_BROKER;
        m.register_broker.cluster_id = *cluster_id(c);
        b->id = id;
        b->incarnation = (struct tide_uuid){{1, (uint8_t)id}};
        b->directory_count = 1;
        b->directories[0] = (struct tide_uuid){{0xd0, (uint8_t)id}};
        for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
            b->features[b->feature_count++] = *cluster_known_feature(i);
        TIDE_ASSERT(cluster_apply(c, cluster_index(c) + 1, &m, &result) == TIDE_OK && result.error == 0);
        m = (struct cluster_command){.kind = CLUSTER_UNFENCE_BROKER, .broker = {.id = id, .epoch = result.broker_epoch}};
        TIDE_ASSERT(cluster_apply(c, cluster_index(c) + 1, &m, &result) == TIDE_OK && result.error == 0);
    }
    return c;
}

static void one_command(const uint8_t *bytes, size_t len)
{
    struct cluster_command m;
    uint8_t *exact = copy_of(bytes, len);
    enum tide_status status = cluster_command_decode(NULL, exact, len, &m);
    struct cluster *c = world();
    size_t got = 0;
    if (status == TIDE_OK) {
        TIDE_ASSERT(cluster_command_encode(&m, again, sizeof(again), &got) == TIDE_OK);
        TIDE_ASSERT(got == len && memcmp(again, bytes, len) == 0);
        cluster_command_free(&m);
    }
    apply_bytes(c, exact, len);
    cluster_destroy(c);
    free(exact);
}

static void commands(struct cluster *c, const uint8_t *bytes, size_t len)
{
    for (unsigned i = 0; i < COMMANDS_MAX && len >= 4; i++) {
        size_t fields = (size_t)bytes[2] | (size_t)bytes[3] << 8;
        size_t whole;
        uint8_t *m;
        uint64_t epoch = cluster_controller_epoch(c);
        uint64_t requester = bytes[1] & FLAG_BROKER ? cluster_requester_broker(bytes[1] >> 4) : bytes[1] & FLAG_CLIENT ? cluster_requester_client(bytes[1] >> 4) : 0;
        uint64_t sequence = bytes[1] >> 2 & 3;
        uint32_t length;
        fields = TIDE_MIN(fields, len - 4);
        whole = (HEAD + fields + 7) / 8 * 8;
        length = (uint32_t)whole;
        m = calloc(1, whole);
        TIDE_ASSERT(m != NULL);
        m[0] = bytes[0];
        m[2] = 1;
        memcpy(m + 4, &length, sizeof(length));
        memcpy(m + 8, &epoch, sizeof(epoch));
        memcpy(m + 16, &requester, sizeof(requester));
        memcpy(m + 24, &sequence, sizeof(sequence));
        memcpy(m + HEAD, bytes + 4, fields);
        apply_bytes(c, m, whole);
        free(m);
        bytes += 4 + fields;
        len -= 4 + fields;
    }
}

/* What comes out of a state goes into another one. */
static void write_and_restore(const struct cluster *c)
{
    size_t size = cluster_snapshot_size(c), got = 0;
    uint8_t *room = malloc(size);
    struct cluster *other = cluster_create(NULL);
    TIDE_ASSERT(room != NULL && other != NULL);
    TIDE_ASSERT(cluster_snapshot_write(c, room, size, &got) == TIDE_OK && got == size);
    TIDE_ASSERT(cluster_restore(other, room, size) == TIDE_OK);
    TIDE_ASSERT(cluster_hash(other) == cluster_hash(c));
    cluster_destroy(other);
    free(room);
}

/* u16 length, the snapshot without its sum, commands. */
static void snapshot(const uint8_t *bytes, size_t len)
{
    struct cluster *c = cluster_create(NULL);
    size_t size = len >= 2 ? (size_t)bytes[0] | (size_t)bytes[1] << 8 : 0;
    uint8_t *room;
    uint32_t crc;
    TIDE_ASSERT(c != NULL);
    bytes += TIDE_MIN(len, (size_t)2);
    len -= TIDE_MIN(len, (size_t)2);
    size = TIDE_MIN(size, len);
    room = malloc(size + 4);
    TIDE_ASSERT(room != NULL);
    if (size != 0)
        memcpy(room, bytes, size);
    crc = batch_crc_update(0, room, size);
    memcpy(room + size, &crc, sizeof(crc));
    if (cluster_restore(c, room, size + 4) == TIDE_OK && cluster_index(c) < INT64_MAX - COMMANDS_MAX) {
        size_t got = 0;
        uint8_t *back = malloc(size + 4);
        TIDE_ASSERT(back != NULL && cluster_snapshot_write(c, back, size + 4, &got) == TIDE_OK);
        TIDE_ASSERT(got == size + 4 && memcmp(back, room, got) == 0);
        free(back);
        cluster_check(c);
        commands(c, bytes + size, len - size);
    }
    cluster_destroy(c);
    free(room);
}

static void result(const uint8_t *bytes, size_t len)
{
    struct cluster_result r;
    uint8_t *exact = copy_of(bytes, len);
    if (cluster_result_decode(NULL, exact, len, &r) == TIDE_OK) {
        size_t got = 0;
        TIDE_ASSERT(cluster_result_encode(&r, again, sizeof(again), &got) == TIDE_OK);
        TIDE_ASSERT(got == len && memcmp(again, bytes, len) == 0);
        cluster_result_free(&r);
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct cluster *c;
    if (len < 1 || len > sizeof(again))
        return 0;
    switch (bytes[0] % 4) {
    case 0:
        one_command(bytes + 1, len - 1);
        break;
    case 1:
        c = world();
        commands(c, bytes + 1, len - 1);
        write_and_restore(c);
        cluster_destroy(c);
        break;
    case 2:
        snapshot(bytes + 1, len - 1);
        break;
    default:
        result(bytes + 1, len - 1);
    }
    return 0;
}
