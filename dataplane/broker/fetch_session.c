/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/fetch_session.h"

#include <assert.h>
#include <stdlib.h>

#include "tidemark/assert.h"
#include "tidemark/random.h"

enum {
    NONE = 0, /* places are numbered from 1 */
    CORE_BITS = 5,
    FIRST_EPOCH = 1,
    LOOKED_AT_MAX = 64, /* sessions, when one has to go: who finds no room asks with each fetch */
};
static_assert(1 << CORE_BITS >= TIDE_CORES_MAX, "an id carries the number of its core");

#define STALE_NS (120 * TIDE_NS_PER_S)

struct fetch_session {
    int32_t id; /* 0: the place is free */
    int32_t epoch;
    bool by_id;
    uint32_t size;
    uint32_t first, last;            /* partitions */
    uint32_t older, newer;           /* sessions by last use; free ones by `newer` */
    uint32_t in_bucket;
    uint64_t stamp;
    uint64_t made_ns, used_ns;
};

struct topic {
    uint32_t session;
    uint32_t partitions; /* 0: the place is free */
    uint32_t in_bucket;  /* free ones too */
    bool by_id;
    uint16_t name_len;
    struct tide_uuid id;
    char name[TIDE_TOPIC_NAME_MAX];
};

struct fetch_sessions {
    uint32_t core;
    uint64_t seed;
    struct tide_random random;
    struct fetch_session *sessions;
    struct topic *topics;
    struct fetch_session_partition *partitions;
    uint32_t session_max, partition_max;                           /* topics as many as partitions */
    uint32_t session_fresh, topic_fresh, partition_fresh;          /* places up to here were used at some time */
    uint32_t session_free, topic_free, partition_free;             /* lists of those that are free again */
    uint32_t session_count, topic_count, partition_count;
    uint32_t oldest, newest;
    uint64_t stamp;                                                /* the last one */
    uint32_t session_mask, topic_mask, partition_mask;
    uint32_t *session_buckets, *topic_buckets, *partition_buckets;
};

/* ---- life ---------------------------------------------------------------------------------------- */

static uint32_t buckets_for(uint32_t count)
{
    uint32_t n = 16;
    while (n < count)
        n *= 2;
    return n;
}

void fetch_sessions_destroy(struct fetch_sessions *all)
{
    if (all == NULL)
        return;
    free(all->sessions);
    free(all->topics);
    free(all->partitions);
    free(all->session_buckets);
    free(all->topic_buckets);
    free(all->partition_buckets);
    free(all);
}

/* calloc: the kernel gives pages when they are touched. */
struct fetch_sessions *fetch_sessions_create(uint32_t sessions, uint32_t partitions, uint32_t core, uint64_t random)
{
    struct fetch_sessions *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return NULL;
    all->core = core;
    all->random.state = random;
    all->seed = tide_random_u64(&all->random);
    all->session_max = sessions;
    all->partition_max = partitions;
    all->session_mask = buckets_for(sessions) - 1;
    all->topic_mask = all->partition_mask = buckets_for(partitions) - 1;
    all->sessions = calloc((size_t)sessions + 1, sizeof(*all->sessions));
    all->topics = calloc((size_t)partitions + 1, sizeof(*all->topics));
    all->partitions = calloc((size_t)partitions + 1, sizeof(*all->partitions));
    all->session_buckets = calloc((size_t)all->session_mask + 1, sizeof(uint32_t));
    all->topic_buckets = calloc((size_t)all->topic_mask + 1, sizeof(uint32_t));
    all->partition_buckets = calloc((size_t)all->partition_mask + 1, sizeof(uint32_t));
    if (all->sessions == NULL || all->topics == NULL || all->partitions == NULL || all->session_buckets == NULL ||
        all->topic_buckets == NULL || all->partition_buckets == NULL) {
        fetch_sessions_destroy(all);
        return NULL;
    }
    return all;
}

static uint32_t number_of(const struct fetch_sessions *all, const struct fetch_session *s)
{
    return (uint32_t)(s - all->sessions);
}

static uint32_t number_of_partition(const struct fetch_sessions *all, const struct fetch_session_partition *p)
{
    return (uint32_t)(p - all->partitions);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint32_t *bucket_of_session(const struct fetch_sessions *all, int32_t id)
{
    return &all->session_buckets[(uint32_t)(id >> CORE_BITS) & all->session_mask];
}

static uint32_t *bucket_of_topic(const struct fetch_sessions *all, uint32_t session, const struct fetch_topic_key *k)
{
    const uint8_t *bytes = k->by_id ? k->id.bytes : (const uint8_t *)k->name;
    uint32_t left = k->by_id ? sizeof(k->id.bytes) : k->name_len;
    uint64_t h = mixed(all->seed, (uint64_t)session << 16 | left);
    while (left != 0) {
        uint64_t word = 0;
        uint32_t n = TIDE_MIN(left, (uint32_t)sizeof(word));
        memcpy(&word, bytes, n);
        h = mixed(h, word);
        bytes += n;
        left -= n;
    }
    return &all->topic_buckets[mixed(h, all->seed) & all->topic_mask];
}

static uint32_t *bucket_of_partition(const struct fetch_sessions *all, uint32_t topic, int32_t index)
{
    return &all->partition_buckets[mixed(mixed(all->seed, topic), (uint32_t)index) & all->partition_mask];
}

static bool is_topic(const struct topic *t, uint32_t session, const struct fetch_topic_key *k)
{
    if (t->session != session || t->by_id != k->by_id)
        return false;
    return k->by_id ? tide_uuid_equal(&t->id, &k->id) : t->name_len == k->name_len && memcmp(t->name, k->name, k->name_len) == 0;
}

static uint32_t find_topic(const struct fetch_sessions *all, uint32_t session, const struct fetch_topic_key *k)
{
    uint32_t i = *bucket_of_topic(all, session, k);
    while (i != NONE && !is_topic(&all->topics[i], session, k))
        i = all->topics[i].in_bucket;
    return i;
}

static uint32_t find_partition(const struct fetch_sessions *all, uint32_t topic, int32_t index)
{
    uint32_t i = *bucket_of_partition(all, topic, index);
    while (i != NONE && (all->partitions[i].topic != topic || all->partitions[i].index != index))
        i = all->partitions[i].in_bucket;
    return i;
}

struct fetch_session *fetch_session_find(struct fetch_sessions *all, int32_t id)
{
    uint32_t i;
    if (id <= 0)
        return NULL;
    i = *bucket_of_session(all, id);
    while (i != NONE && all->sessions[i].id != id)
        i = all->sessions[i].in_bucket;
    return i != NONE ? &all->sessions[i] : NULL;
}

/* ---- topics of a session ------------------------------------------------------------------------------ */

void fetch_session_topic(const struct fetch_sessions *all, const struct fetch_session_partition *p, struct fetch_topic_key *ret)
{
    const struct topic *t = &all->topics[p->topic];
    *ret = (struct fetch_topic_key){.by_id = t->by_id, .name_len = t->name_len, .name = t->name, .id = t->id};
}

static uint32_t take_topic(struct fetch_sessions *all, uint32_t session, const struct fetch_topic_key *k)
{
    uint32_t *bucket = bucket_of_topic(all, session, k);
    uint32_t i = all->topic_free;
    if (i != NONE)
        all->topic_free = all->topics[i].in_bucket;
    else
        i = ++all->topic_fresh; /* there are as many topics as partitions, and each has one at least */
    TIDE_ASSERT(i <= all->partition_max);
    all->topics[i] = (struct topic){.session = session, .by_id = k->by_id, .name_len = k->by_id ? 0 : k->name_len, .id = k->id, .in_bucket = *bucket};
    if (!k->by_id)
        memcpy(all->topics[i].name, k->name, k->name_len);
    *bucket = i;
    all->topic_count++;
    return i;
}

static void give_topic(struct fetch_sessions *all, uint32_t i)
{
    struct topic *t = &all->topics[i];
    const struct fetch_topic_key k = {.by_id = t->by_id, .name_len = t->name_len, .name = t->name, .id = t->id};
    uint32_t *at = bucket_of_topic(all, t->session, &k);
    while (*at != i)
        at = &all->topics[*at].in_bucket;
    *at = t->in_bucket;
    t->session = NONE;
    t->in_bucket = all->topic_free;
    all->topic_free = i;
    all->topic_count--;
}

/* ---- the order of a session ------------------------------------------------------------------------------ */

static void list(struct fetch_sessions *all, struct fetch_session *s, uint32_t i)
{
    struct fetch_session_partition *p = &all->partitions[i];
    p->next = NONE;
    p->prev = s->last;
    if (s->last != NONE)
        all->partitions[s->last].next = i;
    else
        s->first = i;
    s->last = i;
}

static void unlist(struct fetch_sessions *all, struct fetch_session *s, const struct fetch_session_partition *p)
{
    if (p->prev != NONE)
        all->partitions[p->prev].next = p->next;
    else
        s->first = p->next;
    if (p->next != NONE)
        all->partitions[p->next].prev = p->prev;
    else
        s->last = p->prev;
}

void fetch_session_rotate(struct fetch_sessions *all, struct fetch_session_partition *p)
{
    struct fetch_session *s = &all->sessions[p->session];
    unlist(all, s, p);
    list(all, s, number_of_partition(all, p));
}

struct fetch_session_partition *fetch_session_next(struct fetch_sessions *all, struct fetch_session *s, struct fetch_session_partition *p)
{
    uint32_t i = p == NULL ? s->first : p->next;
    return i != NONE ? &all->partitions[i] : NULL;
}

static void remove_partition(struct fetch_sessions *all, struct fetch_session *s, uint32_t i)
{
    struct fetch_session_partition *p = &all->partitions[i];
    uint32_t *at = bucket_of_partition(all, p->topic, p->index);
    while (*at != i)
        at = &all->partitions[*at].in_bucket;
    *at = p->in_bucket;
    unlist(all, s, p);
    s->size--;
    if (--all->topics[p->topic].partitions == 0)
        give_topic(all, p->topic);
    p->session = p->topic = NONE;
    p->next = all->partition_free;
    all->partition_free = i;
    all->partition_count--;
}

static uint32_t take_partition(struct fetch_sessions *all)
{
    uint32_t i = all->partition_free;
    if (i != NONE)
        all->partition_free = all->partitions[i].next;
    else if (all->partition_fresh < all->partition_max)
        i = ++all->partition_fresh;
    return i;
}

struct fetch_session_partition *fetch_session_put(struct fetch_sessions *all, struct fetch_session *s, const struct fetch_topic_key *k,
                                                  const struct fetch_session_partition *asked)
{
    uint32_t session = number_of(all, s);
    uint32_t topic = find_topic(all, session, k);
    uint32_t i = topic != NONE ? find_partition(all, topic, asked->index) : NONE;
    struct fetch_session_partition *p;
    if (i == NONE) {
        uint32_t *bucket;
        i = take_partition(all);
        if (i == NONE)
            return NULL;
        if (topic == NONE)
            topic = take_topic(all, session, k);
        bucket = bucket_of_partition(all, topic, asked->index);
        all->partitions[i] = (struct fetch_session_partition){.index = asked->index, .high_watermark = -1, .log_start = -1,
                                                              .session = session, .topic = topic, .in_bucket = *bucket};
        *bucket = i;
        list(all, s, i);
        all->topics[topic].partitions++;
        all->partition_count++;
        s->size++;
    }
    p = &all->partitions[i];
    p->current_leader_epoch = asked->current_leader_epoch;
    p->last_fetched_epoch = asked->last_fetched_epoch;
    p->max_bytes = asked->max_bytes;
    p->offset = asked->offset;
    return p;
}

void fetch_session_forget(struct fetch_sessions *all, struct fetch_session *s, const struct fetch_topic_key *k, int32_t index)
{
    uint32_t topic = find_topic(all, number_of(all, s), k);
    uint32_t i = topic != NONE ? find_partition(all, topic, index) : NONE;
    if (i == NONE)
        return;
    remove_partition(all, s, i);
    s->stamp = ++all->stamp;
}

/* ---- sessions ----------------------------------------------------------------------------------------------- */

int32_t fetch_session_id(const struct fetch_session *s) { return s->id; }
int32_t fetch_session_epoch(const struct fetch_session *s) { return s->epoch; }
bool fetch_session_is_by_id(const struct fetch_session *s) { return s->by_id; }
uint64_t fetch_session_stamp(const struct fetch_session *s) { return s->stamp; }
uint32_t fetch_session_size(const struct fetch_session *s) { return s->size; }

static void use(struct fetch_sessions *all, struct fetch_session *s, uint64_t now_ns)
{
    uint32_t i = number_of(all, s);
    s->used_ns = now_ns;
    s->newer = NONE;
    s->older = all->newest;
    if (all->newest != NONE)
        all->sessions[all->newest].newer = i;
    else
        all->oldest = i;
    all->newest = i;
}

static void unuse(struct fetch_sessions *all, const struct fetch_session *s)
{
    if (s->older != NONE)
        all->sessions[s->older].newer = s->newer;
    else
        all->oldest = s->newer;
    if (s->newer != NONE)
        all->sessions[s->newer].older = s->older;
    else
        all->newest = s->older;
}

void fetch_session_close(struct fetch_sessions *all, struct fetch_session *s)
{
    uint32_t *at = bucket_of_session(all, s->id);
    uint32_t i = number_of(all, s);
    while (s->first != NONE)
        remove_partition(all, s, s->first);
    while (*at != i)
        at = &all->sessions[*at].in_bucket;
    *at = s->in_bucket;
    unuse(all, s);
    *s = (struct fetch_session){.newer = all->session_free};
    all->session_free = i;
    all->session_count--;
}

static struct fetch_session *smallest_of_age(struct fetch_sessions *all, uint64_t now_ns)
{
    struct fetch_session *least = NULL;
    uint32_t left = LOOKED_AT_MAX;
    for (uint32_t i = all->oldest; i != NONE && left-- != 0; i = all->sessions[i].newer) {
        struct fetch_session *s = &all->sessions[i];
        if (now_ns - s->made_ns >= STALE_NS && (least == NULL || s->size < least->size))
            least = s;
    }
    return least;
}

/* Makes room for a session of `size`. False: nobody has to go. */
static bool evict(struct fetch_sessions *all, uint64_t now_ns, uint32_t size)
{
    struct fetch_session *s = all->oldest != NONE ? &all->sessions[all->oldest] : NULL;
    if (s != NULL && now_ns - s->used_ns < STALE_NS) {
        s = smallest_of_age(all, now_ns);
        if (s != NULL && s->size >= size)
            s = NULL;
    }
    if (s == NULL)
        return false;
    fetch_session_close(all, s);
    return true;
}

/* An id that is nobody's: 0 is none, and the sign is not used. */
static int32_t new_id(struct fetch_sessions *all)
{
    int32_t id;
    do
        id = (int32_t)((uint32_t)tide_random_u64(&all->random) >> (1 + CORE_BITS) << CORE_BITS | all->core);
    while (id >> CORE_BITS == 0 || fetch_session_find(all, id) != NULL);
    return id;
}

struct fetch_session *fetch_session_open(struct fetch_sessions *all, uint64_t now_ns, bool by_id, uint32_t size)
{
    struct fetch_session *s;
    uint32_t *bucket;
    uint32_t i;
    if (all->session_max == 0 || size == 0 || size > all->partition_max)
        return NULL;
    while (all->session_count == all->session_max || all->partition_max - all->partition_count < size)
        if (!evict(all, now_ns, size))
            return NULL;
    i = all->session_free;
    if (i != NONE)
        all->session_free = all->sessions[i].newer;
    else
        i = ++all->session_fresh;
    s = &all->sessions[i];
    *s = (struct fetch_session){.id = new_id(all), .epoch = FIRST_EPOCH, .by_id = by_id, .stamp = ++all->stamp, .made_ns = now_ns};
    bucket = bucket_of_session(all, s->id);
    s->in_bucket = *bucket;
    *bucket = i;
    all->session_count++;
    use(all, s, now_ns);
    return s;
}

int32_t fetch_session_epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? FIRST_EPOCH : epoch + 1;
}

void fetch_session_taken(struct fetch_sessions *all, struct fetch_session *s, uint64_t now_ns)
{
    s->epoch = fetch_session_epoch_after(s->epoch);
    s->stamp = ++all->stamp;
    unuse(all, s);
    use(all, s, now_ns);
}

/* ---- looking inside ------------------------------------------------------------------------------------------ */

void fetch_sessions_count(const struct fetch_sessions *all, struct fetch_session_counts *ret)
{
    *ret = (struct fetch_session_counts){.sessions = all->session_count, .partitions = all->partition_count};
}

static uint32_t check_session(const struct fetch_sessions *all, const struct fetch_session *s)
{
    uint32_t size = 0;
    for (uint32_t i = s->first; i != NONE; i = all->partitions[i].next) {
        const struct fetch_session_partition *p = &all->partitions[i];
        TIDE_ASSERT(p->session == number_of(all, s));             /* S1 */
        TIDE_ASSERT(all->topics[p->topic].session == p->session); /* S1 */
        TIDE_ASSERT(all->topics[p->topic].partitions != 0);       /* S2 */
        TIDE_ASSERT(find_partition(all, p->topic, p->index) == i); /* S1 */
        size++;
    }
    TIDE_ASSERT(size == s->size); /* S2 */
    return size;
}

void fetch_sessions_check(const struct fetch_sessions *all)
{
    uint32_t sessions = 0, partitions = 0, free_sessions = 0, free_partitions = 0, free_topics = 0;
    for (uint32_t i = all->oldest; i != NONE; i = all->sessions[i].newer) {
        partitions += check_session(all, &all->sessions[i]);
        sessions++;
    }
    for (uint32_t i = all->session_free; i != NONE; i = all->sessions[i].newer)
        free_sessions++;
    for (uint32_t i = all->topic_free; i != NONE; i = all->topics[i].in_bucket)
        free_topics++;
    for (uint32_t i = all->partition_free; i != NONE; i = all->partitions[i].next)
        free_partitions++;
    TIDE_ASSERT(sessions == all->session_count);                                  /* S3 */
    TIDE_ASSERT(sessions + free_sessions == all->session_fresh);                  /* S3 */
    TIDE_ASSERT(all->topic_count + free_topics == all->topic_fresh);              /* S3 */
    TIDE_ASSERT(partitions == all->partition_count);                              /* S3 */
    TIDE_ASSERT(partitions + free_partitions == all->partition_fresh);            /* S3 */
}
