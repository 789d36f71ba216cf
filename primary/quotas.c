#include "primary/quotas.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "primary/primary.h"

#define LOOK_MS   15000
#define LABEL_MAX 40

METRIC_DEFINE(all_quotas, METRIC_GAUGE, "tarn_quotas", NULL,
              "Directories, users and groups with a limit")

/* A metric that is only shown while there is such a limit. */
struct limit {
    struct metric metric;
    bool is_shown;
};

struct quota_gauge {
    int32_t type;
    int64_t key;
    bool was_seen;
    char labels[LABEL_MAX];
    struct metric used_space, used_inodes;
    struct limit max_space, max_inodes;
    struct quota_gauge *next;
};

struct quotas {
    struct quota_gauge *first;
    uint64_t due_ms;
};

enum rc quotas_open(struct quotas **out, struct err *e)
{
    *out = calloc(1, sizeof(**out));
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

static void forget(struct quota_gauge *q)
{
    metric_unregister(&q->used_space);
    metric_unregister(&q->used_inodes);
    metric_unregister(&q->max_space.metric);
    metric_unregister(&q->max_inodes.metric);
    free(q);
}

static void forget_unseen(struct quotas *quotas)
{
    for (struct quota_gauge **at = &quotas->first; *at;) {
        struct quota_gauge *q = *at;
        if (q->was_seen) {
            q->was_seen = false;
            at = &q->next;
            continue;
        }
        *at = q->next;
        forget(q);
    }
}

void quotas_close(struct quotas **quotas)
{
    if (!*quotas)
        return;
    for (struct quota_gauge *q = (*quotas)->first; q; q = q->next)
        q->was_seen = false;
    forget_unseen(*quotas);
    free(*quotas);
    *quotas = NULL;
}

static struct metric gauge(const struct quota_gauge *q, const char *name, const char *help)
{
    return (struct metric){.name = name, .labels = q->labels, .help = help, .type = METRIC_GAUGE};
}

static struct quota_gauge *remember(struct quotas *quotas, int32_t type, int64_t key)
{
    static const char *const labels[] = {"inode", "uid", "gid"};
    struct quota_gauge *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->type = type;
    q->key = key;
    (void)snprintf(q->labels, sizeof(q->labels), "%s=\"%" PRId64 "\"", labels[type], key);
    q->used_space = gauge(q, "tarn_quota_used_space_bytes", "Space that counts in a quota");
    q->used_inodes = gauge(q, "tarn_quota_used_inodes", "Inodes that count in a quota");
    q->max_space.metric = gauge(q, "tarn_quota_max_space_bytes", "Space that a quota allows");
    q->max_inodes.metric = gauge(q, "tarn_quota_max_inodes", "Inodes that a quota allows");
    metric_register(&q->used_space);
    metric_register(&q->used_inodes);
    q->next = quotas->first;
    quotas->first = q;
    return q;
}

static struct quota_gauge *find(struct quotas *quotas, int32_t type, int64_t key)
{
    for (struct quota_gauge *q = quotas->first; q; q = q->next)
        if (q->type == type && q->key == key)
            return q;
    return remember(quotas, type, key);
}

static void set_limit(struct limit *limit, int64_t value)
{
    const bool is_limit = value > 0;
    metric_set(&limit->metric, value);
    if (is_limit && !limit->is_shown)
        metric_register(&limit->metric);
    else if (!is_limit && limit->is_shown)
        metric_unregister(&limit->metric);
    limit->is_shown = is_limit;
}

static enum rc look_at(struct quotas *quotas, const struct pg_result *r, int row, struct err *e)
{
    const int32_t type = pg_get_int4(r, row, pg_column(r, "type"));
    if (type < 0 || type > 2)
        return err_fail(e, RC_CORRUPT, "a quota of type %d", type);
    struct quota_gauge *q = find(quotas, type, pg_get_int8(r, row, pg_column(r, "key")));
    if (!q)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    q->was_seen = true;
    metric_set(&q->used_space, pg_get_int8(r, row, pg_column(r, "used_space")));
    metric_set(&q->used_inodes, pg_get_int8(r, row, pg_column(r, "used_inodes")));
    set_limit(&q->max_space, pg_get_int8(r, row, pg_column(r, "max_space")));
    set_limit(&q->max_inodes, pg_get_int8(r, row, pg_column(r, "max_inodes")));
    metric_set(&all_quotas, pg_get_int8(r, row, pg_column(r, "total")));
    return RC_OK;
}

enum rc quotas_look(struct quotas *quotas, struct pg *pg, struct err *e)
{
    if (clock_left(quotas->due_ms) > 0)
        return RC_OK;
    auto_result struct pg_result *rows = NULL;
    struct pg_param params[] = {pg_int4(QUOTAS_MAX)};
    if (pg_call(pg, "SELECT * FROM tarn_1.fullest_quotas($1)", params, 1,
                clock_deadline(PRIMARY_CALL_MS), &rows, e))
        return err_note(e, "could not look at the quotas");
    quotas->due_ms = clock_deadline(LOOK_MS);
    if (pg_rows(rows) == 0)
        metric_set(&all_quotas, 0);
    for (int i = 0; i < pg_rows(rows); i++)
        if (look_at(quotas, rows, i, e))
            return e->code;
    forget_unseen(quotas);
    return RC_OK;
}
