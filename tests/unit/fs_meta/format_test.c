#include "fs/meta/format.h"

#include <stdlib.h>

#include "fs/base/json.h"
#include "tests/unit/check.h"

static struct format *read_row(const char *name)
{
    char path[64];
    size_t size;
    (void)snprintf(path, sizeof(path), "format/%s.json", name);
    auto_free char *text = check_read_data(path, &size);
    struct format *format = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(format_parse((struct bytes){(const uint8_t *)text, size}, &format, &e), &e);
    return format;
}

TEST("the rows of all volumes made by a stock client are read")
{
    static const struct {
        const char *name, *uuid, *compression;
        uint32_t block_bytes;
    } rows[] = {
        {"acl", "f52e9134-7d5e-4014-9031-1724d734c1dd", "none", 4096 << 10},
        {"aes256gcm-rsa", "59c19059-5fc0-4a80-ae74-5c4631910df8", "none", 64 << 10},
        {"bs1m", "532f8230-933f-48c5-b303-8036a4cab757", "none", 1024 << 10},
        {"chacha20-rsa", "ff4be47c-1b69-4746-ad81-76074a40795a", "zstd", 4096 << 10},
        {"changelog", "4a93ef35-9ac2-4b3b-acab-ab27239b1b43", "none", 256 << 10},
        {"hashprefix", "dff3c21b-8772-4a77-8239-59a02bf5ec11", "none", 256 << 10},
        {"live", "b5d7887d-034b-484b-b049-efe4215fb2ef", "none", 4096 << 10},
        {"lz4", "c284f309-41a6-4e34-bb72-e4a68c85ba4e", "lz4", 4096 << 10},
        {"notrash", "d91e8f67-5b9c-41b1-897f-a71817fd38e1", "none", 4096 << 10},
        {"plain", "81564085-94db-4782-a6eb-443ac2442a25", "none", 4096 << 10},
        {"quota", "b1857bef-0432-4f95-b32b-8da57935cb67", "none", 256 << 10},
        {"shards3", "97096d6e-dd4e-470b-928e-40ee3dd8ab26", "none", 256 << 10},
        {"upgraded", "d246728f-ab72-432e-abb8-62d202db8892", "none", 4096 << 10},
        {"zstd", "4e65e984-300b-46ae-a4c0-0199eb603f8d", "zstd", 4096 << 10},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct format *f = read_row(rows[i].name);
        CHECK_STR(f->name + strlen("fx-"), rows[i].name);
        CHECK_STR(f->uuid, rows[i].uuid);
        CHECK_STR(f->storage, "file");
        CHECK_STR(f->compression, rows[i].compression);
        CHECK_EQ(f->block_bytes, rows[i].block_bytes);
        CHECK_EQ(f->trash_days, strcmp(rows[i].name, "notrash") == 0 ? 0 : 3650);
        CHECK_EQ(f->meta_version, 1);
        CHECK(f->secret_key == NULL);
        format_free(&f);
        CHECK(f == NULL);
    }
}

TEST("members that only some volumes have are read")
{
    struct format *f = read_row("shards3");
    CHECK_EQ(f->shards, 3);
    CHECK_STR(f->bucket, "/var/tmp/jfs-fixture/shard-%d/");
    format_free(&f);
    f = read_row("hashprefix");
    CHECK(f->hash_prefix);
    format_free(&f);
    f = read_row("acl");
    CHECK(f->enable_acl);
    CHECK_STR(f->min_client, "1.2.0-A");
    format_free(&f);
    f = read_row("changelog");
    CHECK(f->change_log);
    format_free(&f);
    f = read_row("quota");
    CHECK(f->user_group_quota && f->dir_stats);
    format_free(&f);
    f = read_row("upgraded"); /* from before dir stats and tiers */
    CHECK(!f->dir_stats && f->storage_class == NULL);
    format_free(&f);
}

static void check_key(const char *name)
{
    char path[64];
    size_t size;
    (void)snprintf(path, sizeof(path), "fixtures/%s/key.pem", name);
    auto_free char *pem = check_read_data(path, &size);
    struct format *f = read_row(name);
    CHECK(f->encrypt_key != NULL);
    /* Stock clients write the key anew, so only its form can be compared. */
    CHECK_CONTAINS(f->encrypt_key, "PRIVATE KEY-----");
    CHECK_STR(f->encrypt_algo, name);
    CHECK_CONTAINS(pem, "PRIVATE KEY-----");
    format_free(&f);
}

TEST("the wrapped keys of encrypted volumes unwrap")
{
    check_key("aes256gcm-rsa");
    check_key("chacha20-rsa");
}

static enum rc parse_text(const char *text, struct err *e)
{
    struct format *f = NULL;
    enum rc rc = format_parse((struct bytes){(const uint8_t *)text, strlen(text)}, &f, e);
    CHECK((rc == RC_OK) == (f != NULL));
    format_free(&f);
    return rc;
}

#define ROW(more)                                                                                  \
    "{\"Name\":\"vol\",\"UUID\":\"81564085-94db-4782-a6eb-443ac2442a25\",\"Storage\":\"file\","    \
    "\"Bucket\":\"/b/\",\"BlockSize\":4096,\"MetaVersion\":1" more "}"

TEST("rows that we must not work with are refused, and the text says why")
{
    static const struct {
        const char *row, *says;
        enum rc code;
    } rows[] = {
        {ROW(",\"MinClientVersion\":\"1.4.2\""), "from version 1.4.2", RC_INVALID},
        {ROW(",\"MinClientVersion\":\"2.0.0-A\""), "from version 2.0.0-A", RC_INVALID},
        {ROW(",\"MaxClientVersion\":\"1.4.0\""), "up to version 1.4.0", RC_INVALID},
        {ROW(",\"MinClientVersion\":\"new\""), "MinClientVersion", RC_INVALID},
        {ROW(",\"Shards\":257"), "257", RC_INVALID},
        {ROW(",\"TrashDays\":-1"), "negative", RC_INVALID},
        {ROW(",\"Compression\":\"brotli\""), "brotli", RC_INVALID},
        {ROW(",\"SecretKey\":\"removed\""), "removed", RC_DENIED},
        {ROW(",\"SecretKey\":\"AAAA\",\"KeyEncrypted\":true"), "SecretKey", RC_DENIED},
        {ROW(",\"SecretKey\":\"%%%\",\"KeyEncrypted\":true"), "SecretKey", RC_DENIED},
        {"[1]", "", RC_INVALID},
        {"", "", RC_INVALID},
        {"{}", "", RC_INVALID},
        {"{\"Name\":7}", "", RC_INVALID},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = ERR_INIT;
        CHECK_RC(parse_text(rows[i].row, &e), rows[i].code);
        CHECK_CONTAINS(e.text, rows[i].says);
    }
    struct err e = ERR_INIT;
    CHECK_OK(parse_text(ROW(""), &e), &e);
    CHECK_OK(parse_text(ROW(",\"FromTheFuture\":{\"a\":[1]}"), &e), &e);
    CHECK_OK(parse_text(ROW(",\"MaxClientVersion\":\"1.4.1\""), &e), &e);
}

TEST("a row of a newer MetaVersion, or with an odd block size, is refused")
{
    struct err e = ERR_INIT;
    CHECK_RC(parse_text("{\"Name\":\"vol\",\"UUID\":\"81564085-94db-4782-a6eb-443ac2442a25\","
                        "\"Storage\":\"file\",\"Bucket\":\"/b/\",\"MetaVersion\":2}",
                        &e),
             RC_INVALID);
    CHECK_CONTAINS(e.text, "MetaVersion 2");
    CHECK_RC(parse_text("{\"Name\":\"vol\",\"UUID\":\"81564085-94db-4782-a6eb-443ac2442a25\","
                        "\"Storage\":\"file\",\"Bucket\":\"/b/\",\"BlockSize\":100}",
                        &e),
             RC_INVALID);
    CHECK_CONTAINS(e.text, "100 KiB");
}

TEST("versions are ordered as the format says: a release is newer than its pre-releases")
{
    static const char *const ascending[] = {"0.9.9",       "1.0.0-beta3", "1.1.0-A", "1.1.0-beta1",
                                            "1.1.0-beta2", "1.1.0",       "1.1.10",  "1.2.0-A",
                                            "1.4.1",       "1.10.0",      "2.0.0"};
    const size_t n = sizeof(ascending) / sizeof(ascending[0]);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            int order;
            struct err e = ERR_INIT;
            CHECK_OK(format_version_compare(ascending[i], ascending[k], &order, &e), &e);
            CHECK_EQ((order > 0) - (order < 0), (i > k) - (i < k));
        }
}

TEST("the build part of a version does not count, and nonsense is no version")
{
    int order = 1;
    struct err e = ERR_INIT;
    CHECK_OK(format_version_compare("1.4.1+tarn.0.1.0", "1.4.1", &order, &e), &e);
    CHECK_EQ(order, 0);
    CHECK_OK(format_version_compare("1.5.0-dev+2026-08-21.a6a0299b", "1.5.0-dev", &order, &e), &e);
    CHECK_EQ(order, 0);
    static const char *const wrong[] = {"", "1", "1.2", "1.2.x", "a.b.c", "1.2.3.4", "-1.2.3"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK_RC(format_version_compare(wrong[i], "1.0.0", &order, &e), RC_INVALID);
}

static const struct format_request plain_request = {
    .name = "my-vol", .storage = "file", .bucket = "/var/vol/", .block_kib = 4096, .trash_days = 1};

static struct format *compose(const struct format_request *request, struct buf *text)
{
    struct err e = ERR_INIT;
    struct format *f = NULL;
    CHECK_OK(format_compose(request, text, &e), &e);
    CHECK_OK(format_parse(buf_bytes(text), &f, &e), &e);
    return f;
}

TEST("a composed row has the members of a stock client in their order, one in a line")
{
    auto_buf struct buf text;
    buf_init(&text, 65536);
    struct format *f = compose(&plain_request, &text);
    char expected[512];
    (void)snprintf(expected, sizeof(expected),
                   "{\n\"Name\": \"my-vol\",\n\"UUID\": \"%s\",\n\"Storage\": \"file\",\n"
                   "\"Tiers\": {\n\"0\": {\n\"ID\": 0,\n\"StorageClass\": \"\",\n\"Tag\": \"\"\n}\n"
                   "},\n\"Bucket\": \"/var/vol/\",\n\"BlockSize\": 4096,\n"
                   "\"Compression\": \"none\",\n\"EncryptAlgo\": \"aes256gcm-rsa\",\n"
                   "\"TrashDays\": 1,\n\"MetaVersion\": 1,\n\"MinClientVersion\": \"1.1.0-A\",\n"
                   "\"DirStats\": true,\n\"EnableACL\": false\n}",
                   f->uuid);
    CHECK_BYTES(text.data, text.size, expected, strlen(expected));
    format_free(&f);
}

TEST("secrets are wrapped in a composed row and come back from it")
{
    struct format_request r = plain_request;
    r.access_key = "AKIA";
    r.secret_key = "top/secret+key";
    r.session_token = "token";
    r.encrypt_key_pem = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";
    r.capacity = 1ULL << 40;
    r.inodes = 1000;
    auto_buf struct buf text;
    buf_init(&text, 65536);
    struct format *f = compose(&r, &text);
    struct err e = ERR_INIT;
    const char *row;
    CHECK_OK(buf_cstr(&text, &row, &e), &e);
    CHECK(strstr(row, "top/secret") == NULL);
    CHECK(strstr(row, "BEGIN") == NULL);
    CHECK_CONTAINS(row, "\"KeyEncrypted\": true");
    CHECK_STR(f->access_key, r.access_key);
    CHECK_STR(f->secret_key, r.secret_key);
    CHECK_STR(f->session_token, r.session_token);
    CHECK_STR(f->encrypt_key, r.encrypt_key_pem);
    CHECK_EQ(f->capacity, 1ULL << 40);
    CHECK_EQ(f->inodes, 1000);
    format_free(&f);
}

TEST("requests that no client could serve are refused")
{
    struct format_request wrong[10];
    for (size_t i = 0; i < 10; i++)
        wrong[i] = plain_request;
    wrong[0].name = "ab";
    wrong[1].name = "-abc";
    wrong[2].name = "Abc";
    wrong[3].bucket = "/var/vol";
    wrong[4].bucket = "relative/";
    wrong[5].block_kib = 100;
    wrong[6].block_kib = 32;
    wrong[7].compression = "gzip";
    wrong[8].shards = 3; /* no %d in the bucket */
    wrong[9].encrypt_algo = "rot13";
    for (size_t i = 0; i < 10; i++) {
        auto_buf struct buf text;
        buf_init(&text, 65536);
        struct err e = ERR_INIT;
        CHECK_RC(format_compose(&wrong[i], &text, &e), RC_INVALID);
    }
}
