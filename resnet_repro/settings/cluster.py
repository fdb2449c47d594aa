"""What `submit` asks of a SLURM cluster for one job; the same run on any of them."""

import re
from dataclasses import dataclass
from typing import Any

from resnet_repro.errors import require

# Set by the program itself; a second value would win or lose by chance.
RESERVED = ("array", "output", "error", "signal", "requeue", "no-requeue", "open-mode", "parsable",
        "dependency", "job-name")  # fmt: skip
TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
LEAST = 300  # seconds to start and train


@dataclass(kw_only=True)
class ClusterConfig:
    """A job of the array: one run, or the seeds of one row.

    Attributes:
        nodes: Machines; with more than one, a run is divided over all their GPUs.
        gpus: On each machine; 0 for none.
        cpus: Cores on each machine.
        memory: On each machine, as `sbatch --mem` reads it (`64G`); null: the cluster's default.
        time: The longest that a job lasts, as `sbatch --time` reads it. One that is not done by
            then saves, and is put into the queue again.
        save_seconds: Before the end of that time, when it is told to save; SLURM says it up to a
            minute earlier.
        partition: Where it goes; null: the cluster's default.
        account: Who pays; likewise.
        at_once: Jobs of an array that run at the same time; null: as many as the cluster allows.
        seeds_per_job: Seeds of a row that share a job, side by side on its GPUs.
        options: Others of sbatch's: `{qos: long, constraint: a100, exclusive: true}`.
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
            require(value is None or value >= least, f"cluster.{name}={value}: at least {least}")
        match = TIME.fullmatch(self.time)
        # YAML reads 24:00:00 without quotes as a number of seconds, and sbatch that as minutes.
        require(
            match is not None,
            f"cluster.time={self.time}: HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS, in a "
            f"file in quotes",
        )
        assert match is not None
        days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
        require(
            ((24 * days + hours) * 60 + minutes) * 60 + seconds >= self.save_seconds + LEAST,
            f"cluster.time={self.time}: at least {LEAST} s more than cluster.save_seconds="
            f"{self.save_seconds}, or no time is left to train",
        )
        require(
            self.cpus % self.tasks_per_node == 0,
            f"cluster.cpus={self.cpus}: the {self.tasks_per_node} processes of a machine do not "
            f"share them evenly",
        )
        require(
            self.options is None or isinstance(self.options, dict),
            f"cluster.options={self.options}: sbatch's options, '{{qos: long}}' in quotes",
        )
        for name in self.options or ():
            require(name not in RESERVED, f"cluster.options: {name} is set by `submit` itself")

    @property
    def tasks_per_node(self) -> int:
        """Processes that SLURM starts on each machine.

        One machine's GPUs are shared out by the program itself, those of several by SLURM.
        """
        return max(1, self.gpus) if self.nodes > 1 else 1
