#include "fs/base/url.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HIDDEN "****"

static const char *const schemes[] = {"postgres://", "postgresql://"};

/* Parameters of libpq that carry a secret. */
static const char *const secret_names[] = {"password", "sslpassword"};

/* Borrowed characters, from `at` up to `end`. */
struct part {
    const char *at;
    const char *end;
};

static size_t part_size(struct part p)
{
    return (size_t)(p.end - p.at);
}

/* The characters before the first of those in stops. */
static struct part part_until(const char *at, const char *stops)
{
    return (struct part){at, at + strcspn(at, stops)};
}

static const char *part_find(struct part p, char wanted)
{
    return memchr(p.at, wanted, part_size(p));
}

static const char *part_find_last(struct part p, char wanted)
{
    return memrchr(p.at, wanted, part_size(p));
}

/* What follows the scheme; NULL when it is not PostgreSQL's. */
static const char *after_scheme(const char *url)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t length = strlen(schemes[i]);
        if (strncmp(url, schemes[i], length) == 0)
            return url + length;
    }
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum rc check_characters(const char *url, struct err *e)
{
    for (const char *at = url; *at; at++) {
        if (isspace((unsigned char)*at) || iscntrl((unsigned char)*at))
            return err_fail(e, RC_INVALID, "metadata URL has a space or control character in it");
        if (*at != '%')
            continue;
        if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
            return err_fail(e, RC_INVALID, "metadata URL has a %% without two hex digits");
        if (at[1] == '0' && at[2] == '0')
            return err_fail(e, RC_INVALID, "metadata URL has a NUL byte in it");
    }
    return RC_OK;
}

static bool is_port(struct part port)
{
    unsigned value = 0;
    if (part_size(port) == 0 || part_size(port) > 5)
        return false;
    for (const char *at = port.at; at < port.end; at++) {
        if (!isdigit((unsigned char)*at))
            return false;
        value = value * 10 + (unsigned)(*at - '0');
    }
    return value >= 1 && value <= 65535;
}

/* One "host", "host:port" or "[v6]:port" of the list that libpq takes. */
static enum rc check_host(struct part host, struct err *e)
{
    const char *colon = part_find(host, ':');
    if (host.at < host.end && *host.at == '[') {
        const char *bracket = part_find(host, ']');
        if (!bracket)
            return err_fail(e, RC_INVALID, "metadata URL has a [ without ] in its host");
        colon = bracket + 1 < host.end ? bracket + 1 : NULL;
        if (colon && *colon != ':')
            return err_fail(e, RC_INVALID, "metadata URL has something between ] and its port");
    }
    /* Not shown: with a character of the password left unescaped this is a piece of it. */
    if (colon && !is_port((struct part){colon + 1, host.end}))
        return err_fail(e, RC_INVALID,
                        "metadata URL has a port that is no number from 1 to 65535 "
                        "(write / ? # @ : %% of a password as %%2F %%3F %%23 %%40 %%3A %%25)");
    return RC_OK;
}

static enum rc check_authority(struct part authority, struct err *e)
{
    const char *at_sign = part_find(authority, '@');
    if (at_sign && part_find((struct part){at_sign + 1, authority.end}, '@'))
        return err_fail(e, RC_INVALID,
                        "metadata URL has two @ before its host (write @ of a password as %%40)");

    struct part rest = {at_sign ? at_sign + 1 : authority.at, authority.end};
    for (;;) {
        const char *comma = part_find(rest, ',');
        enum rc rc = check_host((struct part){rest.at, comma ? comma : rest.end}, e);
        if (rc || !comma)
            return rc;
        rest.at = comma + 1;
    }
}

static enum rc check_parameters(const char *query, struct err *e)
{
    while (*query) {
        struct part parameter = part_until(query, "&");
        const char *equals = part_find(parameter, '=');
        if (!equals || equals == parameter.at)
            return err_fail(e, RC_INVALID,
                            "metadata URL has a parameter that is not name=value after its ?");
        query = parameter.end + (*parameter.end == '&');
    }
    return RC_OK;
}

enum rc url_check(const char *url, struct err *e)
{
    const char *at = after_scheme(url);
    if (!at)
        return err_fail(e, RC_INVALID, "metadata URL does not begin with postgres://");
    enum rc rc = check_characters(url, e);
    if (rc)
        return rc;

    struct part authority = part_until(at, "/?");
    rc = check_authority(authority, e);
    if (rc)
        return rc;

    struct part path = part_until(authority.end, "?");
    if (part_size(path) < 2)
        return err_fail(e, RC_INVALID, "metadata URL names no database after its host");
    if (part_find((struct part){path.at + 1, path.end}, '/'))
        return err_fail(e, RC_INVALID,
                        "metadata URL has more than one / after its host (write / as %%2F)");
    return *path.end == '?' ? check_parameters(path.end + 1, e) : RC_OK;
}

/* Does the name, once its %XX are decoded as libpq does, carry a secret? */
static bool is_secret_name(struct part name)
{
    char decoded[16];
    size_t length = 0;
    for (const char *at = name.at; at < name.end; at++) {
        char c = *at;
        if (c == '%' && name.end - at > 2 && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
            c = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
            at += 2;
        }
        if (length == sizeof(decoded) - 1)
            return false;
        decoded[length++] = c;
    }
    decoded[length] = 0;
    for (size_t i = 0; i < sizeof(secret_names) / sizeof(secret_names[0]); i++)
        if (strcasecmp(decoded, secret_names[i]) == 0)
            return true;
    return false;
}

static void print_part(FILE *to, struct part p)
{
    (void)fwrite(p.at, 1, part_size(p), to);
}

static void print_parameters(FILE *to, const char *query)
{
    while (*query) {
        struct part parameter = part_until(query, "&");
        const char *equals = part_find(parameter, '=');
        if (equals && is_secret_name((struct part){parameter.at, equals})) {
            print_part(to, (struct part){parameter.at, equals + 1});
            (void)fputs(HIDDEN, to);
        } else {
            print_part(to, parameter);
        }
        query = parameter.end;
        if (*query == '&')
            (void)fputc(*query++, to);
    }
}

/*
 * A password with raw / ? or @ in it is malformed, but it is a password all the same: everything
 * from the first colon to the *last* @ is hidden, rather too much than a piece of it shown.
 */
static const char *print_user(FILE *to, const char *at)
{
    struct part whole = {at, at + strlen(at)};
    const char *at_sign = part_find_last(whole, '@');
    if (!at_sign)
        return at;
    struct part user = {at, at_sign};
    const char *colon = part_find(user, ':');
    if (!colon)
        return at;
    print_part(to, (struct part){at, colon + 1});
    (void)fputs(HIDDEN, to);
    return at_sign;
}

static void print_redacted(FILE *to, const char *url)
{
    const char *at = after_scheme(url);
    if (!at) { /* we cannot tell where the secret of something foreign is */
        (void)fputs(HIDDEN, to);
        return;
    }
    print_part(to, (struct part){url, at});
    at = print_user(to, at);
    struct part head = part_until(at, "?");
    print_part(to, head);
    if (*head.end == '?') {
        (void)fputc('?', to);
        print_parameters(to, head.end + 1);
    }
}

char *url_redact(const char *url)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (!to)
        return NULL;
    print_redacted(to, url);
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

enum rc url_with_database(const char *url, const char *database, struct buf *out, struct err *e)
{
    if (url_check(url, e))
        return e->code;
    const char *at = after_scheme(url);
    struct part authority = part_until(at, "/?");
    struct part path = part_until(authority.end, "?");
    if (buf_add(out, url, (size_t)(authority.end - url), e) || buf_add_str(out, "/", e))
        return e->code;
    for (const unsigned char *c = (const unsigned char *)database; *c; c++) {
        bool is_plain = isalnum(*c) || *c == '_' || *c == '-';
        if (is_plain ? buf_add(out, c, 1, e) : buf_addf(out, e, "%%%02X", *c))
            return e->code;
    }
    return buf_add_str(out, path.end, e);
}

/* Where a metadata URL begins in an argument, or NULL. */
static char *find_url(char *argument)
{
    for (char *at = argument; (at = strstr(at, "postgres")) != NULL; at++)
        if (after_scheme(at))
            return at;
    return NULL;
}

void url_hide(char **argument)
{
    char *url = find_url(*argument);
    auto_free char *redacted = url ? url_redact(url) : NULL;
    if (!redacted || strcmp(redacted, url) == 0)
        return;
    char *copy = strdup(*argument);
    if (!copy)
        return;
    /* A password shorter than its mask: the end of what is shown is cut. */
    const size_t room = strlen(url), size = strlen(redacted);
    memset(url, 0, room);
    memcpy(url, redacted, size < room ? size : room);
    *argument = copy;
}
