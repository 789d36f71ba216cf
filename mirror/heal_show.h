/*
 * heal_show - what a mirror's status shows of its healing: by what it is lost, a new copy under
 * way, statements that a person has to carry out, and the margin before deletions outrun it.
 *
 * Threads   one
 * Blocking  on the mirror's PostgreSQL
 */
#ifndef MIRROR_HEAL_SHOW_H
#define MIRROR_HEAL_SHOW_H

#include "fs/base/json.h"
#include "fs/meta/pg.h"

/* As the object "healing" of a status. */
MUST_CHECK enum rc heal_document(struct pg *own, struct json **out, struct err *e);

/* For a person, on stdout; nothing where nothing is to be said. */
void heal_print(const struct json *healing);

#endif
