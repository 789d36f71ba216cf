#include "tests/fuzz/base_targets.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/base/crypto.h"
#include "fs/base/http_codec.h"
#include "fs/base/json.h"
#include "fs/base/url.h"

#define MOST_BYTES ((size_t)64 << 10)
#define MOST_WORDS 32

static void promise(bool is_kept)
{
    if (!is_kept)
        abort();
}

/* The input as a C string, up to its first NUL. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    promise(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = 0;
    return text;
}

int fuzz_http_head(const uint8_t *data, size_t size)
{
    struct http_head head;
    if (http_parse_head((struct bytes){data, size}, &head))
        return 0;
    promise(head.path.size > 0 && head.path.data[0] == '/');
    promise(head.path.data > data && head.path.data + head.path.size < data + size);
    return 0;
}

int fuzz_url(const uint8_t *data, size_t size)
{
    struct err e;
    auto_free char *url = text_of(data, size);
    auto_free char *shown = url_redact(url);
    promise(shown != NULL);
    if (url_check(url, &e))
        return 0;
    /* What stands between the first colon behind the scheme and the one @ is the password. */
    const char *user = strstr(url, "://") + 3;
    const char *at_sign = strchr(user, '@');
    const char *colon = at_sign ? memchr(user, ':', (size_t)(at_sign - user)) : NULL;
    if (colon)
        promise(strncmp(shown + (colon - url), ":****@", 6) == 0);
    return 0;
}

int fuzz_json(const uint8_t *data, size_t size)
{
    struct err e;
    auto_json struct json *first = NULL;
    auto_json struct json *second = NULL;
    auto_buf struct buf once;
    auto_buf struct buf twice;
    buf_init(&once, 16 * MOST_BYTES);
    buf_init(&twice, 16 * MOST_BYTES);
    if (size > MOST_BYTES || json_parse((struct bytes){data, size}, &first, &e))
        return 0;
    promise(json_write(first, JSON_LINES, &once, &e) == RC_OK);
    promise(json_parse(buf_bytes(&once), &second, &e) == RC_OK);
    promise(json_write(second, JSON_LINES, &twice, &e) == RC_OK);
    promise(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    return 0;
}

int fuzz_base64(const uint8_t *data, size_t size)
{
    struct err e;
    const char *again = NULL;
    auto_free char *text = text_of(data, size);
    auto_buf struct buf bytes;
    auto_buf struct buf encoded;
    buf_init(&bytes, 16 * MOST_BYTES);
    buf_init(&encoded, 16 * MOST_BYTES);
    if (size > MOST_BYTES || crypto_base64_decode(text, &bytes, &e))
        return 0;
    promise(crypto_base64_encode(buf_bytes(&bytes), &encoded, &e) == RC_OK);
    promise(buf_cstr(&encoded, &again, &e) == RC_OK);
    promise(strlen(again) == strlen(text));
    return 0;
}

struct options {
    bool is_on;
    const char *name;
    int64_t count, size, time;
};

static const struct conf_option options[] = {
    {.name = "on", .letter = 'n', .type = CONF_FLAG, .offset = offsetof(struct options, is_on)},
    {.name = "name", .type = CONF_STRING, .offset = offsetof(struct options, name)},
    {.name = "count",
     .letter = 'c',
     .type = CONF_INT,
     .min = -5,
     .max = 5,
     .offset = offsetof(struct options, count)},
    {.name = "size", .type = CONF_SIZE, .unit = "MiB", .offset = offsetof(struct options, size)},
    {.name = "time", .type = CONF_DURATION, .unit = "s", .offset = offsetof(struct options, time)},
};

int fuzz_conf(const uint8_t *data, size_t size)
{
    static const struct conf_command command = {.name = "fuzz",
                                                .options = options,
                                                .option_count =
                                                    sizeof(options) / sizeof(options[0]),
                                                .max_arguments = -1};
    struct err e;
    struct options into;
    struct conf_result result;
    auto_free char *text = text_of(data, size);
    char *argv[MOST_WORDS] = {text};
    int argc = 1;
    for (char *at = text; argc < MOST_WORDS - 1 && (at = strchr(at, '\n')); argc++) {
        *at++ = 0;
        argv[argc] = at;
    }
    /* A file that the input names is not ours to read. */
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], "config"))
            return 0;
    if (conf_parse(&command, argc, argv, &into, &result, &e))
        return 0;
    promise(result.help_wanted || (into.count >= -5 && into.count <= 5));
    promise(result.help_wanted || (into.size >= 0 && into.time >= 0));
    conf_release(&result);
    return 0;
}
