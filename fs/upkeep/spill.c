#include "fs/upkeep/spill.h"

#include <errno.h>

enum rc spill_add(struct spill *s, const struct spilled *item, struct err *e)
{
    if (!s->file && !(s->file = tmpfile()))
        return err_os(e, errno, "could not make a temporary file");
    if (fwrite(item, sizeof(*item), 1, s->file) != 1)
        return err_os(e, errno, "could not write a temporary file");
    s->count++;
    return RC_OK;
}

enum rc spill_rewind(struct spill *s, struct err *e)
{
    if (s->file && (fflush(s->file) != 0 || fseeko(s->file, 0, SEEK_SET) != 0))
        return err_os(e, errno, "could not write a temporary file");
    return RC_OK;
}

enum rc spill_read(struct spill *s, struct spilled *out, size_t max, size_t *count, struct err *e)
{
    *count = s->file ? fread(out, sizeof(*out), max, s->file) : 0;
    if (s->file && ferror(s->file))
        return err_os(e, errno, "could not read a temporary file");
    return RC_OK;
}

void spill_deinit(struct spill *s)
{
    if (s->file)
        (void)fclose(s->file);
    *s = (struct spill){NULL, 0};
}
