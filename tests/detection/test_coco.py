"""Photographs with boxes in the format of COCO."""

import json

import pytest

from resnet_repro.detection.scenes import load_scenes
from resnet_repro.errors import UserError
from tests.support.scenes import boxes_config, coco_json, photograph, real, write_coco


def test_real_photographs_of_coco_have_the_boxes_that_their_file_says():
    root = real("coco-val2017-22")
    name = "annotations/instances_val2017.json"
    config = boxes_config(
        root, ["val2017"], [f"{name}:val2017"], kind="coco", num_classes=80, download=False
    )
    made = load_scenes(config)
    truth = json.loads((root / name).read_text())
    assert (len(made.test), len(made.test.boxes), made.test.ignored.sum()) == (22, 256, 5)
    assert made.test.class_ids == tuple(sorted(each["id"] for each in truth["categories"]))
    assert (made.test.class_ids[-1], made.class_names[-1]) == (90, "toothbrush")
    images = {each["id"]: each for each in truth["images"]}
    for scene in made.test:
        assert (scene.name, scene.height) == (
            images[scene.id]["file_name"],
            images[scene.id]["height"],
        )
        theirs = [each for each in truth["annotations"] if each["image_id"] == scene.id]
        assert [made.test.class_ids[k] for k in scene.classes] == [e["category_id"] for e in theirs]
        assert scene.ignored.tolist() == [each["iscrowd"] == 1 for each in theirs]
        assert scene.areas.tolist() == pytest.approx([each["area"] for each in theirs])
        x, y, width, height = theirs[0]["bbox"]
        assert scene.boxes[0].tolist() == pytest.approx([x, y, x + width, y + height])


def test_crowds_are_ignored_and_photographs_without_objects_only_tested_on(tmp_path):
    crowd = {"id": 4, "image_id": 12, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    write_coco(tmp_path / "coco", annotations=[*coco_json()["annotations"], crowd])
    made = load_scenes(boxes_config(tmp_path, kind="coco"))
    assert [scene.id for scene in made.train] == [3, 7]
    assert [scene.id for scene in made.test] == [3, 7, 12]
    assert made.class_names == ("person", "toothbrush")
    one_pixel, two, none = made.test
    assert one_pixel.boxes.tolist() == [[0, 0, 1, 1]]
    assert two.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]]
    assert (two.classes.tolist(), two.ignored.tolist()) == ([1, 0], [False, True])
    assert two.areas.tolist() == [5, 60]
    assert (none.boxes.shape, none.classes.shape) == ((0, 4), (0,))
    assert made.notes == ("training: 1 photograph without an object to learn left out",)


def test_boxes_without_a_pixel_are_left_out(tmp_path):
    """A box that sticks out by a rounded decimal stays as it is: COCO has thousands of them."""
    boxes = [[5, 5, 0, 9], [5, 5, 4, -1], [1, 2, 3], ["x", 1, 2, 3], [50, 5, 9, 9], [5, 5, 99, 9]]
    boxes += [[30, 20, 10.4, 10.01], [1, 1, float("nan"), 3]]
    annotations = [
        {"id": 10 + i, "image_id": 3, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)
    ]
    write_coco(tmp_path, annotations=annotations)
    made = load_scenes(boxes_config(tmp_path, kind="coco"))
    assert made.train.boxes.tolist() == [
        [5, 5, 40, 14],
        pytest.approx([30, 20, 40.4, 30.01]),
    ]
    assert made.train.areas.tolist() == pytest.approx([315, 10.4 * 10.01])
    assert made.notes[:4] == (
        "train: 3 objects left out, with a box that is no four numbers: annotation 12, annotation "
        "13, annotation 17",
        "train: 2 objects left out, with a box without area: annotation 10, annotation 11",
        "train: 1 object left out, with a box outside of the photograph: annotation 14",
        "train: 1 object with a box that reaches beyond the photograph, clipped to it: annotation "
        "15",
    )


def first(part, **change):
    entries = coco_json()[part]
    return {part: [entries[0] | change, *entries[1:]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first("annotations", category_id=91), "annotation 1 has category_id 91, .* categories"),
        (first("annotations", image_id=4), "annotation 1 has image_id 4, .* file's images"),
        (first("annotations", bbox=None), r"annotations\[0\] has no bbox \(list\)"),
        (first("images", id=2**63), r"images\[0\] has id 9223372036854775808, which is too large"),
        (first("images", id=3), "several images have the same id: 3"),
        (first("images", file_name="003.jpg"), "several images have the same file_name: 003.jpg"),
        (first("images", file_name="9.jpg"), "train does not have: 9.jpg\nComplete the folder"),
        (first("categories", name="person"), "several categories have the same name: person"),
        (first("categories", name="x"), "train and test differ in categories: 90 toothbrush, 90 x"),
        ({"categories": []}, "instances_train.json has no categories"),
        ({"images": None}, "not in COCO's format: it has no list 'images'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(change, message, tmp_path):
    write_coco(tmp_path, **change)
    with pytest.raises(UserError, match=message):
        load_scenes(boxes_config(tmp_path, kind="coco"))


def test_missing_and_damaged_files_are_named(tmp_path):
    config = boxes_config(tmp_path, ["train2017"], ["val2017"], kind="coco")
    missing = rf"no {tmp_path}/annotations/instances_train2017\.json\n.*zips/train2017\.zip and "
    with pytest.raises(UserError, match=missing):
        load_scenes(config)
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations/instances_train2017.json"
    file.write_text("{")
    with pytest.raises(UserError, match=rf"there is no {tmp_path}/train2017\n"):
        load_scenes(config)
    (tmp_path / "images/train2017").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train2017\.json is damaged, it is not JSON"):
        load_scenes(config)
    with pytest.raises(UserError, match=r"no .*/mine\.json\nSet data\.root=ROOT"):
        load_scenes(boxes_config(tmp_path, ["mine.json:photographs"], kind="coco"))


def test_the_number_of_classes_is_the_files(tmp_path):
    write_coco(tmp_path)
    with pytest.raises(UserError, match=r"cells has 2 classes: set data\.num_classes=2"):
        load_scenes(boxes_config(tmp_path, kind="coco", num_classes=80))


def test_the_size_of_a_photograph_is_its_own(tmp_path):
    """Also if the set of another folder has the same annotations and names."""
    write_coco(tmp_path)
    (tmp_path / "test/003.jpg").write_bytes(photograph(60, 50, mode="L"))
    made = load_scenes(boxes_config(tmp_path, kind="coco"))
    assert made.test.sizes.tolist() == [[50, 60], [30, 40], [30, 40]]
    assert "its own is used: 003.jpg (60 x 50, annotated 40 x 30)" in made.notes[0]
