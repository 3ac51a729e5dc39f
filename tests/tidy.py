#!/usr/bin/env python3
"""The rules of the house that no compiler checks.

    tests/tidy.py [--objects FILE...]   check the tree (and the library's object files)
    tests/tidy.py --self-test           show that each check refuses a bad sample

Each check is a function of a tree (a directory) that yields sentences, one for
each thing that is wrong; no sentence is good news. To add a check: write one,
add it to CHECKS, give it a bad sample in SAMPLES.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import tables

# ---- the floors: a file sees its own floor and those below ----

FLOORS = [
    ("ground", "env map pool"),
    ("ground: trees and trace", "rbtree trace"),
    ("content", "content content_*"),
    ("frame", "frame frame_* folio folio_* lru lru_*"),
    ("pgtable", "pg*"),
    ("mm", "mm mm_* vma mmap mremap advice madvise cold mlock zap swap lazyfree clear_refs rmap file pmd split"),
    ("fault", "fault access access_* migrate memory_failure thp collapse collapse_* khugepaged shrinker"),
    ("ksm", "ksm ksm_*"),
    ("policy and pacing", "policy policy_* pacing pacing_* ksmd advisor"),
    ("machine", "machine machine_* calls calls_* access_calls sysfs sysfs_* tables check check_* dump view view_*"),
]

FUNCTION_LINES_MAX = 70

# Written global data in the library. Two machines must never meet, so: none.
MUTABLE_ALLOWED = set()

# Only the ground may allocate; nothing may read a clock, a random source or the
# environment, or print.
BANNED_CALLS = (
    "malloc calloc realloc free strdup aligned_alloc posix_memalign "
    "rand random srand drand48 getrandom time clock clock_gettime gettimeofday getenv "
    "printf fprintf puts putchar perror"
).split()
BANNED_CALLS_EXEMPT = {"env.c"}

# Spelled in halves, so that this file does not break its own rule.
BANNED_WORDS = [
    ("TO" "DO", 0),
    ("FIX" "ME", 0),
    ("XX" "X", 0),
    ("HA" "CK", 0),
    ("ses" "sions?", re.I),
    ("issue" " #", re.I),
    ("/wo" "rk/", 0),
]

# How scenarios spell the tracepoints after `events:`.
TRACE_IN_SCENARIOS = {
    "ksm_start_scan": r"\bstart\(",
    "ksm_stop_scan": r"\bstop\(",
    "ksm_enter": r"\benter\(",
    "ksm_exit": r"\bexit\(",
    "ksm_merge_one_page": r"\bzero\(",
    "ksm_merge_with_ksm_page": r"\b(new|merge)\(",
    "ksm_remove_ksm_page": r"\brmnode\(",
    "ksm_remove_rmap_item": r"\brmitem\(",
    "ksm_advisor": r"\badv\(",
}


# ---- helpers ----


def files(tree, pattern):
    return sorted(tree.glob(pattern))


def text_of(tree, *patterns):
    return "\n".join(p.read_text(errors="replace") for g in patterns for p in files(tree, g))


def blank(match):
    """White space of the same shape, so that line numbers stay true."""
    return re.sub(r"[^\n]", " ", match.group(0))


def without_comments(source):
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, source, flags=re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def matches(stem, pattern):
    if pattern.endswith("*"):
        return stem.startswith(pattern[:-1])
    return stem == pattern


def floor_of(stem):
    # The longest pattern wins: content_x belongs to content_*, whatever else matches.
    best = None
    for level, (_, patterns) in enumerate(FLOORS):
        for pattern in patterns.split():
            if matches(stem, pattern) and (best is None or len(pattern) > best[1]):
                best = (level, len(pattern))
    return None if best is None else best[0]


def tracked(tree):
    try:
        out = subprocess.run(
            ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True)
        names = [n for n in out.stdout.decode().split("\0") if n]
        if names:
            return [tree / n for n in names]
    except (OSError, subprocess.CalledProcessError):
        pass
    return [p for p in tree.rglob("*") if p.is_file()
            and p.relative_to(tree).parts[0] not in (".git", "build")]


# ---- the checks ----


def check_floors(tree):
    """lib/: an include goes down the floors; every file has a floor."""
    for path in files(tree, "lib/*.[ch]"):
        own = floor_of(path.stem)
        if own is None:
            yield f"{path.name}: has no floor; give it one in tests/tidy.py:FLOORS"
            continue
        for match in re.finditer(r'^#\s*include\s+"([^"]+)"', path.read_text(), flags=re.M):
            name = match.group(1)
            if name.startswith("ksmsim"):
                continue
            target = floor_of(pathlib.Path(name).stem)
            if target is None or target > own:
                yield f"lib/{path.name}: includes {name}, which is not on its floor or below"


def check_sim_includes(tree):
    """sim/: only the public header and sim's own headers."""
    own = {p.name for p in files(tree, "sim/*.h") + files(tree, "sim/*.def")}
    for path in files(tree, "sim/*.[ch]"):
        for match in re.finditer(r'^#\s*include\s+"([^"]+)"', path.read_text(), flags=re.M):
            name = match.group(1)
            if not name.startswith("ksmsim") and name.removeprefix("sim/") not in own:
                yield f"sim/{path.name}: includes {name}: only ksmsim.h and sim/ are open to it"


def check_calls(tree):
    """lib/: no allocation, clock, chance, environment or output outside env.c."""
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED_CALLS) + r")\s*\(")
    for path in files(tree, "lib/*.[ch]"):
        if path.name in BANNED_CALLS_EXEMPT:
            continue
        code = without_comments(path.read_text())
        for match in call.finditer(code):
            yield f"lib/{path.name}:{line_of(code, match.start())}: calls {match.group(1)}()"


def check_tables_end(tree):
    """Every table ends by undefining its row macro and defines nothing."""
    for path in files(tree, "include/ksmsim/*.def") + files(tree, "sim/*.def"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        macros = set(re.findall(r"^([A-Z_]+)\(", code, flags=re.M))
        last = code.strip().split("\n")[-1]
        macros = macros or {last.removeprefix("#undef ")}  # a table may be empty
        if [last] != [f"#undef {macro}" for macro in macros]:
            yield f"{path.name}: does not end with #undef of its row macro"
        if re.search(r"^#\s*define", code, flags=re.M):
            yield f"{path.name}: defines a macro"


def check_function_length(tree):
    """No function above FUNCTION_LINES_MAX lines, braces included."""
    for path in [p for d in ("lib", "sim", "tests", "bench", "examples")
                 for p in files(tree, d + "/*.[ch]")]:
        lines = path.read_text().split("\n")
        start = None
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                length = number - start + 1
                if length > FUNCTION_LINES_MAX:
                    head = " ".join(lines[max(0, start - 4):start - 1])
                    name = re.findall(r"(\w+)\(", head)
                    yield (f"{path.parent.name}/{path.name}:{start}: {name[-1] if name else '?'}() "
                           f"has {length} lines, {FUNCTION_LINES_MAX} are allowed")
                start = None


def gates(tree):
    """Feature rows that other tables name in their `feature` column are used by that."""
    knobs = [row[6] for row in tables.table("knobs", tree)]
    counters = [row[3] for row in tables.table("counters", tree)]
    return set(knobs + counters)


def check_rows_used(tree):
    """Every row of every table is used by the library or the command line; files that only store
    what is written say so."""
    code = without_comments(text_of(tree, "lib/*.[ch]", "sim/*.[ch]"))
    gated = gates(tree)
    spellings = {
        "features": r"\bKS_FEAT_{}\b",
        "trace": r"\bKSMSIM_TRACE_{}\b",
        "counters": r"\bKSMSIM_COUNT_{}\b",
        "knobs": r"\bknobs?(?:\.|->){}\b|\bKS_KNOB_{}\b",
        "inject": r"\bKSMSIM_INJECT_{}\b",
        "errors": r"\bKSMSIM_E{}\b",
        "costs": r"\bKS_COST_{}\b",
    }
    for table, spelling in spellings.items():
        for row in tables.table(table, tree):
            if table == "features" and row[0] in gated:
                continue
            if table == "knobs" and "stored, without effect" in row[-1]:
                continue
            if not re.search(spelling.replace("{}", row[0]), code):
                yield f"{table}.def: {row[0]} is used nowhere in lib/ or sim/"


def check_rows_marked(tree):
    """Coverage marks: what can happen is named by some test or scenario."""
    tests = text_of(tree, "tests/*.c")
    scenarios = text_of(tree, "tests/replay/*.ksm", "tests/replay/*.lua",
                        "sim/scenarios/*.ksm", "sim/scenarios/*.lua")
    scenarios = re.sub(r"(^|\s)#.*$", "", scenarios, flags=re.M)
    marks = {
        "features": (r"\bKS_FEAT_{}\b|\"{}\"|feature\s+{}\b", r"^\s*feature\s+{}\b|feature\(\s*[\"']{}"),
        "counters": (r"\bKSMSIM_COUNT_{}\b|\b{}=", r"\b{}="),
        "inject": (r"\bKSMSIM_INJECT_{}\b|inject\s+{}\b", r"^\s*inject\s+{}\b|inject\(\s*[\"']{}"),
        "trace": (r"\bKSMSIM_TRACE_{}\b", None),
    }
    for table, (in_tests, in_scenarios) in marks.items():
        for row in tables.table(table, tree):
            name = row[0]
            in_lines = in_scenarios or TRACE_IN_SCENARIOS.get(name, r"\b{}\b")
            if re.search(in_tests.replace("{}", name), tests):
                continue
            if re.search(in_lines.replace("{}", name), scenarios + tests, flags=re.M):
                continue
            yield f"{table}.def: {name} is named by no test and no scenario"


def check_words(tree):
    """No debts, and no word about how the text came to be."""
    for path in tracked(tree):
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        for word, flags in BANNED_WORDS:
            edge = r"\b" if word[0].isalnum() else ""
            tail = r"\b" if word[-1].isalpha() or word[-1] == "?" else ""
            for match in re.finditer(edge + word + tail, text, flags=flags):
                yield (f"{path.relative_to(tree)}:{line_of(text, match.start())}: "
                       f"the word '{match.group(0)}'")


def check_objects(objects):
    """Library objects: no written global data; global names begin with ks_ or ksmsim_."""
    for path in objects:
        out = subprocess.run(["objdump", "-t", path], check=True, capture_output=True, text=True)
        for line in out.stdout.splitlines():
            match = re.match(r"[0-9a-f]{8,} (.{7}) (\S+)\s+[0-9a-f]+ (?:\.\w+ )?(\S+)$", line)
            if not match:
                continue
            flags, section, name = match.groups()
            where = os.path.basename(path)
            if "d" not in flags and re.match(r"(\.t?bss|\.t?data(?!\.rel\.ro)|\*COM\*)", section):
                if name not in MUTABLE_ALLOWED:
                    yield f"{where}: {name} is a mutable global ({section})"
            if "g" in flags and section != "*UND*" and not re.match(r"ks_|ksmsim_", name):
                yield f"{where}: global name {name} lacks the prefix ks_ or ksmsim_"


CHECKS = [check_floors, check_sim_includes, check_calls, check_tables_end, check_function_length,
          check_rows_used, check_rows_marked, check_words]


# ---- self-test: a good tree passes, each bad sample is refused ----

GOOD_TREE = {
    "include/ksmsim/features.def": 'FEATURE(f, 1, "d")\n#undef FEATURE\n',
    "include/ksmsim/trace.def": 'TRACE(ksm_exit, "ksm", "m", "d")\n#undef TRACE\n',
    "include/ksmsim/counters.def": 'COUNTER(c, STORED, "x", always, PAGES, "d")\n#undef COUNTER\n',
    "include/ksmsim/knobs.def":
        'KNOB(k, "ksm/k", 0, 0, 1, UINT, always, PAGES, "d")\n#undef KNOB\n',
    "include/ksmsim/inject.def": 'INJECT(i, "d")\n#undef INJECT\n',
    "include/ksmsim/errors.def": 'ERROR(E, -1, "d")\n#undef ERROR\n',
    "include/ksmsim/costs.def": 'COST(v, 1, "d")\n#undef COST\n',
    "lib/env.c": "void ks_x(void)\n{\n\tfree(0);\n}\n",
    "lib/mm.c": '#include "env.h"\nint x = KS_FEAT_f + KSMSIM_TRACE_ksm_exit + KSMSIM_COUNT_c + '
                "knob.k + KSMSIM_INJECT_i + KSMSIM_EE + KS_COST_v; /* malloc() */\n",
    "sim/main.c": '#include "ksmsim.h"\n',
    "tests/replay/a.ksm": "feature f 1\ninject i 1\nexpect c=1\nexpect events: exit(A)\n",
}

SAMPLES = [
    # check, file, bad content, a word that the sentence must have
    (check_floors, "lib/mm.c", '#include "ksm.h"\n', "ksm.h"),
    (check_floors, "lib/attic.c", "\n", "no floor"),
    (check_sim_includes, "sim/main.c", '#include "env.h"\n', "env.h"),
    (check_calls, "lib/mm.c", "void ks_y(void)\n{\n\tp = malloc(1);\n}\n", "malloc"),
    (check_calls, "lib/vma.c", "void ks_y(void)\n{\n\tt = time(0);\n}\n", "time"),
    (check_tables_end, "include/ksmsim/inject.def", 'INJECT(i, "d")\n', "#undef"),
    (check_tables_end, "include/ksmsim/inject.def",
     '#define A 1\nINJECT(i, "d")\n#undef INJECT\n', "defines"),
    (check_function_length, "lib/env.c",
     "void ks_long(int a)\n{\n" + "\ta++;\n" * FUNCTION_LINES_MAX + "}\n", "ks_long"),
    (check_rows_used, "lib/mm.c", "/* KS_FEAT_f */\n", "features.def: f"),
    (check_rows_used, "lib/mm.c", "int x = KS_FEAT_f;\n", "knobs.def: k"),
    (check_rows_marked, "tests/replay/a.ksm", "# feature f 1\n", "features.def: f"),
    (check_rows_marked, "tests/replay/a.ksm", "feature f 1\nexit A\n", "trace.def: ksm_exit"),
    (check_words, "docs/x.md", "a TO" "DO here\n", "TO" "DO"),
    (check_words, "docs/x.md", "seen in ses" "sion 3\n", "ses" "sion"),
    (check_words, "docs/x.md", "see issue" " #4\n", "issue" " #"),
    (check_words, "docs/x.md", "in /wo" "rk/main\n", "/wo" "rk/"),
]

OBJECT_SAMPLES = [
    ("static int calls; int ks_f(void); int ks_f(void) { return calls++; }", "calls"),
    ("int ks_shared = 3;", "ks_shared"),
    ("_Thread_local int ks_tls;", "ks_tls"),
    ("int helper(void); int helper(void) { return 0; }", "helper"),
]
OBJECT_GOOD = ('static const char *const names[] = { "a" }; const char *ks_name(int i); '
               "const char *ks_name(int i) { return names[i]; }")


def write_tree(tree, content):
    for name, text in content.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def object_sentences(tree, source):
    (tree / "o.c").write_text(source)
    subprocess.run([os.environ.get("CC", "cc"), "-O0", "-fPIC", "-c", "-o", str(tree / "o.o"),
                    str(tree / "o.c")], check=True)
    return list(check_objects([str(tree / "o.o")]))


def self_test():
    failures = []
    with tempfile.TemporaryDirectory() as name:
        tree = pathlib.Path(name)
        write_tree(tree, GOOD_TREE)
        for check in CHECKS:
            failures += [f"{check.__name__} refuses the good tree: {s}" for s in check(tree)]
        failures += [f"good object refused: {s}" for s in object_sentences(tree, OBJECT_GOOD)]
        for source, word in OBJECT_SAMPLES:
            if not any(word in s for s in object_sentences(tree, source)):
                failures.append(f"check_objects misses: {source}")
    for check, path, text, word in SAMPLES:
        with tempfile.TemporaryDirectory() as name:
            tree = pathlib.Path(name)
            write_tree(tree, {**GOOD_TREE, path: text})
            if not any(word in s for s in check(tree)):
                failures.append(f"{check.__name__} misses {path}: {text!r}")
    for sentence in failures:
        print(sentence)
    print(f"tidy self-test: {len(SAMPLES) + len(OBJECT_SAMPLES)} bad samples, "
          f"{len(failures)} failures")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--objects", nargs="*", default=[], help="object files of the library")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    sentences = [s for check in CHECKS for s in check(tables.SOURCE)]
    sentences += list(check_objects(args.objects))
    for sentence in sentences:
        print(sentence)
    print(f"tidy: {len(CHECKS) + bool(args.objects)} checks, {len(sentences)} complaints")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
