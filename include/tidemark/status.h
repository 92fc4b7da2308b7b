/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the world may answer. A status is never a bug (that is TIDE_ASSERT) and never a
 * Kafka error (those travel inside responses, see dataplane/kafka/errors.def).
 */
#ifndef TIDEMARK_STATUS_H
#define TIDEMARK_STATUS_H

#define TIDE_MUST_USE __attribute__((warn_unused_result))

enum tide_status {
    TIDE_OK = 0,
    TIDE_FULL,    /* a pool, ring or window has no room now: an ordinary answer, try later */
    TIDE_AGAIN,   /* begun, and not finished: an event will bring the rest */
    TIDE_BAD,     /* the bytes are not what they should be */
    TIDE_IO,      /* the device or the operating system failed */
    TIDE_ABSENT,  /* no such thing */
    TIDE_EXISTS,  /* there already */
    TIDE_REFUSED, /* well-formed, but not allowed in this state */
    TIDE_STATUS_COUNT
};

#endif
