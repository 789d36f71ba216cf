#include "schema/schema.h"

#include "fs/base/buf.h"
#include "fs/base/crypto.h"
#include "tests/unit/check.h"

/* The file that an entry was made from, whole. */
static char *read_source(const char *folder, const char *name, size_t *size)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "../../schema/%s/%s.sql", folder, name);
    return check_read_data(path, size);
}

static void check_embedded(const char *folder, const struct schema_file *files, size_t count)
{
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        auto_free char *source = read_source(folder, files[i].name, &size);
        CHECK_EQ(strlen(files[i].text), size);
        CHECK_STR(files[i].text, source);
        CHECK(i == 0 || strcmp(files[i - 1].name, files[i].name) < 0);
    }
}

TEST("every SQL file is embedded to its last byte, in the order of names")
{
    check_embedded("volume", schema_volume, schema_volume_count);
    check_embedded("site", schema_site, schema_site_count);
    check_embedded("setup", schema_setup, schema_setup_count);
    check_embedded("api", schema_api, schema_api_count);
}

TEST("a migration has the number that its name begins with, and numbers have no gaps")
{
    for (size_t i = 0; i < schema_site_count; i++)
        CHECK_EQ(schema_site[i].version, i + 1);
    for (size_t i = 0; i < schema_api_count; i++)
        CHECK_EQ(schema_api[i].version, 0);
}

static void add_hex_digest(struct buf *out, struct bytes of)
{
    struct err e;
    uint8_t digest[32];
    CHECK_OK(crypto_sha256(of, digest, &e), &e);
    for (size_t i = 0; i < sizeof(digest); i++)
        CHECK_OK(buf_addf(out, &e, "%02x", digest[i]), &e);
}

TEST("the digest of the functions is that of their names and texts")
{
    struct err e;
    const char *text = NULL;
    auto_buf struct buf list;
    auto_buf struct buf digest;
    buf_init(&list, 1 << 16);
    buf_init(&digest, 64);
    for (size_t i = 0; i < schema_api_count; i++) {
        const char *sql = schema_api[i].text;
        CHECK_OK(buf_addf(&list, &e, "%s ", schema_api[i].name), &e);
        add_hex_digest(&list, (struct bytes){(const uint8_t *)sql, strlen(sql)});
        CHECK_OK(buf_add_str(&list, "\n", &e), &e);
    }
    add_hex_digest(&digest, buf_bytes(&list));
    CHECK_OK(buf_cstr(&digest, &text, &e), &e);
    CHECK_STR(schema_api_digest, text);
    CHECK_STR(schema_api_name, "tarn_1");
}
