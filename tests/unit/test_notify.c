/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/notify.h"

/* A socket of that name; '@' for the abstract space. */
static int listen_at(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] == '/'));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    memcpy(at.sun_path, name, strlen(name));
    if (name[0] == '@')
        at.sun_path[0] = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    return fd;
}

static void check_arrives(const char *name)
{
    char text[64];
    int fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    assert_true(notify_send("READY=1\nSTATUS=serving"));
    assert_int_equal(recv(fd, text, sizeof(text), MSG_DONTWAIT), strlen("READY=1\nSTATUS=serving"));
    assert_memory_equal(text, "READY=1\nSTATUS=serving", strlen("READY=1\nSTATUS=serving"));
    close(fd);
}

static void test_it_arrives(void **state)
{
    char name[64];
    (void)state;
    snprintf(name, sizeof(name), "@tidemark-unit-%d", getpid());
    check_arrives(name);
    snprintf(name, sizeof(name), "/tmp/tidemark-unit-%d", getpid());
    check_arrives(name);
    unlink(name);
}

static void test_nobody_listens(void **state)
{
    static const char *const names[] = {"", "@", "/", "relative", "vsock:2:1234", "/no/such/socket"};
    char longest[200];
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_false(notify_send("READY=1"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        assert_false(notify_send("READY=1"));
    }
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[sizeof(longest) - 1] = 0;
    setenv("NOTIFY_SOCKET", longest, 1);
    assert_false(notify_send("READY=1"));
}

/* A manager whose socket is full must not hold up control. */
static void test_a_manager_that_does_not_read(void **state)
{
    char name[64];
    int fd, sent = 0;
    (void)state;
    snprintf(name, sizeof(name), "@tidemark-unit-full-%d", getpid());
    fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    while (notify_send("WATCHDOG=1"))
        assert_in_range(++sent, 1, 100000);
    close(fd);
}

static void test_the_watchdog(void **state)
{
    static const struct {
        const char *us, *pid; /* NULL: not there; pid "own": ours */
        uint64_t expected;
    } cases[] = {
        {NULL, NULL, 0},        {"10000000", NULL, 10000000}, {"10000000", "own", 10000000}, {"10000000", "1", 0},
        {"0", NULL, 0},         {"", NULL, 0},                {"-1", NULL, 0},               {"10s", NULL, 0},
        {"10000000", "x", 10000000}, {"99999999999999999999", NULL, 0},
    };
    char own[16];
    (void)state;
    snprintf(own, sizeof(own), "%d", getpid());
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (cases[i].us != NULL)
            setenv("WATCHDOG_USEC", cases[i].us, 1);
        if (cases[i].pid != NULL)
            setenv("WATCHDOG_PID", strcmp(cases[i].pid, "own") == 0 ? own : cases[i].pid, 1);
        assert_int_equal(notify_watchdog_us(), cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_arrives),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_manager_that_does_not_read),
        cmocka_unit_test(test_the_watchdog),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
