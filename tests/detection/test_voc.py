"""Photographs with boxes in the format of PASCAL VOC."""

import gzip
from collections import Counter

import pytest
from PIL import Image

from resnet_repro.data.decode import read_image
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.detection.voc import CLASSES
from resnet_repro.errors import UserError
from tests.support.scenes import (
    CAT,
    DOG,
    annotation,
    boxes_config,
    photograph,
    real,
    write_two,
    write_voc,
    xml_object,
)


def test_real_photographs_of_voc_have_the_boxes_that_their_files_say():
    made = load_scenes(boxes_config(real("voc2012-100"), ["val"], ["val"], num_classes=20))
    assert made.class_names == CLASSES
    assert len(made.test) == 100
    assert (len(made.test.boxes), int(made.test.ignored.sum())) == (273, 38)
    (scene,) = (scene for scene in made.test if scene.name == "2007_000027")
    assert scene.boxes.tolist() == [[173, 100, 349, 351]]  # 174, 101, 349, 351: from 1, inclusive
    assert (scene.height, scene.width) == tuple(read_image(scene.path).shape[1:]) == (500, 486)
    assert scene.areas.tolist() == [176 * 251]


def test_empty_boxes_of_real_photographs_are_named_and_left_out(heard):
    made = load_scenes(boxes_config(real("bccd"), ["train", "val"], ["test"], num_classes=3))
    assert (len(made.train), len(made.test)) == (292, 72)
    labels = [*made.train.classes, *made.test.classes]
    numbers = Counter(made.class_names[label] for label in labels)
    assert numbers == {"RBC": 4155 - 2, "WBC": 372, "Platelets": 361}
    notes = " ".join(made.notes)
    for place in ("BloodImage_00338.xml object 13 (RBC)", "BloodImage_00343.xml object 4 (RBC)"):
        assert place in notes
        assert place in heard.text


def test_the_real_list_and_photographs_of_vocs_test_set_are_read(tmp_path):
    """Their annotations are not at hand."""
    folder = real("voc2007-demo")
    with gzip.open(folder / "ImageSets/test.txt.gz", "rt") as file:
        names = file.read().split()
    photographs = {path.name: path.read_bytes() for path in (folder / "JPEGImages").glob("*.jpg")}
    shown = [name.removesuffix(".jpg") for name in photographs]
    write_voc(
        tmp_path / "VOC2007",
        {"trainval": shown[:1], "test": names},
        dict.fromkeys(shown, annotation(xml_object("person", 1, 1, 300, 300))),
        photographs,
    )
    config = boxes_config(tmp_path, ["VOC2007/trainval"], ["VOC2007/test"], num_classes=20)
    with pytest.raises(UserError, match=r"does not have: 000001, 000002, .* and 4937 more\n"):
        load_scenes(config)
    listed = tmp_path / "VOC2007/ImageSets/Main/test.txt"
    listed.write_text("\r\n".join(name for name in names if name in shown))
    made = load_scenes(config)
    assert [scene.name for scene in made.test] == sorted(shown)
    for scene in made.test:
        assert read_image(scene.path).shape == (3, scene.height, scene.width)
    assert {max(sides) for sides in made.test.sizes.tolist()} == {500}


def test_root_may_be_the_development_kit_or_its_parent(tmp_path):
    write_two(tmp_path / "VOCdevkit/VOC2007")
    write_two(tmp_path / "VOCdevkit/Mine")
    sets = ["VOC2007/train"], ["Mine/test"]
    both = [load_scenes(boxes_config(root, *sets)) for root in (tmp_path, tmp_path / "VOCdevkit")]
    assert both[0].checksum() == both[1].checksum()
    assert both[0].train[0].path == tmp_path / "VOCdevkit/VOC2007/JPEGImages/a.jpg"
    assert both[0].class_names == ("cat", "dog")
    with pytest.raises(UserError, match=rf"too deep: set data\.root={tmp_path}/VOCdevkit$"):
        load_scenes(boxes_config(tmp_path / "VOCdevkit/VOC2007", *sets))


def test_objects_are_read_without_their_parts_and_difficult_ones_ignored(tmp_path):
    part = (
        "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax></bndbox></part>"
    )
    objects = (
        xml_object("cat", 1, 1, 2, 2, extra=part),
        xml_object(" dog\n", 1.5, "2.0", 39.25, 30, extra="<difficult>1</difficult>"),
    )
    only_difficult = xml_object("dog", 1, 1, 9, 9, extra="<difficult> 1 </difficult>")
    lists = {"train": ["a", "b", "c"], "test": ["none"]}
    write_voc(
        tmp_path,
        lists,
        {
            "a": annotation(*objects),
            "b": annotation(only_difficult),
            "c": annotation(),
            "none": annotation(),
        },
    )
    made = load_scenes(boxes_config(tmp_path))
    (scene,) = made.train
    assert scene.boxes.tolist() == [[0, 0, 2, 2], [0.5, 1, 39.25, 30]]
    assert scene.classes.tolist() == [0, 1]
    assert scene.ignored.tolist() == [False, True]
    assert made.notes == ("training: 2 photographs without an object to learn left out",)
    assert made.test[0].boxes.shape == (0, 4)


def test_boxes_without_a_pixel_are_left_out_and_those_that_stick_out_are_clipped(tmp_path):
    """Also of sets that count from 0, whose boxes would begin at -1."""
    bad = {
        "a box without area": [(5, 5, 5, 9), (5, 9, 8, 5)],
        "a box that is no four numbers": [("nan", 1, 5, 5), ("left", 1, 5, 5), ("", 1, 2, 9)],
        "a box outside of the photograph": [(50, 5, 60, 9), (-9, -9, -1, -1)],
    }
    stick_out = [(0, 0, 10, 10), (5, 5, 41, 30), (1, 1, 1e9, 30)]
    corners = [corner for corners in bad.values() for corner in corners] + stick_out
    objects = [xml_object("cat", *each) for each in corners]
    objects.append("<object><name>cat</name><point/></object>")
    write_voc(
        tmp_path,
        {"train": ["a"], "test": ["b"]},
        {"a": annotation(*objects, DOG), "b": annotation(CAT)},
    )
    made = load_scenes(boxes_config(tmp_path))
    assert made.train[0].boxes.tolist() == [
        [0, 0, 10, 10],
        [4, 4, 40, 30],
        [0, 0, 40, 30],
        [0, 0, 40, 30],
    ]
    notes = "\n".join(made.notes)
    for number, what in zip((2, 4, 2), bad, strict=True):
        assert f"train: {number} objects left out, with {what}: a.xml object " in notes
    assert "3 objects with a box that reaches beyond the photograph, clipped to it: a.xml" in notes


def test_the_size_is_that_of_the_stored_pixels(tmp_path):
    """Not the annotation's, and not that of a photograph turned by its EXIF."""
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "a.jpg": photograph(40, 30, exif=turned),
        "b.jpeg": photograph(64, 48, mode="L"),
        "c.PNG": photograph(20, 30, mode="CMYK"),
    }
    names = ["a", "b", "c"]
    write_voc(
        tmp_path, {"train": names, "test": names}, dict.fromkeys(names, annotation(CAT)), files
    )
    made = load_scenes(boxes_config(tmp_path, num_classes=1))
    assert [(scene.height, scene.width) for scene in made.test] == [(30, 40), (48, 64), (30, 20)]
    for scene in made.test:
        assert read_image(scene.path).shape == (3, scene.height, scene.width)
    assert (
        "train: 2 photographs of another size than annotated; its own is used: b (64 x 48, "
        "annotated 40 x 30), c (20 x 30, annotated 40 x 30)"
    ) in made.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "Annotations/a.xml").unlink(), r"Annotations has no a\.xml\nComplete"),
        (lambda r: (r / "JPEGImages/a.jpg").unlink(), "JPEGImages does not have: a\nComplete"),
        (lambda r: (r / "JPEGImages/a.png").write_bytes(b""), "both a.jpg and a.png: remove one"),
        (lambda r: (r / "ImageSets/Main/train.txt").unlink(), r"no file .*train\.txt; avail.*test"),
        (lambda r: (r / "ImageSets/Main/train.txt").write_text("\n \n"), "train.txt is empty"),
        (lambda r: (r / "ImageSets/Main/train.txt").write_text("a\na\n"), "names twice: a\n"),
        (lambda r: (r / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda r: (r / "Annotations/a.xml").write_text("<annot"), "a.xml is damaged, it is not X"),
        (lambda r: (r / "Annotations/a.xml").write_text("<html/>"), "not in PASCAL .* has <html>"),
        (
            lambda r: (r / "Annotations/a.xml").write_text(annotation("<object/>")),
            "a.xml: object 1 has no <name>",
        ),
        (
            lambda r: (r / "Annotations/a.xml").write_text(
                annotation(xml_object("cat", 1, 1, 9, 9, extra="<difficult>maybe</difficult>"))
            ),
            "a.xml: object 1: <difficult>maybe</difficult> must be 0 or 1",
        ),
        (
            lambda r: (r / "Annotations/a.xml").write_text(
                annotation(xml_object("cta", 1, 1, 9, 9))
            ),
            "cells has 2 classes: cat, cta\nCorrect misspelt ones, or set data.num_classes=2",
        ),
        (
            lambda r: (r / "Annotations/a.xml").write_text(annotation()),
            r"boxes\.train=\['train'\]: no object to learn",
        ),
        (
            lambda r: (r / "JPEGImages/a.jpg").write_bytes(b"<html>404</html>"),
            "a.jpg cannot be read as an image: unknown format\nFix or remove",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_set_is_said(change, message, tmp_path):
    write_voc(
        tmp_path,
        {"train": ["a"], "test": ["b"]},
        {"a": annotation(CAT), "b": annotation(CAT)},
    )
    config = boxes_config(tmp_path, num_classes=1)
    load_scenes(config)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        load_scenes(config)


def test_a_missing_root_and_the_sets_without_labels_are_named(tmp_path):
    missing = rf"no file {tmp_path}/x/ImageSets/Main/train\.txt\nSet data\.root=ROOT"
    with pytest.raises(UserError, match=missing):
        load_scenes(boxes_config(tmp_path / "x"))
    with pytest.raises(UserError, match=r"no file .*/VOC2012/.* nor .*VOCdevkit.*\n.*not public"):
        load_scenes(boxes_config(tmp_path, ["VOC2012/test"], num_classes=20))


def test_a_class_that_voc_does_not_have_is_named(tmp_path):
    write_voc(
        tmp_path / "VOC2007",
        {"train": ["a"], "test": ["b"]},
        {"a": annotation(xml_object("aeroplain", 1, 1, 9, 9)), "b": annotation(CAT)},
    )
    config = boxes_config(tmp_path, ["VOC2007/train"], ["VOC2007/test"], num_classes=20)
    place = "VOC2007/train: Annotations/a.xml object 1: 'aeroplain' is no class of PASCAL VOC"
    with pytest.raises(UserError, match=f"{place}: did you mean aeroplane"):
        load_scenes(config)
