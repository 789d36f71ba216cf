/*
 * quotas - used and allowed of directories, users and groups with a limit, as metrics.
 *
 *   tarn_quota_used_space_bytes{inode="7"}   also uid="1000", gid="100"
 *   tarn_quota_max_space_bytes               only where there is such a limit
 *   tarn_quota_used_inodes, tarn_quota_max_inodes
 *
 * The fullest QUOTAS_MAX of them have metrics; tarn_quotas says how many there are.
 *
 * Threads   one
 * Blocking  quotas_look() asks PostgreSQL
 */
#ifndef PRIMARY_QUOTAS_H
#define PRIMARY_QUOTAS_H

#include "fs/base/err.h"
#include "fs/meta/pg.h"

#define QUOTAS_MAX 500

struct quotas;

MUST_CHECK enum rc quotas_open(struct quotas **out, struct err *e);
void quotas_close(struct quotas **quotas);

/* Look at them, if the last look is a while ago. */
MUST_CHECK enum rc quotas_look(struct quotas *quotas, struct pg *pg, struct err *e);

#endif
