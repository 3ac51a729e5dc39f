#!/usr/bin/env python3
"""Kernels of other versions: what the scenarios show on them, each in a guest of its own.

    tests/guests/guests.py verify [--kernel K] [FILE...]
    tests/guests/guests.py random --kernel K --from SEED [--runs N] [--thp] [--ops N] [--out DIR]
    tests/guests/guests.py record --kernel K [FILE...]
    tests/guests/guests.py fetch  [--kernel K]
    tests/guests/guests.py list

K is a version of the table below, or a file: a kernel image (bzImage) for x86-64, or a Debian package
with one. Without it, `verify` and `fetch` take each kernel that is a profile. Without files, `verify`
takes all of tests/replay, and `record` all that is shipped; it writes tests/recordings/linux-K/, with
files only what is about those. No root is needed.

    --program FILE   the command line that runs in the guest ($KSMSIM_CLI, or the newest in build/)
    --cached         nothing is downloaded
    --keep-going     tell all differences of a scenario, not only the first
    --limit S        for one guest (3600)

Kernels come from a Debian mirror ($KSMSIM_DEBIAN_MIRROR, http://deb.debian.org) once, and are kept in
build/guests/. Exit status: 0 all the same, 1 something differs, 2 usage or no answer, 77 QEMU,
busybox, or with --cached the kernel is not here; it is said what, by name.
"""

import argparse
import hashlib
import io
import json
import lzma
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import typing
import urllib.error
import urllib.request

import boot

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = SOURCE / "build" / "guests"
RECORDINGS = SOURCE / "tests" / "recordings"
MIRROR = os.environ.get("KSMSIM_DEBIAN_MIRROR", "http://deb.debian.org").rstrip("/")
SNAPSHOT = "https://snapshot.debian.org/binary/"
DOWNLOAD_S = 60  # without a byte
RECORDING_BYTES_MAX = 200000  # as in tests/record.sh


class Kernel(typing.NamedTuple):
    profile: str  # "": none; of 6.18 the model is a later stable release
    package: str
    version: str
    archive: str  # of the mirror
    suite: str


# The packages are the small ones for virtual machines; what matters here is built in.
KERNELS = {
    "6.1": Kernel("linux-6.1", "linux-image-6.1.0-56-cloud-amd64-unsigned", "6.1.192-2",
                  "debian-security", "bookworm-security"),
    "6.12": Kernel("linux-6.12", "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
                   "6.12.117-1~deb12u1", "debian-security", "bookworm-security"),
    "7.3": Kernel("linux-7.3", "linux-binary-unsigned-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1",
                  "debian", "trixie-backports"),
    "6.18": Kernel("", "linux-image-6.18.15+deb13-cloud-amd64", "6.18.15-1~bpo13+1",
                   "debian", "trixie-backports"),
}
PROFILES = [name for name, kernel in KERNELS.items() if kernel.profile]


# ---- kernel images ----


def image_of(package):
    """The kernel image in a Debian package: an ar archive with a tar archive."""
    if package[:8] != b"!<arch>\n":
        raise boot.Failed("this is no Debian package")
    at = 8
    while at < len(package):
        name = package[at:at + 16].decode().strip()
        size = int(package[at + 48:at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(package[at + 60:at + 60 + size])) as data:
                for member in data:
                    if member.isfile() and os.path.basename(member.name).startswith("vmlinuz"):
                        return data.extractfile(member).read()
        at += 60 + size + size % 2
    raise boot.Failed("there is no kernel in this package")


def fetch(url, what):
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_S) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise boot.Failed(f"{what}: {url}: {error}") from error


def stanzas(index, package):
    """The entries of a package in a Packages file."""
    for text in index.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.split("\n")
                      if ": " in line and not line.startswith(" "))
        if fields.get("Package") == package:
            yield fields


def by_hand(kernel, file, why):
    return boot.Failed(f"{why}\nGet {file.name} from elsewhere ({SNAPSHOT}{kernel.package}/) and put it "
                       f"at\n    {file}\nor name a kernel that you have with --kernel FILE.")


def download(kernel, file):
    """The package of a kernel from the mirror, which keeps only the newest few."""
    archive = f"{MIRROR}/{kernel.archive}"
    where = f"{archive}/dists/{kernel.suite}/main/binary-amd64/Packages.xz"
    index = lzma.decompress(fetch(where, "the list of packages cannot be read"))
    found = list(stanzas(index, kernel.package))
    wanted = [fields for fields in found if fields["Version"] == kernel.version]
    if not wanted:
        others = ", ".join(fields["Version"] for fields in found)
        raise by_hand(kernel, file, f"{kernel.suite} of {archive} no longer has {kernel.package} "
                      f"{kernel.version}" + (f", only {others}." if others else "."))
    print(f"downloading {kernel.package} {kernel.version}: "
          f"{int(wanted[0]['Size']) / 1e6:.0f} MB", file=sys.stderr)
    url = f"{archive}/{wanted[0]['Filename']}"
    try:
        package = fetch(url, "the package cannot be read")
    except boot.Failed as error:
        raise by_hand(kernel, file, str(error)) from error
    if hashlib.sha256(package).hexdigest() != wanted[0]["SHA256"]:
        raise boot.Failed(f"{url} is not what the list of packages says it is (SHA256)")
    return package


def keep(image, target):
    """Under its name only when it is whole."""
    part = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        part.write_bytes(image)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def kernel_image(name, cached):
    """The file that QEMU boots. @name: of the table"""
    kernel = KERNELS[name]
    image = CACHE / f"vmlinuz-{kernel.version}"
    package = CACHE / f"{kernel.package}_{kernel.version}_amd64.deb"
    if image.exists():
        return image
    if not package.exists() and cached:
        raise boot.Missing(f"Linux {name} is not here: {image}, which `{sys.argv[0]} fetch --kernel {name}` downloads")
    CACHE.mkdir(parents=True, exist_ok=True)
    keep(image_of(package.read_bytes() if package.exists() else download(kernel, package)), image)
    return image


def any_image(text, directory, cached):
    """@text: a name of the table, or a file"""
    if text in KERNELS:
        return kernel_image(text, cached)
    if not os.path.isfile(text):
        raise boot.Failed(f"--kernel: '{text}' is no file, and none of {', '.join(KERNELS)}")
    with open(text, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            return pathlib.Path(text)
    image = pathlib.Path(directory, "vmlinuz")
    image.write_bytes(image_of(pathlib.Path(text).read_bytes()))
    return image


# ---- guests ----


def newest_program():
    built = [path for path in (SOURCE / "build").glob("*/ksmsim") if os.access(path, os.X_OK)]
    if not built:
        raise boot.Failed("there is no ksmsim in build/: build it, or name it with --program")
    return max(built, key=lambda path: path.stat().st_mtime)


def run(options, kernel, files, script, out, show=True):
    """A script in a guest. @files: scenarios; @script: gets their names there"""
    scenarios = {}
    for file in files:
        path = pathlib.Path(file).resolve()
        name = str(path.relative_to(SOURCE)) if path.is_relative_to(SOURCE) else path.name
        if not path.is_file():
            raise boot.Failed(f"{file} cannot be read")
        if scenarios.setdefault(name, path) != path:
            raise boot.Failed(f"two files have the name {name}")
    with tempfile.TemporaryDirectory(prefix="ksmsim-kernel-") as directory:
        image = any_image(kernel, directory, options.cached)
        return boot.boot(image, options.program, scenarios, script(list(scenarios)), out,
                         options.limit, show)


def all_of(options):
    return [options.kernel] if options.kernel else PROFILES


def scenario_files(folder):
    return sorted(path for pattern in ("*.ksm", "*.lua") for path in (SOURCE / folder).glob(pattern))


def worst(statuses):
    """Something that differs is worth more than something that did not run."""
    return 1 if 1 in statuses else max(statuses, default=0)


def verify(options):
    files = options.files or scenario_files("tests/replay")
    more = ["--keep-going"] if options.keep_going else []
    statuses = []
    for kernel in all_of(options):
        print(f"Linux {kernel}:", flush=True)
        with tempfile.TemporaryDirectory(prefix="ksmsim-out-") as out:
            statuses.append(run(options, kernel, files, lambda names: boot.quoted(
                ["ksmsim", "verify", "--quiet", "--lose-memory", *more, *names]), out))
    return worst(statuses)


def random(options):
    words = ["ksmsim", "verify", "--quiet", "--random", options.seed, "--runs", options.runs,
             "--ops", options.ops, "--out", "/out"]
    words += ["--thp"] if options.thp else []
    words += ["--keep-going"] if options.keep_going else []
    print(f"Linux {options.kernel}:", flush=True)
    with tempfile.TemporaryDirectory(prefix="ksmsim-out-") as out:
        status = run(options, options.kernel, [], lambda names: boot.quoted(words), out)
        for path in sorted(pathlib.Path(out).glob("*.ksm")):
            target = pathlib.Path(options.out, path.name)
            shutil.copy(path, target)
            print(f"kept: {target}")
    return status


def fetch_all(options):
    for kernel in all_of(options):
        print(f"Linux {kernel}: {kernel_image(kernel, options.cached)}")
    return 0


def list_all(_):
    for name, kernel in KERNELS.items():
        here = "here" if (CACHE / f"vmlinuz-{kernel.version}").exists() else "not here yet"
        print(f"{name:5} {kernel.profile or 'no profile':11} {kernel.version:20} {kernel.suite:18} {here}")
    return 0


# ---- recordings ----

RECORD = """
mkdir -p /out
for file in %s; do
	name=${file##*/}
	echo "$name"
	ksmsim record --lose-memory "$file" -o "/out/$name.jsonl" 2>"/out/$name.why"
done
"""


def reason(why):
    """What `ksmsim record` said last, less who says it and of which line."""
    line = (why.splitlines() or ["no reason given"])[-1].removeprefix("ksmsim: ")
    return re.sub(r"^\S+\.(ksm|lua)(:\d+)*: ", "", line)


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def seen_by(line, blind):
    """A line without what a kernel does not show: counters, and figures of processes."""
    line = dict(line)
    counters = {name: value for name, value in line.pop("counters", {}).items()
                if name not in blind.get("counters", [])}
    processes = {process: {name: value for name, value in figures.items()
                           if name not in blind.get("figures", [])}
                 for process, figures in line.pop("processes", {}).items()}
    processes = {process: figures for process, figures in processes.items() if figures}
    line.update({"counters": counters} if counters else {})
    line.update({"processes": processes} if processes else {})
    return line


def shows_the_same(path, reference):
    """
    Is what a kernel showed what the reference showed, less what only the reference can show?

    The last line only sums up what those before it have told.
    """
    mine, others = lines_of(path), lines_of(reference)
    blind = mine[0]["blind"]
    told = [seen_by(line, blind) for line in others[1:-1]]
    same_way = mine[0].get("drain") == others[0].get("drain")
    return same_way and [seen_by(line, {}) for line in mine[1:-1]] == told


def as_profile(reference, profile, directory):
    """A recording as if it were of another profile."""
    header, rest = reference.read_text(encoding="utf-8").split("\n", 1)
    path = pathlib.Path(directory, "as-profile.jsonl")
    path.write_text(json.dumps({**json.loads(header), "profile": profile}) + "\n" + rest,
                    encoding="utf-8")
    return path


def is_same_as_reference(program, path, profile, directory):
    """And does the model of that profile agree with all that the reference shows?"""
    reference = RECORDINGS / path.name
    return (reference.exists() and shows_the_same(path, reference)
            and is_replayed(program, as_profile(reference, profile, directory)))


def is_replayed(program, path):
    """Does the model of now show what the recording has?"""
    return not subprocess.run([program, "replay", "--quiet", path], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode


def judge(options, out, names, profile):
    """Which recordings to keep, which are those of the reference, and why there is none of others."""
    kept, same, skipped = [], [], {}
    for name in names:
        path = pathlib.Path(out, name + ".jsonl")
        why = pathlib.Path(out, name + ".why").read_text(errors="replace")
        if not path.exists():
            skipped[name] = reason(why)
        elif path.stat().st_size > RECORDING_BYTES_MAX:
            skipped[name] = "the recording is larger than 200 KB"
        elif not is_replayed(options.program, path):
            skipped[name] = "differs" + (f": {reason(why)}" if why else " from the model")
        elif is_same_as_reference(options.program, path, profile, out):
            same.append(name)
        else:
            kept.append(path)
    return kept, same, skipped


def check_recorded(out, names, profile):
    paths = list(pathlib.Path(out).glob("*.jsonl"))
    if not paths:
        why = pathlib.Path(out, names[0] + ".why").read_text(errors="replace")
        raise boot.Failed(f"nothing could be recorded: {names[0]}: {why.strip()}")
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            found = json.loads(lines.readline())["profile"]
        if found != profile:
            raise boot.Failed(f"{path.name} is of {found}, not of {profile}")


def listed(path):
    """name -> line of SAME or SKIPPED"""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line.partition(": ")[0]: line for line in lines}


def write_list(path, names, scenarios, lines):
    """What is said of these names, and of the other scenarios what was said before."""
    lines.update({name: line for name, line in listed(path).items() if name in scenarios - names})
    path.write_text("".join(lines[name] + "\n" for name in sorted(lines)), encoding="utf-8")


def write_recordings(folder, names, scenarios, kept, same, skipped):
    """@names: those just recorded, of all scenarios"""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.jsonl"):
        if path.name.removesuffix(".jsonl") not in scenarios - names:
            path.unlink()
    for path in kept:
        shutil.copyfile(path, folder / path.name)
    write_list(folder / "SAME", names, scenarios, {name: name for name in same})
    write_list(folder / "SKIPPED", names, scenarios,
               {name: f"{name}: {why}" for name, why in skipped.items()})


def record(options):
    profile = KERNELS[options.kernel].profile if options.kernel in KERNELS else ""
    if not profile:
        raise boot.Failed(f"'{options.kernel}' is no profile: only {', '.join(PROFILES)} are recorded")
    scenarios = scenario_files("tests/replay") + scenario_files("sim/scenarios")
    files = [pathlib.Path(file) for file in options.files] or scenarios
    names = [path.name for path in files]
    with tempfile.TemporaryDirectory(prefix="ksmsim-out-") as out:
        run(options, options.kernel, files, lambda paths: RECORD % boot.quoted(paths), out, show=False)
        check_recorded(out, names, profile)
        kept, same, skipped = judge(options, out, names, profile)
        write_recordings(RECORDINGS / profile, set(names), {path.name for path in scenarios},
                         kept, same, skipped)
    differs = [name for name, why in skipped.items() if why.startswith("differs")]
    for name in differs:
        print(f"{name}: differs")
    print(f"{profile}: {len(kept)} recordings, {len(same)} the same as the reference's, "
          f"{len(skipped)} skipped, {len(differs)} of them differ")
    return int(bool(differs))


# ---- the command line ----


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, add_help=True,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage=argparse.SUPPRESS)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--program", default=os.environ.get("KSMSIM_CLI"))
    common.add_argument("--cached", action="store_true")
    common.add_argument("--keep-going", action="store_true")
    common.add_argument("--limit", type=int, default=3600)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in (("verify", verify), ("random", random), ("record", record),
                           ("fetch", fetch_all), ("list", list_all)):
        command = commands.add_parser(name, parents=[common])
        command.set_defaults(function=function)
        if name != "list":
            command.add_argument("--kernel", required=name in ("random", "record"))
        if name in ("verify", "record"):
            command.add_argument("files", nargs="*", metavar="FILE")
        if name == "random":
            command.add_argument("--from", type=int, required=True, dest="seed")
            command.add_argument("--runs", type=int, default=10)
            command.add_argument("--ops", type=int, default=100)
            command.add_argument("--thp", action="store_true")
            command.add_argument("--out", default=".")
    return parser.parse_args()


def check_host(options):
    if platform.machine() != "x86_64":
        raise boot.Missing("the guests are x86-64, and so must be the program")
    boot.check_programs()
    options.program = options.program or newest_program()
    if not os.access(options.program, os.X_OK):
        raise boot.Failed(f"--program: {options.program} cannot be run")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command not in ("list", "fetch"):
            check_host(options)
        return options.function(options)
    except boot.Missing as error:
        print(f"skipped: {error}")
        return 77
    except boot.Failed as error:
        print(f"guests.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
