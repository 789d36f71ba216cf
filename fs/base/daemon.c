#include "fs/base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/*
 * What the child tells its parent, in one write of less than PIPE_BUF: a byte with the exit code,
 * then the reason. Death without a word is the end of the pipe.
 */
struct message {
    uint8_t exit_code;
    char reason[ERR_TEXT_BYTES];
};

_Static_assert(sizeof(struct message) <= PIPE_BUF, "a message is written in one piece");

struct daemon_start {
    int fd;
};

void daemon_forbid_dumps(void)
{
    const struct rlimit none = {0, 0};
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}

void daemon_harden(void)
{
    daemon_forbid_dumps();
    (void)signal(SIGPIPE, SIG_IGN);

    /*
     * Block buffers are megabytes that come and go. Mapped one by one they return to the system
     * when freed; in an arena each they would stay, once for every thread that ever had one.
     */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 512 * 1024);
}

static int code_of_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

/* In the parent: wait for the word of the child, or for its death. */
static NORETURN void await_child(pid_t child, int fd)
{
    struct message message = {0};
    ssize_t got;
    do {
        got = read(fd, &message, sizeof(message));
    } while (got == -1 && errno == EINTR);

    if (got > 0) {
        if (message.reason[0])
            (void)fprintf(stderr, "%s\n", message.reason);
        _exit(message.exit_code);
    }
    int status = 0;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        continue;
    if (WIFSIGNALED(status))
        (void)fprintf(stderr, "the background process ended by signal %d\n", WTERMSIG(status));
    _exit(code_of_status(status));
}

static enum rc redirect(const char *path, int flags, int to, struct err *e)
{
    auto_close int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd == -1)
        return err_os(e, errno, "could not open \"%s\"", path);
    if (fd == to)
        (void)take_fd(&fd); /* it was closed before, so it is in its place already */
    else if (dup2(fd, to) == -1)
        return err_os(e, errno, "could not redirect to \"%s\"", path);
    return RC_OK;
}

static enum rc leave_terminal(const char *log_path, struct err *e)
{
    if (log_path && redirect(log_path, O_WRONLY | O_CREAT | O_APPEND, STDERR_FILENO, e))
        return e->code;
    if (redirect("/dev/null", O_RDONLY, STDIN_FILENO, e) ||
        redirect("/dev/null", O_WRONLY, STDOUT_FILENO, e))
        return e->code;
    if (setsid() == -1)
        return err_os(e, errno, "could not start a session");
    return RC_OK;
}

enum rc daemon_detach(struct daemon_start **out, const char *log_path, struct err *e)
{
    int ends[2];
    struct daemon_start *start = malloc(sizeof(*start));
    if (!start)
        return err_fail(e, RC_NO_SPACE, "out of memory to start in the background");
    if (pipe2(ends, O_CLOEXEC) == -1) {
        free(start);
        return err_os(e, errno, "could not make a pipe");
    }
    (void)fflush(NULL); /* or both processes would write what is buffered */
    pid_t child = fork();
    if (child > 0) {
        (void)close(ends[1]);
        await_child(child, ends[0]);
    }
    (void)close(ends[0]);
    start->fd = ends[1];
    if (child == -1) {
        daemon_ready(&start);
        return err_os(e, errno, "could not fork");
    }
    *out = start;
    return leave_terminal(log_path, e);
}

static void tell(struct daemon_start **start, const struct message *message)
{
    if (!*start)
        return;
    ssize_t written;
    do {
        written = write((*start)->fd, message, sizeof(*message));
    } while (written == -1 && errno == EINTR);
    (void)close((*start)->fd);
    free(*start);
    *start = NULL;
}

void daemon_ready(struct daemon_start **start)
{
    tell(start, &(struct message){0});
}

void daemon_failed(struct daemon_start **start, int exit_code, const char *reason)
{
    struct message message = {.exit_code = (uint8_t)exit_code};
    (void)snprintf(message.reason, sizeof(message.reason), "%s", reason);
    tell(start, &message);
}

void daemon_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    if (length == 0 || length >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, path, length);
    if (to.sun_path[0] == '@') /* how an abstract socket is written */
        to.sun_path[0] = 0;

    auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}
