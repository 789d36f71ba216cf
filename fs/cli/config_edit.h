/*
 * config_edit - what the options of `tarn config` mean to the text of a format row.
 *
 * Threads   main
 * Source    volume format §2
 */
#ifndef FS_CLI_CONFIG_EDIT_H
#define FS_CLI_CONFIG_EDIT_H

#include <stdbool.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

enum setting {
    SET_CAPACITY,
    SET_INODES,
    SET_STORAGE,
    SET_BUCKET,
    SET_ACCESS_KEY,
    SET_SECRET_KEY,
    SET_SESSION_TOKEN,
    SET_UPLOAD_LIMIT,
    SET_DOWNLOAD_LIMIT,
    SET_TRASH_DAYS,
    SET_MIN_CLIENT,
    SET_MAX_CLIENT,
    SET_DIR_STATS,
    SET_OWNER_QUOTA,
    SET_ACL,
    SET_CHANGE_LOG,
    SET_CHANGE_LOG_AGE,
    SET_CHANGE_LOG_LINES,
    SETTING_COUNT,
};

/* What a change is about, so that it can be checked before it is made. */
enum config_touch {
    TOUCH_STORAGE = 1,   /* another bucket, other keys */
    TOUCH_LIMITS = 2,    /* capacity or inodes */
    TOUCH_TRASH_OFF = 4, /* there is to be no trash */
    TOUCH_CLIENTS = 8,   /* which clients may come */
    TOUCH_STATS_OFF = 16,
};

struct config_change {
    const char *given[SETTING_COUNT]; /* the text of each option, NULL: not given */
    bool encrypt_secret;
    unsigned touches; /* out: enum config_touch */
    struct buf diff;  /* out: "    inodes: 10 -> 20\n" …, secrets left out */
};

/*
 * Change the row; for settings_change() too. RC_INVALID says which option cannot be: a number out
 * of range, minimum versions lowered, ACLs switched off.
 */
MUST_CHECK enum rc config_edit(struct buf *row, void *change, struct err *e);

#endif
