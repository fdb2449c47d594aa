"""What `submit` requests from a SLURM cluster per job; does not affect results."""

import re
from dataclasses import dataclass, replace
from typing import Any

from resnet_repro.errors import require

# Options that the program sets itself; a second value would conflict.
RESERVED = ("array", "output", "error", "signal", "requeue", "no-requeue", "open-mode", "parsable",
        "dependency", "job-name")  # fmt: skip
TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
LEAST = 300  # shortest time to start and train, seconds
TABLE_MINUTES, TABLE_MEMORY = 30, "4G"  # more than a table and its pictures need


@dataclass(kw_only=True)
class ClusterConfig:
    """One job of the array: one run, or several seeds of one row.

    Attributes:
        nodes: Number of machines; with more than one, a run is distributed over all their GPUs.
        gpus: GPUs per machine; 0 for none.
        cpus: CPU cores per machine.
        memory: Memory per machine, as for `sbatch --mem` (`64G`); null: the cluster's default.
        time: Time limit of a job, as for `sbatch --time`. A job that hits it saves a checkpoint
            and is requeued.
        save_seconds: Seconds before the time limit at which a job is told to save; SLURM may send
            the signal up to a minute earlier.
        partition: SLURM partition; null: the cluster's default.
        account: SLURM account; null: the cluster's default.
        at_once: Most jobs of one `submit` that run at the same time; null: as many as the cluster
            allows. SLURM counts by array: if the runs take several (more than the cluster's
            MaxArraySize), each gets a share of this number; with more arrays than that, the next
            ones wait until others end.
        seeds_per_job: Seeds of a row that share one job, side by side on its GPUs.
        options: Further options of sbatch: `{qos: long, constraint: a100, exclusive: true}`.
    """

    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    memory: str | None = None
    time: str = "24:00:00"
    save_seconds: int = 120
    partition: str | None = None
    account: str | None = None
    at_once: int | None = None
    seeds_per_job: int = 1
    options: Any = None

    def __post_init__(self) -> None:
        for name, least in (
            ("nodes", 1),
            ("gpus", 0),
            ("cpus", 1),
            ("save_seconds", 60),
            ("at_once", 1),
            ("seeds_per_job", 1),
        ):
            value = getattr(self, name)
            require(
                value is None or value >= least, f"cluster.{name}={value}: must be at least {least}"
            )
        # YAML reads an unquoted 24:00:00 as a number of seconds, which sbatch reads as minutes.
        require(
            TIME.fullmatch(self.time) is not None,
            f"cluster.time={self.time}: must be [DAYS-]HOURS:MINUTES:SECONDS, "
            f"in quotes if in a file",
        )
        require(
            self.seconds >= self.save_seconds + LEAST,
            f"cluster.time={self.time}: must be at least {LEAST} s more than cluster.save_seconds="
            f"{self.save_seconds}, to leave time to train",
        )
        require(
            self.cpus % self.tasks_per_node == 0,
            f"cluster.cpus={self.cpus}: must be a multiple of {self.tasks_per_node}, the processes "
            f"per machine",
        )
        require(
            self.options is None or isinstance(self.options, dict),
            f"cluster.options={self.options}: must be sbatch options in quotes, '{{qos: long}}'",
        )
        for name in self.options or ():
            require(name not in RESERVED, f"cluster.options: {name} is set by `submit` itself")

    @property
    def seconds(self) -> int:
        """The time limit of a job, in seconds."""
        match = TIME.fullmatch(self.time)
        assert match is not None
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + seconds

    def for_table(self) -> "ClusterConfig":
        """Return the resources of the job that writes the table: those of one GPU, briefly.

        It asks for a GPU if the runs do, because partitions with GPUs may refuse other jobs.
        """
        minutes = max(TABLE_MINUTES, -(-(self.save_seconds + LEAST) // 60))
        return replace(
            self,
            nodes=1,
            gpus=min(1, self.gpus),
            cpus=max(1, self.cpus // max(1, self.gpus)),
            memory=self.memory and TABLE_MEMORY,
            time=self.time
            if self.seconds < 60 * minutes
            else f"{minutes // 60:02}:{minutes % 60:02}:00",
        )

    @property
    def tasks_per_node(self) -> int:
        """Number of processes that SLURM starts on each machine.

        On one machine the program assigns the GPUs itself; on several, SLURM starts one process
        per GPU.
        """
        return max(1, self.gpus) if self.nodes > 1 else 1
