"""The kinds of clusters that runs are submitted to, by the options of `cluster=`."""

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
        submit: Submits what is missing of a plan; takes also what to ask of the cluster for each
            job, and the words of the command line besides verb, rows, seeds and cluster.
        find_jobs: Finds in an output root, by the runs' digests, the jobs that have not ended.
    """

    submit: Callable[[Plan, ClusterConfig, Sequence[str]], Iterator[str]]
    find_jobs: Callable[[Path], dict[str, Job]]


CLUSTERS = {"slurm": Cluster(submit.submit, queue.find_jobs)}


def cluster_named(name: str) -> Cluster:
    """Return the kind of cluster of an option of `cluster=`.

    Raises:
        UserError: It names none.
    """
    require_choice("cluster", name, tuple(CLUSTERS))
    return CLUSTERS[name]
