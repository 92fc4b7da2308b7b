/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/help_pool.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_ring.h>

#include "tidemark/assert.h"
#include "tidemark/types.h"

enum { HELP_RING = 16384, HELP_THREADS_MAX = 64 };

struct help_pool {
    const struct tide_fs *fs;
    unsigned thread_count;
    uint32_t owner_count; /* cores, then control */
    /* A ring each, with one producer: on shared CPUs an owner may be preempted in the middle of an enqueue, and in
     * a ring of many producers all others would spin until it runs again - and then be preempted by one another. */
    struct rte_ring *work[TIDE_CORES_MAX + 1];
    struct rte_ring *back[TIDE_CORES_MAX + 1];
    uint32_t next; /* the owner whose work is looked at first; under work_lock */
    /* Helpers only, never a core: the same is true for them. */
    pthread_mutex_t work_lock;
    pthread_mutex_t back_locks[TIDE_CORES_MAX + 1];
    int doorbells[TIDE_CORES_MAX + 1];
    sem_t waiting; /* counts jobs in the rings of work */
    _Atomic bool stop;
    pthread_t threads[HELP_THREADS_MAX];
};

static uint32_t owner_index(const struct help_pool *p, uint32_t owner)
{
    return owner == TIDE_JOB_CONTROL ? p->owner_count - 1 : owner;
}

static bool push_back(struct help_pool *p, uint32_t i, struct tide_job *job)
{
    pthread_mutex_lock(&p->back_locks[i]);
    bool taken = rte_ring_sp_enqueue(p->back[i], job) == 0;
    pthread_mutex_unlock(&p->back_locks[i]);
    return taken;
}

static void give_back(struct help_pool *p, struct tide_job *job)
{
    uint32_t i = owner_index(p, job->owner);
    uint64_t one = 1;
    /* As large as the ring of its work: what was taken from there fits, unless the owner forgets to take. */
    while (!push_back(p, i, job))
        usleep(100);
    if (p->doorbells[i] >= 0)
        (void)!write(p->doorbells[i], &one, sizeof(one));
}

static struct tide_job *take_work(struct help_pool *p)
{
    void *job = NULL;
    pthread_mutex_lock(&p->work_lock);
    for (uint32_t i = 0; i < p->owner_count && job == NULL; i++) {
        p->next = (p->next + 1) % p->owner_count; /* in turn: one who has much to do does not delay the others */
        if (rte_ring_sc_dequeue(p->work[p->next], &job) != 0)
            job = NULL;
    }
    pthread_mutex_unlock(&p->work_lock);
    return job;
}

static void *help(void *arg)
{
    struct help_pool *p = arg;
    for (;;) {
        while (sem_wait(&p->waiting) != 0)
            ;
        struct tide_job *job = take_work(p);
        if (job != NULL) {
            job->run(job, p->fs);
            give_back(p, job);
        } else if (atomic_load(&p->stop)) {
            return NULL;
        }
    }
}

static bool make_rings(struct help_pool *p)
{
    static _Atomic unsigned pools;
    unsigned number = pools++;
    char name[RTE_RING_NAMESIZE];
    for (uint32_t i = 0; i < p->owner_count; i++) {
        snprintf(name, sizeof(name), "help%u_%u", number, i);
        p->work[i] = rte_ring_create(name, HELP_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        snprintf(name, sizeof(name), "helped%u_%u", number, i);
        p->back[i] = rte_ring_create(name, HELP_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        p->doorbells[i] = -1;
        if (p->work[i] == NULL || p->back[i] == NULL)
            return false;
    }
    return true;
}

struct help_pool *help_pool_create(unsigned threads, uint32_t core_count, const struct tide_fs *fs)
{
    struct help_pool *p = calloc(1, sizeof(*p));
    TIDE_ASSERT(threads <= HELP_THREADS_MAX && core_count <= TIDE_CORES_MAX);
    if (p == NULL)
        return NULL;
    p->fs = fs;
    p->owner_count = core_count + 1;
    sem_init(&p->waiting, 0, 0);
    pthread_mutex_init(&p->work_lock, NULL);
    for (uint32_t i = 0; i < p->owner_count; i++)
        pthread_mutex_init(&p->back_locks[i], NULL);
    if (!make_rings(p)) {
        help_pool_destroy(p);
        return NULL;
    }
    for (unsigned i = 0; i < threads; i++) {
        char name[16];
        if (pthread_create(&p->threads[i], NULL, help, p) != 0) {
            help_pool_destroy(p);
            return NULL;
        }
        p->thread_count++;
        snprintf(name, sizeof(name), "tide-help-%u", i % HELP_THREADS_MAX);
        pthread_setname_np(p->threads[i], name);
    }
    return p;
}

void help_pool_destroy(struct help_pool *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    for (unsigned i = 0; i < p->thread_count; i++)
        sem_post(&p->waiting);
    for (unsigned i = 0; i < p->thread_count; i++)
        pthread_join(p->threads[i], NULL);
    for (uint32_t i = 0; i < p->owner_count; i++) {
        rte_ring_free(p->work[i]);
        rte_ring_free(p->back[i]);
        pthread_mutex_destroy(&p->back_locks[i]);
    }
    pthread_mutex_destroy(&p->work_lock);
    sem_destroy(&p->waiting);
    free(p);
}

void help_pool_set_doorbell(struct help_pool *p, uint32_t owner, int fd)
{
    p->doorbells[owner_index(p, owner)] = fd;
}

enum tide_status help_pool_submit(struct help_pool *p, struct tide_job *job)
{
    if (rte_ring_sp_enqueue(p->work[owner_index(p, job->owner)], job) != 0)
        return TIDE_FULL;
    sem_post(&p->waiting);
    return TIDE_OK;
}

unsigned help_pool_take(struct help_pool *p, uint32_t owner, struct tide_job **jobs, unsigned max)
{
    return rte_ring_sc_dequeue_burst(p->back[owner_index(p, owner)], (void **)jobs, max, NULL);
}
