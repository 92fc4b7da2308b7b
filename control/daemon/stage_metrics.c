/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/stage_metrics.h"

#include <stdlib.h>

#include "daemon/world.h"

enum { FOLLOWERS_SHOWN = 2 * STAGE_FOLLOWERS_MAX }; /* of all cores together */

struct stage_metrics {
    uint64_t looked_ns;
    struct stage_window of[STAGE_COUNT];
    uint32_t follower_count;
    struct follower {
        int32_t broker;
        struct stage_window send, acknowledge;
    } followers[FOLLOWERS_SHOWN];
    struct tide_histogram window;
    struct stage_window turns[]; /* of each core */
};

static void merge_stages(struct stage_metrics *m, const struct world *w)
{
    for (unsigned s = 0; s < STAGE_COUNT; s++) {
        m->of[s].now = (struct tide_histogram){0};
        for (uint32_t core = 0; core < w->core_count; core++)
            tide_histogram_merge(&m->of[s].now, broker_stage(core_broker(w->cores[core]), s));
    }
}

/* NULL: more than are shown. */
static struct follower *follower_of(struct stage_metrics *m, int32_t broker)
{
    for (uint32_t i = 0; i < m->follower_count; i++)
        if (m->followers[i].broker == broker)
            return &m->followers[i];
    if (m->follower_count == FOLLOWERS_SHOWN)
        return NULL;
    m->followers[m->follower_count].broker = broker;
    return &m->followers[m->follower_count++];
}

static void merge_followers(struct stage_metrics *m, const struct world *w)
{
    for (uint32_t i = 0; i < m->follower_count; i++)
        m->followers[i].send.now = m->followers[i].acknowledge.now = (struct tide_histogram){0};
    for (uint32_t core = 0; core < w->core_count; core++) {
        for (uint32_t i = 0; i < STAGE_FOLLOWERS_MAX; i++) {
            const struct stage_follower *f = broker_stage_follower(core_broker(w->cores[core]), i);
            uint64_t id = tide_pub64_peek(&f->broker);
            struct follower *to = id != 0 ? follower_of(m, (int32_t)(uint32_t)(id - 1)) : NULL;
            if (to == NULL)
                continue;
            tide_histogram_merge(&to->send.now, &f->send);
            tide_histogram_merge(&to->acknowledge.now, &f->acknowledge);
        }
    }
}

static void summary(struct stage_metrics *m, FILE *f, const char *name, const char *labels, const struct stage_window *w)
{
    static const struct { const char *label; uint32_t ppm; } quantiles[] = {
        {"0.5", 500000}, {"0.9", 900000}, {"0.99", 990000}, {"0.999", 999000}};
    stage_window_of(w, &m->window);
    bool empty = tide_histogram_count(&m->window) == 0;
    for (unsigned q = 0; !empty && q < TIDE_ARRAY_LEN(quantiles); q++)
        fprintf(f, "tidemark_%s{%s,quantile=\"%s\"} %.9f\n", name, labels, quantiles[q].label,
                (double)tide_histogram_quantile(&m->window, quantiles[q].ppm) / 1e9);
    if (!empty)
        fprintf(f, "tidemark_%s{%s,quantile=\"1\"} %.9f\n", name, labels, (double)m->window.max_ns / 1e9);
    fprintf(f, "tidemark_%s_sum{%s} %.9f\n", name, labels, (double)w->now.sum_ns / 1e9);
    fprintf(f, "tidemark_%s_count{%s} %lu\n", name, labels, tide_histogram_count(&w->now));
}

static void turns(struct stage_metrics *m, const struct world *w, uint64_t now_ns, FILE *f)
{
    struct turn longest[TIDE_CORES_MAX];
    char labels[32];
    fputs("# HELP tidemark_turn_seconds how long turns of a core took that did something; quantiles are those of the last seconds\n"
          "# TYPE tidemark_turn_seconds summary\n", f);
    for (uint32_t core = 0; core < w->core_count; core++) {
        m->turns[core].now = (struct tide_histogram){0};
        tide_histogram_merge(&m->turns[core].now, &core_turns(w->cores[core])->lengths);
        snprintf(labels, sizeof(labels), "core=\"%u\"", core);
        summary(m, f, "turn_seconds", labels, &m->turns[core]);
        turns_longest(core_turns(w->cores[core]), now_ns, &longest[core]);
    }
    fputs("# HELP tidemark_turn_stalls_total turns of a millisecond or more\n# TYPE tidemark_turn_stalls_total counter\n", f);
    for (uint32_t core = 0; core < w->core_count; core++)
        fprintf(f, "tidemark_turn_stalls_total{core=\"%u\"} %lu\n", core, tide_pub64_peek(&core_turns(w->cores[core])->stalls));
    fputs("# HELP tidemark_turn_longest_seconds the longest turn of the last ten to twenty seconds\n# TYPE tidemark_turn_longest_seconds gauge\n", f);
    for (uint32_t core = 0; core < w->core_count; core++)
        fprintf(f, "tidemark_turn_longest_seconds{core=\"%u\"} %.9f\n", core, (double)longest[core].took_ns / 1e9);
    for (unsigned k = 0; k < TURN_WORK_COUNT; k++) {
        fprintf(f, "# HELP tidemark_turn_longest_%s in that turn: %s\n# TYPE tidemark_turn_longest_%s gauge\n", turn_work_names[k], turn_work_help[k],
                turn_work_names[k]);
        for (uint32_t core = 0; core < w->core_count; core++)
            fprintf(f, "tidemark_turn_longest_%s{core=\"%u\"} %u\n", turn_work_names[k], core, longest[core].work[k]);
    }
}

bool stage_metrics_render(struct stage_metrics **mp, const struct world *w, uint64_t now_ns, FILE *f)
{
    struct stage_metrics *m = *mp != NULL ? *mp : calloc(1, sizeof(*m) + w->core_count * sizeof(m->turns[0]));
    char labels[64], name[16];
    if (m == NULL)
        return false;
    *mp = m;
    merge_stages(m, w);
    merge_followers(m, w);
    fputs("# HELP tidemark_stage_seconds how long a stage of a request took; quantiles are those of the last seconds\n"
          "# TYPE tidemark_stage_seconds summary\n", f);
    for (unsigned s = 0; s < STAGE_COUNT; s++) {
        snprintf(labels, sizeof(labels), "stage=\"%s\"", tide_stage_names[s]);
        summary(m, f, "stage_seconds", labels, &m->of[s]);
    }
    fputs("# HELP tidemark_follower_stage_seconds how long bytes waited for a stream (send), and then for the follower (acknowledge)\n"
          "# TYPE tidemark_follower_stage_seconds summary\n", f);
    for (uint32_t i = 0; i < m->follower_count; i++) {
        const struct follower *o = &m->followers[i];
        snprintf(name, sizeof(name), "%d", o->broker);
        if (o->broker < 0)
            snprintf(name, sizeof(name), "other");
        snprintf(labels, sizeof(labels), "stage=\"send\",follower=\"%s\"", name);
        summary(m, f, "follower_stage_seconds", labels, &o->send);
        snprintf(labels, sizeof(labels), "stage=\"acknowledge\",follower=\"%s\"", name);
        summary(m, f, "follower_stage_seconds", labels, &o->acknowledge);
    }
    turns(m, w, now_ns, f);
    if (!stage_window_is_due(&m->looked_ns, now_ns))
        return true;
    for (uint32_t core = 0; core < w->core_count; core++)
        stage_window_look(&m->turns[core]);
    for (unsigned s = 0; s < STAGE_COUNT; s++)
        stage_window_look(&m->of[s]);
    for (uint32_t i = 0; i < m->follower_count; i++) {
        stage_window_look(&m->followers[i].send);
        stage_window_look(&m->followers[i].acknowledge);
    }
    return true;
}
