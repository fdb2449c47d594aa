"""What runs start from and are tested with: networks of any kind, a classifier's precision."""

import pytest
import torch

from resnet_repro.data import Inputs
from resnet_repro.detection.localisation.looks import Look
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.detection import restore
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.localisation.classes import classifier_of
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.settings.detector import LOCALISATION, STEPS
from resnet_repro.settings.evaluation import PROPOSALS
from resnet_repro.settings.recipe import PhotoConfig
from tests.support.detection_runs import chain, classifier, settings
from tests.support.training import EAGER

INPUTS = Inputs(torch.full((3, 1, 1), 0.5))


def settings_of(step, root, num_classes=2):
    """Return the settings of a step on photographs of its kind."""
    number, photo = {"num_classes": num_classes}, PhotoConfig(scale=[64, 80])
    if step not in LOCALISATION:
        return settings(root, step, data=number, model=number)
    return settings(
        root,
        data={**number, "name": "ilsvrc_loc"},
        model=number,
        detector={"step": step, "proposal_sizes": [64] if step != "localisation" else []},
        evaluation={"protocol": "one_crop", "crop": 64, "num_proposals": PROPOSALS},
        recipe={"photo": photo} if step == "localisation" else {},
    )


def network_of(config):
    if config.detector.step in LOCALISATION:
        return restore.new_localiser(config)
    return restore.new_detector(config) if config.detector.is_used else build_model(config.model)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("own", ["regions", "localisation", "localisation_regions"])
def test_a_run_starts_from_a_network_of_any_kind(tmp_path, monkeypatch, own, step):
    """All layers of the classifier's body are those of the other; if it has them."""
    first = classifier() if step == "classification" else Run(step, settings_of(step, tmp_path))
    run = Run(own, settings_of(own, tmp_path), (first,))
    torch.manual_seed(1)
    theirs = network_of(first.config).state_dict()

    def load_final(network, *_):
        network.load_state_dict(theirs)  # refuses other layers
        return INPUTS

    monkeypatch.setattr(restore, "load_final", load_final)
    network = network_of(run.config)
    if own != "localisation" == step:  # whose network ends with conv4_x
        with pytest.raises(UserError, match=r"has no stages\.3\..* must be the same network"):
            restore.load_start(network, run, tmp_path, SINGLE_PROCESS)
        return
    assert restore.load_start(network, run, tmp_path, SINGLE_PROCESS) is INPUTS
    body = [n for n in network.state_dict() if n.startswith(("stem.", "stages."))]
    assert len(body) > 20
    assert all(torch.equal(network.state_dict()[name], theirs[name]) for name in body)


def test_a_classifier_names_classes_in_its_own_precision(copied, squares):
    """Whatever the precision of the run that is tested."""
    first = chain(squares)["classification"]
    run, execution = Run("net", settings_of("localisation", squares, 10), (first,)), EAGER
    look = Look(torch.randint(256, (3, 32, 32), dtype=torch.uint8), 0, 0, 1.0, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = classifier_of(run, copied(first), execution, SINGLE_PROCESS)([look])
    # Also in more processes than can divide its mini-batches.
    exact = classifier_of(run, copied(), execution, Group(2, 3))([look])
    assert torch.equal(probabilities, exact)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


class Alike(Group):
    """Processes that all have the same values."""

    def all_reduce_any(self, *flags):
        return list(flags)

    def all_reduce_mean(self, tensors):
        pass


def test_processes_that_cannot_divide_a_classifiers_batches_find_the_same_statistics(
    squares, copied
):
    """Of three, each has whole mini-batches of 16; of two, a share, as before."""
    first = chain(squares)["classification"]
    results, states = copied(first), []
    run = Run("net", settings(squares, detector={"batch_norm_images": 32}), (first,))
    for group in (SINGLE_PROCESS, Alike(2, 3), Alike(1, 2)):
        detector = restore.new_detector(run.config)
        restore.load_start(detector, run, results, group)
        states.append(detector.state_dict())
    averages = [name for name in states[0] if name.endswith(("running_mean", "running_var"))]
    same = [[torch.equal(states[0][n], each[n]) for n in averages] for each in states]
    assert len(averages) > 20 and all(same[1]) and not any(same[2])


@pytest.mark.parametrize("step", ["joint", "localisation"])
def test_a_cuda_graph_is_refused_for_a_detector_with_its_reason(tmp_path, step):
    config = settings_of(step, tmp_path).with_compute(graph=True)
    with pytest.raises(UserError, match=r"graph=true is for classifiers: .* differ in size; set"):
        choose_execution(config)
