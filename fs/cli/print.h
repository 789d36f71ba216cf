/*
 * print - a document for a person (aligned "name value" lines, lists below) or as JSON.
 *
 * Threads main
 */
#ifndef FS_CLI_PRINT_H
#define FS_CLI_PRINT_H

#include "fs/base/err.h"
#include "fs/base/json.h"

/* doc is an object of scalars, objects of scalars, and arrays of objects of scalars. */
MUST_CHECK enum rc print_document(const struct json *doc, bool as_json, struct err *e);
/* A document of one number, as JSON. */
MUST_CHECK enum rc print_count(const char *name, uint64_t count, struct err *e);

#endif
