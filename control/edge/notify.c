/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* '@' begins a name of the abstract space. */
static bool address_of(const char *name, struct sockaddr_un *ret, socklen_t *ret_len)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof(ret->sun_path))
        return false;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, name, len);
    if (name[0] == '@')
        ret->sun_path[0] = 0;
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
    return true;
}

bool notify_send(const char *lines)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to;
    socklen_t len;
    bool sent;
    int fd;
    if (name == NULL || !address_of(name, &to, &len))
        return false;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* A manager that does not read must not hold up control: what it misses it learns by the next one. */
    sent = sendto(fd, lines, strlen(lines), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, len) == (ssize_t)strlen(lines);
    close(fd);
    return sent;
}

static bool number_of(const char *name, uint64_t *ret)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == 0;
}

uint64_t notify_watchdog_us(void)
{
    uint64_t us, pid;
    if (!number_of("WATCHDOG_USEC", &us))
        return 0;
    return !number_of("WATCHDOG_PID", &pid) || pid == (uint64_t)getpid() ? us : 0;
}
