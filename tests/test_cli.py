"""The command line as a user meets it: what works, and what each mistake is answered with."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import PATIENCE, ROOT, SMALL

from resnet_repro.cli.line import expand
from resnet_repro.cli.verbs import VERBS
from resnet_repro.launch import side_by_side
from resnet_repro.records import Record

RUNS = Path("results/runs")


def the_run(folder: Path) -> Path:
    (run,) = (folder / RUNS).glob("*-seed*")
    return run


def final(folder: Path) -> dict:
    return json.loads((the_run(folder) / "record.jsonl").read_text().splitlines()[-1])


def spawn(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_repro", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
    assert "data.num_validation = 500, in the experiment 0" in done.out


def test_kill_9_and_the_same_line_again_end_with_the_same_weights(run_cli, tmp_path):
    words = [*SMALL, "recipe.iterations=60", "evaluation.every=20", "compute.save_minutes=0"]
    whole = run_cli(*words, "results=whole")
    assert whole.code == 0, whole.err
    (undisturbed,) = (tmp_path / "whole/runs").glob("*-seed*")

    process = spawn(tmp_path, *words)
    deadline = time.monotonic() + PATIENCE
    log = None
    while time.monotonic() < deadline and not (log and '"train"' in log.read_text()):
        log = next((tmp_path / RUNS).glob("*/record.jsonl"), None)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert '"finished"' not in log.read_text()

    again = run_cli(*words)
    assert again.code == 0, again.err
    assert "going on from iteration" in again.out
    expected = json.loads((undisturbed / "record.jsonl").read_text().splitlines()[-1])
    assert final(tmp_path)["weights"] == expected["weights"]
    tables = [tmp_path / root / "quickstart" for root in ("whole", "results")]
    lines = [next(t.glob("changed-*/table.md")).read_text().split("- Made by")[0] for t in tables]
    assert lines[0] == lines[1]
    assert len(json.loads((the_run(tmp_path) / "environment.json").read_text())) == 2


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    words = [*SMALL, "recipe.iterations=100000", "evaluation.every=100000"]
    process = spawn(tmp_path, *words)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not any(
        '"train"' in log.read_text() for log in (tmp_path / RUNS).glob("*/record.jsonl")
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "saved at iteration" in err
    assert "Traceback" not in err
    done = int(err.split("saved at iteration ")[1].split()[0])
    assert torch.load(the_run(tmp_path) / "last.pt")["progress"]["iteration"] == done
    assert Record(the_run(tmp_path)).iteration() == done


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
        (["experiment=cifar_depth", "rows.6.paper.error=9"], "cannot be changed on the command line"),
        (["status", "experiment=cifar_depth", "results=/dev/null"], "it must be a folder"),
        (["status", "experiment=cifar_depth", "data=folder"], "data.num_classes"),
        (["experiment=cifar_depth", "recipe.lr=fast"], "recipe.lr: 'fast' is not a number"),
        (["experiment=cifar_depth", "recipe.lr=-1"], "recipe.lr=-1.0: more than 0"),
        (["experiment=cifar_depth", "model.depth=21"], "not 6n+2; the nearest are 20 and 26"),
        (["experiment=cifar_depth", "data=cifar11"], "no data=cifar11: did you mean cifar10?"),
        (["experiment=cifar_depth", "data.root=nowhere", "data.download=false"], "Put cifar-10"),
        (["experiment=cifar_depth", "recipe.lr=[0.1"], "recipe.lr=[0.1"),
        ([*SMALL, "model.name=vgg"], "model.name=vgg: it can be cifar_resnet"),
        (
            ["table", "experiment=cifar_depth", "format=html"],
            "format=html: table can be md, csv, json or tex",
        ),
        (["tabel", "experiment=cifar_depth"], "no verb tabel: did you mean table?"),
        (["plan"], "which experiment? Say experiment=NAME, one of: cifar_depth"),
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


def test_hydras_own_sweep_works(run_cli):
    swept = run_cli("status", "-m", "experiment=cifar_depth", "row=ResNet-20,ResNet-32")
    assert swept.code == 0, swept.err
    assert "ResNet-20-seed0" in swept.out
    assert "ResNet-32-seed0" in swept.out
    assert "ResNet-44-seed0" not in swept.out


def test_list_names_every_experiment_and_what_is_done(run_cli):
    listed = run_cli()
    assert listed.code == 0
    for name in ("cifar_depth", "cifar_plain", "quickstart"):
        assert f"| {name} " in listed.out
    assert "He15 Table 6" in listed.out
    assert "0/10" in listed.out


def test_plan_estimates_and_trains_nothing(run_cli, tmp_path):
    planned = run_cli("plan", "experiment=quickstart", "seeds=[0,1]")
    assert planned.code == 0
    assert "8 runs, 8 to do: about" in planned.out
    assert "| todo " in planned.out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "results/calibration.json"]


def test_verify_ends_with_1_where_a_network_differs(run_cli):
    assert run_cli("verify", "experiment=cifar_plain").code == 0
    wrong = run_cli("verify", "experiment=cifar_plain", "model.shortcut=B")
    assert wrong.code == 1
    assert "differs" in wrong.out


def test_the_config_of_a_user_is_found(run_cli, tmp_path):
    """The README's own."""
    lines = (ROOT / "README.md").read_text().splitlines()
    begin, end = (
        next(i for i, line in enumerate(lines) if line.startswith(f"    {text}"))
        for text in ("# @package _global_", "resnet-repro --config-dir mine experiment=shallow")
    )
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "\n".join(line.removeprefix("    ") for line in lines[begin:end])
    (tmp_path / "mine/experiment/shallow.yaml").write_text(text)
    mine = run_cli("status", "--config-dir", "mine", "experiment=shallow")
    assert mine.code == 0, mine.err
    assert "ResNet-14-seed2" in mine.out
    (tmp_path / "mine/experiment/other.yaml").write_text(f"{text}\nname: cifar_depth\n")
    other = run_cli("table", "--config-dir", "mine", "experiment=other")
    assert "experiment=other has name: cifar_depth; leave that out" in other.err
    assert not (tmp_path / "results").exists()


def test_a_broken_experiment_file_is_named_and_the_others_are_listed(run_cli, tmp_path):
    folder = tmp_path / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("# @package _global_\nrows: [{name: a, set: {modle.x: 1}}]\n")
    listed = run_cli("list", "--config-dir", "mine")
    assert listed.code == 0
    assert "experiment=bad cannot be read: row a sets modle.x" in listed.out
    assert "| cifar_depth " in listed.out
    for text, message in (
        ("name: [", "expected the node content"),
        ("rows: []", "must begin with the line: # @package _global_"),
        ("# @package _global_\n", "bad has no rows to run"),
    ):
        (folder / "bad.yaml").write_text(text)
        outcome = run_cli("plan", "--config-dir", "mine", "experiment=bad")
        assert outcome.code == 1
        assert message in outcome.err
        assert "Traceback" not in outcome.err


def test_what_is_printed_can_be_piped(run_cli, tmp_path):
    assert run_cli(*SMALL).code == 0
    as_json = run_cli("table", *SMALL, "format=json")
    assert json.loads(as_json.out)["experiment"] == "quickstart"
    command = f"{sys.executable} -m resnet_repro list | true"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    piped = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in piped.stderr


def test_a_folder_that_cannot_be_written_is_named(run_cli, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/runs").write_text("a file where a folder belongs")
    outcome = run_cli(*SMALL)
    assert outcome.code == 1
    assert "Say results=DIR where files can be written" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2


@pytest.mark.parametrize("name", ["environment.json", "record.jsonl"])
def test_a_damaged_run_is_named_and_the_others_go_on(run_cli, tmp_path, name):
    words = [*SMALL, "row=[ResNet-8,plain-8]"]
    assert run_cli(*SMALL).code == 0
    (the_run(tmp_path) / name).write_text("junk\n")
    (tmp_path / "results/quickstart").rename(tmp_path / "results/elsewhere")
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert f"{name} is damaged" in outcome.err
    line = next(line for line in outcome.out.splitlines() if line.startswith("| plain-8 "))
    assert "after 6 of 500 iterations" in line
    table = run_cli("table", *words)
    assert (table.code, "Traceback" in table.err) == (0, False)
    plan = run_cli("plan", *words)
    assert "1 to do" in plan.out


def test_hydras_own_flags_get_no_verb():
    """It would be read as a setting that Hydra has not, or as what --info is to show."""
    assert expand(["--hydra-help"], VERBS) == [["--hydra-help"]]
    assert expand(["--info"], VERBS) == [["--info=all"]]
    assert expand([], VERBS) == [["mode=list"]]


def test_completion_knows_the_verbs(monkeypatch, run_cli):
    monkeypatch.setenv("COMP_LINE", "resnet-repro plan experiment=cifar_d")
    monkeypatch.setenv("COMP_POINT", str(len("resnet-repro plan experiment=cifar_d")))
    assert "experiment=cifar_depth" in run_cli("-sc", "query=bash").out


def test_a_machines_own_settings_are_deviations_too(run_cli, tmp_path):
    (tmp_path / "mine/local").mkdir(parents=True)
    (tmp_path / "mine/local/default.yaml").write_text("# @package _global_\nrecipe: {lr: 0.02}\n")
    done = run_cli("--config-dir", "mine", *SMALL)
    assert done.code == 0, done.err
    assert "recipe.lr = 0.02, in the experiment 0.05." in done.out


def test_a_full_disk_loses_nothing(run_cli, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, a device that is always full")
    # Weights of several MB, so that writing them fails before the file is closed.
    words = [*SMALL, "compute.save_minutes=0", "model.width=128"]
    stopped = run_cli(*words, "recipe.iterations=4", "recipe.lr_drops=[]")
    assert stopped.code == 0
    finished = (the_run(tmp_path) / "last.pt").read_bytes()
    planned = run_cli("status", *words).out
    name = next(word for word in planned.split() if word.startswith("ResNet-8-seed0-"))
    # No file may be as large as the next run's checkpoint.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        full = run_cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.code == 1
    assert "File too large" in full.err
    assert "Free some space or say results=DIR" in full.err
    assert len(full.err.strip().splitlines()) <= 2
    assert not list((tmp_path / RUNS / name).glob("*.tmp"))  # gives its space back
    assert run_cli(*words).code == 0
    others = [p for p in (tmp_path / RUNS).glob("*-seed*") if p.name != name]
    assert (others[0] / "last.pt").read_bytes() == finished


def run_with_a_row_that_raises(run_cli, monkeypatch, error):
    """Run ResNet-8 and ResNet-32, the second of which raises."""
    real = side_by_side.train_stepwise

    def train_stepwise(run, *args):
        if run.row == "ResNet-32":
            raise error
        yield from real(run, *args)

    monkeypatch.setattr(side_by_side, "train_stepwise", train_stepwise)
    words = [word for word in SMALL if not word.startswith("row=")]
    outcome = run_cli(*words, "row=[ResNet-8,ResNet-32]")
    assert outcome.code == 1
    assert "after 6 of 500 iterations" in outcome.out  # the other row has its cell
    return outcome, run_cli("status", *words, "row=ResNet-32").out


def test_out_of_gpu_memory_names_the_setting_and_spares_the_other_rows(run_cli, monkeypatch):
    error = torch.OutOfMemoryError("CUDA out of memory")
    outcome, status = run_with_a_row_that_raises(run_cli, monkeypatch, error)
    assert "recipe.bn_batch=8 needs about 50% of it" in outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert "failed: out of GPU memory" in status


def test_a_mistake_of_ours_keeps_its_traceback_and_spares_the_other_rows(run_cli, monkeypatch):
    error = ZeroDivisionError("a bug")
    outcome, status = run_with_a_row_that_raises(run_cli, monkeypatch, error)
    assert "ZeroDivisionError: a bug" in outcome.err
    assert "Traceback" in outcome.err
    assert "failed: ZeroDivisionError: a bug" in status


def test_damaged_data_is_named(run_cli, tmp_path):
    folder = tmp_path / "data/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_2").write_bytes(b"not what it should be")
    outcome = run_cli("experiment=cifar_depth", "row=ResNet-20", f"data.root={tmp_path}/data")
    assert outcome.code == 1
    assert "data_batch_2 is damaged" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 2


def test_help_is_quick_and_complete():
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "resnet_repro", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "torch" not in process.stderr
    assert "matplotlib" not in process.stderr
    for name in ("verify", "quickstart", "cifar_depth", "row=ResNet-110"):
        assert name in process.stdout
