/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka's admin APIs, as control answers them: request bodies in, bodies of answers out, over a real
 * cluster of three brokers. What is around (the quorum, the cores, the clock) is this file's:
 * results come at once or when the test says so, the cluster is seen when the test says so.
 */
#include "unit.h"

#include "control/admin.h"
#include "tidemark/random.h"

enum { BROKERS = 3, HELD_MAX = 64, SEEDS = 400 };

static struct rte_mempool *pool;

/* ---- what is around ------------------------------------------------------------------------------------------ */

struct held {
    struct admin_ask *ask;
    uint32_t index;
    uint8_t *bytes;
    size_t len;
};

static struct world {
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
} w;

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

/* The oldest submission that is held is decided. */
static void deliver(void)
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

static void give(const struct cluster_command *m)
{
    struct cluster_result r = {0};
    apply(m, &r);
    assert_int_equal(r.error, 0);
    cluster_result_free(&r);
}

static void fence(int32_t id, bool fenced)
{
    struct cluster_command m = {.kind = fenced ? CLUSTER_FENCE_BROKER : CLUSTER_UNFENCE_BROKER};
    m.broker.id = id;
    m.broker.epoch = cluster_find_broker(w.c.config.cluster, id)->epoch;
    give(&m);
}

static void join(int32_t id)
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

static int setup(void **state)
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

static int teardown(void **state)
{
    assert_null(w.c.asks);
    assert_int_equal(w.held_count, 0);
    cluster_destroy((struct cluster *)(uintptr_t)w.c.config.cluster);
    assert_int_equal(rte_mempool_in_use_count(pool), 0);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static struct tide_mail letter;
static struct wire_writer question;
static struct wire_cursor reply;

static struct wire_writer *begin(int16_t key, int16_t v)
{
    memset(&letter, 0, sizeof(letter));
    letter.kind = MAIL_ASK;
    letter.ask.api_key = key;
    letter.ask.api_version = v;
    wire_writer_init(&question, pool);
    return &question;
}

static void send_it(void)
{
    assert_false(question.failed);
    letter.ask.body = tide_rope_slice(&question.out, 0, question.out.len);
    admin_on_ask(&w.c, &letter);
    admin_check(&w.c);
}

static void tick(void)
{
    (void)admin_tick(&w.c);
    admin_check(&w.c);
}

/* The answer is there: its body stands in reply until done(). */
static struct wire_cursor *answer(void)
{
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_BODY);
    wire_cursor_init(&reply, tide_rope_slice(&letter.ask.answer, 0, letter.ask.answer.len));
    return &reply;
}

static void done(void)
{
    tide_rope_clear(&letter.ask.answer);
    wire_writer_abandon(&question);
    w.answered = NULL;
    tick(); /* what is answered goes */
}

static struct wire_cursor *call(void)
{
    send_it();
    tick();
    return answer();
}

static void text_is(const struct wire_bytes *b, const char *want)
{
    char got[SETTING_TEXT_MAX];
    (void)wire_bytes_copy(b, got, sizeof(got));
    assert_string_equal(got, want);
}

/* ---- creating topics ------------------------------------------------------------------------------------------------ */

static void put_topic(struct wire_writer *q, int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment,
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

static void end_topics(struct wire_writer *q, int16_t v, int32_t timeout_ms, bool validate_only)
{
    create_topics_request_put_timeout_ms(q, v, timeout_ms);
    create_topics_request_put_validate_only(q, v, validate_only);
    create_topics_request_end(q, v);
}

static struct create_topics_response created;
static struct create_topics_response_topic topic;

static void next_created(int16_t v, int16_t error)
{
    assert_true(create_topics_response_topic_next(&created.topics, v, &topic));
    if (topic.error_code != error)
        fail_msg("error %d instead of %d", topic.error_code, error);
}

static int16_t create_one(int16_t v, const char *name, int32_t partitions, int16_t factor, const char *assignment, const char *config,
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

static void make(const char *name, const char *assignment)
{
    assert_int_equal(create_one(7, name, -1, -1, assignment, NULL, NULL, false), 0);
}

static const struct creation_case {
    const char *name;
    int32_t partitions;
    int16_t factor;
    const char *assignment, *config, *value;
    int16_t error;
} creations[] = {
    {"good", 3, 2, NULL, NULL, NULL, 0},
    {"defaults", -1, -1, NULL, NULL, NULL, 0},
    {"manual", -1, -1, "1:2,3;0:1,2", NULL, NULL, 0},
    {"configured", 1, 1, NULL, "retention.ms", "5000", 0},
    {"there", 1, 1, NULL, NULL, NULL, KAFKA_TOPIC_ALREADY_EXISTS},
    {"the_re", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION}, /* the.re */
    {"", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {".", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"..", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"a/b", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"caf\xc3\xa9", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"__cluster_metadata", 1, 1, NULL, NULL, NULL, KAFKA_INVALID_TOPIC_EXCEPTION},
    {"p0", 0, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"p-2", -2, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"many", 4097, 1, NULL, NULL, NULL, KAFKA_INVALID_PARTITIONS},
    {"r0", 1, 0, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"r-2", 1, -2, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"r4", 1, 4, NULL, NULL, NULL, KAFKA_INVALID_REPLICATION_FACTOR},
    {"both", 2, -1, "0:1;1:2", NULL, NULL, KAFKA_INVALID_REQUEST},
    {"both2", -1, 1, "0:1;1:2", NULL, NULL, KAFKA_INVALID_REQUEST},
    {"gap", -1, -1, "0:1;2:2", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"again", -1, -1, "0:1;0:2", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"uneven", -1, -1, "0:1;1:2,3", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"nobody", -1, -1, "0:1,9", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"same", -1, -1, "0:1,1", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"none", -1, -1, "0:", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"wide", -1, -1, "0:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", NULL, NULL, KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {"unknown", 1, 1, NULL, "no.such.setting", "1", KAFKA_INVALID_CONFIG},
    {"soon", 1, 1, NULL, "retention.ms", "soon", KAFKA_INVALID_CONFIG},
    {"null", 1, 1, NULL, "retention.ms", NULL, KAFKA_INVALID_CONFIG},
    {"range", 1, 1, NULL, "min.insync.replicas", "0", KAFKA_INVALID_CONFIG},
    {"brokers", 1, 1, NULL, "log.retention.ms", "1000", KAFKA_INVALID_CONFIG},
};

static void test_topics_are_created_or_not(void **state)
{
    static char long_name[251], long_value[300];
    memset(long_name, 'n', 250);
    memset(long_value, '1', 299);
    make("there", "0:1");
    make("the.re", "0:1");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(creations); i++) {
        const struct creation_case *k = &creations[i];
        for (int validate = 1; validate >= 0; validate--) {
            for (int16_t v = 2; v <= 7; v++) {
                uint32_t before = cluster_topic_count(w.c.config.cluster);
                int16_t error;
                if (validate == 0 && k->error == 0 && v != 7)
                    continue;
                error = create_one(v, k->name, k->partitions, k->factor, k->assignment, k->config, k->value, validate != 0);
                if (error != k->error)
                    fail_msg("%s v%d: error %d", k->name, v, error);
                assert_int_equal(cluster_topic_count(w.c.config.cluster), before + (validate == 0 && error == 0));
            }
        }
    }
    assert_int_equal(create_one(7, long_name, 1, 1, NULL, NULL, NULL, false), KAFKA_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(create_one(7, "toolong", 1, 1, NULL, "retention.ms", long_value, false), KAFKA_INVALID_CONFIG);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "defaults")->partition_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "defaults")->partitions[0].replica_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "manual")->partitions[1].replicas[1], 3);
    assert_string_equal(cluster_topic_config(cluster_find_topic(w.c.config.cluster, "configured"), "retention.ms"), "5000");
}

static void test_a_created_topic_tells_its_settings(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    struct create_topics_response_config config;
    bool seen[2] = {0};
    w.settings.retention_bytes = 77; /* as if from the file */
    for (unsigned i = 0; i < setting_row_count; i++)
        if (setting_rows[i].topic_name != NULL && strcmp(setting_rows[i].topic_name, "retention.bytes") == 0)
            w.settings.given[i / 64] |= 1ull << i % 64;
    create_topics_request_open_topics(q, 7, 1);
    put_topic(q, 7, "t", -1, -1, "0:1,2,3", "retention.ms", "9");
    end_topics(q, 7, 1000, false);
    assert_true(create_topics_response_read(call(), 7, &created));
    next_created(7, 0);
    assert_int_equal(topic.num_partitions, 1);
    assert_int_equal(topic.replication_factor, 3);
    while (create_topics_response_config_next(&topic.configs, 7, &config)) {
        char name[64];
        (void)wire_bytes_copy(&config.name, name, sizeof(name));
        if (strcmp(name, "retention.ms") == 0) {
            seen[0] = true;
            text_is(&config.value, "9");
            assert_int_equal(config.config_source, 1);
        } else if (strcmp(name, "retention.bytes") == 0) {
            seen[1] = true;
            text_is(&config.value, "77");
            assert_int_equal(config.config_source, 4);
        } else {
            assert_int_equal(config.config_source, 5);
        }
        assert_false(config.read_only);
    }
    assert_true(seen[0] && seen[1]);
    done();
}

static void test_each_topic_of_a_request_stands_alone(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 5);
    create_topics_request_open_topics(q, 5, 5);
    put_topic(q, 5, "a", 1, 1, NULL, NULL, NULL);
    put_topic(q, 5, "twice", 1, 1, NULL, NULL, NULL);
    put_topic(q, 5, "b", 0, 1, NULL, NULL, NULL);
    put_topic(q, 5, "twice", 2, 1, NULL, NULL, NULL);
    put_topic(q, 5, "c", 1, 1, NULL, NULL, NULL);
    end_topics(q, 5, 60000, false);
    assert_true(create_topics_response_read(call(), 5, &created));
    next_created(5, 0);
    next_created(5, KAFKA_INVALID_REQUEST);
    next_created(5, KAFKA_INVALID_PARTITIONS);
    next_created(5, KAFKA_INVALID_REQUEST);
    next_created(5, 0);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 2);
}

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

static void ask_two(int32_t timeout_ms)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    create_topics_request_open_topics(q, 7, 3);
    put_topic(q, 7, "a", 1, 1, NULL, NULL, NULL);
    put_topic(q, 7, "b", 1, 1, NULL, NULL, NULL);
    put_topic(q, 7, "bad", 0, 1, NULL, NULL, NULL);
    end_topics(q, 7, timeout_ms, false);
    send_it();
}

static void are_two(int16_t a, int16_t b, int16_t bad)
{
    assert_true(create_topics_response_read(answer(), 7, &created));
    next_created(7, a);
    next_created(7, b);
    next_created(7, bad);
    done();
}

static void test_the_answer_waits_for_every_result_and_every_core(void **state)
{
    w.hold = w.unpublished = w.unseen = true;
    ask_two(60000);
    tick();
    assert_null(w.answered);
    deliver();
    deliver();
    tick();
    assert_null(w.answered);
    deliver();
    tick();
    assert_null(w.answered); /* decided, not yet published */
    w.unpublished = false;
    tick();
    assert_null(w.answered); /* published, not yet seen */
    w.unseen = false;
    tick();
    are_two(0, 0, KAFKA_INVALID_PARTITIONS);
}

static void test_what_is_undecided_at_the_deadline_is_timed_out(void **state)
{
    w.hold = true;
    ask_two(100);
    deliver();
    w.now_ms += 99;
    tick();
    assert_null(w.answered);
    w.now_ms += 1;
    tick();
    are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT);
    assert_non_null(w.c.asks); /* results are due, and change nothing any more */
    deliver();
    deliver();
    tick();
    assert_null(w.c.asks);
    assert_int_equal(w.answers, 1);
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 2);
}

static void test_what_is_unseen_at_the_deadline_is_timed_out(void **state)
{
    w.unseen = true;
    ask_two(100);
    w.now_ms += 100;
    tick();
    are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_INVALID_PARTITIONS); /* what is refused is known */
}

/* What was only asked changed nothing: nobody has to see it. */
static void test_what_was_only_asked_is_not_waited_for(void **state)
{
    w.unseen = w.unpublished = true;
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, true), 0);
}

static void test_no_time_at_all(void **state)
{
    static const int32_t times[] = {0, -1, INT32_MIN};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(times); i++) {
        w.hold = true;
        ask_two(times[i]);
        tick();
        are_two(KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT, KAFKA_REQUEST_TIMED_OUT);
        while (w.held_count != 0)
            deliver();
        tick();
    }
}

static void test_without_a_controller(void **state)
{
    w.fail_with = KAFKA_NOT_CONTROLLER;
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, false), KAFKA_NOT_CONTROLLER);
    assert_int_equal(create_one(7, "t", 1, 1, NULL, NULL, NULL, true), KAFKA_NOT_CONTROLLER);
}

/* ---- Metadata ------------------------------------------------------------------------------------------------------------- */

static void test_metadata_creates_what_is_missing(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_METADATA, 4);
    make("old", "0:1");
    q = begin(KAFKA_API_METADATA, 4);
    metadata_request_open_topics(q, 4, 4);
    for (const char *const *name = (const char *const[]){"old", "new", "bad/name", TIDE_OFFSETS_TOPIC, NULL}; *name != NULL; name++) {
        metadata_request_topic_put_name(q, 4, *name, (uint32_t)strlen(*name));
        metadata_request_topic_end(q, 4);
    }
    metadata_request_put_allow_auto_topic_creation(q, 4, true);
    metadata_request_end(q, 4);
    w.unseen = true;
    send_it();
    tick();
    assert_null(w.answered);
    w.unseen = false;
    tick();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_RERUN);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 3);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, "new")->partition_count, 2);
    assert_int_equal(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->partition_count, 50); /* whoever creates it */
}

/* ---- FindCoordinator ------------------------------------------------------------------------------------------------------ */

static void ask_for_groups(void)
{
    struct wire_writer *q = begin(KAFKA_API_FIND_COORDINATOR, 2);
    find_coordinator_request_put_key(q, 2, "g", 1);
    find_coordinator_request_put_key_type(q, 2, 0);
    find_coordinator_request_end(q, 2);
    send_it();
    tick();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_RERUN); /* whatever became of it: the core looks */
    done();
}

static const char *offsets_config(const char *name)
{
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC);
    for (uint32_t i = 0; i < t->config_count; i++)
        if (strcmp(t->configs[i].name, name) == 0)
            return t->configs[i].value;
    return "";
}

static void test_the_first_group_makes_its_topic(void **state)
{
    const struct cluster_topic *t;
    struct tide_uuid id;
    ask_for_groups();
    t = cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC);
    assert_non_null(t);
    assert_int_equal(t->partition_count, 50);
    assert_int_equal(t->partitions[0].replica_count, 3);
    assert_string_equal(offsets_config("cleanup.policy"), "compact");
    assert_string_equal(offsets_config("segment.bytes"), "104857600");
    assert_string_equal(offsets_config("min.insync.replicas"), "");
    id = t->id;
    ask_for_groups(); /* the second one finds it */
    assert_int_equal(w.commands, 1);
    assert_memory_equal(&cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->id, &id, sizeof(id));
}

/* Two brokers are asked at once: both commands are on their way before either is decided. */
static void test_two_first_groups_make_one_topic(void **state)
{
    static struct tide_mail first;
    struct wire_writer *q = begin(KAFKA_API_FIND_COORDINATOR, 0);
    find_coordinator_request_put_key(q, 0, "g", 1);
    find_coordinator_request_end(q, 0);
    w.hold = true;
    first = letter;
    first.ask.body = tide_rope_slice(&question.out, 0, question.out.len);
    admin_on_ask(&w.c, &first);
    send_it();
    assert_int_equal(w.held_count, 2);
    deliver();
    deliver();
    tick();
    assert_int_equal(w.answers, 2);
    assert_int_equal(first.ask.result, ASK_RERUN);
    assert_int_equal(letter.ask.result, ASK_RERUN);
    done();
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 1);
}

/* As many replicas as there can be: no more than brokers, but voters that were never seen are waited for. */
static void test_replicas_of_the_groups_topic(void **state)
{
    w.settings.voter_count = 5;
    w.settings.offsets_topic_replication_factor = 5;
    ask_for_groups();
    assert_null(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC));
    w.settings.voter_count = 1;
    w.settings.offsets_topic_min_insync_replicas = 2;
    fence(3, true); /* registered, and not there: it comes again */
    ask_for_groups();
    assert_null(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC));
    fence(3, false);
    ask_for_groups();
    assert_int_equal(cluster_find_topic(w.c.config.cluster, TIDE_OFFSETS_TOPIC)->partitions[49].replica_count, 3);
    assert_string_equal(offsets_config("min.insync.replicas"), "2");
}

/* ---- deleting -------------------------------------------------------------------------------------------------------------- */

static int16_t delete_one(int16_t v, const char *name, const struct tide_uuid *id, unsigned times)
{
    static const struct tide_uuid none;
    struct wire_writer *q = begin(KAFKA_API_DELETE_TOPICS, v);
    struct delete_topics_response in;
    struct delete_topics_response_response r;
    delete_topics_request_open_topics(q, v, (int32_t)times);
    for (unsigned i = 0; v >= 6 && i < times; i++) {
        delete_topics_request_topic_put_name(q, v, name, admin_text_len(name));
        delete_topics_request_topic_put_topic_id(q, v, id != NULL ? id : &none);
        delete_topics_request_topic_end(q, v);
    }
    delete_topics_request_open_topic_names(q, v, (int32_t)times);
    for (unsigned i = 0; v < 6 && i < times; i++)
        wire_put_string(q, v >= 4, name, admin_text_len(name));
    delete_topics_request_put_timeout_ms(q, v, 1000);
    delete_topics_request_end(q, v);
    assert_true(delete_topics_response_read(call(), v, &in));
    assert_int_equal(in.responses.count, times);
    for (unsigned i = 0; i < times; i++)
        assert_true(delete_topics_response_response_next(&in.responses, v, &r));
    done();
    return r.error_code;
}

static void test_topics_are_deleted_or_not(void **state)
{
    static const struct tide_uuid other = {{5}};
    struct tide_uuid id;
    make("a", "0:1");
    make("b", "0:1");
    make("c", "0:1");
    id = cluster_find_topic(w.c.config.cluster, "b")->id;
    assert_int_equal(delete_one(1, "zzz", NULL, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(delete_one(6, NULL, &other, 1), KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(delete_one(6, "b", &id, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(6, NULL, NULL, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(3, "a", NULL, 2), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(6, NULL, &id, 2), KAFKA_INVALID_REQUEST);
    w.settings.delete_topic_enable = 0;
    assert_int_equal(delete_one(2, "a", NULL, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(delete_one(3, "a", NULL, 1), KAFKA_TOPIC_DELETION_DISABLED);
    assert_int_equal(delete_one(6, NULL, &other, 1), KAFKA_TOPIC_DELETION_DISABLED);
    w.settings.delete_topic_enable = 1;
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 3);
    assert_int_equal(delete_one(4, "a", NULL, 1), 0);
    assert_int_equal(delete_one(6, NULL, &id, 1), 0);
    assert_int_equal(delete_one(6, "c", NULL, 1), 0);
    assert_int_equal(cluster_topic_count(w.c.config.cluster), 0);
}

/* ---- more partitions ----------------------------------------------------------------------------------------------------------- */

static int16_t extend(int16_t v, const char *name, int32_t count, const char *rows, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_PARTITIONS, v);
    struct create_partitions_response in;
    struct create_partitions_response_result r;
    create_partitions_request_open_topics(q, v, (int32_t)times);
    for (unsigned k = 0; k < times; k++) {
        create_partitions_request_topic_put_name(q, v, name, (uint32_t)strlen(name));
        create_partitions_request_topic_put_count(q, v, count);
        create_partitions_request_topic_open_assignments(q, v, rows == NULL ? -1 : (int32_t)strlen(rows) / 3);
        for (const char *p = rows; p != NULL && *p != 0; p += 3) { /* "12;23;" two brokers a row */
            create_partitions_request_assignment_open_broker_ids(q, v, 2);
            wire_put_i32(q, p[0] - '0');
            wire_put_i32(q, p[1] - '0');
            create_partitions_request_assignment_end(q, v);
        }
        create_partitions_request_topic_end(q, v);
    }
    create_partitions_request_put_timeout_ms(q, v, 1000);
    create_partitions_request_put_validate_only(q, v, validate_only);
    create_partitions_request_end(q, v);
    assert_true(create_partitions_response_read(call(), v, &in));
    assert_true(create_partitions_response_result_next(&in.results, v, &r));
    text_is(&r.name, name);
    done();
    return r.error_code;
}

static void test_partitions_are_added_or_not(void **state)
{
    make("t", "0:1,2;1:2,3");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    for (int16_t v = 0; v <= 3; v++) {
        assert_int_equal(extend(v, "zzz", 3, NULL, false, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(extend(v, "t", 2, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", 1, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", -1, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", INT32_MIN, "12;", false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", INT32_MAX, NULL, false, 1), KAFKA_INVALID_PARTITIONS);
        assert_int_equal(extend(v, "t", 4, "12;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "12;23;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "19;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, "22;", false, 1), KAFKA_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(extend(v, "t", 3, NULL, false, 2), KAFKA_INVALID_REQUEST);
        assert_int_equal(extend(v, "t", 4, "12;31;", true, 1), 0);
        assert_int_equal(t->partition_count, 2);
    }
    assert_int_equal(extend(3, "t", 4, "12;31;", false, 1), 0);
    assert_int_equal(t->partition_count, 4);
    assert_int_equal(t->partitions[3].replicas[0], 3);
    assert_int_equal(extend(3, "t", 5, NULL, false, 1), 0);
    assert_int_equal(t->partition_count, 5);
    assert_int_equal(t->partitions[4].replica_count, 2);
}

/* ---- settings --------------------------------------------------------------------------------------------------------------------- */

enum { TOPIC = 2, BROKER = 4 };

static struct describe_configs_response described;
static struct describe_configs_response_result result;

static int16_t describe(int16_t v, int8_t type, const char *name, const char *key)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_CONFIGS, v);
    describe_configs_request_open_resources(q, v, 1);
    describe_configs_request_resource_put_resource_type(q, v, type);
    describe_configs_request_resource_put_resource_name(q, v, name, (uint32_t)strlen(name));
    describe_configs_request_resource_open_configuration_keys(q, v, key != NULL ? 1 : -1);
    if (key != NULL)
        wire_put_string(q, v >= 4, key, (uint32_t)strlen(key));
    describe_configs_request_resource_end(q, v);
    describe_configs_request_put_include_synonyms(q, v, true);
    describe_configs_request_put_include_documentation(q, v, true);
    describe_configs_request_end(q, v);
    assert_true(describe_configs_response_read(call(), v, &described));
    assert_true(describe_configs_response_result_next(&described.results, v, &result));
    return result.error_code;
}

/* "value source type ro: name=value/source ..." of one setting. */
static void setting_is(int8_t type, const char *resource, const char *key, const char *want)
{
    for (int16_t v = 1; v <= 4; v++) {
        char got[512], name[64], value[64];
        struct describe_configs_response_config c;
        struct describe_configs_response_synonym s;
        assert_int_equal(describe(v, type, resource, key), 0);
        assert_int_equal(result.configs.count, want != NULL);
        if (want != NULL) {
            assert_true(describe_configs_response_config_next(&result.configs, v, &c));
            text_is(&c.name, key);
            (void)wire_bytes_copy(&c.value, value, sizeof(value));
            snprintf(got, sizeof(got), "%s %d %s:", value, c.config_source, c.read_only ? "ro" : "rw");
            while (describe_configs_response_synonym_next(&c.synonyms, v, &s)) {
                (void)wire_bytes_copy(&s.name, name, sizeof(name));
                (void)wire_bytes_copy(&s.value, value, sizeof(value));
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " %s=%s/%d", name, value, s.source);
            }
            assert_string_equal(got, want);
            assert_int_equal(c.documentation.null, v < 3);
        }
        done();
    }
}

static int16_t alter(int16_t v, int8_t type, const char *resource, const char *key, int8_t op, const char *value, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_INCREMENTAL_ALTER_CONFIGS, v);
    struct incremental_alter_configs_response in;
    struct incremental_alter_configs_response_response r;
    unsigned keys = times == 2 ? 2 : 1;      /* a key twice */
    unsigned resources = times == 3 ? 2 : 1; /* a resource twice */
    incremental_alter_configs_request_open_resources(q, v, (int32_t)resources);
    for (unsigned i = 0; i < resources; i++) {
        incremental_alter_configs_request_resource_put_resource_type(q, v, type);
        incremental_alter_configs_request_resource_put_resource_name(q, v, resource, (uint32_t)strlen(resource));
        incremental_alter_configs_request_resource_open_configs(q, v, (int32_t)keys);
        for (unsigned k = 0; k < keys; k++) {
            incremental_alter_configs_request_config_put_name(q, v, key, (uint32_t)strlen(key));
            incremental_alter_configs_request_config_put_config_operation(q, v, op);
            incremental_alter_configs_request_config_put_value(q, v, value, admin_text_len(value));
            incremental_alter_configs_request_config_end(q, v);
        }
        incremental_alter_configs_request_resource_end(q, v);
    }
    incremental_alter_configs_request_put_validate_only(q, v, validate_only);
    incremental_alter_configs_request_end(q, v);
    assert_true(incremental_alter_configs_response_read(call(), v, &in));
    assert_int_equal(in.responses.count, resources);
    while (incremental_alter_configs_response_response_next(&in.responses, v, &r)) {
        text_is(&r.resource_name, resource);
        assert_int_equal(r.resource_type, type);
        assert_int_equal(r.error_message.null, r.error_code == 0);
    }
    done();
    return r.error_code;
}

enum { SET, DELETE, APPEND, SUBTRACT };

static const struct alter_case {
    int8_t type;
    const char *resource, *key;
    int8_t op;
    const char *value;
    unsigned times;
    int16_t error;
} alterations[] = {
    {TOPIC, "t", "retention.ms", SET, "1", 1, 0},
    {TOPIC, "t", "retention.ms", DELETE, NULL, 1, 0},
    {TOPIC, "t", "cleanup.policy", APPEND, "compact", 1, 0},
    {BROKER, "", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "1", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "2", "log.retention.ms", SET, "5", 1, 0},
    {BROKER, "", "min.insync.replicas", SET, "2", 1, 0},
    {BROKER, "1", "leader.replication.throttled.rate", SET, "100", 1, 0},
    {BROKER, "", "follower.replication.throttled.rate", SET, "100", 1, 0},
    {BROKER, "", "follower.replication.throttled.rate", SET, "-1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "follower.replication.throttled.rate", SET, "100", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "leader.replication.throttled.replicas", SET, "0:1,0:2", 1, 0},
    {TOPIC, "t", "leader.replication.throttled.replicas", SET, "0", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "follower.replication.throttled.replicas", APPEND, "0:2", 1, 0},
    {TOPIC, "zzz", "retention.ms", SET, "1", 1, KAFKA_UNKNOWN_TOPIC_OR_PARTITION},
    {TOPIC, "a/b", "retention.ms", SET, "1", 1, KAFKA_INVALID_TOPIC_EXCEPTION},
    {TOPIC, "t", "no.such", SET, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SET, "soon", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "min.insync.replicas", SET, "17", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SET, NULL, 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", APPEND, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", SUBTRACT, "1", 1, KAFKA_INVALID_CONFIG},
    {TOPIC, "t", "retention.ms", 4, "1", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", -1, "1", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", SET, "1", 2, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "retention.ms", SET, "1", 3, KAFKA_INVALID_REQUEST},
    {TOPIC, "zzz", "retention.ms", SET, "1", 3, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "ack.durability", SET, "memory", 1, KAFKA_INVALID_REQUEST},
    {TOPIC, "t", "ack.durability", DELETE, NULL, 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "ack.durability", SET, "memory", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "num.partitions", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "1", "log.dirs", SET, "/x", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "", "retention.ms", SET, "5", 1, KAFKA_INVALID_CONFIG},
    {BROKER, "1", "min.insync.replicas", SET, "2", 1, KAFKA_INVALID_CONFIG},
    {BROKER, "9", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "one", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "01", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {BROKER, "99999999999", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {8, "1", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {16, "x", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
    {0, "x", "log.retention.ms", SET, "5", 1, KAFKA_INVALID_REQUEST},
};

static void test_settings_are_changed_or_not(void **state)
{
    make("t", "0:1");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(alterations); i++) {
        const struct alter_case *k = &alterations[i];
        for (int16_t v = 0; v <= 1; v++) {
            for (int validate = 1; validate >= 0; validate--) {
                uint64_t before = cluster_hash(w.c.config.cluster);
                uint64_t index = w.index;
                int16_t error = alter(v, k->type, k->resource, k->key, k->op, k->value, validate != 0, k->times);
                if (error != k->error)
                    fail_msg("%s %s %s=%s: error %d", k->resource, k->key, validate ? "asked" : "done", k->value, error);
                if (index == w.index)
                    assert_true(before == cluster_hash(w.c.config.cluster));
            }
        }
    }
    setting_is(BROKER, "", "log.retention.ms", "5 3 rw: log.retention.ms=5/3");
}

static void test_where_a_setting_comes_from(void **state)
{
    make("t", "0:1");
    setting_is(TOPIC, "t", "retention.ms", "604800000 5 rw: log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", true, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "604800000 5 rw: log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "300 3 rw: log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "2", "log.retention.ms", SET, "222", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "300 3 rw: log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, BROKER, "1", "log.retention.ms", SET, "200", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "retention.ms", SET, "100", false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "100 1 rw: retention.ms=100/1 log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    setting_is(BROKER, "1", "log.retention.ms", "200 2 rw: log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    setting_is(BROKER, "", "log.retention.ms", "300 3 rw: log.retention.ms=300/3");
    setting_is(BROKER, "", "num.partitions", NULL);
    setting_is(BROKER, "1", "num.partitions", "1 5 ro: num.partitions=1/5");
    setting_is(BROKER, "1", "broker.rack", " 5 ro:");
    setting_is(TOPIC, "t", "log.retention.ms", NULL);
    assert_int_equal(alter(1, TOPIC, "t", "retention.ms", DELETE, NULL, false, 1), 0);
    setting_is(TOPIC, "t", "retention.ms", "200 2 rw: log.retention.ms=200/2 log.retention.ms=300/3 log.retention.ms=604800000/5");
    assert_int_equal(alter(1, TOPIC, "t", "cleanup.policy", APPEND, "compact", false, 1), 0);
    setting_is(TOPIC, "t", "cleanup.policy", "delete,compact 1 rw: cleanup.policy=delete,compact/1 log.cleanup.policy=delete/5");
    assert_int_equal(alter(1, TOPIC, "t", "cleanup.policy", SUBTRACT, "delete", false, 1), 0);
    setting_is(TOPIC, "t", "cleanup.policy", "compact 1 rw: cleanup.policy=compact/1 log.cleanup.policy=delete/5");
}

/* KIP-73, as the reassignment tools of Kafka set it and take it away. */
static void test_throttles(void **state)
{
    make("t", "0:1,2;1:1,2");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, INT64_MAX);
    assert_false(leader_is_throttled(&w.c, t, 0));
    setting_is(TOPIC, "t", "leader.replication.throttled.replicas", " 5 rw: leader.replication.throttled.replicas=/5");
    assert_int_equal(alter(1, BROKER, "1", "leader.replication.throttled.rate", SET, "1000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "2", "leader.replication.throttled.rate", SET, "2000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "", "follower.replication.throttled.rate", SET, "3000", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", APPEND, "1:1", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", APPEND, "0:2", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "follower.replication.throttled.replicas", SET, "*", false, 1), 0);
    setting_is(TOPIC, "t", "leader.replication.throttled.replicas",
               "1:1,0:2 1 rw: leader.replication.throttled.replicas=1:1,0:2/1 leader.replication.throttled.replicas=/5");
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, 1000);
    assert_int_equal(w.c.follower_throttle.rate, 3000);
    assert_false(leader_is_throttled(&w.c, t, 0));
    assert_true(leader_is_throttled(&w.c, t, 1));
    assert_true(follower_is_throttled(&w.c, t, 0));
    assert_int_equal(alter(1, BROKER, "1", "leader.replication.throttled.rate", DELETE, NULL, false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "leader.replication.throttled.replicas", SUBTRACT, "1:1", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "follower.replication.throttled.replicas", DELETE, NULL, false, 1), 0);
    configs_refresh(&w.c);
    assert_int_equal(w.c.leader_throttle.rate, INT64_MAX);
    assert_false(leader_is_throttled(&w.c, t, 1));
    assert_false(follower_is_throttled(&w.c, t, 0));
}

static void test_what_a_partition_works_with(void **state)
{
    struct tide_topic_config config;
    make("t", "0:1,2");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    assert_int_equal(alter(1, BROKER, "", "log.retention.ms", SET, "300", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "1", "message.max.bytes", SET, "2000", false, 1), 0);
    assert_int_equal(alter(1, BROKER, "2", "message.max.bytes", SET, "3000", false, 1), 0);
    assert_int_equal(alter(1, TOPIC, "t", "segment.bytes", SET, "2000000", false, 1), 0);
    w.settings.min_insync_replicas = 2; /* in the file; the cluster goes by what all agreed on */
    for (unsigned i = 0; i < setting_row_count; i++)
        if (strcmp(setting_rows[i].name, "min.insync.replicas") == 0)
            w.settings.given[i / 64] |= 1ull << i % 64;
    configs_refresh(&w.c);
    topic_config_of(&w.c, t, &config);
    assert_int_equal(config.retention_ms, 300);
    assert_int_equal(config.max_message_bytes, 2000);
    assert_int_equal(config.segment_bytes, 2000000);
    assert_int_equal(config.min_insync_replicas, 1);
    assert_int_equal(config.delete_retention_ms, 86400000);
}

static void test_resources_that_cannot_be_described(void **state)
{
    static const struct {
        int8_t type;
        const char *name;
        int16_t error;
    } cases[] = {{TOPIC, "zzz", KAFKA_UNKNOWN_TOPIC_OR_PARTITION}, {TOPIC, "..", KAFKA_INVALID_TOPIC_EXCEPTION}, {BROKER, "2", KAFKA_INVALID_REQUEST},
                 {BROKER, "x", KAFKA_INVALID_REQUEST},            {8, "1", KAFKA_INVALID_REQUEST},               {0, "", KAFKA_INVALID_REQUEST},
                 {BROKER, "1", 0}};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(describe(4, cases[i].type, cases[i].name, NULL), cases[i].error);
        if (cases[i].error == 0)
            assert_int_equal(result.configs.count, setting_row_count);
        else
            assert_int_equal(result.configs.count, 0);
        done();
    }
}

static int16_t replace(int16_t v, const char *resource, const char *key, const char *value, bool validate_only)
{
    struct wire_writer *q = begin(KAFKA_API_ALTER_CONFIGS, v);
    struct alter_configs_response in;
    struct alter_configs_response_response r;
    alter_configs_request_open_resources(q, v, 1);
    alter_configs_request_resource_put_resource_type(q, v, TOPIC);
    alter_configs_request_resource_put_resource_name(q, v, resource, (uint32_t)strlen(resource));
    alter_configs_request_resource_open_configs(q, v, key != NULL);
    if (key != NULL) {
        alter_configs_request_config_put_name(q, v, key, (uint32_t)strlen(key));
        alter_configs_request_config_put_value(q, v, value, admin_text_len(value));
        alter_configs_request_config_end(q, v);
    }
    alter_configs_request_resource_end(q, v);
    alter_configs_request_put_validate_only(q, v, validate_only);
    alter_configs_request_end(q, v);
    assert_true(alter_configs_response_read(call(), v, &in));
    assert_true(alter_configs_response_response_next(&in.responses, v, &r));
    done();
    return r.error_code;
}

static void test_settings_are_replaced(void **state)
{
    make("t", "0:1");
    const struct cluster_topic *t = cluster_find_topic(w.c.config.cluster, "t");
    assert_int_equal(replace(0, "t", "retention.ms", "7", false), 0);
    assert_int_equal(replace(1, "t", "segment.ms", "8", true), 0);
    assert_string_equal(cluster_topic_config(t, "retention.ms"), "7");
    assert_int_equal(replace(2, "t", "segment.ms", "8", false), 0);
    assert_null(cluster_topic_config(t, "retention.ms"));
    assert_int_equal(replace(2, "t", "segment.ms", NULL, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(replace(2, "t", "segment.ms", "0", false), KAFKA_INVALID_CONFIG);
    assert_int_equal(replace(2, "zzz", "segment.ms", "8", false), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(replace(2, "t", NULL, NULL, false), 0);
    assert_int_equal(t->config_count, 0);
    assert_int_equal(replace(2, "t", "ack.durability", "memory", false), KAFKA_INVALID_REQUEST);
    assert_int_equal(create_one(7, "u", 1, 1, NULL, "ack.durability", "memory", false), 0);
    assert_int_equal(replace(2, "u", NULL, NULL, false), KAFKA_INVALID_REQUEST);
    assert_int_equal(replace(2, "u", "ack.durability", "memory", false), 0);
}

/* ---- leaders ------------------------------------------------------------------------------------------------------------------------- */

static int16_t elected; /* of the whole */

/* The error of the first partition, -99 when none is told. */
static int16_t elect(int16_t v, int8_t type, const char *name, int32_t partition)
{
    struct wire_writer *q = begin(KAFKA_API_ELECT_LEADERS, v);
    struct elect_leaders_response in;
    struct elect_leaders_response_replica_election_result t;
    struct elect_leaders_response_partition_result p = {.error_code = -99};
    elect_leaders_request_put_election_type(q, v, type);
    elect_leaders_request_open_topic_partitions(q, v, name != NULL ? 1 : -1);
    if (name != NULL) {
        elect_leaders_request_topic_partitions_put_topic(q, v, name, (uint32_t)strlen(name));
        elect_leaders_request_topic_partitions_open_partitions(q, v, 1);
        wire_put_i32(q, partition);
        elect_leaders_request_topic_partitions_end(q, v);
    }
    elect_leaders_request_put_timeout_ms(q, v, 1000);
    elect_leaders_request_end(q, v);
    assert_true(elect_leaders_response_read(call(), v, &in));
    elected = in.error_code;
    if (elect_leaders_response_replica_election_result_next(&in.replica_election_results, v, &t)) {
        assert_true(elect_leaders_response_partition_result_next(&t.partition_result, v, &p));
        if (name != NULL)
            assert_int_equal(p.partition_id, partition);
    }
    done();
    return p.error_code;
}

static void test_leaders_are_elected_or_not(void **state)
{
    make("t", "0:1,2");
    make("alone", "0:3");
    const struct cluster_partition *p = cluster_find_topic(w.c.config.cluster, "t")->partitions;
    for (int16_t v = 0; v <= 2; v++) {
        assert_int_equal(elect(v, 0, "t", 0), KAFKA_ELECTION_NOT_NEEDED);
        assert_int_equal(elect(v, 0, "t", 7), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, "t", -1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, "zzz", 0), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(elect(v, 0, NULL, 0), -99); /* none needs it, none is told */
        assert_int_equal(elected, 0);
    }
    assert_int_equal(elect(2, 1, "t", 0), KAFKA_ELECTION_NOT_NEEDED);
    assert_int_equal(elect(2, 2, "t", 0), -99);
    assert_int_equal(elected, KAFKA_INVALID_REQUEST);
    fence(1, true);
    assert_int_equal(p->leader, 2);
    assert_int_equal(elect(2, 0, "t", 0), KAFKA_PREFERRED_LEADER_NOT_AVAILABLE);
    fence(3, true);
    assert_int_equal(elect(2, 1, "alone", 0), KAFKA_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    fence(3, false);
    assert_int_equal(elect(2, 1, "alone", 0), KAFKA_ELECTION_NOT_NEEDED);
}

/* ---- reassignments ---------------------------------------------------------------------------------------------------------------------- */

/* ids NULL: cancel. */
static int16_t reassign(const char *name, int32_t partition, const char *ids)
{
    struct wire_writer *q = begin(KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0);
    struct alter_partition_reassignments_response in;
    struct alter_partition_reassignments_response_topic_response t;
    struct alter_partition_reassignments_response_partition_response p;
    alter_partition_reassignments_request_put_timeout_ms(q, 0, 1000);
    alter_partition_reassignments_request_open_topics(q, 0, 1);
    alter_partition_reassignments_request_topic_put_name(q, 0, name, (uint32_t)strlen(name));
    alter_partition_reassignments_request_topic_open_partitions(q, 0, 1);
    alter_partition_reassignments_request_partition_put_partition_index(q, 0, partition);
    alter_partition_reassignments_request_partition_open_replicas(q, 0, ids != NULL ? (int32_t)strlen(ids) : -1);
    for (const char *id = ids; id != NULL && *id != 0; id++)
        wire_put_i32(q, *id - '0');
    alter_partition_reassignments_request_partition_end(q, 0);
    alter_partition_reassignments_request_topic_end(q, 0);
    alter_partition_reassignments_request_end(q, 0);
    assert_true(alter_partition_reassignments_response_read(call(), 0, &in));
    assert_int_equal(in.error_code, 0);
    assert_true(alter_partition_reassignments_response_topic_response_next(&in.responses, 0, &t));
    assert_true(alter_partition_reassignments_response_partition_response_next(&t.partitions, 0, &p));
    assert_int_equal(p.partition_index, partition);
    done();
    return p.error_code;
}

/* What is listed, as "t-0 1,3,2 +3 -2;". name NULL: all. */
static void moving_is(const char *name, int32_t partition, const char *want)
{
    struct wire_writer *q = begin(KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0);
    struct list_partition_reassignments_response in;
    struct list_partition_reassignments_response_ongoing_topic t;
    struct list_partition_reassignments_response_ongoing_partition p;
    char got[256] = "";
    list_partition_reassignments_request_put_timeout_ms(q, 0, 1000);
    list_partition_reassignments_request_open_topics(q, 0, name != NULL ? 1 : -1);
    if (name != NULL) {
        list_partition_reassignments_request_topic_put_name(q, 0, name, (uint32_t)strlen(name));
        list_partition_reassignments_request_topic_open_partition_indexes(q, 0, 1);
        wire_put_i32(q, partition);
        list_partition_reassignments_request_topic_end(q, 0);
    }
    list_partition_reassignments_request_end(q, 0);
    assert_true(list_partition_reassignments_response_read(call(), 0, &in));
    assert_int_equal(in.error_code, 0);
    while (list_partition_reassignments_response_ongoing_topic_next(&in.topics, 0, &t)) {
        while (list_partition_reassignments_response_ongoing_partition_next(&t.partitions, 0, &p)) {
            char text[64];
            int32_t id;
            (void)wire_bytes_copy(&t.name, text, sizeof(text));
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s-%d", text, p.partition_index);
            for (struct wire_list *l = &p.replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " %d", id);
            for (struct wire_list *l = &p.adding_replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " +%d", id);
            for (struct wire_list *l = &p.removing_replicas; wire_list_next_i32(l, &id);)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), " -%d", id);
            snprintf(got + strlen(got), sizeof(got) - strlen(got), ";");
        }
    }
    assert_string_equal(got, want);
    done();
}

static void test_replicas_are_moved_or_not(void **state)
{
    make("t", "0:1,2;1:1,2");
    make("u", "0:1");
    moving_is(NULL, 0, "");
    assert_int_equal(reassign("zzz", 0, "1"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(reassign("t", 2, "1"), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(reassign("t", 0, ""), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "19"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "11"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, "12312312312312312"), KAFKA_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign("t", 0, NULL), KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    assert_int_equal(reassign("t", 0, "13"), 0);
    assert_int_equal(reassign("u", 0, "2"), 0);
    moving_is(NULL, 0, "t-0 1 3 2 +3 -2;u-0 2 1 +2 -1;");
    moving_is("t", 0, "t-0 1 3 2 +3 -2;");
    moving_is("t", 1, "");
    moving_is("t", -1, "");
    moving_is("zzz", 0, "");
    assert_int_equal(reassign("t", 0, NULL), 0);
    assert_int_equal(reassign("t", 0, NULL), KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    moving_is(NULL, 0, "u-0 2 1 +2 -1;");
}

static void test_a_list_is_not_older_than_its_question(void **state)
{
    struct wire_writer *q;
    struct list_partition_reassignments_response in;
    w.hold = true;
    q = begin(KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0);
    list_partition_reassignments_request_put_timeout_ms(q, 0, 100);
    list_partition_reassignments_request_open_topics(q, 0, -1);
    list_partition_reassignments_request_end(q, 0);
    send_it();
    tick();
    assert_null(w.answered);
    w.now_ms += 100;
    tick();
    assert_true(list_partition_reassignments_response_read(answer(), 0, &in));
    assert_int_equal(in.error_code, KAFKA_REQUEST_TIMED_OUT);
    done();
    deliver();
    tick();
}

/* ---- DescribeTopicPartitions -------------------------------------------------------------------------------------------------------------- */

/* "a:0,1 b:0 zzz! > b 1": what is told, and the cursor. */
static void told(const char *const *names, int32_t limit, const char *from, int32_t partition, char *got, size_t size)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0);
    struct describe_topic_partitions_response in;
    struct describe_topic_partitions_response_topic t;
    struct describe_topic_partitions_response_partition p;
    char name[300];
    int32_t count = 0;
    while (names[count] != NULL)
        count++;
    describe_topic_partitions_request_open_topics(q, 0, count);
    for (int32_t i = 0; i < count; i++) {
        describe_topic_partitions_request_topic_put_name(q, 0, names[i], (uint32_t)strlen(names[i]));
        describe_topic_partitions_request_topic_end(q, 0);
    }
    describe_topic_partitions_request_put_response_partition_limit(q, 0, limit);
    describe_topic_partitions_request_open_cursor(q, 0, from != NULL);
    if (from != NULL) {
        describe_topic_partitions_request_cursor_put_topic_name(q, 0, from, (uint32_t)strlen(from));
        describe_topic_partitions_request_cursor_put_partition_index(q, 0, partition);
        describe_topic_partitions_request_cursor_end(q, 0);
    }
    describe_topic_partitions_request_end(q, 0);
    assert_true(describe_topic_partitions_response_read(call(), 0, &in));
    got[0] = 0;
    while (describe_topic_partitions_response_topic_next(&in.topics, 0, &t)) {
        const char *comma = "";
        (void)wire_bytes_copy(&t.name, name, sizeof(name));
        snprintf(got + strlen(got), size - strlen(got), "%s%s", got[0] ? " " : "", name);
        if (t.error_code != 0)
            snprintf(got + strlen(got), size - strlen(got), "!%d", t.error_code);
        else
            snprintf(got + strlen(got), size - strlen(got), ":");
        while (describe_topic_partitions_response_partition_next(&t.partitions, 0, &p)) {
            snprintf(got + strlen(got), size - strlen(got), "%s%d", comma, p.partition_index);
            comma = ",";
        }
    }
    if (in.has_next_cursor) {
        (void)wire_bytes_copy(&in.next_cursor.topic_name, name, sizeof(name));
        snprintf(got + strlen(got), size - strlen(got), " > %s %d", name, in.next_cursor.partition_index);
    }
    done();
}

static void test_partitions_are_told_in_pieces(void **state)
{
    static const char *const all[] = {NULL};
    static const char *const some[] = {"c", "a", "zzz", "a", "b/d", NULL};
    static const struct {
        const char *const *names;
        int32_t limit;
        const char *from;
        int32_t partition;
        const char *want;
    } cases[] = {
        {all, 2000, NULL, 0, "a:0,1,2 b:0 c:0,1"},
        {some, 2000, NULL, 0, "a:0,1,2 b/d!17 c:0,1 zzz!3"},
        {all, 2, NULL, 0, "a:0,1 > a 2"},
        {all, 2, "a", 2, "a:2 b:0 > c 0"},
        {all, 3, NULL, 0, "a:0,1,2 > b 0"},
        {all, 4, NULL, 0, "a:0,1,2 b:0 > c 0"},
        {all, 5, NULL, 0, "a:0,1,2 b:0 c:0 > c 1"},
        {all, 6, NULL, 0, "a:0,1,2 b:0 c:0,1"},
        {all, 0, NULL, 0, "a:0 > a 1"},
        {all, -5, NULL, 0, "a:0 > a 1"},
        {all, INT32_MAX, "b", 0, "b:0 c:0,1"},
        {all, 1, "bb", 7, "c:0 > c 1"},
        {all, 9, "c", INT32_MAX, "c:"},
        {all, 9, "d", 0, ""},
        {some, 1, "b", 0, "b/d!17 c:0 > c 1"},
        {all, 9, "a", -1, "a!42 b!42 c!42"},
    };
    make("c", "0:1,2;1:2,3");
    make("a", "0:1,2;1:2,3;2:3,1");
    make("b", "0:3");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        char got[512];
        told(cases[i].names, cases[i].limit, cases[i].from, cases[i].partition, got, sizeof(got));
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu: '%s' instead of '%s'", i, got, cases[i].want);
    }
}

static void test_partitions_show_who_is_away(void **state)
{
    struct wire_writer *q;
    struct describe_topic_partitions_response in;
    struct describe_topic_partitions_response_topic t;
    struct describe_topic_partitions_response_partition p;
    int32_t id;
    make("t", "0:1,2,3");
    make("u", "0:3");
    fence(3, true);
    q = begin(KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0);
    describe_topic_partitions_request_open_topics(q, 0, 0);
    describe_topic_partitions_request_put_response_partition_limit(q, 0, 10);
    describe_topic_partitions_request_open_cursor(q, 0, false);
    describe_topic_partitions_request_end(q, 0);
    assert_true(describe_topic_partitions_response_read(call(), 0, &in));
    assert_true(describe_topic_partitions_response_topic_next(&in.topics, 0, &t));
    assert_int_equal(t.topic_authorized_operations, 3576);
    assert_true(describe_topic_partitions_response_partition_next(&t.partitions, 0, &p));
    assert_int_equal(p.error_code, 0);
    assert_int_equal(p.leader_id, 1);
    assert_int_equal(p.isr_nodes.count, 2);
    assert_int_equal(p.offline_replicas.count, 1);
    assert_true(wire_list_next_i32(&p.offline_replicas, &id));
    assert_int_equal(id, 3);
    assert_true(describe_topic_partitions_response_topic_next(&in.topics, 0, &t));
    assert_true(describe_topic_partitions_response_partition_next(&t.partitions, 0, &p));
    assert_int_equal(p.error_code, KAFKA_LEADER_NOT_AVAILABLE);
    assert_int_equal(p.leader_id, -1);
    done();
}

/* ---- brokers ------------------------------------------------------------------------------------------------------------------------------- */

static void test_the_quorum_is_told(void **state)
{
    for (int16_t v = 0; v <= 2; v++) {
        struct wire_writer *q = begin(KAFKA_API_DESCRIBE_QUORUM, v);
        struct describe_quorum_response in;
        struct describe_quorum_response_topic t;
        struct describe_quorum_response_partition p;
        struct describe_quorum_response_replica_state m;
        describe_quorum_request_open_topics(q, v, 2);
        for (int i = 0; i < 2; i++) {
            const char *name = i == 0 ? "__cluster_metadata" : "t";
            describe_quorum_request_topic_put_topic_name(q, v, name, (uint32_t)strlen(name));
            describe_quorum_request_topic_open_partitions(q, v, 1);
            describe_quorum_request_partition_put_partition_index(q, v, 0);
            describe_quorum_request_partition_end(q, v);
            describe_quorum_request_topic_end(q, v);
        }
        describe_quorum_request_end(q, v);
        assert_true(describe_quorum_response_read(call(), v, &in));
        assert_int_equal(in.error_code, 0);
        assert_int_equal(in.nodes.count, v >= 2 ? 1 : 0);
        assert_true(describe_quorum_response_topic_next(&in.topics, v, &t));
        assert_true(describe_quorum_response_partition_next(&t.partitions, v, &p));
        assert_int_equal(p.error_code, 0);
        assert_int_equal(p.leader_id, 2);
        assert_int_equal(p.leader_epoch, 5);
        assert_int_equal(p.high_watermark, 42);
        assert_int_equal(p.observers.count, 1);
        assert_true(describe_quorum_response_replica_state_next(&p.current_voters, v, &m));
        assert_int_equal(m.replica_id, 2);
        assert_int_equal(m.last_caught_up_timestamp, v >= 1 ? 1000 : -1);
        assert_true(describe_quorum_response_topic_next(&in.topics, v, &t));
        assert_true(describe_quorum_response_partition_next(&t.partitions, v, &p));
        assert_int_equal(p.error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        done();
    }
}

static int16_t update(int16_t v, const char *feature, int16_t level, int8_t type, bool validate_only, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_UPDATE_FEATURES, v);
    struct update_features_response in;
    update_features_request_put_timeout_ms(q, v, 1000);
    update_features_request_open_feature_updates(q, v, (int32_t)times);
    for (unsigned i = 0; i < times; i++) {
        update_features_request_feature_update_put_feature(q, v, feature, (uint32_t)strlen(feature));
        update_features_request_feature_update_put_max_version_level(q, v, level);
        update_features_request_feature_update_put_allow_downgrade(q, v, type != 1);
        update_features_request_feature_update_put_upgrade_type(q, v, type);
        update_features_request_feature_update_end(q, v);
    }
    update_features_request_put_validate_only(q, v, validate_only);
    update_features_request_end(q, v);
    assert_true(update_features_response_read(call(), v, &in));
    assert_int_equal(in.results.count, v <= 1 ? (int32_t)times : 0);
    done();
    return in.error_code;
}

static void test_features_are_updated_or_not(void **state)
{
    const struct cluster_feature_range *known = NULL;
    for (uint32_t i = 0; cluster_known_feature(i) != NULL; i++)
        if (strcmp(cluster_known_feature(i)->name, CLUSTER_FEATURE_ELR) == 0)
            known = cluster_known_feature(i);
    assert_non_null(known);
    for (int16_t v = 0; v <= 2; v++) {
        assert_int_not_equal(update(v, "no.such", 1, 1, false, 1), 0);
        assert_int_equal(update(v, CLUSTER_FEATURE_ELR, 1, 1, false, 0), KAFKA_INVALID_REQUEST);
        assert_int_equal(update(v, CLUSTER_FEATURE_ELR, 1, 1, false, 2), KAFKA_INVALID_REQUEST);
        assert_int_not_equal(update(v, CLUSTER_FEATURE_ELR, (int16_t)(known->max + 1), 1, false, 1), 0);
    }
    assert_int_equal(update(1, CLUSTER_FEATURE_ELR, 1, 4, false, 1), KAFKA_INVALID_REQUEST);
    assert_int_equal(update(2, CLUSTER_FEATURE_ELR, 0, 2, true, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 1);
    assert_int_not_equal(update(2, CLUSTER_FEATURE_ELR, 0, 1, false, 1), 0); /* that is no upgrade */
    assert_int_equal(update(0, CLUSTER_FEATURE_ELR, 0, 2, false, 1), 0);     /* version 0 only says that it may go down */
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 0);
    assert_int_equal(update(2, CLUSTER_FEATURE_ELR, 1, 1, false, 1), 0);
    assert_int_equal(cluster_feature(w.c.config.cluster, CLUSTER_FEATURE_ELR), 1);
}

/* topic NULL: all. Partitions that are told. */
static unsigned log_dirs(int16_t v, const char *name, int32_t partition, unsigned times)
{
    struct wire_writer *q = begin(KAFKA_API_DESCRIBE_LOG_DIRS, v);
    struct describe_log_dirs_response in;
    struct describe_log_dirs_response_result dir;
    struct describe_log_dirs_response_topic t;
    struct describe_log_dirs_response_partition p;
    unsigned n = 0;
    describe_log_dirs_request_open_topics(q, v, name != NULL ? 1 : -1);
    if (name != NULL) {
        describe_log_dirs_request_topic_put_topic(q, v, name, (uint32_t)strlen(name));
        describe_log_dirs_request_topic_open_partitions(q, v, (int32_t)times);
        for (unsigned i = 0; i < times; i++)
            wire_put_i32(q, partition);
        describe_log_dirs_request_topic_end(q, v);
    }
    describe_log_dirs_request_end(q, v);
    assert_true(describe_log_dirs_response_read(call(), v, &in));
    assert_int_equal(in.results.count, 2);
    while (describe_log_dirs_response_result_next(&in.results, v, &dir)) {
        assert_int_equal(dir.error_code, 0);
        assert_true(v >= 4 ? dir.total_bytes >= 1000 : dir.total_bytes == -1);
        while (describe_log_dirs_response_topic_next(&dir.topics, v, &t)) {
            text_is(&dir.log_dir, "/data/b");
            while (describe_log_dirs_response_partition_next(&t.partitions, v, &p)) {
                assert_int_equal(p.partition_size, 12345);
                n++;
            }
        }
    }
    done();
    return n;
}

static void test_an_offline_directory_is_told(void **state)
{
    struct wire_writer *q;
    struct describe_log_dirs_response in;
    struct describe_log_dirs_response_result dir;
    make("t", "0:1");
    w.replica = (struct replica){.state = REPLICA_SERVING, .topic_id = cluster_find_topic(w.c.config.cluster, "t")->id, .topic = "t", .log_dir = 1};
    w.c.replicas[0] = &w.replica;
    w.c.directories[1].offline = true;
    q = begin(KAFKA_API_DESCRIBE_LOG_DIRS, 4);
    describe_log_dirs_request_open_topics(q, 4, -1);
    describe_log_dirs_request_end(q, 4);
    assert_true(describe_log_dirs_response_read(call(), 4, &in));
    assert_true(describe_log_dirs_response_result_next(&in.results, 4, &dir));
    assert_int_equal(dir.error_code, 0);
    assert_true(describe_log_dirs_response_result_next(&in.results, 4, &dir));
    text_is(&dir.log_dir, "/data/b");
    assert_int_equal(dir.error_code, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(dir.topics.count, 0);
    assert_int_equal(dir.total_bytes, -1);
    done();
    w.c.replicas[0] = NULL;
}

static void test_directories_are_told(void **state)
{
    make("t", "0:1");
    w.replica = (struct replica){.state = REPLICA_SERVING, .topic_id = cluster_find_topic(w.c.config.cluster, "t")->id, .topic = "t", .log_dir = 1};
    w.c.replicas[0] = &w.replica;
    for (int16_t v = 1; v <= 4; v++) {
        assert_int_equal(log_dirs(v, NULL, 0, 0), 1);
        assert_int_equal(log_dirs(v, "t", 0, 3), 1);
        assert_int_equal(log_dirs(v, "t", 1, 1), 0);
        assert_int_equal(log_dirs(v, "zzz", 0, 1), 0);
    }
    w.replica.state = REPLICA_OPENING;
    assert_int_equal(log_dirs(4, NULL, 0, 0), 0);
    assert_int_equal(log_dirs(4, "t", 0, 1), 0);
    w.c.replicas[0] = NULL;
}

/* ---- producer ids ---------------------------------------------------------------------------------------------------------------------------- */

static int64_t producer_id(int16_t *ret_error)
{
    struct init_producer_id_response in;
    assert_true(init_producer_id_response_read(answer(), 1, &in));
    *ret_error = in.error_code;
    done();
    return in.producer_id;
}

static void ask_producer_id(struct tide_mail *m, struct wire_writer *q)
{
    memset(m, 0, sizeof(*m));
    m->kind = MAIL_ASK;
    m->ask.api_key = KAFKA_API_INIT_PRODUCER_ID;
    m->ask.api_version = 1;
    wire_writer_init(q, pool);
    init_producer_id_request_put_transactional_id(q, 1, NULL, 0);
    init_producer_id_request_put_transaction_timeout_ms(q, 1, 0);
    init_producer_id_request_end(q, 1);
    m->ask.body = tide_rope_slice(&q->out, 0, q->out.len);
    admin_on_ask(&w.c, m);
}

static void test_producer_ids_come_from_durable_blocks(void **state)
{
    int16_t error;
    w.settings.producer_id_block_size = 3;
    for (int64_t i = 0; i < 7; i++) {
        ask_producer_id(&letter, &question);
        assert_int_equal(producer_id(&error), i);
        assert_int_equal(error, 0);
    }
    assert_int_equal(w.commands, 3);
    w.fail_with = KAFKA_NOT_CONTROLLER;
    for (int i = 0; i < 3; i++) {
        ask_producer_id(&letter, &question);
        (void)producer_id(&error);
        assert_int_equal(error, i < 2 ? 0 : KAFKA_COORDINATOR_NOT_AVAILABLE);
    }
}

static void test_who_needs_an_id_queues_behind_the_block(void **state)
{
    static struct tide_mail mails[5];
    struct wire_writer bodies[5];
    bool seen[6] = {0};
    w.settings.producer_id_block_size = 3;
    w.hold = true;
    for (int i = 0; i < 5; i++)
        ask_producer_id(&mails[i], &bodies[i]);
    assert_int_equal(w.held_count, 1); /* one block for all of them */
    deliver();
    assert_int_equal(w.answers, 3);
    assert_int_equal(w.held_count, 1); /* and another for those that are left */
    deliver();
    assert_int_equal(w.answers, 5);
    for (int i = 0; i < 5; i++) {
        struct init_producer_id_response in;
        wire_cursor_init(&reply, tide_rope_slice(&mails[i].ask.answer, 0, mails[i].ask.answer.len));
        assert_true(init_producer_id_response_read(&reply, 1, &in));
        assert_int_equal(in.error_code, 0);
        assert_in_range(in.producer_id, 0, 5);
        assert_false(seen[in.producer_id]);
        seen[in.producer_id] = true;
        tide_rope_clear(&mails[i].ask.answer);
        wire_writer_abandon(&bodies[i]);
    }
    tick();
}

/* The clock runs out while others wait behind the block. */
static void test_no_id_in_time(void **state)
{
    static struct tide_mail mails[2];
    struct wire_writer bodies[2];
    w.hold = true;
    for (int i = 0; i < 2; i++)
        ask_producer_id(&mails[i], &bodies[i]);
    w.now_ms += ADMIN_TIMEOUT_MS;
    tick();
    assert_int_equal(w.answers, 2);
    deliver();
    tick();
    assert_int_equal(w.c.next_producer_id, 0); /* nobody took one */
    for (int i = 0; i < 2; i++) {
        struct init_producer_id_response in;
        wire_cursor_init(&reply, tide_rope_slice(&mails[i].ask.answer, 0, mails[i].ask.answer.len));
        assert_true(init_producer_id_response_read(&reply, 1, &in));
        assert_int_equal(in.error_code, KAFKA_REQUEST_TIMED_OUT);
        tide_rope_clear(&mails[i].ask.answer);
        wire_writer_abandon(&bodies[i]);
    }
}

/* ---- hostile ------------------------------------------------------------------------------------------------------------------------------------ */

static const struct {
    int16_t key, low, high;
} apis[] = {
    {KAFKA_API_CREATE_TOPICS, 2, 7},        {KAFKA_API_DELETE_TOPICS, 1, 6},
    {KAFKA_API_METADATA, 0, 13},            {KAFKA_API_INIT_PRODUCER_ID, 0, 5},
    {KAFKA_API_DESCRIBE_CONFIGS, 1, 4},     {KAFKA_API_ALTER_CONFIGS, 0, 2},
    {KAFKA_API_DESCRIBE_LOG_DIRS, 1, 4},    {KAFKA_API_CREATE_PARTITIONS, 0, 3},
    {KAFKA_API_ELECT_LEADERS, 0, 2},        {KAFKA_API_INCREMENTAL_ALTER_CONFIGS, 0, 1},
    {KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, 0, 0}, {KAFKA_API_LIST_PARTITION_REASSIGNMENTS, 0, 0},
    {KAFKA_API_DESCRIBE_QUORUM, 0, 2},      {KAFKA_API_UPDATE_FEATURES, 0, 2},
    {KAFKA_API_DESCRIBE_TOPIC_PARTITIONS, 0, 0},
};

/* Bytes that hit lengths and counts: any answer or a closed connection, nothing else happens. */
static void test_any_bytes(void **state)
{
    static const uint8_t nasty[] = {0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, '.', 't', 0x7f, 0x80, 0xfe, 0xff};
    struct tide_random r = {11};
    make("t", "0:1,2");
    for (size_t i = 0; i < TIDE_ARRAY_LEN(apis); i++) {
        for (int16_t v = apis[i].low; v <= apis[i].high; v++) {
            for (int seed = 0; seed < SEEDS; seed++) {
                uint8_t bytes[64];
                uint32_t len = (uint32_t)tide_random_below(&r, sizeof(bytes));
                for (uint32_t k = 0; k < len; k++)
                    bytes[k] = nasty[tide_random_below(&r, sizeof(nasty))];
                wire_put_raw(begin(apis[i].key, v), bytes, len);
                send_it();
                w.now_ms += 700000;
                tick();
                assert_ptr_equal(w.answered, &letter);
                done();
            }
        }
    }
    cluster_check(w.c.config.cluster);
}

static void test_names_that_no_text_can_be(void **state)
{
    static const char zero[] = "a\0b";
    struct wire_writer *q = begin(KAFKA_API_CREATE_TOPICS, 7);
    create_topics_request_open_topics(q, 7, 1);
    create_topics_request_topic_put_name(q, 7, zero, 3);
    create_topics_request_topic_put_num_partitions(q, 7, 1);
    create_topics_request_topic_put_replication_factor(q, 7, 1);
    create_topics_request_topic_open_assignments(q, 7, 0);
    create_topics_request_topic_open_configs(q, 7, 0);
    create_topics_request_topic_end(q, 7);
    end_topics(q, 7, 1000, false);
    assert_true(create_topics_response_read(call(), 7, &created));
    next_created(7, KAFKA_INVALID_TOPIC_EXCEPTION);
    done();
}

/* A list of a million empty names is refused before anything is made of it. */
static void test_too_many_items(void **state)
{
    struct wire_writer *q = begin(KAFKA_API_CREATE_PARTITIONS, 0);
    create_partitions_request_open_topics(q, 0, ADMIN_ITEMS_MAX + 1);
    for (int i = 0; i <= ADMIN_ITEMS_MAX; i++) {
        create_partitions_request_topic_put_name(q, 0, "", 0);
        create_partitions_request_topic_put_count(q, 0, 1);
        create_partitions_request_topic_open_assignments(q, 0, -1);
        create_partitions_request_topic_end(q, 0);
    }
    create_partitions_request_put_timeout_ms(q, 0, 1);
    create_partitions_request_put_validate_only(q, 0, false);
    create_partitions_request_end(q, 0);
    send_it();
    assert_ptr_equal(w.answered, &letter);
    assert_int_equal(letter.ask.result, ASK_CLOSE);
    done();
}

/* Requests of topics (or resources) with lists within: so many topics, each with so many things. */
#define ASK_LISTS(q, v, message, topics, topic, put_name, things, put_thing)                                            \
    message##_open_##topics(q, v, a);                                                                                   \
    for (int32_t i = 0; i < a; i++) {                                                                                   \
        message##_##topic##_##put_name(q, v, "x", 1);                                                                   \
        message##_##topic##_open_##things(q, v, b);                                                                     \
        for (int32_t k = 0; k < b; k++) {                                                                               \
            put_thing;                                                                                                  \
        }                                                                                                               \
        message##_##topic##_end(q, v);                                                                                  \
    }

static void ask_lists(int16_t key, int32_t a, int32_t b)
{
    struct wire_writer *q = begin(key, key == KAFKA_API_CREATE_TOPICS ? 2 : key == KAFKA_API_DESCRIBE_CONFIGS || key == KAFKA_API_DESCRIBE_LOG_DIRS);
    switch (key) {
    case KAFKA_API_CREATE_TOPICS:
        create_topics_request_open_topics(q, 2, a);
        for (int32_t i = 0; i < a; i++) {
            create_topics_request_topic_put_name(q, 2, "x", 1);
            create_topics_request_topic_put_num_partitions(q, 2, -1);
            create_topics_request_topic_put_replication_factor(q, 2, -1);
            create_topics_request_topic_open_assignments(q, 2, b);
            for (int32_t k = 0; k < b; k++) {
                create_topics_request_assignment_put_partition_index(q, 2, k);
                create_topics_request_assignment_open_broker_ids(q, 2, 0);
                create_topics_request_assignment_end(q, 2);
            }
            create_topics_request_topic_open_configs(q, 2, 0);
            create_topics_request_topic_end(q, 2);
        }
        end_topics(q, 2, 0, true);
        break;
    case KAFKA_API_CREATE_PARTITIONS:
        create_partitions_request_open_topics(q, 0, a);
        for (int32_t i = 0; i < a; i++) {
            create_partitions_request_topic_put_name(q, 0, "x", 1);
            create_partitions_request_topic_put_count(q, 0, b);
            create_partitions_request_topic_open_assignments(q, 0, b);
            for (int32_t k = 0; k < b; k++) {
                create_partitions_request_assignment_open_broker_ids(q, 0, 0);
                create_partitions_request_assignment_end(q, 0);
            }
            create_partitions_request_topic_end(q, 0);
        }
        create_partitions_request_put_timeout_ms(q, 0, 0);
        create_partitions_request_put_validate_only(q, 0, true);
        create_partitions_request_end(q, 0);
        break;
    case KAFKA_API_ELECT_LEADERS:
        ASK_LISTS(q, 0, elect_leaders_request, topic_partitions, topic_partitions, put_topic, partitions, wire_put_i32(q, k))
        elect_leaders_request_put_timeout_ms(q, 0, 0);
        elect_leaders_request_end(q, 0);
        break;
    case KAFKA_API_ALTER_PARTITION_REASSIGNMENTS:
        alter_partition_reassignments_request_put_timeout_ms(q, 0, 0);
        ASK_LISTS(q, 0, alter_partition_reassignments_request, topics, topic, put_name, partitions,
                  alter_partition_reassignments_request_partition_put_partition_index(q, 0, k);
                  alter_partition_reassignments_request_partition_open_replicas(q, 0, -1);
                  alter_partition_reassignments_request_partition_end(q, 0))
        alter_partition_reassignments_request_end(q, 0);
        break;
    case KAFKA_API_LIST_PARTITION_REASSIGNMENTS:
        list_partition_reassignments_request_put_timeout_ms(q, 0, 0);
        ASK_LISTS(q, 0, list_partition_reassignments_request, topics, topic, put_name, partition_indexes, wire_put_i32(q, k))
        list_partition_reassignments_request_end(q, 0);
        break;
    case KAFKA_API_DESCRIBE_QUORUM:
        ASK_LISTS(q, 0, describe_quorum_request, topics, topic, put_topic_name, partitions,
                  describe_quorum_request_partition_put_partition_index(q, 0, k);
                  describe_quorum_request_partition_end(q, 0))
        describe_quorum_request_end(q, 0);
        break;
    case KAFKA_API_DESCRIBE_LOG_DIRS:
        ASK_LISTS(q, 1, describe_log_dirs_request, topics, topic, put_topic, partitions, wire_put_i32(q, k))
        describe_log_dirs_request_end(q, 1);
        break;
    default: /* DescribeConfigs */
        describe_configs_request_open_resources(q, 1, a);
        for (int32_t i = 0; i < a; i++) {
            describe_configs_request_resource_put_resource_type(q, 1, CLUSTER_RESOURCE_TOPIC);
            describe_configs_request_resource_put_resource_name(q, 1, "x", 1);
            describe_configs_request_resource_open_configuration_keys(q, 1, b);
            for (int32_t k = 0; k < b; k++)
                wire_put_string(q, false, "x", 1);
            describe_configs_request_resource_end(q, 1);
        }
        describe_configs_request_put_include_synonyms(q, 1, false);
        describe_configs_request_end(q, 1);
    }
    send_it();
    tick();
    assert_ptr_equal(w.answered, &letter);
}

/* Topics and what is listed of them together: neither many topics nor long lists make much of little. */
static void test_too_much_in_lists(void **state)
{
    static const int16_t keys[] = {KAFKA_API_ELECT_LEADERS, KAFKA_API_ALTER_PARTITION_REASSIGNMENTS, KAFKA_API_LIST_PARTITION_REASSIGNMENTS,
                                   KAFKA_API_DESCRIBE_QUORUM, KAFKA_API_DESCRIBE_LOG_DIRS, KAFKA_API_DESCRIBE_CONFIGS,
                                   KAFKA_API_CREATE_TOPICS, KAFKA_API_CREATE_PARTITIONS};
    static const struct {
        int32_t topics, things;
        int result;
    } cases[] = {
        {1, ADMIN_ITEMS_MAX - 1, ASK_BODY}, {2, ADMIN_ITEMS_MAX / 2 - 1, ASK_BODY}, {1, ADMIN_ITEMS_MAX, ASK_CLOSE},
        {2, ADMIN_ITEMS_MAX / 2, ASK_CLOSE}, {ADMIN_ITEMS_MAX + 1, 0, ASK_CLOSE},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(keys); i++) {
        for (size_t k = 0; k < TIDE_ARRAY_LEN(cases); k++) {
            ask_lists(keys[i], cases[k].topics, cases[k].things);
            if (letter.ask.result != (enum ask_result)cases[k].result)
                fail_msg("api %d with %d topics of %d", keys[i], cases[k].topics, cases[k].things);
            done();
        }
    }
}

static int open_world(void **state)
{
    unit_eal();
    pool = unit_pool("admin", 8191, 2048);
    return 0;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_topics_are_created_or_not),
        CASE(test_a_created_topic_tells_its_settings),
        CASE(test_each_topic_of_a_request_stands_alone),
        CASE(test_the_answer_waits_for_every_result_and_every_core),
        CASE(test_what_is_undecided_at_the_deadline_is_timed_out),
        CASE(test_what_is_unseen_at_the_deadline_is_timed_out),
        CASE(test_what_was_only_asked_is_not_waited_for),
        CASE(test_no_time_at_all),
        CASE(test_without_a_controller),
        CASE(test_metadata_creates_what_is_missing),
        CASE(test_the_first_group_makes_its_topic),
        CASE(test_two_first_groups_make_one_topic),
        CASE(test_replicas_of_the_groups_topic),
        CASE(test_topics_are_deleted_or_not),
        CASE(test_partitions_are_added_or_not),
        CASE(test_settings_are_changed_or_not),
        CASE(test_where_a_setting_comes_from),
        CASE(test_throttles),
        CASE(test_what_a_partition_works_with),
        CASE(test_resources_that_cannot_be_described),
        CASE(test_settings_are_replaced),
        CASE(test_leaders_are_elected_or_not),
        CASE(test_replicas_are_moved_or_not),
        CASE(test_a_list_is_not_older_than_its_question),
        CASE(test_partitions_are_told_in_pieces),
        CASE(test_partitions_show_who_is_away),
        CASE(test_the_quorum_is_told),
        CASE(test_features_are_updated_or_not),
        CASE(test_directories_are_told),
        CASE(test_an_offline_directory_is_told),
        CASE(test_producer_ids_come_from_durable_blocks),
        CASE(test_who_needs_an_id_queues_behind_the_block),
        CASE(test_no_id_in_time),
        CASE(test_any_bytes),
        CASE(test_names_that_no_text_can_be),
        CASE(test_too_many_items),
        CASE(test_too_much_in_lists),
    };
    return cmocka_run_group_tests(tests, open_world, NULL);
}
