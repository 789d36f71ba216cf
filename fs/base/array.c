#include "fs/base/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 64

enum rc array_reserve(void *array, size_t *room, size_t need, size_t element_bytes, struct err *e)
{
    if (need <= *room)
        return RC_OK;
    const size_t most = SIZE_MAX / element_bytes;
    const size_t doubled = *room > most / 2 ? most : *room * 2;
    const size_t wanted = doubled > FIRST_ROOM ? doubled : FIRST_ROOM;
    const size_t fresh = wanted > need ? wanted : need;

    /* By memcpy, because a pointer to any type is not a pointer to void. */
    void *old, *grown = NULL;
    memcpy(&old, array, sizeof(old));
    if (fresh <= most)
        grown = realloc(old, fresh * element_bytes);
    if (!grown)
        return err_fail(e, RC_NO_SPACE, "no memory for %zu elements of %zu bytes", fresh,
                        element_bytes);
    memcpy(array, &grown, sizeof(grown));
    *room = fresh;
    return RC_OK;
}
