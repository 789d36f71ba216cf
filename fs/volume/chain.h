/*
 * chain - a format row and a site row turned into stores, and the check that a bucket is this
 * volume's. Private to fs/volume.
 */
#ifndef FS_VOLUME_CHAIN_H
#define FS_VOLUME_CHAIN_H

#include "fs/volume/volume.h"

/* The stores of a site; top owns them all. At a mirror with a bucket of its own, top is the chain
 * of the two ends; else local is NULL. former is NULL but at a primary that still reads from the
 * bucket of the one before it. */
struct volume_chain {
    struct store *top, *local, *origin, *former;
};

/*
 * RC_NOT_FOUND  a bucket that must be there is missing
 * RC_INVALID    storage or bucket that we cannot use; with checks_uuid: another volume's bucket
 * RC_DENIED     the encryption key needs another JFS_RSA_PASSPHRASE
 */
MUST_CHECK enum rc volume_chain_open(struct volume_chain *out, const struct format *format,
                                     const struct meta_site *site,
                                     const struct volume_options *options, struct err *e);
void volume_chain_close(struct volume_chain *chain);

/* The rest of volume_open() once format and site are known; takes neither. */
MUST_CHECK enum rc volume_assemble(struct volume **out, const struct format *format,
                                   const struct meta_site *site,
                                   const struct volume_options *options, struct err *e);

#endif
