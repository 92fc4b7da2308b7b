/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk form of a voter: a directory of its own, through the file verbs of tidemark/fs.h. Every
 * call blocks; in production they run one at a time on a helper thread (control/edge/quorum_disk.h), in
 * the simulator at the virtual time of their completion.
 *
 *      quorum.state               term and vote, twice, 4096 bytes apart, each with a CRC32C. A write
 *                                 goes over the worse copy, then over the better one, each synced: one
 *                                 of them is whole at any time, and no write needs space.
 *      <number>.log               segments: a header, then batches of entries, each with its CRC32C,
 *                                 then zeros. Preallocated. A segment begins where the one before ends
 *                                 or inside of it: then it replaces everything from its first index on
 *                                 (D3), so nothing that was written is ever written over. One that says
 *                                 `restart` makes all before it void.
 *      spare                      the next segment, preallocated: the capacity that is reported (D11)
 *      <index>-<term>.snapshot    header, members, the owner's bytes, CRC32C. The last two are kept (D14)
 *
 * All integers are little-endian. At the start a torn end of the newest segment is cut; anything else
 * that is not as it was written stops the start with file and offset (D19).
 *
 * Owner: one caller at a time.
 *
 * Invariants:
 *   K1  What a run() that returned 0 wrote is on the device.
 *   K2  After any prefix of a run() the directory opens, to the state before or after it, or to a
 *       prefix of the entries it wrote.
 *   K3  A segment or snapshot has its name only when its header is durable.
 */
#ifndef TIDEMARK_CONTROL_RAFT_QUORUM_FILES_H
#define TIDEMARK_CONTROL_RAFT_QUORUM_FILES_H

#include "raft/quorum.h"
#include "tidemark/fs.h"

enum {
    QUORUM_SEGMENT_BYTES = 8 << 20,
    QUORUM_PATH_MAX = 4096,
};

struct quorum_files_config {
    const struct tide_fs *fs;
    const char *dir; /* is made when it is absent; its parent is there */
    struct tide_uuid cluster_id;
    uint64_t segment_bytes; /* 0: QUORUM_SEGMENT_BYTES */
};

struct quorum_files;

/*
 * Opens and loads. TIDE_BAD: damage; TIDE_REFUSED: another cluster's, or written by a newer release;
 * TIDE_IO: the file system says no. Each with a message. ret_boot is for quorum_create.
 */
TIDE_MUST_USE enum tide_status quorum_files_open(const struct quorum_files_config *, struct quorum_files **ret,
                                                 struct quorum_boot *ret_boot, char *error, size_t size);
/* Was the directory found without anything of a quorum in it? Then it may be founded. */
bool quorum_boot_is_empty(const struct quorum_boot *);
/* Makes the beginning of a new quorum durable (quorum_boot_found). 0 or -errno; can be repeated. */
int quorum_files_found(struct quorum_files *, const struct quorum_boot *);
/* Carries out one operation. 0: durable; -ENOSPC: run it again later; other -errno: the files must not
 * be used any more. */
int quorum_files_run(struct quorum_files *, const struct quorum_disk_op *);
uint64_t quorum_files_capacity(const struct quorum_files *);
void quorum_files_close(struct quorum_files *);

/* ---- offline ---- */

/* What `tidemark quorum describe` prints, line by line. The directory is only read. */
TIDE_MUST_USE enum tide_status quorum_files_describe(const struct quorum_files_config *, void (*line)(void *arg, const char *text),
                                                     void *arg, char *error, size_t size);
/*
 * For a majority that is lost for good (control-plane.md 11): this node alone, with what it has, goes
 * on as the quorum of `members`. It must be the survivor with the highest (term, index); what the lost
 * voters had committed beyond that is gone, which `line` says with numbers. Appends a membership entry
 * in a new term.
 */
TIDE_MUST_USE enum tide_status quorum_files_rewrite_members(const struct quorum_files_config *, const struct quorum_members *,
                                                            void (*line)(void *arg, const char *text), void *arg, char *error,
                                                            size_t size);

#endif
