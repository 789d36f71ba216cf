#include "mirror/audit_objects.h"

#include <inttypes.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/upkeep/fsck.h"
#include "fs/upkeep/gc.h"
#include "mirror/facts.h"
#include "mirror/mirror.h"

#define REMOVE_MS 60000

struct look {
    struct audit *a;
    struct volume *volume;
    struct store *store;
    bool repairs;
    struct err first; /* what kept a finding from being written down */
};

/* -------------------------------------------------------------------------------- what is missing
 */

static enum rc find_block(struct look *l, const struct fsck_problem *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {
        pg_int8(l->a->run), pg_int8((int64_t)p->slice),   pg_text(p->text),
        pg_text(p->kind),   pg_bool(!l->a->o->at_origin), pg_bool(l->repairs)};
    return audit_ask(l->a, l->a->own, "SELECT * FROM tarn_1.audit_block($1,$2,$3,$4,$5,$6)", params,
                     6, &row, e);
}

static void on_problem(const struct fsck_problem *problem, void *arg)
{
    struct look *l = arg;
    if (l->first.code == RC_OK && problem->slice && find_block(l, problem, &l->first))
        err_note(&l->first, "could not write down what differs");
}

static enum rc compare_blocks(struct look *l, struct err *e)
{
    const struct fsck_options of_fsck = {.only = l->store,
                                         .checks_sums = l->a->o->checks_sums,
                                         .threads = (unsigned)l->a->o->threads};
    struct fsck_report report;
    if (fsck_run(l->volume, &of_fsck, on_problem, l, &report, e))
        return e->code;
    l->a->items = (int64_t)report.blocks;
    if (l->first.code)
        *e = l->first;
    return e->code;
}

/* ------------------------------------------------------------------------- what nobody asks for */

/* The copy of this site alone is removed; the origin has one of all that will ever be asked for. */
static enum rc remove_unknown(struct look *l, const char *key, struct block_id block, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param slice = pg_int8((int64_t)block.slice);
    if (audit_ask(l->a, l->a->own, "SELECT * FROM tarn_1.audit_is_unknown($1)", &slice, 1, &row, e))
        return e->code;
    if (!pg_get_bool(row, 0, 0))
        return RC_OK;
    return store_remove(l->store, key, clock_deadline(REMOVE_MS), e);
}

static enum rc on_unknown(struct block_id block, uint64_t stored_bytes, void *arg, struct err *e)
{
    struct look *l = arg;
    auto_result struct pg_result *row = NULL;
    char key[BLOCK_KEY_BYTES], text[64];
    block_key(key, volume_hash_prefix(l->volume), block);
    (void)snprintf(text, sizeof(text), "%" PRIu64 " bytes that no file names", stored_bytes);
    if (l->repairs && remove_unknown(l, key, block, e))
        return err_note(e, "could not remove object %s", key);
    const struct pg_param params[] = {pg_int8(l->a->run), pg_text(key), pg_text(text),
                                      pg_bool(l->repairs)};
    return audit_ask(l->a, l->a->own, "SELECT tarn_1.audit_unknown($1,$2,$3,$4)", params, 4, &row,
                     e);
}

static enum rc compare_objects(struct look *l, struct err *e)
{
    const struct gc_options of_gc = {
        .skip_s = GC_SKIP_S, .threads = (unsigned)l->a->o->threads, .leaked = on_unknown, .arg = l};
    struct gc_report report;
    return gc_run(l->volume, &of_gc, &report, e);
}

/* ---------------------------------------------------------------------------------- the buckets */

static enum rc compare(struct look *l, struct err *e)
{
    l->store = l->a->o->at_origin ? volume_origin(l->volume) : volume_local(l->volume);
    if (!l->store) {
        err_fail(e, RC_INVALID,
                 "this mirror has no bucket of its own; --origin compares the"
                 " primary's");
        return err_exits(e, EXIT_STORE);
    }
    if (l->repairs && !l->a->o->at_origin && volume_claim_local(l->volume, e))
        return e->code;
    return compare_blocks(l, e) ? e->code : compare_objects(l, e);
}

/* The primary's metadata by the subscription's way to it, its bucket as it is reached from here. */
static enum rc open_origin(struct audit *a, struct volume **out, struct err *e)
{
    auto_facts struct facts f = {0};
    auto_result struct pg_result *row = NULL;
    if (facts_read(a->own, &f, e) ||
        audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_home()", NULL, 0, &row, e))
        return e->code;
    const struct volume_options of_volume = {
        .meta = {.url = a->o->primary ? a->o->primary : pg_get_text(row, 0, 0),
                 .application = "tarn mirror audit",
                 .is_read_only = true},
        .bucket = f.origin_bucket,
        .checks_uuid = true};
    return volume_open(out, &of_volume, e);
}

static enum rc open_here(const struct audit *a, struct volume **out, struct err *e)
{
    const struct volume_options of_volume = {
        .meta = {.url = a->url, .application = "tarn mirror audit", .is_read_only = true},
        .checks_uuid = true};
    return volume_open(out, &of_volume, e);
}

enum rc audit_objects(struct audit *a, struct err *e)
{
    struct look l = {.a = a, .repairs = a->o->repairs && !a->o->at_origin};
    if (a->o->at_origin ? open_origin(a, &l.volume, e) : open_here(a, &l.volume, e))
        return e->code;
    enum rc rc = compare(&l, e);
    volume_close(&l.volume);
    return rc;
}
