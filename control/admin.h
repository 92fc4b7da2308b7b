/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions of the cores to control: the admin APIs of Kafka, producer ids, topics that Metadata
 * creates. The body of the request stays with its core until the answer; what is needed longer
 * than admin_api.begin() is copied into the ask's state.
 *
 *   BEGINNING   the request is read, its changes are submitted one by one
 *   COMMITTING  the cluster has not decided all of them
 *   SHOWING     decided, and something changed: until every core serves and sees it
 *   ANSWERED    the letter is back; the ask stays while results are due, which change nothing any more
 *
 *   BEGINNING -> COMMITTING | SHOWING | ANSWERED    admin_on_ask
 *   COMMITTING -> SHOWING | ANSWERED                admin_on_result, admin_tick at the deadline
 *   SHOWING -> ANSWERED                             admin_tick
 *
 * An ask with several topics is several commands: each succeeds or fails alone. At the deadline
 * that the request gave, whatever is not decided and seen is answered REQUEST_TIMED_OUT; it may
 * still happen.
 *
 * Owner: the control thread.
 *
 * Invariants (admin_check):
 *   A1  an ask that is ANSWERED has no letter, every other one has its letter.
 *   A2  an ask that is COMMITTING waits for at least one result, one that is SHOWING for none.
 */
#ifndef TIDEMARK_CONTROL_ADMIN_H
#define TIDEMARK_CONTROL_ADMIN_H

#include "control/internal.h"
#include "kafka/messages.h"
#include "settings/settings.h"

enum admin_limit {
    ADMIN_ITEMS_MAX = 10000,       /* topics, partitions or resources of one request, lists within them included */
    ADMIN_TIMEOUT_MS = 10000,      /* of a request that names none */
    ADMIN_TIMEOUT_MS_MAX = 600000, /* and of one that names more */
};

/* Operations that whoever may do all may do on a topic, as bits of their numbers: read 3, write 4, create 5, delete 6,
 * alter 7, describe 8, describe configs 10, alter configs 11. */
enum { ADMIN_TOPIC_OPERATIONS = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11 };

enum ask_state { ASK_BEGINNING, ASK_COMMITTING, ASK_SHOWING, ASK_ANSWERED, ASK_STATE_COUNT };

struct admin_ask;

/* One API. Handlers of a family share the ask's `state`. */
struct admin_api {
    int16_t key;
    /* Reads the request and submits its changes. False: malformed, or no memory; nothing was submitted. */
    bool (*begin)(struct admin_ask *, struct wire_cursor *body);
    /* The result of what was submitted under `index`. NULL: nothing is submitted. */
    void (*on_result)(struct admin_ask *, uint32_t index, const struct cluster_result *);
    /* The body of the answer; NULL: the core runs the request again. */
    void (*write)(struct admin_ask *, struct wire_writer *);
    /* Frees the state. NULL: it has no more than one block, or none. */
    void (*forget)(struct admin_ask *);
};

struct admin_ask {
    struct admin_ask *next;
    struct control *control;
    const struct admin_api *api;
    struct tide_mail *mail;
    enum ask_state state;
    int16_t v;             /* version of the API */
    bool changed;          /* the answer waits until the cluster is seen */
    bool late;             /* the deadline has passed: what is good so far is REQUEST_TIMED_OUT */
    uint32_t waiting;      /* results that are due, and one while BEGINNING */
    uint64_t deadline_ms;
    uint64_t token;        /* grace period of SHOWING, 0: it has not begun */
    struct admin_ask *next_waiting; /* for a block of producer ids */
    void *data;            /* the family's */
};

/* What one item of an answer says. The message is on the heap. */
struct admin_verdict {
    int16_t error;
    bool undecided; /* its command is out */
    bool applied;   /* it changed the cluster */
    char *message;
};

/* The first error stays. message: copied, NULL none. */
void admin_refuse(struct admin_verdict *, int16_t error, const char *message);
/* This one whatever was said before. */
void admin_overrule(struct admin_verdict *, int16_t error, const char *message);
/* As a command of one item was refused: by the whole, or by its item. */
void admin_refuse_by(struct admin_verdict *, const struct cluster_result *);
/* The result of its command, which has one item or none that matters. changes: it was not only asked whether it could be. */
void admin_decide(struct admin_ask *, struct admin_verdict *, const struct cluster_result *, bool changes);
void admin_verdict_free(struct admin_verdict *);
/* The error to be written now. */
int16_t admin_error(const struct admin_ask *, const struct admin_verdict *);
const char *admin_message(const struct admin_ask *, const struct admin_verdict *);

/* Submits; the result may come before this returns. */
void admin_submit(struct admin_ask *, const struct cluster_command *, uint32_t index, struct admin_verdict *);
/* What the ask waited for without admin_submit() is there. */
void admin_came_back(struct admin_ask *);
/* As the request's timeout_ms says, from now on. */
void admin_set_timeout(struct admin_ask *, int32_t timeout_ms);
/* Copies a topic's name; false: longer than any topic's, or with a zero inside. */
bool admin_topic_name(const struct wire_bytes *, char ret_name[TIDE_TOPIC_NAME_MAX + 1]);
/* Another item with `count` (-1: null) things in a list of its own. False: more than is looked at for one request. */
static inline bool admin_has_room(uint32_t *items, int32_t count)
{
    *items += 1 + (uint32_t)TIDE_MIN(TIDE_MAX(count, 0), (int32_t)ADMIN_ITEMS_MAX);
    return *items <= ADMIN_ITEMS_MAX;
}
/* False: more brokers than a partition can have. */
bool admin_read_ids(struct wire_list ids, struct cluster_assignment *ret);
static inline bool admin_is_internal(const char *topic)
{
    return strcmp(topic, TIDE_OFFSETS_TOPIC) == 0 || strcmp(topic, TIDE_TRANSACTIONS_TOPIC) == 0;
}

/* An answer from the state that must not be older than the question: begin, on_result and forget of such an API; its
 * data is a struct admin_verdict. */
bool admin_begin_fresh(struct admin_ask *);
void admin_on_fresh(struct admin_ask *, uint32_t index, const struct cluster_result *);
void admin_forget_fresh(struct admin_ask *);

/* Where the value of a setting comes from: the first is the one that counts; there may be none. */
struct admin_origin {
    int8_t source; /* Kafka's number: 1 topic, 2 this broker, 3 all brokers, 4 file, 5 table */
    const char *name;
    char value[SETTING_TEXT_MAX];
};
struct admin_origins {
    uint32_t count;
    struct admin_origin each[5];
};
struct admin_own {
    const struct cluster_config *configs;
    uint32_t count;
};
/* own: the settings of a topic, NULL for a broker. */
void admin_origins(const struct control *, const struct setting_row *, const struct admin_own *own, struct admin_origins *ret);

static inline uint32_t admin_text_len(const char *text)
{
    return text != NULL ? (uint32_t)strlen(text) : 0;
}

/* ---- the families */
extern const struct admin_api admin_create_topics, admin_delete_topics, admin_metadata, admin_find_coordinator; /* admin_topics.c */
extern const struct admin_api admin_create_partitions, admin_elect_leaders, admin_alter_reassignments, admin_list_reassignments,
    admin_describe_topic_partitions;                                                                             /* admin_partitions.c */
extern const struct admin_api admin_describe_configs, admin_incremental_alter_configs, admin_alter_configs;      /* admin_configs.c */
extern const struct admin_api admin_init_producer_id, admin_describe_quorum, admin_update_features, admin_describe_log_dirs; /* admin_cluster.c */

void admin_check(const struct control *);

#endif
