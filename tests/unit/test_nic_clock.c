/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port that stamps what it receives, as no software port does: net_ring gives back the frames that were sent with what stands in them,
 * and the two calls of ethdev below say of it what a card's driver would say.
 */
#include "unit.h"

#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

#define ALLOW_EXPERIMENTAL_API
#include <rte_ethdev.h>

#include "nic/nic.h"
#include "nic/nic_internal.h"
#include "tidemark/arrival.h"

enum { POOL = 1023, PATIENCE = 2000, FRAMES = 8 };

static struct rte_mempool *pool;
static struct tide_counters counters;
static char logged[8192];
static bool everybody_was_quiet;

static struct {
    bool stamps;
    int error; /* of a reading */
    uint64_t ahead;
} card;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TIDE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* It ticks five times in two nanoseconds. */
static uint64_t ticks_at(uint64_t ns)
{
    return (ns + card.ahead) / 2 * 5;
}

int rte_eth_read_clock(uint16_t port_id, uint64_t *clock)
{
    if (card.error == 0)
        *clock = ticks_at(now_ns());
    return card.error;
}

int rte_eth_dev_info_get(uint16_t port_id, struct rte_eth_dev_info *info)
{
    int (*real)(uint16_t, struct rte_eth_dev_info *);
    *(void **)&real = dlsym(RTLD_NEXT, "rte_eth_dev_info_get");
    int failed = real(port_id, info);
    if (card.stamps)
        info->rx_offload_capa |= RTE_ETH_RX_OFFLOAD_TIMESTAMP;
    return failed;
}

static void log_into(void *opaque, const char *line)
{
    size_t at = strlen(logged);
    snprintf(logged + at, sizeof(logged) - at, "%s\n", line);
}

static uint64_t grace_begin(void *self)
{
    return 1;
}

static bool grace_passed(void *self, uint64_t token)
{
    return everybody_was_quiet;
}

static const struct tide_grace grace = {NULL, grace_begin, grace_passed};

static struct nic *open_port(const char *device)
{
    const char *devices[] = {device};
    struct nic_config config = {.devices = devices, .device_count = 1, .queues = 1, .rx_descriptors = 64, .tx_descriptors = 64, .rx_mbufs = 2048,
                                .tx_mbufs = 2048, .counters = {&counters}, .log_line = log_into};
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    memset(&counters, 0, sizeof(counters));
    logged[0] = 0;
    everybody_was_quiet = true;
    assert_int_equal(nic_open(&nic, &config, error, sizeof(error)), TIDE_OK);
    return nic;
}

/* Looks again and again, as if readings were always due. Their times are the real ones: one that was interrupted is left out. */
static void look_until(struct nic *nic, enum port_clock_state state)
{
    for (int i = 0; i < PATIENCE && nic->ports[0].clock.state != state; i++) {
        nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
        usleep(20000);
    }
    assert_int_equal(nic->ports[0].clock.state, state);
}

/* Frames that say `ticks`, out and in again; how many of them still say something. */
static unsigned pass(struct nic *nic, uint64_t ticks, struct rte_mbuf **frames)
{
    unsigned stamped = 0;
    for (unsigned i = 0; i < FRAMES; i++) {
        frames[i] = rte_pktmbuf_alloc(pool);
        memset(rte_pktmbuf_append(frames[i], 100), 0, 100);
        frames[i]->port = 0;
        frames[i]->ol_flags |= tide_arrival_field.flag;
        *tide_arrival_stamp(frames[i]) = ticks;
    }
    assert_int_equal(nic_tx(nic, 0, frames, FRAMES), FRAMES);
    assert_int_equal(nic_rx(nic, 0, frames, FRAMES), FRAMES);
    for (unsigned i = 0; i < FRAMES; i++)
        stamped += tide_arrival_is_stamped(frames[i]);
    return stamped;
}

static void frames_arrive_when_the_card_says(void **state)
{
    struct rte_mbuf *frames[FRAMES];
    struct nic_watch_report r;
    card.stamps = true;
    card.error = 0;
    struct nic *nic = open_port("vdev:net_ring0");
    assert_non_null(strstr(logged, "arrival times port"));
    assert_true(nic->ports[0].plan.rx_stamped);
    assert_true(tide_arrival_field.offset >= 0);

    /* Not known yet: the turn that takes them. */
    assert_int_equal(pass(nic, ticks_at(now_ns()), frames), 0);
    assert_int_equal(counters.values[COUNTER_rx_stamps_unused], FRAMES);
    assert_true(tide_arrival_ns(frames[0], 4711) == 4711);
    rte_pktmbuf_free_bulk(frames, FRAMES);

    look_until(nic, PORT_CLOCK_KNOWN);
    assert_non_null(strstr(logged, "its clock is known (2"));
    uint64_t at = now_ns();
    assert_int_equal(pass(nic, ticks_at(at), frames), FRAMES);
    assert_int_equal(counters.values[COUNTER_rx_stamped], FRAMES);
    uint64_t told = tide_arrival_ns(frames[FRAMES - 1], at + TIDE_NS_PER_S);
    assert_true((told > at ? told - at : at - told) < PORT_CLOCK_JUMP_NS);
    assert_true(tide_arrival_ns(frames[0], told - 1) == told - 1); /* nothing arrives after the turn that takes it */
    rte_pktmbuf_free_bulk(frames, FRAMES);
    assert_int_equal(pass(nic, ticks_at(at + 20 * TIDE_NS_PER_S), frames), 0); /* the line does not reach as far */
    rte_pktmbuf_free_bulk(frames, FRAMES);
    nic_watch_report(nic, 0, &r);
    assert_true(r.stamps);
    assert_true(r.clock_known);
    assert_true(r.clock_hz > 2.4e9 && r.clock_hz < 2.6e9);
    nic_close(nic);
}

/* A model that a core may still look at is not written. */
static void a_model_is_written_when_nobody_looks_at_it(void **state)
{
    card.stamps = true;
    card.error = 0;
    struct nic *nic = open_port("vdev:net_ring1");
    struct nic_port *p = &nic->ports[0];
    look_until(nic, PORT_CLOCK_KNOWN);
    uint64_t which = tide_pub64_peek(&p->model_pub);
    struct port_clock_model before[2] = {p->models[0], p->models[1]};
    everybody_was_quiet = false;
    uint64_t renewed = p->clock.renewed;
    for (int i = 0; i < 20; i++)
        nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
    assert_int_equal(p->clock.renewed, renewed);
    assert_int_equal(tide_pub64_peek(&p->model_pub), which);
    assert_memory_equal(before, p->models, sizeof(before));
    everybody_was_quiet = true;
    for (int i = 0; i < PATIENCE && p->clock.renewed == renewed; i++) {
        usleep(1000);
        nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
    }
    assert_true(p->clock.renewed > renewed);
    assert_true(p->clock.state != PORT_CLOCK_KNOWN || tide_pub64_peek(&p->model_pub) != which);
    nic_close(nic);
}

static void expect_no_stamps(struct nic *nic)
{
    struct rte_mbuf *frames[FRAMES];
    assert_int_equal(tide_pub64_peek(&nic->ports[0].model_pub), 0);
    assert_int_equal(pass(nic, ticks_at(now_ns()), frames), 0);
    rte_pktmbuf_free_bulk(frames, FRAMES);
}

static void a_clock_that_jumps_is_not_believed(void **state)
{
    struct nic_watch_report r;
    card.stamps = true;
    card.error = 0;
    struct nic *nic = open_port("vdev:net_ring2");
    look_until(nic, PORT_CLOCK_KNOWN);
    card.ahead += 3600 * TIDE_NS_PER_S;
    look_until(nic, PORT_CLOCK_LEARNING);
    assert_non_null(strstr(logged, "its clock is not what was foreseen"));
    expect_no_stamps(nic);
    look_until(nic, PORT_CLOCK_KNOWN);
    nic_watch_report(nic, 0, &r);
    assert_true(r.clock_losses != 0);
    nic_close(nic);
}

static void a_clock_that_cannot_be_read_any_more(void **state)
{
    card.stamps = true;
    card.error = 0;
    struct nic *nic = open_port("vdev:net_ring3");
    look_until(nic, PORT_CLOCK_KNOWN);
    card.error = -EIO;
    nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
    nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
    assert_int_equal(nic->ports[0].clock.state, PORT_CLOCK_KNOWN); /* for a while */
    nic_watch(nic, now_ns() + 2 * PORT_CLOCK_STALE_NS, &grace);
    assert_int_equal(nic->ports[0].clock.state, PORT_CLOCK_LEARNING);
    expect_no_stamps(nic);
    nic_close(nic);
}

static void a_port_that_starts_anew_has_another_clock(void **state)
{
    card.stamps = true;
    card.error = 0;
    struct nic *nic = open_port("vdev:net_ring4");
    look_until(nic, PORT_CLOCK_KNOWN);
    nic_watch(nic, now_ns(), &grace);
    atomic_store(&nic->ports[0].wants_reset, true);
    nic_watch(nic, now_ns(), &grace); /* the cores are told */
    card.error = -EIO;                /* while it starts */
    nic_watch(nic, now_ns(), &grace);
    assert_int_equal(nic->watch.lives[0].state, PORT_IN);
    assert_int_equal(nic->watch.lives[0].restarts, 1);
    expect_no_stamps(nic);
    card.error = 0;
    look_until(nic, PORT_CLOCK_KNOWN);
    nic_close(nic);
}

/* Stamps without a clock to read, or a clock without stamps: the turn that takes the frames. */
static void half_of_it_is_nothing(void **state)
{
    struct nic_watch_report r;
    for (unsigned i = 0; i < 2; i++) {
        card.stamps = i == 0;
        card.error = i == 0 ? -ENOTSUP : 0;
        struct nic *nic = open_port(i == 0 ? "vdev:net_ring5" : "vdev:net_ring6");
        assert_non_null(strstr(logged, "arrival times software"));
        assert_false(nic->ports[0].plan.rx_stamped);
        for (unsigned k = 0; k < 5; k++)
            nic_watch(nic, now_ns() + PORT_CLOCK_RENEW_NS, &grace);
        nic_watch_report(nic, 0, &r);
        assert_false(r.stamps);
        assert_int_equal(nic->ports[0].clock.state, PORT_CLOCK_NONE);
        nic_close(nic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_when_the_card_says),
        cmocka_unit_test(a_model_is_written_when_nobody_looks_at_it),
        cmocka_unit_test(a_clock_that_jumps_is_not_believed),
        cmocka_unit_test(a_clock_that_cannot_be_read_any_more),
        cmocka_unit_test(a_port_that_starts_anew_has_another_clock),
        cmocka_unit_test(half_of_it_is_nothing),
    };
    unit_eal();
    pool = unit_pool("nic_clock", POOL, 2048);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
