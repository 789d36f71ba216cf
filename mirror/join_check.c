#include "mirror/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "mirror/mirror.h"

#define CLOCK_DIFFERENCE_MAX_MS 1000

static enum rc connect_both(struct join *j, struct err *e)
{
    if (mirror_connect(&j->own, j->url, NULL, MIRROR_CONNECT_MS, e))
        return err_note(e, "mirror");
    if (mirror_connect(&j->primary, j->o->primary, j->password, MIRROR_CONNECT_MS, e))
        return err_note(e, "primary");
    return RC_OK;
}

/* One server's clock, and which cluster it is. */
static enum rc read_clock(struct pg *pg, const char *sql, int64_t *us, char system[32],
                          struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(pg, sql, NULL, 0, clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    *us = pg_get_int8(row, 0, pg_column(row, "us"));
    (void)snprintf(system, 32, "%s", pg_get_text(row, 0, pg_column(row, "system_identifier")));
    return RC_OK;
}

/* The clocks were read one after the other, which took took_ms. */
static enum rc compare_clocks(int64_t own_us, int64_t primary_us, uint64_t took_ms,
                              struct findings *found, struct err *e)
{
    int64_t difference_ms = (own_us - primary_us) / 1000;
    if (difference_ms < 0)
        difference_ms = -difference_ms;
    difference_ms -= (int64_t)took_ms;
    if (difference_ms <= CLOCK_DIFFERENCE_MAX_MS)
        return findings_add(found, FINDING_OK, "clock", NULL, e,
                            "the clocks of both servers agree");
    return findings_add(found, FINDING_ADVICE, "clock", "run an NTP client on both servers", e,
                        "the clocks of both servers differ by %" PRId64
                        " ms: lag in seconds will be wrong by as much",
                        difference_ms);
}

static enum rc read_shards(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(j->primary, "SELECT * FROM tarn_1.shards()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask the primary for the volume's shards");
    j->shards = pg_rows(row) == 1 ? (unsigned)pg_get_int4(row, 0, 0) : 0;
    return RC_OK;
}

static enum rc check_primary(struct join *j, struct findings *found, struct err *e)
{
    char here[32], there[32];
    int64_t own_us = 0, primary_us = 0;
    if (read_clock(j->own, "SELECT * FROM pg_temp.clock()", &own_us, here, e))
        return e->code;
    uint64_t asked_us = clock_us();
    enum rc rc = read_clock(j->primary, "SELECT * FROM tarn_1.clock()", &primary_us, there, e);
    if (rc == RC_NOT_FOUND)
        return findings_add(found, FINDING_PROBLEM, "primary", "tarn primary adopt PRIMARY-URL", e,
                            "the database at the primary has not been adopted by this version");
    if (rc)
        return err_note(e, "primary");
    if (compare_clocks(own_us, primary_us, (clock_us() - asked_us) / 1000, found, e) ||
        read_shards(j, e))
        return e->code;
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(here)};
    return findings_ask(found, j->primary, "SELECT * FROM tarn_1.join_findings($1,$2)", params, 2,
                        clock_deadline(MIRROR_CALL_MS), e);
}

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

static enum rc check_bucket(const struct join *j, struct findings *found, struct err *e)
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

static enum rc read_target(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(j->slot);
    if (pg_call(j->own, "SELECT pg_temp.target_state(), pg_temp.has_subscription($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look at the target database");
    (void)snprintf(j->target, sizeof(j->target), "%s", pg_get_text(row, 0, 0));
    j->has_subscription = pg_get_bool(row, 0, 1);
    return RC_OK;
}

enum rc join_check(struct join *j, struct findings *found, struct err *e)
{
    const struct pg_param name = pg_text(j->o->name);
    if (connect_both(j, e) || findings_prepare(j->own, clock_deadline(MIRROR_CALL_MS), e) ||
        findings_ask(found, j->own, "SELECT * FROM pg_temp.join_findings($1)", &name, 1,
                     clock_deadline(MIRROR_CALL_MS), e) ||
        check_primary(j, found, e) || check_bucket(j, found, e))
        return e->code;
    return read_target(j, e);
}
