/*
 * talk - the tools' end of .control: asking a mount, ours or a stock one, to do something.
 *
 * Threads   main
 * Blocking  until the mount has answered
 */
#ifndef FS_CLI_TALK_H
#define FS_CLI_TALK_H

#include "fs/base/progress.h"
#include "fs/volume/control_wire.h"

/* A path in a mount. */
struct talk_path {
    char *text;       /* absolute, without "." and ".." */
    uint64_t ino;     /* of the path; 0: nothing there */
    uint64_t above;   /* of the directory that has it */
    char *dir;        /* that directory */
    const char *name; /* the last part, in text */
    char *root;       /* of the mount it is in */
    bool is_dir;
};

/*
 * Look a path up. wants_it: RC_NOT_FOUND when nothing is there. RC_INVALID: it is in no mount of a
 * volume.
 */
MUST_CHECK enum rc talk_path_find(const char *given, bool wants_it, struct talk_path *out,
                                  struct err *e);
void talk_path_deinit(struct talk_path *path);
#define auto_talk_path __attribute__((cleanup(talk_path_deinit)))

/* How far it is: what the two counters are is the command's. */
struct talk_watch {
    const char *what;  /* label of the bar */
    bool shows_second; /* first of second; else first of nobody knows */
    bool is_bytes;     /* the second is shown, as bytes */
    bool is_quiet;
    uint64_t first, second; /* as last told */
};

/*
 * Ask the mount that dir is in, and wait for the end. data, when not NULL, is what was answered.
 * RC_REFUSED: the errno that the mount answered; RC_UNAVAILABLE: it left.
 */
MUST_CHECK enum rc talk_ask(const char *dir, const struct control_request *request,
                            struct talk_watch *watch, struct buf *data, struct err *e);

#endif
