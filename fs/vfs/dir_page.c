#include "fs/vfs/dir_page.h"

#include <string.h>

#include "fs/base/clock.h"
#include "fs/vfs/names.h"

/* ---- pages ---- */

#define FAR_MS 8

void dir_page_free(struct dir_page *page)
{
    free(page->entries);
    *page = (struct dir_page){0};
}

static void outward_entries(struct vfs *vfs, struct dir_page *page)
{
    for (uint32_t i = 0; i < page->count; i++)
        if (page->entries[i].has_attr)
            names_outward(vfs, &page->entries[i].attr);
}

bool dir_page_is_far(const struct vfs *vfs)
{
    const uint64_t quickest_ms = atomic_load(&vfs->quickest_page_ms);
    return quickest_ms >= FAR_MS && quickest_ms != UINT64_MAX;
}

static void learn_time(struct vfs *vfs, uint64_t took_ms)
{
    uint64_t quickest_ms = atomic_load(&vfs->quickest_page_ms);
    while (took_ms < quickest_ms &&
           !atomic_compare_exchange_weak(&vfs->quickest_page_ms, &quickest_ms, took_ms))
        ;
}

enum rc dir_page_ask(struct vfs *vfs, const struct dir_question *q, struct dir_page *out,
                     struct err *e)
{
    struct dir_page page = {.start = q->start, .count = q->count};
    page.asked_ms = clock_ms();
    page.asking = recent_asking(vfs->recent);
    page.entries = malloc(q->count * sizeof(*page.entries));
    if (!page.entries)
        return err_fail(e, RC_NO_SPACE, "could not allocate a page of a directory");
    enum rc rc = meta_readdir(vfs->meta, vfs_inside(vfs, q->ino), q->after, q->with_attr,
                              page.entries, &page.count, e);
    if (rc) {
        dir_page_free(&page);
        return rc;
    }
    learn_time(vfs, clock_ms() - page.asked_ms);
    page.is_last = page.count < q->count;
    outward_entries(vfs, &page);
    *out = page;
    return RC_OK;
}

/* ---- one page ahead ---- */

enum ahead_state { AHEAD_QUEUED, AHEAD_ASKING, AHEAD_LANDED };

struct ahead {
    /* set at open */
    struct vfs *vfs;
    struct dir_question question; /* after points to the name here */
    uint8_t after[META_NAME_MAX];

    struct lock lock; /* guards the rest */
    struct lock_cond landed;
    enum ahead_state state;
    unsigned holders; /* the handle and the worker */
    bool is_wanted;   /* by the handle */
    uint64_t landed_ms;
    struct dir_page page; /* once landed, with e */
    struct err e;
};

static void ahead_put(struct ahead *a)
{
    lock_take(&a->lock);
    const bool is_free = --a->holders == 0;
    lock_drop(&a->lock);
    if (!is_free)
        return;
    dir_page_free(&a->page);
    lock_cond_deinit(&a->landed);
    lock_deinit(&a->lock);
    free(a);
}

static bool ahead_begin(struct ahead *a)
{
    LOCK_SCOPE(&a->lock);
    if (a->is_wanted)
        a->state = AHEAD_ASKING;
    return a->is_wanted;
}

static void ahead_land(struct ahead *a, const struct dir_page *page, const struct err *e)
{
    LOCK_SCOPE(&a->lock);
    a->page = *page;
    a->e = *e;
    a->landed_ms = clock_ms();
    a->state = AHEAD_LANDED;
    lock_broadcast(&a->landed);
}

static void run_ahead(void *arg)
{
    struct ahead *a = arg;
    struct dir_page page = {0};
    struct err e = ERR_INIT;
    if (ahead_begin(a)) {
        (void)!dir_page_ask(a->vfs, &a->question, &page, &e);
        ahead_land(a, &page, &e);
    }
    ahead_put(a);
}

struct ahead *ahead_ask(struct vfs *vfs, const struct dir_question *question)
{
    struct err busy = ERR_INIT;
    struct ahead *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->vfs = vfs;
    a->question = *question;
    if (question->after.size > 0)
        memcpy(a->after, question->after.data, question->after.size);
    a->question.after.data = a->after;
    lock_init(&a->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&a->landed);
    a->holders = 2;
    a->is_wanted = true;
    if (pool_submit(vfs->listers, run_ahead, a, &busy) == RC_OK)
        return a;
    a->holders = 1;
    ahead_put(a);
    return NULL;
}

/* A page with attributes is an answer to who wants none, too. */
static bool answers(const struct ahead *a, const struct dir_question *question)
{
    return a->question.start == question->start && (a->question.with_attr || !question->with_attr);
}

/* Has it lain here for more than half of the time that the kernel would believe its entries? */
static bool is_old(const struct ahead *a)
{
    const uint64_t believed_ms = a->vfs->attr_ms;
    return believed_ms > 0 && clock_ms() - a->landed_ms > believed_ms / 2;
}

/* Take what has landed, or comes. One that is still queued is no faster than asking. */
static enum ahead_answer take_locked(struct ahead *a, struct dir_page *out, struct err *e)
{
    const bool waits = a->state == AHEAD_ASKING;
    while (a->state == AHEAD_ASKING)
        (void)lock_wait(&a->landed, &a->lock, CLOCK_FOREVER_MS);
    a->is_wanted = false;
    if (a->state != AHEAD_LANDED || (a->e.code && !waits))
        return AHEAD_NONE;
    if (!waits && is_old(a))
        return AHEAD_OLD;
    *e = a->e;
    *out = a->page;
    a->page = (struct dir_page){0};
    return AHEAD_TAKEN;
}

enum ahead_answer ahead_take(struct ahead **ahead, const struct dir_question *question,
                             struct dir_page *out, struct err *e)
{
    struct ahead *a = *ahead;
    enum ahead_answer answer = AHEAD_NONE;
    if (a && answers(a, question)) {
        LOCK_SCOPE(&a->lock);
        answer = take_locked(a, out, e);
    }
    ahead_drop(ahead);
    return answer;
}

void ahead_drop(struct ahead **ahead)
{
    struct ahead *a = *ahead;
    *ahead = NULL;
    if (!a)
        return;
    lock_take(&a->lock);
    a->is_wanted = false;
    lock_drop(&a->lock);
    ahead_put(a);
}
