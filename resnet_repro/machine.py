"""This machine's resources: CPU cores and their load, CPU features, memory."""

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

SYSTEM = Path("/")  # where /proc and /sys are
LOOK_SECONDS = 0.3  # sampling time of `busy_cores`


def num_cores() -> int:
    """Return the number of CPU cores this process may use; a container's CPU quota limits it."""
    quota = _quota()
    allowed = len(_allowed())
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def free_cores(busy: float) -> int:
    """Return how many of `num_cores` are free, at least 1, when others keep `busy` cores busy."""
    return max(1, min(num_cores(), len(_allowed()) - round(busy)))


def is_crowded(busy: float, threads: int) -> bool:
    """Return whether fewer than `threads` cores are free when others keep `busy` cores busy."""
    return min(num_cores(), len(_allowed()) - round(busy)) < threads


def busy_cores() -> float:
    """Measure for a moment how many cores other processes keep busy."""
    watch = Watch()
    time.sleep(LOOK_SECONDS)
    return watch.busy_cores()


def busy_text(busy: float) -> str:
    """Describe how many cores other processes keep busy."""
    number, cores = round(busy), len(_allowed())
    return f"{number} of {cores} cores {'is' if number == 1 else 'are'} busy"


class Watch:
    """Measures, from call to call, how many of this process's cores others keep busy."""

    def __init__(self) -> None:
        self._before = _used()

    def busy_cores(self) -> float:
        """Return the mean number since the last call; 0 if the system does not report it."""
        before, self._before = self._before, _used()
        now, cores, own = (new - old for new, old in zip(self._before, before, strict=True))
        return max(0.0, (cores - own) / now) if now > 0 else 0.0


def _used() -> tuple[float, float, float]:
    """Return wall-clock time, busy time of the cores, and CPU time of this process, in seconds."""
    # Columns: user, nice, system, idle, iowait, irq, softirq, steal. "nice" counts only if we are
    # niced too: processes of lower priority yield to ours.
    columns = [0, 2, 5, 6, 7]
    if hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) > 0:
        columns.append(1)
    names, ticks = {f"cpu{number}" for number in _allowed()}, 0
    for line in _read("proc/stat").splitlines():
        name, *values = line.split()
        if name in names:
            ticks += sum(int(values[column]) for column in columns)
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


def _allowed() -> set[int]:
    """Return the indices of the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _quota() -> float | None:
    """Return the core quota of this process's control groups; None if they set no limit."""
    quotas = []
    for folder, version in _control_groups("cpu"):
        if version == 1:
            words = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        else:
            words = _read(folder / "cpu.max").split()
        with suppress(ValueError):  # "max", or no such file
            quota, period = map(int, words)
            if quota > 0:  # -1 means no limit
                quotas.append(quota / period)
    return min(quotas, default=None)


def _control_groups(controller: str) -> Iterator[tuple[PurePosixPath, int]]:
    """Yield the folders of this process's control groups, and their version of the interface.

    Parent groups limit too. In a container the path may be the host's and not exist here.
    """
    for line in _read("proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = PurePosixPath("sys/fs/cgroup", controller if controllers else "")
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            yield root / group, 1 if controllers else 2


def cpu_name() -> str:
    """Return this machine's CPU name and number of cores."""
    pairs = [line.partition(":") for line in _read("proc/cpuinfo").splitlines()]
    about = {name.strip(): value.strip() for name, _, value in reversed(pairs)}  # of the first core
    name = about.get("model name") or _name_on_macos()
    if not name:
        codes = (about.get(f"CPU {kind}") for kind in ("implementer", "part"))  # on ARM
        name = " ".join([platform.machine(), *filter(None, codes)])
    return f"{name}, {os.cpu_count()} cores"


def _name_on_macos() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def has_bf16() -> bool:
    """Return whether the CPU has native bf16 arithmetic; True if unknown."""
    words = set(_read("proc/cpuinfo").split())
    return not words or bool({"avx512_bf16", "amx_bf16", "bf16"} & words)


def available_bytes() -> int | None:
    """Return the memory available without swapping; None if the system does not report it.

    A container's memory limit counts. Where the system does not tell what is available, as on
    macOS, all its memory does.
    """
    found: list[int] = []
    for folder, version in _control_groups("memory"):
        found += _left(folder, version)
    for line in _read("proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(int(value.split()[0]) * 1024)
    with suppress(ValueError, OSError):  # unknown
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((each for each in found if each > 0), default=None)


def _left(folder: PurePosixPath, version: int) -> Iterator[int]:
    """Yield the bytes that a control group leaves to its processes, if it has a limit."""
    limit, usage, cache = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    stat = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
    with suppress(ValueError):  # "max", or no such file
        used = int(_read(folder / usage)) - int(stat.get(cache, 0))  # files are given up
        yield max(0, int(_read(folder / limit)) - used)


def _read(path: str | PurePosixPath) -> str:
    """Return the text of a system file; empty if it cannot be read."""
    try:
        return (SYSTEM / path).read_text()
    except OSError:
        return ""
