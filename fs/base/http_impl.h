/*
 * http_impl - what the HTTP service and its connections know of each other. Private to http*.c.
 *
 * Threads   the loop's, but for what is set at open
 */
#ifndef FS_BASE_HTTP_IMPL_H
#define FS_BASE_HTTP_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

#include <event2/listener.h>

#include "fs/base/http.h"

#define HTTP_MOST_CONNECTIONS 64
#define HTTP_MOST_ROUTES      32

struct connection;

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
    struct route routes[HTTP_MOST_ROUTES];
    unsigned route_count;
};

/* A client has come; a callback of the listener, whose argument is the service. */
void http_accept_on_loop(struct evconnlistener *listener, evutil_socket_t fd,
                         struct sockaddr *address, int size, void *arg);
void http_connection_free(struct connection *connection);

#endif
