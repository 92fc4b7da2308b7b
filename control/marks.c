/* SPDX-License-Identifier: Apache-2.0 */
#include "control/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/edge/files.h"
#include "tidemark/assert.h"

#define NAME "replication-offset-checkpoint"
enum { FILE_VERSION = 1, STEP = 256, LINE_MAX_BYTES = TIDE_TOPIC_NAME_MAX + TIDE_UUID_TEXT + 40 };

static int compare(const struct mark *m, const struct tide_uuid *topic_id, int32_t index)
{
    int order = memcmp(&m->topic_id, topic_id, sizeof(*topic_id));
    return order != 0 ? order : m->index < index ? -1 : m->index > index;
}

/* Where it is, or would be. */
static uint32_t place(const struct marks *m, const struct tide_uuid *topic_id, int32_t index, bool *ret_there)
{
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare(&m->at[middle], topic_id, index) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_there = low < m->count && compare(&m->at[low], topic_id, index) == 0;
    return low;
}

int64_t marks_find(const struct marks *m, const struct tide_uuid *topic_id, int32_t index)
{
    bool there;
    uint32_t at = place(m, topic_id, index, &there);
    return there ? m->at[at].offset : -1;
}

bool marks_set(struct marks *m, const struct mark *mark)
{
    bool there;
    uint32_t at = place(m, &mark->topic_id, mark->index, &there);
    if (there && m->at[at].offset == mark->offset && m->at[at].dir == mark->dir)
        return true;
    if (!there && m->count == m->room) {
        struct mark *more = realloc(m->at, (m->room + STEP) * sizeof(*more));
        if (more == NULL)
            return false;
        m->at = more;
        m->room += STEP;
    }
    if (there) {
        m->files[m->at[at].dir].stale = true;
    } else {
        memmove(&m->at[at + 1], &m->at[at], (m->count - at) * sizeof(*m->at));
        m->count++;
    }
    m->at[at] = *mark;
    m->files[mark->dir].stale = true;
    return true;
}

void marks_remove(struct marks *m, const struct tide_uuid *topic_id, int32_t index)
{
    bool there;
    uint32_t at = place(m, topic_id, index, &there);
    if (!there)
        return;
    m->files[m->at[at].dir].stale = true;
    m->count--;
    memmove(&m->at[at], &m->at[at + 1], (m->count - at) * sizeof(*m->at));
}

/* ---- the files ----------------------------------------------------------------------------------- */

static bool read_line(char *line, struct mark *ret)
{
    char *rest = NULL;
    const char *topic = strtok_r(line, " ", &rest), *index = strtok_r(NULL, " ", &rest), *offset = strtok_r(NULL, " ", &rest);
    const char *id = strtok_r(NULL, " ", &rest);
    char *end;
    long n;
    if (id == NULL || strtok_r(NULL, " ", &rest) != NULL || strlen(topic) > TIDE_TOPIC_NAME_MAX ||
        !tide_uuid_from_text(id, strlen(id), &ret->topic_id))
        return false;
    snprintf(ret->topic, sizeof(ret->topic), "%s", topic);
    errno = 0;
    n = strtol(index, &end, 10);
    if (*end != 0 || n < 0 || n > INT32_MAX)
        return false;
    ret->index = (int32_t)n;
    ret->offset = strtoll(offset, &end, 10);
    return *end == 0 && errno == 0 && ret->offset >= 0;
}

/* All of it or nothing: a file that was cut short has fewer lines than it says. */
static bool read_text(struct marks *m, uint32_t dir, char *text)
{
    char *rest = text;
    const char *version = strsep(&rest, "\n"), *count = rest != NULL ? strsep(&rest, "\n") : NULL;
    struct marks found = {.dir_count = m->dir_count};
    bool good = count != NULL && strcmp(version, "1") == 0;
    char *line, *end = NULL;
    unsigned long wanted = good ? strtoul(count, &end, 10) : 0;
    good = good && end != count && *end == 0;
    while (good && rest != NULL && (line = strsep(&rest, "\n")) != NULL && *line != 0) {
        struct mark one = {.dir = dir};
        good = read_line(line, &one) && marks_set(&found, &one);
    }
    good = good && found.count == wanted;
    for (uint32_t i = 0; good && i < found.count; i++)
        good = marks_set(m, &found.at[i]);
    free(found.at);
    return good;
}

bool marks_load(struct marks *m, const struct tide_fs *fs, const char *const *paths, uint32_t count,
                void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))))
{
    size_t size = (size_t)TIDE_PARTITIONS_MAX * LINE_MAX_BYTES;
    char *text = malloc(size);
    *m = (struct marks){.dir_count = count};
    if (text == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        int e = files_read(fs, paths[i], NAME, text, size);
        m->files[i].path = paths[i];
        if (e != -ENOENT && (e != 0 || !read_text(m, i, text)))
            say("%s/" NAME " is damaged: a log that lost something is not noticed by it", paths[i]);
        m->files[i].stale = false;
    }
    free(text);
    return true;
}

void marks_deinit(struct marks *m)
{
    for (uint32_t i = 0; i < m->dir_count; i++)
        free(m->files[i].text);
    free(m->at);
    *m = (struct marks){0};
}

static char *text_of(const struct marks *m, uint32_t dir)
{
    uint32_t count = 0;
    size_t room, len;
    char *text;
    for (uint32_t i = 0; i < m->count; i++)
        count += m->at[i].dir == dir;
    room = (size_t)(count + 1) * LINE_MAX_BYTES;
    text = malloc(room);
    if (text == NULL)
        return NULL;
    len = (size_t)snprintf(text, room, "%d\n%" PRIu32 "\n", FILE_VERSION, count);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct mark *one = &m->at[i];
        char id[TIDE_UUID_TEXT];
        if (one->dir != dir)
            continue;
        tide_uuid_to_text(&one->topic_id, id);
        len += (size_t)snprintf(text + len, room - len, "%s %" PRId32 " %" PRId64 " %s\n", one->topic, one->index, one->offset, id);
    }
    return text;
}

static void run_write(struct tide_job *job, const struct tide_fs *fs)
{
    const struct marks_file *f = (const struct marks_file *)(uintptr_t)job->cookie;
    job->result = files_write(fs, f->path, NAME, f->text);
}

void marks_write(struct marks *m, enum tide_status (*submit)(void *self, struct tide_job *), void *self)
{
    for (uint32_t i = 0; i < m->dir_count; i++) {
        struct marks_file *f = &m->files[i];
        if (!f->stale || f->out || (f->text = text_of(m, i)) == NULL)
            continue;
        f->job = (struct tide_job){.run = run_write, .owner = TIDE_JOB_CONTROL, .kind = JOB_CONTROL_MARKS, .cookie = (uint64_t)(uintptr_t)f};
        f->out = submit(self, &f->job) == TIDE_OK;
        f->stale = !f->out;
        if (!f->out) {
            free(f->text);
            f->text = NULL;
        }
    }
}

void marks_on_job(struct marks *m, struct tide_job *job, void (*say)(const char *format, ...) __attribute__((format(printf, 1, 2))))
{
    struct marks_file *f = (struct marks_file *)(uintptr_t)job->cookie;
    (void)m;
    free(f->text);
    f->text = NULL;
    f->out = false;
    if (job->result == 0)
        return;
    f->stale = true;
    say("%s/" NAME " cannot be written: %s", f->path, strerror((int)-job->result));
}

bool marks_is_writing(const struct marks *m)
{
    bool writing = false;
    for (uint32_t i = 0; i < m->dir_count; i++)
        writing |= m->files[i].out;
    return writing;
}

int marks_write_now(struct marks *m, const struct tide_fs *fs)
{
    int ret = 0;
    for (uint32_t i = 0; i < m->dir_count; i++) {
        struct marks_file *f = &m->files[i];
        char *text = f->stale ? text_of(m, i) : NULL;
        int e = !f->stale ? 0 : text == NULL ? -ENOMEM : files_write(fs, f->path, NAME, text);
        f->stale = e != 0;
        ret = ret == 0 ? e : ret;
        free(text);
    }
    return ret;
}

void marks_check(const struct marks *m)
{
    for (uint32_t i = 1; i < m->count; i++)
        TIDE_ASSERT(compare(&m->at[i - 1], &m->at[i].topic_id, m->at[i].index) < 0); /* M1 */
}
