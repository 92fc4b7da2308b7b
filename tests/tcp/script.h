/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the script runner share. One thread; nothing outlives main. */
#ifndef TIDEMARK_TESTS_TCP_SCRIPT_H
#define TIDEMARK_TESTS_TCP_SCRIPT_H

#include <stdarg.h>

#include "../unit/unit.h"
#include "tcp/tcp.h"

enum { PEERS = 4, SENT_MAX = 4096, OPTIONS_MAX = 8 };
enum script_flag { F_FIN = 1, F_SYN = 2, F_RST = 4, F_PSH = 8, F_ACK = 16, F_URG = 32, F_ECE = 64, F_CWR = 128 };
enum option_kind { OPTION_MSS, OPTION_WSCALE, OPTION_SACK_OK, OPTION_SACK, OPTION_TS, OPTION_NOP, OPTION_RAW };

struct option {
    enum option_kind kind;
    uint32_t a, b;
    bool any_a, any_b;
    bool b_is_last; /* ecr last, or last-N: what the stack sent last */
    unsigned sack_count;
    uint32_t sacks[4][2];
};

/* Numbers are relative: 0 is the SYN of that side. */
struct packet {
    uint64_t at_ns;
    unsigned peer;
    uint8_t flags;
    uint32_t seq, len, ack, win;
    bool any_seq, any_ack, has_win, has_options, has_ecn, bad;
    unsigned doff, cut; /* of an input that is malformed: data offset, length; 0: as it should be */
    uint8_t ecn;
    unsigned option_count;
    struct option options[OPTIONS_MAX];
};

struct peer {
    struct tide_addr addr;
    uint16_t port, local_port;
    uint32_t theirs, ours; /* absolute numbers of 0 */
    bool knows_ours;
    uint32_t lived; /* our first number after the life before */
    uint32_t last_ts;
    struct tcp_conn *conn;
    uint32_t events;
    uint32_t written, read; /* relative numbers of the next byte */
};

struct script {
    const char *file;
    unsigned line;
    bool trace;
    struct rte_mempool *pool;
    struct tcp_config config;
    struct tcp_stack *stack;
    struct tide_addr addr;
    uint64_t start_ns, now_ns, time_ns, last_input_ns; /* time_ns: of the line before */
    struct peer peers[PEERS], *peer;
    uint32_t peer_isn;
    struct packet sent[SENT_MAX];
    unsigned sent_count, sent_taken;
};

enum line_kind { LINE_EMPTY, LINE_CONFIG, LINE_INPUT, LINE_EXPECT, LINE_NONE, LINE_CALL };
struct line {
    enum line_kind kind;
    bool relative;
    uint64_t from_ns, to_ns;
    struct packet packet;
    char *rest;
};

/* parse.c: false after an error was said. */
bool script_parse(struct script *, char *text, struct line *ret);
/* calls.c */
void script_init(struct script *, const char *file, struct rte_mempool *, bool trace);
bool script_configure(struct script *, char *text);
bool script_begin(struct script *);
bool script_call(struct script *, char *text);
/* script.c */
uint8_t script_pattern(unsigned direction, uint32_t seq);
bool script_settle(struct script *);

#endif
