/*
 * gauges - the metrics of a mirror's agent.
 *
 * Threads any · Blocking never
 */
#ifndef MIRROR_GAUGES_H
#define MIRROR_GAUGES_H

#include "fs/base/json.h"
#include "mirror/facts.h"

/* What one look saw. */
void gauges_set(const struct facts *f, const struct facts_primary *said, enum mirror_state shown);

/* The same of its healing (mirror/heal_show.h). */
void gauges_heal(const struct json *healing);

/* Another state is entered. */
void gauges_transition(enum mirror_state to);

#endif
