"""From the samples of meta.py to medians, ratios and a table."""

from collections import defaultdict
from statistics import median

# Design, section 10: how many times faster than the stock client, locally and at 30 ms from a
# client that has no mirror. "write" is create, write and close: two exchanges.
GOALS = {
    ("local", "create"): 3, ("local", "write"): 3, ("local", "rename"): 3, ("local", "unlink"): 3,
    ("local", "setattr"): 3, ("local", "link"): 3, ("30 ms", "setattr"): 4, ("30 ms", "link"): 4,
    ("local", "mkdir"): 3, ("local", "stat"): 3, ("local", "read"): 3, ("local", "list"): 5,
    ("local", "rm -r"): 5,
    ("30 ms", "create"): 4, ("30 ms", "write"): 4, ("30 ms", "rename"): 4, ("30 ms", "unlink"): 4,
    ("30 ms", "mkdir"): 4, ("30 ms", "stat"): 3, ("30 ms", "read"): 3, ("30 ms", "list"): 5,
    ("30 ms", "rm -r"): 5,
}
TITLES = {
    "create": "create", "write": "create, write 4 KiB, close", "stat": "stat after expiry",
    "read": "open, read 4 KiB, close", "setattr": "chmod", "link": "link",
    "rename": "rename", "unlink": "unlink",
    "list": "readdirplus of 10 000", "mkdir": "mkdir of a tree", "rm -r": "rm -r of a tree",
    "rmr": "rmr of a tree", "git checkout": "git checkout",
}


def _per_operation_ms(sample):
    """What one operation takes as its thread sees it, on average."""
    return sample["seconds"] * 1000 * sample["threads"] / sample["operations"]


def _cpu_ms(sample):
    used = sample["mount_cpu_seconds"] + sample["postgres_cpu_seconds"]
    return used * 1000 / sample["operations"]


def summary(samples):
    """One record for each work: medians in ms for an operation, and how they compare."""
    groups = defaultdict(lambda: defaultdict(dict))
    for sample in samples:
        key = sample["distance"], sample["threads"], sample["work"]
        groups[key][sample["who"]][sample["round"]] = sample
    return [_compare(*key, by_who) for key, by_who in groups.items()]


def _compare(distance, threads, work, by_who):
    ours, theirs = by_who["Tarn"], by_who["stock"]
    pairs = [_per_operation_ms(theirs[r]) / _per_operation_ms(ours[r]) for r in ours if r in theirs]
    record = {"distance": distance, "threads": threads, "work": work, "rounds": len(pairs)}
    for name, by_round in (("tarn", ours), ("stock", theirs)):
        record[f"{name}_ms"] = round(median(map(_per_operation_ms, by_round.values())), 4)
        record[f"{name}_cpu_ms"] = round(median(map(_cpu_ms, by_round.values())), 4)
    record["ratio"] = round(record["stock_ms"] / record["tarn_ms"], 2)
    record["ratio_least"], record["ratio_most"] = round(min(pairs), 2), round(max(pairs), 2)
    # The goals are for one thread.
    record["goal"] = GOALS.get((distance, work)) if threads == 1 else None
    return record


def _number(value):
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def _row(record):
    goal = record["goal"]
    verdict = "" if goal is None else "yes" if record["ratio"] >= goal else "**no**"
    cells = [TITLES[record["work"]], record["threads"], _number(record["tarn_ms"]),
             _number(record["stock_ms"]), f"{record['ratio']:.1f}×",
             f"{record['ratio_least']:.1f}–{record['ratio_most']:.1f}",
             f"{_number(record['tarn_cpu_ms'])} / {_number(record['stock_cpu_ms'])}",
             f"≥ {goal}×" if goal else "", verdict]
    return "| " + " | ".join(map(str, cells)) + " |"


def as_markdown(result):
    facts, lines = result["facts"], []
    noise = ", **the machine was not idle**" if facts["is_noisy"] else ""
    sync = "on disk, with fsync" if facts["sync"] == "disk" else "in memory, without fsync"
    lines.append(f"PostgreSQL {sync}. Commit {facts['commit']}, {facts['peer']}, {facts['cores']}"
                 f" cores, kernel {facts['kernel']}, load before {facts['load_before']}{noise};"
                 f" {facts['took_seconds']} s in all.")
    for distance in dict.fromkeys(record["distance"] for record in result["summary"]):
        rows = [record for record in result["summary"] if record["distance"] == distance]
        lines += ["", f"**{distance}**, median of {max(r['rounds'] for r in rows)} rounds", "",
                  "| work | threads | Tarn, ms/op | stock, ms/op | ratio | of one round"
                  " | CPU ms/op, both | goal | reached |",
                  "|---|--:|--:|--:|--:|--:|--:|--:|---|", *map(_row, rows)]
    return "\n".join(lines) + "\n"
