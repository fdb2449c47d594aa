"""`format=json`: what programs read, alone on stdout, under the documented keys."""

import json
import re

import pytest

from resnet_repro.cost import calibration
from resnet_repro.launch import clusters, local
from resnet_repro.models.complexity import measure
from resnet_repro.records import Record
from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.records.jobs import Job
from resnet_repro.records.runs import run_folder
from tests.support.experiments import QUICKSTART
from tests.support.json_keys import documented, keys_in
from tests.support.plans import plan
from tests.support.results import record_run, write_table
from tests.support.runs import SMALL

pytestmark = pytest.mark.usefixtures("fast_networks")

SWEEP = (QUICKSTART, "row=[plain-8,ResNet-8]")


@pytest.fixture
def answered(run_cli):
    """Return the document of a command line; nothing else may be on stdout."""

    def call(*words, code=0):
        outcome = run_cli(*words, "format=json")
        assert outcome.code == code, outcome.err
        return json.loads(outcome.out, parse_constant=pytest.fail)

    return call


@pytest.fixture
def sweep(tmp_path):
    """Return the plan of runs in every state but `running`, and `waiting` behind them."""
    made = plan("quickstart", f"results={tmp_path}/results", "seeds=[0,1,2,3,4]", *SWEEP[1:])
    states = ["done", "stopped", "failed", "diverged", "trained", "damaged"]
    for state, run in zip(states, made.runs, strict=False):
        seconds = 9.0 if state in ("done", "trained") else None
        record_run(made, run, seconds, iteration=500 if seconds else 200)
        record = Record(run_folder(run, made.results))
        if state == "failed":
            record.append("error", 200, reason="out of memory")
        elif state == "diverged":
            record.append("diverged", 200, reason="the loss is nan", seconds=3.0, weights="cd")
        elif state == "trained":
            (record.folder / "evaluations.json").unlink()
        elif state == "damaged":
            (record.folder / "record.jsonl").write_text("junk\n")
    return made, states + ["waiting"] * 4


def test_the_keys_are_the_documented_ones(answered, sweep, tmp_path, monkeypatch):
    mine, theirs, changed = (
        write_table(root, "quickstart", *words, plain_8=[16.0, 17.0], ResNet_8=[17.0, 18.5]).parent
        for root, *words in [
            (tmp_path / "results",),
            (tmp_path / "theirs",),
            (tmp_path / "changed", "recipe.momentum=0.5"),
        ]
    )
    write_table(tmp_path / "theirs", "cifar_depth", ResNet_20=[8.9, 8.8])
    path = theirs / RECORDS_FILE
    path.write_text(path.read_text().replace('"torch": "', '"torch": "another '))
    made, _ = sweep
    job = Job("4711_3", "PENDING", "Priority")
    queue = clusters.CLUSTERS["slurm"]._replace(find_jobs=lambda _: {made.runs[-1].digest: job})
    monkeypatch.setitem(clusters.CLUSTERS, "slurm", queue)
    imported = Record(tmp_path / "results/imported/resnet18-ab")
    imported.folder.mkdir(parents=True)
    words = {"imported": "resnet18.pth", "network": "ResNet-18", "data": "ImageNet"}
    imported.add_evaluation("one_crop", num_errors=1, num_images=2, published=None, **words)

    monkeypatch.setattr(local, "evaluate_imported", lambda *args: None)
    names = ["quickstart", "cifar_depth"]
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: names)
    documents = {
        "list": answered("list"),
        "plan": answered("plan", *SWEEP, "seeds=[0,1,2,3,4]", "budget=1h"),
        "status": answered("status", *SWEEP, "seeds=[0,1,2,3,4]"),
        "verify": answered("verify", *SWEEP),
        "verify DIR": answered("verify", str(theirs), code=1),
        "compare": answered("compare", str(mine), str(theirs)),
        "compare changed": answered("compare", str(mine), str(changed)),
        "explain": answered("explain", *SWEEP, "recipe.weight_decay=0"),
        "explain paper": answered(
            "explain", "experiment=cifar_depth", "results=theirs", "row=ResNet-20"
        ),
        "table": answered("table", *SWEEP),
        "collect": answered("collect", "theirs", "results=collected"),
        "import": answered("import", "weights=resnet18.pth"),
    }
    others = {"`compare` `settings`": "compare changed", "`explain` `rows` `evidence`":
              "explain paper", "`explain` `rows` `runs`": "explain paper",
              "`explain` `rows` `runs` `sessions`": "explain paper"}  # fmt: skip
    names = {name: keys for name, keys in documented().items() if "`bench`" not in name}
    for name, keys in names.items():
        verb = others.get(name, re.match("`(.*?)`", name)[1])
        assert keys_in(documents[verb], name) == [keys], name
    assert {re.match("`(.*?)`", name)[1] for name in names} == documents.keys() - {
        "compare changed", "explain paper"
    }  # fmt: skip


def test_plan_has_every_run_and_the_totals(answered, sweep):
    made, states = sweep
    found = answered("plan", *SWEEP, "seeds=[0,1,2,3,4]")
    runs = found["runs"]
    assert [run["id"] for run in runs] == [run.id for run in made.runs]
    assert [(run["row"], run["seed"]) for run in runs] == [(r.row, r.seed) for r in made.runs]
    assert [run["state"] for run in runs] == states
    size = measure(made.runs[0].config)
    assert {(run["layers"], run["params"], run["multiply_adds"]) for run in runs} == {
        (8, size.params, size.multiply_adds)
    }
    by_state = {run["state"]: run for run in runs}
    whole = 500 * 64 / by_state["waiting"]["images_per_second"]
    assert by_state["waiting"]["seconds"] > whole * 0.99
    assert (by_state["done"]["seconds"], by_state["diverged"]["disk_bytes"]) == (0, 0)
    assert by_state["damaged"]["iteration"] is None
    assert by_state["stopped"]["iteration"] == 200
    totals = found["totals"]
    assert (totals["runs"], totals["to_do"]) == (10, 7)
    for key in ("seconds", "disk_bytes", "gpu_hours"):
        assert totals[key] == pytest.approx(sum(run[key] for run in runs))
    assert found["budget"] is None

    chosen = answered("plan", *SWEEP, "seeds=[0,1,2,3,4]", f"budget={2.1 * whole:.0f}s")
    budget = chosen["budget"]
    named = [(each["row"], seed) for each in budget["chosen"] for seed in each["seeds"]]
    assert sorted(named) == sorted((run["row"], run["seed"]) for run in chosen["runs"])
    assert budget["runs"] == len(named)
    assert budget["seconds_chosen"] == pytest.approx(chosen["totals"]["seconds"])
    left = {(each["row"], seed) for each in budget["left_out_runs"] for seed in each["seeds"]}
    assert left and not left & set(named)


def test_plan_tells_what_was_scaled_and_what_is_trained_once(answered, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SECONDS", 0.0)
    runs = answered("plan", QUICKSTART)["runs"]
    assert [run["timing"] for run in runs] == ["measured", "scaled", "scaled", "scaled"]
    words = "experiment=imagenet_depth", "row=[ResNet-50,ResNet-50 one-crop]"
    trained, tested = answered("plan", *words)["runs"]
    assert (trained["same_as"], tested["same_as"]) == (None, trained["id"])
    assert tested["disk_bytes"] == 0 < tested["seconds"] < trained["seconds"]


def test_status_has_every_state(answered, sweep):
    made, states = sweep
    with Record(run_folder(made.runs[-1], made.results)).locked():
        Record(run_folder(made.runs[-1], made.results)).append(
            "train", 100, loss=1.0, lr=0.1, num_errors=1, num_images=10, images_per_second=50.0
        )
        runs = answered("status", *SWEEP, "seeds=[0,1,2,3,4]")["runs"]
    assert [run["state"] for run in runs] == [*states[:-1], "running"]
    assert (runs[-1]["images_per_second"], runs[-1]["seconds_left"]) == (50.0, 400 * 64 / 50)
    reasons = {run["state"]: run["reason"] for run in runs}
    assert reasons["failed"] == "out of memory"
    assert reasons["diverged"] == "the loss is nan"
    assert reasons["trained"] == "not tested with single_view"
    assert reasons["done"] is reasons["waiting"] is None


@pytest.mark.parametrize("verb", ["plan", "status", "table", "explain"])
def test_several_experiments_are_one_list(answered, verb):
    one, other = answered(verb, "experiment=quickstart,cifar_plain")
    assert (one["experiment"], other["experiment"]) == ("quickstart", "cifar_plain")
    # Whether other programs were busy while networks were timed is noted, and chance.
    again = answered(verb, QUICKSTART)
    assert {**again, "notes": None} == {**one, "notes": None}


def test_verify_is_a_list_and_its_code_tells_what_is_wrong(answered):
    both = answered("verify", "experiment=quickstart,cifar_plain")
    assert [each["experiment"] for each in both] == ["quickstart", "cifar_plain"]
    (wrong,) = answered("verify", "experiment=cifar_plain", "model.shortcut=B", code=1)
    assert not wrong["right"]
    assert wrong["rows"][0]["wrong"] == ["exact params", "exact multiply-adds"]


def test_a_broken_experiment_is_named_on_stderr(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["bad", "quickstart"])
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("# @package _global_\nrows: [{name: a, set: {modle.x: 1}}]\n")
    outcome = run_cli("list", "--config-dir", "mine", "format=json")
    assert outcome.code == 0
    assert [each["experiment"] for each in json.loads(outcome.out)] == ["quickstart"]
    assert "experiment=bad cannot be read" in outcome.err


def test_a_run_says_on_stderr_how_it_goes_and_answers_with_its_table(run_cli, answered):
    done = run_cli(*SMALL, "format=json")
    assert done.code == 0, done.err
    assert "1 run, 1 to train" in done.err
    assert "ResNet-8 seed 0: iteration 6 of 6" in done.err
    made = json.loads(done.out)
    assert [line["ours"]["num_runs"] for line in made["lines"] if line["runs"]] == [1]
    assert answered("table", *SMALL) == answered("evaluate", *SMALL) == made
    as_csv = run_cli(*SMALL, "format=csv")
    assert as_csv.out.startswith("network,layers,params")
    assert run_cli("table", *SMALL, "format=csv").out == as_csv.out
