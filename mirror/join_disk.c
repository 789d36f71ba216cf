#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "mirror/join.h"
#include "mirror/mirror.h"

/* Tables are as large here as there; their WAL and the sorting of indexes come on top. */
#define ROOM_FACTOR 2

/* The parent of a directory that has to be made; a pattern for shards is looked at as far as it
 * can be. */
static void parent_of(const char *path, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s", path);
    char *verb = strchr(out, '%');
    if (verb)
        *verb = '\0';
    size_t size = strlen(out);
    while (size > 1 && !verb && out[size - 1] == '/')
        out[--size] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        slash[slash == out] = '\0';
}

enum rc join_check_bucket(const struct join *j, struct findings *found, struct err *e)
{
    if (!j->bucket[0])
        return findings_add(found, FINDING_OK, "bucket", NULL, e,
                            "no bucket of its own: blocks are read from the origin");
    const char *path = j->bucket + strlen("file://");
    char parent[PATH_MAX];
    struct stat st;
    parent_of(path, parent);
    if (j->shards > 1 && !strchr(path, '%'))
        return findings_add(found, FINDING_PROBLEM, "bucket", "give --bucket with %d in its name",
                            e, "the volume is spread over %u buckets, and \"%s\" is one", j->shards,
                            path);
    if (!strchr(path, '%') && stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode) && access(path, W_OK) == 0)
            return findings_add(found, FINDING_OK, "bucket", NULL, e, "bucket \"%s\" is there",
                                path);
        return findings_add(found, FINDING_PROBLEM, "bucket", "choose another --bucket", e,
                            "\"%s\" is no directory that can be written", path);
    }
    if (stat(parent, &st) == 0 && S_ISDIR(st.st_mode) && access(parent, W_OK) == 0)
        return findings_add(found, FINDING_OK, "bucket", NULL, e, "bucket \"%s\" can be made",
                            path);
    return findings_add(found, FINDING_PROBLEM, "bucket", "make the directory above it", e,
                        "bucket \"%s\" cannot be made in \"%s\"", path, parent);
}

/* Does the server that keeps its files in path run on this machine, and is it this very one? */
static bool is_server_here(const char *path, int64_t started_s)
{
    char file[PATH_MAX], line[PATH_MAX];
    int64_t seen_s = -1;
    if (snprintf(file, sizeof(file), "%s/postmaster.pid", path) >= (int)sizeof(file))
        return false;
    FILE *from = fopen(file, "re");
    if (!from)
        return false;
    for (int number = 1; number <= 3 && fgets(line, sizeof(line), from); number++)
        if (number == 3)
            (void)sscanf(line, "%" SCNd64, &seen_s);
    (void)fclose(from);
    return seen_s >= started_s - 1 && seen_s <= started_s + 1;
}

enum rc join_check_disk(struct join *j, int64_t bytes, struct findings *found, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    struct statvfs disk;
    if (pg_call(j->own, "SELECT * FROM pg_temp.data_directory()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    const char *path = pg_get_text(row, 0, pg_column(row, "path"));
    if (!path || !is_server_here(path, pg_get_int8(row, 0, pg_column(row, "started_s"))) ||
        statvfs(path, &disk) != 0)
        return findings_add(found, FINDING_OK, "disk", NULL, e,
                            "the primary's database has %" PRId64
                            " MiB; what is free at the mirror cannot be seen from here",
                            bytes >> 20);
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < (uint64_t)bytes)
        return findings_add(found, FINDING_PROBLEM, "disk", "make room", e,
                            "the primary's database has %" PRId64 " MiB, and %" PRIu64
                            " MiB are free in \"%s\"",
                            bytes >> 20, free_bytes >> 20, path);
    return findings_add(
        found, free_bytes / ROOM_FACTOR < (uint64_t)bytes ? FINDING_ADVICE : FINDING_OK, "disk",
        free_bytes / ROOM_FACTOR < (uint64_t)bytes ? "make room" : NULL, e,
        "the primary's database has %" PRId64 " MiB, and %" PRIu64 " MiB are free at the mirror",
        bytes >> 20, free_bytes >> 20);
}
