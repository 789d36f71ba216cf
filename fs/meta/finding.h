/*
 * finding - what a check before a change found: one sentence each, with the command that mends it.
 *
 * The checks that a database can make are SQL functions (schema/setup, tarn_1.join_findings); a
 * program adds its own and shows all of them in one list.
 *
 * Threads   one list, one thread
 */
#ifndef FS_META_FINDING_H
#define FS_META_FINDING_H

#include <stdbool.h>
#include <stdio.h>

#include "fs/base/json.h"
#include "fs/meta/pg.h"

enum finding_level { FINDING_OK, FINDING_ADVICE, FINDING_PROBLEM };

struct findings {
    struct json *list;
    int problems;
    char topic[32];             /* of the first problem, "" if none */
    char first[ERR_TEXT_BYTES]; /* its sentence */
};

MUST_CHECK enum rc findings_init(struct findings *f, struct err *e);
void findings_deinit(struct findings *f);
#define auto_findings __attribute__((cleanup(findings_deinit)))

/* Load the functions of schema/setup into this session. */
MUST_CHECK enum rc findings_prepare(struct pg *pg, uint64_t deadline_ms, struct err *e);

/*
 * meta_install_site() and, where the functions are not those of this build, meta_install_api(): a
 * database that has them already is not disturbed. After findings_prepare().
 */
MUST_CHECK enum rc meta_install_missing(struct pg *pg, uint64_t deadline_ms, struct err *e);

/* Add what a query with the columns level, topic, finding, mend answers. */
MUST_CHECK enum rc findings_ask(struct findings *f, struct pg *pg, const char *sql,
                                const struct pg_param *params, int param_count,
                                uint64_t deadline_ms, struct err *e);

/* Add one of the program's own; mend may be NULL. */
MUST_CHECK enum rc findings_add(struct findings *f, enum finding_level level, const char *topic,
                                const char *mend, struct err *e, const char *fmt, ...) PRINTF(6, 7);

/* One line each, as "level  topic: finding; mend with: …". */
void findings_print(const struct findings *f, FILE *to);

/* Fail with the first problem, as "what: sentence"; its topic says how the program exits. */
enum rc findings_refuse(const struct findings *f, const char *what, struct err *e);

#endif
