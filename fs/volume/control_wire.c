#include "fs/volume/control_wire.h"

#include <errno.h>
#include <string.h>

#include "fs/base/wire.h"

#define PROGRESS_MARK  0xFE
#define DATA_MARK      0xFF
#define PRESERVE_BIT   2 /* of the mode of a clone */
#define DATA_HEAD      5
#define NAME_MAX_BYTES 255

/* What a body means where it ends early, as stock mounts have it. */
enum { RMR_THREADS = 50, CLONE_THREADS = 4, SUMMARY_DEPTH = 3, SUMMARY_TOP = 10 };

enum rc control_length(struct bytes begun, size_t *out, struct err *e)
{
    *out = 0;
    if (begun.size < CONTROL_HEAD_BYTES)
        return RC_OK;
    const uint32_t body = wire_u32(begun.data + 4);
    if (body > CONTROL_BODY_MAX)
        return err_fail(e, RC_NO_SPACE, "a control message of %u bytes", body);
    *out = CONTROL_HEAD_BYTES + body;
    return RC_OK;
}

/* ---- parsing ---- */

static uint32_t read_u8(struct wire_reader *r)
{
    const struct bytes b = wire_read_bytes(r, 1);
    return b.data ? b.data[0] : 0;
}

static uint32_t optional_u8(struct wire_reader *r, uint32_t value)
{
    return r->left ? read_u8(r) : value;
}

static struct bytes read_name(struct wire_reader *r)
{
    return wire_read_bytes(r, read_u8(r));
}

static void parse_rmr(struct wire_reader *r, struct control_request *out)
{
    out->parent = wire_read_u64(r);
    out->name = read_name(r);
    out->skip_trash = optional_u8(r, 0) & 1;
    out->threads = optional_u8(r, RMR_THREADS);
}

static void parse_clone(struct wire_reader *r, struct control_request *out)
{
    out->ino = wire_read_u64(r);
    out->parent = wire_read_u64(r);
    out->dst_parent = wire_read_u64(r);
    out->name = read_name(r);
    out->umask = wire_read_u16(r);
    out->preserve = read_u8(r) & PRESERVE_BIT;
    out->threads = optional_u8(r, CLONE_THREADS);
}

static void parse_info(struct wire_reader *r, struct control_request *out)
{
    out->ino = wire_read_u64(r);
    out->is_recursive = optional_u8(r, 1) != 0;
    out->is_raw = optional_u8(r, 0) != 0;
    /* The old form knew only the exact way. */
    out->is_strict = out->command == CONTROL_INFO_LEGACY || optional_u8(r, 0) != 0;
}

static void parse_summary(struct wire_reader *r, struct control_request *out)
{
    out->ino = wire_read_u64(r);
    out->depth = optional_u8(r, SUMMARY_DEPTH);
    out->top = optional_u8(r, SUMMARY_TOP);
    out->is_strict = optional_u8(r, 0) != 0;
}

static void parse_compact(struct wire_reader *r, struct control_request *out)
{
    out->ino = wire_read_u64(r);
    out->threads = wire_read_u16(r);
}

static void parse_fill(struct wire_reader *r, struct control_request *out)
{
    out->paths = wire_read_bytes(r, wire_read_u32(r));
    out->threads = wire_read_u16(r);
    out->is_background = read_u8(r) != 0;
    out->action = (enum fill_action)optional_u8(r, FILL_WARM);
}

static bool is_whole(const struct control_request *q)
{
    const bool has_name = q->command == CONTROL_RMR || q->command == CONTROL_CLONE;
    return (!has_name || q->name.size > 0) && q->action <= FILL_CHECK;
}

static const struct {
    enum control_command command;
    void (*parse)(struct wire_reader *r, struct control_request *out);
} parsers[] = {
    {CONTROL_RMR, parse_rmr},         {CONTROL_INFO_LEGACY, parse_info},
    {CONTROL_FILL, parse_fill},       {CONTROL_INFO, parse_info},
    {CONTROL_CLONE, parse_clone},     {CONTROL_SUMMARY, parse_summary},
    {CONTROL_COMPACT, parse_compact},
};

enum rc control_parse(struct bytes message, struct control_request *out, struct err *e)
{
    struct wire_reader r = wire_reader(message);
    const uint32_t command = wire_read_u32(&r);
    const uint32_t size = wire_read_u32(&r);
    *out = (struct control_request){.command = (enum control_command)command};
    if (r.is_short || r.left != size)
        return err_fail(e, RC_INVALID, "a control message of %zu bytes", message.size);
    for (size_t i = 0; i < sizeof(parsers) / sizeof(parsers[0]); i++) {
        if ((uint32_t)parsers[i].command != command)
            continue;
        parsers[i].parse(&r, out);
        if (r.is_short || !is_whole(out))
            return err_fail(e, RC_INVALID, "the body of control command %u is cut", command);
        return RC_OK;
    }
    return err_fail(e, RC_INVALID, "there is no control command %u", command);
}

/* ---- composing ---- */

static enum rc add_uint(struct buf *out, uint64_t value, size_t size, struct err *e)
{
    uint8_t wide[8];
    wire_put_u64(wide, value);
    return buf_add(out, wide + 8 - size, size, e);
}

static enum rc add_name(struct buf *out, struct bytes name, struct err *e)
{
    if (name.size == 0 || name.size > NAME_MAX_BYTES)
        return err_fail(e, RC_INVALID, "a name of %zu bytes", name.size);
    return add_uint(out, name.size, 1, e) ? e->code : buf_add(out, name.data, name.size, e);
}

static enum rc compose_body(const struct control_request *q, struct buf *out, struct err *e)
{
    switch (q->command) {
    case CONTROL_RMR:
        return add_uint(out, q->parent, 8, e) || add_name(out, q->name, e) ||
                       add_uint(out, q->skip_trash, 1, e) || add_uint(out, q->threads, 1, e)
                   ? e->code
                   : RC_OK;
    case CONTROL_CLONE:
        return add_uint(out, q->ino, 8, e) || add_uint(out, q->parent, 8, e) ||
                       add_uint(out, q->dst_parent, 8, e) || add_name(out, q->name, e) ||
                       add_uint(out, q->umask, 2, e) ||
                       add_uint(out, q->preserve ? PRESERVE_BIT : 0, 1, e) ||
                       add_uint(out, q->threads, 1, e)
                   ? e->code
                   : RC_OK;
    case CONTROL_INFO_LEGACY:
    case CONTROL_INFO:
        if (add_uint(out, q->ino, 8, e) || add_uint(out, q->is_recursive, 1, e) ||
            add_uint(out, q->is_raw, 1, e))
            return e->code;
        return q->command == CONTROL_INFO ? add_uint(out, q->is_strict, 1, e) : RC_OK;
    case CONTROL_SUMMARY:
        return add_uint(out, q->ino, 8, e) || add_uint(out, q->depth, 1, e) ||
                       add_uint(out, q->top, 1, e) || add_uint(out, q->is_strict, 1, e)
                   ? e->code
                   : RC_OK;
    case CONTROL_COMPACT:
        return add_uint(out, q->ino, 8, e) || add_uint(out, q->threads, 2, e) ? e->code : RC_OK;
    case CONTROL_FILL:
        return add_uint(out, q->paths.size, 4, e) ||
                       buf_add(out, q->paths.data, q->paths.size, e) ||
                       add_uint(out, q->threads, 2, e) || add_uint(out, q->is_background, 1, e) ||
                       add_uint(out, q->action, 1, e)
                   ? e->code
                   : RC_OK;
    }
    return err_fail(e, RC_INVALID, "there is no control command %d", (int)q->command);
}

enum rc control_compose(const struct control_request *request, struct buf *out, struct err *e)
{
    auto_buf struct buf body;
    buf_init(&body, CONTROL_BODY_MAX);
    if (compose_body(request, &body, e) || add_uint(out, (uint64_t)request->command, 4, e) ||
        add_uint(out, body.size, 4, e))
        return e->code;
    return buf_add(out, body.data, body.size, e);
}

/* ---- frames ---- */

void control_frame_read(struct bytes from, struct control_frame *out)
{
    *out = (struct control_frame){.kind = CONTROL_MORE};
    if (from.size == 0)
        return;
    if (from.data[0] == PROGRESS_MARK && from.size >= CONTROL_PROGRESS_BYTES) {
        *out = (struct control_frame){.kind = CONTROL_PROGRESS,
                                      .first = wire_u64(from.data + 1),
                                      .second = wire_u64(from.data + 9),
                                      .size = CONTROL_PROGRESS_BYTES};
    } else if (from.data[0] == DATA_MARK && from.size >= DATA_HEAD) {
        const size_t size = wire_u32(from.data + 1);
        if (size <= from.size - DATA_HEAD)
            *out = (struct control_frame){.kind = CONTROL_DATA,
                                          .data = {from.data + DATA_HEAD, size},
                                          .size = DATA_HEAD + size};
    } else if (from.data[0] < PROGRESS_MARK) {
        *out =
            (struct control_frame){.kind = CONTROL_ERRNO, .posix_errno = from.data[0], .size = 1};
    }
}

enum rc control_add_progress(struct buf *out, uint64_t first, uint64_t second, struct err *e)
{
    uint8_t frame[CONTROL_PROGRESS_BYTES] = {PROGRESS_MARK};
    wire_put_u64(frame + 1, first);
    wire_put_u64(frame + 9, second);
    return buf_add(out, frame, sizeof(frame), e);
}

enum rc control_add_data(struct buf *out, struct bytes data, struct err *e)
{
    uint8_t head[DATA_HEAD] = {DATA_MARK};
    if (data.size > UINT32_MAX)
        return err_fail(e, RC_NO_SPACE, "an answer of %zu bytes", data.size);
    wire_put_u32(head + 1, (uint32_t)data.size);
    /* Room for both first: half a frame would be taken for a whole one. */
    if (buf_reserve(out, sizeof(head) + data.size, e) || buf_add(out, head, sizeof(head), e))
        return e->code;
    return buf_add(out, data.data, data.size, e);
}

enum rc control_add_errno(struct buf *out, int posix_errno, struct err *e)
{
    /* The two marks and what does not fit a byte are no errno that Linux has for files. */
    const uint8_t byte =
        posix_errno >= 0 && posix_errno < PROGRESS_MARK ? (uint8_t)posix_errno : EIO;
    return buf_add(out, &byte, 1, e);
}
