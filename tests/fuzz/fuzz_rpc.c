/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other brokers send on the management network: a list of {u16 length, bytes}, each a frame without its first eight
 * bytes. Those are made right, so that the rest is looked at; what decodes encodes to the same bytes. Then the frames go
 * into a voter that leads: the first as a HELLO, the others as a guest's, and as answers on a link.
 */
#include <stdlib.h>
#include <string.h>

#include <isa-l.h>

#include "node/node.h"
#include "tidemark/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static uint64_t now_ns = TIDE_NS_PER_S;
static uint8_t frame[1 << 17], again[1 << 17];

static struct node *leader(void)
{
    struct node_config c = {.id = 1, .seed = 1, .voter_count = 1, .session_ms = 3000, .heartbeat_ms = 500, .lease_ms = 2400, .request_ms = 1000,
                            .election_ms = 500, .quorum_heartbeat_ms = 100, .idle_ms = 500, .snapshot_commands = 1000, .snapshot_bytes = 1 << 26,
                            .trailing = 100};
    struct quorum_boot boot = {.capacity_bytes = 1 << 26};
    char error[NODE_ERROR_MAX];
    struct node *n;
    memset(&c.cluster_id, 9, sizeof(c.cluster_id));
    c.voters[0].id = 1;
    memcpy(c.voters[0].address, "a:1", 4);
    c.broker.directory_count = 1;
    c.broker.directories[0].bytes[0] = 200;
    n = node_create(&c, &boot, now_ns, error, sizeof(error));
    TIDE_ASSERT(n != NULL);
    quorum_boot_deinit(&boot);
    node_on_founded(n, now_ns, 0);
    return n;
}

/* A disk that is done at once, and nobody who listens. */
static void settle(struct node *n)
{
    struct node_event e;
    for (unsigned i = 0; i < 64 && node_disk_take(n) != NULL; i++)
        node_on_disk_done(n, now_ns, 0, 1 << 26);
    while (node_event_take(n, &e)) {
        TIDE_ASSERT(e.kind != NODE_STOPPED);
        cluster_result_free(&e.result);
    }
    node_check(n);
}

static void drain(struct node *n, int32_t peer)
{
    struct quorum_message m;
    while (node_guest_frame_take(n, peer, &m))
        free(m.bytes);
}

/* The frame behind the first eight bytes, in a block of its own size. NULL: it is none. */
static uint8_t *seal(const uint8_t *from, size_t len, size_t *ret_len)
{
    uint32_t said = (uint32_t)len + 4, crc;
    uint8_t *f = malloc(len + 8);
    TIDE_ASSERT(f != NULL);
    memcpy(f + 8, from, len);
    crc = ~crc32_iscsi(f + 8, (int)len, ~0u);
    memcpy(f, &said, 4);
    memcpy(f + 4, &crc, 4);
    *ret_len = len + 8;
    return f;
}

static void there_and_back(const uint8_t *f, size_t len)
{
    struct rpc_message m, back;
    size_t n;
    if (rpc_decode(f, len, &m) != TIDE_OK)
        return;
    TIDE_ASSERT(rpc_size_max(&m) <= sizeof(frame));
    n = rpc_encode(&m, frame);
    TIDE_ASSERT(rpc_decode(frame, n, &back) == TIDE_OK);
    TIDE_ASSERT(rpc_encode(&back, again) == n);
    TIDE_ASSERT(memcmp(frame, again, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct node *n = leader();
    struct quorum_message reply = {0};
    int32_t peer = -1;
    size_t at = 0;
    settle(n);
    for (unsigned i = 0; i < 32 && at + 2 <= len; i++) {
        size_t want = bytes[at] | (size_t)bytes[at + 1] << 8, f_len;
        uint8_t *f;
        at += 2;
        want = TIDE_MIN(want, len - at);
        f = seal(bytes + at, want, &f_len);
        at += want;
        there_and_back(f, f_len);
        now_ns += 10 * TIDE_NS_PER_MS;
        if (peer < 0) {
            if (node_on_guest(n, now_ns, i + 1, f, f_len, &peer, &reply) == TIDE_REFUSED)
                free(reply.bytes);
        } else if (node_on_guest_frame(n, now_ns, peer, f, f_len) != TIDE_OK) {
            node_on_guest_gone(n, now_ns, peer);
            peer = -1;
        }
        TIDE_ASSERT(node_on_link_frame(n, now_ns, 2, f, f_len) == TIDE_BAD); /* there is no such link */
        free(f);
        settle(n);
        if (peer >= 0)
            drain(n, peer);
    }
    node_destroy(n);
    return 0;
}
