/*
 * Suspects are looked at in rounds, each of four reads (tarn_1.audit_judge). A round decides the
 * rows that stood still at one of the sites; the pauses between rounds grow, and what moves in all
 * of them is busy rather than wrong: a change carries the whole row, so it is mended by the next.
 */
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "mirror/audit.h"
#include "mirror/mirror.h"

#define ROUNDS          8
#define ROUNDS_MS       6000 /* no round begins later */
#define PAUSE_MS        20   /* before the second round; then twice as long each time */
#define WRITERS_MS      1000
#define LOOK_FIRST_MS   5
#define LOOK_LONGEST_MS 100

void audit_keys_init(struct audit_keys *keys)
{
    buf_init(&keys->json, AUDIT_KEYS_MAX);
    keys->count = 0;
}

void audit_keys_deinit(struct audit_keys *keys)
{
    buf_deinit(&keys->json);
    keys->count = 0;
}

enum rc audit_keys_add(struct audit_keys *keys, const char *key, struct err *e)
{
    keys->count++;
    return buf_addf(&keys->json, e, "%c%s", keys->count == 1 ? '[' : ',', key);
}

enum rc audit_keys_text(const struct audit_keys *keys, struct buf *into, const char **out,
                        struct err *e)
{
    const struct bytes list = buf_bytes(&keys->json);
    if (list.size == 0 ? buf_add_str(into, "[", e) : buf_add(into, list.data, list.size, e))
        return e->code;
    return buf_add_str(into, "]", e) ? e->code : buf_cstr(into, out, e);
}

/* Longer and longer, as the line may be long. */
static void look_again(uint64_t *pause_ms)
{
    clock_sleep_until(clock_deadline(*pause_ms));
    *pause_ms = *pause_ms * 2 < LOOK_LONGEST_MS ? *pause_ms * 2 : LOOK_LONGEST_MS;
}

/* -------------------------------------------------------------------------- what a round waits for
 */

static enum rc has_arrived(struct audit *a, int64_t value, bool *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(a->marker);
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.mark_seen($1)", &name, 1, &row, e))
        return err_note(e, "could not look for the marker");
    *out = pg_rows(row) == 1 && pg_get_int8(row, 0, 0) >= value;
    return RC_OK;
}

enum rc audit_marker(struct audit *a, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(a->marker);
    if (audit_ask(a, a->primary, "SELECT * FROM tarn_1.mark($1)", &name, 1, &row, e))
        return err_note(e, "could not write a marker at the primary");
    const int64_t value = pg_get_int8(row, 0, 0);
    const uint64_t deadline_ms = clock_deadline((uint64_t)a->o->wait_ms);
    uint64_t pause_ms = LOOK_FIRST_MS;
    for (bool is_here = false;;) {
        if (has_arrived(a, value, &is_here, e))
            return e->code;
        if (is_here)
            return RC_OK;
        if (clock_left(deadline_ms) == 0)
            break;
        look_again(&pause_ms);
    }
    err_fail(e, RC_TIMEOUT,
             "a marker of the primary has not arrived within %lld s: the mirror does not follow;"
             " see tarn mirror status",
             (long long)a->o->wait_ms / 1000);
    return err_exits(e, EXIT_NOT_READY);
}

static enum rc writers(struct audit *a, const struct audit_table *table, const char *among,
                       struct pg_result **out, struct err *e)
{
    const struct pg_param params[] = {pg_text(table->text), pg_text(among)};
    if (audit_ask(a, a->primary, "SELECT * FROM tarn_1.audit_writers($1,$2)", params, 2, out, e))
        return err_note(e, "could not ask the primary who writes %s", table->relation);
    return RC_OK;
}

enum rc audit_settle_writers(struct audit *a, const struct audit_table *table, bool *is_so,
                             struct err *e)
{
    auto_result struct pg_result *first = NULL;
    const uint64_t deadline_ms = clock_deadline(WRITERS_MS);
    uint64_t pause_ms = LOOK_FIRST_MS;
    if (writers(a, table, NULL, &first, e))
        return e->code;
    const char *among = pg_get_text(first, 0, 0);
    *is_so = strcmp(among, "[]") == 0;
    while (!*is_so && clock_left(deadline_ms) > 0) {
        auto_result struct pg_result *left = NULL;
        look_again(&pause_ms);
        if (writers(a, table, among, &left, e))
            return e->code;
        *is_so = strcmp(pg_get_text(left, 0, 0), "[]") == 0;
    }
    return RC_OK;
}

enum rc audit_rows(struct audit *a, struct pg *at, const struct audit_table *table,
                   const char *keys, bool with_values, struct pg_result **out, struct err *e)
{
    const struct pg_param params[] = {pg_text(table->text), pg_text(keys), pg_bool(with_values)};
    if (audit_ask(a, at, "SELECT * FROM tarn_1.audit_rows($1,$2,$3)", params, 3, out, e))
        return err_note(e, "could not read rows of %s", table->relation);
    return RC_OK;
}

/* -------------------------------------------------------------------------------------- a round */

struct sight {
    struct pg_result *ours, *theirs, *ours_then, *theirs_then;
    bool is_settled; /* nobody held up the readings at the primary; else there are none */
};

static void sight_deinit(struct sight *s)
{
    pg_result_free(&s->ours);
    pg_result_free(&s->theirs);
    pg_result_free(&s->ours_then);
    pg_result_free(&s->theirs_then);
}
#define auto_sight __attribute__((cleanup(sight_deinit)))

static enum rc look(struct audit *a, const struct audit_table *table, const char *keys,
                    struct sight *s, struct err *e)
{
    if (audit_rows(a, a->own, table, keys, false, &s->ours, e) ||
        audit_settle_writers(a, table, &s->is_settled, e) || !s->is_settled)
        return e->code;
    if (audit_rows(a, a->primary, table, keys, false, &s->theirs, e) || audit_marker(a, e) ||
        audit_rows(a, a->own, table, keys, false, &s->ours_then, e) ||
        audit_settle_writers(a, table, &s->is_settled, e) || !s->is_settled)
        return e->code;
    return audit_rows(a, a->primary, table, keys, false, &s->theirs_then, e);
}

static enum rc judge(struct audit *a, const char *keys, const struct sight *s,
                     struct pg_result **out, struct err *e)
{
    const struct pg_param params[] = {
        pg_text(keys), pg_text(pg_get_text(s->ours, 0, 0)), pg_text(pg_get_text(s->theirs, 0, 0)),
        pg_text(pg_get_text(s->ours_then, 0, 0)), pg_text(pg_get_text(s->theirs_then, 0, 0))};
    return audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_judge($1,$2,$3,$4,$5)", params, 5, out,
                     e);
}

/* Write these down with both sites' values, as a person is shown them. */
static enum rc find(struct audit *a, const struct audit_table *table, const char *keys,
                    const struct sight *s, struct err *e)
{
    auto_result struct pg_result *ours = NULL, *theirs = NULL, *row = NULL;
    if (audit_rows(a, a->own, table, keys, true, &ours, e) ||
        audit_rows(a, a->primary, table, keys, true, &theirs, e))
        return e->code;
    const struct pg_param params[] = {pg_int8(a->run),
                                      pg_text(table->text),
                                      pg_text(keys),
                                      pg_text(pg_get_text(s->ours_then, 0, 0)),
                                      pg_text(pg_get_text(ours, 0, 0)),
                                      pg_text(pg_get_text(theirs, 0, 0))};
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_find($1,$2,$3,$4,$5,$6)", params, 6, &row,
                  e))
        return err_note(e, "could not write down what differs");
    a->findings = pg_get_int8(row, 0, 0);
    if (a->findings <= AUDIT_FINDINGS_MAX)
        return RC_OK;
    err_fail(e, RC_CORRUPT,
             "more than %d rows are different: seed this mirror again (tarn mirror leave, then"
             " join)",
             AUDIT_FINDINGS_MAX);
    return err_exits(e, AUDIT_EXIT_DIFFERENT);
}

static enum rc add_all(struct audit_keys *to, const char *keys, int64_t count, struct err *e)
{
    /* Without its brackets a list is a member list. */
    const size_t size = strlen(keys);
    if (count == 0)
        return RC_OK;
    if (buf_addf(&to->json, e, "%c", to->count ? ',' : '[') ||
        buf_add(&to->json, keys + 1, size - 2, e))
        return e->code;
    to->count += count;
    return RC_OK;
}

/* Both lists, one behind the other. */
static enum rc join(struct audit_keys *into, const struct audit_keys *first,
                    const struct audit_keys *second, struct err *e)
{
    auto_buf struct buf text;
    const char *list = "[]";
    buf_init(&text, AUDIT_KEYS_MAX);
    if (audit_keys_text(first, &text, &list, e) || add_all(into, list, first->count, e))
        return e->code;
    buf_clear(&text);
    return audit_keys_text(second, &text, &list, e) ? e->code
                                                    : add_all(into, list, second->count, e);
}

/* One round over *open, which keeps what is still open after it. */
static enum rc run_round(struct audit *a, const struct audit_table *table, const char *keys,
                         struct audit_keys *different, struct audit_keys *open, struct err *e)
{
    auto_sight struct sight s = {.ours = NULL};
    auto_result struct pg_result *verdict = NULL;
    /* While somebody's commit may still be hidden at the primary, nothing is called different. */
    if (look(a, table, keys, &s, e) || !s.is_settled)
        return e->code;
    if (judge(a, keys, &s, &verdict, e))
        return err_note(e, "could not compare rows of %s", table->relation);
    const char *wrong = pg_get_text(verdict, 0, pg_column(verdict, "different"));
    const int64_t count = pg_get_int8(verdict, 0, pg_column(verdict, "different_count"));
    if (count && (find(a, table, wrong, &s, e) || add_all(different, wrong, count, e)))
        return e->code;
    audit_keys_deinit(open);
    return add_all(open, pg_get_text(verdict, 0, pg_column(verdict, "moving")),
                   pg_get_int8(verdict, 0, pg_column(verdict, "moving_count")), e);
}

enum rc audit_settle(struct audit *a, const struct audit_table *table, const char *keys,
                     int64_t count, struct audit_keys *left, struct err *e)
{
    auto_keys struct audit_keys different, open;
    auto_buf struct buf text;
    const char *now = keys;
    const uint64_t deadline_ms = clock_deadline(ROUNDS_MS);
    audit_keys_init(&different);
    audit_keys_init(&open);
    buf_init(&text, AUDIT_KEYS_MAX);
    if (add_all(&open, keys, count, e))
        return e->code;
    for (uint64_t round = 0; open.count > 0 && round < ROUNDS; round++) {
        if (round > 0 && clock_left(deadline_ms) == 0)
            break;
        clock_sleep_until(clock_deadline(round ? (uint64_t)PAUSE_MS << (round - 1) : 0));
        if (run_round(a, table, now, &different, &open, e))
            return e->code;
        buf_clear(&text);
        if (audit_keys_text(&open, &text, &now, e))
            return e->code;
    }
    a->moving += open.count;
    return left ? join(left, &different, &open, e) : RC_OK;
}
