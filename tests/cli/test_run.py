"""The command line as a user meets it: what works, and what each mistake is answered with."""

import json
import os
import subprocess
import sys
from multiprocessing import get_context

import pytest
from hydra.core.plugins import Plugins

from resnet_repro.cli.verbs import VERBS
from tests.support.papers import EXPERIMENTS
from tests.support.paths import ROOT
from tests.support.runs import SMALL, the_run


@pytest.mark.pictures
def test_a_run_from_nothing_to_its_table_and_again(run_cli, tmp_path):
    first = run_cli(*SMALL)
    assert first.code == 0, first.err
    assert "ResNet-8 seed 0: iteration 6 of 6" in first.out
    assert "after 6 of" in first.out
    (report,) = (tmp_path / "results/quickstart").glob("changed-*")
    assert {path.name for path in report.iterdir()} == {
        "table.md", "table.csv", "table.json", "table.tex", "records.json", "curves.svg",
        "curves.png", "cost.svg", "cost.png",
    }  # fmt: skip
    run = the_run(tmp_path)
    assert {"config.yaml", "environment.json", "record.jsonl", "last.pt", "run.log"} <= {
        path.name for path in run.iterdir()
    }
    written = (run / "last.pt").stat().st_mtime_ns
    files = {path.name: path.read_bytes() for path in report.iterdir()}

    second = run_cli(*SMALL)
    assert second.code == 0
    assert "1 run, 0 to train" in second.out
    assert (run / "last.pt").stat().st_mtime_ns == written
    assert {path.name: path.read_bytes() for path in report.iterdir()} == files

    as_csv = run_cli("table", *SMALL, "format=csv")
    assert as_csv.code == 0
    assert as_csv.out.splitlines()[0].startswith("network,layers,params")
    status = run_cli("status", *SMALL)
    assert "| done " in status.out
    assert "6/6" in status.out


def test_real_cifar10_from_the_command_line(run_cli, cifar10, tmp_path, monkeypatch):
    monkeypatch.setenv("RESNET_REPRO_DATA", str(cifar10))
    recipe = ["recipe.iterations=20", "recipe.batch_size=64", "recipe.lr=0.02"]
    rest = ["row=ResNet-20", "data.num_validation=500", "compute.log_every=5"]
    done = run_cli("experiment=cifar_depth", *recipe, *rest)
    assert done.code == 0, done.err
    losses = [
        event["loss"]
        for line in (the_run(tmp_path) / "record.jsonl").read_text().splitlines()
        if (event := json.loads(line))["event"] == "train"
    ]
    assert losses[-1] < 2.25 < losses[0]  # ln 10 is 2.30: it learns something in 20 iterations
    tests = json.loads((the_run(tmp_path) / "evaluations.json").read_text())
    assert tests["single_view"]["num_images"] == 500
    assert "after 20 of 64000 iterations" in done.out
    assert "data.num_validation = 500 (experiment: 0)" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=cifar_deep"], "no experiment=cifar_deep: did you mean cifar_depth?"),
        (["experiment=cifar_depth", "row=ResNet-21"], "no row ResNet-21: did you mean ResNet-20?"),
        (["experiment=cifar_depth", "recipe.lrr=1"], "no setting recipe.lrr: did you mean lr?"),
        (["experiment=cifar_depth", "recpie.lr=1"], "no setting recpie: did you mean recipe?"),
        (["expermient=cifar_depth"], "no setting expermient: did you mean experiment?"),
        (["experiment=cifar_depth", "seed=1"], "no setting seed: did you mean seeds?"),
        (["experiment=cifar_depth", "+recipe.foo=1"], "settings have no + here. Type recipe.foo=1"),
        (["--experiment=cifar_depth"], "settings have no dashes. Type experiment=cifar_depth"),
        (["plan", "cifar_depth"], "type experiment=cifar_depth"),
        (["experiment=cifar_depth,cifar_deep"], "no experiment=cifar_deep: did you mean"),
        (["experiment=cifar_depth", "row=ResNet-20,ResNet-32"], "'row=[ResNet-20,ResNet-32]'"),
        (
            ["experiment=cifar_depth", "rows.6.paper.error=9"],
            "cannot be changed on the command line",
        ),
        (["status", "experiment=cifar_depth", "results=/dev/null"], "it must be a folder"),
        (["status", "experiment=cifar_depth", "data=folder"], "data.num_classes"),
        (["experiment=cifar_depth", "recipe.lr=fast"], "recipe.lr: 'fast' is not a number"),
        (["experiment=cifar_depth", "recipe.lr=-1"], "recipe.lr=-1.0: must be above 0"),
        (["experiment=cifar_depth", "model.depth=21"], "not 6n+2; the nearest are 20 and 26"),
        (["experiment=cifar_depth", "data=cifar11"], "no data=cifar11: did you mean cifar10?"),
        (["experiment=cifar_depth", "recipe.lr=[0.1"], "recipe.lr=[0.1"),
        ([*SMALL, "model.name=alexnet"], "model.name=alexnet: it can be cifar_resnet"),
        (
            ["table", "experiment=cifar_depth", "format=html"],
            "format=html: table supports md, csv, json or tex",
        ),
        (["tabel", "experiment=cifar_depth"], "no verb tabel: did you mean table?"),
        (["plan"], "which experiment? Set experiment=NAME, one of: cifar_depth"),
        (["mode=paint", "experiment=cifar_depth"], "no verb paint: did you mean plan?"),
        ([*SMALL, "compute.device=cuda:7"], "compute.device=cuda:7"),
        ([*SMALL, "recipe.precision=tf32", "compute.device=cpu"], "tf32 needs a CUDA GPU"),
    ],
)
def test_a_mistake_is_answered_in_two_lines(run_cli, words, message, tmp_path):
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2, outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("outputs")) + list(tmp_path.glob("multirun"))


def test_several_experiments_run_one_after_the_other(run_cli):
    both = run_cli("status", "experiment=cifar_depth,cifar_plain")
    assert both.code == 0
    assert "ResNet-20-seed0" in both.out
    assert "plain-20-seed0" in both.out
    named = run_cli("status", "experiment=cifar_depth.yaml,cifar_plain.yaml")
    assert named.out == both.out


def test_a_mistake_in_the_second_experiment_is_told_before_the_first_trains(run_cli, tmp_path):
    outcome = run_cli("experiment=quickstart,cifar_depth", "row=ResNet-8", "recipe.iterations=6")
    assert outcome.code == 1
    assert "cifar_depth has no row ResNet-8" in outcome.err
    assert not (tmp_path / "results/runs").exists()


def test_a_value_that_the_machine_lacks_is_told_before_the_others_train(run_cli, tmp_path):
    outcome = run_cli(*SMALL, "compute.device=cpu", "recipe.precision=fp32,tf32")
    assert outcome.code == 1
    assert "tf32 needs a CUDA GPU" in outcome.err
    assert not (tmp_path / "results/runs").exists()


def test_hydras_own_sweep_works(run_cli):
    swept = run_cli("status", "-m", "experiment=cifar_depth", "row=ResNet-20,ResNet-32")
    assert swept.code == 0, swept.err
    assert "ResNet-20-seed0" in swept.out
    assert "ResNet-32-seed0" in swept.out
    assert "ResNet-44-seed0" not in swept.out


def test_list_names_every_experiment_and_what_is_done(run_cli):
    listed = run_cli()
    assert listed.code == 0
    for name in EXPERIMENTS:
        assert f"| {name} " in listed.out
    assert "He15 Table 6" in listed.out
    assert "0/10" in listed.out


def test_what_is_printed_can_be_piped(run_cli, tmp_path):
    as_json = run_cli("table", *SMALL, "format=json")
    assert json.loads(as_json.out)["experiment"] == "quickstart"
    # To a program that does not read it to the end.
    command = f"{sys.executable} -m resnet_repro status experiment=quickstart | true"
    piped = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (piped.returncode in (0, 141), piped.stderr) == (True, "")


def test_a_folder_that_cannot_be_written_is_named(run_cli, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/runs").write_text("a file where a folder belongs")
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert "Set results=DIR to a folder you can write to" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    above = run_cli(*SMALL, f"results={tmp_path}/results/runs/above/here")
    assert above.code == 1
    assert "Set results=DIR to a folder you can write to" in above.err


def test_what_goes_wrong_in_another_process_of_a_launchers_is_told(run_cli, monkeypatch):
    """A mistake, and the exit code of a verb: of the process, only an exception comes home."""
    launcher = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    of_hydra = Plugins.instance().class_name_to_class[launcher].launch.__globals__
    real, context = of_hydra["run_job"], get_context("fork")

    def run_job(**words):
        ours, theirs = context.Pipe()
        process = context.Process(target=lambda: theirs.send(real(**words)))
        process.start()
        theirs.close()
        done = ours.recv()
        process.join()
        return done

    monkeypatch.setitem(of_hydra, "run_job", run_job)
    words = "-m", "hydra/launcher=basic"
    swept = run_cli("status", *words, *SMALL, "recipe.lr=0.1,-1")
    assert swept.code == 1
    assert "resnet-repro: row ResNet-8: recipe.lr=-1.0: must be above 0" in swept.err
    for code in (3, 0):
        monkeypatch.setitem(VERBS, "status", lambda config, code=code: code)
        ended = run_cli("status", *words, *SMALL, "recipe.lr=0.1,0.2")
        assert ended.code == int(code > 0)
        assert ("resnet-repro: a job ended with exit code 3\n" in ended.err) == (code == 3)


@pytest.mark.slow
def test_a_mistake_in_a_process_of_joblibs_is_told(run_cli):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    from joblib.externals.loky import get_reusable_executor

    swept = run_cli("status", "-m", "hydra/launcher=joblib", *SMALL, "recipe.lr=0.1,-1")
    assert swept.code == 1
    assert "resnet-repro: row ResNet-8: recipe.lr=-1.0: must be above 0" in swept.err
    get_reusable_executor().shutdown()  # joblib keeps its processes
