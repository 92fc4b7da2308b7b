/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conns_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/files.h"

static bool read_header(FILE *f)
{
    struct roster_header h;
    return fread(&h, sizeof(h), 1, f) == 1 && h.magic == ROSTER_MAGIC && h.format == ROSTER_FORMAT && fseek(f, TIDE_BLOCK, SEEK_SET) == 0;
}

struct orphan *conns_file_load(const char *dir, uint32_t max, uint32_t *ret_count)
{
    char path[FILES_PATH_MAX];
    uint8_t block[TIDE_BLOCK];
    struct orphan *list = NULL;
    FILE *f;
    *ret_count = 0;
    files_path(path, dir, "connections");
    f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    if (read_header(f))
        list = calloc(max, sizeof(*list));
    while (list != NULL && *ret_count < max && fread(block, sizeof(block), 1, f) == 1)
        roster_read(block, list, max, ret_count);
    fclose(f);
    return list;
}

static bool write_at(int fd, const void *bytes, size_t len, uint64_t at)
{
    return pwrite(fd, bytes, len, (off_t)at) == (ssize_t)len;
}

static bool fill(int fd, uint32_t blocks, const struct orphan *list, uint32_t count, uint32_t first)
{
    const struct roster_header h = {.magic = ROSTER_MAGIC, .format = ROSTER_FORMAT};
    bool good = ftruncate(fd, (off_t)(1 + blocks) * TIDE_BLOCK) == 0 && write_at(fd, &h, sizeof(h), 0);
    for (uint32_t i = 0; good && i < count; i++) {
        const struct orphan *o = &list[i];
        struct roster_row row = {o->local.addr, o->remote.addr, o->local.port, o->remote.port, 0};
        good = write_at(fd, &row, sizeof(row), TIDE_BLOCK + roster_row_at(first + i));
    }
    return good;
}

int conns_file_make(const char *dir, uint32_t blocks, const struct orphan *list, uint32_t count, uint32_t first)
{
    char path[FILES_PATH_MAX], temp[FILES_PATH_MAX];
    int fd, e;
    files_path(path, dir, "connections");
    files_path(temp, dir, "connections.tmp");
    fd = open(temp, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || (fill(fd, blocks, list, count, first) && rename(temp, path) == 0))
        return fd;
    e = errno;
    close(fd);
    errno = e;
    return -1;
}
