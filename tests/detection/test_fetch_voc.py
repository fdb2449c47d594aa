"""PASCAL VOC's archives: downloaded, checked and unpacked next to one another."""

import hashlib
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from torchvision.datasets.voc import DATASET_YEAR_DICT

from resnet_repro.detection.scenes import load_scenes
from resnet_repro.errors import UserError
from tests.support.scenes import CAT, DOG, annotation, boxes_config, write_voc

SETS = ["VOC2007/trainval"], ["VOC2007/test"]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve archives of two sets as if they were the official ones; return their folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for key, part, name, content in (
            ("2007", "trainval", "000001", annotation(CAT, DOG)),
            ("2007-test", "test", "000002", annotation(CAT)),
        ):
            kit = tmp_path / key / "VOCdevkit"
            write_voc(kit / "VOC2007", {part: [name]}, {name: content})
            official = DATASET_YEAR_DICT[key]
            archive = folder / official["filename"]
            with tarfile.open(archive, "w") as tar:
                tar.add(kit, "VOCdevkit")
            md5 = hashlib.md5(archive.read_bytes()).hexdigest()
            url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
            monkeypatch.setitem(DATASET_YEAR_DICT, key, {**official, "url": url, "md5": md5})
        yield folder
        server.shutdown()


def config(root, **fields):
    return boxes_config(root, *SETS, num_classes=20, **fields)


def test_missing_sets_are_downloaded_and_unpacked_next_to_one_another(served, tmp_path, heard):
    made = load_scenes(config(tmp_path / "new"))
    assert [scene.name for scene in made.train] == ["000001"]
    assert [scene.name for scene in made.test] == ["000002"]
    assert heard.text.count("downloading http") == 2
    assert "VOCtest_06-Nov-2007.tar to" in heard.text
    hidden = {path.name for path in (tmp_path / "new").iterdir()} - {
        archive.name for archive in served.iterdir()
    }
    assert hidden == {"VOCdevkit", ".VOCdevkit.lock"}
    for archive in served.iterdir():
        archive.unlink()
    load_scenes(config(tmp_path / "new"))


def test_a_wrong_archive_is_not_taken_and_a_missing_one_is_asked_for(served, tmp_path, monkeypatch):
    root = tmp_path / "new"
    with pytest.raises(
        UserError, match=r"data\.download=false\.\nPut VOCtrainval_06-Nov-2007\.tar"
    ):
        load_scenes(config(root, download=False))
    archive = root / "VOCtrainval_06-Nov-2007.tar"
    archive.write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=r"its MD5 differs(.|\n)*Delete .*06-Nov-2007\.tar"):
        load_scenes(config(root, download=False))
    for path in served.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    assert len(load_scenes(config(root, download=False)).train) == 1
    monkeypatch.setitem(DATASET_YEAR_DICT["2007"], "url", "http://127.0.0.1:9/voc.tar")
    missing = rf"no VOC2007/trainval of PASCAL VOC: no file {tmp_path}/x/VOC2007/\S+ nor "
    with pytest.raises(UserError, match=rf"{missing}.* could not be downloaded \(.*\nPut VOCtrain"):
        load_scenes(config(tmp_path / "x"))


def test_an_interrupted_unpacking_is_not_taken_for_the_set(served, tmp_path, monkeypatch):
    root = tmp_path / "new"

    def full(self, into, **_):
        folder = into / "VOCdevkit/VOC2007/ImageSets/Main"
        folder.mkdir(parents=True)
        (folder / "trainval.txt").write_text("000001\n")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", full)
        with pytest.raises(UserError, match=r"cannot be unpacked into .*: No space left on device"):
            load_scenes(config(root))
    assert not (root / "VOCdevkit").exists()
    assert len(load_scenes(config(root)).train) == 1


def test_own_data_in_a_folder_of_vocs_name_downloads_nothing(tmp_path):
    write_voc(tmp_path / "VOC2007", {"trainval": ["a"]}, {"a": annotation(CAT)})
    with pytest.raises(UserError, match="no set VOC2007/test: no file"):
        load_scenes(boxes_config(tmp_path, *SETS, num_classes=1))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["VOC2007"]
