"""Detects whether torchrun or srun started this process as one of several.

Does not import torch: which process prints must be known before torch is loaded.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from resnet_repro.errors import UserError
from resnet_repro.machine import num_cores

# The variables in which each passes size, rank and local rank.
TORCHRUN = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
SRUN = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")


@dataclass(frozen=True)
class RankInfo:
    """The rank of this process in the group that torchrun or srun started.

    Attributes:
        rank: Rank of this process, from 0.
        size: Number of processes.
        local_rank: Rank of this process on its machine.
        local_size: Number of processes on its machine.
        address: Host of rank 0, to which all processes connect.
        port: TCP port of rank 0.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


def started_by_others(environ: Mapping[str, str] = os.environ) -> RankInfo | None:
    """Return the rank of this process, or None if it was started alone.

    Raises:
        UserError: The environment announces several processes, but is incomplete or inconsistent.
    """
    given = _given(environ)
    by, numbers = _numbers(given)
    if by == TORCHRUN:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in given]
        if missing:
            raise UserError(
                f"WORLD_SIZE={given['WORLD_SIZE']} and RANK={given['RANK']} are set in the "
                f"environment without {' and '.join(missing)}: start the processes with torchrun, "
                f"or unset WORLD_SIZE and RANK to run one process"
            )
        return RankInfo(*numbers, given["MASTER_ADDR"], _number(given, "MASTER_PORT", most=65_535))
    if by == SRUN:
        # Below 32768: from there on, Linux gives ports to outgoing connections.
        port = 20_000 + _number(given, "SLURM_JOB_ID", 0) % 12_000
        return RankInfo(
            *numbers, _first_node(given), _number(given, "MASTER_PORT", port, most=65_535)
        )
    return None


def cores_per_process(local_size: int) -> int:
    """Return the number of CPU cores for each of some processes that train one network.

    srun gives each of its tasks cores of its own, and by default binds it to them: what a task may
    use is not to be divided again. All other processes share the cores that they may use.

    Args:
        local_size: The number of processes on this machine.
    """
    given = _given(os.environ)
    if _numbers(given)[0] == SRUN and "SLURM_CPUS_PER_TASK" in given:
        return min(num_cores(), _number(given, "SLURM_CPUS_PER_TASK", least=1))
    return max(1, num_cores() // local_size)


def is_silent() -> bool:
    """Return whether this is one of several processes and not rank 0, which prints."""
    rank, *_ = _numbers(_given(os.environ))[1]
    return rank != 0


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the non-empty variables; an empty one counts as unset."""
    return {name: value.strip() for name, value in environ.items() if value.strip()}


def _numbers(given: Mapping[str, str]) -> tuple[tuple[str, ...] | None, tuple[int, int, int, int]]:
    """Return whose variables are set, and rank, size, local rank and local size from them."""
    if "RANK" in given and _number(given, "WORLD_SIZE", 1, least=1) > 1:
        by, local_size = TORCHRUN, _number(given, "LOCAL_WORLD_SIZE", 1, least=1)
    # Set only in steps of srun, not in the batch script, which is one process.
    elif "SLURM_PROCID" in given and _number(given, "SLURM_STEP_NUM_TASKS", 1, least=1) > 1:
        # 8(x2),4 means 8 on the first machine.
        first = re.match(r"\d+", given.get("SLURM_STEP_TASKS_PER_NODE", "1"))
        by, local_size = SRUN, int(first[0]) if first else 1
    else:
        return None, (0, 1, 0, 1)
    size = _number(given, by[0])
    rank = _number(given, by[1], most=size - 1, of=f" with {by[0]}={size}")
    return by, (rank, size, _number(given, by[2], 0, most=size - 1), local_size)


def _number(
    given: Mapping[str, str],
    name: str,
    default: int | None = None,
    *,
    least: int = 0,
    most: int | None = None,
    of: str = "",
) -> int:
    """Return the integer that a variable holds.

    Raises:
        UserError: The variable holds something else.
    """
    text = given.get(name, "" if default is None else str(default))
    number = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1
    if number < least or (most is not None and number > most):
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(
            f"{name}={text} in the environment: must be {allowed}{of}. torchrun and srun set it; "
            f"unset it to run one process"
        )
    return number


def _first_node(given: Mapping[str, str]) -> str:
    """Return the host of rank 0 of a SLURM step."""
    if "MASTER_ADDR" in given:
        return given["MASTER_ADDR"]
    if given.get("SLURM_STEP_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    nodes = given.get("SLURM_STEP_NODELIST", "")  # rack[0-1]gpu[03-05,7]-ib,other
    name = re.sub(r"\[(\d+)[^]]*\]", r"\1", nodes).split(",")[0]
    try:
        return socket.gethostbyname(name)
    except OSError:
        return given.get("SLURM_LAUNCH_NODE_IPADDR", name)
