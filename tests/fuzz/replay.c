/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds files, and the files of directories, to a fuzz target: the same targets replay their
 * corpora in the normal run, without libFuzzer.
 *
 *   replay_<target> FILE|DIRECTORY...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static unsigned long replayed;

/* The input lies in a block of its own size, so that a sanitizer sees every over-read. */
static void replay_file(const char *path)
{
    struct stat s;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &s) != 0) {
        perror(path);
        exit(1);
    }
    size_t len = (size_t)s.st_size;
    uint8_t *bytes = malloc(len != 0 ? len : 1);
    if (bytes == NULL || fread(bytes, 1, len, f) != len) {
        fprintf(stderr, "%s: cannot read it\n", path);
        exit(1);
    }
    fclose(f);
    (void)LLVMFuzzerTestOneInput(bytes, len);
    free(bytes);
    replayed++;
}

static void replay(const char *path)
{
    struct dirent *e;
    DIR *d = opendir(path);
    if (d == NULL) {
        replay_file(path);
        return;
    }
    while ((e = readdir(d)) != NULL) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        replay(name);
    }
    closedir(d);
}

int main(int count, char **paths)
{
    for (int i = 1; i < count; i++)
        replay(paths[i]);
    printf("%lu inputs replayed\n", replayed);
    return 0;
}
