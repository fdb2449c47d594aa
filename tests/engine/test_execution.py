"""How a device computes: memory layout, compiled blocks, precision."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnet_repro.distributed.group import Group
from resnet_repro.engine import execution, fitting, groups
from resnet_repro.engine.execution import choose_execution
from resnet_repro.errors import UserError
from resnet_repro.launch import side_by_side
from resnet_repro.plan import Run
from resnet_repro.plugins import registry
from resnet_repro.records import Record
from resnet_repro.settings.external_model import ExternalModelConfig
from tests.support.kernels import cpu_kernels
from tests.support.runs import changed
from tests.support.training import CPU, EAGER, alike, losses, train


def test_each_way_of_a_cpu_computes_the_same_for_20_iterations(config):
    """Channels last, our kernels, groups one after the other: what the plain loop computes."""
    config = changed(config, model={"depth": 14})
    ways = [replace(EAGER, channels_last=True), replace(EAGER, accumulate=True)]
    if kernels := cpu_kernels():
        ways.append(replace(EAGER, channels_last=True, kernels=kernels))
    plain = losses(config, EAGER, 20, lr=5e-4)
    for way in ways:
        alike(losses(config, way, 20, lr=5e-4), plain, atol=5e-4, rtol=5e-4)


@pytest.mark.slow  # the compiler takes half a minute
def test_compiled_blocks_compute_the_same_and_one_shape_is_compiled_once(config):
    """Deeper networks have no more shapes of blocks, and compile no more variants."""
    config = changed(config, model={"depth": 14})
    compiled = replace(EAGER, compiled=True)
    ours, theirs = (losses(config, how, 10, lr=0.001) for how in (compiled, EAGER))
    alike(ours, theirs, atol=1e-4, rtol=1e-4)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    losses(changed(config, model={"depth": 32}), compiled, 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_the_memory_format_of_a_cpu(config, monkeypatch):
    """Without bf16 arithmetic, convolutions in bf16 are slower channels last."""
    for precision, has_bf16, last in (
        ("fp32", False, True),
        ("bf16", True, True),
        ("bf16", False, False),
    ):
        monkeypatch.setattr(execution, "has_bf16", lambda has_bf16=has_bf16: has_bf16)
        chosen = choose_execution(changed(config, recipe={"precision": precision}))
        assert chosen.channels_last == last
        assert last or chosen.kernels is None


@pytest.mark.parametrize(("precision", "last"), [("fp32", False), ("bf16", True)])
def test_a_run_resumes_in_the_memory_format_with_which_it_started(
    config, tmp_path, monkeypatch, precision, last
):
    """Though the rule for this CPU is the other one."""
    monkeypatch.setattr(execution, "has_bf16", lambda: False)
    recipe = {"iterations": 1, "precision": precision}
    config = changed(config, recipe=recipe, compute={"channels_last": last})
    train(config, tmp_path)
    (tmp_path / "record.jsonl").unlink()
    train(changed(config, compute={"channels_last": None}), tmp_path)
    ways = [session["execution"].split() for session in Record(tmp_path).environment()]
    assert ["channels_last" in words for words in ways] == [last, last]


def test_ways_that_cannot_be_taken_are_refused(config, monkeypatch):
    with pytest.raises(UserError, match=r"compute\.graph=true"):
        choose_execution(changed(config, compute={"graph": True}))
    with pytest.raises(UserError, match=r"runs_per_gpu=1000: without a GPU"):
        many = changed(config, compute={"runs_per_gpu": 1000})
        side_by_side.num_workers([(Run("ResNet-8", many), Path())])

    def broken(*_, **__):
        raise RuntimeError("No working C++ compiler\nfound")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match=r"does not work here \(No working C\+\+ compiler\)"):
        choose_execution(changed(config, compute={"compile": True}))


TINY = """\
from torch import nn
from resnet_repro.models import register
@register("tiny")
def build(settings, num_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3 * image_size**2, num_classes))
"""


@pytest.fixture
def on_cuda(monkeypatch):
    """Let settings be chosen as for a GPU, without one."""
    monkeypatch.setattr(
        execution, "choose_device", lambda compute, group=None: torch.device("cuda")
    )
    monkeypatch.setattr(execution, "choose_precision", lambda precision, device: None)
    monkeypatch.setattr(execution, "find_kernels", lambda device: None)
    monkeypatch.setattr(groups, "memory_bytes", lambda device: None)


def test_a_network_that_draws_numbers_is_neither_trained_nor_timed_captured(
    on_cuda, config, tmp_path, monkeypatch
):
    """What is chosen once holds for the run, its record, the plan and the bench."""
    (tmp_path / "nets.py").write_text(TINY)
    registry.load([str(tmp_path / "nets.py")])
    source = registry.find("tiny").source
    own = {"settings": {}, "source": source, "num_classes": 10, "image_size": 16}
    dropout = changed(config, model={"shortcut": "dropout"})
    plugin = replace(config, model=ExternalModelConfig(name="tiny", **own))
    assert choose_execution(config).describe() == "graph"
    for drawing in (dropout, plugin):
        assert choose_execution(drawing).describe() == "accumulate"
        assert fitting.gpu_fraction(drawing, 8) == 1.0
        with pytest.raises(UserError, match=r"compute\.graph=true needs .* without dropout"):
            choose_execution(changed(drawing, compute={"graph": True}))
    registry.load(())


def test_photographs_are_captured_and_do_not_share_a_gpu(on_cuda, settings):
    assert choose_execution(settings).graph
    assert not choose_execution(settings, Group(0, 2)).graph
    assert fitting.gpu_fraction(settings, 8) == 1.0


def test_a_precision_that_the_chip_lacks(config, monkeypatch, caplog):
    cuda = "resnet_repro.engine.execution.torch.cuda"
    monkeypatch.setattr(f"{cuda}.get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(f"{cuda}.get_device_name", lambda device: "Tesla V100")
    for precision in ("bf16", "tf32"):
        with pytest.raises(UserError, match=f"precision={precision}: Tesla V100 .* lacks it"):
            execution.choose_precision(precision, torch.device("cuda"))
    monkeypatch.setattr(execution.logger, "propagate", True)
    for lacks in (False, True):
        monkeypatch.setattr(execution, "has_bf16", lambda lacks=lacks: not lacks)
        execution.choose_precision("bf16", CPU)
        assert ("no bf16 arithmetic" in caplog.text) == lacks


def test_what_the_device_lacks_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="tf32 needs a CUDA GPU"):
        train(changed(config, recipe={"precision": "tf32"}), tmp_path)
    with pytest.raises(UserError, match=r"compute\.device=cuda:9"):
        train(changed(config, compute={"device": "cuda:9"}), tmp_path)
