"""Networks of the user's own: registered, identified, trained beside ours; code is named first."""

import json
import random
import re
import sys
from textwrap import dedent

import numpy as np
import pytest
import torch

from resnet_repro.engine.trained import load_network
from resnet_repro.models.complexity import measure, training_bytes
from resnet_repro.models.external import build_external
from resnet_repro.plugins import registry
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.run import RunConfig
from tests.support.networks import LINEAR, TINY, draws_numbers, network, own
from tests.support.paths import ROOT
from tests.support.results import cells
from tests.support.runs import RUNS, SMALL

OTHERS = [word for word in SMALL if not word.startswith(("experiment=", "row="))]
# The network of README, which its readers copy.
NETS = dedent(re.search(r"^    from dataclasses.*?(?=\n\n\w)",
                        (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[0])  # fmt: skip
EXPERIMENT = """\
# @package _global_
defaults: [override /model: cifar_resnet, override /data: synthetic, override /recipe: quickstart]
model: {width: 4}
rows:
  - {name: ResNet-8, set: {model.depth: 8}}
  - {name: mine, set: {model.name: my_net, model.settings.width: 4}}
"""
OWN = ("--config-dir", "mine", "experiment=own")
QUICK = ("experiment=quickstart", "row=ResNet-8")


@pytest.fixture
def nets(tmp_path):
    """Return the user's file, beside an experiment that has its network as a row."""
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/own.yaml").write_text(EXPERIMENT)
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    yield path
    registry.load(())


def ids(run_cli, *words):
    """Return the ids of the runs that a command line asks for, by row."""
    outcome = run_cli("status", *words, "format=json")
    assert outcome.code == 0, outcome.err
    return {run["row"]: run["id"] for run in json.loads(outcome.out)["runs"]}


def with_model(config, model, image_size=16):
    data = DataConfig(name="x", title="x", image_size=image_size, num_classes=model.num_classes)
    return RunConfig(**{**vars(config), "model": model, "data": data})


def test_a_network_of_twenty_lines_is_trained_beside_ours_in_one_table(run_cli, nets, tmp_path):
    trained = run_cli(*OWN, "plugins=nets.py", *OTHERS)
    assert trained.code == 0, trained.err
    assert cells(trained.out, "ResNet-8")[1] == "8"
    mine = cells(trained.out, "mine")
    assert mine[1] == "" and mine[-1] == "1/1"
    assert "0 to train" in run_cli(*OWN, "plugins=nets.py", *OTHERS).out
    (folder,) = (tmp_path / RUNS).glob("mine-seed0-*")
    (session,) = json.loads((folder / "environment.json").read_text())
    assert "plugins=nets.py" in session["command"]
    explained = run_cli("explain", *OWN, "plugins=nets.py", "row=mine", *OTHERS).out
    assert f"Source of the network: {registry.find('my_net').source}" in explained

    model, _ = load_network(folder, ["nets.py"])
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)

    # A changed network is another run; ours, and theirs as it was, are done.
    nets.write_text(NETS.replace("nn.ReLU()", "nn.GELU()"))
    outcome = run_cli("status", *OWN, "plugins=nets.py", *OTHERS, "format=json")
    states = {run["row"]: run["state"] for run in json.loads(outcome.out)["runs"]}
    assert states == {"ResNet-8": "done", "mine": "waiting"}
    nets.write_text(NETS)
    assert ids(run_cli, *OWN, "plugins=nets.py", *OTHERS)["mine"] == folder.name


def test_a_setting_and_a_network_are_swept(run_cli, nets):
    plugins = "plugins=nets.py"
    widths = ids(run_cli, *OWN, plugins, "row=mine", "model.settings.width=4,8")
    shipped = ids(run_cli, *OWN, plugins)["mine"]
    assert widths.pop("mine model.settings.width=4") == shipped
    assert list(widths) == ["mine model.settings.width=8"]
    both = ids(run_cli, *QUICK, plugins, "model.name=cifar_resnet,my_net,torchvision/resnet18")
    assert list(both)[1:] == ["ResNet-8 model.name=my_net",
                              "ResNet-8 model.name=torchvision/resnet18"]  # fmt: skip
    assert both["ResNet-8 model.name=cifar_resnet"] == ids(run_cli, *QUICK)["ResNet-8"]


def test_torchvisions_networks_are_counted_as_ours(config):
    """The same network, built and counted by others' code; attention is counted too."""
    registry.load(())
    for depth, block in ((18, "1x1"), (50, "3x3")):
        model = network(False, depth, shortcut="B", stride_in=block)
        made = own(f"torchvision/resnet{depth}", 224, 1000)
        first, second = (measure(with_model(config, each, 224)) for each in (model, made))
        assert first.params == second.params
        assert first.params_without_bn == second.params_without_bn
        assert first.multiply_adds == second.multiply_adds
        both = [training_bytes(with_model(config, each, 224)) for each in (model, made)]
        assert both[1] == pytest.approx(both[0], rel=0.05)
    attention = with_model(config, own("torchvision/vit_b_16", 224, 1000), 224)
    assert round(measure(attention).multiply_adds / 1e9, 2) == 17.56  # as torchvision documents


def test_a_plugin_that_changes_while_a_command_runs_is_named(nets):
    registry.load([str(nets)])
    made = own("my_net", width=4)
    nets.write_text(NETS + "# changed while the command runs\n")
    registry.load([str(nets)])
    with pytest.raises(registry.UserError, match="changed while this command ran"):
        build_external(made)


def test_a_seed_decides_all_random_numbers_of_a_plugin(run_cli, tmp_path):
    (tmp_path / "drawn.py").write_text(
        "import random\nimport numpy as np\nfrom torch import nn\n"
        "from resnet_repro.models import register\n"
        "@register('drawn')\n"
        "def build(settings, num_classes, image_size):\n"
        "    fc = nn.Linear(3 * image_size**2, num_classes)\n"
        "    nn.init.constant_(fc.bias, random.random() + np.random.rand())\n"
        "    return nn.Sequential(nn.Flatten(), fc)\n"
    )
    words = [*SMALL, "plugins=drawn.py", "model.name=drawn", "recipe.iterations=1"]
    weights = []
    for results in ("one", "other"):
        done = run_cli(*words, f"results={results}")
        assert done.code == 0, done.err
        (record,) = (tmp_path / results / "runs").glob("*/record.jsonl")
        weights.append(json.loads(record.read_text().splitlines()[-1])["weights"])
    assert weights[0] == weights[1]


def test_a_network_says_whether_it_draws_numbers(tmp_path):
    """Those are seeded in every iteration, so that a resumed run has the same ones."""
    path = tmp_path / "drawing.py"
    module = "nn.Sequential(nn.Flatten(), {}nn.Linear(3 * image_size**2, num_classes))"
    for inner, draws in (("", False), ("nn.AlphaDropout(), ", True)):
        path.write_text(TINY.format(module.format(inner)))
        registry.load([str(path)])
        assert draws_numbers(own("tiny")) is draws
    before = random.getstate(), np.random.get_state()[1].tolist()
    for number in ("random.random()", "np.random.rand()"):  # not torch's, and as important
        inner = "Noise(), "
        noise = (
            "import random\nimport numpy as np\nclass Noise(nn.Module):\n"
            f"    def forward(self, x):\n        return x * {number}\n"
        )
        text = TINY.format(module.format(inner))
        path.write_text(text.replace("@register", f"{noise}@register"))
        registry.load([str(path)])
        assert draws_numbers(own("tiny"))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize(
    ("code", "words", "message"),
    [
        (None, [], "plugins=bad.py: there is no such file: "),
        (None, ["plugins=no_such"], "plugins=no_such: there is no module no_such"),
        (None, ["plugins=a,b"], "type 'plugins=[a,b]', in quotes"),
        (None, ["plugins=foo-bar"], "it is neither the name of a module nor a .py file"),
        ("x = 1\nint('x')", [], "it cannot be imported: ValueError: invalid literal for int() "
         "with base 10: 'x' (PATH/bad.py:2)"),
        ("x = (", [], "it cannot be imported: SyntaxError: '(' was never closed (bad.py, line 1)"),
        ("import numpyy", [], "No module named 'numpyy' (PATH/bad.py:1)"),
        ("x = 1", [], "it registers no network"),
        (TINY.replace("tiny", "cifar_resnet"), [], "the name cifar_resnet is taken"),
        (TINY.replace("tiny", "timm/x"), [], "the name timm/x is taken"),
        (TINY.replace("tiny", "my_net"), ["plugins=[nets.py,bad.py]"],
         "plugins=bad.py: my_net is registered twice, here and by nets.py"),
        (TINY.format("3"), ["model.name=tiny"], "its builder returns int, not an nn.Module"),
        (TINY.format("nn.ReLU()"), ["model.name=tiny"], "has no parameters to train"),
        (TINY.format("nn.Linear(num_classes)"), ["model.name=tiny"],
         "model tiny cannot be built: TypeError: "),
        (TINY.format("nn.Conv2d(3, num_classes, 16)"), ["model.name=tiny"],
         "model tiny returns (2, 10, 1, 1) for 2 images; expected (2, 10)"),
        (TINY.format("nn.Conv2d(3, num_classes, 17)"), ["model.name=tiny"],
         "model tiny fails on images of shape (2, 3, 16, 16): RuntimeError: "),
        (TINY.format("3"), ["model.name=tiny", "model.settings.x=1"],
         "model.settings.x: tiny has no settings"),
        (TINY.format("3"), ["model.name=tyny"],
         "did you mean tiny? It can be cifar_resnet, imagenet_resnet, vgg16, tiny, "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_plugin_is_said_in_a_line_or_two(
    run_cli, nets, tmp_path, code, words, message
):
    if code is not None:
        (tmp_path / "bad.py").write_text(code)
    named = words if "plugins" in "".join(words) else ["plugins=bad.py", *words]
    for verb in ("verify", "run") if "model.name=tiny" in words else ("verify",):
        outcome = run_cli(verb, *QUICK, *named, *OTHERS)
        assert outcome.code == 1
        assert message.replace("PATH", str(tmp_path)) in outcome.err
        assert len(outcome.err.splitlines()) <= 2
    assert not (tmp_path / RUNS).exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.settings.widt=3", "no setting model.settings.widt: did you mean width?"),
        ("model.settings.width=wide", "model.settings.width: 'wide' is not a whole number"),
        ("model.settings.width=0", "model.settings of my_net: width=0: at least 1 channel"),
        ("model.settings=3", "model.settings: its settings have names"),
        ("model.depth=20", "model.depth: my_net has no such setting; its own are model.settings."),
        ("compute.recompute=2", "compute.recompute=2: my_net has no blocks to recompute"),
        ("model.name=cifar_resnet", "model.depth: it has no value"),
        ("model.name=torchvision/resnet5", "torchvision has no such network: did you mean resnet"),
    ],
)
def test_what_a_network_does_not_have_is_refused(run_cli, nets, word, message):
    outcome = run_cli("plan", *OWN, "plugins=nets.py", "row=mine", word)
    assert outcome.code == 1
    assert "row mine" in outcome.err and message in outcome.err


def test_a_network_of_ours_has_no_settings_of_a_plugins(run_cli):
    outcome = run_cli("plan", *QUICK, "model.settings.width=3")
    assert outcome.code == 1
    assert "model.settings.width: cifar_resnet has none" in outcome.err


def test_timms_networks_have_their_names_where_it_is_installed(
    run_cli, tmp_path, monkeypatch, config
):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("resnet_repro.plugins.libraries.find_spec", lambda name: None)
    words = (*QUICK, "model.name=timm/small")
    assert "timm is not installed: pip install 'resnet-repro[timm]'" in run_cli("plan", *words).err
    monkeypatch.undo()
    (tmp_path / "timm.py").write_text(
        "from torch import nn\n"
        "def is_model(name): return name == 'small'\n"
        "def create_model(name, pretrained, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, num_classes))\n"
    )
    (tmp_path / "timm-9.8.dist-info").mkdir()
    (tmp_path / "timm-9.8.dist-info/METADATA").write_text("Name: timm\nVersion: 9.8+cu1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    registry.load(())
    made = own("timm/small")
    assert made.source == "timm 9.8"
    assert measure(with_model(config, made)).params == (3 * 16 * 16 + 1) * 10
    monkeypatch.delitem(sys.modules, "timm")


def test_an_installed_network_is_imported_when_it_is_asked_for(run_cli, tmp_path, monkeypatch):
    (tmp_path / "site/lab_nets").mkdir(parents=True)
    (tmp_path / "site/lab_nets/__init__.py").write_text("")
    (tmp_path / "site/lab_nets/small.py").write_text(TINY.format(LINEAR).replace("tiny", "lab"))
    info = tmp_path / "site/lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[resnet_repro.models]\nlab = lab_nets.small\nother = lab_nets.small\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    unknown = run_cli("verify", *QUICK, "model.name=lob").err
    assert "did you mean lab?" in unknown
    assert "lab_nets.small" not in sys.modules
    assert run_cli("verify", *QUICK, "model.name=lab").code == 0
    assert "lab_nets.small" in sys.modules
    refused = run_cli("verify", *QUICK, "model.name=other").err
    assert "of lab 1.0: lab_nets.small does not register other" in refused


def test_the_digest_is_of_all_that_the_plugin_is_made_of(tmp_path, monkeypatch):
    """The file, what it imports next to it, and all of a package; not what else is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("import layers_of_a\n" + TINY.format("layers_of_a.x"))
    (tmp_path / "layers_of_a.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    (tmp_path / "pack/inner").mkdir(parents=True)
    (tmp_path / "pack/inner/nets.py").write_text("from pack import more\n" + TINY.format("more.x"))
    (tmp_path / "pack/more.py").write_text("x = 1\n")

    def source(plugin):
        registry.load([plugin])
        found = registry.find("tiny")
        made.append(found.build(None, 10, 32))
        return found.source

    made = []

    for plugin, inside in (("a.py", "layers_of_a.py"), ("pack.inner.nets", "pack/more.py")):
        before = source(plugin)
        (tmp_path / "other.py").write_text(f"x = '{plugin}'\n")
        assert source(plugin) == before
        (tmp_path / inside).write_text("x = 2 # edited\n")
        assert source(plugin) != before
        assert made[-3:] == [1, 1, 2], "and what is built is made of them too"
    assert source("a") == source("a.py") == source(str(tmp_path / "a.py"))


EVIL = """\
# @package _global_
defaults: [override /model: cifar_resnet, override /data: synthetic, override /recipe: quickstart]
rows: [{name: a, set: {model.depth: 8}}]
"""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("experiment=evil", EVIL + "plugins: [named_by_a_file]\n"),
        ("experiment=evil", EVIL + "hydra: {callbacks: {x: {_target_: named_by_a_file.X}}}\n"),
        ("experiment=evil", EVIL.replace("[", "[override /hydra/callbacks: evil, ", 1)),
        ("experiment=evil", EVIL.replace("[", "[inner/evil, ", 1)),
        ("local=evil", EVIL + "hydra: {callbacks: {x: {_target_: named_by_a_file.X}}}\n"),
        (
            "experiment=own recipe=evil",
            "# @package hydra.callbacks\nx: {_target_: named_by_a_file.X}\n",
        ),
    ],
)
def test_no_file_of_settings_can_name_code(run_cli, nets, tmp_path, words, text):
    (tmp_path / "named_by_a_file.py").write_text("class X: pass\n")
    for folder in ("experiment/inner", "hydra/callbacks", "recipe", "local"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    (tmp_path / f"mine/{words.split()[-1].replace('=', '/')}.yaml").write_text(text)
    inner = EVIL + "hydra: {callbacks: {x: {_target_: named_by_a_file.X}}}\n"
    (tmp_path / "mine/experiment/inner/evil.yaml").write_text(inner)
    (tmp_path / "mine/hydra/callbacks/evil.yaml").write_text("x: {_target_: named_by_a_file.X}\n")
    for more in ([], ["plugins=nets.py"]):
        outcome = run_cli("verify", "--config-dir", "mine", *words.split(), *more)
        assert outcome.code == 1
        assert "only the command line names code to import" in outcome.err
        assert "evil.yaml, line " in outcome.err
    assert "named_by_a_file" not in sys.modules


def test_no_file_of_results_can_name_code(run_cli, nets, tmp_path):
    assert run_cli(*QUICK, *OTHERS, "plugins=nets.py", "model.name=my_net").code == 0
    (path,) = (tmp_path / "results/quickstart").glob("changed-*/records.json")
    assert not any("plugins" in word for word in json.loads(path.read_text())["changes"])
    untold = run_cli("verify", "results")
    assert "needs plugins=FILE.py" in untold.err
    assert run_cli("verify", "plugins=nets.py", "results").code == 0
    (tmp_path / "named_by_a_file.py").write_text("")
    records = json.loads(path.read_text())
    records["changes"].append("plugins=named_by_a_file")
    path.write_text(json.dumps(records))
    refused = run_cli("verify", "plugins=nets.py", "results")
    assert refused.code == 1 and "only the command line names code" in refused.err
    assert "named_by_a_file" not in sys.modules
