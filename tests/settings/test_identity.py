"""The id of a run: what it covers, and that it stays."""

from dataclasses import replace

from resnet_repro.plan import Run
from resnet_repro.settings.recipe import WarmupConfig
from tests.support.plans import plan
from tests.support.runs import changed


def test_an_id_is_the_same_on_every_machine_and_in_every_version():
    """Recorded once. A change here makes every finished run of every user unfinished."""
    ids = {run.row: run.id for run in plan("cifar_depth").runs if run.seed == 0}
    assert ids["ResNet-20"] == "ResNet-20-seed0-261958b2"
    assert ids["ResNet-110"] == "ResNet-110-seed0-43bf0e0d"


def test_the_id_covers_what_the_weights_depend_on_and_nothing_else(config):
    run = Run("ResNet-8", config)
    same = [
        changed(config, data={"root": "/elsewhere", "download": False}),
        changed(config, compute={"device": "cuda", "threads": 7, "log_every": 3}),
        changed(config, evaluation={"every": 1}),
        changed(config, recipe={"deviations": {"momentum": "is torch's"}}),
    ]
    assert {Run("ResNet-8", each).id for each in same} == {run.id}
    other = [
        changed(config, model={"depth": 14}),
        changed(config, data={"num_validation": 10}),
        changed(config, recipe={"precision": "bf16"}),
        changed(config, recipe={"bn_batch": None}),
        changed(config, recipe={"warmup": WarmupConfig(lr=0.01, iterations=3)}),
        replace(config, seed=1),
    ]
    assert len({Run("ResNet-8", each).id for each in other} | {run.id}) == len(other) + 1
