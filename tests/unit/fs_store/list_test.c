#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/store/layers.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

#define MODEL_KEYS 120
#define FOUND_MAX  2000

/* Keys in byte order without doubles, and what a listing showed. */
struct keys {
    char text[FOUND_MAX][64];
    unsigned count;
    unsigned stop_after; /* 0: never */
};

static bool collect(const struct store_object *object, void *arg)
{
    struct keys *k = arg;
    CHECK(k->count < FOUND_MAX);
    CHECK(object->size == strlen(object->key));
    CHECK(object->mtime_s > 0);
    (void)snprintf(k->text[k->count++], sizeof(k->text[0]), "%s", object->key);
    return k->count != k->stop_after;
}

static bool collect_any(const struct store_object *object UNUSED, void *arg)
{
    struct keys *k = arg;
    k->count++;
    return true;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct keys model, found, expected;

/* Names of characters around the slash, so that the order of directories differs from that of keys;
 * directories end in 'd' and files in 'f', so that no name is both. */
static void random_key(char out[64], uint64_t seed)
{
    static const char letters[] = "a-.+!0/~\xC3";
    uint64_t random = hash_u64(seed);
    unsigned depth = (unsigned)(random % 4);
    size_t at = 0;
    for (unsigned level = 0; level <= depth; level++) {
        unsigned length = 1 + (unsigned)((random >> (8 + level * 3)) % 2);
        for (unsigned i = 0; i < length; i++) {
            char c = letters[hash_u64(random + level * 8 + i) % (sizeof(letters) - 1)];
            out[at++] = c == '/' ? 'b' : c;
        }
        out[at++] = level == depth ? 'f' : 'd';
        if (level < depth)
            out[at++] = '/';
    }
    out[at] = 0;
}

static void fill(struct store *s)
{
    model.count = 0;
    for (uint64_t i = 0; i < MODEL_KEYS; i++) {
        random_key(model.text[model.count], i);
        CHECK_RC(scratch_put(s, model.text[model.count], model.text[model.count]), RC_OK);
        model.count++;
    }
    qsort(model.text, model.count, sizeof(model.text[0]), compare);
    unsigned kept = 1;
    for (unsigned i = 1; i < model.count; i++)
        if (strcmp(model.text[i], model.text[kept - 1]) != 0)
            memmove(model.text[kept++], model.text[i], sizeof(model.text[0]));
    model.count = kept;
}

static void list(struct store *s, const char *prefix, const char *after, unsigned stop_after)
{
    struct err e = ERR_INIT;
    found.count = 0;
    found.stop_after = stop_after;
    CHECK_OK(store_list(s, prefix, after, collect, &found, clock_deadline(60000), &e), &e);
}

static void list_as_model(struct store *s, const char *prefix, const char *after)
{
    expected.count = 0;
    for (unsigned i = 0; i < model.count; i++) {
        const char *key = model.text[i];
        if (strncmp(key, prefix, strlen(prefix)) == 0 && strcmp(key, after) > 0)
            memcpy(expected.text[expected.count++], key, sizeof(model.text[0]));
    }
    list(s, prefix, after, 0);
    CHECK(found.count == expected.count);
    for (unsigned i = 0; i < found.count; i++)
        CHECK(strcmp(found.text[i], expected.text[i]) == 0);
}

/* Every beginning of some keys as prefix, and before, at and behind some keys as after. */
static void check_against_model(struct store *s)
{
    list_as_model(s, "", "");
    for (unsigned i = 0; i < model.count; i += 17) {
        char prefix[64];
        const char *after = model.text[(i * 7) % model.count];
        list_as_model(s, "", model.text[i]);
        for (size_t size = 1; size <= strlen(model.text[i]); size++) {
            (void)snprintf(prefix, sizeof(prefix), "%.*s", (int)size, model.text[i]);
            if (strcmp(prefix, "..") == 0 || strstr(prefix, "/.."))
                continue;
            list_as_model(s, prefix, "");
            list_as_model(s, prefix, after);
            list_as_model(s, prefix, prefix);
        }
    }
}

TEST("a listing is in byte order of whole keys, for every prefix and start")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    fill(s);
    check_against_model(s);
    store_close(&s);
}

TEST("a file named between a directory and its slash comes first")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    static const char *const keys[] = {"a-", "a.b", "a/b", "a/b-", "a0"};
    for (int i = 4; i >= 0; i--)
        CHECK_RC(scratch_put(s, keys[i], keys[i]), RC_OK);
    list(s, "", "", 0);
    CHECK(found.count == 5);
    for (unsigned i = 0; i < 5; i++)
        CHECK(strcmp(found.text[i], keys[i]) == 0);
    list(s, "", "a-", 2);
    CHECK(found.count == 2 && strcmp(found.text[1], "a/b") == 0);
    store_close(&s);
}

TEST("a sharded listing is one listing in byte order, whatever shard holds a key")
{
    char directory[SCRATCH_PATH];
    struct store *below[5], *s = NULL;
    struct err e = ERR_INIT;
    for (unsigned i = 0; i < 5; i++)
        below[i] = scratch_store(directory);
    CHECK_OK(store_shard(&s, below, 5, &e), &e);
    CHECK(below[0] == NULL && below[4] == NULL);
    fill(s);
    check_against_model(s);
    list(s, "", "", 17);
    CHECK(found.count == 17);
    store_close(&s);
}

TEST("a sharded listing goes on behind a full page")
{
    /* 256 shards have the smallest pages, 256 objects; all keys of this one lie in one shard. */
    enum { SHARDS = 256, KEYS = 1500 };
    char directory[SCRATCH_PATH], empty[SCRATCH_PATH];
    struct store *below[SHARDS], *s = NULL;
    struct err e = ERR_INIT;
    scratch_dir(directory);
    scratch_dir(empty);
    for (unsigned i = 0; i < SHARDS; i++)
        CHECK_OK(store_file_open(&below[i], i == 77 ? directory : empty, BUCKET_MUST_EXIST, &e),
                 &e);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%05u", i);
        scratch_write_file(directory, key, (struct bytes){(const uint8_t *)key, 5});
    }
    CHECK_OK(store_shard(&s, below, SHARDS, &e), &e);
    list(s, "", "00099", 0);
    CHECK(found.count == KEYS - 100);
    for (unsigned i = 0; i < found.count; i++)
        CHECK((unsigned)strtoul(found.text[i], NULL, 10) == i + 100);
    store_close(&s);
}

TEST("a prefixed store lists and names what is below its prefix alone")
{
    char directory[SCRATCH_PATH];
    struct store *below = scratch_store(directory), *s = NULL;
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(below, "other/x", "x"), RC_OK);
    CHECK_RC(scratch_put(below, "vol/a", "a"), RC_OK);
    CHECK_RC(scratch_put(below, "vol/b/c", "b/c"), RC_OK);
    CHECK_RC(scratch_put(below, "volume/a", "a"), RC_OK);
    CHECK_OK(store_prefix(&s, &below, "vol/", &e), &e);
    list(s, "", "", 0);
    CHECK(found.count == 2 && strcmp(found.text[1], "b/c") == 0);
    list(s, "b/", "", 0);
    CHECK(found.count == 1);
    list(s, "", "a", 0);
    CHECK(found.count == 1);
    CHECK(scratch_holds(s, "b/c", "b/c"));
    store_close(&s);
}

TEST("drafts of an unfinished put are not listed")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    scratch_write_file(directory, ".tarn-put.0123456789abcdef", BYTES_OF("half"));
    CHECK_RC(scratch_put(s, "k", "k"), RC_OK);
    list(s, "", "", 0);
    CHECK(found.count == 1);
    store_close(&s);
}

TEST("a prefix that names nothing lists nothing, and a bad one is refused")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "k", "k"), RC_OK);
    list(s, "none/of/this", "", 0);
    CHECK(found.count == 0);
    list(s, "k/", "", 0);
    CHECK(found.count == 0);
    found.count = 0;
    CHECK_RC(store_list(s, "../", "", collect, &found, CLOCK_FOREVER_MS, &e), RC_INVALID);
    CHECK_RC(store_list(s, "/", "", collect, &found, CLOCK_FOREVER_MS, &e), RC_INVALID);
    CHECK(found.count == 0);
    store_close(&s);
}

TEST("a loop of links ends a listing instead of the process")
{
    char directory[SCRATCH_PATH], link[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct err e = ERR_INIT;
    scratch_join(link, directory, "loop");
    CHECK(symlink(".", link) == 0);
    CHECK_RC(scratch_put(s, "k", "k"), RC_OK);
    found = (struct keys){.stop_after = 0};
    enum rc rc = store_list(s, "", "", collect_any, &found, clock_deadline(60000), &e);
    CHECK(rc == RC_OK || rc == RC_INVALID);
    CHECK(found.count > 0);
    store_close(&s);
}
