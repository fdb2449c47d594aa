"""Object detection, the task of a run that trains a detector or a part of one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.detection.coco_ap import coco_program
from resnet_repro.detection.feed import SceneFeed
from resnet_repro.detection.network import Detector
from resnet_repro.detection.pyramid import CANDIDATES
from resnet_repro.detection.scenes import Scenes, SceneSets
from resnet_repro.engine.checkpoint import weights_hash
from resnet_repro.engine.detection.proposals import ProposalFiles, make_proposals
from resnet_repro.engine.detection.restore import new_detector
from resnet_repro.engine.detection.scene_task import SceneTask
from resnet_repro.engine.detection.step import DetectorStep
from resnet_repro.engine.detection.testing import measure_detections, measure_proposals, members_of
from resnet_repro.engine.evaluate import eval_mode
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.evaluation import EvaluationConfig


class Detection(SceneTask):
    """Object detection."""

    @property
    def samples(self) -> int:  # type: ignore[override]
        """Anchors or regions that are classified per photograph."""
        detector = self.run.config.detector
        return (
            detector.sampled_anchors if detector.step == "proposals" else detector.sampled_regions
        )

    def build(self) -> Detector:
        return new_detector(self.run.config)

    def load(self) -> SceneSets:
        config = self.run.config
        if config.data.name == "coco" and config.detector.step != "proposals":
            coco_program()  # fail before the training if it is missing
        return super().load()

    def step(self, model: nn.Module, feed: SceneFeed, optimizer: SGD) -> Callable[..., Tensor]:
        assert isinstance(model, Detector)
        config, given = self.run.config, None
        if config.detector.step == "regions":
            # As in the papers' code: no limit before suppression.
            files = self.given(feed.data.train, feed, None, config.detector.num_proposals)
            given = files.of_sample
        return DetectorStep(
            model, optimizer, config, self.execution, self.group, given, self.samples
        )

    def tester(
        self, model: nn.Module, feed: SceneFeed, stream: torch.cuda.Stream | None = None
    ) -> Callable[[], dict[str, Any]]:
        quick = self.run.config.quick_test()
        return lambda: self.test(model, feed, quick)

    def test(self, model: nn.Module, feed: SceneFeed, test: EvaluationConfig) -> dict[str, Any]:
        assert isinstance(model, Detector)
        config, execution, group = self.run.config, self.execution, self.group
        with eval_mode(model):
            if config.detector.step == "proposals":
                return measure_proposals(model, feed, test, config, execution, group, self.stop)
            members = members_of(model, feed, config, test, self.test_proposals(feed, test))
            weights = weights_hash(model)
            return measure_detections(
                members, feed, test, config, self.folder, execution, group, weights, self.stop
            )

    def test_proposals(self, feed: SceneFeed, test: EvaluationConfig) -> ProposalFiles | None:
        """Return the proposals that are tested; None where the detector makes its own."""
        if self.run.config.detector.step != "regions":
            return None
        return self.given(feed.data.test, feed, CANDIDATES, test.num_proposals)

    def given(
        self, scenes: Scenes, feed: SceneFeed, before: int | None, after: int
    ) -> ProposalFiles:
        """Return the proposals of the run that proposes regions, for a set of photographs."""
        proposer = self.run.needs[-1]
        folder = run_folder(proposer, self.results)
        return make_proposals(
            proposer, folder, scenes, feed, before, after, self.execution, self.group, self.stop
        )
