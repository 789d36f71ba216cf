#include "fs/mount/ids.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/check.h"

/* Everywhere daemon is user and group 1, and bin user and group 2. */
enum { DAEMON = 1, BIN = 2 };

static const char *write_map(const char *text)
{
    static char path[4096];
    if (!path[0])
        snprintf(path, sizeof(path), "%s/map", check_directory());
    FILE *file = fopen(path, "we");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

static struct ids *open_map(const char *text)
{
    struct err e = ERR_INIT;
    struct ids *ids = NULL;
    const struct ids_options o = {.map_path = write_map(text)};
    CHECK_OK(ids_open(&ids, &o, &e), &e);
    return ids;
}

static void check_refused(struct ids_options o, const char *why)
{
    struct err e = ERR_INIT;
    struct ids *ids = NULL;
    CHECK_RC(ids_open(&ids, &o, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, why);
    CHECK(ids == NULL);
}

TEST("without options everybody is who he is")
{
    struct err e = ERR_INIT;
    struct ids *ids = NULL;
    const struct ids_options none = {.root_squash = ""};
    CHECK_OK(ids_open(&ids, &none, &e), &e);
    CHECK(ids == NULL && !ids_squashes_all(ids));
    const struct vfs_caller who = ids_caller(ids, 5, 6, 7);
    CHECK(who.uid == 5 && who.gid == 6 && who.pid == 7 && !who.is_squashed);
    CHECK_EQ(ids_user_in(ids, 9), 9);
    CHECK_EQ(ids_group_out(ids, 9), 9);
    ids_close(&ids);
}

TEST("root alone is squashed, or everybody")
{
    struct err e = ERR_INIT;
    struct ids *ids = NULL;
    struct ids_options o = {.root_squash = "1000"};
    CHECK_OK(ids_open(&ids, &o, &e), &e);
    struct vfs_caller who = ids_caller(ids, 0, 0, 7);
    CHECK(who.uid == 1000 && who.gid == ID_NOBODY && who.is_squashed);
    who = ids_caller(ids, 5, 6, 7);
    CHECK(who.uid == 5 && who.gid == 6 && !who.is_squashed && !ids_squashes_all(ids));
    ids_close(&ids);

    o.all_squash = "2000:3000";
    CHECK_OK(ids_open(&ids, &o, &e), &e);
    who = ids_caller(ids, 0, 0, 7);
    CHECK(who.uid == 2000 && who.gid == 3000 && who.is_squashed && ids_squashes_all(ids));
    ids_close(&ids);
}

TEST("a squash that is no user, or root, is refused")
{
    check_refused((struct ids_options){.root_squash = "alice"}, "--root-squash must be");
    check_refused((struct ids_options){.root_squash = "5:"}, "--root-squash must be");
    check_refused((struct ids_options){.all_squash = "5:6:7"}, "--all-squash must be");
    check_refused((struct ids_options){.all_squash = "-5"}, "--all-squash must be");
    check_refused((struct ids_options){.all_squash = "4294967295"}, "--all-squash must be");
    check_refused((struct ids_options){.all_squash = "0"}, "cannot make anybody root");
    check_refused((struct ids_options){.all_squash = "5:0"}, "cannot make anybody root");
}

TEST("names are mapped both ways, and the others pass through")
{
    struct ids *ids = open_map("# a comment\n\nuser daemon 10001 # one more\ngroup bin\t10050\n");
    CHECK_EQ(ids_user_in(ids, DAEMON), 10001);
    CHECK_EQ(ids_user_out(ids, 10001), DAEMON);
    CHECK_EQ(ids_group_in(ids, BIN), 10050);
    CHECK_EQ(ids_group_out(ids, 10050), BIN);
    CHECK_EQ(ids_user_in(ids, 0), 0);
    CHECK_EQ(ids_user_in(ids, BIN), BIN);
    CHECK_EQ(ids_group_out(ids, DAEMON), DAEMON);
    const struct vfs_caller who = ids_caller(ids, DAEMON, BIN, 7);
    CHECK(who.uid == 10001 && who.gid == 10050 && !who.is_squashed);
    ids_close(&ids);
}

TEST("an id that a line has taken for somebody else is nobody")
{
    struct ids *ids = open_map("user daemon 10001\n");
    CHECK_EQ(ids_user_in(ids, 10001), ID_NOBODY);
    CHECK_EQ(ids_user_out(ids, DAEMON), ID_NOBODY);
    ids_close(&ids);
}

TEST("two names may swap their numbers")
{
    struct ids *ids = open_map("user daemon 2\nuser bin 1\n");
    CHECK_EQ(ids_user_in(ids, DAEMON), BIN);
    CHECK_EQ(ids_user_in(ids, BIN), DAEMON);
    CHECK_EQ(ids_user_out(ids, BIN), DAEMON);
    ids_close(&ids);
}

TEST("the named entries of a list are mapped, users and groups apart")
{
    struct ids *ids = open_map("user daemon 10001\ngroup daemon 20001\n");
    struct acl_rule *rule = calloc(1, sizeof(*rule) + 2 * sizeof(*rule->entries));
    rule->user_count = rule->group_count = 1;
    rule->entries[0].id = rule->entries[1].id = DAEMON;
    ids_rule_in(ids, rule);
    CHECK_EQ(rule->entries[0].id, 10001);
    CHECK_EQ(rule->entries[1].id, 20001);
    ids_rule_out(ids, rule);
    CHECK_EQ(rule->entries[0].id, DAEMON);
    CHECK_EQ(rule->entries[1].id, DAEMON);
    free(rule);
    ids_close(&ids);
}

TEST("names that are not known here are left out")
{
    struct ids *ids = open_map("user nobody-has-this-name 10001\nuser daemon 10002\n");
    CHECK_EQ(ids_user_in(ids, DAEMON), 10002);
    CHECK_EQ(ids_user_out(ids, 10001), 10001);
    ids_close(&ids);
}

TEST("a file that cannot be used is refused with its line")
{
    static const char *const wrong[] = {"user daemon\n",
                                        "daemon 5\n",
                                        "user daemon 5 6\n",
                                        "user daemon x\n",
                                        "user daemon 5x\n",
                                        "role daemon 5\n",
                                        "user daemon -5\n",
                                        "user daemon 4294967295\n",
                                        "user daemon 99999999999999999999\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "# first\n%s", wrong[i]);
        check_refused((struct ids_options){.map_path = write_map(text)}, "map:2");
    }
    check_refused((struct ids_options){.map_path = write_map("user daemon 5\nuser bin 5\n")},
                  "two users have the number 5");
    check_refused((struct ids_options){.map_path = write_map("user daemon 5\nuser daemon 6\n")},
                  "two users have the number 1 here");
}

TEST("a reload takes the new file, and keeps the old mapping when it is wrong")
{
    struct err e = ERR_INIT;
    struct ids *ids = open_map("user daemon 10001\n");
    (void)write_map("user daemon 10002\n");
    CHECK_OK(ids_reload(ids, &e), &e);
    CHECK_EQ(ids_user_in(ids, DAEMON), 10002);
    (void)write_map("what is this\n");
    CHECK_RC(ids_reload(ids, &e), RC_INVALID);
    CHECK_EQ(ids_user_in(ids, DAEMON), 10002);
    ids_close(&ids);
}
