/* SPDX-License-Identifier: Apache-2.0 */
#include "story.h"

#include <inttypes.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>

#include "../sim/sim_fs.h"
#include "../unit/unit.h"
#include "core/core.h"
#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "partition/partition.h"
#include "settings/settings.h"
#include "tidemark/bytes.h"

enum {
    WIRE_MAX = 512,
    FRAME_ROOM = 1800,
    JOBS_MAX = 64,
    TOLD_MAX = 16384,
    WORDS_MAX = 32,
    WORD_ROOM = 32,
    NAME_ROOM = 16,
    PRODUCER_ID = 7,
    PORT = 9092,
    PEER_PORT = 9093,
    CLIENT_MAC = 0x10, /* and up; below are brokers */
    CONNECT_STEPS = 100,
    };
#define WALL_BEGIN_MS INT64_C(1700000000000)
#define BEGIN_NS      (1000 * TIDE_NS_PER_S)

struct flight {
    uint64_t at_ns;
    struct rte_mbuf *m;
};

/* One broker's computer. */
struct machine {
    struct story *story;
    unsigned number; /* from 1 */
    bool up, cut, mute, deaf;
    bool registered; /* control hears it */
    bool adopted;
    int64_t broker_epoch;
    uint8_t starts;
    int32_t told_epoch; /* partition epoch of the last role that it was told */
    struct sim_fs *fs;
    struct sim_disk *disk;
    struct tide_counters counters;
    struct post_office *office;
    struct tide_publication publication;
    struct image *image; /* what it was shown last */
    bool image_stale;
    struct log_core *log_core;
    struct core *core;
    struct core_io io;
    struct partition *partition;
    struct tide_mail adopt, become;
    struct tide_job *jobs[JOBS_MAX];
    unsigned job_count;
    int64_t log_end, durable_end, high_watermark; /* as they were told */
};

/* A view, and all that it points to. */
struct image {
    struct tide_view view;
    struct view_broker brokers[STORY_BROKERS_MAX];
    struct view_topic topic;
    struct view_partition partition;
    int32_t replicas[STORY_BROKERS_MAX], isr[STORY_BROKERS_MAX];
    uint32_t by_name[16], by_id[16];
};

struct client {
    char name[NAME_ROOM];
    struct net net;
    struct tide_counters counters;
    struct tcp_stack *stack;
    struct tcp_conn *conn;
    struct tide_rope in;
    uint16_t port;
    bool connected;
    char asked[WORDS_MAX][WORDS_MAX * WORD_ROOM]; /* what a request carried, by its number */
    int32_t requests;
};

struct story {
    uint64_t now_ns, zero_ns;
    unsigned broker_count, client_count;
    /* what is committed */
    int32_t leader, leader_epoch, partition_epoch; /* leader: a number, -1 nobody */
    uint32_t isr;                                  /* bit per broker */
    int64_t broker_epochs;                         /* given so far */
    struct tide_uuid topic_id, cluster_id;
    struct tide_topic_config topic;
    struct tide_settings settings;
    struct machine machines[STORY_BROKERS_MAX];
    struct client clients[STORY_CLIENTS_MAX];
    struct flight wire[WIRE_MAX];
    unsigned wire_count;
    char told[TOLD_MAX];
    size_t told_len;
};

/* Pools outlive a story: EAL does not like to make many. */
static struct { struct rte_mempool *tx, *request, *response, *client, *peer; } pools;
static unsigned free_before[5];

/* ---- telling ------------------------------------------------------------------------------------------------------ */

static void wrong(const struct story *s, const char *what)
{
    fprintf(stderr, "%s\n%s\n", s->told, what);
    abort();
}

static void tell(struct story *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct story *s, const char *format, ...)
{
    va_list args;
    size_t room = sizeof(s->told) - s->told_len;
    int n = snprintf(s->told + s->told_len, room, "%4" PRId64 "  ", (int64_t)(s->now_ns - s->zero_ns) / (int64_t)TIDE_NS_PER_MS);
    va_start(args, format);
    n += vsnprintf(s->told + s->told_len + n, room - (size_t)n, format, args);
    va_end(args);
    if ((size_t)n + 2 > room)
        wrong(s, "too long a story");
    s->told_len += (size_t)n;
    s->told[s->told_len++] = '\n';
    s->told[s->told_len] = 0;
}

void story_told(struct story *s, const char *sentences)
{
    if (getenv("TIDE_STORY_PRINT") != NULL) {
        fputs(s->told, stdout);
    } else if (strcmp(s->told, sentences) != 0) {
        fprintf(stderr, "---- what was told\n%s---- what was expected\n%s", s->told, sentences);
        fail_msg("the story went otherwise");
    }
    s->told_len = 0;
    s->told[0] = 0;
}

/* ---- the wire ------------------------------------------------------------------------------------------------------ */

static bool is_cut(const struct story *s, const uint8_t *frame)
{
    for (unsigned i = 0; i < s->broker_count; i++)
        if (((s->machines[i].cut || s->machines[i].mute) && frame[11] == i + 1) ||
            ((s->machines[i].cut || s->machines[i].deaf) && frame[5] == i + 1))
            return true;
    return false;
}

static void fly(struct story *s, struct rte_mbuf *chain)
{
    uint8_t bytes[FRAME_ROOM];
    uint32_t at = 0;
    for (struct rte_mbuf *m = chain; m != NULL; m = m->next) {
        if (at + m->data_len > sizeof(bytes))
            wrong(s, "too long a frame");
        memcpy(bytes + at, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
        at += m->data_len;
    }
    rte_pktmbuf_free(chain);
    if (is_cut(s, bytes))
        return;
    if (s->wire_count == WIRE_MAX)
        wrong(s, "too many frames");
    s->wire[s->wire_count++] = (struct flight){s->now_ns + STORY_STEP_NS, unit_exact_mbuf(pools.client, bytes, (uint16_t)at)};
}

static void arrive_at_broker(struct story *s, struct machine *b, const struct rte_mbuf *m)
{
    if (b->io.rx_count == CORE_RX_MAX)
        wrong(s, "too many frames for a turn");
    if (b->up)
        b->io.rx[b->io.rx_count++] = unit_exact_mbuf(pools.client, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
}

static void arrive_at_client(struct story *s, struct client *c, const struct rte_mbuf *m)
{
    struct net_packet p;
    struct rte_mbuf *copy = unit_exact_mbuf(pools.client, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
    if (net_input(&c->net, s->now_ns, copy, &p) == NET_TCP)
        tcp_input(c->stack, s->now_ns, copy, &(struct tcp_meta){.src = p.source, .dst = p.destination});
}

/* By the last byte of the hardware address; broadcasts go to all but the sender. */
static void arrive(struct story *s, struct rte_mbuf *m)
{
    const uint8_t *bytes = rte_pktmbuf_mtod(m, const uint8_t *);
    bool all = bytes[5] == 0xff;
    for (unsigned i = 0; i < s->broker_count; i++)
        if (!s->machines[i].cut && !s->machines[i].deaf && (all ? bytes[11] != i + 1 : bytes[5] == i + 1))
            arrive_at_broker(s, &s->machines[i], m);
    for (unsigned i = 0; i < s->client_count; i++)
        if (all ? bytes[11] != CLIENT_MAC + i : bytes[5] == CLIENT_MAC + i)
            arrive_at_client(s, &s->clients[i], m);
    rte_pktmbuf_free(m);
}

static void deliver(struct story *s)
{
    struct flight due[WIRE_MAX];
    unsigned count = 0, kept = 0;
    for (unsigned i = 0; i < s->wire_count; i++) {
        if (s->wire[i].at_ns > s->now_ns)
            s->wire[kept++] = s->wire[i];
        else if (is_cut(s, rte_pktmbuf_mtod(s->wire[i].m, const uint8_t *)))
            rte_pktmbuf_free(s->wire[i].m); /* it was on its way */
        else
            due[count++] = s->wire[i];
    }
    s->wire_count = kept;
    for (unsigned i = 0; i < count; i++)
        arrive(s, due[i].m);
}

/* ---- a broker ------------------------------------------------------------------------------------------------------ */

static struct tide_addr broker_addr(unsigned number) { return tide_addr_v4(0x0a000000 + number); }

static void changed(struct story *);
static void enroll(struct story *, struct machine *);

static struct machine *machine(struct story *s, unsigned broker)
{
    if (broker == 0 || broker > s->broker_count)
        wrong(s, "there is no such broker");
    return &s->machines[broker - 1];
}

/* Nobody else turns while a core does: what it read before is no longer in use. */
static uint64_t grace_begin(void *self) { return ((struct machine *)self)->story->now_ns + 1; }
static bool grace_passed(void *self, uint64_t token) { return ((struct machine *)self)->story->now_ns >= token; }

static struct partition_config partition_of(struct story *s, struct machine *b)
{
    return (struct partition_config){.topic = "t", .topic_id = s->topic_id, .slot = 1, .dir = "/data/t-0", .preallocate_bytes = 65536,
                                     .producer_expiry_ms = 86400000, .producers_max = 16, .topic_config = s->topic,
                                     .lease_until_ns = &b->publication.lease_until_ns,
                                     .grace = {.self = b, .begin = grace_begin, .passed = grace_passed}};
}

static void open_partition(struct story *s, struct machine *b)
{
    struct partition_config c = partition_of(s, b);
    char error[512] = "";
    b->partition = partition_create(&c);
    if (partition_open(b->partition, sim_fs_verbs(b->fs), error, sizeof(error)) != 0) {
        fprintf(stderr, "%s\n", error);
        wrong(s, "the partition could not be opened");
    }
    b->log_end = b->durable_end = log_next_offset(partition_log(b->partition));
    b->high_watermark = 0; /* known again when it leads or follows */
    b->adopt = (struct tide_mail){.kind = MAIL_ADOPT, .from = 1, .order = {.partition = b->partition}};
    if (post_send(b->office, 1, 0, &b->adopt) != TIDE_OK)
        wrong(s, "a full ring");
    tell(s, "broker %u boots: its log ends at %" PRId64, b->number, b->log_end);
}

static struct core *make_core(struct story *s, struct machine *b)
{
    static const struct core_listener listeners[] = {{PORT, 0}};
    struct core_config c = {.core_count = 1, .settings = &s->settings, .publication = &b->publication, .office = b->office, .log_core = b->log_core,
                            .start_ns = s->now_ns, .listeners = listeners, .listener_count = 1, .replication_port = PEER_PORT};
    c.net = (struct net_config){.mac = {{2, 0, 0, 0, 0, (uint8_t)b->number}}, .addr = broker_addr(b->number), .prefix_len = 24, .mtu = 1500,
                                .announce = true, .tx_pool = pools.tx};
    c.tcp = (struct tcp_config){.connections_max = 32, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 262144,
                                .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 1000, .tx_pool = pools.tx,
                                .secret = {(uint8_t)b->number, b->starts}};
    c.broker = (struct broker_config){.request_pool = pools.request, .response_pool = pools.response, .peer_pool = pools.peer, .requests_max = 64,
                                      .sessions_max = 32, .mails_max = 63,
                                      .grace = {.self = b, .begin = grace_begin, .passed = grace_passed}};
    return core_create(&c);
}

void story_boots(struct story *s, unsigned broker)
{
    struct machine *b = machine(s, broker);
    struct log_core_config log = {.tail_buffer_bytes = 16384, .tail_buffers = 16, .read_buffer_bytes = 65536, .read_buffers = 8,
                                  .index_chunks = 64, .views = 1023, .counters = &b->counters};
    if (b->up)
        wrong(s, "it runs already");
    b->starts++;
    b->office = post_office_create(1);
    b->log_core = log_core_create(&log);
    b->disk = sim_disk_create(b->fs, &(struct sim_disk_config){.durable_ns = STORY_DISK_NS, .write_ns = STORY_DISK_NS, .read_ns = STORY_STEP_NS});
    b->core = make_core(s, b);
    if (b->office == NULL || b->log_core == NULL || b->core == NULL)
        wrong(s, "no memory");
    atomic_store(&b->publication.now, NULL);
    b->told_epoch = -1;
    open_partition(s, b);
    b->up = true;
    enroll(s, b);
}

/* ---- control, which is the story ---------------------------------------------------------------------------------- */

/* Everybody is told of it in the next step. */
static void changed(struct story *s)
{
    s->partition_epoch++;
    for (unsigned i = 0; i < s->broker_count; i++)
        s->machines[i].image_stale = true;
}

void story_leads(struct story *s, unsigned broker)
{
    s->leader = (int32_t)machine(s, broker)->number;
    s->leader_epoch++;
    tell(s, "broker %u leads epoch %d", broker, s->leader_epoch);
    changed(s);
}

void story_nobody_leads(struct story *s)
{
    s->leader = -1;
    s->leader_epoch++;
    tell(s, "nobody leads");
    changed(s);
}

static void list_isr(uint32_t isr, char *to, size_t room)
{
    size_t n = 0;
    to[0] = 0;
    for (unsigned i = 0; i < STORY_BROKERS_MAX; i++)
        if (isr & 1u << i)
            n += (size_t)snprintf(to + n, room - n, "%s%u", n != 0 ? ", " : "", i + 1);
}

static void commit_isr(struct story *s, uint32_t isr)
{
    char text[32];
    list_isr(isr, text, sizeof(text));
    s->isr = isr;
    tell(s, "in sync: %s", text);
    changed(s);
}

void story_fences(struct story *s, unsigned broker)
{
    struct machine *b = machine(s, broker);
    b->registered = false;
    atomic_store(&b->publication.lease_until_ns, 0);
    tell(s, "broker %u is fenced", broker);
    if (s->isr & ~(1u << (broker - 1)))
        commit_isr(s, s->isr & ~(1u << (broker - 1)));
}

/* Under another broker epoch, as after a registration. */
static void enroll(struct story *s, struct machine *b)
{
    b->registered = true;
    b->broker_epoch = ++s->broker_epochs;
    atomic_store(&b->publication.lease_until_ns, UINT64_MAX);
    changed(s);
}

void story_hears(struct story *s, unsigned broker)
{
    tell(s, "control hears broker %u", broker);
    enroll(s, machine(s, broker));
}

void story_needs_in_sync(struct story *s, int64_t replicas)
{
    s->topic.min_insync_replicas = replicas;
}

void story_memory_is_enough(struct story *s)
{
    s->topic.ack_durability = ACK_DURABILITY_MEMORY;
}

void story_pushes_what_is_durable(struct story *s)
{
    s->settings.replication_push = REPLICATION_PUSH_DURABLE;
}

/* Order before image. */
static void tell_role(struct story *s, struct machine *b)
{
    struct mail_role *r = &b->become.become.role;
    b->become = (struct tide_mail){.kind = MAIL_BECOME, .from = 1};
    b->become.become.partition = b->partition;
    *r = (struct mail_role){.self = (int32_t)b->number, .leader = s->leader, .leader_epoch = s->leader_epoch, .partition_epoch = s->partition_epoch,
                            .replica_count = s->broker_count, .unclean_epoch = -1};
    for (unsigned i = 0; i < s->broker_count; i++) {
        r->replicas[i] = (int32_t)i + 1;
        r->broker_epochs[i] = s->machines[i].broker_epoch;
        if (s->isr & 1u << i)
            r->isr[r->isr_count++] = (int32_t)i + 1;
    }
    if (post_send(b->office, 1, 0, &b->become) != TIDE_OK)
        wrong(s, "a full ring");
    b->told_epoch = s->partition_epoch;
}

static void show(struct story *s, struct machine *b)
{
    struct image *v = calloc(1, sizeof(*v));
    for (unsigned i = 0; i < s->broker_count; i++) {
        const struct machine *o = &s->machines[i];
        v->replicas[i] = (int32_t)i + 1;
        v->brokers[i] = (struct view_broker){.id = (int32_t)i + 1, .fenced = !o->registered, .epoch = o->broker_epoch,
                                             .incarnation = {{(uint8_t)o->number, o->starts}}, .replication_addr = broker_addr(o->number),
                                             .replication_port = PEER_PORT, .core_count = 1, .endpoints = {{.port = PORT}}};
        snprintf(v->brokers[i].endpoints[0].host, sizeof(v->brokers[i].endpoints[0].host), "10.0.0.%u", i + 1);
    }
    v->partition = (struct view_partition){.leader = s->leader, .leader_epoch = s->leader_epoch, .partition_epoch = s->partition_epoch,
                                           .replica_count = (uint16_t)s->broker_count, .replicas = v->replicas, .isr = v->isr,
                                           .local = b->adopted ? b->partition : NULL};
    for (unsigned i = 0; i < s->broker_count; i++)
        if (s->isr & 1u << i)
            v->isr[v->partition.isr_count++] = (int32_t)i + 1;
    v->topic = (struct view_topic){.name = "t", .name_len = 1, .id = s->topic_id, .partition_count = 1, .partitions = &v->partition, .config = s->topic};
    v->view = (struct tide_view){.version = b->image != NULL ? b->image->view.version + 1 : 1, .takes_clients = true, .self = (int32_t)b->number, .controller = 1,
                                 .broker_count = s->broker_count, .brokers = v->brokers, .topic_count = 1, .topics = &v->topic, .hash_mask = 15,
                                 .by_name = v->by_name, .by_id = v->by_id};
    tide_uuid_to_text(&s->cluster_id, v->view.cluster_id);
    tide_view_index(&v->topic, 1, 16, v->by_name, v->by_id);
    atomic_store(&b->publication.now, &v->view);
    free(b->image);
    b->image = v;
    b->image_stale = false;
}

/* A leader wants another ISR: compare and set. */
static void on_isr(struct story *s, struct machine *b, struct tide_mail *m)
{
    struct mail_isr *a = &m->isr;
    uint32_t isr = 0;
    a->error = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        struct machine *o = machine(s, (unsigned)a->isr[i]);
        isr |= 1u << (o->number - 1);
        if (!o->registered || (a->broker_epochs[i] != -1 && a->broker_epochs[i] != o->broker_epoch))
            a->error = KAFKA_INELIGIBLE_REPLICA;
    }
    if (s->leader != (int32_t)b->number || s->leader_epoch != a->leader_epoch)
        a->error = KAFKA_FENCED_LEADER_EPOCH;
    else if (s->partition_epoch != a->partition_epoch)
        a->error = KAFKA_INVALID_UPDATE_VERSION;
    if (a->error == 0) {
        commit_isr(s, isr);
        a->partition_epoch = s->partition_epoch;
    }
    if (post_send(b->office, 1, 0, m) != TIDE_OK)
        wrong(s, "a full ring");
}

static void take_letters(struct story *s, struct machine *b)
{
    struct tide_mail *letters[8];
    unsigned n = post_take(b->office, 1, letters, 8);
    for (unsigned i = 0; i < n; i++) {
        switch (letters[i]->kind) {
        case MAIL_ADOPT:
            b->adopted = b->image_stale = true;
            break;
        case MAIL_BECOME: break;
        case MAIL_ISR: on_isr(s, b, letters[i]); break;
        default: wrong(s, "an unexpected letter");
        }
    }
}

static void control_step(struct story *s)
{
    for (unsigned i = 0; i < s->broker_count; i++)
        if (s->machines[i].up)
            take_letters(s, &s->machines[i]);
    for (unsigned i = 0; i < s->broker_count; i++) {
        struct machine *b = &s->machines[i];
        if (!b->up)
            continue;
        if (b->adopted && b->registered && b->told_epoch != s->partition_epoch && s->leader_epoch != 0)
            tell_role(s, b);
        if (b->image_stale)
            show(s, b);
    }
}

void story_cuts_off(struct story *s, unsigned broker)
{
    machine(s, broker)->cut = true;
    tell(s, "broker %u is cut off", broker);
}

void story_mutes(struct story *s, unsigned broker)
{
    machine(s, broker)->mute = true;
    tell(s, "broker %u is mute", broker);
}

void story_deafens(struct story *s, unsigned broker)
{
    machine(s, broker)->deaf = true;
    tell(s, "broker %u is deaf", broker);
}

void story_heals(struct story *s, unsigned broker)
{
    machine(s, broker)->cut = machine(s, broker)->mute = machine(s, broker)->deaf = false;
    tell(s, "broker %u is heard again", broker);
}

void story_says_whom_it_hears(struct story *s, unsigned broker)
{
    const struct broker *b = core_broker(machine(s, broker)->core);
    bool heard[STORY_BROKERS_MAX + 1] = {0}, confirmed[STORY_BROKERS_MAX + 1] = {0};
    char hears[32] = "", is_heard[32] = "";
    struct broker_peer_signs signs;
    for (uint32_t i = 0; i < broker_peer_count(b); i++)
        if (broker_peer_signs(b, i, s->now_ns, &signs)) {
            heard[signs.broker] |= s->now_ns - signs.heard_ns < STORY_SIGN_MS * TIDE_NS_PER_MS;
            confirmed[signs.broker] |= s->now_ns - signs.confirmed_ns < STORY_SIGN_MS * TIDE_NS_PER_MS;
        }
    for (unsigned i = 1; i <= s->broker_count; i++) {
        if (heard[i])
            snprintf(hears + strlen(hears), sizeof(hears) - strlen(hears), " %u", i);
        if (confirmed[i])
            snprintf(is_heard + strlen(is_heard), sizeof(is_heard) - strlen(is_heard), " %u", i);
    }
    tell(s, "broker %u hears%s, is heard by%s", broker, hears[0] ? hears : " nobody", is_heard[0] ? is_heard : " nobody");
}

/* Of every request that was answered, all stages were counted, and they add up. */
static void check_stages(struct story *s, const struct machine *b)
{
    const struct broker *broker = core_broker(b->core);
    uint64_t sum = 0;
    for (enum broker_stage i = 0; i < STAGE_PRODUCE; i++)
        sum += broker_stage(broker, i)->sum_ns;
    if (sum != broker_stage(broker, STAGE_PRODUCE)->sum_ns)
        wrong(s, "the stages do not add up");
}

static void say_time(char *text, size_t room, const char *name, const struct tide_histogram *h)
{
    size_t n = strlen(text);
    if (h->sum_ns != 0)
        snprintf(text + n, room - n, "%s %s %" PRIu64 " us", n != 0 ? "," : "", name, h->sum_ns / 1000);
}

void story_says_where_time_went(struct story *s, unsigned broker)
{
    const struct broker *b = core_broker(machine(s, broker)->core);
    char text[512] = "";
    for (enum broker_stage i = 0; i < STAGE_COUNT; i++)
        say_time(text, sizeof(text), tide_stage_names[i], broker_stage(b, i));
    for (uint32_t i = 0; i < STAGE_FOLLOWERS_MAX; i++) {
        const struct stage_follower *f = broker_stage_follower(b, i);
        char name[64];
        if (tide_pub64_peek(&f->broker) == 0)
            continue;
        snprintf(name, sizeof(name), "to %d", (int)tide_pub64_peek(&f->broker) - 1);
        say_time(text, sizeof(text), name, &f->send);
        snprintf(name, sizeof(name), "%d has it after", (int)tide_pub64_peek(&f->broker) - 1);
        say_time(text, sizeof(text), name, &f->acknowledge);
    }
    tell(s, "broker %u says:%s", broker, text);
}

static void stop(struct machine *b)
{
    for (unsigned i = 0; i < b->io.rx_count; i++)
        rte_pktmbuf_free(b->io.rx[i]);
    for (unsigned i = 0; i < b->io.tx_count; i++)
        rte_pktmbuf_free(b->io.tx[i]);
    b->io.tx_count = b->io.rx_count = b->io.done_count = b->io.jobs_done_count = 0;
    b->io.out.op_count = b->io.out.job_count = 0;
    b->job_count = 0;
    check_stages(b->story, b);
    sim_disk_destroy(b->disk);
    core_destroy(b->core);
    partition_destroy(b->partition);
    b->partition = NULL;
    log_core_destroy(b->log_core);
    post_office_destroy(b->office);
    free(b->image);
    b->image = NULL;
    b->up = b->adopted = false;
}

void story_loses_power(struct story *s, unsigned broker)
{
    struct machine *b = machine(s, broker);
    sim_fs_crash(b->fs, SIM_CRASH_LOSES);
    stop(b);
    tell(s, "the power of broker %u goes", broker);
}

/* What moved in this turn, in one sentence each. */
static void notice(struct story *s, struct machine *b)
{
    struct partition_look look;
    if (!b->adopted)
        return; /* no marks yet */
    partition_look(b->partition, &look);
    int64_t durable = log_durable_end(partition_log(b->partition));
    const char *verb = s->topic.ack_durability == ACK_DURABILITY_MEMORY ? "has written" : "holds"; /* without a flush: the power may take it */
    if (look.log_end != b->log_end)
        tell(s, "broker %u %s: its log ends at %" PRId64, b->number, look.log_end > b->log_end ? "appends" : "cuts off what is not of this epoch",
             look.log_end);
    if (durable != b->durable_end && look.high_watermark != b->high_watermark)
        tell(s, "broker %u: its disk %s all below %" PRId64 ", committed is all below %" PRId64, b->number, verb, durable, look.high_watermark);
    else if (durable != b->durable_end)
        tell(s, "broker %u: its disk %s all below %" PRId64, b->number, verb, durable);
    else if (look.high_watermark != b->high_watermark)
        tell(s, "broker %u: committed is all below %" PRId64, b->number, look.high_watermark);
    b->log_end = look.log_end;
    b->durable_end = durable;
    b->high_watermark = look.high_watermark;
}

/* A turn says of itself what was given to it and taken from it. */
static void check_turn(struct story *s, const struct machine *b, const struct turn *did)
{
    static const enum turn_work_kind kinds[] = {TURN_WORK_frames_in, TURN_WORK_frames_out, TURN_WORK_disk, TURN_WORK_jobs, TURN_WORK_begun};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(kinds); i++)
        if (core_last_turn(b->core)->work[kinds[i]] != did->work[kinds[i]])
            wrong(s, turn_work_help[kinds[i]]);
}

/* True: it did something. */
static bool broker_turns(struct story *s, struct machine *b)
{
    struct tide_time t = {.now_ns = s->now_ns, .wall_ms = WALL_BEGIN_MS + (int64_t)(s->now_ns / TIDE_NS_PER_MS)};
    struct turn did = {.work = {[TURN_WORK_frames_in] = b->io.rx_count, [TURN_WORK_disk] = b->io.done_count, [TURN_WORK_jobs] = b->io.jobs_done_count}};
    bool busy = core_turn(b->core, &t, &b->io) != 0;
    if (busy) {
        did.work[TURN_WORK_frames_out] = b->io.tx_count;
        did.work[TURN_WORK_begun] = b->io.out.op_count + b->io.out.job_count;
        core_on_turn_end(b->core, s->now_ns + 1);
        check_turn(s, b, &did);
    }
    for (unsigned i = 0; i < b->io.tx_count; i++)
        fly(s, b->io.tx[i]);
    b->io.tx_count = 0;
    if (b->io.out.op_count != 0 && sim_disk_submit(b->disk, s->now_ns, b->io.out.ops, b->io.out.op_count) != TIDE_OK)
        wrong(s, "a full disk queue");
    b->io.out.op_count = 0;
    for (unsigned i = 0; i < b->io.out.job_count; i++)
        b->jobs[b->job_count++] = b->io.out.jobs[i];
    b->io.out.job_count = 0;
    core_check(b->core);
    notice(s, b);
    return busy;
}

static void broker_step(struct story *s, struct machine *b)
{
    for (unsigned i = 0; i < b->job_count; i++) {
        b->jobs[i]->run(b->jobs[i], sim_fs_verbs(b->fs));
        b->io.jobs_done[b->io.jobs_done_count++] = b->jobs[i];
    }
    b->job_count = 0;
    b->io.done_count = sim_disk_take(b->disk, s->now_ns, b->io.done, CORE_DONE_MAX);
    (void)broker_turns(s, b);
}

void story_rests(struct story *s, unsigned broker)
{
    struct machine *b = machine(s, broker);
    unsigned turns = 0;
    while (broker_turns(s, b))
        if (++turns == 4)
            wrong(s, "a core that is busy with nothing");
    if (core_deadline_ns(b->core) <= s->now_ns)
        wrong(s, "a core that is not to sleep");
}

/* ---- a client ------------------------------------------------------------------------------------------------------ */

static struct client *client(struct story *s, const char *name)
{
    for (unsigned i = 0; i < s->client_count; i++)
        if (strcmp(s->clients[i].name, name) == 0)
            return &s->clients[i];
    wrong(s, "there is no such client");
    return NULL;
}

static void connect_to(struct story *s, struct client *c, unsigned broker)
{
    struct tcp_endpoint from = {c->net.config.addr, (uint16_t)(20000 + c->port++)}, to = {broker_addr(broker), PORT};
    if (c->conn != NULL)
        tcp_abort(c->conn);
    tide_rope_clear(&c->in);
    c->connected = false;
    c->conn = tcp_connect(c->stack, s->now_ns, &from, &to);
    if (c->conn == NULL)
        wrong(s, "no connection is free");
}

/* "red, green" of "red green". */
static void list_words(const char *words, char *to)
{
    for (; *words != 0; words++) {
        if (*words == ' ')
            *to++ = ',';
        *to++ = *words;
    }
    *to = 0;
}

static void request_begin(struct client *c, struct wire_writer *w, int16_t api, int16_t version)
{
    wire_writer_init(w, pools.client);
    wire_frame_begin(w);
    kafka_request_header_write(w, api, version, c->requests, c->name, (uint32_t)strlen(c->name));
}

static void request_end(struct story *s, struct client *c, struct wire_writer *w)
{
    if (!wire_frame_end(w) || c->conn == NULL)
        wrong(s, "a request that cannot be sent");
    tcp_write(c->conn, &w->out);
    c->requests++;
}

static size_t build_batch(const char *words, int64_t producer, int32_t sequence, uint8_t *batch, size_t cap)
{
    struct batch_build_record r[WORDS_MAX];
    unsigned n = 0;
    for (const char *at = words; *at != 0 && n < WORDS_MAX;) {
        size_t len = strcspn(at, " ");
        r[n++] = (struct batch_build_record){.timestamp = WALL_BEGIN_MS, .value = (const uint8_t *)at, .value_len = (int32_t)len};
        at += len + (at[len] == ' ');
    }
    return batch_build(batch, cap, r, n, producer, 0, sequence);
}

static void send_batch(struct story *s, struct client *c, int16_t acks, int64_t producer, int32_t sequence, const char *words)
{
    uint8_t batch[4096];
    struct wire_writer w;
    struct tide_rope records = {0};
    size_t len = build_batch(words, producer, sequence, batch, sizeof(batch));
    char *asked = c->asked[c->requests % WORDS_MAX];
    if (len == 0 || strlen(words) > sizeof(c->asked[0]) / 2 || tide_rope_copy_in(&records, pools.client, batch, (uint32_t)len) != TIDE_OK)
        wrong(s, "a batch that cannot be built");
    list_words(words, asked);
    tell(s, "%s sends %s with acks=%s", c->name, asked, acks == -1 ? "all" : acks == 1 ? "1" : "0");
    request_begin(c, &w, KAFKA_API_PRODUCE, 7);
    produce_request_put_transactional_id(&w, 7, NULL, 0);
    produce_request_put_acks(&w, 7, acks);
    produce_request_put_timeout_ms(&w, 7, 30000);
    produce_request_open_topic_data(&w, 7, 1);
    produce_request_topic_data_put_name(&w, 7, "t", 1);
    produce_request_topic_data_open_partition_data(&w, 7, 1);
    produce_request_partition_data_put_index(&w, 7, 0);
    produce_request_partition_data_put_records(&w, 7, &records);
    request_end(s, c, &w);
}

void story_sends(struct story *s, const char *name, int16_t acks, const char *words)
{
    send_batch(s, client(s, name), acks, -1, -1, words);
}

void story_sends_numbered(struct story *s, const char *name, int32_t sequence, const char *words)
{
    send_batch(s, client(s, name), -1, PRODUCER_ID, sequence, words);
}

void story_asks(struct story *s, const char *name, int64_t offset, int32_t wait_ms)
{
    struct client *c = client(s, name);
    struct wire_writer w;
    c->asked[c->requests % WORDS_MAX][0] = 0; /* a fetch */
    tell(s, "%s asks for what is at %" PRId64 " and behind", c->name, offset);
    request_begin(c, &w, KAFKA_API_FETCH, 4);
    fetch_request_put_replica_id(&w, 4, -1);
    fetch_request_put_max_wait_ms(&w, 4, wait_ms);
    fetch_request_put_min_bytes(&w, 4, 1);
    fetch_request_put_max_bytes(&w, 4, 100000);
    fetch_request_put_isolation_level(&w, 4, 1);
    fetch_request_open_topics(&w, 4, 1);
    fetch_request_topic_put_topic(&w, 4, "t", 1);
    fetch_request_topic_open_partitions(&w, 4, 1);
    fetch_request_partition_put_partition(&w, 4, 0);
    fetch_request_partition_put_fetch_offset(&w, 4, offset);
    fetch_request_partition_put_partition_max_bytes(&w, 4, 60000);
    request_end(s, c, &w);
}

static void on_produced(struct story *s, struct client *c, const char *asked, struct wire_cursor *body)
{
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response p;
    if (!produce_response_read(body, 7, &in) || !produce_response_topic_produce_response_next(&in.responses, 7, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, 7, &p))
        wrong(s, "a malformed produce response");
    if (p.error_code != 0)
        tell(s, "%s hears of %s: %s", c->name, asked, kafka_error_name(p.error_code));
    else
        tell(s, "%s hears: %s %s at %" PRId64, c->name, asked, strchr(asked, ',') != NULL ? "are" : "is", p.base_offset);
}

/* "red at 0, green at 1" of the batches. */
static void list_records(struct story *s, const uint8_t *bytes, uint32_t len, char *to, size_t room)
{
    size_t n = 0;
    for (uint32_t at = 0; at + BATCH_HEADER <= len;) {
        struct batch_header h;
        struct batch_iter it;
        struct batch_record r;
        batch_header_parse(bytes + at, &h);
        if (batch_crc_update(0, bytes + at + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) != h.crc)
            wrong(s, "a damaged batch");
        batch_iter_init(&it, &h, bytes + at + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
        while (batch_iter_next(&it, &r))
            n += (size_t)snprintf(to + n, room - n, "%s%.*s at %" PRId64, n != 0 ? ", " : "", (int)r.value_len, (const char *)r.value, r.offset);
        at += batch_size(&h);
    }
    if (n == 0)
        snprintf(to, room, "nothing");
}

static void on_fetched(struct story *s, struct client *c, struct wire_cursor *body)
{
    static uint8_t bytes[65536];
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    char records[1024] = "";
    if (!fetch_response_read(body, 4, &in) || !fetch_response_fetchable_topic_response_next(&in.responses, 4, &t) ||
        !fetch_response_partition_data_next(&t.partitions, 4, &p))
        wrong(s, "a malformed fetch response");
    if (p.error_code != 0) {
        tell(s, "%s hears: %s", c->name, kafka_error_name(p.error_code));
        return;
    }
    if (p.records.at.len > sizeof(bytes))
        wrong(s, "too long a fetch");
    tide_slice_copy(p.records.at, bytes);
    list_records(s, bytes, p.records.at.len, records, sizeof(records));
    tell(s, "%s reads %s", c->name, records);
}

static void take_responses(struct story *s, struct client *c)
{
    while (c->in.len >= 8) {
        uint8_t head[8];
        struct wire_cursor body;
        tide_slice_copy(tide_rope_slice(&c->in, 0, 8), head);
        uint32_t size = load_be32(head);
        if (c->in.len < size + 4)
            return;
        const char *asked = c->asked[load_be32(head + 4) % WORDS_MAX];
        wire_cursor_init(&body, tide_rope_slice(&c->in, 8, size - 4));
        if (asked[0] != 0)
            on_produced(s, c, asked, &body);
        else
            on_fetched(s, c, &body);
        tide_rope_drop(&c->in, size + 4);
    }
}

static void client_events(struct story *s, struct client *c)
{
    struct tcp_event e;
    while (tcp_next_event(c->stack, &e)) {
        if (e.conn != c->conn)
            continue;
        c->connected = true;
        if (e.bits & TCP_EVENT_READABLE) {
            tcp_consumed(c->conn, tcp_read(c->conn, &c->in));
            take_responses(s, c);
        }
        if (e.bits & (TCP_EVENT_GONE | TCP_EVENT_PEER_CLOSED)) {
            tell(s, "%s loses the connection", c->name);
            if (!(e.bits & TCP_EVENT_GONE))
                tcp_abort(c->conn);
            c->conn = NULL;
        }
    }
}

static void client_step(struct story *s, struct client *c)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    unsigned n;
    tcp_on_time(c->stack, s->now_ns);
    net_on_time(&c->net, s->now_ns);
    client_events(s, c);
    while ((n = tcp_output(c->stack, s->now_ns, packets, metas, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (net_output(&c->net, s->now_ns, packets[i], &metas[i].src, &metas[i].dst, 0) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
    while ((n = net_take_tx(&c->net, packets, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            fly(s, packets[i]);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

static void step(struct story *s)
{
    deliver(s);
    for (unsigned i = 0; i < s->broker_count; i++)
        if (s->machines[i].up)
            broker_step(s, &s->machines[i]);
    control_step(s);
    for (unsigned i = 0; i < s->client_count; i++)
        client_step(s, &s->clients[i]);
    s->now_ns += STORY_STEP_NS;
}

void story_passes(struct story *s, double ms)
{
    uint64_t until = s->now_ns + (uint64_t)(ms * 1e6 + 0.5);
    while (s->now_ns < until)
        step(s);
}

static void wait_for(struct story *s, const struct client *c)
{
    for (unsigned i = 0; !c->connected; i++) {
        if (i == CONNECT_STEPS)
            wrong(s, "nobody answers");
        step(s);
    }
    story_passes(s, 1); /* what a new connection has to say is said */
}

void story_client(struct story *s, const char *name, unsigned broker)
{
    struct client *c = &s->clients[s->client_count];
    struct net_config n = {.mac = {{2, 0, 0, 0, 0, (uint8_t)(CLIENT_MAC + s->client_count)}}, .addr = tide_addr_v4(0x0a000064 + s->client_count),
                           .prefix_len = 24, .mtu = 1500, .tx_pool = pools.tx, .counters = &c->counters};
    struct tcp_config t = {.connections_max = 16, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 1 << 18,
                           .mss = 1460, .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = pools.tx, .secret = {(uint8_t)(s->client_count + 100)}};
    if (s->client_count == STORY_CLIENTS_MAX || strlen(name) >= NAME_ROOM)
        wrong(s, "no room for a client");
    strcpy(c->name, name);
    c->stack = tcp_stack_create(&t);
    if (c->stack == NULL || net_init(&c->net, &n, s->now_ns) != TIDE_OK)
        wrong(s, "no client");
    s->client_count++;
    connect_to(s, c, broker);
    uint64_t before = s->now_ns;
    wait_for(s, c);
    s->zero_ns += s->now_ns - before; /* the time of the story stands still meanwhile */
}

void story_reconnects(struct story *s, const char *name, unsigned broker)
{
    struct client *c = client(s, name);
    connect_to(s, c, broker);
    wait_for(s, c);
}

/* ---- the world ------------------------------------------------------------------------------------------------------ */

static void count_free(unsigned *ret)
{
    ret[0] = rte_mempool_avail_count(pools.tx);
    ret[1] = rte_mempool_avail_count(pools.request);
    ret[2] = rte_mempool_avail_count(pools.response);
    ret[3] = rte_mempool_avail_count(pools.client);
    ret[4] = rte_mempool_avail_count(pools.peer);
}

struct story *story_begin(unsigned brokers)
{
    struct story *s = calloc(1, sizeof(*s));
    if (pools.tx == NULL) {
        unit_eal();
        pools.tx = unit_pool("story_tx", 4095, 1800);
        pools.request = unit_pool("story_request", 127, 16384);
        pools.response = unit_pool("story_response", 255, 8192);
        pools.client = unit_pool("story_client", 4095, 1800);
        pools.peer = unit_pool("story_peer", 1023, 256);
    }
    if (s == NULL || brokers == 0 || brokers > STORY_BROKERS_MAX)
        abort();
    count_free(free_before);
    s->now_ns = s->zero_ns = BEGIN_NS;
    s->broker_count = brokers;
    s->leader = -1;
    s->isr = (1u << brokers) - 1;
    s->topic_id = (struct tide_uuid){{7}};
    s->cluster_id = (struct tide_uuid){{8}};
    settings_defaults(&s->settings);
    s->settings.replica_lag_time_max_ms = STORY_LAG_MS;
    settings_topic_defaults(&s->settings, &s->topic);
    s->topic.segment_bytes = 1 << 20;
    for (unsigned i = 0; i < brokers; i++) {
        struct machine *b = &s->machines[i];
        b->story = s;
        b->number = i + 1;
        b->fs = sim_fs_create(&(struct sim_fs_config){.seed = 1});
        if (sim_fs_verbs(b->fs)->mkdir(sim_fs_verbs(b->fs)->self, "/data") != 0 ||
            sim_fs_verbs(b->fs)->sync_dir(sim_fs_verbs(b->fs)->self, "/") != 0)
            wrong(s, "mkdir");
    }
    return s;
}

void story_end(struct story *s)
{
    unsigned free_now[TIDE_ARRAY_LEN(free_before)];
    for (unsigned i = 0; i < s->broker_count; i++) {
        if (s->machines[i].up) {
            sim_fs_crash(s->machines[i].fs, SIM_CRASH_KEEPS);
            stop(&s->machines[i]);
        }
        sim_fs_destroy(s->machines[i].fs);
    }
    while (s->wire_count != 0)
        rte_pktmbuf_free(s->wire[--s->wire_count].m);
    for (unsigned i = 0; i < s->client_count; i++) {
        tide_rope_clear(&s->clients[i].in);
        tcp_stack_destroy(s->clients[i].stack);
        net_deinit(&s->clients[i].net);
    }
    count_free(free_now);
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(free_before); i++)
        if (free_now[i] != free_before[i])
            wrong(s, "buffers are missing");
    free(s);
}
