/*
 * format - the volume's format row (JSON in jfs_setting), read with care and never rewritten.
 *
 * Threads   a struct format is constant after format_parse()
 * Source    volume format §2
 */
#ifndef FS_META_FORMAT_H
#define FS_META_FORMAT_H

#include <stdbool.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

struct format {
    char *name, *uuid, *storage, *bucket;
    char *access_key, *secret_key, *session_token; /* secrets are unwrapped; NULL when absent */
    char *storage_class, *compression;             /* compression: "", "none", "lz4", "zstd" */
    char *encrypt_key, *encrypt_algo;              /* PEM, unwrapped; NULL: not encrypted */
    uint32_t block_bytes;                          /* not KiB */
    uint32_t shards;
    bool hash_prefix, dir_stats, user_group_quota, enable_acl, change_log;
    uint64_t capacity, inodes;            /* 0: unlimited */
    int64_t upload_limit, download_limit; /* Mbit/s, 0: none */
    uint32_t trash_days;
    int meta_version;
    char *min_client, *max_client;
};

/*
 * Parse the row, check MetaVersion and client versions, unwrap the secrets.
 *
 * RC_INVALID  not a format row, or made for clients that we are not; the text says which
 * RC_DENIED   a secret was removed ("removed") or does not unwrap
 */
MUST_CHECK enum rc format_parse(struct bytes json, struct format **out, struct err *e);
void format_free(struct format **format);

/* What tarn format asks for. */
struct format_request {
    const char *name, *storage, *bucket, *compression; /* compression NULL: none */
    const char *access_key, *secret_key, *session_token;
    const char *encrypt_key_pem, *encrypt_algo; /* NULL: no encryption / aes256gcm-rsa */
    uint32_t block_kib, shards, trash_days;
    bool hash_prefix, enable_acl;
    uint64_t capacity, inodes;
};

/* Check the request and append the row's JSON with a fresh UUID, as a stock client writes it. */
MUST_CHECK enum rc format_compose(const struct format_request *request, struct buf *out,
                                  struct err *e);

#define FORMAT_WRAPPED_MAX ((size_t)128 << 10)

/* Append a secret as the row keeps it when it says KeyEncrypted (not with EncryptAlgo sm4gcm). */
MUST_CHECK enum rc format_wrap_secret(const char *uuid, const char *secret, struct buf *out,
                                      struct err *e);

/* The version of the JuiceFS client whose format and behaviour we keep to: "1.4.1". */
extern const char format_client_version[];

/* Compare as §2 says: <0, 0, >0. RC_INVALID when one does not parse. */
MUST_CHECK enum rc format_version_compare(const char *a, const char *b, int *out, struct err *e);

#endif
