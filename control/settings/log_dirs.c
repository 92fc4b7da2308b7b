/* SPDX-License-Identifier: Apache-2.0 */
#include "settings/log_dirs.h"

#include <stdio.h>
#include <string.h>

/* Blanks around it, doubled slashes and those at its end go. */
static enum tide_status tidy(const char *setting, char *text, char ret[TIDE_LOG_DIR_PATH_MAX], char *error, size_t size)
{
    size_t n = 0;
    text += strspn(text, " \t");
    for (size_t len = strlen(text); len != 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'); len--)
        text[len - 1] = 0;
    if (text[0] != '/') {
        snprintf(error, size, "%s: '%.100s' is not an absolute path", setting, text);
        return TIDE_BAD;
    }
    for (const char *c = text; *c != 0; c++) {
        if (*c == '/' && (c[1] == '/' || (c[1] == 0 && n != 0)))
            continue;
        if (n == TIDE_LOG_DIR_PATH_MAX - 1) {
            snprintf(error, size, "%s: '%.100s...' is longer than %d bytes", setting, text, TIDE_LOG_DIR_PATH_MAX - 1);
            return TIDE_BAD;
        }
        ret[n++] = *c;
    }
    ret[n] = 0;
    return TIDE_OK;
}

static bool is_inside(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || outer[n - 1] == '/');
}

static enum tide_status add(struct tide_settings *s, const char *setting, const char *path, char *error, size_t size)
{
    if (s->log_dir_count == TIDE_LOG_DIRS_MAX) {
        snprintf(error, size, "log.dirs: more than %d directories", TIDE_LOG_DIRS_MAX);
        return TIDE_BAD;
    }
    for (uint32_t i = 0; i < s->log_dir_count; i++) {
        const char *other = s->log_dir[i];
        if (strcmp(path, other) == 0) {
            snprintf(error, size, "%s: '%.200s' is named twice", setting, path);
            return TIDE_BAD;
        }
        if (is_inside(path, other) || is_inside(other, path)) {
            snprintf(error, size, "%s: of '%.200s' and '%.200s' one lies inside the other", setting, other, path);
            return TIDE_BAD;
        }
    }
    snprintf(s->log_dir[s->log_dir_count++], TIDE_LOG_DIR_PATH_MAX, "%s", path);
    return TIDE_OK;
}

static enum tide_status add_metadata(struct tide_settings *s, char *error, size_t size)
{
    char path[TIDE_LOG_DIR_PATH_MAX];
    char copy[SETTING_TEXT_MAX];
    s->metadata_log_dir_index = 0;
    s->metadata_only = false;
    if (s->metadata_log_dir[0] == 0)
        return TIDE_OK;
    snprintf(copy, sizeof(copy), "%s", s->metadata_log_dir);
    if (tidy("metadata.log.dir", copy, path, error, size) != TIDE_OK)
        return TIDE_BAD;
    for (uint32_t i = 0; i < s->log_dir_count; i++)
        if (strcmp(s->log_dir[i], path) == 0) {
            s->metadata_log_dir_index = i;
            return TIDE_OK;
        }
    s->metadata_only = true;
    s->metadata_log_dir_index = s->log_dir_count;
    return add(s, "metadata.log.dir", path, error, size);
}

enum tide_status settings_derive_log_dirs(struct tide_settings *s, char *error, size_t size)
{
    char copy[SETTING_TEXT_MAX];
    char path[TIDE_LOG_DIR_PATH_MAX];
    char *rest = copy;
    char *one;
    snprintf(copy, sizeof(copy), "%s", s->log_dirs);
    s->log_dir_count = 0;
    while ((one = strsep(&rest, ",")) != NULL) {
        if (tidy("log.dirs", one, path, error, size) != TIDE_OK || add(s, "log.dirs", path, error, size) != TIDE_OK)
            return TIDE_BAD;
    }
    return add_metadata(s, error, size);
}
