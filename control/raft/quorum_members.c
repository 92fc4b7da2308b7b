/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/quorum_members.h"

#include "raft/quorum_bytes.h"

enum { MEMBERS_FORM = 1 };

bool quorum_members_are_sound(const struct quorum_members *m)
{
    if (m->count == 0 || m->count > QUORUM_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct quorum_member *a = &m->member[i];
        if (a->id < 0 || a->role > QUORUM_SPARE || a->address[0] == 0)
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (m->member[k].id == a->id || strcmp(m->member[k].address, a->address) == 0)
                return false;
    }
    return true;
}

enum tide_status quorum_members_read(const void *bytes, size_t len, struct quorum_members *ret)
{
    struct quorum_reader r = {.at = bytes, .left = len};
    struct quorum_members m = {.count = 0};
    uint64_t form = quorum_read(&r, 1);
    uint64_t count = quorum_read(&r, 8);
    if (r.failed || form != MEMBERS_FORM || count > QUORUM_MEMBERS_MAX || len % 8 != 0)
        return TIDE_BAD;
    for (; m.count < count; m.count++) {
        struct quorum_member *member = &m.member[m.count];
        uint64_t id = quorum_read(&r, 8);
        size_t text = r.failed ? 0 : strnlen((const char *)r.at, r.left);
        if (id == 0 || id > INT32_MAX || text >= QUORUM_ADDRESS_MAX)
            return TIDE_BAD;
        const uint8_t *address = quorum_read_bytes(&r, text + 1);
        member->id = (int32_t)(id - 1);
        member->role = (uint8_t)quorum_read(&r, 1);
        if (r.failed)
            return TIDE_BAD;
        memcpy(member->address, address, text + 1);
    }
    if (r.left >= 8 || !quorum_members_are_sound(&m))
        return TIDE_BAD;
    *ret = m;
    return TIDE_OK;
}

uint32_t quorum_members_write(const struct quorum_members *m, uint8_t room[QUORUM_MEMBERS_BYTES_MAX])
{
    uint8_t *at = room;
    TIDE_ASSERT(quorum_members_are_sound(m));
    memset(room, 0, QUORUM_MEMBERS_BYTES_MAX);
    at = quorum_write(at, MEMBERS_FORM, 1);
    at = quorum_write(at, m->count, 8);
    for (uint32_t i = 0; i < m->count; i++) {
        at = quorum_write(at, (uint64_t)m->member[i].id + 1, 8);
        at = quorum_write_bytes(at, m->member[i].address, strlen(m->member[i].address) + 1);
        at = quorum_write(at, m->member[i].role, 1);
    }
    return (uint32_t)((size_t)(at - room) + 7) / 8 * 8;
}

struct quorum_member *quorum_members_find(struct quorum_members *m, int32_t id)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->member[i].id == id)
            return &m->member[i];
    return NULL;
}
