/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may come in: HELLOs of other brokers, and what they are told. The node is a voter alone, and leads.
 */
#include "unit.h"

#include "node/node.h"
#include "node/rpc.h"
#include "raft/quorum_files.h"

static struct node *n;
static uint64_t now_ns;

static int setup(void **state)
{
    struct node_config c = {.id = 1, .seed = 1, .voter_count = 1, .session_ms = 3000, .heartbeat_ms = 500, .lease_ms = 2400, .request_ms = 1000,
                            .election_ms = 500, .quorum_heartbeat_ms = 100, .idle_ms = 500, .snapshot_commands = 1000, .snapshot_bytes = 1 << 26,
                            .trailing = 100};
    struct quorum_boot boot = {.capacity_bytes = 1 << 26};
    char error[NODE_ERROR_MAX];
    struct node_event e;
    (void)state;
    now_ns = TIDE_NS_PER_S;
    memset(&c.cluster_id, 9, sizeof(c.cluster_id));
    c.voters[0].id = 1;
    memcpy(c.voters[0].address, "a:1", 4);
    c.broker.directory_count = 1;
    c.broker.directories[0].bytes[0] = 200;
    n = node_create(&c, &boot, now_ns, error, sizeof(error));
    assert_non_null(n);
    quorum_boot_deinit(&boot);
    node_on_founded(n, now_ns, 0);
    while (node_disk_take(n) != NULL)
        node_on_disk_done(n, now_ns, 0, 1 << 26);
    while (node_event_take(n, &e))
        cluster_result_free(&e.result);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node_destroy(n);
    return 0;
}

/* A good one of broker 2, to be spoilt. */
static struct rpc_message hello(void)
{
    struct rpc_message m = {.kind = RPC_HELLO, .sender = 2, .receiver = 1, .incarnation = {{2, 1}}};
    memset(&m.cluster, 9, sizeof(m.cluster));
    m.hello.version_min = m.hello.version_max = RPC_VERSION;
    return m;
}

/* RPC_WELCOME, or why not; the sentence is in `reason`. */
static enum rpc_hello_result come(const struct rpc_message *m, uint64_t connection, char reason[RPC_REASON_MAX])
{
    uint8_t *frame = malloc(rpc_size_max(m));
    struct quorum_message answer = {0};
    struct rpc_message said;
    enum tide_status status;
    int32_t peer = -1;
    size_t len;
    assert_non_null(frame);
    len = rpc_encode(m, frame);
    status = node_on_guest(n, now_ns, connection, frame, len, &peer, &answer);
    free(frame);
    if (status == TIDE_OK) {
        assert_int_equal(peer, m->sender);
        assert_true(node_guest_frame_take(n, peer, &answer));
    } else {
        assert_int_equal(status, TIDE_REFUSED);
    }
    assert_int_equal(rpc_decode(answer.bytes, answer.len, &said), TIDE_OK);
    assert_int_equal(said.kind, RPC_HELLO_REPLY);
    assert_true((status == TIDE_OK) == (said.hello_reply.result == RPC_WELCOME));
    memcpy(reason, said.hello_reply.reason, RPC_REASON_MAX);
    free(answer.bytes);
    return said.hello_reply.result;
}

static void test_who_belongs_is_welcome(void **state)
{
    char reason[RPC_REASON_MAX];
    struct rpc_message m = hello();
    (void)state;
    m.hello.version_min = 0;
    m.hello.version_max = RPC_VERSION + 1; /* newer, and still knows ours */
    assert_int_equal(come(&m, 1, reason), RPC_WELCOME);
}

static void test_a_version_that_is_not_shared(void **state)
{
    char reason[RPC_REASON_MAX];
    struct rpc_message m = hello();
    (void)state;
    m.hello.version_min = RPC_VERSION + 1;
    m.hello.version_max = RPC_VERSION + 2;
    assert_int_equal(come(&m, 1, reason), RPC_VERSION_UNKNOWN);
    assert_non_null(strstr(reason, "versions 2 to 3, this one 1: bring the older of the two up to date"));
    m.hello.version_min = m.hello.version_max = RPC_VERSION - 1;
    assert_int_equal(come(&m, 2, reason), RPC_VERSION_UNKNOWN);
    assert_non_null(strstr(reason, "versions 0 to 0, this one 1"));
}

static void test_another_cluster(void **state)
{
    char reason[RPC_REASON_MAX];
    struct rpc_message m = hello();
    (void)state;
    m.cluster.bytes[0] ^= 1;
    assert_int_equal(come(&m, 1, reason), RPC_CLUSTER_UNKNOWN);
    assert_non_null(strstr(reason, "the directories or cluster.id of broker 2 name another"));
}

static void test_another_address(void **state)
{
    char reason[RPC_REASON_MAX];
    struct rpc_message m = hello();
    (void)state;
    m.receiver = 3;
    assert_int_equal(come(&m, 1, reason), RPC_NOT_HERE);
    assert_non_null(strstr(reason, "quorum.voters names a wrong address"));
}

/* Until its process has been silent for a while. */
static void test_an_id_in_use(void **state)
{
    char reason[RPC_REASON_MAX];
    struct rpc_message m = hello();
    (void)state;
    assert_int_equal(come(&m, 1, reason), RPC_WELCOME);
    assert_int_equal(come(&m, 2, reason), RPC_WELCOME); /* the same process on a new connection */
    m.incarnation.bytes[1]++;
    assert_int_equal(come(&m, 3, reason), RPC_ID_IN_USE);
    assert_non_null(strstr(reason, "another process runs as broker 2"));
    now_ns += 1001 * TIDE_NS_PER_MS;
    assert_int_equal(come(&m, 4, reason), RPC_WELCOME);
    m.sender = 1; /* ours */
    assert_int_equal(come(&m, 5, reason), RPC_ID_IN_USE);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_who_belongs_is_welcome),
        CASE(test_a_version_that_is_not_shared),
        CASE(test_another_cluster),
        CASE(test_another_address),
        CASE(test_an_id_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
