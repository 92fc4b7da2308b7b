/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "raft/quorum_files_internal.h"
#include "raft/quorum_members.h"

struct printer {
    void (*line)(void *arg, const char *text);
    void *arg;
};

static void __attribute__((format(printf, 2, 3))) say(const struct printer *p, const char *format, ...)
{
    char text[512 + QUORUM_PATH_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    p->line(p->arg, text);
}

static void say_members(const struct printer *p, const struct quorum_members *m, uint64_t index)
{
    static const char *const roles[] = {"follows only", "votes", "spare"};
    say(p, "members of entry %" PRIu64 ":", index);
    for (uint32_t i = 0; i < m->count; i++)
        say(p, "  %d  %s  %s", m->member[i].id, m->member[i].address, roles[m->member[i].role]);
}

/* The newest list of members that the files hold, and the entry that it comes from. */
static bool newest_members(const struct quorum_boot *b, struct quorum_members *ret, uint64_t *ret_index)
{
    for (uint64_t i = b->count; i-- != 0;)
        if (b->entries[i].kind == QUORUM_MEMBERSHIP) {
            *ret_index = b->entries[i].index;
            return quorum_members_read(b->entries[i].bytes, b->entries[i].len, ret) == TIDE_OK;
        }
    if (b->snapshot == NULL)
        return false;
    *ret_index = b->snapshot->members_index;
    return quorum_members_read(b->snapshot->members, b->snapshot->members_len, ret) == TIDE_OK;
}

static uint64_t last_term(const struct quorum_boot *b)
{
    if (b->count != 0)
        return b->entries[b->count - 1].term;
    return b->snapshot != NULL ? b->snapshot->term : 0;
}

enum tide_status quorum_files_describe(const struct quorum_files_config *c, void (*line)(void *arg, const char *text), void *arg, char *error,
                                       size_t size)
{
    const struct printer p = {.line = line, .arg = arg};
    struct quorum_files *f = quorum_alloc(sizeof(*f));
    struct quorum_boot boot;
    struct quorum_members members;
    uint64_t index;
    f->fs = c->fs;
    f->cluster_id = c->cluster_id;
    f->file = f->spare_file = f->state_file = -1;
    snprintf(f->dir, sizeof(f->dir), "%s", c->dir);
    enum tide_status status = quorum_files_load(f, &boot, true, error, size);
    if (status != TIDE_OK) {
        quorum_files_close(f);
        return status;
    }
    say(&p, "directory: %s", f->dir);
    if (boot.vote != 0)
        say(&p, "term %" PRIu64 ", voted for %" PRIu64, boot.term, boot.vote - 1);
    else
        say(&p, "term %" PRIu64 ", no vote given in it", boot.term);
    for (uint32_t i = 0; i < f->snapshot_count; i++)
        say(&p, "snapshot of entry %" PRIu64 " (term %" PRIu64 ")%s", f->snapshots[i].index, f->snapshots[i].term,
            boot.snapshot != NULL && boot.snapshot->index == f->snapshots[i].index ? ", loaded" : "");
    for (uint32_t i = 0; i < f->segment_count; i++) {
        const struct quorum_segment *s = &f->segments[i];
        if (s->last < s->first)
            say(&p, "segment %" PRIu64 ": from entry %" PRIu64 ", nothing of it counts", s->number, s->first);
        else
            say(&p, "segment %" PRIu64 ": entries %" PRIu64 " to %" PRIu64, s->number, s->first, s->last);
    }
    if (boot.count != 0)
        say(&p, "log: entries %" PRIu64 " to %" PRIu64 ", the last one of term %" PRIu64, boot.first_index, boot.first_index + boot.count - 1,
            last_term(&boot));
    else
        say(&p, "log: empty");
    if (newest_members(&boot, &members, &index))
        say_members(&p, &members, index);
    quorum_boot_deinit(&boot);
    quorum_files_close(f);
    return TIDE_OK;
}

static enum tide_status rewrite(struct quorum_files *f, const struct quorum_boot *boot, const struct quorum_members *members,
                                const struct printer *p, char *error, size_t size)
{
    struct quorum_members old;
    uint64_t old_index;
    uint64_t last = boot->first_index + boot->count - 1;
    uint8_t bytes[QUORUM_MEMBERS_BYTES_MAX];
    if (!newest_members(boot, &old, &old_index)) {
        snprintf(error, size, "%s holds nothing of a quorum", f->dir);
        return TIDE_ABSENT;
    }
    say(p, "this voter has entry %" PRIu64 " of term %" PRIu64 " as its last one", last, last_term(boot));
    say_members(p, &old, old_index);
    say(p, "LOST: whatever the other voters had committed behind entry %" PRIu64 ", answered commands among it", last);
    say(p, "KEPT: every entry up to %" PRIu64 ", also those that were never committed", last);
    say(p, "the other old voters must be emptied before they are added again: they may hold other entries under the same numbers");
    struct quorum_entry e = {.index = last + 1, .term = boot->term + 1, .kind = QUORUM_MEMBERSHIP, .bytes = bytes};
    e.len = quorum_members_write(members, bytes);
    struct quorum_disk_op state = {.kind = QUORUM_DISK_STATE, .number = 1, .term = e.term};
    struct quorum_disk_op append = {.kind = QUORUM_DISK_APPEND, .number = 2, .entries = &e, .count = 1};
    int result = quorum_files_run(f, &state);
    if (result == 0)
        result = quorum_files_run(f, &append);
    if (result != 0) {
        snprintf(error, size, "%s cannot be written: %s", f->dir, strerror(-result));
        return TIDE_IO;
    }
    say_members(p, members, e.index);
    return TIDE_OK;
}

enum tide_status quorum_files_rewrite_members(const struct quorum_files_config *c, const struct quorum_members *members,
                                              void (*line)(void *arg, const char *text), void *arg, char *error, size_t size)
{
    const struct printer p = {.line = line, .arg = arg};
    struct quorum_files *f;
    struct quorum_boot boot;
    if (!quorum_members_are_sound(members)) {
        snprintf(error, size, "that is no list of members: it is empty, or names an id or an address twice");
        return TIDE_BAD;
    }
    enum tide_status status = quorum_files_open(c, &f, &boot, error, size);
    if (status != TIDE_OK)
        return status;
    status = rewrite(f, &boot, members, &p, error, size);
    quorum_boot_deinit(&boot);
    quorum_files_close(f);
    return status;
}
