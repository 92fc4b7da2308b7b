/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "kafka/header.h"
#include "kafka/messages.h"
#include "tidemark/bytes.h"

enum {
    FETCH_VERSION = 11, PREFERRED_MS = 500,
    VALUE_MAX = 2500, IN_FLIGHT = 5, RETRY_MS = 20, ANSWER_MS = 2000, PRODUCER_ID = 42, RECORDS_MAX = 1 << 15,
    OTHER = 7, /* in a correlation id, where a partition's number is: not of a partition */
    GROUP = 6,
    TAKEN_BACK = -1, /* offset of a record that went with everybody who had it */
};

#define trace(c, ...) (c)->config.trace((c)->config.arg, __VA_ARGS__)

_Noreturn static void fail(const struct sim_client *c, const char *what)
{
    c->config.fail(c->config.arg, what);
    abort();
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

static uint32_t value_of(unsigned p, uint32_t number, uint8_t *to)
{
    uint32_t len = 8 + (number * 7919u + p * 31u) % VALUE_MAX;
    memset(to, (int)(number & 0xff), len);
    memcpy(to, &number, sizeof(number));
    to[4] = (uint8_t)p;
    return len;
}

/* kind 1 bit, partition 3, generation 12, number 15 */
static int32_t correlation_of(bool fetch, unsigned p, uint32_t generation, uint32_t number)
{
    return (int32_t)((uint32_t)fetch << 30 | p << 27 | (generation & 0xfff) << 15 | number);
}

static void send_request(struct sim_client *c, struct sim_line *l, struct wire_writer *w)
{
    if (!wire_frame_end(w))
        fail(c, "no memory for a request");
    tcp_write(l->conn, &w->out);
}

static void put_topic(const struct sim_client *c, const char **ret, uint32_t *ret_len)
{
    *ret = c->config.topic;
    *ret_len = (uint32_t)strlen(c->config.topic);
}

static void send_produce(struct sim_client *c, unsigned p, struct sim_line *l, uint32_t number)
{
    uint8_t value[8 + VALUE_MAX], batch[VALUE_MAX + 400];
    struct batch_build_record r = {.timestamp = 1700000000000, .value = value};
    enum sim_producer_kind kind = c->config.kinds[p];
    bool idempotent = kind == SIM_IDEMPOTENT;
    struct wire_writer w;
    struct tide_rope records = {0};
    const char *topic;
    uint32_t topic_len;
    size_t len;
    trace(c, "client: partition %u record %u to broker %ld", p, number, (long)(l - c->lines) + 1);
    put_topic(c, &topic, &topic_len);
    r.value_len = (int32_t)value_of(p, number, value);
    len = batch_build(batch, sizeof(batch), &r, 1, idempotent ? PRODUCER_ID + (int64_t)p : -1, idempotent ? 0 : -1, idempotent ? (int32_t)number : -1);
    if (len == 0 || tide_rope_copy_in(&records, c->config.pools->client, batch, (uint32_t)len) != TIDE_OK)
        fail(c, "no memory for a batch");
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_PRODUCE, 7, correlation_of(false, p, c->producers[p].generation, number), "sim", 3);
    produce_request_put_transactional_id(&w, 7, NULL, 0);
    produce_request_put_acks(&w, 7, kind == SIM_PLAIN_ONE ? 1 : -1);
    produce_request_put_timeout_ms(&w, 7, 1500);
    produce_request_open_topic_data(&w, 7, 1);
    produce_request_topic_data_put_name(&w, 7, topic, topic_len);
    produce_request_topic_data_open_partition_data(&w, 7, 1);
    produce_request_partition_data_put_index(&w, 7, (int32_t)p);
    produce_request_partition_data_put_records(&w, 7, &records);
    send_request(c, l, &w);
}

/* The rack of broker b; partition p is read from the rack of broker p. */
void sim_rack(unsigned b, char to[SIM_RACK_ROOM])
{
    snprintf(to, SIM_RACK_ROOM, "rack %u", b);
}

/* From whom partition p is read now; -1 nobody. */
static int reads_from(struct sim_client *c, unsigned p, int leader)
{
    struct sim_producer *d = &c->producers[p];
    if (d->preferred >= 0 && (c->now_ns >= d->preferred_until_ns || c->lines[d->preferred].conn == NULL))
        d->preferred = -1;
    if (d->preferred >= 0)
        return d->preferred;
    return leader >= 0 && c->lines[leader].conn != NULL ? leader : -1;
}

static void send_fetch(struct sim_client *c, unsigned p, unsigned b)
{
    struct sim_producer *d = &c->producers[p];
    struct sim_fetch_session *x = &d->sessions[b];
    bool incremental = c->config.sessions && x->epoch > 0;
    bool names = !incremental || x->asked != d->read;
    char rack[SIM_RACK_ROOM] = "";
    struct wire_writer w;
    const char *topic;
    uint32_t topic_len;
    put_topic(c, &topic, &topic_len);
    if (c->config.racks)
        sim_rack(p % c->config.brokers, rack);
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_FETCH, FETCH_VERSION, correlation_of(true, p, ++d->fetch_generation, 0), "sim", 3);
    fetch_request_put_replica_id(&w, FETCH_VERSION, -1);
    fetch_request_put_max_wait_ms(&w, FETCH_VERSION, 200);
    fetch_request_put_min_bytes(&w, FETCH_VERSION, 1);
    fetch_request_put_max_bytes(&w, FETCH_VERSION, 60000);
    fetch_request_put_isolation_level(&w, FETCH_VERSION, 1);
    fetch_request_put_session_id(&w, FETCH_VERSION, c->config.sessions ? x->id : 0);
    fetch_request_put_session_epoch(&w, FETCH_VERSION, c->config.sessions ? x->epoch : -1);
    fetch_request_open_topics(&w, FETCH_VERSION, names);
    if (names) {
        fetch_request_topic_put_topic(&w, FETCH_VERSION, topic, topic_len);
        fetch_request_topic_open_partitions(&w, FETCH_VERSION, 1);
        fetch_request_partition_put_partition(&w, FETCH_VERSION, (int32_t)p);
        fetch_request_partition_put_current_leader_epoch(&w, FETCH_VERSION, -1);
        fetch_request_partition_put_fetch_offset(&w, FETCH_VERSION, d->read);
        fetch_request_partition_put_log_start_offset(&w, FETCH_VERSION, -1);
        fetch_request_partition_put_partition_max_bytes(&w, FETCH_VERSION, 40000);
    }
    fetch_request_open_forgotten_topics_data(&w, FETCH_VERSION, 0);
    fetch_request_put_rack_id(&w, FETCH_VERSION, rack, (uint32_t)strlen(rack));
    send_request(c, &c->lines[b], &w);
    x->asked = d->read;
    d->asked_ns = c->now_ns;
    d->fetch_from = (int)b;
}

void sim_client_create_topic(struct sim_client *c, uint64_t now_ns, unsigned broker)
{
    static const struct { const char *name, *value; } configs[] = {{"min.insync.replicas", "2"}, {"segment.bytes", "1048576"}, {"ack.durability", "memory"}};
    size_t config_count = TIDE_ARRAY_LEN(configs) - !c->config.memory;
    struct wire_writer w;
    const char *topic;
    uint32_t topic_len;
    if (c->created || c->create_at >= 0 || now_ns < c->create_ns || c->lines[broker].conn == NULL)
        return;
    put_topic(c, &topic, &topic_len);
    trace(c, "client: asks broker %u for the topic", broker + 1);
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_CREATE_TOPICS, 2, correlation_of(false, OTHER, 0, 0), "sim", 3);
    create_topics_request_open_topics(&w, 2, 1);
    create_topics_request_topic_put_name(&w, 2, topic, topic_len);
    create_topics_request_topic_put_num_partitions(&w, 2, (int32_t)c->config.partitions);
    create_topics_request_topic_put_replication_factor(&w, 2, (int16_t)c->config.brokers);
    create_topics_request_topic_open_assignments(&w, 2, 0);
    create_topics_request_topic_open_configs(&w, 2, (uint32_t)config_count);
    for (size_t i = 0; i < config_count; i++) {
        create_topics_request_config_put_name(&w, 2, configs[i].name, (uint32_t)strlen(configs[i].name));
        create_topics_request_config_put_value(&w, 2, configs[i].value, (uint32_t)strlen(configs[i].value));
    }
    create_topics_request_put_timeout_ms(&w, 2, 1000);
    create_topics_request_put_validate_only(&w, 2, false);
    send_request(c, &c->lines[broker], &w);
    c->create_at = (int)broker;
}

/* ---- the group ------------------------------------------------------------------------------------------------------ */

static void send_commit(struct sim_client *c, struct sim_line *l)
{
    struct sim_group *g = &c->group;
    struct wire_writer w;
    const char *topic;
    uint32_t topic_len;
    put_topic(c, &topic, &topic_len);
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_OFFSET_COMMIT, 2, correlation_of(false, GROUP, g->generation, 0), "sim", 3);
    offset_commit_request_put_group_id(&w, 2, "g", 1);
    offset_commit_request_put_generation_id_or_member_epoch(&w, 2, -1);
    offset_commit_request_put_member_id(&w, 2, "", 0);
    offset_commit_request_put_retention_time_ms(&w, 2, -1);
    offset_commit_request_open_topics(&w, 2, 1);
    offset_commit_request_topic_put_name(&w, 2, topic, topic_len);
    offset_commit_request_topic_open_partitions(&w, 2, 1);
    offset_commit_request_partition_put_partition_index(&w, 2, 0);
    offset_commit_request_partition_put_committed_offset(&w, 2, g->asked);
    offset_commit_request_partition_put_committed_metadata(&w, 2, "", 0);
    send_request(c, l, &w);
}

static void send_offset_fetch(struct sim_client *c, struct sim_line *l)
{
    struct wire_writer w;
    const char *topic;
    uint32_t topic_len;
    put_topic(c, &topic, &topic_len);
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_OFFSET_FETCH, 2, correlation_of(true, GROUP, c->group.generation, 0), "sim", 3);
    offset_fetch_request_put_group_id(&w, 2, "g", 1);
    offset_fetch_request_open_topics(&w, 2, 1);
    offset_fetch_request_topic_put_name(&w, 2, topic, topic_len);
    offset_fetch_request_topic_open_partition_indexes(&w, 2, 1);
    wire_put_i32(&w, 0);
    send_request(c, l, &w);
}

static void send_find(struct sim_client *c, struct sim_line *l)
{
    struct wire_writer w;
    wire_writer_init(&w, c->config.pools->client);
    wire_frame_begin(&w);
    kafka_request_header_write(&w, KAFKA_API_FIND_COORDINATOR, 0, correlation_of(false, GROUP, c->group.generation, 1), "sim", 3);
    find_coordinator_request_put_key(&w, 0, "g", 1);
    send_request(c, l, &w);
}

static void group_again(struct sim_client *c, uint64_t ms)
{
    c->group.at = -1;
    c->group.at_ns = c->now_ns + ms * TIDE_NS_PER_MS;
}

/* Nobody knows what became of a commit that was not answered. */
static void group_hang_up(struct sim_client *c)
{
    struct sim_group *g = &c->group;
    if (!g->finds && !g->fetches && (g->strays == 0 || g->stray[g->strays - 1] != g->asked)) {
        if (g->strays == TIDE_ARRAY_LEN(g->stray))
            memmove(g->stray, g->stray + 1, --g->strays * sizeof(g->stray[0]));
        g->stray[g->strays++] = g->asked;
    }
    g->generation++;
    group_again(c, RETRY_MS);
}

static bool may_be_read(const struct sim_group *g, int64_t offset)
{
    if (offset >= g->acked && offset <= g->asked)
        return true;
    for (unsigned i = 0; i < g->strays; i++)
        if (g->stray[i] == offset)
            return true;
    return false;
}

static bool is_passing(int16_t error)
{
    return error == KAFKA_NOT_COORDINATOR || error == KAFKA_COORDINATOR_NOT_AVAILABLE || error == KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
}

static void on_offset(struct sim_client *c, struct wire_cursor *at)
{
    struct sim_group *g = &c->group;
    struct offset_fetch_response in;
    struct offset_fetch_response_topic t;
    struct offset_fetch_response_partition p;
    if (!offset_fetch_response_read(at, 2, &in))
        fail(c, "a malformed answer to OffsetFetch");
    trace(c, "client: offset of the group: error %d", in.error_code);
    if (in.error_code != 0) {
        if (!is_passing(in.error_code))
            fail(c, "OffsetFetch is refused for good");
        group_again(c, RETRY_MS);
        return;
    }
    if (!offset_fetch_response_topic_next(&in.topics, 2, &t) || !offset_fetch_response_partition_next(&t.partitions, 2, &p))
        fail(c, "a malformed answer to OffsetFetch");
    trace(c, "client: offset of the group is %ld; acknowledged %ld", p.committed_offset, g->acked);
    if (p.error_code != 0 || !may_be_read(g, p.committed_offset))
        fail(c, "P1: a commit of a group that was acknowledged is lost");
    g->read = p.committed_offset;
    g->confirmed = g->acked + 1 == c->config.commits;
    group_again(c, g->confirmed ? 1000 : 1 + (uint64_t)g->acked % 40);
}

static void on_committed(struct sim_client *c, struct wire_cursor *at)
{
    struct sim_group *g = &c->group;
    struct offset_commit_response in;
    struct offset_commit_response_topic t;
    struct offset_commit_response_partition p;
    if (!offset_commit_response_read(at, 2, &in) || !offset_commit_response_topic_next(&in.topics, 2, &t) ||
        !offset_commit_response_partition_next(&t.partitions, 2, &p))
        fail(c, "a malformed answer to OffsetCommit");
    trace(c, "client: commit of %ld: error %d", g->asked, p.error_code);
    if (p.error_code == 0)
        g->acked = g->asked;
    else if (!is_passing(p.error_code) && p.error_code != KAFKA_UNKNOWN_TOPIC_OR_PARTITION)
        fail(c, "a commit is refused for good");
    if (p.error_code != 0) { /* it may have been appended, and come to be committed (kafka-protocol 9.2) */
        group_hang_up(c);
        return;
    }
    group_again(c, 1 + (uint64_t)g->acked % 40);
}

static void group_on_answer(struct sim_client *c, uint32_t id, struct wire_cursor *at)
{
    struct sim_group *g = &c->group;
    if ((g->generation & 0xfff) != (id >> 15 & 0xfff) || g->at < 0)
        return;
    if (g->finds)
        group_again(c, RETRY_MS); /* whatever it says: the view is asked */
    else if (g->fetches)
        on_offset(c, at);
    else
        on_committed(c, at);
}

static void group_work(struct sim_client *c)
{
    struct sim_group *g = &c->group;
    int coordinator;
    if (c->config.coordinator == NULL || !c->created || g->at >= 0 || c->now_ns < g->at_ns)
        return;
    coordinator = c->config.coordinator(c->config.arg);
    g->finds = coordinator == -2;
    if (g->finds)
        coordinator = (int)(g->generation % c->config.brokers);
    if (coordinator < 0 || c->lines[coordinator].conn == NULL) {
        group_again(c, RETRY_MS);
        g->generation += g->finds;
        return;
    }
    g->at = coordinator;
    g->generation++;
    /* A commit that was refused or not answered is tried again under the same number. */
    g->fetches = !g->finds && (g->acked + 1 == c->config.commits || (g->acked >= 0 && g->acked == g->asked && g->read != g->acked));
    if (!g->finds && !g->fetches)
        g->asked = g->acked + 1;
    if (g->finds)
        send_find(c, &c->lines[coordinator]);
    else if (g->fetches)
        send_offset_fetch(c, &c->lines[coordinator]);
    else
        send_commit(c, &c->lines[coordinator]);
}

/* ---- what comes back ---------------------------------------------------------------------------------------------- */

/* Everything that was not acknowledged is sent again, with the same sequences, to whoever leads then. */
static void start_over(struct sim_client *c, unsigned p)
{
    struct sim_producer *d = &c->producers[p];
    d->generation++;
    d->sent = d->acked;
    d->leader = -1;
    d->retry_ns = c->now_ns + RETRY_MS * TIDE_NS_PER_MS;
}

static void hang_up(struct sim_client *c, unsigned b)
{
    struct sim_line *l = &c->lines[b];
    if (l->conn != NULL)
        tcp_abort(l->conn);
    l->conn = NULL;
    tide_rope_clear(&l->in);
    l->again_ns = c->now_ns + RETRY_MS * TIDE_NS_PER_MS;
    if (c->create_at == (int)b)
        c->create_at = -1;
    if (c->group.at == (int)b)
        group_hang_up(c);
    for (unsigned p = 0; p < c->config.partitions; p++) {
        struct sim_producer *d = &c->producers[p];
        if (d->leader == (int)b)
            start_over(c, p);
        if (d->fetch_from == (int)b)
            d->asked_ns = 0, d->fetch_from = -1;
        d->sessions[b].epoch = 0; /* a new one instead of that */
    }
}

static void on_created(struct sim_client *c, struct wire_cursor *at)
{
    struct create_topics_response in;
    struct create_topics_response_topic t;
    if (!create_topics_response_read(at, 2, &in) || !create_topics_response_topic_next(&in.topics, 2, &t))
        fail(c, "a malformed answer to CreateTopics");
    trace(c, "client: the topic: error %d", t.error_code);
    c->create_at = -1;
    c->create_ns = c->now_ns + 5 * RETRY_MS * TIDE_NS_PER_MS;
    c->created |= t.error_code == 0 || t.error_code == KAFKA_TOPIC_ALREADY_EXISTS;
}

static void acknowledged(struct sim_client *c, unsigned p, uint32_t number, int64_t offset)
{
    struct sim_producer *d = &c->producers[p];
    if (c->config.kinds[p] != SIM_IDEMPOTENT)
        d->offsets[number] = offset;
    else if (offset != (int64_t)number)
        fail(c, "P6: a record was acknowledged at an offset that is not its own");
    if (c->config.kinds[p] != SIM_PLAIN_ONE && offset >= c->config.committed(c->config.arg, p))
        fail(c, "P1: a record was acknowledged that nobody committed");
    d->acked++;
}

static void on_produced(struct sim_client *c, unsigned p, uint32_t generation, uint32_t number, struct wire_cursor *at)
{
    struct sim_producer *d = &c->producers[p];
    struct produce_response in;
    struct produce_response_topic_produce_response t;
    struct produce_response_partition_response r;
    if (!produce_response_read(at, 7, &in) || !produce_response_topic_produce_response_next(&in.responses, 7, &t) ||
        !produce_response_partition_response_next(&t.partition_responses, 7, &r))
        fail(c, "a malformed produce response");
    if ((d->generation & 0xfff) != generation)
        return;
    trace(c, "client: partition %u record %u: error %d, offset %ld", p, number, r.error_code, r.base_offset);
    if (number != d->acked)
        fail(c, "answers out of order");
    switch (r.error_code) {
    case 0: acknowledged(c, p, number, r.base_offset); break;
    case KAFKA_NOT_LEADER_OR_FOLLOWER:
    case KAFKA_UNKNOWN_TOPIC_OR_PARTITION:
    case KAFKA_LEADER_NOT_AVAILABLE:
    case KAFKA_NOT_ENOUGH_REPLICAS:
    case KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case KAFKA_REQUEST_TIMED_OUT:
    case KAFKA_KAFKA_STORAGE_ERROR: start_over(c, p); break;
    default:
        fprintf(stderr, "error %d for record %u of partition %u\n", r.error_code, number, p);
        fail(c, "P6: a produce was refused for good");
    }
}

/* Which record it is, by what it holds. */
static uint32_t number_of(const struct sim_client *c, unsigned p, const struct batch_record *rec)
{
    uint8_t want[8 + VALUE_MAX];
    uint32_t number;
    if (rec->value_len < 8)
        fail(c, "P5: a record that nobody sent");
    memcpy(&number, rec->value, sizeof(number));
    if (number >= c->config.records || (uint32_t)rec->value_len != value_of(p, number, want) || memcmp(rec->value, want, (size_t)rec->value_len) != 0)
        fail(c, "P5: a record that nobody sent");
    return number;
}

static void note_seen(struct sim_client *c, unsigned p, int64_t offset, uint32_t number)
{
    struct sim_producer *d = &c->producers[p];
    if (c->config.kinds[p] == SIM_IDEMPOTENT) {
        if (offset != (int64_t)number)
            fail(c, "P5: a record is missing, doubled, out of order, or another one");
        return;
    }
    if (offset >= d->seen_room) {
        d->seen_room = 2 * offset + 64;
        d->seen = realloc(d->seen, (size_t)d->seen_room * sizeof(*d->seen));
        TIDE_ASSERT(d->seen != NULL);
    }
    d->seen[offset] = number + 1;
}

static void see(struct sim_client *c, unsigned p, const struct batch_record *rec)
{
    struct sim_producer *d = &c->producers[p];
    if (rec->offset < d->read)
        return;
    if (rec->offset != d->read)
        fail(c, "P5: an offset is missing");
    if (rec->offset >= c->config.committed(c->config.arg, p))
        fail(c, "P5: a record was served that nobody committed");
    note_seen(c, p, rec->offset, number_of(c, p, rec));
    d->read++;
}

static void each_record(struct sim_client *c, unsigned p, const uint8_t *batch,
                        void (*visit)(struct sim_client *, unsigned, const struct batch_record *))
{
    struct batch_header h;
    struct batch_iter it;
    struct batch_record rec;
    batch_header_parse(batch, &h);
    if (batch_crc_update(0, batch + BATCH_ATTRIBUTES, batch_size(&h) - BATCH_ATTRIBUTES) != h.crc)
        fail(c, "P4: a damaged batch");
    batch_iter_init(&it, &h, batch + BATCH_HEADER, batch_size(&h) - BATCH_HEADER);
    while (batch_iter_next(&it, &rec))
        visit(c, p, &rec);
}

/* False: the session is not to be gone on with; nothing else was said. */
static bool goes_on(struct sim_client *c, struct sim_producer *d, unsigned b, const struct fetch_response *in)
{
    struct sim_fetch_session *x = &d->sessions[b];
    bool incremental = c->config.sessions && x->epoch > 0;
    if (in->error_code == KAFKA_FETCH_SESSION_ID_NOT_FOUND || in->error_code == KAFKA_INVALID_FETCH_SESSION_EPOCH) {
        if (!incremental)
            fail(c, "a session is refused that was not asked for");
        *x = (struct sim_fetch_session){0};
        return false;
    }
    if (in->error_code != 0 || (!c->config.sessions && in->session_id != 0) || (incremental && in->session_id != x->id))
        fail(c, "a fetch of no session, or of another one");
    c->incremental += incremental;
    x->id = in->session_id;
    x->epoch = x->id != 0 ? x->epoch + 1 : 0;
    return true;
}

/* An error, or the leader says that somebody else is nearer. */
static bool is_sent_elsewhere(struct sim_client *c, unsigned p, unsigned b, const struct fetch_response_partition_data *r)
{
    struct sim_producer *d = &c->producers[p];
    bool near = d->preferred == (int)b;
    if (r->error_code == KAFKA_OFFSET_OUT_OF_RANGE && !near)
        fail(c, "P1: what was committed is out of range");
    if (r->error_code != 0) {
        d->preferred = -1;
        d->retry_ns = TIDE_MAX(d->retry_ns, c->now_ns + RETRY_MS * TIDE_NS_PER_MS);
        return true;
    }
    if (r->preferred_read_replica < 0)
        return false;
    if (!c->config.racks || near || r->records.at.len != 0 || r->preferred_read_replica == (int)b + 1 ||
        r->preferred_read_replica != (int)(p % c->config.brokers) + 1)
        fail(c, "a consumer is sent where it should not go");
    d->preferred = r->preferred_read_replica - 1;
    d->preferred_until_ns = c->now_ns + PREFERRED_MS * TIDE_NS_PER_MS;
    c->sent_near++;
    return true;
}

static void on_fetched(struct sim_client *c, unsigned p, unsigned b, struct wire_cursor *at)
{
    static uint8_t bytes[200000];
    struct sim_producer *d = &c->producers[p];
    struct fetch_response in;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data r;
    bool incremental = c->config.sessions && d->sessions[b].epoch > 0;
    uint32_t done = 0;
    if (!fetch_response_read(at, FETCH_VERSION, &in))
        fail(c, "a malformed fetch response");
    d->asked_ns = 0;
    d->fetch_from = -1;
    if (!goes_on(c, d, b, &in))
        return;
    if (!fetch_response_fetchable_topic_response_next(&in.responses, FETCH_VERSION, &t)) {
        if (!incremental)
            fail(c, "a fetch response without what was asked for");
        return;
    }
    if (!fetch_response_partition_data_next(&t.partitions, FETCH_VERSION, &r))
        fail(c, "a malformed fetch response");
    if (is_sent_elsewhere(c, p, b, &r))
        return;
    if (r.records.at.len > sizeof(bytes))
        fail(c, "more than was asked for");
    c->near += d->preferred == (int)b && r.records.at.len != 0;
    tide_slice_copy(r.records.at, bytes);
    while (done + BATCH_HEADER <= r.records.at.len) {
        struct batch_header h;
        batch_header_parse(bytes + done, &h);
        each_record(c, p, bytes + done, see);
        done += batch_size(&h);
    }
}

static void take_responses(struct sim_client *c, unsigned b)
{
    struct sim_line *l = &c->lines[b];
    while (l->in.len >= 8) {
        uint8_t head[8];
        uint32_t size, id;
        struct wire_cursor at;
        unsigned p;
        tide_slice_copy(tide_rope_slice(&l->in, 0, 8), head);
        size = load_be32(head);
        if (l->in.len < size + 4)
            return;
        id = load_be32(head + 4);
        p = id >> 27 & 7;
        wire_cursor_init(&at, tide_rope_slice(&l->in, 8, size - 4));
        if (p >= c->config.partitions && p != OTHER && p != GROUP)
            fail(c, "an answer to no question");
        if (p == OTHER)
            on_created(c, &at);
        else if (p == GROUP)
            group_on_answer(c, id, &at);
        else if (!(id >> 30))
            on_produced(c, p, id >> 15 & 0xfff, id & 0x7fff, &at);
        else if ((c->producers[p].fetch_generation & 0xfff) == (id >> 15 & 0xfff) && c->producers[p].fetch_from == (int)b)
            on_fetched(c, p, b, &at);
        l->heard_ns = c->now_ns;
        tide_rope_drop(&l->in, size + 4);
    }
}

/* ---- a turn --------------------------------------------------------------------------------------------------------- */

static bool is_waiting(const struct sim_client *c, unsigned b)
{
    if (c->create_at == (int)b || c->group.at == (int)b)
        return true;
    for (unsigned p = 0; p < c->config.partitions; p++)
        if ((c->producers[p].leader == (int)b && c->producers[p].sent != c->producers[p].acked) || c->producers[p].fetch_from == (int)b)
            return true;
    return false;
}

static bool has_read_all(const struct sim_client *c, unsigned p)
{
    const struct sim_producer *d = &c->producers[p];
    return d->acked == c->config.records && d->read == c->config.committed(c->config.arg, p);
}

static void work(struct sim_client *c, unsigned p)
{
    struct sim_producer *d = &c->producers[p];
    int leader = c->config.leader(c->config.arg, p);
    /* The first of an idempotent one goes alone: nobody knows it yet, and any sequence would be taken (kafka-protocol 5.3). */
    unsigned room = c->config.kinds[p] == SIM_IDEMPOTENT && d->acked == 0 ? 1 : IN_FLIGHT;
    if (c->now_ns < d->retry_ns)
        return;
    if (d->leader < 0 && leader >= 0 && c->lines[leader].conn != NULL)
        d->leader = leader;
    if (d->leader >= 0 && c->lines[d->leader].conn != NULL)
        while (!(c->config.quiet & 1u << p) && d->sent < c->config.records && d->sent < d->acked + room && c->now_ns >= c->begin_ns + d->sent * c->config.pace_ns)
            send_produce(c, p, &c->lines[d->leader], d->sent++);
    if (d->asked_ns == 0 && !has_read_all(c, p) && !c->config.no_consumer) {
        int from = reads_from(c, p, leader);
        if (from >= 0)
            send_fetch(c, p, (unsigned)from);
    }
}

static void take_events(struct sim_client *c)
{
    struct tcp_event e;
    while (tcp_next_event(c->stack, &e)) {
        unsigned b = 0;
        while (b < c->config.brokers && c->lines[b].conn != e.conn)
            b++;
        if (b == c->config.brokers)
            continue;
        if (e.bits & TCP_EVENT_READABLE) {
            tcp_consumed(e.conn, tcp_read(e.conn, &c->lines[b].in));
            take_responses(c, b);
        }
        if (e.bits & (TCP_EVENT_GONE | TCP_EVENT_PEER_CLOSED)) {
            if (e.bits & TCP_EVENT_GONE)
                c->lines[b].conn = NULL;
            hang_up(c, b);
        }
    }
}

static void keep_line(struct sim_client *c, unsigned b)
{
    struct sim_line *l = &c->lines[b];
    if (l->conn == NULL && c->now_ns >= l->again_ns) {
        struct tcp_endpoint from = {sim_addr(SIM_CLIENT), (uint16_t)(20000 + c->port++ % 20000)}, to = {sim_addr(b), SIM_KAFKA_PORT};
        l->conn = tcp_connect(c->stack, c->now_ns, &from, &to);
        l->heard_ns = c->now_ns;
    }
    if (!is_waiting(c, b))
        l->heard_ns = c->now_ns;
    else if (l->conn != NULL && c->now_ns - l->heard_ns > ANSWER_MS * TIDE_NS_PER_MS)
        hang_up(c, b); /* as a client's request timeout does */
}

static void send_frames(struct sim_client *c)
{
    struct rte_mbuf *packets[32];
    struct tcp_meta metas[32];
    unsigned n;
    while ((n = tcp_output(c->stack, c->now_ns, packets, metas, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (net_output(&c->net, c->now_ns, packets[i], &metas[i].src, &metas[i].dst, 0) != TIDE_OK)
                rte_pktmbuf_free(packets[i]);
    while ((n = net_take_tx(&c->net, packets, 32)) != 0)
        for (unsigned i = 0; i < n; i++)
            sim_wire_send(c->config.wire, c->now_ns, SIM_CLIENT, packets[i]);
}

void sim_client_turn(struct sim_client *c, uint64_t now_ns)
{
    c->now_ns = now_ns;
    tcp_on_time(c->stack, now_ns);
    net_on_time(&c->net, now_ns);
    take_events(c);
    for (unsigned b = 0; b < c->config.brokers; b++)
        keep_line(c, b);
    for (unsigned p = 0; p < c->config.partitions; p++)
        work(c, p);
    group_work(c);
    send_frames(c);
}

uint64_t sim_client_deadline_ns(const struct sim_client *c)
{
    return TIDE_MIN(tcp_deadline_ns(c->stack), net_deadline_ns(&c->net));
}

void sim_client_receive(struct sim_client *c, uint64_t now_ns, struct rte_mbuf *m)
{
    struct net_packet p;
    if (net_input(&c->net, now_ns, m, &p) == NET_TCP)
        tcp_input(c->stack, now_ns, m, &(struct tcp_meta){.src = p.source, .dst = p.destination});
}

/* What was sent and not answered may come yet, and a log that is empty takes any sequence of it: this is no idempotent producer any more. */
static void lose_sequences(struct sim_client *c, unsigned p)
{
    struct sim_producer *d = &c->producers[p];
    c->config.kinds[p] = SIM_PLAIN_ALL;
    for (uint32_t n = 0; n < d->acked; n++)
        d->offsets[n] = n;
}

void sim_client_lose(struct sim_client *c, uint64_t now_ns, unsigned p, int64_t end)
{
    struct sim_producer *d = &c->producers[p];
    c->now_ns = now_ns;
    if (end == 0 && c->config.kinds[p] == SIM_IDEMPOTENT)
        lose_sequences(c, p);
    if (c->config.kinds[p] == SIM_IDEMPOTENT && d->acked > end) {
        c->taken_back += d->acked - (uint32_t)end;
        d->acked = (uint32_t)end;
    }
    for (uint32_t n = 0; c->config.kinds[p] != SIM_IDEMPOTENT && n < d->acked; n++) {
        if (d->offsets[n] < end)
            continue;
        c->taken_back++;
        d->offsets[n] = TAKEN_BACK;
    }
    start_over(c, p); /* what is answered yet is of the time before */
    d->read = TIDE_MIN(d->read, end);
    d->asked_ns = 0;
    d->fetch_from = -1;
    for (unsigned b = 0; b < c->config.brokers; b++)
        d->sessions[b].epoch = 0;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

bool sim_client_is_done(const struct sim_client *c)
{
    for (unsigned p = 0; p < c->config.partitions; p++)
        if (!has_read_all(c, p))
            return false;
    return c->config.coordinator == NULL || c->group.confirmed;
}

static void look_at_held(struct sim_client *c, unsigned p, const struct batch_record *rec)
{
    const struct sim_producer *d = &c->producers[p];
    uint32_t number = number_of(c, p, rec);
    bool same = c->config.kinds[p] == SIM_IDEMPOTENT ? rec->offset == (int64_t)number : d->seen[rec->offset] == number + 1;
    if (rec->offset < d->read && !same)
        fail(c, "P5: what was read is another record now");
}

struct held {
    struct sim_client *client;
    unsigned partition;
};

static void on_held(void *held, const uint8_t *batch, uint32_t size)
{
    const struct held *h = held;
    (void)size;
    each_record(h->client, h->partition, batch, look_at_held);
}

uint64_t sim_client_compare(struct sim_client *c, unsigned partition, const struct sim_replica *replicas, unsigned count, int64_t end)
{
    struct held held = {c, partition};
    uint64_t first = 0, other = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!sim_machine_read(replicas[i].machine, replicas[i].partition, 0, end, i == 0 ? &first : &other, on_held, &held))
            fail(c, "P4: a replica cannot be read");
        if (i != 0 && other != first)
            fail(c, "P4: replicas hold different bytes");
    }
    return first;
}

void sim_client_judge(struct sim_client *c)
{
    for (unsigned p = 0; p < c->config.partitions; p++) {
        const struct sim_producer *d = &c->producers[p];
        for (uint32_t n = 0; c->config.kinds[p] != SIM_IDEMPOTENT && n < d->acked; n++) {
            if (d->offsets[n] == TAKEN_BACK)
                continue;
            bool there = d->offsets[n] < d->read && d->seen[d->offsets[n]] == n + 1;
            if (!there && c->config.kinds[p] == SIM_PLAIN_ALL)
                fail(c, "P1: a record that was acknowledged is not where it was");
            c->lost += !there;
        }
    }
}

void sim_client_init(struct sim_client *c, const struct sim_client_config *config, uint64_t now_ns)
{
    struct net_config n = {.mac = sim_mac(SIM_CLIENT), .addr = sim_addr(SIM_CLIENT), .prefix_len = 24, .mtu = 1500, .tx_pool = config->pools->tx,
                           .counters = &c->counters};
    struct tcp_config t = {.connections_max = 256, .syn_backlog = 8, .receive_window_bytes = 65536, .send_buffer_bytes = 1 << 20, .mss = 1460,
                           .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = config->pools->tx, .secret = {1}};
    memset(c, 0, sizeof(*c));
    c->config = *config;
    c->now_ns = c->begin_ns = now_ns;
    c->create_at = c->group.at = -1;
    c->group.asked = c->group.acked = c->group.read = -1;
    TIDE_ASSERT(config->records < RECORDS_MAX);
    if (net_init(&c->net, &n, now_ns) != TIDE_OK || (c->stack = tcp_stack_create(&t)) == NULL)
        fail(c, "no memory for a client");
    for (unsigned p = 0; p < config->partitions; p++) {
        c->producers[p].leader = c->producers[p].fetch_from = c->producers[p].preferred = -1;
        c->producers[p].offsets = calloc(config->records, sizeof(*c->producers[p].offsets));
        TIDE_ASSERT(c->producers[p].offsets != NULL);
    }
}

void sim_client_deinit(struct sim_client *c)
{
    for (unsigned b = 0; b < SIM_BROKERS_MAX; b++)
        tide_rope_clear(&c->lines[b].in);
    for (unsigned p = 0; p < c->config.partitions; p++) {
        free(c->producers[p].offsets);
        free(c->producers[p].seen);
    }
    tcp_stack_destroy(c->stack);
    net_deinit(&c->net);
}
