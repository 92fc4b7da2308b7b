/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of one simulated file: what a reader sees, and what the medium holds. Sparse, so that
 * zeroed segments cost nothing. See sim_fs.h for the rules.
 *
 * Owner: the inode.
 */
#ifndef TIDEMARK_TESTS_SIM_CONTENT_H
#define TIDEMARK_TESTS_SIM_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim_fs.h"
#include "tidemark/random.h"

#define SIM_FILE_MAX (64ull << 30) /* bytes; beyond it -EFBIG */

struct sim_chunk;

struct sim_content {
    struct sim_chunk **chunks; /* NULL: zero for the reader and on the medium */
    uint32_t chunk_count;
    uint64_t size;
    uint64_t kept_size; /* on the medium */
};

void sim_content_deinit(struct sim_content *);

/* Bytes read: less than `len` at the end of the file. */
size_t sim_content_read(const struct sim_content *, void *buf, size_t len, uint64_t position);

/* Now and then the overwritten bytes, not yet durable, had reached the medium before (`chance`). */
void sim_content_write(struct sim_content *, struct tide_random *chance, const void *buf,
                       size_t len, uint64_t position);
void sim_content_resize(struct sim_content *, uint64_t size);

/* The whole file, but for forgotten sectors; or the sectors that a range touches. */
void sim_content_keep(struct sim_content *);
void sim_content_keep_range(struct sim_content *, uint64_t position, uint64_t len);
/* What is not on the medium now will not get there by a later keep. */
void sim_content_forget(struct sim_content *);

/* A write that was cut off: nothing, all, a prefix or any of its sectors is there, for the reader
 * and on the medium; one sector torn inside unless `whole_sectors`. It does not extend the file. */
void sim_content_land(struct sim_content *, struct tide_random *chance, const void *buf, size_t len,
                      uint64_t position, bool whole_sectors);

/* Decides what is not durable; reader and medium agree afterwards. */
void sim_content_crash(struct sim_content *, struct tide_random *chance, enum sim_crash);

void sim_content_flip(struct sim_content *, uint64_t position, unsigned bit);
bool sim_content_is_kept(const struct sim_content *, uint64_t position, uint64_t len);
uint64_t sim_content_digest(const struct sim_content *, bool medium, uint64_t digest);
void sim_content_check(const struct sim_content *);

/* FNV-1a, 64 bits. */
#define SIM_DIGEST_START 0xcbf29ce484222325ull
uint64_t sim_digest(uint64_t digest, const void *bytes, size_t len);

/* Memory or the end of the run. */
void *sim_grow(void *at, size_t count, size_t size);

#endif
