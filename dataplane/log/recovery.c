/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_open: from a directory to a log that can be appended to. [helper]
 *
 * Order of what is changed, so that a crash at any point leaves a directory that recovers the same:
 *   0 the directory is made; its names, and its own, are made durable, whoever made them
 *   1 leftovers go (*.tmp, .deleted, .cleaned, .swap, index files without a segment): nobody refers
 *     to them; segments wholly below the log start (log-start-offset-checkpoint) go, oldest first
 *   2 partition.metadata is written when the directory is new
 *   3 next.prepared gets its name when it begins with a batch behind the last segment's base,
 *     else it goes: nothing in it was ever acknowledged
 *   4 segments are judged, oldest first, and cut and indexed as the table says
 *   5 the last segment's index files go: it is the active one again. What active.checkpoint vouches
 *     for of it is not read again (checkpoint.h)
 *   6 the active segment is cut behind its end, synced; what a crash left zeroed ahead stays, and nothing is
 *     zeroed here: a start would write an extent for every log that there is
 *   7 leader-epoch-checkpoint is cut to the log's end, or written anew when it was lost
 * A batch counts as long as nothing before it is wrong: length, magic, CRC, the expected base
 * offset, an epoch not below its predecessor's and listed in leader-epoch-checkpoint.
 *
 * Why old bytes are never taken for records, although nothing is overwritten here. Behind the end the file holds
 * zeroes as far as zeroed_end, and ends there. Those in the last block come from the cut: a file that is made shorter
 * and then longer reads as zeroes between. The others come from segment_extend, which works on a log that is open. So every
 * change behind the end comes after the sync of the cut, and a power cut cannot bring back what was cut under
 * what was appended since. A start that was killed before that sync leaves a file that looks cut and may not be; it
 * ends with the block of its last batch at the latest, hence such a file is cut and synced again by every start. Zeroes
 * behind that block are believed: they are younger than the sync.
 *
 * Without RWF_DSYNC (ack.durability=memory) a power cut may lose bytes of a rolled segment and keep
 * younger ones of its successor. What is behind the hole cannot be served and goes; other replicas
 * have it, or it is the loss that this setting accepts. With RWF_DSYNC the same picture means that
 * the device lost what it had confirmed, and the log refuses to open.
 *
 * Below what is known to have been committed nothing can be torn, if writes were synced: what is not
 * whole there has rotted. A batch whose header still fits stays, since what is behind it is as good as
 * before: reads refuse that batch alone. Where the walk cannot go on the log refuses to open. Either
 * way others are asked for it (log_config.repair), if there are any who have it: then every segment is
 * walked, and the log is cut at the first thing that is wrong, below the commit point or not.
 */
#include "log/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/internal.h"
#include "tidemark/assert.h"

#define NOT_LAST(also) (FACT_LAST | (also))
const struct recovery_case recovery_cases[] = {
    {"closed", FACT_LAST | FACT_SEALED, FACT_SEALED, RECOVER_KEEP},
    {"closed, index lost", NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_END_WHOLE),
     FACT_JOINS | FACT_END_WHOLE, RECOVER_INDEX},
    {"rolled, not sealed", NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_END_ZERO),
     FACT_JOINS | FACT_END_ZERO, RECOVER_SEAL},
    {"rolled, foreign bytes behind its end", NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_END_TORN),
     FACT_JOINS | FACT_END_TORN, RECOVER_SEAL},
    {"hole before the last segment, writes were not synced",
     NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_NEXT_LAST | FACT_DURABLE | FACT_REPAIR), FACT_NEXT_LAST,
     RECOVER_DROP_REST},
    {"hole before the last segment, writes were synced",
     NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_NEXT_LAST | FACT_DURABLE | FACT_REPAIR),
     FACT_NEXT_LAST | FACT_DURABLE, RECOVER_REFUSE},
    {"hole in the middle", NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_NEXT_LAST | FACT_REPAIR), 0, RECOVER_REFUSE},
    {"hole, and others have what is behind it", NOT_LAST(FACT_SEALED | FACT_JOINS | FACT_REPAIR), FACT_REPAIR,
     RECOVER_DROP_REST},
    {"clean end", FACT_LAST | FACT_END_WHOLE, FACT_LAST | FACT_END_WHOLE, RECOVER_EXTEND},
    {"zeroed ahead", FACT_LAST | FACT_END_ZERO, FACT_LAST | FACT_END_ZERO, RECOVER_EXTEND},
    {"torn tail", FACT_LAST | FACT_END_TORN | FACT_SHORT, FACT_LAST | FACT_END_TORN, RECOVER_CUT},
    {"torn tail, writes were not synced", FACT_LAST | FACT_END_TORN | FACT_SHORT | FACT_DURABLE,
     FACT_LAST | FACT_END_TORN | FACT_SHORT, RECOVER_CUT},
    {"rot below what was committed", FACT_LAST | FACT_END_TORN | FACT_SHORT | FACT_DURABLE | FACT_REPAIR,
     FACT_LAST | FACT_END_TORN | FACT_SHORT | FACT_DURABLE, RECOVER_REFUSE},
    {"rot, and others have it", FACT_LAST | FACT_END_TORN | FACT_SHORT | FACT_DURABLE | FACT_REPAIR,
     FACT_LAST | FACT_END_TORN | FACT_SHORT | FACT_DURABLE | FACT_REPAIR, RECOVER_CUT},
};
const unsigned recovery_case_count = TIDE_ARRAY_LEN(recovery_cases);

bool recovery_facts_can_be(uint32_t facts)
{
    uint32_t end = facts & (FACT_END_WHOLE | FACT_END_ZERO | FACT_END_TORN);
    if (end == 0 || (end & (end - 1)) != 0)
        return false;
    if ((facts & FACT_LAST) != 0)
        return (facts & (FACT_SEALED | FACT_JOINS | FACT_NEXT_LAST)) == 0;
    if ((facts & FACT_SEALED) != 0)
        return (facts & FACT_JOINS) != 0 && end == FACT_END_WHOLE;
    return true;
}

const struct recovery_case *recovery_case_of(uint32_t facts)
{
    if (!recovery_facts_can_be(facts))
        return NULL;
    for (unsigned i = 0; i < recovery_case_count; i++)
        if ((facts & recovery_cases[i].mask) == recovery_cases[i].value)
            return &recovery_cases[i];
    return NULL;
}

/* ---- the work ---- */

enum { METADATA_MAX = 256 };

struct found_segment {
    struct log_segment s;
    uint32_t file_bytes; /* of the file, capped */
    int32_t last_epoch;  /* behind it */
    enum segment_end end;
};

struct recovery {
    struct log *log;
    const struct tide_fs *fs;
    char *error;
    size_t error_size;

    int64_t start;  /* of the log */
    int64_t gaps_below; /* compaction may have taken what is missing there */
    struct log_cleaner cleaner;
    bool cleaner_lost; /* made anew */
    int64_t *bases; /* of the .log files, sorted */
    size_t base_count;
    size_t base_room;
    bool has_prepared;
    bool has_metadata;
    struct log_epoch_lines lines;
    bool lines_lost; /* learned from the batches */
    bool lines_changed;
    bool rotten; /* a batch is kept whose sum is wrong */
    struct found_segment *found;
    size_t found_count;
    int64_t first_timestamp; /* of the last scanned segment */
};

static int fail(struct recovery *r, int e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(struct recovery *r, int e, const char *format, ...)
{
    va_list args;
    int n = 0;
    if (r->error_size != 0 && r->error[0] == '\0') {
        va_start(args, format);
        n = vsnprintf(r->error, r->error_size, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < r->error_size)
            snprintf(r->error + n, r->error_size - (size_t)n, ": %s", strerror(-e));
    }
    return e;
}

/* ---- 1, 2: the directory ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name);
    size_t m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

static bool is_leftover(const char *name)
{
    return has_suffix(name, ".tmp") || has_suffix(name, ".deleted") ||
           has_suffix(name, ".cleaned") || has_suffix(name, ".swap");
}

struct listing {
    struct recovery *r;
    char (*names)[256];
    size_t count;
    size_t room;
};

static int keep_base(struct recovery *r, int64_t base)
{
    if (r->base_count == LOG_SEGMENTS_PER_CHUNK * LOG_SEGMENT_CHUNKS - 1)
        return -EFBIG;
    if (r->base_count == r->base_room) {
        size_t room = r->base_room == 0 ? 64 : 2 * r->base_room;
        int64_t *bases = realloc(r->bases, room * sizeof(*bases));
        if (bases == NULL)
            return -ENOMEM;
        r->bases = bases;
        r->base_room = room;
    }
    r->bases[r->base_count++] = base;
    return 0;
}

static int keep_leftover(struct listing *l, const char *name)
{
    if (strlen(name) >= sizeof(l->names[0]))
        return 0;
    if (l->count == l->room) {
        size_t room = l->room == 0 ? 16 : 2 * l->room;
        char(*names)[256] = realloc(l->names, room * sizeof(*names));
        if (names == NULL)
            return -ENOMEM;
        l->names = names;
        l->room = room;
    }
    strcpy(l->names[l->count++], name);
    return 0;
}

static int see_entry(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    int64_t base;
    if (is_dir)
        return 0;
    if (is_leftover(name) || segment_name_parse(name, ".index", &base) ||
        segment_name_parse(name, ".timeindex", &base))
        return keep_leftover(l, name);
    if (segment_name_parse(name, ".log", &base))
        return keep_base(l->r, base);
    if (strcmp(name, LOG_PREPARED_NAME) == 0)
        l->r->has_prepared = true;
    else if (strcmp(name, "partition.metadata") == 0)
        l->r->has_metadata = true;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool has_base(const struct recovery *r, int64_t base)
{
    return r->base_count != 0 &&
           bsearch(&base, r->bases, r->base_count, sizeof(base), by_value) != NULL;
}

/* An index file is kept while its segment is there. */
static bool is_wanted(const struct recovery *r, const char *name)
{
    int64_t base;
    return (segment_name_parse(name, ".index", &base) ||
            segment_name_parse(name, ".timeindex", &base)) &&
           has_base(r, base);
}

static int list_directory(struct recovery *r)
{
    struct listing l = {.r = r};
    char path[LOG_PATH_MAX];
    int e = r->fs->list(r->fs->self, r->log->dir, see_entry, &l);
    if (r->base_count != 0)
        qsort(r->bases, r->base_count, sizeof(r->bases[0]), by_value);
    for (size_t i = 0; e == 0 && i < l.count; i++) {
        if (is_wanted(r, l.names[i]))
            continue;
        e = log_path(path, r->log->dir, l.names[i]);
        if (e == 0)
            e = r->fs->unlink(r->fs->self, path);
    }
    free(l.names);
    return e != 0 ? fail(r, e, "%s: cannot list it", r->log->dir) : 0;
}

/* Names that are there already are made durable as well: an earlier try may have made them and then
 * failed to sync, and what is acknowledged from now on must not hang on a name that a power cut takes
 * back. */
static int make_directory(struct recovery *r)
{
    char parent[LOG_PATH_MAX];
    const char *slash = strrchr(r->log->dir, '/');
    int e = r->fs->mkdir(r->fs->self, r->log->dir);
    if (e == -EEXIST)
        e = 0;
    if (e == 0 && slash != NULL && slash != r->log->dir) {
        size_t n = (size_t)(slash - r->log->dir);
        if (n >= sizeof(parent))
            return fail(r, -ENAMETOOLONG, "%s", r->log->dir);
        memcpy(parent, r->log->dir, n);
        parent[n] = '\0';
        e = r->fs->sync_dir(r->fs->self, parent);
    }
    if (e == 0)
        e = r->fs->sync_dir(r->fs->self, r->log->dir);
    return e != 0 ? fail(r, e, "%s: cannot create it", r->log->dir) : 0;
}

static bool metadata_parse(const char *text, struct tide_uuid *ret)
{
    static const char version[] = "version: 0\n";
    static const char id[] = "topic_id: ";
    if (strncmp(text, version, sizeof(version) - 1) != 0)
        return false;
    text += sizeof(version) - 1;
    if (strncmp(text, id, sizeof(id) - 1) != 0)
        return false;
    text += sizeof(id) - 1;
    size_t len = strcspn(text, "\n");
    return tide_uuid_from_text(text, len, ret);
}

/* The directory is this topic's, or it is empty and becomes so. */
static int check_identity(struct recovery *r)
{
    char text[METADATA_MAX];
    char id[TIDE_UUID_TEXT];
    char *found = NULL;
    size_t len;
    struct tide_uuid topic_id;
    tide_uuid_to_text(&r->log->config.topic_id, id);
    if (!r->has_metadata) {
        if (r->base_count != 0)
            return fail(r, -EBADMSG, "%s has segments but no partition.metadata", r->log->dir);
        int n = snprintf(text, sizeof(text), "version: 0\ntopic_id: %s\n", id);
        int e = log_file_replace(r->fs, r->log->dir, "partition.metadata", text, (size_t)n);
        return e != 0 ? fail(r, e, "%s/partition.metadata: cannot write it", r->log->dir) : 0;
    }
    int e = log_file_load(r->fs, r->log->dir, "partition.metadata", METADATA_MAX, &found, &len);
    if (e == 0 && !metadata_parse(found, &topic_id))
        e = -EBADMSG;
    free(found);
    if (e != 0)
        return fail(r, e, "%s/partition.metadata: cannot read it", r->log->dir);
    if (!tide_uuid_equal(&topic_id, &r->log->config.topic_id)) {
        tide_uuid_to_text(&topic_id, text);
        return fail(r, -EBADMSG, "%s belongs to topic id %s, not %s", r->log->dir, text, id);
    }
    return 0;
}

static int load_epochs(struct recovery *r)
{
    int e = log_epoch_lines_load(&r->lines, r->fs, r->log->dir);
    if (e == -ENOENT || e == -EBADMSG) {
        r->lines_lost = true;
        r->lines_changed = r->base_count != 0;
        return 0;
    }
    return e != 0 ? fail(r, e, "%s/leader-epoch-checkpoint: cannot read it", r->log->dir) : 0;
}

/* Segments wholly below the start: a crash may have come before they were removed. A damaged file
 * means that more is served than was asked for, which loses nothing. */
static int settle_start(struct recovery *r)
{
    size_t gone = 0;
    int e = log_start_load(r->fs, r->log->dir, &r->start);
    if (e == -EBADMSG) {
        r->start = 0;
        e = 0;
    }
    while (e == 0 && gone + 1 < r->base_count && r->bases[gone + 1] <= r->start)
        e = segment_remove(r->fs, r->log->dir, r->bases[gone++]);
    if (gone != 0) {
        r->base_count -= gone;
        memmove(r->bases, r->bases + gone, r->base_count * sizeof(r->bases[0]));
    }
    if (r->base_count != 0)
        r->start = TIDE_MAX(r->start, r->bases[0]);
    return e != 0 ? fail(r, e, "%s/" LOG_START_NAME ": cannot settle it", r->log->dir) : 0;
}

/* Where compaction has been. A damaged file says nothing: then a gap is taken for its work in every
 * segment but the last, and all is dirty. */
static int load_cleaner(struct recovery *r)
{
    int e = log_cleaner_load(r->fs, r->log->dir, &r->cleaner);
    if (e == -EBADMSG) {
        r->cleaner.gaps_below = r->base_count != 0 ? r->bases[r->base_count - 1] : 0;
        r->cleaner_lost = true;
        e = 0;
    }
    r->gaps_below = r->cleaner.gaps_below;
    return e != 0 ? fail(r, e, "%s/" LOG_CLEANER_NAME ": cannot read it", r->log->dir) : 0;
}

/* ---- 3: the prepared segment ---- */

static int remove_file(struct recovery *r, const char *path)
{
    int e = r->fs->unlink(r->fs->self, path);
    return e == 0 || e == -ENOENT ? 0 : fail(r, e, "%s: cannot remove it", path);
}

/* True when the file begins with a good batch behind `after`. */
static int prepared_base(struct recovery *r, const char *path, int64_t after, int64_t *ret_base)
{
    struct segment_reader reader;
    int32_t epoch;
    int64_t base;
    int e = 0;
    *ret_base = -1;
    int file = r->fs->open(r->fs->self, path, TIDE_FS_READ | TIDE_FS_DIRECT);
    if (file < 0)
        return fail(r, file, "%s: cannot open it", path);
    int64_t size = r->fs->size(r->fs->self, file);
    if (size < 0)
        e = (int)size;
    if (e == 0)
        e = segment_reader_init(&reader, r->fs, file, (uint64_t)TIDE_MIN(size, (int64_t)INT32_MAX));
    if (e == 0) {
        if (segment_first_batch(&reader, &r->lines, &base, &epoch) && base > after)
            *ret_base = base;
        e = reader.error;
        segment_reader_deinit(&reader);
    }
    r->fs->close(r->fs->self, file);
    return e != 0 ? fail(r, e, "%s: cannot read it", path) : 0;
}

static int settle_prepared(struct recovery *r)
{
    char path[LOG_PATH_MAX];
    char name[LOG_PATH_MAX];
    int64_t base = -1;
    int e = log_path(path, r->log->dir, LOG_PREPARED_NAME);
    if (e != 0)
        return fail(r, e, "%s", r->log->dir);
    if (!r->has_prepared)
        return 0;
    if (r->base_count != 0)
        e = prepared_base(r, path, r->bases[r->base_count - 1], &base);
    if (e != 0)
        return e;
    if (base < 0)
        return remove_file(r, path);
    e = segment_path(name, r->log->dir, base, ".log");
    if (e == 0)
        e = r->fs->rename(r->fs->self, path, name);
    if (e == 0)
        e = r->fs->sync_dir(r->fs->self, r->log->dir);
    if (e == 0)
        e = keep_base(r, base);
    return e != 0 ? fail(r, e, "%s: cannot name it %" PRId64, path, base) : 0;
}

/* ---- 4: judging segments ---- */

static int open_segment(struct recovery *r, struct found_segment *f, const char *path)
{
    int file = r->fs->open(r->fs->self, path, TIDE_FS_READ | TIDE_FS_WRITE | TIDE_FS_DIRECT);
    if (file < 0)
        return fail(r, file, "%s: cannot open it", path);
    f->s.file = file;
    int64_t size = r->fs->size(r->fs->self, file);
    if (size < 0)
        return fail(r, (int)size, "%s: cannot ask its size", path);
    f->file_bytes = (uint32_t)TIDE_MIN(size, (int64_t)INT32_MAX);
    return 0;
}

static int scan(struct recovery *r, struct found_segment *f, int32_t epoch_before,
                bool from_checkpoint, struct log_index *index, struct segment_scan *ret)
{
    struct segment_reader reader;
    int e = segment_reader_init(&reader, r->fs, f->s.file, f->file_bytes);
    if (e != 0)
        return fail(r, e, "%s", r->log->dir);
    *ret = (struct segment_scan){
        .base_offset = f->s.base_offset,
        .last_epoch = epoch_before,
        .lines = &r->lines,
        .learn_epochs = r->lines_lost,
        .exact_epochs = r->log->config.repair,
        .gaps_below = r->gaps_below,
        .index = index,
        .keep_below = r->log->config.durable && !r->log->config.repair ? r->log->config.committed : 0,
    };
    struct log_checkpoint checkpoint;
    if (from_checkpoint &&
        log_checkpoint_load(r->fs, r->log->dir, f->s.base_offset, f->file_bytes, index,
                            &checkpoint)) {
        ret->from = &checkpoint;
        e = segment_scan(&reader, ret);
        ret->from = NULL;
        if (e == -EBADMSG) { /* it does not fit: the whole segment, then */
            log_index_reset(index, tide_pub64_own(&index->segment));
            ret->last_epoch = epoch_before;
            e = segment_scan(&reader, ret);
        }
    } else {
        e = segment_scan(&reader, ret);
    }
    segment_reader_deinit(&reader);
    f->s.size = (uint32_t)ret->position;
    f->s.next_offset = ret->next_offset;
    f->s.max_timestamp = ret->max_timestamp;
    f->last_epoch = ret->last_epoch;
    r->rotten |= ret->rotten;
    return e != 0 ? fail(r, e, "%s: cannot read segment %" PRId64, r->log->dir, f->s.base_offset)
                  : 0;
}

static void learn_epoch(void *arg, const struct batch_header *h)
{
    struct log_epoch_lines *lines = arg;
    if (h->leader_epoch > log_epoch_lines_last(lines))
        log_epoch_lines_add(lines, h->leader_epoch, h->base_offset);
}

/* Index files that are there and fit: then the segment is as it was closed. */
static int check_sealed(struct recovery *r, struct found_segment *f, int64_t next_base,
                        bool *ret_sealed)
{
    struct segment_reader reader;
    f->s.size = f->file_bytes;
    f->s.next_offset = next_base;
    *ret_sealed = false;
    int e = segment_map_index(r->fs, r->log->dir, &f->s);
    if (e == -ENOENT || e == -EBADMSG)
        return 0;
    if (e != 0)
        return fail(r, e, "%s: cannot map the index of %" PRId64, r->log->dir, f->s.base_offset);
    e = segment_reader_init(&reader, r->fs, f->s.file, f->file_bytes);
    if (e != 0)
        return fail(r, e, "%s", r->log->dir);
    *ret_sealed = segment_tail_fits(&reader, &f->s, next_base, r->gaps_below, &f->last_epoch);
    if (*ret_sealed && r->lines_lost)
        e = segment_replay(&reader, &f->s, 0, f->s.base_offset, learn_epoch, &r->lines);
    if (e == 0)
        e = reader.error;
    segment_reader_deinit(&reader);
    if (!*ret_sealed)
        segment_unmap_index(r->fs, &f->s);
    return e != 0 ? fail(r, e, "%s: cannot read segment %" PRId64, r->log->dir, f->s.base_offset)
                  : 0;
}

/* Facts of segment i, and with them its row. The last one's index goes into the log's own. */
static int judge(struct recovery *r, size_t i, const struct recovery_case **ret)
{
    struct found_segment *f = &r->found[i];
    bool last = i + 1 == r->found_count;
    int32_t epoch_before = i != 0 ? r->found[i - 1].last_epoch : -1;
    struct segment_scan s;
    bool sealed = false;
    bool repair = r->log->config.repair;
    uint32_t facts = (r->log->config.durable ? FACT_DURABLE : 0) | (repair ? FACT_REPAIR : 0);
    int e = 0;
    f->last_epoch = epoch_before;
    if (!last && !repair) {
        e = check_sealed(r, f, r->found[i + 1].s.base_offset, &sealed);
        if (e != 0)
            return e;
    }
    if (sealed) {
        facts |= FACT_SEALED | FACT_JOINS | FACT_END_WHOLE;
    } else {
        struct log_index *index = &r->log->index[i % 2];
        log_index_reset(index, i);
        index->may_allocate = true;
        e = scan(r, f, epoch_before, last && !r->lines_lost && !repair, index, &s);
        if (e != 0)
            return e;
        if (last && s.rotten && s.next_offset < r->log->config.committed)
            s.end = SEGMENT_END_TORN; /* a length had rotted, and led the walk over what follows */
        facts |= s.end == SEGMENT_END_WHOLE  ? FACT_END_WHOLE
                 : s.end == SEGMENT_END_ZERO ? FACT_END_ZERO
                                             : FACT_END_TORN;
        r->first_timestamp = s.first_timestamp;
        f->end = s.end;
        if (!last && f->s.next_offset < r->found[i + 1].s.base_offset &&
            r->found[i + 1].s.base_offset <= r->gaps_below)
            f->s.next_offset = r->found[i + 1].s.base_offset;
    }
    if (f->s.next_offset < r->log->config.committed)
        facts |= FACT_SHORT;
    if (last)
        facts |= FACT_LAST;
    else if (f->s.next_offset == r->found[i + 1].s.base_offset)
        facts |= FACT_JOINS;
    if (i + 2 == r->found_count)
        facts |= FACT_NEXT_LAST;
    *ret = recovery_case_of(facts);
    TIDE_ASSERT(*ret != NULL);
    return 0;
}

/* The segments behind i go, newest first, each durably: their batches are behind a hole. */
static int drop_rest(struct recovery *r, size_t i)
{
    int e = 0;
    while (e == 0 && r->found_count > i + 1) {
        struct log_segment *s = &r->found[--r->found_count].s;
        e = r->fs->close(r->fs->self, s->file);
        if (e == 0)
            e = segment_remove(r->fs, r->log->dir, s->base_offset);
        if (e != 0)
            return fail(r, e, "%s: cannot drop segment %" PRId64, r->log->dir, s->base_offset);
    }
    return 0;
}

static int seal_segment(struct recovery *r, size_t i)
{
    struct found_segment *f = &r->found[i];
    struct log_index *index = &r->log->index[i % 2];
    int e = segment_seal(r->fs, r->log->dir, &f->s, NULL, index);
    log_index_reset(index, UINT64_MAX);
    return e != 0 ? fail(r, e, "%s: cannot seal segment %" PRId64, r->log->dir, f->s.base_offset)
                  : 0;
}

static int treat_segment(struct recovery *r, size_t i)
{
    const struct recovery_case *row;
    int e = judge(r, i, &row);
    if (e != 0)
        return e;
    r->log->recovery_label = row->label;
    switch (row->action) {
    case RECOVER_KEEP:
    case RECOVER_EXTEND:
    case RECOVER_CUT:
        return 0;
    case RECOVER_INDEX:
    case RECOVER_SEAL:
        return seal_segment(r, i);
    case RECOVER_DROP_REST:
        return drop_rest(r, i);
    case RECOVER_REFUSE:
        break;
    }
    if (i + 1 == r->found_count)
        return fail(r, -EBADMSG,
                    "%s: segment %" PRId64 " ends at offset %" PRId64 ", and up to %" PRId64 " was committed (%s)", r->log->dir,
                    r->found[i].s.base_offset, r->found[i].s.next_offset, r->log->config.committed, row->label);
    return fail(r, -EBADMSG,
                "%s: segment %" PRId64 " ends at offset %" PRId64
                ", the next one begins at %" PRId64 " (%s)",
                r->log->dir, r->found[i].s.base_offset, r->found[i].s.next_offset,
                r->found[i + 1].s.base_offset, row->label);
}

static int open_segments(struct recovery *r)
{
    char path[LOG_PATH_MAX];
    if (r->base_count == 0)
        return 0;
    r->found = calloc(r->base_count, sizeof(*r->found));
    if (r->found == NULL)
        return fail(r, -ENOMEM, "%s", r->log->dir);
    for (size_t i = 0; i < r->base_count; i++) {
        struct found_segment *f = &r->found[i];
        f->s.base_offset = r->bases[i];
        f->s.tail_base = UINT64_MAX;
        f->s.max_timestamp = -1;
        f->s.gaps = f->s.base_offset < r->gaps_below;
        f->s.file = -1;
        r->found_count++;
        int e = segment_path(path, r->log->dir, f->s.base_offset, ".log");
        if (e == 0)
            e = open_segment(r, f, path);
        if (e != 0)
            return e;
    }
    return 0;
}

/* ---- 5, 6: the active segment ---- */

static int create_first(struct recovery *r)
{
    char path[LOG_PATH_MAX];
    r->found = calloc(1, sizeof(*r->found));
    if (r->found == NULL)
        return fail(r, -ENOMEM, "%s", r->log->dir);
    int e = segment_path(path, r->log->dir, r->start, ".log");
    int file = e != 0 ? e : segment_create(r->fs, r->log->dir, path, 0, true);
    if (file < 0)
        return fail(r, file, "%s: cannot create it", path);
    r->found[0] = (struct found_segment){.s = {.file = file,
                                               .base_offset = r->start,
                                               .next_offset = r->start,
                                               .max_timestamp = -1},
                                         .last_epoch = -1,
                                         .end = SEGMENT_END_ZERO};
    r->found_count = 1;
    r->first_timestamp = -1;
    r->log->recovery_label = "new";
    log_index_reset(&r->log->index[0], 0);
    return 0;
}

static int forget_index_files(struct recovery *r, int64_t base)
{
    char path[LOG_PATH_MAX];
    int e = segment_path(path, r->log->dir, base, ".index");
    if (e == 0)
        e = remove_file(r, path);
    if (e == 0)
        e = segment_path(path, r->log->dir, base, ".timeindex");
    if (e == 0)
        e = remove_file(r, path);
    return e != 0 ? e : r->fs->sync_dir(r->fs->self, r->log->dir);
}

/* The block that is not full, for the tail's first buffer. */
static int load_last_block(struct recovery *r, const struct found_segment *f)
{
    struct segment_reader reader;
    uint64_t block = log_block_floor(f->s.size);
    uint32_t n = (uint32_t)(f->s.size - block);
    if (n == 0)
        return 0;
    int e = segment_reader_init(&reader, r->fs, f->s.file, f->s.size);
    if (e != 0)
        return e;
    const uint8_t *bytes = segment_read(&reader, block, n);
    if (bytes != NULL)
        memcpy(r->log->last_block, bytes, n);
    e = reader.error;
    segment_reader_deinit(&reader);
    return e;
}

/* Behind the end there are only zeroes afterwards, on the device, up to log->zeroed_end, where the file ends: no write makes
 * it longer. Without any from before that is the end of the last block. */
static int cut_behind(struct recovery *r, const struct found_segment *f)
{
    struct log *log = r->log;
    uint64_t from = log_block_ceil(f->s.size);
    uint64_t cap = TIDE_MAX(log->segment_cap, from);
    if (f->end == SEGMENT_END_ZERO && f->file_bytes >= from && f->file_bytes % TIDE_BLOCK == 0) {
        log->zeroed_end = TIDE_MIN((uint64_t)f->file_bytes, cap);
        if (log->zeroed_end > from)
            return 0; /* extended before the crash, and not used: behind a sync of the cut */
    }
    log->zeroed_end = from;
    return segment_cut(r->fs, f->s.file, f->s.size);
}

static int settle_active(struct recovery *r)
{
    struct found_segment *f = &r->found[r->found_count - 1];
    int e = forget_index_files(r, f->s.base_offset);
    if (e == 0)
        e = cut_behind(r, f);
    if (e == 0)
        e = load_last_block(r, f);
    return e != 0 ? fail(r, e, "%s: cannot settle segment %" PRId64, r->log->dir, f->s.base_offset)
                  : 0;
}

/* ---- 7 and the log itself ---- */

/* Where a truncation ended in a gap (compact.h). */
static void settle_end(struct recovery *r)
{
    struct found_segment *f = &r->found[r->found_count - 1];
    if (f->s.base_offset == r->cleaner.cut_base && (int64_t)f->s.size >= r->cleaner.cut_position)
        f->s.next_offset = TIDE_MAX(f->s.next_offset, r->cleaner.cut_end);
}

/* What is appended next is neither clean nor has it gaps, whatever stood there before a cut. */
static int settle_cleaner(struct recovery *r)
{
    int64_t end = r->found[r->found_count - 1].s.next_offset;
    struct log_cleaner *k = &r->cleaner;
    if (!r->cleaner_lost && k->clean_below <= end && k->gaps_below <= end)
        return 0;
    k->clean_below = TIDE_MIN(k->clean_below, end);
    k->gaps_below = TIDE_MIN(k->gaps_below, end);
    int e = log_cleaner_store(r->fs, r->log->dir, k);
    return e != 0 ? fail(r, e, "%s/" LOG_CLEANER_NAME ": cannot write it", r->log->dir) : 0;
}

static int settle_epochs(struct recovery *r)
{
    int64_t end = r->found[r->found_count - 1].s.next_offset;
    if (log_epoch_lines_cut(&r->lines, end))
        r->lines_changed = true;
    log_epochs_set(&r->log->epochs, &r->lines);
    if (!r->lines_changed)
        return 0;
    int e = log_epoch_lines_store(&r->lines, r->fs, r->log->dir);
    return e != 0 ? fail(r, e, "%s/leader-epoch-checkpoint: cannot write it", r->log->dir) : 0;
}

/* A log that ends before its start lost its end (a truncation into the batch that held the start).
 * What is appended next must not be hidden by the old start. */
static int lower_start(struct recovery *r)
{
    int64_t end = r->found[r->found_count - 1].s.next_offset;
    if (r->start <= end)
        return 0;
    r->start = end;
    int e = log_start_store(r->fs, r->log->dir, end);
    return e != 0 ? fail(r, e, "%s/" LOG_START_NAME ": cannot write it", r->log->dir) : 0;
}

static int fill_table(struct recovery *r)
{
    struct log *log = r->log;
    uint64_t closed_bytes = 0;
    for (size_t i = 0; i < r->found_count; i++) {
        struct found_segment *f = &r->found[i];
        bool last = i + 1 == r->found_count;
        if (log->spare_chunk == NULL)
            log->spare_chunk = calloc(1, sizeof(*log->spare_chunk));
        if (log->spare_segment == NULL)
            log->spare_segment = segment_alloc();
        if (last)
            f->s.tail_base = 0;
        else
            closed_bytes += f->s.size;
        if (!log_table_put(log, (uint32_t)i, &f->s, last ? LOG_SEGMENT_ACTIVE : LOG_SEGMENT_CLOSED))
            return fail(r, -ENOMEM, "%s", log->dir);
        f->s.file = -1; /* the table's */
        f->s.index = f->s.time_index = NULL;
    }
    tide_pub64_set(&log->closed_bytes, closed_bytes);
    return 0;
}

static void publish(struct recovery *r)
{
    struct log *log = r->log;
    const struct log_segment *s = &r->found[r->found_count - 1].s;
    log->active = log->written_segment = (uint32_t)r->found_count - 1;
    log->position = log->written = s->size;
    log->next_offset = log->durable_end = s->next_offset;
    log->first_timestamp = r->first_timestamp;
    log->doubted = r->rotten ? s->next_offset : 0;
    log->rot_met = r->rotten;
    log->cleaner = r->cleaner;
    tide_pub64_set(&log->gaps_pub, (uint64_t)r->cleaner.gaps_below);
    tide_pub64_set(&log->first_pub, 0);
    tide_pub64_set(&log->start_pub, (uint64_t)TIDE_MIN(r->start, s->next_offset));
    tide_pub64_set(&log->written_pub, log_end_pack(log->active, log->position));
    tide_pub64_set(&log->end_pub, log_end_pack(log->active, log->position));
    tide_pub64_set(&log->next_pub, (uint64_t)log->next_offset);
}

static void close_found(struct recovery *r)
{
    for (size_t i = 0; i < r->found_count; i++) {
        segment_unmap_index(r->fs, &r->found[i].s);
        if (r->found[i].s.file >= 0)
            r->fs->close(r->fs->self, r->found[i].s.file);
    }
}

/* The active segment may be cut below what it vouches for. */
static int forget_checkpoint(struct recovery *r)
{
    char path[LOG_PATH_MAX];
    int e = log_path(path, r->log->dir, LOG_CHECKPOINT_NAME);
    if (e == 0)
        e = remove_file(r, path);
    if (e == 0)
        e = r->fs->sync_dir(r->fs->self, r->log->dir);
    return e;
}

static int recover(struct recovery *r)
{
    int e = make_directory(r);
    if (e == 0)
        e = list_directory(r);
    if (e == 0)
        e = check_identity(r);
    if (e == 0)
        e = load_epochs(r);
    if (e == 0)
        e = settle_start(r);
    if (e == 0)
        e = load_cleaner(r);
    if (e == 0)
        e = settle_prepared(r);
    if (e == 0)
        e = open_segments(r);
    if (e == 0 && r->log->config.repair)
        e = forget_checkpoint(r);
    for (size_t i = 0; e == 0 && i < r->found_count; i++)
        e = treat_segment(r, i);
    if (e == 0 && r->found_count == 0)
        e = create_first(r);
    if (e == 0) {
        settle_end(r);
        e = settle_active(r);
    }
    if (e == 0)
        e = settle_cleaner(r);
    if (e == 0)
        e = settle_epochs(r);
    if (e == 0)
        e = lower_start(r);
    return e != 0 ? e : fill_table(r);
}

int log_replay(struct log *log, const struct tide_fs *fs, int64_t from,
               void (*on_batch)(void *arg, const struct batch_header *), void *arg)
{
    struct segment_reader reader;
    int e = 0;
    TIDE_ASSERT(log->state == LOG_OPEN || log->state == LOG_RUNNING);
    if (from >= log->next_offset)
        return 0;
    for (uint32_t n = log_segment_of(log, log->active, from); n <= log->active && e == 0; n++) {
        struct log_segment s = *log_segment_at(log, n);
        if (n == log->active)
            s.size = log->position;
        e = segment_reader_init(&reader, fs, s.file, s.size);
        if (e != 0)
            return e;
        e = segment_replay(&reader, &s, log_floor_position(log, n, from), from, on_batch, arg);
        segment_reader_deinit(&reader);
    }
    return e;
}

int log_open(struct log *log, const struct tide_fs *fs, int64_t replay_from,
             void (*on_batch)(void *arg, const struct batch_header *), void *arg, char *error,
             size_t error_size)
{
    struct recovery r = {.log = log,
                         .fs = fs,
                         .error = error,
                         .error_size = error_size};
    TIDE_ASSERT(log->state == LOG_NEW);
    if (error_size != 0)
        error[0] = '\0';
    log->fs = fs;
    int e = recover(&r);
    if (e == 0) {
        publish(&r);
        log_move(log, LOG_OPEN);
        if (on_batch != NULL)
            e = log_replay(log, fs, replay_from, on_batch, arg);
        if (e != 0)
            (void)fail(&r, e, "%s: cannot replay it from %" PRId64, log->dir, replay_from);
    }
    close_found(&r);
    free(r.found);
    free(r.bases);
    return e;
}
