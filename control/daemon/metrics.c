/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>

#include "daemon/stage_metrics.h"
#include "daemon/world.h"
#include "log/buffers.h"

static void counters(FILE *f, const struct world *w)
{
    for (unsigned i = 0; i < COUNTER_COUNT; i++) {
        fprintf(f, "# HELP tidemark_%s_total %s\n# TYPE tidemark_%s_total counter\n", tide_counter_names[i],
                tide_counter_help[i], tide_counter_names[i]);
        for (uint32_t core = 0; core < w->core_count; core++) {
            uint64_t v = __atomic_load_n(&core_counters(w->cores[core])->values[i], __ATOMIC_RELAXED);
            v += __atomic_load_n(&w->nic_counters[core].values[i], __ATOMIC_RELAXED);
            fprintf(f, "tidemark_%s_total{core=\"%u\"} %lu\n", tide_counter_names[i], core, v);
        }
    }
}

static void tcp_counters(FILE *f, const struct world *w)
{
#define X(name, help) {#name, help},
    static const struct { const char *name, *help; } stats[] = {TCP_STATS(X)};
#undef X
    for (unsigned i = 0; i < TCP_STAT_COUNT; i++) {
        fprintf(f, "# HELP tidemark_tcp_%s_total %s\n# TYPE tidemark_tcp_%s_total counter\n", stats[i].name, stats[i].help, stats[i].name);
        for (uint32_t core = 0; core < w->core_count; core++)
            fprintf(f, "tidemark_tcp_%s_total{core=\"%u\"} %lu\n", stats[i].name, core,
                    tide_pub64_peek(&core_gauges(w->cores[core])->tcp[i]));
    }
}

static void pool(FILE *f, const char *name, uint32_t core, unsigned size, unsigned available)
{
    fprintf(f, "tidemark_pool_size{pool=\"%s\",core=\"%u\"} %u\n", name, core, size);
    fprintf(f, "tidemark_pool_free{pool=\"%s\",core=\"%u\"} %u\n", name, core, available);
}

static void pools(FILE *f, const struct world *w)
{
    struct nic_pools_report r;
    fputs("# HELP tidemark_pool_size entries of a pool\n# TYPE tidemark_pool_size gauge\n"
          "# HELP tidemark_pool_free entries of a pool that are free\n# TYPE tidemark_pool_free gauge\n", f);
    nic_pools_report(w->nic, &r);
    for (unsigned i = 0; i < 2; i++)
        if (r.rx[i].total != 0)
            pool(f, i == 0 ? "receive" : "receive_array", 0, r.rx[i].total, r.rx[i].free);
    pool(f, "transmit", 0, r.tx.total, r.tx.free);
    for (uint32_t core = 0; core < w->core_count; core++) {
        const struct log_core *l = w->log_cores[core];
        struct log_core_free free_now;
        const struct rte_mempool *letters = broker_letters(core_broker(w->cores[core]));
        pool(f, "request", core, w->request_pools[core]->size, rte_mempool_avail_count(w->request_pools[core]));
        pool(f, "response", core, w->response_pools[core]->size, rte_mempool_avail_count(w->response_pools[core]));
        free_now = log_core_free_now(l);
        /* A buffer attached to a log is at rest there; it counts as free. */
        pool(f, "tail", core, l->config.tail_buffers, free_now.tails + __atomic_load_n(&l->attached_count, __ATOMIC_RELAXED));
        pool(f, "read", core, l->config.read_buffers, free_now.reads);
        pool(f, "view", core, l->config.views, free_now.views);
        pool(f, "index_chunk", core, l->config.index_chunks, free_now.chunks);
        pool(f, "mail", core, letters->size, rte_mempool_avail_count(letters));
    }
}

static void gauge(FILE *f, const char *name, const char *help, uint64_t value)
{
    fprintf(f, "# HELP tidemark_%s %s\n# TYPE tidemark_%s gauge\ntidemark_%s %lu\n", name, help, name, name, value);
}

static void counter(FILE *f, const char *name, const char *help, uint64_t value)
{
    fprintf(f, "# HELP tidemark_%s_total %s\n# TYPE tidemark_%s_total counter\ntidemark_%s_total %lu\n", name, help, name, name, value);
}

/* Of all cores together. */
static void group_gauges(FILE *f, const struct world *w)
{
    static const struct {
        const char *name, *help;
        size_t at;
    } rows[] = {
        {"group_coordinators", "partitions of __consumer_offsets whose coordinator takes questions here", offsetof(struct core_gauges, coordinators)},
        {"group_coordinators_loading", "and those led here whose log is being read, waits for its commitment, or cannot be read", offsetof(struct core_gauges, coordinators_loading)},
        {"groups", "groups coordinated here", offsetof(struct core_gauges, groups)},
        {"group_members", "their members", offsetof(struct core_gauges, group_members)},
        {"group_waits", "questions that wait for other members, for time or for their commitment", offsetof(struct core_gauges, group_waits)},
        {"group_offsets", "committed offsets of groups coordinated here", offsetof(struct core_gauges, group_offsets)},
        {"group_skipped_records", "records of __consumer_offsets of a type or version that is not known", offsetof(struct core_gauges, group_skipped_records)},
        {"group_heap_bytes", "memory for groups (group.memory.bytes)", offsetof(struct core_gauges, group_heap_bytes)},
        {"group_heap_free_bytes", "and what is left of it", offsetof(struct core_gauges, group_heap_free_bytes)},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        uint64_t sum = 0;
        for (uint32_t core = 0; core < w->core_count; core++)
            sum += tide_pub64_peek((const struct tide_pub64 *)((const char *)core_gauges(w->cores[core]) + rows[i].at));
        gauge(f, rows[i].name, rows[i].help, sum);
    }
}

/* Of the view that is published, which control made. */
static void led(FILE *f, const struct world *w)
{
    const struct tide_view *v = atomic_load_explicit(&w->publication.now, memory_order_relaxed);
    uint64_t all = 0, under = 0;
    for (uint32_t t = 0; v != NULL && t < v->topic_count; t++) {
        for (uint32_t i = 0; i < v->topics[t].partition_count; i++) {
            const struct view_partition *p = &v->topics[t].partitions[i];
            all += p->leader == v->self;
            under += p->leader == v->self && p->isr_count < p->replica_count;
        }
    }
    gauge(f, "partitions_led", "partitions that this broker leads", all);
    gauge(f, "partitions_under_replicated", "and those of them that not all replicas are in sync with", under);
}

static void port(FILE *f, const struct world *w, unsigned p)
{
    struct nic_watch_report r;
    nic_watch_report(w->nic, p, &r);
    if (p == 0)
        counter(f, "port_failovers", "times the data address moved to another port", r.failovers);
    fprintf(f, "tidemark_link_up{port=\"%u\"} %d\ntidemark_port_active{port=\"%u\"} %d\ntidemark_port_in_use{port=\"%u\"} %d\n", p, nic_link_up(w->nic, p),
            p, r.is_active, p, r.is_in);
    fprintf(f, "tidemark_port_link_downs_total{port=\"%u\"} %lu\ntidemark_port_stucks_total{port=\"%u\"} %lu\n", p, r.downs, p, r.stucks);
    fprintf(f, "tidemark_port_stamps{port=\"%u\"} %d\ntidemark_port_clock_known{port=\"%u\"} %d\n", p, r.stamps, p, r.clock_known);
    if (w->ptp[p].is_known)
        fprintf(f, "tidemark_port_ptp_offset_ns{port=\"%u\",clock=\"ptp%d\"} %ld\ntidemark_port_ptp_within_ns{port=\"%u\",clock=\"ptp%d\"} %lu\n", p,
                w->ptp[p].index, w->ptp[p].offset.ns, p, w->ptp[p].index, w->ptp[p].offset.within_ns);
    if (r.stamps)
        fprintf(f, "tidemark_port_clock_hertz{port=\"%u\"} %.0f\ntidemark_port_clock_losses_total{port=\"%u\"} %lu\n", p, r.clock_hz, p, r.clock_losses);
    fprintf(f, "tidemark_port_resets_total{port=\"%u\"} %lu\ntidemark_port_restarts_total{port=\"%u\"} %lu\n", p, r.resets, p, r.restarts);
}

static void gauges(FILE *f, const struct world *w)
{
    struct control_gauges g;
    struct mgmt_gauges mgmt;
    uint64_t sessions = 0;
    uint64_t requests = 0;
    uint64_t streams = 0;
    uint64_t feeds = 0;
    uint64_t lag = 0;
    for (uint32_t core = 0; core < w->core_count; core++) {
        sessions += tide_pub64_peek(&core_gauges(w->cores[core])->sessions);
        requests += tide_pub64_peek(&core_gauges(w->cores[core])->requests);
        streams += tide_pub64_peek(&core_gauges(w->cores[core])->peer_streams);
        feeds += tide_pub64_peek(&core_gauges(w->cores[core])->feeds);
        uint64_t behind = tide_pub64_peek(&core_gauges(w->cores[core])->follower_lag);
        lag = TIDE_MAX(lag, behind);
    }
    control_gauges(control_loop_control(w->control), mgmt_now_ns(), &g);
    control_loop_gauges(w->control, &mgmt);
    fprintf(f, "# HELP tidemark_uptime_seconds since the start of this process\n# TYPE tidemark_uptime_seconds gauge\n"
               "tidemark_uptime_seconds %.6f\n", (double)(mgmt_now_ns() - w->start_ns) / 1e9);
    led(f, w);
    gauge(f, "ready", "1 when every replica that lived here at start is served", w->ready);
    gauge(f, "sessions", "Kafka connections", sessions);
    gauge(f, "requests_in_progress", "requests whose response has not left", requests);
    gauge(f, "peer_streams", "open streams to and from other brokers", streams);
    gauge(f, "followers", "followers' subscriptions served", feeds);
    gauge(f, "follower_lag_records", "records that the furthest of them has not acknowledged", lag);
    group_gauges(f, w);
    gauge(f, "topics", "topics of the cluster", g.topics);
    gauge(f, "replicas_serving", "replicas served by this broker", g.replicas_serving);
    gauge(f, "replicas_failed", "replicas that could not be opened or that failed", g.replicas_failed);
    gauge(f, "replicas_rotten", "replicas with a batch that is not what had been written, until it comes again from another broker", g.replicas_rotten);
    counter(f, "replica_failures", "logs that failed or could not be opened", g.replica_failures);
    counter(f, "replica_reopens", "tries to open a failed replica again", g.replica_reopens);
    gauge(f, "log_directories_offline", "data directories that have failed", g.directories_offline);
    gauge(f, "peers_silent", "brokers that are not heard on the data network, or do not hear this one", g.silent);
    gauge(f, "controller_epoch", "epoch of the controller that this broker knows", g.controller_epoch);
    gauge(f, "is_controller", "1 when this broker is the controller", g.controller == (int32_t)w->settings->node_id);
    gauge(f, "metadata_index", "last command of the metadata that is applied here", g.metadata_index);
    gauge(f, "fenced", "1 when the cluster lets this broker lead nothing", g.member_state != MEMBER_ACTIVE);
    gauge(f, "lease_left_ms", "time for which this broker may lead without hearing from the controller", TIDE_MIN(g.lease_left_ms, (uint64_t)INT64_MAX));
    gauge(f, "management_links", "connections to other brokers on the management network", mgmt.links);
    gauge(f, "management_guests", "connections of other brokers to this one", mgmt.guests);
    counter(f, "management_refused", "connections on the management network that were refused or closed for what they sent", mgmt.refused);
    gauge(f, "view_version", "version of the published view", g.view_version);
    gauge(f, "metadata_commands", "metadata commands taken since the start", g.commands);
    gauge(f, "expect_failures", "expectations that did not hold", atomic_load(&tide_expect_failures));
    for (unsigned p = 0; p < nic_port_count(w->nic); p++)
        port(f, w, p);
}

int metrics_render(void *arg, char **ret_text)
{
    struct world *w = arg;
    size_t size;
    FILE *f = open_memstream(ret_text, &size);
    bool whole;
    if (f == NULL)
        return 500;
    gauges(f, w);
    pools(f, w);
    counters(f, w);
    tcp_counters(f, w);
    whole = stage_metrics_render(&w->stage_metrics, w, mgmt_now_ns(), f);
    return fclose(f) == 0 && whole ? 200 : 500;
}

int health_render(void *arg, char **ret_text)
{
    const struct world *w = arg;
    struct control_gauges g;
    bool link = false; /* of one port, if another stands by */
    bool well;
    control_gauges(control_loop_control(w->control), mgmt_now_ns(), &g);
    for (unsigned p = 0; p < nic_port_count(w->nic); p++)
        link |= nic_link_up(w->nic, p);
    well = w->ready && link && g.replicas_failed == 0;
    if (asprintf(ret_text, "%s\n", well ? "ok" : !w->ready ? "starting" : !link ? "the data link is down" : "a replica has failed") < 0)
        return 500;
    return well ? 200 : 503;
}

static void endpoint(char *to, size_t size, const struct tcp_endpoint *e)
{
    char host[INET6_ADDRSTRLEN];
    bool v4 = tide_addr_is_v4(&e->addr);
    (void)inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? e->addr.bytes + 12 : e->addr.bytes, host, sizeof(host));
    snprintf(to, size, v4 ? "%s:%u" : "[%s]:%u", host, e->port);
}

static void conn(FILE *f, uint32_t core, const struct tcp_conn_info *i)
{
    char local[64], peer[64];
    endpoint(local, sizeof(local), &i->local);
    endpoint(peer, sizeof(peer), &i->remote);
    fprintf(f, "%-4u %-21s %-21s %-12s %9.1f %8.2f %9u %9u %9u %9u %8u %8u %5u %12lu %12lu %6lu %7lu %8lu %8lu %9.1f %s%s%s%s\n", core, local, peer, i->state,
            (double)i->srtt_ns / 1e3, (double)i->rto_ns / 1e6, i->cwnd, i->in_flight, i->send_queue, i->send_window, i->receive_queue,
            i->receive_window, i->held, i->bytes_in, i->bytes_out, i->retransmits, i->dropped, i->cwnd_limited, i->window_limited, (double)i->idle_ns / 1e9, i->timestamps ? "ts," : "",
            i->sack ? "sack," : "", i->window_scaling ? "wscale," : "", i->ecn ? "ecn" : "");
}

int conns_render(void *arg, char **ret_text)
{
    const struct world *w = arg;
    size_t size;
    FILE *f = open_memstream(ret_text, &size);
    int status = 200;
    if (f == NULL)
        return 500;
    fprintf(f, "%-4s %-21s %-21s %-12s %9s %8s %9s %9s %9s %9s %8s %8s %5s %12s %12s %6s %7s %8s %8s %9s %s\n", "core", "local", "peer", "state", "rtt_us",
            "rto_ms", "cwnd", "in_flight", "send_q", "send_wnd", "recv_q", "recv_wnd", "held", "bytes_in", "bytes_out", "resent", "dropped", "by_cwnd", "by_peer", "idle_s",
            "options");
    for (uint32_t core = 0; core < w->core_count; core++) {
        uint32_t count;
        const struct tcp_conn_info *rows = core_conns(w->cores[core], &count);
        if (!core_conns_ready(w->cores[core])) {
            fprintf(f, "core %u has not answered\n", core);
            status = 503;
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            conn(f, core, &rows[i]);
    }
    return fclose(f) == 0 ? status : 500;
}
