/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet scripts for the TCP stack in virtual time; README.md tells the language.
 *
 *   script [--trace] FILE...
 */
#include "script.h"

#include <ctype.h>
#include <inttypes.h>

#include "tidemark/bytes.h"

enum { TOLERANCE_NS = 200000 /* of a timer: slots of the wheel */ };

static void say(const struct script *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct script *s, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s:%u: ", s->file, s->line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

#define FAIL(s, ...) (say(s, __VA_ARGS__), false)

/* ---- packets ----------------------------------------------------------------------------------------------- */

static uint8_t pattern(unsigned direction, uint32_t seq)
{
    return (uint8_t)(seq * 7 + (seq >> 8) * 13 + direction * 101);
}

static unsigned put_option(uint8_t *o, const struct option *k)
{
    switch (k->kind) {
    case OPTION_MSS:
        o[0] = 2, o[1] = 4;
        store_be16(o + 2, (uint16_t)k->a);
        return 4;
    case OPTION_WSCALE:
        o[0] = 3, o[1] = 3, o[2] = (uint8_t)k->a;
        return 3;
    case OPTION_SACK_OK:
        o[0] = 4, o[1] = 2;
        return 2;
    case OPTION_SACK:
        o[0] = 5, o[1] = (uint8_t)(2 + 8 * k->sack_count);
        for (unsigned i = 0; i < k->sack_count; i++) {
            store_be32(o + 2 + 8 * i, k->sacks[i][0]);
            store_be32(o + 6 + 8 * i, k->sacks[i][1]);
        }
        return 2 + 8 * k->sack_count;
    case OPTION_TS:
        o[0] = 8, o[1] = 10;
        store_be32(o + 2, k->a);
        store_be32(o + 6, k->b);
        return 10;
    case OPTION_NOP:
        o[0] = 1;
        return 1;
    default:
        o[0] = (uint8_t)k->a, o[1] = (uint8_t)k->b;
        memset(o + 2, 0x5a, k->b > 2 ? k->b - 2 : 0);
        return TIDE_MAX(k->b, 2u);
    }
}

static void inject(struct script *s, struct packet *p)
{
    uint8_t b[20 + 40 + 9000] = {0};
    struct peer *peer = s->peer;
    struct tcp_meta meta = {.src = peer->addr, .dst = s->addr, .ecn = p->ecn};
    unsigned header = 20;
    for (unsigned i = 0; i < p->option_count; i++) {
        struct option k = p->options[i];
        for (unsigned n = 0; n < k.sack_count; n++) /* of our bytes */
            k.sacks[n][0] += peer->ours, k.sacks[n][1] += peer->ours;
        if (k.kind == OPTION_TS && k.b_is_last)
            k.b = peer->last_ts - k.b;
        header += put_option(b + header, &k);
    }
    header = (header + 3) & ~3u;
    store_be16(b, peer->port);
    store_be16(b + 2, peer->local_port);
    store_be32(b + 4, p->seq + peer->theirs);
    store_be32(b + 8, p->flags & F_ACK ? p->ack + peer->ours : 0);
    b[12] = (uint8_t)((p->doff != 0 ? p->doff : header / 4) << 4);
    b[13] = p->flags;
    store_be16(b + 14, (uint16_t)p->win);
    for (uint32_t i = 0; i < p->len; i++)
        b[header + i] = pattern(0, p->seq + i) ^ (p->bad ? 0xff : 0);
    s->last_input_ns = s->now_ns;
    tcp_input(s->stack, s->now_ns, unit_exact_mbuf(s->pool, b, (uint16_t)(p->cut != 0 ? p->cut : header + p->len)), &meta);
}

static struct peer *peer_of(struct script *s, const struct tcp_meta *meta, const uint8_t *h)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (s->peers[i].port == load_be16(h + 2) && memcmp(&s->peers[i].addr, &meta->dst, sizeof(meta->dst)) == 0)
            return &s->peers[i];
    return NULL;
}

static void take_options(const uint8_t *o, unsigned len, struct packet *p, struct peer *peer)
{
    for (unsigned at = 0; at < len && o[at] != 0;) {
        struct option *k = &p->options[p->option_count];
        unsigned n = o[at] == 1 ? 1 : o[at + 1];
        if (o[at] != 1) {
            switch (o[at]) {
            case 2: *k = (struct option){.kind = OPTION_MSS, .a = load_be16(o + at + 2)}; break;
            case 3: *k = (struct option){.kind = OPTION_WSCALE, .a = o[at + 2]}; break;
            case 4: *k = (struct option){.kind = OPTION_SACK_OK}; break;
            case 5:
                *k = (struct option){.kind = OPTION_SACK, .sack_count = (n - 2) / 8};
                for (unsigned i = 0; i < k->sack_count; i++) {
                    k->sacks[i][0] = load_be32(o + at + 2 + 8 * i) - peer->theirs;
                    k->sacks[i][1] = load_be32(o + at + 6 + 8 * i) - peer->theirs;
                }
                break;
            case 8:
                *k = (struct option){.kind = OPTION_TS, .a = load_be32(o + at + 2), .b = load_be32(o + at + 6)};
                peer->last_ts = k->a;
                break;
            default: *k = (struct option){.kind = OPTION_RAW, .a = o[at], .b = n};
            }
            p->option_count++;
        }
        at += n;
    }
}

/* Notes what the stack sent. False: its bytes are not what was written. */
static bool note(struct script *s, struct rte_mbuf *m, const struct tcp_meta *meta)
{
    uint8_t b[66000];
    struct packet *p = &s->sent[s->sent_count % SENT_MAX];
    struct peer *peer;
    uint32_t n = 0, header;
    for (struct rte_mbuf *k = m; k != NULL; k = k->next) {
        memcpy(b + n, rte_pktmbuf_mtod(k, uint8_t *), k->data_len);
        n += k->data_len;
    }
    if (n != m->pkt_len || s->sent_count - s->sent_taken >= SENT_MAX)
        return FAIL(s, "a packet whose length is wrong, or too many");
    peer = peer_of(s, meta, b);
    if (peer == NULL)
        return FAIL(s, "a packet to nobody");
    header = (b[12] >> 4) * 4u;
    *p = (struct packet){.at_ns = s->now_ns, .peer = (unsigned)(peer - s->peers), .flags = b[13], .win = load_be16(b + 14), .len = n - header,
                         .ecn = meta->ecn};
    if (p->flags & F_SYN && !peer->knows_ours) {
        peer->ours = load_be32(b + 4);
        peer->knows_ours = true;
        peer->local_port = load_be16(b);
    }
    p->seq = load_be32(b + 4) - peer->ours;
    p->ack = load_be32(b + 8) - peer->theirs;
    take_options(b + 20, header - 20, p, peer);
    for (uint32_t i = 0; i < p->len; i++)
        if (b[header + i] != pattern(1, p->seq + i))
            return FAIL(s, "byte %u of what was sent is not what was written", p->seq + i);
    s->sent_count++;
    return true;
}

static void describe(const struct packet *p, char *to, size_t size)
{
    static const char letters[] = "FSRP.UEW";
    int n = 0;
    for (unsigned i = 0; i < 8; i++)
        if (p->flags >> i & 1)
            n += snprintf(to + n, size - (size_t)n, "%c", letters[i]);
    n += snprintf(to + n, size - (size_t)n, " %u:%u(%u)", p->seq, p->seq + p->len, p->len);
    if (p->flags & F_ACK)
        n += snprintf(to + n, size - (size_t)n, " ack %u", p->ack);
    n += snprintf(to + n, size - (size_t)n, " win %u", p->win);
    for (unsigned i = 0; i < p->option_count; i++) {
        const struct option *k = &p->options[i];
        n += snprintf(to + n, size - (size_t)n, "%s", i == 0 ? " <" : ", ");
        switch (k->kind) {
        case OPTION_MSS: n += snprintf(to + n, size - (size_t)n, "mss %u", k->a); break;
        case OPTION_WSCALE: n += snprintf(to + n, size - (size_t)n, "wscale %u", k->a); break;
        case OPTION_SACK_OK: n += snprintf(to + n, size - (size_t)n, "sackOK"); break;
        case OPTION_TS: n += snprintf(to + n, size - (size_t)n, "TS val %u ecr %u", k->a, k->b); break;
        case OPTION_SACK:
            n += snprintf(to + n, size - (size_t)n, "sack");
            for (unsigned q = 0; q < k->sack_count; q++)
                n += snprintf(to + n, size - (size_t)n, " %u:%u", k->sacks[q][0], k->sacks[q][1]);
            break;
        default: n += snprintf(to + n, size - (size_t)n, "option %u", k->a);
        }
        if (i + 1 == p->option_count)
            n += snprintf(to + n, size - (size_t)n, ">");
    }
    if (p->ecn != 0)
        snprintf(to + n, size - (size_t)n, p->ecn == 3 ? " ce" : " ect");
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static bool output(struct script *s)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    unsigned n;
    tcp_check(s->stack);
    while ((n = tcp_output(s->stack, s->now_ns, packets, metas, 32)) != 0) {
        bool good = true;
        for (unsigned i = 0; i < n; i++) {
            char text[400];
            good = good && note(s, packets[i], &metas[i]);
            rte_pktmbuf_free(packets[i]);
            if (good && s->trace) {
                describe(&s->sent[(s->sent_count - 1) % SENT_MAX], text, sizeof(text));
                fprintf(stderr, "%10.6f > %s\n", (double)(s->now_ns - s->start_ns) / 1e9, text);
            }
        }
        if (!good)
            return false;
    }
    tcp_check(s->stack);
    return true;
}

static void events(struct script *s)
{
    struct tcp_event e;
    while (tcp_next_event(s->stack, &e)) {
        struct tcp_endpoint at = tcp_peer(e.conn);
        for (unsigned i = 0; i < PEERS; i++) {
            struct peer *p = &s->peers[i];
            if (p->port != at.port || memcmp(&p->addr, &at.addr, sizeof(at.addr)) != 0)
                continue;
            p->events |= e.bits;
            p->conn = e.bits & TCP_EVENT_GONE ? NULL : e.conn;
        }
    }
}

/* Until `until_ns`, or until something is sent when `for_packet`. */
static bool pass(struct script *s, uint64_t until_ns, bool for_packet)
{
    for (;;) {
        uint64_t next;
        if (!output(s))
            return false;
        events(s);
        if ((for_packet && s->sent_count != s->sent_taken) || s->now_ns >= until_ns)
            return true;
        next = tcp_deadline_ns(s->stack);
        s->now_ns = TIDE_MIN(until_ns, TIDE_MAX(next, s->now_ns + 1));
        tcp_on_time(s->stack, s->now_ns);
    }
}

/* ---- lines ------------------------------------------------------------------------------------------------------------ */

static bool same_options(const struct packet *want, const struct packet *got)
{
    if (want->option_count != got->option_count)
        return false;
    for (unsigned i = 0; i < want->option_count; i++) {
        const struct option *a = &want->options[i], *b = &got->options[i];
        if (a->kind != b->kind || a->sack_count != b->sack_count)
            return false;
        if ((!a->any_a && a->a != b->a) || (!a->any_b && a->b != b->b))
            return false;
        for (unsigned k = 0; k < a->sack_count; k++)
            if (a->sacks[k][0] != b->sacks[k][0] || a->sacks[k][1] != b->sacks[k][1])
                return false;
    }
    return true;
}

static bool expect_packet(struct script *s, const struct packet *want, uint64_t from_ns, uint64_t to_ns)
{
    const struct packet *got;
    char text[400];
    if (!pass(s, to_ns + TOLERANCE_NS, true))
        return false;
    if (s->sent_count == s->sent_taken)
        return FAIL(s, "nothing was sent until %.6f", (double)(s->now_ns - s->start_ns) / 1e9);
    got = &s->sent[s->sent_taken++ % SENT_MAX];
    describe(got, text, sizeof(text));
    if (got->at_ns + TOLERANCE_NS < from_ns || got->at_ns > to_ns + TOLERANCE_NS)
        return FAIL(s, "sent at %.6f: %s", (double)(got->at_ns - s->start_ns) / 1e9, text);
    s->time_ns = got->at_ns;
    if (got->peer != (unsigned)(s->peer - s->peers) || got->flags != want->flags || got->len != want->len ||
        (!want->any_seq && got->seq != want->seq) || (want->flags & F_ACK && !want->any_ack && got->ack != want->ack) ||
        (want->has_win && got->win != want->win) || (want->has_options && !same_options(want, got)) || (want->has_ecn && got->ecn != want->ecn))
        return FAIL(s, "what came is: %s", text);
    return true;
}

static bool expect_silence(struct script *s, uint64_t until_ns)
{
    char text[400];
    if (!pass(s, until_ns, true))
        return false;
    if (s->sent_count == s->sent_taken)
        return true;
    describe(&s->sent[s->sent_taken % SENT_MAX], text, sizeof(text));
    return FAIL(s, "sent at %.6f: %s", (double)(s->sent[s->sent_taken % SENT_MAX].at_ns - s->start_ns) / 1e9, text);
}

uint8_t script_pattern(unsigned direction, uint32_t seq) { return pattern(direction, seq); }
bool script_settle(struct script *s) { return pass(s, s->now_ns, false); }

static bool run_lines(struct script *s, const char *path);

/* "include NAME": the lines of another file of the folder. */
static bool include(struct script *s, char *name)
{
    char path[2000];
    const char *file = s->file, *slash = strrchr(s->file, '/');
    unsigned line = s->line;
    bool good;
    name[strcspn(name, " \t\n#")] = 0;
    snprintf(path, sizeof(path), "%.*s%s.inc", slash != NULL ? (int)(slash - s->file + 1) : 0, s->file, name);
    s->line = 0;
    good = run_lines(s, path);
    s->file = file;
    s->line = line;
    return good || FAIL(s, "in %s", name);
}

static bool run_line(struct script *s, char *text)
{
    struct line l;
    uint64_t from, to;
    if (strncmp(text, "include ", 8) == 0)
        return include(s, text + 8);
    if (!script_parse(s, text, &l))
        return false;
    if (l.kind == LINE_EMPTY)
        return true;
    if (l.kind == LINE_CONFIG)
        return script_configure(s, l.rest);
    if (s->stack == NULL && !script_begin(s))
        return false;
    from = (l.relative ? s->time_ns : s->start_ns) + l.from_ns;
    to = (l.relative ? s->time_ns : s->start_ns) + l.to_ns;
    if (l.kind == LINE_EXPECT)
        return expect_packet(s, &l.packet, from, to);
    if (l.kind == LINE_NONE) {
        s->time_ns = to;
        return expect_silence(s, to);
    }
    if (from < s->now_ns && s->now_ns - from > TOLERANCE_NS)
        return FAIL(s, "this time is past: it is %.6f", (double)(s->now_ns - s->start_ns) / 1e9);
    if (!pass(s, from, false))
        return false;
    s->time_ns = s->now_ns;
    if (l.kind == LINE_INPUT) {
        inject(s, &l.packet);
        return pass(s, s->now_ns, false);
    }
    return script_call(s, l.rest) && pass(s, s->now_ns, false);
}

static bool run_lines(struct script *s, const char *path)
{
    FILE *f = fopen(path, "r");
    char text[1000];
    bool good = true;
    s->file = path;
    if (f == NULL)
        return FAIL(s, "cannot be read");
    while (good && fgets(text, sizeof(text), f) != NULL) {
        s->line++;
        good = run_line(s, text);
    }
    fclose(f);
    return good;
}

static bool run_file(struct rte_mempool *pool, const char *path, bool trace)
{
    struct script *s = calloc(1, sizeof(*s));
    unsigned before = rte_mempool_avail_count(pool);
    bool good;
    if (s == NULL)
        return false;
    script_init(s, path, pool, trace);
    good = run_lines(s, path);
    if (good && s->stack == NULL)
        good = FAIL(s, "nothing in it");
    if (good && s->sent_count != s->sent_taken)
        good = expect_silence(s, s->now_ns); /* tells what it is */
    if (s->stack != NULL)
        tcp_stack_destroy(s->stack);
    if (good && rte_mempool_avail_count(pool) != before)
        good = FAIL(s, "%u mbufs are missing", before - rte_mempool_avail_count(pool));
    free(s);
    return good;
}

int main(int argc, char **argv)
{
    bool trace = argc > 1 && strcmp(argv[1], "--trace") == 0;
    unsigned failed = 0;
    struct rte_mempool *pool;
    unit_eal();
    pool = unit_pool("script", 8191, 2048);
    for (int i = trace ? 2 : 1; i < argc; i++) {
        bool good = run_file(pool, argv[i], trace);
        const char *name = strrchr(argv[i], '/');
        printf("%s %s\n", good ? "ok  " : "FAIL", name != NULL ? name + 1 : argv[i]);
        failed += !good;
    }
    return failed != 0 || argc < 2;
}
