/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "tidemark/bytes.h"
#include "tidemark/types.h"

enum { V2_COOKIE = 0x1c849303, V2_COMPRESSED = 0x1c849304, V2_WORD_BYTES = 0x10, HEAD = 40, LEB_MAX = 9 };

bool load_hist_init(struct load_hist *h, unsigned digits)
{
    unsigned half_bits = digits == 3 ? 10 : 7;
    uint32_t buckets = 1;
    for (uint64_t beyond = 2ull << half_bits; beyond <= LOAD_HIST_MOST_NS; beyond <<= 1)
        buckets++;
    *h = (struct load_hist){.digits = digits, .half_bits = half_bits, .length = (buckets + 1) << half_bits, .least = UINT64_MAX};
    h->counts = calloc(h->length, sizeof(*h->counts));
    return h->counts != NULL;
}

void load_hist_deinit(struct load_hist *h)
{
    free(h->counts);
    h->counts = NULL;
}

static uint32_t index_of(const struct load_hist *h, uint64_t ns)
{
    uint64_t first = (2ull << h->half_bits) - 1; /* the first bucket is linear and twice as long */
    uint32_t bucket = 63 - (uint32_t)__builtin_clzll(ns | first) - h->half_bits;
    return (bucket << h->half_bits) + (uint32_t)(ns >> bucket);
}

uint64_t load_hist_low(const struct load_hist *h, uint32_t index)
{
    uint32_t bucket = index >> h->half_bits;
    if (bucket <= 1)
        return index;
    return (uint64_t)((index & ((1u << h->half_bits) - 1)) + (1u << h->half_bits)) << (bucket - 1);
}

uint64_t load_hist_high(const struct load_hist *h, uint32_t index)
{
    return load_hist_low(h, index + 1) - 1;
}

void load_hist_add(struct load_hist *h, uint64_t ns)
{
    uint64_t counted = TIDE_MIN(ns, LOAD_HIST_MOST_NS);
    h->counts[index_of(h, counted)]++;
    h->count++;
    h->sum += (double)ns;
    h->least = TIDE_MIN(h->least, ns);
    h->most = TIDE_MAX(h->most, ns);
}

void load_hist_merge(struct load_hist *h, const struct load_hist *from)
{
    if (from->count == 0)
        return;
    for (uint32_t i = 0; i < h->length; i++)
        h->counts[i] += from->counts[i];
    h->count += from->count;
    h->sum += from->sum;
    h->least = TIDE_MIN(h->least, from->least);
    h->most = TIDE_MAX(h->most, from->most);
}

uint64_t load_hist_quantile(const struct load_hist *h, double quantile)
{
    uint64_t rank = (uint64_t)ceil(quantile * (double)h->count), seen = 0;
    if (h->count == 0)
        return 0;
    rank = rank == 0 ? 1 : TIDE_MIN(rank, h->count);
    for (uint32_t i = 0; i < h->length; i++) {
        seen += h->counts[i];
        if (seen >= rank) {
            uint64_t high = load_hist_high(h, i);
            return TIDE_MIN(high, h->most);
        }
    }
    return h->most;
}

double load_hist_mean(const struct load_hist *h)
{
    return h->count == 0 ? 0 : h->sum / (double)h->count;
}

void load_hist_json(const struct load_hist *h, bool with_counts, FILE *f)
{
    static const double quantiles[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999};
    static const char *const names[] = {"p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "p99.999"};
    fprintf(f, "{\"count\":%lu,\"min\":%lu,\"mean\":%.1f,\"max\":%lu", h->count, h->count == 0 ? 0 : h->least, load_hist_mean(h), h->most);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(quantiles); i++)
        fprintf(f, ",\"%s\":%lu", names[i], load_hist_quantile(h, quantiles[i]));
    if (with_counts) {
        const char *comma = "";
        fprintf(f, ",\"digits\":%u,\"counts\":[", h->digits);
        for (uint32_t i = 0; i < h->length; i++)
            if (h->counts[i] != 0) {
                fprintf(f, "%s[%lu,%lu]", comma, load_hist_low(h, i), h->counts[i]);
                comma = ",";
            }
        fputc(']', f);
    }
    fputc('}', f);
}

/* ---- HdrHistogram's encoding ------------------------------------------------------------------------------------- */

/* Zig-zag, seven bits a byte; the ninth byte has eight. */
static size_t put_leb(uint8_t *to, int64_t value)
{
    uint64_t v = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    size_t n = 0;
    while (v >= 0x80 && n < LEB_MAX - 1) {
        to[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    to[n++] = (uint8_t)v;
    return n;
}

/* A run of zeroes is one negative number; what follows the last count is left out. */
static size_t put_counts(const struct load_hist *h, uint8_t *to)
{
    size_t n = 0;
    uint32_t end = h->length;
    while (end != 0 && h->counts[end - 1] == 0)
        end--;
    for (uint32_t i = 0; i < end;) {
        uint32_t zeroes = 0;
        while (h->counts[i + zeroes] == 0)
            zeroes++;
        n += put_leb(to + n, zeroes != 0 ? -(int64_t)zeroes : (int64_t)h->counts[i]);
        i += zeroes != 0 ? zeroes : 1;
    }
    return n;
}

static char *base64(const uint8_t *from, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc((len + 2) / 3 * 4 + 1), *p = out;
    for (size_t i = 0; out != NULL && i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0u);
        *p++ = digits[v >> 18];
        *p++ = digits[v >> 12 & 63];
        *p++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *p++ = left > 2 ? digits[v & 63] : '=';
    }
    if (out != NULL)
        *p = 0;
    return out;
}

char *load_hist_encode(const struct load_hist *h)
{
    size_t room = HEAD + (size_t)h->length * LEB_MAX;
    uint8_t *plain = malloc(room), *packed;
    char *text = NULL;
    double ratio = 1;
    uint64_t ratio_bits;
    uLongf packed_len = compressBound(room);
    packed = malloc(packed_len + 8);
    if (plain != NULL && packed != NULL) {
        size_t len = put_counts(h, plain + HEAD);
        memcpy(&ratio_bits, &ratio, sizeof(ratio_bits));
        store_be32(plain, V2_COOKIE | V2_WORD_BYTES);
        store_be32(plain + 4, (uint32_t)len);
        store_be32(plain + 8, 0); /* normalizing offset */
        store_be32(plain + 12, h->digits);
        store_be64(plain + 16, 1); /* lowest value that is told apart */
        store_be64(plain + 24, LOAD_HIST_MOST_NS);
        store_be64(plain + 32, ratio_bits);
        if (compress(packed + 8, &packed_len, plain, HEAD + len) == Z_OK) {
            store_be32(packed, V2_COMPRESSED | V2_WORD_BYTES);
            store_be32(packed + 4, (uint32_t)packed_len);
            text = base64(packed, packed_len + 8);
        }
    }
    free(plain);
    free(packed);
    return text;
}
