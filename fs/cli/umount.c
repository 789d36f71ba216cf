/*
 * umount(2) returns while the program behind a mount is still ending its session, so this waits for
 * that program: when it returns, everything written is stored and the session is gone.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/err.h"
#include "fs/base/json.h"
#include "fs/cli/verbs.h"

#define BUSY_MS      1000
#define BUSY_LOOK_MS 50

struct umount_options {
    bool force, json;
    int64_t timeout_ms;
};

static const struct conf_option options[] = {
    {.name = "force",
     .letter = 'f',
     .type = CONF_FLAG,
     .offset = offsetof(struct umount_options, force),
     .help = "detach at once even if files are open; their last writes are still stored"},
    {.name = "timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 0,
     .max = 86400000,
     .offset = offsetof(struct umount_options, timeout_ms),
     .help = "how long to wait for the mount's program to end"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct umount_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn umount",
    .arguments = "MOUNTPOINT",
    .summary = "Unmount a volume and wait until everything is stored.",
    .details =
        "With --json \"stored\" says that the mount's program was seen to end, which it does\n"
        "when everything is stored; false for a mount of another program.\n\n"
        "Exit codes: 0 unmounted, 1 failed (busy, not mounted), 2 wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* The process behind the mount, as a descriptor that becomes readable at its end; -1 if unknown. */
static int mount_process(const char *path)
{
    char text[32] = "";
    ssize_t size = getxattr(path, "user.tarn.pid", text, sizeof(text) - 1);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;
}

/* As a plain user umount(2) is not allowed: fusermount3 is. */
static int run_fusermount(const char *path, bool is_lazy)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("fusermount3", "fusermount3", is_lazy ? "-uz" : "-u", path, (char *)NULL);
        _exit(EXIT_FAILED);
    }
    int status = 0;
    if (child == -1 || waitpid(child, &status, 0) == -1)
        return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Busy for a moment only is what a release under way looks like. */
static int unmount_patiently(const char *path, int flags)
{
    const uint64_t deadline = clock_deadline(BUSY_MS);
    int result;
    while ((result = umount2(path, flags)) == -1 && errno == EBUSY && clock_left(deadline) > 0)
        clock_sleep_until(clock_deadline(BUSY_LOOK_MS));
    return result;
}

static enum rc unmount(const char *path, bool is_forced, struct err *e)
{
    if (unmount_patiently(path, is_forced ? MNT_DETACH : 0) == 0)
        return RC_OK;
    if (errno == EPERM && run_fusermount(path, is_forced) == 0)
        return RC_OK;
    if (errno == EINVAL)
        return err_fail(e, RC_INVALID, "\"%s\" is not mounted", path);
    return err_os(e, errno, "could not unmount \"%s\"", path);
}

static enum rc wait_for_end(int process, uint64_t deadline_ms, struct err *e)
{
    struct pollfd ended = {.fd = process, .events = POLLIN};
    int ready;
    do {
        ready = poll(&ended, 1, clock_left(deadline_ms));
    } while (ready == -1 && errno == EINTR && clock_left(deadline_ms) > 0);
    if (ready == 1)
        return RC_OK;
    return err_fail(e, RC_TIMEOUT, "unmounted, but its program is still storing data");
}

static enum rc report(const char *path, bool is_known, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    return json_set_string(doc, "mountpoint", path, e) ||
                   json_set_bool(doc, "unmounted", true, e) ||
                   json_set_bool(doc, "stored", is_known, e) || json_print(doc, stdout, e)
               ? e->code
               : RC_OK;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct umount_options *o = into;
    const char *path = arguments[0];
    auto_close int process = mount_process(path);
    const uint64_t deadline = clock_deadline((uint64_t)o->timeout_ms);
    if (unmount(path, o->force, e))
        return err_exits(e, EXIT_FAILED);
    if (process >= 0 && wait_for_end(process, deadline, e))
        return err_exits(e, EXIT_FAILED);
    return o->json ? report(path, process >= 0, e) : RC_OK;
}

int command_umount(int argc, char **argv)
{
    struct umount_options o;
    return command_run(&command, &o, work, argc, argv);
}
