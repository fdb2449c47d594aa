"""What identifies a plugin's code: a digest of its files."""

import ast
import site
import sysconfig
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import resnet_repro

CHARACTERS = 12  # of a digest


def digest(module: ModuleType) -> str:
    """Return the digest of a plugin's Python files: SHA-256 over their names and bytes, shortened.

    - A module in a package: all `.py` files of the top-level package.
    - A file, or a module of one file: that file.
    - If it is not among the installed packages, also what these files import from the folder next
      to it, likewise, and what that imports in turn. Imports by a computed name are not followed.

    What else the code depends on (installed packages, files of data) is not part of it. Any change
    to a file counts, also one of a comment.
    """
    root, files = _own_files(module)
    if not _is_installed(root):
        files = _with_imported(root, files)
    digests = sha256()
    for path in sorted(files):
        digests.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digests.update(sha256(path.read_bytes()).digest())
    return digests.hexdigest()[:CHARACTERS]


def _own_files(module: ModuleType) -> tuple[Path, set[Path]]:
    """Return the folder from which a module is imported, and its files."""
    assert module.__file__ is not None, "code that registers is in a file"
    path = Path(module.__file__)
    parts = module.__name__.split(".")
    is_package = path.stem == "__init__"
    if len(parts) == 1 and not is_package:
        return path.parent, {path}
    top = path.parents[len(parts) - 1 - (not is_package)]  # the top-level package's folder
    return top.parent, {*top.rglob("*.py")}


def _is_installed(root: Path) -> bool:
    paths = sysconfig.get_paths()
    installed = [paths["purelib"], paths["platlib"], paths["stdlib"], site.getusersitepackages()]
    return root.resolve() in [Path(each).resolve() for each in installed]


def _with_imported(root: Path, files: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    todo = list(files)
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            for name in _imports(path) - {resnet_repro.__name__}:
                todo += [each for each in (root / f"{name}.py",) if each.is_file()]
                todo += (root / name).rglob("*.py")
    return found


def _imports(path: Path) -> set[str]:
    """Return the top-level names that a file imports anywhere in it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, say; its bytes count all the same
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names
