/*
 * demote: the role goes from a primary to one of its mirrors. It is the mirror's promotion, asked
 * for at the other end: to go back after one, for instance.
 */
#include <stddef.h>
#include <stdio.h>

#include "fs/base/command.h"
#include "mirror/mirror.h"

#define ARGUMENTS_MAX 16

struct demote_options {
    const char *to, *url, *origin, *timeout;
    bool is_asking, is_check, json;
};

static const struct conf_option options[] = {
    {.name = "to",
     .type = CONF_STRING,
     .help = "URL of the mirror that becomes the primary",
     .offset = offsetof(struct demote_options, to)},
    {.name = "url",
     .type = CONF_STRING,
     .help = "URL of that mirror as the other sites' PostgreSQL reaches it; default: as --to",
     .offset = offsetof(struct demote_options, url)},
    {.name = "origin",
     .type = CONF_STRING,
     .help = "where this primary finds that mirror's bucket, if not where the volume will say",
     .offset = offsetof(struct demote_options, origin)},
    {.name = "timeout",
     .type = CONF_STRING,
     .default_text = "60s",
     .help = "writers are stopped for so long at most; then all is undone",
     .offset = offsetof(struct demote_options, timeout)},
    {.name = "ask",
     .type = CONF_FLAG,
     .help = "wait for Enter before each step",
     .offset = offsetof(struct demote_options, is_asking)},
    {.name = "check",
     .type = CONF_FLAG,
     .help = "only show what is found, change nothing",
     .offset = offsetof(struct demote_options, is_check)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct demote_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror demote",
    .arguments = "PRIMARY-URL",
    .summary = "make a primary a mirror of one of its mirrors",
    .details = "  tarn mirror demote postgres://owner@db.tokyo/volume \\\n"
               "      --to postgres://owner@db.paris/volume\n\n"
               "Does what tarn mirror promote does at the other end, and is gone on with or undone "
               "there.\n"
               "Exit codes: as of tarn mirror promote.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct words {
    char *word[ARGUMENTS_MAX];
    int count;
};

/* The words are copied: the command they go to hides passwords where they stand. */
static void add(struct words *w, const char *name, const char *value)
{
    if (!value)
        return;
    if (name)
        w->word[w->count++] = strdup(name);
    w->word[w->count++] = strdup(value);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct demote_options *o = into;
    struct words w = {.count = 0};
    if (!o->to)
        return err_fail(e, RC_INVALID, "option --to is missing");
    add(&w, NULL, "promote");
    add(&w, "--primary", arguments[0]);
    add(&w, "--url", o->url);
    add(&w, "--origin", o->origin);
    add(&w, "--timeout", o->timeout);
    add(&w, NULL, o->is_asking ? "--ask" : NULL);
    add(&w, NULL, o->is_check ? "--check" : NULL);
    add(&w, NULL, o->json ? "--json" : NULL);
    add(&w, NULL, o->to);
    const int code = mirror_promote(w.count, w.word);
    for (int i = 0; i < w.count; i++)
        free(w.word[i]);
    if (code == EXIT_DONE)
        return RC_OK;
    err_fail(e, RC_INVALID, "the mirror was not promoted");
    return err_exits(e, code);
}

int mirror_demote(int argc, char **argv)
{
    struct demote_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
