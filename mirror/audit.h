/*
 * audit - one comparison under way: what it was asked for, both connections, and its parts.
 *
 * A table is walked in ranges of its key. Each range is one question to the primary and one to the
 * mirror, and equal digests end the matter; ranges that are not equal are made smaller until their
 * rows can be listed. Rows that are not alike in both lists are suspects: most of them are only on
 * their way. audit_settle() tells those from rows that are different (the rule and why it holds
 * whoever writes meanwhile: tarn_1.audit_judge), and audit_repair() writes the primary's row in the
 * place of ours without disturbing apply (tarn_1.audit_repair).
 *
 * The primary is read, and its row "audit/SITE" of tarn.mark is written; nothing else. After each
 * answer of it the audit sleeps so long that the primary works for it `pace` percent of the time.
 *
 * What is found goes into tarn.audit_finding at once, and how far the walk came into tarn.audit_run
 * every second, so that a killed audit is gone on with by the next one.
 *
 * Private to mirror/audit*.c.
 *
 * Threads   one
 * Blocking  on both PostgreSQL servers
 */
#ifndef MIRROR_AUDIT_H
#define MIRROR_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/progress.h"
#include "fs/meta/pg.h"

#define AUDIT_KEYS_MAX ((size_t)256 << 20) /* bytes of keys that are handed around */
#define AUDIT_FINDINGS_MAX                                                                         \
    100000 /* beyond it a mirror is to be seeded again, not to be repaired                         \
            */

#define AUDIT_EXIT_DIFFERENT 8
#define AUDIT_EXIT_REPAIRED  9

struct audit_options {
    bool repairs, resumes, json;
    bool objects, at_origin, checks_sums;
    int64_t pace; /* percent of a core of the primary */
    int64_t wait_ms;
    int64_t threads;
    const char *primary, *primary_password;
};

struct audit {
    const struct audit_options *o;
    const char *url;
    struct pg *own, *primary;
    struct progress *progress;
    char marker[96];
    uint64_t expected; /* rows, by the primary's statistics */
    uint64_t busy_us;  /* of the primary, for us, so far */

    /* as in tarn.audit_run */
    int64_t run;
    int32_t tables;
    int64_t items, moving;
    int64_t findings;
};

/* As tarn_1.audit_plan() answers it; borrowed from there. */
struct audit_table {
    const char *relation, *text;
};

/* A list of keys, as JSON. */
struct audit_keys {
    struct buf json;
    int64_t count;
};
void audit_keys_init(struct audit_keys *keys);
void audit_keys_deinit(struct audit_keys *keys);
#define auto_keys __attribute__((cleanup(audit_keys_deinit)))
MUST_CHECK enum rc audit_keys_add(struct audit_keys *keys, const char *key, struct err *e);
/* Append the list to `into`, which *out is borrowed from. */
MUST_CHECK enum rc audit_keys_text(const struct audit_keys *keys, struct buf *into,
                                   const char **out, struct err *e);

/*
 * One call at one of the sites. What the primary answers is followed by the sleep that its column
 * busy_us asks for.
 */
MUST_CHECK enum rc audit_ask(struct audit *a, struct pg *at, const char *sql,
                             const struct pg_param *params, int count, struct pg_result **out,
                             struct err *e);

/* Compare the rows behind `after` (NULL: all of them). */
MUST_CHECK enum rc audit_walk(struct audit *a, const struct audit_table *table, const char *after,
                              struct err *e);

/* Say how far it came: all tables before this one, and this one up to the key. */
MUST_CHECK enum rc audit_note(struct audit *a, const char *relation, const char *place,
                              struct err *e);

/* The rows of some keys at one site. */
MUST_CHECK enum rc audit_rows(struct audit *a, struct pg *at, const struct audit_table *table,
                              const char *keys, bool with_values, struct pg_result **out,
                              struct err *e);

/*
 * Write a marker at the primary and wait until it is here. RC_TIMEOUT: the mirror does not follow.
 */
MUST_CHECK enum rc audit_marker(struct audit *a, struct err *e);

/*
 * Wait until the transactions that write this table at the primary by now have ended; *is_so false:
 * they have not within a second.
 */
MUST_CHECK enum rc audit_settle_writers(struct audit *a, const struct audit_table *table,
                                        bool *is_so, struct err *e);

/*
 * Tell which of these `count` keys are different, and write those down; those that moved at every
 * look are counted. *left takes both and may be NULL.
 */
MUST_CHECK enum rc audit_settle(struct audit *a, const struct audit_table *table, const char *keys,
                                int64_t count, struct audit_keys *left, struct err *e);

/* Repair what the run has found in this table. */
MUST_CHECK enum rc audit_repair(struct audit *a, const struct audit_table *table, struct err *e);

#endif
