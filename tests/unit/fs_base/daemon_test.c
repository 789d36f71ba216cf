#include "fs/base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/check.h"

/* What somebody who started the program sees: its exit code, and what it said. */
struct seen {
    int exit_code;
    char text[1024];
};

static char log_path[400];
static int went_on[2]; /* a pipe: the daemon says here that it lives after its start */

static struct seen start(void (*body)(void))
{
    struct seen seen = {0};
    int ends[2];
    (void)snprintf(log_path, sizeof(log_path), "%s/log", check_directory());
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(went_on, O_CLOEXEC) == 0);
    (void)fflush(NULL);
    pid_t program = fork();
    CHECK(program >= 0);
    if (program == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        body();
        _exit(99);
    }
    (void)close(ends[1]);
    (void)close(went_on[1]);
    int status = 0;
    CHECK(waitpid(program, &status, 0) == program && WIFEXITED(status));
    seen.exit_code = WEXITSTATUS(status);
    CHECK(read(ends[0], seen.text, sizeof(seen.text) - 1) >= 0);
    (void)close(ends[0]);
    return seen;
}

static bool has_gone_on(void)
{
    char word[8];
    ssize_t got = read(went_on[0], word, sizeof(word));
    (void)close(went_on[0]);
    return got == 2;
}

static struct daemon_start *detach(void)
{
    struct err e;
    struct daemon_start *handle = NULL;
    if (daemon_detach(&handle, log_path, &e))
        _exit(98);
    return handle;
}

static void become_ready(void)
{
    struct daemon_start *handle = detach();
    daemon_ready(&handle);
    bool is_apart = getsid(0) == getpid() && handle == NULL;
    daemon_ready(&handle);
    (void)fprintf(stderr, "to the log\n");
    _exit(is_apart && write(went_on[1], "on", 2) == 2 ? 0 : 1);
}

TEST("the parent ends with 0 when the daemon is ready, which goes on in a session of its own")
{
    struct seen seen = start(become_ready);
    CHECK_EQ(seen.exit_code, 0);
    CHECK_STR(seen.text, "");
    CHECK(has_gone_on());
    char text[64] = "";
    FILE *log = fopen(log_path, "re");
    CHECK(log && fgets(text, sizeof(text), log));
    (void)fclose(log);
    CHECK_STR(text, "to the log\n");
}

static void fail(void)
{
    struct daemon_start *handle = detach();
    daemon_failed(&handle, 3, "tarn: the database does not answer");
    _exit(3);
}

TEST("the parent tells the reason of a failed start and ends with its code")
{
    struct seen seen = start(fail);
    CHECK_EQ(seen.exit_code, 3);
    CHECK_STR(seen.text, "tarn: the database does not answer\n");
}

static void exit_silently(void)
{
    (void)detach();
    _exit(7);
}

static void be_killed(void)
{
    (void)detach();
    (void)raise(SIGKILL);
}

TEST("a daemon that dies without a word is no success")
{
    CHECK_EQ(start(exit_silently).exit_code, 7);
    struct seen seen = start(be_killed);
    CHECK_EQ(seen.exit_code, EXIT_FAILURE);
    CHECK_CONTAINS(seen.text, "ended by signal 9");
}

static void fail_to_log(void)
{
    struct err e;
    struct daemon_start *handle = NULL;
    (void)snprintf(log_path, sizeof(log_path), "/no/such/folder/log");
    if (daemon_detach(&handle, log_path, &e)) {
        daemon_failed(&handle, 1, e.text);
        _exit(1);
    }
    _exit(0);
}

TEST("a log that cannot be opened is told by the parent")
{
    struct seen seen = start(fail_to_log);
    CHECK_EQ(seen.exit_code, 1);
    CHECK_CONTAINS(seen.text, "could not open \"/no/such/folder/log\"");
}

static int notify_socket(struct sockaddr_un *address, socklen_t size)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)address, size) == 0);
    return fd;
}

TEST("systemd is told, by path or abstract name, and nobody is when nobody asks")
{
    char got[32] = "";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    daemon_notify("READY=1");

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/notify", check_directory());
    CHECK_EQ(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    auto_close int by_path = notify_socket(&address, sizeof(address));
    daemon_notify("READY=1");
    CHECK_EQ(recv(by_path, got, sizeof(got), MSG_DONTWAIT), 7);
    CHECK(strncmp(got, "READY=1", 7) == 0);

    int length = snprintf(address.sun_path, sizeof(address.sun_path), "@tarn-test-%d", getpid());
    CHECK_EQ(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    address.sun_path[0] = 0;
    auto_close int by_name = notify_socket(
        &address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length));
    daemon_notify("STOPPING=1");
    CHECK_EQ(recv(by_name, got, sizeof(got), MSG_DONTWAIT), 10);
    CHECK_EQ(unsetenv("NOTIFY_SOCKET"), 0);
}
