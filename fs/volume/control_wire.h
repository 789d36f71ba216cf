/*
 * control_wire - the language of a mount's file .control: what tools ask and what is answered.
 *
 * A request is a command, the length of a body, and the body. The answer follows in the same
 * stream: frames of progress, then either data (JSON) or one byte, an errno. A mount of Tarn and a
 * stock one speak the same, and so do the tools of both.
 *
 * No I/O here: bytes in, structures out, and back. Every input is hostile until it was checked.
 *
 * Threads any · Blocking never
 * Source  volume format §13
 */
#ifndef FS_VOLUME_CONTROL_WIRE_H
#define FS_VOLUME_CONTROL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"

enum control_command {
    CONTROL_RMR = 1002,
    CONTROL_INFO_LEGACY = 1003,
    CONTROL_FILL = 1004,
    CONTROL_INFO = 1005,
    CONTROL_CLONE = 1006,
    CONTROL_SUMMARY = 1007,
    CONTROL_COMPACT = 1008,
};

enum fill_action { FILL_WARM = 0, FILL_EVICT = 1, FILL_CHECK = 2 };

enum {
    CONTROL_HEAD_BYTES = 8,
    CONTROL_PROGRESS_BYTES = 17,
    CONTROL_PATHS_MAX = 10240, /* paths in one CONTROL_FILL */
};
#define CONTROL_BODY_MAX ((size_t)48 << 20)

/* Members that a command does not have are 0; those left out of a body have their default. */
struct control_request {
    enum control_command command;
    uint64_t ino;                /* what it is about; of clone: the source */
    uint64_t parent, dst_parent; /* rmr: parent; clone: the source's parent, the clone's parent */
    struct bytes name;           /* rmr, clone: in parent, dst_parent; 1 … 255 bytes */
    uint32_t umask, threads;
    uint32_t depth, top; /* summary */
    bool preserve;       /* clone: owner, mode and times */
    bool skip_trash;     /* rmr */
    bool is_recursive, is_raw, is_strict;
    bool is_background; /* fill: answer at once */
    enum fill_action action;
    struct bytes paths; /* fill: joined by newlines, from the root of the mount */
};

/*
 * The length of the message that begins with these bytes, head included. 0: not known yet.
 * RC_NO_SPACE: longer than any that is taken.
 */
MUST_CHECK enum rc control_length(struct bytes begun, size_t *out, struct err *e);
/*
 * Read a whole message. name and paths are borrowed from it.
 * RC_INVALID: no such command, or a body that does not hold what it must.
 */
MUST_CHECK enum rc control_parse(struct bytes message, struct control_request *out, struct err *e);
/* Append the message for a request. */
MUST_CHECK enum rc control_compose(const struct control_request *request, struct buf *out,
                                   struct err *e);

enum control_kind {
    CONTROL_MORE,     /* the frame is not complete yet */
    CONTROL_PROGRESS, /* two counters */
    CONTROL_DATA,     /* the end, with a document */
    CONTROL_ERRNO,    /* the end */
};
struct control_frame {
    enum control_kind kind;
    uint64_t first, second;
    struct bytes data; /* borrowed */
    int posix_errno;   /* 0: done */
    size_t size;       /* of the frame */
};
/* The frame that the bytes begin with. */
void control_frame_read(struct bytes from, struct control_frame *out);

/* Append a frame. */
MUST_CHECK enum rc control_add_progress(struct buf *out, uint64_t first, uint64_t second,
                                        struct err *e);
MUST_CHECK enum rc control_add_data(struct buf *out, struct bytes data, struct err *e);
MUST_CHECK enum rc control_add_errno(struct buf *out, int posix_errno, struct err *e);

#endif
