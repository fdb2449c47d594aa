"""Importing the code that a command line names: a module, or a file."""

import importlib
import re
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

import resnet_repro
from resnet_repro.errors import UserError, shortage

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
PREFIX = "resnet_repro_plugin_"  # of the names that files are imported under
# Frames that are left out of a user's traceback: torch's and ours.
TORCH_FRAME = re.compile(r"<|.*[/\\](site|dist)-packages[/\\]torch[/\\]")
OUR_FOLDER = str(Path(resnet_repro.__file__).parent)

_imported: set[str] = set()  # modules next to plugins, which these imported
_earlier: set[str] = set()  # modules that earlier calls of `load` imported
_now: set[str] = set()
_folders: list[str] = []  # that were added to Python's search path
_searched: set[Path] = set()  # these, and those that it had


class _Uncached(SourceFileLoader):
    """Compiles what a file holds now; kept bytecode may be older than an edit in this second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def begin() -> None:
    """Forget what was imported before: it is imported again when it is named again."""
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()
    _earlier.update(_now)
    _now.clear()
    for folder in _folders:
        if folder in sys.path:
            sys.path.remove(folder)
    _folders.clear()
    _searched.clear()
    importlib.invalidate_caches()


def absolute(plugin: str) -> str:
    """Return a plugin as another process finds it, whatever its working directory."""
    return str(_path(plugin)) if _is_file(plugin) else plugin


def import_plugin(plugin: str) -> tuple[ModuleType, bool]:
    """Import a module or a file, and return it and whether its code ran now.

    The working directory, and the folder of a file, are searched after the installed packages.

    Raises:
        UserError: It does not exist, or fails; the message names the line.
    """
    known = set(sys.modules)
    try:
        if _is_file(plugin):
            return _import_file(_path(plugin)), True
        return _import_module(plugin)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{plugin}.".startswith(f"{error.name}."):
            there = f"; the file is plugins={plugin}.py" if Path(f"{plugin}.py").is_file() else ""
            raise UserError(f"there is no module {error.name}{there}") from error
        raise UserError(f"it cannot be imported: {in_line(error)}") from error
    except Exception as error:
        if shortage(error):
            raise
        raise UserError(f"it cannot be imported: {in_line(error)}") from error
    finally:
        _imported.update(filter(_is_next_to_a_plugin, sys.modules.keys() - known))


def _is_next_to_a_plugin(name: str) -> bool:
    """Return whether a module is of files that its plugin's digest may cover."""
    spec = getattr(sys.modules[name], "__spec__", None)
    is_ours = name.split(".")[0] == resnet_repro.__name__ or name.startswith(PREFIX)
    if is_ours or not isinstance(spec, ModuleSpec) or spec.name != name:
        return False
    folders = list(spec.submodule_search_locations or [])  # a package's; it need not have a file
    place = folders[0] if folders else spec.origin
    parents = Path(place).parents[name.count(".") :] if place else ()
    return bool(parents) and parents[0] in _searched


def _is_file(plugin: str) -> bool:
    return plugin.endswith(".py") or "/" in plugin or "\\" in plugin


def _path(plugin: str) -> Path:
    try:
        return Path(plugin).expanduser().absolute()
    except RuntimeError as error:  # of nobody's home
        raise UserError(f"{plugin}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        kind = "file" if path.suffix == ".py" else ".py file"
        raise UserError(f"there is no such {kind}: {path}")
    _search(path.parent)
    name = PREFIX + re.sub(r"\W", "_", path.stem)
    spec = spec_from_loader(name, _Uncached(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> tuple[ModuleType, bool]:
    if not MODULE.fullmatch(name):
        raise UserError("it is neither the name of a module nor a .py file")
    _search(Path.cwd())
    before, again = sys.modules.get(name), name in _earlier
    _earlier.discard(name)
    _now.add(name)
    if before is not None and again:
        return importlib.reload(before), True
    return importlib.import_module(name), before is None


def _search(folder: Path) -> None:
    _searched.add(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        _folders.append(str(folder))


def in_line(error: BaseException) -> str:
    """Return an error of the user's code in a line: its kind, its message, its file and line."""
    words = " ".join(str(error).split())
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if isinstance(error, SyntaxError):  # its message has them
        return text
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not (TORCH_FRAME.match(frame.filename) or frame.filename.startswith(OUR_FOLDER))
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
