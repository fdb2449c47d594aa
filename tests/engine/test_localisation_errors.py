"""The errors of localisation from boxes and named classes, and the classifiers that name them."""

import hashlib
from dataclasses import replace

import pytest
import torch
import torchvision

from resnet_repro.detection.localisation.looks import looks_at
from resnet_repro.distributed.group import SINGLE_PROCESS
from resnet_repro.engine.localisation.classes import classifier_of, named
from resnet_repro.engine.localisation.testing import (
    best_box,
    measure_localisation,
    unfinished_errors,
)
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.plan import Run
from resnet_repro.settings.detector import DetectorConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.model import ModelConfig
from tests.support.detection_runs import StopAfter
from tests.support.scenes import scenes_of
from tests.support.training import EAGER

BOX = (0.0, 0, 100, 100)
TEST = EvaluationConfig(protocol="one_crop", sizes=[64], crop=64)


class Feed:
    """Test photographs of grey pixels, whose value is their position."""

    def __init__(self, photographs, unreadable=()):
        self.data = type("Sets", (), {"test": scenes_of(photographs, tuple("abcdefgh"))})
        self._unreadable = unreadable

    def own_share(self, scenes):
        return range(len(scenes))

    def pixels(self, scenes, positions):
        for position in positions:
            if position not in self._unreadable:
                yield position, torch.full((3, 64, 64), position, dtype=torch.uint8)


def boxes_by(table):
    """Return a localiser with one box by position and class."""
    return lambda position, _looks, _pixels, label: (
        torch.tensor([table[position, label]]),
        torch.ones(1),
    )


def probabilities_by(table):
    return lambda looks: torch.tensor(table[int(looks[0].pixels[0, 0, 0])])


def test_a_photograph_is_right_if_its_class_is_named_and_its_box_is_right():
    label = 2
    feed = Feed([[(BOX, label, False)]] * 4, unreadable=(3,))
    beside = (300.0, 0, 400, 100)
    table = {(0, label): BOX, (1, label): BOX, (2, label): beside}
    fifth, sixth = (
        [0.2, 0.2, 0.1, 0.15, 0.15, 0.15, 0.0, 0.0],
        [0.2, 0.2, 0.1, 0.15, 0.15, 0.15, 0.15, 0.0],
    )
    fifth[5] = 0.05
    named_by = probabilities_by({0: fifth, 1: sixth, 2: fifth})
    how = (feed, TEST, EAGER, SINGLE_PROCESS)
    found = measure_localisation([boxes_by(table)], [named_by], *how)
    assert found == {"num_images": 3, "num_errors_loc_gt": 1, "num_errors_loc_top5": 2}
    found = measure_localisation([boxes_by(table)], [], *how)
    assert found == {"num_images": 3, "num_errors_loc_gt": 1}


def test_a_stopped_test_resumes_with_the_photographs_that_are_left(config, tmp_path):
    """But not with other weights or classifiers, nor where the file is damaged."""
    feed, looked = Feed([[(BOX, 0, False)]] * 5), []
    nothing = torch.zeros(0, 4), torch.zeros(0)

    def localiser(position, *_):
        looked.append(position)
        return nothing if position == 1 else (torch.tensor([BOX]), torch.ones(1))

    def measure(stop=None, *networks):
        looked.clear()
        kept = unfinished_errors(
            tmp_path / "run", feed, TEST, config, SINGLE_PROCESS, networks or ["weights"]
        )
        return measure_localisation([localiser], [], feed, TEST, EAGER, SINGLE_PROCESS, stop, kept)

    whole = measure()
    assert whole == {"num_images": 5, "num_errors_loc_gt": 1}
    with pytest.raises(StoppedRun, match="to resume it"):
        measure(StopAfter(3))
    assert looked == [0, 1, 2]
    (file,) = (tmp_path / "run").glob("unfinished-*")
    content = file.read_bytes()
    assert measure() == whole
    assert looked == [3, 4]
    assert not file.exists()
    for changed, networks in ((content, ["weights", "classifier"]), (content[:99], ["weights"])):
        file.write_bytes(changed)
        assert measure(None, *networks) == whole
        assert looked == [0, 1, 2, 3, 4]


def test_without_a_box_a_photograph_is_wrong():
    nothing = torch.zeros(0, 4), torch.zeros(0)
    assert best_box([nothing]) is None
    found = measure_localisation(
        [lambda *_: nothing], [], Feed([[(BOX, 0, False)]]), TEST, EAGER, SINGLE_PROCESS
    )
    assert found["num_errors_loc_gt"] == 1


def test_members_average_boxes_and_scores():
    one = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), torch.tensor([3.0, 2])
    other = torch.tensor([[2.0, 0, 10, 14], [50, 54, 60, 60]]), torch.tensor([0.0, 2])
    assert best_box([one]).tolist() == [0, 0, 10, 10]
    assert best_box([one, other]).tolist() == [50, 52, 60, 60]


@pytest.fixture
def imported(config, tmp_path):
    """Return torchvision's ResNet-18 for four classes, and a run that starts from its file."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    path = tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), path)
    detector = DetectorConfig(
        step="localisation",
        weights=str(path),
        weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    model = ModelConfig(
        name="imagenet_resnet", depth=18, shortcut="B", width=64, num_classes=4
    )  # fmt: skip
    data = replace(config.data, num_classes=4)
    run = object.__new__(type(config))
    own = {"detector": detector, "data": data, "model": model}
    for name, value in {**vars(config), **own}.items():
        setattr(run, name, value)
    return theirs, Run("imported", run)


def test_imported_weights_name_classes(imported, tmp_path):
    theirs, run = imported
    classifier = classifier_of(run, tmp_path, EAGER, SINGLE_PROCESS)
    pixels = torch.randint(256, (3, 80, 64), dtype=torch.uint8)
    looks = looks_at(pixels, TEST)
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    image = torchvision.transforms.v2.functional.normalize(
        looks[0].pixels.float() / 255, preset.mean, preset.std
    )
    with torch.no_grad():
        wanted = theirs(image[None]).softmax(dim=1)[0]
    torch.testing.assert_close(classifier(looks), wanted, rtol=1e-4, atol=1e-5)
    assert named([classifier], looks).tolist() == wanted.argsort(descending=True).tolist()


def test_a_classifier_of_other_classes_is_refused(imported, tmp_path):
    _, run = imported
    run.config.data.num_classes = 5
    with pytest.raises(UserError, match=r"resnet18.pth has 4 classes, .* has 5"):
        classifier_of(run, tmp_path, EAGER, SINGLE_PROCESS)
