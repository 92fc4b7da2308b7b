/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells of a machine in files: /sys, /proc, /etc. Below a root of its own it is a described machine, and
 * nothing else is asked; so what is concluded can be tested without the hardware.
 */
#ifndef TIDEMARK_CONTROL_TOOL_MACHINE_H
#define TIDEMARK_CONTROL_TOOL_MACHINE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MACHINE_NAME = 64, MACHINE_PATH = 1024 };

struct machine {
    const char *root; /* "": this one */
};

/* The rest of the arguments name a file, from / on. */
#define MACHINE_FILE(at) __attribute__((format(printf, at, at + 1)))
bool machine_has(const struct machine *, const char *format, ...) MACHINE_FILE(2);
/* Its first line without the end of line; false, and "", when it cannot be read. */
bool machine_line(const struct machine *, char *ret, size_t size, const char *format, ...) MACHINE_FILE(4);
long machine_number(const struct machine *, long otherwise, const char *format, ...) MACHINE_FILE(3);
/* The last part of what a link points to. */
bool machine_link(const struct machine *, char *ret, size_t size, const char *format, ...) MACHINE_FILE(4);
FILE *machine_open(const struct machine *, const char *format, ...) MACHINE_FILE(2);
/* Names in a directory, in order, without those that begin with a dot. */
unsigned machine_names(const struct machine *, char (*ret)[MACHINE_NAME], unsigned max, const char *format, ...) MACHINE_FILE(4);

/* "0-3,8". False: it is not a list of CPUs. */
bool cpus_parse(const char *text, cpu_set_t *ret);
void cpus_text(const cpu_set_t *, char *ret, size_t size);

/* ---- networks, in host byte order ---- */

bool machine_has_default_route(const struct machine *, const char *interface);
/* Does the kernel answer for that IPv4 address? */
bool machine_is_local(const struct machine *, uint32_t address);
/* An address of the interface with its prefix length; false: it has none. */
bool machine_address(const struct machine *, const char *interface, uint32_t *ret_address, unsigned *ret_prefix);
/* Does somebody listen on that TCP port, on whatever address? */
bool machine_listens(const struct machine *, uint16_t port);
/* The process of that name on this network, 0: none. */
int machine_process(const struct machine *, const char *name);

/* Where a path lives. */
struct mount {
    char type[MACHINE_NAME];
    char device[MACHINE_NAME]; /* MAJOR:MINOR */
    char source[256];
};
bool machine_mount(const struct machine *, const char *path, struct mount *ret);

#endif
