/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "daemon/numa.h"

struct heard {
    unsigned count;
    char text[8][256];
};

static void hear(void *arg, const char *warning)
{
    struct heard *h = arg;
    assert_true(h->count < 8);
    snprintf(h->text[h->count++], sizeof(h->text[0]), "%s", warning);
}

static void what_is_far_is_named(void **state)
{
    static const struct {
        const char *what;
        struct numa_machine machine;
        const char *says[3];
    } rows[] = {
        {"all on one of two nodes", {2, 1, 2, 1, {{"0000:81:00.0", 1}}, {{"CPU 8", 1}, {"CPU 9", 1}}, {{"/data", 1}}, {"", 1}}, {0}},
        {"a machine of one node", {1, 1, 1, 1, {{"0000:81:00.0", 0}}, {{"CPU 8", 1}}, {{"/data", 1}}, {"", 1}}, {0}},
        {"a virtual port is nowhere", {2, 1, 1, 1, {{"net_af_xdp0", NUMA_UNKNOWN}}, {{"CPU 8", 1}}, {{"/data", 0}}, {"", 1}}, {0}},
        {"a core that floats", {2, 1, 1, 0, {{"0000:81:00.0", 1}}, {{"CPU 0", NUMA_UNKNOWN}}, {{"", 0}}, {"", 1}}, {0}},
        {"one core of two",
         {2, 1, 2, 0, {{"0000:81:00.0", 1}}, {{"CPU 8", 1}, {"CPU 2", 0}}, {{"", 0}}, {"", 1}},
         {"data core 1 runs on CPU 2 of node 0, port 0000:81:00.0 is on node 1: name CPUs of node 1 in data.cores"}},
        {"memory and a drive",
         {2, 1, 1, 2, {{"0000:01:00.0", 0}}, {{"CPU 0", 0}}, {{"/a", 0}, {"/b", 1}}, {"", 1}},
         {"packet buffers are on node 1, port 0000:01:00.0 is on node 0: give node 0 hugepages",
          "the drive of /b is on node 1, port 0000:01:00.0 is on node 0: put log.dirs on a drive of node 0"}},
        {"two ports", {4, 2, 0, 0, {{"0000:01:00.0", 0}, {"0000:81:00.0", 3}}, {{"", 0}}, {{"", 0}}, {"", NUMA_UNKNOWN}},
         {"port 0000:81:00.0 is on node 3, port 0000:01:00.0 is on node 0: take two ports of one node"}},
        {"no port", {2, 0, 1, 0, {{"", 0}}, {{"CPU 8", 1}}, {{"", 0}}, {"", 1}}, {0}},
    };
    for (unsigned i = 0; i < TIDE_ARRAY_LEN(rows); i++) {
        struct heard h = {0};
        unsigned wanted = 0;
        print_message("  %s\n", rows[i].what);
        unsigned said = numa_judge(&rows[i].machine, hear, &h);
        assert_int_equal(said, h.count);
        while (wanted < 3 && rows[i].says[wanted] != NULL) {
            assert_true(wanted < h.count);
            assert_string_equal(h.text[wanted], rows[i].says[wanted]);
            wanted++;
        }
        assert_int_equal(h.count, wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_far_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
