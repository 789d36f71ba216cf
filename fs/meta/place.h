/*
 * place - which site is the primary, and going there when that changes.
 *
 * A database says of itself whether it is the primary, or whose mirror it is (tarn.local_site).
 * That changes when a mirror is promoted or a primary demoted, while handles are open. So a handle
 * asks again at each heartbeat, when its primary turns out to be read-only, and when its session is
 * refused.
 *
 *   this site is   changes go to            reads come from
 *   primary        here                     here
 *   mirror         the primary it names     here, as far as they are fresh; else the primary
 *
 * A handle that does not follow keeps to its own database, whatever that is.
 *
 * Private to fs/meta.
 *
 * Threads any · Blocking place_look() for one exchange with the own site
 */
#ifndef FS_META_PLACE_H
#define FS_META_PLACE_H

#include "fs/meta/handle.h"

/* What a row of tarn_1.volume() or tarn_1.place() says becomes what is known. */
MUST_CHECK enum rc place_take(struct meta *meta, const struct pg_result *answer, struct err *e);
void place_close(struct meta *meta);

/* Where changes go. NULL: this is a mirror that does not know its primary. */
struct server *place_primary(struct meta *meta);
/* Is the primary another site's? */
bool place_is_mirror(struct meta *meta);

/* Ask this site's database what it is now. */
MUST_CHECK enum rc place_look(struct meta *meta, struct err *e);
/* There is reason to ask: do so, unless somebody has just done it. What fails is tried again later.
 */
void place_suspect(struct meta *meta);

#endif
