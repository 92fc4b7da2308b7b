/* SPDX-License-Identifier: Apache-2.0 */
/* What a core writes of its partitions and requests while somebody traces (trace.h). */
#include <string.h>

#include "broker/internal.h"

void trace_message(struct broker *b, enum trace_kind kind, uint32_t slot, int64_t end, int32_t broker)
{
    trace_write(b->trace, b->config.core,
                &(struct trace_event){.kind = (uint8_t)kind, .slot = slot, .end = end, .at_ns = tide_now_ns(&b->time), .broker = broker});
}

void trace_mark(struct broker *b, struct partition *p)
{
    struct partition_look look;
    partition_look(p, &look);
    trace_message(b, TRACE_MARK, partition_slot(p), look.high_watermark, -1);
}

/* A completion was taken: of a write, and a good one, when the log's last one was done in this turn. */
void trace_written(struct broker *b, struct partition *p)
{
    const struct log_written w = log_last_written(partition_log(p));
    if (w.done_ns >= b->time.now_ns)
        trace_write(b->trace, b->config.core, &(struct trace_event){.kind = TRACE_WRITE, .slot = partition_slot(p), .end = w.end,
                                                                    .since_ns = w.begun_ns, .at_ns = w.done_ns});
}

void trace_request(struct broker *b, int16_t acks, uint32_t slot, int64_t end, const uint64_t stamps[STAMP_COUNT], enum stage_stamp last)
{
    struct trace_event e = {.kind = TRACE_REQUEST, .acks = acks, .slot = slot, .end = end};
    if (end == 0 || stamps[last] - stamps[STAMP_RECEIVED] < b->trace->wish.slower_ns)
        return;
    memcpy(e.stamps, stamps, ((unsigned)last + 1) * sizeof(stamps[0]));
    trace_write(b->trace, b->config.core, &e);
}
