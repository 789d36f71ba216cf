#include "mirror/tail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/wire.h"

#define RELATIONS_MAX 128
#define COLUMNS_MAX   64
#define NAME_BYTES    64
#define TABLE_BYTES   (2 * NAME_BYTES + 2)
#define EPOCH_2000_S  946684800 /* PostgreSQL counts from 2000 */

struct column {
    char name[NAME_BYTES];
    bool is_key;
};

struct relation {
    uint32_t id;
    char table[TABLE_BYTES];
    int columns;
    struct column column[COLUMNS_MAX];
};

struct tail {
    uint64_t applied_lsn;
    struct tail_sums sums;

    /* the transaction at hand */
    uint64_t commit_lsn;
    uint32_t xid;
    char at[32];
    bool is_left_out, has_change;

    int relations;
    struct relation *relation[RELATIONS_MAX];
};

enum rc tail_open(struct tail **out, uint64_t applied_lsn, struct err *e)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    (*out)->applied_lsn = applied_lsn;
    return RC_OK;
}

void tail_close(struct tail **tail)
{
    if (!*tail)
        return;
    for (int i = 0; i < (*tail)->relations; i++)
        free((*tail)->relation[i]);
    free(*tail);
    *tail = NULL;
}

const struct tail_sums *tail_sums(const struct tail *tail)
{
    return &tail->sums;
}

/* --------------------------------------------------------------------------------------- reading
 */

static uint8_t read_u8(struct wire_reader *r)
{
    const struct bytes b = wire_read_bytes(r, 1);
    return b.data ? b.data[0] : 0;
}

static void read_name(struct wire_reader *r, char out[NAME_BYTES])
{
    const uint8_t *end = r->left ? memchr(r->at, '\0', r->left) : NULL;
    out[0] = '\0';
    if (!end) {
        r->is_short = true;
        return;
    }
    const struct bytes name = wire_read_bytes(r, (size_t)(end - r->at) + 1);
    (void)snprintf(out, NAME_BYTES, "%s", (const char *)name.data);
}

static struct relation *find(struct tail *t, uint32_t id)
{
    for (int i = 0; i < t->relations; i++)
        if (t->relation[i]->id == id)
            return t->relation[i];
    return NULL;
}

static struct relation *remember(struct tail *t, uint32_t id)
{
    struct relation *known = find(t, id);
    if (known || t->relations == RELATIONS_MAX)
        return known;
    struct relation *fresh = calloc(1, sizeof(*fresh));
    if (fresh)
        t->relation[t->relations++] = fresh;
    return fresh;
}

static enum rc take_relation(struct tail *t, struct wire_reader *r, struct err *e)
{
    char schema[NAME_BYTES], name[NAME_BYTES];
    const uint32_t id = wire_read_u32(r);
    struct relation *rel = remember(t, id);
    if (!rel)
        return err_fail(e, RC_NO_SPACE, "too many tables");
    read_name(r, schema);
    read_name(r, name);
    (void)read_u8(r); /* how rows are identified */
    const int columns = wire_read_u16(r);
    if (columns > COLUMNS_MAX)
        return err_fail(e, RC_NO_SPACE, "table %s has %d columns", name, columns);
    *rel = (struct relation){.id = id, .columns = columns};
    (void)snprintf(rel->table, sizeof(rel->table), "%s.%s", schema, name);
    for (int i = 0; i < columns; i++) {
        rel->column[i].is_key = read_u8(r) & 1;
        read_name(r, rel->column[i].name);
        (void)wire_read_u32(r); /* type */
        (void)wire_read_u32(r); /* its modifier */
    }
    return RC_OK;
}

/* The values of a row; of a key, only the columns of the key. */
static enum rc read_tuple(const struct relation *rel, struct wire_reader *r, bool is_key,
                          struct json *into, struct err *e)
{
    const int columns = wire_read_u16(r);
    if (columns != rel->columns)
        return err_fail(e, RC_CORRUPT, "a row of %s has %d values", rel->table, columns);
    for (int i = 0; i < columns; i++) {
        const struct column *c = &rel->column[i];
        if (read_u8(r) != 't')
            continue;
        const struct bytes value = wire_read_bytes(r, wire_read_u32(r));
        if (!r->is_short && (!is_key || c->is_key) && json_set_bytes(into, c->name, value, e))
            return e->code;
    }
    return r->is_short ? err_fail(e, RC_CORRUPT, "a row of %s is cut", rel->table) : RC_OK;
}

static void format_time(char out[32], int64_t us)
{
    const time_t seconds = (time_t)(us / 1000000) + EPOCH_2000_S;
    struct tm parts;
    size_t size = gmtime_r(&seconds, &parts) ? strftime(out, 32, "%FT%T", &parts) : 0;
    (void)snprintf(out + size, 32 - size, ".%06dZ", (int)(us % 1000000));
}

static void begin(struct tail *t, struct wire_reader *r)
{
    t->commit_lsn = wire_read_u64(r);
    format_time(t->at, (int64_t)wire_read_u64(r));
    t->xid = wire_read_u32(r);
    /* What was applied ends behind its commit record, whose beginning this is. */
    t->is_left_out = t->commit_lsn < t->applied_lsn;
    t->has_change = false;
}

static void commit(struct tail *t, struct wire_reader *r)
{
    (void)read_u8(r);
    (void)wire_read_u64(r);
    t->sums.end_lsn = wire_read_u64(r);
    if (!t->has_change)
        return;
    t->sums.commits++;
    if (!t->sums.first[0])
        (void)snprintf(t->sums.first, sizeof(t->sums.first), "%s", t->at);
    (void)snprintf(t->sums.last, sizeof(t->sums.last), "%s", t->at);
}

/* --------------------------------------------------------------------------------------- changes
 */

static enum rc describe(const struct tail *t, const struct relation *rel, const char *op,
                        struct json *line, struct err *e)
{
    char lsn[32];
    (void)snprintf(lsn, sizeof(lsn), "%" PRIX64 "/%" PRIX64, t->commit_lsn >> 32,
                   t->commit_lsn & UINT32_MAX);
    if (json_set_string(line, "commit", lsn, e) || json_set_string(line, "at", t->at, e) ||
        json_set_int(line, "xid", t->xid, e) || json_set_string(line, "table", rel->table, e))
        return e->code;
    return json_set_string(line, "op", op, e);
}

static enum rc add_tuple(const struct relation *rel, struct wire_reader *r, uint8_t kind,
                         struct json *line, struct err *e)
{
    auto_json struct json *values = json_object_new();
    if (!values)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (read_tuple(rel, r, kind == 'K', values, e))
        return e->code;
    return json_set(line, kind == 'N' ? "row" : "key", &values, e);
}

/* A change is one row or two: what identified it ('K', 'O'), and what it became ('N'). */
static enum rc read_line(struct tail *t, const struct relation *rel, const char *op,
                         struct wire_reader *r, struct json *line, struct err *e)
{
    if (describe(t, rel, op, line, e))
        return e->code;
    while (r->left > 0) {
        const uint8_t kind = read_u8(r);
        if (kind != 'N' && kind != 'K' && kind != 'O')
            return err_fail(e, RC_CORRUPT, "a change of %s has a part \"%c\"", rel->table, kind);
        if (add_tuple(rel, r, kind, line, e))
            return e->code;
    }
    return RC_OK;
}

/* The beats and markers of a primary are no operation of anybody. */
static bool is_noise(const struct relation *rel)
{
    return strcmp(rel->table, "tarn.heartbeat") == 0 || strcmp(rel->table, "tarn.mark") == 0;
}

static enum rc change(struct tail *t, const char *op, int64_t *count, struct wire_reader *r,
                      tail_visit visit, void *arg, struct err *e)
{
    const struct relation *rel = find(t, wire_read_u32(r));
    if (!rel)
        return err_fail(e, RC_CORRUPT, "a change of a table that was not described");
    if (t->is_left_out || is_noise(rel))
        return RC_OK;
    (*count)++;
    t->has_change = true;
    if (!visit)
        return RC_OK;
    auto_json struct json *line = json_object_new();
    if (!line)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    return read_line(t, rel, op, r, line, e) ? e->code : visit(&line, arg, e);
}

enum rc tail_feed(struct tail *t, struct bytes message, tail_visit visit, void *arg, struct err *e)
{
    struct wire_reader r = wire_reader(message);
    enum rc rc = RC_OK;
    const uint8_t type = read_u8(&r);
    switch (type) {
    case 'B':
        begin(t, &r);
        break;
    case 'C':
        commit(t, &r);
        break;
    case 'R':
        rc = take_relation(t, &r, e);
        break;
    case 'I':
        rc = change(t, "insert", &t->sums.inserts, &r, visit, arg, e);
        break;
    case 'U':
        rc = change(t, "update", &t->sums.updates, &r, visit, arg, e);
        break;
    case 'D':
        rc = change(t, "delete", &t->sums.deletes, &r, visit, arg, e);
        break;
    case 'O': /* where it came from */
    case 'Y': /* a type */
    case 'M': /* a message */
        return RC_OK;
    default:
        return err_fail(e, RC_CORRUPT, "a message of type \"%c\" in the change stream", type);
    }
    return rc ? rc : r.is_short ? err_fail(e, RC_CORRUPT, "a message is cut") : RC_OK;
}
