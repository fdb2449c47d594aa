"""The kinds of cluster that runs can be submitted to, by option of `cluster=`."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from resnet_repro.errors import require_choice
from resnet_repro.launch.slurm import cancel, ended, queue, script, submit
from resnet_repro.plan import Plan
from resnet_repro.records.jobs import Job
from resnet_repro.settings.cluster import ClusterConfig


class Cluster(NamedTuple):
    """A kind of cluster.

    Attributes:
        submit: Submits a plan's missing runs, given the resources per job and the command line's
            arguments except verb and cluster.
        find_jobs: Returns the unfinished jobs of an output folder, by the runs' digests.
        cancel: Cancels the jobs of runs, given their digests and those of all runs whose jobs it
            may end with them; yields what was done, line by line.
        why_ended: Returns why the last jobs of runs, given their digests, ended.
        find_logs: Returns the log files of the last jobs of runs, given their digests.
    """

    submit: Callable[[Plan, ClusterConfig, Sequence[str]], Iterator[str]]
    find_jobs: Callable[[Path], dict[str, Job]]
    cancel: Callable[[Path, Collection[str], Collection[str]], Iterator[str]]
    why_ended: Callable[[Path, Collection[str]], dict[str, str]]
    find_logs: Callable[[Path, Collection[str]], dict[str, Path]]


CLUSTERS = {
    "slurm": Cluster(
        submit.submit, queue.find_jobs, cancel.cancel, ended.why_ended, ended.find_logs
    )
}


def leaves_table() -> bool:
    """Return whether this is a job of which another one writes the table."""
    return script.LEAVES_TABLE in os.environ


def cluster_named(name: str) -> Cluster:
    """Return the kind of cluster for an option of `cluster=`.

    Raises:
        UserError: There is no such kind.
    """
    require_choice("cluster", name, tuple(CLUSTERS))
    return CLUSTERS[name]
