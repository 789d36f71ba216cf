#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/store/layers.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

static uint64_t soon(void)
{
    return clock_deadline(60000);
}

/* A store that answers what it is told to, and counts. */
struct scripted {
    struct store base;
    enum rc rc; /* of the next fails calls */
    unsigned fails;
    unsigned calls;
    enum rc later; /* if set: of all failures after the first call */
};

static enum rc next_rc(struct store *s, struct err *e)
{
    struct scripted *script = (struct scripted *)s;
    script->calls++;
    if (script->fails == 0)
        return RC_OK;
    script->fails--;
    return err_fail(e, script->later && script->calls > 1 ? script->later : script->rc, "scripted");
}

static enum rc scripted_get(struct store *s, const char *key UNUSED, uint64_t offset UNUSED,
                            uint64_t length UNUSED, struct buf *out, uint64_t deadline_ms UNUSED,
                            struct err *e)
{
    enum rc rc = buf_add_str(out, "partial", e);
    if (rc == RC_OK)
        rc = next_rc(s, e);
    if (rc == RC_OK)
        out->size -= strlen("partial");
    return rc ? rc : buf_add_str(out, "whole", e);
}

static enum rc scripted_put(struct store *s, const char *key UNUSED, struct bytes data UNUSED,
                            uint64_t deadline_ms UNUSED, struct err *e)
{
    return next_rc(s, e);
}

static enum rc scripted_head(struct store *s, const char *key UNUSED, struct store_object *out,
                             uint64_t deadline_ms UNUSED, struct err *e)
{
    *out = (struct store_object){.size = 5};
    return next_rc(s, e);
}

static enum rc scripted_remove(struct store *s, const char *key UNUSED, uint64_t deadline_ms UNUSED,
                               struct err *e)
{
    return next_rc(s, e);
}

/* Nine objects, breaking off after three of them each time it fails. */
static enum rc scripted_list(struct store *s, const char *prefix UNUSED, const char *after,
                             store_visit visit, void *arg, uint64_t deadline_ms UNUSED,
                             struct err *e)
{
    static const char *const keys[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    struct scripted *script = (struct scripted *)s;
    unsigned shown = 0;
    script->calls++;
    for (unsigned i = 0; i < 9; i++) {
        if (strcmp(keys[i], after) <= 0)
            continue;
        if (script->fails > 0 && shown++ == 3) {
            script->fails--;
            return err_fail(e, script->rc, "scripted");
        }
        if (!visit(&(struct store_object){.key = keys[i]}, arg))
            break;
    }
    return RC_OK;
}

static void scripted_close(struct store *s)
{
    free(s);
}

static const struct store_ops scripted_ops = {
    .name = "scripted",
    .get = scripted_get,
    .put = scripted_put,
    .head = scripted_head,
    .remove = scripted_remove,
    .list = scripted_list,
    .close = scripted_close,
};

static struct scripted *scripted_new(enum rc rc, unsigned fails)
{
    struct scripted *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    s->base.ops = &scripted_ops;
    s->rc = rc;
    s->fails = fails;
    return s;
}

static struct store *retry_over(struct scripted *script, unsigned tries)
{
    struct store *below = &script->base, *s = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(store_retry(&s, &below, tries, &e), &e);
    CHECK(below == NULL);
    return s;
}

TEST("what may pass is tried again as often as allowed, and not once more")
{
    static const enum rc passing[] = {RC_UNAVAILABLE, RC_TIMEOUT, RC_IO, RC_UNCERTAIN};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        struct scripted *script = scripted_new(passing[i], 2);
        struct store *s = retry_over(script, 3);
        CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
        CHECK(script->calls == 3);
        script->fails = 99;
        script->calls = 0;
        CHECK_RC(scratch_put(s, "k", "v"), passing[i]);
        CHECK(script->calls == 3);
        store_close(&s);
    }
}

TEST("what is final is asked once")
{
    static const enum rc final[] = {RC_NOT_FOUND, RC_DENIED,    RC_NO_SPACE, RC_CORRUPT,
                                    RC_INVALID,   RC_CANCELLED, RC_STALE,    RC_EXISTS};
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++) {
        struct scripted *script = scripted_new(final[i], 99);
        struct store *s = retry_over(script, 10);
        struct store_object object;
        struct err e = ERR_INIT;
        auto_buf struct buf out;
        buf_init(&out, 100);
        CHECK_RC(scratch_put(s, "k", "v"), final[i]);
        CHECK(scratch_get(s, "k", &out) == final[i]);
        CHECK_RC(store_head(s, "k", &object, soon(), &e), final[i]);
        CHECK_RC(store_remove(s, "k", soon(), &e), final[i]);
        CHECK(script->calls == 4);
        store_close(&s);
    }
}

TEST("a get that failed half-way leaves nothing of it in the answer")
{
    struct scripted *script = scripted_new(RC_IO, 2);
    struct store *s = retry_over(script, 5);
    CHECK(scratch_holds(s, "k", "whole"));
    CHECK(script->calls == 3);
    store_close(&s);
}

TEST("tries end with the deadline")
{
    struct scripted *script = scripted_new(RC_UNAVAILABLE, 1000000);
    struct store *s = retry_over(script, 1000000);
    struct err e = ERR_INIT;
    uint64_t start_ms = clock_ms();
    CHECK_RC(store_put(s, "k", BYTES_OF("v"), clock_deadline(300), &e), RC_UNAVAILABLE);
    CHECK(clock_ms() - start_ms < 30000);
    CHECK(script->calls < 40);
    store_close(&s);
}

TEST("time that runs out between two tries does not hide what the first one said")
{
    struct scripted *script = scripted_new(RC_UNCERTAIN, 99);
    struct store *s = retry_over(script, 3);
    script->later = RC_TIMEOUT;
    CHECK_RC(scratch_put(s, "k", "v"), RC_UNCERTAIN);
    CHECK(script->calls == 3);
    store_close(&s);
}

static bool append_key(const struct store_object *object, void *arg)
{
    struct err e = ERR_INIT;
    return buf_add_str(arg, object->key, &e) == RC_OK;
}

TEST("a listing that broke off goes on where it was")
{
    struct scripted *script = scripted_new(RC_IO, 2);
    struct store *s = retry_over(script, 5);
    struct err e = ERR_INIT;
    auto_buf struct buf keys;
    buf_init(&keys, 100);
    CHECK_OK(store_list(s, "", "", append_key, &keys, soon(), &e), &e);
    CHECK(keys.size == 9 && memcmp(keys.data, "123456789", 9) == 0);
    CHECK(script->calls == 3);
    store_close(&s);
}

/* A chain over two scripted stores. */
struct pair {
    struct scripted *local, *origin;
    struct store *chain;
};

static struct pair pair_new(enum rc local_rc, enum rc origin_rc, bool write_both)
{
    struct pair p = {scripted_new(local_rc, local_rc ? 99 : 0),
                     scripted_new(origin_rc, origin_rc ? 99 : 0), NULL};
    struct store *local = &p.local->base, *origin = &p.origin->base;
    struct err e = ERR_INIT;
    CHECK_OK(store_chain(&p.chain, &local, &origin, write_both, &e), &e);
    return p;
}

TEST("a chain asks the origin when local has it not, has it bad, or cannot answer")
{
    static const enum rc falling[] = {RC_NOT_FOUND, RC_CORRUPT, RC_UNAVAILABLE,
                                      RC_TIMEOUT,   RC_IO,      RC_DENIED};
    for (size_t i = 0; i < sizeof(falling) / sizeof(falling[0]); i++) {
        struct pair p = pair_new(falling[i], RC_OK, false);
        struct store_object object;
        struct err e = ERR_INIT;
        CHECK(scratch_holds(p.chain, "k", "whole"));
        CHECK(store_head(p.chain, "k", &object, soon(), &e) == RC_OK && object.size == 5);
        CHECK(p.local->calls == 2 && p.origin->calls == 2);
        store_close(&p.chain);
    }
}

TEST("a chain that local can answer leaves the origin alone")
{
    struct pair p = pair_new(RC_OK, RC_UNAVAILABLE, false);
    CHECK(scratch_holds(p.chain, "k", "whole"));
    CHECK(p.origin->calls == 0);
    store_close(&p.chain);
}

TEST("of two failures a chain tells the one that a caller must act on")
{
    static const struct {
        enum rc local, origin, told;
    } cases[] = {
        {RC_NOT_FOUND, RC_NOT_FOUND, RC_NOT_FOUND},
        {RC_NOT_FOUND, RC_UNAVAILABLE, RC_UNAVAILABLE},
        {RC_UNAVAILABLE, RC_NOT_FOUND, RC_UNAVAILABLE},
        {RC_CORRUPT, RC_NOT_FOUND, RC_CORRUPT},
        {RC_NOT_FOUND, RC_CORRUPT, RC_CORRUPT},
        {RC_CORRUPT, RC_UNAVAILABLE, RC_UNAVAILABLE},
        {RC_UNAVAILABLE, RC_CORRUPT, RC_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair p = pair_new(cases[i].local, cases[i].origin, false);
        struct store_object object;
        struct err e = ERR_INIT;
        auto_buf struct buf out;
        buf_init(&out, 100);
        CHECK_RC(store_get(p.chain, "k", 0, STORE_TO_END, &out, soon(), &e), cases[i].told);
        CHECK(e.code == cases[i].told);
        CHECK_RC(store_head(p.chain, "k", &object, soon(), &e), cases[i].told);
        store_close(&p.chain);
    }
}

TEST("a put through a chain is done when the origin has it, and only then")
{
    struct pair p = pair_new(RC_NO_SPACE, RC_OK, true);
    CHECK_RC(scratch_put(p.chain, "k", "v"), RC_OK);
    CHECK(p.local->calls == 1 && p.origin->calls == 1);
    store_close(&p.chain);

    p = pair_new(RC_OK, RC_UNAVAILABLE, true);
    CHECK_RC(scratch_put(p.chain, "k", "v"), RC_UNAVAILABLE);
    CHECK(p.local->calls == 0);
    store_close(&p.chain);

    p = pair_new(RC_OK, RC_OK, false);
    CHECK_RC(scratch_put(p.chain, "k", "v"), RC_OK);
    CHECK(p.local->calls == 0 && p.origin->calls == 1);
    store_close(&p.chain);
}

TEST("remove and list of a chain concern local alone")
{
    struct pair p = pair_new(RC_OK, RC_OK, true);
    struct err e = ERR_INIT;
    auto_buf struct buf keys;
    buf_init(&keys, 100);
    CHECK_OK(store_remove(p.chain, "k", soon(), &e), &e);
    CHECK_OK(store_list(p.chain, "", "", append_key, &keys, soon(), &e), &e);
    CHECK(p.local->calls == 2 && p.origin->calls == 0);
    store_close(&p.chain);
}

TEST("shards are chosen by FNV-1a of the key")
{
    char directories[3][SCRATCH_PATH];
    struct store *below[3], *s = NULL;
    struct err e = ERR_INIT;
    for (unsigned i = 0; i < 3; i++)
        below[i] = scratch_store(directories[i]);
    CHECK_OK(store_shard(&s, below, 3, &e), &e);
    /* Where a stock client put these. */
    CHECK_RC(scratch_put(s, "fx-shards3/chunks/0/0/109_0_3138", "x"), RC_OK);
    char path[SCRATCH_PATH];
    scratch_join(path, directories[0], "fx-shards3/chunks/0/0/109_0_3138");
    CHECK(access(path, F_OK) == 0);
    CHECK(scratch_holds(s, "fx-shards3/chunks/0/0/109_0_3138", "x"));
    store_close(&s);
}

static struct store *fault_over(struct store *below, const char *plan)
{
    struct store *s = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(store_fault(&s, &below, plan, 7, &e), &e);
    return s;
}

TEST("a fault plan that is malformed or senseless is refused")
{
    static const char *const wrong[] = {
        "get",           "get:flip",    "get:flip:",    "get:flip:2",    "get:flip:-1",
        "get:lost:0.5",  "head:flip:1", "list:cut:0.1", "get:burn:1",    "fetch:flip:1",
        "get:flip:0.1;", "get:flip:x",  "get:flip:nan", "get:flip:0.1,,"};
    struct scripted *script = scripted_new(RC_OK, 0);
    struct store *below = &script->base, *s = NULL;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct err e = ERR_INIT;
        CHECK_RC(store_fault(&s, &below, wrong[i], 1, &e), RC_INVALID);
    }
    store_close(&below);
}

TEST("faults happen about as often as planned")
{
    struct scripted *script = scripted_new(RC_OK, 0);
    struct store *s = fault_over(&script->base, "put:unavailable:0.25,head:timeout:1");
    unsigned failed = 0;
    for (unsigned i = 0; i < 4000; i++)
        failed += scratch_put(s, "k", "v") == RC_UNAVAILABLE;
    CHECK(failed > 850 && failed < 1150);
    struct store_object object;
    struct err e = ERR_INIT;
    CHECK_RC(store_head(s, "k", &object, soon(), &e), RC_TIMEOUT);
    store_close(&s);
}

TEST("a lost answer means that the object is there")
{
    char directory[SCRATCH_PATH];
    struct store *s = fault_over(scratch_store(directory), "put:lost:1,remove:lost:1");
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "k", "v"), RC_UNCERTAIN);
    CHECK(scratch_holds(s, "k", "v"));
    CHECK_RC(store_remove(s, "k", soon(), &e), RC_UNCERTAIN);
    CHECK(!scratch_holds(s, "k", "v"));
    store_close(&s);
}

TEST("a campaign of faults under retries loses nothing and answers within its bounds")
{
    char directory[SCRATCH_PATH];
    struct store *faulty = fault_over(scratch_store(directory),
                                      "put:unavailable:0.2,put:lost:0.2,get:unavailable:0.2,"
                                      "get:timeout:0.1,head:unavailable:0.2,remove:lost:0.2");
    struct store *s = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(store_retry(&s, &faulty, 10, &e), &e);
    for (unsigned i = 0; i < 20; i++) {
        char key[32], text[32];
        (void)snprintf(key, sizeof(key), "dir/%u", i);
        (void)snprintf(text, sizeof(text), "content of %u", i);
        CHECK_RC(scratch_put(s, key, text), RC_OK);
        CHECK(scratch_holds(s, key, text));
        if (i % 2)
            CHECK_OK(store_remove(s, key, soon(), &e), &e);
    }
    auto_buf struct buf keys;
    buf_init(&keys, 10000);
    CHECK_OK(store_list(s, "", "", append_key, &keys, soon(), &e), &e);
    CHECK(keys.size == 5 * strlen("dir/0") + 5 * strlen("dir/10"));
    store_close(&s);
}

TEST("a rate is kept, and a change of it is felt at once")
{
    struct scripted *script = scripted_new(RC_OK, 0);
    struct store *below = &script->base, *s = NULL;
    struct err e = ERR_INIT;
    static uint8_t data[50000];
    const struct bytes piece = {data, sizeof(data)};
    CHECK_OK(store_limit(&s, &below, 0, 1000000, &e), &e);
    uint64_t start_ms = clock_ms();
    for (unsigned i = 0; i < 5; i++)
        CHECK_OK(store_put(s, "k", piece, soon(), &e), &e);
    uint64_t took_ms = clock_ms() - start_ms;
    CHECK(took_ms >= 195);

    store_limit_set(s, 0, 1);
    CHECK_RC(store_put(s, "k", piece, clock_deadline(50), &e), RC_TIMEOUT);
    store_limit_set(s, 0, 0);
    CHECK_OK(store_put(s, "k", piece, soon(), &e), &e);
    CHECK(scratch_holds(s, "k", "whole"));
    store_close(&s);
}

static void *put_slowly(void *arg)
{
    struct err e = ERR_INIT;
    CHECK_OK(store_put(arg, "k", BYTES_OF("0123456789"), soon(), &e), &e);
    return NULL;
}

TEST("who waits for bandwidth is let go when the limit is lifted")
{
    struct scripted *script = scripted_new(RC_OK, 0);
    struct store *below = &script->base, *s = NULL;
    struct err e = ERR_INIT;
    pthread_t thread;
    CHECK_OK(store_limit(&s, &below, 0, 1, &e), &e);
    CHECK_RC(scratch_put(s, "k", "0123456789012345678901234567890123456789"), RC_OK);
    uint64_t start_ms = clock_ms();
    CHECK(pthread_create(&thread, NULL, put_slowly, s) == 0);
    clock_sleep_until(clock_deadline(20));
    store_limit_set(s, 0, 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(clock_ms() - start_ms < 20000); /* the rate would have taken 40 s */
    store_close(&s);
}
