/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tool/doctor.h"

enum { WRITE_BYTES = 4096, SEGMENTS_FREE = 4 };

static const struct {
    const char *type;
    enum verdict verdict;
    const char *why;
} file_systems[] = {
    {"ext4", GOOD, ""},
    {"xfs", GOOD, ""},
    {"ext3", GOOD, ""},
    {"btrfs", HARMFUL, "each write in place becomes a copy"},
    {"zfs", HARMFUL, "each write becomes a copy, and O_DIRECT goes through a cache"},
    {"overlay", HARMFUL, "the layer of a container: mount a volume there"},
    {"tmpfs", HARMFUL, "memory: nothing outlives a boot"},
    {"ramfs", HARMFUL, "memory: nothing outlives a boot"},
    {"nfs", HARMFUL, "over a network"},
    {"nfs4", HARMFUL, "over a network"},
    {"cifs", HARMFUL, "over a network"},
    {"9p", HARMFUL, "through a host"},
    {"virtiofs", HARMFUL, "through a host"},
    {"fuse", HARMFUL, "through a process"},
};

static void look_at_file_system(struct doctor *d, const char *dir, const struct mount *at)
{
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(file_systems); i++) {
        if (strncmp(at->type, file_systems[i].type, strcmp(file_systems[i].type, "fuse") == 0 ? 4 : MACHINE_NAME) != 0)
            continue;
        if (file_systems[i].verdict == GOOD)
            break;
        doctor_harms(d, ADVICE, "file system", "# ext4 or xfs on a drive of its own", "%s is on %s: %s", dir, at->type, file_systems[i].why);
        return;
    }
    doctor_good(d, "file system", "%s is on %s (%s)", dir, at->type, at->source);
}

/* ---- the device ------------------------------------------------------------------------------------------------------- */

/* Where the queue of the device is: a partition has that of its disk. */
static void device_path(const struct doctor *d, const struct mount *at, char *ret, size_t size)
{
    bool part = machine_has(&d->machine, "/sys/dev/block/%s/partition", at->device);
    snprintf(ret, size, "/sys/dev/block/%s%s", at->device, part ? "/.." : "");
}

static void look_at_cache(struct doctor *d, const char *path, const char *source)
{
    char cache[32];
    long atomic = machine_number(&d->machine, 0, "%s/queue/atomic_write_unit_max_bytes", path);
    if (!machine_line(&d->machine, cache, sizeof(cache), "%s/queue/write_cache", path))
        return;
    if (strcmp(cache, "write through") == 0)
        doctor_good(d, "write cache", "%s: what is written is durable%s", source, atomic > 0 ? ", and whole (atomic writes)" : "");
    else
        doctor_lacks(d, ADVICE, "write cache", "# a drive with power-loss protection",
                     "%s forgets what it was not told to keep: every durable write waits for its medium (%s)", source,
                     machine_number(&d->machine, 0, "%s/queue/fua", path) == 1 ? "by FUA" : "by a flush of all");
}

static void look_at_queue(struct doctor *d, const char *path, const char *source)
{
    char scheduler[128];
    if (machine_number(&d->machine, 0, "%s/queue/rotational", path) == 1)
        doctor_lacks(d, ADVICE, "drive", "# a solid-state drive", "%s says that it rotates: milliseconds for each durable write", source);
    if (machine_line(&d->machine, scheduler, sizeof(scheduler), "%s/queue/scheduler", path) && strstr(scheduler, "[none]") == NULL &&
        strchr(scheduler, '[') != NULL)
        doctor_lacks(d, ADVICE, "io scheduler", doctor_line(d, "echo none | sudo tee %s/queue/scheduler", path), "%s: %s", source, scheduler);
    if (d->settings.core_idle != CORE_IDLE_SPIN || d->settings.core_disk_polled == CORE_DISK_POLLED_OFF)
        return;
    if (machine_number(&d->machine, 0, "%s/queue/io_poll", path) == 1)
        doctor_good(d, "poll queues", "%s completes by being asked", source);
    else
        doctor_lacks(d, ADVICE, "poll queues", "echo options nvme poll_queues=2 | sudo tee /etc/modprobe.d/tidemark.conf && sudo update-initramfs -u  # and boot",
                     "%s has none: completions come by interrupt", source);
}

static void look_at_node(struct doctor *d, const char *path, const char *source)
{
    long node = machine_number(&d->machine, -1, "%s/device/numa_node", path);
    if (node < 0)
        node = machine_number(&d->machine, -1, "%s/device/device/numa_node", path);
    if (node >= 0 && d->node >= 0 && node != d->node)
        doctor_lacks(d, ADVICE, "numa", "# a slot of the other processor", "%s is on node %ld, the port on node %d: every block crosses over", source, node, d->node);
}

/* ---- the directory ------------------------------------------------------------------------------------------------------ */

static int try_write(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600), error = 0;
    void *block = NULL;
    struct iovec v;
    if (fd < 0)
        return errno;
    if (posix_memalign(&block, WRITE_BYTES, WRITE_BYTES) != 0)
        abort();
    memset(block, 0, WRITE_BYTES);
    v = (struct iovec){.iov_base = block, .iov_len = WRITE_BYTES};
    errno = EIO;
    if (pwritev2(fd, &v, 1, 0, RWF_DSYNC) != WRITE_BYTES)
        error = errno;
    free(block);
    close(fd);
    return error;
}

static void look_at_writing(struct doctor *d, const char *dir)
{
    int error = try_write(dir);
    if (error == 0)
        doctor_good(d, "log.dirs", "%s takes O_DIRECT and RWF_DSYNC", dir);
    else if (error == EACCES || error == EPERM || error == EROFS)
        doctor_lacks(d, NEEDED, "log.dirs", doctor_make_dir(d, dir), "%s: %s", dir, strerror(error));
    else
        doctor_harms(d, NEEDED, "log.dirs", "# ext4 or xfs on a drive of its own", "%s takes no O_DIRECT with RWF_DSYNC: %s", dir, strerror(error));
}

static void look_at_room(struct doctor *d, const char *dir)
{
    struct statvfs s;
    uint64_t bytes, want = (uint64_t)d->settings.segment_bytes * SEGMENTS_FREE;
    if (statvfs(dir, &s) != 0)
        return;
    bytes = (uint64_t)s.f_bavail * s.f_frsize;
    if (bytes >= want)
        doctor_good(d, "room", "%s: %lu GiB", dir, (unsigned long)(bytes >> 30));
    else
        doctor_lacks(d, ADVICE, "room", "# a larger drive, or a smaller log.segment.bytes", "%s: %lu MiB; a segment takes %lu", dir,
                     (unsigned long)(bytes >> 20), (unsigned long)d->settings.segment_bytes >> 20);
}

static void look_at_dir(struct doctor *d, const char *dir)
{
    struct mount at = {0};
    char path[MACHINE_PATH];
    if (!machine_has(&d->machine, "%s", dir))
        doctor_lacks(d, NEEDED, "log.dirs", doctor_make_dir(d, dir), "there is no %s", dir);
    else if (d->live) {
        look_at_writing(d, dir);
        look_at_room(d, dir);
    } else {
        doctor_good(d, "log.dirs", "%s is there", dir);
    }
    if (!machine_mount(&d->machine, dir, &at))
        return;
    look_at_file_system(d, dir, &at);
    device_path(d, &at, path, sizeof(path));
    look_at_cache(d, path, at.source);
    look_at_queue(d, path, at.source);
    look_at_node(d, path, at.source);
}

void doctor_look_at_disks(struct doctor *d)
{
    if (!d->configured) /* of the default directory, lest a new user gives it a file system of no use */
        look_at_dir(d, d->settings.log_dirs);
    for (uint32_t i = 0; d->configured && i < d->settings.log_dir_count; i++)
        look_at_dir(d, d->settings.log_dir[i]);
}
