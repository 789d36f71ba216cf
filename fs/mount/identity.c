#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/mount.h"

bool mount_identity(const struct mount *m, const char *name, char *out, size_t size)
{
    if (strcmp(name, "user.tarn.pid") == 0)
        snprintf(out, size, "%ld", (long)getpid());
    else if (strcmp(name, "user.tarn.meta") == 0)
        snprintf(out, size, "%s", m->redacted_url);
    else if (strcmp(name, "user.tarn.version") == 0)
        snprintf(out, size, "%s", TARN_VERSION);
    else
        return false;
    return true;
}
