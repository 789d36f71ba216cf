#include "fs/base/err.h"

#include <errno.h>

#include "tests/unit/check.h"

TEST("a note stands in front of the text and keeps the code")
{
    struct err e;
    CHECK_RC(err_os(&e, ENOSPC, "could not write \"%s\"", "f"), RC_NO_SPACE);
    CHECK_RC(err_note(&e, "chunk %d", 7), RC_NO_SPACE);
    CHECK_STR(e.text, "chunk 7: could not write \"f\": No space left on device");
}

TEST("a refusal keeps its errno through notes")
{
    struct err e;
    CHECK_RC(err_refused(&e, ENOTEMPTY, "rmdir"), RC_REFUSED);
    CHECK_RC(err_note(&e, "removing"), RC_REFUSED);
    CHECK_STR(e.text, "removing: rmdir: Directory not empty");
    CHECK_EQ(e.posix, ENOTEMPTY);
    CHECK_RC(err_fail(&e, RC_IO, "new"), RC_IO);
    CHECK_EQ(e.posix, 0);
}

TEST("a text longer than the error holds is cut and ended")
{
    struct err e;
    char text[2 * ERR_TEXT_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    CHECK_RC(err_fail(&e, RC_IO, "%s", text), RC_IO);
    CHECK_EQ(strlen(e.text), ERR_TEXT_BYTES - 1);
    CHECK_RC(err_note(&e, "front"), RC_IO);
    CHECK_EQ(strlen(e.text), ERR_TEXT_BYTES - 1);
    CHECK(strncmp(e.text, "front: xxx", 10) == 0);
}

TEST("the old text may be an argument of the new one")
{
    struct err e;
    CHECK_RC(err_fail(&e, RC_IO, "inner"), RC_IO);
    CHECK_RC(err_fail(&e, RC_STALE, "outer (%s)", e.text), RC_STALE);
    CHECK_STR(e.text, "outer (inner)");
}

TEST("every errno and code has a name")
{
    CHECK_STR(err_posix_name(ENOENT), "ENOENT");
    CHECK_STR(err_posix_name(41), "E41");
    CHECK_STR(err_posix_name(199), "E199");
    CHECK_STR(err_posix_name(100000), "E?");
    CHECK_STR(err_posix_name(-3), "E?");
    for (int code = RC_OK; code <= RC_REFUSED; code++)
        CHECK(strcmp(rc_name((enum rc)code), "unknown") != 0);
    CHECK_STR(rc_name((enum rc)99), "unknown");
}
