"""The output of `--help`: a page on the program, and one on each verb."""

from collections.abc import Sequence
from typing import NamedTuple

from resnet_repro.cli.output import FORMATS
from resnet_repro.errors import UserError, nearest
from resnet_repro.settings.groups import folders, groups, options


class Page(NamedTuple):
    """A verb's usage, a one-line description, and the rest of its help page."""

    usage: str
    does: str
    page: str


SELECT = """\
  row=ROW               one row, or several: 'row=[ResNet-20,ResNet-32]' (default: all rows)
  seeds=N               seed N alone; 'seeds=[0,1,2]' is three seeds (default: the table's own)
"""
RESULTS = "  results=DIR           the folder of all results (default: results)\n"

HELP_PAGES = {
    "list": Page("", "list experiments and progress", f"""\
Each experiment is one table or figure of a paper. `runs done here` counts the finished
runs in results/runs, `recorded` those in results/NAME/records.json, and `published`
those that come with the program.

{RESULTS}\
  --config-dir DIR      list the experiments in DIR/experiment too

  resnet-repro
  resnet-repro list --config-dir mine
"""),
    "run": Page("experiment=NAME", "run what is missing and write the table", f"""\
`run` can be left out. Finished runs are skipped; run the same command again to
resume. Ctrl-C saves a checkpoint and stops.

{SELECT}\
  budget=8h             run only what fits into that time, chosen to decide the most claims
                        (30s, 90min, 8h, 2d)
{RESULTS}\
  data.root=DIR         where the data is (default: RESNET_REPRO_DATA, else data)
  compute.device=DEVICE auto, cpu, cuda, cuda:1 or mps (default: auto)
  recipe.precision=P    fp32, bf16 or tf32 (default: fp32)
  SECTION.KEY=VALUE     any other setting; `resnet-repro experiment=NAME --cfg job` shows them

  resnet-repro experiment=quickstart
  resnet-repro experiment=cifar_depth row=ResNet-20 seeds=0
  resnet-repro experiment=cifar_depth recipe.iterations=1500 'recipe.lr_drops=[750,1125]'
"""),
    "plan": Page("experiment=NAME", "list what would run and how long it takes", f"""\
Each run with its layers, parameters, memory, disk and time on this machine. It
trains nothing; networks are timed once, and results/calibration.json keeps the times.

{SELECT}\
  budget=8h             choose runs for that time and list what is left out
{RESULTS}
  resnet-repro plan experiment=cifar_depth
  resnet-repro plan experiment=cifar_plain budget=8h
  resnet-repro plan experiment=preact_depth row=ResNet-1001 compute.recompute=10
"""),
    "verify": Page("[experiment=NAME] | DIR...", "check networks, or tables against records", """\
Without a folder: check layers, parameters and multiply-adds of every row against
the paper and against exact counts. With folders: check that the tables in them
match their records. The exit code is 1 if something differs.

  experiment=NAME       one experiment (default: all)
  row=ROW               one row of it (default: all rows)
  DIR                   a folder of results; its name may contain =

  resnet-repro verify experiment=cifar_depth
  resnet-repro verify results
"""),
    "submit": Page("experiment=NAME", "queue what is missing as SLURM jobs", f"""\
Queues a job for each missing run that is not already queued, and returns. A job
that reaches its time limit saves a checkpoint and is requeued. A last job writes
the table.

{SELECT}\
  cluster.partition=P   (default: the cluster's own)
  cluster.account=A     (default: the cluster's own)
  cluster.time=T        time limit of a job, HOURS:MINUTES:SECONDS (default: 24:00:00)
  cluster.gpus=N        GPUs of each machine of a job (default: 1)
  cluster.cpus=N        CPU cores of each machine (default: 8)
  cluster.nodes=N       machines of a job (default: 1)
  cluster.at_once=N     most jobs that run at the same time (default: no limit)
  cluster.seeds_per_job=N  seeds of a row that share a job (default: 1)
  'cluster.options={{qos: long}}'  other options of sbatch
{RESULTS}
  resnet-repro submit experiment=cifar_depth cluster.partition=gpu cluster.time=08:00:00
  resnet-repro submit experiment=cifar_depth 'seeds=[0,1,2,3,4]' cluster.seeds_per_job=5
"""),
    "status": Page("experiment=NAME", "show the progress of each run, and its job", f"""\
Each run's state, iteration, speed and time left; for more than 50 runs, the number
of runs in each state, by row. The states: done; diverged (the loss became infinite or
NaN); trained (not tested yet); running; queued (as a job); waiting (not started);
stopped (saved, can be resumed); failed (ended by an error, is tried again); damaged (a
file cannot be read).

{SELECT}\
  state=STATE           only runs in a state, or several: 'state=[failed,diverged]'
{RESULTS}
  resnet-repro status experiment=cifar_depth
  resnet-repro status experiment=cifar_depth row=ResNet-110
"""),
    "cancel": Page("experiment=NAME", "cancel jobs in the queue", f"""\
Takes the jobs of the selected runs out of SLURM's queue. Those that are running
save a checkpoint and stop; submit again to resume. Jobs of other runs stay.

{SELECT}\
  state=STATE           only runs in a state: queued or running
{RESULTS}
  resnet-repro cancel experiment=cifar_depth
  resnet-repro cancel experiment=cifar_depth row=ResNet-110 state=queued
"""),
    "logs": Page("RUN | experiment=NAME", "show the end of logs of runs and their jobs", f"""\
RUN is a run's id, or the beginning of one, as `status` shows it.

{SELECT}\
  state=STATE           only runs in a state: failed, stopped, running
{RESULTS}
  resnet-repro logs ResNet-20-seed0
  resnet-repro logs experiment=cifar_depth state=failed
"""),
    "table": Page("experiment=NAME", "print the table of recorded results", f"""\
Works with an unfinished table too. The table and its pictures are also written to
results/NAME.

{SELECT}\
{RESULTS}
  resnet-repro table experiment=cifar_depth
  resnet-repro table experiment=cifar_depth format=csv > table.csv
"""),
    "report": Page("", "write all recorded tables and pictures to one HTML page", f"""\
The page is results/report.html, a self-contained file. It has each experiment
with records: its tables, claims, pictures, and the runs behind them.

{RESULTS}\
  --config-dir DIR      include the experiments in DIR/experiment

  resnet-repro report
  resnet-repro report results=elsewhere
"""),
    "explain": Page("experiment=NAME", "show where each number comes from", f"""\
The paper's number; our runs with their settings, code, machine and weights; and
the numbers on which the verdict is based.

{SELECT}\
{RESULTS}
  resnet-repro explain experiment=cifar_depth row=ResNet-110
"""),
    "compare": Page("DIR DIR...", "compare folders of results, row by row", """\
Prints each table with a column of errors for each folder, the differences from
the first folder with their intervals, and what else differs: settings, versions,
machines. DIR is a folder of results (`results`), a folder of one table
(`results/cifar_depth`), a records.json, or a tar or zip file of those. NAME=DIR
gives it a name; else the name is the end of its path.

  resnet-repro compare results results/published
  resnet-repro compare mine=results cluster=/scratch/results lab=lab.tar.gz format=csv
  resnet-repro compare results/cifar_depth results/cifar_depth/changed-recipe.lr=0.05
"""),
    "collect": Page("FOLDER... | pack=FILE", "merge the results of other machines into yours", f"""\
Merges the results of other machines into the ones here, run by run: new runs are
copied, runs that got further there are updated. A run is never replaced by another
training of it: that is a conflict, and the exit code is 1.

  FOLDER                results of another machine: a folder, mounted or copied by
                        rsync; or packed: .tar, .tar.gz or .zip
  with_weights=true     with the last checkpoint of each run, to resume or test it here
  pack=FILE.tar.gz      pack the results that are here, for `collect FILE.tar.gz` there
{RESULTS}
  resnet-repro collect cluster/results rented.tar.gz
  resnet-repro collect pack=rented.tar.gz with_weights=true
"""),
    "evaluate": Page("experiment=NAME [evaluation=OPTION]", "test runs with another protocol", f"""\
Tests the finished runs with another protocol, trains nothing, and prints the table.

  evaluation=OPTION     one_crop, ten_crop, multi_scale; single_view for small images;
                        boxes, coco_boxes for detectors (default: the experiment's own)
{SELECT}\
{RESULTS}
  resnet-repro evaluate experiment=imagenet_depth evaluation=multi_scale
"""),
    "import": Page("weights=FILE", "test weights that torchvision published", f"""\
FILE has the weights of one of torchvision's ResNets or ResNeXts or of its vgg16; which
network it is, is read from the file.

  weights=FILE          the .pth file
  data=OPTION           the data set (default: imagenet)
  data.root=DIR         where the data is (default: RESNET_REPRO_DATA, else data)
  evaluation=OPTION     one_crop, ten_crop or multi_scale (default: one_crop)
{RESULTS}
  resnet-repro import weights=resnet50-0676ba61.pth data.root=ROOT evaluation=ten_crop
"""),
    "bench": Page("[experiment=NAME]", "measure the training speed of each option", f"""\
Times a conventional training loop, ours with each option, and the hardware's
lower bound, in images per second. The result is added to results/benchmarks.

  experiment=NAME       (default: cifar_depth)
  row=ROW               a row of it (default: ResNet-20, ResNet-56 and ResNet-110)
  recipe.precision=P    fp32, tf32 or bf16 (default: each that the device has)
{RESULTS}
  resnet-repro bench
  resnet-repro bench experiment=cifar_depth row=ResNet-1202
"""),
}  # fmt: skip

MORE = "`resnet-repro --help` lists experiments and other groups, `--cfg job` shows all settings.\n"

HELP = """\
The tables of the ResNet papers, runnable.

{verbs}
  resnet-repro VERB --help              a verb's options, with examples

Select          row=ResNet-110  'row=[ResNet-20,ResNet-32]'  'seeds=[0,1,2]'  seeds=3 (seed 3 alone)
                budget=8h (30s, 90min, 2d): run only what fits into that time, chosen to
                decide the most claims
Other settings  recipe.iterations=1500  recipe.precision=bf16  compute.device=cpu
                data.root=DIR (or RESNET_REPRO_DATA=DIR)  results=DIR
                cluster.partition=NAME  cluster.time=08:00:00  cluster.gpus=8
                format=json: one JSON document on stdout, for scripts
Several values  recipe.lr=0.05,0.1  model.shortcut=A,B,C  recipe.lr=range(...): a sweep, one table
                with a row per value, compared with the experiment's own or baseline=VALUE;
                sweep=NAME runs one that is kept in conf/sweep
Hydra's flags   --cfg job shows all settings, --config-dir DIR adds your own experiments;
                see --hydra-help for more
Tab completion  eval "$(resnet-repro -sc install=bash)"

Groups (GROUP=OPTION)
{groups}"""


def asked_help(words: Sequence[str]) -> str | None:
    """Return the help that a command line asks for; None if it asks for none."""
    is_first = words[:1] == ["help"]
    if not is_first and not {"--help", "-h"} & {*words}:
        return None
    verb = next((word for word in words[is_first:] if word in HELP_PAGES), None)
    if verb:
        return _page(verb)
    if is_first and len(words) > 1 and words[1].isalpha():
        raise UserError(f"there is no verb {words[1]}{nearest(words[1], HELP_PAGES)}")
    lines = [_line(verb) for verb in HELP_PAGES]
    where = folders(words)
    there = {group: options(group, where) for group in groups()}
    found = [f"  {group:12}{', '.join(names)}\n" for group, names in there.items() if names]
    return HELP.format(verbs="".join(lines).rstrip("\n"), groups="".join(found))


def _usage(verb: str) -> str:
    word = {"list": "[list]", "run": ""}.get(verb, verb)
    return " ".join(filter(None, ["resnet-repro", word, HELP_PAGES[verb].usage]))


def _line(verb: str) -> str:
    usage = _usage(verb)
    gap = " " if len(usage) <= 37 else f"\n{' ' * 40}"
    return f"  {usage:37}{gap}{HELP_PAGES[verb].does}\n"


def _page(verb: str) -> str:
    about = HELP_PAGES[verb]
    options, example, examples = about.page.partition("\n  resnet-repro")
    if verb in FORMATS:
        *others, last = FORMATS[verb]
        gap = "" if "\n  " in options or options.startswith("  ") else "\n"
        options += f"{gap}  format=FORMAT         {', '.join(others)} or {last} (default: md)\n"
    page = f"{options}{example}{examples}"
    return f"{_usage(verb)}\n\n{about.does[0].upper()}{about.does[1:]}.\n{page}\n{MORE}"
