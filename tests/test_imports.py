"""Imports run one way: down the list of the packages, and in no circle within one.

Test modules import from the package and from `tests.support`, never from one another.
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import resnet_repro

# Lowest first. A package may import from those above its own line only.
LEVELS = [
    ["errors", "files", "machine", "strict_json", "visible"],
    ["process", "text", "plugins", "kernels"],
    ["settings", "distributed"],
    ["plan", "models"],
    ["records", "data"],
    ["detection"],
    ["engine", "judge"],
    ["bench"],
    ["report"],
    ["cost"],
    ["launch"],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
PACKAGE = Path(resnet_repro.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def package(name: str) -> str:
    return name.split(".")[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """Return the modules of ours that one imports, at its top or inside of functions."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner.partition(".")[2] in MODULES else str(node.module))
    return {name.partition(".")[2] for name in names if package(name) == "resnet_repro"} - {""}


def test_packages_import_from_the_levels_below_only():
    assert {package(name) for name in MODULES} - {""} == LEVEL.keys()
    upward = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imported(path)
        if name
        and package(other) != package(name)
        and LEVEL[package(other)] >= LEVEL[package(name)]
    ]
    assert not upward


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter({name: imported(path) for name, path in MODULES.items()}).prepare()


def reached_at_once(start, heavy):
    """Return the modules imported with others, and those of them that import what is heavy."""
    seen, todo, found = set(), list(start), []
    while todo:
        name = todo.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        for node in tree(MODULES[name]).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                of = getattr(node, "module", None) or node.names[0].name
                if package(of) in heavy:
                    found.append(name)
                if package(of) == "resnet_repro":
                    inner = of.partition(".")[2]
                    names = [f"{inner}.{alias.name}" for alias in node.names]
                    todo += [inner, package(inner), *names]
    return seen, found


def test_help_and_table_do_not_wait_for_torch():
    """What the command line imports before its verb is known, and all of `report`, has no torch."""
    report = [name for name in MODULES if package(name) == "report"]
    seen, heavy = reached_at_once(["cli.main", *report], ("torch", "torchvision"))
    assert not heavy
    assert {"plan", "records.results", "judge.claims"} <= seen


def test_runs_that_need_no_torchvision_do_not_wait_for_it():
    """It takes seconds, in every process that trains, and in the one that starts them."""
    seen, heavy = reached_at_once(["launch.local"], ("torchvision",))
    assert not heavy
    assert {"engine.train", "data"} <= seen


def test_no_test_module_imports_another():
    """What several of them need is in `tests.support`."""
    tests = Path(__file__).parent
    found = []
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            tops = {tuple(name.split(".")[:2]) for name in names}
            tops = {top for top in tops if top[0] in ("tests", "conftest") or "test_" in top[0]}
            if tops - {("tests", "support")}:
                found.append(f"{path.relative_to(tests)}: {ast.unparse(node)}")
    assert not found
