#include "fs/base/http_codec.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define MOST_LENGTH_DIGITS 15

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

static bool is_equal(struct bytes text, const char *word)
{
    return text.size == strlen(word) && strncasecmp((const char *)text.data, word, text.size) == 0;
}

/* Cut from *rest what stands before separator. False: there is no separator. */
static bool cut(struct bytes *rest, const char *separator, struct bytes *out)
{
    if (rest->size == 0)
        return false;
    size_t length = strlen(separator);
    const uint8_t *found = memmem(rest->data, rest->size, separator, length);
    if (!found)
        return false;
    *out = (struct bytes){rest->data, (size_t)(found - rest->data)};
    rest->size -= out->size + length;
    rest->data = found + length;
    return true;
}

static bool is_visible(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!isgraph(text.data[i]))
            return false;
    return text.size > 0;
}

static int parse_request_line(struct bytes line, struct http_head *out)
{
    struct bytes method;
    struct bytes target;
    if (!cut(&line, " ", &method) || !cut(&line, " ", &target) || !is_visible(method))
        return 400;
    if (!is_visible(target) || target.data[0] != '/')
        return 400;
    if (line.size != 8 || memcmp(line.data, "HTTP/1.", 7) != 0 || !isdigit(line.data[7]))
        return 505;
    out->is_head = is_equal(method, "HEAD");
    if (!out->is_head && !is_equal(method, "GET"))
        return 405;
    struct bytes query = target;
    if (!cut(&query, "?", &out->path))
        out->path = target;
    return 0;
}

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static int parse_length(struct bytes value, uint64_t *out)
{
    uint64_t length = 0;
    if (value.size == 0 || value.size > MOST_LENGTH_DIGITS)
        return 400;
    for (size_t i = 0; i < value.size; i++) {
        if (!isdigit(value.data[i]))
            return 400;
        length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    *out = length;
    return 0;
}

static bool has_control(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (iscntrl(text.data[i]) && text.data[i] != '\t')
            return true;
    return false;
}

/* Two lengths, or a length and a coding, are how requests are smuggled past a proxy. */
static int parse_header(struct bytes line, bool *has_length, struct http_head *out)
{
    struct bytes name;
    if (has_control(line) || !cut(&line, ":", &name) || !is_visible(name))
        return 400;
    if (is_equal(name, "Transfer-Encoding"))
        return 501;
    if (!is_equal(name, "Content-Length"))
        return 0;
    if (*has_length)
        return 400;
    *has_length = true;
    return parse_length(trim(line), &out->body_size);
}

int http_parse_head(struct bytes text, struct http_head *out)
{
    struct bytes line;
    bool has_length = false;
    *out = (struct http_head){0};
    if (!cut(&text, "\r\n", &line))
        return 400;
    int status = parse_request_line(line, out);
    while (!status) {
        if (!cut(&text, "\r\n", &line))
            return 400;
        if (line.size == 0)
            break;
        status = parse_header(line, &has_length, out);
    }
    return status;
}
