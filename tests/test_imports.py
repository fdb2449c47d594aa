"""Imports run one way: down the list of DESIGN's levels."""

import ast
from pathlib import Path

import resnet_repro

# Lowest first. A module may import from the levels below its own only.
LEVELS = [
    [
        "",
        "data.decode",
        "data.images",
        "data.inputs",
        "data.order",
        "data.synthetic",
        "engine.energy",
        "engine.replay",
        "engine.responses",
        "engine.turns",
        "errors",
        "files",
        "folders",
        "machine",
        "models.layers",
        "report",
        "report.documents",
        "strict_json",
        "visible",
    ],
    [
        "answers",
        "cluster",
        "data.class_folders",
        "distributed",
        "engine.checkpoint",
        "models.shortcuts",
        "network",
        "process",
        "recipe",
        "report.style",
        "report.text",
        "schema",
        "started",
        "words",
    ],
    [
        "data.colour",
        "data.readers",
        "engine.optim",
        "engine.signals",
        "evaluation",
        "models.blocks",
        "peers",
        "records",
    ],
    [
        "config",
        "data.photos",
        "engine.schedule",
        "jobs",
        "launch.together",
        "models.resnet",
        "report.imported",
    ],
    [
        "data.cifar",
        "data.feed",
        "data.folder",
        "data.imagenet",
        "experiment",
        "models",
        "models.published",
    ],
    [
        "data.stream",
        "engine.device",
        "groups",
        "models.complexity",
        "plan",
        "report.statistics",
        "shipped",
    ],
    [
        "command",
        "data",
        "engine.execution",
        "engine.log",
        "engine.usual",
        "expansion",
        "help",
        "report.archive",
        "report.verdicts",
        "setting_files",
    ],
    [
        "completion",
        "engine.environment",
        "engine.evaluate",
        "engine.floor",
        "engine.resume",
        "engine.step",
        "launch.batch",
        "mistakes",
        "report.claims",
        "report.folders",
        "report.outcomes",
        "report.remarks",
        "report.results",
    ],
    [
        "composition",
        "engine.apart",
        "engine.finished",
        "engine.imported",
        "engine.train",
        "launch.slurm",
        "report.changes",
        "report.published",
        "report.tables",
    ],
    [
        "engine.speed",
        "report.cells",
        "report.curves",
        "report.differences",
        "report.explain",
        "report.missing",
        "report.overview",
        "report.series",
    ],
    [
        "engine.fitting",
        "engine.ways",
        "report.calibration",
        "report.compare",
        "report.explained",
        "report.render",
        "report.sizes",
    ],
    ["engine.bench", "launch.failure", "report.estimates", "report.plots", "report.verify"],
    [
        "launch.side_by_side",
        "report.bench",
        "report.budget",
        "report.networks",
        "report.sections",
        "report.write",
    ],
    ["launch.local", "report.cost", "report.page", "report.publish"],
    ["verbs"],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
PACKAGE = Path(resnet_repro.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            of = node.module or ""
            names |= {
                f"{of}.{alias.name}" if f"{of}.{alias.name}"[13:] in LEVEL else of
                for alias in node.names
            }
    return {
        n.removeprefix("resnet_repro").lstrip(".") for n in names if n.startswith("resnet_repro")
    }


def test_every_module_has_a_level_and_imports_only_from_below():
    modules = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    assert modules.keys() == LEVEL.keys()
    upward = [
        f"{name} imports {other}"
        for name, path in modules.items()
        for other in imported(path)
        if LEVEL[other] >= LEVEL[name]
    ]
    assert not upward


def reached_at_once(start, heavy, without=()):
    """Return the modules imported with others, and those of them that import what is heavy."""
    seen, todo, found = set(), list(start), []
    while todo:
        name = todo.pop()
        if name in seen or name.startswith(without):
            continue
        seen.add(name)
        path = PACKAGE / (name.replace(".", "/") + ".py")
        path = path if path.is_file() else PACKAGE / name.replace(".", "/") / "__init__.py"
        if not path.is_file():  # a package without one
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                of = getattr(node, "module", None) or node.names[0].name
                if of.split(".")[0] in heavy:
                    found.append(name)
                if of.startswith("resnet_repro."):
                    inner = of.removeprefix("resnet_repro.")
                    todo += [inner, inner.rpartition(".")[0]]
    return seen, found


def test_help_and_table_do_not_wait_for_torch():
    """What the command line imports before its verb is known reaches no torch."""
    lazy = ("engine", "launch", "report.cost", "report.bench", "data", "models")
    seen, heavy = reached_at_once(["cli", "report"], ("torch", "torchvision"), lazy)
    assert not heavy
    assert "plan" in seen


def test_runs_that_need_no_torchvision_do_not_wait_for_it():
    """It takes seconds, in every process that trains, and in the one that starts them."""
    seen, heavy = reached_at_once(["launch.local"], ("torchvision",))
    assert not heavy
    assert {"engine.train", "data"} <= seen
