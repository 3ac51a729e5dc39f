#!/usr/bin/env python3
"""Real programs: what `ksmsim estimate` says, and what the running kernel then does.

    tests/real/real.py KSMSIM [NAME...]     all that can run here, or these
    tests/real/real.py --list

Each workload is a few processes of real software under prctl(PR_SET_MEMORY_MERGE), stopped
when they are ready, captured, and estimated. Then ksmd runs until nothing changes any more,
and both answers are printed side by side. Exit status: 0 all within 1 %, 1 something is
not, 2 usage, 77 nothing could run here (no root, no KSM, KSM in use); reasons are printed.

The kernel is borrowed: the lock of the other live tests is held, nobody else may use KSM, and
every knob is put back whatever happens. Programs that are missing are installed with apt-get
when --install is given; otherwise their workloads are skipped. The guests of `qemu` boot the
newest kernel of /boot, or with --install one that is downloaded and unpacked, not installed.
"""

import fcntl
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
KSM = pathlib.Path("/sys/kernel/mm/ksm")
LOCK = "/run/lock/ksmsim.lock"
LOCK_WAIT_S = 300
SETTLE_S = 120
BOOT_S = 120
TOLERANCE = 0.01

KHUGEPAGED_SLEEP = "../transparent_hugepage/khugepaged/scan_sleep_millisecs"
KNOBS = {  # advisor first: it owns pages_to_scan
    "advisor_mode": "none",
    "sleep_millisecs": "2",
    "pages_to_scan": "2000",
    "smart_scan": "1",
    "use_zero_pages": "1",
    "merge_across_nodes": "1",
    "max_page_sharing": "256",
    KHUGEPAGED_SLEEP: "3600000",  # an estimate knows no khugepaged: it would undo splits
}


class Skip(Exception):
    pass


# ---- workloads: name -> function that starts processes and returns them when they are ready ----

PYTHON = """
import sys, json, asyncio, unittest, http.server, decimal, email.mime.text, xml.dom.minidom, signal
sys.stdout.write("ready\\n"); sys.stdout.flush()
signal.pause()
"""

HUGE = """
import sys, mmap, random, signal
huge = 2 << 20
area = mmap.mmap(-1, 9 * huge, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area.madvise(14)
me = random.Random(int(sys.argv[1]))
all_of_us = random.Random(1)
for at in range(0, 8 * huge, 4096):
    block = at // huge
    if block < 3 or at % huge > 300 * 4096:
        area[at:at + 4096] = me.randbytes(4096)         # nobody else's
    elif block < 6:
        area[at:at + 4096] = all_of_us.randbytes(4096)  # everybody's
    else:
        area[at:at + 4096] = bytes(4096)
sys.stdout.write("ready\\n"); sys.stdout.flush()
signal.pause()
"""

FORKED = """
import os, sys, json, unittest, signal, random
data = [random.Random(i).randbytes(4000) for i in range(3000)]
more = [random.Random(i).randbytes(4000) for i in range(500)]
children = []
for child in range(2):
    pid = os.fork()
    if not pid:
        random.seed(child)
        mine = [random.Random(7 + i).randbytes(4000) for i in range(500)]
        for i in range(0, 1000, 2 + child):
            data[i] = bytes(bytearray(data[i]))
        signal.pause()
    children.append(str(pid))
import time; time.sleep(1)
sys.stdout.write(" ".join(children) + "\\n"); sys.stdout.flush()
signal.pause()
"""

NODE = """
for (const name of ['http', 'crypto', 'zlib', 'stream', 'util', 'url']) require(name);
global.data = Array.from({ length: 50000 }, (_, i) => ({ id: i, name: 'item ' + i }));
console.log('ready');
setInterval(() => {}, 1000000);
"""


def spawn(launch, args, env=None):
    return subprocess.Popen([launch, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})


def wait_ready(processes):
    for process in processes:
        if process.stdout.readline().strip() != b"ready":
            raise Skip("a process did not come up")
    time.sleep(0.5)


def python_same(launch, install):
    processes = [spawn(launch, ["setarch", "-R", sys.executable, "-c", PYTHON],
                       {"PYTHONHASHSEED": "0"}) for _ in range(3)]
    wait_ready(processes)
    return processes


def python_random(launch, install):
    processes = [spawn(launch, [sys.executable, "-c", PYTHON]) for _ in range(3)]
    wait_ready(processes)
    return processes


def python_forked(launch, install):
    process = spawn(launch, [sys.executable, "-c", FORKED])
    process.children = [int(pid) for pid in process.stdout.readline().split()]
    if len(process.children) != 2:
        raise Skip("a process did not come up")
    return [process]


def huge_pages(launch, install):
    if "[never]" in pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        raise Skip("there are no huge pages on this host")
    processes = [spawn(launch, [sys.executable, "-c", HUGE, str(i)]) for i in range(2, 4)]
    wait_ready(processes)
    return processes


def node(launch, install):
    need("node", "nodejs", install)
    processes = [spawn(launch, ["node", "-e", NODE]) for _ in range(3)]
    wait_ready(processes)
    return processes


def need(program, package, install):
    if shutil.which(program):
        return
    if install:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", package],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if not shutil.which(program):
        raise Skip(f"{program} is not here (package {package}; --install installs it)")


def redis(launch, seeds):
    processes = []
    for i, seed in enumerate(seeds):
        directory = tempfile.mkdtemp(prefix="ksmsim-redis-")
        socket = os.path.join(directory, "socket")
        process = spawn(launch, ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                                 "--dir", directory, "--daemonize", "no"])
        process.directory = directory
        processes.append(process)
        end = time.monotonic() + 10
        while not os.path.exists(socket):
            if time.monotonic() > end:
                raise Skip("redis-server did not come up")
            time.sleep(0.05)
        commands = "".join(f"SET key:{k} {seed}{k * 7919 % 100003:0200d}\n" for k in range(40000))
        subprocess.run(["redis-cli", "-s", socket], input=commands.encode(), check=True,
                       stdout=subprocess.DEVNULL)
    time.sleep(1)
    return processes


def redis_same(launch, install):
    need("redis-server", "redis-server", install)
    return redis(launch, ["a", "a", "a"])


def redis_different(launch, install):
    need("redis-server", "redis-server", install)
    return redis(launch, ["a", "b", "c"])


INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox echo ready
exec /bin/busybox sleep 1000000
"""


def initramfs(directory):
    """A root with nothing but a static busybox, and with INIT."""
    root = os.path.join(directory, "root")
    os.makedirs(os.path.join(root, "bin"), exist_ok=True)
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    init = pathlib.Path(root, "init")
    init.write_text(INIT)
    init.chmod(0o755)
    if subprocess.run(["chroot", root, "/bin/busybox", "true"], stderr=subprocess.DEVNULL,
                      check=False).returncode:
        raise Skip("busybox is not static (package busybox-static)")
    archive = subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=root, check=True,
                             input=b"bin\nbin/busybox\ninit\n", stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL).stdout
    pathlib.Path(directory, "initramfs").write_bytes(archive)


def download_kernel(directory):
    """linux-image-cloud-amd64 depends on the package of the newest version, which has the image."""
    depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], check=False,
                             capture_output=True, text=True).stdout
    for package in [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]:
        subprocess.run(["apt-get", "download", package], cwd=directory, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for file in pathlib.Path(directory).glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, os.path.join(directory, "kernel")], check=False)


def guest_files(directory, install):
    """What guests boot: leaves `initramfs` and `vmlinuz` in the directory."""
    if platform.machine() != "x86_64":
        raise Skip("the guests are x86-64")
    need("qemu-system-x86_64", "qemu-system-x86", install)
    need("busybox", "busybox-static", install)
    initramfs(directory)
    boot = pathlib.Path("/boot")
    if install:
        download_kernel(directory)
        boot = pathlib.Path(directory, "kernel/boot")
    kernels = sorted(boot.glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    if not kernels:
        raise Skip("there is no kernel for the guests (--install downloads linux-image-cloud-amd64)")
    shutil.copy(kernels[-1], os.path.join(directory, "vmlinuz"))


def wait_booted(processes):
    begin = time.monotonic()
    for process in processes:
        serial = pathlib.Path(process.directory, "serial")
        while not serial.exists() or b"ready" not in serial.read_bytes().split():
            if process.poll() is not None or time.monotonic() > begin + BOOT_S:
                raise Skip("a guest did not come up")
            time.sleep(0.1)
    print(f"\n{len(processes)} guests were up after {time.monotonic() - begin:.1f} s")


def qemu(launch, install):
    """Emulated, not KVM: the same anywhere, and code that QEMU makes is memory as well."""
    files = os.path.dirname(launch)
    processes = []
    try:
        for _ in range(3):
            directory = tempfile.mkdtemp(prefix="ksmsim-qemu-")
            process = spawn(launch, ["qemu-system-x86_64", "-machine", "pc,accel=tcg,mem-merge=off",
                                     "-m", "128", "-nodefaults", "-display", "none", "-no-reboot",
                                     "-serial", "file:" + os.path.join(directory, "serial"),
                                     "-kernel", os.path.join(files, "vmlinuz"),
                                     "-initrd", os.path.join(files, "initramfs"),
                                     "-append", "console=ttyS0 quiet panic=-1"])
            process.directory = directory
            processes.append(process)
        wait_booted(processes)
    except BaseException:
        end_all(processes)
        raise
    return processes


WORKLOADS = {
    "python-same": python_same,
    "python-random": python_random,
    "python-forked": python_forked,
    "huge-pages": huge_pages,
    "redis-same": redis_same,
    "redis-different": redis_different,
    "node": node,
    "qemu": qemu,
}


# ---- the kernel ----


def read(name):
    return (KSM / name).read_text().strip()


def write(name, value):
    (KSM / name).write_text(value)


def number(name):
    return int(read(name))


def chosen(text):
    return text[text.index("[") + 1:text.index("]")] if "[" in text else text


def take_lock():
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(lock)
                raise Skip("another run on the live kernel does not end") from None
            time.sleep(0.001)


def check_alone():
    if read("run") != "0":
        raise Skip("KSM is in use: ksm/run is " + read("run"))
    for stat in pathlib.Path("/proc").glob("[0-9]*/ksm_stat"):
        try:
            fields = dict(line.rsplit(maxsplit=1) for line in stat.read_text().splitlines())
        except OSError:
            continue
        fields = {name.rstrip(":"): value for name, value in fields.items()}
        if fields.get("ksm_merge_any") == "yes" or fields.get("ksm_mergeable") == "yes":
            raise Skip(f"KSM is in use: process {stat.parent.name}")


class Borrowed:
    """The kernel's KSM with knobs of ours, put back at the end."""

    def __enter__(self):
        self.lock = take_lock()
        try:
            check_alone()
            self.old = {name: chosen(read(name)) for name in KNOBS if (KSM / name).exists()}
            write("run", "2")
            self.set(KNOBS)
        except BaseException:
            os.close(self.lock)
            raise
        return self

    def set(self, values):
        for name in self.old:
            if values[name] != chosen(read(name)):
                write(name, values[name])

    def __exit__(self, *_):
        try:
            write("run", "2")
            write("advisor_mode", "none")
            for name in [n for n in self.old if n != "advisor_mode"] + ["advisor_mode"]:
                if self.old[name] != chosen(read(name)):
                    write(name, self.old[name])
            write("run", "0")
        finally:
            os.close(self.lock)


def vmstat(name):
    for line in pathlib.Path("/proc/vmstat").read_text().splitlines():
        if line.split()[0] == name:
            return int(line.split()[1])
    return 0


def rss_anon(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) // 4
    return 0


def sums():
    return tuple(number(name) for name in ("pages_shared", "pages_sharing", "ksm_zero_pages"))


def let_ksmd_run():
    """Until fourteen full scans have changed nothing: smart scan pauses for eight."""
    begin = number("full_scans")
    write("run", "1")
    last, since, end = sums(), begin, time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        time.sleep(0.05)
        now = sums()
        if now != last:
            last, since = now, number("full_scans")
        elif number("full_scans") > max(since, begin + 2) + 14:
            write("run", "0")
            return
    write("run", "0")
    raise Skip(f"ksmd did not come to rest in {SETTLE_S} s ({number('full_scans') - begin} full scans)")


# ---- one workload ----


def seen(pids, before):
    shared, sharing, zero = sums()
    return {"pages_shared": shared, "pages_sharing": sharing,
            "ksm_zero_pages": zero - before["zero"],
            "thp_split_page": vmstat("thp_split_page") - before["splits"],
            "rss_anon": sum(rss_anon(pid) for pid in pids)}


def estimate(program, pids, directory):
    capture = os.path.join(directory, "real.ksmcap")
    subprocess.run([program, "capture", "--quiet", "-o", capture, "--pid", ",".join(map(str, pids))],
                   check=True)
    out = subprocess.run([program, "estimate", capture, "--assume", "captured", "--only", "--json"],
                         check=True, capture_output=True, text=True).stdout
    answer = json.loads(out)
    samples = answer["cases"][0]["samples"]
    counters = samples["end"]["counters"]
    names = ("pages_shared", "pages_sharing", "ksm_zero_pages")
    result = {name: counters[name] for name in names}
    result["thp_split_page"] = counters["thp_split_page"] - samples["start"]["counters"]["thp_split_page"]
    result["rss_anon"] = sum(p["pages"] - p["zeros"] for p in answer["processes"])
    return result, answer


def end_all(processes):
    for process in processes:
        for child in getattr(process, "children", []):
            os.kill(child, signal.SIGKILL)
        process.kill()
    for process in processes:
        process.wait()
        process.stdout.close()
        shutil.rmtree(getattr(process, "directory", ""), ignore_errors=True)


def compare(program, name, start, directory, install):
    if name.startswith("redis"):
        need("redis-server", "redis-server", install)
    if name == "qemu":
        guest_files(directory, install)
    launch = os.path.join(directory, "launch")
    processes = []
    with Borrowed():
        try:
            processes = start(launch, install)
            pids = [pid for process in processes
                    for pid in [process.pid, *getattr(process, "children", [])]]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(0.1)
            begin = time.monotonic()
            predicted, answer = estimate(program, pids, directory)
            took = time.monotonic() - begin
            # of earlier processes some may still be counted: a fork counts zero pages twice
            before = {"zero": number("ksm_zero_pages"), "splits": vmstat("thp_split_page")}
            let_ksmd_run()
            real = seen(pids, before)
        finally:
            end_all(processes)
    return predicted, real, answer, took


def show(name, predicted, real, answer, took):
    fine = True
    print(f"\n{name}: {answer['counts']['pages']:,} pages, captured and estimated in {took:.1f} s")
    print(f"  {'':<16} {'predicted':>12} {'real':>12} {'differs':>10}")
    for figure, value in predicted.items():
        by = abs(value - real[figure]) / max(real[figure], 1)
        ok = by <= TOLERANCE or abs(value - real[figure]) <= 1
        fine &= ok
        print(f"  {figure:<16} {value:>12,} {real[figure]:>12,} {by * 100:>8.2f} %{'' if ok else '  <--'}")
    sys.stdout.flush()
    return fine


def run(program, names, install):
    if os.geteuid() or not os.access(KSM / "run", os.W_OK):
        print("skipped: this needs root and a kernel with KSM")
        return 77
    ran, fine = 0, True
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["cc", "-O1", "-o", os.path.join(directory, "launch"), HERE / "launch.c"],
                       check=True)
        for name in names:
            try:
                fine &= show(name, *compare(program, name, WORKLOADS[name], directory, install))
                ran += 1
            except Skip as reason:
                print(f"\n{name}: skipped: {reason}")
    return 77 if not ran else 0 if fine else 1


def main():
    arguments = [a for a in sys.argv[1:] if a != "--install"]
    if arguments == ["--list"]:
        print("\n".join(WORKLOADS))
        return 0
    unknown = [a for a in arguments[1:] if a not in WORKLOADS]
    if not arguments or unknown:
        print(__doc__ if not unknown else f"there is no workload {unknown[0]}; --list has all",
              file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    return run(os.path.abspath(arguments[0]), arguments[1:] or list(WORKLOADS), "--install" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
