/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumer groups, as the commands of `tidemark group` share them.
 */
#ifndef TIDEMARK_CONTROL_TOOL_GROUP_H
#define TIDEMARK_CONTROL_TOOL_GROUP_H

#include <stdbool.h>

#include "tool/client.h"

/* What the coordinator says of one group, until the event is destroyed. NULL after a message. */
const rd_kafka_ConsumerGroupDescription_t *group_look(rd_kafka_t *, const char *group, rd_kafka_event_t **ret);
/* Everything that the group has committed. NULL after a message. */
rd_kafka_topic_partition_list_t *group_committed(rd_kafka_t *, const char *group);
/* Of every partition of the list the offset that this timestamp (RD_KAFKA_OFFSET_END and _BEGINNING too) stands for; who cannot
 * be asked has an error. False after a message. */
bool group_offsets_at(rd_kafka_t *, rd_kafka_topic_partition_list_t *, int64_t timestamp);

enum { RESET_TOPICS_MAX = 64 };
enum reset_target { RESET_NONE, RESET_EARLIEST, RESET_LATEST, RESET_OFFSET, RESET_SHIFT, RESET_DATETIME };
struct group_reset {
    const char *group;
    enum reset_target target;
    int64_t value;     /* an offset, a shift, or milliseconds since 1970 */
    bool all_topics;   /* all that the group has committed */
    bool execute;      /* or only say what would be done */
    unsigned topic_count;
    const char *topics[RESET_TOPICS_MAX]; /* NAME or NAME:PARTITION */
};
int group_reset(rd_kafka_t *, const struct group_reset *);
/* 2026-01-31, 2026-01-31T12:00:00, with .123 and Z or +01:00 behind it; without a zone it is UTC. */
bool group_parse_datetime(const char *, int64_t *ret_ms);

#endif
