/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"topic", tool_topic, "create, list, describe, alter or delete topics"},
    {"group", tool_group, "list, describe or delete consumer groups, or set where they go on"},
    {"config", tool_config, "describe or alter the settings of a topic or a broker"},
    {"cluster", tool_cluster, "the brokers of a cluster and the voters among them; drain one"},
    {"log", tool_log, "dump or verify a segment file"},
    {"capture", tool_capture, "frames of a broker's data ports, for Wireshark"},
    {"conns", tool_conns, "the connections of a broker"},
    {"top", tool_top, "what a broker is doing: rates, stages, replicas in sync, turns, pools"},
    {"trace", tool_trace, "the slow requests to a topic, each with its timeline"},
    {"doctor", tool_doctor, "what this machine lacks, and what to do about it"},
};

static int usage(FILE *f, int status)
{
    fputs("tidemark: the command-line tool of the Tidemark broker\n\n", f);
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(f, "  tidemark %-8s %s\n", commands[i].name, commands[i].about);
    fputs("\n`tidemark COMMAND --help` tells more.\n", f);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return usage(stdout, 0);
    if (strcmp(argv[1], "--version") == 0) {
        puts("tidemark " TIDEMARK_VERSION);
        return 0;
    }
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "tidemark: no command '%s'\n", argv[1]);
    return usage(stderr, 2);
}
