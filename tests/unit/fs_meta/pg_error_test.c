#include <errno.h>

#include "fs/meta/pg_impl.h"
#include "tests/unit/check.h"

static enum rc code_of(const char *sqlstate, enum pg_phase phase)
{
    int posix;
    return pg_rc(sqlstate, phase, &posix);
}

TEST("an SQLSTATE says what can be done about it")
{
    static const struct {
        const char *sqlstate;
        enum rc code;
    } table[] = {
        {"08006", RC_UNAVAILABLE}, {"57P01", RC_UNAVAILABLE}, {"57P02", RC_UNAVAILABLE},
        {"57P03", RC_UNAVAILABLE}, {"53300", RC_UNAVAILABLE}, {"40001", RC_STALE},
        {"40P01", RC_STALE},       {"28P01", RC_DENIED},      {"28000", RC_DENIED},
        {"42501", RC_DENIED},      {"3D000", RC_NOT_FOUND},   {"53100", RC_NO_SPACE},
        {"42P01", RC_NOT_FOUND},   {"22012", RC_IO},          {"P0001", RC_IO},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        CHECK_RC(code_of(table[i].sqlstate, PG_NOT_SENT), table[i].code);
}

TEST("an error that can follow a commit leaves the call uncertain")
{
    CHECK_RC(code_of("08006", PG_SENT), RC_UNCERTAIN);
    CHECK_RC(code_of("08P01", PG_ANSWERED), RC_UNCERTAIN);
    CHECK_RC(code_of("57P02", PG_SENT), RC_UNCERTAIN);
    CHECK_RC(code_of("57P01", PG_ANSWERED), RC_UNCERTAIN);
}

TEST("a termination before the rows came certainly undid the call")
{
    CHECK_RC(code_of("57P01", PG_SENT), RC_UNAVAILABLE);
    CHECK_RC(code_of("40P01", PG_ANSWERED), RC_STALE);
}

TEST("read-only transactions and raised errnos are POSIX refusals")
{
    int posix = 0;
    CHECK_RC(pg_rc("25006", PG_SENT, &posix), RC_REFUSED);
    CHECK_EQ(posix, EROFS);
    CHECK_RC(pg_rc("TN122", PG_SENT, &posix), RC_REFUSED);
    CHECK_EQ(posix, EDQUOT);
    CHECK_RC(pg_rc("TN013", PG_SENT, &posix), RC_REFUSED);
    CHECK_EQ(posix, EACCES);
    CHECK_RC(pg_rc("TNabc", PG_SENT, &posix), RC_IO);
}
