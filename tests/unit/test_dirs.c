/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/posix_fs.h"
#include "edge/dirs.h"

enum { ROOM = 512 };

static char root[64];
static char paths[4][ROOM]; /* a, b, c, d in root */
static const char *names[4] = {paths[0], paths[1], paths[2], paths[3]};
static char error[DIRS_ERROR_MAX];
static struct dirs *d;
static struct dirs_identity who;
static const struct tide_uuid cluster_id = {{1, 2, 3}}, topic_id = {{7}};
static uint8_t ids_given;

static struct tide_uuid next_id(void)
{
    return (struct tide_uuid){{9, ++ids_given}};
}

static void remove_tree(const char *path)
{
    DIR *at = opendir(path);
    struct dirent *e;
    while (at != NULL && (e = readdir(at)) != NULL) {
        char inner[2 * ROOM];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(inner, sizeof(inner), "%s/%s", path, e->d_name) >= (int)sizeof(inner))
            abort();
        if (e->d_type == DT_DIR)
            remove_tree(inner);
        else
            (void)unlink(inner);
    }
    if (at != NULL)
        closedir(at);
    (void)rmdir(path);
}

static int setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/test_dirs_XXXXXX");
    if (mkdtemp(root) == NULL)
        return 1;
    for (int i = 0; i < 4; i++)
        snprintf(paths[i], ROOM, "%s/%c", root, 'a' + i);
    ids_given = 0;
    return 0;
}

static int teardown(void **state)
{
    dirs_close(d);
    d = NULL;
    remove_tree(root);
    return 0;
}

static const char *in(unsigned dir, const char *name)
{
    static char path[2 * ROOM];
    if (snprintf(path, sizeof(path), "%s/%s", paths[dir], name) >= (int)sizeof(path))
        abort();
    return path;
}

static bool there(unsigned dir, const char *name)
{
    return access(in(dir, name), F_OK) == 0;
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_partition(unsigned dir, const char *name, const char *id)
{
    char file[256], text[128];
    assert_int_equal(mkdir(in(dir, name), 0755), 0);
    snprintf(file, sizeof(file), "%s/partition.metadata", name);
    snprintf(text, sizeof(text), "version: 0\ntopic_id: %s\n", id != NULL ? id : "");
    if (id != NULL)
        write_text(in(dir, file), text);
    snprintf(file, sizeof(file), "%s/00000000000000000000.log", name);
    write_text(in(dir, file), "x");
}

static enum tide_status open_with(struct dirs_wanted wanted)
{
    wanted.fresh_cluster_id = &cluster_id;
    wanted.fresh_directory_id = next_id;
    error[0] = 0;
    enum tide_status status = dirs_open(&wanted, posix_fs(), &d, &who, error, sizeof(error));
    assert_int_equal(error[0] != 0, status != TIDE_OK);
    return status;
}

static enum tide_status open_some(uint32_t count)
{
    return open_with((struct dirs_wanted){.paths = names, .count = count, .node_id = 3});
}

static void close_it(void)
{
    dirs_close(d);
    d = NULL;
}

#define REFUSED(status, ...) refused(status, (const char *const[]){__VA_ARGS__, NULL})
static void refused(enum tide_status status, const char *const *words)
{
    if (status == TIDE_OK)
        fail_msg("it was taken");
    for (; *words != NULL; words++)
        if (strstr(error, *words) == NULL)
            fail_msg("'%s' is not in '%s'", *words, error);
    d = NULL;
}

/* ---- identity and lock -------------------------------------------------------------------------- */

static void test_fresh_directories(void **state)
{
    struct tide_uuid a, b;
    assert_int_equal(open_some(2), TIDE_OK);
    assert_int_equal(who.fresh, 2);
    assert_false(who.clean);
    assert_true(tide_uuid_equal(&who.cluster_id, &cluster_id));
    dirs_id(d, 0, &a);
    dirs_id(d, 1, &b);
    assert_false(tide_uuid_equal(&a, &b));
    close_it();
    assert_int_equal(open_some(2), TIDE_OK);
    assert_int_equal(who.fresh, 0);
    assert_false(who.clean);
    struct tide_uuid again;
    dirs_id(d, 1, &again);
    assert_true(tide_uuid_equal(&b, &again));
    assert_true(tide_uuid_equal(&who.cluster_id, &cluster_id));
}

static void test_one_that_cannot_be_made(void **state)
{
    snprintf(paths[1], ROOM, "%s/absent/deeper", root);
    REFUSED(open_some(2), "absent/deeper", "does not exist");
    assert_false(there(0, "meta.properties")); /* nothing was begun in the other one */
}

static void test_one_directory_under_two_names(void **state)
{
    assert_int_equal(mkdir(paths[0], 0755), 0);
    assert_int_equal(symlink(paths[0], paths[1]), 0);
    REFUSED(open_some(2), paths[0], paths[1], "same directory");
}

static void test_a_second_broker_is_refused(void **state)
{
    assert_int_equal(open_some(2), TIDE_OK);
    struct dirs *first = d;
    REFUSED(open_with((struct dirs_wanted){.paths = names + 1, .count = 1, .node_id = 3}), paths[1], "another broker runs");
    dirs_close(first);
    assert_int_equal(open_some(2), TIDE_OK);
}

static void test_another_node_is_refused(void **state)
{
    assert_int_equal(open_some(2), TIDE_OK);
    close_it();
    REFUSED(open_with((struct dirs_wanted){.paths = names, .count = 2, .node_id = 4}), "node.id=3", "node.id=4");
    assert_int_equal(open_some(2), TIDE_OK); /* the locks were given back */
}

#define ID "AQIDAAAAAAAAAAAAAAAAAA"

static void test_other_properties(void **state)
{
    static const struct {
        const char *text;
        enum tide_status status;
    } cases[] = {
        {"version=1\ncluster.id=" ID "\nnode.id=3\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n", TIDE_OK},
        {"#comment\r\nversion=1\r\ncluster.id=" ID "\r\nnode.id=3\r\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\r\n", TIDE_OK},
        {"version=2\ncluster.id=" ID "\nnode.id=3\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n", TIDE_REFUSED},
        {"version=1\ncluster.id=short\nnode.id=3\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n", TIDE_REFUSED},
        {"version=1\ncluster.id=" ID "\nnode.id=3\n", TIDE_REFUSED},
        {"version=1\ncluster.id=" ID "\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n", TIDE_REFUSED},
        {"", TIDE_REFUSED},
        {"\n\n=\n", TIDE_REFUSED},
    };
    for (size_t i = 0; i < TIDE_ARRAY_LEN(cases); i++) {
        remove_tree(paths[0]);
        assert_int_equal(mkdir(paths[0], 0755), 0);
        write_text(in(0, "meta.properties"), cases[i].text);
        enum tide_status status = open_some(1);
        if (status != cases[i].status)
            fail_msg("row %zu: status %d, %s", i, status, error);
        if (status == TIDE_OK)
            close_it();
        d = NULL;
    }
}

static void test_the_mark_of_a_clean_stop(void **state)
{
    assert_int_equal(open_some(2), TIDE_OK);
    assert_int_equal(dirs_mark_clean(d, 12), 0);
    assert_true(there(0, ".kafka_cleanshutdown") && there(1, ".kafka_cleanshutdown"));
    close_it();
    assert_int_equal(open_some(2), TIDE_OK);
    assert_true(who.clean);
    assert_false(there(0, ".kafka_cleanshutdown") || there(1, ".kafka_cleanshutdown"));
    assert_int_equal(dirs_mark_clean(d, 12), 0);
    close_it();
    assert_int_equal(unlink(in(1, ".kafka_cleanshutdown")), 0);
    assert_int_equal(open_some(2), TIDE_OK);
    assert_false(who.clean); /* one of them was not */
}

/* ---- sets that do not go together ------------------------------------------------------------------ */

static void test_one_is_added(void **state)
{
    assert_int_equal(open_some(1), TIDE_OK);
    assert_int_equal(dirs_mark_clean(d, 0), 0);
    close_it();
    assert_int_equal(open_some(3), TIDE_OK);
    assert_int_equal(who.fresh, 2);
    assert_true(who.clean);
    assert_true(tide_uuid_equal(&who.cluster_id, &cluster_id));
}

static void test_one_is_missing(void **state)
{
    assert_int_equal(open_some(3), TIDE_OK);
    close_it();
    REFUSED(open_some(2), paths[2], "missing", "log-directories");
    assert_int_equal(open_some(3), TIDE_OK); /* nothing was forgotten by the refusal */
    close_it();
    /* Gone for good: its line is removed. */
    char text[4096] = "";
    FILE *f = fopen(in(0, "log-directories"), "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    char *line = strstr(text, paths[2]);
    assert_non_null(line);
    while (line != text && line[-1] != '\n')
        line--;
    *line = 0;
    write_text(in(0, "log-directories"), text);
    assert_int_equal(open_some(2), TIDE_OK);
    close_it();
    write_text(in(0, "log-directories"), "neither\n");
    REFUSED(open_some(2), "damaged", "neither");
}

static void test_two_clusters(void **state)
{
    assert_int_equal(open_some(1), TIDE_OK);
    close_it();
    assert_int_equal(mkdir(paths[1], 0755), 0);
    write_text(in(1, "meta.properties"), "version=1\ncluster.id=BBBBAAAAAAAAAAAAAAAAAA\nnode.id=3\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n");
    REFUSED(open_some(2), paths[0], paths[1], "different clusters");
}

static void test_a_copy(void **state)
{
    assert_int_equal(mkdir(paths[0], 0755), 0);
    assert_int_equal(mkdir(paths[1], 0755), 0);
    for (unsigned i = 0; i < 2; i++)
        write_text(in(i, "meta.properties"), "version=1\ncluster.id=" ID "\nnode.id=3\ndirectory.id=BAUGAAAAAAAAAAAAAAAAAA\n");
    REFUSED(open_some(2), paths[0], paths[1], "copy of the other");
}

static void test_the_metadata_went_away(void **state)
{
    assert_int_equal(open_some(2), TIDE_OK);
    close_it();
    remove_tree(paths[0]);
    REFUSED(open_some(2), paths[0], paths[1], "metadata log");
    assert_false(there(0, "meta.properties"));
}

static void test_the_metadata_directory_is_not_named(void **state)
{
    assert_int_equal(open_some(2), TIDE_OK);
    close_it();
    make_partition(1, "t-0", ID);
    REFUSED(open_with((struct dirs_wanted){.paths = names + 1, .count = 1, .node_id = 3}), paths[1], "metadata log");
    assert_int_equal(open_some(2), TIDE_OK);
}

static void test_metadata_beside_the_data(void **state)
{
    struct dirs_wanted wanted = {.paths = names, .count = 3, .metadata = 2, .metadata_only = true, .node_id = 3};
    uint32_t dir;
    assert_int_equal(open_with(wanted), TIDE_OK);
    for (int32_t i = 0; i < 6; i++) {
        assert_true(dirs_place(d, "t", i, &dir));
        assert_int_equal(dir, i % 2);
    }
    close_it();
    make_partition(2, "t-0", ID);
    REFUSED(open_with(wanted), "t-0", paths[2]);
}

/* ---- partitions -------------------------------------------------------------------------------------- */

static void test_partitions_are_found(void **state)
{
    static const char *const no_partitions[] = {"__cluster_metadata-0", "plain", "t-", "t-01", "t-x", "-3", "t-99999999999", "t 1-0"};
    uint32_t dir;
    assert_int_equal(mkdir(paths[0], 0755), 0);
    assert_int_equal(mkdir(paths[1], 0755), 0);
    for (size_t i = 0; i < TIDE_ARRAY_LEN(no_partitions); i++)
        assert_int_equal(mkdir(in(0, no_partitions[i]), 0755), 0);
    write_text(in(0, "file-0"), "");
    make_partition(0, "t-0", ID);
    make_partition(0, "t-10", ID);
    make_partition(1, "with-dash-7", ID);
    assert_int_equal(open_some(3), TIDE_OK);
    assert_int_equal(dirs_partitions(d, 0), 2);
    assert_int_equal(dirs_partitions(d, 1), 1);
    assert_true(dirs_place(d, "t", 10, &dir));
    assert_int_equal(dir, 0);
    assert_true(dirs_place(d, "with-dash", 7, &dir));
    assert_int_equal(dir, 1);
    /* new ones go where the fewest are */
    static const uint32_t expected[] = {2, 1, 2, 0, 1, 2};
    for (int32_t i = 0; i < 6; i++) {
        assert_true(dirs_place(d, "new", i, &dir));
        assert_int_equal(dir, expected[i]);
    }
    /* and not where nothing can be written, unless that is so everywhere */
    dirs_set_offline(d, 0, true);
    dirs_set_offline(d, 1, true);
    for (int32_t i = 6; i < 9; i++) {
        assert_true(dirs_place(d, "new", i, &dir));
        assert_int_equal(dir, 2);
    }
    dirs_set_offline(d, 2, true);
    assert_true(dirs_place(d, "new", 9, &dir));
    assert_int_equal(dir, 0);
    dirs_forget(d, "new", 9);
    dirs_forget(d, "t", 0);
    dirs_forget(d, "t", 10);
    dirs_forget(d, "t", 11); /* never was */
    assert_true(dirs_place(d, "t", 0, &dir));
    assert_int_equal(dir, 0);
}

static void test_a_partition_twice(void **state)
{
    assert_int_equal(mkdir(paths[0], 0755), 0);
    assert_int_equal(mkdir(paths[1], 0755), 0);
    make_partition(0, "t-0", ID);
    make_partition(1, "t-0", ID);
    REFUSED(open_some(2), paths[0], paths[1], "t-0");
    assert_false(there(0, "meta.properties"));
}

static void test_what_a_deletion_left(void **state)
{
    assert_int_equal(mkdir(paths[0], 0755), 0);
    make_partition(0, "t-0." ID "-delete", ID);
    make_partition(0, "t-0", ID);
    make_partition(0, "my-delete-0", ID);
    assert_int_equal(open_some(1), TIDE_OK);
    assert_false(there(0, "t-0." ID "-delete"));
    assert_true(there(0, "t-0"));
    assert_true(there(0, "my-delete-0"));
}

static unsigned said;
static void say(const char *format, ...)
{
    (void)format;
    said++;
}

static bool is_topic(void *arg, const char *topic, int32_t index, const struct tide_uuid *id)
{
    (void)arg;
    return strcmp(topic, "known") == 0 && index < 2 && (tide_uuid_equal(id, &topic_id) || id->bytes[0] == 0);
}

static void test_strays_are_set_aside(void **state)
{
    char known[TIDE_UUID_TEXT];
    tide_uuid_to_text(&topic_id, known);
    assert_int_equal(mkdir(paths[0], 0755), 0);
    assert_int_equal(mkdir(paths[1], 0755), 0);
    make_partition(0, "known-0", known);
    make_partition(1, "known-1", NULL); /* made, and then the power went */
    make_partition(0, "known-2", known);
    make_partition(1, "other-0", known);
    make_partition(1, "known-3", "damaged");
    assert_int_equal(open_some(2), TIDE_OK);
    said = 0;
    assert_int_equal(dirs_set_strays_aside(d, is_topic, say, NULL, error, sizeof(error)), 0);
    assert_int_equal(said, 2);
    assert_true(there(0, "known-0") && there(1, "known-1") && there(1, "known-3"));
    assert_false(there(0, "known-2") || there(1, "other-0"));
    char name[128];
    snprintf(name, sizeof(name), "other-0.%s-stray/00000000000000000000.log", known);
    assert_true(there(1, name));
    assert_int_equal(dirs_partitions(d, 0), 1);
    assert_int_equal(dirs_partitions(d, 1), 2);
    close_it();
    assert_int_equal(open_some(2), TIDE_OK); /* and stay so */
    said = 0;
    assert_int_equal(dirs_set_strays_aside(d, is_topic, say, NULL, error, sizeof(error)), 0);
    assert_int_equal(said, 0);
    assert_true(there(1, name));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fresh_directories),
        TEST(test_one_that_cannot_be_made),
        TEST(test_one_directory_under_two_names),
        TEST(test_a_second_broker_is_refused),
        TEST(test_another_node_is_refused),
        TEST(test_other_properties),
        TEST(test_the_mark_of_a_clean_stop),
        TEST(test_one_is_added),
        TEST(test_one_is_missing),
        TEST(test_two_clusters),
        TEST(test_a_copy),
        TEST(test_the_metadata_went_away),
        TEST(test_the_metadata_directory_is_not_named),
        TEST(test_metadata_beside_the_data),
        TEST(test_partitions_are_found),
        TEST(test_a_partition_twice),
        TEST(test_what_a_deletion_left),
        TEST(test_strays_are_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
