/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/follower.h"

#include "kafka/errors.h"
#include "tidemark/assert.h"
#include "tidemark/mutant.h"

#define TO(s) (1u << FOLLOWER_##s)
static const struct {
    const char *name;
    uint32_t next;
} follower_states[FOLLOWER_STATE_COUNT] = {
    [FOLLOWER_IDLE] = {"idle", TO(IDLE) | TO(SUBSCRIBING) | TO(FAILED)},
    [FOLLOWER_SUBSCRIBING] = {"subscribing", TO(STREAMING) | TO(TRUNCATING) | TO(IDLE) | TO(FAILED)},
    [FOLLOWER_TRUNCATING] = {"truncating", TO(IDLE) | TO(FAILED)},
    [FOLLOWER_STREAMING] = {"streaming", TO(IDLE) | TO(FAILED)},
    [FOLLOWER_FAILED] = {"failed", TO(FAILED)},
};

static void follower_move(struct follower *f, enum follower_state to)
{
    TIDE_ASSERT(follower_states[f->state].next & 1u << to);
    f->state = to;
    f->ack_due = false;
    if (to != FOLLOWER_STREAMING)
        f->subscription = 0;
}

static void rest(struct follower *f, uint64_t ask_at_ns)
{
    if (f->state != FOLLOWER_FAILED)
        follower_move(f, FOLLOWER_IDLE);
    f->ask_at_ns = ask_at_ns;
}

void follower_init(struct follower *f, uint64_t retry_ns)
{
    *f = (struct follower){.leader = -1, .leader_epoch = -1, .unclean_epoch = -1, .retry_ns = retry_ns};
}

void follower_become(struct follower *f, uint64_t now_ns, int32_t leader, int32_t leader_epoch, int32_t unclean_epoch)
{
    bool same = leader == f->leader && leader_epoch == f->leader_epoch;
    f->unclean_epoch = unclean_epoch; /* each role tells it */
    if (same)
        return;
    f->leader = leader;
    f->leader_epoch = leader_epoch;
    f->has_stream = false;
    rest(f, now_ns);
}

void follower_resign(struct follower *f)
{
    f->leader = -1;
    f->leader_epoch = -1;
    f->has_stream = false;
    rest(f, 0);
}

void follower_on_stream(struct follower *f, uint64_t now_ns, bool up)
{
    f->has_stream = up;
    /* What is being cut goes on being cut. */
    if (f->state == FOLLOWER_SUBSCRIBING || f->state == FOLLOWER_STREAMING)
        rest(f, now_ns);
}

/* ---- subscribing ------------------------------------------------------------------------------------- */

bool follower_wants_subscribe(const struct follower *f, uint64_t now_ns)
{
    return f->state == FOLLOWER_IDLE && f->has_stream && f->leader >= 0 && now_ns >= f->ask_at_ns;
}

void follower_subscribe(struct follower *f, const struct follower_log *log, struct follower_subscribe *ret)
{
    follower_move(f, FOLLOWER_SUBSCRIBING);
    f->asked_log_end = log->log_end;
    *ret = (struct follower_subscribe){.attempt = ++f->attempt,
                                       .leader_epoch = f->leader_epoch,
                                       .last_epoch = log->last_epoch,
                                       .log_end = log->log_end};
}

/* Where our log is to end, so that it may agree with the leader's. */
static int64_t where_to_cut(const struct follower_answer *a, const struct follower_log *log, int32_t own_epoch, int64_t own_end)
{
    int64_t to = TIDE_MIN(own_end, log->log_end);
    if (own_epoch < 0) /* nothing in common */
        return log->log_start;
    if (own_epoch == a->truncate_epoch)
        to = TIDE_MIN(to, a->truncate_end);
    return TIDE_MAX(to, log->log_start);
}

static enum follower_verdict on_truncate(struct follower *f, uint64_t now_ns, const struct follower_answer *a, const struct follower_log *log,
                                         int32_t own_epoch, int64_t own_end)
{
    int64_t to = where_to_cut(a, log, own_epoch, own_end);
    if (MUTANT(TRUNCATE_BY_HIGH))
        to = log->high_watermark;
    if (to < log->high_watermark && f->unclean_epoch <= a->truncate_epoch) {
        (void)TIDE_EXPECT(!"a leader that was elected cleanly has everything that is committed");
        follower_move(f, FOLLOWER_FAILED);
        return FOLLOWER_FAIL;
    }
    if (to >= log->log_end && log->last_epoch <= a->truncate_epoch) { /* we would ask the same again */
        rest(f, now_ns + f->retry_ns);
        return FOLLOWER_RESTART;
    }
    follower_move(f, FOLLOWER_TRUNCATING);
    f->skips = false;
    f->settle_to = to;
    return FOLLOWER_SETTLE;
}

static enum follower_verdict on_skip(struct follower *f, uint64_t now_ns, const struct follower_answer *a, const struct follower_log *log)
{
    if (a->skip_to <= log->log_end || a->skip_epoch < 0 || a->skip_epoch > f->leader_epoch) {
        rest(f, now_ns + f->retry_ns);
        return FOLLOWER_RESTART;
    }
    follower_move(f, FOLLOWER_TRUNCATING);
    f->skips = true;
    f->settle_to = a->skip_to;
    f->settle_epoch = a->skip_epoch;
    return FOLLOWER_SETTLE;
}

enum follower_verdict follower_on_answer(struct follower *f, uint64_t now_ns, const struct follower_answer *a, const struct follower_log *log,
                                         int32_t own_epoch, int64_t own_end)
{
    if (f->state != FOLLOWER_SUBSCRIBING || a->attempt != f->attempt || a->leader_epoch != f->leader_epoch)
        return FOLLOWER_IGNORE;
    TIDE_ASSERT(log->log_end == f->asked_log_end);
    if (a->error != 0 || (!a->truncate && !a->skip && a->subscription == 0)) {
        rest(f, now_ns + f->retry_ns);
        return FOLLOWER_RESTART;
    }
    if (a->truncate)
        return on_truncate(f, now_ns, a, log, own_epoch, own_end);
    if (a->skip)
        return on_skip(f, now_ns, a, log);
    follower_move(f, FOLLOWER_STREAMING);
    f->subscription = a->subscription;
    f->acked_log_end = f->acked_durable_end = -1;
    f->ack_due = true;
    return FOLLOWER_TAKE;
}

void follower_on_settled(struct follower *f, uint64_t now_ns, bool ok)
{
    if (f->state == FOLLOWER_TRUNCATING)
        rest(f, ok ? now_ns : now_ns + f->retry_ns);
}

/* ---- streaming ------------------------------------------------------------------------------------------ */

enum follower_verdict follower_on_append(struct follower *f, uint64_t now_ns, uint32_t subscription, int32_t leader_epoch,
                                         int64_t base_offset, uint32_t len, bool compacted, const struct follower_log *log)
{
    if (f->state != FOLLOWER_STREAMING || subscription != f->subscription || leader_epoch != f->leader_epoch)
        return FOLLOWER_IGNORE;
    f->ack_due |= len == 0;
    if (len == 0 || base_offset == log->log_end)
        return FOLLOWER_TAKE;
    if (base_offset < log->log_end) { /* we have it: the logs agree up to our end */
        f->ack_due = true;
        return FOLLOWER_IGNORE;
    }
    if (compacted)
        return FOLLOWER_TAKE;
    rest(f, now_ns);
    return FOLLOWER_RESTART;
}

void follower_on_bad(struct follower *f, uint64_t now_ns)
{
    if (f->state == FOLLOWER_STREAMING)
        rest(f, now_ns + f->retry_ns);
}

void follower_on_failed(struct follower *f)
{
    follower_move(f, FOLLOWER_FAILED);
}

bool follower_ack(struct follower *f, const struct follower_log *log, struct follower_ack *ret)
{
    if (f->state != FOLLOWER_STREAMING)
        return false;
    if (!f->ack_due && log->log_end == f->acked_log_end && log->durable_end == f->acked_durable_end)
        return false;
    f->ack_due = false;
    f->acked_log_end = log->log_end;
    f->acked_durable_end = MUTANT(DURABLE) ? log->log_end : log->durable_end;
    *ret = (struct follower_ack){.subscription = f->subscription,
                                 .leader_epoch = f->leader_epoch,
                                 .log_end = f->acked_log_end,
                                 .durable_end = f->acked_durable_end};
    return true;
}

uint64_t follower_deadline_ns(const struct follower *f)
{
    return f->state == FOLLOWER_IDLE && f->has_stream && f->leader >= 0 ? f->ask_at_ns : TIDE_NEVER;
}

void follower_check(const struct follower *f, const struct follower_log *log)
{
    TIDE_ASSERT((f->subscription != 0) == (f->state == FOLLOWER_STREAMING)); /* F1 */
    if (f->state == FOLLOWER_STREAMING) {
        TIDE_ASSERT(f->acked_log_end <= log->log_end); /* F2 */
        TIDE_ASSERT(f->acked_durable_end <= log->durable_end || MUTANT(DURABLE)); /* F2 */
    }
}
