"""The kinds of cluster that runs can be submitted to, by option of `cluster=`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from resnet_repro.errors import require_choice
from resnet_repro.launch.slurm import queue, submit
from resnet_repro.plan import Plan
from resnet_repro.records.jobs import Job
from resnet_repro.settings.cluster import ClusterConfig


class Cluster(NamedTuple):
    """A kind of cluster.

    Attributes:
        submit: Submits a plan's missing runs, given the resources per job and the command line's
            arguments except verb, rows, seeds and cluster.
        find_jobs: Returns the unfinished jobs of an output folder, by the runs' digests.
    """

    submit: Callable[[Plan, ClusterConfig, Sequence[str]], Iterator[str]]
    find_jobs: Callable[[Path], dict[str, Job]]


CLUSTERS = {"slurm": Cluster(submit.submit, queue.find_jobs)}


def cluster_named(name: str) -> Cluster:
    """Return the kind of cluster for an option of `cluster=`.

    Raises:
        UserError: There is no such kind.
    """
    require_choice("cluster", name, tuple(CLUSTERS))
    return CLUSTERS[name]
