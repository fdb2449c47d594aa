"""The remarks below a table: how its values are measured, the recipe, how the runs were made."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_repro.judge.measures import compared_measures
from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result, name_same_weights
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count

MAX_COMMANDS = 3


def remarks(plan: Plan, results: dict[str, list[Result]], others: Sequence[Result]) -> list[str]:
    """Return the remarks below a table, one for each line."""
    ended = ended_runs(results)
    lines = [_measured(plan), *plan.paper.remarks]
    # Those of a data set, which all of its runs skipped.
    unreadable = max((result.num_unreadable for result in ended), default=0)
    if unreadable:
        lines.append(f"Unreadable images that were skipped: {unreadable}.")
    sessions = [session for result in ended for session in result.sessions]
    about = dict.fromkeys(each for session in sessions for each in session.get("about_data", []))
    lines += [f"Data: {each}." for each in about]
    lines += _recipes(plan)
    lines += _fixed_seeds(plan)
    lines += [
        f"Not counted: {each.id}, because its settings differ from those of {each.row}."
        for each in others
    ]
    every = (result for each in (*results.values(), others) for result in each)
    lines += [f"{each}." for each in name_same_weights(every)]
    return lines + made_by(ended, has_steps=any(row.steps for row in plan.rows))


def _recipes(plan: Plan) -> list[str]:
    """Return the recipe's deviations from the paper, with rows named where not all have one.

    Those of a recipe that only earlier steps of the training have come last, with their names.
    """
    deviations = {row.name: row.config.recipe.remarks() for row in plan.rows if row.config}
    changed = any(key.startswith("recipe.") for row in plan.rows for key, _, _ in row.changes)
    before = ", before the changed settings" if changed else ""
    lines = []
    for text in dict.fromkeys(text for texts in deviations.values() for text in texts):
        have = [name for name, texts in deviations.items() if text in texts]
        lack = [name for name, texts in deviations.items() if text not in texts]
        rows = ", ".join(have) if len(have) < len(lack) else f"all rows but {', '.join(lack)}"
        lines.append(f"Recipe{f' of {rows}' if lack else ''}{before}: {text}")
    own = {text for texts in deviations.values() for text in texts}
    steps: dict[str, dict[str, None]] = {}  # by deviation, the steps that have it
    earlier = [(s.name, s.config.recipe) for row in plan.rows for s in row.steps if s.config]
    for name, recipe in earlier:
        for text in recipe.remarks():
            if text not in own:
                steps.setdefault(text, {})[name] = None
    for text, names in steps.items():
        lines.append(
            f"Recipe of the step{'s' * (len(names) > 1)} {', '.join(names)}{before}: {text}"
        )
    return lines


def _fixed_seeds(plan: Plan) -> list[str]:
    """Say which steps all seeds of a row share."""
    shared: dict[str, dict[str, None]] = {}  # by step, the rows
    for row in plan.rows:
        for step in row.steps:
            if step.seed is not None and len(row.seeds) > 1:
                shared.setdefault(step.name, {})[row.name] = None
    return [
        f"All seeds of {', '.join(rows)} start from one run of the step {name}: intervals leave "
        f"out how that one varies."
        for name, rows in shared.items()
    ]


def ended_runs(results: dict[str, list[Result]]) -> list[Result]:
    """Return each run that has ended, once: several rows may be tests of one run."""
    ended = [result for each in results.values() for result in each if result.ended]
    return list({result.run: result for result in ended if result.sessions}.values())


def _measured(plan: Plan) -> str:
    data = [row.config.data for row in plan.rows if row.config]
    tested = {_tested(d) for d in data}
    protocols = dict.fromkeys(protocol_text(row.protocol) for row in plan.rows if not row.is_cited)
    first, *others = compared_measures(plan)
    better = "" if first.lower_is_better else " Higher is better."
    compared = (
        f" Difference: ours minus the paper's. Verdict: from the 95 % confidence interval of the "
        f"difference of expected {first.plural} (in brackets); matches: the whole interval is "
        f"within {plan.paper.margin:g} points of zero.{better}"
    )
    if not any(row.config.detector.is_used for row in plan.rows if row.config):
        training = "Training error: on the augmented mini-batches of the last epoch. "
    else:
        training = "Training error: of the sampled regions or anchors, in the last epoch. "
    about = first.about or first.name.capitalize()
    return (
        f"{about} on {' and '.join(sorted(tested))}, {' or '.join(protocols)}, "
        f"after the last iteration. {''.join(f'{m.about}. ' for m in others if m.about)}"
        f"{training}Several seeds: mean +- "
        "standard deviation." + (compared if plan.paper.cite else "")
    )


def _tested(data: DataConfig) -> str:
    """Return which part of the data a network is tested on."""
    if data.boxes:
        return f"{data.title} ({', '.join(data.boxes.test)})"
    if data.num_validation:
        return f"{data.title} held-out images"
    return f"{data.title} {'validation' if data.name == 'imagenet' else 'test'} images"


def protocol_text(protocol: str) -> str:
    """Return a protocol's key in words: `ten_crop 224/256` -> `ten crops (224/256)`."""
    name, _, rest = protocol.partition(" ")
    words = {"single_view": "one view", "one_crop": "one crop", "ten_crop": "ten crops"}
    if name == "boxes":
        return _boxes_text(rest)
    rest = rest.replace(" flip", ", also mirrored").replace(" bicubic", ", bicubic")
    rest = rest.replace(" reestimated:", ", batch norm re-estimated on ")
    rest = rest.replace(" top:", ", proposals at most ")
    return words.get(name, "fully convolutional at several scales") + (f" ({rest})" if rest else "")


def _boxes_text(rest: str) -> str:
    """Return how a detector is tested: `600 refined` -> `detections at 600 pixels, refined`."""
    sizes, *words = rest.split(" ")
    texts = {
        "refined": "refined",
        "refined-per-class": "refined for each class",
        "top": "the best {} proposals",
        "above": "scores above {}",
        "nms": "suppressed at an overlap above {}",
        "most": "at most {} per photograph",
    }
    each = (word.partition(":") for word in words)
    parts = [
        texts[key].format(value) if key in texts else f"{key} {value}" for key, _, value in each
    ]
    return ", ".join([f"detections at {sizes.replace(',', ', ')} pixels", *parts])


def made_by(ended: Iterable[Result], *, has_steps: bool) -> list[str]:
    """Return the code, machine, duration, date and commands of runs.

    Args:
        ended: The runs.
        has_steps: Whether a run is the last of several steps, whose time is not counted.
    """
    runs = list(ended)
    sessions = [session for result in runs for session in result.sessions]
    if not sessions:
        return []
    hours = sum(result.seconds or 0 for result in runs) / 3600
    energy = sum(result.energy or 0 for result in runs)
    days = sorted({session["started"][:10] for session in sessions})
    facts = [
        f"resnet-repro {', '.join(sorted({code(session) for session in sessions}))}",
        f"torch {', '.join(sorted({s['torch'] for s in sessions}))}",
        ", ".join(sorted({machine(s) for s in sessions})),
        f"{count(len(runs), 'run')}, {hours:.2f} hours"
        + (" excluding earlier steps" if has_steps else "")
        + (f", {energy / 3.6e6:.2f} kWh of the GPU" if energy else ""),
        days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
    ]
    commands = Counter(session["command"] for session in sessions).most_common()
    more = f" and {len(commands) - MAX_COMMANDS} others" if len(commands) > MAX_COMMANDS else ""
    shown = ", ".join(f"`{command}`" for command, _ in commands[:MAX_COMMANDS])
    return [f"Made by {'; '.join(facts)}.", f"Commands: {shown}{more}."]


def code(session: dict[str, Any]) -> str:
    """Return the program's version in a session, and its commit or why that is unknown."""
    if "commit" not in session:
        why = f" (no commit: {session['no_commit']})" if "no_commit" in session else ""
        return f"{session['resnet_repro']}{why}"
    changed = ", changed since" if session.get("dirty") else ""
    return f"{session['resnet_repro']} ({session['commit'][:8]}{changed})"


def machine(session: dict[str, Any]) -> str:
    """Return the GPU's name, or the CPU's."""
    return str(session["cpu"] if session["device"] == "cpu" else session["device"])
