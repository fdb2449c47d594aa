"""The texts of a table's cells and claims, the same in every format."""

from collections.abc import Iterable, Sequence

from resnet_repro.judge.claims import Claim, Evidence
from resnet_repro.judge.measures import MEASURES, TEST, TOP5
from resnet_repro.judge.statistics import Aggregate, Interval
from resnet_repro.judge.verdicts import Verdict
from resnet_repro.report.tables import Line, Table
from resnet_repro.settings.experiment import PaperValues
from resnet_repro.settings.sweep import value_text
from resnet_repro.text import consecutive, count

NETWORK = "network"  # the first column; settings of a sweep follow it
TRAINING = "training error"


def measure_columns(keys: Sequence[str]) -> dict[str, tuple[str, str, str, str]]:
    """Return the columns of each measure: the paper's, ours, the difference, the verdict.

    Args:
        keys: The table's measures; the first one's difference and verdict bear no name.
    """
    found = {}
    for key in keys:
        name = MEASURES[key].column
        own = "" if key == keys[0] else f"{name} "
        found[key] = (f"paper {name}", f"our {name}", f"{own}difference", f"{own}verdict")
    return found


def _header(swept: Iterable[str], keys: Sequence[str]) -> list[str]:
    measured = [name for columns in measure_columns(keys).values() for name in columns]
    others = (TRAINING, "baseline difference", "baseline verdict", "seeds")
    return [NETWORK, *swept, "layers", "params", *measured, *others]


def _texts(line: Line, keys: Sequence[str]) -> list[str]:
    """Return the texts of a row, one for each column."""
    values = [value_text(each) for each in line.values.values()]
    if line.is_default and values:
        values[-1] += " (default)"
    return [
        line.network,
        *values,
        str(line.layers or ""),
        f"{line.params / 1e6:.2f}M" if line.params else "",
        *(text for key in keys for text in _measure_texts(line, key)),
        _bracketed(line, f"{line.train_error:.2f}" if line.train_error is not None else ""),
        *_contrast_texts(line),
        "" if line.cited else f"{_num_ended(line)}/{line.wanted}",
    ]


def _measure_texts(line: Line, key: str) -> tuple[str, str, str, str]:
    ours, verdict = line.measured(key).ours, line.measured(key).verdict
    text = _bracketed(line, cell_text(ours) if ours else "")
    if key == line.measure:
        text = "" if line.cited else _ours_text(line)
    paper = _paper_text(MEASURES[key].printed(line.paper))
    return paper, text, _difference_text(ours) if ours else "", verdict_text(verdict)


def _bracketed(line: Line, text: str) -> str:
    """Return a number of a shortened schedule in brackets, beside the cell that says so."""
    return f"({text})" if text and line.shortened else text


def _contrast_texts(line: Line) -> tuple[str, str]:
    if line.is_baseline:
        return "baseline", ""
    if line.contrast is None:
        return "", ""
    interval = line.contrast.verdict.interval
    return f"{interval.difference:+.2f}" if interval else "", verdict_text(line.contrast.verdict)


def line_texts(line: Line) -> list[tuple[str, str]]:
    """Return pairs of column name and text for a row."""
    keys = [line.measure, *([TOP5.key] if line.measure == TEST.key else []), *line.others]
    return list(zip(_header(line.values, keys), _texts(line, keys), strict=True))


def _num_ended(line: Line) -> int:
    return (line.ours.num_runs if line.ours else 0) + len(line.failed)


def _paper_text(paper: PaperValues) -> str:
    if paper.fail:
        return "fail"
    if paper.error_above is not None:
        return f"> {paper.error_above:g}"
    if paper.error is None:
        return ""
    return _with_spread(paper.error, paper.mean, paper.std, paper.decimals)


def _with_spread(value: float, mean: float | None, std: float | None, decimals: int = 2) -> str:
    text = f"{value:.{decimals}f}"
    if mean is None or std is None:
        return text
    return f"{text} ({mean:.{decimals}f} +- {std:.{decimals}f})"


def _ours_text(line: Line) -> str:
    marks = _marks(line.notes)
    if line.ours is None and not line.failed:
        return (f"{100 * line.progress:.0f} % done" if line.progress is not None else "-") + marks
    text = cell_text(line.ours) if line.ours else "fail"
    if line.ours and line.failed:
        good, bad = line.ours.num_runs, len(line.failed)
        text = f"fail, {good} of {good + bad}: {text}" if bad > good else f"{text}, {bad} fail"
    if line.shortened:
        text = f"({text} after {line.shortened[0]} of {line.shortened[1]} iterations)"
    return text + marks


def _marks(notes: tuple[int, ...]) -> str:
    """Return footnote marks; three or more consecutive ones as `[3-7]`."""
    return "".join(
        f" [{row[0]}-{row[-1]}]" if len(row) > 2 else "".join(f" [{number}]" for number in row)
        for row in consecutive(notes)
    )


def cell_text(cell: Aggregate) -> str:
    """Return `6.50 (6.70 +- 0.16)`, or the mean alone."""
    if cell.value is not None:
        return _with_spread(cell.value, cell.mean, cell.std)
    return f"{cell.mean:.2f}" + (f" +- {cell.std:.2f}" if cell.std is not None else "")


def _difference_text(ours: Aggregate) -> str:
    if ours.difference is None:
        return ""
    return f"{ours.difference:+.2f}" + (f" ({ours.compared})" if ours.compared else "")


def verdict_text(verdict: Verdict | None) -> str:
    """Return `undecided [-0.48, +0.78], 14 seeds would decide`; empty without a verdict.

    For a row that is not comparable, the footnotes list the changed settings.
    """
    if verdict is None:
        return ""
    if verdict.word == "not comparable":
        return verdict.word
    interval = f" {interval_text(verdict.interval)}" if verdict.interval else ""
    why = f": {verdict.why}" if verdict.why else ""
    seeds = f", {verdict.seeds} seeds would decide" if verdict.seeds else ""
    return f"{verdict.word}{interval}{why}{seeds}"


def interval_text(interval: Interval) -> str:
    """Return the bounds of an interval in points, `[-0.48, +0.78]`."""
    return f"[{interval.low:+.2f}, {interval.high:+.2f}]"


def claim_text(claim: Claim) -> str:
    """Return `holds: TEXT (Sec. 4.2). EVIDENCE`."""
    where = f" ({claim.where})" if claim.where else ""
    missing = dict.fromkeys(
        name
        for each in claim.evidence
        for name, number in zip((each.higher, each.lower), each.num_runs, strict=True)
        if not number
    )
    texts = [evidence_text(each) for each in claim.evidence if all(each.num_runs)]
    if missing:
        texts.append(f"no number yet of {', '.join(missing)}")
    return f"{claim.text}{where}. {MEASURES[claim.measure].label}: {'; '.join(texts)}."


def evidence_text(evidence: Evidence) -> str:
    """Return `plain-44 - plain-32: +0.90 [+0.58, +1.22], 2 seeds`, or a gain in percent."""
    both = evidence.gain or f"{evidence.higher} - {evidence.lower}"
    if evidence.interval is None:
        return f"{both}: {evidence.why}"
    higher, lower = evidence.num_runs
    seeds = count(higher, "seed") if higher == lower else f"{higher} and {lower} seeds"
    unit = " %" if evidence.gain else ""
    found = f"{evidence.interval.difference:+.2f}{unit} {interval_text(evidence.interval)}"
    return f"{both}: {found}, {seeds}"


def used_columns(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return header and rows without the columns that are empty in every row."""
    header = _header(table.swept, table.measures)
    rows = [_texts(line, table.measures) for line in table.lines]
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return [header[i] for i in used], [[row[i] for i in used] for row in rows]
