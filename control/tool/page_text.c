/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/page_text.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 16 << 20 };

size_t page_text_keep(char *from, size_t size, size_t count, void *page)
{
    struct page_text *t = page;
    size_t n = size * count;
    char *more = t->len + n < PAGE_MAX ? realloc(t->at, t->len + n + 1) : NULL;
    if (more == NULL)
        return 0;
    t->at = more;
    memcpy(t->at + t->len, from, n);
    t->len += n;
    t->at[t->len] = 0;
    return n;
}
