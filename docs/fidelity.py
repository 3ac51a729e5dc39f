#!/usr/bin/env python3
"""Writes docs/FIDELITY.md: what of the model has been compared with a kernel.

    docs/fidelity.py          write the file
    docs/fidelity.py --check  exit 1 if the file is not what would be written

From tests/recordings/ (what was compared; a folder there is of another kernel), the
names of the scenarios (areas), sim/masks.def (what is not compared), and the Models:
and Differs: lines of lib/.
"""

import collections
import difflib
import json
import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests"))
import tables  # noqa: E402

TARGET = SOURCE / "docs" / "FIDELITY.md"
RECORDINGS = SOURCE / "tests" / "recordings"

# An area and the words of a scenario's name that put it there; the first that fits.
AREAS = [
    ("huge pages and large folios", r"^[st]\d\d|thp|huge|collapse|folio|pmd|guard-page"),
    ("knobs and files", "parse|knob|millisecs|files|written|pages-to-scan-takes|advisor"),
    ("zero pages", "zero"),
    ("smart scan", "smart-scan|skip"),
    ("chains and max_page_sharing", "chain|dup|limit|max-sharing|max-page-sharing"),
    ("stale nodes and pruning", "stale|prun|drop|leftover|lingers"),
    ("fork, exec and exit", "fork|exit|exec|kill|generation|wipeonfork|dontfork"),
    ("unmerging and run=2", "unmerg|run-2|run2|run0|run-0"),
    ("prctl and merge-any", "prctl|merge-any"),
    ("pins and references", "pin|referenc|lru|drain"),
    ("mappings", "mremap|munmap|mprotect|madvise|madv|mlock|locked|area|region|remap|hole|sparse|"
     "tib|32t|moving|growing|file|shared-|map-shared|without-access|read-only"),
    ("scan order and batches", "batch|scan|cursor|order|step|boundary"),
    ("merging and checksums", ""),
]


def area_of(name):
    return next(area for area, words in AREAS if re.search(words, name))


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Area:
    def __init__(self):
        self.scenarios = self.operations = self.events = self.expectations = 0
        self.failed = []


def survey():
    areas = collections.defaultdict(Area)
    kernels = collections.Counter()
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        lines = read(path)
        area = areas[area_of(path.name)]
        area.scenarios += 1
        kernels[lines[0]["kernel"]] += 1
        for line in lines[1:]:
            area.operations += "result" in line
            area.events += len(line.get("events", []))
            area.expectations += "held" in line
            if line.get("held") is False:
                area.failed.append(path.name)
    return areas, kernels


class Folder:
    """The recordings of another kernel, and those that are the same as the first one's."""

    def __init__(self, path):
        own = sorted(path.glob("*.jsonl"))
        same = (path / "SAME").read_text(encoding="utf-8").split()
        self.profile = path.name
        self.areas = collections.Counter(map(area_of, [each.name for each in own] + same))
        self.kernels = sorted({read(each)[0]["kernel"] for each in own})
        self.failed = sorted({each.name for each in own
                              for line in read(each)[1:] if line.get("held") is False})
        self.skipped = skipped_in(path)

    def total(self):
        return sum(self.areas.values())


def version_of(folder):
    return [int(number) for number in re.findall(r"\d+", folder.name)]


def folders():
    return [Folder(path) for path in sorted(RECORDINGS.glob("linux-*"), key=version_of)]


def skipped_in(folder):
    """name -> why"""
    lines = (folder / "SKIPPED").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def named(names):
    return ", ".join(f"`{name}`" for name in names)


def recorded(areas, kernels, others):
    names = [f"{kernel} ({nr} scenarios)" for kernel, nr in sorted(kernels.items())]
    names += [f"{' and '.join(other.kernels)} ({other.total()})" for other in others]
    yield "## Recorded"
    yield ""
    yield ("Each operation of these scenarios ran on a real kernel, and the model shows the same after "
           "each: result, events in their order, counters, figures of every process, state and frame "
           "of every page. `tests/test_recordings.c` tests it; the differences are none, or it fails.")
    yield ""
    yield f"Kernels: {', '.join(names)}."
    if others:
        yield ("The first numbers are those of the first kernel; a column of another one has the number "
               "of scenarios that ran there, in a guest, and that its profile shows the same for.")
    yield ""
    yield "| area | scenarios | operations | events | expectations |" + "".join(
        f" {other.profile} |" for other in others)
    yield "|---|---:|---:|---:|---:|" + "---:|" * len(others)
    total = [0] * (4 + len(others))
    for name, _ in AREAS:
        if name not in areas:
            continue
        area = areas[name]
        row = [area.scenarios, area.operations, area.events, area.expectations]
        row += [other.areas[name] for other in others]
        total = [a + b for a, b in zip(total, row)]
        yield "| " + name + " | " + " | ".join(map(str, row)) + " |"
    yield "| **all** | " + " | ".join(map(str, total)) + " |"
    yield ""
    failed = sorted({name for area in areas.values() for name in area.failed})
    if failed:
        yield f"Expectations that the kernel itself does not meet are in: {named(failed)}."
        yield ""
    for other in others:
        if other.failed:
            yield f"Those that {other.profile} does not meet are in: {named(other.failed)}."
            yield ""


def masked():
    yield "## Masked"
    yield ""
    rows = tables.table("sim/masks")
    if rows:
        yield "What no model can know is not compared, by name; a report counts each use."
        yield ""
        yield "| mask | what | reason |"
        yield "|---|---|---|"
        for name, what, reason in rows:
            yield f"| `{name}` | `{what}` | {reason} |"
    else:
        yield "Nothing: all that a kernel shows is compared."
    yield ""
    yield ("The LRU batches of the CPUs are drained after every operation, on both sides. A scenario "
           "about what is in them runs without that, on one CPU.")
    yield ""


def blind():
    """What no recording shows; an old one does not know of large folios, or of references."""
    headers = [read(path)[0] for path in sorted(RECORDINGS.glob("*.jsonl"))]
    headers = [header for header in headers if "large_folios" in header] or headers
    headers = [header for header in headers if "refs" in header["blind"].get("pages", [])] or headers
    unseen = {kind: [name for name in names
                     if all(name in header["blind"].get(kind, []) for header in headers)]
              for kind, names in headers[0].get("blind", {}).items()}
    yield "## Not to be seen on a live kernel"
    yield ""
    for kind, names in unseen.items():
        yield f"* {kind}: " + ", ".join(f"`{name}`" for name in names)
    yield ""


HUGE_PAGES = """
* What the whole machine counts of huge pages is read right before and after each operation. If
  nothing but these counters differs, the run is repeated: another process may have moved them.
* `enabled` and the sizes are `always` only during the operations of a scenario that sets them so, and
  `madvise` in between. khugepaged makes no pass with `always`: it would work on everybody's memory.
* khugepaged makes a pass when it is asked to, and never otherwise. Its list is never empty.
* DAMON that watches physical memory (`/sys/kernel/mm/damon`) turns accessed bits of entries into a mark of
  the page, which khugepaged takes for an access of every process that maps it, and holds and locks pages for a
  moment. Where it is on, khugepaged may collapse more than the model, and a merge may fail: such runs differ
  now and then.
* A folio that `shrink` cannot split it tries many times; that counts once.
* Allocations of the huge zero folio are counted only where no other process holds it.
* Of large folios kpageflags shows for every page what is true of the first: exclusive, dirty, lazily
  freed, locked.
"""


def huge_pages():
    yield "## Huge pages on a live kernel"
    yield from HUGE_PAGES.splitlines()
    yield ""


def by_reason(skipped_ones):
    reasons = collections.defaultdict(list)
    for name, reason in skipped_ones.items():
        reasons[reason].append(name)
    for reason, names in sorted(reasons.items()):
        yield f"* {reason} ({len(names)}): {named(names)}"


def skipped(others):
    first = skipped_in(RECORDINGS)
    yield "## Not recorded"
    yield ""
    yield from by_reason(first)
    yield ""
    for other in others:
        more = {name: why for name, why in other.skipped.items() if first.get(name) != why}
        if more:
            yield f"Of {other.profile}, further:"
            yield ""
            yield from by_reason(more)
            yield ""


def statements(word):
    """The lines of lib/ that begin with this word in a comment, with what continues them."""
    for path in sorted((SOURCE / "lib").glob("*.[ch]")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(word + r":((?:[^\n*]|\*(?!/))*(?:\n \* +(?!@|Returns:|Models:|Differs:)[^\n*]+)*)", text):
            yield path.name, re.sub(r"\s*\n \*\s*|\s+", " ", match.group(1)).strip(" .")


def models():
    found = collections.defaultdict(set)
    for name, text in statements("Models"):
        found[name].update(re.findall(r"(?:[\w./]+:)?\w+\(\)", text))
    yield "## What is modelled"
    yield ""
    yield "Kernel functions whose behaviour a file of `lib/` has, as its comments name them."
    yield ""
    yield "| file | functions |"
    yield "|---|---|"
    for name in sorted(found):
        if found[name]:
            yield f"| `{name}` | " + ", ".join(f"`{f}`" for f in sorted(found[name])) + " |"
    yield ""


def differs():
    lines = [f"* `{name}`: {text}" for name, text in statements("Differs")]
    if lines:
        yield "## What is known to differ"
        yield ""
        yield from lines
        yield ""


def document():
    areas, kernels = survey()
    others = folders()
    lines = ["# Fidelity", "", "Written by `docs/fidelity.py` from the recordings, the masks and the "
             "comments of the library.", ""]
    for part in (recorded(areas, kernels, others), masked(), blind(), huge_pages(), skipped(others),
                 differs(), models()):
        lines.extend(part)
    return "\n".join(lines).rstrip() + "\n"


def main():
    if not any(RECORDINGS.glob("*.jsonl")):
        print("no recordings: nothing to write about")
        return 0
    text = document()
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    old = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True),
                                               "docs/FIDELITY.md", "as it should be"))
    return int(old != text)


if __name__ == "__main__":
    sys.exit(main())
