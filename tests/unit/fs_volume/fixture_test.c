/*
 * Volumes that a stock client wrote, read through the volume alone: every block in their buckets,
 * and every file put together from its chunk rows, against the sums of that client's own mount.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/clock.h"
#include "fs/base/crypto.h"
#include "fs/base/json.h"
#include "fs/meta/slice.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_volume/fixture.h"

#define FILE_MAX  ((size_t)256 << 20)
#define BLOCK_MAX ((size_t)16 << 20)

static uint8_t *content, *plain;
static struct fixture fixture;

static void make_room(void)
{
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (!plain)
        plain = malloc(BLOCK_MAX);
    if (content)
        CHECK_EQ(munmap(content, FILE_MAX), 0);
    content = mmap(NULL, FILE_MAX, PROT_READ | PROT_WRITE, kind, -1, 0);
    CHECK(plain && content != MAP_FAILED);
}

static void get_block(struct volume *volume, struct block_id block)
{
    struct err e = ERR_INIT;
    CHECK(block.size <= BLOCK_MAX);
    CHECK_OK(
        volume_get_block(volume, block, (struct block_sums){0}, plain, clock_deadline(60000), &e),
        &e);
}

/* Copy what x takes of its slice to where the file has it, block by block. */
static void place_extent(struct volume *volume, const struct extent *x, uint64_t chunk_start,
                         uint64_t file_size)
{
    const uint32_t block_bytes = volume_block_bytes(volume);
    for (uint32_t done = 0; done < x->len;) {
        const uint32_t at = x->off + done;
        const uint32_t indx = at / block_bytes;
        const uint32_t size = block_size(x->size, block_bytes, indx);
        uint32_t take = size - at % block_bytes;
        if (take > x->len - done)
            take = x->len - done;
        const uint64_t to = chunk_start + x->pos + done;
        get_block(volume, (struct block_id){x->id, indx, size});
        /* A record may reach behind the end of a file that was truncated since. */
        if (to < file_size)
            memcpy(content + to, plain + at % block_bytes,
                   to + take > file_size ? file_size - to : take);
        done += take;
    }
}

static void build_file(struct volume *volume, uint64_t ino, uint64_t size)
{
    for (unsigned i = 0; i < fixture.chunk_count; i++) {
        const struct fixture_chunk *chunk = &fixture.chunks[i];
        struct chunk_view *view = NULL;
        struct err e = ERR_INIT;
        if (chunk->ino != ino)
            continue;
        CHECK_OK(chunk_view_new(chunk->indx, chunk->records, (struct bytes){NULL, 0}, &view, &e),
                 &e);
        for (uint32_t x = 0; x < view->extent_count; x++)
            if (view->extents[x].id != 0)
                place_extent(volume, &view->extents[x], chunk->indx * META_CHUNK_BYTES, size);
        chunk_view_unref(&view);
    }
}

static void check_file(struct volume *volume, const struct json *entry, const char *sum)
{
    uint8_t digest[32];
    char hex[65];
    struct err e = ERR_INIT;
    const uint64_t size = (uint64_t)json_get_int(entry, "size", 0);
    CHECK(size <= FILE_MAX);
    make_room();
    build_file(volume, (uint64_t)json_get_int(entry, "ino", 0), size);
    CHECK_OK(crypto_sha256((struct bytes){content, size}, digest, &e), &e);
    for (unsigned i = 0; i < 32; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    CHECK_STR(hex, sum);
}

/* Every regular file of the listing that holds fewer than most bytes. */
static void check_files(struct volume *volume, int64_t most)
{
    char name[64];
    size_t size;
    unsigned checked = 0;
    (void)snprintf(name, sizeof(name), "fixtures/%s/tree.jsonl", fixture.name);
    auto_free char *tree = check_read_data(name, &size);
    char *rest = tree;
    for (char *line = strsep(&rest, "\n"); line && line[0]; line = strsep(&rest, "\n")) {
        struct err e = ERR_INIT;
        auto_json struct json *entry = NULL;
        CHECK_OK(json_parse((struct bytes){(uint8_t *)line, strlen(line)}, &entry, &e), &e);
        const char *sum = json_get_string(entry, "sha256", NULL);
        if (!sum || json_get_int(entry, "size", 0) > most)
            continue;
        check_file(volume, entry, sum);
        checked++;
    }
    CHECK(checked > 30);
}

struct census {
    struct volume *volume;
    unsigned blocks, others;
};

static bool check_object(const struct store_object *object, void *arg)
{
    struct census *census = arg;
    struct err e = ERR_INIT;
    struct block_id block;
    if (block_key_parse(object->key, &block, &e)) {
        census->others++;
        return true;
    }
    char key[BLOCK_KEY_BYTES];
    block_key(key, volume_hash_prefix(census->volume), block);
    CHECK_STR(object->key, key);
    get_block(census->volume, block);
    census->blocks++;
    return true;
}

/* Every block decodes to the length in its key; what is left is the identity alone. */
static void check_blocks(struct volume *volume)
{
    struct census census = {.volume = volume};
    struct err e = ERR_INIT;
    CHECK_OK(store_list(volume_store(volume), "", "", check_object, &census, CLOCK_FOREVER_MS, &e),
             &e);
    CHECK(census.blocks > 200);
    CHECK_EQ(census.others, 1);
}

static void check_variant(const char *name, const char *passphrase, int64_t most)
{
    if (passphrase)
        CHECK_EQ(setenv("JFS_RSA_PASSPHRASE", passphrase, 1), 0);
    make_room();
    fixture_open(&fixture, name);
    struct volume *volume = fixture_volume(&fixture);
    check_blocks(volume);
    check_files(volume, most);
    volume_close(&volume);
    fixture_close(&fixture);
    CHECK_EQ(unsetenv("JFS_RSA_PASSPHRASE"), 0);
}

#define ALL INT64_MAX
/* The sparse files of more than 64 MiB take most of the time, and are alike in all variants. */
#define SMALL ((int64_t)64 << 20)

TEST("a plain volume of a stock client reads as its own mount showed it")
{
    check_variant("plain", NULL, SMALL);
}

TEST("a volume of 1 MiB blocks of a stock client reads as its own mount showed it")
{
    check_variant("bs1m", NULL, SMALL);
}

TEST("a zstd volume of a stock client reads as its own mount showed it")
{
    check_variant("zstd", NULL, ALL);
}

TEST("an lz4 volume of a stock client reads as its own mount showed it")
{
    check_variant("lz4", NULL, SMALL);
}

TEST("a volume with hashed keys of a stock client reads as its own mount showed it")
{
    check_variant("hashprefix", NULL, SMALL);
}

TEST("a sharded volume of a stock client reads as its own mount showed it")
{
    check_variant("shards3", NULL, SMALL);
}

TEST("an AES volume of a stock client reads as its own mount showed it")
{
    check_variant("aes256gcm-rsa", "correct horse 7", SMALL);
}

TEST("a ChaCha20 and zstd volume of a stock client reads as its own mount showed it")
{
    check_variant("chacha20-rsa", NULL, SMALL);
}
