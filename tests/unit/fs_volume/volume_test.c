#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/crc32c.h"
#include "fs/store/layers.h"
#include "fs/volume/chain.h"
#include "tests/unit/check.h"

#define BLOCK_BYTES 1048576
#define PATH        512

static const char our_uuid[] = "11111111-2222-3333-4444-555555555555";
static const char other_uuid[] = "99999999-2222-3333-4444-555555555555";
static const struct block_id block = {7, 0, 600000};
static uint8_t plain[BLOCK_BYTES], back[BLOCK_BYTES];

/* A site of a volume named "vol": where its buckets are, and what its rows say. */
struct place {
    char origin[PATH], local[PATH];
    struct format format;
    struct meta_site site;
    struct volume_options options;
};

static char *text(const char *constant)
{
    char *copy = strdup(constant);
    CHECK(copy != NULL);
    return copy;
}

static void place_init(struct place *p, const char *role, const char *compression)
{
    *p = (struct place){.options.checks_uuid = true};
    (void)snprintf(p->origin, PATH, "%s", check_directory());
    (void)snprintf(p->local, PATH, "%s", check_directory());
    p->format = (struct format){
        .name = text("vol"),
        .uuid = text(our_uuid),
        .storage = text("file"),
        .bucket = text(p->origin),
        .compression = text(compression),
        .block_bytes = BLOCK_BYTES,
    };
    p->site = (struct meta_site){.name = text("here"), .role = text(role), .is_ready = true};
    if (strcmp(role, "mirror") == 0)
        p->site.local_bucket = text(p->local);
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31 + i / 253);
}

static void place_deinit(struct place *p)
{
    char *const owned[] = {p->format.name,   p->format.uuid,        p->format.storage,
                           p->format.bucket, p->format.compression, p->site.name,
                           p->site.role,     p->site.local_bucket,  p->site.origin_bucket};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
}
#define auto_place __attribute__((cleanup(place_deinit)))

static void volume_end(struct volume **volume)
{
    volume_close(volume);
}
#define auto_volume __attribute__((cleanup(volume_end)))

static struct volume *open_at(const struct place *p)
{
    struct err e = ERR_INIT;
    struct volume *volume = NULL;
    CHECK_OK(volume_assemble(&volume, &p->format, &p->site, &p->options, &e), &e);
    return volume;
}

static enum rc refused_at(const struct place *p, struct err *e)
{
    struct volume *volume = NULL;
    enum rc rc = volume_assemble(&volume, &p->format, &p->site, &p->options, e);
    CHECK(volume == NULL);
    return rc;
}

static void write_object(const char *bucket, const char *key, const char *content)
{
    struct store *s = NULL;
    struct err e = ERR_INIT;
    const struct stack_options options = {.storage = "file", .bucket = bucket, .prefix = "vol/"};
    struct bytes data = {(const uint8_t *)content, strlen(content)};
    CHECK_OK(stack_open(&s, &options, &e), &e);
    CHECK_OK(store_put(s, key, data, CLOCK_FOREVER_MS, &e), &e);
    store_close(&s);
}

static uint64_t soon(void)
{
    return clock_deadline(60000);
}

static void put(struct volume *volume)
{
    struct err e = ERR_INIT;
    CHECK_OK(volume_put_block(volume, block, plain, soon(), &e), &e);
}

static enum rc get(struct volume *volume, struct block_sums sums)
{
    struct err e = ERR_INIT;
    memset(back, 0, block.size);
    enum rc rc = volume_get_block(volume, block, sums, back, soon(), &e);
    if (rc == RC_OK)
        CHECK_BYTES(back, block.size, plain, block.size);
    return rc;
}

static const struct block_sums no_sums;

/* Change one byte of the block's object in a bucket, or its length. */
static void damage(const char *bucket, off_t at)
{
    char path[2 * PATH];
    uint8_t byte;
    (void)snprintf(path, sizeof(path), "%s/vol/chunks/0/0/7_0_600000", bucket);
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd != -1);
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
}

static void resize(const char *bucket, off_t size)
{
    char path[2 * PATH];
    (void)snprintf(path, sizeof(path), "%s/vol/chunks/0/0/7_0_600000", bucket);
    CHECK_EQ(truncate(path, size), 0);
}

static void move_away(const char *bucket, bool is_back)
{
    char away[PATH + 8];
    (void)snprintf(away, sizeof(away), "%s.away", bucket);
    CHECK_EQ(is_back ? rename(away, bucket) : rename(bucket, away), 0);
}

TEST("a block comes back as it was put, with every codec")
{
    static const char *const codecs[] = {"none", "lz4", "zstd"};
    for (size_t i = 0; i < 3; i++) {
        auto_place struct place p;
        place_init(&p, "primary", codecs[i]);
        auto_volume struct volume *volume = open_at(&p);
        uint32_t sums[3];
        CHECK_RC(get(volume, no_sums), RC_NOT_FOUND);
        put(volume);
        CHECK_RC(get(volume, no_sums), RC_OK);
        volume_sum_block(volume, plain, block.size, sums);
        CHECK_EQ(sums[2], crc32c(0, plain + 524288, 600000 - 524288));
        CHECK_RC(get(volume, (struct block_sums){sums, 3}), RC_OK);
        sums[1] ^= 1;
        CHECK_RC(get(volume, (struct block_sums){sums, 3}), RC_CORRUPT);
        CHECK_RC(get(volume, (struct block_sums){sums, 2}), RC_INVALID);
    }
}

TEST("a block that cannot be is refused before any store is asked")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    auto_volume struct volume *volume = open_at(&p);
    static const struct block_id wrong[] = {{0, 0, 1}, {1, 0, 0}, {1, 0, BLOCK_BYTES + 1}};
    for (size_t i = 0; i < 3; i++) {
        struct err e = ERR_INIT;
        CHECK_RC(volume_get_block(volume, wrong[i], no_sums, back, soon(), &e), RC_INVALID);
        CHECK_RC(volume_put_block(volume, wrong[i], plain, soon(), &e), RC_INVALID);
    }
}

TEST("an object that is too long or too short is corrupt")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    auto_volume struct volume *volume = open_at(&p);
    put(volume);
    resize(p.origin, 599999);
    CHECK_RC(get(volume, no_sums), RC_CORRUPT);
    resize(p.origin, 600001);
    CHECK_RC(get(volume, no_sums), RC_CORRUPT);
    resize(p.origin, 0);
    CHECK_RC(get(volume, no_sums), RC_CORRUPT);
}

TEST("the sums of a slice are cut where its blocks are")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    auto_volume struct volume *volume = open_at(&p);
    uint32_t sums[10] = {0};
    /* Two blocks of four pieces each and one of 300 000 bytes: ten pieces. */
    struct slice_sums slice = {
        .id = 7, .size = 2 * BLOCK_BYTES + 300000, .count = 10, .sums = sums};
    CHECK(volume_block_sums(volume, &slice, 0).sums == sums);
    CHECK_EQ(volume_block_sums(volume, &slice, 0).count, 4);
    CHECK(volume_block_sums(volume, &slice, 2).sums == sums + 8);
    CHECK_EQ(volume_block_sums(volume, &slice, 2).count, 2);
    CHECK(volume_block_sums(volume, &slice, 3).sums == NULL);
    CHECK(volume_block_sums(volume, NULL, 0).sums == NULL);
    slice.count = 9;
    CHECK(volume_block_sums(volume, &slice, 0).sums == NULL);
}

TEST("a bucket of another volume is refused, one without identity is taken")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    struct err e = ERR_INIT;
    volume_close(&(struct volume *){open_at(&p)});
    write_object(p.origin, "juicefs_uuid", our_uuid);
    volume_close(&(struct volume *){open_at(&p)});
    write_object(p.origin, "juicefs_uuid", other_uuid);
    CHECK_RC(refused_at(&p, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "belongs to another volume");
    CHECK_EQ(exit_code_of(&e), EXIT_STORE);
    p.options.checks_uuid = false;
    volume_close(&(struct volume *){open_at(&p)});
}

TEST("an identity that is cut short is not ours, one with a newline is")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    struct err e = ERR_INIT;
    write_object(p.origin, "juicefs_uuid", "11111111-2222");
    CHECK_RC(refused_at(&p, &e), RC_INVALID);
    write_object(p.origin, "juicefs_uuid", "");
    CHECK_RC(refused_at(&p, &e), RC_INVALID);
    write_object(p.origin, "juicefs_uuid", "11111111-2222-3333-4444-555555555555\n");
    volume_close(&(struct volume *){open_at(&p)});
}

TEST("a missing bucket, an unknown storage and a relative path each say so")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    struct err e = ERR_INIT;
    p.options.bucket = "/nowhere/at/all";
    CHECK_RC(refused_at(&p, &e), RC_NOT_FOUND);
    CHECK_CONTAINS(e.text, "bucket");
    CHECK_EQ(exit_code_of(&e), EXIT_STORE);
    p.options.bucket = "relative";
    CHECK_RC(refused_at(&p, &e), RC_INVALID);
    free(p.format.storage);
    p.format.storage = text("minio");
    CHECK_RC(refused_at(&p, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "\"minio\"");
}

TEST("a mirror that is not ready is refused where readiness is needed")
{
    auto_place struct place p;
    place_init(&p, "mirror", "none");
    struct err e = ERR_INIT;
    p.site.is_ready = false;
    p.options.needs_ready = true;
    CHECK_RC(refused_at(&p, &e), RC_STALE);
    p.options.needs_ready = false;
    volume_close(&(struct volume *){open_at(&p)});
}

TEST("a mirror writes to the origin alone, and reads either bucket")
{
    auto_place struct place p;
    place_init(&p, "mirror", "zstd");
    auto_volume struct volume *volume = open_at(&p);
    CHECK(volume_local(volume) && volume_origin(volume));
    put(volume);
    struct err e = ERR_INIT;
    CHECK_RC(volume_get_block_from(volume, volume_local(volume), block, no_sums, back, soon(), &e),
             RC_NOT_FOUND);
    CHECK_OK(volume_put_block_to(volume, volume_local(volume), block, plain, soon(), &e), &e);
    CHECK_OK(volume_get_block_from(volume, volume_origin(volume), block, no_sums, back, soon(), &e),
             &e);
    move_away(p.origin, false);
    CHECK_RC(get(volume, no_sums), RC_OK);
    move_away(p.origin, true);
    move_away(p.local, false);
    CHECK_RC(get(volume, no_sums), RC_OK);
    move_away(p.local, true);
}

TEST("a mirror whose own copy is bad or gone reads the origin's")
{
    static const char *const codecs[] = {"none", "lz4", "zstd"};
    for (size_t i = 0; i < 3; i++) {
        auto_place struct place p;
        place_init(&p, "mirror", codecs[i]);
        auto_volume struct volume *volume = open_at(&p);
        uint32_t sums[3];
        struct err e = ERR_INIT;
        put(volume);
        CHECK_OK(volume_put_block_to(volume, volume_local(volume), block, plain, soon(), &e), &e);
        volume_sum_block(volume, plain, block.size, sums);
        damage(p.local, 3000);
        CHECK_RC(get(volume, (struct block_sums){sums, 3}), RC_OK);
        resize(p.local, 100);
        CHECK_RC(get(volume, no_sums), RC_OK);
        damage(p.origin, 1000);
        CHECK_RC(get(volume, (struct block_sums){sums, 3}), RC_CORRUPT);
    }
}

TEST(
    "a primary that was a mirror writes to its own bucket, and reads from the old one what it lacks")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    struct err e = ERR_INIT;
    auto_volume struct volume *old = open_at(&p);
    put(old);
    /* The same volume, once its format row names the other bucket. */
    free(p.format.bucket);
    p.format.bucket = text(p.local);
    p.site.former_bucket = text(p.origin);
    auto_volume struct volume *volume = open_at(&p);
    CHECK(!volume_local(volume) && volume_former(volume));
    CHECK_RC(volume_get_block_from(volume, volume_origin(volume), block, no_sums, back, soon(), &e),
             RC_NOT_FOUND);
    CHECK_RC(get(volume, no_sums), RC_OK);
    put(volume);
    move_away(p.origin, false);
    CHECK_RC(get(volume, no_sums), RC_OK);
    move_away(p.origin, true);
    e = ERR_INIT;
    CHECK_OK(volume_remove_block(volume, block, soon(), &e), &e);
    CHECK_OK(volume_get_block_from(volume, volume_former(volume), block, no_sums, back, soon(), &e),
             &e);
    free(p.site.former_bucket);
}

TEST("a mirror opens without its origin, reads what it has, and takes the origin when it appears")
{
    auto_place struct place p;
    place_init(&p, "mirror", "none");
    write_object(p.origin, "juicefs_uuid", our_uuid);
    volume_close(&(struct volume *){open_at(&p)});
    move_away(p.origin, false);

    auto_volume struct volume *volume = open_at(&p);
    struct err e = ERR_INIT;
    CHECK_OK(volume_put_block_to(volume, volume_local(volume), block, plain, soon(), &e), &e);
    CHECK_RC(get(volume, no_sums), RC_OK);
    CHECK_RC(volume_put_block(volume, block, plain, clock_deadline(1000), &e), RC_UNAVAILABLE);
    move_away(p.origin, true);
    put(volume);
    CHECK_OK(volume_get_block_from(volume, volume_origin(volume), block, no_sums, back, soon(), &e),
             &e);
}

TEST("an origin that appears late and belongs to another volume gives nothing")
{
    auto_place struct place p;
    place_init(&p, "mirror", "none");
    write_object(p.origin, "juicefs_uuid", other_uuid);
    write_object(p.origin, "chunks/0/0/7_0_600000", "somebody else's");
    move_away(p.origin, false);
    auto_volume struct volume *volume = open_at(&p);
    move_away(p.origin, true);
    CHECK_RC(get(volume, no_sums), RC_INVALID);
    struct err e = ERR_INIT;
    CHECK_RC(volume_put_block(volume, block, plain, soon(), &e), RC_INVALID);
}

TEST("a block that no store has is not found; one that a store may have is unavailable")
{
    auto_place struct place p;
    place_init(&p, "mirror", "none");
    auto_volume struct volume *volume = open_at(&p);
    struct err e = ERR_INIT;
    CHECK_RC(get(volume, no_sums), RC_NOT_FOUND);
    move_away(p.origin, false);
    CHECK_RC(volume_get_block(volume, block, no_sums, back, clock_deadline(1000), &e),
             RC_UNAVAILABLE);
    move_away(p.origin, true);
}

TEST("bytes that are damaged on their way are fetched again")
{
    auto_place struct place p;
    place_init(&p, "primary", "none");
    CHECK_EQ(setenv("TARN_FAULT", "get:flip:0.3,get:unavailable:0.2,put:lost:0.2", 1), 0);
    p.options.checks_uuid = false;
    auto_volume struct volume *volume = open_at(&p);
    CHECK_EQ(unsetenv("TARN_FAULT"), 0);
    uint32_t sums[3];
    unsigned good = 0;
    put(volume);
    volume_sum_block(volume, plain, block.size, sums);
    for (unsigned i = 0; i < 30; i++) {
        enum rc rc = get(volume, (struct block_sums){sums, 3});
        CHECK(rc == RC_OK || rc == RC_CORRUPT);
        good += rc == RC_OK;
    }
    CHECK(good >= 20);
}
