/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "edge/files.h"

enum { NAME_ROOM = TIDE_TOPIC_NAME_MAX + 16, PLACES_STEP = 256, KNOWN_MAX = 1 << 14 };

#define METADATA_DIR "__cluster_metadata-0"
#define KNOWN_NAME "log-directories"

struct one_dir {
    char path[FILES_PATH_MAX];
    struct tide_uuid id;
    int lock;
    bool fresh;
    bool clean;
    int64_t epoch; /* in the mark of the clean stop */
    bool no_partitions;
    bool offline;
    uint32_t partitions;
};

struct place {
    char name[NAME_ROOM];
    uint32_t dir;
};

struct dirs {
    const struct tide_fs *fs;
    struct one_dir at[TIDE_LOG_DIRS_MAX];
    uint32_t count;
    struct place *places; /* sorted by name */
    size_t place_count;
    size_t place_room;
};

/* ---- the lock ----------------------------------------------------------------------------------- */

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A directory is made with its name durable: what is acknowledged lies in it. One that is there may have been made by a start
 * that ended before it had done that. 0 or -errno. */
static int make(const struct dirs *d, const char *path)
{
    char parent[FILES_PATH_MAX];
    char *slash;
    int made = d->fs->mkdir(d->fs->self, path), synced;
    if (made != 0 && made != -EEXIST)
        return made;
    snprintf(parent, sizeof(parent), "%.4000s", path);
    slash = strrchr(parent, '/');
    slash[slash == parent] = 0;
    synced = d->fs->sync_dir(d->fs->self, parent);
    return made == 0 ? synced : 0; /* whoever may not read the parent of an old one has it from elsewhere */
}

static enum tide_status take_lock(struct dirs *d, struct one_dir *o, bool unlocked, char *error, size_t size)
{
    char path[FILES_PATH_MAX];
    int e = make(d, o->path);
    if (e != 0 && (unlocked || access(o->path, F_OK) != 0)) {
        snprintf(error, size, "log.dirs: %s does not exist and cannot be made: %s", o->path, strerror(-e));
        return TIDE_IO;
    }
    if (unlocked)
        return TIDE_OK;
    files_path(path, o->path, ".lock");
    o->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (o->lock < 0) {
        snprintf(error, size, "log.dirs: %s cannot be written: %s", o->path, strerror(errno));
        return TIDE_IO;
    }
    for (const struct one_dir *other = d->at; other < o; other++)
        if (same_file(other->lock, o->lock)) {
            snprintf(error, size, "log.dirs: %s and %s are the same directory", other->path, o->path);
            return TIDE_REFUSED;
        }
    if (flock(o->lock, LOCK_EX | LOCK_NB) != 0) {
        snprintf(error, size, "log.dirs: another broker runs on %s (it holds %s); stop it or use another directory", o->path, path);
        return TIDE_EXISTS;
    }
    return TIDE_OK;
}

/* ---- who it belongs to ---------------------------------------------------------------------------- */

static bool property(const char *text, const char *name, char *value, size_t size)
{
    size_t n = strlen(name);
    for (const char *line = text; *line != 0;) {
        size_t len = strcspn(line, "\r\n");
        if (len > n && strncmp(line, name, n) == 0 && line[n] == '=') {
            snprintf(value, size, "%.*s", (int)(len - n - 1), line + n + 1);
            return true;
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    return false;
}

static bool uuid_property(const char *text, const char *name, struct tide_uuid *ret)
{
    char value[128];
    return property(text, name, value, sizeof(value)) && tide_uuid_from_text(value, strlen(value), ret);
}

static enum tide_status read_identity(struct dirs *d, struct one_dir *o, int32_t node_id, struct tide_uuid *ret_cluster, char *error,
                                      size_t size)
{
    char text[4096];
    char value[128];
    int e = files_read(d->fs, o->path, "meta.properties", text, sizeof(text));
    o->fresh = e == -ENOENT;
    if (o->fresh)
        return TIDE_OK;
    if (e != 0) {
        snprintf(error, size, "%s/meta.properties cannot be read: %s", o->path, strerror(-e));
        return TIDE_IO;
    }
    if (!property(text, "version", value, sizeof(value)) || strcmp(value, "1") != 0) {
        snprintf(error, size, "%s/meta.properties: its version is not 1; this directory was made by another or a newer release", o->path);
        return TIDE_REFUSED;
    }
    if (!property(text, "node.id", value, sizeof(value)) || atoi(value) != node_id) {
        snprintf(error, size, "%s belongs to node.id=%.20s, this broker is node.id=%d; use its own directory or its own number", o->path,
                 value, node_id);
        return TIDE_REFUSED;
    }
    if (!uuid_property(text, "cluster.id", ret_cluster) || !uuid_property(text, "directory.id", &o->id)) {
        snprintf(error, size, "%s/meta.properties: cluster.id or directory.id is missing or damaged", o->path);
        return TIDE_REFUSED;
    }
    return TIDE_OK;
}

static int write_identity(struct dirs *d, const struct one_dir *o, int32_t node_id, const struct tide_uuid *cluster_id)
{
    char text[512];
    char cluster[TIDE_UUID_TEXT], directory[TIDE_UUID_TEXT];
    tide_uuid_to_text(cluster_id, cluster);
    tide_uuid_to_text(&o->id, directory);
    snprintf(text, sizeof(text), "version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, node_id, directory);
    return files_write(d->fs, o->path, "meta.properties", text);
}

static enum tide_status clash(const struct one_dir *a, const struct one_dir *b, const char *what, char *error, size_t size)
{
    snprintf(error, size, "log.dirs: %s and %s %s", a->path, b->path, what);
    return TIDE_REFUSED;
}

/* All of one cluster, each itself; ret_cluster: the one they name, zero when all are fresh. */
static enum tide_status read_identities(struct dirs *d, const struct dirs_wanted *wanted, struct tide_uuid *ret_cluster, char *error,
                                        size_t size)
{
    struct tide_uuid clusters[TIDE_LOG_DIRS_MAX] = {0};
    const struct one_dir *known = NULL;
    for (uint32_t i = 0; i < d->count; i++) {
        struct one_dir *o = &d->at[i];
        enum tide_status status = read_identity(d, o, wanted->node_id, &clusters[i], error, size);
        if (status != TIDE_OK)
            return status;
        if (o->fresh)
            continue;
        if (known == NULL)
            *ret_cluster = clusters[i];
        else if (!tide_uuid_equal(ret_cluster, &clusters[i]))
            return clash(known, o, "belong to different clusters (cluster.id in meta.properties)", error, size);
        known = o;
        for (uint32_t k = 0; k < i; k++)
            if (!d->at[k].fresh && tide_uuid_equal(&d->at[k].id, &o->id))
                return clash(&d->at[k], o, "have the same directory.id: one is a copy of the other", error, size);
    }
    if (known != NULL && d->at[wanted->metadata].fresh) {
        snprintf(error, size,
                 "%s is empty, but it should hold the metadata log of the cluster that %s belongs to; name the directory that has it "
                 "first in log.dirs or as metadata.log.dir",
                 d->at[wanted->metadata].path, known->path);
        return TIDE_REFUSED;
    }
    return TIDE_OK;
}

static bool has_id(const struct dirs *d, const struct tide_uuid *id)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (!d->at[i].fresh && tide_uuid_equal(&d->at[i].id, id))
            return true;
    return false;
}

/* Every directory of the last start is here again. */
static enum tide_status check_known(struct dirs *d, const struct one_dir *metadata, char *error, size_t size)
{
    static char text[KNOWN_MAX];
    char *rest = text;
    char *line;
    int e = files_read(d->fs, metadata->path, KNOWN_NAME, text, sizeof(text));
    if (e == -ENOENT)
        return TIDE_OK;
    if (e != 0) {
        snprintf(error, size, "%s/" KNOWN_NAME " cannot be read: %s", metadata->path, strerror(-e));
        return TIDE_IO;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t n = strcspn(line, " ");
        struct tide_uuid id;
        if (line[0] == 0)
            continue;
        if (!tide_uuid_from_text(line, n, &id) || line[n] == 0) {
            snprintf(error, size, "%s/" KNOWN_NAME " is damaged at '%.60s'; a line is 'directory.id path'", metadata->path, line);
            return TIDE_REFUSED;
        }
        if (!has_id(d, &id)) {
            snprintf(error, size,
                     "log.dirs: the directory that was %.200s (directory.id %.*s) is missing; name it again, or, when it is gone for "
                     "good, remove its line from %s/" KNOWN_NAME ": the partitions that were in it then start empty",
                     line + n + 1, (int)n, line, metadata->path);
            return TIDE_REFUSED;
        }
    }
    return TIDE_OK;
}

static int is_metadata(void *arg, const char *name, bool is_dir)
{
    *(bool *)arg |= (is_dir && strcmp(name, METADATA_DIR) == 0) || strcmp(name, KNOWN_NAME) == 0;
    return 0;
}

/* Partitions of a cluster whose metadata log is somewhere else. A crash in the very first start leaves
 * directories without it, too, but no partition. */
static enum tide_status check_metadata(struct dirs *d, const struct one_dir *metadata, char *error, size_t size)
{
    bool there = metadata->fresh;
    int e = d->fs->list(d->fs->self, metadata->path, is_metadata, &there);
    if (e != 0) {
        snprintf(error, size, "log.dirs: %s cannot be read: %s", metadata->path, strerror(-e));
        return TIDE_IO;
    }
    if (there || d->place_count == 0)
        return TIDE_OK;
    snprintf(error, size,
             "%s does not hold the metadata log of the partitions in log.dirs; name the directory that has it first in log.dirs or as "
             "metadata.log.dir",
             metadata->path);
    return TIDE_REFUSED;
}

static int write_known(struct dirs *d, const struct one_dir *metadata)
{
    static char text[KNOWN_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        char id[TIDE_UUID_TEXT];
        tide_uuid_to_text(&d->at[i].id, id);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %.*s\n", id, TIDE_LOG_DIR_PATH_MAX, d->at[i].path);
    }
    return files_write(d->fs, metadata->path, KNOWN_NAME, text);
}

/* ---- partitions ----------------------------------------------------------------------------------- */

/* TOPIC-N, as a partition's directory is named. */
static bool name_parse(const char *name, char topic[NAME_ROOM], int32_t *ret_index)
{
    const char *dash = strrchr(name, '-');
    char *end;
    if (dash == NULL || dash == name || strlen(name) >= NAME_ROOM || dash[1] < '0' || dash[1] > '9' ||
        (dash[1] == '0' && dash[2] != 0) || strcmp(name, METADATA_DIR) == 0)
        return false;
    long n = strtol(dash + 1, &end, 10);
    if (*end != 0 || n > INT32_MAX)
        return false;
    snprintf(topic, NAME_ROOM, "%.*s", (int)(dash - name), name);
    *ret_index = (int32_t)n;
    return strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(topic);
}

static void name_of(char name[NAME_ROOM], const char *topic, int32_t index)
{
    snprintf(name, NAME_ROOM, "%.249s-%d", topic, index);
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n > k && strcmp(name + n - k, end) == 0;
}

static size_t place_at(const struct dirs *d, const char *name, bool *ret_found)
{
    size_t low = 0, high = d->place_count;
    *ret_found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(d->places[middle].name, name);
        if (order == 0)
            *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int place_add(struct dirs *d, size_t at, const char *name, uint32_t dir)
{
    if (d->place_count == d->place_room) {
        struct place *more = realloc(d->places, (d->place_room + PLACES_STEP) * sizeof(*more));
        if (more == NULL)
            return -ENOMEM;
        d->places = more;
        d->place_room += PLACES_STEP;
    }
    memmove(&d->places[at + 1], &d->places[at], (d->place_count - at) * sizeof(d->places[0]));
    d->place_count++;
    snprintf(d->places[at].name, NAME_ROOM, "%.*s", NAME_ROOM - 1, name);
    d->places[at].dir = dir;
    d->at[dir].partitions++;
    return 0;
}

static void place_remove(struct dirs *d, size_t at)
{
    d->at[d->places[at].dir].partitions--;
    d->place_count--;
    memmove(&d->places[at], &d->places[at + 1], (d->place_count - at) * sizeof(d->places[0]));
}

struct scan {
    struct dirs *d;
    uint32_t dir;
    char *error;
    size_t size;
};

static int unlink_entry(void *arg, const char *name, bool is_dir)
{
    const struct { const struct tide_fs *fs; const char *dir; } *at = arg;
    char path[FILES_PATH_MAX];
    if (is_dir)
        return 0;
    files_path(path, at->dir, name);
    return at->fs->unlink(at->fs->self, path);
}

int dirs_remove_whole(const struct tide_fs *fs, const char *path)
{
    struct { const struct tide_fs *fs; const char *dir; } at = {fs, path};
    int e = fs->list(fs->self, path, unlink_entry, &at);
    return e == 0 ? fs->rmdir(fs->self, path) : e;
}

static int found(void *arg, const char *name, bool is_dir)
{
    struct scan *s = arg;
    struct dirs *d = s->d;
    const struct one_dir *here = &d->at[s->dir];
    char topic[NAME_ROOM];
    int32_t index;
    bool again;
    if (!is_dir || !name_parse(name, topic, &index))
        return 0;
    size_t at = place_at(d, name, &again);
    if (again) {
        snprintf(s->error, s->size, "partition %s is in %s and in %s; keep the one that is whole and move the other away", name,
                 d->at[d->places[at].dir].path, here->path);
        return -EEXIST;
    }
    if (here->no_partitions) {
        snprintf(s->error, s->size, "partition %s is in %s, which is metadata.log.dir but not one of log.dirs", name, here->path);
        return -EEXIST;
    }
    int e = place_add(d, at, name, s->dir);
    if (e != 0)
        snprintf(s->error, s->size, "no memory");
    return e;
}

static int remove_deleted(void *arg, const char *name, bool is_dir)
{
    const struct scan *s = arg;
    char path[FILES_PATH_MAX];
    if (!is_dir || !ends_in(name, "-delete") || strchr(name, '.') == NULL)
        return 0;
    files_path(path, s->d->at[s->dir].path, name);
    (void)dirs_remove_whole(s->d->fs, path); /* once more at the next start */
    return 0;
}

static enum tide_status scan_all(struct dirs *d, char *error, size_t size)
{
    for (uint32_t i = 0; i < d->count; i++) {
        struct scan s = {.d = d, .dir = i, .error = error, .size = size};
        int e = d->fs->list(d->fs->self, d->at[i].path, found, &s);
        if (e != 0 && error[0] == 0)
            snprintf(error, size, "log.dirs: %s cannot be read: %s", d->at[i].path, strerror(-e));
        if (e != 0)
            return e == -EEXIST ? TIDE_REFUSED : TIDE_IO;
    }
    return TIDE_OK;
}

static int64_t read_mark(struct dirs *d, const struct one_dir *o)
{
    char text[64];
    const char *at;
    if (files_read(d->fs, o->path, ".kafka_cleanshutdown", text, sizeof(text)) != 0)
        return -1;
    at = strstr(text, "\"brokerEpoch\":");
    return at != NULL ? strtoll(at + strlen("\"brokerEpoch\":"), NULL, 10) : -1;
}

/* A directory that is new, or was put back from elsewhere, has another mark or none. */
static int64_t common_epoch(const struct dirs *d)
{
    int64_t epoch = -1;
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->at[i].fresh)
            continue;
        if (epoch != -1 && d->at[i].epoch != epoch)
            return -1;
        epoch = d->at[i].epoch;
    }
    return epoch;
}

static enum tide_status begin(struct dirs *d, const struct dirs_wanted *wanted, const struct tide_uuid *cluster, char *error, size_t size)
{
    char path[FILES_PATH_MAX];
    for (uint32_t i = 0; i < d->count; i++) {
        struct one_dir *o = &d->at[i];
        struct scan s = {.d = d, .dir = i};
        if (o->fresh)
            o->id = wanted->fresh_directory_id();
        if (o->fresh && write_identity(d, o, wanted->node_id, cluster) != 0) {
            snprintf(error, size, "log.dirs: %s cannot be written", o->path);
            return TIDE_IO;
        }
        o->epoch = read_mark(d, o);
        files_path(path, o->path, ".kafka_cleanshutdown");
        o->clean = d->fs->unlink(d->fs->self, path) == 0;
        (void)d->fs->sync_dir(d->fs->self, o->path); /* the mark is gone before anything changes */
        (void)d->fs->list(d->fs->self, o->path, remove_deleted, &s);
    }
    if (write_known(d, &d->at[wanted->metadata]) != 0) {
        snprintf(error, size, "log.dirs: %s cannot be written", d->at[wanted->metadata].path);
        return TIDE_IO;
    }
    return TIDE_OK;
}

enum tide_status dirs_open(const struct dirs_wanted *wanted, const struct tide_fs *fs, struct dirs **ret,
                           struct dirs_identity *ret_identity, char *error, size_t size)
{
    struct dirs *d = calloc(1, sizeof(*d));
    struct tide_uuid cluster = {0};
    enum tide_status status = TIDE_OK;
    *ret_identity = (struct dirs_identity){.clean = true};
    error[0] = 0;
    if (d == NULL) {
        snprintf(error, size, "no memory");
        return TIDE_FULL;
    }
    d->fs = fs;
    for (uint32_t i = 0; i < wanted->count && status == TIDE_OK; i++) {
        struct one_dir *o = &d->at[d->count++];
        snprintf(o->path, sizeof(o->path), "%s", wanted->paths[i]);
        o->lock = -1;
        o->no_partitions = wanted->metadata_only && i == wanted->metadata;
        status = take_lock(d, o, wanted->unlocked, error, size);
    }
    if (status == TIDE_OK)
        status = read_identities(d, wanted, &cluster, error, size);
    if (status == TIDE_OK)
        status = check_known(d, &d->at[wanted->metadata], error, size);
    if (status == TIDE_OK)
        status = scan_all(d, error, size);
    if (status == TIDE_OK)
        status = check_metadata(d, &d->at[wanted->metadata], error, size);
    bool known = false;
    for (uint32_t i = 0; i < d->count; i++)
        known |= !d->at[i].fresh;
    if (!known)
        cluster = *wanted->fresh_cluster_id;
    if (status == TIDE_OK)
        status = begin(d, wanted, &cluster, error, size);
    if (status != TIDE_OK) {
        dirs_close(d);
        return status;
    }
    ret_identity->cluster_id = cluster;
    for (uint32_t i = 0; i < d->count; i++) {
        ret_identity->fresh += d->at[i].fresh;
        ret_identity->clean &= d->at[i].clean || d->at[i].fresh;
    }
    ret_identity->clean &= known;
    ret_identity->epoch = ret_identity->clean ? common_epoch(d) : -1;
    *ret = d;
    return TIDE_OK;
}

uint32_t dirs_count(const struct dirs *d)
{
    return d->count;
}

const char *dirs_path(const struct dirs *d, uint32_t dir)
{
    return d->at[dir].path;
}

void dirs_space(const struct dirs *d, uint32_t dir, int64_t *ret_total, int64_t *ret_usable)
{
    struct statvfs v;
    if (statvfs(d->at[dir].path, &v) != 0)
        return;
    *ret_total = (int64_t)(v.f_blocks * v.f_frsize);
    *ret_usable = (int64_t)(v.f_bavail * v.f_frsize);
}

uint32_t dirs_partitions(const struct dirs *d, uint32_t dir)
{
    return d->at[dir].partitions;
}

void dirs_id(const struct dirs *d, uint32_t dir, struct tide_uuid *ret)
{
    *ret = d->at[dir].id;
}

/* ---- strays ----------------------------------------------------------------------------------------- */

/* false: partition.metadata is there and cannot be understood; opening the partition tells why. */
static bool topic_id_of(const struct tide_fs *fs, const char *path, struct tide_uuid *ret)
{
    char text[512];
    const char *id;
    int e = files_read(fs, path, "partition.metadata", text, sizeof(text));
    memset(ret, 0, sizeof(*ret));
    if (e == -ENOENT)
        return true;
    if (e != 0 || (id = strstr(text, "topic_id: ")) == NULL)
        return false;
    id += strlen("topic_id: ");
    return tide_uuid_from_text(id, strcspn(id, "\r\n"), ret);
}

bool dirs_is_of_topic(const struct tide_fs *fs, const char *path, const struct tide_uuid *topic_id)
{
    struct tide_uuid found;
    return topic_id_of(fs, path, &found) && tide_uuid_equal(&found, topic_id);
}

static int set_aside(struct dirs *d, size_t at, const struct tide_uuid *topic_id, char *error, size_t size)
{
    const struct place *p = &d->places[at];
    char id[TIDE_UUID_TEXT];
    char from[FILES_PATH_MAX], name[NAME_ROOM + 64], to[FILES_PATH_MAX];
    tide_uuid_to_text(topic_id, id);
    snprintf(name, sizeof(name), "%s.%s-stray", p->name, id);
    files_path(from, d->at[p->dir].path, p->name);
    files_path(to, d->at[p->dir].path, name);
    int e = d->fs->rename(d->fs->self, from, to);
    if (e == 0)
        e = d->fs->sync_dir(d->fs->self, d->at[p->dir].path);
    if (e != 0)
        snprintf(error, size, "%s belongs to no topic and cannot be renamed: %s", from, strerror(-e));
    return e;
}

int dirs_set_strays_aside(struct dirs *d, bool (*is_known)(void *arg, const char *topic, int32_t index, const struct tide_uuid *topic_id),
                          void (*say)(const char *format, ...), void *arg, char *error, size_t size)
{
    for (size_t i = 0; i < d->place_count;) {
        const struct place p = d->places[i];
        char path[FILES_PATH_MAX], topic[NAME_ROOM], id[TIDE_UUID_TEXT];
        struct tide_uuid topic_id;
        int32_t index = 0;
        files_path(path, d->at[p.dir].path, p.name);
        if (!name_parse(p.name, topic, &index) || !topic_id_of(d->fs, path, &topic_id) || is_known(arg, topic, index, &topic_id)) {
            i++;
            continue;
        }
        int e = set_aside(d, i, &topic_id, error, size);
        if (e != 0)
            return e;
        tide_uuid_to_text(&topic_id, id);
        say("%s belongs to no topic (topic id %s): kept as %s.%s-stray; remove it when nobody misses it", path, id, path, id);
        place_remove(d, i);
    }
    return 0;
}

/* ---- placing ---------------------------------------------------------------------------------------- */

bool dirs_has(const struct dirs *d, const char *topic, int32_t index)
{
    char name[NAME_ROOM];
    bool there;
    name_of(name, topic, index);
    (void)place_at(d, name, &there);
    return there;
}

void dirs_set_offline(struct dirs *d, uint32_t dir, bool offline)
{
    d->at[dir].offline = offline;
}

static bool is_better(const struct one_dir *a, const struct one_dir *than)
{
    return a->offline != than->offline ? than->offline : a->partitions < than->partitions;
}

bool dirs_place(struct dirs *d, const char *topic, int32_t index, uint32_t *ret_dir)
{
    char name[NAME_ROOM];
    bool there;
    uint32_t best = UINT32_MAX;
    name_of(name, topic, index);
    size_t at = place_at(d, name, &there);
    if (there) {
        *ret_dir = d->places[at].dir;
        return true;
    }
    for (uint32_t i = 0; i < d->count; i++)
        if (!d->at[i].no_partitions && (best == UINT32_MAX || is_better(&d->at[i], &d->at[best])))
            best = i;
    *ret_dir = best;
    return place_add(d, at, name, best) == 0;
}

void dirs_forget(struct dirs *d, const char *topic, int32_t index)
{
    char name[NAME_ROOM];
    bool there;
    name_of(name, topic, index);
    size_t at = place_at(d, name, &there);
    if (there)
        place_remove(d, at);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

int dirs_mark_clean(struct dirs *d, int64_t broker_epoch)
{
    char text[64];
    int ret = 0;
    snprintf(text, sizeof(text), "{\"version\":0,\"brokerEpoch\":%ld}", broker_epoch);
    for (uint32_t i = 0; i < d->count; i++) {
        int e = files_write(d->fs, d->at[i].path, ".kafka_cleanshutdown", text);
        ret = ret == 0 ? e : ret;
    }
    return ret;
}

void dirs_close(struct dirs *d)
{
    if (d == NULL)
        return;
    for (uint32_t i = 0; i < d->count; i++)
        if (d->at[i].lock >= 0)
            close(d->at[i].lock);
    free(d->places);
    free(d);
}
