"""`collect`: the results of several machines in one folder."""

import io
import json
import os
import shlex
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from resnet_repro.records import Record, curves
from resnet_repro.records.archive import load_archive
from resnet_repro.records.collect import runs, staging
from resnet_repro.records.results import write_records
from resnet_repro.records.runs import run_folder
from tests.support.paths import contents
from tests.support.plans import plan
from tests.support.results import cells, record_run, result, results_of
from tests.support.runs import SMALL

WORDS = ("experiment=quickstart", "row=[plain-8,ResNet-8]", "seeds=[0,1]")


@pytest.fixture
def machine(tmp_path):
    """Return the plan of a machine, named by its folder of results."""

    def call(name, *words):
        return plan("quickstart", f"results={tmp_path / name}", *(words or WORDS[1:]))

    return call


@pytest.fixture(autouse=True)
def one_experiment(monkeypatch):
    """Have one experiment looked for: each takes seconds."""
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["quickstart"])


@pytest.fixture
def collected(run_cli):
    """Collect; return the document."""

    def call(*words, code=0):
        outcome = run_cli("collect", *words, "format=json")
        assert outcome.code == code, outcome.err
        return json.loads(outcome.out)

    return call


def finish(made, number, weights="ab", tests=True):
    """Record one of a machine's runs as done."""
    run = made.runs[number]
    record_run(made, run, seconds=9.0)
    record = Record(run_folder(run, made.results))
    lines = (record.folder / "record.jsonl").read_text().replace('"ab"', f'"{weights}"')
    (record.folder / "record.jsonl").write_text(lines)
    (record.folder / "last.pt").write_bytes(b"weights")
    if not tests:
        (record.folder / "evaluations.json").unlink()
    return record


def done(document):
    return [(line["action"], line["what"], line["reason"]) for line in document["done"]]


def actions(document):
    return {line["what"]: line["action"] for line in document["done"]}


@pytest.mark.slow
def test_the_table_of_two_machines_is_that_of_one(run_cli, tmp_path):
    """Of four runs: two on each, and one on both; then without weights, in one folder."""
    asked = [*SMALL, "row=[plain-8,ResNet-8]", "seeds=[0,1]"]
    outcome = run_cli(*asked, "results=one")
    assert outcome.code == 0, outcome.err
    for name, others in (("a", "ResNet-8-*"), ("b", "plain-8-seed0-*")):
        shutil.copytree(tmp_path / "one/runs", tmp_path / name / "runs")
        for folder in (tmp_path / name / "runs").glob(others):
            shutil.rmtree(folder)
        assert run_cli("table", *asked, f"results={name}").code == 0
    said = run_cli("collect", "a", "b", "results=all")
    assert said.code == 0, said.err
    assert said.out.count("copied: plain-8-seed") == 2
    assert said.out.count("copied: ResNet-8-seed") == 2
    assert "kept: plain-8-seed1-" in said.out, said.out
    command = said.out.splitlines()[-1].strip()
    assert command.startswith("resnet-repro table experiment=quickstart recipe.iterations=6")
    assert command.endswith("results=all")
    one = run_cli("table", *asked, "results=one").out
    assert run_cli("table", *asked, "results=all").out == one
    assert one.count("2/2 |") == 2
    assert not list(tmp_path.glob("all/runs/*/*.pt"))
    assert not (tmp_path / "all/runs/.collect").exists()
    before = contents(tmp_path / "all")
    again = run_cli("collect", "a", "b", "results=all")
    assert "all: 5 kept\n" in again.out
    assert contents(tmp_path / "all") == before
    assert run_cli("status", *asked, "results=all").out.count("| done ") == 4
    assert run_cli("explain", *asked, "results=all").code == 0
    lacking = run_cli("evaluate", *asked, "evaluation.flip=true", "results=all")
    assert lacking.code == 1
    assert "the weights of plain-8-seed0" in lacking.err
    weights = run_cli("collect", "a", "results=all", "with_weights=true")
    assert "updated: plain-8-seed0-" in weights.out
    outcome = run_cli("evaluate", *asked, "row=plain-8", "evaluation.flip=true", "results=all")
    assert outcome.code == 0, outcome.err


def test_what_is_further_wins_and_another_training_is_a_conflict(machine, collected, tmp_path):
    here, there = machine("results"), machine("there")
    ids = [run.id for run in here.runs]
    record_run(here, here.runs[0], iteration=200)
    finish(there, 0)  # went on from the same measurements, as far as those were kept
    finish(here, 1)
    record_run(there, there.runs[1], iteration=200)
    for made, weights in ((here, "ab"), (there, "cd")):
        finish(made, 2, weights)
    for made, errors in ((here, 1), (there, 2)):
        record = Record(run_folder(made.runs[3], made.results))
        counts = {"num_images": 10, "loss": 1.0, "lr": 0.1, "images_per_second": 5.0 * errors}
        record.folder.mkdir()
        record.append("train", 200, num_errors=errors, **counts)
        record.note_saved(200)
    conflicting = contents(here.results / "runs" / ids[2]) | contents(
        here.results / "runs" / ids[3]
    )
    found = collected("there", code=1)
    assert actions(found) == dict(
        zip(ids, ["updated", "kept", "conflict", "conflict"], strict=True)
    )
    reasons = {what: reason for _, what, reason in done(found)}
    assert reasons[ids[0]] == "stopped at iteration 200 before, finished at iteration 500 now"
    assert reasons[ids[1]] == "finished at iteration 500 here, stopped at iteration 200 there"
    assert "other weights (ab and cd)" in reasons[ids[2]]
    assert f"in results/runs/{ids[2]} and there/runs/{ids[2]}:" in reasons[ids[2]]
    assert "other numbers at iteration 200 (train: num_errors 1 and 2)" in reasons[ids[3]]
    assert conflicting == {path: path.read_bytes() for path in conflicting}
    assert Record(run_folder(here.runs[0], here.results)).state() == "finished"
    assert found["counts"]["conflict"] == 2
    assert found["tables"] == ["resnet-repro table experiment=quickstart"]


def test_a_test_that_ends_meanwhile_is_kept_and_curves_come_with_theirs(
    machine, collected, monkeypatch
):
    mine, theirs = finish(machine("here"), 0), finish(machine("there"), 0)
    theirs.add_evaluation("boxes", voc07=50.0, voc12=51.0, num_images=10, num_objects=20)
    curves.write_curves(theirs.folder, "boxes", {"cat": [0.5] * 101})
    real = runs.stage

    def stage(*words):
        mine.add_evaluation("one_crop", num_errors=1, num_images=10)
        return real(*words)

    monkeypatch.setattr(runs, "stage", stage)
    assert "updated" in actions(collected("there", "results=here")).values()
    assert mine.evaluations().keys() == {"single_view", "one_crop", "boxes"}
    assert curves.read_curves(mine.folder, "boxes") == {"cat": [0.5] * 101}


def test_a_run_is_known_by_its_settings_whatever_row_names_it(machine, collected):
    here, there = machine("results"), machine("there")
    finish(here, 0)
    finish(there, 0)
    folder = run_folder(there.runs[0], there.results)
    named = folder.with_name(folder.name.replace("plain-8", "another-row"))
    folder.rename(named)
    assert done(collected("there")) == [("kept", named.name, None)]


def test_a_run_with_a_process_in_it_is_skipped(machine, collected):
    here, there = machine("results"), machine("there")
    record_run(here, here.runs[0], iteration=200)
    for number in (0, 1, 2):
        finish(there, number)
    records = [Record(run_folder(here.runs[0], here.results)),
               Record(run_folder(there.runs[1], there.results))]  # fmt: skip
    with records[0].locked(), records[1].locked():
        found = done(collected("there"))
    ids = [run.id for run in here.runs]
    assert {what: action for action, what, _ in found} == {
        ids[0]: "skipped", ids[1]: "skipped", ids[2]: "copied"}  # fmt: skip
    reasons = {what: reason for _, what, reason in found}
    assert reasons[ids[0]] == f"a process is in results/runs/{ids[0]}"
    assert reasons[ids[1]] == f"a process is in there/runs/{ids[1]}"
    assert set(actions(collected("there")).values()) == {"updated", "copied", "kept"}


def test_an_interrupted_collect_leaves_whole_runs(machine, collected, run_cli, monkeypatch):
    here, there = machine("results"), machine("there")
    for number in range(4):
        finish(there, number)
    finish(here, 0, tests=False)
    copied = []
    real = staging._copy_file

    def interrupt(path, copy):
        copied.append(path)
        if len(copied) == 6:
            raise KeyboardInterrupt
        real(path, copy)

    def full(path, copy):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(staging, "_copy_file", interrupt)
        assert run_cli("collect", "there").code == 130
        context.setattr(staging, "_copy_file", full)
        outcome = run_cli("collect", "there")
        assert (outcome.code, outcome.err.count("\n")) == (1, 2)
        assert "No space left on device: what was saved before is intact" in outcome.err
    whole = [run_folder(run, here.results) for run in here.runs]
    assert [folder.is_dir() for folder in whole].count(True) in (2, 3)
    names = {path.name for path in whole[1].iterdir()} if whole[1].is_dir() else set()
    assert not names or {"record.jsonl", "evaluations.json", "environment.json"} <= names
    (here.results / "runs/.collect/left").mkdir(parents=True)  # of one that was killed
    collected("there")
    assert [Record(folder).state() for folder in whole] == ["finished"] * 4
    assert all("single_view" in Record(folder).evaluations() for folder in whole)
    assert not (here.results / "runs/.collect").exists()


def test_a_damaged_run_costs_that_run_alone(machine, collected, tmp_path):
    there = machine("there")
    for number in range(4):
        finish(there, number)
    folders = [run_folder(run, there.results) for run in there.runs]
    (folders[0] / "record.jsonl").write_text("junk\n")
    (folders[1] / "evaluations.json").write_bytes(b"[" * 100_000)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (folders[2] / "environment.json").unlink()
    (folders[2] / "environment.json").symlink_to(secret)
    found = collected("there", code=1)
    by_id = {line["what"]: line for line in found["done"]}
    lines = [by_id[folder.name] for folder in folders]
    assert [line["action"] for line in lines] == ["damaged"] * 3 + ["copied"]
    assert f"there/runs/{folders[0].name}/record.jsonl is damaged" in lines[0]["reason"]
    assert "is a link that leads out of there" in lines[2]["reason"]
    assert len(list((tmp_path / "results/runs").glob("*-seed*"))) == 1


def test_results_without_folders_are_merged_into_the_file_of_their_table(
    machine, collected, run_cli
):
    here, there, changed = machine("results"), machine("there"), ("recipe.lr=0.2",)
    write_records(here, results_of(here, plain_8=[16.0], ResNet_8=[17.0, 18.5]))
    write_records(there, results_of(there, plain_8=[16.0, 17.0], ResNet_8=[17.5]))
    other = machine("there", *changed)
    path = write_records(other, results_of(other, ResNet_8=[30.0]))
    mine = here.results / "quickstart" / path.parent.name / "records.json"
    shutil.copytree(path.parent, mine.parent)
    content = json.loads(mine.read_text())
    content["runs"] = []
    mine.write_text(json.dumps(content))
    found = collected("there", code=1)
    by_run = {what.split(": ")[1]: action for action, what, _ in done(found)}
    assert sorted(by_run.values()) == ["conflict", "copied", "copied", "kept"]
    reason = next(reason for action, _, reason in done(found) if action == "conflict")
    assert "results/quickstart/records.json and there/quickstart/records.json" in reason
    table = run_cli("table", *WORDS[:1]).out
    assert cells(table, "plain-8")[3].startswith("16.50")
    assert cells(table, "ResNet-8")[3].startswith("17.75")
    assert len(load_archive(mine).results) == 1
    assert len(found["tables"]) == 2, found


def test_sweeps_over_the_same_setting_become_one(machine, collected, run_cli):
    for name, row, values in (("results", "ResNet-8", "0.1,0.05"), ("there", "plain-8", "0.2")):
        made = machine(name, f"row={row}", f"sweep.grid=['recipe.lr=choice({values})']")
        rows = [row for row in made.rows if row.name in made.selected]
        path = write_records(made, {row.name: [result(row)] for row in rows})
    assert collected("there")["counts"]["copied"] == 1
    (command,) = collected("there")["tables"]
    table = run_cli(*shlex.split(command)[1:])
    assert table.code == 0, table.err
    recorded = load_archive(Path("results", *path.parts[-3:]))
    assert len(recorded.results) == 3
    assert "row=[ResNet-8,plain-8]" in recorded.changes
    assert "choice(0.05,0.1,0.2)" in recorded.changes[-1]
    assert table.out.count("1/1") == 3


def test_what_a_job_of_a_sweep_recorded_is_merged_and_read_again(machine, collected, run_cli):
    grid = "sweep.grid=['recipe.lr=choice(0.05,0.1)']"
    for name, value in (("results", 0.05), ("there", 0.1)):
        made = machine(name, f"row='ResNet-8 recipe.lr={value}'", grid)
        rows = [row for row in made.rows if row.name in made.selected]
        path = write_records(made, {row.name: [result(row)] for row in rows})
    for _ in range(2):  # what was merged is merged again
        (command,) = collected("there")["tables"]
    table = run_cli(*shlex.split(command)[1:])
    assert table.code == 0, table.err
    assert table.out.count("1/1") == 2
    job = run_cli("table", "experiment=quickstart", "row=ResNet-8 recipe.lr=0.1",
                  "recipe.lr=0.05,0.1")  # fmt: skip
    assert job.out.count("1/1") == 2, job.err
    recorded = load_archive(Path("results", *path.parts[-3:]))
    assert recorded.changes[0] == "row=[ResNet-8]"
    assert run_cli("verify", "results").code == 0


def test_imported_weights_and_ensembles_come_too(machine, collected, tmp_path):
    there = machine("there")
    finish(there, 0)
    counts = {"num_errors": 1, "num_images": 10}
    folders = "imported/resnet18-0123abcd", "runs/all-of2-0123abcd"
    for folder in folders:
        for root, keys in (("there", ["one_crop", "ten_crop"]), ("results", ["one_crop"])):
            record = Record(tmp_path / root / folder)
            record.folder.mkdir(parents=True)
            for key in keys:
                record.add_evaluation(key, **counts)
    (tmp_path / "there/benchmarks").mkdir()
    found = actions(collected("there"))
    assert [found[folder] for folder in folders] == ["updated", "updated"]
    assert found["benchmarks"] == "skipped"
    Record(tmp_path / "there" / folders[0]).add_evaluation("one_crop", num_errors=2, num_images=10)
    found = collected("there", code=1)
    assert [line["what"] for line in found["done"] if line["action"] == "conflict"] == [folders[0]]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_hostile_archive_writes_nowhere_else(machine, collected, tmp_path, kind):
    there = machine("there")
    folder = finish(there, 0).folder
    id, outside = folder.name, tmp_path / "outside"
    evil = ("../outside", f"/{outside}", f"runs/../../outside/{id}/record.jsonl",
            f"runs/{id}/../../../outside/record.jsonl", "results/../../outside/x/records.json",
            f"runs/{id}/record.jsonl/record.jsonl", "runs\\..\\record.jsonl")  # fmt: skip
    file = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            for path in folder.iterdir():
                packed.write(path, f"runs/{id}/{path.name}")
            for name in evil:
                packed.writestr(f"{name}", "{}")
    else:
        with tarfile.open(file, "w:gz") as packed:
            packed.add(folder, f"./runs/{id}")
            for name in evil:
                packed.addfile(tarfile.TarInfo(name), io.BytesIO())
            link = tarfile.TarInfo("runs/x-seed0-01234567")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
            packed.addfile(link)
            packed.addfile(tarfile.TarInfo("runs/x-seed0-01234567/record.jsonl"), io.BytesIO())
            link.name = "runs/y-seed0-01234567/record.jsonl"
            packed.addfile(link)
    before = {path for path in tmp_path.iterdir()}
    found = collected(file.name)
    assert ("copied", id, "finished at iteration 500") in done(found)
    assert {path for path in tmp_path.iterdir()} - before == {tmp_path / "results"}
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"runs"}
    names = {path.name for path in (tmp_path / "results/runs").iterdir()} - {".collect.lock"}
    assert names == {id}
    assert found["counts"]["skipped"] >= 4


def test_what_is_packed_is_collected(machine, collected, run_cli, tmp_path):
    made = machine("results")
    finish(made, 0)
    record_run(made, made.runs[1], iteration=200)
    write_records(made, results_of(made, ResNet_8=[17.0]))
    first, second = sorted((tmp_path / "results").rglob("environment.json"))
    assert first.read_bytes() == second.read_bytes()
    second.unlink()
    os.link(first, second)  # as programs do that find equal files
    assert collected("pack=out.tar.gz")["counts"]["packed"] == 3
    found = collected("out.tar.gz", "results=other")
    assert list(actions(found).values()) == ["copied"] * 3
    assert {path.name for path in (tmp_path / "other").rglob("*.pt")} == set()
    collected("pack=out.tar.gz", "with_weights=true")
    assert collected("out.tar.gz", "results=other", "with_weights=true")["counts"]["updated"] == 1
    assert len(list((tmp_path / "other").rglob("last.pt"))) == 1
    (tmp_path / "out.tar.gz").write_bytes((tmp_path / "out.tar.gz").read_bytes()[:-50])
    outcome = run_cli("collect", "out.tar.gz", "results=other")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "out.tar.gz is damaged" in outcome.err


def test_a_tar_that_ends_with_a_checkpoint_is_no_zip(machine, collected, tmp_path):
    """A checkpoint is a zip file, and so is what ends like one."""
    made = machine("results")
    finish(made, 0)
    (checkpoint,) = (tmp_path / "results").rglob("last.pt")
    with zipfile.ZipFile(checkpoint, "w") as file:
        file.writestr("data.pkl", "weights")
    collected("pack=out.tar", "with_weights=true")
    assert zipfile.is_zipfile(tmp_path / "out.tar")
    collected("out.tar", "results=other", "with_weights=true")
    (copied,) = (tmp_path / "other").rglob("last.pt")
    assert copied.read_bytes() == checkpoint.read_bytes()


def test_an_unfinished_run_without_its_checkpoint_is_not_trained_again(
    machine, collected, run_cli, tmp_path
):
    words = [*SMALL, "seeds=[0,1]", "results=there"]
    assert run_cli(*words).code == 0
    folder = next((tmp_path / "there/runs").glob("*-seed0-*"))
    lines = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    (folder / "record.jsonl").write_text("".join(lines[:-1]))  # saved, and killed at the end
    (folder / "evaluations.json").unlink()
    found = collected("there")
    assert "its checkpoint is not copied, with_weights=true does" in found["done"][0]["reason"]
    words[-1] = "results=results"
    record = (tmp_path / "results/runs" / folder.name / "record.jsonl").read_bytes()
    outcome = run_cli(*words, "seeds=[0,2]")
    assert outcome.code == 1
    assert f"{folder.name} was saved at iteration 6, and its checkpoint is not here" in outcome.err
    assert (tmp_path / "results/runs" / folder.name / "record.jsonl").read_bytes() == record
    status = run_cli("status", *words, "seeds=[0,2]").out
    assert "stopped: its checkpoint is not here" in status
    assert status.count("| done ") == 1  # the other one was trained
    assert actions(collected("there", "with_weights=true"))[folder.name] == "updated"
    outcome = run_cli(*words)
    assert outcome.code == 0, outcome.err


def test_what_cannot_be_collected_is_said_in_a_line(machine, run_cli, tmp_path):
    finish(machine("results"), 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no archive")
    shutil.copytree(tmp_path / "results", tmp_path / "machine/results")
    (tmp_path / "link").symlink_to(tmp_path / "results")
    (tmp_path / "text.gz").write_text("not what its name says")
    for words, message in (
        ([], "which results? Type collect FOLDER..."),
        (["empty"], "empty has no runs and no records"),
        (["machine"], "machine has no runs and no records; machine/results has"),
        (["results"], "results is the target folder"),
        (["link"], "link is the target folder"),
        (["text"], "text is neither a folder of results nor a .tar, .tar.gz or .zip"),
        (["text.gz"], "text.gz is damaged (file could not be opened successfully): copy or pack"),
        (["nowhere"], "nowhere: there is no such folder or file"),
        (["machine/results", "results=text"], "results=text: it must be a folder"),
        (["machine/results", "pack=out.tar.gz"], "pack=FILE packs what is here"),
        (["pack=out.rar"], "pack=out.rar: name a file that ends in .tar, .tar.gz, .tgz"),
        (["pack=nowhere/out.tar"], "pack=nowhere/out.tar: there is no folder nowhere"),
        (["pack=out.tar", "results=empty"], "empty has no runs and no records to pack"),
    ):
        outcome = run_cli("collect", *words)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1), outcome
        assert message in outcome.err


def test_a_target_that_cannot_be_written_is_said_in_a_line(machine, run_cli, monkeypatch):
    finish(machine("there"), 0)
    machine("results").results.mkdir()
    real = Path.mkdir

    def refuse(self, *args, **kwargs):
        if "results" in self.parts:
            raise OSError(30, "Read-only file system", str(self))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = run_cli("collect", "there")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "Read-only file system: results/runs" in outcome.err
