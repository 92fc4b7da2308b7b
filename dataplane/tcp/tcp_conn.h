/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection and the stack, for the files of dataplane/tcp.
 *
 *   (listen) --SYN--> SYN cache --ACK--> ESTABLISHED        no connection before the third ACK
 *   SYN_SENT --SYN-ACK--> ESTABLISHED, --SYN--> SYN_RECEIVED --ACK--> ESTABLISHED
 *   ESTABLISHED --close--> FIN_WAIT_1 --ack--> FIN_WAIT_2 --FIN--> TIME_WAIT
 *                          FIN_WAIT_1 --FIN--> CLOSING --ack--> TIME_WAIT
 *   ESTABLISHED --FIN--> CLOSE_WAIT --close--> LAST_ACK --ack--> CLOSED
 *   any --RST, abort, timeout--> CLOSED. CLOSED is given back when its last event was taken.
 *
 * Invariants (tcp_check):
 *   T1  snd_una <= snd_max, and snd_max - snd_una covers at most the queue and a FIN.
 *   T2  in data states the records are gapless from snd_una to snd_max, in both orders; in_flight,
 *       lost_bytes and sacked_bytes are their sums.
 *   T3  held runs are sorted by sequence, beyond rcv_nxt, without overlap, and whole.
 *   T4  the advertised edge rcv_adv never moves left.
 *   T5  every connection in use is found by its addresses, and only it.
 *   T6  what is remembered of flows is in use, and at its place.
 *   T7  of a wheel the words with a bit are known.
 *   T8  `changes` has each connection that is marked so, once.
 *   T9  ESTABLISHED: neither side has closed, and the application has not let go.
 */
#ifndef TIDEMARK_TCP_TCP_CONN_H
#define TIDEMARK_TCP_TCP_CONN_H

#include "tcp/tcp.h"

enum tcp_state {
    TCP_CLOSED,
    TCP_SYN_SENT,
    TCP_SYN_RECEIVED,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSING,
    TCP_TIME_WAIT,
    TCP_CLOSE_WAIT,
    TCP_LAST_ACK,
    TCP_STATE_COUNT
};

enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };

/* Sequence numbers wrap: compare by difference (RFC 9293 3.4). */
static inline bool seq_lt(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }
static inline bool seq_le(uint32_t a, uint32_t b) { return (int32_t)(a - b) <= 0; }
static inline uint32_t seq_max(uint32_t a, uint32_t b) { return seq_lt(a, b) ? b : a; }

struct tcp_list {
    struct tcp_list *prev, *next;
};
static inline void tcp_list_init(struct tcp_list *l) { l->prev = l->next = l; }
static inline bool tcp_list_empty(const struct tcp_list *l) { return l->next == l; }
static inline bool tcp_listed(const struct tcp_list *l) { return l->next != l; }
static inline void tcp_list_append(struct tcp_list *to, struct tcp_list *l)
{
    l->prev = to->prev;
    l->next = to;
    to->prev->next = l;
    to->prev = l;
}
static inline void tcp_list_remove(struct tcp_list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    tcp_list_init(l);
}

struct tcp_range {
    uint32_t start, end;
};

/* A piece that was sent and is not acknowledged. Links are numbers + 1, 0 is none. */
struct tcp_record {
    uint64_t sent_ns; /* last time */
    uint32_t start, end;
    uint32_t resent;         /* of a lost one: sent again up to here */
    uint32_t next, previous; /* by sequence */
    uint32_t later, earlier; /* by time of sending; on the free list: later */
    uint8_t flags;
};
enum tcp_record_flag { RECORD_SACKED = 1, RECORD_LOST = 2, RECORD_RESENT = 4 /* ever */ };

/* Mbufs received out of order, one behind the other without a gap. */
struct tcp_run {
    uint32_t start, end;
    struct rte_mbuf *head, *tail;
};

enum tcp_mode {
    TCP_MODE_OPEN,
    TCP_MODE_RECOVERY, /* a loss is being repaired */
    TCP_MODE_LOSS,     /* after a timeout */
};
enum tcp_send_timer {
    TCP_TIMER_OFF,
    TCP_TIMER_RTO,
    TCP_TIMER_PROBE,   /* of the tail (RFC 8985 7) */
    TCP_TIMER_REORDER, /* what is missing is lost unless it comes by then (RFC 8985 6.2) */
    TCP_TIMER_PERSIST, /* of a closed window */
};

/* CUBIC's memory of one connection, in segments and nanoseconds (RFC 9438 4.1). */
struct tcp_cubic {
    uint64_t epoch_ns; /* 0: not in congestion avoidance since the last loss */
    uint64_t last_ns;  /* last ACK that it heard of; a gap is time without use of the window */
    double w_max, k, w_est, prior, fraction;
};

struct tcp_conn {
    /* owned by the stack's core; what every packet touches comes first */
    struct tcp_stack *stack;
    uint8_t state;
    uint8_t send_timer;
    bool sack_ok, ts_ok, wscale_ok, ecn_ok;
    uint8_t snd_wscale, rcv_wscale;
    bool fin_queued;    /* the application closed: a FIN follows the queue */
    bool fin_received;
    bool fin_sent;
    bool override;      /* a small segment may go out into a small window */
    bool cwnd_limited;  /* the congestion window is what holds us back */
    bool gone;          /* nothing but the last event is left */
    bool released;      /* the application let go: no more events */
    bool ece_due;       /* congestion was experienced toward us: say so until CWR */
    bool cwr_due;       /* tell the peer that we heard it, with the next new data */
    union {
        struct {
            bool ack_now;      /* send an ACK in this turn */
            bool syn_due;      /* our SYN goes out now */
            bool window_probe; /* a byte-less question goes out: closed window, or keepalive */
            bool tail_probe;   /* one segment goes out now, whatever the congestion window says */
            bool rtx_forced;   /* the first lost piece goes out now, whatever the congestion window says */
        };
        uint64_t due; /* any of these */
    };
    union {
        struct {
            uint8_t mode;
            uint8_t tail_probes; /* probes of the tail that are unanswered */
            uint8_t dup_acks;    /* without SACK */
            uint8_t probes;      /* keepalive probes without an answer */
            bool fin_held;       /* the peer's FIN came before what precedes it */
            bool all_steps;      /* nothing is, but no step may be left out (tcp_config) */
        };
        uint64_t unusual; /* any of these: no short way for what comes and goes */
    };
    uint8_t unacked_segments; /* received since our last ACK */
    uint8_t backoff;
    uint16_t mss;
    uint16_t mss_full; /* before it was reduced; 0: it was not */
    uint32_t snd_una, snd_max;
    uint32_t snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
    uint32_t rcv_nxt, rcv_adv, rcv_charged; /* bytes delivered or queued and not yet consumed */
    uint32_t cwnd, ssthresh;
    uint32_t ts_recent, last_ack_sent;
    uint64_t ts_recent_ns;
    uint64_t srtt_ns, rttvar_ns, rto_ns, min_rtt_ns, min_rtt_at_ns;
    uint32_t rtt_seq;   /* the next sample of the smoothed round trip: when this is acknowledged */
    uint32_t fin_seq;

    /* what is in flight (tcp_record.c) */
    uint32_t first, last;           /* records by sequence */
    uint32_t sent_first, sent_last; /* records by time */
    uint32_t lost_first;            /* no lost record lies before it; 0: none is lost */
    uint32_t sacked_last;           /* highest sacked record, where to begin to look; 0: from the front */
    uint32_t record_count;
    uint32_t in_flight, lost_bytes, sacked_bytes;

    /* loss detection and repair (tcp_rack.c, tcp_recovery.c) */
    uint64_t rack_sent_ns, rack_rtt_ns; /* of the delivered piece that was sent last */
    uint32_t rack_end, rack_fack;
    uint32_t rack_dsack_round;
    uint8_t rack_multiplier, rack_persist;
    bool reordering_seen;
    bool rack_dsack_seen;
    bool tail_probe_is_copy; /* the last was a retransmission */
    bool frto;               /* the last timeout may prove spurious (RFC 5682) */
    bool can_undo;
    uint32_t recovery;       /* end of what was in flight when it began */
    bool recovery_set;
    uint32_t tail_probe_end;
    uint32_t undo_cwnd, undo_ssthresh, undo_una, undo_bytes;
    uint32_t undo_ts;        /* our clock at the first retransmission; 0: none yet */
    uint32_t cwr_point;      /* an ECE before this is about what was already answered */
    bool cwr_set;
    uint64_t rto_base_ns;    /* the timeout counts from here */
    uint64_t mss_retry_ns;
    uint64_t reorder_ns;     /* 0, or when the reordering window ends */

    /* how long the peer may keep an ACK back */
    uint64_t ack_delay_ns, ack_delay_seen_ns;
    uint16_t prompt_count, prompt_need;

    struct tcp_cubic cubic;
    struct tide_rope send_queue; /* from snd_una on (behind our SYN) */
    struct tide_rope receive_queue;
    /* where the byte `cursor_seq` lies in the queue, so that sending does not walk from its front */
    struct rte_mbuf *cursor;
    uint32_t cursor_off, cursor_seq;
    /* timers: 0 = off */
    uint64_t send_deadline_ns, ack_deadline_ns, life_deadline_ns, wheel_ns;
    uint64_t last_in_ns, last_out_ns, progress_ns;
    uint64_t closed_ns;     /* when the peer said last that its window is closed */
    uint64_t unanswered_ns; /* first probe or timeout since the peer was heard last; 0: none */
    struct tcp_list in_wheel, in_output, in_events, in_time_wait;
    uint32_t events;
    uint32_t hash_next; /* connection number + 1 */
    uint32_t number;
    bool changed; /* it is in the stack's list, through all of its lives */
    uint16_t local_port, remote_port;
    struct tide_addr local, remote;
    uint32_t iss, irs;
    uint64_t challenge_ns;  /* window of the challenge-ACK limit */
    uint16_t challenges, challenge_limit;
    uint16_t run_count;
    uint16_t held_count;    /* mbufs in the runs */
    struct tcp_range dsack; /* what came twice, for the next ACK; empty when start == end */
    uint32_t held_last_seq; /* most recent, for the first SACK block */
    uint64_t read_since_ns; /* when the receive queue was empty last and something came */
    uint64_t bytes_in, bytes_out, retransmits;
    uint64_t times_cwnd_limited, times_window_limited, dropped;
    void *user;
    struct tcp_run runs[TCP_RUNS_MAX];
};

struct tcp_syn {
    bool used;
    bool sack_ok, ts_ok, wscale_ok, ecn_ok;
    uint8_t snd_wscale;
    uint8_t retries;
    uint16_t mss, local_port, remote_port;
    struct tide_addr local, remote;
    uint32_t irs, iss, ts_recent;
    uint64_t sent_ns; /* 0: more than once */
    uint64_t deadline_ns;
    struct tcp_list in_list; /* oldest deadline first, roughly */
};

/* A packet without payload and without a connection. */
struct tcp_control {
    struct tide_addr src, dst;
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint16_t flags, window, mss; /* mss 0: no options */
    bool ts_ok, sack_ok, wscale_ok;
    uint8_t wscale;
    uint32_t ts_value, ts_echo;
};

enum {
    TCP_FINE_SHIFT = 14,   /* 16 us a slot, 67 ms around */
    TCP_COARSE_SHIFT = 26, /* 67 ms a slot, 275 s around */
    TCP_WHEEL_SLOTS = 4096,
    TCP_CONTROL_MAX = 512,
    TCP_TAIL_PROBES = 3,
};

/* Deadlines by slots of time; a slot is looked at when all of it is past. */
struct tcp_wheel {
    unsigned shift;
    uint64_t at; /* slots below are done */
    struct tcp_list slots[TCP_WHEEL_SLOTS];
    uint64_t bits[TCP_WHEEL_SLOTS / 64]; /* of slots in use */
    uint64_t words;                      /* of bits that are not 0 */
};
static_assert(offsetof(struct tcp_conn, all_steps) < offsetof(struct tcp_conn, unusual) + sizeof(uint64_t), "one word has all of them");
static_assert(TCP_WHEEL_SLOTS == 64 * 64, "a word for the words");

struct tcp_stack {
    struct tcp_config config;
    struct tcp_stats stats;
    uint64_t now_ns;
    struct tcp_wheel fine;   /* what is due soon */
    struct tcp_wheel coarse; /* and later: a slot moves to the fine wheel when it begins */
    struct tcp_list output, events, time_wait;
    struct tcp_list syns_free, syns_used;
    struct tcp_conn *conns;
    uint32_t *free_conns;
    uint32_t free_count;
    uint32_t *changes; /* connections that came or went, each once, until somebody asks */
    uint32_t change_count;
    uint32_t *buckets; /* connection number + 1 */
    uint32_t *recent;  /* the same, by addresses without a key: who was found there last. Who fills it with his own loses no more than the saving */
    uint32_t bucket_mask;
    struct tcp_record *records; /* one of each connection's own, then the shared ones */
    uint32_t free_records;      /* number + 1 */
    struct tcp_syn *syns;
    uint32_t syns_answered;     /* since the last tcp_output */
    uint16_t listeners[TCP_LISTENERS_MAX];
    unsigned listener_count;
    struct tcp_control controls[TCP_CONTROL_MAX];
    uint32_t control_head, control_count;
    uint64_t syn_look_ns; /* next look at the SYN cache */
    uint64_t reset_ns; /* window of the limit on resets to strangers */
    uint32_t resets;
    uint8_t wscale;
    uint64_t random;
    struct tcp_conn *condemned; /* its GONE was taken: given back at the next look */
};

/* A received packet, taken apart. */
struct tcp_packet {
    uint32_t seq, ack;
    uint32_t len; /* payload */
    uint16_t window;
    uint16_t flags;
    uint16_t src_port, dst_port;
    bool has_ts, has_mss, has_wscale, sack_permitted;
    uint8_t wscale;
    uint16_t mss;
    uint32_t ts_value, ts_echo;
    unsigned sack_count;
    struct tcp_range sacks[4];
    uint8_t ecn;
    bool follows;   /* a SYN that ends TIME-WAIT: our numbers begin beyond `beyond`, the last of the life before */
    uint32_t beyond;
};

/* What an ACK told us. */
struct tcp_delivery {
    uint32_t acked;    /* bytes by which snd_una moved */
    uint32_t sacked;   /* bytes reported for the first time */
    bool original;     /* a piece that was never sent again was acknowledged, and had not been sacked */
    bool again;        /* a piece that was sent again is among them: the ACK may be about either copy */
    bool dsack;
    bool lost;         /* something was found to be lost */
    bool reduced;      /* the congestion window fell because of a mark */
    bool pure;         /* the ACK came without data: nothing made the peer send it early */
    uint64_t rtt_ns;   /* of the newest piece that was sent once; 0: none */
};

/* tcp_stack.c */
/* Who was found there last. No key, no work: the hash of the others is most of what a packet would cost. */
static inline uint32_t *tcp_recent_of(struct tcp_stack *s, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port)
{
    return &s->recent[(tide_addr_to_v4(remote) * 31 + remote_port + local_port) & s->bucket_mask];
}
static inline bool tcp_has_addresses(const struct tcp_conn *c, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                                     uint16_t remote_port)
{
    return c->remote_port == remote_port && c->local_port == local_port && tide_addr_is_same(&c->remote, remote) &&
           tide_addr_is_same(&c->local, local);
}
struct tcp_conn *tcp_find_by_hash(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
static inline struct tcp_conn *tcp_find(struct tcp_stack *s, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote,
                                        uint16_t remote_port)
{
    uint32_t n = *tcp_recent_of(s, local_port, remote, remote_port);
    if (n != 0 && tcp_has_addresses(&s->conns[n - 1], local, local_port, remote, remote_port))
        return &s->conns[n - 1];
    return tcp_find_by_hash(s, local, local_port, remote, remote_port);
}
struct tcp_conn *tcp_take(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
void tcp_give(struct tcp_conn *); /* back to the pool: nothing may refer to it any more */
static inline void tcp_event_raise(struct tcp_conn *c, uint32_t bits)
{
    c->events |= bits;
    if (!tcp_listed(&c->in_events))
        tcp_list_append(&c->stack->events, &c->in_events);
}
/* CLOSED: drops what it holds, raises GONE unless the application let go. */
void tcp_end(struct tcp_conn *);
void tcp_enter_time_wait(struct tcp_conn *);
/* RST to the peer, then tcp_end. */
void tcp_abort_now(struct tcp_conn *);
uint32_t tcp_isn(struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port);
uint64_t tcp_hash(const struct tcp_stack *, const struct tide_addr *local, uint16_t local_port, const struct tide_addr *remote, uint16_t remote_port, uint64_t salt);
static inline uint32_t tcp_receive_window(const struct tcp_conn *c)
{
    uint32_t limit = c->stack->config.receive_window_bytes;
    uint32_t room = c->rcv_charged >= limit ? 0 : limit - c->rcv_charged;
    return TIDE_MIN(room, 65535u << c->rcv_wscale); /* what can be said */
}
/* RFC 9293 3.7.1: what a peer takes that does not say. */
uint16_t tcp_default_mss(const struct tide_addr *remote);
/* Payload of a packet to there on our link. */
uint16_t tcp_link_mss(const struct tcp_stack *, const struct tide_addr *remote);

/* tcp_output.c */
/* After a change that may let something go out; where nothing can it costs no visit. */
void tcp_list_output(struct tcp_conn *);
static inline void tcp_want_output(struct tcp_conn *c)
{
    if (!tcp_listed(&c->in_output))
        tcp_list_output(c);
}
void tcp_control_send(struct tcp_stack *, const struct tcp_control *);
void tcp_send_reset(struct tcp_stack *, const struct tcp_meta *, const struct tcp_packet *);
void tcp_send_syn_ack(struct tcp_stack *, const struct tcp_syn *);
uint32_t tcp_ts_now(const struct tcp_stack *);

/* tcp_timer.c */
void tcp_timers_changed(struct tcp_conn *);
/* One deadline is `at_ns` now. Mostly the slot that the connection lies in comes early enough. */
static inline void tcp_timer_set(struct tcp_conn *c, uint64_t at_ns)
{
    if (!tcp_listed(&c->in_wheel) || at_ns < c->wheel_ns)
        tcp_timers_changed(c);
}
static inline void tcp_disarm_send(struct tcp_conn *c)
{
    c->send_timer = TCP_TIMER_OFF;
    c->send_deadline_ns = 0;
}
/* The send timer, anew. */
void tcp_arm_send(struct tcp_conn *);
/* A measured round trip: the timeout follows. */
void tcp_rtt_sample(struct tcp_conn *, uint64_t rtt_ns);
/* One of a segment whose ACK the peer may have kept back. */
void tcp_ack_delay_sample(struct tcp_conn *, uint64_t rtt_ns);
void tcp_ack_delay_init(struct tcp_conn *);
/* The connection is open, after repetitions of the SYN when `repeated`; p acknowledged it. */
void tcp_handshake_measured(struct tcp_conn *, const struct tcp_packet *p, uint64_t sent_ns, bool repeated);
void tcp_keepalive_start(struct tcp_conn *);
/* A timeout was spurious: the peer may keep ACKs back after all. */
void tcp_ack_delay_reset(struct tcp_conn *);
void tcp_wheel_init(struct tcp_stack *);
void tcp_wheels_check(const struct tcp_stack *);

/* tcp_cc.c: three verbs, so that another congestion control can be put in their place. cwnd and
 * ssthresh are theirs. */
struct tcp_cc {
    const char *name;
    void (*on_ack)(struct tcp_conn *, uint32_t bytes); /* outside of recovery, when cwnd was used up */
    void (*on_loss)(struct tcp_conn *, uint32_t in_flight);
    void (*on_timeout)(struct tcp_conn *, uint32_t in_flight);
};
void tcp_cc_init(struct tcp_conn *);
const struct tcp_cc *tcp_cc_of(const struct tcp_conn *);
/* After an idle time the window is no longer known (RFC 5681 4.1). */
void tcp_cc_restart(struct tcp_conn *);

/* tcp_record.c */
static inline struct tcp_record *tcp_record_at(const struct tcp_conn *c, uint32_t link)
{
    return link != 0 ? &c->stack->records[link - 1] : NULL;
}
void tcp_records_init(struct tcp_stack *);
bool tcp_record_room(const struct tcp_conn *);
/* New bytes went out; needs room. */
void tcp_record_sent(struct tcp_conn *, uint32_t start, uint32_t end);
/* A lost record was sent again up to `upto`. */
void tcp_record_resent(struct tcp_conn *, struct tcp_record *, uint32_t upto);
/* The last record, cut to `max` bytes where that is possible; NULL: it is not in flight. */
struct tcp_record *tcp_record_tail(struct tcp_conn *, uint32_t max);
/* A copy of one that is in flight went out. */
void tcp_record_copied(struct tcp_conn *, struct tcp_record *);
void tcp_record_lose(struct tcp_conn *, struct tcp_record *);
/* The first that is lost, NULL. */
struct tcp_record *tcp_record_lost(struct tcp_conn *);
/* All that is marked lost and was not sent again is in flight after all. */
void tcp_records_unlose(struct tcp_conn *);
void tcp_records_acked(struct tcp_conn *, const struct tcp_packet *, struct tcp_delivery *);
void tcp_records_sacked(struct tcp_conn *, const struct tcp_packet *, struct tcp_delivery *);
void tcp_records_clear(struct tcp_conn *);
void tcp_records_check(const struct tcp_conn *);

/* tcp_rack.c */
void tcp_rack_delivered(struct tcp_conn *, const struct tcp_record *, const struct tcp_packet *);
/* Marks what is lost by now; true if anything is. Sets reorder_ns. */
bool tcp_rack_detect(struct tcp_conn *);
void tcp_rack_on_dsack(struct tcp_conn *);
enum { TCP_FIRST_PROBE_MS = 1000, TCP_PROBE_LEAST_US = 250 /* busy machines answer late */ };
/* Where nothing speaks against a probe of the tail, and none has gone yet: so much later it goes. */
static inline uint64_t tcp_first_probe_in(const struct tcp_conn *c)
{
    uint64_t in = 2 * c->srtt_ns + 4 * c->rttvar_ns;
    if (c->srtt_ns == 0)
        return TCP_FIRST_PROBE_MS * TIDE_NS_PER_MS;
    if (c->in_flight <= c->mss) /* the peer may keep the ACK of a single segment back */
        in += c->ack_delay_ns;
    return TIDE_MAX(in, TCP_PROBE_LEAST_US * 1000ull);
}
/* When the tail is probed, counted from now; TIDE_NEVER: it is not. */
uint64_t tcp_tail_probe_in(const struct tcp_conn *);
void tcp_tail_probe_on_ack(struct tcp_conn *, const struct tcp_packet *, const struct tcp_delivery *);

/* tcp_recovery.c */
void tcp_recovery_on_ack(struct tcp_conn *, const struct tcp_packet *, struct tcp_delivery *, bool duplicate);
void tcp_recovery_on_timeout(struct tcp_conn *);
void tcp_recovery_on_reorder_timer(struct tcp_conn *);
/* A mark was told; true if the window was reduced. */
bool tcp_recovery_on_ece(struct tcp_conn *);
/* Segments get smaller: something on the road swallows the large ones. */
void tcp_shrink_mss(struct tcp_conn *, uint16_t mss);

/* tcp_hold.c */
/* Drops n bytes of the front of a packet, fewer than it has. Returns what is left. */
struct rte_mbuf *tcp_cut_front(struct rte_mbuf *, uint32_t n);
/* Keeps the first `len` bytes, not 0. */
void tcp_cut_to(struct rte_mbuf *, uint32_t len);
/* Copies a small segment into the room behind another one and frees it; false: not possible. */
bool tcp_copy_behind(struct rte_mbuf *tail, struct rte_mbuf *);
/* Takes a segment from beyond a hole: what is there already wins over what comes. */
void tcp_hold(struct tcp_conn *, struct rte_mbuf *, uint32_t seq);
/* Runs that follow rcv_nxt now; *ret_len bytes, NULL. */
struct rte_mbuf *tcp_hold_take(struct tcp_conn *, uint32_t *ret_len);
void tcp_hold_drop(struct tcp_conn *);
unsigned tcp_hold_ranges(const struct tcp_conn *, struct tcp_range *ranges, unsigned max);

/* tcp_listen.c */
struct tcp_conn *tcp_listen_input(struct tcp_stack *, const struct tcp_meta *, const struct tcp_packet *);

#endif
