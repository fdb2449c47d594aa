"""The scripts: what `numbers` packs and unpacks."""

import json
import subprocess
import sys
import tarfile

from tests.support.paths import ROOT


def test_numbers_packs_what_a_next_time_needs_and_no_more(tmp_path):
    """Records and tables of all runs; a checkpoint of the run that is to go on, if it is small."""
    results = tmp_path / "results"
    sizes = {"finished": ("finished", 9), "unfinished": ("train", 9), "large": ("train", 2_000_000)}
    for name, (event, size) in sizes.items():
        run = results / "runs" / name
        (run / "tensorboard").mkdir(parents=True)
        (run / "record.jsonl").write_text(json.dumps({"event": event, "iteration": 1}) + "\n")
        (run / "last.pt").write_bytes(bytes(size))
        (run / "tensorboard/events").write_text("x")
    (results / "cifar_depth").mkdir()
    (results / "cifar_depth/table.md").write_text("a table")
    (results / "published/cifar_depth").mkdir(parents=True)
    (results / "published/cifar_depth/table.md").write_text("tracked by git")
    command = [sys.executable, ROOT / "scripts/numbers", "--seconds", "0", "--largest", "1"]
    packed, laid = tmp_path / "out.tar.gz", tmp_path / "laid"
    subprocess.run([*command, "--results", results, "--pack", packed], check=True)
    subprocess.run([*command, "--results", laid, "--unpack", packed], check=True)
    assert {str(path.relative_to(laid)) for path in laid.rglob("*") if path.is_file()} == {
        "cifar_depth/table.md",
        "runs/finished/record.jsonl",
        "runs/large/record.jsonl",
        "runs/unfinished/last.pt",
        "runs/unfinished/record.jsonl",
    }


def test_unpacking_keeps_what_is_further_and_says_what_it_replaces(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    for results, far in ((there, {"a": 5, "b": 2}), (here, {"a": 2, "b": 5})):
        for name, iteration in far.items():
            folder = results / "runs" / name
            folder.mkdir(parents=True)
            event = {"event": "train", "iteration": iteration}
            (folder / "record.jsonl").write_text(json.dumps(event) + "\n")
            (folder / "saved").write_text(f"{iteration}\n")
        (results / "x").mkdir()
        (results / "x/records.json").write_text(str(far))
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as packed:
        packed.add(there, ".")
    numbers = [sys.executable, ROOT / "scripts/numbers", "--results", here]
    done = subprocess.run(
        [*numbers, "--unpack", tmp_path / "packed.tar.gz"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [(here / f"runs/{name}/saved").read_text() for name in "ab"] == ["5\n", "5\n"]
    assert f"overwritten: {here / 'runs/a/record.jsonl'}" in done.stdout
    assert f"kept: {here / 'runs/b'}, which is further" in done.stdout
    assert f"kept: {here / 'x/records.json'}, which differs" in done.stdout
    assert "'b': 5" in (here / "x/records.json").read_text()
