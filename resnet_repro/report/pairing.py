"""Which tables of several folders belong together, by what their records say of their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result


@dataclass(frozen=True)
class Recorded:
    """An experiment's results in one of the folders.

    Attributes:
        path: The file of records.
        plan: The experiment, with the settings of these records.
        results: The results by row.
    """

    path: Path
    plan: Plan
    results: Mapping[str, list[Result]]

    @property
    def table(self) -> str:
        """Experiment and settings, as the folder of such a table is named: `quickstart`."""
        return str(self.plan.folder.relative_to(self.plan.results))


def pair(folders: Mapping[str, Sequence[Recorded]]) -> list[dict[str, Recorded | None]]:
    """Return what is to be compared: tables of the same experiment and settings.

    Folders that have one table each are compared whatever its settings.

    Args:
        folders: The tables of each folder, by its name.

    Returns:
        The table of each folder, None where it has none. What a single folder has comes last.

    Raises:
        UserError: There is nothing to compare, or a table with itself.
    """
    if all(len(tables) == 1 for tables in folders.values()):
        pairs: list[dict[str, Recorded | None]] = [{name: t[0] for name, t in folders.items()}]
        of = {name: tables[0].plan.name for name, tables in folders.items()}
        if len(set(of.values())) > 1:
            listed = ", ".join(f"{name} of {experiment}" for name, experiment in of.items())
            raise UserError(f"{listed}: compare results of one experiment")
    else:
        by_table = {name: _by_table(tables) for name, tables in folders.items()}
        keys = dict.fromkeys(key for tables in by_table.values() for key in tables)
        pairs = [{name: each.get(key) for name, each in by_table.items()} for key in keys]
        pairs.sort(key=lambda each: len(_present(each)) < 2)
        if len(_present(pairs[0])) < 2:
            raise UserError("the folders have no experiment with the same settings in common")
    for each in pairs:
        _refuse_same_file(_present(each))
    return pairs


def _by_table(tables: Sequence[Recorded]) -> dict[str, Recorded]:
    """Return the tables of a folder; raise a UserError if two are of the same settings."""
    found: dict[str, Recorded] = {}
    for each in tables:
        known = found.setdefault(each.table, each)
        if known is not each:
            raise UserError(
                f"{known.path} and {each.path} are of the same settings: name one of them"
            )
    return found


def _present(tables: Mapping[str, Recorded | None]) -> dict[str, Recorded]:
    return {name: each for name, each in tables.items() if each}


def _refuse_same_file(tables: Mapping[str, Recorded]) -> None:
    names: dict[Path, str] = {}
    for name, each in tables.items():
        other = names.setdefault(each.path.resolve(), name)
        if other != name:
            raise UserError(f"{other} and {name} both have {each.path}: a table is compared with "
                            f"another one")  # fmt: skip
