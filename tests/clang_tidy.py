#!/usr/bin/env python3
"""clang-tidy over source files, each as often as it changes.

    tests/clang_tidy.py BUILD FILE...

BUILD has compile_commands.json. A file about which nothing was said is not asked about again
as long as all that the compiler reads of it, comments and macros too, is the same, and so
are .clang-tidy and the tool: a key of all this is kept in BUILD/tidy, or in
$KSMSIM_TIDY_CACHE, which several checkouts may share, as no key knows where its file is.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
TOOL = "clang-tidy-14"
COMPILER = "clang-14"
DROPPED = {"-c": 0, "-MD": 0, "-o": 1, "-MT": 1, "-MF": 1}  # with so many words behind them


def flags(command):
    """What the compiler is told, without the files that it writes."""
    words, kept = iter(shlex.split(command)[1:]), []
    for word in words:
        if word in DROPPED:
            for _ in range(DROPPED[word]):
                next(words)
        else:
            kept.append(word)
    return kept


def key_of(entry, build, common):
    """None: the file cannot even be read."""
    told = flags(entry["command"])
    read = subprocess.run([COMPILER, *told, "-w", "-D__clang_analyzer__", "-E", "-CC", "-dD"],
                          cwd=entry["directory"], capture_output=True)
    if read.returncode:
        return None
    text = common + "\0".join(told).encode() + read.stdout
    for place, name in ((build, b"BUILD"), (SOURCE, b"SOURCE")):
        text = text.replace(os.fsencode(place), name)
    return hashlib.sha256(text).hexdigest()


def check(path, entry, build, cache, common):
    """What is said about a file: "" for nothing; None: nothing was said before."""
    key = key_of(entry, build, common) if entry else None
    if key and (cache / key).exists():
        return None
    said = subprocess.run([TOOL, "--quiet", "-p", str(build), "--warnings-as-errors=*", str(path)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if said.returncode:
        return said.stdout or f"{path}: {TOOL} ends with {said.returncode}\n"
    if key:
        (cache / key).touch()
    return ""


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    paths = [pathlib.Path(name).resolve() for name in sys.argv[2:]]
    cache = pathlib.Path(os.environ.get("KSMSIM_TIDY_CACHE") or build / "tidy")
    cache.mkdir(parents=True, exist_ok=True)
    entries = {pathlib.Path(e["file"]): e
               for e in json.loads((build / "compile_commands.json").read_text())}
    common = (SOURCE / ".clang-tidy").read_bytes()
    common += subprocess.run([TOOL, "--version"], check=True, capture_output=True).stdout
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(
            lambda path: check(path, entries.get(path), build, cache, common), paths))
    bad = [text for text in results if text]
    print("".join(bad), end="")
    print(f"clang-tidy: {len(paths)} files, {results.count(None)} of them as they were, "
          f"something to say about {len(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
