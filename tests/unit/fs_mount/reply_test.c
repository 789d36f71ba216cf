#include <errno.h>

#include "fs/mount/reply.h"
#include "tests/unit/check.h"

static int errno_for(enum rc code)
{
    struct err e = ERR_INIT;
    err_fail(&e, code, "text");
    return reply_errno(&e, "test", 7);
}

TEST("success is errno 0")
{
    struct err e = ERR_INIT;
    CHECK_EQ(reply_errno(&e, "test", 7), 0);
}

TEST("a refusal of the metadata reaches the caller as it is")
{
    struct err e = ERR_INIT;
    err_refused(&e, ENOTEMPTY, "rmdir");
    err_note(&e, "removing");
    CHECK_EQ(reply_errno(&e, "rmdir", 7), ENOTEMPTY);
}

TEST("whatever is broken below is EIO, and never success")
{
    CHECK_EQ(errno_for(RC_IO), EIO);
    CHECK_EQ(errno_for(RC_CORRUPT), EIO);
    CHECK_EQ(errno_for(RC_TIMEOUT), EIO);
    CHECK_EQ(errno_for(RC_UNAVAILABLE), EIO);
    CHECK_EQ(errno_for(RC_UNCERTAIN), EIO);
    CHECK_EQ(errno_for(RC_NO_SPACE), ENOSPC);
    CHECK_EQ(errno_for(RC_STALE), ESTALE);
}

TEST("a refusal without an errno is EIO")
{
    struct err e = ERR_INIT;
    err_refused(&e, 0, "nothing said");
    CHECK_EQ(reply_errno(&e, "test", 7), EIO);
}

TEST("every type of node goes to the kernel and comes back")
{
    for (int type = NODE_FILE; type <= NODE_SOCKET; type++)
        CHECK_EQ(reply_node_type(reply_type_bits((enum node_type)type) | 0644), type);
    CHECK_EQ(reply_node_type(0), 0);
    CHECK_EQ(reply_type_bits((enum node_type)0), 0);
    CHECK_EQ(reply_type_bits((enum node_type)99), 0);
}

TEST("blocks are counted as the accounting counts space")
{
    struct node_attr attr = {.type = NODE_FILE, .mode = 07644, .nlink = 2, .length = 4097};
    struct stat st;
    reply_stat(&attr, &st);
    CHECK_EQ(st.st_blocks, 16);
    CHECK_EQ(st.st_mode, S_IFREG | 07644);
    CHECK_EQ(st.st_nlink, 2);
    attr.length = 0;
    reply_stat(&attr, &st);
    CHECK_EQ(st.st_blocks, 0);
}
