"""The script that times the training of detectors and their input."""

import json
import sys
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from types import ModuleType

from tests.support.paths import ROOT
from tests.support.scenes import photograph


def test_all_steps_are_timed_beside_torchvisions_network(tmp_path, monkeypatch, capsys):
    """On small images and with few regions, but with networks as deep as the real ones."""
    loader = SourceFileLoader("benchmark_detection", str(ROOT / "scripts/benchmark_detection"))
    script = ModuleType(loader.name)
    loader.exec_module(script)
    for name, value in (("HEIGHT", 64), ("WIDTH", 96), ("NUM_PROPOSALS", 20)):
        monkeypatch.setattr(script, name, value)
    real = script.settings

    def small(*args):
        config = real(*args)
        detector = replace(config.detector, sampled_regions=4)
        return replace(config, model=replace(config.model, width=8), detector=detector)

    monkeypatch.setattr(script, "settings", small)
    monkeypatch.setattr(script, "random_boxes", lambda number, draws: script.torch.tensor(
        [[8.0, 8, 40, 40]]).repeat(number, 1))  # fmt: skip
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper/a.JPG").write_bytes(photograph())
    words = ["--device", "cpu", "--images", "1", "--rounds", "1", "--iterations", "1"]
    words += ["--json", str(tmp_path / "x.json")]
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), *words])
    script.main()
    made = json.loads((tmp_path / "x.json").read_text())
    assert made["images_per_second"].keys() == {"proposals", "regions", "joint", "torchvision"}
    assert all(speed > 0 for speed in made["images_per_second"].values())
    assert made["photographs_per_second"] > 0
    assert "torchvision, with FPN" in capsys.readouterr().out
    assert (tmp_path / "x.md").is_file()
