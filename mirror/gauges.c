#include "mirror/gauges.h"

#include "fs/base/metric.h"

METRIC_DEFINE(lag_bytes, METRIC_GAUGE, "tarn_mirror_lag_bytes", NULL,
              "WAL of the primary that is not applied here")
METRIC_DEFINE(lag_seconds, METRIC_GAUGE, "tarn_mirror_lag_seconds", NULL,
              "Age of the primary's last heartbeat that arrived")
METRIC_DEFINE(lag_transactions, METRIC_GAUGE, "tarn_mirror_lag_transactions", NULL,
              "Transactions of the primary that are not applied here, at most; -1: not known")
METRIC_DEFINE(heartbeat_seq, METRIC_GAUGE, "tarn_heartbeat_seq", NULL,
              "Number of the last heartbeat")
METRIC_DEFINE(
    state_gauge, METRIC_GAUGE, "tarn_mirror_state", NULL,
    "0 joining, 1 copying, 2 following, 3 stalled, 4 lost, 5 left, 6 rejoining, 7 promoted")
METRIC_DEFINE(ready_gauge, METRIC_GAUGE, "tarn_mirror_ready", NULL, "1 when it may be mounted")
METRIC_DEFINE(errors_gauge, METRIC_GAUGE, "tarn_mirror_subscription_errors", NULL,
              "Errors of apply and of the first copy since the statistics began")
METRIC_DEFINE(slices_gauge, METRIC_GAUGE, "tarn_mirror_slices_waiting", NULL,
              "Slices whose blocks are not yet as the metadata wants them")
METRIC_DEFINE(margin_gauge, METRIC_GAUGE, "tarn_mirror_deletion_margin_seconds", NULL,
              "TrashDays less the lag: below 0 stock clients may remove what is read here")
METRIC_DEFINE(statements_gauge, METRIC_GAUGE, "tarn_mirror_statements_to_do", NULL,
              "Changes of tables that a person has to make here")
METRIC_DEFINE(reseeding_gauge, METRIC_GAUGE, "tarn_mirror_reseed_running", NULL,
              "1 while a new copy is made beside the one that serves")
METRIC_DEFINE(reseed_done_gauge, METRIC_GAUGE, "tarn_mirror_reseed_bytes", NULL,
              "Bytes of the new copy so far")
METRIC_DEFINE(reseed_total_gauge, METRIC_GAUGE, "tarn_mirror_reseed_bytes_total", NULL,
              "Bytes of the new copy in the end, as the primary has them")

#define TRANSITION_HELP "Times that the mirror has entered a state"
#define TRANSITION(variable, state)                                                                \
    METRIC_DEFINE(variable, METRIC_COUNTER, "tarn_mirror_transitions_total", "to=\"" state "\"",   \
                  TRANSITION_HELP)
TRANSITION(to_joining, "joining")
TRANSITION(to_copying, "copying")
TRANSITION(to_following, "following")
TRANSITION(to_stalled, "stalled")
TRANSITION(to_lost, "lost")
TRANSITION(to_left, "left")
TRANSITION(to_rejoining, "rejoining")
TRANSITION(to_promoted, "promoted")

static struct metric *const transitions[MIRROR_STATES] = {
    [MIRROR_JOINING] = &to_joining,     [MIRROR_COPYING] = &to_copying,
    [MIRROR_FOLLOWING] = &to_following, [MIRROR_STALLED] = &to_stalled,
    [MIRROR_LOST] = &to_lost,           [MIRROR_LEFT] = &to_left,
    [MIRROR_REJOINING] = &to_rejoining, [MIRROR_PROMOTED] = &to_promoted,
};

void gauges_set(const struct facts *f, const struct facts_primary *said, enum mirror_state shown)
{
    metric_set(&lag_bytes, facts_lag_bytes(f, said));
    metric_set(&lag_transactions, facts_lag_transactions(f, said));
    metric_set(&lag_seconds, f->heartbeat_age_ms / 1000);
    metric_set(&heartbeat_seq, f->seq);
    metric_set(&state_gauge, shown);
    metric_set(&ready_gauge, f->is_ready);
    metric_set(&errors_gauge, f->errors);
    metric_set(&slices_gauge, f->slices_waiting);
}

void gauges_heal(const struct json *healing)
{
    const struct json *reseed = json_get(healing, "reseed");
    metric_set(&margin_gauge, json_get_int(healing, "deletion_margin_seconds", 0));
    metric_set(&statements_gauge, (int64_t)json_length(json_get(healing, "statements")));
    metric_set(&reseeding_gauge, json_get_string(reseed, "step", NULL) != NULL);
    metric_set(&reseed_done_gauge, json_get_int(reseed, "bytes_done", 0));
    metric_set(&reseed_total_gauge, json_get_int(reseed, "bytes_total", 0));
}

void gauges_transition(enum mirror_state to)
{
    metric_add(transitions[to], 1);
}
