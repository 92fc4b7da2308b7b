/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run is told: flags (--record-bytes 100), lines of a file (record.bytes=100, --file NAME), the later one counts.
 */
#ifndef TIDEMARK_BENCH_LOAD_OPTIONS_H
#define TIDEMARK_BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { LOAD_TEXT_MAX = 512, LOAD_CONFIGS_MAX = 16, LOAD_ERROR_MAX = 512 };
enum load_protocol { LOAD_KAFKA, LOAD_ECHO };
enum load_acks { LOAD_ACKS_NONE, LOAD_ACKS_ONE, LOAD_ACKS_ALL };

struct load_options {
#define TEXT(field, name, standard, help) char field[LOAD_TEXT_MAX];
#define COUNT(field, name, standard, least, most, help) uint64_t field;
#define REAL(field, name, standard, least, most, help) double field;
#define WORD(field, name, words, standard, help) int field;
#include "options.def"
#undef TEXT
#undef COUNT
#undef REAL
#undef WORD
    unsigned config_count; /* of a topic that is made: "name=value" */
    char configs[LOAD_CONFIGS_MAX][LOAD_TEXT_MAX];
};

void load_options_init(struct load_options *);
/* False: error_text says what, and what would have been accepted. */
bool load_options_set(struct load_options *, const char *name, const char *value, char error_text[LOAD_ERROR_MAX]);
bool load_options_file(struct load_options *, const char *path, char error_text[LOAD_ERROR_MAX]);
/* What depends on one another; fills in what was left to us. */
bool load_options_finish(struct load_options *, char error_text[LOAD_ERROR_MAX]);
/* A program's arguments, from the defaults on, and finished. --help is told, and ends the program. */
bool load_options_args(struct load_options *, int argc, char **argv, char error_text[LOAD_ERROR_MAX]);
void load_options_help(FILE *);
/* As one JSON object. */
void load_options_json(const struct load_options *, FILE *);
/* A string of JSON, quoted. */
void load_json_text(FILE *, const char *text);

#endif
