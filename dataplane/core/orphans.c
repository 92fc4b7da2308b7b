/* SPDX-License-Identifier: Apache-2.0 */
#include "core/orphans.h"

#include "tidemark/assert.h"

void orphans_init(struct orphans *o, uint64_t now_ns, const struct orphan *list, uint32_t count)
{
    *o = (struct orphans){.list = list, .count = count, .passes_left = count != 0 ? ORPHANS_PASSES : 0, .pass_ns = now_ns,
                          .due_ns = count != 0 ? now_ns : TIDE_NEVER};
    orphans_check(o);
}

void orphans_on_time(struct orphans *o, uint64_t now_ns, struct tcp_stack *tcp)
{
    if (now_ns < o->due_ns)
        return;
    for (uint32_t i = 0; i < ORPHANS_AT_ONCE && o->at < o->count; i++, o->at++)
        tcp_rouse(tcp, now_ns, &o->list[o->at].local, &o->list[o->at].remote);
    o->due_ns = now_ns + ORPHANS_TICK_NS;
    if (o->at == o->count) {
        o->at = 0;
        o->passes_left--;
        o->due_ns = o->passes_left != 0 ? TIDE_MAX(o->due_ns, o->pass_ns + TIDE_NS_PER_S) : TIDE_NEVER;
        o->pass_ns = o->due_ns;
    }
    orphans_check(o);
}

uint64_t orphans_deadline_ns(const struct orphans *o)
{
    return o->due_ns;
}

void orphans_check(const struct orphans *o)
{
    TIDE_ASSERT(o->passes_left == 0 || o->at < o->count);        /* O1 */
    TIDE_ASSERT((o->passes_left == 0) == (o->due_ns == TIDE_NEVER)); /* O1 */
}
