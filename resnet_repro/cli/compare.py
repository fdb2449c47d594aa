"""The verb `compare`: what the folders have in common, side by side."""

import sys

from omegaconf import DictConfig

from resnet_repro.cli.compose import recorded_plans
from resnet_repro.cli.output import emit
from resnet_repro.errors import UserError
from resnet_repro.text import count
from resnet_repro.visible import visible


def compare(config: DictConfig) -> int:
    """Print the results of several folders side by side, row by row; 1 where some are left out."""
    from resnet_repro.records.archive import read_archive
    from resnet_repro.records.results import assign
    from resnet_repro.records.sources import find_sources
    from resnet_repro.report.compare import compare_tables
    from resnet_repro.report.compare_text import compared_text
    from resnet_repro.report.pairing import Recorded, pair

    sources = find_sources(config.folders)
    plans, broken = recorded_plans([file for source in sources for file in source.files])
    folders: dict[str, list[Recorded]] = {}
    for source in sources:
        files = [file for file in source.files if file.path in plans]
        if not files:
            raise UserError(broken[source.files[0].path])
        folders[source.name] = []
        for path, packed in files:
            results, others = assign(plans[path], read_archive(path, plans[path], packed).results)
            folders[source.name].append(Recorded(path, plans[path], results))
            if others:
                runs = count(len(others), "run")
                text = f"left out: {runs} of {path} whose settings are not the experiment's now"
                print(visible(text), file=sys.stderr)
    text = "".join(f"left out: {why}\n" for why in broken.values())
    print(visible(text), end="", file=sys.stderr)
    compared = [compare_tables(each) for each in pair(folders)]
    emit(config.format, compared, lambda each: compared_text(each, config.format))
    return 1 if broken else 0
