/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/subscription.h"

#include "tidemark/assert.h"
#include "tidemark/mutant.h"

void subscription_open(struct subscription *s, struct watermark *marks, uint32_t replica, uint32_t number, int32_t leader_epoch,
                       int64_t broker_epoch, uint64_t credit)
{
    *s = (struct subscription){.marks = marks,
                               .open = true,
                               .replica = replica,
                               .number = number,
                               .leader_epoch = leader_epoch,
                               .broker_epoch = broker_epoch,
                               .credit = credit};
}

void subscription_on_sent(struct subscription *s, uint64_t now_ns, int64_t log_end, uint32_t bytes)
{
    struct subscription_pair pair = {.sent_ns = now_ns, .log_end = log_end};
    s->sent_bytes += bytes;
    if (s->pair_count == 1) {
        s->oldest = s->newest;
        s->pair_count = 2;
    } else if (s->pair_count == 0) {
        s->pair_count = 1;
    }
    s->newest = pair;
}

/* The newest pair that `end` has reached. */
static void reach(struct subscription *s, int64_t end)
{
    if (s->pair_count >= 1 && end >= s->newest.log_end) {
        watermark_caught_up(s->marks, s->replica, s->newest.sent_ns);
        s->pair_count = 0;
    } else if (s->pair_count == 2 && end >= s->oldest.log_end) {
        watermark_caught_up(s->marks, s->replica, s->oldest.sent_ns);
        s->pair_count = 1;
    }
}

/* Every reason to drop it. */
static bool is_old(const struct subscription *s, const struct subscription_ack *a)
{
    if (!s->open)
        return true;
    if (a->subscription != s->number && !MUTANT(SUBSCRIPTION_FENCE))
        return true;
    if (a->leader_epoch != s->leader_epoch && !MUTANT(ACK_EPOCH))
        return true;
    if ((int32_t)tide_pub64_peek(&s->marks->leader_epoch) != s->leader_epoch && !MUTANT(ACK_EPOCH))
        return true; /* the home core will close it */
    return a->broker_epoch != s->broker_epoch && !MUTANT(INCARNATION);
}

enum subscription_verdict subscription_on_ack(struct subscription *s, const struct subscription_ack *a)
{
    bool moved;
    if (is_old(s, a))
        return SUBSCRIPTION_OLD;
    if (!TIDE_EXPECT(a->durable_end <= a->log_end && a->log_end <= watermark_log_end(s->marks)))
        return SUBSCRIPTION_WRONG;
    s->credit = TIDE_MAX(s->credit, a->credit);
    moved = watermark_acknowledged(s->marks, s->replica, a->log_end, a->durable_end);
    reach(s, watermark_counts_durable(s->marks) ? a->durable_end : a->log_end);
    return moved ? SUBSCRIPTION_MOVED : SUBSCRIPTION_OLD;
}

uint64_t subscription_room(const struct subscription *s)
{
    return s->credit > s->sent_bytes ? s->credit - s->sent_bytes : 0;
}

void subscription_close(struct subscription *s)
{
    s->open = false;
}

void subscription_check(const struct subscription *s)
{
    TIDE_ASSERT(s->pair_count <= 2);
    if (s->pair_count == 2) {
        TIDE_ASSERT(s->oldest.log_end <= s->newest.log_end); /* B2 */
        TIDE_ASSERT(s->oldest.sent_ns <= s->newest.sent_ns); /* B2 */
    }
}
