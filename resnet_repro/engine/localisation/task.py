"""Localisation, the task of a run that trains where an image's class is ([He15] App. C)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from resnet_repro.detection.localisation.feed import LocalisationFeed
from resnet_repro.detection.localisation.localise import best_proposals, boxes_of_class, rescored
from resnet_repro.detection.localisation.looks import Look, looks_at
from resnet_repro.detection.localisation.networks import (
    ClassProposer,
    ClassRegions,
)
from resnet_repro.detection.scenes import Scenes
from resnet_repro.engine.checkpoint import weights_hash
from resnet_repro.engine.detection.proposals import ProposalFiles, Proposer, fill
from resnet_repro.engine.detection.restore import new_localiser, restore_network
from resnet_repro.engine.detection.scene_task import SceneTask
from resnet_repro.engine.evaluate import eval_mode
from resnet_repro.engine.localisation.classes import (
    Probabilities,
    check_classes,
    classifier_id,
    classifier_of,
)
from resnet_repro.engine.localisation.step import make_step
from resnet_repro.engine.localisation.testing import (
    Localiser,
    Scored,
    measure_localisation,
    unfinished_errors,
)
from resnet_repro.plan import Run
from resnet_repro.records.runs import run_folder
from resnet_repro.settings.evaluation import EvaluationConfig


class Localisation(SceneTask):
    """Localisation."""

    reader = LocalisationFeed

    @property
    def samples(self) -> int:  # type: ignore[override]
        """Anchors or regions that are classified per photograph."""
        detector = self.run.config.detector
        of_anchors = detector.step == "localisation"
        return detector.sampled_anchors if of_anchors else detector.sampled_regions

    def build(self) -> ClassProposer | ClassRegions:
        return new_localiser(self.run.config)

    def start(self, model: nn.Module) -> None:
        check_classes(self.run)  # it is asked for the classes in the last test only
        super().start(model)

    def step(
        self, model: nn.Module, feed: LocalisationFeed, optimizer: SGD
    ) -> Callable[..., Tensor]:
        assert isinstance(model, ClassProposer | ClassRegions)
        config = self.run.config
        if isinstance(model, ClassRegions):
            wanted = config.training_proposals()
            feed.given = self.proposals(feed, feed.data.train, wanted).__getitem__
        return make_step(model, optimizer, self.execution, self.group, self.samples)

    @property
    def tests_in_full(self) -> bool:
        """Another protocol's test while training lacks the classes, which a row may ask for."""
        own = self.run.config.quick_test().key == self.run.config.evaluation.key
        return own or classifier_id(self.run) is None

    def tester(
        self, model: nn.Module, feed: LocalisationFeed, stream: torch.cuda.Stream | None = None
    ) -> Callable[[], dict[str, Any]]:
        """For the given class alone, unless this is the run's own test."""
        quick = self.run.config.quick_test()
        if self.tests_in_full:
            return lambda: self.test(model, feed, quick)
        return lambda: self._measure(model, feed, quick, [])

    def test(
        self, model: nn.Module, feed: LocalisationFeed, test: EvaluationConfig
    ) -> dict[str, Any]:
        """Test a network by a protocol, also with the classes that its classifier names."""
        found = classifier_of(self.run, self.results, self.execution, self.group)
        return self._measure(model, feed, test, [found] if found else [])

    def _measure(
        self,
        model: nn.Module,
        feed: LocalisationFeed,
        test: EvaluationConfig,
        classifiers: Sequence[Probabilities],
    ) -> dict[str, Any]:
        config, group = self.run.config, self.group
        networks = [weights_hash(model), *([str(classifier_id(self.run))] if classifiers else [])]
        unfinished = unfinished_errors(self.folder, feed, test, config, group, networks)
        how = self.execution, group, self.stop, unfinished
        with eval_mode(model):
            localisers = [self.localiser(model, feed, test)]
            return measure_localisation(localisers, classifiers, feed, test, *how)

    def localiser(
        self,
        model: nn.Module,
        feed: LocalisationFeed,
        test: EvaluationConfig,
        given: Callable[[int], Tensor] | None = None,
    ) -> Localiser:
        """Return how a network localises a class.

        Args:
            model: The network, in eval mode.
            feed: What reads the test photographs.
            test: The settings of the test.
            given: The regions of a test photograph that are classified; None: those of the run that
                proposes.
        """
        config, inputs = self.run.config, feed.inputs
        if isinstance(model, ClassProposer):
            anchors = list(config.detector.anchors)

            def look(_: int, looks: Sequence[Look], photograph: Tensor, label: int) -> Scored:
                return boxes_of_class(model, inputs, looks, photograph, label, anchors)

            return look
        assert isinstance(model, ClassRegions)
        regions = given or self.test_proposals(feed, test)

        def classify(position: int, _: Sequence[Look], photograph: Tensor, label: int) -> Scored:
            found = regions(position).to(photograph.device)
            size, batch = config.data.image_size, test.batch_size
            return rescored(model, inputs, photograph, found, label, size, batch)

        return classify

    def test_proposals(
        self, feed: LocalisationFeed, test: EvaluationConfig
    ) -> Callable[[int], Tensor]:
        """Return the proposals for test photographs, by position."""
        return self.proposals(feed, feed.data.test, test).__getitem__

    def proposals(
        self, feed: LocalisationFeed, scenes: Scenes, test: EvaluationConfig
    ) -> ProposalFiles:
        """Return the best proposals for the class of each photograph, of the run that proposes.

        Args:
            feed: What reads the photographs.
            scenes: The photographs.
            test: The sizes at which they are proposed, and how many, at most.
        """
        proposer = self.run.needs[-1]
        folder = run_folder(proposer, self.results)
        asked = (scenes.checksum(), test.key, test.num_proposals)
        digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]
        files = ProposalFiles(folder / f"proposals-{digest}", len(scenes))

        def maker() -> Proposer:
            return self._proposer(proposer, folder, scenes, test)

        fill(files, proposer, scenes, feed, maker, self.execution, self.group, self.stop)
        return files

    def _proposer(self, run: Run, folder: Path, scenes: Scenes, test: EvaluationConfig) -> Proposer:
        network, inputs = restore_network(run, folder, self.execution)
        assert isinstance(network, ClassProposer)
        anchors = list(run.config.detector.anchors)

        def propose(position: int, pixels: Tensor) -> Tensor:
            photograph = pixels.to(self.execution.device)
            label = int(scenes[position].classes[0])
            looks = looks_at(photograph, test)
            found = boxes_of_class(network, inputs, looks, photograph, label, anchors)
            return best_proposals(*found, test.num_proposals)

        return propose
