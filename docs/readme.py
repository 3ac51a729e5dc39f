#!/usr/bin/env python3
"""Keeps the two pasted blocks of README.md true.

    docs/readme.py KSMSIM          write them
    docs/readme.py --check KSMSIM  exit 1 if they are not what would be written

KSMSIM is the command line program; the blocks are what it prints for the
scenario of run.sh, and examples/savings.c.
"""

import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
README = SOURCE / "README.md"


def output(program):
    return subprocess.run([program, "run", "sim/scenarios/two-guests.ksm"], cwd=SOURCE, check=True,
                          capture_output=True, text=True).stdout


def example(_):
    return (SOURCE / "examples" / "savings.c").read_text().expandtabs(8)


BLOCKS = [("What the first one prints:", output), ("## The library", example)]


def indented(text):
    return [("    " + line).rstrip() for line in text.rstrip("\n").split("\n")]


def with_block(lines, marker, text):
    """Lines with the indented block after the marker line replaced."""
    start = lines.index(marker) + 2
    end = start
    while lines[end] == "" or lines[end].startswith("    "):
        end += 1
    return lines[:start] + indented(text) + [""] + lines[end:]


def main():
    check = sys.argv[1:2] == ["--check"]
    program = sys.argv[-1]
    found = README.read_text()
    lines = found.split("\n")
    for marker, make in BLOCKS:
        lines = with_block(lines, marker, make(program))
    wanted = "\n".join(lines)
    if not check:
        README.write_text(wanted)
        return 0
    print("README.md shows what is" if found == wanted else "README.md is out of date: run docs/readme.py")
    return 0 if found == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
