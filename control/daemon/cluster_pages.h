/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as this broker knows it, and changes of its quorum, over HTTP on the management network: what
 * `tidemark cluster` reads and asks for. The argument is the struct world.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_CLUSTER_PAGES_H
#define TIDEMARK_CONTROL_DAEMON_CLUSTER_PAGES_H

struct http_query;

int cluster_render(void *arg, char **ret_text);
/* ?add=ID&address=HOST:PORT or ?remove=ID, at the controller. */
int voters_act(void *arg, const struct http_query *, char **ret_text);
/* ?set=NAME&value=VALUE or ?delete=NAME: a setting of all brokers. */
int config_act(void *arg, const struct http_query *, char **ret_text);
/* This broker gives its leaderships away and stops. */
int drain_act(void *arg, const struct http_query *, char **ret_text);

#endif
