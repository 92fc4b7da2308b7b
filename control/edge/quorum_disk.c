/* SPDX-License-Identifier: Apache-2.0 */
#include "edge/quorum_disk.h"

#include "tidemark/assert.h"

static void work(uv_work_t *w)
{
    struct quorum_disk *d = w->data;
    d->result = quorum_files_run(d->files, d->op);
}

static void done(uv_work_t *w, int status)
{
    struct quorum_disk *d = w->data;
    d->op = NULL;
    if (!d->stopping)
        quorum_on_disk_done(d->quorum, uv_hrtime(), status != 0 ? status : d->result, quorum_files_capacity(d->files));
    d->ready(d->owner);
}

void quorum_disk_init(struct quorum_disk *d, uv_loop_t *loop, struct quorum *q, struct quorum_files *f, void (*ready)(void *owner), void *owner)
{
    *d = (struct quorum_disk){.loop = loop, .quorum = q, .files = f, .ready = ready, .owner = owner};
    d->work.data = d;
}

void quorum_disk_kick(struct quorum_disk *d)
{
    if (d->op != NULL || d->stopping)
        return;
    d->op = quorum_disk_take(d->quorum);
    if (d->op != NULL)
        TIDE_ASSERT(uv_queue_work(d->loop, &d->work, work, done) == 0);
}

bool quorum_disk_stop(struct quorum_disk *d)
{
    d->stopping = true;
    return d->op == NULL;
}
