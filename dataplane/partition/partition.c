/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kafka/batch.h"
#include "kafka/errors.h"
#include "tidemark/fs.h"
#include "tidemark/mutant.h"

enum {
    EXPIRE_LOOKS = 16,          /* producers looked at per millisecond */
    FIRST_ZSTD_VERSION = 7,     /* of Produce */
};

#define TO(s) (1u << PARTITION_##s)
static const struct {
    const char *name;
    uint32_t next;
} partition_states[PARTITION_STATE_COUNT] = {
    [PARTITION_CREATED] = {"created", TO(OPEN)},
    [PARTITION_OPEN] = {"open", TO(FOLLOWER)},
    [PARTITION_FOLLOWER] = {"follower", TO(FOLLOWER) | TO(STARTING) | TO(FAILED) | TO(RELEASED)},
    [PARTITION_STARTING] = {"starting", TO(FOLLOWER) | TO(STARTING) | TO(LEADER) | TO(FAILED) | TO(RELEASED)},
    [PARTITION_LEADER] = {"leader", TO(FOLLOWER) | TO(STARTING) | TO(FAILED) | TO(RELEASED)},
    [PARTITION_FAILED] = {"failed", TO(RELEASED)},
    [PARTITION_RELEASED] = {"released", 0},
};

enum { ROLE_LEADER = 1, ROLE_FAILED = 2, ROLE_FOLLOWER = 4 };

void partition_publish_role(struct partition *p)
{
    uint64_t flags = 0;
    if ((p->state == PARTITION_LEADER || p->state == PARTITION_STARTING) && p->begun)
        flags = ROLE_LEADER;
    else if (p->state == PARTITION_FAILED)
        flags = ROLE_FAILED;
    else if (p->state == PARTITION_FOLLOWER && p->agreed)
        flags = ROLE_FOLLOWER;
    if (p->releasing)
        flags &= ~(uint64_t)(ROLE_LEADER | ROLE_FOLLOWER);
    tide_pub64_set(&p->role, flags << 32 | (uint32_t)p->leader_epoch);
    p->moved = true;
}

void partition_move(struct partition *p, enum partition_state to)
{
    TIDE_ASSERT(partition_states[p->state].next & 1u << to);
    p->failed |= to == PARTITION_FAILED;
    p->state = to;
    partition_publish_role(p);
}

/* ---- life -------------------------------------------------------------------------------------------- */

/* A compacted log rolls early enough for its records to become cleanable in time (KIP-354). */
static int64_t roll_ms(const struct tide_topic_config *c)
{
    return c->cleanup_policy == CLEANUP_DELETE ? c->segment_ms : TIDE_MIN(c->segment_ms, c->max_compaction_lag_ms);
}

struct partition *partition_create(const struct partition_config *config)
{
    struct partition *p = aligned_alloc(TIDE_CACHE_LINE, sizeof(*p));
    struct log_config log = {.dir = config->dir,
                             .topic_id = config->topic_id,
                             .slot = config->slot,
                             .segment_bytes = (uint64_t)config->topic_config.segment_bytes,
                             .segment_ms = roll_ms(&config->topic_config),
                             .index_interval_bytes = (uint32_t)config->topic_config.index_interval_bytes,
                             .preallocate_bytes = config->preallocate_bytes,
                             .durable = config->topic_config.ack_durability == ACK_DURABILITY_DEVICE,
                             .committed = config->high_watermark,
                             .repair = config->repair};
    if (p == NULL)
        return NULL;
    memset(p, 0, sizeof(*p));
    p->slot = config->slot;
    p->home_core = config->home_core;
    p->index = config->index;
    p->topic_id = config->topic_id;
    p->config = config->topic_config;
    p->producer_expiry_ms = config->producer_expiry_ms;
    p->leader_epoch = p->partition_epoch = -1;
    p->known_committed = config->high_watermark;
    p->lease_until_ns = config->lease_until_ns;
    p->grace = config->grace;
    p->retention_check_ms = config->retention_check_ms;
    p->clean_check_ms = config->clean_check_ms;
    p->clean_bytes_per_second = config->clean_bytes_per_second;
    p->clean_map_bytes = config->clean_map_bytes;
    snprintf(p->topic, sizeof(p->topic), "%s", config->topic);
    snprintf(p->dir, sizeof(p->dir), "%s", config->dir);
    p->log = log_create(&log);
    p->producers = producers_create(config->producers_max);
    if (p->log == NULL || p->producers == NULL) {
        partition_destroy(p);
        return NULL;
    }
    return p;
}

void partition_destroy(struct partition *p)
{
    if (p == NULL)
        return;
    if (p->log != NULL)
        log_destroy(p->log);
    snapshot_end(&p->snapshot);
    producers_destroy(p->producers);
    free(p);
}

/* ---- opening and closing ------------------------------------------------------------------------- */

void partition_replay(void *arg, const struct batch_header *h)
{
    struct partition *p = arg;
    producer_appended(p->producers, h, h->base_offset, INT64_MAX);
}

int partition_open(struct partition *p, const struct tide_fs *fs, char *error, size_t error_size)
{
    int e = log_open(p->log, fs, 0, NULL, NULL, error, error_size);
    if (e != 0)
        return e;
    int64_t end = log_next_offset(p->log);
    /* A snapshot beyond the end speaks of records that the log lost. */
    e = snapshot_remove_beyond(fs, p->dir, end);
    if (e != 0) {
        snprintf(error, error_size, "a stale producer snapshot in %s cannot be removed", p->dir);
        return e;
    }
    e = log_replay(p->log, fs, snapshot_load_newest(p->producers, fs, p->dir, end), partition_replay, p);
    if (e != 0) {
        snprintf(error, error_size, "%s cannot be read for its producers: %s", p->dir, strerror(-e));
        return e;
    }
    partition_move(p, PARTITION_OPEN);
    return 0;
}

int partition_close(struct partition *p, const struct tide_fs *fs)
{
    bool failed = log_is_failed(p->log);
    int e;
    if (p->state == PARTITION_CREATED)
        return 0;
    e = failed || p->cut != CUT_NONE ? 0 : snapshot_write(p->producers, fs, p->dir, log_next_offset(p->log));
    int closed = log_close(p->log, fs);
    return e != 0 ? e : failed ? -EIO : closed;
}

bool partition_lost_committed(const struct partition *p)
{
    return log_next_offset(p->log) < p->known_committed;
}

/* ---- roles ------------------------------------------------------------------------------------------ */

void partition_adopt(struct partition *p, struct log_core *core, const struct tide_time *t)
{
    int64_t end = log_next_offset(p->log);
    int64_t start = log_start_offset(p->log);
    log_adopt(p->log, core);
    producers_loaded(p->producers, t->wall_ms);
    snapshot_begin(&p->snapshot, p->dir, p->home_core, p->slot, log_active_base(p->log));
    p->retention_at_ns = t->now_ns + (uint64_t)p->retention_check_ms * TIDE_NS_PER_MS;
    p->clean_at_ns = t->now_ns + (uint64_t)p->clean_check_ms * TIDE_NS_PER_MS;
    /* Everything recovered is on the device. */
    watermark_begin(&p->marks, -1, start, end, end, TIDE_MAX(TIDE_MIN(p->known_committed, end), start), 1, 1);
    partition_configure(p, &p->config);
    partition_move(p, PARTITION_FOLLOWER);
}

/* What the marks of the next epoch start from. The role in which they were read has ended. */
static void begin_marks(struct partition *p, const struct tide_time *t, bool leads)
{
    int64_t high = watermark_high(&p->marks);
    int64_t start = log_start_offset(p->log);
    int64_t end = log_next_offset(p->log);
    watermark_begin(&p->marks, p->leader_epoch, start, end, log_durable_end(p->log), high, leads ? p->members.count : 1, leads ? p->isr : 1);
    p->begun = true;
    /* Who is alone in sync has committed all that it holds: nobody is to see less, and take it for the end. */
    if (leads && partition_has_lease(p, t))
        (void)watermark_evaluate(&p->marks);
    partition_publish_role(p);
}

/* The epoch's marks begin when the log stands still. */
static void begin_leading(struct partition *p, const struct tide_time *t)
{
    if (partition_is_settled(p) && !p->begun)
        begin_marks(p, t, true);
}

/* The role in which they came has ended; nothing is cut until they have looked for the last time. */
void partition_readers_leave(struct partition *p)
{
    if (p->grace.begin != NULL)
        p->grace_token = p->grace.begin(p->grace.self);
}

/* What of our high watermark is true in that role. An unclean leader may lack what was committed; what it has is committed anew. Of that
 * epoch this process knows nothing before it took part in it, or in a later one: its mark may be of the time before. In a log that was agreed
 * upon since, what lies before the epoch is committed; in an older one all that an elected leader has, and nothing of a follower. */
static int64_t still_committed(struct partition *p, const struct mail_role *role)
{
    int32_t unclean = role->recovering ? TIDE_MAX(role->leader_epoch, role->unclean_epoch) : role->unclean_epoch;
    int64_t high = watermark_high(&p->marks), start = log_start_offset(p->log), end;
    int32_t epoch;
    if (unclean <= p->leader_epoch)
        return high;
    if (log_last_batch_epoch(p->log) < unclean)
        return role->leader == role->self ? high : start;
    log_end_for_epoch(p->log, unclean - 1, &epoch, &end);
    return TIDE_MAX(TIDE_MIN(high, end), start); /* end: -1 where there is nothing before it */
}

static void end_epoch(struct partition *p, const struct mail_role *role)
{
    bool had_readers = p->begun;
    int64_t high = still_committed(p, role);
    p->leader_epoch = role->leader_epoch;
    p->begun = p->agreed = false;
    partition_publish_role(p);
    if (had_readers)
        partition_readers_leave(p);
    if (high < watermark_high(&p->marks))
        tide_pub64_set(&p->marks.high_watermark, (uint64_t)high);
    members_begin(&p->members, role);
}

static void lead(struct partition *p, const struct tide_time *t, bool new_epoch)
{
    if (!new_epoch) {
        watermark_extend(&p->marks, p->members.count);
        watermark_commit_isr(&p->marks, p->isr);
        return;
    }
    partition_move(p, PARTITION_STARTING);
    begin_leading(p, t);
}

static void follow(struct partition *p, const struct tide_time *t, bool new_epoch)
{
    if (!new_epoch)
        return;
    p->leader_start = 0;
    partition_move(p, PARTITION_FOLLOWER);
    begin_marks(p, t, false);
}

/* After the begin of an epoch, and after a refusal: see partition_append. */
#define SETTLE_NS TIDE_NS_PER_S

bool partition_become(struct partition *p, const struct tide_time *t, const struct mail_role *role, struct tide_out *out)
{
    bool new_epoch = role->leader_epoch > p->leader_epoch;
    bool takes_part = p->state >= PARTITION_FOLLOWER && p->state <= PARTITION_LEADER && !p->releasing;
    if (role->partition_epoch <= p->partition_epoch || !TIDE_EXPECT(role->leader_epoch >= p->leader_epoch))
        return false;
    if (new_epoch)
        end_epoch(p, role);
    else
        members_update(&p->members, role);
    p->partition_epoch = role->partition_epoch;
    p->isr = members_isr(&p->members, role) | 1u << MEMBER_SELF;
    if (takes_part && role->leader == role->self) {
        if (new_epoch)
            p->settled_ns = t->now_ns + SETTLE_NS;
        lead(p, t, new_epoch);
    }
    else if (takes_part)
        follow(p, t, new_epoch);
    p->moved = true;
    partition_turn(p, t, out);
    return true;
}

void partition_committed(struct partition *p, int32_t leader_epoch, int32_t partition_epoch)
{
    if (leader_epoch == p->leader_epoch && partition_is_leader(p))
        p->partition_epoch = TIDE_MAX(p->partition_epoch, partition_epoch);
}

bool partition_has_lease(const struct partition *p, const struct tide_time *t)
{
    return MUTANT(LEASE) || p->lease_until_ns == NULL || t->now_ns < atomic_load_explicit(p->lease_until_ns, memory_order_acquire);
}

bool partition_is_leader(const struct partition *p)
{
    return (p->state == PARTITION_LEADER || p->state == PARTITION_STARTING) && p->begun && !p->releasing;
}

bool partition_has_started(const struct partition *p)
{
    return p->state == PARTITION_LEADER && partition_is_leader(p);
}

bool partition_is_follower(const struct partition *p)
{
    return p->state == PARTITION_FOLLOWER && !p->releasing;
}

bool partition_is_settled(const struct partition *p)
{
    return p->cut == CUT_NONE && !log_is_skipping(p->log);
}

void partition_configure(struct partition *p, const struct tide_topic_config *config)
{
    p->config = *config;
    watermark_configure(&p->marks, (uint32_t)config->min_insync_replicas, config->ack_durability == ACK_DURABILITY_DEVICE);
    log_configure(p->log, (uint64_t)config->segment_bytes, roll_ms(config), (uint32_t)config->index_interval_bytes);
}

/* A cut that is wanted is finished before the log is let go of: its helper reads the log, and what is left behind of producers must
 * not speak of what was cut. */
static bool is_cutting(struct partition *p, struct tide_out *out)
{
    if (p->cut == CUT_NONE || p->state == PARTITION_FAILED || log_is_failed(p->log))
        return false;
    (void)partition_cut_step(p, out);
    return p->cut != CUT_NONE;
}

bool partition_release(struct partition *p, struct tide_out *out)
{
    if (!p->releasing) {
        p->releasing = true;
        partition_publish_role(p);
    }
    if (p->state == PARTITION_RELEASED)
        return true;
    if (!MUTANT(CUT_RELEASE) && (is_cutting(p, out) || p->reload.out))
        return false;
    if (!log_release(p->log, out) || snapshot_job_is_out(&p->snapshot))
        return false;
    partition_move(p, PARTITION_RELEASED);
    return true;
}

/* ---- the decision to append (kafka-protocol 3.3, in Kafka's order) ----------------------------------------- */

static enum tide_status refuse(struct partition_appended *ret, int16_t error, const char *message)
{
    ret->error = error;
    ret->message = message;
    return TIDE_OK;
}

/* Size, magic, codec, counts: what the header alone tells. 0 or the error. */
static int16_t check_header(const struct partition *p, const struct partition_append *a, const struct batch_header *h, const char **message)
{
    bool log_append_time = h->attributes & BATCH_LOG_APPEND_TIME;
    if (h->base_offset != 0) {
        *message = "a producer's base offset is 0";
        return KAFKA_INVALID_RECORD;
    }
    if ((int64_t)a->records.len > p->config.max_message_bytes) {
        *message = "the batch is larger than max.message.bytes";
        return KAFKA_MESSAGE_TOO_LARGE;
    }
    if (h->record_count <= 0 || h->last_offset_delta < 0 || h->last_offset_delta == INT32_MAX ||
        h->last_offset_delta + 1 != h->record_count) {
        *message = "record count and last offset delta disagree";
        return KAFKA_INVALID_RECORD;
    }
    if (h->attributes & BATCH_CONTROL) {
        *message = "only the broker writes control batches";
        return KAFKA_INVALID_RECORD;
    }
    if (batch_codec_of(h) >= CODEC_COUNT) {
        *message = "no such compression codec";
        return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    }
    if (h->producer_id >= 0 && (h->base_sequence < 0 || h->producer_epoch < 0)) {
        *message = "a producer id comes with an epoch and a sequence";
        return KAFKA_INVALID_RECORD;
    }
    if (log_append_time && p->config.message_timestamp_type == TIMESTAMP_CREATE_TIME) {
        *message = "the batch says LogAppendTime, the topic CreateTime";
        return KAFKA_INVALID_TIMESTAMP;
    }
    if (h->attributes & BATCH_TRANSACTIONAL) { /* no coordinator here could have opened one */
        *message = "transactions are not served";
        return a->transactional_id_given ? KAFKA_INVALID_TXN_STATE : KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    return 0;
}

/* Exactly one batch of magic 2, and we lead. */
static int16_t check_request(const struct partition *p, const struct tide_time *t, const struct partition_append *a, struct batch_header *h,
                             const char **message)
{
    if (a->records.len == 0) {
        *message = "there are no records";
        return KAFKA_INVALID_RECORD;
    }
    if (a->records.len < BATCH_MAGIC + 1) {
        *message = "the batch is shorter than a header";
        return KAFKA_CORRUPT_MESSAGE;
    }
    if (!batch_header_read(a->records, h)) {
        uint8_t magic;
        struct tide_slice one = tide_slice_after(a->records, BATCH_MAGIC);
        one.len = 1;
        tide_slice_copy(one, &magic);
        *message = magic != 2 ? "message formats before 2 are not taken" : "the batch is shorter than its header";
        return magic != 2 ? KAFKA_INVALID_RECORD : KAFKA_CORRUPT_MESSAGE;
    }
    if (h->magic != 2) {
        *message = "message formats before 2 are not taken";
        return KAFKA_INVALID_RECORD;
    }
    if (h->batch_length < BATCH_LENGTH_MIN || batch_size(h) > a->records.len) {
        *message = "the batch's length does not fit its bytes";
        return KAFKA_CORRUPT_MESSAGE;
    }
    if (batch_size(h) != a->records.len) {
        *message = "a partition takes one batch per request";
        return KAFKA_INVALID_RECORD;
    }
    if (batch_codec_of(h) == CODEC_ZSTD && a->api_version < FIRST_ZSTD_VERSION) {
        *message = "zstd needs Produce 7";
        return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    }
    if (p->state == PARTITION_FAILED)
        return KAFKA_KAFKA_STORAGE_ERROR;
    if (!partition_is_leader(p) || !partition_has_lease(p, t))
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (a->leader_epoch >= 0 && a->leader_epoch != p->leader_epoch)
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (a->acks == -1 && !watermark_min_isr_met(&p->marks))
        return KAFKA_NOT_ENOUGH_REPLICAS;
    return check_header(p, a, h, message);
}

static int64_t minus(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_sub_overflow(a, b, &r) ? INT64_MIN : r;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}

static struct batch_walk_limits limits_now(const struct partition *p, const struct tide_time *t)
{
    bool create_time = p->config.message_timestamp_type == TIMESTAMP_CREATE_TIME;
    return (struct batch_walk_limits){.refuse_null_keys = p->config.cleanup_policy != CLEANUP_DELETE,
                                       .check_timestamps = create_time,
                                       .timestamp_min = minus(t->wall_ms, p->config.message_timestamp_before_max_ms),
                                       .timestamp_max = plus(t->wall_ms, p->config.message_timestamp_after_max_ms)};
}

/* Uncompressed records are walked in place; a helper has looked into the others. */
static void walk(const struct partition *p, const struct tide_time *t, const struct partition_append *a, const struct batch_header *h,
                 struct batch_walk *ret)
{
    struct batch_walk_limits limits = limits_now(p, t);
    if (batch_codec_of(h) == CODEC_NONE)
        batch_walk_records(a->records, h, &limits, ret);
    else
        *ret = *a->walked;
}

bool partition_wants_check(const struct partition *p, const struct tide_time *t, const struct partition_append *a,
                           struct batch_header *ret_header, struct batch_walk_limits *ret_limits)
{
    const char *message;
    if (check_request(p, t, a, ret_header, &message) != 0 || batch_codec_of(ret_header) == CODEC_NONE)
        return false;
    *ret_limits = limits_now(p, t);
    return true;
}

static enum tide_status store(struct partition *p, const struct tide_time *t, const struct partition_append *a, struct batch_header *h,
                              const struct batch_walk *walked, struct tide_out *out, struct partition_appended *ret)
{
    bool append_time = p->config.message_timestamp_type == TIMESTAMP_LOG_APPEND_TIME;
    struct log_stamp stamp = {.attributes = h->attributes, .max_timestamp = walked->max_timestamp};
    int64_t base = log_next_offset(p->log);
    enum tide_status status = log_begin_epoch(p->log, p->leader_epoch, out);

    if (append_time) {
        stamp.attributes |= BATCH_LOG_APPEND_TIME;
        stamp.max_timestamp = p->config.append_time_source == APPEND_TIME_ARRIVAL ? a->arrived_ms : t->wall_ms;
    }
    if (status == TIDE_OK)
        status = log_make_room(p->log, t, a->records.len, stamp.max_timestamp, out);
    if ((status == TIDE_FULL || status == TIDE_AGAIN) && log_disk_is_full(p->log)) /* design 7: before anything is written */
        return refuse(ret, KAFKA_KAFKA_STORAGE_ERROR, "the disk is full");
    if (status == TIDE_FULL || status == TIDE_AGAIN)
        return TIDE_FULL;
    if (status == TIDE_REFUSED)
        return refuse(ret, KAFKA_RECORD_LIST_TOO_LARGE, "the batch is larger than a segment or than this broker's buffers");
    if (status != TIDE_OK)
        return refuse(ret, KAFKA_KAFKA_STORAGE_ERROR, NULL);
    if (stamp.attributes != h->attributes || stamp.max_timestamp != h->max_timestamp)
        status = log_append_stamped(p->log, a->records, h, base, p->leader_epoch, &stamp);
    else
        status = log_append(p->log, a->records, h, base, p->leader_epoch);
    if (status == TIDE_BAD)
        return refuse(ret, KAFKA_CORRUPT_MESSAGE, "the checksum does not match");
    if (status != TIDE_OK)
        return refuse(ret, KAFKA_KAFKA_STORAGE_ERROR, NULL);
    h->max_timestamp = stamp.max_timestamp; /* as it is stored */
    snapshot_before_append(&p->snapshot, p->producers, base, log_active_base(p->log), a->records.len);
    producer_appended(p->producers, h, base, t->wall_ms);
    ret->error = 0;
    ret->base_offset = base;
    ret->end_offset = base + h->last_offset_delta + 1;
    ret->log_append_time_ms = append_time ? stamp.max_timestamp : -1;
    watermark_appended(&p->marks, ret->end_offset);
    if (p->marks.replica_count > 1 || !watermark_counts_durable(&p->marks)) /* else the append changes nothing that counts */
        (void)watermark_evaluate(&p->marks);                                 /* we have the lease: check_request */
    p->moved = true;
    return TIDE_OK;
}

/* Producers send ahead. When the first of several batches comes while we cannot take it (we do not lead yet, or too few are
 * in sync), and the second when we can, there is a gap before the second that is nobody's fault. It must not be taken from a
 * producer that we do not know, or the first could never follow (P6), and some clients end over OUT_OF_ORDER_SEQUENCE_NUMBER.
 * For a while such a gap is told as a refusal that will pass: nothing was appended, so that is always safe. */
static bool is_refused_for_a_while(int16_t error)
{
    return error == KAFKA_NOT_LEADER_OR_FOLLOWER || error == KAFKA_NOT_ENOUGH_REPLICAS || error == KAFKA_KAFKA_STORAGE_ERROR;
}

static enum producer_verdict judge(const struct partition *p, const struct tide_time *t, const struct batch_header *h, int64_t *ret_first)
{
    enum producer_verdict v = producer_judge(p->producers, h, ret_first);
    return v == PRODUCER_UNKNOWN && h->base_sequence != 0 && t->now_ns < p->settled_ns ? PRODUCER_GAP : v;
}

enum tide_status partition_append(struct partition *p, const struct tide_time *t, const struct partition_append *a, struct tide_out *out,
                                  struct partition_appended *ret)
{
    struct batch_header h;
    struct batch_walk walked;
    int64_t first;
    int16_t error;
    const char *message = NULL;

    *ret = (struct partition_appended){.bad_record = -1, .leader_epoch = p->leader_epoch, .base_offset = -1, .end_offset = -1,
                                       .log_append_time_ms = -1, .log_start_offset = -1};
    error = check_request(p, t, a, &h, &message);
    if (error == 0 || error == KAFKA_INVALID_RECORD || error == KAFKA_INVALID_TIMESTAMP)
        ret->log_start_offset = log_start_offset(p->log);
    if (is_refused_for_a_while(error))
        p->settled_ns = t->now_ns + SETTLE_NS;
    if (error != 0)
        return refuse(ret, error, message);
    if (batch_codec_of(&h) != CODEC_NONE && a->walked == NULL)
        return TIDE_AGAIN;
    walk(p, t, a, &h, &walked);
    if (walked.error != 0) {
        /* Bytes damaged on the way can look like anything: let the checksum speak first. */
        if (batch_crc(a->records) != h.crc)
            return refuse(ret, KAFKA_CORRUPT_MESSAGE, "the checksum does not match");
        ret->bad_record = walked.bad_record;
        return refuse(ret, walked.error, walked.message);
    }
    switch (judge(p, t, &h, &first)) {
    case PRODUCER_DUPLICATE:
        if (batch_crc(a->records) != h.crc)
            return refuse(ret, KAFKA_CORRUPT_MESSAGE, "the checksum does not match");
        ret->duplicate = true;
        ret->base_offset = first;
        ret->end_offset = first + h.last_offset_delta + 1;
        return TIDE_OK;
    case PRODUCER_OLD_EPOCH:
        return refuse(ret, KAFKA_INVALID_PRODUCER_EPOCH, "a newer epoch of this producer has written");
    case PRODUCER_GAP:
    case PRODUCER_NEW_EPOCH_GAP:
        if (t->now_ns < p->settled_ns)
            return refuse(ret, KAFKA_NOT_LEADER_OR_FOLLOWER, "what goes before it was refused, or may have been");
        return refuse(ret, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER, "the sequence does not continue what was written");
    default:
        return store(p, t, a, &h, &walked, out, ret);
    }
}

/* ---- events of the home core -------------------------------------------------------------------------------- */

void partition_check_failure(struct partition *p)
{
    if (log_is_failed(p->log) && p->state >= PARTITION_FOLLOWER && p->state <= PARTITION_LEADER)
        partition_move(p, PARTITION_FAILED);
}

static int16_t trim_error(const struct partition *p, int64_t offset)
{
    if (p->state == PARTITION_FAILED)
        return KAFKA_KAFKA_STORAGE_ERROR;
    if (!partition_is_leader(p))
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (p->config.cleanup_policy == CLEANUP_COMPACT)
        return KAFKA_POLICY_VIOLATION;
    if (offset < 0 || offset > watermark_high(&p->marks))
        return KAFKA_OFFSET_OUT_OF_RANGE;
    return 0;
}

enum tide_status partition_trim(struct partition *p, int64_t *offset, struct tide_out *out, int16_t *ret_error,
                                int64_t *ret_low)
{
    if (*offset == -1)
        *offset = watermark_high(&p->marks);
    *ret_low = -1;
    *ret_error = trim_error(p, *offset);
    if (*ret_error != 0)
        return TIDE_OK;
    enum tide_status status = log_trim(p->log, *offset, out);
    if (status == TIDE_AGAIN)
        return status;
    if (status == TIDE_OK)
        *ret_low = log_start_offset(p->log);
    else
        *ret_error = status == TIDE_IO ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NOT_LEADER_OR_FOLLOWER;
    return TIDE_OK;
}

/* Old segments go (kafka-protocol 11: log.retention.*); the active one rolls first when it is old. */
static void retain(struct partition *p, const struct tide_time *t, struct tide_out *out)
{
    struct log_retention r = {.now_ms = t->wall_ms,
                              .ms = p->config.retention_ms,
                              .bytes = p->config.retention_bytes,
                              .limit = TIDE_MIN(watermark_high(&p->marks), log_durable_end(p->log))};
    p->retention_at_ns = t->now_ns + (uint64_t)p->retention_check_ms * TIDE_NS_PER_MS;
    if (p->config.cleanup_policy == CLEANUP_COMPACT)
        return;
    log_retention_roll(p->log, &r);
    (void)log_trim(p->log, log_retention_start(p->log, &r), out);
}

/* Superseded records of closed segments go (kafka-protocol 10.5). */
static void clean(struct partition *p, const struct tide_time *t, struct tide_out *out)
{
    int64_t ends[LOG_COMPACT_PRODUCERS];
    struct log_compaction c = {.now_ms = t->wall_ms,
                               .limit = TIDE_MIN(watermark_high(&p->marks), log_durable_end(p->log)),
                               .min_ratio_ppm = p->config.min_cleanable_ratio,
                               .min_lag_ms = p->config.min_compaction_lag_ms,
                               .max_lag_ms = p->config.max_compaction_lag_ms,
                               .delete_retention_ms = p->config.delete_retention_ms,
                               .bytes_per_second = p->clean_bytes_per_second == INT64_MAX ? 0 : p->clean_bytes_per_second,
                               .map_bytes = (size_t)p->clean_map_bytes,
                               .producer_ends = ends};
    p->clean_at_ns = t->now_ns + (uint64_t)p->clean_check_ms * TIDE_NS_PER_MS;
    if (p->config.cleanup_policy == CLEANUP_DELETE)
        return;
    c.producer_end_count = producers_ends(p->producers, ends, TIDE_ARRAY_LEN(ends));
    log_compact(p->log, &c, out);
}

static void lead_turn(struct partition *p, const struct tide_time *t, struct tide_out *out)
{
    begin_leading(p, t);
    if (p->state == PARTITION_STARTING && p->begun && log_begin_epoch(p->log, p->leader_epoch, out) == TIDE_OK)
        partition_move(p, PARTITION_LEADER);
    if (p->state == PARTITION_LEADER && p->retention_check_ms > 0 && t->now_ns >= p->retention_at_ns)
        retain(p, t, out);
    if (p->begun && partition_has_lease(p, t) && watermark_evaluate(&p->marks))
        p->moved = true;
}

void partition_turn(struct partition *p, const struct tide_time *t, struct tide_out *out)
{
    bool takes_part = partition_is_leader(p) || partition_is_follower(p);
    (void)partition_cut_step(p, out);
    if (p->state == PARTITION_STARTING || p->state == PARTITION_LEADER)
        lead_turn(p, t, out);
    if (partition_is_follower(p))
        partition_follow_start(p, out);
    if (takes_part && p->cut == CUT_NONE && p->clean_check_ms > 0 && t->now_ns >= p->clean_at_ns)
        clean(p, t, out);
    if (p->state >= PARTITION_FOLLOWER && p->state != PARTITION_RELEASED)
        log_flush(p->log, t, out);
    if (takes_part && p->cut == CUT_NONE)
        snapshot_turn(&p->snapshot, p->producers, log_durable_end(p->log), out);
    if (t->wall_ms > p->producer_expiry_ms && t->wall_ms != p->producers_looked_ms && p->cut == CUT_NONE) {
        p->producers_looked_ms = t->wall_ms;
        producers_expire(p->producers, t->wall_ms - p->producer_expiry_ms, EXPIRE_LOOKS);
    }
    partition_check_failure(p);
}

bool partition_has_work(const struct partition *p)
{
    bool takes_part = partition_is_leader(p) || partition_is_follower(p);
    if (p->state < PARTITION_FOLLOWER || p->state == PARTITION_RELEASED)
        return false;
    return p->state == PARTITION_STARTING || p->cut == CUT_GRACE || log_has_work(p->log) || partition_follow_has_work(p) ||
           (takes_part && p->cut == CUT_NONE && snapshot_has_work(&p->snapshot, log_durable_end(p->log)));
}

bool partition_is_failed(const struct partition *p)
{
    return p->state == PARTITION_FAILED;
}

void partition_on_disk(struct partition *p, const struct tide_time *t, const struct disk_done *done, struct tide_out *out)
{
    if (log_on_disk(p->log, done, out) && !log_is_failed(p->log)) {
        if (p->cut == CUT_NONE)
            watermark_durable(&p->marks, log_durable_end(p->log));
        if (p->state == PARTITION_LEADER && partition_has_lease(p, t))
            (void)watermark_evaluate(&p->marks);
        p->moved = true;
    }
    partition_check_failure(p);
}

void partition_on_job(struct partition *p, const struct tide_time *t, struct tide_job *job, struct tide_out *out)
{
    int64_t start = log_start_offset(p->log);
    (void)out;
    if (job == &p->snapshot.job)
        snapshot_on_job(&p->snapshot);
    else if (job == &p->reload.job)
        partition_on_reload(p, t);
    else
        log_on_job(p->log, job);
    partition_note_end(p);
    if (log_start_offset(p->log) != start)
        p->moved = true;
    partition_check_failure(p);
}

bool partition_take_failed(struct partition *p)
{
    bool failed = p->failed;
    p->failed = false;
    return failed;
}

bool partition_take_moved(struct partition *p)
{
    bool moved = p->moved;
    p->moved = false;
    return moved;
}

/* ---- [any] -------------------------------------------------------------------------------------------------------- */

void partition_look(const struct partition *p, struct partition_look *ret)
{
    uint64_t role = tide_pub64_peek(&p->role);
    *ret = (struct partition_look){
        .min_isr_met = watermark_min_isr_met(&p->marks),
        .log_start = log_start_offset(p->log),
        /* The high watermark first: what is read later can only be larger. */
        .high_watermark = watermark_high(&p->marks),
    };
    int64_t stable = watermark_stable(&p->marks);
    ret->last_stable_offset = TIDE_MIN(stable, ret->high_watermark);
    ret->counted_end = watermark_counted(&p->marks);
    ret->log_end = watermark_log_end(&p->marks);
    ret->epoch_committed = watermark_epoch_committed(&p->marks);
    /* The acquires above: a mark of a later epoch was written behind a role that is not this one. */
    uint64_t after = tide_pub64_peek(&p->role);
    ret->leader_epoch = (int32_t)(uint32_t)after;
    ret->leader = after == role && (after >> 32 & ROLE_LEADER) != 0;
    ret->follower = after == role && (after >> 32 & ROLE_FOLLOWER) != 0;
    ret->failed = (after >> 32 & ROLE_FAILED) != 0;
}

int64_t partition_checkpoint(const struct partition *p)
{
    int64_t durable = watermark_durable_end(&p->marks);
    int64_t high = watermark_high(&p->marks);
    return TIDE_MIN(high, durable);
}

struct watermark *partition_marks(struct partition *p) { return &p->marks; }
const struct members *partition_members(const struct partition *p) { return &p->members; }
int32_t partition_epoch(const struct partition *p) { return p->partition_epoch; }
struct log *partition_log(struct partition *p) { return p->log; }
const char *partition_topic(const struct partition *p) { return p->topic; }
const struct tide_uuid *partition_topic_id(const struct partition *p) { return &p->topic_id; }
int32_t partition_index(const struct partition *p) { return p->index; }
uint32_t partition_slot(const struct partition *p) { return p->slot; }
uint32_t partition_home(const struct partition *p) { return p->home_core; }

void partition_note_rot(struct partition *p, uint32_t core)
{
    p->rot_noted[core] = true;
}

bool partition_rot_is_noted(const struct partition *p, uint32_t core)
{
    return p->rot_noted[core];
}

void partition_set_interest(struct partition *p, uint32_t core, bool interested)
{
    atomic_store_explicit(&p->interest[core], interested, memory_order_release);
}

bool partition_is_read(const struct partition *p)
{
    return log_is_read(p->log);
}

bool partition_has_interest(const struct partition *p, uint32_t core)
{
    return atomic_load_explicit(&p->interest[core], memory_order_acquire) != 0;
}

void partition_check(const struct partition *p)
{
    watermark_check(&p->marks);
    producers_check(p->producers);
    log_check(p->log);
    members_check(&p->members);
    if (p->begun && p->cut == CUT_NONE && (p->state == PARTITION_LEADER || p->state == PARTITION_FOLLOWER))
        TIDE_ASSERT(watermark_log_end(&p->marks) == log_next_offset(p->log));
}
