/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/members.h"

#include "tidemark/assert.h"

static void add(struct members *m, int32_t broker, int64_t broker_epoch)
{
    if (!TIDE_EXPECT(m->count < TIDE_REPLICAS_MAX))
        return;
    m->ids[m->count] = broker;
    m->broker_epochs[m->count++] = broker_epoch;
}

void members_begin(struct members *m, const struct mail_role *role)
{
    m->count = 0;
    add(m, role->self, -1);
    members_update(m, role);
}

void members_update(struct members *m, const struct mail_role *role)
{
    for (uint32_t i = 0; i < role->replica_count; i++) {
        uint32_t n = members_number(m, role->replicas[i]);
        if (n == MEMBER_NONE)
            add(m, role->replicas[i], role->broker_epochs[i]);
        else
            m->broker_epochs[n] = TIDE_MAX(m->broker_epochs[n], role->broker_epochs[i]);
    }
}

uint32_t members_number(const struct members *m, int32_t broker)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->ids[i] == broker)
            return i;
    return MEMBER_NONE;
}

uint32_t members_isr(const struct members *m, const struct mail_role *role)
{
    uint32_t isr = 0;
    for (uint32_t i = 0; i < role->isr_count; i++) {
        uint32_t n = members_number(m, role->isr[i]);
        if (n != MEMBER_NONE)
            isr |= 1u << n;
    }
    return isr;
}

void members_check(const struct members *m)
{
    TIDE_ASSERT(m->count <= TIDE_REPLICAS_MAX);
    for (uint32_t i = 0; i < m->count; i++)
        TIDE_ASSERT(members_number(m, m->ids[i]) == i); /* M1 */
}
