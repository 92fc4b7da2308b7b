/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/unit.h"
#include "log/buffers.h"
#include "log/cache.h"
#include "sim_wire.h"
#include "tidemark/bytes.h"

enum { TAKEN = 16, BATCH_ROOM = 1 << 16, TAIL_BUFFER = 16384, CONNECTIONS = 64 };

/* ---- pools ------------------------------------------------------------------------------------------------- */

void sim_pools_make(struct sim_pools *p)
{
    unit_eal();
    p->tx = unit_pool("sim_tx", 16383, 1800);
    p->request = unit_pool("sim_request", 511, 16384);
    p->response = unit_pool("sim_response", 1023, 8192);
    p->client = unit_pool("sim_client", 32767, 256);
    p->peer = unit_pool("sim_peer", 8191, 256);
}

static void each(const struct sim_pools *p, struct rte_mempool *ret[SIM_POOLS])
{
    ret[0] = p->tx;
    ret[1] = p->request;
    ret[2] = p->response;
    ret[3] = p->client;
    ret[4] = p->peer;
}

void sim_pools_count(const struct sim_pools *p, unsigned ret_free[SIM_POOLS])
{
    struct rte_mempool *pools[SIM_POOLS];
    each(p, pools);
    for (unsigned i = 0; i < SIM_POOLS; i++)
        ret_free[i] = rte_mempool_avail_count(pools[i]);
}

bool sim_pools_are_back(const struct sim_pools *p, const unsigned before[SIM_POOLS])
{
    unsigned now[SIM_POOLS];
    bool back = true;
    sim_pools_count(p, now);
    for (unsigned i = 0; i < SIM_POOLS; i++)
        if (now[i] != before[i]) {
            fprintf(stderr, "pool %u: %u of %u are free\n", i, now[i], before[i]);
            back = false;
        }
    return back;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

/* Blocks of the cores before this one; the first has the orphans as well. */
static uint32_t blocks_before(const struct sim_machine *m, uint32_t core)
{
    return core == 0 ? 0 : roster_blocks(core_roster_slots(CONNECTIONS, m->orphan_count)) + (core - 1) * roster_blocks(CONNECTIONS);
}

static void boot_core(struct sim_machine *m, uint32_t i, struct tide_random *random, uint64_t now_ns)
{
    static const struct core_listener listeners[] = {{SIM_KAFKA_PORT, 0}};
    const struct sim_machine_config *config = &m->config;
    const struct sim_pools *pools = config->pools;
    struct sim_core *k = &m->cores[i];
    struct log_core_config log = {.core = i, .tail_buffer_bytes = config->tail_buffer_bytes, .tail_buffers = 24, .read_buffer_bytes = 65536, .read_buffers = 8,
                                  .reads_out_max = 4, .aheads_out_max = 2, .read_piece_bytes = 16384, .read_turn_bytes = 131072,
                                  .index_chunks = 64, .views = 4095, .counters = &k->counters};
    struct core_config c = {.number = i, .core_count = config->core_count, .settings = config->settings, .publication = &m->publication,
                            .office = m->office, .start_ns = now_ns, .listeners = listeners, .listener_count = 1,
                            .replication_port = SIM_PEER_PORT, .steer = m->steer};
    memset(k, 0, sizeof(*k));
    k->log_core = log_core_create(&log);
    k->disk = sim_disk_create(m->fs, &(struct sim_disk_config){.jitter_ns = 400000});
    c.log_core = k->log_core;
    c.net = (struct net_config){.mac = sim_mac(config->node), .addr = sim_addr(config->node), .prefix_len = 24, .mtu = 1500, .announce = i == 0,
                                .tx_pool = pools->tx};
    c.tcp = (struct tcp_config){.connections_max = CONNECTIONS, .syn_backlog = 16, .receive_window_bytes = 65536, .send_buffer_bytes = 262144, .mss = 1460,
                                .rto_min_us = 5000, .time_wait_ms = 100, .tx_pool = pools->tx};
    for (unsigned b = 0; b < sizeof(c.tcp.secret); b++)
        c.tcp.secret[b] = (uint8_t)tide_random_u64(random);
    c.broker = (struct broker_config){.request_pool = pools->request, .response_pool = pools->response, .peer_pool = pools->peer,
                                      .requests_max = 128, .sessions_max = 32, .mails_max = 127, .grace = config->grace,
                                      .trace = config->trace};
    memcpy(&c.broker.random, c.tcp.secret, sizeof(c.broker.random));
    if (m->conns_file >= 0)
        c.roster = (struct roster_place){m->conns_file, TIDE_BLOCK * (1 + (uint64_t)blocks_before(m, i))};
    if (i == 0) {
        c.orphans = m->orphans;
        c.orphan_count = m->orphan_count;
    }
    k->core = core_create(&c);
    TIDE_ASSERT(k->log_core != NULL);
    TIDE_ASSERT(k->core != NULL);
}

/* Whatever the power left of the rows. */
static void take_orphans(struct sim_machine *m, int file)
{
    const struct tide_fs *fs = sim_fs_verbs(m->fs);
    static uint8_t block[TIDE_BLOCK];
    for (uint64_t at = TIDE_BLOCK; fs->pread(fs->self, file, block, sizeof(block), at) == sizeof(block); at += sizeof(block))
        roster_read(block, m->orphans, SIM_ORPHANS_MAX, &m->orphan_count);
}

/* A sick disk may not give it: then they are not kept. */
static int make_conns_file(struct sim_machine *m)
{
    const struct tide_fs *fs = sim_fs_verbs(m->fs);
    int file = m->config.keeps_connections ? fs->open(fs->self, "/connections", TIDE_FS_CREATE | TIDE_FS_READ | TIDE_FS_WRITE) : -1;
    m->orphan_count = 0;
    if (file >= 0)
        take_orphans(m, file);
    uint64_t len = TIDE_BLOCK * (1 + (uint64_t)blocks_before(m, m->config.core_count));
    return file >= 0 && fs->truncate(fs->self, file, 0) == 0 && fs->truncate(fs->self, file, len) == 0 ? file : -1;
}

void sim_machine_boot(struct sim_machine *m, const struct sim_machine_config *config, struct tide_random *random, uint64_t now_ns)
{
    m->config = *config;
    if (m->config.tail_buffer_bytes == 0)
        m->config.tail_buffer_bytes = TAIL_BUFFER;
    if (m->config.turn == NULL)
        m->config.turn = core_turn;
    m->office = post_office_create(config->core_count);
    m->steer = config->core_count > 1 ? steer_create(config->core_count) : NULL;
    TIDE_ASSERT(m->office != NULL);
    m->conns_file = make_conns_file(m);
    atomic_store(&m->publication.now, NULL);
    atomic_store(&m->publication.lease_until_ns, 0);
    for (uint32_t i = 0; i < config->core_count; i++)
        boot_core(m, i, random, now_ns);
}

static void forget_letter(struct tide_mail *m)
{
    if (m->kind == MAIL_APPEND)
        tide_slice_release(m->append.records);
    if (m->kind == MAIL_ASK)
        tide_rope_clear(&m->ask.answer);
    if (m->kind == MAIL_GROUP)
        tide_rope_clear(&m->group.answer);
    if (m->pool == NULL && m->kind != MAIL_RELEASE) /* that one stays its sender's */
        free(m);
}

static void empty_box(struct sim_machine *m, uint32_t party)
{
    struct tide_mail *letters[TAKEN];
    unsigned n;
    while ((n = post_take(m->office, party, letters, TAKEN)) != 0)
        for (unsigned i = 0; i < n; i++)
            forget_letter(letters[i]);
}

void sim_machine_cut(struct sim_machine *m, enum sim_crash how)
{
    uint32_t count = m->config.core_count;
    sim_fs_crash(m->fs, how);
    for (uint32_t i = 0; i < count; i++) {
        struct sim_core *k = &m->cores[i];
        for (unsigned f = 0; f < k->io.tx_count; f++)
            rte_pktmbuf_free(k->io.tx[f]);
        for (unsigned f = 0; f < k->io.rx_count; f++)
            rte_pktmbuf_free(k->io.rx[f]);
        empty_box(m, i);
        sim_disk_destroy(k->disk);
    }
    empty_box(m, count);
    for (uint32_t i = 0; i < count; i++)
        core_forget(m->cores[i].core);
    for (uint32_t i = 0; i < count; i++)
        core_destroy(m->cores[i].core);
}

void sim_machine_clear(struct sim_machine *m)
{
    for (uint32_t i = 0; i < m->config.core_count; i++)
        log_core_destroy(m->cores[i].log_core);
    steer_destroy(m->steer);
    post_office_destroy(m->office);
}

struct partition_config sim_machine_partition(struct sim_machine *m)
{
    return (struct partition_config){.preallocate_bytes = 65536, .producer_expiry_ms = 86400000, .producers_max = 16,
                                     .lease_until_ns = &m->publication.lease_until_ns, .grace = m->config.grace};
}

/* ---- a turn of a core ----------------------------------------------------------------------------------------- */

bool sim_core_has_cause(const struct sim_core *k, uint64_t now_ns)
{
    bool due = k->io.rx_count != 0 || k->io.tx_count != 0 || core_has_mail(k->core) || core_deadline_ns(k->core) <= now_ns ||
               sim_disk_deadline_ns(k->disk) <= now_ns || k->io.out.op_count != 0;
    for (unsigned i = 0; i < k->job_count && !due; i++)
        due = k->jobs[i].at_ns <= now_ns;
    return due;
}

uint64_t sim_core_deadline_ns(const struct sim_core *k)
{
    uint64_t t = TIDE_MIN(core_deadline_ns(k->core), sim_disk_deadline_ns(k->disk));
    for (unsigned i = 0; i < k->job_count; i++)
        t = TIDE_MIN(t, k->jobs[i].at_ns);
    return t;
}

static void run_jobs(struct sim_machine *m, struct sim_core *k, uint64_t now_ns)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < k->job_count; i++) {
        if (k->jobs[i].at_ns > now_ns || k->io.jobs_done_count == CORE_JOBS_MAX) {
            k->jobs[kept++] = k->jobs[i];
            continue;
        }
        k->jobs[i].job->run(k->jobs[i].job, sim_fs_verbs(m->fs));
        k->io.jobs_done[k->io.jobs_done_count++] = k->jobs[i].job;
    }
    k->job_count = kept;
}

static void check_row(const struct sim_machine *m, const struct sim_core *k, uint32_t slot, const struct tcp_conn_info *info)
{
    const struct roster *r = core_roster(k->core);
    const struct tide_fs *fs = sim_fs_verbs(m->fs);
    struct roster_row want = {info->local.addr, info->remote.addr, info->local.port, info->remote.port, 0}, row;
    uint32_t block = slot / ROSTER_ROWS;
    TIDE_ASSERT(memcmp(r->image + roster_row_at(slot), &want, sizeof(want)) == 0);
    if (r->dirty[block] || r->writing == block || core_counters(k->core)->values[COUNTER_roster_write_errors] != 0)
        return;
    if (fs->pread(fs->self, r->place.file, &row, sizeof(row), r->place.position + roster_row_at(slot)) == sizeof(row))
        TIDE_ASSERT(memcmp(&row, &want, sizeof(want)) == 0);
}

/* Whoever came in this turn is written down, or that is under way. */
static void check_list(const struct sim_machine *m, struct sim_core *k, uint64_t now_ns)
{
    const struct tcp_stats *stats = tcp_stats(core_tcp(k->core));
    const struct roster *r = core_roster(k->core);
    struct tcp_conn_info info;
    if (!roster_is_kept(r))
        return;
    TIDE_ASSERT(r->queue_count == 0 || r->writing != ROSTER_NONE);
    if (stats->accepted + stats->connected == k->conns_seen && r->writing == ROSTER_NONE)
        return;
    k->conns_seen = stats->accepted + stats->connected;
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (tcp_info_at(core_tcp(k->core), now_ns, i, &info))
            check_row(m, k, i, &info);
}

/* A push that finds no room is tried again when a disk operation is done, an acknowledgement came or a millisecond is over, and not in each turn. */
static void check_pushes(struct sim_core *k, uint64_t now_ns, unsigned done)
{
    const uint64_t *counted = core_counters(k->core)->values;
    k->rouses += done + (now_ns - k->roused_ns >= TIDE_NS_PER_MS);
    if (now_ns - k->roused_ns >= TIDE_NS_PER_MS)
        k->roused_ns = now_ns;
    TIDE_ASSERT(counted[COUNTER_peer_push_waits] <= 100 + 8 * (k->rouses + counted[COUNTER_peer_acks]));
}

void sim_core_turn(struct sim_machine *m, uint32_t core, struct tide_random *random, const struct tide_time *time)
{
    struct sim_core *k = &m->cores[core];
    unsigned done;
    run_jobs(m, k, time->now_ns);
    k->io.done_count += sim_disk_take(k->disk, time->now_ns, k->io.done + k->io.done_count, CORE_DONE_MAX - k->io.done_count);
    done = k->io.done_count;
    (void)m->config.turn(k->core, time, &k->io);
    check_pushes(k, time->now_ns, done);
    if (k->io.out.op_count != 0 && sim_disk_submit(k->disk, time->now_ns, k->io.out.ops, k->io.out.op_count) == TIDE_OK)
        k->io.out.op_count = 0;
    for (unsigned i = 0; i < k->io.out.job_count; i++) {
        TIDE_ASSERT(k->job_count < SIM_JOBS_MAX);
        k->jobs[k->job_count++] = (struct sim_job){time->now_ns + tide_random_below(random, m->job_ms * TIDE_NS_PER_MS), k->io.out.jobs[i]};
    }
    k->io.out.job_count = 0;
    check_list(m, k, time->now_ns);
}

void sim_core_receive(struct sim_core *k, struct rte_mbuf *frame)
{
    if (k->io.rx_count == CORE_RX_MAX)
        rte_pktmbuf_free(frame);
    else
        k->io.rx[k->io.rx_count++] = frame;
}

/* ---- what is in a replica --------------------------------------------------------------------------------------- */

static void do_reads(struct sim_machine *m, struct log_read *r, struct tide_out *out)
{
    const struct tide_fs *fs = sim_fs_verbs(m->fs);
    while (out->op_count != 0) {
        struct disk_op op = out->ops[--out->op_count];
        struct disk_done done = {.id = op.id, .result = fs->pread(fs->self, op.file, op.buf, op.len, op.position)};
        if (DISK_ID_OWNER(op.id) == DISK_OWNER_AHEAD)
            log_core_on_disk(m->cores[0].log_core, &done, out);
        else
            log_read_on_disk(r, &done);
    }
}

/* One piece of the log, from memory or from the disk at once. */
static bool read_piece(struct sim_machine *m, struct partition *p, struct log_read *read)
{
    static struct tide_out out;
    struct log_core *core = m->cores[0].log_core;
    enum tide_status status;
    (void)log_core_turn(core, &core->time); /* time stands still */
    while ((status = log_read(partition_log(p), core, 0, read, &out)) == TIDE_AGAIN)
        do_reads(m, read, &out);
    do_reads(m, read, &out); /* what is ahead */
    return status == TIDE_OK && read->bytes.len != 0;
}

bool sim_machine_read(struct sim_machine *m, struct partition *p, int64_t begin, int64_t end, uint64_t *ret_digest,
                      void (*visit)(void *arg, const uint8_t *batch, uint32_t size), void *arg)
{
    static uint8_t batch[BATCH_ROOM];
    uint64_t digest = SIM_DIGEST_BEGIN;
    while (log_cache_evict(m->cores[0].log_core)) /* what the disk has, not what was read from it before */
        ;
    for (int64_t offset = begin; offset < end;) {
        struct log_read read = {.offset = offset, .end_offset = end, .max_bytes = 60000, .at_least_one = true};
        struct batch_header h;
        if (!read_piece(m, p, &read))
            return false;
        struct tide_slice all = tide_rope_slice(&read.bytes, 0, read.bytes.len);
        while (all.len != 0 && batch_header_read(all, &h) && batch_size(&h) <= sizeof(batch)) {
            struct tide_slice one = all;
            one.len = batch_size(&h);
            tide_slice_copy(one, batch);
            digest = sim_mix(digest, batch, one.len);
            if (visit != NULL)
                visit(arg, batch, one.len);
            offset = batch_last_offset(&h) + 1;
            all = tide_slice_after(all, batch_size(&h));
        }
        tide_rope_clear(&read.bytes);
    }
    *ret_digest = digest;
    return true;
}
