/* SPDX-License-Identifier: Apache-2.0 */
#include "replica/throttle.h"

#include "tidemark/assert.h"
#include "tidemark/types.h"

/* One part in a hundred of a burst takes a millisecond; smaller steps are left for the next look. */
enum { BURST_MIN = 1024 };

static int64_t in_time(int64_t rate, uint64_t ns)
{
    return (int64_t)((unsigned __int128)(uint64_t)rate * ns / TIDE_NS_PER_S);
}

void throttle_init(struct throttle *t)
{
    *t = (struct throttle){.rate = THROTTLE_NONE};
}

/* What came in since is counted, and the time for less than a byte is kept. */
static void fill(struct throttle *t, uint64_t now_ns)
{
    if (t->rate == THROTTLE_NONE || t->rate == 0 || now_ns <= t->filled_ns) {
        t->filled_ns = TIDE_MAX(t->filled_ns, now_ns);
        return;
    }
    uint64_t full_ns = (uint64_t)((unsigned __int128)(uint64_t)(t->burst - t->tokens + 1) * TIDE_NS_PER_S / (uint64_t)t->rate);
    if (now_ns - t->filled_ns > full_ns) {
        t->tokens = t->burst;
        t->filled_ns = now_ns;
        return;
    }
    int64_t more = in_time(t->rate, now_ns - t->filled_ns);
    t->tokens = TIDE_MIN(t->tokens + more, t->burst);
    t->filled_ns += (uint64_t)((unsigned __int128)(uint64_t)more * TIDE_NS_PER_S / (uint64_t)t->rate);
}

void throttle_set(struct throttle *t, uint64_t now_ns, int64_t rate)
{
    if (rate == t->rate)
        return;
    fill(t, now_ns);
    t->rate = rate;
    t->burst = rate == THROTTLE_NONE ? 0 : TIDE_MAX(in_time(rate, THROTTLE_BURST_MS * TIDE_NS_PER_MS), (int64_t)BURST_MIN);
    t->tokens = TIDE_MIN(t->tokens, t->burst);
    t->filled_ns = now_ns;
}

uint64_t throttle_room(struct throttle *t, uint64_t now_ns)
{
    if (t->rate == THROTTLE_NONE)
        return UINT64_MAX;
    fill(t, now_ns);
    return t->tokens > 0 && t->rate != 0 ? (uint64_t)t->tokens : 0;
}

void throttle_take(struct throttle *t, uint64_t bytes)
{
    if (t->rate != THROTTLE_NONE)
        t->tokens -= (int64_t)TIDE_MIN(bytes, (uint64_t)INT32_MAX);
}

uint64_t throttle_deadline_ns(const struct throttle *t, uint64_t bytes)
{
    int64_t wanted = (int64_t)TIDE_MIN(bytes, (uint64_t)t->burst);
    if (t->rate == THROTTLE_NONE || t->tokens >= wanted)
        return 0;
    if (t->rate == 0)
        return TIDE_NEVER;
    return t->filled_ns + (uint64_t)((unsigned __int128)(uint64_t)(wanted - t->tokens) * TIDE_NS_PER_S / (uint64_t)t->rate) + 1;
}

void throttle_check(const struct throttle *t)
{
    TIDE_ASSERT(t->tokens <= t->burst); /* T1 */
}
