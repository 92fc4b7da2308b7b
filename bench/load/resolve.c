/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/transport.h"

bool load_resolve(const char *host, uint16_t port, struct load_address *ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    ret->port = port;
    if (found->ai_family == AF_INET)
        ret->addr = tide_addr_v4(ntohl(((const struct sockaddr_in *)(const void *)found->ai_addr)->sin_addr.s_addr));
    else
        memcpy(ret->addr.bytes, &((const struct sockaddr_in6 *)(const void *)found->ai_addr)->sin6_addr, sizeof(ret->addr.bytes));
    freeaddrinfo(found);
    return true;
}

bool load_resolve_next(const char **at, struct load_address *ret)
{
    char text[LOAD_TEXT_MAX], *host = text, *colon, *end;
    size_t n = strcspn(*at, ",");
    if (n == 0 || n >= sizeof(text))
        return false;
    memcpy(text, *at, n);
    text[n] = 0;
    colon = strrchr(text, ':');
    if (colon == NULL)
        return false;
    *colon = 0;
    if (host[0] == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = 0;
    }
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end != 0 || port == 0 || port > UINT16_MAX || !load_resolve(host, (uint16_t)port, ret))
        return false;
    *at += n + ((*at)[n] == ',');
    return true;
}
