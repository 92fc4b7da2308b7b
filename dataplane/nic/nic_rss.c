/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The redirection table of a started port, and whether the port does what the cores compute (rss.h). What it cannot do is no
 * failure: frames that arrive at another core are handed over there (steer.h).
 */
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>

#include "nic/nic_internal.h"
#include "tidemark/rss.h"

enum { GROUPS_MAX = PORT_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE, KEY_USUAL = 40 };

static void fill(struct rte_eth_rss_reta_entry64 *groups, uint16_t size, unsigned cores, uint16_t queues)
{
    memset(groups, 0, GROUPS_MAX * sizeof(groups[0]));
    for (uint16_t i = 0; i < size; i++) {
        groups[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ull << i % RTE_ETH_RETA_GROUP_SIZE;
        groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = port_reta_queue(i, cores, queues);
    }
}

/* NULL: the table is ours. */
static const char *set_table(const struct nic_port *p, unsigned cores)
{
    struct rte_eth_rss_reta_entry64 ours[GROUPS_MAX], theirs[GROUPS_MAX];
    if (p->reta_size == 0 || p->reta_size > PORT_RETA_MAX)
        return "it has no table that we can fill";
    fill(ours, p->reta_size, cores, p->plan.rx_queues);
    if (rte_eth_dev_rss_reta_update(p->id, ours, p->reta_size) != 0)
        return "it does not take our table";
    memcpy(theirs, ours, sizeof(theirs)); /* the masks say what is asked for */
    if (rte_eth_dev_rss_reta_query(p->id, theirs, p->reta_size) != 0)
        return "it does not tell its table";
    for (unsigned g = 0; g * RTE_ETH_RETA_GROUP_SIZE < p->reta_size; g++)
        for (unsigned i = 0; i < RTE_ETH_RETA_GROUP_SIZE; i++)
            if ((ours[g].mask >> i & 1) != 0 && ours[g].reta[i] != theirs[g].reta[i])
                return "its table is not what we wrote";
    return NULL;
}

/* NULL: it hashes the ports of TCP with our key. Some drivers do not take the key with the configuration. */
static const char *set_hash(const struct nic_port *p, uint8_t key_len)
{
    uint8_t key[TIDE_RSS_KEY_MAX] = {0};
    struct rte_eth_rss_conf conf = {.rss_key = key, .rss_key_len = key_len};
    if (key_len > sizeof(key))
        return "its key is too long";
    if (rte_eth_dev_rss_hash_conf_get(p->id, &conf) != 0)
        return "it does not tell its key";
    if (memcmp(key, tide_rss_key, key_len) != 0) {
        memcpy(key, tide_rss_key, key_len);
        conf.rss_hf = p->plan.rss_types;
        (void)rte_eth_dev_rss_hash_update(p->id, &conf);
        memset(key, 0, sizeof(key));
        if (rte_eth_dev_rss_hash_conf_get(p->id, &conf) != 0 || memcmp(key, tide_rss_key, key_len) != 0)
            return "it does not take our key";
    }
    return (conf.rss_hf & p->plan.rss_types & RTE_ETH_RSS_NONFRAG_IPV4_TCP) != 0 ? NULL : "it does not look at the ports of TCP";
}

void nic_rss_apply(struct nic_port *p, unsigned cores, char *text, size_t size)
{
    struct rte_eth_dev_info info;
    const char *but = NULL;
    p->spreads = false;
    text[0] = 0;
    if (p->plan.rss_types == 0)
        return;
    if (rte_eth_dev_info_get(p->id, &info) != 0)
        but = "it says nothing of itself";
    if (but == NULL)
        but = set_hash(p, info.hash_key_size != 0 ? info.hash_key_size : KEY_USUAL);
    if (but == NULL)
        but = set_table(p, cores);
    if (but == NULL && !port_reta_agrees(p->reta_size, cores, p->plan.rx_queues))
        but = p->plan.rx_queues < cores ? "it has fewer queues than there are cores" : "its table is too short for this number of cores";
    p->spreads = but == NULL;
    if (but == NULL)
        snprintf(text, size, "flows arrive at their cores, by its hash and a table of %u entries", p->reta_size);
    else
        snprintf(text, size, "%s: flows are handed to their cores in software (rx_handed)", but);
}
