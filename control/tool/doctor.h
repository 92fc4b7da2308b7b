/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the looks of `tidemark doctor` share. A look reads the machine and leaves findings, in the order in which one would
 * mend them; none changes anything.
 */
#ifndef TIDEMARK_CONTROL_TOOL_DOCTOR_H
#define TIDEMARK_CONTROL_TOOL_DOCTOR_H

#include <stdbool.h>

#include "nic/port_caps.h"
#include "tidemark/settings.h"
#include "tidemark/types.h"
#include "tool/machine.h"

enum verdict { GOOD, MISSING, HARMFUL };
/* Without what is needed no broker starts; the rest makes it faster, or safer. */
enum need { NEEDED, ADVICE };

enum { FINDINGS_MAX = 160, DOCTOR_TEXT = 480, DOCTOR_LINES = 8 };

struct finding {
    enum verdict verdict;
    enum need need;
    char item[32];
    char found[DOCTOR_TEXT];
    char mend[DOCTOR_TEXT]; /* the line to type, or what to do behind a '#'; "": nothing */
};

struct doctor {
    struct machine machine;
    bool live;              /* this very machine: system calls tell of it, too */
    const char *config;     /* the settings file */
    bool configured;        /* it was read; otherwise settings are the defaults */
    struct tide_settings settings;
    struct port_device ports[TIDE_PORTS_MAX];
    unsigned port_count;
    bool pci;               /* one of them is given to us whole */
    cpu_set_t cores;        /* data.cores */
    int node;               /* of the ports; -1: not known */
    bool has_user;          /* tidemark, for the service */
    bool has_unit;          /* that starts it */
    int running;            /* process id of a broker that runs already, 0 */
    unsigned count;
    struct finding findings[FINDINGS_MAX];
    char lines[DOCTOR_LINES][DOCTOR_TEXT];
    unsigned next_line;
};

#define DOCTOR_SAYS(at) __attribute__((format(printf, at, at + 1)))
void doctor_good(struct doctor *, const char *item, const char *format, ...) DOCTOR_SAYS(3);
void doctor_lacks(struct doctor *, enum need, const char *item, const char *mend, const char *format, ...) DOCTOR_SAYS(5);
void doctor_harms(struct doctor *, enum need, const char *item, const char *mend, const char *format, ...) DOCTOR_SAYS(5);
/* A text for one of the above; good until DOCTOR_LINES more were made. */
const char *doctor_line(struct doctor *, const char *format, ...) DOCTOR_SAYS(2);
/* How a directory is made, for the user that the broker will run as. */
const char *doctor_make_dir(struct doctor *, const char *dir);
/* How host-setup.sh is called here. */
const char *doctor_host_setup(struct doctor *, const char *options);

/* doctor_system.c */
void doctor_look_at_system(struct doctor *);  /* kernel, io_uring */
void doctor_look_at_limits(struct doctor *);  /* capabilities, memlock, files */
void doctor_look_at_memory(struct doctor *);  /* hugepages, swap, merging */
/* doctor_disk.c */
void doctor_look_at_disks(struct doctor *);
/* doctor_port.c */
void doctor_look_at_ports(struct doctor *);
/* A settings file for this machine. False: there is no NIC that it could give away. */
bool doctor_suggest(struct doctor *, FILE *);
/* doctor_net.c */
void doctor_look_at_network(struct doctor *); /* addresses, ports in use, voters, time */
/* doctor_cores.c */
void doctor_look_at_cores(struct doctor *);

#endif
