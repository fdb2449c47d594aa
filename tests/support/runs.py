"""The words and settings of small runs, and where these are."""

from dataclasses import replace
from pathlib import Path

from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import DataConfig, GenerateConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.run import RunConfig

PATIENCE = 300.0  # seconds: a test that waits so long has failed, on however busy a machine
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
# A run of two iterations, for experiments of every kind.
ON_SYNTHETIC = (
    "data=synthetic",
    "data.generate.num_train=100",
    "data.generate.num_test=50",
    "recipe.iterations=2",
    "recipe.batch_size=16",
    "recipe.bn_batch=8",
    "recipe.lr_drops=[]",
    "compute.device=cpu",
)
RUNS = Path("results/runs")


def small_config() -> RunConfig:
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


def the_run(folder: Path) -> Path:
    """Return the folder of the only run that was started in a folder."""
    (run,) = (folder / RUNS).glob("*-seed*")
    return run
