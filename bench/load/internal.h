/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a worker tell one another: worker.c (connections, life), control.c, produce.c, consume.c. */
#ifndef TIDEMARK_BENCH_LOAD_INTERNAL_H
#define TIDEMARK_BENCH_LOAD_INTERNAL_H

#include "bench/load/worker.h"

#define worker_call(w, verb, ...) ((w)->transport->ops->verb((w)->transport __VA_OPT__(,) __VA_ARGS__))

/* worker.c */
void worker_client_move(struct load_client *, enum client_state to);
void worker_client_lost(struct load_worker *, struct load_client *);
void worker_malformed(struct load_worker *, struct load_client *);
/* Before the start: ends the run with these words. */
void worker_setup_failed(struct load_worker *, const char *what, const char *why);
bool worker_knows(struct load_worker *, int16_t api);
void worker_ask_begin(struct load_worker *, struct load_client *, struct wire_writer *, int16_t api);
/* False: no memory; it is tried again by the sweep. */
bool worker_ask_end(struct load_worker *, struct load_client *, struct wire_writer *);
void worker_count_error(struct load_worker *, int16_t code);
bool worker_leader_is_elsewhere(int16_t error);
struct load_interval *worker_interval_now(struct load_worker *);
bool worker_is_measured(const struct load_worker *, uint64_t intended_ns);

/* control.c */
void worker_control_ask(struct load_worker *, struct load_client *);
void worker_on_control(struct load_worker *, struct load_client *, struct wire_cursor *);
void worker_ask_producer_id(struct load_worker *, struct load_client *);
void worker_ask_offset(struct load_worker *, struct load_client *);
void worker_on_asked(struct load_worker *, struct load_client *, struct wire_cursor *);
/* NULL: not known. */
const struct load_address *worker_address_of_leader(const struct load_worker *, uint32_t partition, int32_t *ret_leader);
const struct load_address *worker_address_for_control(struct load_worker *);

/* produce.c */
void worker_admit(struct load_worker *);
/* What was due until now and is not admitted never will be. */
void worker_admit_nothing(struct load_worker *);
void worker_pump(struct load_worker *, struct load_client *);
void worker_on_produced(struct load_worker *, struct load_client *, struct wire_cursor *);
/* All of the queue is to be sent again. */
void worker_wait_again(struct load_worker *, struct load_client *, struct load_queue *);
void worker_request_free(struct load_worker *, struct load_request *);
uint64_t worker_missing(const struct load_worker *);
void worker_give_up(struct load_worker *, const struct load_queue *);

/* consume.c */
void worker_ask_fetch(struct load_worker *, struct load_client *);
void worker_on_fetched(struct load_worker *, struct load_client *, struct wire_cursor *);

#endif
