"""What the system tells of cores, of other programs and of the processor's arithmetic."""

import os
import platform
from types import SimpleNamespace

import pytest
import torch

from resnet_repro import machine
from resnet_repro.cost.calibration import _chip
from resnet_repro.engine import execution


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write files of a system of four cores, in place of this one's."""
    monkeypatch.setattr(machine, "SYSTEM", tmp_path)
    monkeypatch.setattr(machine, "_allowed", lambda: {0, 1, 2, 3})

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("", {}, 4),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, 4),
        ("0::/\n", {f"{V2}/cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {f"{V2}/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {f"{V2}/cpu.max": "6400000 100000\n"}, 4),
        # The group's own is none, that of the group around it counts.
        ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "max 100000", f"{V2}/a/cpu.max": "300000 100000"}, 3),
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            {f"{V1}/x/cpu.cfs_quota_us": "200000\n", f"{V1}/x/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "4:cpu:/x\n",
            {f"{V1}/x/cpu.cfs_quota_us": "-1\n", f"{V1}/x/cpu.cfs_period_us": "100000\n"},
            4,
        ),
        # Docker: the path is the host's, and the container's own group lies at the top.
        (
            "4:cpu,cpuacct:/docker/0a1b\n",
            {f"{V1}/cpu.cfs_quota_us": "150000\n", f"{V1}/cpu.cfs_period_us": "50000\n"},
            3,
        ),
    ],
)
def test_a_containers_quota_counts_as_cores(system, group, files, cores):
    system(**{"proc/self/cgroup": group, **files})
    assert machine.num_cores() == cores


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        ("0::/\n", {f"{V2}/memory.max": "max\n", f"{V2}/memory.current": "5\n"}, 8000 * 1024),
        (
            "0::/a\n",
            {
                f"{V2}/a/memory.max": "1000000\n",
                f"{V2}/a/memory.current": "400000\n",
                f"{V2}/a/memory.stat": "anon 300000\ninactive_file 100000\n",
            },
            700_000,
        ),
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n",
            {
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "500000\n",
                "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "500000\n",
                "sys/fs/cgroup/memory/x/memory.stat": "total_inactive_file 200000\n",
            },
            200_000,
        ),
    ],
)
def test_a_containers_limit_counts_as_memory(system, group, files, free):
    meminfo = "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n"
    system(**{"proc/self/cgroup": group, "proc/meminfo": meminfo, **files})
    assert machine.available_bytes() == free


def stat(*ticks):
    """Return /proc/stat: of each core the ticks of user, nice, system and idle."""
    lines = [
        f"cpu{number} {' '.join(map(str, each))} 50 0 0 0 0 0" for number, each in enumerate(ticks)
    ]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 1 2", "ctxt 3\n"])


def test_other_programs_are_told_from_this_one_and_from_those_that_give_way(system, monkeypatch):
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(machine.os, "getpriority", lambda which, who: 0)
    clock = {"monotonic": 10.0, "process_time": 1.0}
    for name in clock:
        monkeypatch.setattr(machine.time, name, lambda name=name: clock[name])
    system(**{"proc/stat": stat(*[(0, 0, 0, 0)] * 5)})
    watch = machine.Watch()
    # In one second: this process one core, others one core and a half; a niced one the last; what
    # happens on a fifth, on which we may not run, does not matter.
    clock.update(monotonic=11.0, process_time=2.0)
    system(**{"proc/stat": stat((60, 0, 40, 0), (100, 0, 0, 0), (50, 0, 0, 50), (0, 99, 0, 1),
                                (100, 0, 0, 0))})  # fmt: skip
    busy = watch.busy_cores()
    assert busy == pytest.approx(1.5)
    assert machine.busy_text(busy) == "2 of 4 cores are busy"
    assert machine.free_cores(busy) == 2
    assert [machine.is_crowded(busy, threads) for threads in (1, 2, 3, 4)] == [False, False, 1, 1]
    assert machine.free_cores(9.0) == 1
    clock.update(monotonic=12.0, process_time=3.0)
    assert watch.busy_cores() == 0.0, "since the last call"


def test_a_system_that_tells_nothing_is_idle(system):
    watch = machine.Watch()
    assert (watch.busy_cores(), machine.num_cores()) == (0.0, 4)
    assert machine.available_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.cpu_name() == f"{platform.machine()}, {os.cpu_count()} cores"


def test_a_processor_without_a_name_has_its_codes(system, monkeypatch):
    arm = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40\n\nprocessor : 1\n"
    system(**{"proc/cpuinfo": arm})
    assert " 0x41 0xd40, " in machine.cpu_name()
    system(**{"proc/cpuinfo": ""})
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    told = SimpleNamespace(stdout="Apple M3 Pro\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda command, **_: told)
    assert machine.cpu_name().startswith("Apple M3 Pro, ")
    chips = {_chip("mps", cpu, 8, 1) for cpu in ("Apple M1, 8 cores", machine.cpu_name())}
    assert len(chips) == 2


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name : Xeon\nflags : fpu avx512f amx_bf16 amx_tile\n", True),
        ("model name : Ryzen\nflags : fpu avx512_bf16\n", True),
        ("Features : fp asimd bf16\n", True),
        ("model name : EPYC\nflags : fpu avx2\n", False),
        ("", True),  # unknown
    ],
)
def test_a_cpus_arithmetic_decides_what_is_offered(system, cpuinfo, expected, monkeypatch):
    monkeypatch.setattr(execution.logger, "propagate", True)
    system(**{"proc/cpuinfo": cpuinfo})
    cpu = torch.device("cpu")
    assert machine.has_bf16() == expected
    assert execution.available_precisions(cpu) == ["fp32", *(["bf16"] if expected else [])]
