/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `tidemark`. Each gets its own argv (argv[0] is its name) and returns the exit
 * status of the process: 0 good, 1 it did not work, 2 wrong use.
 */
#ifndef TIDEMARK_CONTROL_TOOL_TOOL_H
#define TIDEMARK_CONTROL_TOOL_TOOL_H

int tool_topic(int argc, char **argv);
int tool_group(int argc, char **argv);
int tool_config(int argc, char **argv);
int tool_cluster(int argc, char **argv);
int tool_capture(int argc, char **argv);
int tool_conns(int argc, char **argv);
int tool_top(int argc, char **argv);
int tool_trace(int argc, char **argv);
int tool_log(int argc, char **argv);
int tool_doctor(int argc, char **argv);

#endif
