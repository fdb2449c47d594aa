"""Sets of photographs with boxes: joined, cached, compared."""

import pickle
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from resnet_repro.detection import scene_cache, voc_xml
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.errors import UserError
from resnet_repro.settings.data import DataConfig
from tests.support.detection_runs import write_squares
from tests.support.paths import ROOT
from tests.support.scenes import (
    CAT,
    DOG,
    annotation,
    boxes_config,
    photograph,
    write_coco,
    write_two,
    write_voc,
    xml_object,
)

BOXES = (
    "voc0712",
    "voc12_standin",
    "voc_folder",
    "coco2014",
    "coco2017",
    "ilsvrc_det",
    "ilsvrc_loc",
)


def test_sets_are_joined_in_the_order_of_the_settings(tmp_path):
    for folder, name in (("one", "dog"), ("two", "cat")):
        write_voc(
            tmp_path / folder,
            {"train": ["a", "b"], "test": ["c"]},
            {
                "a": annotation(CAT, xml_object(name, 1, 1, 5, 5)),
                "b": annotation(),
                "c": annotation(DOG),
            },
        )
    config = boxes_config(tmp_path, ["two/train", "one/train"], ["one/test", "two/test"])
    made = load_scenes(config)
    assert [str(scene.path.relative_to(tmp_path)) for scene in made.train] == [
        "two/JPEGImages/a.jpg",
        "one/JPEGImages/a.jpg",
    ]
    assert [scene.classes.tolist() for scene in made.train] == [[0, 0], [0, 1]]
    assert [scene.boxes[1].tolist() for scene in made.train] == [[0, 0, 5, 5]] * 2
    assert [scene.id for scene in made.train] == [0, 2]
    assert [scene.id for scene in made.test] == [0, 1]
    assert made.notes == ("training: 2 photographs without an object to learn left out",)
    with pytest.raises(UserError, match=r"data\.boxes\.train: its sets have 2 photographs twice: "):
        load_scenes(boxes_config(tmp_path, ["one/train", "one/train"], ["one/test"]))


def test_the_cache_is_used_and_remade_when_files_change_or_it_is_damaged(
    tmp_path, cache, monkeypatch
):
    write_two(tmp_path / "set")
    config = boxes_config(tmp_path / "set")
    first = load_scenes(config)
    files = sorted(cache.glob("scenes-*.npz"))
    assert len(files) == 2

    def refuse(_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(voc_xml, "parse", refuse)
        again = load_scenes(config)
        assert again.checksum() == first.checksum()
        assert again.notes == first.notes
    for content in (b"", b"noise", files[0].read_bytes()[:-9], files[0].read_bytes()[:-1] + b"x"):
        for file in files:
            file.write_bytes(content)
        assert load_scenes(config).checksum() == first.checksum()
    changed = tmp_path / "set/Annotations/a.xml"
    changed.write_text(changed.read_text().replace("<xmax>20<", "<xmax>21<"))
    assert load_scenes(config).train[0].boxes[0].tolist() == [10, 10, 21, 20]
    (tmp_path / "set/JPEGImages/a.jpg").write_bytes(photograph(80, 60))
    assert load_scenes(config).train[0].width == 80


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, cache):
    write_two(tmp_path / "set")
    cache.parent.mkdir()
    cache.write_text("a file in the place of the folder")
    assert len(load_scenes(boxes_config(tmp_path / "set")).test) == 1


def test_another_version_of_the_readers_reads_again(tmp_path, cache, monkeypatch):
    write_two(tmp_path / "set")
    load_scenes(boxes_config(tmp_path / "set"))
    (tmp_path / "new.py").write_text("# another rule")
    monkeypatch.setattr(scene_cache, "SOURCES", [*scene_cache.SOURCES, tmp_path / "new.py"])
    load_scenes(boxes_config(tmp_path / "set"))
    assert len([*cache.glob("scenes-*.npz")]) == 4


def test_unreadable_photographs_are_skipped_if_asked_and_looked_at_again(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train/007.jpg").write_bytes(photograph()[:20])
    config = boxes_config(tmp_path, kind="coco", skip_unreadable=True)
    made = load_scenes(config)
    assert [scene.id for scene in made.train] == [3]
    (message,) = made.unreadable
    assert message.startswith(f"{tmp_path}/train/007.jpg cannot be read as an image: ")
    with pytest.raises(UserError, match=r"007\.jpg cannot be read .*\nFix or remove"):
        load_scenes(replace(config, skip_unreadable=False))
    (tmp_path / "train/007.jpg").write_bytes(photograph())
    assert [scene.id for scene in load_scenes(config).train] == [3, 7]


def test_the_checksum_is_of_annotations_not_of_places(tmp_path):
    write_two(tmp_path / "one")
    write_two(tmp_path / "two")
    one, two = (load_scenes(boxes_config(tmp_path / name)) for name in ("one", "two"))
    assert one.checksum() == two.checksum()
    for change in ((11, 11, 20, 21), (11, 11, 20, 20, "<difficult>1</difficult>")):
        made = xml_object("cat", *change[:4], extra="".join(change[4:]))
        (tmp_path / "two/Annotations/b.xml").write_text(annotation(made))
        assert load_scenes(boxes_config(tmp_path / "two")).checksum() != one.checksum()


def test_scenes_can_be_pickled_sliced_and_not_changed_by_mistake(tmp_path):
    write_coco(tmp_path)
    test = load_scenes(boxes_config(tmp_path, kind="coco")).test
    copy = pickle.loads(pickle.dumps(test))
    assert copy.checksum() == test.checksum()
    test[0].boxes.zero_()
    assert copy.checksum() == test.checksum()
    part = test[1:]
    assert [scene.id for scene in part] == [7, 12]
    assert torch.equal(part[0].boxes, test[1].boxes)
    assert torch.equal(test[-1].boxes, torch.empty(0, 4))
    with pytest.raises(IndexError):
        test[3]


def test_photographs_that_are_trained_and_tested_on_are_noted(tmp_path):
    write_two(tmp_path)
    made = load_scenes(boxes_config(tmp_path, ["train"], ["train"]))
    assert made.notes == ("the test has 1 photograph that the training has, too",)
    assert made.about == made.notes  # a table says so


def test_the_settings_of_every_set_can_be_read():
    titles = set()
    for name in BOXES:
        file = OmegaConf.load(ROOT / f"conf/data/{name}.yaml")
        if name == "voc_folder":
            file.update(title="cells", root="x", num_classes=3)
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), file))
        assert (made.image_size, made.boxes.longest) == (224 if "loc" in name else 600, 1000)
        titles.add(made.title)
    assert len(titles) == len(BOXES)


def test_a_link_to_nothing_is_a_photograph_that_cannot_be_read(tmp_path):
    write_squares(tmp_path)
    path = tmp_path / "JPEGImages/000003.jpg"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(UserError, match=r"000003.jpg cannot be read as an image: No such file"):
        load_scenes(boxes_config(tmp_path, ("trainval",), ("test",)))
