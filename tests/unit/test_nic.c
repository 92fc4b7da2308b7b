/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_ip.h>

#include "nic/nic.h"
#include "nic/nic_claim.h"
#include "nic/nic_internal.h"
#include "nic/nic_socket.h"
#include "nic/pool.h"
#include "nic/port_caps.h"
#include "nic/soft.h"
#include "tidemark/bytes.h"
#include "tidemark/checksum.h"
#include "tidemark/ipv6.h"
#include "tidemark/random.h"
#include "tidemark/rss.h"

enum { POOL = 2047 };

static struct rte_mempool *pool;
static struct rte_mempool *payload_pool;

/* The vdevs and NICs of the table in floors 1.1, as their drivers describe themselves. */
static void plans_follow_the_capabilities(void **state)
{
    static const struct {
        struct port_caps caps;
        struct port_wish wish;
        enum tide_status status;
        uint16_t rx_queues, mtu;
        const char *done_by_port; /* letters: i, t of rx; I, T of tx; M segments; C cuts tcp; S stamps; R rss */
        enum pool_flavour flavour;
    } rows[] = {
        {{"net_af_xdp", 0, 0, 0, 3560, 3542, 68, 1, 1, 0, 0, 0, 0, false},
         {4, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "",
         POOL_UMEM},
        {{"net_af_xdp", 0, 0, 0, 3560, 3542, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 9000, 0, 0, false},
         TIDE_OK,
         1,
         3498,
         "",
         POOL_UMEM},
        {{"net_af_packet", 0x1, 0x8001, 0, 1518, 65535, 68, 2, 2, 0, 0, 0, 0, false},
         {2, 9000, 0, 0, false},
         TIDE_OK,
         2,
         1500,
         "M",
         POOL_DEFAULT},
        {{"net_af_packet", 0x1, 0x8001, 0, 9154, 9000, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 9000, 0, 0, false},
         TIDE_OK,
         1,
         9000,
         "M",
         POOL_DEFAULT},
        {{"net_tap", 0x200e, 0x802e, 0x3afbc, 65535, 65535, 68, 16, 16, 0, 0, 0, 0, false},
         {2, 1500, 0, 0, false},
         TIDE_OK,
         2,
         1500,
         "itIMR",
         POOL_DEFAULT},
        {{"net_memif", 0, 0x8000, 0, 65535, 65535, 68, 255, 255, 0, 0, 0, 0, false},
         {8, 1500, 0, 0, false},
         TIDE_OK,
         8,
         1500,
         "M",
         POOL_DEFAULT},
        {{"net_virtio_user", 0x201d, 0x800d, 0, 9728, 9698, 68, 1, 1, 0, 0, 0, 0, false},
         {2, 9000, 0, 0, false},
         TIDE_OK,
         1,
         9000,
         "tTM",
         POOL_DEFAULT},
        {{"net_virtio", 0x221d, 0x802d, 0, 9728, 9698, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "tTMC",
         POOL_DEFAULT},
        {{"net_cuts_only", 0, 0x20, 0, 9728, 9698, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "",
         POOL_DEFAULT},
        {{"net_e1000_em", 0x1220f, 0x800f, 0, 9234, 9216, 68, 2, 2, 0, 4096, 4096, 0, false},
         {4, 0, 0, 0, false},
         TIDE_OK,
         2,
         1500,
         "itITM",
         POOL_DEFAULT},
        {{"net_ice", 0x1220f, 0x802f, 0x38d34, 9728, 9710, 68, 16, 16, 128, 4096, 4096, 8, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "itITMC",
         POOL_DEFAULT},
        {{"net_narrow", 0x1220f, 0x802f, 0x38d34, 9728, 9710, 68, 16, 16, 128, 4096, 4096, 7, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "itITM",
         POOL_DEFAULT},
        {{"net_e1000_igb", 0x1220f, 0x802f, 0x38d34, 16383, 16365, 68, 16, 16, 128, 4096, 4096, 40, false},
         {2, 0, 0, 0, false},
         TIDE_OK,
         2,
         1500,
         "itITMCR",
         POOL_DEFAULT},
        {{"net_e1000_igb", 0x1220f, 0x802f, 0x38d34, 16383, 16365, 68, 16, 16, 128, 4096, 4096, 40, false},
         {2, 0, 0, 0, true},
         TIDE_OK,
         2,
         1500,
         "R",
         POOL_DEFAULT},
        {{"net_pcap", 0, 0, 0, 65535, 65535, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "",
         POOL_DEFAULT},
        {{"net_stamps", 0x4000, 0x8000, 0, 9728, 9710, 68, 1, 1, 0, 0, 0, 0, true},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "MS",
         POOL_DEFAULT},
        {{"net_stamps", 0x4000, 0x8000, 0, 9728, 9710, 68, 1, 1, 0, 0, 0, 0, true},
         {1, 1500, 0, 0, true},
         TIDE_OK,
         1,
         1500,
         "",
         POOL_DEFAULT},
        {{"net_stamps_only", 0x4000, 0x8000, 0, 9728, 9710, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_OK,
         1,
         1500,
         "M",
         POOL_DEFAULT},
        {{"net_none", 0, 0, 0, 1518, 1500, 68, 0, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_REFUSED,
         0,
         0,
         "",
         POOL_DEFAULT},
        {{"net_short", 0, 0, 0, 500, 482, 68, 1, 1, 0, 0, 0, 0, false},
         {1, 1500, 0, 0, false},
         TIDE_REFUSED,
         0,
         0,
         "",
         POOL_DEFAULT},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct port_plan p;
        char text[PORT_TEXT];
        print_message("  %s\n", rows[i].caps.driver);
        assert_int_equal(port_plan_make(&rows[i].caps, &rows[i].wish, &p), rows[i].status);
        if (rows[i].status != TIDE_OK)
            continue;
        assert_int_equal(p.rx_queues, rows[i].rx_queues);
        assert_int_equal(p.mtu, rows[i].mtu);
        assert_int_equal(p.flavour, rows[i].flavour);
        assert_int_equal(p.rx_ip_checked, strchr(rows[i].done_by_port, 'i') != NULL);
        assert_int_equal(p.rx_tcp_checked, strchr(rows[i].done_by_port, 't') != NULL);
        assert_int_equal(p.tx_ip_summed, strchr(rows[i].done_by_port, 'I') != NULL);
        assert_int_equal(p.tx_tcp_summed, strchr(rows[i].done_by_port, 'T') != NULL);
        assert_int_equal(p.one_segment, strchr(rows[i].done_by_port, 'M') == NULL);
        assert_int_equal(p.tx_segments_tcp, strchr(rows[i].done_by_port, 'C') != NULL);
        assert_int_equal((p.tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0, p.tx_segments_tcp);
        assert_int_equal(p.rx_stamped, strchr(rows[i].done_by_port, 'S') != NULL);
        assert_int_equal(p.rss_types != 0, strchr(rows[i].done_by_port, 'R') != NULL);
        assert_true(p.data_room >= p.mtu + 18);
        assert_true(p.rx_descriptors >= 1 && p.tx_descriptors >= 1);
        if (strcmp(rows[i].caps.driver, "net_af_packet") == 0) /* its frame in the ring without the kernel's header */
            assert_true(p.data_room >= rows[i].caps.max_rx_pktlen - 4 + 66 - 32);
        if (p.flavour == POOL_UMEM) /* header of the object, mbuf, headroom, room: one page */
            assert_true(64 + 128 + 128 + p.data_room <= 4096);
        size_t len = port_plan_text(&rows[i].caps, &rows[i].wish, &p, text, sizeof(text));
        assert_int_equal(len, strlen(text));
        assert_non_null(strstr(text, rows[i].caps.driver));
        assert_int_equal(port_plan_text(&rows[i].caps, &rows[i].wish, &p, text, 10), 9);
    }
}

static void device_strings(void **state)
{
    static const struct {
        const char *text;
        enum tide_status status;
        enum port_kind kind;
        const char *name, *arguments, *interface;
    } rows[] = {
        {"vdev:net_af_xdp0,iface=veth0", TIDE_OK, PORT_VDEV, "net_af_xdp0", "iface=veth0", "veth0"},
        {"vdev:net_af_packet1,qpairs=2,iface=e,framesz=2048", TIDE_OK, PORT_VDEV, "net_af_packet1",
         "qpairs=2,iface=e,framesz=2048", "e"},
        {"vdev:net_ring0", TIDE_OK, PORT_VDEV, "net_ring0", "", ""},
        {"vdev:virtio_user0,path=/tmp/x", TIDE_OK, PORT_VDEV, "virtio_user0", "path=/tmp/x", ""},
        {"0000:03:00.0", TIDE_OK, PORT_PCI, "0000:03:00.0", "", ""},
        {"03:00.1,a=1", TIDE_OK, PORT_PCI, "0000:03:00.1", "a=1", ""},
        {"eth0", TIDE_BAD, PORT_PCI, "", "", ""},
        {"", TIDE_BAD, PORT_PCI, "", "", ""},
        {"vdev:", TIDE_BAD, PORT_PCI, "", "", ""},
        {"vdev:,iface=x", TIDE_BAD, PORT_PCI, "", "", ""},
        {"vdev:crypto_null", TIDE_BAD, PORT_PCI, "", "", ""},
        {"net_af_xdp0,iface=veth0", TIDE_BAD, PORT_PCI, "", "", ""},
        {"0000:03:00", TIDE_BAD, PORT_PCI, "", "", ""},
        {"0000:03:00.0x", TIDE_BAD, PORT_PCI, "", "", ""},
        {"vdev:net_af_xdp0123456789012345678901234567890123456789012345678901234567890", TIDE_BAD,
         PORT_PCI, "", "", ""},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct port_device d;
        char error[NIC_ERROR_TEXT] = "";
        print_message("  %s\n", rows[i].text);
        assert_int_equal(port_device_parse(rows[i].text, &d, error, sizeof(error)), rows[i].status);
        if (rows[i].status != TIDE_OK) {
            assert_non_null(strstr(error, "expected"));
            continue;
        }
        assert_int_equal(d.kind, rows[i].kind);
        assert_string_equal(d.name, rows[i].name);
        assert_string_equal(d.arguments, rows[i].arguments);
        assert_string_equal(d.interface, rows[i].interface);
    }
}

static void drivers_get_the_arguments_they_need(void **state)
{
    static const struct {
        const char *text, *object, *arguments;
        uint16_t mtu;
        uint32_t longest; /* frame with its checksum; the driver says 1,518 */
    } rows[] = {
        {"vdev:net_af_xdp0,iface=v", "/x.o", "iface=v,busy_budget=0,xdp_prog=/x.o", 0, 1518},
        {"vdev:net_af_xdp0,iface=v", NULL, "iface=v,busy_budget=0", 0, 1518},
        {"vdev:net_af_xdp0,busy_budget=64,iface=v,xdp_prog=/mine.o", "/x.o",
         "busy_budget=64,iface=v,xdp_prog=/mine.o", 0, 1518},
        {"vdev:net_af_packet0,iface=v", "/x.o",
         "iface=v,blocksz=4194304,framesz=2048,framecnt=8192,qdisc_bypass=1", 0, 1986},
        {"vdev:net_af_packet0,iface=v", "/x.o",
         "iface=v,blocksz=4194304,framesz=2048,framecnt=8192,qdisc_bypass=1", 1968, 1986},
        {"vdev:net_af_packet0,iface=v", "/x.o",
         "iface=v,blocksz=4190208,framesz=3072,framecnt=5456,qdisc_bypass=1", 1969, 3010},
        {"vdev:net_af_packet0,iface=v", "/x.o",
         "iface=v,blocksz=4165632,framesz=9216,framecnt=1808,qdisc_bypass=1", 9000, 9154},
        {"vdev:net_af_packet0,iface=v,framesz=4096", "/x.o",
         "iface=v,framesz=4096,blocksz=4194304,framecnt=8192,qdisc_bypass=1", 9000, 4034},
        {"vdev:net_ring0", "/x.o", "", 9000, 1518},
        {"0000:03:00.0", "/x.o", "", 9000, 1518},
    };
    struct port_device d;
    char error[NIC_ERROR_TEXT];
    char text[PORT_ARGUMENTS + 32];
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        assert_int_equal(port_device_parse(rows[i].text, &d, error, sizeof(error)), TIDE_OK);
        assert_int_equal(port_device_complete(&d, rows[i].object, rows[i].mtu), TIDE_OK);
        assert_string_equal(d.arguments, rows[i].arguments);
        assert_int_equal(port_device_rx_pktlen(&d, 1518), rows[i].longest);
    }
    int n = snprintf(text, sizeof(text), "vdev:net_af_xdp0,iface=");
    memset(text + n, 'x', 40);
    snprintf(text + n + 40, sizeof(text) - (size_t)n - 40, ",a=");
    memset(text + strlen(text), 'y', 320);
    text[n + 40 + 3 + 320] = 0;
    assert_int_equal(port_device_parse(text, &d, error, sizeof(error)), TIDE_OK);
    assert_int_equal(port_device_complete(&d, "/a/long/path/to/some/object/file.o", 0), TIDE_FULL);
}

static void joined(const struct nic_eal_args *a, char *ret, size_t size)
{
    size_t at = 0;
    ret[0] = 0;
    for (int i = 1; i < a->count; i++)
        at += (size_t)snprintf(ret + at, size - at, "%s%s", i > 1 ? " " : "", a->values[i]);
    assert_null(a->values[a->count]);
}

static void eal_arguments(void **state)
{
    static const char *const vdev[] = {"vdev:net_af_xdp0,iface=v"};
    static const char *const pci[] = {"0000:03:00.0", "vdev:net_ring0", "0000:03:00.1,x=1"};
    static const struct {
        struct nic_eal_config config;
        unsigned free_mb;
        const char *text;
    } rows[] = {
        {{"t1", "0@1", NIC_MEMORY_PAGES, 64, vdev, 1, NULL, false, false},
         1000,
         "--file-prefix t1 --log-level=error --no-telemetry --lcores 0@1 --no-pci --no-huge "
         "--no-shconf --iova-mode=va -m 64"},
        {{"t1", NULL, NIC_MEMORY_AUTO, 64, vdev, 1, NULL, true, true},
         64,
         "--file-prefix t1 --no-pci --in-memory --single-file-segments --iova-mode=va -m 64"},
        {{"t1", NULL, NIC_MEMORY_AUTO, 64, vdev, 1, NULL, true, true},
         63,
         "--file-prefix t1 --no-pci --no-huge --no-shconf --iova-mode=va -m 64"},
        {{"t1", NULL, NIC_MEMORY_HUGEPAGES, 64, pci, 3, "  --a=b\t-c  d ", true, true},
         0,
         "--file-prefix t1 -a 0000:03:00.0 -a 0000:03:00.1,x=1 --in-memory "
         "--single-file-segments -m 64 --a=b -c d"},
    };
    struct nic_eal_args args;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        char text[NIC_EAL_ARGS_TEXT];
        assert_int_equal(nic_eal_args(&rows[i].config, rows[i].free_mb, &args), TIDE_OK);
        joined(&args, text, sizeof(text));
        assert_string_equal(text, rows[i].text);
    }
    char many[400];
    for (unsigned i = 0; i < sizeof(many) - 1; i++)
        many[i] = i % 2 ? ' ' : 'x';
    many[sizeof(many) - 1] = 0;
    struct nic_eal_config c = {.file_prefix = "t1", .extra_args = many};
    assert_int_equal(nic_eal_args(&c, 0, &args), TIDE_FULL);
    char *longer = malloc(NIC_EAL_ARGS_TEXT + 1);
    memset(longer, 'x', NIC_EAL_ARGS_TEXT);
    longer[NIC_EAL_ARGS_TEXT] = 0;
    c.extra_args = longer;
    assert_int_equal(nic_eal_args(&c, 0, &args), TIDE_FULL);
    free(longer);
}

/* A TCP frame with offload flags as the network layer leaves it, cut into pieces of `piece` bytes
 * behind its 54 bytes of headers; piece 0: all in one. */
static struct rte_mbuf *tx_frame(uint16_t payload, uint16_t piece, uint64_t seed)
{
    struct tide_random r = {seed};
    uint8_t bytes[2048];
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, 54);
    if (at == NULL)
        abort();
    memset(at, 0, 54);
    memset(at, 2, 12);
    store_be16(at + 12, 0x0800);
    at[14] = 0x45;
    store_be16(at + 16, (uint16_t)(40 + payload));
    at[22] = 64;
    at[23] = 6;
    store_be32(at + 26, (uint32_t)tide_random_u64(&r));
    store_be32(at + 30, (uint32_t)tide_random_u64(&r));
    at[46] = 5 << 4;
    uint16_t pseudo = rte_ipv4_phdr_cksum((const struct rte_ipv4_hdr *)(at + 14), 0);
    memcpy(at + 50, &pseudo, 2);
    for (unsigned i = 0; i < payload; i++)
        bytes[i] = seed % 3 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
    for (uint16_t done = 0; done < payload;) {
        uint16_t n = piece == 0 ? payload : (uint16_t)TIDE_MIN(piece, payload - done);
        if (piece == 0)
            memcpy(rte_pktmbuf_append(m, n), bytes, n);
        else
            rte_pktmbuf_chain(m, unit_exact_mbuf(payload_pool, bytes + done, n));
        done = (uint16_t)(done + n);
    }
    m->l2_len = 14;
    m->l3_len = 20;
    m->l4_len = 20;
    m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;
    return m;
}

static void pools_are_whole(void)
{
    assert_int_equal(rte_mempool_avail_count(pool), POOL);
    assert_int_equal(rte_mempool_avail_count(payload_pool), POOL);
}

/* DPDK's own arithmetic over the frame in one piece is the judge. */
static void sums_in_software_are_right(void **state)
{
    static const uint16_t pieces[] = {0, 1, 3, 7, 64, 333};
    for (unsigned p = 0; p < TIDE_ARRAY_LEN(pieces); p++) {
        for (uint16_t payload = 0; payload < 1460; payload = (uint16_t)(payload + 97)) {
            struct rte_mbuf *m = tx_frame(payload, pieces[p], payload + 1u);
            struct rte_mbuf *one;
            soft_tx_sums(m, true, true);
            assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
            assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
            assert_int_equal(soft_linearise(m, pool, &one), TIDE_OK);
            uint8_t *at = rte_pktmbuf_mtod(one, uint8_t *);
            struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(at + 14);
            uint16_t ip_sum = ip->hdr_checksum;
            uint16_t tcp_sum;
            memcpy(&tcp_sum, at + 50, 2);
            ip->hdr_checksum = 0;
            assert_int_equal(ip_sum, rte_ipv4_cksum(ip));
            ip->hdr_checksum = ip_sum;
            memset(at + 50, 0, 2);
            assert_int_equal(tcp_sum, rte_ipv4_udptcp_cksum(ip, at + 34));
            rte_pktmbuf_free(one);
        }
    }
    pools_are_whole();
}

static void sums_the_port_does_are_left_to_it(void **state)
{
    struct rte_mbuf *m = tx_frame(100, 0, 1);
    uint64_t flags = m->ol_flags;
    soft_tx_sums(m, false, false);
    assert_int_equal(m->ol_flags, flags);
    soft_tx_sums(m, true, false);
    assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK,
                     RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM);
    assert_int_equal(soft_rx_check(m, false, false), SOFT_PARTIAL);
    soft_tx_sums(m, false, true);
    assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
    rte_pktmbuf_free(m);
    pools_are_whole();
}

/* Rows change one byte of a right frame of 54 + 100 bytes, then set the port's flags. */
static void received_sums_are_judged(void **state)
{
    enum { PORT_KNOWS = 1 };
    const uint64_t ip_good = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    const uint64_t ip_bad = RTE_MBUF_F_RX_IP_CKSUM_BAD;
    const uint64_t tcp_good = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    const uint64_t tcp_bad = RTE_MBUF_F_RX_L4_CKSUM_BAD;
    const uint64_t tcp_none = RTE_MBUF_F_RX_L4_CKSUM_NONE;
    const struct {
        const char *what;
        uint8_t at, flip;
        bool partial, port_knows;
        uint64_t flags;
        uint16_t cut;
        enum soft_verdict verdict;
    } rows[] = {
        {"right", 0, 0, false, false, 0, 0, SOFT_PASS},
        {"payload changed", 100, 1, false, false, 0, 0, SOFT_BAD},
        {"last byte changed", 153, 128, false, false, 0, 0, SOFT_BAD},
        {"source changed", 27, 1, false, false, 0, 0, SOFT_BAD},
        {"ttl changed", 22, 1, false, false, 0, 0, SOFT_BAD},
        {"mac changed", 3, 1, false, false, 0, 0, SOFT_PASS},
        {"partial", 0, 0, true, false, 0, 0, SOFT_PARTIAL},
        {"port says good, it is not", 100, 1, false, true, ip_good | tcp_good, 0, SOFT_PASS},
        {"port says bad ip", 0, 0, false, true, ip_bad | tcp_good, 0, SOFT_BAD},
        {"port says bad tcp, it is right", 0, 0, false, true, ip_good | tcp_bad, 0, SOFT_PASS},
        {"port says bad tcp, it is", 100, 1, false, true, ip_good | tcp_bad, 0, SOFT_BAD},
        {"port says bad tcp, partial", 0, 0, true, true, ip_good | tcp_bad, 0, SOFT_PARTIAL},
        {"port vouches for a partial one", 0, 0, true, true, ip_good | tcp_none, 0, SOFT_PASS},
        {"port knows ip only", 100, 1, false, true, ip_good, 0, SOFT_BAD},
        {"port without sums says good", 100, 1, false, false, ip_good | tcp_good, 0, SOFT_BAD},
        {"not IPv4", 12, 0x80, false, false, 0, 0, SOFT_PASS},
        {"version 0: not ours to judge", 14, 0x40, false, false, 0, 0, SOFT_PASS},
        {"cut short: the parser's", 100, 1, false, false, 0, 1, SOFT_PASS},
        {"cut in the IP header", 22, 1, false, false, 0, 121, SOFT_PASS},
        {"cut in Ethernet", 0, 0, false, false, 0, 141, SOFT_PASS},
        {"empty", 0, 0, false, false, 0, 154, SOFT_PASS},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct rte_mbuf *m = tx_frame(100, 0, 5);
        uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);
        print_message("  %s\n", rows[i].what);
        soft_tx_sums(m, true, !rows[i].partial);
        at[rows[i].at] ^= rows[i].flip;
        struct rte_mbuf *exact = unit_exact_mbuf(pool, at, (uint16_t)(154 - rows[i].cut));
        exact->ol_flags |= rows[i].flags;
        assert_int_equal(soft_rx_check(exact, rows[i].port_knows, rows[i].port_knows),
                         rows[i].verdict);
        rte_pktmbuf_free(m);
        rte_pktmbuf_free(exact);
    }
    pools_are_whole();
}

/* The header says 60 bytes and the frame has them, but the first segment has only 20. */
static void an_ip_header_in_two_segments_is_left_to_the_parser(void **state)
{
    struct rte_mbuf *m = tx_frame(100, 0, 5);
    uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);
    at[14] = 0x4f;
    struct rte_mbuf *chain = unit_exact_mbuf(pool, at, 34);
    rte_pktmbuf_chain(chain, unit_exact_mbuf(pool, at + 34, 120));
    assert_int_equal(soft_rx_check(chain, false, false), SOFT_PASS);
    rte_pktmbuf_free(m);
    rte_pktmbuf_free(chain);
    pools_are_whole();
}

/* Linux writes 0xffff where the arithmetic yields 0: both are right. */
static void both_zeros_are_right(void **state)
{
    struct rte_mbuf *m = tx_frame(2, 0, 9);
    uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);
    memset(at + 54, 0, 2);
    uint16_t rest = tide_sum_fold(tide_sum_add(0, at + 34, 22)); /* with the pseudo sum */
    rest = (uint16_t)~rest;
    memcpy(at + 54, &rest, 2); /* so that the checksum becomes 0 */
    soft_tx_sums(m, true, true);
    assert_int_equal(load_be16(at + 50), 0);
    assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
    store_be16(at + 50, 0xffff);
    assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
    rte_pktmbuf_free(m);
}

/* A TCP frame of IPv6 with `options` bytes of a destination options header, its payload in pieces, sums left to the port. */
static struct rte_mbuf *tx_frame6(uint16_t payload, uint16_t piece, uint8_t options, uint64_t seed)
{
    struct tide_random r = {seed};
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    uint8_t bytes[2048];
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(74 + options));
    memset(at, 0, 74u + options);
    at[12] = 0x86;
    at[13] = 0xdd;
    at[14] = 0x60;
    store_be16(at + 18, (uint16_t)(20 + options + payload));
    at[20] = options != 0 ? 60 : 6;
    at[21] = 64;
    for (unsigned i = 22; i < 54; i++)
        at[i] = seed % 3 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
    if (options != 0) {
        at[54] = 6;
        at[55] = (uint8_t)(options / 8 - 1);
    }
    uint8_t *tcp = at + 54 + options;
    tcp[12] = 5 << 4;
    uint16_t pseudo = tide_sum_fold(tide_ipv6_pseudo_sum(at + 22, 6, 20u + payload));
    memcpy(tcp + 16, &pseudo, 2);
    for (unsigned i = 0; i < payload; i++)
        bytes[i] = seed % 3 == 0 ? 0xff : (uint8_t)tide_random_u64(&r);
    for (uint16_t done = 0; done < payload;) {
        uint16_t n = piece == 0 ? payload : (uint16_t)TIDE_MIN(piece, payload - done);
        if (piece == 0)
            memcpy(rte_pktmbuf_append(m, n), bytes, n);
        else
            rte_pktmbuf_chain(m, unit_exact_mbuf(payload_pool, bytes + done, n));
        done = (uint16_t)(done + n);
    }
    m->l2_len = 14;
    m->l3_len = 40u + options;
    m->l4_len = 20;
    m->ol_flags |= RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM;
    return m;
}

static void sums_of_ipv6_in_software_are_right(void **state)
{
    static const uint16_t pieces[] = {0, 1, 3, 7, 64, 333};
    for (unsigned p = 0; p < TIDE_ARRAY_LEN(pieces); p++) {
        for (uint16_t payload = 0; payload < 1440; payload = (uint16_t)(payload + 97)) {
            struct rte_mbuf *m = tx_frame6(payload, pieces[p], 0, payload + 1u);
            struct rte_mbuf *one;
            assert_int_equal(soft_rx_check(m, false, false), SOFT_PARTIAL);
            soft_tx_sums(m, true, true);
            assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0);
            assert_int_equal(soft_rx_check(m, false, false), SOFT_PASS);
            assert_int_equal(soft_linearise(m, pool, &one), TIDE_OK);
            uint8_t *at = rte_pktmbuf_mtod(one, uint8_t *);
            uint16_t tcp_sum;
            memcpy(&tcp_sum, at + 70, 2);
            memset(at + 70, 0, 2);
            assert_int_equal(tcp_sum, rte_ipv6_udptcp_cksum((const struct rte_ipv6_hdr *)(at + 14), at + 54));
            rte_pktmbuf_free(one);
        }
    }
    struct rte_mbuf *m = tx_frame6(100, 0, 0, 1);
    soft_tx_sums(m, true, false);
    assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM);
    rte_pktmbuf_free(m);
    pools_are_whole();
}

/* Rows change one byte of a right frame of 74 + 100 bytes or, with options, of 90 + 100, and cut it. */
static void received_sums_of_ipv6_are_judged(void **state)
{
    const uint64_t ip_good = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    const uint64_t tcp_good = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    const uint64_t tcp_bad = RTE_MBUF_F_RX_L4_CKSUM_BAD;
    const struct {
        const char *what;
        uint8_t options, at, flip;
        bool port_knows;
        uint64_t flags;
        uint16_t cut;
        enum soft_verdict verdict;
    } rows[] = {
        {"right", 0, 0, 0, false, 0, 0, SOFT_PASS},
        {"payload changed", 0, 100, 1, false, 0, 0, SOFT_BAD},
        {"last byte changed", 0, 173, 128, false, 0, 0, SOFT_BAD},
        {"source changed", 0, 23, 1, false, 0, 0, SOFT_BAD},
        {"destination changed", 0, 53, 1, false, 0, 0, SOFT_BAD},
        {"hop limit changed", 0, 21, 1, false, 0, 0, SOFT_PASS},
        {"right behind options", 16, 0, 0, false, 0, 0, SOFT_PASS},
        {"changed behind options", 16, 120, 1, false, 0, 0, SOFT_BAD},
        {"options changed", 16, 60, 1, false, 0, 0, SOFT_PASS},
        {"port says good, it is not", 0, 100, 1, true, ip_good | tcp_good, 0, SOFT_PASS},
        {"port knows nothing of IPv6", 0, 100, 1, true, 0, 0, SOFT_BAD},
        {"port says bad, it is right", 0, 0, 0, true, tcp_bad, 0, SOFT_PASS},
        {"port says bad, it is", 0, 100, 1, true, tcp_bad, 0, SOFT_BAD},
        {"version 4: not ours to judge", 0, 14, 0x20, false, 0, 0, SOFT_PASS},
        {"UDP", 0, 20, 6 ^ 17, false, 0, 0, SOFT_PASS},
        {"a fragment", 0, 20, 6 ^ 44, false, 0, 0, SOFT_PASS},
        {"cut short: the parser's", 0, 100, 1, false, 0, 1, SOFT_PASS},
        {"cut in the options", 16, 100, 1, false, 0, 130, SOFT_PASS},
        {"cut in the IP header", 0, 22, 1, false, 0, 121, SOFT_PASS},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct rte_mbuf *m = tx_frame6(100, 0, rows[i].options, 5);
        uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *);
        print_message("  %s\n", rows[i].what);
        soft_tx_sums(m, true, true);
        at[rows[i].at] ^= rows[i].flip;
        struct rte_mbuf *exact = unit_exact_mbuf(pool, at, (uint16_t)(174 + rows[i].options - rows[i].cut));
        exact->ol_flags |= rows[i].flags;
        assert_int_equal(soft_rx_check(exact, rows[i].port_knows, rows[i].port_knows), rows[i].verdict);
        rte_pktmbuf_free(m);
        rte_pktmbuf_free(exact);
    }
    pools_are_whole();
}

static void a_chain_becomes_one_mbuf(void **state)
{
    struct rte_mbuf *m = tx_frame(1400, 100, 2);
    struct rte_mbuf *one;
    m->port = 4;
    assert_true(soft_is_scattered(m));
    assert_int_equal(soft_linearise(m, pool, &one), TIDE_OK);
    assert_false(soft_is_scattered(one));
    assert_int_equal(one->pkt_len, 1454);
    assert_int_equal(one->data_len, 1454);
    assert_int_equal(one->port, 4);
    assert_int_equal(one->l2_len, 14);
    assert_int_equal(one->l3_len, 20);
    assert_true((one->ol_flags & RTE_MBUF_F_TX_TCP_CKSUM) != 0);
    rte_pktmbuf_free(one);
    pools_are_whole();
}

static void what_cannot_be_joined_is_untouched(void **state)
{
    struct rte_mempool *small = unit_pool("nic_small", 3, 512);
    struct rte_mbuf *m = tx_frame(600, 100, 2);
    struct rte_mbuf *one;
    struct rte_mbuf *all[3];
    assert_int_equal(soft_linearise(m, small, &one), TIDE_BAD);
    rte_pktmbuf_free(m);
    m = tx_frame(200, 100, 2);
    assert_int_equal(rte_pktmbuf_alloc_bulk(small, all, 3), 0);
    assert_int_equal(soft_linearise(m, small, &one), TIDE_FULL);
    assert_int_equal(m->nb_segs, 3);
    rte_pktmbuf_free(m);
    rte_pktmbuf_free_bulk(all, 3);
    rte_mempool_free(small);
    pools_are_whole();
}

/* With ordinary pages half of a default pool lies outside of what af_xdp registers. */
static void the_array_flavour_is_an_array(void **state)
{
    for (unsigned room = 2048; room <= 3776; room += 1728) {
        struct pool_config c = {
            .name = "nic_array", .count = 4096, .data_room = (uint16_t)room, .flavour = POOL_UMEM};
        struct rte_mempool *array = pool_create(&c);
        assert_non_null(array);
        assert_true(pool_is_array(array));
        assert_true(array->header_size + array->elt_size + array->trailer_size <= 4096);
        struct rte_mbuf *m = rte_pktmbuf_alloc(array);
        assert_int_equal(rte_pktmbuf_tailroom(m), room);
        rte_pktmbuf_free(m);
        rte_mempool_free(array);
    }
    struct pool_config c = {.name = "nic_default", .count = 4096, .data_room = 2048};
    struct rte_mempool *plain = pool_create(&c);
    assert_non_null(plain);
    assert_false(pool_is_array(plain));
    rte_mempool_free(plain);
}

static void new_sockets_are_found(void **state)
{
    struct nic_sockets before;
    struct nic_sockets now;
    int a = socket(AF_UNIX, SOCK_DGRAM, 0);
    nic_sockets_list(AF_UNIX, &before);
    int b = socket(AF_UNIX, SOCK_DGRAM, 0);
    int other = socket(AF_INET, SOCK_DGRAM, 0);
    int c = socket(AF_UNIX, SOCK_DGRAM, 0);
    nic_sockets_list(AF_UNIX, &now);
    assert_int_equal(nic_sockets_new(&before, &now, 0), b);
    assert_int_equal(nic_sockets_new(&before, &now, 1), c);
    assert_int_equal(nic_sockets_new(&before, &now, 2), -1);
    close(a);
    close(b);
    close(c);
    close(other);
}

static void an_interface_has_one_owner(void **state)
{
    char error[NIC_ERROR_TEXT];
    int first;
    int second = -1;
    assert_int_equal(nic_claim("unit_claim0", &first, error, sizeof(error)), TIDE_OK);
    assert_int_equal(nic_claim("unit_claim0", &second, error, sizeof(error)), TIDE_EXISTS);
    assert_string_equal(error, "interface unit_claim0: another broker uses it");
    assert_int_equal(second, -1);
    assert_int_equal(nic_claim("unit_claim1", &second, error, sizeof(error)), TIDE_OK);
    close(first);
    assert_int_equal(nic_claim("unit_claim0", &first, error, sizeof(error)), TIDE_OK);
    close(first);
    close(second);
    assert_int_equal(nic_claim_clear_xdp("lo", error, sizeof(error)), TIDE_OK);
    assert_int_equal(nic_claim_clear_xdp("nosuchif0", error, sizeof(error)), TIDE_OK);
}

static struct tide_counters counters[2];
static char logged[1024];

static void log_into(void *opaque, const char *line)
{
    snprintf(opaque, sizeof(logged), "%s", line);
}

static struct nic_config ring_config(const char *const *devices, unsigned count)
{
    memset(counters, 0, sizeof(counters));
    return (struct nic_config){.devices = devices,
                               .device_count = count,
                               .queues = 1,
                               .rx_descriptors = 64,
                               .tx_descriptors = 64,
                               .rx_mbufs = 2048,
                               .tx_mbufs = 2048,
                               .counters = {&counters[0], &counters[1]},
                               .log_line = log_into,
                               .log_opaque = logged};
}

/* net_ring gives back what is sent and has no offloads. It takes chains; the plan is changed to
 * that of a port that does not. */
static void a_port_takes_chains_and_gives_back_frames(void **state)
{
    static const char *const devices[] = {"vdev:net_ring1"};
    struct nic_config c = ring_config(devices, 1);
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *frames[TIDE_BURST];
    struct nic_pools_report before;
    struct nic_pools_report after;
    enum tide_status s = nic_open(&nic, &c, error, sizeof(error));
    if (s != TIDE_OK)
        print_message("%s\n", error);
    assert_int_equal(s, TIDE_OK);
    assert_non_null(strstr(logged, "port 0 net_ring1: driver net_ring"));
    assert_non_null(strstr(logged, "tcp software"));
    assert_int_equal(nic_port_count(nic), 1);
    assert_int_equal(nic_mtu(nic), 1500);
    assert_true(nic_link_up(nic, 0));
    assert_int_equal(nic_wait_fd(nic, 0, 0), -1);
    assert_false(nic->ports[0].plan.one_segment);
    nic->ports[0].plan.one_segment = true;
    nic_pools_report(nic, &before);
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 8; i++)
            frames[i] = tx_frame((uint16_t)(100 + i * 150), i % 2 ? 77 : 0, round + i);
        assert_int_equal(nic_tx(nic, 0, frames, 8), 8);
        nic_check(nic, 0);
        assert_int_equal(nic_tx_waiting(nic, 0), 0);
        assert_int_equal(nic_rx(nic, 0, frames, TIDE_BURST), 8);
        for (unsigned i = 0; i < 8; i++) {
            assert_false(soft_is_scattered(frames[i]));
            assert_int_equal(frames[i]->port, 0);
            rte_pktmbuf_free(frames[i]);
        }
    }
    nic_pools_report(nic, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(counters[0].values[COUNTER_tx_frames], 4000);
    assert_int_equal(counters[0].values[COUNTER_rx_frames], 4000);
    assert_int_equal(counters[0].values[COUNTER_tx_linearised], 2000);
    assert_int_equal(counters[0].values[COUNTER_tx_bytes], counters[0].values[COUNTER_rx_bytes]);
    nic_close(nic);
    pools_are_whole();
}

/* What the card does with a hash is what the cores compute. */
static void tables_of_every_length_say_the_same(void **state)
{
    static const uint16_t sizes[] = {1, 16, 64, 128, 256, 512, 2048};
    for (unsigned s = 0; s < TIDE_ARRAY_LEN(sizes); s++)
        for (unsigned cores = 1; cores <= TIDE_CORES_MAX; cores++)
            for (uint16_t queues = 1; queues <= cores; queues++) {
                bool agrees = true;
                for (uint32_t hash = 0; hash < 4096; hash++) {
                    uint16_t queue = port_reta_queue((uint16_t)(hash % sizes[s]), cores, queues);
                    assert_true(queue < queues);
                    agrees &= queue == tide_rss_core(hash, cores);
                }
                assert_int_equal(port_reta_agrees(sizes[s], cores, queues), agrees);
            }
    assert_false(port_reta_agrees(0, 2, 2));
    assert_false(port_reta_agrees(192, 2, 2));
}

/* net_null keeps a key and a table, and says what they are. */
static void a_port_with_rss_is_given_key_and_table(void **state)
{
    static const char *const devices[] = {"vdev:net_null0"};
    struct nic_config c = ring_config(devices, 1);
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct nic_port_info info;
    struct rte_eth_rss_reta_entry64 table[2] = {{.mask = UINT64_MAX}, {.mask = UINT64_MAX}};
    char text[160];
    c.queues = 2;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    assert_non_null(strstr(logged, "flows arrive at their cores, by its hash and a table of 128 entries"));
    nic_port_info(nic, 0, &info);
    assert_true(info.rss);
    assert_int_equal(info.rx_queues, 2);
    assert_int_equal(rte_eth_dev_rss_reta_query(nic->ports[0].id, table, 128), 0);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(table[i / 64].reta[i % 64], i % 2);
    nic_rss_apply(&nic->ports[0], 3, text, sizeof(text));
    assert_non_null(strstr(text, "fewer queues than there are cores: flows are handed"));
    uint8_t other[40] = {1};
    struct rte_eth_rss_conf conf = {.rss_key = other, .rss_key_len = 40, .rss_hf = nic->ports[0].plan.rss_types};
    nic_port_info(nic, 0, &info);
    assert_false(info.rss);
    assert_int_equal(rte_eth_dev_rss_hash_update(nic->ports[0].id, &conf), 0);
    nic_rss_apply(&nic->ports[0], 2, text, sizeof(text)); /* it takes ours again */
    nic_port_info(nic, 0, &info);
    assert_true(info.rss);
    nic->ports[0].plan.rss_types &= ~RTE_ETH_RSS_NONFRAG_IPV4_TCP;
    nic_rss_apply(&nic->ports[0], 2, text, sizeof(text));
    assert_non_null(strstr(text, "it does not look at the ports of TCP"));
    nic_port_info(nic, 0, &info);
    assert_false(info.rss);
    nic_close(nic);
    pools_are_whole();
}

static bool everybody_was_quiet;

static uint64_t grace_begin(void *self)
{
    return 1;
}

static bool grace_passed(void *self, uint64_t token)
{
    return everybody_was_quiet;
}

static void send_some(struct nic *nic, unsigned port, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct rte_mbuf *m = tx_frame(100, 100, i);
        m->port = (uint16_t)port;
        assert_int_equal(nic_tx(nic, 0, &m, 1), 1);
    }
}

/* The cores let a port alone before it is stopped, and it is used again once it runs. */
static void a_port_that_wants_a_reset_is_started_anew(void **state)
{
    static const char *const devices[] = {"vdev:net_null1"};
    struct nic_config c = ring_config(devices, 1);
    struct tide_grace grace = {NULL, grace_begin, grace_passed};
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *frames[TIDE_BURST];
    struct nic_watch_report r;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    everybody_was_quiet = false;
    nic_watch(nic, 1, &grace);
    unsigned n = nic_rx(nic, 0, frames, TIDE_BURST);
    assert_true(n != 0); /* it makes frames up */
    rte_pktmbuf_free_bulk(frames, n);
    atomic_store(&nic->ports[0].wants_reset, true);
    nic_watch(nic, 2, &grace);
    assert_non_null(strstr(logged, "its driver asks for a reset"));
    assert_int_equal(nic_rx(nic, 0, frames, TIDE_BURST), 0);
    send_some(nic, 0, 3);
    assert_int_equal(counters[0].values[COUNTER_tx_port_out], 3);
    assert_int_equal(nic_tx_waiting(nic, 0), 0);
    nic_watch(nic, 3, &grace); /* a core may still be in a burst */
    nic_watch_report(nic, 0, &r);
    assert_false(r.is_in);
    assert_int_equal(r.restarts, 0);
    assert_true(nic->ports[0].is_started);
    everybody_was_quiet = true;
    nic_watch(nic, 4, &grace);
    nic_watch_report(nic, 0, &r);
    assert_true(r.is_in);
    assert_int_equal(r.resets, 1);
    assert_int_equal(r.restarts, 1);
    n = nic_rx(nic, 0, frames, TIDE_BURST);
    assert_true(n != 0);
    rte_pktmbuf_free_bulk(frames, n);
    send_some(nic, 0, 3);
    assert_int_equal(counters[0].values[COUNTER_tx_port_out], 3);
    assert_int_equal(counters[0].values[COUNTER_tx_frames], 3);
    nic_close(nic);
    pools_are_whole();
}

/* net_ring's ring is not emptied by anybody but us. */
static void a_ring_that_nobody_empties_is_noticed(void **state)
{
    static const char *const devices[] = {"vdev:net_ring8"};
    struct nic_config c = ring_config(devices, 1);
    struct tide_grace grace = {NULL, grace_begin, grace_passed};
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct nic_watch_report r;
    struct rte_mbuf *frames[TIDE_BURST];
    uint16_t count;
    c.stuck_ns = 10;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    everybody_was_quiet = false;
    while (nic_tx_waiting(nic, 0) == 0)
        send_some(nic, 0, 1);
    nic_watch(nic, 1, &grace);
    nic_watch(nic, 2, &grace);
    nic_watch(nic, 11, &grace);
    nic_watch_report(nic, 0, &r);
    assert_int_equal(r.stucks, 0);
    nic_watch(nic, 12, &grace);
    nic_watch_report(nic, 0, &r);
    assert_int_equal(r.stucks, 1);
    assert_false(r.is_in);
    while ((count = rte_eth_rx_burst(nic->ports[0].id, 0, frames, TIDE_BURST)) != 0) /* it would keep them */
        rte_pktmbuf_free_bulk(frames, count);
    nic_close(nic);
    pools_are_whole();
}

/* The frames of a port that stands by are not ours; the port that carries the address is another once its link is gone. */
static void a_second_port_stands_by(void **state)
{
    static const char *const devices[] = {"vdev:net_ring5", "vdev:net_ring6"};
    struct nic_config c = ring_config(devices, 2);
    struct tide_grace grace = {NULL, grace_begin, grace_passed};
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *frames[TIDE_BURST];
    struct nic_watch_report r;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    nic_watch(nic, 1, &grace);
    send_some(nic, 0, 3);
    send_some(nic, 1, 5);
    assert_int_equal(nic_rx(nic, 0, frames, TIDE_BURST), 3);
    rte_pktmbuf_free_bulk(frames, 3);
    assert_int_equal(counters[0].values[COUNTER_rx_standby], 5);
    assert_int_equal(rte_eth_dev_set_link_down(nic->ports[0].id), 0);
    nic_watch(nic, 2, &grace);
    assert_int_equal(nic_active_port(nic), 1);
    assert_non_null(strstr(logged, "port 1 net_ring6: carries the data address"));
    send_some(nic, 1, 5);
    assert_int_equal(nic_rx(nic, 0, frames, TIDE_BURST), 5);
    rte_pktmbuf_free_bulk(frames, 5);
    assert_int_equal(rte_eth_dev_set_link_up(nic->ports[0].id), 0);
    nic_watch(nic, 3, &grace);
    assert_int_equal(nic_active_port(nic), 1);
    nic_watch_report(nic, 0, &r);
    assert_int_equal(r.downs, 1);
    assert_int_equal(r.failovers, 1);
    nic_close(nic);
    pools_are_whole();
}

/* A card without a link keeps what it was given: its full backlog is not to hold up what goes to the other port. */
static void a_full_port_that_stands_by_holds_up_nothing(void **state)
{
    static const char *const devices[] = {"vdev:net_ring9", "vdev:net_ring10"};
    struct nic_config c = ring_config(devices, 2);
    struct tide_grace grace = {NULL, grace_begin, grace_passed};
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *frames[TIDE_BURST];
    uint16_t count;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    nic_watch(nic, 1, &grace);
    do
        frames[0] = tx_frame(100, 100, 0);
    while (nic_tx(nic, 0, frames, 1) == 1);
    assert_int_equal(nic_tx_waiting(nic, 0), NIC_BACKLOG);
    assert_int_equal(rte_eth_dev_set_link_down(nic->ports[0].id), 0);
    nic_watch(nic, 2, &grace);
    assert_int_equal(nic_active_port(nic), 1);
    frames[1] = tx_frame(100, 100, 1);
    frames[1]->port = 1;
    assert_int_equal(nic_tx(nic, 0, frames, 2), 2);
    assert_int_equal(counters[0].values[COUNTER_tx_port_out], 1);
    assert_int_equal(nic_rx(nic, 0, frames, 1), 1);
    rte_pktmbuf_free(frames[0]);
    while ((count = rte_eth_rx_burst(nic->ports[0].id, 0, frames, TIDE_BURST)) != 0) /* it would keep them */
        rte_pktmbuf_free_bulk(frames, count);
    nic_close(nic);
    pools_are_whole();
}

static void what_the_ring_refuses_waits_and_then_stays_the_callers(void **state)
{
    static const char *const devices[] = {"vdev:net_ring2"};
    struct nic_config c = ring_config(devices, 1);
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *m;
    unsigned sent = 0;
    unsigned got = 0;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    struct rte_mempool *tx = nic_tx_pool(nic);
    for (;; sent++) {
        m = rte_pktmbuf_alloc(tx);
        memset(rte_pktmbuf_append(m, 60), 0, 60);
        store_be32(rte_pktmbuf_mtod_offset(m, void *, 20), sent);
        if (nic_tx(nic, 0, &m, 1) == 0)
            break;
        nic_check(nic, 0);
    }
    rte_pktmbuf_free(m);
    assert_int_equal(nic_tx_waiting(nic, 0), NIC_BACKLOG);
    assert_true(sent > NIC_BACKLOG);
    for (unsigned turn = 0; turn < 2 * sent && got < sent; turn++) {
        struct rte_mbuf *frames[TIDE_BURST];
        unsigned n = nic_rx(nic, 0, frames, 1 + turn % TIDE_BURST);
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(load_be32(rte_pktmbuf_mtod_offset(frames[i], void *, 20)), got++);
        rte_pktmbuf_free_bulk(frames, n);
        assert_int_equal(nic_tx(nic, 0, NULL, 0), 0);
        nic_check(nic, 0);
    }
    assert_int_equal(got, sent);
    assert_int_equal(nic_tx_waiting(nic, 0), 0);
    m = rte_pktmbuf_alloc(tx);
    rte_pktmbuf_append(m, 1519);
    assert_int_equal(nic_tx(nic, 0, &m, 1), 1); /* no port carries it */
    assert_int_equal(counters[0].values[COUNTER_tx_refused], 1);
    assert_int_equal(rte_mempool_avail_count(tx), tx->size);
    nic_close(nic);
}

static void bad_and_partial_frames_do_not_come_up(void **state)
{
    static const char *const devices[] = {"vdev:net_ring3"};
    for (unsigned accept = 0; accept < 2; accept++) {
        struct nic_config c = ring_config(devices, 1);
        char error[NIC_ERROR_TEXT];
        struct nic *nic;
        struct rte_mbuf *frames[3];
        c.accept_partial_checksum = accept;
        assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
        for (unsigned i = 0; i < 3; i++) {
            frames[i] = tx_frame(100, 0, i + 1);
            soft_tx_sums(frames[i], true, i != 1);
            frames[i]->ol_flags = 0; /* the port is to send it as it is */
        }
        *rte_pktmbuf_mtod_offset(frames[2], uint8_t *, 60) ^= 4;
        assert_int_equal(nic_tx(nic, 0, frames, 3), 3);
        assert_int_equal(nic_rx(nic, 0, frames, 3), 1 + accept);
        rte_pktmbuf_free_bulk(frames, 1 + accept);
        assert_int_equal(counters[0].values[COUNTER_rx_csum_bad], 1);
        assert_int_equal(counters[0].values[COUNTER_rx_csum_partial], 1);
        nic_close(nic);
        pools_are_whole();
    }
}

/* Two cores on a port of one queue (it writes to a file): core 1 has none of its own. */
static void a_core_without_a_queue_hands_over(void **state)
{
    char path[] = "/tmp/tidemark_test_nic_XXXXXX";
    char device[128];
    const char *const devices[] = {device};
    struct nic_config c = ring_config(devices, 1);
    char error[NIC_ERROR_TEXT];
    struct nic *nic;
    struct rte_mbuf *frames[TIDE_BURST];
    struct stat file;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(device, sizeof(device), "vdev:net_pcap0,tx_pcap=%s", path);
    c.queues = 2;
    assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_OK);
    assert_non_null(strstr(logged, "flows spread in software"));
    assert_int_equal(nic_tx_core(nic, 0, 1), 0);
    for (unsigned taken = 0; taken < 40; taken++) {
        frames[0] = tx_frame(100, 7, taken);
        assert_int_equal(nic_tx(nic, 1, frames, 1), 1);
    }
    assert_int_equal(nic_tx_waiting(nic, 0), 40);
    assert_int_equal(nic_tx_waiting(nic, 1), 0);
    assert_int_equal(nic_rx(nic, 1, frames, TIDE_BURST), 0);
    assert_int_equal(nic_tx(nic, 0, NULL, 0), 0);
    assert_int_equal(nic_tx_waiting(nic, 0), 0);
    assert_int_equal(counters[0].values[COUNTER_tx_frames], 40);
    assert_int_equal(counters[1].values[COUNTER_tx_frames], 0);
    /* Core 1's ring fills up when core 0 does not turn; what is in it goes with the nic. */
    unsigned taken = 0;
    do
        frames[0] = tx_frame(10, 0, taken);
    while (nic_tx(nic, 1, frames, 1) == 1 && ++taken != 0);
    rte_pktmbuf_free(frames[0]);
    assert_int_equal(taken, NIC_HANDOVER);
    nic_close(nic);
    pools_are_whole();
    assert_int_equal(fstat(fd, &file), 0);
    assert_int_equal(file.st_size, 24 + 40 * (16 + 154)); /* pcap's headers and the frames */
    close(fd);
    unlink(path);
}

static void ports_that_do_not_exist(void **state)
{
    static const struct {
        const char *device;
        enum tide_status status;
        const char *says;
    } rows[] = {
        {"vdev:net_af_xdp0,iface=nosuchif0", TIDE_ABSENT, "there are: lo"},
        {"vdev:net_af_packet0,iface=nosuchif0", TIDE_ABSENT, "no interface \"nosuchif0\""},
        {"fffe:1f:1f.7", TIDE_ABSENT, "network devices here:"},
        {"eth0", TIDE_BAD, "expected a PCI address"},
        {"vdev:net_nosuchdriver0", TIDE_ABSENT, "no driver of that name"},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct nic_config c = ring_config(&rows[i].device, 1);
        char error[NIC_ERROR_TEXT] = "";
        struct nic *nic = NULL;
        enum tide_status s = nic_open(&nic, &c, error, sizeof(error));
        print_message("  %s\n", error);
        assert_int_equal(s, rows[i].status);
        assert_non_null(strstr(error, rows[i].says));
        assert_null(nic);
    }
    /* The second port fails: the first is closed again and its name is free. */
    const char *const two[] = {"vdev:net_ring7", "vdev:net_af_xdp0,iface=nosuchif0"};
    for (unsigned i = 0; i < 3; i++) {
        struct nic_config c = ring_config(two, 2);
        char error[NIC_ERROR_TEXT];
        struct nic *nic;
        assert_int_equal(nic_open(&nic, &c, error, sizeof(error)), TIDE_ABSENT);
    }
    assert_int_equal(rte_eth_dev_count_avail(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_follow_the_capabilities),
        cmocka_unit_test(device_strings),
        cmocka_unit_test(drivers_get_the_arguments_they_need),
        cmocka_unit_test(eal_arguments),
        cmocka_unit_test(sums_in_software_are_right),
        cmocka_unit_test(sums_the_port_does_are_left_to_it),
        cmocka_unit_test(received_sums_are_judged),
        cmocka_unit_test(an_ip_header_in_two_segments_is_left_to_the_parser),
        cmocka_unit_test(both_zeros_are_right),
        cmocka_unit_test(sums_of_ipv6_in_software_are_right),
        cmocka_unit_test(received_sums_of_ipv6_are_judged),
        cmocka_unit_test(a_chain_becomes_one_mbuf),
        cmocka_unit_test(what_cannot_be_joined_is_untouched),
        cmocka_unit_test(the_array_flavour_is_an_array),
        cmocka_unit_test(new_sockets_are_found),
        cmocka_unit_test(an_interface_has_one_owner),
        cmocka_unit_test(a_port_takes_chains_and_gives_back_frames),
        cmocka_unit_test(tables_of_every_length_say_the_same),
        cmocka_unit_test(a_port_with_rss_is_given_key_and_table),
        cmocka_unit_test(a_port_that_wants_a_reset_is_started_anew),
        cmocka_unit_test(a_ring_that_nobody_empties_is_noticed),
        cmocka_unit_test(a_second_port_stands_by),
        cmocka_unit_test(a_full_port_that_stands_by_holds_up_nothing),
        cmocka_unit_test(what_the_ring_refuses_waits_and_then_stays_the_callers),
        cmocka_unit_test(bad_and_partial_frames_do_not_come_up),
        cmocka_unit_test(a_core_without_a_queue_hands_over),
        cmocka_unit_test(ports_that_do_not_exist),
    };
    unit_eal();
    pool = unit_pool("nic_test", POOL, 2048);
    payload_pool = unit_pool("nic_payload", POOL, 64);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
