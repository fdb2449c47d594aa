"""What the tests share: the command line, settings of a small run, the data folder."""

import atexit
import os
import shutil
import sys
import tempfile

# One thread each: networks this small gain nothing by two, and lose much where the machine is busy.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path

import pytest
import torch

from resnet_repro.cli import main as cli
from resnet_repro.settings import groups
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import DataConfig, GenerateConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.run import RunConfig

ROOT = Path(__file__).parents[1]

# Neither a launcher nor a cluster, in which the tests may run, has started what they start.
for name in [*os.environ]:
    if name.startswith(("SLURM_", "MASTER_", "LOCAL_", "WORLD_SIZE", "RANK", "TQDM_", "HYDRA_")):
        del os.environ[name]

# Nor do settings of this machine count, which are in the checkout and not in the repository.
if (groups.CONF / "local").exists():
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    cli.CONF = groups.CONF = Path(made.name, "conf")
    shutil.copytree(ROOT / "conf", groups.CONF, ignore=shutil.ignore_patterns("local"))

PUBLISHED = ROOT / "results/published"
REFERENCE = Path(__file__).parent / "reference"
PATIENCE = 300.0  # seconds: a test that waits so long has failed, on however busy a machine
DATA = Path(os.environ.get("RESNET_REPRO_DATA", ROOT / "data")).absolute()

# A run of some seconds on the synthetic set and the CPU, as words of the command line.
SMALL = (
    "experiment=quickstart",
    "row=ResNet-8",
    "recipe.iterations=6",
    "recipe.batch_size=16",
    "recipe.lr_drops=[4]",
    "data.generate.num_train=100",
    "data.generate.num_test=50",
    "evaluation.every=3",
    "compute.log_every=2",
    "compute.device=cpu",
)


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


@pytest.fixture
def run_cli(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder, in this process."""

    # What a plan times is real, and short.
    monkeypatch.setattr("resnet_repro.cost.calibration.ROUNDS", 1)
    monkeypatch.setattr("resnet_repro.cost.calibration.ROUNDS_AGAIN", 0)
    monkeypatch.setattr("resnet_repro.engine.timing.PART_SECONDS", 0.01)

    def call(*words: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["resnet-repro", *words])
        capsys.readouterr()
        code = cli.main()
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


def copy_published(folder: Path) -> None:
    """Copy what is published, without what commands of the README write beside it."""
    written = shutil.ignore_patterns("report.html", "calibration.json", "runs")
    shutil.copytree(PUBLISHED, folder, ignore=written)


@pytest.fixture
def cifar10():
    """Return the folder in which CIFAR-10 lies."""
    if not (DATA / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no CIFAR-10 in {DATA}; RESNET_REPRO_DATA says where it is")
    return DATA


@pytest.fixture
def config():
    """Return the settings of a small run on the synthetic set."""
    return RunConfig(
        model=ModelConfig(name="cifar_resnet", depth=8, shortcut="A", width=4, num_classes=10),
        data=DataConfig(
            name="synthetic",
            title="synthetic",
            image_size=16,
            num_classes=10,
            generate=GenerateConfig(num_train=60, num_test=30),
        ),
        recipe=RecipeConfig(
            iterations=6, batch_size=16, bn_batch=8, lr=0.1, crop_padding=2, flip=True
        ),
        evaluation=EvaluationConfig(every=3, batch_size=20),
        compute=ComputeConfig(log_every=4, device="cpu"),
    )


def changed(config, **fields):
    """Return the settings with fields of their sections changed: changed(c, recipe={"lr": 1.0})."""
    sections = {name: replace(getattr(config, name), **new) for name, new in fields.items()}
    return replace(config, **sections)
