/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <unistd.h>

#include "nic/share.h"
#include "tool/doctor.h"

enum { CONNECT_MS = 1000 };

static bool is_driver(const struct doctor *d, const char *driver)
{
    return d->port_count != 0 && strncmp(d->ports[0].name, driver, strlen(driver)) == 0;
}

/* With AF_XDP the kernel gets the frames when no broker runs, and resets what it does not know; any other port leaves the kernel a
 * copy, or nothing. */
static void look_at_address(struct doctor *d)
{
    char text[64];
    struct in_addr a;
    bool local;
    snprintf(text, sizeof(text), "%.40s", d->settings.data_address);
    text[strcspn(text, "/")] = 0;
    if (inet_pton(AF_INET, text, &a) != 1)
        return;
    local = machine_is_local(&d->machine, ntohl(a.s_addr));
    if (d->settings.data_port_shared && !local)
        doctor_lacks(d, NEEDED, "data.address", doctor_line(d, "sudoedit %s  # data.address: the address of %s", d->config, d->ports[0].interface),
                     "data.port.shared is set, and %s is not this host's own address", text);
    else if (d->settings.data_port_shared)
        doctor_good(d, "data.address", "%s, the host's own, shared with it", d->settings.data_address);
    else if (local && !is_driver(d, "net_af_xdp"))
        doctor_harms(d, NEEDED, "data.address", doctor_line(d, "sudo ip addr del %s dev %s", d->settings.data_address, d->ports[0].interface[0] != 0 ? d->ports[0].interface : "INTERFACE"),
                     "the kernel has %s, too: it would reset the broker's connections", text);
    else if (!local && is_driver(d, "net_af_xdp"))
        doctor_lacks(d, ADVICE, "data.address", doctor_line(d, "sudo ip addr add %s dev %s", d->settings.data_address, d->ports[0].interface),
                     "the kernel does not have %s: clients of a broker that is killed are not reset", text);
    else
        doctor_good(d, "data.address", "%s%s", d->settings.data_address, local ? ", which the kernel takes over when no broker runs" : ", which the kernel does not know");
}

/* Ports that our own connections come from on an address that the host's come from, too. */
static void look_at_source_ports(struct doctor *d)
{
    char range[64];
    uint16_t first = (uint16_t)d->settings.data_source_port_first, last = (uint16_t)d->settings.data_source_port_last;
    if (!d->settings.data_port_shared || !machine_line(&d->machine, range, sizeof(range), "/proc/sys/net/ipv4/ip_local_port_range"))
        return;
    if (share_ports_collide(range, first, last))
        doctor_lacks(d, NEEDED, "source ports", doctor_line(d, "sudoedit %s  # data.source.port.first and last: outside of net.ipv4.ip_local_port_range", d->config),
                     "%u to %u are also the host's (%s)", first, last, range);
    else
        doctor_good(d, "source ports", "%u to %u are not the host's", first, last);
}

static void look_at_taken(struct doctor *d, const char *setting, uint16_t port)
{
    if (port == 0 || d->running != 0)
        return;
    if (machine_listens(&d->machine, port))
        doctor_harms(d, NEEDED, setting, doctor_line(d, "sudo ss -lntp sport = :%u  # who has it; or another port in %s", port, d->config), "somebody listens on port %u", port);
    else
        doctor_good(d, setting, "port %u is free", port);
}

static void look_at_taken_ports(struct doctor *d)
{
    const char *colon = strrchr(d->settings.control_address, ':');
    look_at_taken(d, "control.address", colon != NULL ? (uint16_t)atoi(colon + 1) : 0);
    if (d->settings.voter_count > 1 || d->settings.controller_listener[0] != 0)
        look_at_taken(d, "controller", d->settings.controller_port);
    for (unsigned i = 0; is_driver(d, "net_af_xdp") && i < d->settings.listener_count; i++)
        if (d->running == 0 && machine_listens(&d->machine, d->settings.listener[i].port))
            doctor_lacks(d, ADVICE, "listeners", "# move that service, or take another port",
                         "the kernel listens on port %u: it would answer the broker's clients while no broker runs", d->settings.listener[i].port);
}

/* ---- the others ----------------------------------------------------------------------------------------------------------- */

/* 0, or an errno. */
static int reach(const struct settings_voter *v)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *to = NULL;
    char port[8];
    struct pollfd p;
    int error = 0, fd;
    socklen_t len = sizeof(error);
    snprintf(port, sizeof(port), "%u", v->port);
    if (getaddrinfo(v->host, port, &hints, &to) != 0)
        return EADDRNOTAVAIL;
    fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS))
        error = errno;
    p = (struct pollfd){.fd = fd, .events = POLLOUT};
    if (error == 0 && poll(&p, 1, CONNECT_MS) != 1)
        error = ETIMEDOUT;
    else if (error == 0)
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(to);
    return error;
}

static void look_at_voters(struct doctor *d)
{
    if (d->settings.voter_count < 2 || !d->live)
        return;
    for (uint32_t i = 0; i < d->settings.voter_count; i++) {
        const struct settings_voter *v = &d->settings.voter[i];
        int error = v->id == d->settings.node_id ? 0 : reach(v);
        if (v->id == d->settings.node_id)
            continue;
        if (error == 0)
            doctor_good(d, "voter", "broker %d answers at %s port %u", (int)v->id, v->host, v->port);
        else if (error == ECONNREFUSED)
            doctor_good(d, "voter", "the host of broker %d (%s) is there; its broker is not, yet", (int)v->id, v->host);
        else
            doctor_lacks(d, ADVICE, "voter", doctor_line(d, "ping -c 3 %s  # and let TCP port %u through", v->host, v->port),
                         "broker %d is not to be reached at %s port %u: %s. A majority of the voters has to be", (int)v->id, v->host, v->port,
                         error == EADDRNOTAVAIL ? "no such name" : strerror(error));
    }
}

static void look_at_time(struct doctor *d)
{
    struct timex t = {0};
    if (!d->live || adjtimex(&t) < 0)
        return;
    if (t.status & STA_UNSYNC)
        doctor_lacks(d, ADVICE, "time", "sudo apt install chrony", "nothing keeps the clock right: timestamps and retention follow it");
    else
        doctor_good(d, "time", "the clock is kept right");
}

void doctor_look_at_network(struct doctor *d)
{
    if (d->configured) {
        look_at_address(d);
        look_at_source_ports(d);
        look_at_taken_ports(d);
        look_at_voters(d);
    }
    look_at_time(d);
}
