/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tidemark/types.h"

enum kind { TEXT_KIND, COUNT_KIND, REAL_KIND, WORD_KIND };
static const struct row {
    const char *name;
    enum kind kind;
    size_t at;
    const char *standard, *words, *help;
    uint64_t least, most;
    double real_least, real_most;
} rows[] = {
#define TEXT(field, name, standard, help) {name, TEXT_KIND, offsetof(struct load_options, field), standard, "", help, 0, 0, 0, 0},
#define COUNT(field, name, standard, least, most, help) {name, COUNT_KIND, offsetof(struct load_options, field), #standard, "", help, least, most, 0, 0},
#define REAL(field, name, standard, least, most, help) {name, REAL_KIND, offsetof(struct load_options, field), #standard, "", help, 0, 0, least, most},
#define WORD(field, name, words, standard, help) {name, WORD_KIND, offsetof(struct load_options, field), standard, words, help, 0, 0, 0, 0},
#include "options.def"
#undef TEXT
#undef COUNT
#undef REAL
#undef WORD
};

static const char config_prefix[] = "topic.config.";

static bool complain(char *text, const char *name, const char *value, const char *accepted)
{
    snprintf(text, LOAD_ERROR_MAX, "%.100s: '%.200s' is not %.180s", name, value, accepted);
    return false;
}

static const struct row *find(const char *name)
{
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* The number of a word in "a|b|c"; -1: none of them. */
static int word_number(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (int i = 0;; i++) {
        size_t n = strcspn(words, "|");
        if (n == len && memcmp(words, word, n) == 0)
            return i;
        if (words[n] == 0)
            return -1;
        words += n + 1;
    }
}

static void word_text(const char *words, int number, char *to, size_t cap)
{
    while (number-- > 0)
        words += strcspn(words, "|") + 1;
    snprintf(to, cap, "%.*s", (int)strcspn(words, "|"), words);
}

static bool set_count(const struct row *r, void *field, const char *value, char *text)
{
    char accepted[128], *end;
    snprintf(accepted, sizeof(accepted), "a whole number from %lu to %lu", r->least, r->most);
    errno = 0;
    unsigned long long v = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != 0 || errno != 0 || v < r->least || v > r->most)
        return complain(text, r->name, value, accepted);
    *(uint64_t *)field = v;
    return true;
}

static bool set_real(const struct row *r, void *field, const char *value, char *text)
{
    char accepted[128], *end;
    snprintf(accepted, sizeof(accepted), "a number from %g to %g", r->real_least, r->real_most);
    double v = strtod(value, &end);
    if (end == value || *end != 0 || !(v >= r->real_least && v <= r->real_most))
        return complain(text, r->name, value, accepted);
    *(double *)field = v;
    return true;
}

static bool set_config(struct load_options *o, const char *name, const char *value, char *text)
{
    if (o->config_count == LOAD_CONFIGS_MAX || *name == 0 || strlen(name) + strlen(value) + 2 > LOAD_TEXT_MAX)
        return complain(text, config_prefix, name, "one of at most 16 short settings of a topic");
    snprintf(o->configs[o->config_count++], LOAD_TEXT_MAX, "%s=%s", name, value);
    return true;
}

bool load_options_set(struct load_options *o, const char *name, const char *value, char text[LOAD_ERROR_MAX])
{
    const struct row *r = find(name);
    if (strncmp(name, config_prefix, sizeof(config_prefix) - 1) == 0)
        return set_config(o, name + sizeof(config_prefix) - 1, value, text);
    if (r == NULL)
        return complain(text, "option", name, "known; --help tells them all");
    void *field = (char *)o + r->at;
    switch (r->kind) {
    case COUNT_KIND: return set_count(r, field, value, text);
    case REAL_KIND: return set_real(r, field, value, text);
    case WORD_KIND: {
        int number = word_number(r->words, value);
        if (number < 0)
            return complain(text, name, value, r->words);
        *(int *)field = number;
        return true;
    }
    case TEXT_KIND: break;
    }
    if (strlen(value) >= LOAD_TEXT_MAX)
        return complain(text, name, value, "that short");
    strcpy(field, value);
    return true;
}

void load_options_init(struct load_options *o)
{
    char text[LOAD_ERROR_MAX];
    memset(o, 0, sizeof(*o));
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++)
        if (!load_options_set(o, rows[i].name, rows[i].standard, text))
            abort();
}

static char *trim(char *s)
{
    s += strspn(s, " \t");
    for (size_t n = strlen(s); n != 0 && strchr(" \t\r\n", s[n - 1]) != NULL;)
        s[--n] = 0;
    return s;
}

bool load_options_file(struct load_options *o, const char *path, char text[LOAD_ERROR_MAX])
{
    char line[2 * LOAD_TEXT_MAX], why[LOAD_ERROR_MAX];
    FILE *f = fopen(path, "r");
    bool good = true;
    if (f == NULL) {
        snprintf(text, LOAD_ERROR_MAX, "%.300s: %s", path, strerror(errno));
        return false;
    }
    for (unsigned number = 1; good && fgets(line, sizeof(line), f) != NULL; number++) {
        char *name = trim(line), *value = strchr(name, '=');
        if (*name == 0 || *name == '#')
            continue;
        if (value != NULL)
            *value++ = 0;
        snprintf(why, sizeof(why), "a line is name=value");
        good = value != NULL && load_options_set(o, trim(name), trim(value), why);
        if (!good)
            snprintf(text, LOAD_ERROR_MAX, "%.150s:%u: %.300s", path, number, why);
    }
    fclose(f);
    return good;
}

bool load_options_finish(struct load_options *o, char text[LOAD_ERROR_MAX])
{
    const char *wrong = NULL;
    if (o->producers == 0)
        o->producers = o->partitions;
    if (o->in_flight_max == 0)
        o->in_flight_max = o->idempotent ? 5 : 1000;
    if (o->protocol == LOAD_ECHO)
        o->consume = 0;
    if (o->idempotent && (o->acks != LOAD_ACKS_ALL || o->in_flight_max > 5))
        wrong = "idempotent=yes needs acks=all and in.flight.max of at most 5";
    else if (!o->produce && !o->consume)
        wrong = "there is nothing to do: produce=no and consume=no (an echo has no consumers)";
    else if (o->threads > o->partitions)
        wrong = "there are more threads than partitions, which are dealt out to them";
    else if (o->record_bytes * o->batch_records > 32 << 20)
        wrong = "a request of more than 32 MiB (record.bytes * batch.records)";
    else if ((o->warmup_s + o->duration_s + o->drain_s) * 1e3 / (double)o->interval_ms > 20000)
        wrong = "more than 20000 intervals in the time series: make interval.ms larger";
    else if (strcmp(o->transport, "kernel") != 0 && (o->threads != 1 || o->address[0] == 0))
        wrong = "a DPDK port has one thread and needs address=ADDRESS/PREFIX";
    if (wrong != NULL)
        snprintf(text, LOAD_ERROR_MAX, "%s", wrong);
    return wrong == NULL;
}

/* --name value, or --name=value; dashes within a name are dots. */
static bool take_flag(struct load_options *o, int argc, char **argv, int *at, char error_text[LOAD_ERROR_MAX])
{
    char name[LOAD_TEXT_MAX];
    const char *flag = argv[*at], *value = strchr(flag, '=');
    size_t len = value != NULL ? (size_t)(value - flag) : strlen(flag);
    if (strncmp(flag, "--", 2) != 0 || len - 2 >= sizeof(name) || (value == NULL && *at + 1 >= argc))
        return complain(error_text, "flag", flag, "--NAME VALUE; --help tells them all");
    memcpy(name, flag + 2, len - 2);
    name[len - 2] = 0;
    for (char *p = name; *p != 0 && strncmp(name, "topic.config.", 13) != 0; p++)
        if (*p == '-')
            *p = '.';
    value = value != NULL ? value + 1 : argv[++*at];
    ++*at;
    return strcmp(name, "file") == 0 ? load_options_file(o, value, error_text) : load_options_set(o, name, value, error_text);
}

bool load_options_args(struct load_options *o, int argc, char **argv, char error_text[LOAD_ERROR_MAX])
{
    load_options_init(o);
    for (int at = 1; at < argc;) {
        if (strcmp(argv[at], "--help") == 0) {
            load_options_help(stdout);
            exit(0);
        }
        if (!take_flag(o, argc, argv, &at, error_text))
            return false;
    }
    return load_options_finish(o, error_text);
}

void load_options_help(FILE *f)
{
    fputs("tidemark-load [--file SCENARIO] [--NAME VALUE]...\n\n"
          "An open-loop producer and end-to-end consumer for brokers of Kafka's protocol. The schedule is fixed ahead; latency\n"
          "counts from the intended send time. A run that did not keep its schedule says so and ends with status 3.\n"
          "A scenario has a line NAME=VALUE each; in flags the dots of a name may be dashes.\n\n", f);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        fprintf(f, "  --%-20s %s%s%s", r->name, r->words, *r->words != 0 && *r->help != 0 ? "; " : "", r->help);
        fprintf(f, *r->standard != 0 ? " [%s]\n" : "\n", r->standard);
    }
}

void load_json_text(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

void load_options_json(const struct load_options *o, FILE *f)
{
    fputc('{', f);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        const void *field = (const char *)o + r->at;
        char word[64];
        fprintf(f, "%s\"%s\":", i == 0 ? "" : ",", r->name);
        switch (r->kind) {
        case COUNT_KIND: fprintf(f, "%lu", *(const uint64_t *)field); break;
        case REAL_KIND: fprintf(f, "%.9g", *(const double *)field); break;
        case TEXT_KIND: load_json_text(f, field); break;
        case WORD_KIND:
            word_text(r->words, *(const int *)field, word, sizeof(word));
            load_json_text(f, word);
            break;
        }
    }
    for (unsigned i = 0; i < o->config_count; i++) {
        const char *value = strchr(o->configs[i], '=');
        fprintf(f, ",\"%s%.*s\":", config_prefix, (int)(value - o->configs[i]), o->configs[i]);
        load_json_text(f, value + 1);
    }
    fputc('}', f);
}
