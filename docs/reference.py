#!/usr/bin/env python3
"""Writes docs/REFERENCE.md from the tables of include/ksmsim/ and sim/.

    docs/reference.py          write the file
    docs/reference.py --check  exit 1 if the file is not what would be written
"""

import difflib
import pathlib
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests"))
import tables  # noqa: E402

TARGET = SOURCE / "docs" / "REFERENCE.md"

# table, heading, sentence, columns: heading and field of the row
SECTIONS = [
    ("profiles", "Profiles", "The kernels that the model can be.",
     [("profile", 1), ("source", 2)]),
    ("features", "Features", "Behaviours that differ between kernels: 1 means that the kernel of the "
     "column behaves so. Each row can be switched on top of a profile.", None),
    ("knobs", "Knobs", "Files below `/sys/kernel/mm`; those in `ksmsim/` are the model's own. A file "
     "exists only where its feature is on.",
     [("file", 1), ("default", 2), ("least", 3), ("most", 4), ("unit", 7), ("feature", 6),
      ("meaning", 8)]),
    ("counters", "Counters", "*file* is where the kernel shows the figure; `model` is what only the "
     "model can count.",
     [("counter", 0), ("file", 2), ("unit", 4), ("feature", 3), ("meaning", 5)]),
    ("mthp", "Statistics of large folios", "Below `transparent_hugepage/hugepages-<size>kB/stats/`, for each "
     "size of 4 pages up to a PMD, where the kernel has sizes below that of a PMD.",
     [("statistic", 0), ("feature", 1), ("meaning", 2)]),
    ("trace", "Tracepoints", "In the order and with the fields of the kernel.",
     [("event", 0), ("fields", 2), ("meaning", 3)]),
    ("costs", "Costs", "What each primitive costs in modelled time. Counts are exact; times are "
     "these prices times the counts.",
     [("primitive", 0), ("ns", 1), ("meaning", 2)]),
    ("inject", "Injected failures", "Allocations of the simulated kernel that can be made to fail.",
     [("name", 0), ("meaning", 1)]),
    ("policies", "Policies", "Rules other than the kernel's, as `name=value`; `ksmsim_policy_choose()` and the "
     "operation `policy` take them.",
     [("name", 1), ("value", 2), ("meaning", 3)]),
    ("sim/ops", "Operations", "What a scenario can do; see [SCENARIOS.md](SCENARIOS.md) for the words.",
     [("operation", 0), ("arguments", 1), ("meaning", 2)]),
    ("sim/figures", "Figures of a process", "What `expect P.NAME=VALUE` can ask.",
     [("figure", 0), ("unit", 3), ("meaning", 4)]),
    ("advices", "Advices", "What `madvise` understands.",
     [("advice", 0), ("Linux value", 1), ("meaning", 2)]),
    ("geometries", "Geometries", "Page-table shapes.",
     [("geometry", 1), ("page shift", 2), ("address bits", 3), ("levels", 4)]),
    ("sim/findings", "Findings", "What `ksmsim doctor` can find; see [DOCTOR.md](DOCTOR.md).",
     [("finding", 0), ("severity", 1), ("meaning", 2), ("what to change", 3)]),
    ("errors", "Errors", "What the library can refuse its caller, as `KSMSIM_E...`.",
     [("error", 0), ("number", 1), ("meaning", 2)]),
]

FIELD_LETTERS = {"m": "mm", "a": "vaddr", "p": "pfn", "k": "has_ksm_page", "e": "error", "s": "seq",
                 "r": "rmap_items", "t": "scan_time", "n": "pages_to_scan", "c": "cpu_percent",
                 "f": "referenced", "z": "none_or_zero", "u": "unmapped", "w": "swapped_in",
                 "i": "isolated", "x": "status", "g": "ret"}

CODE_HEADINGS = {"profile", "feature", "file", "counter", "event", "primitive", "name", "advice",
                 "geometry", "error", "where", "operation", "arguments", "figure", "finding", "statistic", "value"}


def feature_columns():
    names = [row[1].removeprefix("linux-") for row in tables.table("profiles")]
    columns = [("feature", 0)] + [(name, 1 + i) for i, name in enumerate(names)]
    return columns + [("where", 1 + len(names)), ("behaviour", 2 + len(names))]


def cell(heading, value):
    if heading == "fields":
        return ", ".join(FIELD_LETTERS[letter] for letter in value)
    if heading in ("unit", "severity"):
        return value.lower()
    if heading == "feature" and value == "always":
        return ""
    value = value.replace("|", "\\|")
    return f"`{value}`" if heading in CODE_HEADINGS and value else value


def section(table, title, sentence, columns):
    columns = columns or feature_columns()
    lines = [f"## {title}", "", sentence, "",
             "| " + " | ".join(heading for heading, _ in columns) + " |",
             "|" + "---|" * len(columns)]
    for row in tables.table(table):
        lines.append("| " + " | ".join(cell(h, row[i]) for h, i in columns) + " |")
    return lines + [""]


def reference():
    lines = ["# Reference", "",
             "Written by `docs/reference.py` from the tables in `include/ksmsim/` and `sim/`: change those, and "
             "run it.", ""]
    for each in SECTIONS:
        lines += section(*each)
    return "\n".join(lines).rstrip("\n") + "\n"


def main():
    wanted = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted)
        return 0
    found = TARGET.read_text() if TARGET.exists() else ""
    diff = list(difflib.unified_diff(found.splitlines(), wanted.splitlines(), "docs/REFERENCE.md",
                                     "the tables", lineterm="", n=0))
    print("\n".join(diff) if diff else "docs/REFERENCE.md is what the tables say")
    if diff:
        print("run docs/reference.py")
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
