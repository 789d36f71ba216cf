/*
 * A range is as large as the primary reads in some 20 ms. When it differs the next question from
 * the same place is about an eighth of it, down to ranges whose rows are listed; behind those the
 * ranges grow again.
 */
#include <string.h>

#include "fs/base/clock.h"
#include "mirror/audit.h"

#define LIST_ROWS      64 /* a range of so many is listed */
#define FIRST_ROWS     2000
#define MOST_ROWS      65536
#define RANGE_QUICK_US 10000
#define RANGE_SLOW_US  40000
#define SUSPECTS_MAX   256
#define NOTE_MS        1000

struct range {
    struct pg_result *row;
    int64_t rows, busy_us;
    const char *digest, *last; /* borrowed from row; last NULL: to the end */
};

struct walk {
    struct audit *a;
    const struct audit_table *table;
    struct buf after; /* the key up to which rows were looked at; empty: none */
    bool has_after, is_end;
    int64_t limit, largest;
    struct audit_keys suspects;
    uint64_t note_due_ms;
};

static void range_deinit(struct range *r)
{
    pg_result_free(&r->row);
}
#define auto_range __attribute__((cleanup(range_deinit)))

static void walk_deinit(struct walk *w)
{
    audit_keys_deinit(&w->suspects);
    buf_deinit(&w->after);
}
#define auto_walk __attribute__((cleanup(walk_deinit)))

/* The key behind which the next range begins; NULL: at the beginning. */
static enum rc after_of(struct walk *w, const char **out, struct err *e)
{
    *out = NULL;
    return w->has_after ? buf_cstr(&w->after, out, e) : RC_OK;
}

/* limit 0: none. */
static enum rc ask(struct walk *w, struct pg *at, const char *upto, int64_t limit,
                   struct range *out, struct err *e)
{
    const char *after;
    if (after_of(w, &after, e))
        return e->code;
    const struct pg_param params[] = {pg_text(w->table->text), pg_text(after), pg_text(upto),
                                      limit ? pg_int8(limit) : pg_null(20)};
    pg_result_free(&out->row);
    if (audit_ask(w->a, at, "SELECT * FROM tarn_1.audit_range($1,$2,$3,$4)", params, 4, &out->row,
                  e))
        return err_note(e, "could not read a range of %s", w->table->relation);
    out->rows = pg_get_int8(out->row, 0, pg_column(out->row, "row_count"));
    out->busy_us = pg_get_int8(out->row, 0, pg_column(out->row, "busy_us"));
    const char *digest = pg_get_text(out->row, 0, pg_column(out->row, "digest"));
    out->digest = digest ? digest : "";
    out->last = pg_get_text(out->row, 0, pg_column(out->row, "last"));
    return RC_OK;
}

static bool is_equal(const struct range *ours, const struct range *theirs)
{
    return ours->rows == theirs->rows && strcmp(ours->digest, theirs->digest) == 0;
}

static enum rc advance(struct walk *w, const char *to, struct err *e)
{
    if (!to) {
        w->is_end = true;
        return RC_OK;
    }
    buf_clear(&w->after);
    w->has_after = true;
    return buf_add_str(&w->after, to, e);
}

/* --------------------------------------------------------------------------------- the suspects */

static enum rc settle(struct walk *w, struct err *e)
{
    auto_buf struct buf text;
    const char *keys;
    buf_init(&text, AUDIT_KEYS_MAX);
    if (w->suspects.count == 0)
        return RC_OK;
    if (audit_keys_text(&w->suspects, &text, &keys, e) ||
        audit_settle(w->a, w->table, keys, w->suspects.count, NULL, e))
        return e->code;
    audit_keys_deinit(&w->suspects);
    return RC_OK;
}

static enum rc list(struct walk *w, struct pg *at, const char *upto, struct pg_result **out,
                    struct err *e)
{
    const char *after;
    if (after_of(w, &after, e))
        return e->code;
    const struct pg_param params[] = {pg_text(w->table->text), pg_text(after), pg_text(upto)};
    return audit_ask(w->a, at, "SELECT * FROM tarn_1.audit_list($1,$2,$3)", params, 3, out, e);
}

static enum rc suspect(struct walk *w, const char *upto, struct err *e)
{
    auto_result struct pg_result *ours = NULL, *theirs = NULL, *keys = NULL;
    if (list(w, w->a->primary, upto, &theirs, e) || list(w, w->a->own, upto, &ours, e))
        return err_note(e, "could not list rows of %s", w->table->relation);
    const struct pg_param params[] = {pg_text(pg_get_text(ours, 0, 0)),
                                      pg_text(pg_get_text(theirs, 0, 0))};
    if (audit_ask(w->a, w->a->own, "SELECT * FROM tarn_1.audit_unequal($1,$2)", params, 2, &keys,
                  e))
        return err_note(e, "could not compare rows of %s", w->table->relation);
    for (int i = 0; i < pg_rows(keys); i++) {
        if (audit_keys_add(&w->suspects, pg_get_text(keys, i, 0), e) ||
            (w->suspects.count == SUSPECTS_MAX && settle(w, e)))
            return e->code;
    }
    return RC_OK;
}

/* ------------------------------------------------------------------------------------ the ranges
 */

/* Larger ranges while they are equal and quick; smaller ones when the primary took long. */
static void choose_limit(struct walk *w, const struct range *theirs)
{
    if (theirs->busy_us > RANGE_SLOW_US && w->largest / 2 >= LIST_ROWS)
        w->largest /= 2;
    else if (theirs->busy_us < RANGE_QUICK_US && w->limit == w->largest &&
             w->largest * 2 <= MOST_ROWS)
        w->largest *= 2;
    w->limit = w->limit * 4 < w->largest ? w->limit * 4 : w->largest;
}

static enum rc step(struct walk *w, struct err *e)
{
    auto_range struct range theirs = {.digest = ""}, ours = {.digest = ""};
    if (ask(w, w->a->primary, NULL, w->limit, &theirs, e) ||
        ask(w, w->a->own, theirs.last, w->limit * 2, &ours, e))
        return e->code;
    /* Where this site has far more rows, its own decide how far the range goes. */
    const bool is_fuller = ours.last != NULL;
    const char *upto = is_fuller ? ours.last : theirs.last;
    if (is_fuller && ask(w, w->a->primary, upto, 0, &theirs, e))
        return e->code;
    if (is_equal(&ours, &theirs)) {
        w->a->items += theirs.rows;
        choose_limit(w, &theirs);
        return advance(w, upto, e);
    }
    if (w->limit > LIST_ROWS) {
        w->limit = w->limit / 8 > LIST_ROWS ? w->limit / 8 : LIST_ROWS;
        return RC_OK;
    }
    if (suspect(w, upto, e))
        return e->code;
    w->a->items += theirs.rows;
    w->limit *= 2;
    return advance(w, upto, e);
}

/* A place is worth remembering when nothing before it is left to be settled. */
static enum rc note(struct walk *w, struct err *e)
{
    const char *place;
    const uint64_t done = (uint64_t)w->a->items;
    progress_set(w->a->progress, done, done > w->a->expected ? done : w->a->expected);
    if (clock_ms() < w->note_due_ms)
        return RC_OK;
    if (settle(w, e) || after_of(w, &place, e))
        return e->code;
    w->note_due_ms = clock_deadline(NOTE_MS);
    return audit_note(w->a, w->table->relation, place, e);
}

enum rc audit_walk(struct audit *a, const struct audit_table *table, const char *after,
                   struct err *e)
{
    auto_walk struct walk w = {.a = a,
                               .table = table,
                               .limit = FIRST_ROWS,
                               .largest = FIRST_ROWS,
                               .note_due_ms = clock_deadline(NOTE_MS)};
    audit_keys_init(&w.suspects);
    buf_init(&w.after, AUDIT_KEYS_MAX);
    if (after && advance(&w, after, e))
        return e->code;
    while (!w.is_end)
        if (step(&w, e) || note(&w, e))
            return e->code;
    return settle(&w, e);
}
