/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control of sim_cluster, as a script: it registers brokers and fences them, elects leaders from the ISR or else from those that were in
 * it while it was large enough, commits the ISRs that leaders propose, publishes views, and has replicas that rotted filled anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/errors.h"
#include "sim_cluster_world.h"

enum { TAKEN = 16, LEASE_MS = 60, FENCE_MS = 100 };

/* News travel fast, or not at all fast. */
static uint64_t some_ms(struct sim *s)
{
    return sim_below_ms(s, tide_random_hits(&s->random, 3) ? 60 : 3);
}

void control_changed(struct sim *s, unsigned p)
{
    s->committed[p].partition_epoch++;
    sim_trace(s, "partition %u: leader %d epoch %d/%d isr %x", p, s->committed[p].leader + 1, s->committed[p].leader_epoch, s->committed[p].partition_epoch,
          s->committed[p].isr);
    for (unsigned b = 0; b < s->brokers; b++)
        if (!s->machines[b].view_stale) {
            s->machines[b].view_stale = true;
            s->machines[b].sync_ns = s->now_ns + some_ms(s);
        }
}

bool control_hears(const struct sim *s, const struct machine *m)
{
    return m->up && s->now_ns >= m->deaf_until_ns && s->now_ns >= m->paused_until_ns;
}

bool control_has_in_sync(const struct sim *s, unsigned b)
{
    for (unsigned p = 0; p < s->partitions; p++)
        if (!(s->committed[p].isr & 1u << b))
            return false;
    return true;
}

static bool is_alive(const struct sim *s, unsigned b)
{
    return s->machines[b].registered;
}

void control_elect(struct sim *s, unsigned p, int not)
{
    struct committed *c = &s->committed[p];
    int to = -1;
    unsigned first = (unsigned)tide_random_below(&s->random, s->brokers);
    for (unsigned i = 0; i < s->brokers; i++) {
        unsigned b = (first + i) % s->brokers;
        if (c->isr & ~c->lost & 1u << b && is_alive(s, b) && (to < 0 || (int)b != not))
            to = to < 0 || to == not ? (int)b : to;
    }
    c->leader = to;
    c->leader_epoch++;
    control_changed(s, p);
}

static void set_isr(struct sim *s, unsigned p, uint32_t isr)
{
    struct committed *c = &s->committed[p];
    c->elr = __builtin_popcount(isr) >= 2 ? 0 : (c->elr | c->isr) & ~isr;
    c->isr = isr;
}

static bool some_is_alive(const struct sim *s, uint32_t brokers)
{
    for (unsigned b = 0; b < s->brokers; b++)
        if (brokers & 1u << b && is_alive(s, b))
            return true;
    return false;
}

/* The broker has not what it had: it is in sync no more, and what it acknowledged in this epoch is not true. Unless nobody
 * else can lead, who has all that is committed; at its registration it is no question. */
static bool lose(struct sim *s, unsigned p, unsigned b, bool registers)
{
    struct committed *c = &s->committed[p];
    uint32_t others = c->isr & ~(1u << b);
    if (others == 0)
        others = c->elr & ~(1u << b);
    if (!registers && !some_is_alive(s, others))
        return false;
    if (others == 0)
        sim_give_up(s, "everything rotted");
    sim_trace(s, "partition %u: broker %u has not what it had", p, b + 1);
    set_isr(s, p, others);
    c->elr &= ~(1u << b);
    if (c->leader < 0 || c->leader == (int)b || !(c->isr & 1u << c->leader)) {
        control_elect(s, p, (int)b);
    } else {
        c->leader_epoch++;
        control_changed(s, p);
    }
    return true;
}

static void fence(struct sim *s, unsigned b)
{
    s->machines[b].registered = false;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        bool led = c->leader == (int)b;
        uint32_t without = c->isr & ~(1u << b);
        if (without == c->isr && !led)
            continue;
        if (without != 0) /* the last one stays: only it is known to have everything */
            set_isr(s, p, without);
        if (led)
            control_elect(s, p, (int)b);
        else
            control_changed(s, p);
    }
}

static void enroll(struct sim *s, unsigned b)
{
    struct machine *m = &s->machines[b];
    bool again = m->registered_ns >= m->boot_ns;
    m->registered = true;
    if (m->registered_ns < m->boot_ns) /* another incarnation; else it is only heard again */
        m->epoch = ++s->next_epoch;
    m->registered_ns = s->now_ns;
    for (unsigned p = 0; p < s->partitions; p++) {
        struct committed *c = &s->committed[p];
        bool lost = !again && ((s->memory && m->starts > 1) || m->life[p] == LIFE_REFUSED || partition_lost_committed(m->partitions[p]));
        if (lost && (c->isr | c->elr) & 1u << b)
            (void)lose(s, p, b, true);
        if (s->committed[p].leader < 0)
            control_elect(s, p, -1);
        else
            control_changed(s, p);
    }
}

static void publish(struct machine *m)
{
    struct sim *s = m->sim;
    struct image {
        struct tide_view view;
        struct view_broker brokers[SIM_BROKERS_MAX];
        struct view_topic topic;
        struct view_partition partitions[SIM_PARTITIONS_MAX];
        int32_t replicas[SIM_BROKERS_MAX], isr[SIM_PARTITIONS_MAX][SIM_BROKERS_MAX];
        uint32_t by_name[16], by_id[16];
    } *v = calloc(1, sizeof(*v));
    for (unsigned b = 0; b < s->brokers; b++) {
        const struct machine *o = &s->machines[b];
        v->replicas[b] = (int32_t)b + 1;
        v->brokers[b] = (struct view_broker){.id = (int32_t)b + 1, .fenced = !o->registered, .epoch = o->epoch, .incarnation = o->incarnation,
                                             .replication_addr = sim_addr(b), .replication_port = SIM_PEER_PORT, .core_count = s->core_count,
                                             .endpoints = {{.port = SIM_KAFKA_PORT}}};
        sim_rack(b, v->brokers[b].rack);
        snprintf(v->brokers[b].endpoints[0].host, sizeof(v->brokers[b].endpoints[0].host), "10.0.0.%u", b + 1);
    }
    for (unsigned p = 0; p < s->partitions; p++) {
        const struct committed *c = &s->committed[p];
        struct view_partition *vp = &v->partitions[p];
        *vp = (struct view_partition){.leader = c->leader < 0 ? -1 : c->leader + 1, .leader_epoch = c->leader_epoch, .partition_epoch = c->partition_epoch,
                                      .replica_count = (uint16_t)s->brokers, .replicas = v->replicas, .isr = v->isr[p],
                                      .leader_throttled = s->leader_throttled, .follower_throttled = s->follower_throttled};
        for (unsigned b = 0; b < s->brokers; b++)
            if (c->isr & 1u << b)
                v->isr[p][vp->isr_count++] = (int32_t)b + 1;
        if (m->adopted[p]) {
            vp->local = m->partitions[p];
            vp->home_core = partition_home(m->partitions[p]);
        }
    }
    memcpy(v->topic.name, "t", 2);
    v->topic.name_len = 1;
    v->topic.id = s->topic_id;
    v->topic.partition_count = s->partitions;
    v->topic.partitions = v->partitions;
    v->topic.config = s->topic;
    v->view = (struct tide_view){.version = ++s->order, .takes_clients = true, .self = (int32_t)m->id + 1, .controller = 1, .broker_count = s->brokers, .brokers = v->brokers,
                                 .topic_count = 1, .topics = &v->topic, .hash_mask = 15, .by_name = v->by_name, .by_id = v->by_id,
                                 .leader_throttle_rate = s->throttle_rate, .follower_throttle_rate = s->throttle_rate};
    tide_uuid_to_text(&s->cluster_id, v->view.cluster_id);
    tide_view_index(&v->topic, 1, 16, v->by_name, v->by_id);
    atomic_store(&m->data.publication.now, &v->view);
    free(m->view); /* no core is within a turn */
    m->view = &v->view;
}

/* Compare and set. */
static void on_isr(struct sim *s, struct machine *m, struct tide_mail *letter)
{
    struct mail_isr *a = &letter->isr;
    unsigned p = (unsigned)partition_index(a->partition);
    struct committed *c = &s->committed[p];
    uint32_t isr = 0;
    a->error = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        unsigned b = (unsigned)a->isr[i] - 1;
        isr |= 1u << b;
        if (!is_alive(s, b) || (a->broker_epochs[i] != -1 && a->broker_epochs[i] != s->machines[b].epoch))
            a->error = KAFKA_INELIGIBLE_REPLICA;
    }
    if (!is_alive(s, m->id) || c->leader != (int)m->id || c->leader_epoch != a->leader_epoch)
        a->error = KAFKA_FENCED_LEADER_EPOCH;
    else if (c->partition_epoch != a->partition_epoch)
        a->error = KAFKA_INVALID_UPDATE_VERSION;
    if (a->error == 0) {
        if (!(isr & 1u << m->id))
            sim_give_up(s, "a leader proposes an ISR without itself");
        set_isr(s, p, isr);
        control_changed(s, p);
        a->partition_epoch = c->partition_epoch;
        a->leader_epoch = c->leader_epoch;
    }
}

static void take_letters(struct machine *m)
{
    struct sim *s = m->sim;
    struct tide_mail *letters[TAKEN], *letter;
    unsigned n = post_take(m->data.office, s->core_count, letters, TAKEN);
    for (unsigned i = 0; i < n; i++) {
        letter = letters[i];
        switch (letter->kind) {
        case MAIL_ADOPT:
            m->adopted[partition_index(letter->order.partition)] = true;
            m->view_stale = true;
            m->sync_ns = s->now_ns;
            free(letter);
            break;
        case MAIL_BECOME: free(letter); break;
        case MAIL_RELEASE:
            if (partition_close(letter->order.partition, sim_fs_verbs(m->data.fs)) != 0 && !log_is_failed(partition_log(letter->order.partition)))
                sim_give_up(s, "a replica could not be closed");
            m->life[partition_index(letter->order.partition)] = LIFE_DRAINING;
            break;
        case MAIL_ROTTEN:
            sim_trace(s, "broker %u partition %d: rot at offset %ld", m->id + 1, partition_index(letter->rotten.partition), letter->rotten.offset);
            m->rotten[partition_index(letter->rotten.partition)] = true;
            if (post_send(m->data.office, s->core_count, letter->from, letter) != TIDE_OK)
                sim_give_up(s, "a full ring");
            break;
        case MAIL_ISR:
            if (s->question_count == LETTERS_MAX)
                sim_give_up(s, "too many questions");
            s->questions[s->question_count++] = (struct question){.at_ns = s->now_ns + sim_below_ms(s, 10), .order = s->order++, .from = m->id, .mail = letter};
            break;
        case MAIL_FAILED: /* a cut came upon what rotted */
            if (s->rotted[partition_index(letter->failed.partition)] != m->id + 1)
                sim_give_up(s, "a replica says that its log failed");
            m->rotten[partition_index(letter->failed.partition)] = true;
            if (post_send(m->data.office, s->core_count, letter->from, letter) != TIDE_OK)
                sim_give_up(s, "a full ring");
            break;
        default: sim_give_up(s, "an unexpected letter");
        }
    }
}

static void answer_questions(struct sim *s)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->question_count; i++) {
        struct question *q = &s->questions[i];
        struct machine *m = &s->machines[q->from];
        uint32_t home;
        if (q->at_ns > s->now_ns || !control_hears(s, m)) {
            s->questions[kept++] = *q;
            continue;
        }
        if (!q->decided) { /* what is committed is heard of later, or never */
            on_isr(s, m, q->mail);
            q->decided = true;
            q->at_ns = s->now_ns + some_ms(s);
            s->questions[kept++] = *q;
            continue;
        }
        home = partition_home(q->mail->isr.partition);
        if (post_send(m->data.office, s->core_count, home, q->mail) != TIDE_OK)
            sim_give_up(s, "a full ring");
    }
    s->question_count = kept;
}

static bool is_named(const struct machine *m, unsigned p)
{
    for (uint32_t i = 0; i < m->sim->core_count; i++)
        if (partition_has_interest(m->partitions[p], i))
            return true;
    return false;
}

static void repair(struct machine *m, unsigned p)
{
    struct sim *s = m->sim;
    partition_destroy(m->partitions[p]);
    (void)machine_open(m, p, true);
    sim_trace(s, "broker %u partition %u: repaired, it ends at %ld", m->id + 1, p, log_next_offset(partition_log(m->partitions[p])));
    m->rotten[p] = false;
    m->life[p] = LIFE_OPEN;
    m->told[p] = -1;
    m->high[p] = -1;
    m->high_epoch[p] = -1;
    if (s->rotted[p] == m->id + 1) {
        s->rotted[p] = 0;
        s->repairs++;
    }
    machine_order(m, MAIL_ADOPT, p);
}

/* What rotted is given up, cut and filled again (control/replicas.c), one step now and one some time. */
static void mend(struct sim *s, struct machine *m, unsigned p)
{
    struct committed *c = &s->committed[p];
    uint32_t bit = 1u << m->id;
    bool lost = (c->lost & bit) != 0;
    if ((!m->rotten[p] && !lost) || !m->registered || tide_random_below(&s->random, 8) != 0)
        return;
    if (!lost) {
        if (lose(s, p, m->id, false))
            c->lost |= bit;
    } else if (m->rotten[p] && m->life[p] == LIFE_OPEN && m->adopted[p]) {
        m->adopted[p] = false;
        m->life[p] = LIFE_RELEASING;
        publish(m);
        machine_order(m, MAIL_RELEASE, p);
    } else if (m->life[p] == LIFE_REFUSED || (m->life[p] == LIFE_DRAINING && !is_named(m, p))) {
        repair(m, p);
    } else if (!m->rotten[p] && m->adopted[p]) {
        c->lost &= ~bit;
        control_changed(s, p);
    }
}

void control_turn(struct sim *s)
{
    for (unsigned b = 0; b < s->brokers; b++)
        if (control_hears(s, &s->machines[b]))
            take_letters(&s->machines[b]);
    answer_questions(s);
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        bool heard = control_hears(s, m);
        bool adopted = heard;
        for (unsigned p = 0; p < s->partitions; p++) {
            adopted &= m->adopted[p] || m->life[p] != LIFE_OPEN;
            if (heard && m->adopted[p] && tide_random_hits(&s->random, 16))
                m->mark[p] = partition_checkpoint(m->partitions[p]);
            if (heard)
                mend(s, m, p);
        }
        if (heard)
            m->heard_ns = s->now_ns; /* heartbeats are not simulated */
        if (m->registered && m->registered_ns < m->boot_ns && heard)
            fence(s, b); /* it is another incarnation */
        if (m->registered && !heard && s->now_ns >= m->heard_ns + FENCE_MS * TIDE_NS_PER_MS)
            fence(s, b);
        if (heard && !m->registered && adopted && s->now_ns >= m->boot_ns + 5 * TIDE_NS_PER_MS)
            enroll(s, b);
    }
    for (unsigned b = 0; b < s->brokers; b++) {
        struct machine *m = &s->machines[b];
        if (!control_hears(s, m))
            continue;
        atomic_store(&m->data.publication.lease_until_ns, m->registered ? s->now_ns + LEASE_MS * TIDE_NS_PER_MS : 0);
        if (!m->view_stale || s->now_ns < m->sync_ns)
            continue;
        for (unsigned p = 0; p < s->partitions; p++)
            if (m->adopted[p] && m->registered && m->told[p] != s->committed[p].partition_epoch &&
                !(m->rotten[p] && s->committed[p].lost & 1u << b))
                machine_order(m, MAIL_BECOME, p);
        m->view_stale = false;
        publish(m);
    }
}
