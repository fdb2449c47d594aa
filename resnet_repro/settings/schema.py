"""Every key of the composed configuration."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from resnet_repro.settings.cluster import ClusterConfig
from resnet_repro.settings.compute import ComputeConfig
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.experiment import ClaimConfig, PaperConfig, RowConfig, StepConfig
from resnet_repro.settings.model import ModelSection
from resnet_repro.settings.recipe import RecipeConfig
from resnet_repro.settings.sweep import SweepConfig


@dataclass(kw_only=True)
class Schema:
    """Every key of the composed configuration: one run's settings, the experiment, the command."""

    model: ModelSection = MISSING
    data: DataConfig = MISSING
    recipe: RecipeConfig = MISSING
    evaluation: EvaluationConfig = MISSING
    compute: ComputeConfig = MISSING
    detector: DetectorConfig = MISSING
    cluster: ClusterConfig = MISSING
    mode: str = "run"
    plugins: Any = None
    name: str | None = None
    paper: PaperConfig = field(default_factory=PaperConfig)
    steps: dict[str, StepConfig] = field(default_factory=dict)
    every_step: dict[str, Any] = field(default_factory=dict)
    rows: list[RowConfig] = field(default_factory=list)
    claims: list[ClaimConfig] = field(default_factory=list)
    row: Any = None
    seeds: Any = None
    state: Any = None
    results: str = "results"
    format: str = "md"
    weights: str | None = None
    with_weights: bool = False
    pack: str | None = None
    folders: list[str] = field(default_factory=list)
    budget: str | None = None
    sweep: SweepConfig = field(default_factory=SweepConfig)
    baseline: Any = None
    yes: bool = False
