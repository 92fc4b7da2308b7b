/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /metrics in Prometheus' text format, /healthz as a line of text. Both read published words only.
 */
#ifndef TIDEMARK_CONTROL_DAEMON_METRICS_H
#define TIDEMARK_CONTROL_DAEMON_METRICS_H

/* For http_start: *ret_text is allocated with malloc and becomes the caller's. HTTP status, or
 * 500 without memory. `arg` is the struct world. [control] */
int metrics_render(void *arg, char **ret_text);
int health_render(void *arg, char **ret_text);

#endif
