"""Files that are written whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor

from resnet_repro import files
from resnet_repro.engine import checkpoint


def test_many_may_write_one_file(tmp_path):
    path = tmp_path / "table.md"
    texts = [str(number) * 20_000 for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda text: files.write_atomically(path, text), texts * 4))
    assert path.read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["table.md"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path, monkeypatch):
    path, others = tmp_path / "table.md", tmp_path / "table.md.others.tmp"
    old, new = (files.write_temporary(path, "half") for _ in range(2))
    of_another = files.write_temporary(tmp_path / "00001.bin", "half")
    others.touch()
    for each in (old, others, of_another):
        os.utime(each, (0, 0))
    files._tidied.clear()  # as in another process
    listed, iterdir = [], files.Path.iterdir
    monkeypatch.setattr(
        files.Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder)
    )
    files.write_atomically(path, "whole")
    files.write_atomically(path, "whole")
    assert listed == [tmp_path], "it takes long where there are many files"
    assert sorted(tmp_path.iterdir()) == sorted([path, others, new])
    checkpoint.save(tmp_path, {"run": "a"})
    left = files.write_temporary(tmp_path / "last.pt", b"half")
    checkpoint.save(tmp_path, {"run": "a"})
    assert not left.exists()
