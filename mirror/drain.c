#include "mirror/drain.h"

#define SMOOTH_S 30.0
#define LOOK_S   0.5 /* looks closer together than this say little */

void drain_look(struct drain *d, int64_t rest, uint64_t now_ms)
{
    const double passed_s = d->has_look ? (double)(now_ms - d->at_ms) / 1000 : 0;
    if (d->has_look && passed_s < LOOK_S)
        return;
    if (d->has_look) {
        const double per_s = (double)(d->rest - rest) / passed_s;
        const double weight = passed_s < SMOOTH_S ? passed_s / SMOOTH_S : 1;
        d->per_s = d->has_rate ? d->per_s + (per_s - d->per_s) * weight : per_s;
        d->has_rate = true;
    }
    d->has_look = true;
    d->at_ms = now_ms;
    d->rest = rest;
}

double drain_eta_s(const struct drain *d)
{
    if (d->rest == 0)
        return 0;
    return d->has_rate && d->per_s > 0 ? (double)d->rest / d->per_s : -1;
}
