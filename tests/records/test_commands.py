"""The command that a record holds: enough to run it, and none of the machine's folders."""

import json

from resnet_repro.records.results import public_command
from tests.support.experiments import MINE
from tests.support.paths import ROOT
from tests.support.runs import SMALL


def test_a_recorded_command_has_what_it_takes_to_run_it(run_cli, mine, tmp_path, monkeypatch):
    words = [word for word in SMALL if not word.startswith(("experiment", "row"))]
    text = MINE.replace("cifar10", "synthetic").replace("cifar_64k", "quickstart")
    (mine / "shallow.yaml").write_text(text)
    outside = tmp_path / "elsewhere"
    (tmp_path / "mine").rename(outside)
    line = ["--config-dir", str(outside), "experiment=shallow", *words]
    assert run_cli(*line).code == 0
    (file,) = (tmp_path / "results/shallow").glob("changed-*/records.json")
    command = f"--config-dir elsewhere experiment=shallow {' '.join(words[:1])}"
    assert command in file.read_text()  # as it is named from here
    assert str(tmp_path) not in file.read_text()
    assert f"--config-dir {outside} experiment=shallow" in run_cli("explain", *line).out
    collected = run_cli("collect", "--config-dir", str(outside), "results", "results=there")
    assert f"table --config-dir {outside} experiment=shallow" in collected.out
    for typed, public in (
        ("--config-dir /abs/mine experiment=x", "--config-dir DIR experiment=x"),
        ("--config-dir ../mine experiment=x", "--config-dir DIR experiment=x"),
        ("--config-dir mine experiment=x", "--config-dir mine experiment=x"),
        ("import weights=/a/x.pth data.root='/d e'", "import weights=PATH"),
        ('''import "weights='/a b/x.pth'"''', "import weights=PATH"),
    ):
        assert public_command(f"resnet-repro {typed}") == f"resnet-repro {public}"


def test_records_say_nothing_of_the_machines_folders(trained, tmp_path_factory):
    command = "resnet-repro --config-dir /home/me/mine experiment=mine results=out data.root=/data"
    assert public_command(command) == "resnet-repro --config-dir DIR experiment=mine"
    text = (trained / "records.json").read_text()
    assert str(tmp_path_factory.getbasetemp()) not in text  # wherever they were trained
    assert str(ROOT) not in text
    content = json.loads((trained / "records.json").read_text())
    assert "recipe.iterations=6" in content["changes"]
    assert not [word for word in content["changes"] if word.startswith(("compute", "data.root"))]
