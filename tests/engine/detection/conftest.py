"""Fixtures of detectors' runs: small photographs, and a chain of runs on them."""

import shutil

import pytest

from resnet_repro.detection import scene_cache
from tests.support.detection_runs import chain, train, write_squares


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Return the folder of the photographs."""
    root = tmp_path_factory.mktemp("squares")
    write_squares(root)
    return root


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep the sets in a folder of the tests; the library of kernels is the user's."""
    with pytest.MonkeyPatch.context() as context:
        folder = tmp_path_factory.mktemp("cache")
        context.setattr(scene_cache, "cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def whole(squares, tmp_path_factory):
    """Return an output root with the runs of the chain, none of them disturbed."""
    results = tmp_path_factory.mktemp("whole")
    for run in chain(squares).values():
        train(run, results)
    return results


@pytest.fixture
def copied(whole, tmp_path):
    """Return a function that copies runs of the chain to an output root of the test's own."""

    def copy(*runs):
        for run in runs:
            shutil.copytree(whole / "runs" / run.id, tmp_path / "runs" / run.id)
        return tmp_path

    return copy
