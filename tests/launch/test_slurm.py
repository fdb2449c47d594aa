"""`submit`: the script of a job array, as a stand-in for sbatch gets it."""

import json
import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from resnet_repro.launch.slurm.script import Element, script_text
from resnet_repro.settings.cluster import ClusterConfig
from tests.support.processes import wait
from tests.support.runs import PATIENCE, SMALL

END = "starts\nslurmstepd: error: oom_kill\nsrun: error: n1: task 0: Exited\n"
WAIT = "echo $BASHPID > step; /bin/sleep 300 & wait"


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Put programs of SLURM's names before all others, those of this machine's too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in {"scontrol": 1, "sacct": 1, "scancel": 1, "squeue": 0}.items():
        program(folder, name, f"exit {code}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lambda name, text: program(folder, name, text)


def cases(script: Path) -> list[str]:
    return re.findall(r"^  \d+\) set -- (.*) ;;$", script.read_text(), re.M)


def test_an_array_has_a_job_for_each_run_that_is_missing(run_cli, stub, tmp_path):
    stub("sbatch", 'echo "$@" >> asked; echo 4711')
    done = run_cli(*SMALL)
    assert done.code == 0, done.err
    words = [*SMALL[2:], "experiment=quickstart", "seeds=[0,1,2]", "row=[ResNet-8,plain-8]"]
    submitted = run_cli("submit", *words, "cluster.seeds_per_job=2", "cluster.partition=gpu",
                        "cluster.options={qos: long, exclusive: true}",
                        "cluster.at_once=3")  # fmt: skip
    assert submitted.code == 0, submitted.err
    assert "6 runs, 1 done, 0 running or in the queue, 5 to submit" in submitted.out
    script = tmp_path / "results/runs/slurm/quickstart.sh"
    assert cases(script) == [
        "row=plain-8 'seeds=[0,1]'", "row=plain-8 'seeds=[2]'", "row=ResNet-8 'seeds=[1,2]'",
    ]  # fmt: skip
    text = script.read_text()
    assert {
        "array=0-2%3",
        "partition=gpu",
        "qos=long",
        "gres=gpu:1",
        "requeue",
        "exclusive",
    } <= set(re.findall(r"^#SBATCH --(.*)$", text, re.M))
    (line,) = [line for line in text.splitlines() if "-m resnet_repro" in line]
    assert "recipe.iterations=6" in line
    assert not re.search(r"cluster|mode=|seeds=|row=", line)

    stub("squeue", "echo '4711_0|RUNNING|None'; echo '4711_2|PENDING|Resources'")
    status = run_cli("status", *words).out
    assert re.search(r"plain-8-seed1\S+ +\| queued \(job 4711_0 RUNNING\)", status)
    assert re.search(r"plain-8-seed2\S+ +\| waiting  ", status)
    assert re.search(r"ResNet-8-seed2\S+ +\| queued \(job 4711_2 PENDING, Resources\)", status)
    again = run_cli("submit", *words)
    assert "6 runs, 1 done, 4 running or in the queue, 1 to submit" in again.out
    assert cases(script) == ["row=plain-8 'seeds=[2]'"]
    stub("squeue", "echo 'no controller' >&2; exit 1")
    for verb, code in (("status", 0), ("submit", 1)):
        asked = run_cli(verb, *words)
        assert asked.code == code
        assert "cannot list the SLURM jobs: squeue: no controller" in asked.err


def test_the_jobs_name_the_plugins_that_were_named(run_cli, stub, tmp_path):
    stub("sbatch", "echo 4711")
    (tmp_path / "my nets.py").write_text(
        "from torch import nn\n"
        "from resnet_repro.models import register\n"
        "@register('mine')\n"
        "def build(settings, num_classes, image_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))\n"
    )
    submitted = run_cli("submit", *SMALL, "plugins=[my nets.py]", "model.name=mine")
    assert submitted.code == 0, submitted.err
    text = (tmp_path / "results/runs/slurm/quickstart.sh").read_text()
    (line,) = [line for line in text.splitlines() if "-m resnet_repro" in line]
    words = shlex.split(line.removesuffix('"$@" &'))
    words = words[words.index("resnet_repro") + 1 :]
    assert "model.name=mine" in words and any(each.startswith("plugins=") for each in words)
    done = run_cli(*words, "row=ResNet-8", "seeds=[0]")  # as the job does
    assert done.code == 0, done.err


def test_a_row_trains_its_earlier_steps_in_its_own_job(run_cli, stub, tmp_path):
    """Seeds that share a classifier wait for the job that trains it."""
    stub("sbatch", 'echo 471$(ls "$(dirname "$2")"/*.sh | wc -l)')
    submitted = run_cli("submit", "experiment=voc_joint", "seeds=[0,1,2]")
    assert submitted.code == 0, submitted.err
    assert "8 runs, 0 done, 0 running or in the queue, 8 to submit" in submitted.out
    first, then = (tmp_path / f"results/runs/slurm/voc_joint{end}.sh" for end in ("", "-2"))
    rows = ("row=VGG-16", "row=ResNet-101")
    assert cases(first) == [f"{row} 'seeds=[0]'" for row in rows]
    assert cases(then) == [f"{row} 'seeds=[{seed}]'" for row in rows for seed in (1, 2)]
    assert "#SBATCH --dependency=afterany:4711_0:4711_1\n" in then.read_text()
    assert re.search(r"job 4711_1: ResNet-101-classification-seed0-\w+, ResNet-101-seed0-\w+\n",
                     submitted.out)  # fmt: skip


def test_rows_that_share_a_network_share_a_job_and_an_ensemble_waits(run_cli, stub, tmp_path):
    stub("sbatch", "echo 4711")
    where = tmp_path / "results/runs/slurm"
    file = tmp_path / "mine/experiment/pair.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\n"
        "defaults: [override /model: imagenet_resnet, override /data: imagenet,\n"
        "  override /recipe: imagenet_msra, override /evaluation: one_crop]\n"
        "rows:\n"
        "  - {name: one crop, set: {model.depth: 34}}\n"
        "  - {name: ten crops, set: {model.depth: 34, evaluation.protocol: ten_crop}}\n"
        "  - {name: both, members: [one crop]}\n"
    )
    words = ["--config-dir", "mine", "experiment=pair", "cluster.nodes=2", "cluster.gpus=4"]
    asked = run_cli("submit", *words)
    assert asked.code == 0, asked.err
    assert cases(where / "pair.sh") == ["'row=[one crop,ten crops]' 'seeds=[0]'"]
    text = (where / "pair.sh").read_text()
    assert "-m resnet_repro --config-dir mine experiment=pair" in text
    assert "--ntasks-per-node=4" in text and "--cpus-per-task=2" in text
    many = run_cli("submit", *words, "cluster.gpus=8")
    assert many.code == 1
    assert "16 processes cannot share the mini-batches of one crop evenly, 8 can" in many.err
    assert cases(where / "pair-ensembles.sh") == ["mode=evaluate row=both"]
    assert "#SBATCH --dependency=afterany:4711_0\n" in (where / "pair-ensembles.sh").read_text()


def arrays(asked: Path) -> list[tuple[str, str | None]]:
    """Return the array and the dependency of each script that was submitted."""
    text = asked.read_text()
    found = [re.findall(rf"^#SBATCH --{key}=(.*)$", text, re.M) for key in ("job-name", "array")]
    after = {part.split("\n")[0]: re.search(r"--dependency=afterany:(.*)", part)
             for part in text.split("#SBATCH --job-name=")[1:]}  # fmt: skip
    return [(array, after[name] and after[name][1])
            for name, array in zip(*found, strict=True)]  # fmt: skip


def test_a_sweep_is_split_into_arrays_and_its_script_reads_as_it_was_typed(
    run_cli, stub, tmp_path, monkeypatch
):
    stub("scontrol", "echo 'MaxArraySize            = 3'")
    stub("sbatch", "cat $2 >> asked; n=$(grep -c job-name asked); echo $((4710 + n))")
    words = [*SMALL, "recipe.lr=0.05,0.1", "seeds=[0,1,2,3]"]
    table = ("0-0", "4711:4712:4713")  # after all others
    for at_once, expected in (
        (None, [("0-2", None), ("0-2", None), ("0-1", None), table]),
        # Two arrays share what runs at once, the third follows the first.
        (2, [("0-2%1", None), ("0-2%1", None), ("0-1%1", "4711"), table]),
        (5, [("0-2%2", None), ("0-2%2", None), ("0-1%1", None), table]),
    ):
        (tmp_path / "asked").unlink(missing_ok=True)
        (tmp_path / "results/runs/slurm/jobs.json").unlink(missing_ok=True)
        asked = run_cli("submit", *words, *([f"cluster.at_once={at_once}"] if at_once else []))
        assert asked.code == 0, asked.err
        assert "8 to submit" in asked.out
        assert re.search(r"job 4711_0: ResNet-8-seed0-\w+ \(ResNet-8 recipe.lr=0.05\)\n", asked.out)
        progress = shlex.split(asked.out.split("Progress: `")[1].split("`")[0])
        assert progress[:2] == ["resnet-repro", "status"]
        assert {*progress[2:]} == {*words}
        assert arrays(tmp_path / "asked") == expected
    script = tmp_path / "results/runs/slurm/quickstart-sweep-recipe.lr"
    script = next(script.parent.glob(f"{script.name}*-2.sh"))
    assert cases(script) == [f"'row=ResNet-8 recipe.lr={lr}' 'seeds=[{seed}]'"
                             for lr, seed in ((0.05, 3), (0.1, 0), (0.1, 1))]  # fmt: skip
    (line,) = [line for line in script.read_text().splitlines() if "-m resnet_repro" in line]
    assert "recipe.lr=0.05,0.1" in line and "sweep" not in line

    # As the job does: the run of the row alone; the table is another job's.
    assert "\nexport RESNET_REPRO_LEAVES_TABLE=1\n" in script.read_text()
    last = next(script.parent.glob("quickstart-sweep-*-table.sh"))
    assert "export" not in last.read_text()
    job = [*shlex.split(line.split("resnet_repro ")[1]), *shlex.split(cases(script)[1])]
    job = [word for word in job if word not in ("$@", "&", "\\")]
    monkeypatch.setenv("RESNET_REPRO_LEAVES_TABLE", "1")
    done = run_cli(*job)
    assert done.code == 0, done.err
    assert "a job after all others writes the table" in done.out
    assert not [*(tmp_path / "results/quickstart").glob("*/table.csv")]
    (run,) = (tmp_path / "results/runs").glob("*-seed*")
    (session,) = json.loads((run / "environment.json").read_text())
    command = shlex.split(session["command"])
    assert {"recipe.lr=0.05,0.1", "row=ResNet-8 recipe.lr=0.1"} <= {*command}
    monkeypatch.delenv("RESNET_REPRO_LEAVES_TABLE")
    assert run_cli(*job).code == 0
    (table,) = (tmp_path / "results/quickstart").glob("sweep-recipe.lr*/table.csv")
    assert "\nResNet-8,0.1," in table.read_text()


def test_many_runs_are_summed_up_cancelled_and_their_reasons_told(run_cli, stub, tmp_path):
    stub("sbatch", "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n; echo $((4711 + n))")
    words = [*SMALL[:1], "row=[ResNet-8,plain-8]", "seeds=range(0,30)"]
    words[2] = f"seeds=[{','.join(map(str, range(30)))}]"
    large = ("cluster.gpus=4", "cluster.cpus=32", "cluster.memory=200G", "cluster.partition=gpu")
    submitted = run_cli("submit", *words, *large)
    assert "jobs 4711_[0-59]: " in submitted.out
    assert "job 4712_0: the table, when all have ended" in submitted.out
    text = (tmp_path / "results/runs/slurm/quickstart-table.sh").read_text()
    assert "#SBATCH --dependency=afterany:4711\n" in text and "mode=table" in text
    small = {"gres=gpu:1", "cpus-per-task=8", "mem=4G", "time=00:30:00", "partition=gpu"}
    assert small <= set(re.findall(r"^#SBATCH --(.*)$", text, re.M))
    assert "'row=[ResNet-8,plain-8]' 'seeds=[0,1," in text  # the table that was asked for
    queue = [f"4711_{n}|{'RUNNING' if n < 2 else 'PENDING'}|None" for n in range(40)]
    stub("squeue", "\n".join(f"echo '{line}'" for line in queue))
    (tmp_path / "results/runs/slurm/4711_41.log").write_text(END)
    summed = run_cli("status", *words)
    assert re.search(r"\| plain-8 +\| +30 \| +30 \| +0 \| +0 % \|", summed.out), summed.out
    assert re.search(r"\| ResNet-8 +\| +30 \| +10 \| +20 \|", summed.out)
    assert "1 run: job 4711_41 ended: slurmstepd: error: oom_kill" in summed.out
    stub("sacct", "echo '4711_41|OUT_OF_MEMORY|0:125'; echo '4711_42|FAILED|3:0'")
    waiting = run_cli("status", *words, "state=waiting")
    assert waiting.out.count("\n") == 22
    assert re.search(r"waiting: job 4711_41 ended: OUT_OF_MEMORY ", waiting.out)
    assert re.search(r"waiting: job 4711_42 ended: FAILED, exit code 3 ", waiting.out)
    found = json.loads(run_cli("status", *words, "format=json").out)
    assert len(found["runs"]) == 60
    plain, residual = found["rows"]
    assert (plain["queued"], plain["waiting"]) == (30, 0)
    assert (residual["queued"], residual["waiting"]) == (10, 20)
    assert "no state quued: did you mean queued?" in run_cli("status", *words, "state=quued").err
    assert "state= works with status, cancel, logs" in run_cli(*words, "state=failed").err

    logs = run_cli("logs", *words[:1], "row=ResNet-8", "seeds=11")
    assert "4711_41.log:\n    starts\n    slurmstepd: error: oom_kill" in logs.out
    (id,) = [run["id"] for run in found["runs"] if (run["row"], run["seed"]) == ("ResNet-8", 11)]
    assert run_cli("logs", id).out == logs.out
    assert run_cli("logs", f"results/runs/{id}/").out == logs.out
    assert "no run in results/runs has an id that begins with X" in run_cli("logs", "X").err
    assert "these are 60 runs: select 20 at most" in run_cli("logs", *words).err
    assert run_cli("logs", *words, "state=failed").out == "no selected run is failed\n"

    stub("scancel", 'echo "$@" >> cancelled')
    ended = run_cli("cancel", *words[:1], "row=plain-8", "seeds=[1,3,4,5]")
    assert "4 jobs cancelled, 1 of them running: 4711_1, 4711_3, 4711_4, 4711_5" in ended.out
    assert run_cli("cancel", *words, "state=running").out == "no queued job trains these runs\n"
    assert (tmp_path / "cancelled").read_text() == "4711_[1,3-5]\n"


def test_a_job_that_also_trains_others_is_kept(run_cli, stub, tmp_path, monkeypatch):
    stub("sbatch", "echo 4711")
    stub("scancel", "echo called >> cancelled")
    stub("squeue", "echo '4711_0|PENDING|None'")
    words = [*SMALL, "seeds=[0,1]"]
    assert run_cli("submit", *words, "cluster.seeds_per_job=2").code == 0
    assert "job 4711_0 was kept" in run_cli("cancel", *SMALL, "seeds=0").out
    assert not (tmp_path / "cancelled").exists()
    assert "1 job cancelled, 0 of them running: 4711_0" in run_cli("cancel", *words).out
    # One of its runs is done meanwhile: the others are asked for by their state.
    assert run_cli(*SMALL, "seeds=[0]").code == 0
    assert "1 job cancelled" in run_cli("cancel", *words, "state=queued").out
    monkeypatch.setenv("PATH", "/nowhere")  # of a machine that sees the results, and no more
    for verb, code in (("status", 0), ("cancel", 1)):
        asked = run_cli(verb, *words)
        assert (asked.code, "there is no squeue here" in asked.err) == (code, True)
        assert "ended" not in asked.out


@pytest.mark.parametrize(
    ("step", "is_late", "asked", "code"),
    [
        ("exit 0", False, [], 0),
        ("exit 1", False, [], 1),
        # Stopped by SLURM, which decides.
        ("exit 130", False, ["sleep 3600"], 130),
        ("exit 143", False, ["sleep 3600"], 143),
        # The time is nearly up, and it saved; or SLURM ended others beside it; or it was done.
        (f"trap 'exit 130' TERM; {WAIT}", True, ["requeue 7_2"], 0),
        (f"trap 'exit 143' TERM; {WAIT}", True, ["requeue 7_2"], 0),
        (f"trap 'exit 0' TERM; {WAIT}", True, [], 0),
        # It did not save in time.
        (f"trap '' TERM; {WAIT}", True, ["requeue 7_2"], 0),
    ],
)
def test_the_script_of_a_job_that_is_not_done_comes_back(
    stub, tmp_path, step, is_late, asked, code
):
    stub("srun", f'echo "$@" > srun-asked; {step}')
    # A shell's background processes cannot trap SIGINT; SLURM's are not the shell's.
    stub("scancel", '[ "$*" = "--signal=INT 7_2" ] && kill -TERM $(cat step)')
    stub("scontrol", 'echo "$@" >> asked')
    stub("sleep", 'if [ $1 -gt 1 ]; then echo "sleep $1" >> asked; else /bin/sleep 0.02; fi')
    elements = [Element((f"row={n}",), ()) for n in ("a", "b", "row of three")]
    script = tmp_path / "job.sh"
    script.write_text(script_text("t", ClusterConfig(), elements, ["experiment=x"], tmp_path))
    environ = {**os.environ, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    process = subprocess.Popen(["bash", script], cwd=tmp_path, env=environ, start_new_session=True)
    try:
        if is_late:
            wait(lambda: (tmp_path / "step").is_file() and (tmp_path / "step").read_text())
            process.send_signal(signal.SIGUSR1)
        assert process.wait(PATIENCE) == code
    finally:
        with suppress(ProcessLookupError):  # a step that did not end
            os.killpg(process.pid, signal.SIGKILL)
    words = (tmp_path / "srun-asked").read_text().split(" -m resnet_repro ")[1]
    assert words == "experiment=x row=row of three\n"
    log = tmp_path / "asked"
    assert (log.read_text().splitlines() if log.is_file() else []) == asked


def test_what_slurm_refuses_is_said_and_the_script_stays(run_cli, stub, tmp_path, monkeypatch):
    stub("sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    refused = run_cli("submit", *SMALL, "cluster.partition=nowhere")
    assert refused.code == 1
    assert refused.err.splitlines() == [
        "resnet-repro: sbatch: error: invalid partition specified: nowhere",
        "The batch script is results/runs/slurm/quickstart.sh",
    ]
    monkeypatch.setenv("PATH", "/nowhere")
    assert "there is no sbatch here: use a machine of the cluster" in run_cli("submit", *SMALL).err
    stub("sbatch", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for words, message in (
        (["cluster.time=86400"], "cluster.time=86400: must be [DAYS-]HOURS:MINUTES:SECONDS"),
        (["cluster.time=00:05:00"], "must be at least"),
        (["cluster.nodes=2", "cluster.gpus=3"], "cluster.cpus=8: must be a multiple of 3"),
        (["cluster.options={array: 3}"], "array is set by `submit`"),
        (["cluster.gpu=3"], "there is no setting cluster.gpu: did you mean gpus?"),
        (["-m"], "submit queues all runs of an experiment by itself: leave out -m"),
    ):
        assert message in run_cli("submit", *SMALL, *words).err
    assert not (tmp_path / "results/runs/slurm/jobs.json").exists()
