/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of a connection, each a deadline of its own, on a fine and a coarse hashed wheel:
 *   send  one of: retransmission (RFC 6298, doubled each time), probe of the tail and end of the
 *         reordering window (RFC 8985), probes of a closed window (RFC 9293 3.8.6.1)
 *   ack   a delayed acknowledgement, 40 ms at most (RFC 9293 3.8.6.3 allows 500)
 *   life  keepalive while established (RFC 9293 3.8.4), the end of TIME-WAIT, and the patience with
 *         a peer that does not finish closing
 * A connection lies in the slot of its earliest deadline; when a deadline moves back it stays where
 * it is and is put right when the slot comes. SYN-ACKs of the cache have a list of their own.
 *
 * The timeout is the smoothed round trip and at least as long again as the peer may keep an ACK back:
 * 200 ms until it has acknowledged single segments by ACKs of their own many times over, then four
 * times the slowest of those, but not below 100 ms. However promptly a Linux peer has acknowledged,
 * the next ACK it may keep back for 40 ms and the slack of its timers. After a spurious timeout it is
 * 200 ms again, and coming down takes four times as many. Only a peer that is known to acknowledge at
 * once (tcp_set_prompt_peer) has tcp.rto.min.us instead.
 */
#include "tcp/tcp_conn.h"

enum {
    ACK_DELAY_MS = 200,
    ACK_DELAY_LEAST_MS = 100,
    PROMPT_NEED = 64,
    RTO_MAX_MS = 60000,
    RTO_AFTER_LOST_SYN_MS = 3000,
    KEEPALIVE_PROBES = 9,
    KEEPALIVE_INTERVAL_MS = 75000,
    SYN_RETRIES = 5,
    SYN_PATIENCE_MS = 180000, /* RFC 9293 3.8.3, MUST-23 */
};

/* ---- the wheels ------------------------------------------------------------------------------------------ */

static void wheel_init(struct tcp_wheel *w, unsigned shift)
{
    w->shift = shift;
    for (unsigned i = 0; i < TCP_WHEEL_SLOTS; i++)
        tcp_list_init(&w->slots[i]);
}

void tcp_wheel_init(struct tcp_stack *s)
{
    wheel_init(&s->fine, TCP_FINE_SHIFT);
    wheel_init(&s->coarse, TCP_COARSE_SHIFT);
}

static void wheel_add(struct tcp_wheel *w, uint64_t slot, struct tcp_list *l)
{
    slot %= TCP_WHEEL_SLOTS;
    tcp_list_append(&w->slots[slot], l);
    w->bits[slot / 64] |= 1ull << slot % 64;
    w->words |= 1ull << slot / 64;
}

/* The first slot in use, UINT64_MAX. */
static uint64_t wheel_first(const struct tcp_wheel *w)
{
    uint64_t at = w->at % TCP_WHEEL_SLOTS, next = at / 64 + 1;
    uint64_t here = w->bits[at / 64] >> at % 64;
    uint64_t others = w->words >> next % 64 | w->words << (64 - next % 64) % 64; /* from the next word on, this one last */
    if (here != 0)
        return w->at + (uint64_t)__builtin_ctzll(here);
    if (others == 0)
        return UINT64_MAX;
    next = (next + (uint64_t)__builtin_ctzll(others)) % 64;
    return w->at + (next * 64 + (uint64_t)__builtin_ctzll(w->bits[next]) - at) % TCP_WHEEL_SLOTS;
}

/* Slots that are past and empty are done. */
static void wheel_advance(struct tcp_wheel *w, uint64_t now_ns)
{
    uint64_t until = now_ns >> w->shift;
    if (w->at < until) /* once a slot's time */
        w->at = TIDE_MAX(w->at, TIDE_MIN(wheel_first(w), until));
}

/* Moves what lies in the next slot that is due to `due`; false: none is. All before it is done. */
static bool wheel_take(struct tcp_wheel *w, uint64_t now_ns, struct tcp_list *due)
{
    uint64_t until = now_ns >> w->shift;
    uint64_t slot = wheel_first(w);
    if (slot > until) {
        w->at = TIDE_MAX(w->at, until + 1);
        return false;
    }
    w->at = slot + 1; /* what is armed now goes into later slots */
    slot %= TCP_WHEEL_SLOTS;
    w->bits[slot / 64] &= ~(1ull << slot % 64);
    if (w->bits[slot / 64] == 0)
        w->words &= ~(1ull << slot / 64);
    while (!tcp_list_empty(&w->slots[slot])) {
        struct tcp_list *l = w->slots[slot].next;
        tcp_list_remove(l);
        tcp_list_append(due, l);
    }
    return true;
}

static void wheel_check(const struct tcp_wheel *w)
{
    for (uint64_t i = 0; i < TCP_WHEEL_SLOTS / 64; i++)
        TIDE_ASSERT((w->bits[i] != 0) == (w->words >> i & 1)); /* T7 */
}

void tcp_wheels_check(const struct tcp_stack *s)
{
    wheel_check(&s->fine);
    wheel_check(&s->coarse);
}

static uint64_t earliest(const struct tcp_conn *c)
{
    uint64_t e = TIDE_NEVER;
    if (c->send_deadline_ns != 0)
        e = TIDE_MIN(e, c->send_deadline_ns);
    if (c->ack_deadline_ns != 0)
        e = TIDE_MIN(e, c->ack_deadline_ns);
    if (c->life_deadline_ns != 0)
        e = TIDE_MIN(e, c->life_deadline_ns);
    return e;
}

void tcp_timers_changed(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    uint64_t fine, coarse, e = earliest(c);
    if (e == TIDE_NEVER || (tcp_listed(&c->in_wheel) && c->wheel_ns <= e))
        return; /* the slot it lies in comes early enough */
    tcp_list_remove(&c->in_wheel);
    wheel_advance(&s->fine, s->now_ns);
    wheel_advance(&s->coarse, s->now_ns);
    fine = TIDE_MAX((e >> TCP_FINE_SHIFT) + 1, s->fine.at);
    coarse = TIDE_MAX(e >> TCP_COARSE_SHIFT, s->coarse.at);
    if (fine < s->fine.at + TCP_WHEEL_SLOTS) {
        c->wheel_ns = fine << TCP_FINE_SHIFT;
        wheel_add(&s->fine, fine, &c->in_wheel);
        return;
    }
    coarse = TIDE_MIN(coarse, s->coarse.at + TCP_WHEEL_SLOTS - 1); /* far away: put right in between */
    c->wheel_ns = coarse << TCP_COARSE_SHIFT;
    wheel_add(&s->coarse, coarse, &c->in_wheel);
}

/* ---- round trips ---------------------------------------------------------------------------------------- */

static uint64_t rto_min_ns(const struct tcp_conn *c)
{
    return (uint64_t)c->stack->config.rto_min_us * 1000;
}

static void set_rto(struct tcp_conn *c)
{
    uint64_t slack = TIDE_MAX(c->ack_delay_ns, rto_min_ns(c));
    if (c->srtt_ns == 0)
        return;
    slack = TIDE_MAX(slack, 4 * c->rttvar_ns);
    c->rto_ns = TIDE_MIN(c->srtt_ns + slack, RTO_MAX_MS * TIDE_NS_PER_MS);
}

/* RFC 6298 2, with the time in nanoseconds. */
void tcp_rtt_sample(struct tcp_conn *c, uint64_t rtt)
{
    c->stack->stats.rtt_samples++;
    c->stack->stats.rtt_us += rtt / 1000;
    if (c->srtt_ns == 0) {
        c->srtt_ns = TIDE_MAX(rtt, 1u);
        c->rttvar_ns = rtt / 2;
    } else {
        uint64_t delta = rtt > c->srtt_ns ? rtt - c->srtt_ns : c->srtt_ns - rtt;
        c->rttvar_ns = (3 * c->rttvar_ns + delta) / 4;
        c->srtt_ns = (7 * c->srtt_ns + rtt) / 8;
    }
    set_rto(c);
}

static uint64_t safe_delay(uint64_t seen_ns)
{
    uint64_t most = ACK_DELAY_MS * TIDE_NS_PER_MS, least = ACK_DELAY_LEAST_MS * TIDE_NS_PER_MS;
    return TIDE_MIN(TIDE_MAX(4 * seen_ns, least), most);
}

void tcp_ack_delay_sample(struct tcp_conn *c, uint64_t rtt)
{
    if (c->ack_delay_ns == 0)
        return; /* it is known */
    c->ack_delay_seen_ns = TIDE_MAX(c->ack_delay_seen_ns, rtt);
    if (c->ack_delay_ns < safe_delay(rtt)) /* slower than believed */
        c->ack_delay_ns = safe_delay(rtt);
    else if (++c->prompt_count < c->prompt_need)
        return;
    else
        c->ack_delay_ns = safe_delay(c->ack_delay_seen_ns);
    c->ack_delay_seen_ns = 0;
    c->prompt_count = 0;
    set_rto(c);
}

void tcp_ack_delay_init(struct tcp_conn *c)
{
    c->ack_delay_ns = ACK_DELAY_MS * TIDE_NS_PER_MS;
    c->prompt_need = PROMPT_NEED;
}

void tcp_ack_delay_reset(struct tcp_conn *c)
{
    c->ack_delay_ns = ACK_DELAY_MS * TIDE_NS_PER_MS;
    c->ack_delay_seen_ns = 0;
    c->prompt_count = 0;
    c->prompt_need = (uint16_t)TIDE_MIN(c->prompt_need * 4, UINT16_MAX);
    set_rto(c);
}

void tcp_set_prompt_peer(struct tcp_conn *c)
{
    c->ack_delay_ns = 0;
    set_rto(c);
}

/* What the handshake says of the road. A SYN that was repeated tells by its echo alone which copy was answered (Karn);
 * without one the timeout is three seconds, and in both cases the window begins with one segment (RFC 6298 5.7,
 * RFC 5681 3.1). */
void tcp_handshake_measured(struct tcp_conn *c, const struct tcp_packet *p, uint64_t sent_ns, bool repeated)
{
    uint32_t echoed_ms = tcp_ts_now(c->stack) - p->ts_echo;
    if (!repeated) {
        if (sent_ns != 0)
            tcp_rtt_sample(c, c->stack->now_ns - sent_ns);
        return;
    }
    c->cwnd = c->mss;
    if (c->ts_ok && p->has_ts && echoed_ms < RTO_MAX_MS)
        tcp_rtt_sample(c, TIDE_MAX(echoed_ms, 1u) * TIDE_NS_PER_MS);
    else
        c->rto_ns = TIDE_MAX(c->rto_ns, RTO_AFTER_LOST_SYN_MS * TIDE_NS_PER_MS);
}

/* ---- the send timer ---------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void arm(struct tcp_conn *c, enum tcp_send_timer kind, uint64_t at_ns)
{
    c->send_timer = (uint8_t)kind;
    c->send_deadline_ns = TIDE_MAX(at_ns, 1u);
    tcp_timer_set(c, c->send_deadline_ns);
}

/* Something is out, and nothing is amiss: the tail is probed, unless the timeout comes first. */
static void arm_plainly(struct tcp_conn *c)
{
    uint64_t timeout = c->rto_base_ns + TIDE_MIN(c->rto_ns, RTO_MAX_MS * TIDE_NS_PER_MS);
    uint64_t probe = c->stack->now_ns + tcp_first_probe_in(c);
    if (probe < timeout)
        arm(c, TCP_TIMER_PROBE, probe);
    else
        arm(c, TCP_TIMER_RTO, timeout);
}

void tcp_arm_send(struct tcp_conn *c)
{
    bool opening = c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED;
    uint64_t now = c->stack->now_ns, rto, timeout;
    if (c->snd_una == c->snd_max && c->send_queue.len == 0 && !c->fin_queued && !opening) { /* nothing is out, and nothing waits */
        tcp_disarm_send(c);
        return;
    }
    if (c->state == TCP_ESTABLISHED && c->unusual == 0 && c->backoff == 0 && c->sacked_bytes == 0 && c->reorder_ns == 0 && c->in_flight != 0 && c->sack_ok) {
        arm_plainly(c);
        return;
    }
    rto = TIDE_MIN(c->rto_ns << TIDE_MIN(c->backoff, 16), RTO_MAX_MS * TIDE_NS_PER_MS);
    timeout = c->rto_base_ns + rto;
    if (opening) {
        arm(c, TCP_TIMER_RTO, timeout);
        return;
    }
    if (c->snd_una != c->snd_max) {
        uint64_t probe_in = tcp_tail_probe_in(c);
        if (c->reorder_ns != 0 && c->reorder_ns < timeout)
            arm(c, TCP_TIMER_REORDER, c->reorder_ns);
        else if (probe_in != TIDE_NEVER && now + probe_in < timeout)
            arm(c, TCP_TIMER_PROBE, now + probe_in);
        else
            arm(c, TCP_TIMER_RTO, timeout);
        return;
    }
    if ((c->send_queue.len != 0 || (c->fin_queued && !c->fin_sent)) && c->state != TCP_CLOSED && c->state != TCP_TIME_WAIT) {
        arm(c, TCP_TIMER_PERSIST, now + rto);
        return;
    }
    tcp_disarm_send(c);
}

/* Nothing got through for the whole user timeout. A peer that keeps its window closed and says so is
 * waited for (RFC 9293 3.8.6.1, MUST-37). */
static bool gave_up(const struct tcp_conn *c)
{
    uint64_t now = c->stack->now_ns;
    uint64_t patience = c->stack->config.user_timeout_ms * TIDE_NS_PER_MS;
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED)
        patience = TIDE_MAX(patience, SYN_PATIENCE_MS * TIDE_NS_PER_MS);
    else if (c->send_timer == TCP_TIMER_PERSIST || c->snd_wnd == 0)
        return c->unanswered_ns != 0 && now - c->unanswered_ns >= patience;
    return now - TIDE_MAX(c->progress_ns, c->closed_ns) >= patience;
}

static void on_timeout(struct tcp_conn *c)
{
    c->rto_base_ns = c->stack->now_ns;
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED) {
        c->stack->stats.timeouts++;
        c->backoff += c->backoff < 16;
        c->syn_due = true;
        tcp_want_output(c);
        return;
    }
    tcp_recovery_on_timeout(c);
}

static void on_persist(struct tcp_conn *c)
{
    c->backoff += c->backoff < 16;
    if (c->snd_wnd != 0) {
        c->override = true; /* RFC 9293 3.8.6.2.1, the override timeout */
    } else {
        c->stack->stats.probes++;
        c->window_probe = true;
    }
    tcp_want_output(c);
}

static void on_send_timer(struct tcp_conn *c)
{
    enum tcp_send_timer kind = c->send_timer;
    if (c->progress_ns == 0)
        c->progress_ns = c->stack->now_ns;
    if ((kind == TCP_TIMER_RTO || kind == TCP_TIMER_PERSIST) && gave_up(c)) {
        tcp_abort_now(c);
        return;
    }
    tcp_disarm_send(c);
    if (c->unanswered_ns == 0)
        c->unanswered_ns = c->stack->now_ns;
    switch (kind) {
    case TCP_TIMER_RTO:
        on_timeout(c);
        break;
    case TCP_TIMER_PROBE:
        c->stack->stats.tail_probes++;
        c->tail_probe = true;
        tcp_want_output(c);
        break;
    case TCP_TIMER_REORDER:
        tcp_recovery_on_reorder_timer(c);
        tcp_arm_send(c);
        break;
    case TCP_TIMER_PERSIST:
        on_persist(c);
        break;
    case TCP_TIMER_OFF:
        break;
    }
}

/* ---- the others --------------------------------------------------------------------------------------------- */

void tcp_keepalive_start(struct tcp_conn *c)
{
    if (c->stack->config.keepalive_ms == 0)
        return;
    c->life_deadline_ns = c->stack->now_ns + c->stack->config.keepalive_ms * TIDE_NS_PER_MS;
    tcp_timers_changed(c);
}

/* The application let go: the peer may still take what was written, as long as it takes some of it. */
static void on_patience_over(struct tcp_conn *c)
{
    uint64_t until = c->progress_ns + c->stack->config.user_timeout_ms * TIDE_NS_PER_MS;
    if (c->stack->now_ns < until)
        c->life_deadline_ns = until;
    else
        tcp_abort_now(c);
}

static void on_life_timer(struct tcp_conn *c)
{
    struct tcp_stack *s = c->stack;
    uint64_t idle_ns = s->config.keepalive_ms * TIDE_NS_PER_MS;
    if (c->state == TCP_TIME_WAIT) {
        tcp_end(c);
        return;
    }
    if (c->released) {
        on_patience_over(c);
        return;
    }
    if (c->snd_una != c->snd_max || c->send_queue.len != 0) { /* what waits asks often enough (RFC 9293 3.8.4, MUST-26) */
        c->life_deadline_ns = s->now_ns + idle_ns;
        c->probes = 0;
        return;
    }
    if (s->now_ns - c->last_in_ns < idle_ns) {
        c->life_deadline_ns = c->last_in_ns + idle_ns;
        c->probes = 0;
        return;
    }
    if (c->probes >= KEEPALIVE_PROBES) {
        tcp_abort_now(c);
        return;
    }
    c->probes++;
    s->stats.probes++;
    c->window_probe = true;
    c->life_deadline_ns = s->now_ns + KEEPALIVE_INTERVAL_MS * TIDE_NS_PER_MS;
    tcp_want_output(c);
}

static void run_timers(struct tcp_conn *c)
{
    uint64_t now = c->stack->now_ns;
    if (c->ack_deadline_ns != 0 && c->ack_deadline_ns <= now) {
        c->ack_deadline_ns = 0;
        tcp_ack_now(c);
    }
    if (c->send_deadline_ns != 0 && c->send_deadline_ns <= now)
        on_send_timer(c);
    if (c->stack != NULL && !c->gone && c->life_deadline_ns != 0 && c->life_deadline_ns <= now)
        on_life_timer(c);
    if (c->stack != NULL && !c->gone)
        tcp_timers_changed(c);
}

static void run_syns(struct tcp_stack *s)
{
    struct tcp_list *l = s->syns_used.next;
    while (l != &s->syns_used) {
        struct tcp_syn *y = (struct tcp_syn *)((char *)l - offsetof(struct tcp_syn, in_list));
        l = l->next;
        if (y->deadline_ns > s->now_ns)
            continue;
        if (y->retries >= SYN_RETRIES) {
            tcp_list_remove(&y->in_list);
            tcp_list_append(&s->syns_free, &y->in_list);
            y->used = false;
            continue;
        }
        y->retries++;
        y->deadline_ns = s->now_ns + (s->config.rto_start_ms << y->retries) * TIDE_NS_PER_MS;
        s->stats.retransmits++;
        tcp_send_syn_ack(s, y);
    }
}

uint64_t tcp_deadline_ns(const struct tcp_stack *s)
{
    uint64_t fine = wheel_first(&s->fine), coarse = wheel_first(&s->coarse);
    uint64_t e = fine == UINT64_MAX ? TIDE_NEVER : fine << TCP_FINE_SHIFT;
    if (coarse != UINT64_MAX)
        e = TIDE_MIN(e, coarse << TCP_COARSE_SHIFT);
    if (!tcp_list_empty(&s->syns_used)) {
        const struct tcp_syn *y = (const struct tcp_syn *)((const char *)s->syns_used.next - offsetof(struct tcp_syn, in_list));
        e = TIDE_MIN(e, TIDE_MAX(y->deadline_ns, s->syn_look_ns));
    }
    return e;
}

/* Those of one wheel that are due. */
static void run_wheel(struct tcp_wheel *w, uint64_t now_ns)
{
    struct tcp_list due;
    tcp_list_init(&due);
    while (wheel_take(w, now_ns, &due)) {
        while (!tcp_list_empty(&due)) {
            struct tcp_conn *c = (struct tcp_conn *)((char *)due.next - offsetof(struct tcp_conn, in_wheel));
            tcp_list_remove(&c->in_wheel);
            run_timers(c);
        }
    }
}

void tcp_on_time(struct tcp_stack *s, uint64_t now_ns)
{
    s->now_ns = now_ns;
    run_wheel(&s->coarse, now_ns);
    run_wheel(&s->fine, now_ns);
    if (!tcp_list_empty(&s->syns_used) && s->syn_look_ns <= now_ns) {
        run_syns(s);
        s->syn_look_ns = now_ns + 50 * TIDE_NS_PER_MS;
    }
}
