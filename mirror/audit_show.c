#include "mirror/audit_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "mirror/mirror.h"

#define PAGE       1000
#define LINE_BYTES ((size_t)1 << 20)

METRIC_DEFINE(audit_age, METRIC_GAUGE, "tarn_mirror_audit_age_seconds", NULL,
              "Since the last comparison of rows with the primary came to its end")
METRIC_DEFINE(audit_rows_compared, METRIC_GAUGE, "tarn_mirror_audit_rows", NULL,
              "Rows that the last audit compared")
METRIC_DEFINE(audit_different, METRIC_GAUGE, "tarn_mirror_audit_different", NULL,
              "Differences that the last audit found and did not repair")
METRIC_DEFINE(audit_moving, METRIC_GAUGE, "tarn_mirror_audit_moving", NULL,
              "Rows that changed whenever the last audit looked at them")
METRIC_DEFINE(audit_bad_blocks, METRIC_GAUGE, "tarn_mirror_audit_objects_different", NULL,
              "Blocks that the last audit of objects found wrong and did not repair")

/* ------------------------------------------------------------------------------------- findings */

struct finding {
    const char *relation, *key, *kind, *columns, *ours, *theirs;
    bool is_repaired;
};

static struct finding finding_at(const struct pg_result *page, int i)
{
    return (struct finding){
        .relation = pg_get_text(page, i, pg_column(page, "relation")),
        .key = pg_get_text(page, i, pg_column(page, "key")),
        .kind = pg_get_text(page, i, pg_column(page, "kind")),
        .columns = pg_get_text(page, i, pg_column(page, "columns")),
        .ours = pg_get_text(page, i, pg_column(page, "ours")),
        .theirs = pg_get_text(page, i, pg_column(page, "theirs")),
        .is_repaired = pg_get_bool(page, i, pg_column(page, "is_repaired")),
    };
}

static void print_finding(const struct finding *f)
{
    (void)printf("%-8s %s %s%s", f->kind, f->relation, f->key, f->is_repaired ? " (repaired)" : "");
    if (f->ours)
        (void)printf("\n         here           %s", f->ours);
    if (f->theirs)
        (void)printf("\n         %s  %s",
                     f->columns || f->ours || f->key[0] == '[' ? "at the primary" : "             ",
                     f->theirs);
    (void)putchar('\n');
}

static enum rc print_line(const struct json *document, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, LINE_BYTES);
    const char *line;
    if (json_write(document, JSON_COMPACT, &text, e) || buf_cstr(&text, &line, e))
        return e->code;
    (void)puts(line);
    return RC_OK;
}

static enum rc set_text(struct json *into, const char *name, const char *value, struct err *e)
{
    return value ? json_set_string(into, name, value, e) : RC_OK;
}

static enum rc print_finding_json(const struct finding *f, struct err *e)
{
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(document, "kind", f->kind, e) ||
        json_set_string(document, "table", f->relation, e) ||
        json_set_string(document, "key", f->key, e) ||
        set_text(document, "columns", f->columns, e) || set_text(document, "here", f->ours, e) ||
        set_text(document, "primary", f->theirs, e) ||
        json_set_bool(document, "repaired", f->is_repaired, e))
        return e->code;
    return print_line(document, e);
}

static enum rc show_page(struct audit *a, const struct pg_result *page, struct err *e)
{
    for (int i = 0; i < pg_rows(page); i++) {
        const struct finding f = finding_at(page, i);
        if (!a->o->json)
            print_finding(&f);
        else if (print_finding_json(&f, e))
            return e->code;
    }
    return RC_OK;
}

static enum rc show_findings(struct audit *a, struct err *e)
{
    auto_result struct pg_result *page = NULL;
    const char *relation = "", *key = "";
    for (int rows = PAGE; rows == PAGE;) {
        auto_result struct pg_result *before = page; /* relation and key are borrowed from it */
        page = NULL;
        const struct pg_param params[] = {pg_int8(a->run), pg_text(relation), pg_text(key),
                                          pg_int4(PAGE)};
        if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_findings($1,$2,$3,$4)", params, 4,
                      &page, e) ||
            show_page(a, page, e))
            return e->code;
        rows = pg_rows(page);
        if (rows == 0)
            break;
        const struct finding last = finding_at(page, rows - 1);
        relation = last.relation;
        key = last.key;
    }
    return RC_OK;
}

/* ----------------------------------------------------------------------------------------- sums */

static enum rc print_sums_json(const struct audit *a, int64_t different, int64_t repaired,
                               struct err *e)
{
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_int(document, a->o->objects ? "objects" : "rows", a->items, e) ||
        (!a->o->objects &&
         (json_set_int(document, "tables", a->tables, e) ||
          json_set_int(document, "moving", a->moving, e) ||
          json_set_real(document, "primary_busy_seconds", (double)a->busy_us / 1e6, e))) ||
        json_set_int(document, "different", different, e) ||
        json_set_int(document, "repaired", repaired, e))
        return e->code;
    return print_line(document, e);
}

static void print_sums(const struct audit *a, int64_t different, int64_t repaired)
{
    if (a->o->objects)
        (void)printf("compared %" PRId64 " blocks\n", a->items);
    else
        (void)printf("compared %" PRId64 " rows of %" PRId32
                     " tables; the primary worked for it for %.1f s\n",
                     a->items, a->tables, (double)a->busy_us / 1e6);
    if (a->moving)
        (void)printf("moving   %" PRId64 " rows changed whenever they were looked at\n", a->moving);
    (void)printf("result   %s: %" PRId64 " different, %" PRId64 " repaired\n",
                 different == 0          ? "equal"
                 : different == repaired ? "repaired"
                                         : "DIFFERENT",
                 different, repaired);
}

enum rc audit_show(struct audit *a, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param run = pg_int8(a->run);
    if (show_findings(a, e) ||
        audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_sums($1)", &run, 1, &row, e))
        return err_note(e, "could not read what was found");
    const int64_t different = pg_get_int8(row, 0, 0), repaired = pg_get_int8(row, 0, 1);
    if (!a->o->json)
        print_sums(a, different, repaired);
    else if (print_sums_json(a, different, repaired, e))
        return e->code;
    if (different == 0)
        return RC_OK;
    if (different == repaired)
        err_fail(e, RC_CORRUPT, "%" PRId64 " differences were found and repaired", different);
    else
        err_fail(e, RC_CORRUPT, "%" PRId64 " differences were found, %" PRId64 " of them repaired",
                 different, repaired);
    return err_exits(e, different == repaired ? AUDIT_EXIT_REPAIRED : AUDIT_EXIT_DIFFERENT);
}

/* ------------------------------------------------------------------------------------- the last */

struct last {
    const char *kind, *ended_at;
    int64_t age_s, seconds, items, different, repaired, moving;
};

static struct last last_at(const struct pg_result *rows, int i)
{
    return (struct last){
        .kind = pg_get_text(rows, i, pg_column(rows, "kind")),
        .ended_at = pg_get_text(rows, i, pg_column(rows, "ended_at")),
        .age_s = pg_get_int8(rows, i, pg_column(rows, "age_s")),
        .seconds = pg_get_int8(rows, i, pg_column(rows, "seconds")),
        .items = pg_get_int8(rows, i, pg_column(rows, "items")),
        .different = pg_get_int8(rows, i, pg_column(rows, "different")),
        .repaired = pg_get_int8(rows, i, pg_column(rows, "repaired")),
        .moving = pg_get_int8(rows, i, pg_column(rows, "moving")),
    };
}

static enum rc read_last(struct pg *own, struct pg_result **out, struct err *e)
{
    if (pg_call(own, "SELECT * FROM tarn_1.audit_last()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                out, e))
        return err_note(e, "could not read what the last audit found");
    return RC_OK;
}

enum rc audit_show_last(struct pg *own, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (read_last(own, &rows, e))
        return e->code;
    for (int i = 0; i < pg_rows(rows); i++) {
        const struct last l = last_at(rows, i);
        (void)printf("audit    %s: %" PRId64 " compared, %" PRId64 " different, %" PRId64
                     " repaired, ended %s\n",
                     l.kind, l.items, l.different, l.repaired, l.ended_at);
    }
    return RC_OK;
}

static enum rc last_document(const struct last *l, struct json **out, struct err *e)
{
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(document, "ended_at", l->ended_at, e) ||
        json_set_int(document, "age_seconds", l->age_s, e) ||
        json_set_int(document, "seconds", l->seconds, e) ||
        json_set_int(document, "compared", l->items, e) ||
        json_set_int(document, "different", l->different, e) ||
        json_set_int(document, "repaired", l->repaired, e) ||
        json_set_int(document, "moving", l->moving, e))
        return e->code;
    *out = take_pointer(&document);
    return RC_OK;
}

enum rc audit_add_last(struct pg *own, struct json *into, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    auto_json struct json *audit = json_object_new();
    if (!audit)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (read_last(own, &rows, e))
        return e->code;
    for (int i = 0; i < pg_rows(rows); i++) {
        auto_json struct json *one = NULL;
        const struct last l = last_at(rows, i);
        if (last_document(&l, &one, e) || json_set(audit, l.kind, &one, e))
            return e->code;
    }
    return json_set(into, "audit", &audit, e);
}

enum rc audit_count_last(struct pg *own, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (read_last(own, &rows, e))
        return e->code;
    for (int i = 0; i < pg_rows(rows); i++) {
        const struct last l = last_at(rows, i);
        if (strcmp(l.kind, "rows") != 0) {
            metric_set(&audit_bad_blocks, l.different - l.repaired);
            continue;
        }
        metric_set(&audit_age, l.age_s);
        metric_set(&audit_rows_compared, l.items);
        metric_set(&audit_different, l.different - l.repaired);
        metric_set(&audit_moving, l.moving);
    }
    return RC_OK;
}
