/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/stages.h"

const char *const tide_stage_names[STAGE_COUNT] = {
    [STAGE_TCP] = "tcp",
    [STAGE_QUEUE] = "queue",
    [STAGE_PARSE] = "parse",
    [STAGE_HOME] = "home",
    [STAGE_APPEND] = "append",
    [STAGE_WATERMARK] = "watermark",
    [STAGE_RESPOND] = "respond",
    [STAGE_TRANSMIT] = "transmit",
    [STAGE_PRODUCE] = "produce",
    [STAGE_FETCH] = "fetch",
    [STAGE_DISK_WAIT] = "disk_wait",
    [STAGE_DISK] = "disk",
};

static inline __attribute__((always_inline)) void count_to(struct stages *s, const uint64_t stamps[STAMP_COUNT], enum stage_stamp last)
{
    uint64_t before = stamps[STAMP_RECEIVED];
#pragma GCC unroll 8
    for (unsigned i = 1; i <= (unsigned)last; i++) {
        uint64_t at = TIDE_MAX(stamps[i], before);
        tide_histogram_add(&s->of[i - 1], at - before);
        before = at;
    }
    tide_histogram_add(&s->of[STAGE_PRODUCE], before - stamps[STAMP_RECEIVED]);
}

void stages_count(struct stages *s, const uint64_t stamps[STAMP_COUNT], enum stage_stamp last)
{
    if (last == STAMP_TRANSMITTED)
        count_to(s, stamps, STAMP_TRANSMITTED); /* the road: its length is known */
    else
        count_to(s, stamps, last);
}

void stages_order(uint64_t stamps[STAMP_COUNT], enum stage_stamp last)
{
    for (unsigned i = 1; i <= (unsigned)last; i++)
        stamps[i] = TIDE_MAX(stamps[i], stamps[i - 1]);
}

void stages_count_fetch(struct stages *s, const uint64_t stamps[STAMP_COUNT])
{
    tide_histogram_add(&s->of[STAGE_FETCH], stamps[STAMP_TRANSMITTED] - stamps[STAMP_RECEIVED]);
}

struct stage_follower *stages_follower(struct stages *s, int32_t broker)
{
    struct stage_follower *f = s->followers;
    uint64_t id = (uint64_t)(uint32_t)broker + 1;
    for (; f != &s->followers[STAGE_FOLLOWERS_MAX - 1]; f++) {
        uint64_t has = tide_pub64_own(&f->broker);
        if (has == 0)
            tide_pub64_set(&f->broker, id);
        if (has == 0 || has == id)
            return f;
    }
    tide_pub64_set(&f->broker, (uint64_t)UINT32_MAX + 1); /* -1 */
    return f;
}

void stage_feed_moved(struct stage_feed *f, uint64_t now_ns)
{
    if (f->moved_ns == 0)
        f->moved_ns = now_ns;
}

void stage_feed_sent(struct stage_feed *f, struct stage_follower *of, uint64_t now_ns, int64_t end, bool all)
{
    if (f->moved_ns != 0)
        tide_histogram_add(&of->send, now_ns - f->moved_ns);
    if (all)
        f->moved_ns = 0;
    if (f->count == STAGE_FEED_TIMES)
        return;
    f->of[(f->first + f->count) % STAGE_FEED_TIMES].end = end;
    f->of[(f->first + f->count++) % STAGE_FEED_TIMES].sent_ns = now_ns;
}

void stage_feed_acknowledged(struct stage_feed *f, struct stage_follower *of, uint64_t now_ns, int64_t end)
{
    while (f->count != 0 && f->of[f->first].end <= end) {
        tide_histogram_add(&of->acknowledge, now_ns - f->of[f->first].sent_ns);
        f->first = (f->first + 1) % STAGE_FEED_TIMES;
        f->count--;
    }
}
