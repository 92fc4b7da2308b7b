/* SPDX-License-Identifier: Apache-2.0 */
/* A page of a broker's management address, kept as text while it comes in. */
#ifndef TIDEMARK_CONTROL_TOOL_PAGE_TEXT_H
#define TIDEMARK_CONTROL_TOOL_PAGE_TEXT_H

#include <stddef.h>

struct page_text {
    char *at; /* ends with a NUL; the caller's to free */
    size_t len;
};

/* libcurl's write function, with a struct page_text as its argument. A page without an end is given up. */
size_t page_text_keep(char *from, size_t size, size_t count, void *page);

#endif
