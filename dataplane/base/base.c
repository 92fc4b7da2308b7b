/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/arrival.h"
#include "tidemark/assert.h"
#include "tidemark/types.h"

#include <stdio.h>
#include <stdlib.h>

_Atomic unsigned long tide_expect_failures;
struct tide_arrival_field tide_arrival_field = {.offset = -1};

_Noreturn void tide_assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "tidemark: assertion failed: %s (%s:%d)\n", expression, file, line);
    fflush(stderr);
    abort();
}

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void tide_uuid_to_text(const struct tide_uuid *u, char ret_text[TIDE_UUID_TEXT])
{
    unsigned out = 0;
    for (unsigned i = 0; i < 15; i += 3) {
        uint32_t v = (uint32_t)u->bytes[i] << 16 | (uint32_t)u->bytes[i + 1] << 8 | u->bytes[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            ret_text[out++] = base64url[v >> shift & 63];
    }
    ret_text[out++] = base64url[u->bytes[15] >> 2];
    ret_text[out++] = base64url[(u->bytes[15] & 3) << 4];
    ret_text[out] = 0;
}

static int base64url_value(char c)
{
    const char *at = c ? strchr(base64url, c) : NULL;
    return at ? (int)(at - base64url) : -1;
}

bool tide_uuid_from_text(const char *text, size_t len, struct tide_uuid *ret)
{
    struct tide_uuid u = {0};
    uint32_t bits = 0;
    unsigned have = 0;
    unsigned out = 0;
    if (len != TIDE_UUID_TEXT - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        int v = base64url_value(text[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8 && out < sizeof(u.bytes)) {
            have -= 8;
            u.bytes[out++] = (uint8_t)(bits >> have);
        }
    }
    *ret = u;
    return true;
}
