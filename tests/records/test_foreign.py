"""Files that others made: nothing of them runs, and what is odd costs that file alone."""

import json
import shutil
import sys
import tarfile
import zipfile
from io import BytesIO

import pytest
import torch

from resnet_repro.engine import checkpoint
from resnet_repro.engine.trained import load_network
from resnet_repro.errors import UserError
from resnet_repro.models.published import describe_torchvision, find_state_dict
from resnet_repro.records import Record
from resnet_repro.records.collect import pack
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.results import write_records
from resnet_repro.report.remarks import protocol_text
from resnet_repro.settings.sweep import unite_sweeps
from resnet_repro.text import as_markdown, markdown
from tests.support.plans import plan
from tests.support.results import record_run, results_of, the_run

WORDS = ("row=[plain-8,ResNet-8]", "seeds=[0,1]")


@pytest.fixture(autouse=True)
def one_experiment(monkeypatch):
    """Have one experiment looked for: each takes seconds."""
    monkeypatch.setattr("resnet_repro.cli.compose.options", lambda group: ["quickstart"])


@pytest.fixture
def made(tmp_path):
    """The plan of the results of a table, and its file of records beside a changed one."""
    made = plan("quickstart", f"results={tmp_path / 'results'}", *WORDS)
    write_records(made, results_of(made, ResNet_8=[17.0]))
    return made


def with_changes(made, *words):
    """Write a file of records with other settings next to those of a table."""
    content = json.loads((made.folder / "records.json").read_text())
    path = made.folder / "changed-odd" / "records.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**content, "changes": words}))
    return path


def test_the_settings_of_a_file_of_records_import_nothing(made, run_cli, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    path = with_changes(made, "hydra.searchpath=[pkg://evil_module]")
    told = f"{path.relative_to(tmp_path)}: hydra.searchpath=[pkg://evil_module] is no setting"
    shutil.copytree(tmp_path / "results", tmp_path / "copy")
    for words in (["report"], ["verify", "results"], ["compare", "results", "copy"]):
        assert told in run_cli(*words).err
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize(
    "word", ["data.boxes={a:1}", "data.boxes.a=1", f"seeds={'[' * 300}1{']' * 300}", "seeds=[["]
)
def test_settings_that_cannot_be_read_are_named_with_their_file(made, run_cli, word):
    with_changes(made, word)
    outcome = run_cli("report")
    assert (outcome.code, outcome.out) == (1, "results/report.html\n")
    (line,) = outcome.err.splitlines()
    assert "changed-odd/records.json" in line


def test_sweeps_over_other_settings_are_not_united():
    ours, theirs = (
        [f"sweep.grid=['{word}']"] for word in ("recipe.lr=0.1,0.2", "model.depth=8,14")
    )
    with pytest.raises(UserError, match="sweeps over other settings"):
        unite_sweeps(ours, theirs)


def test_keys_that_a_newer_version_may_write_stop_no_collect(made, run_cli, tmp_path):
    there = plan("quickstart", f"results={tmp_path / 'there'}", *WORDS)
    run = made.runs[0]
    for each in (made, there):
        record_run(each, run, seconds=9.0)
    folder = the_run(there)
    first, *others = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    first = json.dumps({**json.loads(first), "more": 1}) + "\n"
    (folder / "record.jsonl").write_text("".join([first, *others]))
    found = json.loads(run_cli("collect", "there", "format=json").out)
    (line,) = found["done"]
    assert line["action"] == "conflict" and "more None and 1" in line["reason"]
    odd = {"num_errors": 1, "num_images": 2, "key": "a", "self": "b"}  # names of arguments
    Record(folder).add_evaluation("one_crop", **odd)
    assert Record(folder).evaluations()["one_crop"] == odd


def test_a_pack_of_any_size_fills_no_disk(made, run_cli, tmp_path, monkeypatch):
    there = plan("quickstart", f"results={tmp_path / 'there'}", *WORDS)
    record_run(there, there.runs[0], seconds=9.0)
    folder = the_run(there)
    (folder / "last.pt").write_bytes(b"w" * 5000)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard/events.out.tfevents.1").write_bytes(b"e" * 50)
    (folder / "tensorboard/module.py").write_text("")
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as packed:
        packed.add(folder, f"runs/{folder.name}")
        sparse = tarfile.TarInfo(f"runs/{folder.name}/run.log")
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                              "GNU.sparse.realsize": str(2**50)}  # fmt: skip
        sparse.size = 512
        packed.addfile(sparse, BytesIO(b"0\n" + b"\0" * 510))
    into = tmp_path / "empty"
    into.mkdir()
    pack.unpack(tmp_path / "made.tar.gz", into, with_weights=False)
    names = {path.name for path in into.rglob("*") if path.is_file()}
    assert names == {*("environment.json", "evaluations.json", "record.jsonl", "saved"),
                     "events.out.tfevents.1"}  # fmt: skip
    monkeypatch.setattr(pack, "LARGEST", 200)
    outcome = run_cli("collect", "made.tar.gz", "results=other")
    assert "made.tar.gz: its records have more than" in outcome.err


def test_what_macos_adds_to_files_is_nothing(made, run_cli, tmp_path):
    there = plan("quickstart", f"results={tmp_path / 'there'}", *WORDS)
    record_run(there, there.runs[0], seconds=9.0)
    folder = the_run(there)
    id = folder.name
    (tmp_path / f"there/runs/._{id}").write_bytes(b"\0\5\x16\7")  # sorts before it
    board = folder / "tensorboard"
    board.mkdir()
    (board / "events.out.tfevents.1").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "there.zip", "w") as packed:
        for path in sorted((tmp_path / "there").rglob("*")):
            packed.write(path, path.relative_to(tmp_path))
        inner = (board / "._events.out.tfevents.1").relative_to(tmp_path)
        packed.writestr(f"__MACOSX/{inner}", b"\0\5\x16\7")
    for number, source in enumerate(("there", "there.zip")):
        found = json.loads(run_cli("collect", source, f"results=to{number}", "format=json").out)
        assert [(line["action"], line["what"]) for line in found["done"]] == [("copied", id)]


def test_the_weights_of_a_finished_run_are_those_that_it_ended_with(made, run_cli, tmp_path):
    assert run_cli("experiment=quickstart", "row=ResNet-8", "seeds=[0]", "results=own",
                   "recipe.iterations=2", "recipe.lr_drops=[]",
                   "recipe.warmup.iterations=1").code == 0  # fmt: skip
    (folder,) = (tmp_path / "own/runs").glob("*-seed*")
    load_network(folder)
    state = torch.load(folder / "last.pt", weights_only=True)
    state["model"] = {name: each + 1 for name, each in state["model"].items()}
    checkpoint.save(folder, state)
    with pytest.raises(DamagedError, match=r"last\.pt does not have the weights that the run end"):
        load_network(folder)


def test_odd_published_weights_are_refused():
    inner = {}
    inner["model"] = inner
    assert find_state_dict(inner) is None
    tensor = torch.ones(4)
    layers = (1, 2, 3, 4)
    names = [f"layer{layer}.{block}.conv1.weight" for layer in layers for block in (0, 1)]
    for weights in (
        {f"{name}.bias": tensor for name in ("classifier.6",)},
        {**dict.fromkeys(names, tensor), "layer1.0.conv3.weight": tensor, "fc.weight": tensor},
    ):
        with pytest.raises(UserError, match="these are not the weights"):
            describe_torchvision(weights)


def test_texts_of_others_are_text():
    assert as_markdown(r"\<img src=x>") == r"\\\<img src=x>"
    assert as_markdown("<img>") == r"\<img>"
    assert r"a\\\|b" in markdown(["x"], [["a\\|b"]])
    assert "{x 1" in protocol_text("boxes 600 {x:1")
