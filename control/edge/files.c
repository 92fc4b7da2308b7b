/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void files_path(char path[FILES_PATH_MAX], const char *dir, const char *name)
{
    snprintf(path, FILES_PATH_MAX, "%.3600s/%.480s", dir, name);
}

int files_read(const struct tide_fs *fs, const char *dir, const char *name, char *text, size_t size)
{
    char path[FILES_PATH_MAX];
    files_path(path, dir, name);
    int file = fs->open(fs->self, path, TIDE_FS_READ);
    if (file < 0)
        return file;
    int64_t n = fs->pread(fs->self, file, text, size - 1, 0);
    fs->close(fs->self, file);
    text[n < 0 ? 0 : n] = 0;
    return n < 0 ? (int)n : 0;
}

int files_write(const struct tide_fs *fs, const char *dir, const char *name, const char *text)
{
    char path[FILES_PATH_MAX], temp[FILES_PATH_MAX];
    char temp_name[256];
    size_t len = strlen(text);
    snprintf(temp_name, sizeof(temp_name), "%.200s.tmp", name);
    files_path(path, dir, name);
    files_path(temp, dir, temp_name);
    int file = fs->open(fs->self, temp, TIDE_FS_WRITE | TIDE_FS_CREATE);
    if (file < 0)
        return file;
    int e = fs->truncate(fs->self, file, 0);
    if (e == 0) {
        int64_t n = fs->pwrite(fs->self, file, text, len, 0);
        e = n < 0 ? (int)n : n == (int64_t)len ? 0 : -EIO;
    }
    if (e == 0)
        e = fs->sync(fs->self, file);
    fs->close(fs->self, file);
    if (e == 0)
        e = fs->rename(fs->self, temp, path);
    return e == 0 ? fs->sync_dir(fs->self, dir) : e;
}
