/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp_pair.h"

#include <errno.h>

#include "core/roster.h"

enum { SLOTS = 2 * ROSTER_ROWS + 5, BLOCKS = 3, FILE_HANDLE = 7, POSITION = 5 * TIDE_BLOCK };

static struct roster r;
static struct tide_out out;
static uint8_t file[BLOCKS * TIDE_BLOCK]; /* from POSITION on */

static int setup(void **state)
{
    unit_eal();
    pool = unit_pool("roster", 1023, 2048);
    return 0;
}

static int begin(void **state)
{
    memset(file, 0, sizeof(file));
    out.op_count = 0;
    assert_int_equal(roster_init(&r, &(struct roster_place){FILE_HANDLE, POSITION}, SLOTS), TIDE_OK);
    return 0;
}

static int end(void **state)
{
    roster_check(&r);
    roster_deinit(&r);
    return 0;
}

static void set(uint32_t slot, uint16_t port)
{
    struct tcp_endpoint local = end_of(0x0a000001, LISTEN), remote = end_of(0x0a000002, port);
    roster_set(&r, slot, &local, &remote);
    roster_check(&r);
}

static void clear(uint32_t slot)
{
    roster_clear(&r, slot);
    roster_check(&r);
}

/* What the turn wants written; false: nothing. */
static bool turn(struct disk_op *ret)
{
    out.op_count = 0;
    roster_on_turn(&r, &out);
    roster_check(&r);
    assert_in_range(out.op_count, 0, 1);
    if (out.op_count == 0)
        return false;
    *ret = out.ops[0];
    assert_int_equal(ret->kind, DISK_WRITE);
    assert_true(ret->cached && !ret->durable);
    assert_int_equal(ret->file, FILE_HANDLE);
    assert_int_equal(ret->len, TIDE_BLOCK);
    assert_in_range(ret->position, POSITION, POSITION + (BLOCKS - 1) * TIDE_BLOCK);
    assert_int_equal(ret->position % TIDE_BLOCK, 0);
    assert_int_equal(DISK_ID_OWNER(ret->id), DISK_OWNER_ROSTER);
    return true;
}

/* The device takes the bytes that are there now. */
static void write_it(const struct disk_op *op)
{
    memcpy(file + (op->position - POSITION), op->buf, op->len);
}

static bool done(const struct disk_op *op, int64_t result)
{
    bool good = roster_on_disk(&r, &(struct disk_done){.id = op->id, .result = result});
    roster_check(&r);
    return good;
}

/* Turns until nothing is left; how many writes. */
static unsigned settle(void)
{
    struct disk_op op;
    unsigned n = 0;
    for (; turn(&op); n++) {
        write_it(&op);
        assert_true(done(&op, TIDE_BLOCK));
    }
    return n;
}

/* The peer's port of a row as it is in the file; 0: the row is empty. */
static uint16_t row(uint32_t slot)
{
    static const struct roster_row empty;
    struct roster_row row;
    memcpy(&row, file + roster_row_at(slot), sizeof(row));
    if (row.local_port == 0) {
        assert_memory_equal(&row, &empty, sizeof(row));
        return 0;
    }
    assert_int_equal(row.local_port, LISTEN);
    return row.remote_port;
}

static void test_who_comes_and_goes(void **state)
{
    struct disk_op op;
    assert_false(turn(&op));
    set(3, 40000);
    set(4, 40001);
    assert_true(roster_has(&r, 3) && roster_has(&r, 4) && !roster_has(&r, 5));
    assert_int_equal(settle(), 1);
    assert_int_equal(row(3), 40000);
    assert_int_equal(row(4), 40001);
    clear(3);
    assert_false(roster_has(&r, 3));
    assert_int_equal(settle(), 1);
    assert_int_equal(row(3), 0);
    assert_int_equal(row(4), 40001);
    clear(4);
    set(4, 40002);
    assert_int_equal(settle(), 1);
    assert_int_equal(row(4), 40002);
    assert_int_equal(settle(), 0);
}

/* What the device took of a block is not known when the block changes on its way. */
static void test_a_slot_changes_hands_while_its_block_is_written(void **state)
{
    struct disk_op first, second;
    set(3, 40000);
    assert_true(turn(&first));
    write_it(&first);
    clear(3);
    set(3, 50000);
    assert_false(turn(&second)); /* one at a time */
    assert_true(done(&first, TIDE_BLOCK));
    assert_int_equal(row(3), 40000);
    assert_true(turn(&second));
    write_it(&second);
    assert_true(done(&second, TIDE_BLOCK));
    assert_int_equal(row(3), 50000);
    assert_false(turn(&second));
}

/* It is not tried again and again on a full disk, and the next change of the block brings all of it. */
static void test_a_write_that_fails(void **state)
{
    static const int64_t results[] = {-ENOSPC, -EIO, 0, 512};
    struct disk_op op;
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(results); i++) {
        set(i, (uint16_t)(40000 + i));
        assert_true(turn(&op));
        assert_false(done(&op, results[i]));
        assert_false(turn(&op));
        assert_int_equal(row(i), 0);
    }
    set(9, 40009);
    assert_int_equal(settle(), 1);
    assert_int_equal(row(0), 40000);
    assert_int_equal(row(3), 40003);
    assert_int_equal(row(9), 40009);
}

/* First come, first written; a block that changes again waits behind the others. */
static void test_several_blocks(void **state)
{
    struct disk_op op;
    set(ROSTER_ROWS, 40001);
    set(ROSTER_ROWS - 1, 40000);
    assert_true(turn(&op));
    assert_int_equal(op.position, POSITION + TIDE_BLOCK);
    set(SLOTS - 1, 40002);
    set(ROSTER_ROWS + 1, 40003);
    write_it(&op);
    assert_true(done(&op, TIDE_BLOCK));
    assert_true(turn(&op));
    assert_int_equal(op.position, POSITION);
    write_it(&op);
    assert_true(done(&op, TIDE_BLOCK));
    assert_int_equal(settle(), 2);
    assert_int_equal(row(ROSTER_ROWS - 1), 40000);
    assert_int_equal(row(ROSTER_ROWS), 40001);
    assert_int_equal(row(SLOTS - 1), 40002);
    assert_int_equal(row(ROSTER_ROWS + 1), 40003);
    for (uint32_t i = 0; i < 10 * SLOTS; i++) { /* around the ring of the queue */
        set(i % SLOTS, (uint16_t)(1 + i));
        if (i % 7 == 0)
            (void)settle();
    }
    (void)settle();
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(row(i), 9 * SLOTS + i + 1);
}

static void test_no_room_in_the_turn(void **state)
{
    struct disk_op op;
    set(1, 40000);
    out.op_count = TIDE_OUT_OPS;
    roster_on_turn(&r, &out);
    assert_int_equal(out.op_count, TIDE_OUT_OPS);
    assert_true(turn(&op));
    assert_true(done(&op, TIDE_BLOCK));
}

static void test_without_a_file_nothing_is_kept(void **state)
{
    struct roster none;
    assert_int_equal(roster_init(&none, &(struct roster_place){0}, SLOTS), TIDE_OK);
    assert_false(roster_is_kept(&none));
    assert_true(roster_is_kept(&r));
    roster_check(&none);
    roster_deinit(&none);
}

/* ---- what TCP says of who came and went ---- */

static struct tcp_conn *taken(struct tcp_stack *s)
{
    struct tcp_event e;
    struct tcp_conn *conn = NULL;
    while (tcp_next_event(s, &e))
        conn = e.conn;
    return conn;
}

static void expect_change(struct tcp_stack *s, uint32_t number, bool is_here, uint16_t port)
{
    struct tcp_change c;
    tcp_check(s);
    assert_true(tcp_next_change(s, &c));
    assert_int_equal(c.number, number);
    assert_int_equal(c.is_here, is_here);
    assert_int_equal(c.remote.port, port);
    assert_false(tcp_next_change(s, &c));
    tcp_check(s);
}

static void test_tcp_tells_of_each_change_once(void **state)
{
    struct tcp_stack *client = stack(1, 4), *server = stack(2, 1);
    struct tcp_endpoint here = end_of(0x0a000001, LISTEN), there = end_of(0x0a000002, 40000);
    struct tcp_conn *conn;
    struct tcp_change c;
    now_ns = 5 * TIDE_NS_PER_S;
    assert_false(tcp_next_change(server, &c));
    conn = tcp_connect(client, now_ns, &there, &here);
    expect_change(client, 0, true, LISTEN); /* from the first SYN on */
    exchange(client, server);
    expect_change(server, 0, true, 40000);
    tcp_abort(conn);
    exchange(client, server);
    (void)taken(server);
    expect_change(server, 0, false, 0);
    expect_change(client, 0, false, 0);

    there.port = 40001; /* comes and goes and another comes, all before anybody asks: the slot is what it is at last */
    conn = tcp_connect(client, now_ns, &there, &here);
    exchange(client, server);
    tcp_abort(conn);
    exchange(client, server);
    (void)taken(server);
    there.port = 40002;
    conn = tcp_connect(client, now_ns, &there, &here);
    exchange(client, server);
    expect_change(server, 0, true, 40002);
    tcp_abort(taken(server)); /* no event of its own */
    expect_change(server, 0, false, 0);
    tcp_stack_destroy(client);
    tcp_stack_destroy(server);
}

#define ROSTER(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROSTER(test_who_comes_and_goes),
        ROSTER(test_a_slot_changes_hands_while_its_block_is_written),
        ROSTER(test_a_write_that_fails),
        ROSTER(test_several_blocks),
        ROSTER(test_no_room_in_the_turn),
        ROSTER(test_without_a_file_nothing_is_kept),
        cmocka_unit_test(test_tcp_tells_of_each_change_once),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
