"""From the results of mirror.py to tables."""

TITLES = {"stat": "stat after expiry", "list": "readdir and lstat, an entry",
          "read": "open, read 4 KiB, close, warm", "create": "create",
          "write": "create, write 4 KiB, close", "rename": "rename", "unlink": "unlink"}


def _table(header, rows):
    return ["", "| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|",
            *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def _replication(result):
    lag, behind, audit = result["lag"], result["catch_up"], result["audit"]
    rows = [["commit → a statement at the mirror sees it, p50 / p99",
             f"{lag['database']['p50_ms']} / {lag['database']['p99_ms']} ms"],
            ["create → a mount of the mirror shows it, p50 / p99",
             f"{lag['mount']['p50_ms']} / {lag['mount']['p99_ms']} ms"],
            ["creates at the primary meanwhile", f"{lag['operations_per_second']} / s"],
            [f"the primary makes {behind['operations']} files, 16 threads",
             f"{behind['primary_per_second']} / s"],
            ["the mirror catches up", f"{behind['catch_up_per_second']} / s, {behind['ratio']}×"],
            [f"audit of {audit['rows']} rows at the default pace", f"{audit['seconds']} s"],
            ["… of a core of the primary's PostgreSQL", f"{audit['core_percent']} %"]]
    return _table(["replication, loopback", ""], rows)


def _reads(result):
    rows = [[TITLES[work], by["0 ms"], by["80 ms"], f"{by['80 ms'] / by['0 ms']:.2f}×"]
            for work, by in result["reads"].items()]
    return _table(["at a mirror, ms/op", "primary at 0 ms", "at 80 ms", "ratio"], rows)


def _writes(result):
    rows = []
    for distance, by in result["writes"].items():
        for work in ("create", "write", "rename", "unlink"):
            ours, theirs = ((by[who] or {}).get(work) for who in ("tarn", "stock"))
            ratio = f"{ours / theirs:.1f}×" if ours and theirs else ""
            rows.append([f"{TITLES[work]}, {distance}", ours or "read-only yet", theirs or "", ratio])
    return _table(["one thread, operations / s", "mount of a mirror",
                   "stock client at the far PostgreSQL", "ratio"], rows)


def as_markdown(result):
    facts = result["facts"]
    noise = ", **the machine was not idle**" if facts["is_noisy"] else ""
    head = (f"Commit {facts['commit']}, {facts['cores']} cores, kernel {facts['kernel']}, load before"
            f" {facts['load_before']}{noise}; {facts['took_seconds']} s in all.")
    return "\n".join([head, *_replication(result), *_reads(result), *_writes(result)]) + "\n"
