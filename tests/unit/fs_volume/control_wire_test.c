#include "fs/volume/control_wire.h"

#include <errno.h>
#include <string.h>

#include "fs/volume/bytes_text.h"
#include "tests/fuzz/volume_targets.h"
#include "tests/unit/check.h"

static struct control_request round_trip(const struct control_request *q, struct buf *message)
{
    struct err e = ERR_INIT;
    struct control_request out;
    buf_init(message, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    CHECK_RC(control_compose(q, message, &e), RC_OK);
    CHECK_RC(control_parse(buf_bytes(message), &out, &e), RC_OK);
    return out;
}

TEST("a request is read as it was written")
{
    auto_buf struct buf message = {.data = NULL};
    const struct control_request clone = {.command = CONTROL_CLONE,
                                          .ino = 5,
                                          .parent = 1,
                                          .dst_parent = 7,
                                          .name = BYTES_OF("copy"),
                                          .umask = 022,
                                          .preserve = true,
                                          .threads = 9};
    const struct control_request got = round_trip(&clone, &message);
    CHECK(got.ino == 5 && got.parent == 1 && got.dst_parent == 7);
    CHECK(got.name.size == 4 && memcmp(got.name.data, "copy", 4) == 0);
    CHECK(got.umask == 022 && got.preserve && got.threads == 9);
}

TEST("a body that ends early has the defaults of a stock mount")
{
    static const uint8_t info[] = {0, 0, 3, 0xed, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9};
    struct err e = ERR_INIT;
    struct control_request out;
    CHECK_RC(control_parse((struct bytes){info, sizeof(info)}, &out, &e), RC_OK);
    CHECK(out.ino == 9 && out.is_recursive && !out.is_raw && !out.is_strict);
}

TEST("the length of a message is known from its head, and too long a one is refused")
{
    static const uint8_t large[] = {0, 0, 3, 0xec, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t small[] = {0, 0, 3, 0xec, 0, 0, 0, 10};
    struct err e = ERR_INIT;
    size_t length = 1;
    CHECK_RC(control_length((struct bytes){small, 7}, &length, &e), RC_OK);
    CHECK(length == 0);
    CHECK_RC(control_length((struct bytes){small, 8}, &length, &e), RC_OK);
    CHECK(length == 18);
    CHECK_RC(control_length((struct bytes){large, 8}, &length, &e), RC_NO_SPACE);
}

TEST("frames are told apart, and a cut one waits for its rest")
{
    struct err e = ERR_INIT;
    struct control_frame frame;
    auto_buf struct buf out;
    buf_init(&out, 1024);
    CHECK_RC(control_add_progress(&out, 3, 4, &e), RC_OK);
    CHECK_RC(control_add_data(&out, BYTES_OF("{}"), &e), RC_OK);
    control_frame_read((struct bytes){out.data, 16}, &frame);
    CHECK(frame.kind == CONTROL_MORE);
    control_frame_read(buf_bytes(&out), &frame);
    CHECK(frame.kind == CONTROL_PROGRESS && frame.first == 3 && frame.second == 4);
    control_frame_read((struct bytes){out.data + 17, 6}, &frame);
    CHECK(frame.kind == CONTROL_MORE);
    control_frame_read((struct bytes){out.data + 17, 7}, &frame);
    CHECK(frame.kind == CONTROL_DATA && frame.data.size == 2);
    buf_clear(&out);
    CHECK_RC(control_add_errno(&out, 4095, &e), RC_OK);
    control_frame_read(buf_bytes(&out), &frame);
    CHECK(frame.kind == CONTROL_ERRNO && frame.posix_errno == EIO);
}

TEST("amounts read as those of JuiceFS")
{
    char text[BYTES_TEXT];
    bytes_text(text, 1023);
    CHECK(strcmp(text, "1023 Bytes") == 0);
    bytes_text(text, 3145733);
    CHECK(strcmp(text, "3.00 MiB (3145733 Bytes)") == 0);
}

TEST("the parser of requests holds on every input of its corpus")
{
    check_corpus("control", fuzz_control);
}
