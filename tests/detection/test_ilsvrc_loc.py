"""Reading ILSVRC's localisation: names, classes, the blacklist, and mistakes."""

import shutil

import pytest

from resnet_repro.detection.scenes import load_scenes
from resnet_repro.errors import UserError
from tests.support.ilsvrc import write_files, write_loc
from tests.support.scenes import annotation, boxes_config, photograph, xml_object

CAT, DOG = xml_object("n02", 11, 11, 20, 20), xml_object("n01", 1, 1, 40, 30)
BLACKLIST = "devkit/data/ILSVRC2014_clsloc_validation_blacklist.txt"


@pytest.fixture
def root(tmp_path):
    write_loc(
        tmp_path,
        {"n01/n01_1": [DOG, DOG], "n02/n02_1": [CAT, DOG], "n02/n02_2": []},
        {f"ILSVRC2012_val_0000000{i}": [CAT] for i in (1, 2, 3)},
    )
    write_files(tmp_path, {"train/n01/n01_9.JPEG": photograph(), BLACKLIST: "2\n"})
    return tmp_path


def load(root, train=("train",), test=("val",), **changes):
    return load_scenes(boxes_config(root, train, test, kind="ilsvrc_loc", **changes))


def test_photographs_are_those_with_boxes_and_have_one_class(root):
    data = load(root)
    assert [scene.name for scene in data.train] == ["n01_1", "n02_1"]
    assert [scene.classes.tolist() for scene in data.train] == [[0, 0], [1]]
    assert data.train[1].boxes.tolist() == [[10, 10, 20, 20]]
    assert data.train[1].path == root / "train/n02/n02_1.JPEG"
    assert data.class_names == ("n01", "n02")
    notes = " ".join(data.notes)
    assert "1 object of another class than the photograph's first left out" in notes
    assert "1 photograph without an object left out" in notes


def test_val_is_without_the_photographs_of_the_blacklist(root):
    assert [scene.name[-1] for scene in load(root).test] == ["1", "3"]
    (root / BLACKLIST).unlink()
    data = load(root)
    assert len(data.test) == 3
    assert any("no photograph is left out of the test" in note for note in data.notes)
    assert data.about == ("no photograph is left out of the test, as there was no blacklist",)


def test_dogs_without_their_wordnet_id_are_of_the_class_in_the_photographs_name(root):
    hound = xml_object("Scottish_deerhound", 3, 3, 9, 9)
    write_loc(root, {"n01/n01_5": [hound], "n02/n02_6": [CAT, hound]}, {})
    data = load(root)
    assert data.class_names == ("n01", "n02")
    found = {scene.name: scene.classes.tolist() for scene in data.train}
    assert (found["n01_5"], found["n02_6"]) == ([0], [1, 1])
    assert any("2 objects of Scottish_deerhound: of the class" in note for note in data.notes)


def test_boxes_of_train_are_of_the_size_that_their_annotation_says(root):
    """Those of val are taken as they are, as the development kit does."""
    text = annotation(xml_object("n02", 3, 3, 8, 6), width=20, height=10)  # of 40 x 30
    for part, name in (("train", "n02/n02_1"), ("val", "ILSVRC2012_val_00000001")):
        write_files(root, {f"Annotations/{part}/{name}.xml": text})
    data = load(root)
    (scaled,) = (scene for scene in data.train if scene.name == "n02_1")
    assert scaled.boxes.tolist() == [[4, 6, 16, 18]]
    assert data.test[0].boxes.tolist() == [[2, 2, 8, 6]]


def test_the_archives_folders_and_class_folders_of_val_are_found_as_well(root, tmp_path):
    inside = tmp_path / "kaggle/ILSVRC"
    for part in ("train", "val"):
        shutil.copytree(root / part, inside / "Data/CLS-LOC" / part)
        shutil.copytree(root / "Annotations" / part, inside / "Annotations/CLS-LOC" / part)
    sorted_into = inside / "Data/CLS-LOC/val/n02"
    sorted_into.mkdir()
    for each in (inside / "Data/CLS-LOC/val").glob("*.JPEG"):
        each.rename(sorted_into / each.name)
    write_files(inside, {BLACKLIST: "2\n"})
    ours, theirs = load(root), load(tmp_path / "kaggle")
    assert ours.checksum() == theirs.checksum()


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            lambda r: shutil.rmtree(r / "Annotations/val"),
            {},
            "no folder Annotations/val with the b",
        ),
        (lambda r: shutil.rmtree(r / "train"), {}, "no folder train with the photographs"),
        (lambda r: None, {"test": ("test",)}, "no set test of ILSVRC's localisation: train or val"),
        (lambda r: (r / BLACKLIST).write_text("4"), {}, "photograph 4, and .* none of that number"),
        (lambda r: (r / BLACKLIST).write_text("0"), {}, "photograph 0, and .* none of that number"),
        (
            lambda r: (r / "Annotations/val/ILSVRC2012_val_00000003.xml").unlink(),
            {},
            "do not share ILSVRC2012_val_00000003: complete them",
        ),
        (
            lambda r: (r / "val/ILSVRC2012_val_00000003.JPEG").unlink(),
            {},
            "do not share ILSVRC2012_val_00000003: complete them",
        ),
        (lambda r: (r / BLACKLIST).write_text("cat"), {}, "must have the number of a photograph"),
        (lambda r: None, {"num_classes": 1000}, "has 2 classes"),
        (
            lambda r: (r / "Annotations/val/ILSVRC2012_val_00000001.xml").write_text("<annot"),
            {},
            "00000001.xml is damaged",
        ),
    ],
)
def test_mistakes_say_what_to_change(root, change, words, message):
    change(root)
    with pytest.raises(UserError, match=message) as raised:
        load(root, **words)
    assert str(raised.value).count("\n") <= 1
