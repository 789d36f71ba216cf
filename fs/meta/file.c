#include "fs/meta/file.h"

#include <errno.h>
#include <string.h>

#include "fs/base/wire.h"
#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

#define SLICES_MAX 16
/* One write commits at most this many slices: of a 64 MiB slice the sums are 1 KiB. */
#define WRITE_SLICES_MAX 4096
#define WRITE_BYTES_MAX  ((size_t)64 << 20)
#define SPACE_UNIT       ((uint64_t)4096)

enum rc meta_getattr(struct meta *meta, ino_num ino, struct node_attr *out, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    return reply_read(meta, CALL("SELECT * FROM tarn_1.getattr($1)", params), "getattr", ino, out,
                      e);
}

enum rc meta_access(struct meta *meta, ino_num ino, uint32_t uid, const uint32_t *gids,
                    size_t gid_count, int mask, struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, 64 + gid_count * 12);
    auto_free int64_t *groups = calloc(gid_count ? gid_count : 1, sizeof(*groups));
    if (!groups)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < gid_count; i++)
        groups[i] = gids[i];
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int8(uid), {0}, pg_int4(mask)};
    if (pg_int8_array(&scratch, groups, gid_count, &params[2], e))
        return e->code;

    auto_result struct pg_result *answer = NULL;
    struct call *call = CALL("SELECT tarn_1.access($1,$2,$3,$4) AS access", params);
    if (retry_read(meta, call, &answer, e))
        return err_note(e, "access to inode %llu", (unsigned long long)ino);
    int refusal = pg_get_int4(answer, 0, pg_column(answer, "access"));
    return refusal ? err_refused(e, refusal, "access to inode %llu", (unsigned long long)ino)
                   : RC_OK;
}

/* A time as the format keeps it: microseconds, rounded down, and the nanoseconds left over. */
static int64_t microseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int32_t nanoseconds(struct timespec t)
{
    return (int32_t)(t.tv_nsec % 1000);
}

enum rc meta_setattr(struct meta *meta, const struct meta_setattr *what, struct node_attr *out,
                     struct err *e)
{
    if ((what->mask & SETATTR_LENGTH) && what->length > META_LENGTH_MAX)
        return err_refused(e, EFBIG, "a length of %llu bytes", (unsigned long long)what->length);
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->ino),
        pg_int4((int32_t)what->mask),
        pg_int4((int32_t)what->mode),
        pg_int8(what->uid),
        pg_int8(what->gid),
        pg_int4((int32_t)what->flags),
        pg_int8((int64_t)what->length),
        pg_int8(microseconds(what->atime)),
        pg_int4(nanoseconds(what->atime)),
        pg_int8(microseconds(what->mtime)),
        pg_int4(nanoseconds(what->mtime)),
        pg_int8(what->caller_uid),
        pg_int8(what->caller_gid),
    };
    struct call *call =
        CALL("SELECT * FROM tarn_1.setattr($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)",
             params);
    return reply_mutation(meta, call, "setattr", what->ino, out, e);
}

enum rc meta_fallocate(struct meta *meta, ino_num ino, int mode, uint64_t off, uint64_t len,
                       struct node_attr *out, struct err *e)
{
    if (off > META_LENGTH_MAX || len > META_LENGTH_MAX || off + len > META_LENGTH_MAX)
        return err_refused(e, EFBIG, "fallocate up to %llu", (unsigned long long)(off + len));
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_int4(mode),
                                pg_int8((int64_t)off), pg_int8((int64_t)len)};
    struct call *call = CALL("SELECT * FROM tarn_1.fallocate($1,$2,$3,$4,$5,$6,$7)", params);
    return reply_mutation(meta, call, "fallocate", ino, out, e);
}

/* The view of a row with the columns records and sums; NULL without records. */
static enum rc view_of(const struct pg_result *answer, int row, uint32_t indx,
                       struct chunk_view **out, struct err *e)
{
    struct bytes records = pg_get_bytes(answer, row, pg_column(answer, "records"));
    struct bytes sums = pg_get_bytes(answer, row, pg_column(answer, "sums"));
    *out = NULL;
    return records.size ? chunk_view_new(indx, records, sums, out, e) : RC_OK;
}

static enum rc decode_opened(const struct pg_result *answer, struct meta_opened *out, struct err *e)
{
    struct reply_columns columns;
    reply_columns(answer, &columns);
    if (reply_attr(answer, 0, &columns, &out->attr, e))
        return e->code;
    struct bytes digest = pg_get_bytes(answer, 0, pg_column(answer, "digest"));
    if (digest.size != 0 && digest.size != sizeof(out->digest))
        return err_fail(e, RC_CORRUPT, "a slice digest of %zu bytes", digest.size);
    memset(out->digest, 0, sizeof(out->digest)); /* a file without chunks */
    if (digest.size)
        memcpy(out->digest, digest.data, digest.size);
    return view_of(answer, 0, 0, &out->view, e);
}

enum rc meta_open_file(struct meta *meta, ino_num ino, bool for_write, struct meta_opened *out,
                       struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_bool(for_write)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.open($1,$2)", params), &answer, e))
        return err_note(e, "open of inode %llu", (unsigned long long)ino);
    if (reply_check(answer, "open", ino, e))
        return e->code;
    if (decode_opened(answer, out, e))
        return err_note(e, "open of inode %llu", (unsigned long long)ino);
    return RC_OK;
}

static enum rc decode_views(const struct pg_result *answer, uint32_t first, uint32_t count,
                            struct chunk_view **views, struct err *e)
{
    const int indx_column = pg_column(answer, "indx");
    for (int row = 0; row < pg_rows(answer); row++) {
        uint32_t indx = (uint32_t)pg_get_int4(answer, row, indx_column);
        if (indx < first || indx - first >= count || views[indx - first])
            return err_fail(e, RC_CORRUPT, "chunk %u was not asked for", indx);
        if (view_of(answer, row, indx, &views[indx - first], e))
            return e->code;
    }
    return RC_OK;
}

enum rc meta_slices(struct meta *meta, ino_num ino, uint32_t first, uint32_t count,
                    struct chunk_view **views, struct err *e)
{
    if (count == 0 || count > SLICES_MAX || first > INT32_MAX - count)
        return err_fail(e, RC_INVALID, "slices of %u chunks from %u", count, first);
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int4((int32_t)first),
                                pg_int4((int32_t)count)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.slices($1,$2,$3)", params), &answer, e))
        return err_note(e, "slices of inode %llu", (unsigned long long)ino);
    if (pg_rows(answer) > 0 && reply_check(answer, "slices", ino, e))
        return e->code;

    memset(views, 0, count * sizeof(*views));
    enum rc rc = decode_views(answer, first, count, views, e);
    if (!rc)
        return RC_OK;
    for (uint32_t i = 0; i < count; i++)
        chunk_view_unref(&views[i]);
    return err_note(e, "slices of inode %llu", (unsigned long long)ino);
}

/* The slices of a write as the parallel arrays of tarn_1.write, and the memory under them. */
struct write_arrays {
    struct pg_param indx, pos, id, size, sums;
    struct buf memory[5];
    struct buf packed_sums; /* big-endian, slice after slice */
};

static void write_arrays_init(struct write_arrays *a)
{
    *a = (struct write_arrays){.indx = {0}};
    for (size_t i = 0; i < sizeof(a->memory) / sizeof(a->memory[0]); i++)
        buf_init(&a->memory[i], WRITE_BYTES_MAX);
    buf_init(&a->packed_sums, WRITE_BYTES_MAX);
}

static void write_arrays_deinit(struct write_arrays *a)
{
    for (size_t i = 0; i < sizeof(a->memory) / sizeof(a->memory[0]); i++)
        buf_deinit(&a->memory[i]);
    buf_deinit(&a->packed_sums);
}

static enum rc check_slices(const struct meta_written *slices, size_t count, struct err *e)
{
    if (count == 0 || count > WRITE_SLICES_MAX)
        return err_fail(e, RC_INVALID, "a write of %zu slices", count);
    for (size_t i = 0; i < count; i++) {
        const struct meta_written *s = &slices[i];
        if (s->id == 0 || s->size == 0 || (uint64_t)s->pos + s->size > META_CHUNK_BYTES)
            return err_fail(e, RC_INVALID, "slice %llu of %u bytes at %u of a chunk",
                            (unsigned long long)s->id, s->size, s->pos);
        if (s->indx > INT32_MAX)
            return err_refused(e, EFBIG, "a write to chunk %u", s->indx);
    }
    return RC_OK;
}

static enum rc pack_sums(struct write_arrays *a, const struct meta_written *slices, size_t count,
                         struct err *e)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < slices[i].sums_count; k++) {
            uint8_t sum[4];
            wire_put_u32(sum, slices[i].sums[k]);
            if (buf_add(&a->packed_sums, sum, sizeof(sum), e))
                return e->code;
        }
    auto_free struct bytes *pieces = calloc(count, sizeof(*pieces));
    if (!pieces)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const uint8_t *at = a->packed_sums.data;
    for (size_t i = 0; i < count; i++) {
        pieces[i] = (struct bytes){at, (size_t)slices[i].sums_count * 4};
        at += pieces[i].size;
    }
    return pg_bytea_array(&a->memory[4], pieces, count, &a->sums, e);
}

static enum rc pack_numbers(struct write_arrays *a, const struct meta_written *slices, size_t count,
                            struct err *e)
{
    auto_free int64_t *ids = calloc(count, sizeof(*ids));
    auto_free int32_t *numbers = calloc(count, 3 * sizeof(*numbers));
    if (!ids || !numbers)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    int32_t *indx = numbers, *pos = numbers + count, *size = numbers + 2 * count;
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)slices[i].id;
        indx[i] = (int32_t)slices[i].indx;
        pos[i] = (int32_t)slices[i].pos;
        size[i] = (int32_t)slices[i].size;
    }
    if (pg_int4_array(&a->memory[0], indx, count, &a->indx, e) ||
        pg_int4_array(&a->memory[1], pos, count, &a->pos, e) ||
        pg_int8_array(&a->memory[2], ids, count, &a->id, e))
        return e->code;
    return pg_int4_array(&a->memory[3], size, count, &a->size, e);
}

static uint64_t space_of(uint64_t length)
{
    return length ? (length + SPACE_UNIT - 1) / SPACE_UNIT * SPACE_UNIT : SPACE_UNIT;
}

/*
 * How much a write grows the file by is known once its length is, and that is asked for only where
 * the whole of the write would not fit.
 */
enum rc meta_check_growth(struct meta *meta, ino_num ino, uint64_t bytes, uint64_t end,
                          struct err *e)
{
    struct err ignored = ERR_INIT;
    if (meta_check_room(meta, (int64_t)bytes, 0, &ignored) == RC_OK)
        return RC_OK;
    struct node_attr attr;
    if (meta_getattr(meta, ino, &attr, e))
        return e->code;
    if (end <= attr.length)
        return RC_OK;
    return meta_check_room(meta, (int64_t)(space_of(end) - space_of(attr.length)), 0, e);
}

static enum rc check_growth(struct meta *meta, ino_num ino, const struct meta_written *slices,
                            size_t count, struct err *e)
{
    uint64_t bytes = 0, end = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t slice_end = slices[i].indx * META_CHUNK_BYTES + slices[i].pos + slices[i].size;
        end = slice_end > end ? slice_end : end;
        bytes += space_of(slices[i].size);
    }
    return meta_check_growth(meta, ino, bytes, end, e);
}

enum rc meta_write(struct meta *meta, ino_num ino, const struct meta_written *slices, size_t count,
                   struct timespec mtime, bool kill_suid, struct lane *doubt, struct node_attr *out,
                   struct err *e)
{
    if (check_slices(slices, count, e))
        return e->code;
    if (!doubt->is_uncertain && check_growth(meta, ino, slices, count, e))
        return e->code;
    __attribute__((cleanup(write_arrays_deinit))) struct write_arrays a;
    write_arrays_init(&a);
    if (pack_numbers(&a, slices, count, e) || pack_sums(&a, slices, count, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)ino),
        a.indx,
        a.pos,
        a.id,
        a.size,
        pg_int8(microseconds(mtime)),
        pg_int4(nanoseconds(mtime)),
        pg_bool(kill_suid),
        a.sums,
    };
    struct call *call =
        CALL("SELECT * FROM tarn_1.write($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)", params);
    return reply_doubted(meta, doubt, call, "write", ino, out, e);
}

void meta_write_given_up(struct meta *meta, struct lane *doubt)
{
    doubts_add(&meta->doubts, doubt);
    *doubt = (struct lane){.sid = 0};
}

enum rc meta_release(struct meta *meta, ino_num ino, struct err *e)
{
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino)};
    struct call *call = CALL("SELECT * FROM tarn_1.release($1,$2,$3,$4)", params);
    return reply_mutation(meta, call, "release", ino, NULL, e);
}

enum rc meta_new_slice_id(struct meta *meta, uint64_t *out, struct err *e)
{
    return id_range_next(&meta->slices, meta, out, e);
}

enum rc meta_touch_atime(struct meta *meta, ino_num ino, bool is_strict, struct node_attr *out,
                         struct err *e)
{
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_bool(is_strict)};
    struct call *call = CALL("SELECT * FROM tarn_1.touch_atime($1,$2,$3,$4,$5)", params);
    return reply_mutation(meta, call, "touch", ino, out, e);
}
