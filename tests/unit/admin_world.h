/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of Kafka's admin APIs stand on: control as it answers them, over a real cluster of three brokers: request bodies
 * in, bodies of answers out. What is around (the quorum, the cores, the clock) is this file's: results come at once or when the
 * test says so, the cluster is seen when the test says so.
 */
#ifndef TIDEMARK_TESTS_ADMIN_WORLD_H
#define TIDEMARK_TESTS_ADMIN_WORLD_H

#include "unit.h"

#include "control/admin.h"

enum { BROKERS = 3, HELD_MAX = 64 };

struct held {
    struct admin_ask *ask;
    uint32_t index;
    uint8_t *bytes;
    size_t len;
};

struct world {
    struct control c;
    struct tide_settings settings;
    uint64_t index;
    uint64_t now_ms;
    bool hold;         /* results come by deliver() */
    bool unseen;       /* not every core has the view */
    bool unpublished;  /* and it is not even there */
    int16_t fail_with; /* what the quorum says instead of a result */
    struct held held[HELD_MAX];
    unsigned held_count;
    unsigned commands;
    struct tide_mail *answered;
    unsigned answers;
    struct replica replica;
};
extern struct world w;

extern struct rte_mempool *pool;
extern struct tide_mail letter;
extern struct wire_writer question;
extern struct wire_cursor reply;
extern struct create_topics_response created;
extern struct create_topics_response_topic topic;

/* The oldest submission that is held is decided. */
void deliver(void);
void give(const struct cluster_command *m);
void fence(int32_t id, bool fenced);
void join(int32_t id);
int setup(void **state);
int teardown(void **state);
struct wire_writer *begin(int16_t key, int16_t v);
void send_it(void);
void tick(void);
/* The answer is there: its body stands in reply until done(). */
struct wire_cursor *answer(void);
void done(void);
struct wire_cursor *call(void);
void text_is(const struct wire_bytes *b, const char *want);
void put_topic(struct wire_writer *q, int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment,
                      const char *config, const char *value);
void end_topics(struct wire_writer *q, int16_t v, int32_t timeout_ms, bool validate_only);
void next_created(int16_t v, int16_t error);
int16_t create_one(int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment, const char *config,
                          const char *value, bool validate_only);
void make(const char *name, const char *assignment);

int open_world(void **state);
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
