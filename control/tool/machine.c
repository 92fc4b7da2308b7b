/* SPDX-License-Identifier: Apache-2.0 */
#include "tool/machine.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_OF(m, path, format)                                                   \
    do {                                                                           \
        va_list args;                                                              \
        size_t at = (size_t)snprintf(path, sizeof(path), "%.400s", (m)->root);     \
        va_start(args, format);                                                    \
        vsnprintf(path + at, sizeof(path) - at, format, args);                     \
        va_end(args);                                                              \
    } while (0)

bool machine_has(const struct machine *m, const char *format, ...)
{
    char path[MACHINE_PATH];
    PATH_OF(m, path, format);
    return access(path, F_OK) == 0;
}

static bool first_line(const char *path, char *ret, size_t size)
{
    FILE *f = fopen(path, "re");
    bool got = f != NULL && fgets(ret, (int)size, f) != NULL;
    if (f != NULL)
        fclose(f);
    if (got)
        ret[strcspn(ret, "\n")] = 0;
    else
        ret[0] = 0;
    return got;
}

bool machine_line(const struct machine *m, char *ret, size_t size, const char *format, ...)
{
    char path[MACHINE_PATH];
    PATH_OF(m, path, format);
    return first_line(path, ret, size);
}

long machine_number(const struct machine *m, long otherwise, const char *format, ...)
{
    char path[MACHINE_PATH], text[64], *end;
    long value;
    PATH_OF(m, path, format);
    if (!first_line(path, text, sizeof(text)))
        return otherwise;
    value = strtol(text, &end, 0);
    return end != text ? value : otherwise;
}

bool machine_link(const struct machine *m, char *ret, size_t size, const char *format, ...)
{
    char path[MACHINE_PATH], target[MACHINE_PATH];
    const char *slash;
    ssize_t n;
    PATH_OF(m, path, format);
    n = readlink(path, target, sizeof(target) - 1);
    ret[0] = 0;
    if (n <= 0)
        return false;
    target[n] = 0;
    slash = strrchr(target, '/');
    snprintf(ret, size, "%s", slash != NULL ? slash + 1 : target);
    return true;
}

FILE *machine_open(const struct machine *m, const char *format, ...)
{
    char path[MACHINE_PATH];
    PATH_OF(m, path, format);
    return fopen(path, "re");
}

static int by_name(const void *a, const void *b)
{
    return strverscmp(a, b);
}

unsigned machine_names(const struct machine *m, char (*ret)[MACHINE_NAME], unsigned max, const char *format, ...)
{
    char path[MACHINE_PATH];
    struct dirent *e;
    unsigned n = 0;
    DIR *d;
    PATH_OF(m, path, format);
    d = opendir(path);
    while (d != NULL && n < max && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && strlen(e->d_name) < MACHINE_NAME)
            memcpy(ret[n++], e->d_name, strlen(e->d_name) + 1);
    if (d != NULL)
        closedir(d);
    if (n > 1)
        qsort(ret, n, sizeof(ret[0]), by_name);
    return n;
}

/* ---- lists of CPUs ---------------------------------------------------------------------------------------------- */

bool cpus_parse(const char *text, cpu_set_t *ret)
{
    CPU_ZERO(ret);
    while (*text != 0 && *text != '\n') {
        char *end;
        long first = strtol(text, &end, 10), last = first;
        if (end == text || first < 0)
            return false;
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text)
                return false;
        }
        for (long c = first; c <= last && c < CPU_SETSIZE; c++)
            CPU_SET((unsigned)c, ret);
        text = end + strspn(end, ", \t");
        if (text == end && *end != 0 && *end != '\n')
            return false;
    }
    return true;
}

void cpus_text(const cpu_set_t *set, char *ret, size_t size)
{
    size_t at = 0;
    ret[0] = 0;
    for (unsigned c = 0; c < CPU_SETSIZE && at + 1 < size; c++) {
        unsigned last = c;
        if (!CPU_ISSET(c, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        at += (size_t)(last == c ? snprintf(ret + at, size - at, "%s%u", at != 0 ? "," : "", c)
                                 : snprintf(ret + at, size - at, "%s%u-%u", at != 0 ? "," : "", c, last));
        c = last;
    }
}

/* ---- networks ------------------------------------------------------------------------------------------------------ */

struct route {
    char interface[MACHINE_NAME];
    uint32_t network, gateway, mask;
};

/* The next line of /proc/net/route; its numbers are the bytes of the network in the order of this machine. */
static bool next_route(FILE *f, struct route *ret)
{
    char line[256];
    unsigned network, gateway, mask;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "%63s %x %x %*x %*d %*d %*d %x", ret->interface, &network, &gateway, &mask) == 4) {
            ret->network = ntohl(network);
            ret->gateway = ntohl(gateway);
            ret->mask = ntohl(mask);
            return true;
        }
    return false;
}

static bool has_default_route6(const struct machine *m, const char *interface)
{
    FILE *f = machine_open(m, "/proc/net/ipv6_route");
    char line[256], to[33], name[MACHINE_NAME];
    unsigned prefix;
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %*s %63s", to, &prefix, name) == 3 && prefix == 0 && strcmp(name, interface) == 0;
    if (f != NULL)
        fclose(f);
    return found;
}

bool machine_has_default_route(const struct machine *m, const char *interface)
{
    FILE *f = machine_open(m, "/proc/net/route");
    struct route r;
    bool found = false;
    while (!found && next_route(f, &r))
        found = r.network == 0 && r.mask == 0 && strcmp(r.interface, interface) == 0;
    if (f != NULL)
        fclose(f);
    return found || has_default_route6(m, interface);
}

/* The next of the kernel's own addresses: in /proc/net/fib_trie an address on a line, what it is on the next. */
static bool next_local(FILE *f, uint32_t *ret)
{
    char line[256];
    struct in_addr a = {0};
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        char text[32];
        const char *at = strstr(line, "|-- ");
        if (at != NULL && sscanf(at + 4, "%31s", text) == 1)
            (void)inet_pton(AF_INET, text, &a);
        else if (strstr(line, "/32 host LOCAL") != NULL) {
            *ret = ntohl(a.s_addr);
            return true;
        }
    }
    return false;
}

bool machine_is_local(const struct machine *m, uint32_t address)
{
    FILE *f = machine_open(m, "/proc/net/fib_trie");
    uint32_t a;
    bool found = false;
    while (!found && next_local(f, &a))
        found = a == address;
    if (f != NULL)
        fclose(f);
    return found;
}

static bool local_in(const struct machine *m, const struct route *r, uint32_t *ret)
{
    FILE *f = machine_open(m, "/proc/net/fib_trie");
    bool found = false;
    while (!found && next_local(f, ret))
        found = (*ret & r->mask) == r->network;
    if (f != NULL)
        fclose(f);
    return found;
}

bool machine_address(const struct machine *m, const char *interface, uint32_t *ret_address, unsigned *ret_prefix)
{
    FILE *f = machine_open(m, "/proc/net/route");
    struct route r;
    bool found = false;
    while (!found && next_route(f, &r))
        found = r.gateway == 0 && r.mask != 0 && strcmp(r.interface, interface) == 0 && local_in(m, &r, ret_address);
    if (f != NULL)
        fclose(f);
    if (found)
        *ret_prefix = (unsigned)__builtin_popcount(r.mask);
    return found;
}

static bool listens_in(FILE *f, uint16_t port)
{
    enum { LISTEN = 0x0a };
    char line[512];
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        unsigned at, state;
        found = sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &at, &state) == 2 && state == LISTEN && at == port;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

bool machine_listens(const struct machine *m, uint16_t port)
{
    return listens_in(machine_open(m, "/proc/net/tcp"), port) || listens_in(machine_open(m, "/proc/net/tcp6"), port);
}

/* A process in another network namespace is on another host, as far as ports and addresses go. */
static bool is_elsewhere(const struct machine *m, const char *process)
{
    char ours[MACHINE_NAME], its[MACHINE_NAME];
    return machine_link(m, ours, sizeof(ours), "/proc/self/ns/net") && machine_link(m, its, sizeof(its), "/proc/%s/ns/net", process) &&
           strcmp(ours, its) != 0;
}

int machine_process(const struct machine *m, const char *name)
{
    static char names[4096][MACHINE_NAME];
    unsigned n = machine_names(m, names, 4096, "/proc");
    char text[64];
    for (unsigned i = 0; i < n; i++)
        if (names[i][0] >= '1' && names[i][0] <= '9' && machine_line(m, text, sizeof(text), "/proc/%s/comm", names[i]) &&
            strcmp(text, name) == 0 && !is_elsewhere(m, names[i]))
            return atoi(names[i]);
    return 0;
}

/* ---- mounts ---------------------------------------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *point)
{
    size_t len = strlen(point);
    if (len == 1)
        return true;
    return strncmp(path, point, len) == 0 && (path[len] == 0 || path[len] == '/');
}

bool machine_mount(const struct machine *m, const char *path, struct mount *ret)
{
    FILE *f = machine_open(m, "/proc/self/mountinfo");
    char line[2048], point[1024];
    size_t longest = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        struct mount found;
        const char *rest = strstr(line, " - ");
        if (rest == NULL || sscanf(line, "%*d %*d %63s %*s %1023s", found.device, point) != 2 ||
            sscanf(rest, " - %63s %255s", found.type, found.source) != 2)
            continue;
        if (is_below(path, point) && strlen(point) >= longest) { /* of two on one place the later one is seen */
            longest = strlen(point);
            *ret = found;
        }
    }
    if (f != NULL)
        fclose(f);
    return longest != 0;
}
