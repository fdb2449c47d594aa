"""The script that times the decoding of photographs."""

import json
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest

from resnet_repro.data.decode import decode
from tests.support.paths import ROOT
from tests.support.photos import jpeg, picture
from tests.support.training import CPU


@pytest.mark.parametrize("has_gpu", [False, True])
def test_ours_is_timed_with_a_gpu_where_there_is_one(tmp_path, monkeypatch, capsys, has_gpu):
    """The views are the same: here the GPU is the CPU, and refuses one of the photographs."""
    loader = SourceFileLoader("benchmark_photos", str(ROOT / "scripts/benchmark_photos"))
    script = ModuleType(loader.name)
    loader.exec_module(script)

    def decoder(jpegs):
        if any(len(each) % 2 for each in jpegs):
            raise RuntimeError("nvjpegDecode failed: 4")
        return [decode(each.numpy().tobytes()) for each in jpegs]

    for number in range(3):
        content = jpeg(picture(300 + number, 280, number))
        (tmp_path / f"{number}.JPEG").write_bytes(content)
    monkeypatch.setattr(script, "first_gpu", lambda: CPU if has_gpu else None)
    monkeypatch.setattr(script, "gpu_decoder", lambda device: decoder)
    words = [str(tmp_path), "--rounds", "1", "--batch", "2", "--json", str(tmp_path / "x.json")]
    monkeypatch.setattr(sys, "argv", ["x", *words])
    script.main()
    made = json.loads((tmp_path / "x.json").read_text())
    for result in made["results"]:
        assert result["ours"] > 0 and ("gpu" in result) == has_gpu
        if has_gpu and "mean_difference" in result:
            assert result["gpu_mean_difference"] == result["mean_difference"]
    assert ("decoded by the GPU" in capsys.readouterr().out) == has_gpu
