"""One boot of a kernel under QEMU: an initial root file system, and three serial ports.

The guest runs a script as root and powers off. The first port is the console; on the second
comes what the script prints, as it prints it; on the third, at the end, a compressed archive of
what the script left in /out. Drivers for serial ports are in every kernel, those for disks are not;
an archive that did not come through unchanged is noticed.

The guest is emulated (TCG) even where KVM is there: the same everywhere.
"""

import ctypes
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

MEMORY_MB = 2048
LOOK_S = 0.2
CONSOLE_LINES = 15  # of a guest that did not come to its end
PR_SET_PDEATHSIG, PR_SET_THP_DISABLE = 1, 41

QEMU = "qemu-system-x86_64"
PACKAGES = {QEMU: "qemu-system-x86", "busybox": "busybox-static"}

# 4-level page tables, one CPU, and addresses that stay. Room for a second CPU has QEMU carry out
# atomic operations as such: otherwise one on a page that is not there is a read fault, then a write.
# The KSM of the host is not for the guest: scenarios may run there as well.
MACHINE = ["-machine", "q35,mem-merge=off", "-accel", "tcg,thread=multi,tb-size=512",
           "-cpu", "max,la57=off", "-smp", "1,maxcpus=2", "-m", str(MEMORY_MB),
           "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
COMMAND_LINE = ("console=ttyS0 quiet loglevel=3 panic=-1 rdinit=/init tsc=reliable no_timer_check "
                "nr_cpus=1 nokaslr norandmaps mitigations=off cryptomgr.notests damon_stat.enabled=0")

# The model has the classic LRU lists. Huge pages are for those who ask: the files of the tool itself
# must not have any.
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /out
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ LD_LIBRARY_PATH={libraries}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
for at in /dev/shm /tmp /run /out; do mount -t tmpfs tmpfs $at; done
mkdir -p /run/lock
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
[ ! -e /sys/kernel/mm/lru_gen/enabled ] || echo n >/sys/kernel/mm/lru_gen/enabled
echo 0 >/sys/kernel/mm/ksm/run
echo 0 >/proc/sys/vm/compaction_proactiveness
ulimit -n 65536
exec 3>/dev/ttyS1 4>/dev/ttyS2
stty -F /dev/ttyS1 raw
stty -F /dev/ttyS2 raw
mkdir -p /scenarios
cd /scenarios
sh /script >&3 2>&1 4>&-
echo $? >/out/status
tar -c -f - -C /out . | gzip -1 >&4
exec 3>&- 4>&-
poweroff -f
"""


class Failed(Exception):
    """What keeps a guest from giving an answer."""


class Missing(Failed):
    """The same, but nothing is wrong: something is just not here."""


def check_programs():
    for program, package in PACKAGES.items():
        if not shutil.which(program):
            raise Missing(f"{program} is not here (package {package})")
    with open(shutil.which("busybox"), "rb") as program:
        if b"/ld-linux" in program.read(4096):
            raise Missing("busybox needs shared libraries (package busybox-static has one that does not)")


# ---- the initial root file system: a cpio archive in the form "newc" ----


class Archive:
    def __init__(self, out):
        self.out = out
        self.entries = 0
        self.folders = {""}

    def add(self, name, mode, data=b""):
        self.entries += 1
        path = name.encode() + b"\0"
        fields = [self.entries, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + path, data):
            self.out.write(part + bytes(-len(part) % 4))

    def file(self, name, data, mode=0o644):
        name = name.lstrip("/")
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) != "." and str(parent) not in self.folders:
                self.folders.add(str(parent))
                self.add(str(parent), 0o040755)
        self.add(name, 0o100000 | mode, data)

    def end(self):
        self.add("TRAILER!!!", 0)


def libraries(program):
    """The shared libraries of a program, the dynamic linker among them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if listed.returncode:
        return []  # it is static
    return re.findall(r"(/\S+) \(0x", listed.stdout)


def write_root(path, program, scenarios, script):
    """@scenarios: name in the guest -> file"""
    needed = libraries(program)
    folders = sorted({os.path.dirname(library) for library in needed})
    with open(path, "wb") as out:
        root = Archive(out)
        root.file("init", INIT.format(libraries=":".join(folders)).encode(), 0o755)
        root.file("bin/busybox", pathlib.Path(shutil.which("busybox")).read_bytes(), 0o755)
        root.file("bin/ksmsim", pathlib.Path(program).read_bytes(), 0o755)
        for library in needed:
            root.file(library, pathlib.Path(library).read_bytes(), 0o755)
        for name, file in scenarios.items():
            root.file("scenarios/" + name, pathlib.Path(file).read_bytes())
        root.file("script", script.encode())
        root.end()


# ---- a boot ----


class Tail:
    """What is new in a file that grows."""

    def __init__(self, path, show):
        self.path, self.show, self.at = path, show, 0

    def pass_on(self):
        with open(self.path, "rb") as file:
            file.seek(self.at)
            new = file.read()
        self.at += len(new)
        if new and self.show:
            sys.stdout.write(new.decode(errors="replace"))
            sys.stdout.flush()


def last_lines(directory):
    said = ""
    for port in ("printed", "console"):
        text = pathlib.Path(directory, port).read_text(errors="replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        said += "".join(f"\n    {port}: {line}" for line in lines[-CONSOLE_LINES:])
    return said


def wait(guest, tail, directory, limit_s):
    end = time.monotonic() + limit_s
    while guest.poll() is None:
        tail.pass_on()
        if time.monotonic() > end:
            raise Failed(f"the guest is not done after {limit_s} s{last_lines(directory)}")
        time.sleep(LOOK_S)
    tail.pass_on()


def unpack(directory, out):
    """What the guest left, into a directory. Returns the exit status of its script."""
    try:
        with tarfile.open(os.path.join(directory, "left"), "r:gz") as archive:
            for member in archive:
                if member.isfile():
                    name = os.path.basename(member.name)
                    pathlib.Path(out, name).write_bytes(archive.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Failed(f"the guest ended before its end ({error}){last_lines(directory)}") from error
    status = pathlib.Path(out, "status")
    if not status.exists():
        raise Failed(f"the guest left no exit status{last_lines(directory)}")
    code = int(status.read_text())
    status.unlink()
    return code


def leave_host_alone():
    """In QEMU before it begins: it ends with this program, and has no huge pages of the host."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def boot(kernel, program, scenarios, script, out, limit_s, show):
    """
    Runs a script in a guest.

    @kernel: file; @scenarios: name -> file, below the directory that the script runs in
    @out: directory that gets what the script leaves in /out
    @show: print what it prints
    Returns: the exit status of the script
    """
    with tempfile.TemporaryDirectory(prefix="ksmsim-guest-") as directory:
        ports = [os.path.join(directory, name) for name in ("console", "printed", "left")]
        for port in ports:
            pathlib.Path(port).touch()
        root = os.path.join(directory, "root")
        write_root(root, program, scenarios, script)
        serial = [word for port in ports for word in ("-serial", "file:" + port)]
        guest = subprocess.Popen([QEMU, *MACHINE, *serial, "-kernel", kernel, "-initrd", root,
                                  "-append", COMMAND_LINE], stdin=subprocess.DEVNULL,
                                 start_new_session=True, preexec_fn=leave_host_alone)
        try:
            wait(guest, Tail(ports[1], show), directory, limit_s)
        finally:
            guest.kill()
            guest.wait()
        return unpack(directory, out)


def quoted(words):
    return " ".join(shlex.quote(str(word)) for word in words)
