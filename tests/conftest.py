"""Fixtures for all tests: the command line, settings of small runs, tables, the data folder."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile

# One thread each: networks this small gain nothing by two, and lose much where the machine is busy.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import logging
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path

import pytest
import torch

from resnet_repro.cli import main as cli
from resnet_repro.records import Record, archive
from resnet_repro.records.results import write_records
from resnet_repro.report.pictures import registry as plots
from resnet_repro.settings import groups
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from tests.support.configurations import keep_configurations, share_configurations
from tests.support.experiments import MINE
from tests.support.paths import DATA, ROOT
from tests.support.photos import SCALE, write_set
from tests.support.plans import plan
from tests.support.results import SESSION, results_of
from tests.support.runs import SMALL, small_config

# Neither a launcher nor a cluster, in which the tests may run, has started what they start.
for name in [*os.environ]:
    if name.startswith(
        ("SLURM_", "MASTER_", "LOCAL_", "WORLD_SIZE", "RANK", "TQDM_", "HYDRA_", "GIT_")
    ):
        del os.environ[name]

# Nor do the user's own git settings, or a proxy for what a test serves itself.
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

# A shell's background jobs ignore Ctrl-C, and so does what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nor do settings of this machine count, which are in the checkout and not in the repository.
if (groups.CONF / "local").exists():
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    cli.CONF = groups.CONF = Path(made.name, "conf")
    shutil.copytree(ROOT / "conf", groups.CONF, ignore=shutil.ignore_patterns("local"))


keep_configurations()


def pytest_collection_finish():
    """Have the garbage collector leave alone what was imported: that took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def configurations(tmp_path_factory):
    """Compose the same configuration once for all processes that test."""
    share_configurations(tmp_path_factory)


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def hide_gpus(request, monkeypatch):
    """Hide this machine's GPUs, but from tests of them: what is expected is what a CPU does."""
    if request.node.get_closest_marker("gpu"):
        return
    nothing = {"is_available": lambda: False, "device_count": lambda: 0}
    for module, name in (
        (torch.cuda, "is_available"),
        (torch.cuda, "device_count"),
        (torch.backends.mps, "is_available"),
    ):
        monkeypatch.setattr(module, name, wraps(getattr(module, name))(nothing[name]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Draw no pictures, which take longer than the rest of a table, but in tests of them."""
    if not request.node.get_closest_marker("pictures"):
        for name in ("PICTURES", "SWEEP_PICTURES", "FIGURES"):
            monkeypatch.setattr(plots, name, {})


@pytest.fixture
def run_cli(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder, in this process."""

    # What a plan times is real, and short.
    monkeypatch.setattr("resnet_repro.cost.calibration.ROUNDS", 1)
    monkeypatch.setattr("resnet_repro.cost.calibration.EXTRA_ROUNDS", 0)
    monkeypatch.setattr("resnet_repro.engine.timing.PART_SECONDS", 0.01)

    def call(*words: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["resnet-repro", *words])
        capsys.readouterr()
        code = cli.main()
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(scope="session")
def cifar10():
    """Return the folder in which CIFAR-10 lies."""
    if not (DATA / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no CIFAR-10 in {DATA}; RESNET_REPRO_DATA says where it is")
    return DATA


@pytest.fixture
def config():
    """Return the settings of a small run on the synthetic set."""
    return small_config()


@pytest.fixture
def settings(config, tmp_path):
    """Return the settings of a small run on photographs."""
    write_set(tmp_path / "set")
    return replace(
        config,
        model=replace(config.model, num_classes=3),
        data=DataConfig(
            name="imagenet", title="x", root=str(tmp_path / "set"), image_size=32, num_classes=3
        ),
        recipe=replace(config.recipe, crop_padding=0, photo=SCALE),
        evaluation=EvaluationConfig(protocol="one_crop", sizes=[40], crop=32, every=3),
        compute=replace(config.compute, workers=0),
    )


@pytest.fixture
def heard(monkeypatch, caplog):
    """Return what is warned of, also what was said before."""
    monkeypatch.setattr(archive, "_warned", set())
    monkeypatch.setattr(logging.getLogger("resnet_repro"), "propagate", True)
    caplog.set_level(logging.INFO, "resnet_repro")
    return caplog


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return the plan of a table with two rows recorded, one of them in its run's folder too."""
    monkeypatch.setattr(plots, "PICTURES", {})  # which take a second
    made = plan("cifar_depth", f"results={tmp_path / 'results'}")
    found = results_of(made, ResNet_20=[8.9], ResNet_32=[7.9])
    write_records(made, found)
    (result,) = found["ResNet-20"]
    record = Record(made.results / "runs" / result.id)
    record.folder.mkdir(parents=True)
    counts = {"num_errors": 750, "num_images": 50000}
    speed = {"loss": 0.1, "lr": 0.1, "images_per_second": 50.0}
    record.add_session({**SESSION, "threads": 1, "data": "0123456789abcdef"})
    for iteration in (1000, 64000):
        record.append("train", iteration, **counts, **speed)
        record.append("test", iteration, protocol="single_view", num_errors=890, num_images=10000)
    record.add_evaluation("single_view", num_errors=890, num_images=10000)
    record.append("finished", 64000, seconds=7200.0, weights=result.weights)
    return made


@pytest.fixture(scope="session")
def trained_before(tmp_path_factory):
    """Return the folder in which the results of `trained` are kept."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(run_cli, tmp_path, trained_before):
    """Train two rows of a shortened quickstart, two seeds each; return where its table lies."""
    ours, kept = tmp_path / "results", trained_before / "results"
    if kept.exists():
        shutil.copytree(kept, ours)
    else:
        outcome = run_cli(*SMALL, "row=[plain-8,ResNet-8]", "seeds=[0,1]")
        assert outcome.code == 0, outcome.err
        shutil.copytree(ours, kept)
    (folder,) = (ours / "quickstart").glob("changed-*")
    return folder


@pytest.fixture
def mine(tmp_path):
    """Return a folder of settings with an experiment `shallow`."""
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "shallow.yaml").write_text(MINE)
    return folder
