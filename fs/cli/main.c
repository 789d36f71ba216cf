/*
 * tarn: the front command. It knows the words and where their programs are, nothing else.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/conf.h"
#include "fs/base/daemon.h"
#include "fs/cli/verbs.h"

struct verb {
    const char *name;
    const char *summary;
    int (*built_in)(int argc, char **argv);
    const char *program; /* when not built in */
    bool keeps_its_name; /* the program wants the verb as its first argument */
};

/* A row without a summary is a heading. */
static const struct verb verbs[] = {
    {.name = "Volumes"},
    {"format", "make a volume", NULL, "tarn-primary", true},
    {"status", "show a volume, its site and its sessions", command_status, NULL, false},
    {"config", "show or change the settings of a volume", command_config, NULL, false},
    {"quota", "limit directories, users and groups", command_quota, NULL, false},
    {"fsck", "check a volume, and repair its metadata", command_fsck, NULL, false},
    {"gc", "find leaked objects, and delete them", command_gc, NULL, false},
    {"restore", "bring back what is in the trash", command_restore, NULL, false},
    {"dump", "write the metadata of a volume into a file", command_dump, NULL, false},
    {"load", "make a volume of a dump", command_load, NULL, false},
    {"destroy", "remove a volume with all its data", NULL, "tarn-primary", true},
    {.name = "Mounts"},
    {"mount", "mount a volume", NULL, "tarn-mount", false},
    {"umount", "unmount, and wait until everything is stored", command_umount, NULL, false},
    {"stats", "show what a mount is doing, live", command_stats, NULL, false},
    {"bench", "measure a mount", command_bench, NULL, false},
    {.name = "Files and directories in a mount"},
    {"info", "show an inode, its blocks or what is below it", command_info, NULL, false},
    {"summary", "show what a directory holds, the largest first", command_summary, NULL, false},
    {"clone", "clone a file or directory without copying its data", command_clone, NULL, false},
    {"rmr", "remove directories with all that is in them", command_rmr, NULL, false},
    {"warmup", "bring files into a mount's disk cache", command_warmup, NULL, false},
    {"compact", "put the small slices of files together", command_compact, NULL, false},
    {.name = "Sites"},
    {"primary", "adopt a volume, run and watch its primary site", NULL, "tarn-primary", false},
    {"mirror", "join, run and watch a mirror site", NULL, "tarn-mirror", false},
    {"syncer", "copy a mirror's blocks to its own store", NULL, "tarn-syncer", false},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static int usage(FILE *to, int code)
{
    fputs("Usage: tarn COMMAND [OPTION]... [ARGUMENT]...\n", to);
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (verbs[i].summary)
            fprintf(to, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
        else
            fprintf(to, "\n%s:\n", verbs[i].name);
    fputs("\ntarn COMMAND --help tells more, tarn --version which one this is. A volume is named\n"
          "by its metadata URL, postgres://USER@HOST[:PORT]/DATABASE; the password is taken from\n"
          "the URL, META_PASSWORD or a passfile.\n",
          to);
    return code;
}

static const struct verb *find_verb(const char *word)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (verbs[i].summary && strcmp(word, verbs[i].name) == 0)
            return &verbs[i];
    return NULL;
}

/* Beside this executable, else on the PATH. */
static int run_program(const char *program, char **argv)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (size > 0) {
        path[size] = '\0';
        char *slash = strrchr(path, '/');
        size_t room = sizeof(path) - (size_t)(slash + 1 - path);
        if (snprintf(slash + 1, room, "%s", program) < (int)room)
            execv(path, argv);
    }
    execvp(program, argv);
    fprintf(stderr, "tarn: could not run %s: errno %d\n", program, errno);
    return EXIT_FAILED;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    if (verb->built_in)
        return verb->built_in(argc, argv);
    /* The program sees its own name, then (format alone) the verb, then the arguments. */
    char **passed = verb->keeps_its_name ? argv - 1 : argv;
    return run_program(verb->program, passed);
}

int main(int argc, char **argv)
{
    daemon_forbid_dumps();
    if (argc < 2)
        return usage(stderr, EXIT_USAGE);
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return usage(stdout, EXIT_DONE);
    if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0) {
        puts("tarn " TARN_VERSION);
        return EXIT_DONE;
    }
    const struct verb *verb = find_verb(word);
    if (verb)
        return run_verb(verb, argc - 1, argv + 1);
    fprintf(stderr, "tarn: there is no command \"%s\"; see tarn --help\n", word);
    return EXIT_USAGE;
}
