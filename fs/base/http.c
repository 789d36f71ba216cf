/*
 * Each connection serves one request and is closed. Its states, in order:
 *
 *   READING_HEAD   until the empty line, at most HEAD_BYTES
 *   READING_BODY   the body of a GET means nothing: it is thrown away, at most BODY_BYTES
 *   WRITING        the answer is on its way
 *   LINGERING      sent and shut down; we read on, or the kernel would reset the connection and
 *                  the client might lose the answer
 *
 * All of it has to fit into DEADLINE_MS, however slowly the bytes come: that, and the maximum of
 * connections, is why this is not evhttp, which only limits each single read.
 */
#include "fs/base/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "fs/base/http_codec.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"

#define HEAD_BYTES       (16U << 10)
#define BODY_BYTES       (64U << 10)
#define ANSWER_BYTES     (16U << 20)
#define DEADLINE_S       10
#define MOST_CONNECTIONS 64
#define MOST_ROUTES      32

METRIC_DEFINE(requests, METRIC_COUNTER, "tarn_http_requests_total", NULL,
              "Requests answered by the HTTP service.")
METRIC_DEFINE(refused, METRIC_COUNTER, "tarn_http_refused_connections_total", NULL,
              "Connections closed at once because too many were open.")

enum state { READING_HEAD, READING_BODY, WRITING, LINGERING };

struct connection {
    struct http_service *service;
    struct connection *next;
    struct bufferevent *stream;
    struct event *deadline;
    enum state state;
    const struct route *route; /* NULL: 404 */
    bool is_head;              /* the answer has no body */
    uint64_t body_left;        /* to throw away before we answer */
    bool has_ended;            /* the client sends no more */
    size_t ignored;            /* thrown away while lingering */
};

struct route {
    char *path;
    char *content_type;
    http_handler handler;
    void *arg;
};

struct http_service {
    struct loop *loop;
    uint16_t port;
    _Atomic bool is_ready;

    /* loop */
    struct evconnlistener *listener;
    struct connection *connections;
    unsigned connection_count;
    struct route routes[MOST_ROUTES];
    unsigned route_count;
};

static void connection_free(struct connection *c)
{
    struct connection **at = &c->service->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->service->connection_count--;
    if (c->stream)
        bufferevent_free(c->stream);
    if (c->deadline)
        event_free(c->deadline);
    free(c);
}

static enum rc send_answer(struct connection *c, int status, const char *content_type,
                           struct bytes body, struct err *e)
{
    auto_buf struct buf head;
    buf_init(&head, HEAD_BYTES);
    if (buf_addf(&head, e,
                 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                 "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                 status, http_reason(status), content_type, body.size,
                 status == 405 ? "Allow: GET, HEAD\r\n" : ""))
        return e->code;
    bool has_body = !c->is_head && body.size > 0;
    if (bufferevent_write(c->stream, head.data, head.size) ||
        (has_body && bufferevent_write(c->stream, body.data, body.size)))
        return err_fail(e, RC_NO_SPACE, "out of memory for an answer");
    metric_add(&requests, 1);
    return RC_OK;
}

/* Answer, and from now on only write. An answer that cannot be made ends the connection. */
static void answer(struct connection *c, int status, const char *content_type, struct bytes body)
{
    struct err e;
    c->state = WRITING;
    if (send_answer(c, status, content_type, body, &e)) {
        log_err(LOG_LEVEL_WARN, &e, "could not answer a request");
        connection_free(c);
    }
}

static void answer_status(struct connection *c, int status)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%s\n", http_reason(status));
    answer(c, status, "text/plain; charset=utf-8",
           (struct bytes){(const uint8_t *)text, (size_t)length});
}

static const struct route *find_route(const struct http_service *service, struct bytes path)
{
    for (unsigned i = 0; i < service->route_count; i++) {
        const struct route *route = &service->routes[i];
        if (strlen(route->path) == path.size && memcmp(route->path, path.data, path.size) == 0)
            return route;
    }
    return NULL;
}

static void serve(struct connection *c, const struct route *route)
{
    auto_buf struct buf body;
    struct err e = ERR_INIT;
    int status = 200;
    buf_init(&body, ANSWER_BYTES);
    if (route->handler(route->arg, &body, &status, &e)) {
        log_err(LOG_LEVEL_WARN, &e, "could not serve \"%s\"", route->path);
        answer_status(c, 500);
        return;
    }
    answer(c, status, route->content_type, buf_bytes(&body));
}

static void answer_request(struct connection *c)
{
    if (c->route)
        serve(c, c->route);
    else
        answer_status(c, 404);
}

static void read_body(struct connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->stream);
    size_t come = evbuffer_get_length(input);
    size_t used = come < c->body_left ? come : (size_t)c->body_left;
    (void)evbuffer_drain(input, used);
    c->body_left -= used;
    if (c->body_left == 0)
        answer_request(c);
}

/* Take over what the head says. Its bytes are gone afterwards. */
static int take_head(struct connection *c, struct evbuffer *input, size_t size)
{
    struct http_head head;
    const unsigned char *text = evbuffer_pullup(input, (ssize_t)size);
    if (!text)
        return 503;
    int status = http_parse_head((struct bytes){text, size}, &head);
    if (status)
        return status;
    if (head.body_size > BODY_BYTES)
        return 413;
    c->is_head = head.is_head;
    c->body_left = head.body_size;
    c->route = find_route(c->service, head.path);
    (void)evbuffer_drain(input, size);
    return 0;
}

static void read_head(struct connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->stream);
    struct evbuffer_ptr end = evbuffer_search(input, "\r\n\r\n", 4, NULL);
    size_t size = end.pos < 0 ? evbuffer_get_length(input) : (size_t)end.pos + 4;
    if (size > HEAD_BYTES) {
        answer_status(c, 431);
        return;
    }
    if (end.pos < 0)
        return;
    int status = take_head(c, input, size);
    if (status) {
        answer_status(c, status);
        return;
    }
    c->state = READING_BODY;
    read_body(c);
}

static void linger(struct connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->stream);
    c->ignored += evbuffer_get_length(input);
    (void)evbuffer_drain(input, evbuffer_get_length(input));
    if (c->ignored > BODY_BYTES || c->has_ended)
        connection_free(c);
}

static void readable_on_loop(struct bufferevent *stream, void *arg)
{
    struct connection *c = arg;
    (void)stream;
    if (c->state == READING_HEAD)
        read_head(c);
    else if (c->state == READING_BODY)
        read_body(c);
    else if (c->state == LINGERING)
        linger(c);
}

/* Called when all was written. */
static void written_on_loop(struct bufferevent *stream, void *arg)
{
    struct connection *c = arg;
    if (c->state != WRITING)
        return;
    c->state = LINGERING;
    (void)shutdown(bufferevent_getfd(stream), SHUT_WR);
    linger(c);
}

/* An end of input while we write is a client that has no more to ask: it still gets its answer. */
static void event_on_loop(struct bufferevent *stream, short events, void *arg)
{
    struct connection *c = arg;
    (void)stream;
    bool is_half_closed = (events & BEV_EVENT_EOF) && (events & BEV_EVENT_READING);
    if (c->state == WRITING && is_half_closed)
        c->has_ended = true;
    else
        connection_free(c);
}

static void deadline_on_loop(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    connection_free(arg);
}

static bool start_connection(struct connection *c, struct event_base *base, evutil_socket_t fd)
{
    const struct timeval deadline = {.tv_sec = DEADLINE_S};
    c->stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!c->stream) {
        (void)close(fd);
        return false;
    }
    bufferevent_setcb(c->stream, readable_on_loop, written_on_loop, event_on_loop, c);
    /* One byte more than is allowed is enough to know that there is too much. */
    bufferevent_setwatermark(c->stream, EV_READ, 0, HEAD_BYTES + 1);
    c->deadline = evtimer_new(base, deadline_on_loop, c);
    return c->deadline && evtimer_add(c->deadline, &deadline) == 0 &&
           bufferevent_enable(c->stream, EV_READ | EV_WRITE) == 0;
}

static void accept_on_loop(struct evconnlistener *listener, evutil_socket_t fd,
                           struct sockaddr *address, int size, void *arg)
{
    struct http_service *service = arg;
    (void)address;
    (void)size;
    struct connection *c =
        service->connection_count < MOST_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        metric_add(&refused, 1);
        (void)close(fd);
        return;
    }
    c->service = service;
    c->next = service->connections;
    service->connections = c;
    service->connection_count++;
    if (!start_connection(c, evconnlistener_get_base(listener), fd))
        connection_free(c);
}

static enum rc serve_metrics(void *arg, struct buf *out, int *status, struct err *e)
{
    (void)arg;
    (void)status;
    return metric_write(out, e);
}

static enum rc serve_healthz(void *arg, struct buf *out, int *status, struct err *e)
{
    (void)arg;
    (void)status;
    return buf_add_str(out, "ok\n", e);
}

static enum rc serve_readyz(void *arg, struct buf *out, int *status, struct err *e)
{
    const struct http_service *service = arg;
    bool is_ready = atomic_load(&service->is_ready);
    *status = is_ready ? 200 : 503;
    return buf_add_str(out, is_ready ? "ready\n" : "not ready\n", e);
}

static enum rc add_own_routes(struct http_service *service, struct err *e)
{
    static const char text[] = "text/plain; charset=utf-8";
    static const char prometheus[] = "text/plain; version=0.0.4; charset=utf-8";
    if (http_service_route(service, "/metrics", prometheus, serve_metrics, NULL, e) ||
        http_service_route(service, "/healthz", text, serve_healthz, NULL, e) ||
        http_service_route(service, "/readyz", text, serve_readyz, service, e))
        return e->code;
    return RC_OK;
}

/* Cut "host:port", "[v6]:port" or ":port" into its two parts. */
static enum rc split_address(const char *address, char *host, size_t host_size, const char **port,
                             struct err *e)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;
    if (!colon || !colon[1] || length >= host_size)
        return err_fail(e, RC_INVALID, "\"%s\" is no address to listen on (host:port)", address);
    bool is_bracketed = length >= 2 && address[0] == '[' && address[length - 1] == ']';
    (void)snprintf(host, host_size, "%.*s", (int)(is_bracketed ? length - 2 : length),
                   address + is_bracketed);
    *port = colon + 1;
    return RC_OK;
}

static enum rc resolve(const char *address, struct addrinfo **out, struct err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char host[256] = "";
    const char *port = NULL;
    if (split_address(address, host, sizeof(host), &port, e))
        return e->code;
    int failure = getaddrinfo(host[0] ? host : NULL, port, &hints, out);
    if (failure)
        return err_fail(e, RC_INVALID, "cannot listen on \"%s\": %s", address,
                        gai_strerror(failure));
    return RC_OK;
}

static uint16_t bound_port(evutil_socket_t fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t size = sizeof(address);
    (void)getsockname(fd, &address.any, &size);
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* What is opened, closed or routed on behalf of another thread. */
struct request {
    struct http_service *service;
    const struct addrinfo *address;
    struct route route;
    int failure; /* errno */
};

static void listen_on_loop(void *arg)
{
    struct request *request = arg;
    struct http_service *service = request->service;
    const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
    for (const struct addrinfo *at = request->address; at && !service->listener; at = at->ai_next) {
        errno = 0;
        service->listener =
            evconnlistener_new_bind(loop_base(service->loop), accept_on_loop, service, flags,
                                    MOST_CONNECTIONS, at->ai_addr, (int)at->ai_addrlen);
        request->failure = errno;
    }
    if (service->listener)
        service->port = bound_port(evconnlistener_get_fd(service->listener));
}

static enum rc start_listening(struct http_service *service, const char *address, struct err *e)
{
    struct addrinfo *resolved = NULL;
    if (resolve(address, &resolved, e))
        return e->code;
    struct request request = {.service = service, .address = resolved};
    loop_call(service->loop, listen_on_loop, &request);
    freeaddrinfo(resolved);
    if (!service->listener)
        return err_os(e, request.failure, "could not listen on \"%s\"", address);
    return RC_OK;
}

enum rc http_service_open(struct http_service **out, struct loop *loop, const char *address,
                          struct err *e)
{
    struct http_service *service = calloc(1, sizeof(*service));
    if (!service)
        return err_fail(e, RC_NO_SPACE, "out of memory for an HTTP service");
    service->loop = loop;
    if (add_own_routes(service, e) || start_listening(service, address, e)) {
        http_service_close(&service);
        return e->code;
    }
    *out = service;
    return RC_OK;
}

static void close_on_loop(void *arg)
{
    struct http_service *service = arg;
    if (service->listener)
        evconnlistener_free(service->listener);
    while (service->connections)
        connection_free(service->connections);
}

void http_service_close(struct http_service **service)
{
    struct http_service *s = *service;
    *service = NULL;
    if (!s)
        return;
    loop_call(s->loop, close_on_loop, s);
    for (unsigned i = 0; i < s->route_count; i++) {
        free(s->routes[i].path);
        free(s->routes[i].content_type);
    }
    free(s);
}

static void route_on_loop(void *arg)
{
    struct request *request = arg;
    struct http_service *service = request->service;
    if (service->route_count == MOST_ROUTES)
        request->failure = ENOSPC;
    else
        service->routes[service->route_count++] = request->route;
}

enum rc http_service_route(struct http_service *service, const char *path, const char *content_type,
                           http_handler handler, void *arg, struct err *e)
{
    auto_free char *own_path = strdup(path);
    auto_free char *own_type = strdup(content_type);
    if (!own_path || !own_type)
        return err_fail(e, RC_NO_SPACE, "out of memory for the HTTP route \"%s\"", path);
    struct request request = {.service = service, .route = {own_path, own_type, handler, arg}};
    loop_call(service->loop, route_on_loop, &request);
    if (request.failure)
        return err_fail(e, RC_NO_SPACE, "the HTTP service has %d routes already", MOST_ROUTES);
    (void)take_pointer(&own_path);
    (void)take_pointer(&own_type);
    return RC_OK;
}

void http_service_ready(struct http_service *service, _Bool is_ready)
{
    atomic_store(&service->is_ready, is_ready);
}

uint16_t http_service_port(const struct http_service *service)
{
    return service->port;
}
