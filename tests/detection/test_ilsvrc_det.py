"""Reading ILSVRC's detection task: lists, halves of val, the blacklist, and mistakes."""

import hashlib

import numpy as np
import pytest

from resnet_repro.detection.halves import balanced_halves
from resnet_repro.detection.ilsvrc_det import NO_BLACKLIST, OWN_HALVES
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.errors import UserError
from tests.support.ilsvrc import write_det
from tests.support.scenes import boxes_config, xml_object

CAT, DOG = xml_object("n02", 11, 11, 20, 20), xml_object("n01", 1, 1, 40, 30)
TRAIN = "train/ILSVRC2013_train/n02/n02_1", "train/ILSVRC2014_train_0000/x"
BLACKLIST = "devkit/data/ILSVRC2014_det_validation_blacklist.txt"
NAMES = [name.removeprefix("train/") for name in TRAIN]


@pytest.fixture
def root(tmp_path):
    write_det(
        tmp_path / "ILSVRC",
        {
            "train_1": [f"{NAMES[0]} 1", "extra/a -1"],
            "train_2": [f"{NAMES[1]} 1", f"{NAMES[0]} -1"],
            "val": ["v1 1", "v2 2", "v3 3", "v4 4"],
            "val1": ["v1 1", "v3 3"],
            "val2": ["v2 2", "v4 4"],
        },
        {
            TRAIN[0]: [CAT],
            TRAIN[1]: [CAT, DOG],
            "train/extra/a": None,
            **{f"val/v{i}": objects for i, objects in enumerate([[CAT], [CAT, DOG], [DOG], []], 1)},
        },
        devkit__data__ILSVRC2014_det_validation_blacklist="",
    )
    return tmp_path


def load(root, train=("train", "val1"), test=("val2",), **changes):
    return load_scenes(boxes_config(root, train, test, kind="ilsvrc_det", **changes))


def names(scenes):
    return [scene.name for scene in scenes]


def test_the_lists_of_train_are_joined_and_negatives_left_out(root):
    data = load(root)
    assert names(data.train) == [*NAMES, "v1", "v3"]
    assert data.class_names == ("n01", "n02")
    assert data.train[0].path.is_file()
    assert data.train[0].boxes.tolist() == [[10, 10, 20, 20]]
    assert data.train[0].classes.tolist() == [1]
    assert [scene.exhaustive for scene in data.train] == [False] * len(NAMES) + [True] * 2
    assert names(data.test) == ["v2", "v4"]
    assert any("1 photograph without annotations left out" in note for note in data.notes)


def test_a_class_is_not_judged_in_a_photograph_on_the_blacklist(root):
    """With and without objects of it there; what the numbers mean, val.txt says."""
    listed = root / "ILSVRC" / BLACKLIST
    listed.write_text("2 n02\n4 n01\n")
    two, four = load(root).test
    of_dog = two.classes == 0
    assert two.ignored.tolist() == [not each for each in of_dog.tolist()]
    assert two.boxes[~of_dog].tolist() == [[10, 10, 20, 20], [0, 0, 40, 30]]
    assert (four.classes.tolist(), four.ignored.tolist()) == ([0], [True])
    assert names(load(root).train) == [*NAMES, "v1", "v3"]
    listed.write_text("1 n02\n3 n02\n")  # of val1, which is trained on
    *_, one, three = load(root).train
    assert (one.ignored.tolist(), three.ignored.tolist()) == ([False], [False])
    listed.write_text("5 n02\n")
    with pytest.raises(UserError, match=r"'5 n02' is not the number of a photograph in .*val.txt"):
        load(root)


def test_without_lists_val_is_split_and_the_notes_say_so(root):
    for name in ("val1", "val2"):
        (root / f"ILSVRC/ImageSets/DET/{name}.txt").unlink()
    data = load(root, train=("val1",))
    halves = [names(load(root, ("train",), (name,)).test) for name in ("val1", "val2")]
    assert sorted([*halves[0], *halves[1]]) == ["v1", "v2", "v3", "v4"]
    assert [len(half) for half in halves] == [2, 2]
    assert any("a half of val of our own" in note for note in data.notes)
    assert OWN_HALVES in data.about  # which tables say
    listed = root / "ILSVRC" / BLACKLIST
    listed.write_text("1 n02\n2 n02\n3 n01\n")
    again = [names(load(root, ("train",), (name,)).test) for name in ("val1", "val2")]
    assert again == halves, "whatever is not judged"
    listed.unlink()
    assert load(root, ("train",), ("val",)).about == (NO_BLACKLIST,)


def test_halves_are_balanced_by_class_and_the_same_each_time():
    draws = np.random.default_rng(1)
    numbers = draws.poisson(0.03, (2000, 40)) * draws.integers(1, 4, (2000, 40))
    first, imbalance = balanced_halves(numbers)
    assert first.sum() == 1000
    a, b = numbers[first].sum(axis=0), numbers[~first].sum(axis=0)
    assert imbalance == pytest.approx((np.abs(a - b) / (a + b)).max())
    by_chance = draws.permutation(2000) < 1000
    chance = np.abs(numbers[by_chance].sum(axis=0) - numbers[~by_chance].sum(axis=0)) / (a + b)
    assert imbalance < 0.05 < chance.max()  # R-CNN's largest was 11 %
    assert (balanced_halves(numbers.copy())[0] == first).all()
    assert hashlib.sha256(first.tobytes()).hexdigest()[:16] == "7a6085bbc138007b", "on all CPUs"


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            lambda r: (r / "Annotations/DET/val/v2.xml").unlink(),
            {},
            "without annotations.*has no v2",
        ),
        (lambda r: (r / "Data/DET/val/v2.JPEG").unlink(), {}, "does not have: v2"),
        (lambda r: None, {"test": ("test",)}, "no set test.*\n.*labels of the test set"),
        (lambda r: None, {"num_classes": 200}, "has 2 classes: n01, n02"),
        (
            lambda r: (r / "ImageSets/DET/val1.txt").unlink(),
            {},
            "no .*val1.txt: provide both lists",
        ),
        (lambda r: (r / BLACKLIST).write_bytes(b"\xff"), {}, "blacklist.txt: 'utf-8' codec"),
        (lambda r: (r / "ImageSets").rename(r / "Sets"), {}, "Set data.root=ROOT, with ROOT/Image"),
        (lambda r: (r / "Data").rename(r / "Photos"), {}, "needs the folder .*Data/DET/train"),
    ],
)
def test_mistakes_say_what_to_change(root, change, words, message):
    change(root / "ILSVRC")
    with pytest.raises(UserError, match=message) as raised:
        load(root, **words)
    assert str(raised.value).count("\n") <= 1
