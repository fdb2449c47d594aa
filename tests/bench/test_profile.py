"""The profile of both loops."""

import json
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType, SimpleNamespace

from resnet_repro.bench import baseline
from resnet_repro.bench.roofline import Rates
from tests.support.paths import ROOT
from tests.support.runs import changed


def test_the_profile_of_both_loops_side_by_side(tmp_path, monkeypatch, capsys):
    """Of the script, with both loops in this process: which operators there are, not how fast."""
    loader = SourceFileLoader("benchmark_profile", str(ROOT / "scripts/benchmark_profile"))
    script = ModuleType(loader.name)
    loader.exec_module(script)

    def settings(options, real=script.settings):
        small = {"batch_size": 16, "bn_batch": 8}
        return {name: changed(each, recipe=small) for name, each in real(options).items()}

    def in_this_process(words, row, variant):
        options = SimpleNamespace(experiment="quickstart", rows=[row], precision="fp32")
        return script.profile(settings(options)[row], variant, 2)

    monkeypatch.setattr(script, "settings", settings)
    monkeypatch.setattr(script, "in_fresh_process", in_this_process)
    monkeypatch.setattr(script, "measure_rates", lambda *_: Rates(1e9, 1e9))
    monkeypatch.setattr(baseline, "num_cores", lambda: 1)
    words = ["--experiment=quickstart", "--rows", "ResNet-8", "--iterations", "2"]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--json", str(tmp_path / "profile.json")])
    script.main()
    profiles = json.loads((tmp_path / "profile.json").read_text())["profiles"]["ResNet-8"]
    for variant in ("usual loop", "ours"):
        parts = profiles[variant]
        total = parts.pop("total")
        assert total > 0
        assert parts["mkldnn_convolution"] > 0 or parts["convolution"] > 0
        assert any("batchnorm" in operator.lower().replace("_", "") for operator in parts)
    assert "wait for the loader" in profiles["usual loop"]
    assert "wait for the loader" not in profiles["ours"]
    assert "| all " in capsys.readouterr().out
