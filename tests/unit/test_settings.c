/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <unistd.h>

#include "settings/settings.h"
#include "tidemark/types.h"

static struct tide_settings s;
static char error[SETTINGS_ERROR_MAX];

static enum tide_status set(const char *name, const char *value)
{
    error[0] = 0;
    return settings_set(&s, name, value, error, sizeof(error));
}

static enum tide_status check(void)
{
    error[0] = 0;
    return settings_check(&s, error, sizeof(error));
}

/* What a broker needs at least. */
static void minimum(void)
{
    settings_defaults(&s);
    assert_int_equal(set("node.id", "1"), TIDE_OK);
    assert_int_equal(set("data.address", "10.0.0.1/24"), TIDE_OK);
    assert_int_equal(set("data.ports", "vdev:net_tap0"), TIDE_OK);
}

static void mentions(const char *text)
{
    if (strstr(error, text) == NULL)
        fail_msg("'%s' does not mention '%s'", error, text);
}

/* ---- one value ------------------------------------------------------------------------------------ */

static void test_defaults(void **state)
{
    settings_defaults(&s);
    assert_int_equal(s.node_id, -1);
    assert_string_equal(s.log_dirs, "/var/lib/tidemark");
    assert_int_equal(s.auto_create_topics_enable, 1);
    assert_int_equal(s.segment_bytes, 1 << 30);
    assert_int_equal(s.core_idle, CORE_IDLE_WAIT);
    for (unsigned i = 0; i < setting_row_count; i++)
        assert_false(settings_is_given(&s, &setting_rows[i]));
}

static void test_unknown_names_get_a_suggestion(void **state)
{
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"node.ids", "node.id?"},
        {"log.dir", "log.dirs?"},
        {"listener", "listeners?"},
        {"num.partition", "num.partitions?"},
        {"log.segment.byte", "log.segment.bytes?"},
        {"min.insync.replica", "min.insync.replicas?"},
        {"NODE.ID", "did you mean"},
        {"", "did you mean"},
    };
    settings_defaults(&s);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(set(cases[i].name, "1"), TIDE_ABSENT);
        mentions(cases[i].name);
        mentions(cases[i].nearest);
    }
}

static void test_a_very_long_name(void **state)
{
    static char name[100000];
    memset(name, 'x', sizeof(name) - 1);
    settings_defaults(&s);
    assert_int_equal(set(name, "1"), TIDE_ABSENT);
    mentions("did you mean");
}

static void test_wrong_values(void **state)
{
    static const struct {
        const char *name, *value, *mention;
    } cases[] = {
        {"node.id", "one", "whole number"},
        {"node.id", "", "whole number"},
        {"node.id", "1x", "whole number"},
        {"node.id", "1.5", "whole number"},
        {"node.id", "99999999999999999999", "whole number"},
        {"node.id", "-2", "out of range"},
        {"node.id", "2147483648", "out of range"},
        {"data.mtu", "575", "576 to 9000 bytes"},
        {"data.mtu", "9001", "576 to 9000 bytes"},
        {"data.vlan", "4095", "0 to 4094"},
        {"auto.create.topics.enable", "yes", "neither true nor false"},
        {"auto.create.topics.enable", "TRUE", "neither true nor false"},
        {"auto.create.topics.enable", "", "neither true nor false"},
        {"core.idle", "sleep", "spin|wait|yield"},
        {"core.idle", "spi", "spin|wait|yield"},
        {"core.idle", "spin|wait", "spin|wait|yield"},
        {"core.idle", "", "spin|wait|yield"},
        {"ack.durability", "Device", "device|memory"},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        static struct tide_settings before;
        settings_defaults(&s);
        before = s;
        assert_int_equal(set(cases[i].name, cases[i].value), TIDE_BAD);
        mentions(cases[i].name);
        mentions(cases[i].mention);
        assert_memory_equal(&s, &before, sizeof(s));
    }
}

static void test_the_limits_themselves_are_good(void **state)
{
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"node.id", "0"}, {"node.id", "2147483647"}, {"data.mtu", "576"}, {"data.mtu", "9000"},
        {"retention.ms", NULL}, {"log.retention.ms", "-1"}, {"log.retention.ms", "9223372036854775807"},
        {"auto.create.topics.enable", "true"}, {"auto.create.topics.enable", "false"},
        {"core.idle", "spin"}, {"core.idle", "wait"}, {"broker.rack", ""},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        settings_defaults(&s);
        if (cases[i].value == NULL) /* a topic's name is no broker's name */
            assert_int_equal(set(cases[i].name, "1"), TIDE_ABSENT);
        else
            assert_int_equal(set(cases[i].name, cases[i].value), TIDE_OK);
    }
}

static void test_duplicates(void **state)
{
    settings_defaults(&s);
    assert_int_equal(set("broker.id", "3"), TIDE_OK);
    assert_int_equal(s.node_id, 3);
    assert_int_equal(set("node.id", "4"), TIDE_BAD);
    mentions("given twice");
    assert_int_equal(s.node_id, 3);
    assert_int_equal(set("broker.rack", "a"), TIDE_OK);
    assert_int_equal(set("broker.rack", "a"), TIDE_BAD);
    mentions("given twice");
}

static void test_long_texts(void **state)
{
    char text[SETTING_TEXT_MAX + 1];
    memset(text, 'a', sizeof(text));
    text[SETTING_TEXT_MAX] = 0;
    settings_defaults(&s);
    assert_int_equal(set("broker.rack", text), TIDE_BAD);
    mentions("longer");
    text[SETTING_TEXT_MAX - 1] = 0;
    assert_int_equal(set("broker.rack", text), TIDE_OK);
    assert_string_equal(s.broker_rack, text);
}

static void test_every_row_as_text_and_back(void **state)
{
    static struct tide_settings back;
    settings_defaults(&s);
    settings_defaults(&back);
    for (unsigned i = 0; i < setting_row_count; i++) {
        char text[SETTING_TEXT_MAX], again[SETTING_TEXT_MAX];
        settings_text(&s, &setting_rows[i], text, sizeof(text));
        assert_int_equal(settings_set(&back, setting_rows[i].name, text, error, sizeof(error)), TIDE_OK);
        assert_true(settings_is_given(&back, &setting_rows[i]));
        settings_text(&back, &setting_rows[i], again, sizeof(again));
        assert_string_equal(text, again);
    }
}

/* ---- rules between settings ------------------------------------------------------------------------- */

static void test_rules(void **state)
{
    static const struct {
        const char *name, *value, *mention; /* NULL: good */
    } cases[] = {
        {"broker.rack", "r1", NULL},
        {"log.dirs", "/a,/b,/a/", "twice"},
        {"log.dirs", "/a,/a/b", "inside"},
        {"log.dirs", "/a/b,/a", "inside"},
        {"log.dirs", "/,/a", "inside"},
        {"log.dirs", "/a,", "absolute"},
        {"metadata.log.dir", "x", "absolute"},
        {"metadata.log.dir", "/var/lib/tidemark/x", "inside"},
        {"log.dirs", "data", "absolute"},
        {"log.dirs", "", "absolute"},
        {"log.tail.buffer.bytes", "100000", "power of two"},
        {"log.read.buffer.bytes", "100000", "multiple of 4096"},
        {"tcp.receive.window.bytes", "16383", "0 or at least 16384"},
        {"tcp.receive.window.bytes", "16384", NULL},
        {"tcp.receive.window.bytes", "0", NULL},
        {"message.max.bytes", "1073741825", "exceeds log.segment.bytes"},
        {"message.max.bytes", "1073741824", NULL},
        {"log.cleanup.policy", "compact", NULL},
        {"log.cleanup.policy", "compact,delete", NULL},
        {"log.cleaner.max.compaction.lag.ms", "1000", NULL},
        {"log.cleaner.min.compaction.lag.ms", "9223372036854775807", NULL},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        minimum();
        assert_int_equal(set(cases[i].name, cases[i].value), TIDE_OK);
        assert_int_equal(check(), cases[i].mention == NULL ? TIDE_OK : TIDE_BAD);
        mentions(cases[i].mention == NULL ? "" : cases[i].mention);
    }
}

static void test_what_is_missing_is_named(void **state)
{
    settings_defaults(&s);
    assert_int_equal(check(), TIDE_BAD);
    mentions("node.id is missing");
    assert_int_equal(set("node.id", "1"), TIDE_OK);
    assert_int_equal(check(), TIDE_BAD);
    mentions("data.address");
    assert_int_equal(set("data.address", "10.0.0.1/24"), TIDE_OK);
    assert_int_equal(check(), TIDE_BAD);
    mentions("data.ports");
    assert_int_equal(set("data.ports", "vdev:net_tap0"), TIDE_OK);
    assert_int_equal(check(), TIDE_OK);
}

static void test_listeners(void **state)
{
    static const struct {
        const char *listeners, *advertised;
        bool good;
        uint32_t count;
        const char *host; /* of the first, advertised */
        uint16_t port;
    } cases[] = {
        {"PLAINTEXT://:9092", "", true, 1, "10.0.0.1", 9092},
        {"PLAINTEXT://0.0.0.0:9092", "", true, 1, "10.0.0.1", 9092},
        {"PLAINTEXT://h.example:1", "", true, 1, "h.example", 1},
        {"PLAINTEXT://h:65535", "PLAINTEXT://out:7", true, 1, "out", 7},
        {"PLAINTEXT://h:1,INNER://h:2", "INNER://x:3", true, 2, "h", 1},
        {"PLAINTEXT://h:1, INNER://h:2", "", true, 2, "h", 1},
        {"PLAINTEXT://[fd00::1]:9092", "", true, 1, "fd00::1", 9092},
        {"PLAINTEXT://[::]:9092", "", true, 1, "fd00::7", 9092},
        {"PLAINTEXT://h:1", "PLAINTEXT://[2001:db8::5]:2", true, 1, "2001:db8::5", 2},
        {"PLAINTEXT://10.0.0.1:9092,INNER://[fd00::7]:9092", "", true, 2, "10.0.0.1", 9092},
        {"PLAINTEXT://10.0.0.1:9092,INNER://10.0.0.1:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://[fd00::7]:9092,INNER://[fd00::7]:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://10.0.0.1:9092,INNER://h:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://10.0.0.1:9092,INNER://[::]:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://fd00::1:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://[fd00::1:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://fd00::1]:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://[]:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://[:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://[10.0.0.1]:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:1", "PLAINTEXT://[::g]:2", false, 0, NULL, 0},
        {"PLAINTEXT://h:0", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:65536", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:+9", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:-9", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:4294967297", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:1,PLAINTEXT://h:2", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:1,INNER://g:1", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:", "", false, 0, NULL, 0},
        {"PLAINTEXT://h", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:9x", "", false, 0, NULL, 0},
        {"PLAINTEXT:h:9092", "", false, 0, NULL, 0},
        {"://h:9092", "", false, 0, NULL, 0},
        {"h:9092", "", false, 0, NULL, 0},
        {"SSL://h:9092", "", false, 0, NULL, 0},
        {"SECURE://h:9092", "", false, 0, NULL, 0},
        {"PLAINTEXT://h:1", "OTHER://h:1", false, 0, NULL, 0},
        {"PLAINTEXT://h:1", "PLAINTEXT://:1", false, 0, NULL, 0},
        {"PLAINTEXT://h:1", "nonsense", false, 0, NULL, 0},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        minimum();
        assert_int_equal(set("data.address6", "fd00::7/64"), TIDE_OK);
        assert_int_equal(set("listeners", cases[i].listeners), TIDE_OK);
        assert_int_equal(set("advertised.listeners", cases[i].advertised), TIDE_OK);
        assert_int_equal(set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,INNER:PLAINTEXT,SECURE:SSL"), TIDE_OK);
        enum tide_status status = check();
        if (status != (cases[i].good ? TIDE_OK : TIDE_BAD))
            fail_msg("%s / %s: %s", cases[i].listeners, cases[i].advertised, error);
        if (!cases[i].good) {
            mentions("listeners");
            continue;
        }
        assert_int_equal(s.listener_count, cases[i].count);
        assert_string_equal(s.listener[0].name, "PLAINTEXT");
        assert_string_equal(s.listener[0].advertised_host, cases[i].host);
        assert_int_equal(s.listener[0].advertised_port, cases[i].port);
    }
}

/* Peers come in on data.address, so an IPv6 listener may have their port. */
static void test_the_port_of_peers_is_no_listeners(void **state)
{
    static const struct {
        const char *listeners, *port;
        bool good;
    } cases[] = {{"PLAINTEXT://:9093", "9093", false}, {"PLAINTEXT://:9093", "9094", true}, {"PLAINTEXT://:9092,INNER://10.0.0.1:7", "7", false},
                 {"PLAINTEXT://:9092,INNER://[fd00::7]:9093", "9093", true}, {"PLAINTEXT://[::]:9093", "9093", false}};
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        minimum();
        assert_int_equal(set("data.address6", "fd00::7/64"), TIDE_OK);
        assert_int_equal(set("listeners", cases[i].listeners), TIDE_OK);
        assert_int_equal(set("replication.port", cases[i].port), TIDE_OK);
        assert_int_equal(set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,INNER:PLAINTEXT"), TIDE_OK);
        if (check() != (cases[i].good ? TIDE_OK : TIDE_BAD))
            fail_msg("%s, peers on %s: %s", cases[i].listeners, cases[i].port, error);
        if (!cases[i].good)
            mentions("replication.port");
    }
}

static void test_addresses(void **state)
{
    static const struct {
        const char *address, *gateway, *address6, *gateway6, *mtu, *mention; /* NULL: good */
    } cases[] = {
        {"10.0.0.1/24", "", "", "", "1500", NULL},
        {"10.0.0.1/24", "10.0.0.254", "fd00::1/64", "fe80::1", "1280", NULL},
        {"10.0.0.1/0", "", "2001:db8::1/128", "fd00::2", "9000", NULL},
        {"10.0.0.1", "", "", "", "1500", "data.address"},
        {"10.0.0/24", "", "", "", "1500", "data.address: "},
        {"10.0.0.1/33", "", "", "", "1500", "data.address: "},
        {"10.0.0.1/", "", "", "", "1500", "data.address: "},
        {"10.0.0.1/+4", "", "", "", "1500", "data.address: "},
        {"fd00::1/64", "", "", "", "1500", "data.address: "},
        {"10.0.0.1/24", "10.0.0", "", "", "1500", "data.gateway: "},
        {"10.0.0.1/24", "fe80::1", "", "", "1500", "data.gateway: "},
        {"10.0.0.1/24", "", "fd00::1", "", "1500", "data.address6: "},
        {"10.0.0.1/24", "", "fd00::1/129", "", "1500", "data.address6: "},
        {"10.0.0.1/24", "", "fd00::1/0064", "", "1500", "data.address6: "},
        {"10.0.0.1/24", "", "fd00::1%eth0/64", "", "1500", "data.address6: "},
        {"10.0.0.1/24", "", "10.0.0.2/24", "", "1500", "data.address6: "},
        {"10.0.0.1/24", "", "fe80::1/64", "", "1500", "link-local"},
        {"10.0.0.1/24", "", "ff02::1/64", "", "1500", "group"},
        {"10.0.0.1/24", "", "::1/64", "", "1500", "loopback"},
        {"10.0.0.1/24", "", "::ffff:10.0.0.2/96", "", "1500", "IPv4"},
        {"10.0.0.1/24", "", "fd00::/64", "", "1500", "of the network"},
        {"10.0.0.1/24", "", "fd00::/127", "", "1500", NULL},
        {"10.0.0.1/24", "", "", "fe80::1", "1500", "data.address6 is not"},
        {"10.0.0.1/24", "", "fd00::1/64", "10.0.0.254", "1500", "data.gateway6: "},
        {"10.0.0.1/24", "", "fd00::1/64", "fd00::2/64", "1500", "data.gateway6: "},
        {"10.0.0.1/24", "", "fd00::1/64", "ff02::2", "1500", "data.gateway6: "},
        {"10.0.0.1/24", "", "fd00::1/64", "", "1279", "1280"},
        {"10.0.0.1/24", "", "", "", "1279", NULL},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        settings_defaults(&s);
        assert_int_equal(set("node.id", "1"), TIDE_OK);
        assert_int_equal(set("data.ports", "vdev:net_tap0"), TIDE_OK);
        assert_int_equal(set("data.address", cases[i].address), TIDE_OK);
        assert_int_equal(set("data.gateway", cases[i].gateway), TIDE_OK);
        assert_int_equal(set("data.address6", cases[i].address6), TIDE_OK);
        assert_int_equal(set("data.gateway6", cases[i].gateway6), TIDE_OK);
        assert_int_equal(set("data.mtu", cases[i].mtu), TIDE_OK);
        if (check() != (cases[i].mention == NULL ? TIDE_OK : TIDE_BAD))
            fail_msg("%s %s %s: %s", cases[i].address, cases[i].address6, cases[i].gateway6, error);
        mentions(cases[i].mention == NULL ? "" : cases[i].mention);
    }
}

static void test_an_ipv6_listener_needs_an_address(void **state)
{
    minimum();
    assert_int_equal(set("listeners", "PLAINTEXT://[fd00::1]:9092"), TIDE_OK);
    assert_int_equal(check(), TIDE_BAD);
    mentions("data.address6 is not given");
}

static void test_too_many_listeners(void **state)
{
    minimum();
    assert_int_equal(set("listeners", "PLAINTEXT://h:1,PLAINTEXT://h:2,PLAINTEXT://h:3,PLAINTEXT://h:4,PLAINTEXT://h:5,"
                                      "PLAINTEXT://h:6,PLAINTEXT://h:7,PLAINTEXT://h:8,PLAINTEXT://h:9"), TIDE_OK);
    assert_int_equal(check(), TIDE_BAD);
}

static void test_no_listener_is_refused_with_a_sentence(void **state)
{
    minimum();
    assert_int_equal(set("listeners", ""), TIDE_OK);
    assert_int_equal(check(), TIDE_BAD);
    mentions("listeners");
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static enum tide_status load(const char *text)
{
    char path[] = "/tmp/test_settings_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    error[0] = 0;
    enum tide_status status = settings_load(path, &s, error, sizeof(error));
    unlink(path);
    return status;
}

#define MINIMUM "node.id=7\ndata.address=10.0.0.1/24\ndata.ports=vdev:net_tap0\n"

static void test_files(void **state)
{
    static const struct {
        const char *text;
        enum tide_status status;
        const char *mention;
    } cases[] = {
        {MINIMUM, TIDE_OK, ""},
        {"# a comment\n\n" MINIMUM "broker.rack = r1\n", TIDE_OK, ""},
        {"node.id=7\nnode.idd=8\n", TIDE_BAD, ":2: "},
        {"node.id=7\nnode.id=8\n", TIDE_BAD, ":2: "},
        {"node.id=7\ndata.mtu=3\n", TIDE_BAD, ":2: "},
        {"[broker]\nnode.id=7\n", TIDE_BAD, "sections"},
        {"node.id=7\nnonsense\n", TIDE_BAD, ":2: "},
        {"node.id=7\n", TIDE_BAD, "data.address"},
        {MINIMUM "group.min.session.timeout.ms=2000000\n", TIDE_BAD, "exceeds group.max.session.timeout.ms"},
        {MINIMUM "group.consumer.heartbeat.interval.ms=45000\n", TIDE_BAD, "is not below group.consumer.session.timeout.ms"},
        {MINIMUM "group.consumer.assignors=range, uniform\n", TIDE_OK, ""},
        {MINIMUM "group.consumer.assignors=uniform,sticky\n", TIDE_BAD, "'sticky' is none"},
        {MINIMUM "data.cores=5\n", TIDE_OK, ""},
        {MINIMUM "data.core.count=3\ndata.cores=5, 1023\n", TIDE_OK, ""},
        {MINIMUM "data.core.count=3\ndata.cores=2-4\n", TIDE_BAD, "write data.cores=2,3"},
        {MINIMUM "data.core.count=3\ndata.cores=2,,3\n", TIDE_BAD, "write data.cores=2,3"},
        {MINIMUM "data.core.count=3\ndata.cores=-2\n", TIDE_BAD, "write data.cores=2,3"},
        {MINIMUM "data.cores=1024\n", TIDE_BAD, "write data.cores=2,3"},
        {MINIMUM "data.cores=2,3\n", TIDE_BAD, "data.core.count has cores, which is 1"},
        {MINIMUM "data.port.shared=true\n", TIDE_OK, ""},
        {MINIMUM "data.port.shared=true\ndata.gateway=10.0.0.254\n", TIDE_BAD, "leave data.gateway out"},
        {MINIMUM "data.port.shared=true\ndata.vlan=5\n", TIDE_BAD, "no VLAN"},
        {"node.id=7\ndata.address=10.0.0.1/24\ndata.port.shared=true\ndata.ports=vdev:net_tap0;vdev:net_tap1\n", TIDE_BAD, "not two"},
        {MINIMUM "data.source.port.first=3000\ndata.source.port.last=3000\n", TIDE_OK, ""},
        {MINIMUM "data.source.port.last=3000\n", TIDE_BAD, "data.source.port.first: 61000 is behind"},
        {"", TIDE_BAD, "node.id"},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        assert_int_equal(load(cases[i].text), cases[i].status);
        mentions(cases[i].mention);
    }
    char text[1024];
    snprintf(text, sizeof(text), "%sbroker.rack=%0*d\n", MINIMUM, 198 - 12, 0);
    assert_int_equal(load(text), TIDE_OK);
    snprintf(text, sizeof(text), "%sbroker.rack=%0*d", MINIMUM, 199 - 12, 0);
    assert_int_equal(load(text), TIDE_BAD);
    mentions(":4: the line is longer");
    int line;
    assert_int_equal(settings_parse(MINIMUM "\0x=1\n", sizeof(MINIMUM) + 4, &s, &line, error, sizeof(error)), TIDE_BAD);
    assert_int_equal(line, 4);
    mentions("zero byte");
    assert_int_equal(settings_load("/dev/zero", &s, error, sizeof(error)), TIDE_IO);
    mentions("/dev/zero");
    assert_int_equal(settings_load("/nowhere/at/all", &s, error, sizeof(error)), TIDE_IO);
    mentions("/nowhere/at/all");
}

/* ---- topics ---------------------------------------------------------------------------------------------- */

static void test_topic_settings(void **state)
{
    struct tide_topic_config c;
    char text[64];
    minimum();
    assert_int_equal(set("log.retention.ms", "5000"), TIDE_OK);
    settings_topic_defaults(&s, &c);
    assert_int_equal(c.retention_ms, 5000);
    assert_int_equal(c.segment_bytes, 1 << 30);
    assert_int_equal(c.message_timestamp_after_max_ms, 3600000);
    assert_int_equal(settings_set_topic(&c, "retention.ms", "-1", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.retention_ms, -1);
    assert_int_equal(settings_set_topic(&c, "ack.durability", "memory", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.ack_durability, ACK_DURABILITY_MEMORY);
    settings_topic_text(&c, settings_topic_row("ack.durability"), text, sizeof(text));
    assert_string_equal(text, "memory");
    assert_int_equal(settings_set_topic(&c, "retention.ms", "-2", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "retention.ms", "x", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "cleanup.policy", "both", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "cleanup.policy", "compact", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.cleanup_policy, CLEANUP_COMPACT);
    assert_int_equal(settings_set_topic(&c, "cleanup.policy", "delete,compact", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.cleanup_policy, CLEANUP_COMPACT_DELETE);
    settings_topic_text(&c, settings_topic_row("cleanup.policy"), text, sizeof(text));
    assert_string_equal(text, "compact,delete");
    assert_int_equal(settings_set_topic(&c, "cleanup.policy", "delete", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.min_cleanable_ratio, 500000);
    assert_int_equal(settings_set_topic(&c, "min.cleanable.dirty.ratio", "0.013", error, sizeof(error)), TIDE_OK);
    assert_int_equal(c.min_cleanable_ratio, 13000);
    settings_topic_text(&c, settings_topic_row("min.cleanable.dirty.ratio"), text, sizeof(text));
    assert_string_equal(text, "0.013");
    assert_int_equal(settings_set_topic(&c, "min.cleanable.dirty.ratio", "1.5", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "min.cleanable.dirty.ratio", "nan", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "min.cleanable.dirty.ratio", "half", error, sizeof(error)), TIDE_BAD);
    assert_int_equal(settings_set_topic(&c, "log.retention.ms", "1", error, sizeof(error)), TIDE_ABSENT);
    assert_int_equal(settings_set_topic(&c, "nonsense", "1", error, sizeof(error)), TIDE_ABSENT);
    assert_int_equal(c.retention_ms, -1);
    assert_int_equal(c.cleanup_policy, CLEANUP_DELETE);
}

/* Each topic row has its own place. */
static void test_every_topic_row_has_a_field(void **state)
{
    for (unsigned i = 0; i < setting_row_count; i++) {
        struct tide_topic_config before, after;
        const struct setting_row *r = &setting_rows[i];
        char text[64];
        if (r->topic_name == NULL)
            continue;
        assert_ptr_equal(settings_topic_row(r->topic_name), r);
        settings_defaults(&s);
        settings_topic_defaults(&s, &before);
        after = before;
        if (r->type != SETTING_INT)
            continue;
        snprintf(text, sizeof(text), "%lld", (long long)r->max - 1);
        assert_int_equal(settings_set_topic(&after, r->topic_name, text, error, sizeof(error)), TIDE_OK);
        settings_topic_text(&after, r, error, sizeof(error));
        assert_string_equal(error, text);
        assert_memory_not_equal(&before, &after, sizeof(before));
    }
}

static void test_the_reference_has_every_row(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    settings_print_reference(f);
    fclose(f);
    for (unsigned i = 0; i < setting_row_count; i++) {
        char cell[128];
        snprintf(cell, sizeof(cell), "| `%s` |", setting_rows[i].name);
        assert_non_null(strstr(text, cell));
    }
    free(text);
}

/* KIP-73 */
static void test_lists_of_replicas(void **state)
{
    static const char *const good[] = {"", "*", "0:1", "0:1,0:2,17:3", "2147483647:2147483647"};
    static const char *const bad[] = {"**", "*,0:1", "0", "0:", ":1", "0:1,", ",0:1", "0:1;0:2", "0:1 ,0:2", "-1:1", "0:-1", "0:2147483648", "a:b", "0:1:2"};
    struct tide_topic_config c;
    (void)state;
    for (size_t i = 0; i < TIDE_ARRAY_LEN(good); i++)
        assert_int_equal(settings_set_topic(&c, "leader.replication.throttled.replicas", good[i], error, sizeof(error)), TIDE_OK);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(bad); i++) {
        assert_int_equal(settings_set_topic(&c, "follower.replication.throttled.replicas", bad[i], error, sizeof(error)), TIDE_BAD);
        mentions("partition:broker");
        minimum();
        assert_int_equal(set("follower.replication.throttled.replicas", bad[i]), TIDE_BAD);
    }
    assert_true(settings_names_replica("*", 7, 9));
    assert_true(settings_names_replica("0:1,7:9", 7, 9));
    assert_false(settings_names_replica("0:1,7:9", 9, 7));
    assert_false(settings_names_replica("0:1,7:9", 7, 1));
    assert_false(settings_names_replica("", 0, 0));
}

static void test_what_a_request_can_change(void **state)
{
    unsigned live = 0;
    (void)state;
    for (unsigned i = 0; i < setting_row_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        assert_int_equal(settings_is_dynamic(r), r->live || r->topic_name != NULL);
        live += r->live;
        if (!r->live)
            continue;
        assert_int_equal(settings_judge(r, "1000000", error, sizeof(error)), TIDE_OK);
        assert_int_equal(settings_judge(r, "-1", error, sizeof(error)), TIDE_BAD);
        assert_int_equal(settings_judge(r, "fast", error, sizeof(error)), TIDE_BAD);
    }
    assert_int_equal(live, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_unknown_names_get_a_suggestion),
        cmocka_unit_test(test_a_very_long_name),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_the_limits_themselves_are_good),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_every_row_as_text_and_back),
        cmocka_unit_test(test_lists_of_replicas),
        cmocka_unit_test(test_what_a_request_can_change),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_what_is_missing_is_named),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_the_port_of_peers_is_no_listeners),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_an_ipv6_listener_needs_an_address),
        cmocka_unit_test(test_too_many_listeners),
        cmocka_unit_test(test_no_listener_is_refused_with_a_sentence),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_topic_settings),
        cmocka_unit_test(test_every_topic_row_has_a_field),
        cmocka_unit_test(test_the_reference_has_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
