/*
 * analyzer - what clang's analyzer cannot see: it reads one file at a time, so it does not know
 * that an error is never RC_OK, and would follow every failed call as one that succeeded.
 * ops/check includes this behind the compiler's own flags, for all files but err.c.
 */
#ifndef OPS_ANALYZER_H
#define OPS_ANALYZER_H

#include "fs/base/err.h"

#define err_fail(e, rc, ...)   ((void)(err_fail)(e, rc, __VA_ARGS__), (e)->code = (rc))
#define err_note(e, ...)       ((void)(err_note)(e, __VA_ARGS__), (e)->code = RC_IO)
#define err_os(e, number, ...) ((void)(err_os)(e, number, __VA_ARGS__), (e)->code = RC_IO)
#define err_refused(e, errno_, ...)                                                                \
    ((void)(err_refused)(e, errno_, __VA_ARGS__), (e)->code = RC_REFUSED)

#endif
