/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structs of dataplane/broker, for its own files.
 */
#ifndef TIDEMARK_BROKER_INTERNAL_H
#define TIDEMARK_BROKER_INTERNAL_H

#include "broker/broker.h"
#include "broker/fetch_session.h"
#include "broker/work.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "kafka/wire.h"
#include "partition/check.h"
#include "partition/partition.h"
#include "tidemark/clock.h"

enum broker_limit {
    CHECKS_MAX = 64, /* compressed batches with helpers at a time */
    FRAME_SIZE_BYTES = 4,             /* in front of every request and response */
    SESSION_REQUESTS_MAX = 64,        /* in progress per connection; beyond it we stop reading */
    SESSION_OUT_BYTES_MAX = 1 << 20,  /* unsent response bytes; beyond it we stop executing */
    SESSION_DENSE_ABOVE = 64 * 1024,  /* a partial request above this leaves the receive buffers */
    REQUEST_PARTITIONS_MAX = 10000,   /* of one request; of topics, and of whatever else it lists, as many */
    TIMEOUT_MS_MAX = 24 * 3600 * 1000,
    GROUP_HALF_CLOSED_MS = 5000,      /* a question about a group outlives the end of its client's bytes by so much */
    EVICT_AFTER_MS = 1000,            /* a partial request without progress may be evicted */
};

/* ---- lists: intrusive, doubly linked, head is a node --------------------------------------- */
struct link {
    struct link *prev, *next;
};

static inline void link_init(struct link *l)
{
    l->prev = l->next = l;
}
static inline bool link_is_empty(const struct link *l)
{
    return l->next == l;
}
static inline bool link_is_listed(const struct link *l)
{
    return l->next != NULL && l->next != l;
}
static inline void link_append(struct link *list, struct link *l)
{
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
}
static inline void link_remove(struct link *l)
{
    if (l->next != NULL) {
        l->prev->next = l->next;
        l->next->prev = l->prev;
    }
    link_init(l);
}
/* Everything of `from` goes to the end of `list`. */
static inline void link_join(struct link *list, struct link *from)
{
    if (link_is_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    link_init(from);
}
#define LINK_OF(type, member, l) ((type *)((char *)(l)-offsetof(type, member)))

/* ---- requests ------------------------------------------------------------------------------ */
/*
 *   FREE -> OPEN -> DONE -> FREE
 *   OPEN: executed, its response not complete. DONE: the response may leave when it is its turn.
 */
enum request_state { REQUEST_FREE, REQUEST_OPEN, REQUEST_DONE, REQUEST_STATE_COUNT };

enum item_kind { ITEM_PRODUCE_TOPIC = 1, ITEM_PRODUCE, ITEM_FETCH_TOPIC, ITEM_FETCH, ITEM_LIST_TOPIC, ITEM_LIST,
                 ITEM_TRIM_TOPIC, ITEM_TRIM, ITEM_GROUP_CLIENT, ITEM_GROUP };

struct request {
    enum request_state state;
    uint32_t slot;       /* in broker->requests: names us in disk ids and job cookies */
    uint32_t generation; /* rises at each use */
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    const struct api_row *row;
    struct session *session; /* NULL when orphaned */
    struct link in_session;
    struct link in_retry; /* broker->retry: executed again */
    uint32_t heap_at;     /* place in the deadline heap + 1; 0 = none */
    uint64_t deadline_ns;
    uint64_t stamps[STAMP_COUNT]; /* stages.h; 0: not set */
    uint64_t arrived_ns; /* the last frame of the session's bytes when it was cut out of them (arrival.h) */
    uint32_t outstanding; /* letters, jobs and disk reads that will come back */
    bool silent;          /* no response is due (acks=0) */
    bool close_after;     /* close the connection when this one's turn comes */
    bool goes_on;         /* in broker->retry because it has done enough for one turn, not for want of anything */
    struct tide_rope frame;    /* a copy of the request, for control and for running it again */
    struct tide_rope response; /* whole frame, size included, once DONE */
    union {
        struct {
            int16_t acks;
            uint32_t waiting; /* entries without a final result */
            uint32_t topics;
            bool failed;      /* some entry failed (acks=0: close) */
            bool complete;    /* every entry is on its way */
            bool appended_here; /* some entry, without a letter */
            uint32_t slowest_slot; /* of the entry whose mark was reached last, and what it waited for, ... */
            int64_t slowest_end;   /* ... for traces; 0: nobody traced then */
        } produce;
        struct {
            int32_t min_bytes;
            int32_t max_bytes;
            uint32_t topics;
            uint32_t entries;
            bool laid_out;
            bool parked;
            bool read_committed;
            struct work_at at; /* next entry to read */
            struct fetch_entry *reading;
            uint64_t bytes;
            uint64_t available;
            bool reads_begun;
            int16_t error;
            bool incremental;      /* only what is news is answered */
            int32_t session_id;    /* 0: none */
            uint64_t session_stamp; /* which it has since this request was taken */
        } fetch;
        struct {
            uint32_t topics;
            uint32_t waiting;
            bool laid_out;
            bool read_committed;
        } list;
        struct {
            uint32_t topics;
            uint32_t waiting;
            bool complete; /* every entry is on its way */
        } trim;
        struct {
            bool laid_out;
            bool proceeding;  /* a call of ours is looking at it: what comes back is only noted */
            bool ended;       /* without a response */
            bool tagged;
            bool uncancelled; /* an orphan whose coordinators were not told for lack of letters */
            int16_t error;    /* of ListGroups */
            uint32_t count, asked, joined_count;
            uint32_t out;     /* letters */
            int32_t elements;
            struct work_at asked_at, joined_at;
            struct tide_rope questions; /* one behind the other */
            struct tide_rope joined;    /* answers, in order */
        } group;
        struct {
            bool rerun;
        } ask;
    };
    struct work work; /* last: the room in it is not zeroed */
};

/* A topic's name or id as the request gave it; its entries follow in the work. */
struct topic_item {
    struct work_item head;
    uint16_t name_len;
    uint32_t entries;
    uint32_t told; /* entries that the answer of a Fetch has */
    struct tide_uuid id;
    int16_t error; /* for every entry of it */
    bool by_id;
    char name[];
};

enum wait_for { WAIT_COUNTED_END, WAIT_HIGH_WATERMARK, WAIT_FETCH, WAIT_KIND_COUNT };

struct waiter {
    struct link in_slot;
    struct partition *partition;
    struct request *request;
    int64_t end;
    int32_t leader_epoch;
};

struct produce_entry {
    struct work_item head;
    int32_t index;
    struct tide_slice records; /* of the request, until it has been handled */
    int16_t error;
    bool done;
    bool appended;
    int32_t bad_record;
    const char *message;
    struct partition *target;
    int64_t base_offset;
    int64_t log_append_time_ms;
    int64_t log_start_offset;
    struct waiter waiter;
};

struct fetch_entry {
    struct work_item head;
    int32_t index;
    int32_t current_leader_epoch;
    int32_t last_fetched_epoch;
    int32_t max_bytes;
    int64_t offset;
    int16_t error;
    bool read_begun;
    bool read_done;
    bool reading;     /* a disk read is out */
    uint32_t available; /* bytes that the last look saw */
    int32_t leader_epoch; /* in which it looked */
    int64_t visible_end;
    int32_t diverging_epoch;
    int64_t diverging_end;
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start;
    int32_t preferred; /* the broker that the client shall read from; -1: here */
    bool told;         /* the answer has it */
    bool served;       /* with records */
    struct fetch_session_partition *remembered; /* while the session stands as it was taken; else NULL */
    struct partition *partition;
    struct waiter waiter;
    struct log_read read;
};

struct list_entry {
    struct work_item head;
    int32_t index;
    int16_t error;
    bool done;
    bool deferred;
    int32_t current_leader_epoch;
    int32_t leader_epoch;
    int64_t asked; /* timestamp, or a special value */
    int64_t offset;
    int64_t timestamp;
    struct request *request;
    struct partition *partition;
    struct log_lookup lookup;
};

struct trim_entry {
    struct work_item head;
    int32_t index;
    int16_t error;
    bool done;
    int64_t offset;
    int64_t low_watermark;
};

/* A response whose last byte has not gone to the port. The request is not kept for it. */
struct unsent {
    struct link in_list;
    uint64_t end; /* of `emitted` of its session */
    bool is_fetch;
    int16_t acks;
    uint32_t slot; /* of the slowest partition */
    int64_t slowest_end;
    uint64_t stamps[STAMP_COUNT];
};

/* ---- sessions ------------------------------------------------------------------------------ */
struct session {
    struct conn_user user; /* first: what the connection points to */
    struct broker *broker;
    void *transport;
    uint32_t listener;
    bool in_use;
    bool ended;      /* the peer will send nothing more */
    bool closing;    /* nothing more is read; close when the queue is empty and out is sent */
    bool aborted;
    bool authenticated;
    bool stalled;    /* the request at the front waits for a pool, */
    bool held;       /* ... or for its turn: too many are in progress, or too much is unsent */
    uint32_t request_count;
    uint32_t credit;
    uint32_t uncredited; /* received bytes whose window is still closed */
    uint64_t muted_until_ns;
    uint64_t arrived_ns;  /* the newest bytes */
    uint64_t progress_ns; /* last time bytes came in or a request was taken */
    struct tide_rope in;
    struct tide_rope out;
    struct link requests;
    struct link in_stalled; /* broker->stalled */
    struct link in_partial; /* broker->partial: holds bytes of an incomplete request, oldest first */
    struct link in_ready;   /* broker->ready: the core should look */
    struct link in_free;
    struct stage_arrivals arrivals;
    struct link unsent;     /* of struct unsent, in the order of `out` */
    struct link in_unsent;  /* broker->unsent or ->unsent_later */
    uint64_t emitted;       /* bytes that ever came to `out` */
    struct tide_addr address; /* of the client */
    char client_id[TIDE_CLIENT_ID_MAX];
};

/* ---- a slot's waiters on this core, and appends that wait for room at home ------------------ */
struct slot_waits {
    struct link lists[WAIT_KIND_COUNT];
    uint32_t uses;               /* letters, reads and jobs that name the partition */
    struct partition *partition; /* whose interest is set; NULL = none */
    struct tide_mail *parked_head, *parked_tail;
    struct link in_parked;       /* broker->parked or ->roused */
    bool dirty;                  /* in broker->dirty */
};

struct home_slot {
    struct partition *partition; /* adopted by this core */
    bool of_no_use;              /* as a follower: its leader wants what no leader may want */
    struct tide_mail *release;   /* the order that waits until nothing is in flight */
    bool failed_told;            /* control knows that its log failed */
};

struct broker {
    struct broker_config config;
    const struct tide_settings *settings;
    const struct tide_view *view; /* of this turn */
    const struct view_topic *topic; /* of the view of that version: the one that was named last, or NULL */
    uint64_t topic_version;
    struct tide_time time;
    bool receive_low;
    bool quiesced;
    struct tide_counters *counters;
    struct trace *trace; /* one that is off, when requests are not traced */

    struct request *requests;
    uint32_t *free_requests;
    uint32_t free_request_count;
    struct request **heap; /* deadlines, a binary heap */
    uint32_t heap_count;
    struct link retry;
    /* Who waits for a pool is looked at when something came back to one, and once a millisecond, since what other threads give
     * back nobody tells of. */
    bool room_came;
    uint64_t room_look_ns;

    struct session *sessions;
    struct link free_sessions;
    uint32_t session_count;
    struct link stalled;
    struct link partial;
    struct link ready;

    struct rte_mempool *mails;
    uint32_t mails_sure; /* at least so many are free: only mail_take takes of them */
    struct tide_mail *unsent_head[MAIL_PARTIES_MAX], *unsent_tail[MAIL_PARTIES_MAX];
    uint32_t unsent_count;

    struct slot_waits *waits; /* by slot */
    struct home_slot *home;   /* by slot */
    struct link parked;       /* slots with parked appends; those at whose log something happened, ... */
    struct link roused;       /* ... which are tried */
    uint64_t parked_look_ns;  /* some of the others as well: a lease ends without a sound */
    bool check_came;          /* one is free since somebody found none */
    struct peers *peers;
    struct fetch_sessions *fetch_sessions;
    struct coordinators *coordinators;
    struct link uncancelled;  /* orphans whose coordinators do not know yet */
    struct tide_mail *trims;  /* logs here whose start is on its way up */
    struct batch_check checks[CHECKS_MAX];
    uint32_t free_checks[CHECKS_MAX];
    uint32_t free_check_count;
    uint32_t *dirty;          /* slots whose partition has work */
    uint32_t dirty_count;
    uint32_t *homes;          /* slots that live here */
    uint32_t home_count;
    uint32_t sweep;
    uint64_t sweep_ns;
    uint32_t idle_at;      /* next session of the look for idle ones */
    uint64_t idle_look_ns;

    struct stages stages;
    uint64_t looked_ns;       /* the newest look at the clock */
    struct unsent *unsents;
    struct link free_unsent;
    struct link unsent;       /* sessions whose responses may have gone */
    struct link unsent_later; /* they are looked at in the next turn */
};

/* What is written while somebody traces. Off the road of all others, registers and stack included. */
#define TRACE_COLD __attribute__((cold, noinline))
TRACE_COLD void trace_message(struct broker *, enum trace_kind, uint32_t slot, int64_t end, int32_t broker); /* until now, to everything below `end` */
TRACE_COLD void trace_mark(struct broker *, struct partition *);
TRACE_COLD void trace_written(struct broker *, struct partition *);
TRACE_COLD void trace_request(struct broker *, int16_t acks, uint32_t slot, int64_t end, const uint64_t stamps[STAMP_COUNT], enum stage_stamp last);

/* Something went back to a pool. */
static inline void room_came(struct broker *b)
{
    b->room_came = true;
}

/* What time it is within the turn, for stamps. */
static inline uint64_t stage_now(struct broker *b)
{
    return b->looked_ns = tide_now_ns(&b->time);
}

/* ---- dispatch ------------------------------------------------------------------------------ */
enum resource { RESOURCE_NONE, RESOURCE_TOPIC, RESOURCE_CLUSTER, RESOURCE_GROUP };
enum operation { OP_NONE, OP_READ, OP_WRITE, OP_DESCRIBE, OP_CREATE, OP_DELETE, OP_ALTER, OP_DESCRIBE_CONFIGS, OP_ALTER_CONFIGS,
                 OP_IDEMPOTENT_WRITE };

/* One API. A handler validates and executes one request; `body` stands behind the header.
 *   TIDE_OK    taken: the request is OPEN or DONE
 *   TIDE_FULL  nothing happened; run it again when there is room
 *   TIDE_BAD   malformed: the connection is closed */
struct api_row {
    int16_t key;
    int16_t advertised_min; /* what ApiVersions says */
    int16_t min;            /* what we serve */
    int16_t max;
    int16_t flexible;       /* first flexible version, INT16_MAX none */
    bool before_authentication;
    enum resource resource;
    enum operation operation;
    enum tide_status (*handle)(struct broker *, struct request *, struct wire_cursor *body,
                               const struct tide_slice *frame, struct tide_out *);
    const char *name;
};
const struct api_row *api_row(int16_t key);
extern const struct api_row api_rows[];
extern const unsigned api_row_count;

/* Executes the frame (without its size) for the session. Status as of a handler. */
enum tide_status dispatch(struct session *, const struct tide_slice *frame, struct tide_out *);
/* Runs the saved frame of an open request again (after control changed the cluster). */
enum tide_status dispatch_again(struct request *, struct tide_out *);

/* The two calls that every request passes; without an authorizer and quotas all is allowed. */
bool authorize(const struct session *, enum resource, enum operation, const char *name, uint32_t len);
void charge(struct session *, uint32_t bytes);

/* ---- requests ------------------------------------------------------------------------------ */
struct request *request_take(struct broker *, struct session *);
void request_give(struct broker *, struct request *);
/* The response is complete (or none is due). */
void request_done(struct broker *, struct request *);
void request_set_deadline(struct broker *, struct request *, uint64_t deadline_ns);
/* Something that was out came back; frees an orphan when it was the last. False: it was freed. */
bool request_came_back(struct broker *, struct request *);
void request_retry(struct broker *, struct request *);
/* Starts the response frame: size, header. */
void response_begin(struct broker *, struct request *, struct wire_writer *);
/* Patches the size and stores the rope. The response pool was empty, and nothing is kept: TIDE_FULL, another time; TIDE_BAD
 * when what was written is longer than response_bytes_max(), as it never would fit. */
enum tide_status response_end(struct request *, struct wire_writer *);
uint32_t response_bytes_max(struct rte_mempool *); /* a quarter of the pool */
/* Into blocks of request memory; false, and nothing is kept: there is none. */
bool copy_densely(struct broker *, struct tide_slice, struct tide_rope *ret);
/* Keeps a dense copy of the frame in the request. */
enum tide_status request_keep_frame(struct broker *, struct request *, const struct tide_slice *frame);
/* Sends the request to control; TIDE_FULL leaves nothing behind. */
enum tide_status request_ask(struct broker *, struct request *, const struct tide_slice *frame,
                             const struct wire_cursor *body);

void session_run(struct session *, struct tide_out *);
void session_emit(struct session *);
static inline void session_ready(struct session *s)
{
    if (!link_is_listed(&s->in_ready))
        link_append(&s->broker->ready, &s->in_ready);
}
/* Nothing is answered any more; the connection is reset. */
void session_abort(struct session *);

/* ---- waiting ------------------------------------------------------------------------------- */
void wait_add(struct broker *, struct waiter *, enum wait_for, struct partition *);
void wait_remove(struct broker *, struct waiter *);
/* Keeps the partition from being destroyed while a letter, a disk read or a job names it. */
void slot_use(struct broker *, struct partition *);
void slot_unuse(struct broker *, struct partition *);
/* A read of a partition that is led here met a batch that is not what was written: control is told. */
void rot_found(struct broker *, struct partition *, int64_t offset);
/* [home] The letter's append waits for room, behind those that wait already. */
void append_park(struct broker *, struct tide_mail *, struct tide_out *);
/* [home] What an append came to, counted at home. */
void count_append(struct broker *, uint32_t bytes, const struct partition_appended *);
void slot_dirty(struct broker *, uint32_t slot);
/* Rings every core that waits for the partition, ourselves included. */
void home_moved(struct broker *, struct partition *, struct tide_out *);

void mail_out(struct broker *, uint32_t to, struct tide_mail *);
struct tide_mail *mail_take(struct broker *, enum mail_kind);
/* Would so many be there? */
bool mails_suffice(struct broker *, uint32_t count);
static inline void mail_give(struct tide_mail *m)
{
    rte_mempool_put(m->pool, m);
}

/* ---- handlers and what comes back to them --------------------------------------------------- */
enum tide_status produce_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
void produce_on_appended(struct broker *, struct request *, struct produce_entry *, const struct partition_appended *);
void produce_on_mark(struct broker *, struct waiter *, const struct partition_look *, enum wait_for);
void produce_on_deadline(struct broker *, struct request *);
void produce_try_respond(struct broker *, struct request *);
void produce_from_mail(const struct mail_append *, struct partition_appended *ret);
void produce_to_mail(const struct partition_appended *, struct mail_append *);

bool fetch_create(struct broker *); /* [start] */
enum tide_status fetch_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
void fetch_on_mark(struct broker *, struct waiter *, struct tide_out *);
void fetch_on_deadline(struct broker *, struct request *, struct tide_out *);
void fetch_on_disk(struct broker *, struct request *, const struct disk_done *, struct tide_out *);
void fetch_continue(struct broker *, struct request *, struct tide_out *);
void fetch_abandon(struct broker *, struct request *);

enum tide_status list_offsets_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
void list_offsets_on_job(struct broker *, struct request *, struct list_entry *);
enum tide_status delete_records_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
void delete_records_on_answer(struct broker *, struct tide_mail *);
void delete_records_on_deadline(struct broker *, struct request *);
void trim_begin(struct broker *, struct tide_mail *, struct tide_out *); /* at home */
unsigned trim_retry(struct broker *, struct tide_out *);
void list_offsets_respond(struct broker *, struct request *);

enum tide_status api_versions_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
enum tide_status api_versions_unsupported(struct broker *, struct request *);
enum tide_status metadata_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
/* The end of an ApiVersions answer: the features of this release and of the cluster. */
void api_versions_put_features(struct wire_writer *, const struct tide_view *, int16_t version);
/* The body of a Metadata answer, as the view says it to who came in by this listener. */
void metadata_write(const struct tide_view *, uint32_t listener, int16_t version, const struct metadata_request *, struct wire_writer *);
enum tide_status find_coordinator_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
enum tide_status groups_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
/* Its session is gone; it may be given back by this. */
void groups_api_cancel(struct broker *, struct request *);
/* Its client will send nothing more. */
void groups_api_on_end(struct broker *, struct request *);
void groups_api_on_deadline(struct request *);
/* What it holds goes back. */
void groups_api_forget(struct request *);
enum tide_status offset_for_leader_epoch_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
enum tide_status describe_cluster_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);
enum tide_status ask_handle(struct broker *, struct request *, struct wire_cursor *, const struct tide_slice *, struct tide_out *);

/* May we speak for what we lead, or follow in sync (design 9)? */
bool has_lease(const struct broker *);
/* The (topic, partition) of a request: 0 and *ret, or the Kafka error. */
int16_t find_partition(struct broker *, const struct topic_item *, int32_t index, const struct view_partition **ret);
/* May our replica answer a client that takes `epoch` for the current one (-1: it does not say)? 0, or the error; in Kafka's order, which
 * tells of epochs before it tells who leads (KIP-320). `at_followers`: it may follow (KIP-392). */
int16_t judge_reader(const struct broker *, const struct view_partition *, int32_t epoch, bool at_followers, struct partition_look *ret);
/* Where a (topic, partition) of a request stands: 0 and *ret_vp when we lead it, or the Kafka error. */
int16_t route(struct broker *, const struct topic_item *, int32_t index, const struct view_partition **ret_vp);
/* The same of a topic that was looked up. */
int16_t route_within(const struct broker *, const struct topic_item *, const struct view_topic *, int32_t index, const struct view_partition **ret_vp);
/* Reads a topic name into an item; TIDE_FULL without memory. Names over the limit get error 17... */
struct topic_item *topic_item_add(struct broker *, struct request *, uint16_t kind, const struct wire_bytes *name, const struct tide_uuid *id);
struct topic_item *topic_item_add_key(struct broker *, struct request *, uint16_t kind, const struct fetch_topic_key *);
const struct view_topic *topic_of(struct broker *, const struct topic_item *);

/* KIP-951: a response that says NOT_LEADER_OR_FOLLOWER says who leads and where that is, where its version has room. */
enum { NEW_LEADERS_MAX = 8 }; /* whose addresses one response names; clients ask for those of others */
struct new_leaders {
    uint32_t count;
    int32_t ids[NEW_LEADERS_MAX];
};
/* Who leads instead of us, as the view says; false: nobody that it knows. It is noted for put_new_leaders(). */
bool find_new_leader(struct broker *, const struct topic_item *, int32_t index, struct new_leaders *, int32_t *ret_id, int32_t *ret_epoch);
/* The end of a response, with no tagged field but the addresses of these, for who came in by the request's listener. */
void put_new_leaders(struct broker *, const struct request *, const struct new_leaders *, struct wire_writer *);

#endif
