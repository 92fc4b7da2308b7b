/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics in Prometheus' text format, /healthz as a line of text: both read published words only.
 * /conns is a table of the connections as the cores listed them last.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_METRICS_H
#define TIDEMARK_CONTROL_DAEMON_METRICS_H

/* For http_start: *ret_text is allocated with malloc and becomes the caller's. HTTP status, or
 * 500 without memory. `arg` is the struct world. [control] */
int metrics_render(void *arg, char **ret_text);
int health_render(void *arg, char **ret_text);
int conns_render(void *arg, char **ret_text); /* 503 when a core has not answered */

#endif
