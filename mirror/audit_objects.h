/*
 * audit_objects - the blocks of a bucket against the slices of the metadata, by the means of fsck
 * and gc: what is missing, has a wrong length or sum, and what nobody asks for.
 *
 * Threads   one caller; blocks are looked at by several threads inside
 * Blocking  minutes to hours
 */
#ifndef MIRROR_AUDIT_OBJECTS_H
#define MIRROR_AUDIT_OBJECTS_H

#include "mirror/audit.h"

/*
 * Compare the bucket of this site, or (at_origin) the primary's with the primary's metadata. With
 * `repairs`, and here only: what is missing or damaged is ordered to be copied by the syncer, and
 * what nobody asks for is removed. Copies that are under way are no findings.
 *
 * RC_INVALID  this site has no bucket of its own
 */
MUST_CHECK enum rc audit_objects(struct audit *a, struct err *e);

#endif
