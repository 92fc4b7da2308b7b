/* SPDX-License-Identifier: Apache-2.0 */
#include "admin_world.h"

struct rte_mempool *pool;

/* ---- what is around ------------------------------------------------------------------------------------------ */

struct world w;

void control_log(const char *format, ...)
{
    (void)format;
}

static void apply(const struct cluster_command *m, struct cluster_result *r)
{
    struct cluster_command stamped = *m;
    stamped.controller_epoch = cluster_controller_epoch(w.c.config.cluster);
    assert_int_equal(cluster_apply((struct cluster *)(uintptr_t)w.c.config.cluster, ++w.index, &stamped, r), TIDE_OK);
    cluster_check(w.c.config.cluster);
}

void control_submit(struct control *c, const struct cluster_command *m, struct admin_ask *ask, uint32_t index)
{
    struct cluster_result r = {0};
    w.commands++;
    if (w.fail_with != 0) {
        r.error = w.fail_with;
        admin_on_result(c, ask, index, &r);
    } else if (w.hold) {
        struct held *h = &w.held[w.held_count++];
        assert_true(w.held_count <= HELD_MAX);
        *h = (struct held){.ask = ask, .index = index, .bytes = malloc(CLUSTER_COMMAND_MAX)};
        assert_int_equal(cluster_command_encode(m, h->bytes, CLUSTER_COMMAND_MAX, &h->len), TIDE_OK);
    } else {
        apply(m, &r);
        admin_on_result(c, ask, index, &r);
        cluster_result_free(&r);
    }
}

void deliver(void)
{
    struct held h = w.held[0];
    struct cluster_command m;
    struct cluster_result r = {0};
    assert_true(w.held_count != 0);
    memmove(w.held, w.held + 1, --w.held_count * sizeof(w.held[0]));
    assert_int_equal(cluster_command_decode(NULL, h.bytes, h.len, &m), TIDE_OK);
    apply(&m, &r);
    cluster_command_free(&m);
    free(h.bytes);
    admin_on_result(&w.c, h.ask, h.index, &r);
    cluster_result_free(&r);
    admin_check(&w.c);
}

uint64_t control_now_ms(const struct control *c)
{
    (void)c;
    return w.now_ms;
}

uint64_t control_show(struct control *c)
{
    (void)c;
    return w.unpublished ? 0 : 7;
}

bool control_is_seen(const struct control *c, uint64_t token)
{
    (void)c;
    assert_int_equal(token, 7);
    return !w.unseen;
}

void control_answer(struct control *c, struct tide_mail *m)
{
    (void)c;
    assert_int_equal(m->from, 0); /* once */
    m->from = UINT32_MAX;
    w.answered = m;
    w.answers++;
}

void control_quorum(const struct control *c, struct control_quorum *ret)
{
    (void)c;
    memset(ret, 0, sizeof(*ret));
    ret->leader = 2;
    ret->epoch = 5;
    ret->high_watermark = 42;
    ret->voter_count = 1;
    ret->voters[0] = (struct control_quorum_member){2, 42, -1, 1000};
    ret->observer_count = 1;
    ret->observers[0] = (struct control_quorum_member){3, 40, 900, 800};
}

struct replica *replicas_find(const struct control *c, const struct tide_uuid *topic_id, int32_t index)
{
    struct replica *r = c->replicas[0];
    return r != NULL && r->index == index && tide_uuid_equal(&r->topic_id, topic_id) ? r : NULL;
}

const char *dirs_path(const struct dirs *d, uint32_t dir)
{
    (void)d;
    return dir == 0 ? "/data/a" : "/data/b";
}

uint32_t dirs_count(const struct dirs *d)
{
    (void)d;
    return 2;
}

void dirs_id(const struct dirs *d, uint32_t dir, struct tide_uuid *ret)
{
    (void)d;
    *ret = (struct tide_uuid){{0x44, (uint8_t)dir}};
}

void dirs_space(const struct dirs *d, uint32_t dir, int64_t *ret_total, int64_t *ret_usable)
{
    (void)d;
    *ret_total = 1000 + dir;
    *ret_usable = 500 + dir;
}

static void measure(struct partition *p, int64_t *ret_bytes, int64_t *ret_lag)
{
    (void)p;
    *ret_bytes = 12345;
    *ret_lag = 0;
}

void give(const struct cluster_command *m)
{
    struct cluster_result r = {0};
    apply(m, &r);
    assert_int_equal(r.error, 0);
    cluster_result_free(&r);
}

void fence(int32_t id, bool fenced)
{
    struct cluster_command m = {.kind = fenced ? CLUSTER_FENCE_BROKER : CLUSTER_UNFENCE_BROKER};
    m.broker.id = id;
    m.broker.epoch = cluster_find_broker(w.c.config.cluster, id)->epoch;
    give(&m);
}

void join(int32_t id)
{
    struct cluster_command m = {.kind = CLUSTER_REGISTER_BROKER};
    m.register_broker.cluster_id = *cluster_id(w.c.config.cluster);
    m.register_broker.previous_epoch = -1;
    m.register_broker.broker.id = id;
    m.register_broker.broker.incarnation = (struct tide_uuid){{(uint8_t)id, 1}};
    m.register_broker.broker.endpoint_count = 1;
    snprintf(m.register_broker.broker.endpoints[0].name, LISTENER_NAME_MAX, "PLAINTEXT");
    snprintf(m.register_broker.broker.endpoints[0].host, CLUSTER_HOST_MAX, "h%d", id);
    m.register_broker.broker.endpoints[0].port = 9092;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        m.register_broker.broker.features[m.register_broker.broker.feature_count++] = *cluster_known_feature(i);
    m.register_broker.broker.directory_count = 1;
    m.register_broker.broker.directories[0] = (struct tide_uuid){{0x44, (uint8_t)id, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}};
    give(&m);
    fence(id, false);
}

static struct tide_uuid new_id(void *arg)
{
    static uint32_t ids;
    struct tide_uuid id = {{0x42, (uint8_t)(arg != NULL)}};
    ids++;
    memcpy(id.bytes + 4, &ids, sizeof(ids));
    return id;
}

int setup(void **state)
{
    struct cluster_command m = {.kind = CLUSTER_INIT};
    memset(&w, 0, sizeof(w));
    settings_defaults(&w.settings);
    w.settings.node_id = 1;
    w.settings.num_partitions = 2;
    w.settings.default_replication_factor = 2;
    w.settings.log_dir_count = 2;
    w.now_ms = 1000;
    w.c.config = (struct control_config){.settings = &w.settings, .cluster = cluster_create(NULL), .response_pool = pool, .broker_id = 1,
                                         .new_id = new_id, .data = {.measure = measure}};
    assert_non_null(w.c.config.cluster);
    m.init.cluster_id = (struct tide_uuid){{1, 2, 3}};
    give(&m);
    m = (struct cluster_command){.kind = CLUSTER_CONTROLLER_EPOCH, .controller_epoch_of = {.node = 1, .term = 1}};
    give(&m);
    for (int32_t id = 1; id <= BROKERS; id++)
        join(id);
    return 0;
}

int teardown(void **state)
{
    assert_null(w.c.asks);
    assert_int_equal(w.held_count, 0);
    cluster_destroy((struct cluster *)(uintptr_t)w.c.config.cluster);
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

struct tide_mail letter;
struct wire_writer question;
struct wire_cursor reply;

struct wire_writer *begin(int16_t key, int16_t v)
{
    memset(&letter, 0, sizeof(letter));
    letter.kind = MAIL_ASK;
    letter.ask.api_key = key;
    letter.ask.api_version = v;
    wire_writer_init(&question, pool);
    return &question;
}

void send_it(void)
{
    assert_false(question.failed);
    letter.ask.body = tide_rope_slice(&question.out, 0, question.out.len);
    admin_on_ask(&w.c, &letter);
    admin_check(&w.c);
}

void tick(void)
{
    (void)admin_tick(&w.c);
    admin_check(&w.c);
}

struct wire_cursor *answer(void)
{
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_BODY);
    wire_cursor_init(&reply, tide_rope_slice(&letter.ask.answer, 0, letter.ask.answer.len));
    return &reply;
}

void done(void)
{
    tide_rope_clear(&letter.ask.answer);
    wire_writer_abandon(&question);
    w.answered = NULL;
    tick(); /* what is answered goes */
}

struct wire_cursor *call(void)
{
    send_it();
    tick();
    return answer();
}

void text_is(const struct wire_bytes *b, const char *want)
{
    char got[SETTING_TEXT_MAX];
    (void)wire_bytes_copy(b, got, sizeof(got));
    assert_string_equal(got, want);
}
/* ---- creating topics ------------------------------------------------------------------------------------------------ */

void put_topic(struct wire_writer *q, int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment,
                      const char *config, const char *value)
{
    create_topics_request_topic_put_name(q, v, name, (uint32_t)strlen(name));
    create_topics_request_topic_put_num_partitions(q, v, partitions);
    create_topics_request_topic_put_replication_factor(q, v, factor);
    uint32_t rows = 0;
    for (const char *p = assignment; p != NULL && *p != 0; p = strchr(p, ';') != NULL ? strchr(p, ';') + 1 : NULL)
        rows++;
    create_topics_request_topic_open_assignments(q, v, (int32_t)rows);
    for (const char *p = assignment; rows-- > 0; p = strchr(p, ';') + 1) { /* "0:1,2;1:2,3" */
        char row[64];
        char *save = NULL;
        snprintf(row, sizeof(row), "%.*s", (int)strcspn(p, ";"), p);
        create_topics_request_assignment_put_partition_index(q, v, atoi(row));
        char *ids = strchr(row, ':') + 1;
        int32_t count = *ids != 0;
        for (const char *c = ids; *c != 0; c++)
            count += *c == ',';
        create_topics_request_assignment_open_broker_ids(q, v, count);
        for (char *id = strtok_r(ids, ",", &save); id != NULL; id = strtok_r(NULL, ",", &save))
            wire_put_i32(q, atoi(id));
        create_topics_request_assignment_end(q, v);
    }
    create_topics_request_topic_open_configs(q, v, config != NULL);
    if (config != NULL) {
        create_topics_request_config_put_name(q, v, config, (uint32_t)strlen(config));
        create_topics_request_config_put_value(q, v, value, admin_text_len(value));
        create_topics_request_config_end(q, v);
    }
    create_topics_request_topic_end(q, v);
}

void end_topics(struct wire_writer *q, int16_t v, int32_t timeout_ms, bool validate_only)
{
    create_topics_request_put_timeout_ms(q, v, timeout_ms);
    create_topics_request_put_validate_only(q, v, validate_only);
    create_topics_request_end(q, v);
}

struct create_topics_response created;
struct create_topics_response_topic topic;

void next_created(int16_t v, int16_t error)
{
    assert_true(create_topics_response_topic_next(&created.topics, v, &topic));
    if (topic.error_code != error)
        fail_msg("error %d instead of %d", topic.error_code, error);
}

int16_t create_one(int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment, const char *config,
                          const char *value, bool validate_only)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, v);
    int16_t error;
    create_topics_request_open_topics(q, v, 1);
    put_topic(q, v, name, partitions, factor, assignment, config, value);
    end_topics(q, v, 60000, validate_only);
    assert_true(create_topics_response_read(call(), v, &created));
    assert_true(create_topics_response_topic_next(&created.topics, v, &topic));
    error = topic.error_code;
    assert_int_equal(topic.error_message.null, error == 0);
    if (strlen(name) <= TIDE_TOPIC_NAME_MAX)
        text_is(&topic.name, name);
    if (v >= 5) {
        assert_int_equal(topic.num_partitions == -1, error != 0);
        assert_int_equal(topic.configs.count == -1, error != 0);
    }
    if (v >= 7)
        assert_int_equal(tide_uuid_is_zero(&topic.topic_id), error != 0 || validate_only);
    done();
    return error;
}

void make(const char *name, const char *assignment)
{
    assert_int_equal(create_one(7, name, -1, -1, assignment, NULL, NULL, false), 0);
}

int open_world(void **state)
{
    unit_eal();
    pool = unit_pool("admin", 8191, 2048);
    return 0;
}
