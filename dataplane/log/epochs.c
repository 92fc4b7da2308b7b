/* SPDX-License-Identifier: Apache-2.0 */
#include "log/epochs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/segment.h"
#include "tidemark/assert.h"

enum {
    EPOCH_FILE_MAX = 16 + LOG_EPOCHS_MAX * LOG_EPOCH_LINE_MAX,
    EPOCH_FILE_READ_MAX = 256 * 1024, /* a file of Kafka may have more lines than we keep */
    LOOKUP_TRIES = 4,
};

#define EPOCH_FILE "leader-epoch-checkpoint"

/* ---- lines ---- */

void log_epoch_lines_add(struct log_epoch_lines *l, int32_t epoch, int64_t start)
{
    while (l->count != 0 &&
           (l->lines[l->count - 1].epoch >= epoch || l->lines[l->count - 1].start >= start))
        l->count--;
    if (l->count == LOG_EPOCHS_MAX) {
        memmove(&l->lines[0], &l->lines[1], (LOG_EPOCHS_MAX - 1) * sizeof(l->lines[0]));
        l->count--;
    }
    l->lines[l->count++] = (struct log_epoch){.epoch = epoch, .start = start};
}

bool log_epoch_lines_cut(struct log_epoch_lines *l, int64_t end)
{
    uint32_t before = l->count;
    while (l->count != 0 && l->lines[l->count - 1].start > end)
        l->count--;
    return l->count != before;
}

bool log_epoch_lines_allow(const struct log_epoch_lines *l, int32_t epoch, int64_t offset)
{
    for (uint32_t i = l->count; i-- > 0;) {
        if (l->lines[i].epoch == epoch)
            return l->lines[i].start <= offset;
        if (l->lines[i].epoch < epoch)
            return false;
    }
    return true;
}

bool log_epoch_lines_fit(const struct log_epoch_lines *l, int32_t epoch, int64_t offset)
{
    for (uint32_t i = l->count; i-- > 0;)
        if (l->lines[i].start <= offset)
            return l->lines[i].epoch == epoch;
    return true; /* older than the first line */
}

int32_t log_epoch_lines_last(const struct log_epoch_lines *l)
{
    return l->count != 0 ? l->lines[l->count - 1].epoch : -1;
}

/* ---- the file ---- */

/* A decimal number and the one character behind it. */
static bool take_number(const char **at, const char *end, char behind, int64_t max, int64_t *ret)
{
    int64_t n = 0;
    const char *p = *at;
    if (p == end || *p < '0' || *p > '9')
        return false;
    for (; p != end && *p >= '0' && *p <= '9'; p++) {
        if (n > (max - (*p - '0')) / 10)
            return false;
        n = n * 10 + (*p - '0');
    }
    if (p == end || *p != behind)
        return false;
    *at = p + 1;
    *ret = n;
    return true;
}

static bool parse(struct log_epoch_lines *ret, const char *text, size_t len)
{
    const char *at = text;
    const char *end = text + len;
    int64_t version, count, epoch, start;
    struct log_epoch last = {.epoch = -1, .start = -1};
    ret->count = 0;
    if (!take_number(&at, end, '\n', INT32_MAX, &version) || version != 0)
        return false;
    if (!take_number(&at, end, '\n', INT32_MAX, &count))
        return false;
    for (int64_t i = 0; i < count; i++) {
        if (!take_number(&at, end, ' ', INT32_MAX, &epoch) ||
            !take_number(&at, end, '\n', INT64_MAX, &start))
            return false;
        if (epoch <= last.epoch || start < last.start)
            return false;
        last = (struct log_epoch){.epoch = (int32_t)epoch, .start = start};
        log_epoch_lines_add(ret, last.epoch, last.start);
    }
    return at == end;
}

int log_epoch_lines_load(struct log_epoch_lines *l, const struct tide_fs *fs, const char *dir)
{
    char *text;
    size_t len;
    l->count = 0;
    int e = log_file_load(fs, dir, EPOCH_FILE, EPOCH_FILE_READ_MAX, &text, &len);
    if (e == -EFBIG)
        return -EBADMSG;
    if (e != 0)
        return e;
    if (!parse(l, text, len)) {
        l->count = 0;
        e = -EBADMSG;
    }
    free(text);
    return e;
}

int log_epoch_lines_store(const struct log_epoch_lines *l, const struct tide_fs *fs,
                          const char *dir)
{
    char text[EPOCH_FILE_MAX];
    int len = snprintf(text, sizeof(text), "0\n%u\n", l->count);
    for (uint32_t i = 0; i < l->count; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%d %lld\n", l->lines[i].epoch,
                        (long long)l->lines[i].start);
    TIDE_ASSERT((size_t)len < sizeof(text));
    return log_file_replace(fs, dir, EPOCH_FILE, text, (size_t)len);
}

/* ---- published ---- */

void log_epochs_set(struct log_epochs *e, const struct log_epoch_lines *l)
{
    tide_pub64_set(&e->version, tide_pub64_own(&e->version) + 1);
    tide_fence(); /* pairs with the fence in log_epochs_end_for */
    for (uint32_t i = 0; i < l->count; i++) {
        tide_pub64_set(&e->lines[i].epoch, (uint64_t)(int64_t)l->lines[i].epoch);
        tide_pub64_set(&e->lines[i].start, (uint64_t)l->lines[i].start);
    }
    tide_pub64_set(&e->count, l->count);
    tide_fence();
    tide_pub64_set(&e->version, tide_pub64_own(&e->version) + 1);
}

void log_epochs_get(const struct log_epochs *e, struct log_epoch_lines *ret)
{
    ret->count = (uint32_t)tide_pub64_own(&e->count);
    for (uint32_t i = 0; i < ret->count; i++) {
        ret->lines[i].epoch = (int32_t)tide_pub64_own(&e->lines[i].epoch);
        ret->lines[i].start = (int64_t)tide_pub64_own(&e->lines[i].start);
    }
}

static void end_for(const struct log_epochs *e, int32_t epoch, int64_t log_end,
                    struct log_epoch *ret)
{
    uint64_t n = tide_pub64_peek(&e->count);
    int64_t next_start = log_end;
    *ret = (struct log_epoch){.epoch = -1, .start = -1};
    if (n == 0 || epoch < 0 || epoch > (int64_t)tide_pub64_peek(&e->lines[n - 1].epoch))
        return;
    for (uint64_t i = n; i-- > 0;) {
        int64_t at = (int64_t)tide_pub64_peek(&e->lines[i].epoch);
        if (at <= epoch) {
            *ret = (struct log_epoch){.epoch = (int32_t)at, .start = next_start};
            return;
        }
        next_start = (int64_t)tide_pub64_peek(&e->lines[i].start);
    }
    *ret = (struct log_epoch){.epoch = epoch, .start = next_start};
}

void log_epochs_end_for(const struct log_epochs *e, int32_t epoch, int64_t log_end,
                        int32_t *ret_epoch, int64_t *ret_end)
{
    struct log_epoch found = {.epoch = -1, .start = -1};
    for (int i = 0; i < LOOKUP_TRIES; i++) {
        uint64_t version = tide_pub64_peek(&e->version);
        if ((version & 1) != 0)
            continue;
        end_for(e, epoch, log_end, &found);
        tide_fence();
        if (tide_pub64_peek(&e->version) == version)
            break;
        found = (struct log_epoch){.epoch = -1, .start = -1};
    }
    *ret_epoch = found.epoch;
    *ret_end = found.start;
}

static bool epoch_fits(const struct log_epochs *e, int32_t epoch, int64_t offset)
{
    for (uint64_t i = tide_pub64_peek(&e->count); i-- > 0;)
        if ((int64_t)tide_pub64_peek(&e->lines[i].start) <= offset)
            return (int64_t)tide_pub64_peek(&e->lines[i].epoch) == epoch;
    return true; /* older than the first line */
}

bool log_epochs_allow(const struct log_epochs *e, int32_t epoch, int64_t offset)
{
    for (int i = 0; i < LOOKUP_TRIES; i++) {
        uint64_t version = tide_pub64_peek(&e->version);
        if ((version & 1) != 0)
            continue;
        bool fits = epoch_fits(e, epoch, offset);
        tide_fence();
        if (tide_pub64_peek(&e->version) == version)
            return fits;
    }
    return true;
}

static int32_t before(const struct log_epochs *e, int64_t offset)
{
    for (uint64_t i = tide_pub64_peek(&e->count); i-- > 0;)
        if ((int64_t)tide_pub64_peek(&e->lines[i].start) < offset)
            return (int32_t)tide_pub64_peek(&e->lines[i].epoch);
    return -1;
}

int32_t log_epochs_before(const struct log_epochs *e, int64_t offset)
{
    for (int i = 0; i < LOOKUP_TRIES; i++) {
        uint64_t version = tide_pub64_peek(&e->version);
        int32_t epoch = before(e, offset);
        tide_fence();
        if ((version & 1) == 0 && tide_pub64_peek(&e->version) == version)
            return epoch;
    }
    return -1;
}

int32_t log_epochs_own_last(const struct log_epochs *e)
{
    uint64_t n = tide_pub64_own(&e->count);
    return n != 0 ? (int32_t)tide_pub64_own(&e->lines[n - 1].epoch) : -1;
}

int32_t log_epochs_last(const struct log_epochs *e)
{
    for (int i = 0; i < LOOKUP_TRIES; i++) {
        uint64_t version = tide_pub64_peek(&e->version);
        uint64_t n = tide_pub64_peek(&e->count);
        int32_t last = n != 0 ? (int32_t)tide_pub64_peek(&e->lines[n - 1].epoch) : -1;
        tide_fence();
        if ((version & 1) == 0 && tide_pub64_peek(&e->version) == version)
            return last;
    }
    return -1;
}

void log_epochs_check(const struct log_epochs *e)
{
    uint64_t n = tide_pub64_own(&e->count);
    TIDE_ASSERT(n <= LOG_EPOCHS_MAX);
    for (uint64_t i = 1; i < n; i++) {
        TIDE_ASSERT((int64_t)tide_pub64_own(&e->lines[i - 1].epoch) <
                    (int64_t)tide_pub64_own(&e->lines[i].epoch)); /* E1 */
        TIDE_ASSERT((int64_t)tide_pub64_own(&e->lines[i - 1].start) <
                    (int64_t)tide_pub64_own(&e->lines[i].start)); /* E1 */
    }
}
