#include "mirror/follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

#define TABLES_MAX   64
#define RELATION_MAX 130

struct table {
    char relation[RELATION_MAX];
    uint64_t bytes, rows;
    bool is_ready;
};

struct copy_plan {
    size_t count;
    uint64_t bytes_total, rows_total;
    struct table tables[TABLES_MAX];
};

enum rc copy_plan_make(struct copy_plan **out, struct pg *primary, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (pg_call(primary, "SELECT * FROM tarn_1.table_sizes()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &rows, e))
        return err_note(e, "could not ask the primary for the sizes of its tables");
    struct copy_plan *plan = calloc(1, sizeof(*plan));
    if (!plan || pg_rows(rows) > TABLES_MAX) {
        free(plan);
        return err_fail(e, RC_NO_SPACE, "could not plan the copy of %d tables", pg_rows(rows));
    }
    for (int i = 0; i < pg_rows(rows); i++) {
        struct table *t = &plan->tables[plan->count++];
        const char *name = pg_get_text(rows, i, pg_column(rows, "relation"));
        (void)snprintf(t->relation, sizeof(t->relation), "%s", name);
        t->bytes = (uint64_t)pg_get_int8(rows, i, pg_column(rows, "bytes"));
        t->rows = (uint64_t)pg_get_int8(rows, i, pg_column(rows, "tuples"));
        plan->bytes_total += t->bytes;
        plan->rows_total += t->rows;
    }
    *out = plan;
    return RC_OK;
}

void copy_plan_free(struct copy_plan **plan)
{
    free(*plan);
    *plan = NULL;
}

static struct table *find(struct copy_plan *plan, const char *relation)
{
    for (size_t i = 0; plan && i < plan->count; i++)
        if (strcmp(plan->tables[i].relation, relation) == 0)
            return &plan->tables[i];
    return NULL;
}

/* What COPY has read says little about what the table takes up, so it never counts for more. */
static void count_table(struct table *t, bool is_ready, uint64_t copied, uint64_t rows,
                        struct copy_sight *out)
{
    if (is_ready && !t->is_ready)
        log_info("table %s is copied", t->relation);
    t->is_ready = is_ready;
    out->bytes_done += is_ready || copied > t->bytes ? t->bytes : copied;
    out->rows_done += is_ready ? t->rows : rows;
}

enum rc copy_look(struct copy_plan *plan, struct pg *own, struct copy_sight *out, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.copy_progress()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &rows, e))
        return err_note(e, "could not look at the first copy");
    *out = (struct copy_sight){.tables_total = pg_rows(rows)};
    out->bytes_total = plan ? plan->bytes_total : 0;
    out->rows_total = plan ? plan->rows_total : 0;
    for (int i = 0; i < pg_rows(rows); i++) {
        bool is_ready = pg_get_bool(rows, i, pg_column(rows, "is_ready"));
        struct table *t = find(plan, pg_get_text(rows, i, pg_column(rows, "relation")));
        out->tables_ready += is_ready;
        if (t)
            count_table(t, is_ready, (uint64_t)pg_get_int8(rows, i, pg_column(rows, "bytes")),
                        (uint64_t)pg_get_int8(rows, i, pg_column(rows, "tuples")), out);
    }
    return RC_OK;
}

enum rc copy_show(const struct copy_sight *sight, struct json *document, struct err *e)
{
    auto_json struct json *copy = json_object_new();
    if (!copy)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_int(copy, "tables", sight->tables_ready, e) ||
        json_set_int(copy, "tables_total", sight->tables_total, e) ||
        json_set_int(copy, "rows", (int64_t)sight->rows_done, e) ||
        json_set_int(copy, "rows_total", (int64_t)sight->rows_total, e) ||
        json_set_int(copy, "bytes", (int64_t)sight->bytes_done, e) ||
        json_set_int(copy, "bytes_total", (int64_t)sight->bytes_total, e))
        return e->code;
    return json_set(document, "copy", &copy, e);
}

static void marker_name(const char *site, char out[96])
{
    (void)snprintf(out, 96, "join/%s", site);
}

enum rc marker_write(struct pg *primary, const char *site, int64_t *value, struct err *e)
{
    char name[96];
    marker_name(site, name);
    return mark_write(primary, name, value, NULL, e);
}

enum rc mark_write(struct pg *primary, const char *name, int64_t *value, int64_t *epoch,
                   struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(name);
    if (pg_call(primary, "SELECT * FROM tarn_1.mark($1)", &param, 1, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not write a marker at the primary");
    *value = pg_get_int8(row, 0, pg_column(row, "value"));
    if (epoch)
        *epoch = pg_get_int8(row, 0, pg_column(row, "epoch"));
    return RC_OK;
}

enum rc marker_arrived(struct pg *own, const char *site, int64_t value, bool *out, struct err *e)
{
    char name[96];
    marker_name(site, name);
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(name);
    if (pg_call(own, "SELECT * FROM tarn_1.mark_seen($1)", &param, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look for the marker");
    *out = pg_rows(row) == 1 && pg_get_int8(row, 0, 0) >= value;
    return RC_OK;
}

enum rc follow_copied(struct pg *own, struct err *e)
{
    if (mirror_do(own, "SELECT tarn_1.mirror_copied()", NULL, e))
        return err_note(e, "could not begin the orders to copy blocks");
    return RC_OK;
}

enum rc follow_ready(struct pg *own, struct err *e)
{
    if (mirror_do(own, "SELECT * FROM tarn_1.mirror_ready()", NULL, e))
        return err_note(e, "could not declare the mirror ready");
    return RC_OK;
}
