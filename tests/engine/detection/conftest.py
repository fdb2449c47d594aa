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


@pytest.fixture(scope="session")
def cached(tmp_path_factory):
    """Return the folder of sets that were read; the library of kernels is the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(cached, monkeypatch):
    """Keep the sets in a folder of the tests, and only in these tests."""
    monkeypatch.setattr(scene_cache, "cache_folder", lambda: cached)


@pytest.fixture(scope="session")
def whole(squares, cached, tmp_path_factory):
    """Return an output root with the runs of the chain, none of them disturbed."""
    results = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as context:  # before the fixture of each test
        context.setattr(scene_cache, "cache_folder", lambda: cached)
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
