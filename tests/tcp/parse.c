/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of packet scripts. */
#include "script.h"

#include <ctype.h>

static bool bad(const struct script *s, const char *what, const char *at)
{
    fprintf(stderr, "%s:%u: %s: '%.40s'\n", s->file, s->line, what, at);
    return false;
}

static char *blank(char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* A word of letters at *p, taken when it is `word`. */
static bool word(char **p, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(*p, name, n) != 0 || isalnum((unsigned char)(*p)[n]))
        return false;
    *p = blank(*p + n);
    return true;
}

static bool number(char **p, uint32_t *ret)
{
    char *end;
    long long v = strtoll(*p, &end, 0);
    if (end == *p)
        return false;
    *ret = (uint32_t)v;
    *p = end;
    return true;
}

static bool seconds(char **p, uint64_t *ret)
{
    char *end;
    double v;
    if (!isdigit((unsigned char)**p) && **p != '.')
        return false;
    v = strtod(*p, &end);
    if (end[0] == '.' && end[-1] == '.') /* 1...2 is read greedily */
        end--;
    *ret = (uint64_t)(v * 1e9 + 0.5);
    *p = end;
    return true;
}

/* [+]T, [+]T..T or nothing: +0. */
static bool time_of(char **p, struct line *l)
{
    char *dots = strstr(*p, "..");
    char *space = *p;
    while (*space != 0 && !isspace((unsigned char)*space))
        space++;
    l->relative = **p == '+' || !isdigit((unsigned char)**p);
    if (**p == '+')
        (*p)++;
    if (!isdigit((unsigned char)**p) && **p != '.')
        return true;
    if (dots != NULL && dots < space)
        *dots = ' ';
    else
        dots = NULL;
    if (!seconds(p, &l->from_ns))
        return false;
    l->to_ns = l->from_ns;
    if (dots != NULL) {
        *p = dots + 2;
        if (!seconds(p, &l->to_ns))
            return false;
    }
    *p = blank(*p);
    return true;
}

static bool flags(char **p, struct packet *k)
{
    static const char letters[] = "FSRP.UEW";
    while (**p != 0 && !isspace((unsigned char)**p)) {
        const char *at = strchr(letters, **p);
        if (**p == '-') { /* none at all */
            (*p)++;
            continue;
        }
        if (at == NULL)
            return false;
        k->flags |= (uint8_t)(1 << (at - letters));
        (*p)++;
    }
    *p = blank(*p);
    return true;
}

/* seq:end(len); the seq may be * */
static bool extent(char **p, struct packet *k)
{
    uint32_t end = 0;
    if (**p == '*') {
        k->any_seq = true;
        (*p)++;
    } else if (!number(p, &k->seq)) {
        return false;
    }
    if (*(*p)++ != ':')
        return false;
    if (**p == '*')
        (*p)++;
    else if (!number(p, &end))
        return false;
    if (*(*p)++ != '(' || !number(p, &k->len) || *(*p)++ != ')')
        return false;
    *p = blank(*p);
    return k->any_seq || k->seq + k->len == end;
}

static bool any_or_number(char **p, bool *any, uint32_t *value)
{
    *p = blank(*p);
    *any = **p == '*';
    if (*any)
        (*p)++;
    else if (!number(p, value))
        return false;
    *p = blank(*p);
    return true;
}

static bool timestamps(char **p, struct option *o)
{
    if (!word(p, "val") || !any_or_number(p, &o->any_a, &o->a) || !word(p, "ecr"))
        return false;
    if (strncmp(*p, "last", 4) == 0) {
        o->b_is_last = true;
        *p += 4;
        if (**p == '-') {
            (*p)++;
            return number(p, &o->b);
        }
        return true;
    }
    return any_or_number(p, &o->any_b, &o->b);
}

static bool sacks(char **p, struct option *o)
{
    while (isdigit((unsigned char)**p) && o->sack_count < 4) {
        uint32_t *r = o->sacks[o->sack_count++];
        if (!number(p, &r[0]) || *(*p)++ != ':' || !number(p, &r[1]))
            return false;
        *p = blank(*p);
    }
    return o->sack_count != 0;
}

static bool option(char **p, struct option *o)
{
    if (word(p, "mss"))
        return o->kind = OPTION_MSS, any_or_number(p, &o->any_a, &o->a);
    if (word(p, "wscale"))
        return o->kind = OPTION_WSCALE, any_or_number(p, &o->any_a, &o->a);
    if (word(p, "sackOK"))
        return o->kind = OPTION_SACK_OK, true;
    if (word(p, "sack"))
        return o->kind = OPTION_SACK, sacks(p, o);
    if (word(p, "TS"))
        return o->kind = OPTION_TS, timestamps(p, o);
    if (word(p, "nop"))
        return o->kind = OPTION_NOP, true;
    if (word(p, "raw")) { /* raw KIND LENGTH */
        o->kind = OPTION_RAW;
        return number(p, &o->a) && (*p = blank(*p), number(p, &o->b));
    }
    return false;
}

static bool options(char **p, struct packet *k)
{
    (*p)++;
    k->has_options = true;
    *p = blank(*p);
    while (**p != '>') {
        if (k->option_count == OPTIONS_MAX || !option(p, &k->options[k->option_count++]))
            return false;
        *p = blank(*p);
        if (**p == ',')
            *p = blank(*p + 1);
        else if (**p != '>')
            return false;
    }
    *p = blank(*p + 1);
    return true;
}

static bool packet(struct script *s, char *p, struct packet *k)
{
    k->win = 65535;
    if (!flags(&p, k))
        return bad(s, "flags are of FSRP.UEW, or - for none", p);
    if (!extent(&p, k))
        return bad(s, "not SEQ:END(LEN)", p);
    while (*p != 0) {
        if (word(&p, "ack")) {
            if (!any_or_number(&p, &k->any_ack, &k->ack))
                return bad(s, "ack of what", p);
        } else if (word(&p, "win")) {
            k->has_win = true;
            if (!number(&p, &k->win))
                return bad(s, "win of what", p);
        } else if (*p == '<') {
            if (!options(&p, k))
                return bad(s, "options", p);
        } else if (word(&p, "ce")) {
            k->ecn = 3, k->has_ecn = true;
        } else if (word(&p, "ect")) {
            k->ecn = 2, k->has_ecn = true;
        } else if (word(&p, "noect")) {
            k->ecn = 0, k->has_ecn = true;
        } else if (word(&p, "bad")) {
            k->bad = true;
        } else if (word(&p, "doff")) {
            if (!number(&p, &k->doff))
                return bad(s, "doff of what", p);
        } else if (word(&p, "cut")) {
            if (!number(&p, &k->cut))
                return bad(s, "cut to what", p);
        } else {
            return bad(s, "not understood", p);
        }
        p = blank(p);
    }
    return true;
}

bool script_parse(struct script *s, char *text, struct line *ret)
{
    char *p = blank(text);
    *ret = (struct line){0};
    p[strcspn(p, "#\n")] = 0;
    if (*p == 0)
        return true;
    if (word(&p, "config")) {
        ret->kind = LINE_CONFIG;
        ret->rest = p;
        return true;
    }
    if (!time_of(&p, ret))
        return bad(s, "a time is [+]SECONDS or [+]FROM..TO", p);
    p = blank(p);
    ret->rest = blank(p + (*p != 0));
    switch (*p) {
    case '<':
        ret->kind = LINE_INPUT;
        return packet(s, ret->rest, &ret->packet);
    case '>':
        if (word(&ret->rest, "none")) {
            ret->kind = LINE_NONE;
            return true;
        }
        ret->kind = LINE_EXPECT;
        return packet(s, ret->rest, &ret->packet);
    case '!':
        ret->kind = LINE_CALL;
        return true;
    default:
        return bad(s, "a line begins with a time and <, > or !", p);
    }
}
