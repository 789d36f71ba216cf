/*
 * The service: its address, its routes, and those that it has itself. Connections are in
 * http_connection.c.
 */
#include "fs/base/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/http_impl.h"
#include "fs/base/metric.h"

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
            evconnlistener_new_bind(loop_base(service->loop), http_accept_on_loop, service, flags,
                                    HTTP_MOST_CONNECTIONS, at->ai_addr, (int)at->ai_addrlen);
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
        http_connection_free(service->connections);
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
    if (service->route_count == HTTP_MOST_ROUTES)
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
        return err_fail(e, RC_NO_SPACE, "the HTTP service has %d routes already", HTTP_MOST_ROUTES);
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
