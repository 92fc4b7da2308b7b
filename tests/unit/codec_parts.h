/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the codec share: two pools, what is drawn for the fields of a request, and the requests themselves
 * (codec_clients.c, codec_admin.c). A writer and its check draw the same numbers from the same seed.
 */
#ifndef TIDEMARK_TESTS_CODEC_PARTS_H
#define TIDEMARK_TESTS_CODEC_PARTS_H

#include "unit.h"

#include "kafka/header.h"
#include "kafka/messages.h"
#include "tidemark/random.h"

enum { CODEC_TEXT_MAX = 40, CODEC_LIST_MAX = 4 };

extern struct rte_mempool *codec_pool;
extern struct rte_mempool *codec_exact; /* holds nothing but views */

/* Of a group of tests; at the end the pools have everything back. */
int codec_setup(void **state);
int codec_teardown(void **state);

/* Two exact mbufs, cut at `cut`. */
struct tide_rope codec_halves(const uint8_t *bytes, uint32_t len, uint32_t cut);

/* ---- what is drawn ------------------------------------------------------------------------------- */

struct text {
    uint32_t len;
    bool null;
    char bytes[CODEC_TEXT_MAX + 1];
};

struct text draw_text(struct tide_random *, bool nullable);
struct tide_uuid draw_uuid(struct tide_random *);
/* -1: null. */
int32_t draw_count(struct tide_random *, bool nullable);
/* Its bytes as an exact mbuf. */
struct tide_rope draw_rope(const struct text *);
void put_texts(struct wire_writer *, struct tide_random *, bool flexible, int32_t count);
void put_numbers(struct wire_writer *, struct tide_random *, int32_t count);

/* Every writer has w, v and r, every check v and r. */
#define PUT(put, type) put(w, v, (type)tide_random_u64(r))
#define PUT_BOOL(put) put(w, v, (tide_random_u64(r) & 1) != 0)
#define PUT_TEXT(put, nullable)                                                                    \
    do {                                                                                           \
        struct text t_ = draw_text(r, nullable);                                                   \
        put(w, v, t_.null ? NULL : t_.bytes, t_.len);                                              \
    } while (0)
#define PUT_UUID(put)                                                                              \
    do {                                                                                           \
        struct tide_uuid u_ = draw_uuid(r);                                                        \
        put(w, v, &u_);                                                                            \
    } while (0)

/* What was read against what is drawn; `present`: the version has the field. */
void is_text(const struct wire_bytes *got, struct tide_random *, bool present, bool nullable);
void is_uuid(const struct tide_uuid *got, struct tide_random *, bool present);
int32_t is_count(const struct wire_list *got, struct tide_random *, bool nullable);
void are_texts(struct wire_list *, struct tide_random *, bool flexible);
void are_numbers(struct wire_list *, struct tide_random *);

/* A field that the version does not have reads as its standard value. */
#define IS(got, type, present, standard)                                                           \
    do {                                                                                           \
        type n_ = (type)tide_random_u64(r);                                                        \
        assert_true((got) == ((present) ? n_ : (type)(standard)));                                 \
    } while (0)
#define IS_BOOL(got, present, standard)                                                            \
    do {                                                                                           \
        bool n_ = (tide_random_u64(r) & 1) != 0;                                                   \
        assert_int_equal(got, (present) ? n_ : (standard));                                        \
    } while (0)

/* ---- requests --------------------------------------------------------------------------------------- */

struct codec_request {
    const char *name;
    int16_t low, high; /* versions */
    void (*write)(struct wire_writer *, int16_t v, struct tide_random *);
    void (*check)(struct wire_cursor *, int16_t v, struct tide_random *);
    bool (*read)(struct wire_cursor *, int16_t v);
};
struct codec_requests {
    const struct codec_request *at;
    size_t count;
};
/* Of producers and consumers, and of administrators. */
extern const struct codec_requests codec_clients, codec_admin;

/* Of a file of requests: READ for each of them, then a row for each in a table. */
#define READ(message)                                                                              \
    static bool read_##message(struct wire_cursor *c, int16_t v)                                   \
    {                                                                                              \
        struct message##_request ret;                                                              \
        return message##_request_read(c, v, &ret);                                                 \
    }
#define REQUEST(message, low, high) {#message, low, high, write_##message, check_##message, read_##message}

#endif
