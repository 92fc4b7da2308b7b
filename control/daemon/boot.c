/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of the start: everything that can be refused is looked at before anything is written; the
 * data directory is locked before it is read; cores run before the first replica is opened.
 * Order of the stop: replicas close while the cores still run; then the cores, the helpers, the
 * ports; the mark of a clean stop is the last thing written.
 */
#include "daemon/boot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <uv.h>

#include "cluster/cluster.h"
#include "control/control.h"
#include "control/stalls.h"
#include "core/core.h"
#include "core/loop.h"
#include "daemon/capture_page.h"
#include "daemon/cluster_pages.h"
#include "daemon/conns_file.h"
#include "daemon/metrics.h"
#include "daemon/numa.h"
#include "daemon/shared_port.h"
#include "daemon/trace_page.h"
#include "daemon/watchdog.h"
#include "daemon/world.h"
#include "disk/disk.h"
#include "disk/help_pool.h"
#include "disk/posix_fs.h"
#include "edge/dirs.h"
#include "edge/files.h"
#include "edge/http.h"
#include "edge/mgmt.h"
#include "edge/notify.h"
#include "log/buffers.h"
#include "node/node.h"
#include "raft/quorum_files.h"
#include "nic/nic.h"
#include "nic/nic_claim.h"
#include "nic/port_caps.h"
#include "partition/partition.h"
#include "settings/settings.h"

enum {
    SEGMENTED_MAX = 65535 - 40 - 60, /* payload behind the largest headers */
    RECEIVE_WINDOW = 262144,         /* of packets of RTE_ETHER_MTU bytes */
    ERROR_MAX = 1024,
    RESPONSE_BLOCK = 8192,
    REQUEST_BLOCK = 16384,
    REQUESTS_PER_CORE = 16384,
    MAILS = 32767, /* a request that waits for a rebalance has one, and others want some then */
    RESPONSE_BLOCKS = 8191,
    ORDERS = 8192, /* letters of control to the cores: two per replica at most */
    PEER_BLOCK = 256,
    PEER_BLOCKS = 16383,
    BLOCK_CACHE = 32,
    VIEWS = 65535,
    INDEX_CHUNKS = 4096,
    PRODUCERS_PER_PARTITION = 1024,
    INTERNAL_AHEAD = 65536, /* zeroed ahead in internal topics: they have many partitions, of which most stay small */
    DISK_ENTRIES = 512,
    PORT_TRIES = 15,
    PORT_RETRY_MS = 200,
    PORT_LOOK_MS = 50,
    PORTS_USED = 2,
};

static_assert((int)LOOP_WAIT_MAX_MS * 5 <= (int)STALLS_SLEEP_MS, "a core that waits is not taken for one that stands still");
static_assert((int)TCP_OUTPUT_SEGMENTS_MAX + 1 <= (int)PORT_LARGE_SEGMENTS, "no large packet has to be copied together: it would fit no buffer");

static int refuse(const char *what)
{
    fprintf(stderr, "tidemarkd: %s\n", what);
    return EXIT_FAILURE;
}

/* ---- what the control plane calls of the data plane ---------------------------------------------- */

static struct partition *data_create(void *self, const struct control_replica *r)
{
    const struct world *w = self;
    bool internal = strcmp(r->topic, TIDE_OFFSETS_TOPIC) == 0 || strcmp(r->topic, TIDE_TRANSACTIONS_TOPIC) == 0;
    struct partition_config config = {.topic = r->topic,
                                      .topic_id = r->topic_id,
                                      .index = r->index,
                                      .slot = r->slot,
                                      .home_core = r->home_core,
                                      .dir = r->dir,
                                      .topic_config = *r->config,
                                      .preallocate_bytes = internal ? INTERNAL_AHEAD : (uint64_t)w->settings->log_preallocate_bytes,
                                      .retention_check_ms = w->settings->retention_check_ms,
                                      .clean_check_ms = w->settings->log_cleaner_backoff_ms,
                                      .clean_bytes_per_second = w->settings->log_cleaner_io_max_bytes_per_second,
                                      .clean_map_bytes = w->settings->log_cleaner_dedupe_buffer_size,
                                      .producer_expiry_ms = w->settings->producer_id_expiration_ms,
                                      .producers_max = PRODUCERS_PER_PARTITION,
                                      .high_watermark = r->high_watermark,
                                      .repair = r->repair,
                                      .lease_until_ns = &w->publication.lease_until_ns,
                                      .grace = tide_grace_over(w->publication.qsbr)};
    return partition_create(&config);
}

static bool data_in_use(void *self, const struct partition *p)
{
    const struct world *w = self;
    for (uint32_t core = 0; core < w->core_count; core++)
        if (partition_has_interest(p, core))
            return true;
    return partition_is_read(p);
}

static void data_measure(struct partition *p, int64_t *ret_bytes, int64_t *ret_lag)
{
    struct partition_look look;
    partition_look(p, &look);
    *ret_bytes = log_size_bytes(partition_log(p));
    *ret_lag = TIDE_MAX(look.high_watermark - look.log_end, 0);
}

static uint64_t data_turns(void *self, uint32_t core)
{
    const struct world *w = self;
    return __atomic_load_n(&core_counters(w->cores[core])->values[COUNTER_turns], __ATOMIC_RELAXED);
}

static bool data_port_is_up(void *self)
{
    const struct world *w = self;
    for (unsigned p = 0; p < nic_port_count(w->nic); p++)
        if (nic_link_up(w->nic, p))
            return true;
    return false;
}

static void data_each_peer(void *self, uint64_t now_ns, void (*tell)(void *arg, int32_t broker, uint64_t heard_ns, uint64_t confirmed_ns), void *arg)
{
    const struct world *w = self;
    struct broker_peer_signs signs;
    for (uint32_t core = 0; core < w->core_count; core++) {
        const struct broker *b = core_broker(w->cores[core]);
        for (uint32_t i = 0; i < broker_peer_count(b); i++)
            if (broker_peer_signs(b, i, now_ns, &signs))
                tell(arg, signs.broker, signs.heard_ns, signs.confirmed_ns);
    }
}

static enum tide_status data_submit(void *self, struct tide_job *job)
{
    return help_pool_submit(((struct world *)self)->helpers, job);
}

static unsigned data_take(void *self, struct tide_job **jobs, unsigned max)
{
    return help_pool_take(((struct world *)self)->helpers, TIDE_JOB_CONTROL, jobs, max);
}

/* ---- ports ---------------------------------------------------------------------------------------- */

static unsigned split_devices(const char *text, char *store, size_t size, const char **devices)
{
    unsigned n = 0;
    char *save = NULL;
    snprintf(store, size, "%s", text);
    for (char *d = strtok_r(store, ";", &save); d != NULL && n < TIDE_PORTS_MAX; d = strtok_r(NULL, ";", &save)) {
        while (*d == ' ')
            d++;
        if (*d != 0)
            devices[n++] = d;
    }
    return n;
}

/* Settings have looked at the text: settings_check. */
static bool parse_addr(const char *text, struct tide_addr *ret, uint8_t *ret_prefix)
{
    char copy[64];
    struct in_addr a;
    char *slash;
    snprintf(copy, sizeof(copy), "%s", text);
    slash = strchr(copy, '/');
    if (slash != NULL) {
        *slash = 0;
        *ret_prefix = (uint8_t)atoi(slash + 1);
    }
    if (strchr(copy, ':') != NULL)
        return inet_pton(AF_INET6, copy, ret->bytes) == 1;
    if (inet_pton(AF_INET, copy, &a) != 1)
        return false;
    *ret = tide_addr_v4(ntohl(a.s_addr));
    return true;
}

static void log_line(void *opaque, const char *line)
{
    (void)opaque;
    control_log("%s", line);
}

/* lcore 0 is control's thread and floats; core i is lcore i + 1, on its CPU if one was named. */
static void lcore_map(const struct tide_settings *s, char *text, size_t size)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    size_t at = (size_t)snprintf(text, size, "0@(0-%ld)", cpus - 1);
    for (unsigned i = 0; i < s->data_core_count && at < size; i++)
        at += (size_t)(i < s->data_cpu_count ? snprintf(text + at, size - at, ",%u@%u", i + 1, s->data_cpu[i])
                                             : snprintf(text + at, size - at, ",%u@(0-%ld)", i + 1, cpus - 1));
}

static int start_eal(const struct tide_settings *s)
{
    char devices_text[4096];
    const char *devices[TIDE_PORTS_MAX];
    char map[512];
    char prefix[64];
    struct nic_eal_config config = {.memory_mb = (unsigned)s->dpdk_memory_mb, .extra_args = s->dpdk_args};
    lcore_map(s, map, sizeof(map));
    snprintf(prefix, sizeof(prefix), "tidemark-%d-%d", (int)s->node_id, getpid());
    config.file_prefix = prefix;
    config.lcores = map;
    config.memory = s->dpdk_hugepages == DPDK_HUGEPAGES_ON ? NIC_MEMORY_HUGEPAGES
                    : s->dpdk_hugepages == DPDK_HUGEPAGES_OFF ? NIC_MEMORY_PAGES : NIC_MEMORY_AUTO;
    config.devices = devices;
    config.device_count = split_devices(s->data_ports, devices_text, sizeof(devices_text), devices);
    return nic_eal_start(&config);
}

static int release(const char *device)
{
    struct port_device port;
    char error[ERROR_MAX] = "";
    int fd = -1;
    bool good;
    if (port_device_parse(device, &port, error, sizeof(error)) != TIDE_OK)
        return refuse(error);
    if (strncmp(port.name, "net_af_xdp", 10) != 0)
        return EXIT_SUCCESS;
    good = nic_claim(port.interface, &fd, error, sizeof(error)) == TIDE_OK &&
           nic_claim_clear_xdp(port.interface, error, sizeof(error)) == TIDE_OK;
    if (fd >= 0)
        close(fd);
    return good ? EXIT_SUCCESS : refuse(error);
}

int boot_release(const struct tide_settings *s)
{
    char devices_text[4096];
    const char *devices[TIDE_PORTS_MAX];
    unsigned count = split_devices(s->data_ports, devices_text, sizeof(devices_text), devices);
    int status = EXIT_SUCCESS;
    for (unsigned i = 0; i < count; i++)
        status |= release(devices[i]);
    return status;
}

/* The addresses of the data port. */
static bool set_addresses(const struct tide_settings *s, struct net_config *ret)
{
    uint8_t ignored;
    if (!parse_addr(s->data_address, &ret->addr, &ret->prefix_len))
        return false;
    if (s->data_gateway[0] != 0 && !parse_addr(s->data_gateway, &ret->gateway, &ignored))
        return false;
    if (s->data_address6[0] != 0 && !parse_addr(s->data_address6, &ret->addr6, &ret->prefix6_len))
        return false;
    return s->data_gateway6[0] == 0 || parse_addr(s->data_gateway6, &ret->gateway6, &ignored);
}

static void find_ptp_clocks(struct world *w)
{
    for (unsigned p = 0; p < nic_port_count(w->nic); p++) {
        struct nic_port_info info;
        char error[256];
        nic_port_info(w->nic, p, &info);
        enum tide_status s = ptp_open(&w->ptp[p], info.interface, error, sizeof(error));
        if (s == TIDE_OK)
            control_log("port %u: %s has the PTP clock /dev/ptp%d", p, info.interface, w->ptp[p].index);
        else if (s == TIDE_REFUSED)
            control_log("port %u: %s", p, error);
    }
}

static bool open_ports(struct world *w, char *error, size_t size)
{
    const struct tide_settings *s = w->settings;
    char devices_text[4096];
    const char *devices[TIDE_PORTS_MAX];
    struct nic_config config = {.devices = devices,
                                .queues = w->core_count,
                                .mtu = (uint16_t)s->data_mtu,
                                .promiscuous = false,
                                .accept_partial_checksum = s->data_rx_checksum_partial == DATA_RX_CHECKSUM_PARTIAL_ACCEPT,
                                .no_offloads = s->data_offload == DATA_OFFLOAD_OFF,
                                .stuck_ns = (uint64_t)s->data_port_stuck_ms * TIDE_NS_PER_MS,
                                .log_line = log_line};
    config.device_count = split_devices(s->data_ports, devices_text, sizeof(devices_text), devices);
    for (uint32_t i = 0; i < w->core_count; i++)
        config.counters[i] = &w->nic_counters[i];
    config.take_default_route = s->data_port_take_default_route;
    if (s->data_port_shared) {
        struct net_config addresses = {0};
        if (!set_addresses(s, &addresses) || !shared_port_claim(s, &addresses, &w->share, error, size))
            return false;
        config.share = &w->share;
    }
    /* The socket of a process that was just killed is taken down a little later than the process. */
    for (unsigned tries = 0;; tries++) {
        enum tide_status status = nic_open(&w->nic, &config, error, size);
        if (status != TIDE_IO || tries == PORT_TRIES)
            return status == TIDE_OK;
        control_log("%s; trying again", error);
        usleep(PORT_RETRY_MS * 1000);
    }
}

/* ---- cores ----------------------------------------------------------------------------------------- */

/* `cache`: of each thread that is a core; what lies there is nobody else's. */
static struct rte_mempool *dense_pool(const char *name, uint32_t core, unsigned count, unsigned cache, uint16_t room)
{
    char full[RTE_MEMPOOL_NAMESIZE];
    snprintf(full, sizeof(full), "%s%u", name, core);
    return rte_pktmbuf_pool_create(full, count, cache, 0, (uint16_t)(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
}

static const char *metadata_dir(const struct tide_settings *s)
{
    return s->log_dir[s->metadata_log_dir_index];
}

static uint32_t connections_per_core(const struct world *w)
{
    return (uint32_t)w->settings->tcp_connections_max / w->core_count + 64;
}

/* A ring and a pool of a port count packets, so a window of so many packets is larger where they are. */
static uint32_t receive_window(const struct world *w)
{
    if (w->settings->tcp_receive_window_bytes != 0)
        return (uint32_t)w->settings->tcp_receive_window_bytes;
    return (uint32_t)((uint64_t)RECEIVE_WINDOW * TIDE_MAX(nic_mtu(w->nic), (uint16_t)RTE_ETHER_MTU) / RTE_ETHER_MTU);
}

static uint32_t roster_blocks_of(const struct world *w, uint32_t core)
{
    return roster_blocks(core_roster_slots(connections_per_core(w), core == 0 ? w->orphan_count : 0));
}

/* Without it the broker runs as well, and who waits when it is killed waits longer. */
static void open_conns_file(struct world *w)
{
    const char *dir = metadata_dir(w->settings);
    uint32_t blocks = 0;
    w->orphans = conns_file_load(dir, (uint32_t)w->settings->tcp_connections_max, &w->orphan_count);
    for (uint32_t i = 0; i < w->core_count; i++)
        blocks += roster_blocks_of(w, i);
    w->conns_file = conns_file_make(dir, blocks, w->orphans, w->orphan_count, connections_per_core(w));
    if (w->conns_file < 0)
        control_log("warning: %s/connections cannot be written: %s", dir, strerror(errno));
}

static struct roster_place roster_of(const struct world *w, uint32_t core)
{
    struct roster_place p = {.file = w->conns_file, .position = TIDE_BLOCK};
    if (w->conns_file < 0)
        return (struct roster_place){0};
    for (uint32_t i = 0; i < core; i++)
        p.position += (uint64_t)roster_blocks_of(w, i) * TIDE_BLOCK;
    return p;
}

static bool make_core(struct world *w, uint32_t i, const struct core_listener *listeners, unsigned listener_count, char *error, size_t size)
{
    const struct tide_settings *s = w->settings;
    struct log_core_config log = {.core = i,
                                  .tail_buffer_bytes = (uint32_t)s->log_tail_buffer_bytes,
                                  .tail_buffers = (uint32_t)s->log_tail_buffers,
                                  .read_buffer_bytes = (uint32_t)s->log_read_buffer_bytes,
                                  .read_buffers = (uint32_t)s->log_read_buffers,
                                  .reads_out_max = (uint32_t)s->log_reads_in_flight,
                                  .aheads_out_max = (uint32_t)s->log_reads_in_flight / 2,
                                  .read_piece_bytes = LOG_READ_PIECE_BYTES,
                                  .read_turn_bytes = LOG_READ_TURN_BYTES,
                                  .index_chunks = INDEX_CHUNKS,
                                  .views = VIEWS};
    struct core_config c = {.number = i,
                            .core_count = w->core_count,
                            .settings = s,
                            .office = w->office,
                            .publication = &w->publication,
                            .start_ns = loop_now_ns(),
                            .listeners = listeners,
                            .listener_count = listener_count,
                            .replication_port = (uint16_t)s->replication_port,
                            .steer = w->steer,
                            .roster = roster_of(w, i),
                            .source_ports = {(uint16_t)s->data_source_port_first, (uint16_t)s->data_source_port_last}};
    struct nic_port_info port;
    uint64_t seeds[2];
    unsigned requests = (unsigned)(s->core_request_memory_bytes / REQUEST_BLOCK);

    nic_port_info(w->nic, 0, &port);
    w->request_pools[i] = dense_pool("request", i, requests, 0, REQUEST_BLOCK);
    w->response_pools[i] = dense_pool("response", i, RESPONSE_BLOCKS, BLOCK_CACHE, RESPONSE_BLOCK);
    w->peer_pools[i] = dense_pool("peer", i, PEER_BLOCKS, BLOCK_CACHE, PEER_BLOCK);
    log.counters = &w->nic_counters[i];
    w->log_cores[i] = log_core_create(&log);
    if (w->request_pools[i] == NULL || w->response_pools[i] == NULL || w->peer_pools[i] == NULL || w->log_cores[i] == NULL)
        return false;
    c.log_core = w->log_cores[i];
    c.receive_pool = nic_rx_pool(w->nic, 0);
    c.net = (struct net_config){.mac = port.mac, .vlan = (uint16_t)s->data_vlan, .mtu = nic_mtu(w->nic),
                                .ttl = (uint8_t)s->tcp_ttl, .dscp = (uint8_t)s->tcp_dscp, .announce = i == 0, .tx_pool = nic_tx_pool(w->nic)};
    if (!set_addresses(s, &c.net))
        return false;
    if (s->data_port_shared) {
        if (!shared_port_join(w, &c.net, error, size))
            return false;
        c.kernel = (struct core_kernel *)w->shared;
    }
    w->net = c.net;
    if (i == 0) {
        c.orphans = w->orphans;
        c.orphan_count = w->orphan_count;
    }
    if (i == 0 && !s->data_port_shared) {
        struct rte_ether_addr groups[NET_GROUPS_MAX];
        for (unsigned p = 0; p < nic_port_count(w->nic); p++)
            nic_hear_groups(w->nic, p, groups, net_groups(&c.net, groups));
    }
    c.tcp = (struct tcp_config){.connections_max = connections_per_core(w),
                                .syn_backlog = 1024,
                                .receive_window_bytes = receive_window(w),
                                .send_buffer_bytes = (uint32_t)s->tcp_send_buffer_bytes,
                                .mss = (uint16_t)(nic_mtu(w->nic) - 40),
                                .rto_min_us = (uint32_t)s->tcp_rto_min_us,
                                .time_wait_ms = (uint32_t)s->tcp_time_wait_ms,
                                .keepalive_ms = (uint32_t)s->tcp_keepalive_ms,
                                .user_timeout_ms = (uint32_t)s->tcp_user_timeout_ms,
                                .segmented_max = s->tcp_segmentation == TCP_SEGMENTATION_AUTO && nic_cuts_tcp(w->nic) ? SEGMENTED_MAX : 0,
                                .congestion = (enum tcp_congestion)s->tcp_congestion_control,
                                .ecn = (enum tcp_ecn)s->tcp_ecn,
                                .tx_pool = nic_tx_pool(w->nic)};
    if (getrandom(c.tcp.secret, sizeof(c.tcp.secret), 0) != sizeof(c.tcp.secret))
        return false;
    if (getrandom(seeds, sizeof(seeds), 0) != sizeof(seeds))
        return false;
    c.broker = (struct broker_config){.request_pool = w->request_pools[i],
                                      .response_pool = w->response_pools[i],
                                      .peer_pool = w->peer_pools[i],
                                      .requests_max = REQUESTS_PER_CORE,
                                      .sessions_max = c.tcp.connections_max,
                                      .mails_max = MAILS,
                                      .trace = &w->trace,
                                      .random = seeds[0],
                                      .seed = seeds[1]};
    w->cores[i] = core_create(&c);
    return w->cores[i] != NULL;
}

/* ---- a core's thread ---------------------------------------------------------------------------------- */

struct core_start {
    struct world *world;
    uint32_t number;
};

static bool all_dirs_can_poll(const struct tide_settings *s)
{
    for (uint32_t i = 0; i < s->log_dir_count; i++)
        if (!disk_can_poll(s->log_dir[i]))
            return false;
    return true;
}

/* The ring belongs to the thread that submits (SINGLE_ISSUER), so it is made here. */
static struct disk *make_disk(struct world *w, uint32_t i)
{
    const struct tide_settings *s = w->settings;
    struct disk_config config = {.entries = DISK_ENTRIES,
                                 .task_run = (enum disk_task_run)s->core_disk_task_run,
                                 .plain_buffers = !s->core_disk_registered_buffers,
                                 .polled = s->core_disk_polled == CORE_DISK_POLLED_AUTO && s->core_idle == CORE_IDLE_SPIN &&
                                           all_dirs_can_poll(s)};
    void *bases[DISK_REGIONS_MAX];
    size_t lens[DISK_REGIONS_MAX];
    char text[512] = "";
    struct disk *d;
    config.region_count = log_core_regions(w->log_cores[i], bases, lens, DISK_REGIONS_MAX);
    for (unsigned r = 0; r < config.region_count; r++)
        config.regions[r] = (struct disk_region){.base = bases[r], .len = lens[r]};
    d = disk_create(&config, text, sizeof(text));
    control_log("core %u: disk: %s", i, text);
    return d;
}

static int core_main(void *arg)
{
    struct core_start *start = arg;
    struct world *w = start->world;
    uint32_t i = start->number;
    struct loop_config *loop = &w->loops[i];

    w->disks[i] = make_disk(w, i);
    *loop = (struct loop_config){.core = w->cores[i],
                                 .nic = w->nic,
                                 .disk = w->disks[i],
                                 .helpers = w->helpers,
                                 .qsbr = w->publication.qsbr,
                                 .idle = (enum core_idle)w->settings->core_idle,
                                 .idle_polls = (uint32_t)w->settings->core_idle_spin_polls,
                                 .stop = &w->stop};
    atomic_fetch_add(&w->running, 1);
    if (w->disks[i] != NULL) {
        loop_run(loop);
        disk_destroy(w->disks[i]);
    }
    atomic_fetch_add(&w->ended, 1);
    return 0;
}

static bool start_cores(struct world *w)
{
    static struct core_start starts[TIDE_CORES_MAX];
    uint32_t i = 0;
    unsigned lcore;
    RTE_LCORE_FOREACH_WORKER(lcore)
    {
        if (i == w->core_count)
            break;
        starts[i] = (struct core_start){.world = w, .number = i};
        if (rte_eal_remote_launch(core_main, &starts[i], lcore) != 0)
            return false;
        i++;
    }
    while (i == w->core_count && atomic_load(&w->running) < w->core_count)
        usleep(100);
    for (uint32_t k = 0; k < w->core_count; k++)
        if (w->disks[k] == NULL)
            return false;
    return i == w->core_count;
}

static void wake_cores(const struct world *w)
{
    uint64_t one = 1;
    for (uint32_t i = 0; i < w->core_count; i++)
        (void)!write(w->office->parties[i].wake_fd, &one, sizeof(one));
}

static void stop_cores(struct world *w)
{
    atomic_store(&w->stop, true);
    wake_cores(w);
    rte_eal_mp_wait_lcore();
    TIDE_ASSERT(atomic_load(&w->ended) == atomic_load(&w->running)); /* and so all that they wrote is seen */
}

/* ---- the data plane as a whole ---------------------------------------------------------------------------- */

static void warn(void *arg, const char *warning)
{
    (void)arg;
    control_log("warning: %s", warning);
}

static void warn_of_distance(const struct world *w)
{
    struct numa_machine m;
    numa_read(w->settings, w->nic, &m);
    (void)numa_judge(&m, warn, NULL);
}

static bool make_data_plane(struct world *w, char *error, size_t size)
{
    const struct tide_settings *s = w->settings;
    struct core_listener listeners[TIDE_LISTENERS_MAX];
    unsigned listener_count = 0;

    w->core_count = (uint32_t)s->data_core_count;
    open_conns_file(w);
    w->nic_counters = calloc(w->core_count, sizeof(*w->nic_counters));
    if (w->nic_counters == NULL || !open_ports(w, error, size))
        return false;
    find_ptp_clocks(w);
    if (nic_port_count(w->nic) > PORTS_USED) {
        snprintf(error, size, "data.ports: %u ports given; one carries the data address, and one may stand by", nic_port_count(w->nic));
        return false;
    }
    warn_of_distance(w);
    snprintf(error, size, "not enough memory for %u data cores: raise dpdk.memory.mb (now %d), or lower core.request.memory.bytes, "
             "log.tail.buffers or log.read.buffers", w->core_count, (int)s->dpdk_memory_mb);
    for (unsigned i = 0; i < s->listener_count; i++)
        listeners[listener_count++] = (struct core_listener){s->listener[i].port, s->listener[i].family};
    w->office = post_office_create(w->core_count);
    w->publication.qsbr = rte_zmalloc("qsbr", rte_rcu_qsbr_get_memsize(TIDE_CORES_MAX), TIDE_CACHE_LINE);
    if (w->office == NULL || w->publication.qsbr == NULL ||
        rte_rcu_qsbr_init(w->publication.qsbr, TIDE_CORES_MAX) != 0)
        return false;
    for (uint32_t i = 0; i <= w->core_count; i++)
        w->office->parties[i].wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->helpers = help_pool_create((unsigned)s->helper_threads, w->core_count, posix_fs());
    if (w->helpers == NULL)
        return false;
    for (uint32_t i = 0; i < w->core_count; i++)
        help_pool_set_doorbell(w->helpers, i, w->office->parties[i].wake_fd);
    help_pool_set_doorbell(w->helpers, TIDE_JOB_CONTROL, w->office->parties[w->core_count].wake_fd);
    if (w->core_count > 1)
        w->steer = steer_create(w->core_count);
    w->response_pools[w->core_count] = dense_pool("answers", w->core_count, 1023, 0, RESPONSE_BLOCK);
    w->order_pool = rte_mempool_create("orders", ORDERS - 1, sizeof(struct tide_mail), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    if (w->response_pools[w->core_count] == NULL || w->order_pool == NULL || (w->core_count > 1 && w->steer == NULL))
        return false;
    for (uint32_t i = 0; i < w->core_count; i++)
        if (!make_core(w, i, listeners, listener_count, error, size))
            return false;
    error[0] = 0;
    return true;
}

static void destroy_data_plane(struct world *w)
{
    if (w->helpers != NULL) /* what is still out with them lies in memory of the cores */
        help_pool_destroy(w->helpers);
    for (uint32_t i = 0; i < w->core_count; i++)
        if (w->cores[i] != NULL)
            core_forget(w->cores[i]);
    for (uint32_t i = 0; i < w->core_count; i++)
        core_destroy(w->cores[i]);
    steer_destroy(w->steer);
    trace_close(w);
    /* Sent frames lie in the rings of the ports until these are closed, and lead into tail and read buffers. */
    if (w->nic != NULL)
        nic_close(w->nic);
    for (uint32_t i = 0; i < w->core_count; i++) {
        if (w->log_cores[i] == NULL)
            continue;
        TIDE_ASSERT(rte_mempool_full(w->log_cores[i]->leases));
        log_core_destroy(w->log_cores[i]);
    }
    for (uint32_t i = 0; i <= w->core_count; i++) {
        if (i < w->core_count) {
            rte_mempool_free(w->request_pools[i]);
            rte_mempool_free(w->peer_pools[i]);
        }
        rte_mempool_free(w->response_pools[i]);
        if (w->office != NULL && w->office->parties[i].wake_fd >= 0)
            close(w->office->parties[i].wake_fd);
    }
    rte_mempool_free(w->order_pool);
    post_office_destroy(w->office);
    rte_free(w->publication.qsbr);
    free(w->nic_counters);
    if (w->conns_file >= 0)
        close(w->conns_file);
    free(w->orphans);
    free(w->stage_metrics);
}

/* ---- control ------------------------------------------------------------------------------------------------ */

static struct tide_uuid new_uuid(void)
{
    struct tide_uuid u;
    if (getrandom(&u, sizeof(u), 0) != sizeof(u))
        abort();
    u.bytes[0] &= 0x7f; /* a text that does not begin with '-' or '_' */
    u.bytes[6] = (uint8_t)((u.bytes[6] & 0x0f) | 0x40);
    u.bytes[8] = (uint8_t)((u.bytes[8] & 0x3f) | 0x80);
    return u;
}

static struct tide_uuid new_id(void *arg)
{
    (void)arg;
    return new_uuid();
}

static void on_ready(void *arg)
{
    struct world *w = arg;
    w->ready = true;
    control_log("serving %s on %s", w->settings->listeners, w->settings->data_address);
    fputs("tidemarkd: ready\n", stderr);
    (void)notify_send("READY=1\nSTATUS=serving");
}

static void on_stopped(void *arg, bool clean)
{
    struct world *w = arg;
    w->stopped = true;
    w->clean = clean;
    uv_stop(&w->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct world *w = signal->data;
    control_log("signal %d: stopping", number);
    (void)notify_send("STOPPING=1\nSTATUS=handing over leaderships and closing logs");
    uv_signal_stop(&w->sigterm);
    uv_signal_stop(&w->sigint);
    control_stop(control_loop_control(w->control), mgmt_now_ns());
    control_loop_turn(w->control);
}

static void on_port_look(uv_timer_t *t)
{
    struct world *w = t->data;
    struct tide_grace grace = tide_grace_over(w->publication.qsbr);
    unsigned before = nic_active_port(w->nic);
    nic_watch(w->nic, loop_now_ns(), &grace);
    for (unsigned p = 0; p < nic_port_count(w->nic); p++)
        ptp_look(&w->ptp[p], loop_now_ns());
    capture_on_time(w, loop_now_ns());
    trace_on_time(w, loop_now_ns());
    if (nic_active_port(w->nic) != before)
        wake_cores(w); /* core 0 is to announce */
}

static void watch_ports(struct world *w)
{
    uv_timer_init(&w->loop, &w->port_look);
    w->port_look.data = w;
    uv_timer_start(&w->port_look, on_port_look, 0, PORT_LOOK_MS);
}

static void watch_signals(struct world *w)
{
    uv_signal_init(&w->loop, &w->sigterm);
    uv_signal_init(&w->loop, &w->sigint);
    w->sigterm.data = w->sigint.data = w;
    uv_signal_start(&w->sigterm, on_signal, SIGTERM);
    uv_signal_start(&w->sigint, on_signal, SIGINT);
}

static void ask_for_conns(void *arg)
{
    struct world *w = arg;
    for (uint32_t i = 0; i < w->core_count; i++)
        core_conns_ask(w->cores[i]);
    wake_cores(w);
}

static bool conns_are_ready(void *arg)
{
    const struct world *w = arg;
    bool ready = true;
    for (uint32_t i = 0; i < w->core_count; i++)
        ready &= core_conns_ready(w->cores[i]);
    return ready;
}

static bool start_control(struct world *w, char *error, size_t size)
{
    static const struct http_page pages[] = {
        {.path = "/metrics", .render = metrics_render},
        {.path = "/healthz", .render = health_render},
        {.path = "/cluster", .render = cluster_render},
        {.path = "/cluster/voters", .act = voters_act},
        {.path = "/cluster/config", .act = config_act},
        {.path = "/cluster/drain", .act = drain_act},
        {.path = "/capture", .take = capture_take},
        {.path = "/trace", .take = trace_take_page},
        {.path = "/conns", .ask = ask_for_conns, .is_ready = conns_are_ready, .render = conns_render},
    };
    struct http_pages http = {.pages = pages, .count = TIDE_ARRAY_LEN(pages), .arg = w};
    struct control_config config = {.settings = w->settings,
                                    .dirs = w->dirs,
                                    .fs = posix_fs(),
                                    .node = w->node,
                                    .office = w->office,
                                    .publication = &w->publication,
                                    .data = {.self = w, .create = data_create, .open = partition_open,
                                             .close = partition_close, .destroy = partition_destroy, .measure = data_measure,
                                             .checkpoint = partition_checkpoint, .lost = partition_lost_committed,
                                             .turns = data_turns, .port_is_up = data_port_is_up, .each_peer = data_each_peer, .in_use = data_in_use,
                                             .submit = data_submit, .take = data_take},
                                    .response_pool = w->response_pools[w->core_count],
                                    .order_pool = w->order_pool,
                                    .broker_id = (int32_t)w->settings->node_id,
                                    .incarnation = w->incarnation,
                                    .on_ready = on_ready,
                                    .on_stopped = on_stopped,
                                    .new_id = new_id,
                                    .arg = w};
    w->control = control_loop_start(&w->loop, &config, w->files, error, size);
    if (w->control == NULL)
        return false;
    return http_start(&w->loop, w->settings->control_address, &http, &w->http, error, size) == TIDE_OK;
}

/* ---- identity and history ---------------------------------------------------------------------------------- */

/* Which cluster fresh directories are to belong to. A single broker makes one up; where others must name the same, it
 * has to be said. */
static bool fresh_cluster_id(const struct tide_settings *s, struct tide_uuid *ret, char *error, size_t size)
{
    char proposal[TIDE_UUID_TEXT];
    char text[8];
    *ret = new_uuid();
    if (s->cluster_id[0] != 0)
        return tide_uuid_from_text(s->cluster_id, strlen(s->cluster_id), ret);
    if (s->voter_count == 1 && s->is_voter)
        return true;
    if (files_read(posix_fs(), metadata_dir(s), "meta.properties", text, sizeof(text)) == 0)
        return true; /* it is not fresh */
    tide_uuid_to_text(ret, proposal);
    snprintf(error, size, "cluster.id is missing: %.300s is fresh, and the brokers of quorum.voters must name the same cluster; write "
             "cluster.id=%s on all of them, or the id of the cluster that is there", metadata_dir(s), proposal);
    return false;
}

static bool open_dirs(struct world *w, struct dirs_identity *ret, char *error, size_t size)
{
    const struct tide_settings *s = w->settings;
    struct tide_uuid cluster;
    const char *paths[TIDE_LOG_DIRS_MAX];
    struct dirs_wanted wanted = {.paths = paths,
                                 .count = s->log_dir_count,
                                 .metadata = s->metadata_log_dir_index,
                                 .metadata_only = s->metadata_only,
                                 .node_id = (int32_t)s->node_id,
                                 .fresh_cluster_id = &cluster,
                                 .fresh_directory_id = new_uuid};
    char text[TIDE_UUID_TEXT];
    for (uint32_t i = 0; i < s->log_dir_count; i++)
        paths[i] = s->log_dir[i];
    if (!fresh_cluster_id(s, &cluster, error, size) || dirs_open(&wanted, posix_fs(), &w->dirs, ret, error, size) != TIDE_OK)
        return false;
    tide_uuid_to_text(&ret->cluster_id, text);
    if (s->cluster_id[0] == 0 || strcmp(s->cluster_id, text) == 0)
        return true;
    snprintf(error, size, "%.400s belongs to cluster %s, and cluster.id is %.30s: give the directories of that cluster, or correct cluster.id",
             s->log_dir[s->metadata_log_dir_index], text, s->cluster_id);
    return false;
}

static void tell_dirs(const struct world *w, const struct dirs_identity *who)
{
    for (uint32_t i = 0; i < dirs_count(w->dirs); i++)
        control_log("data in %s: %u partitions", dirs_path(w->dirs, i), dirs_partitions(w->dirs, i));
    control_log("%s", who->fresh == dirs_count(w->dirs) ? "fresh"
                      : who->clean ? "after a clean stop" : "after an unclean stop: logs are recovered");
}

static struct node_config node_settings(struct world *w, const struct dirs_identity *who)
{
    struct node_config c;
    control_node_config(w->settings, w->dirs, w->birth, &c);
    c.cluster_id = who->cluster_id;
    c.incarnation = w->incarnation;
    c.previous_epoch = who->epoch;
    c.created_ms = (int64_t)time(NULL) * 1000;
    if (getrandom(&c.seed, sizeof(c.seed), 0) != sizeof(c.seed))
        abort();
    return c;
}

/* Written before brokers agreed on their metadata. */
static bool has_old_log(const char *metadata, char *error, size_t size)
{
    char text[8];
    if (files_read(posix_fs(), metadata, "commands.log", text, sizeof(text)) != 0)
        return false;
    snprintf(error, size, "%.800s/commands.log was written by an earlier version of Tidemark, which this one does not read: create the "
             "topics anew in an empty log.dirs, or go on with the earlier version", metadata);
    return true;
}

/* The directories are locked, are ours, and the metadata is as this broker left it. */
static bool open_node(struct world *w, char *error, size_t size)
{
    struct dirs_identity who;
    struct node_config config;
    struct quorum_boot boot = {0};
    char path[FILES_PATH_MAX];
    struct quorum_files_config files = {.fs = posix_fs(), .dir = path};
    /* Where other brokers can come in, this one may become a voter. */
    bool keeps_log = w->settings->is_voter || w->settings->controller_port != 0;
    if (!open_dirs(w, &who, error, size))
        return false;
    files_path(path, w->settings->log_dir[w->settings->metadata_log_dir_index], "__cluster_metadata-0");
    files.cluster_id = who.cluster_id;
    w->incarnation = new_uuid();
    if (has_old_log(path, error, size) ||
        (keeps_log && quorum_files_open(&files, &w->files, &boot, error, size) != TIDE_OK))
        return false;
    config = node_settings(w, &who);
    w->node = node_create(&config, keeps_log ? &boot : NULL, mgmt_now_ns(), error, size);
    quorum_boot_deinit(&boot);
    if (w->node != NULL)
        tell_dirs(w, &who);
    return w->node != NULL;
}

static void warn_of_spinning(const struct tide_settings *s)
{
    if (s->core_idle == CORE_IDLE_SPIN && s->data_core_count >= sysconf(_SC_NPROCESSORS_ONLN))
        control_log("warning: core.idle=spin with %d polling cores on %ld CPUs: durable writes will wait for milliseconds; use core.idle=wait",
                    (int)s->data_core_count, sysconf(_SC_NPROCESSORS_ONLN));
}

static void watch_cores(struct world *w)
{
    const struct tide_counters *cores[TIDE_CORES_MAX];
    for (uint32_t i = 0; i < w->core_count; i++)
        cores[i] = core_counters(w->cores[i]);
    watchdog_start(&w->watchdog, &w->loop, cores, w->core_count);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static int run(struct world *w)
{
    char error[ERROR_MAX] = "";
    int status = EXIT_FAILURE;
    bool cores = false;
    if (!make_data_plane(w, error, sizeof(error))) {
        status = refuse(error);
        goto out;
    }
    if (!start_cores(w)) {
        status = refuse("a core could not be started (io_uring missing?)");
        cores = true;
        goto out;
    }
    cores = true;
    watch_signals(w);
    watch_ports(w);
    if (!start_control(w, error, sizeof(error)) || (w->shared != NULL && !shared_port_start(w, &w->net, error, sizeof(error)))) {
        status = refuse(error);
        if (w->control == NULL)
            goto out;
        control_stop(control_loop_control(w->control), mgmt_now_ns());
        control_loop_turn(w->control);
    }
    (void)notify_send("STATUS=opening logs and joining the cluster");
    watch_cores(w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    if (w->stopped && error[0] == 0)
        status = w->clean && dirs_mark_clean(w->dirs, node_member(w->node)->epoch) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    control_log("stopped%s", status == EXIT_SUCCESS ? "" : ", not cleanly");
out:
    uv_timer_stop(&w->port_look); /* both look at what goes now, and closing handles below turns the loop */
    for (unsigned p = 0; w->nic != NULL && p < nic_port_count(w->nic); p++)
        ptp_close(&w->ptp[p]);
    uv_timer_stop(&w->watchdog.timer);
    if (cores)
        stop_cores(w);
    if (w->control != NULL)
        control_loop_destroy(w->control);
    http_stop(w->http);
    shared_port_stop(w);
    destroy_data_plane(w);
    return status;
}

int boot_run(const struct tide_settings *settings)
{
    struct world *w = calloc(1, sizeof(*w));
    char error[ERROR_MAX] = "";
    int status;
    if (w == NULL)
        return refuse("no memory");
    (void)signal(SIGPIPE, SIG_IGN); /* libuv writes without MSG_NOSIGNAL: who is gone is an error of one connection, not our end */
    w->settings = settings;
    w->start_ns = mgmt_now_ns();
    w->conns_file = -1;
    for (unsigned p = 0; p < TIDE_PORTS_MAX; p++)
        w->ptp[p].fd = -1;
    uv_loop_init(&w->loop);
    warn_of_spinning(settings);
    if (start_eal(settings) < 0) {
        free(w);
        return refuse("DPDK could not be started: see above, and `tidemark doctor`");
    }
    if (!open_node(w, error, sizeof(error)))
        status = refuse(error);
    else
        status = run(w);
    node_destroy(w->node);
    quorum_files_close(w->files);
    dirs_close(w->dirs);
    nic_eal_stop();
    free(w);
    return status;
}
