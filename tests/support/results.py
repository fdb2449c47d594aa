"""Results that no run gave, and the cells of their tables."""

from resnet_repro.cost import calibration
from resnet_repro.engine.device import num_threads
from resnet_repro.records import Record
from resnet_repro.records.archive import Result
from resnet_repro.records.results import write_records
from resnet_repro.records.runs import run_folder
from tests.support.plans import plan

SESSION = {
    "started": "2026-01-02T03:04:05+00:00",
    "resnet_repro": "0.1.0",
    "command": "resnet-repro experiment=cifar_depth",
    "commit": "0123456789abcdef",
    "dirty": False,
    "torch": "2.15.0",
    "cpu": "a CPU, 2 cores",
    "device": "cpu",
    "num_train": 50000,
}


def result(row, seed=0, test_error=8.9, **fields):
    id, last = row.run(seed).id, row.config.recipe.iterations
    values = {
        "state": "finished",
        "iteration": last,
        "train_error": 1.5,
        "reason": None,
        "seconds": 7200.0,
        "weights": f"sha256 of {id}",
        "train_curve": [(last // 64, 50.0), (last, 1.5)],
        "test_curve": [(last // 64, 55.0), (last, test_error or 90.0)],
        "sessions": [SESSION],
    }
    values["evaluations"] = {} if test_error is None else {"single_view": counts(test_error)}
    return Result(id=id, row=row.name, seed=seed, **{**values, **fields})


def counts(error, top5=None):
    found = {"num_errors": round(500 * error), "num_images": 50000}
    return found if top5 is None else {**found, "num_errors_top5": round(500 * top5)}


def error_of(result):
    return result.error("single_view")


def results_of(made, **each):
    """results_of(plan, ResNet_20=[8.9]): one result per error, seeds from 0."""
    rows = {row.name: row for row in made.rows}
    named = {name.replace("_", "-"): errors for name, errors in each.items()}
    return {
        name: [result(rows[name], seed, error) for seed, error in enumerate(errors)]
        for name, errors in named.items()
    }


def write_table(results, experiment, *words, **errors):
    """Write records of an experiment's rows below a folder of results; return their file."""
    made = plan(experiment, f"results={results}", *words)
    return write_records(made, results_of(made, **errors))


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def the_run(made):
    """Return the folder of the only run of a plan that has one."""
    (folder,) = (made.results / "runs").glob("*-seed*")
    return folder


def record_run(made, run, seconds=None, iteration=500, speed=50.0, **machine):
    """Record a run on this chip, as far as an iteration; finished where it took `seconds`."""
    record = Record(run_folder(run, made.results))
    record.folder.mkdir(parents=True)
    here = {"device": "cpu", "cpu": calibration.cpu_name(), "processes": 1}
    here["threads"] = num_threads(run.config.compute)
    record.add_session({**SESSION, **here, **machine})
    counts = {"num_errors": 1, "num_images": 10}
    record.append("train", iteration, loss=1.0, lr=0.1, images_per_second=speed, **counts)
    record.note_saved(iteration)
    if seconds is not None:
        record.add_evaluation("single_view", **counts)
        record.append("finished", iteration, seconds=seconds, weights="ab")


SIGMA = 0.2  # between runs of CIFAR-10 networks, points; [He15] prints 0.16 for ResNet-110
