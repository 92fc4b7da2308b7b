/* SPDX-License-Identifier: Apache-2.0 */
#include "group/topic_pattern.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tidemark/assert.h"
#include "tidemark/bytes.h"
#include "tidemark/types.h"

enum {
    INTS_A_STATE = 3,                                               /* of PCRE2's working space, */
    SPACE = 2 + 2 * INTS_A_STATE * TOPIC_PATTERN_STATES,            /* which has two lists of states */
    SPACE_FOR_FEW = 2 + 2 * INTS_A_STATE * TOPIC_PATTERN_FEW,
    HEAP_KIB = 64,                                                  /* of one match; what is left in is not recursive */
    OUT_MAX = 3 * TOPIC_PATTERN_MAX,                                /* no token becomes more than three times as long */
};

struct topic_pattern {
    struct tide_heap *heap;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

/* ---- from RE2's syntax to PCRE2's --------------------------------------------------------------------- */

struct reader {
    const char *at, *end;
    uint32_t out_len;
    bool repeated; /* a quantifier was the last thing */
    char out[OUT_MAX];
    bool nothing; /* stands before what comes that could be repeated: a group or an alternative begins */
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_octal(char c) { return c >= '0' && c <= '7'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
static bool is_plain(char c) { return is_digit(c) || is_letter(c) || (uint8_t)c >= 0x80; }
static uint32_t left(const struct reader *r) { return (uint32_t)(r->end - r->at); }
static char peek(const struct reader *r, uint32_t n) { return n < left(r) ? r->at[n] : 0; }

static void put(struct reader *r, const char *from, uint32_t n)
{
    TIDE_ASSERT(r->out_len + n <= OUT_MAX);
    memcpy(r->out + r->out_len, from, n);
    r->out_len += n;
}

static void copy(struct reader *r, uint32_t n)
{
    put(r, r->at, n);
    r->at += n;
}

static void put_literal(struct reader *r, char c)
{
    if (!is_plain(c))
        put(r, "\\", 1);
    put(r, &c, 1);
}

/* \x7f or \x{10ffff} */
static const char *read_hex(struct reader *r)
{
    uint32_t n = 3;
    if (peek(r, 2) != '{') {
        if (!is_hex(peek(r, 2)) || !is_hex(peek(r, 3)))
            return "\\x needs two digits, or braces";
        copy(r, 4);
        return NULL;
    }
    while (is_hex(peek(r, n)))
        n++;
    if (n == 3 || n > 3 + 8 || peek(r, n) != '}')
        return "\\x needs two digits, or braces";
    copy(r, n + 1);
    return NULL;
}

/* One that is alone would be a backreference. */
static const char *read_octal(struct reader *r)
{
    uint32_t n = 1;
    if (peek(r, 1) != '0' && !is_octal(peek(r, 2)))
        return "backreferences are not known";
    while (n < 4 && is_octal(peek(r, n)))
        n++;
    put(r, "\\o{", 3);
    put(r, r->at + 1, n - 1);
    put(r, "}", 1);
    r->at += n;
    return NULL;
}

/* \pL or \p{Greek}; PCRE2 has more of them. */
static const char *read_property(struct reader *r)
{
    static const char problem[] = "there is no such property";
    uint32_t n = 3, from;
    if (is_letter(peek(r, 2))) {
        copy(r, 3);
        return NULL;
    }
    if (peek(r, 2) != '{')
        return problem;
    n += peek(r, n) == '^';
    from = n;
    while (is_letter(peek(r, n)) || peek(r, n) == '_')
        n++;
    if (n == from || peek(r, n) != '}' || peek(r, from) == 'X' || peek(r, from) == 'x' || (n - from > 4 && memcmp(r->at + from, "Bidi", 4) == 0))
        return problem;
    copy(r, n + 1);
    return NULL;
}

static const char *read_escape(struct reader *r, bool in_class)
{
    char c = peek(r, 1);
    if (left(r) < 2)
        return "a backslash is the last character";
    if (is_octal(c))
        return read_octal(r);
    if (c == 'x')
        return read_hex(r);
    if (c == 'p' || c == 'P')
        return read_property(r);
    if ((uint8_t)c < 0x80 && !is_plain(c)) {
        copy(r, 2);
        return NULL;
    }
    if (c == 'v') {
        put(r, "\\x0b", 4); /* PCRE2's is a class */
        r->at += 2;
        return NULL;
    }
    if (c == 0 || strchr(in_class ? "afnrtdDsSwW" : "afnrtdDsSwWAzbB", c) == NULL)
        return "there is no such escape";
    copy(r, 2);
    return NULL;
}

/* \Q...\E, or to the end. */
static void read_quoted(struct reader *r)
{
    bool any = false;
    for (r->at += 2; r->at != r->end && !(r->at[0] == '\\' && peek(r, 1) == 'E'); any = true)
        put_literal(r, *r->at++);
    if (r->at != r->end)
        r->at += 2;
    r->repeated &= !any;
    r->nothing &= !any;
}

static const char *read_named_class(struct reader *r)
{
    static const char names[] = ":alnum:alpha:ascii:blank:cntrl:digit:graph:lower:print:punct:space:upper:word:xdigit:";
    char name[16] = ":";
    uint32_t n = 2, len = 1;
    n += peek(r, n) == '^';
    while (is_letter(peek(r, n)) && len < sizeof(name) - 2)
        name[len++] = peek(r, n++);
    name[len] = ':';
    if (len == 1 || peek(r, n) != ':' || peek(r, n + 1) != ']' || strstr(names, name) == NULL)
        return "there is no such class";
    copy(r, n + 2);
    return NULL;
}

static const char *read_class(struct reader *r)
{
    copy(r, peek(r, 1) == '^' ? 2 : 1);
    for (bool first = true; left(r) != 0; first = false) {
        const char *problem = NULL;
        if (*r->at == ']' && !first) {
            copy(r, 1);
            return NULL;
        }
        if (*r->at == '\\') {
            problem = read_escape(r, true);
        } else if (*r->at == '[' && peek(r, 1) == ':') {
            problem = read_named_class(r);
        } else {
            if (*r->at == '[' || (*r->at == ']' && first))
                put(r, "\\", 1);
            copy(r, 1);
        }
        if (problem != NULL)
            return problem;
    }
    return "a class has no end";
}

/* (?P<name> or (?<name> */
static const char *read_group_name(struct reader *r, uint32_t at)
{
    uint32_t n = at;
    while (is_letter(peek(r, n)) || is_digit(peek(r, n)) || peek(r, n) == '_')
        n++;
    if (n == at || peek(r, n) != '>')
        return "the name of a group is none, or what stands there is not known";
    put(r, "(", 1); /* nobody asks for it */
    r->at += n + 1;
    r->nothing = true;
    return NULL;
}

static const char *read_group(struct reader *r)
{
    static const char problem[] = "what follows (? is not known";
    uint32_t n = 2;
    bool off = false, flags = false;
    r->nothing = true;
    if (peek(r, 1) != '?') {
        copy(r, 1);
        return NULL;
    }
    if (peek(r, 2) == 'P' && peek(r, 3) == '<')
        return read_group_name(r, 4);
    if (peek(r, 2) == '<')
        return read_group_name(r, 3);
    for (;; n++) {
        char c = peek(r, n);
        if (c == '-' && !off) {
            off = true;
            flags = false;
        } else if (c == 'i' || c == 'm' || c == 's' || c == 'U') {
            flags = true;
        } else if ((c == ':' || c == ')') && (flags || !off)) {
            copy(r, n + 1);
            return NULL;
        } else {
            return problem;
        }
    }
}

/* How long the {n,m} is; 0: it is none, and the brace is a brace. */
static uint32_t repeat_length(const struct reader *r, const char **ret_problem)
{
    uint32_t number[2] = {0}, n = 1, digits;
    for (unsigned i = 0; i < 2; i++) {
        for (digits = 0; is_digit(peek(r, n)); n++, digits++)
            if (number[i] <= TOPIC_PATTERN_REPEAT_MAX)
                number[i] = number[i] * 10 + (uint32_t)(peek(r, n) - '0');
        if (i == 0 && digits == 0)
            return 0;
        if (peek(r, n) == '}')
            break;
        if (i == 1 || peek(r, n) != ',')
            return 0;
        n++;
    }
    if (number[0] > TOPIC_PATTERN_REPEAT_MAX || number[1] > TOPIC_PATTERN_REPEAT_MAX)
        *ret_problem = "it is repeated too often";
    return n + 1;
}

static const char *read_repeat(struct reader *r, uint32_t n)
{
    if (r->nothing) /* also because (? and (* would be something else than what was read */
        return "nothing is there to be repeated";
    if (r->repeated)
        return "a repetition is repeated";
    n += peek(r, n) == '?';
    copy(r, n);
    r->repeated = true;
    return NULL;
}

static const char *read_token(struct reader *r)
{
    const char *problem = NULL;
    uint32_t n = strchr("*+?", *r->at) != NULL && *r->at != 0 ? 1 : *r->at == '{' ? repeat_length(r, &problem) : 0;
    if (problem != NULL)
        return problem;
    if (n != 0)
        return read_repeat(r, n);
    if (*r->at == '\\' && peek(r, 1) == 'Q') {
        read_quoted(r);
        return NULL;
    }
    r->repeated = false;
    r->nothing = *r->at == '|';
    switch (*r->at) {
    case '\\': return read_escape(r, false);
    case '[': return read_class(r);
    case '(': return read_group(r);
    case '{':
        put(r, "\\", 1);
        /* fall through */
    default:
        copy(r, 1);
        return NULL;
    }
}

/* ---- the heap as PCRE2 wants it ------------------------------------------------------------------------- */

static void *take(PCRE2_SIZE bytes, void *heap) { return tide_heap_take(heap, bytes); }
static void give(void *p, void *heap) { tide_heap_give(heap, p); }

/* ---- patterns ------------------------------------------------------------------------------------------- */

static enum tide_status compile(struct topic_pattern *p, const struct reader *r, pcre2_general_context *general, const char **ret_problem)
{
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(general);
    p->limits = pcre2_match_context_create(general);
    p->data = pcre2_match_data_create(1, general);
    if (context == NULL || p->limits == NULL || p->data == NULL) {
        pcre2_compile_context_free(context);
        return TIDE_FULL;
    }
    (void)pcre2_set_parens_nest_limit(context, TOPIC_PATTERN_NESTING_MAX);
    (void)pcre2_set_heap_limit(p->limits, HEAP_KIB);
    (void)pcre2_set_match_limit(p->limits, 1); /* the one that is asked for, and none within it */
    (void)pcre2_set_depth_limit(p->limits, 0);
    p->code = pcre2_compile((PCRE2_SPTR)r->out, r->out_len, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_CAPTURE, &error, &at, context);
    pcre2_compile_context_free(context);
    if (p->code != NULL)
        return TIDE_OK;
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return TIDE_FULL;
    *ret_problem = "it is malformed, or too large";
    return TIDE_BAD;
}

enum tide_status topic_pattern_make(struct tide_heap *heap, const char *text, uint32_t len, struct topic_pattern **ret, const char **ret_problem)
{
    struct reader r = {.at = text, .end = text + len, .nothing = true};
    *ret_problem = NULL;
    if (len > TOPIC_PATTERN_MAX)
        *ret_problem = "it is too long";
    while (*ret_problem == NULL && r.at != r.end)
        *ret_problem = read_token(&r);
    if (*ret_problem != NULL)
        return TIDE_BAD;
    struct topic_pattern *p = tide_heap_take(heap, sizeof(*p));
    if (p == NULL)
        return TIDE_FULL;
    p->heap = heap;
    pcre2_general_context *general = pcre2_general_context_create(take, give, heap);
    enum tide_status status = general != NULL ? compile(p, &r, general, ret_problem) : TIDE_FULL;
    pcre2_general_context_free(general);
    if (status != TIDE_OK) {
        topic_pattern_free(p);
        return status;
    }
    *ret = p;
    return TIDE_OK;
}

void topic_pattern_free(struct topic_pattern *p)
{
    if (p == NULL)
        return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->limits);
    tide_heap_give(p->heap, p);
}

static int match(const struct topic_pattern *p, const char *name, uint32_t len, int *space, size_t count)
{
    return pcre2_dfa_match(p->code, (PCRE2_SPTR)name, len, 0, PCRE2_NO_UTF_CHECK, p->data, p->limits, space, count);
}

/* The first of the matches that are found is the longest. */
enum tide_status topic_pattern_match(const struct topic_pattern *p, const char *name, uint32_t len, uint32_t *budget, bool *ret)
{
    int space[SPACE];
    uint32_t cost = 1;
    int n = match(p, name, len, space, SPACE_FOR_FEW);
    if (n == PCRE2_ERROR_DFA_WSSIZE) {
        n = match(p, name, len, space, SPACE);
        cost = TOPIC_PATTERN_COSTLY;
    }
    *budget -= TIDE_MIN(*budget, cost);
    if (n == PCRE2_ERROR_NOMEMORY)
        return TIDE_FULL;
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return TIDE_BAD;
    *ret = n >= 0 && pcre2_get_ovector_pointer(p->data)[1] == len;
    return TIDE_OK;
}
