"""The words of a command line, as people type them, and what each is answered with."""

import pytest

from tests.support.experiments import TABLE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+experiment=x"], "settings have no + here. Type experiment=x"),
        ([TABLE, "++recipe.lr=1"], "settings have no + here. Type recipe.lr=1"),
        ([TABLE, "~recipe.warmup"], "settings cannot be removed. Type recipe.warmup=..."),
        ([TABLE, "recipe.warmup=null"], "cannot be null; set what is in it: recipe.warmup.lr"),
        ([TABLE, "recipe.lr=null"], "recipe.lr: it cannot be null"),
        ([TABLE, "recipe.lr="], "recipe.lr= has no value: type it right after the ="),
        ([TABLE, "recipe.lr=0.1,"], "an extra comma at the end: type recipe.lr=0.1"),
        ([TABLE, "recipe=5"], "there is no recipe=5; available: cifar_64k"),
        ([TABLE, "data=null"], "there is no data=null; available: cifar10"),
        (["experiment"], "type experiment=..."),
        (["experiment", "cifar_depth"], "type experiment=cifar_depth"),
        (["experiment", "=", "cifar_depth"], "type experiment=cifar_depth"),
        ([TABLE, "row", "ResNet-20"], "type row=ResNet-20"),
        ([TABLE, "ResNet-20"], "type row=ResNet-20"),
        ([TABLE, "row=ResNet-18", "A"], "a value with a space is quoted: 'row=ResNet-18 A'"),
        (["results=my", "disk"], "a value with a space is quoted: 'results=my disk'"),
        (["-experiment", "cifar_depth"], "settings have no dashes. Type experiment=cifar_depth"),
        ([TABLE, "--seed", "3"], "settings have no dashes. Type seeds=3"),
        (["--confg-dir", "mine"], "no flag --confg-dir: did you mean --config-dir?"),
        (
            ["\u2014config-dir", "mine"],
            "has a typographic dash, perhaps copied from a web page. Type --config-dir",
        ),
        ([TABLE, "row=ResNet\u201120"], "U+2011 is a look-alike of a keyboard character"),
        ([TABLE, "row=\u201cResNet-20\u201d"], "Type 'row=\"ResNet-20\"'"),
        (["experiment=cifar_depth,"], "a comma too many: type experiment=cifar_depth"),
        (["experiment="], "type experiment=NAME, one of cifar_depth"),
        ([TABLE, "row=Resnet20"], "no row Resnet20: did you mean ResNet-20?"),
        ([TABLE, "recipe.lr=[0.1"], "A list is 'recipe.lr=[1,2]'"),
        ([TABLE, "results=~nobody-here/x"], "no user has that name"),
        (["--config-dir", "~nobody-here/x"], "no user has that name"),
        (["--config-dir"], "--config-dir takes a folder in the next word"),
        (["--config-dir", "nowhere"], "nowhere: there is no such folder"),
        (["--cfg", "jobs", TABLE], "--cfg takes job, hydra or all"),
        (["-m", "--cfg", "job", TABLE], "Only one of --run, --multirun, --cfg"),
        (["help", "plna"], "no verb plna: did you mean plan?"),
        (["-sc"], 'run eval "$(resnet-repro -sc install=bash)"'),
        (["-sc", "install=tcsh"], "bash, zsh or fish"),
        (["collect", "pack=x.tar.gz", "row=ResNet-20"], "`collect` takes all runs: leave row out"),
        (["report", TABLE], "`report` shows all experiments that results=DIR has: leave exp"),
        (["verify", "results", "seeds=[0]"], "`verify` checks all tables of the folders"),
        (["logs", "ResNet-20-seed0", "state=failed"], "`logs` prints the logs of the runs"),
        (["list", "recipe.lr=0.1,0.2"], "recipe.lr=0.1,0.2: `list` lists all experiments"),
        (["verify", "model.depth=20,32"], "model.depth=20,32 is for one experiment: add exp"),
        (["verify", "debug=smoke"], "debug=smoke is for one experiment: add experiment=NAME"),
        (["experiment=cifar_depth,cifar_plain", "budget=8h"], "budget= is for one experiment"),
        ([TABLE, " =x"], "no spaces around the =: type experiment=cifar_depth=x"),
        (["plan", TABLE, "cluster.partition=gpu"], "leave cluster.partition out, or use `submit`"),
    ],
)
def test_it_is_said_what_to_type_instead(run_cli, words, message):
    outcome = run_cli(*words)
    assert outcome.code == 1
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == ""


def test_after_a_verb_that_reads_folders_a_word_is_one(run_cli, tmp_path):
    for name in ("lr=0.1", "runs/lr=0.1", "seeds=0"):
        (tmp_path / name).mkdir(parents=True)
    for words, named in (
        (["verify", "lr=0.1"], "lr=0.1"),
        (["verify", "./seeds=0"], "seeds=0"),
        (["compare", "runs/lr=0.1", "lr=0.1"], "runs/lr=0.1"),
    ):
        outcome = run_cli(*words)
        assert outcome.code == 1
        assert outcome.err.startswith(f"resnet-repro: {named}: there is no records.json in it")
    outcome = run_cli("verify", "seeds=0", "experiment=none")  # a setting, whatever lies there
    assert "there is no experiment=none" in outcome.err


def test_rows_are_named_as_they_are(run_cli, mine, tmp_path):
    for word in ("row=ResNet-8, thin (1)", "row= ResNet-8, thin (1) "):
        outcome = run_cli("status", "--config-dir", "mine", "experiment=shallow", word)
        assert "ResNet-8-thin-1-seed0" in outcome.out, outcome.err
    (tmp_path / "mine/sweep").mkdir()
    (tmp_path / "mine/sweep/lrs.yaml").write_text(
        "experiment: shallow\nvary: {recipe.lr: [0.1, 0.2]}\n"
    )
    swept = run_cli("status", "--config-dir", "mine", "sweep=lrs", "row=ResNet-8, thin (1)")
    assert "ResNet-8-thin-1-seed0" in swept.out, swept.err
    outcome = run_cli("status", TABLE, "row=[ResNet-20,ResNét-32]")
    assert "no row ResNét-32: did you mean ResNet-32?" in outcome.err


def test_an_experiment_is_named_as_its_file_is(run_cli, mine):
    """Also where Hydra would read a number, a list or nothing."""
    text = (mine / "shallow.yaml").read_text()
    for name in ("2024", "1e3", "null", "true"):
        (mine / f"{name}.yaml").write_text(text)
        outcome = run_cli("status", "--config-dir", "mine", f"experiment={name}")
        assert (outcome.code, outcome.err) == (0, "")
        assert "-seed0-" in outcome.out
    assert run_cli("status", f"experiment=[{TABLE.split('=')[1]}]").code == 0


def test_of_two_settings_for_one_key_the_last_counts_and_it_is_said(run_cli):
    outcome = run_cli("status", "experiment=quickstart", "seeds=0", "row=ResNet-8", "seeds=[1,2]")
    assert outcome.out.count("ResNet-8-seed") == 2
    assert "ResNet-8-seed0" not in outcome.out
    assert outcome.err == "seeds is there twice; the last one counts: seeds=[1,2]\n"


def test_a_step_without_a_section_of_its_own_says_whose_to_set(run_cli):
    """The recipe of regions is the rows'; that of proposals is the step's own."""
    for step, value in (("regions1", "recipe.lr=0.1"), ("regions2", "recipe={lr: 0.1}")):
        word = f"steps.{step}.{value}"
        outcome = run_cli(
            "status", "experiment=voc_detection", "steps.proposals1.recipe.lr=1", word
        )
        assert outcome.code == 1
        key = f"steps.{step}.recipe.lr"
        assert f"{key}: step {step} has no recipe of its own: set recipe.lr" in outcome.err
    for word in ("data.generate.num_test=10", "data.generate={num_test: 10}"):
        others = run_cli("status", "experiment=voc_detection", word)
        assert others.err == (
            "resnet-repro: data.generate.num_test: data.generate is null for this data set, and "
            "has nothing to set\n"
        )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("recipe.photo=[1]", "recipe.photo: a list where settings {key: value} belong"),
        ("rows={a: 1}", "rows: settings {key: value} where a list belongs"),
        ("steps={a: 1}", "there is no setting steps.a"),
    ],
)
def test_a_value_of_another_shape_is_said(run_cli, word, message):
    assert run_cli("status", "experiment=quickstart", word).err == f"resnet-repro: {message}\n"
