#include "fs/vfs/readahead.h"

#include <stdbool.h>

#define SLACK_BACK  ((uint64_t)1 << 20)
#define SLACK_AHEAD ((uint64_t)4 << 20)
/* Plans smaller than this are put off, so that most reads plan nothing. */
#define PLAN_STEP ((uint64_t)1 << 20)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_near(const struct readahead *r, uint64_t off)
{
    return off + SLACK_BACK >= r->expected && off <= r->expected + SLACK_AHEAD;
}

static struct readahead_plan plan_sequential(struct readahead *r, uint64_t off, uint64_t size,
                                             struct readahead_limits limits)
{
    const struct readahead_plan none = {0, 0};

    if (off + size > r->expected) {
        r->run += off + size - r->expected;
        r->expected = off + size;
    }
    if (r->reads < 2) /* one read is not a direction */
        return none;
    if (r->window == 0)
        r->window = least(limits.first_bytes, limits.max_bytes);
    else if (r->run >= r->window)
        r->window = least(r->window * 2, limits.max_bytes);
    else if (r->planned_to >= r->expected + r->window / 2)
        return none;
    if (r->run >= r->window)
        r->run = 0;

    const uint64_t to = r->expected + r->window;
    uint64_t from = r->planned_to > r->expected ? r->planned_to : r->expected;
    if (to < from + least(PLAN_STEP, r->window))
        return none;
    r->planned_to = to;
    return (struct readahead_plan){from, to};
}

static struct readahead_plan plan_jump(struct readahead *r, uint64_t off, uint64_t size)
{
    const uint64_t stride = off > r->last_off ? off - r->last_off : 0;
    const bool is_strided = stride && stride == r->stride;

    *r = (struct readahead){.expected = off + size, .stride = stride, .reads = 1};
    if (!is_strided)
        return (struct readahead_plan){0, 0};
    return (struct readahead_plan){off + stride, off + stride + size};
}

struct readahead_plan readahead_note(struct readahead *r, uint64_t off, uint64_t size,
                                     struct readahead_limits limits)
{
    struct readahead_plan plan;

    if (limits.max_bytes == 0 || size == 0)
        return (struct readahead_plan){0, 0};
    r->reads++;
    if (is_near(r, off))
        plan = plan_sequential(r, off, size, limits);
    else
        plan = plan_jump(r, off, size);
    r->last_off = off;
    return plan;
}
