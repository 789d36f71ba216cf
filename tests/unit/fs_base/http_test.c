#include "fs/base/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "fs/base/clock.h"
#include "fs/base/http_codec.h"
#include "tests/unit/check.h"

#define MOST_CONNECTIONS 64

struct fixture {
    struct loop *loop;
    struct http_service *service;
};

static enum rc serve_hello(void *arg, struct buf *out, int *status, struct err *e)
{
    (void)status;
    return buf_addf(out, e, "{\"hello\": \"%s\"}\n", (const char *)arg);
}

static enum rc serve_failure(void *arg, struct buf *out, int *status, struct err *e)
{
    (void)arg;
    (void)status;
    (void)out;
    return err_fail(e, RC_IO, "on purpose");
}

static struct fixture start(void)
{
    static char world[] = "world";
    struct fixture f = {0};
    struct err e;
    CHECK_OK(loop_spawn(&f.loop, "http-test", &e), &e);
    CHECK_OK(http_service_open(&f.service, f.loop, "127.0.0.1:0", &e), &e);
    CHECK_OK(http_service_route(f.service, "/v1/hello", "application/json", serve_hello, world, &e),
             &e);
    CHECK_OK(http_service_route(f.service, "/v1/fail", "text/plain", serve_failure, NULL, &e), &e);
    return f;
}

static void finish(struct fixture *f)
{
    http_service_close(&f->service);
    loop_close(&f->loop);
}

static int dial(const struct fixture *f)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(http_service_port(f->service)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

static void say(int fd, const char *text, size_t size)
{
    /* The service may have answered and closed while we still write. */
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        size -= (size_t)sent;
    }
}

/* All that comes until the end; valid until the next call. */
static const char *hear(int fd)
{
    static char answer[1 << 18];
    size_t size = 0;
    uint64_t deadline_ms = clock_deadline(15000);
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        CHECK(poll(&poll_fd, 1, clock_left(deadline_ms)) == 1);
        ssize_t got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    answer[size] = 0;
    return answer;
}

static const char *ask(const struct fixture *f, const char *text)
{
    auto_close int fd = dial(f);
    say(fd, text, strlen(text));
    return hear(fd);
}

static void check_begins(const char *answer, const char *start_of_answer)
{
    char head[64];
    (void)snprintf(head, sizeof(head), "%.*s", (int)strlen(start_of_answer), answer);
    CHECK_STR(head, start_of_answer);
}

TEST("a route is answered with its type and length, whatever its query")
{
    struct fixture f = start();
    CHECK_STR(ask(&f, "GET /v1/hello?x=/y HTTP/1.1\r\nHost: a\r\n\r\n"),
              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n"
              "Cache-Control: no-store\r\nConnection: close\r\n\r\n{\"hello\": \"world\"}\n");
    CHECK_STR(strstr(ask(&f, "HEAD /v1/hello HTTP/1.0\r\n\r\n"), "\r\n\r\n"), "\r\n\r\n");
    finish(&f);
}

TEST("health, readiness and metrics are there")
{
    struct fixture f = start();
    check_begins(ask(&f, "GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ");
    check_begins(ask(&f, "GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 ");
    http_service_ready(f.service, true);
    check_begins(ask(&f, "GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ");
    CHECK_CONTAINS(ask(&f, "GET /metrics HTTP/1.1\r\n\r\n"),
                   "\n# TYPE tarn_http_requests_total counter\n");
    finish(&f);
}

TEST("what is malformed, unknown or not allowed gets its status")
{
    struct fixture f = start();
    check_begins(ask(&f, "GET /nothing HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 ");
    check_begins(ask(&f, "POST /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 ");
    check_begins(ask(&f, "GET /v1/fail HTTP/1.1\r\n\r\n"), "HTTP/1.1 500 ");
    check_begins(ask(&f, "GET http://x/ HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 ");
    check_begins(ask(&f, "nonsense\r\n\r\n"), "HTTP/1.1 400 ");
    check_begins(ask(&f, "GET / HTTP/2.0\r\n\r\n"), "HTTP/1.1 505 ");
    check_begins(ask(&f, "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), "HTTP/1.1 501 ");
    check_begins(ask(&f, "GET / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n"), "HTTP/1.1 413 ");
    finish(&f);
}

TEST("headers past 16 KiB are refused, and their sender hears it")
{
    struct fixture f = start();
    static char flood[200 << 10];
    auto_close int fd = dial(&f);
    memset(flood, 'a', sizeof(flood));
    say(fd, "GET / HTTP/1.1\r\nX: ", 19);
    say(fd, flood, 17 << 10);
    check_begins(hear(fd), "HTTP/1.1 431 ");
    finish(&f);
}

TEST("a body that means nothing is read and thrown away before the answer")
{
    struct fixture f = start();
    static char body[60000];
    auto_close int fd = dial(&f);
    say(fd, "GET /healthz HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", 48);
    memset(body, 'b', sizeof(body));
    say(fd, body, sizeof(body));
    check_begins(hear(fd), "HTTP/1.1 200 ");
    finish(&f);
}

TEST("a request that comes byte by byte, from a client that then says no more, is answered")
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    struct fixture f = start();
    auto_close int fd = dial(&f);
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        say(fd, request + i, 1);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    check_begins(hear(fd), "HTTP/1.1 200 ");
    finish(&f);
}

TEST("the sixty-fifth connection is closed at once, and others are served when one ends")
{
    struct fixture f = start();
    int fds[MOST_CONNECTIONS];
    for (int i = 0; i < MOST_CONNECTIONS; i++)
        fds[i] = dial(&f);
    CHECK_STR(ask(&f, "GET /healthz HTTP/1.1\r\n\r\n"), "");
    say(fds[0], "GET /healthz HTTP/1.1\r\n\r\n", 25);
    check_begins(hear(fds[0]), "HTTP/1.1 200 ");
    for (int i = 0; i < MOST_CONNECTIONS; i++)
        (void)close(fds[i]);
    uint64_t deadline_ms = clock_deadline(5000);
    while (ask(&f, "GET /healthz HTTP/1.1\r\n\r\n")[0] == 0)
        CHECK(clock_left(deadline_ms) > 0);
    finish(&f);
}

TEST("closing the service ends connections that are open")
{
    struct fixture f = start();
    auto_close int fd = dial(&f);
    say(fd, "GET /", 5);
    (void)ask(&f, "GET /healthz HTTP/1.1\r\n\r\n");
    finish(&f);
    CHECK_STR(hear(fd), "");
}

TEST("an address that cannot be listened on is an error with its name")
{
    static const char *const bad[] = {"", "localhost", "127.0.0.1:", "127.0.0.1:notaport"};
    struct fixture f = start();
    struct err e;
    struct http_service *second = NULL;
    char taken[32];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_RC(http_service_open(&second, f.loop, bad[i], &e), RC_INVALID);
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", http_service_port(f.service));
    CHECK_RC(http_service_open(&second, f.loop, taken, &e), RC_EXISTS);
    CHECK_CONTAINS(e.text, taken);
    CHECK(second == NULL);
    finish(&f);
}

static int status_of(const char *head)
{
    struct http_head out;
    return http_parse_head((struct bytes){(const uint8_t *)head, strlen(head)}, &out);
}

TEST("a head is taken apart strictly")
{
    struct http_head head;
    CHECK_EQ(http_parse_head(
                 BYTES_OF("GET /a/b?c?d HTTP/1.1\r\nA: b\r\ncontent-length: \t12 \r\n\r\n"), &head),
             0);
    CHECK_BYTES(head.path.data, head.path.size, "/a/b", 4);
    CHECK_EQ(head.body_size, 12);
    CHECK(!head.is_head);
    CHECK_EQ(status_of("GET  / HTTP/1.1\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nA : b\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\n folded\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nA: b\001\r\n\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nA: b\r\n"), 400);
    CHECK_EQ(status_of("GET / HTTP/1.1\r\nA: b\n\r\n"), 400);
    CHECK_EQ(status_of("GET /"), 400);
    CHECK_EQ(status_of(""), 400);
}
