/* SPDX-License-Identifier: Apache-2.0 */
#include "log/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "log/segment.h"
#include "tidemark/bytes.h"

enum {
    VERSION = 1,
    HEAD = 4 + 4 + 8 + 8 + 4,
    ENTRY = LOG_INDEX_STORED_BYTES,
    ENTRIES_MAX = LOG_INDEX_INLINE + LOG_INDEX_CHUNKS * LOG_INDEX_PER_CHUNK,
    FILE_MAX = HEAD + ENTRIES_MAX * ENTRY + 4,
};
static const uint8_t magic[4] = {'T', 'M', 'C', 'K'};

int log_checkpoint_store(const struct tide_fs *fs, const char *dir, int64_t base_offset,
                         int64_t first_timestamp, uint32_t limit, const struct log_index *index,
                         uint64_t segment)
{
    uint8_t *bytes = malloc(FILE_MAX);
    if (bytes == NULL)
        return -ENOMEM;
    uint32_t count = log_index_entries(index, segment, limit, bytes + HEAD, ENTRIES_MAX);
    int e = -EAGAIN;
    if (count > 1) { /* the last one's batch may not be written to its end */
        count--;
        size_t len = HEAD + (size_t)count * ENTRY;
        memcpy(bytes, magic, sizeof(magic));
        store_be32(bytes + 4, VERSION);
        store_be64(bytes + 8, (uint64_t)base_offset);
        store_be64(bytes + 16, (uint64_t)first_timestamp);
        store_be32(bytes + 24, count);
        store_be32(bytes + len, batch_crc_update(0, bytes, len));
        e = log_file_replace(fs, dir, LOG_CHECKPOINT_NAME, bytes, len + 4);
    }
    free(bytes);
    return e;
}

static bool is_whole(const uint8_t *bytes, size_t len, int64_t base_offset)
{
    if (len < HEAD + ENTRY + 4 || memcmp(bytes, magic, sizeof(magic)) != 0 ||
        load_be32(bytes + 4) != VERSION)
        return false;
    uint32_t count = load_be32(bytes + 24);
    if (count > ENTRIES_MAX || len != HEAD + (size_t)count * ENTRY + 4)
        return false;
    return batch_crc_update(0, bytes, len - 4) == load_be32(bytes + len - 4) &&
           (int64_t)load_be64(bytes + 8) == base_offset;
}

bool log_checkpoint_load(const struct tide_fs *fs, const char *dir, int64_t base_offset,
                         uint64_t segment_bytes, struct log_index *index,
                         struct log_checkpoint *ret)
{
    char *text;
    size_t len;
    if (log_file_load(fs, dir, LOG_CHECKPOINT_NAME, FILE_MAX, &text, &len) != 0)
        return false;
    const uint8_t *bytes = (const uint8_t *)text;
    bool good = is_whole(bytes, len, base_offset);
    uint32_t count = good ? load_be32(bytes + 24) : 0;
    for (uint32_t i = 0; i < count && good; i++)
        good = log_index_put_stored(index, bytes + HEAD + (size_t)i * ENTRY, segment_bytes);
    if (good) {
        ret->first_timestamp = (int64_t)load_be64(bytes + 16);
        const uint8_t *last = bytes + HEAD + (size_t)(count - 1) * ENTRY;
        ret->last = (struct log_place){.relative = load_be32(last),
                                       .position = load_be32(last + 4),
                                       .time = (int64_t)load_be64(last + 8)};
    } else if (count != 0) {
        log_index_reset(index, tide_pub64_own(&index->segment));
    }
    free(text);
    return good;
}
