/* SPDX-License-Identifier: Apache-2.0 */
#include "tidemark/grace.h"

#include <rte_rcu_qsbr.h>

static uint64_t begin(void *self)
{
    return rte_rcu_qsbr_start(self);
}

static bool passed(void *self, uint64_t token)
{
    return rte_rcu_qsbr_check(self, token, false) == 1;
}

struct tide_grace tide_grace_over(struct rte_rcu_qsbr *qsbr)
{
    return (struct tide_grace){.self = qsbr, .begin = begin, .passed = passed};
}
