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
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "fs/base/http_codec.h"
#include "fs/base/http_impl.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"

#define HEAD_BYTES   (16U << 10)
#define BODY_BYTES   (64U << 10)
#define ANSWER_BYTES (16U << 20)
#define DEADLINE_S   10

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

void http_connection_free(struct connection *c)
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
        http_connection_free(c);
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
        http_connection_free(c);
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
        http_connection_free(c);
}

static void deadline_on_loop(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    http_connection_free(arg);
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

void http_accept_on_loop(struct evconnlistener *listener, evutil_socket_t fd,
                         struct sockaddr *address, int size, void *arg)
{
    struct http_service *service = arg;
    (void)address;
    (void)size;
    struct connection *c =
        service->connection_count < HTTP_MOST_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;
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
        http_connection_free(c);
}
