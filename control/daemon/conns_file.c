/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conns_file.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/files.h"
#include "tidemark/assert.h"

enum {
    MAGIC = 0x4e4f4354, /* TCON */
    FORMAT = 1,
    LOOK_MS = 250,
};

struct header {
    uint32_t magic;
    uint32_t format;
    uint32_t count;
    uint32_t zero;
};

struct row {
    struct tide_addr local, remote;
    uint16_t local_port, remote_port;
    uint32_t zero;
};
static_assert(sizeof(struct header) == 16 && sizeof(struct row) == 40, "the form of the file");

struct conns_file {
    struct world *world;
    int fd;
    uv_timer_t timer;
    uv_work_t work;
    bool listing; /* the cores were asked */
    bool writing;
    uint64_t seen; /* connections that had come when they were asked last */
    uint8_t *bytes;
    size_t len, room;
};

struct orphan *conns_file_load(const char *dir, uint32_t max, uint32_t *ret_count)
{
    char path[FILES_PATH_MAX];
    struct header h;
    struct row r;
    struct orphan *list = NULL;
    FILE *f;
    *ret_count = 0;
    files_path(path, dir, "connections");
    f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    if (fread(&h, sizeof(h), 1, f) != 1 || h.magic != MAGIC || h.format != FORMAT)
        h.count = 0;
    h.count = TIDE_MIN(h.count, max);
    if (h.count != 0)
        list = calloc(h.count, sizeof(*list));
    while (list != NULL && *ret_count < h.count && fread(&r, sizeof(r), 1, f) == 1)
        list[(*ret_count)++] = (struct orphan){{r.local, r.local_port}, {r.remote, r.remote_port}};
    fclose(f);
    return list;
}

/* ---- keeping it -------------------------------------------------------------------------------------------- */

static uint64_t have_come(const struct world *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->core_count; i++) {
        const struct core_gauges *g = core_gauges(w->cores[i]);
        sum += tide_pub64_peek(&g->tcp[TCP_STAT_accepted]) + tide_pub64_peek(&g->tcp[TCP_STAT_connected]);
    }
    return sum;
}

static void write_it(uv_work_t *work)
{
    struct conns_file *c = work->data;
    /* A part of it, or a mixture with what was there, would still be rows: harmless ones at worst. */
    if (pwrite(c->fd, c->bytes, c->len, 0) == (ssize_t)c->len)
        (void)!ftruncate(c->fd, (off_t)c->len);
}

static void on_written(uv_work_t *work, int status)
{
    struct conns_file *c = work->data;
    TIDE_ASSERT(status == 0);
    c->writing = false;
}

static bool make_room(struct conns_file *c, size_t room)
{
    uint8_t *more = room <= c->room ? c->bytes : realloc(c->bytes, room);
    if (more == NULL)
        return false;
    c->bytes = more;
    c->room = TIDE_MAX(c->room, room);
    return true;
}

static bool render(struct conns_file *c)
{
    struct header h = {.magic = MAGIC, .format = FORMAT};
    uint32_t counts[TIDE_CORES_MAX];
    for (uint32_t i = 0; i < c->world->core_count; i++) {
        (void)core_conns(c->world->cores[i], &counts[i]);
        h.count += counts[i];
    }
    if (!make_room(c, sizeof(h) + h.count * sizeof(struct row)))
        return false;
    memcpy(c->bytes, &h, sizeof(h));
    c->len = sizeof(h);
    for (uint32_t i = 0; i < c->world->core_count; i++) {
        const struct tcp_conn_info *info = core_conns(c->world->cores[i], &counts[i]);
        for (uint32_t k = 0; k < counts[i]; k++, c->len += sizeof(struct row)) {
            struct row r = {info[k].local.addr, info[k].remote.addr, info[k].local.port, info[k].remote.port, 0};
            memcpy(c->bytes + c->len, &r, sizeof(r));
        }
    }
    return true;
}

static void on_look(uv_timer_t *timer)
{
    struct conns_file *c = timer->data;
    if (c->writing)
        return;
    if (!c->listing && have_come(c->world) != c->seen) {
        c->seen = have_come(c->world);
        c->listing = true;
        world_ask_for_conns(c->world);
    } else if (c->listing && world_conns_are_ready(c->world)) {
        c->listing = false;
        if (!render(c))
            return;
        c->writing = true;
        TIDE_ASSERT(uv_queue_work(&c->world->loop, &c->work, write_it, on_written) == 0);
    }
}

struct conns_file *conns_file_start(struct world *w, const char *dir)
{
    char path[FILES_PATH_MAX];
    struct conns_file *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    files_path(path, dir, "connections");
    c->fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (c->fd < 0) {
        free(c);
        return NULL;
    }
    c->world = w;
    c->work.data = c->timer.data = c;
    uv_timer_init(&w->loop, &c->timer);
    uv_timer_start(&c->timer, on_look, LOOK_MS, LOOK_MS);
    return c;
}

static void on_closed(uv_handle_t *h)
{
    struct conns_file *c = h->data;
    c->world = NULL;
}

void conns_file_stop(struct conns_file *c)
{
    uv_loop_t *loop;
    if (c == NULL)
        return;
    loop = &c->world->loop;
    uv_close((uv_handle_t *)&c->timer, on_closed);
    while (c->writing || c->world != NULL)
        uv_run(loop, UV_RUN_ONCE);
    close(c->fd);
    free(c->bytes);
    free(c);
}
