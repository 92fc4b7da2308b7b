/* SPDX-License-Identifier: Apache-2.0 */
#include "settings/settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "settings/log_dirs.h"
#include "settings/quorum.h"

const struct setting_row setting_rows[] = {
#define INT(field, row_name, topic, value, low, high, row_unit, text)                                                   \
    {.name = row_name, .topic_name = topic, .type = SETTING_INT, .standard = value, .min = low, .max = high,            \
     .unit = row_unit, .doc = text, .offset = offsetof(struct tide_settings, field)},
#define BOOL(field, row_name, topic, value, text)                                                                       \
    {.name = row_name, .topic_name = topic, .type = SETTING_BOOL, .standard = value, .max = 1, .unit = "", .doc = text, \
     .offset = offsetof(struct tide_settings, field)},
#define CHOICE(field, row_name, topic, value, list, text)                                                               \
    {.name = row_name, .topic_name = topic, .type = SETTING_CHOICE, .standard = value, .words = list, .unit = "",       \
     .doc = text, .offset = offsetof(struct tide_settings, field)},
#define RATIO(field, row_name, topic, value, text)                                                                      \
    {.name = row_name, .topic_name = topic, .type = SETTING_RATIO, .standard = value, .max = SETTING_RATIO_ONE,         \
     .unit = "", .doc = text, .offset = offsetof(struct tide_settings, field)},
#define LIVE(field, row_name, value, low, high, row_unit, text)                                                         \
    {.name = row_name, .type = SETTING_INT, .standard = value, .min = low, .max = high, .unit = row_unit, .doc = text,  \
     .offset = offsetof(struct tide_settings, field), .live = true},
#define TEXT(field, row_name, topic, value, text)                                                                       \
    {.name = row_name, .topic_name = topic, .type = SETTING_TEXT, .standard_text = value, .unit = "", .doc = text,      \
     .offset = offsetof(struct tide_settings, field)},
#include "config/settings.def"
#undef INT
#undef BOOL
#undef CHOICE
#undef RATIO
#undef TEXT
#undef LIVE
};
const unsigned setting_row_count = sizeof(setting_rows) / sizeof(setting_rows[0]);
static_assert(sizeof(setting_rows) / sizeof(setting_rows[0]) <= 256, "tide_settings.given has a bit for every row");

/* Where a topic row lives in struct tide_topic_config. */
static const struct {
    const char *topic_name;
    size_t offset;
} topic_fields[] = {
#define FIELD(text, member) {text, offsetof(struct tide_topic_config, member)}
    FIELD("cleanup.policy", cleanup_policy),
    FIELD("compression.type", compression_type),
    FIELD("retention.ms", retention_ms),
    FIELD("retention.bytes", retention_bytes),
    FIELD("min.cleanable.dirty.ratio", min_cleanable_ratio),
    FIELD("min.compaction.lag.ms", min_compaction_lag_ms),
    FIELD("max.compaction.lag.ms", max_compaction_lag_ms),
    FIELD("delete.retention.ms", delete_retention_ms),
    FIELD("segment.bytes", segment_bytes),
    FIELD("segment.ms", segment_ms),
    FIELD("index.interval.bytes", index_interval_bytes),
    FIELD("max.message.bytes", max_message_bytes),
    FIELD("min.insync.replicas", min_insync_replicas),
    FIELD("unclean.leader.election.enable", unclean_leader_election_enable),
    FIELD("ack.durability", ack_durability),
    FIELD("message.timestamp.type", message_timestamp_type),
    FIELD("append.time.source", append_time_source),
    FIELD("message.timestamp.before.max.ms", message_timestamp_before_max_ms),
    FIELD("message.timestamp.after.max.ms", message_timestamp_after_max_ms),
#undef FIELD
};

static int64_t *number_at(void *base, size_t offset)
{
    return (int64_t *)((char *)base + offset);
}

void settings_defaults(struct tide_settings *s)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        if (r->type == SETTING_TEXT)
            snprintf((char *)s + r->offset, SETTING_TEXT_MAX, "%s", r->standard_text);
        else
            *number_at(s, r->offset) = r->standard;
    }
}

/* ---- one value ------------------------------------------------------------------------------------ */

static bool parse_word(const char *words, const char *value, int64_t *ret)
{
    size_t len = strlen(value);
    int64_t n = 0;
    for (const char *w = words; w != NULL; n++) {
        const char *bar = strchr(w, '|');
        size_t word_len = bar != NULL ? (size_t)(bar - w) : strlen(w);
        if (word_len == len && strncmp(w, value, len) == 0) {
            *ret = n;
            return true;
        }
        w = bar != NULL ? bar + 1 : NULL;
    }
    return false;
}

/* It is a list in Kafka: the order means nothing. */
static bool is_both_policies(const struct setting_row *r, const char *value, int64_t *ret)
{
    if (r->topic_name == NULL || strcmp(r->topic_name, "cleanup.policy") != 0 || strcmp(value, "delete,compact") != 0)
        return false;
    *ret = CLEANUP_COMPACT_DELETE;
    return true;
}

/* A decimal fraction, to millionths. */
static enum tide_status parse_ratio(const struct setting_row *r, const char *value, int64_t *ret, char *error, size_t size)
{
    char *end;
    double v = strtod(value, &end);
    if (end == value || *end != 0 || !(v >= 0 && v <= 1)) {
        snprintf(error, size, "%s: '%s' is no fraction from 0 to 1", r->name, value);
        return TIDE_BAD;
    }
    *ret = (int64_t)(v * SETTING_RATIO_ONE + 0.5);
    return TIDE_OK;
}

static enum tide_status parse_number(const struct setting_row *r, const char *value, int64_t *ret, char *error, size_t size)
{
    char *end;
    long long v;
    if (r->type == SETTING_CHOICE) {
        if (parse_word(r->words, value, ret) || is_both_policies(r, value, ret))
            return TIDE_OK;
        snprintf(error, size, "%s: '%s' is not one of %s", r->name, value, r->words);
        return TIDE_BAD;
    }
    if (r->type == SETTING_RATIO)
        return parse_ratio(r, value, ret, error, size);
    if (r->type == SETTING_BOOL) {
        if (parse_word("false|true", value, ret))
            return TIDE_OK;
        snprintf(error, size, "%s: '%s' is neither true nor false", r->name, value);
        return TIDE_BAD;
    }
    errno = 0;
    v = strtoll(value, &end, 10);
    if (end == value || *end != 0 || errno != 0) {
        snprintf(error, size, "%s: '%s' is no whole number", r->name, value);
        return TIDE_BAD;
    }
    if (v < r->min || v > r->max) {
        snprintf(error, size, "%s: %lld is out of range; it must be %lld to %lld%s%s", r->name, v, (long long)r->min,
                 (long long)r->max, *r->unit ? " " : "", r->unit);
        return TIDE_BAD;
    }
    *ret = v;
    return TIDE_OK;
}

/* ---- lists of replicas (KIP-73): "*", or partition:broker separated by commas ---- */

static bool take_number(const char **p, int32_t *ret)
{
    int64_t n = 0;
    const char *from = *p;
    for (; **p >= '0' && **p <= '9' && n <= INT32_MAX; ++*p)
        n = n * 10 + (**p - '0');
    *ret = (int32_t)n;
    return *p != from && n <= INT32_MAX;
}

/* The next pair, and the comma behind it. */
static bool take_replica(const char **p, int32_t *partition, int32_t *broker)
{
    if (!take_number(p, partition) || *(*p)++ != ':' || !take_number(p, broker))
        return false;
    if (**p == ',')
        return *++*p != 0;
    return **p == 0;
}

static bool replicas_are_legal(const char *value)
{
    int32_t partition, broker;
    if (strcmp(value, "*") == 0)
        return true;
    while (*value != 0)
        if (!take_replica(&value, &partition, &broker))
            return false;
    return true;
}

bool settings_names_replica(const char *value, int32_t partition, int32_t broker)
{
    int32_t p, b;
    if (strcmp(value, "*") == 0)
        return true;
    while (*value != 0 && take_replica(&value, &p, &b))
        if (p == partition && b == broker)
            return true;
    return false;
}

static enum tide_status check_text(const struct setting_row *r, const char *value, char *error, size_t size)
{
    if (strlen(value) >= SETTING_TEXT_MAX) {
        snprintf(error, size, "%s: longer than %d bytes", r->name, SETTING_TEXT_MAX - 1);
        return TIDE_BAD;
    }
    if (r->topic_name == NULL || replicas_are_legal(value)) /* the texts that topics have are lists of replicas */
        return TIDE_OK;
    snprintf(error, size, "%s: '%.64s' is neither * nor a list as 0:1,0:2 (partition:broker)", r->name, value);
    return TIDE_BAD;
}

/* Letters to change to get from one name to the other, at most `SETTING_NAME_MAX` long. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    unsigned row[MAX + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX || lb > MAX)
        return UINT_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned up = row[j];
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[lb];
}

static const char *nearest(const char *name)
{
    const char *best = setting_rows[0].name;
    unsigned least = UINT_MAX;
    for (unsigned i = 0; i < setting_row_count; i++) {
        unsigned d = distance(name, setting_rows[i].name);
        if (d < least) {
            least = d;
            best = setting_rows[i].name;
        }
    }
    return best;
}

enum tide_status settings_set(struct tide_settings *s, const char *name, const char *value, char *error, size_t size)
{
    int64_t v;
    if (strcmp(name, "broker.id") == 0)
        name = "node.id";
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        if (strcmp(r->name, name) != 0)
            continue;
        if (s->given[i / 64] & 1ull << i % 64) {
            snprintf(error, size, "%s: given twice", name);
            return TIDE_BAD;
        }
        if (r->type == SETTING_TEXT) {
            if (check_text(r, value, error, size) != TIDE_OK)
                return TIDE_BAD;
            snprintf((char *)s + r->offset, SETTING_TEXT_MAX, "%s", value);
        } else {
            if (parse_number(r, value, &v, error, size) != TIDE_OK)
                return TIDE_BAD;
            *number_at(s, r->offset) = v;
        }
        s->given[i / 64] |= 1ull << i % 64;
        return TIDE_OK;
    }
    snprintf(error, size, "no setting '%.64s'; did you mean %s?", name, nearest(name));
    return TIDE_ABSENT;
}

/* ---- the file ---------------------------------------------------------------------------------------- */

struct load {
    struct tide_settings *settings;
    char *error;
    size_t size;
    bool failed;
};

/* inih's callback: 1 goes on, 0 marks the line as wrong. */
static int on_line(void *arg, const char *section, const char *name, const char *value)
{
    struct load *l = arg;
    if (l->failed)
        return 1;
    if (*section != 0)
        snprintf(l->error, l->size, "sections ([%.32s]) are not used here; write NAME=VALUE lines", section);
    else if (value == NULL)
        snprintf(l->error, l->size, "'%.64s' has no value; write NAME=VALUE", name);
    else if (settings_set(l->settings, name, value, l->error, l->size) == TIDE_OK)
        return 1;
    l->failed = true;
    return 0;
}

/* What inih would take apart or not see: 0, or the number of the line. */
static int unreadable_line(const char *text, size_t len, const char **ret_why)
{
    int line = 1;
    for (size_t at = 0; at < len; line++) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t line_len = newline != NULL ? (size_t)(newline - text) - at : len - at;
        *ret_why = memchr(text + at, 0, line_len) != NULL ? "has a zero byte"
                   : line_len > SETTINGS_LINE_MAX         ? "the line is longer than 198 bytes"
                                                          : NULL;
        if (*ret_why != NULL)
            return line;
        at += line_len + 1;
    }
    return 0;
}

enum tide_status settings_parse(const char *text, size_t len, struct tide_settings *ret, int *ret_line, char *error, size_t size)
{
    struct load l = {.settings = ret, .error = error, .size = size};
    const char *why;
    settings_defaults(ret);
    error[0] = 0;
    *ret_line = unreadable_line(text, len, &why);
    if (*ret_line != 0) {
        snprintf(error, size, "%s", why);
        return TIDE_BAD;
    }
    *ret_line = ini_parse_string(text, on_line, &l);
    if (*ret_line == 0)
        return settings_check(ret, error, size);
    if (error[0] == 0)
        snprintf(error, size, "%s", *ret_line > 0 ? "not a NAME=VALUE line" : "out of memory");
    return TIDE_BAD;
}

/* The file with a zero after it, to be freed; NULL with errno. */
static char *read_text(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "re");
    char *text;
    if (f == NULL)
        return NULL;
    errno = 0;
    text = malloc(SETTINGS_FILE_MAX + 1);
    *ret_len = text != NULL ? fread(text, 1, SETTINGS_FILE_MAX, f) : 0;
    if (text != NULL && (ferror(f) || fgetc(f) != EOF)) {
        errno = ferror(f) ? errno : EFBIG;
        free(text);
        text = NULL;
    }
    if (text != NULL)
        text[*ret_len] = 0;
    fclose(f);
    return text;
}

enum tide_status settings_load(const char *path, struct tide_settings *ret, char *error, size_t size)
{
    char what[SETTINGS_ERROR_MAX] = "";
    enum tide_status status;
    size_t len;
    int line;
    char *text = read_text(path, &len);
    settings_defaults(ret);
    if (text == NULL) {
        snprintf(error, size, "%s: cannot be read: %s", path, strerror(errno));
        return TIDE_IO;
    }
    status = settings_parse(text, len, ret, &line, what, sizeof(what));
    free(text);
    if (status != TIDE_OK && line > 0)
        snprintf(error, size, "%s:%d: %s", path, line, what);
    else if (status != TIDE_OK)
        snprintf(error, size, "%s: %s", path, what);
    return status;
}

/* ---- rules between settings --------------------------------------------------------------------------- */

/* "address/length", or without a length when `with_length` is false. */
static bool parse_address(const char *text, int family, bool with_length, uint8_t ret_bytes[16])
{
    char host[SETTING_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t host_len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (with_length != (slash != NULL))
        return false;
    memcpy(host, text, host_len);
    host[host_len] = 0;
    if (inet_pton(family, host, ret_bytes) != 1)
        return false;
    if (slash == NULL)
        return true;
    size_t digits = strspn(slash + 1, "0123456789");
    return digits >= 1 && digits <= 3 && slash[1 + digits] == 0 && atoi(slash + 1) <= (family == AF_INET ? 32 : 128);
}

/* An address that clients or routers may have: no group, not in ::/80 (loopback, IPv4 inside), and link-local, which is
 * no address without its interface, only for the router. */
static bool is_usable6(const uint8_t a[16], bool may_be_link_local)
{
    static const uint8_t zero[10];
    if (a[0] == 0xff || memcmp(a, zero, sizeof(zero)) == 0)
        return false;
    return may_be_link_local || a[0] != 0xfe || (a[1] & 0xc0) != 0x80;
}

/* The address of the network itself is its routers' anycast address (RFC 4291 2.6.1). */
static bool has_host_bits6(const uint8_t a[16], int prefix_len)
{
    for (int bit = prefix_len; bit < 128; bit++)
        if ((a[bit / 8] & 0x80u >> bit % 8) != 0)
            return true;
    return prefix_len >= 127;
}

static enum tide_status check_source_ports(const struct tide_settings *s, char *error, size_t size)
{
    if (s->data_source_port_first <= s->data_source_port_last)
        return TIDE_OK;
    snprintf(error, size, "data.source.port.first: %lld is behind data.source.port.last, which is %lld", (long long)s->data_source_port_first,
             (long long)s->data_source_port_last);
    return TIDE_BAD;
}

static enum tide_status check_addresses(const struct tide_settings *s, char *error, size_t size)
{
    uint8_t a[16];
    if (!parse_address(s->data_address, AF_INET, true, a)) {
        snprintf(error, size, "data.address: '%.100s' is no IPv4 address with a prefix length; write data.address=10.0.0.1/24", s->data_address);
        return TIDE_BAD;
    }
    if (s->data_gateway[0] != 0 && !parse_address(s->data_gateway, AF_INET, false, a)) {
        snprintf(error, size, "data.gateway: '%.100s' is no IPv4 address; write data.gateway=10.0.0.254", s->data_gateway);
        return TIDE_BAD;
    }
    if (s->data_port_shared && (s->data_gateway[0] != 0 || s->data_vlan != 0 || strchr(s->data_ports, ';') != NULL)) {
        snprintf(error, size, "data.port.shared: %s", s->data_gateway[0] != 0 ? "leave data.gateway out, the kernel's routes are used"
                 : s->data_vlan != 0 ? "it knows no VLAN; leave data.vlan out" : "one port can be shared, not two");
        return TIDE_BAD;
    }
    if (s->data_gateway6[0] != 0 && s->data_address6[0] == 0) {
        snprintf(error, size, "data.gateway6 is given, but data.address6 is not; without an address there is no IPv6");
        return TIDE_BAD;
    }
    if (s->data_address6[0] == 0)
        return TIDE_OK;
    if (!parse_address(s->data_address6, AF_INET6, true, a)) {
        snprintf(error, size, "data.address6: '%.100s' is no IPv6 address with a prefix length; write data.address6=fd00::1/64", s->data_address6);
        return TIDE_BAD;
    }
    if (!is_usable6(a, false)) {
        snprintf(error, size, "data.address6: '%.100s' is link-local, a group, loopback or IPv4; write a global or unique local "
                 "address as fd00::1/64", s->data_address6);
        return TIDE_BAD;
    }
    if (!has_host_bits6(a, atoi(strchr(s->data_address6, '/') + 1))) {
        snprintf(error, size, "data.address6: '%.100s' is the address of the network, not of a host; write data.address6=fd00::1/64",
                 s->data_address6);
        return TIDE_BAD;
    }
    if (s->data_gateway6[0] != 0 && (!parse_address(s->data_gateway6, AF_INET6, false, a) || !is_usable6(a, true))) {
        snprintf(error, size, "data.gateway6: '%.100s' is no router's IPv6 address; write data.gateway6=fe80::1", s->data_gateway6);
        return TIDE_BAD;
    }
    if (s->data_mtu < 1280) { /* RFC 8200 5 */
        snprintf(error, size, "data.mtu: %lld is too small for IPv6 (data.address6), which needs 1280", (long long)s->data_mtu);
        return TIDE_BAD;
    }
    return TIDE_OK;
}

/* "[fd00::1]" becomes "fd00::1". False for an IPv6 address that is none, or has no brackets. */
static bool take_brackets(char host[LISTENER_HOST_MAX])
{
    uint8_t a[16];
    size_t len = strlen(host);
    if (host[0] != '[')
        return strpbrk(host, ":]") == NULL;
    if (host[len - 1] != ']')
        return false;
    memmove(host, host + 1, len - 2);
    host[len - 2] = 0;
    return inet_pton(AF_INET6, host, a) == 1;
}

/* NAME://host:port; an IPv6 address stands in brackets, which do not belong to the host. */
static bool parse_listener(const char *text, char name[LISTENER_NAME_MAX], char host[LISTENER_HOST_MAX], uint16_t *port)
{
    const char *colon = strstr(text, "://");
    const char *last = strrchr(text, ':');
    uint32_t number = 0;
    if (colon == NULL || last <= colon || (size_t)(colon - text) >= LISTENER_NAME_MAX || colon == text ||
        (size_t)(last - colon - 3) >= LISTENER_HOST_MAX)
        return false;
    snprintf(name, LISTENER_NAME_MAX, "%.*s", (int)(colon - text), text);
    snprintf(host, LISTENER_HOST_MAX, "%.*s", (int)(last - colon - 3), colon + 3);
    if (!take_brackets(host))
        return false;
    for (const char *digit = last + 1; *digit != 0; digit++) {
        if (*digit < '0' || *digit > '9' || number > 65535)
            return false;
        number = number * 10 + (uint32_t)(*digit - '0');
    }
    if (number == 0 || number > 65535)
        return false;
    *port = (uint16_t)number;
    return true;
}

static bool has_protocol(const struct tide_settings *s, const char *name)
{
    char copy[SETTING_TEXT_MAX];
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", s->listener_security_protocol_map);
    for (char *pair = strtok_r(copy, ", ", &save); pair != NULL; pair = strtok_r(NULL, ", ", &save)) {
        char *colon = strchr(pair, ':');
        if (colon == NULL)
            continue;
        *colon = 0;
        if (strcmp(pair, name) == 0 && strcmp(colon + 1, "PLAINTEXT") == 0)
            return true;
    }
    return false;
}

/* The address without its prefix length. */
static void copy_host(char to[LISTENER_HOST_MAX], const char *address)
{
    size_t n = strcspn(address, "/");
    n = n < LISTENER_HOST_MAX ? n : LISTENER_HOST_MAX - 1;
    memcpy(to, address, n);
    to[n] = 0;
}

/* Which of our addresses a listener serves: a name or nothing means both. */
static uint8_t family_of(const char *host)
{
    uint8_t a[16];
    if (strcmp(host, "::") == 0)
        return 0;
    if (inet_pton(AF_INET6, host, a) == 1)
        return 6;
    return inet_pton(AF_INET, host, a) == 1 ? 4 : 0;
}

/* Two listeners may share a port when each serves one family (KIP-797). */
static bool is_taken(const struct tide_settings *s, const struct settings_listener *l)
{
    for (uint32_t i = 0; i < s->listener_count; i++)
        if (strcmp(s->listener[i].name, l->name) == 0 ||
            (s->listener[i].port == l->port && (l->family == 0 || s->listener[i].family == 0 || s->listener[i].family == l->family)))
            return true;
    return false;
}

static enum tide_status derive_listeners(struct tide_settings *s, char *error, size_t size)
{
    char copy[SETTING_TEXT_MAX];
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", s->listeners);
    s->listener_count = 0;
    for (char *one = strtok_r(copy, ", ", &save); one != NULL; one = strtok_r(NULL, ", ", &save)) {
        struct settings_listener *l = &s->listener[s->listener_count];
        if (s->listener_count == SETTINGS_LISTENERS_MAX || !parse_listener(one, l->name, l->host, &l->port)) {
            snprintf(error, size, "listeners: '%.200s' is not NAME://host:port or NAME://[IPv6 address]:port", one);
            return TIDE_BAD;
        }
        if (strchr(l->host, ':') != NULL && s->data_address6[0] == 0) {
            snprintf(error, size, "listeners: '%.200s' names an IPv6 address, but data.address6 is not given", one);
            return TIDE_BAD;
        }
        if (!has_protocol(s, l->name)) {
            snprintf(error, size, "listeners: %s is no PLAINTEXT listener; listener.security.protocol.map must say %s:PLAINTEXT "
                     "(TLS and SASL are not served yet)", l->name, l->name);
            return TIDE_BAD;
        }
        l->family = family_of(l->host);
        if (is_taken(s, l)) {
            snprintf(error, size, "listeners: '%.200s' has the name or the port of another listener", one);
            return TIDE_BAD;
        }
        memcpy(l->advertised_host, l->host, sizeof(l->advertised_host));
        l->advertised_port = l->port;
        if (l->host[0] == 0 || strcmp(l->host, "0.0.0.0") == 0)
            copy_host(l->advertised_host, s->data_address);
        else if (strcmp(l->host, "::") == 0)
            copy_host(l->advertised_host, s->data_address6);
        if (l->port == s->replication_port && l->family != 6) { /* peers come in on data.address */
            snprintf(error, size, "replication.port: %d is the port of listener %s; give one of the two another", (int)s->replication_port, l->name);
            return TIDE_BAD;
        }
        s->listener_count++;
    }
    if (s->listener_count == 0) {
        snprintf(error, size, "listeners is empty; write listeners=PLAINTEXT://:9092");
        return TIDE_BAD;
    }
    return TIDE_OK;
}

static enum tide_status derive_advertised(struct tide_settings *s, char *error, size_t size)
{
    char copy[SETTING_TEXT_MAX];
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", s->advertised_listeners);
    for (char *one = strtok_r(copy, ", ", &save); one != NULL; one = strtok_r(NULL, ", ", &save)) {
        char name[LISTENER_NAME_MAX], host[LISTENER_HOST_MAX];
        uint16_t port;
        bool found = false;
        if (!parse_listener(one, name, host, &port) || host[0] == 0) {
            snprintf(error, size, "advertised.listeners: '%.200s' is not NAME://host:port or NAME://[IPv6 address]:port", one);
            return TIDE_BAD;
        }
        for (uint32_t i = 0; i < s->listener_count; i++) {
            if (strcmp(s->listener[i].name, name) != 0)
                continue;
            snprintf(s->listener[i].advertised_host, LISTENER_HOST_MAX, "%s", host);
            s->listener[i].advertised_port = port;
            found = true;
        }
        if (!found) {
            snprintf(error, size, "advertised.listeners: there is no listener %s", name);
            return TIDE_BAD;
        }
    }
    return TIDE_OK;
}

/* Kafka's names of its two classes; there is nothing else to load. */
static enum tide_status derive_selector(struct tide_settings *s, char *error, size_t size)
{
    static const char by_rack[] = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    static const char leader[] = "org.apache.kafka.common.replica.LeaderSelector";
    s->rack_aware = strcmp(s->replica_selector_class, by_rack) == 0;
    if (s->rack_aware || s->replica_selector_class[0] == 0 || strcmp(s->replica_selector_class, leader) == 0)
        return TIDE_OK;
    snprintf(error, size, "replica.selector.class: '%.200s' is not known; write %s, or nothing", s->replica_selector_class, by_rack);
    return TIDE_BAD;
}

static enum tide_status derive_cores(struct tide_settings *s, char *error, size_t size)
{
    char *end;
    s->data_cpu_count = 0;
    for (const char *at = s->data_cores; *at != 0; at = end + (*end == ',')) {
        long cpu = strtol(at, &end, 10);
        if (end == at || cpu < 0 || cpu >= CPU_SETSIZE || (*end != 0 && *end != ',')) {
            snprintf(error, size, "data.cores: '%.100s' is no list of CPUs; write data.cores=2,3", s->data_cores);
            return TIDE_BAD;
        }
        if (s->data_cpu_count == (uint64_t)s->data_core_count) {
            snprintf(error, size, "data.cores names more CPUs than data.core.count has cores, which is %lld", (long long)s->data_core_count);
            return TIDE_BAD;
        }
        s->data_cpu[s->data_cpu_count++] = (uint16_t)cpu;
    }
    return TIDE_OK;
}

static enum tide_status check_groups(const struct tide_settings *s, char *error, size_t size)
{
    if (s->group_min_session_timeout_ms > s->group_max_session_timeout_ms) {
        snprintf(error, size, "group.min.session.timeout.ms (%lld) exceeds group.max.session.timeout.ms (%lld)",
                 (long long)s->group_min_session_timeout_ms, (long long)s->group_max_session_timeout_ms);
        return TIDE_BAD;
    }
    if (s->group_consumer_heartbeat_interval_ms >= s->group_consumer_session_timeout_ms) {
        snprintf(error, size, "group.consumer.heartbeat.interval.ms (%lld) is not below group.consumer.session.timeout.ms (%lld)",
                 (long long)s->group_consumer_heartbeat_interval_ms, (long long)s->group_consumer_session_timeout_ms);
        return TIDE_BAD;
    }
    for (const char *at = s->group_consumer_assignors; *(at += strspn(at, " ,")) != 0;) {
        size_t len = strcspn(at, " ,");
        if (!(len == 7 && memcmp(at, "uniform", len) == 0) && !(len == 5 && memcmp(at, "range", len) == 0)) {
            snprintf(error, size, "group.consumer.assignors: '%.*s' is none; write uniform,range, or one of them", (int)(len < 100 ? len : 100), at);
            return TIDE_BAD;
        }
        at += len;
    }
    return TIDE_OK;
}

enum tide_status settings_check(struct tide_settings *s, char *error, size_t size)
{
    if (s->node_id < 0) {
        snprintf(error, size, "node.id is missing; give this broker a number, as node.id=1");
        return TIDE_BAD;
    }
    if (settings_derive_log_dirs(s, error, size) != TIDE_OK || derive_selector(s, error, size) != TIDE_OK || derive_cores(s, error, size) != TIDE_OK)
        return TIDE_BAD;
    if (s->data_address[0] == 0 || strchr(s->data_address, '/') == NULL) {
        snprintf(error, size, "data.address is missing or has no prefix length; write data.address=10.0.0.1/24");
        return TIDE_BAD;
    }
    if (check_source_ports(s, error, size) != TIDE_OK || check_addresses(s, error, size) != TIDE_OK)
        return TIDE_BAD;
    if (s->data_ports[0] == 0) {
        snprintf(error, size, "data.ports is missing; write data.ports=vdev:net_af_xdp0,iface=eth1 or a PCI address");
        return TIDE_BAD;
    }
    if ((s->log_tail_buffer_bytes & (s->log_tail_buffer_bytes - 1)) != 0 || s->log_read_buffer_bytes % 4096 != 0) {
        snprintf(error, size, "log.tail.buffer.bytes must be a power of two, log.read.buffer.bytes a multiple of 4096");
        return TIDE_BAD;
    }
    if (s->tcp_receive_window_bytes != 0 && s->tcp_receive_window_bytes < 16384) {
        snprintf(error, size, "tcp.receive.window.bytes must be 0 or at least 16384");
        return TIDE_BAD;
    }
    if (s->max_message_bytes > s->segment_bytes) {
        snprintf(error, size, "message.max.bytes (%lld) exceeds log.segment.bytes (%lld)", (long long)s->max_message_bytes,
                 (long long)s->segment_bytes);
        return TIDE_BAD;
    }
    if (s->min_compaction_lag_ms > s->max_compaction_lag_ms) {
        snprintf(error, size, "log.cleaner.min.compaction.lag.ms (%lld) exceeds log.cleaner.max.compaction.lag.ms (%lld)",
                 (long long)s->min_compaction_lag_ms, (long long)s->max_compaction_lag_ms);
        return TIDE_BAD;
    }
    if (check_groups(s, error, size) != TIDE_OK || settings_derive_quorum(s, error, size) != TIDE_OK || derive_listeners(s, error, size) != TIDE_OK)
        return TIDE_BAD;
    return derive_advertised(s, error, size);
}

/* ---- topics ---------------------------------------------------------------------------------------------- */

const struct setting_row *settings_topic_row(const char *topic_name)
{
    for (unsigned i = 0; i < setting_row_count; i++)
        if (setting_rows[i].topic_name != NULL && strcmp(setting_rows[i].topic_name, topic_name) == 0)
            return &setting_rows[i];
    return NULL;
}

static size_t topic_offset(const struct setting_row *r)
{
    for (size_t i = 0; i < sizeof(topic_fields) / sizeof(topic_fields[0]); i++)
        if (strcmp(topic_fields[i].topic_name, r->topic_name) == 0)
            return topic_fields[i].offset;
    return 0;
}

void settings_topic_defaults(const struct tide_settings *s, struct tide_topic_config *ret)
{
    for (unsigned i = 0; i < setting_row_count; i++)
        if (setting_rows[i].topic_name != NULL && setting_rows[i].type != SETTING_TEXT)
            *number_at(ret, topic_offset(&setting_rows[i])) = *(const int64_t *)((const char *)s + setting_rows[i].offset);
}

enum tide_status settings_set_topic(struct tide_topic_config *c, const char *topic_name, const char *value, char *error, size_t size)
{
    const struct setting_row *r = settings_topic_row(topic_name);
    int64_t v;
    if (r == NULL) {
        snprintf(error, size, "Unknown topic config name: %.100s", topic_name);
        return TIDE_ABSENT;
    }
    if (r->type == SETTING_TEXT) /* not for partitions: the view says what follows from it */
        return check_text(r, value, error, size);
    if (parse_number(r, value, &v, error, size) != TIDE_OK)
        return TIDE_BAD;
    *number_at(c, topic_offset(r)) = v;
    return TIDE_OK;
}

bool settings_is_dynamic(const struct setting_row *r)
{
    return r->topic_name != NULL || r->live;
}

enum tide_status settings_judge(const struct setting_row *r, const char *value, char *error, size_t size)
{
    int64_t v;
    return r->type == SETTING_TEXT ? check_text(r, value, error, size) : parse_number(r, value, &v, error, size);
}

/* ---- descriptions -------------------------------------------------------------------------------------------- */

static void number_text(const struct setting_row *r, int64_t v, char *to, size_t size)
{
    if (r->type == SETTING_BOOL) {
        snprintf(to, size, "%s", v ? "true" : "false");
    } else if (r->type == SETTING_RATIO) {
        snprintf(to, size, "%g", (double)v / SETTING_RATIO_ONE);
    } else if (r->type == SETTING_CHOICE) {
        const char *w = r->words;
        while (v-- > 0)
            w = strchr(w, '|') + 1;
        snprintf(to, size, "%.*s", (int)strcspn(w, "|"), w);
    } else {
        snprintf(to, size, "%lld", (long long)v);
    }
}

void settings_text(const struct tide_settings *s, const struct setting_row *r, char *to, size_t size)
{
    if (r->type == SETTING_TEXT)
        snprintf(to, size, "%s", (const char *)s + r->offset);
    else
        number_text(r, *(const int64_t *)((const char *)s + r->offset), to, size);
}

void settings_topic_text(const struct tide_topic_config *c, const struct setting_row *r, char *to, size_t size)
{
    number_text(r, *(const int64_t *)((const char *)c + topic_offset(r)), to, size);
}

bool settings_is_given(const struct tide_settings *s, const struct setting_row *r)
{
    size_t i = (size_t)(r - setting_rows);
    return (s->given[i / 64] >> i % 64 & 1) != 0;
}

void settings_print_reference(FILE *f)
{
    struct tide_settings s;
    settings_defaults(&s);
    fputs("| setting | topic setting | default | meaning |\n| --- | --- | --- | --- |\n", f);
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        char value[SETTING_TEXT_MAX];
        settings_text(&s, r, value, sizeof(value));
        fprintf(f, "| `%s` | %s%s%s | %s%s%s | %s%s%s |\n", r->name, r->topic_name ? "`" : "", r->topic_name ? r->topic_name : "",
                r->topic_name ? "`" : "", value, *r->unit ? " " : "", r->unit, r->doc, r->words ? ": " : "", r->words ? r->words : "");
    }
}
