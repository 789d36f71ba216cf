#include "tests/fuzz/volume_targets.h"

#include <stdlib.h>
#include <string.h>

#include "fs/volume/control_wire.h"

static void promise(bool is_kept)
{
    if (!is_kept)
        abort();
}

static bool lies_in(struct bytes part, struct bytes whole)
{
    return part.size == 0 ||
           (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

static void check_request(struct bytes message, const struct control_request *request)
{
    struct err e = ERR_INIT;
    struct control_request again;
    auto_buf struct buf composed;
    buf_init(&composed, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    promise(lies_in(request->name, message) && lies_in(request->paths, message));
    promise(control_compose(request, &composed, &e) == RC_OK);
    promise(control_parse(buf_bytes(&composed), &again, &e) == RC_OK);
    promise(again.command == request->command && again.ino == request->ino &&
            again.parent == request->parent && again.threads == request->threads &&
            again.name.size == request->name.size && again.paths.size == request->paths.size);
}

int fuzz_control(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct control_request request;
    struct control_frame frame;
    const struct bytes message = {data, size};
    size_t length;
    if (control_length(message, &length, &e) == RC_OK && length == size && size > 0 &&
        control_parse(message, &request, &e) == RC_OK)
        check_request(message, &request);
    control_frame_read(message, &frame);
    promise(frame.size <= size && lies_in(frame.data, message));
    return 0;
}
