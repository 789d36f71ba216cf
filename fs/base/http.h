/*
 * http - the small HTTP service of a daemon: /metrics, /healthz, /readyz and its own /v1/… JSON.
 *
 * Requests are bounded (headers 16 KiB, body 64 KiB, 10 s, 64 connections). Handlers run on the
 * loop and must not block: they print what other threads have published.
 *
 * Threads   open and close from the owner; handlers on the loop
 */
#ifndef FS_BASE_HTTP_H
#define FS_BASE_HTTP_H

#include "fs/base/buf.h"
#include "fs/base/err.h"
#include "fs/base/loop.h"

struct http_service;

/*
 * Answer GET path: append the body to out, set *status (200 to begin with). RC != OK answers 500.
 */
typedef enum rc (*http_handler)(void *arg, struct buf *out, int *status, struct err *e);

/*
 * Listen on "host:port" (port 0: any free one) with /metrics and /healthz already routed.
 * /readyz answers 503 until http_service_ready(true).
 */
MUST_CHECK enum rc http_service_open(struct http_service **out, struct loop *loop,
                                     const char *address, struct err *e);
void http_service_close(struct http_service **service);
MUST_CHECK enum rc http_service_route(struct http_service *service, const char *path,
                                      const char *content_type, http_handler handler, void *arg,
                                      struct err *e);
void http_service_ready(struct http_service *service, _Bool is_ready);
/* The port that was bound. */
uint16_t http_service_port(const struct http_service *service);

#endif
