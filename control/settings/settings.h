/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, checking and describing settings; the table is config/settings.def.
 *
 * Owner: whoever starts the broker, and the control thread for descriptions. Nothing here is
 * called by a core.
 */
#ifndef TIDEMARK_CONTROL_SETTINGS_SETTINGS_H
#define TIDEMARK_CONTROL_SETTINGS_SETTINGS_H

#include <stddef.h>
#include <stdio.h>

#include "tidemark/settings.h"
#include "tidemark/status.h"

enum setting_type { SETTING_INT, SETTING_BOOL, SETTING_CHOICE, SETTING_RATIO, SETTING_TEXT };

struct setting_row {
    const char *name;
    const char *topic_name; /* NULL: a topic has no such setting */
    enum setting_type type;
    int64_t standard, min, max;
    const char *standard_text; /* of a TEXT */
    const char *words;         /* of a CHOICE, separated by | */
    const char *unit;
    const char *doc;
    size_t offset;             /* in struct tide_settings */
    bool live;                 /* of a broker, and can be changed by request */
};
extern const struct setting_row setting_rows[];
extern const unsigned setting_row_count;

enum {
    SETTING_RATIO_ONE = 1000000, /* a RATIO is kept in millionths */
    SETTINGS_ERROR_MAX = 1024,
    SETTINGS_LINE_MAX = 198, /* bytes; inih would read the rest as a line of its own */
    SETTINGS_FILE_MAX = 1 << 20,
};

void settings_defaults(struct tide_settings *);
/* Reads the file over the defaults and checks it whole. TIDE_BAD (or TIDE_IO) with "FILE:LINE: what
 * is wrong; what would have been right" in error. */
TIDE_MUST_USE enum tide_status settings_load(const char *path, struct tide_settings *ret, char *error, size_t size);
/* The same for the text of a file; text[len] is 0. ret_line: the wrong line, 0 when no single line is. */
TIDE_MUST_USE enum tide_status settings_parse(const char *text, size_t len, struct tide_settings *ret, int *ret_line, char *error,
                                              size_t size);
/* One line's worth. The error has no file and line. */
TIDE_MUST_USE enum tide_status settings_set(struct tide_settings *, const char *name, const char *value, char *error, size_t size);
/* Rules between settings; fills the derived fields. */
TIDE_MUST_USE enum tide_status settings_check(struct tide_settings *, char *error, size_t size);

/* A topic's value over the broker's. TIDE_ABSENT: no such topic setting; TIDE_BAD: wrong value. */
TIDE_MUST_USE enum tide_status settings_set_topic(struct tide_topic_config *, const char *topic_name, const char *value,
                                                  char *error, size_t size);
void settings_topic_defaults(const struct tide_settings *, struct tide_topic_config *ret);
/* Can a request change it, for a topic or for brokers? */
bool settings_is_dynamic(const struct setting_row *);
/* A value of such a row, as a request gives it. */
TIDE_MUST_USE enum tide_status settings_judge(const struct setting_row *, const char *value, char *error, size_t size);
/* Does the value of a setting *.throttled.replicas name that replica? */
bool settings_names_replica(const char *value, int32_t partition, int32_t broker);
/* The row of a topic's setting, NULL. */
const struct setting_row *settings_topic_row(const char *topic_name);

/* The value as text. */
void settings_text(const struct tide_settings *, const struct setting_row *, char *to, size_t size);
void settings_topic_text(const struct tide_topic_config *, const struct setting_row *, char *to, size_t size);
bool settings_is_given(const struct tide_settings *, const struct setting_row *);
/* Markdown. */
void settings_print_reference(FILE *);

#endif
