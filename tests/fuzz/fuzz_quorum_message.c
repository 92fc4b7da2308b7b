/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Foreign bytes as messages between voters: into a voter of three, of one, or one that only follows, with
 * its disk, its owner and time going on in between. What must hold: no crash, no over-read; what is not
 * taken leaves the voter consistent (quorum_check). A peer that lies in well-formed messages may stop
 * the voter (D12), not break it.
 *
 * Input: one byte of flags, then pieces {action, length (2 bytes), bytes}. Sealed: each message gets
 * its length, head and CRC32C, or nothing would come further.
 */
#include <stdlib.h>
#include <string.h>

#include "raft/quorum_bytes.h"
#include "raft/quorum_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { FLAG_SEAL = 1, FLAG_ALONE = 2, FLAG_FOLLOWS = 4, FLAG_OFTEN = 8, PIECES_MAX = 64 };

static struct quorum *begin(unsigned flags, uint64_t now)
{
    struct quorum_members m = {.count = (flags & FLAG_ALONE) != 0 ? 1 : 3};
    struct quorum_boot boot;
    char error[QUORUM_ERROR_MAX];
    struct quorum_config c = {.id = 0,
                              .cluster_id = {{1}},
                              .seed = 3,
                              .election_ms = 100,
                              .heartbeat_ms = 20,
                              .idle_ms = 50,
                              .snapshot_commands = (flags & FLAG_OFTEN) != 0 ? 4 : 100,
                              .snapshot_bytes = 1 << 20,
                              .trailing = 3};
    for (uint32_t i = 0; i < m.count; i++) {
        m.member[i] = (struct quorum_member){.id = (int32_t)i, .role = QUORUM_VOTES, .address = "a"};
        m.member[i].address[0] = (char)('a' + i);
    }
    if ((flags & FLAG_FOLLOWS) != 0 && m.count != 1)
        m.member[0].role = QUORUM_FOLLOWS_ONLY;
    if (quorum_boot_found(&boot, &m) != TIDE_OK)
        abort();
    boot.capacity_bytes = 1 << 20;
    struct quorum *q = quorum_create(&c, &boot, now, error, sizeof(error));
    if (q == NULL)
        abort();
    for (int32_t i = 1; i < 4; i++)
        quorum_on_peer_up(q, i);
    return q;
}

static void settle(struct quorum *q, uint64_t now)
{
    struct quorum_event e;
    struct quorum_message m;
    do {
        while (quorum_event_take(q, &e)) {
            if (e.kind == QUORUM_TAKE_SNAPSHOT)
                (void)!quorum_on_snapshot_taken(q, now, quorum_applied(q), "state", 5);
            if (e.kind == QUORUM_APPLY && e.entry.len != 0)
                (void)quorum_crc(e.entry.bytes, e.entry.len);
        }
        if (quorum_disk_take(q) == NULL)
            break;
        quorum_on_disk_done(q, now, 0, 1 << 20);
    } while (true);
    for (int32_t i = 0; i < 4; i++)
        while (quorum_message_take(q, i, &m))
            free(m.bytes);
}

static void seal(uint8_t *m, size_t len, int32_t from)
{
    quorum_write(m, len, 4);
    quorum_write(m + 8, QUORUM_MESSAGE_VERSION, 2);
    m[11] = 0;
    quorum_write(m + 12, 0, 4);
    memset(m + 16, 0, 16);
    m[16] = 1;
    quorum_write(m + 32, (uint32_t)from, 4);
    quorum_write(m + 36, 0, 4);
    quorum_write(m + 4, quorum_crc(m + 8, len - 8), 4);
}

static void message(struct quorum *q, uint64_t now, unsigned flags, unsigned action, const uint8_t *bytes, size_t len)
{
    int32_t from = 1 + (action & 1);
    uint8_t *m = malloc(len != 0 ? len : 1);
    if (m == NULL)
        abort();
    memcpy(m, bytes, len);
    if ((flags & FLAG_SEAL) != 0 && len >= QUORUM_MESSAGE_HEAD)
        seal(m, len, from);
    (void)!quorum_on_message(q, now, from, 1 + (action >> 6), m, len);
    free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct quorum_reader r = {.at = bytes, .left = len};
    unsigned flags = (unsigned)quorum_read(&r, 1);
    uint64_t now = 1000 * TIDE_NS_PER_MS;
    struct quorum *q = begin(flags, now);
    settle(q, now);
    for (unsigned i = 0; i < PIECES_MAX && r.left != 0; i++) {
        unsigned action = (unsigned)quorum_read(&r, 1);
        uint64_t piece = TIDE_MIN(quorum_read(&r, 2), (uint64_t)r.left);
        const uint8_t *at = r.failed ? NULL : quorum_read_bytes(&r, piece);
        if (at == NULL)
            break;
        message(q, now, flags, action, at, piece);
        quorum_check(q);
        if ((action & 2) != 0)
            settle(q, now);
        if ((action & 4) != 0) {
            now = quorum_deadline_ns(q) == TIDE_NEVER ? now : TIDE_MAX(now, quorum_deadline_ns(q));
            quorum_on_time(q, now);
        }
        if ((action & 8) != 0)
            (void)!quorum_propose(q, now, "command", 8, 1 + i);
        quorum_check(q);
    }
    settle(q, now);
    quorum_check(q);
    quorum_destroy(q);
    return 0;
}
