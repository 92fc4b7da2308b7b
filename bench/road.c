/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The road of a record over a simulated wire and disk, for counting what it takes. bench/road.py runs it under callgrind.
 *
 *   bench_road SCENARIO [WARM COUNT]       lines `name number` of COUNT rounds, after WARM others
 *   bench_road                             the names of the scenarios
 *
 * Brokers are whole data planes of one core (tests/sim/sim_machine), with a control that has nothing to decide. Clients send
 * a request each, all at once, and the next round begins when all are answered. Everything is in virtual time and without
 * chance, so every run counts the same.
 *
 * What a core does in the rounds that count happens in road_leader and road_follower, and nothing else does: these are the functions that
 * callgrind is told to collect in. (It is told to look at nothing before, which only saves time.) A turn is taken when there is a cause
 * for it. The port and the disk are not in it.
 *
 * bench_road_copies is the same with every call of memcpy and memmove counted: what our own code copies, of lengths that the
 * compiler does not know. Copies of a few bytes that it makes itself are not among them, nor are those of the simulated wire and disk.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#ifdef ROAD_CALLGRIND
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#endif

#include "../tests/sim/sim_machine.h"
#include "../tests/sim/sim_wire.h"
#include "../tests/unit/unit.h"
#include "kafka/batch.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "settings/settings.h"
#include "tidemark/bytes.h"

enum {
    CLIENTS_MAX = 16,
    PRODUCE_VERSION = 9,
    FETCH_VERSION = 12,
    BATCH_MAX = 65536,
    PRODUCER_ID = 7,
    LETTERS = 8,
    QUIET_MS = 2,       /* after which nothing is under way */
    PATIENCE_MS = 1000, /* for an answer */
    TAIL_BUFFER = 262144, EXTENT = 4 << 20, /* the defaults */
    CACHE = 32,         /* of a pool */
    SLOT = 1,           /* of the partition */
};
#define WALL_BEGIN_MS INT64_C(1700000000000)

enum kind { PRODUCE, FETCH, TAIL, IDLE };

struct scenario {
    const char *name;
    enum kind kind;
    unsigned brokers, clients;
    int16_t acks;
    bool memory;         /* ack.durability */
    bool traced;         /* the topic, and every request is slow enough */
    uint32_t batch;      /* bytes of one */
    uint32_t fetch;      /* partition.max.bytes */
    unsigned warm, count;
};

static const struct scenario scenarios[] = {
    {.name = "produce-acks-1", .kind = PRODUCE, .brokers = 1, .clients = 1, .acks = 1, .batch = 1024, .warm = 64, .count = 256},
    {.name = "produce-acks-1-memory", .kind = PRODUCE, .brokers = 1, .clients = 1, .acks = 1, .memory = true, .batch = 1024, .warm = 64, .count = 256},
    {.name = "produce-acks-1-clients-16", .kind = PRODUCE, .brokers = 1, .clients = 16, .acks = 1, .batch = 1024, .warm = 16, .count = 64},
    {.name = "produce-acks-all", .kind = PRODUCE, .brokers = 3, .clients = 1, .acks = -1, .batch = 1024, .warm = 64, .count = 256},
    {.name = "produce-acks-all-clients-16", .kind = PRODUCE, .brokers = 3, .clients = 16, .acks = -1, .batch = 1024, .warm = 16, .count = 64},
    {.name = "produce-acks-1-traced", .kind = PRODUCE, .brokers = 1, .clients = 1, .acks = 1, .traced = true, .batch = 1024, .warm = 64, .count = 256},
    {.name = "produce-acks-all-traced", .kind = PRODUCE, .brokers = 3, .clients = 1, .acks = -1, .traced = true, .batch = 1024, .warm = 64, .count = 256},
    {.name = "produce-16-KiB", .kind = PRODUCE, .brokers = 1, .clients = 1, .acks = 1, .batch = 16384, .warm = 16, .count = 64},
    {.name = "fetch", .kind = FETCH, .brokers = 1, .clients = 1, .acks = 1, .batch = 1024, .fetch = 1, .warm = 64, .count = 128},
    {.name = "fetch-16-KiB", .kind = FETCH, .brokers = 1, .clients = 1, .acks = 1, .batch = 16384, .fetch = 1, .warm = 16, .count = 48},
    {.name = "produce-and-long-poll", .kind = TAIL, .brokers = 1, .clients = 2, .acks = 1, .batch = 1024, .fetch = 65536, .warm = 64, .count = 256},
    {.name = "idle-turn", .kind = IDLE, .brokers = 1, .clients = 1, .acks = 1, .batch = 1024, .warm = 64, .count = 256},
};

/* What the cores of one kind were given and gave. */
struct counted {
    uint64_t turns, frames_in, frames_out, writes;
    uint64_t copies, copied;
};

struct world;

struct client {
    struct tcp_conn *conn;
    struct tide_rope in;
    bool connected, fetches;
    int32_t asked, answered; /* requests */
    int64_t offset;          /* the next one, of a consumer */
};

struct machine {
    struct world *world;
    struct sim_machine data;
    struct trace trace;
    struct partition *partition;
    bool adopted;
    struct tide_mail adopt, become;
};

struct image {
    struct tide_view view;
    struct view_broker brokers[SIM_BROKERS_MAX];
    struct view_topic topic;
    struct view_partition partition;
    uint32_t by_name[16], by_id[16];
};

struct world {
    const struct scenario *scenario;
    uint64_t now_ns;
    struct tide_random random;
    struct sim_wire wire;
    struct sim_pools pools;
    struct rte_mempool *received; /* what a card puts frames into */
    struct tide_settings settings;
    struct tide_topic_config topic;
    struct machine machines[SIM_BROKERS_MAX];
    struct image images[SIM_BROKERS_MAX];
    int32_t replicas[SIM_BROKERS_MAX];
    struct net net;
    struct tide_counters counters;
    struct tcp_stack *stack;
    struct client clients[CLIENTS_MAX];
    int32_t sequence;
    uint64_t requests, bytes; /* answered in rounds that count; of batches, produced or read */
};

static bool counting;
static struct counted leader, follower;
static struct counted *copying; /* whose turn it is; NULL: nobody's that counts */

_Noreturn static void wrong(const char *what)
{
    fprintf(stderr, "bench_road: %s\n", what);
    abort();
}

/* ---- copies -------------------------------------------------------------------------------------------------------- */

#ifdef ROAD_COPIES
void *__real_memcpy(void *, const void *, size_t);
void *__real_memmove(void *, const void *, size_t);
void *__wrap_memcpy(void *, const void *, size_t);
void *__wrap_memmove(void *, const void *, size_t);

static void count_copy(size_t n)
{
    if (copying == NULL)
        return;
    copying->copies++;
    copying->copied += n;
}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    count_copy(n);
    return __real_memcpy(to, from, n);
}

void *__wrap_memmove(void *to, const void *from, size_t n)
{
    count_copy(n);
    return __real_memmove(to, from, n);
}
#endif

/* ---- turns ---------------------------------------------------------------------------------------------------------- */

/* As the loop has it, but for the edges. Virtual time has no length; the counter is read all the same. */
static unsigned one_turn(struct core *core, const struct tide_time *t, struct core_io *io)
{
    struct tide_time time = *t;
    unsigned did;
    time.tick = rte_rdtsc();
    time.tick_q32 = 1;
    did = core_turn(core, &time, io);
    if (did != 0)
        core_on_turn_end(core, t->now_ns + 1000);
    return did;
}

unsigned road_leader(struct core *, const struct tide_time *, struct core_io *);
__attribute__((noinline)) unsigned road_leader(struct core *core, const struct tide_time *t, struct core_io *io)
{
    return one_turn(core, t, io);
}

unsigned road_follower(struct core *, const struct tide_time *, struct core_io *);
__attribute__((noinline)) unsigned road_follower(struct core *core, const struct tide_time *t, struct core_io *io)
{
    return one_turn(core, t, io);
}

static void count_turn(struct counted *c, unsigned frames_in, const struct core_io *io)
{
    c->turns++;
    c->frames_in += frames_in;
    c->frames_out += io->tx_count;
    for (uint32_t i = 0; i < io->out.op_count; i++)
        c->writes += io->out.ops[i].kind == DISK_WRITE;
}

static unsigned turn_of(struct counted *side, unsigned (*turn)(struct core *, const struct tide_time *, struct core_io *), struct core *core,
                        const struct tide_time *t, struct core_io *io)
{
    unsigned frames_in = io->rx_count;
    if (!counting)
        return one_turn(core, t, io);
    copying = side;
    unsigned did = turn(core, t, io);
    copying = NULL;
    count_turn(side, frames_in, io);
    return did;
}

static unsigned turn_of_leader(struct core *core, const struct tide_time *t, struct core_io *io)
{
    return turn_of(&leader, road_leader, core, t, io);
}

static unsigned turn_of_follower(struct core *core, const struct tide_time *t, struct core_io *io)
{
    return turn_of(&follower, road_follower, core, t, io);
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

/* One record, so large that its batch has just the size. */
static void build_batch(const struct world *w, int64_t producer, int32_t sequence, uint8_t *to)
{
    static uint8_t value[BATCH_MAX];
    uint32_t size = w->scenario->batch;
    struct batch_build_record r = {.timestamp = WALL_BEGIN_MS, .value = value};
    for (uint32_t around = BATCH_HEADER; around < BATCH_HEADER + 32; around++) {
        r.value_len = (int32_t)(size - around);
        if (batch_build(to, BATCH_MAX, &r, 1, producer, producer < 0 ? -1 : 0, sequence) == size)
            return;
    }
    wrong("no batch has that size");
}

static void request_begin(struct world *w, struct client *c, struct wire_writer *writer, int16_t api, int16_t version)
{
    wire_writer_init(writer, w->pools.client);
    wire_frame_begin(writer);
    kafka_request_header_write(writer, api, version, c->asked++, "road", 4);
}

static void request_end(struct client *c, struct wire_writer *writer)
{
    if (!wire_frame_end(writer))
        wrong("no memory for a request");
    tcp_write(c->conn, &writer->out);
}

static void produce(struct world *w, struct client *c)
{
    static uint8_t batch[BATCH_MAX];
    struct wire_writer writer;
    struct tide_rope records = {0};
    bool idempotent = w->scenario->acks == -1;
    const int16_t v = PRODUCE_VERSION;
    build_batch(w, idempotent ? PRODUCER_ID + (c - w->clients) : -1, idempotent ? c->asked : -1, batch);
    if (tide_rope_copy_in(&records, w->pools.client, batch, w->scenario->batch) != TIDE_OK)
        wrong("no memory for a batch");
    request_begin(w, c, &writer, KAFKA_API_PRODUCE, v);
    produce_request_put_transactional_id(&writer, v, NULL, 0);
    produce_request_put_acks(&writer, v, w->scenario->acks);
    produce_request_put_timeout_ms(&writer, v, 30000);
    produce_request_open_topic_data(&writer, v, 1);
    produce_request_topic_data_put_name(&writer, v, "orders", 6);
    produce_request_topic_data_open_partition_data(&writer, v, 1);
    produce_request_partition_data_put_index(&writer, v, 0);
    produce_request_partition_data_put_records(&writer, v, &records);
    produce_request_partition_data_end(&writer, v);
    produce_request_topic_data_end(&writer, v);
    produce_request_end(&writer, v);
    request_end(c, &writer);
}

static void fetch(struct world *w, struct client *c)
{
    static const struct fetch_request_tags tags;
    struct wire_writer writer;
    const int16_t v = FETCH_VERSION;
    request_begin(w, c, &writer, KAFKA_API_FETCH, v);
    fetch_request_put_replica_id(&writer, v, -1);
    fetch_request_put_max_wait_ms(&writer, v, 500);
    fetch_request_put_min_bytes(&writer, v, 1);
    fetch_request_put_max_bytes(&writer, v, 1 << 20);
    fetch_request_put_isolation_level(&writer, v, 0);
    fetch_request_put_session_id(&writer, v, 0);
    fetch_request_put_session_epoch(&writer, v, -1);
    fetch_request_open_topics(&writer, v, 1);
    fetch_request_topic_put_topic(&writer, v, "orders", 6);
    fetch_request_topic_open_partitions(&writer, v, 1);
    fetch_request_partition_put_partition(&writer, v, 0);
    fetch_request_partition_put_current_leader_epoch(&writer, v, -1);
    fetch_request_partition_put_fetch_offset(&writer, v, c->offset);
    fetch_request_partition_put_last_fetched_epoch(&writer, v, -1);
    fetch_request_partition_put_log_start_offset(&writer, v, -1);
    fetch_request_partition_put_partition_max_bytes(&writer, v, (int32_t)w->scenario->fetch);
    fetch_request_partition_end(&writer, v);
    fetch_request_topic_end(&writer, v);
    fetch_request_open_forgotten_topics_data(&writer, v, 0);
    fetch_request_put_rack_id(&writer, v, "", 0);
    fetch_request_end(&writer, v, &tags);
    request_end(c, &writer);
}

/* Bytes of batches that the answer is about. */
static uint32_t on_produced(struct world *w, struct wire_cursor *at)
{
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response p;
    if (!produce_response_read(at, PRODUCE_VERSION, &in) || !produce_response_topic_produce_response_next(&in.responses, PRODUCE_VERSION, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, PRODUCE_VERSION, &p) || p.error_code != 0)
        wrong("a batch was refused");
    return w->scenario->batch;
}

static uint32_t on_fetched(struct client *c, struct wire_cursor *at)
{
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    if (!fetch_response_read(at, FETCH_VERSION, &in) || !fetch_response_fetchable_topic_response_next(&in.responses, FETCH_VERSION, &t) ||
        !fetch_response_partition_data_next(&t.partitions, FETCH_VERSION, &p) || p.error_code != 0 || p.records.at.len == 0)
        wrong("nothing was read");
    c->offset++;
    return p.records.at.len;
}

static void take_responses(struct world *w, struct client *c)
{
    while (c->in.len >= 8) {
        uint8_t head[4];
        struct wire_cursor at;
        int32_t id;
        uint32_t bytes;
        int16_t api = c->fetches ? KAFKA_API_FETCH : KAFKA_API_PRODUCE;
        tide_slice_copy(tide_rope_slice(&c->in, 0, 4), head);
        uint32_t size = load_be32(head);
        if (c->in.len < size + 4)
            return;
        wire_cursor_init(&at, tide_rope_slice(&c->in, 4, size));
        if (!kafka_response_header_read(&at, api, c->fetches ? FETCH_VERSION : PRODUCE_VERSION, &id) || id != c->answered)
            wrong("an answer to another question");
        bytes = c->fetches ? on_fetched(c, &at) : on_produced(w, &at);
        c->answered++;
        w->requests += counting;
        w->bytes += counting ? bytes : 0;
        tide_rope_drop(&c->in, size + 4);
    }
}

/* ---- the machine of the clients --------------------------------------------------------------------------------------- */

static void clients_begin(struct world *w)
{
    struct net_config n = {.mac = sim_mac(SIM_CLIENT), .addr = sim_addr(SIM_CLIENT), .prefix_len = 24, .mtu = 1500, .tx_pool = w->pools.tx,
                           .counters = &w->counters};
    struct tcp_config t = {.connections_max = 64, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 1 << 20, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = w->pools.tx, .secret = {1}};
    w->stack = tcp_stack_create(&t);
    if (w->stack == NULL || net_init(&w->net, &n, w->now_ns) != TIDE_OK)
        wrong("no memory for the clients");
    for (unsigned i = 0; i < w->scenario->clients; i++) {
        struct tcp_endpoint from = {sim_addr(SIM_CLIENT), (uint16_t)(20000 + i)}, to = {sim_addr(0), SIM_KAFKA_PORT};
        w->clients[i].conn = tcp_connect(w->stack, w->now_ns, &from, &to);
        if (w->clients[i].conn == NULL)
            wrong("no connection is free");
    }
}

static void clients_turn(struct world *w)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    struct tcp_event e;
    unsigned n;
    tcp_on_time(w->stack, w->now_ns);
    net_on_time(&w->net, w->now_ns);
    while (tcp_next_event(w->stack, &e)) {
        struct client *c = w->clients;
        while (c->conn != e.conn)
            c++;
        if (e.bits & (TCP_EVENT_GONE | TCP_EVENT_PEER_CLOSED))
            wrong("a connection is gone");
        c->connected = true;
        if (e.bits & TCP_EVENT_READABLE) {
            tcp_consumed(c->conn, tcp_read(c->conn, &c->in));
            take_responses(w, c);
        }
    }
    while ((n = tcp_output(w->stack, w->now_ns, packets, metas, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (net_output(&w->net, w->now_ns, packets[i], &metas[i].src, &metas[i].dst, 0) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
    while ((n = net_take_tx(&w->net, packets, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            sim_wire_send(&w->wire, w->now_ns, SIM_CLIENT, packets[i]);
}

/* ---- brokers, and a control that has nothing to decide ------------------------------------------------------------------ */

/* Nobody else turns while a core does. */
static uint64_t grace_begin(void *self) { return ((struct machine *)self)->world->now_ns + 1; }
static bool grace_passed(void *self, uint64_t token) { return ((struct machine *)self)->world->now_ns >= token; }

static void boot(struct world *w, unsigned i)
{
    struct machine *m = &w->machines[i];
    char error[512] = "";
    m->world = w;
    m->data.fs = sim_fs_create(&(struct sim_fs_config){.seed = 1});
    m->data.job_ms = 1;
    const struct tide_fs *fs = sim_fs_verbs(m->data.fs);
    if (fs->mkdir(fs->self, "/data") != 0)
        wrong("mkdir");
    sim_machine_boot(&m->data, &(struct sim_machine_config){.node = i, .core_count = 1, .settings = &w->settings, .pools = &w->pools,
                                                            .grace = {.self = m, .begin = grace_begin, .passed = grace_passed},
                                                            .tail_buffer_bytes = TAIL_BUFFER, .turn = i == 0 ? turn_of_leader : turn_of_follower,
                                                            .trace = &m->trace},
                     &w->random, w->now_ns);
    if (w->scenario->traced && trace_on(&m->trace, 1, &(struct trace_wish){.slots = {1 << SLOT}}) != TIDE_OK)
        wrong("no trace");
    struct partition_config c = sim_machine_partition(&m->data);
    c.topic = "orders";
    c.topic_id = w->images[i].topic.id;
    c.slot = SLOT;
    c.dir = "/data/orders-0";
    c.preallocate_bytes = EXTENT;
    c.producers_max = CLIENTS_MAX;
    c.topic_config = w->topic;
    m->partition = partition_create(&c);
    if (partition_open(m->partition, fs, error, sizeof(error)) != 0)
        wrong(error);
    m->adopt = (struct tide_mail){.kind = MAIL_ADOPT, .from = 1, .order = {.partition = m->partition}};
    if (post_send(m->data.office, 1, 0, &m->adopt) != TIDE_OK)
        wrong("a full ring");
}

static void show(struct world *w, unsigned i)
{
    struct image *v = &w->images[i];
    unsigned brokers = w->scenario->brokers;
    for (unsigned b = 0; b < brokers; b++) {
        v->brokers[b] = (struct view_broker){.id = (int32_t)b + 1, .epoch = b + 1, .incarnation = {{(uint8_t)(b + 1)}}, .replication_addr = sim_addr(b),
                                             .replication_port = SIM_PEER_PORT, .core_count = 1, .endpoints = {{.port = SIM_KAFKA_PORT}}};
        snprintf(v->brokers[b].endpoints[0].host, sizeof(v->brokers[b].endpoints[0].host), "10.0.0.%u", b + 1);
    }
    v->partition = (struct view_partition){.leader = 1, .leader_epoch = 1, .partition_epoch = 1, .replica_count = (uint16_t)brokers, .replicas = w->replicas,
                                           .isr = w->replicas, .isr_count = (uint16_t)brokers, .local = w->machines[i].adopted ? w->machines[i].partition : NULL};
    v->topic.name_len = 6;
    memcpy(v->topic.name, "orders", 6);
    v->topic.partition_count = 1;
    v->topic.partitions = &v->partition;
    v->topic.config = w->topic;
    v->view = (struct tide_view){.version = v->view.version + 1, .takes_clients = true, .self = (int32_t)i + 1, .controller = 1, .broker_count = brokers,
                                 .brokers = v->brokers, .topic_count = 1, .topics = &v->topic, .hash_mask = 15, .by_name = v->by_name, .by_id = v->by_id};
    tide_uuid_to_text(&(struct tide_uuid){{8}}, v->view.cluster_id);
    memset(v->by_name, 0, sizeof(v->by_name));
    memset(v->by_id, 0, sizeof(v->by_id));
    tide_view_index(&v->topic, 1, 16, v->by_name, v->by_id);
    atomic_store(&w->machines[i].data.publication.now, &v->view);
}

static void give_role(struct world *w, unsigned i)
{
    struct machine *m = &w->machines[i];
    struct mail_role *r = &m->become.become.role;
    unsigned brokers = w->scenario->brokers;
    m->become = (struct tide_mail){.kind = MAIL_BECOME, .from = 1};
    m->become.become.partition = m->partition;
    *r = (struct mail_role){.self = (int32_t)i + 1, .leader = 1, .leader_epoch = 1, .partition_epoch = 1, .replica_count = brokers, .isr_count = brokers,
                            .unclean_epoch = -1};
    for (unsigned b = 0; b < brokers; b++) {
        r->replicas[b] = r->isr[b] = (int32_t)b + 1;
        r->broker_epochs[b] = b + 1;
    }
    if (post_send(m->data.office, 1, 0, &m->become) != TIDE_OK)
        wrong("a full ring");
}

static void control_turn(struct world *w)
{
    struct tide_mail *letters[LETTERS];
    for (unsigned i = 0; i < w->scenario->brokers; i++) {
        struct machine *m = &w->machines[i];
        unsigned n = post_take(m->data.office, 1, letters, LETTERS);
        for (unsigned l = 0; l < n; l++) {
            if (letters[l]->kind == MAIL_ADOPT) {
                m->adopted = true;
                give_role(w, i);
                show(w, i);
            } else if (letters[l]->kind != MAIL_BECOME) {
                wrong("an unexpected letter");
            }
        }
    }
}

/* ---- time --------------------------------------------------------------------------------------------------------------- */

/* A frame in the card's own buffer. */
static void receive(struct world *w, struct sim_flight *f)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(w->received);
    struct net_packet p;
    char *to = m != NULL ? rte_pktmbuf_append(m, f->m->data_len) : NULL;
    if (to == NULL)
        wrong("no receive buffer");
    memcpy(to, rte_pktmbuf_mtod(f->m, uint8_t *), f->m->data_len);
    rte_pktmbuf_free(f->m);
    if (f->to != SIM_CLIENT)
        sim_core_receive(&w->machines[f->to].data.cores[0], m);
    else if (net_input(&w->net, w->now_ns, m, &p) == NET_TCP)
        tcp_input(w->stack, w->now_ns, m, &(struct tcp_meta){.src = p.source, .dst = p.destination});
}

static uint64_t next_ns(struct world *w)
{
    uint64_t t = TIDE_MIN(sim_wire_deadline_ns(&w->wire), TIDE_MIN(tcp_deadline_ns(w->stack), net_deadline_ns(&w->net)));
    for (unsigned i = 0; i < w->scenario->brokers; i++) {
        struct sim_core *k = &w->machines[i].data.cores[0];
        t = TIDE_MIN(t, sim_core_has_cause(k, w->now_ns) ? w->now_ns : sim_core_deadline_ns(k));
    }
    return t;
}

static void step(struct world *w)
{
    struct tide_time t = {.now_ns = w->now_ns, .wall_ms = WALL_BEGIN_MS + (int64_t)(w->now_ns / TIDE_NS_PER_MS)};
    struct sim_flight f;
    while (sim_wire_take(&w->wire, w->now_ns, &f))
        receive(w, &f);
    for (unsigned i = 0; i < w->scenario->brokers; i++) {
        struct sim_core *k = &w->machines[i].data.cores[0];
        if (!sim_core_has_cause(k, w->now_ns))
            continue;
        sim_core_turn(&w->machines[i].data, 0, &w->random, &t);
        for (unsigned n = 0; n < k->io.tx_count; n++)
            sim_wire_send(&w->wire, w->now_ns, i, k->io.tx[n]);
        k->io.tx_count = 0;
    }
    control_turn(w);
    clients_turn(w);
    w->now_ns = TIDE_MAX(next_ns(w), w->now_ns + 1000);
}

static void pass(struct world *w, uint64_t ms)
{
    uint64_t until = w->now_ns + ms * TIDE_NS_PER_MS;
    while (next_ns(w) < until)
        step(w);
    w->now_ns = TIDE_MAX(until, w->now_ns);
}

static bool all_answered(const struct world *w)
{
    for (unsigned i = 0; i < w->scenario->clients; i++)
        if (w->clients[i].answered != w->clients[i].asked)
            return false;
    return true;
}

static void wait_for_answers(struct world *w)
{
    uint64_t until = w->now_ns + PATIENCE_MS * TIDE_NS_PER_MS;
    do {
        clients_turn(w); /* what was just written goes out */
        step(w);
        if (w->now_ns > until)
            wrong("an answer does not come");
    } while (!all_answered(w));
}

/* ---- rounds --------------------------------------------------------------------------------------------------------------- */

static void produce_all(struct world *w, unsigned rounds)
{
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned i = 0; i < w->scenario->clients; i++)
            produce(w, &w->clients[i]);
        wait_for_answers(w);
    }
}

static void fetch_all(struct world *w, unsigned rounds)
{
    for (unsigned r = 0; r < rounds; r++) {
        fetch(w, &w->clients[0]);
        wait_for_answers(w);
    }
}

/* The consumer waits for the record before it is sent. */
static void produce_for_a_consumer(struct world *w, unsigned rounds)
{
    for (unsigned r = 0; r < rounds; r++) {
        fetch(w, &w->clients[1]);
        clients_turn(w);
        pass(w, QUIET_MS);
        produce(w, &w->clients[0]);
        wait_for_answers(w);
    }
}

/* Turns without a cause. */
static void turn_for_nothing(struct world *w, unsigned rounds)
{
    for (unsigned r = 0; r < rounds; r++) {
        struct tide_time t = {.now_ns = w->now_ns, .wall_ms = WALL_BEGIN_MS};
        sim_core_turn(&w->machines[0].data, 0, &w->random, &t);
        w->requests += counting;
    }
}

static void rounds(struct world *w, unsigned n)
{
    switch (w->scenario->kind) {
    case PRODUCE: produce_all(w, n); break;
    case FETCH: fetch_all(w, n); break;
    case TAIL: produce_for_a_consumer(w, n); break;
    case IDLE: turn_for_nothing(w, n); break;
    }
}

/* Something to read, and those who read it. */
static void prepare(struct world *w, unsigned batches)
{
    struct client *c = &w->clients[0];
    if (w->scenario->kind == FETCH) {
        produce_all(w, batches);
        c->fetches = true;
    }
    if (w->scenario->kind == TAIL)
        w->clients[1].fetches = true;
    pass(w, QUIET_MS);
}

/* ---- a world ---------------------------------------------------------------------------------------------------------------- */

static struct rte_mempool *pool(const char *name, unsigned count, unsigned cache, uint16_t room)
{
    struct rte_mempool *p = rte_pktmbuf_pool_create(name, count, cache, 0, (uint16_t)(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
    if (p == NULL)
        wrong("no memory for a pool");
    return p;
}

/* Caches and rooms are those that a broker gives its pools (nic/pool.c, control/daemon/boot.c). */
static void make_pools(struct world *w)
{
    unit_eal();
    w->pools = (struct sim_pools){.tx = pool("tx", 1023, CACHE, 1800), .request = pool("request", 127, 0, 16384), .response = pool("response", 255, CACHE, 8192),
                                  .client = pool("client", 1023, 0, 2048), .peer = pool("peer", 1023, CACHE, 256)};
    w->received = pool("received", 1023, CACHE, 2048);
}

static void begin(struct world *w)
{
    bool connected = false;
    w->now_ns = 1000 * TIDE_NS_PER_S;
    w->random.state = 1;
    make_pools(w);
    settings_defaults(&w->settings);
    settings_topic_defaults(&w->settings, &w->topic);
    if (w->scenario->memory)
        w->topic.ack_durability = ACK_DURABILITY_MEMORY;
    w->topic.segment_bytes = 1 << 30;
    sim_wire_init(&w->wire, &w->random, w->pools.client, w->scenario->brokers, 1);
    w->wire.calm = true;
    w->wire.delay_ns = 5000;
    for (unsigned i = 0; i < w->scenario->brokers; i++) {
        w->replicas[i] = (int32_t)i + 1;
        w->images[i].topic.id = (struct tide_uuid){{7}};
        boot(w, i);
        show(w, i);
        atomic_store(&w->machines[i].data.publication.lease_until_ns, UINT64_MAX);
    }
    clients_begin(w);
    for (unsigned ms = 0; ms < PATIENCE_MS && !connected; ms++) {
        clients_turn(w);
        pass(w, 1);
        connected = true;
        for (unsigned i = 0; i < w->scenario->clients; i++)
            connected &= w->clients[i].connected || tcp_send_room(w->clients[i].conn) != 0;
    }
    pass(w, PATIENCE_MS); /* streams between the brokers are there, and whatever a start takes is over */
}

/* The leader's ring has them all, with what they waited for. */
static void check_trace(struct world *w)
{
    struct trace *t = &w->machines[0].trace;
    unsigned followers = w->scenario->brokers - 1, kinds[TRACE_KIND_COUNT] = {0};
    struct trace_event e;
    for (uint64_t end = trace_end(t, 0); trace_take(t, 0, end, &e);)
        kinds[e.kind]++;
    if (trace_lost(t) != 0 || kinds[TRACE_REQUEST] < w->requests || kinds[TRACE_WRITE] < w->requests || kinds[TRACE_MARK] < w->requests ||
        kinds[TRACE_SENT] < followers * w->requests || kinds[TRACE_ACKNOWLEDGED] < followers * w->requests)
        wrong("events are missing in the trace");
}

static void print(const char *who, const struct counted *c)
{
    printf("%s-turns %" PRIu64 "\n%s-frames-in %" PRIu64 "\n%s-frames-out %" PRIu64 "\n%s-writes %" PRIu64 "\n", who, c->turns, who, c->frames_in, who,
           c->frames_out, who, c->writes);
#ifdef ROAD_COPIES
    printf("%s-copies %" PRIu64 "\n%s-copied %" PRIu64 "\n", who, c->copies, who, c->copied);
#endif
}

int main(int argc, char **argv)
{
    static struct world w;
    CALLGRIND_STOP_INSTRUMENTATION;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(scenarios); i++) {
        if (argc < 2)
            puts(scenarios[i].name);
        else if (strcmp(argv[1], scenarios[i].name) == 0)
            w.scenario = &scenarios[i];
    }
    if (argc < 2)
        return 0;
    if (w.scenario == NULL || (argc != 2 && argc != 4)) {
        fprintf(stderr, "bench_road SCENARIO [WARM COUNT]; without arguments it names the scenarios\n");
        return 2;
    }
    unsigned warm = argc == 4 ? (unsigned)atoi(argv[2]) : w.scenario->warm, count = argc == 4 ? (unsigned)atoi(argv[3]) : w.scenario->count;
    begin(&w);
    prepare(&w, warm + count);
    rounds(&w, warm);
    CALLGRIND_START_INSTRUMENTATION;
    counting = true;
    rounds(&w, count);
    counting = false;
    CALLGRIND_STOP_INSTRUMENTATION;
    if (w.scenario->traced)
        check_trace(&w);
    printf("requests %" PRIu64 "\nbytes %" PRIu64 "\nfollowers %u\n", w.requests, w.bytes, w.scenario->brokers - 1);
    print("leader", &leader);
    print("follower", &follower);
    return 0;
}
