/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A membership as bytes: the library's own form, since it reads them from the log. It trusts them;
 * here they are checked, and nothing that came from a peer or a disk reaches it unchecked.
 *
 *      u8 1, u64 count, count x {u64 node id + 1, address, 0, u8 role}, zeros up to a multiple of 8
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_MEMBERS_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_MEMBERS_H

#include "raft/quorum.h"

enum { QUORUM_MEMBERS_BYTES_MAX = 16 + QUORUM_MEMBERS_MAX * (9 + QUORUM_ADDRESS_MAX) };

/* TIDE_BAD: not a membership that the library can take. */
TIDE_MUST_USE enum tide_status quorum_members_read(const void *bytes, size_t len, struct quorum_members *ret);
/* The length. Asserts that the membership is one that quorum_members_read takes. */
uint32_t quorum_members_write(const struct quorum_members *, uint8_t room[QUORUM_MEMBERS_BYTES_MAX]);
bool quorum_members_are_sound(const struct quorum_members *);
struct quorum_member *quorum_members_find(struct quorum_members *, int32_t id);

#endif
