#!/usr/bin/env python3
"""Instructions a page for the small cases of bench_cases: the regression figure
that does not depend on the load of the machine.

    bench/instructions.py BENCH_CASES           write bench/instructions.txt
    bench/instructions.py --check BENCH_CASES   exit 1 if a case costs 10 % more than written
                                                there, 77 (skipped) without valgrind

Each case runs N and 2 N times under valgrind; the difference is what N cost.
Counts depend on compiler and options: the file is for the release preset with gcc 12.
"""

import pathlib
import re
import shutil
import subprocess
import sys

FILE = pathlib.Path(__file__).resolve().parent / "instructions.txt"
REPETITIONS = {"batches-of-100": 1}
SLACK = 1.10


def count(program, case, times):
    """Instructions and pages of a run."""
    run = subprocess.run(
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
         program, case, str(times)], capture_output=True, text=True, check=True)
    refs = re.search(r"I +refs: +([0-9,]+)", run.stderr)
    return int(refs.group(1).replace(",", "")), int(run.stdout)


def measure(program):
    names = subprocess.run([program, "--list"], capture_output=True, text=True,
                           check=True).stdout.split()
    for case in names:
        times = REPETITIONS.get(case, 9)
        once, twice = count(program, case, times), count(program, case, 2 * times)
        yield case, (twice[0] - once[0]) / (twice[1] - once[1])


def main():
    check = sys.argv[1:2] == ["--check"]
    if len(sys.argv) != 2 + check:
        sys.exit(__doc__)
    if not shutil.which("valgrind"):
        print("instructions: skipped, valgrind is not installed")
        sys.exit(77)
    found = dict(measure(sys.argv[-1]))
    if not check:
        FILE.write_text("".join(f"{case:16} {figure:8.1f}\n" for case, figure in found.items()))
    known = {line.split()[0]: float(line.split()[1]) for line in FILE.read_text().splitlines()}
    worse = [case for case in found if found[case] > known.get(case, 0) * SLACK]
    for case, figure in found.items():
        print(f"{case:16} {figure:8.1f} instructions a page, known {known.get(case, 0):8.1f}"
              + ("   MORE" if case in worse else ""))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
