#include "fs/vfs/lock_table.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"

METRIC_DEFINE(metric_held, METRIC_GAUGE, "tarn_lock_held", NULL,
              "owners that hold locks on a file, by flock or fcntl")

/* ---- files and owners ---- */

enum { FIRST_PAUSE_MS = 1 };

struct lock_file *lock_file_get_locked(struct lock_table *table, ino_num ino, struct err *e)
{
    struct lock_file *file = map64_get(table->files, ino);
    if (file)
        return file;
    file = calloc(1, sizeof(*file));
    if (!file) {
        err_fail(e, RC_NO_SPACE, "could not allocate a lock");
        return NULL;
    }
    *file = (struct lock_file){.ino = ino, .pause_ms = FIRST_PAUSE_MS};
    if (map64_put(table->files, ino, file, e)) {
        free(file);
        return NULL;
    }
    return file;
}

void lock_file_drop_locked(struct lock_table *table, struct lock_file *file)
{
    if (file->owners || file->requests)
        return;
    (void)map64_remove(table->files, file->ino);
    free(file);
}

struct lock_owner *lock_owner_find(const struct lock_file *file, enum meta_lock_kind kind,
                                   uint64_t owner)
{
    struct lock_owner *o = file ? file->owners : NULL;
    while (o && (o->kind != kind || o->owner != owner))
        o = o->next;
    return o;
}

struct lock_owner *lock_owner_get_locked(struct lock_table *table, struct lock_file *file,
                                         const struct meta_lock *what)
{
    struct lock_owner *o = lock_owner_find(file, what->kind, what->owner);
    if (o)
        return o;
    o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    *o = (struct lock_owner){.kind = what->kind, .owner = what->owner, .next = file->owners};
    file->owners = o;
    table->owner_count++;
    return o;
}

void lock_owner_set_held(struct lock_owner *o, bool is_held)
{
    metric_add(&metric_held, (int64_t)is_held - (int64_t)o->is_held);
    o->is_held = is_held;
}

void lock_owner_drop_locked(struct lock_table *table, struct lock_file *file, struct lock_owner *o)
{
    if (o->is_held || o->is_lost || o->is_leaving || o->busy)
        return;
    struct lock_owner **link = &file->owners;
    while (*link != o)
        link = &(*link)->next;
    *link = o->next;
    free(o);
    table->owner_count--;
    lock_file_drop_locked(table, file);
}

void lock_wake_locked(struct lock_table *table, struct lock_file *file)
{
    file->is_woken = true;
    file->pause_ms = FIRST_PAUSE_MS;
    file->due_ms = 0;
    lock_broadcast(&table->wake);
}

/* ---- leaving ---- */

struct meta_lock lock_everything_of(ino_num ino, enum meta_lock_kind kind, uint64_t owner)
{
    return (struct meta_lock){
        .ino = ino, .kind = kind, .type = META_LOCK_NONE, .owner = owner, .end = META_LOCK_EOF};
}

/*
 * The owner's number may be that of a process that closed the file, and whose locks could not be
 * unlocked then: they go before anything new is asked for.
 */
enum rc lock_leave_locked(struct lock_table *table, struct lock_file *file, struct lock_owner *o,
                          struct err *e)
{
    const struct meta_lock all = lock_everything_of(file->ino, o->kind, o->owner);
    struct node_attr ignored;
    enum rc rc = RC_OK;

    o->busy++; /* keeps the entry */
    while (o->is_unlocking)
        (void)lock_wait(&table->wake, &table->lock, CLOCK_FOREVER_MS);
    if (o->is_leaving) {
        o->is_unlocking = true;
        lock_drop(&table->lock);
        rc = meta_setlk(table->vfs->meta, &all, &ignored, e);
        lock_take(&table->lock);
        o->is_unlocking = false;
        if (rc == RC_OK || rc == RC_STALE) {
            o->is_leaving = false;
            lock_owner_set_held(o, false);
        }
        lock_wake_locked(table, file);
    }
    o->busy--;
    return rc;
}

/* ---- the session ---- */

static _Bool lose_file(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value;
    (void)key;
    (void)ctx;
    for (struct lock_owner *o = file->owners; o; o = o->next) {
        o->is_lost = o->is_lost || (o->is_held && !o->is_leaving);
        o->is_leaving = false;
        lock_owner_set_held(o, false);
    }
    return true;
}

void lock_table_fence(struct lock_table *table)
{
    LOCK_SCOPE(&table->lock);
    table->fence++;
    map64_each(table->files, lose_file, NULL);
}

/* One that is to be let go and that nobody is at work on. */
static _Bool find_leaving(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value, **found = ctx;
    (void)key;
    for (const struct lock_owner *o = file->owners; o; o = o->next)
        if (o->is_leaving && !o->busy)
            *found = file;
    return *found == NULL;
}

void lock_table_tick(struct lock_table *table)
{
    struct lock_file *file = NULL;
    struct err e = ERR_INIT; /* told at the close; and it comes back each second */

    LOCK_SCOPE(&table->lock);
    if (table->owner_count)
        map64_each(table->files, find_leaving, &file);
    struct lock_owner *o = file ? file->owners : NULL;
    while (o && (!o->is_leaving || o->busy))
        o = o->next;
    if (!o)
        return;
    (void)!lock_leave_locked(table, file, o, &e);
    lock_owner_drop_locked(table, file, o);
}

/* ---- opening and closing the table ---- */

enum rc lock_table_open(struct lock_table **out, struct vfs *vfs, struct err *e)
{
    const struct pool_options waiter = {.name = "vfslock", .max_threads = 1, .max_queued = 1};
    struct lock_table *table = calloc(1, sizeof(*table));
    if (!table)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of locks");
    table->vfs = vfs;
    table->tail = &table->first;
    lock_init(&table->lock, LOCK_VFS_LOCKS);
    lock_cond_init(&table->wake);
    *out = table;
    enum rc rc = map64_open(&table->files, e);
    return rc ? rc : pool_open(&table->pool, &waiter, e);
}

static _Bool free_file(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value;
    (void)key;
    (void)ctx;
    while (file->owners) {
        struct lock_owner *o = file->owners;
        file->owners = o->next;
        lock_owner_set_held(o, false);
        free(o);
    }
    free(file);
    return true;
}

void lock_table_stop(struct lock_table *table)
{
    if (!table)
        return;
    lock_take(&table->lock);
    table->is_closing = true;
    lock_broadcast(&table->wake);
    lock_drop(&table->lock);
    pool_close(&table->pool);
}

void lock_table_close(struct lock_table **table)
{
    struct lock_table *t = *table;
    if (!t)
        return;
    *table = NULL;
    lock_table_stop(t);
    if (t->files)
        map64_each(t->files, free_file, NULL);
    map64_close(&t->files);
    lock_cond_deinit(&t->wake);
    lock_deinit(&t->lock);
    free(t);
}
