/*
 * err - what went wrong: a code that a caller can branch on, and a sentence for a person.
 *
 * Every function that can fail returns enum rc and fills the caller's struct err. The text grows
 * outwards: the place that failed says what failed, each caller may put what *it* was doing in
 * front. Whoever ends the error (replies, retries, gives up) logs it; nobody else does.
 *
 * Threads   a struct err belongs to one thread; it lives on the stack and owns no memory
 * Blocking  never
 */
#ifndef FS_BASE_ERR_H
#define FS_BASE_ERR_H

#include "fs/base/attr.h"

/* Outcomes, named by what a caller can do about them. */
enum rc {
    RC_OK = 0,
    RC_NOT_FOUND,   /* it is not there */
    RC_EXISTS,      /* it is there already */
    RC_STALE,       /* what we held is no longer valid: session fenced, precondition failed */
    RC_INVALID,     /* the request makes no sense; asking again will not help */
    RC_DENIED,      /* credentials or permissions */
    RC_NO_SPACE,    /* disk, quota or bounded buffer is full */
    RC_TIMEOUT,     /* the deadline passed; nothing was done */
    RC_CANCELLED,   /* we were told to stop */
    RC_UNAVAILABLE, /* the other side cannot be reached now */
    RC_CORRUPT,     /* bytes are not what their sum, length or format promises */
    RC_IO,          /* anything else that failed below us */
    RC_UNCERTAIN,   /* a write or COMMIT was sent and its answer lost: read back first */
    RC_REFUSED,     /* a POSIX refusal from the metadata; the errno is in err.posix */
};

#define ERR_TEXT_BYTES 512

struct err {
    enum rc code;
    int posix;     /* errno of an RC_REFUSED, else 0 */
    int exit_code; /* of a program that ends with this error; 0: as its code says */
    char text[ERR_TEXT_BYTES];
};

/* A struct err that says nothing yet. */
#define ERR_INIT ((struct err){.code = RC_OK})

/* Set code and text (cut to fit), forgetting what was there. Returns code. */
enum rc err_fail(struct err *e, enum rc code, const char *fmt, ...) PRINTF(3, 4);

/* Put "text: " in front of the text, keeping the code. Returns the code. */
enum rc err_note(struct err *e, const char *fmt, ...) PRINTF(2, 3);

/* Translate an errno (the only table for that) and append its description. Returns the code. */
enum rc err_os(struct err *e, int os_errno, const char *fmt, ...) PRINTF(3, 4);

/* A POSIX refusal: RC_REFUSED with e->posix = posix_errno, and its description appended. */
enum rc err_refused(struct err *e, int posix_errno, const char *fmt, ...) PRINTF(3, 4);

/* Say how a program that ends with this error exits (enum exit_code). Returns the code. */
enum rc err_exits(struct err *e, int exit_code);

/* "not found", "uncertain", … for logs. Never NULL. */
const char *rc_name(enum rc code);

/* "ENOENT", … or "E<number>" (then in a static table of recent kernels' numbers). Never NULL. */
const char *err_posix_name(int posix_errno);

#endif
