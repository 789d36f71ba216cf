#include "mirror/conninfo.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/url.h"

#define HIDDEN "****"

static enum rc add_escaped(struct buf *out, const char *text, struct err *e)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool is_plain = isalnum(*at) || strchr("-._~/", *at);
        enum rc rc = is_plain ? buf_add(out, at, 1, e) : buf_addf(out, e, "%%%02X", *at);
        if (rc)
            return rc;
    }
    return RC_OK;
}

static enum rc add_parameter(struct buf *out, const char *url, const char *name, const char *value,
                             struct err *e)
{
    if (buf_addf(out, e, "%c%s=", strchr(url, '?') ? '&' : '?', name))
        return e->code;
    return add_escaped(out, value, e);
}

enum rc conninfo_secret(const char *url, const char *password, const char *passfile,
                        struct buf *out, struct err *e)
{
    if (url_check(url, e) || buf_add_str(out, url, e))
        return e->code;
    auto_free char *shown = url_redact(url);
    if (!shown)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    /* What the redacted form differs in is a password that the URL has already. */
    if (strcmp(shown, url) != 0)
        return RC_OK;
    if (passfile && passfile[0])
        return add_parameter(out, url, "passfile", passfile, e);
    if (password && password[0])
        return add_parameter(out, url, "password", password, e);
    return RC_OK;
}

/* Where the user part's hidden password begins, or NULL. */
static char *hidden_in_user(char *url)
{
    return strstr(url, ":" HIDDEN "@");
}

/* Take out each parameter whose value is hidden. */
static void drop_hidden_parameters(char *url)
{
    for (char *hidden; (hidden = strstr(url, "=" HIDDEN)) != NULL;) {
        char *begin = hidden;
        while (begin > url && *begin != '?' && *begin != '&')
            begin--;
        char *end = hidden + strlen("=" HIDDEN);
        /* "?hidden&rest" keeps its question mark, "…&hidden" goes with its separator. */
        bool keeps_separator = *begin == '?' && *end == '&';
        char *to = keeps_separator ? begin + 1 : begin;
        char *from = keeps_separator ? end + 1 : end;
        memmove(to, from, strlen(from) + 1);
    }
}

enum rc conninfo_public(const char *url, struct buf *out, struct err *e)
{
    auto_free char *shown = url_redact(url);
    if (!shown)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    char *user = hidden_in_user(shown);
    if (user)
        memmove(user, user + strlen(":" HIDDEN), strlen(user + strlen(":" HIDDEN)) + 1);
    drop_hidden_parameters(shown);
    return buf_add_str(out, shown, e);
}
