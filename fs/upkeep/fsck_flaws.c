/*
 * Names, nodes and accounts: found page by page, looked at again, told, mended.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/upkeep/fsck_impl.h"

/* Flaws that are looked at again together. */
#define BATCH 4096

struct suspects {
    struct fsck *f;
    enum flaw_check check;
    struct flaw *first;     /* as found at the first look */
    struct flaw *confirmed; /* those that the second look found as well */
    size_t first_count, confirmed_count;
};

static int compare_flaws(const void *a, const void *b)
{
    const struct flaw *x = a, *y = b;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return strcmp(x->kind, y->kind);
}

/* ----------------------------------------------------------------------------------- sentences */

static const struct sentence {
    const char *kind;
    enum { PLAIN, HAVE_WANT, HAVE, NAMED } form;
    const char *text;
} sentences[] = {
    {"entry", NAMED, "is an entry whose inode does not exist"},
    {"type", HAVE_WANT, "the type in its directory entry is %" PRId64 ", not %" PRId64},
    {"lost", NAMED, "is an entry of a directory that does not exist"},
    {"cycle", NAMED, "is a directory below itself: nothing leads to it"},
    {"orphan", PLAIN, "no directory entry leads to it"},
    {"names", HAVE, "is a directory with %" PRId64 " names"},
    {"nlink", HAVE_WANT, "nlink is %" PRId64 ", should be %" PRId64},
    {"parent", HAVE_WANT, "the parent is said to be %" PRId64 ", but it is %" PRId64},
    {"target", PLAIN, "is a symbolic link without a target"},
    {"acl", HAVE, "names ACL %" PRId64 ", which does not exist"},
    {"xattr", NAMED, "is an extended attribute of an inode that does not exist"},
    {"symlink", PLAIN, "is the target of a symbolic link that does not exist"},
    {"stats", HAVE_WANT, "directory statistics say %" PRId64 ", should be %" PRId64},
    {"quota", HAVE_WANT, "the quota counts %" PRId64 ", should be %" PRId64},
    {"usage", HAVE_WANT, "the counter of the volume is %" PRId64 ", should be %" PRId64},
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* all of them stand in the table above */
static void describe(const struct flaw *flaw, char out[ERR_TEXT_BYTES])
{
    const struct sentence *s = NULL;
    for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
        if (strcmp(sentences[i].kind, flaw->kind) == 0)
            s = &sentences[i];
    char text[128] = "";
    if (s && s->form == HAVE_WANT)
        (void)snprintf(text, sizeof(text), s->text, flaw->have, flaw->want);
    else if (s && s->form == HAVE)
        (void)snprintf(text, sizeof(text), s->text, flaw->have);
    else if (s)
        (void)snprintf(text, sizeof(text), "%s", s->text);
    if (flaw->detail[0])
        (void)snprintf(out, ERR_TEXT_BYTES, "\"%.300s\": %s", flaw->detail, text);
    else
        (void)snprintf(out, ERR_TEXT_BYTES, "%s", text);
}
#pragma GCC diagnostic pop

/* --------------------------------------------------------------------------------- the second look
 */

/* Lazy accounts must be what they were, with nothing changed between; for the rest it is enough
 * that they are wrong. */
static enum rc on_second(const struct flaw *flaw, void *arg, struct err *e)
{
    struct suspects *s = arg;
    (void)e;
    const struct flaw *before =
        bsearch(flaw, s->first, s->first_count, sizeof(*flaw), compare_flaws);
    if (!before || s->confirmed_count == BATCH)
        return RC_OK;
    if (flaw_is_lazy(s->check) &&
        (before->have != flaw->have || before->want != flaw->want || before->stamp != flaw->stamp))
        return RC_OK;
    s->confirmed[s->confirmed_count++] = *flaw;
    return RC_OK;
}

/* Quotas are brought up to date every three seconds by stock clients, the rest each second. */
static uint64_t settle_ms(const struct suspects *s)
{
    return s->f->options->settle_ms * (s->check == FLAW_QUOTAS ? 2 : 1);
}

static enum rc look_again(struct suspects *s, struct err *e)
{
    auto_free int64_t *keys = calloc(s->first_count, sizeof(*keys));
    if (!keys)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < s->first_count; i++)
        keys[i] = flaw_key(&s->first[i]);
    qsort(s->first, s->first_count, sizeof(*s->first), compare_flaws);
    if (flaw_is_lazy(s->check))
        clock_sleep_until(clock_deadline(settle_ms(s)));
    int64_t after = 0;
    bool is_end;
    s->confirmed_count = 0;
    return flaw_page(s->f->meta, s->check, keys, s->first_count, &after, &is_end, on_second, s, e);
}

/* ----------------------------------------------------------------------------------- mending */

static enum rc note_same(const struct flaw *flaw, void *arg, struct err *e)
{
    struct suspects *s = arg;
    (void)e;
    if (compare_flaws(flaw, s->first) == 0)
        s->confirmed_count++;
    return RC_OK;
}

/* A repair that found nothing to do may have come after another one that mended this as well. */
static enum rc is_gone(struct fsck *f, const struct flaw *flaw, bool *out, struct err *e)
{
    struct flaw copy = *flaw;
    struct suspects s = {.f = f, .check = flaw->check, .first = &copy};
    const int64_t key = flaw_key(flaw);
    int64_t after = 0;
    bool is_end;
    if (flaw_page(f->meta, flaw->check, &key, 1, &after, &is_end, note_same, &s, e))
        return e->code;
    *out = s.confirmed_count == 0;
    return RC_OK;
}

static bool is_mended(const struct fsck *f, enum flaw_check check)
{
    return f->options->repairs || (f->options->syncs_stats && flaw_is_lazy(check));
}

static enum rc mend_and_tell(struct fsck *f, const struct flaw *flaw, struct err *e)
{
    bool is_repaired = false;
    if (is_mended(f, flaw->check) && flaw_repair(f->meta, flaw, &is_repaired, e))
        return err_note(e, "could not repair inode %" PRIu64, flaw->ino);
    if (is_mended(f, flaw->check) && !is_repaired && is_gone(f, flaw, &is_repaired, e))
        return e->code;
    char text[ERR_TEXT_BYTES];
    describe(flaw, text);
    fsck_tell(f, &(struct fsck_problem){.kind = flaw->kind,
                                        .ino = flaw->ino,
                                        .have = flaw->have,
                                        .want = flaw->want,
                                        .text = text,
                                        .is_repaired = is_repaired});
    return RC_OK;
}

static enum rc settle(struct suspects *s, struct err *e)
{
    if (s->first_count == 0)
        return RC_OK;
    if (look_again(s, e))
        return e->code;
    for (size_t i = 0; i < s->confirmed_count; i++)
        if (mend_and_tell(s->f, &s->confirmed[i], e))
            return e->code;
    s->first_count = 0;
    return RC_OK;
}

static enum rc on_first(const struct flaw *flaw, void *arg, struct err *e)
{
    struct suspects *s = arg;
    s->first[s->first_count++] = *flaw;
    return s->first_count == BATCH ? settle(s, e) : RC_OK;
}

enum rc fsck_flaws(struct fsck *f, enum flaw_check check, const int64_t *only, size_t count,
                   struct err *e)
{
    if (only && count == 0)
        return RC_OK;
    auto_free struct flaw *first = calloc(BATCH, sizeof(*first));
    auto_free struct flaw *confirmed = calloc(BATCH, sizeof(*confirmed));
    if (!first || !confirmed)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    struct suspects s = {.f = f, .check = check, .first = first, .confirmed = confirmed};
    bool is_end = false;
    for (int64_t after = 0; !is_end;)
        if (flaw_page(f->meta, check, only, count, &after, &is_end, on_first, &s, e))
            return err_note(e, "could not check the metadata");
    return settle(&s, e);
}
