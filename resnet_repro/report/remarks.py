"""What holds for a whole table, in words: how it is measured, the recipe, where it was made."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from resnet_repro.plan import Plan
from resnet_repro.records.archive import Result, name_same_weights
from resnet_repro.settings.data import DataConfig
from resnet_repro.text import count

MAX_COMMANDS = 3


def remarks(plan: Plan, results: dict[str, list[Result]], others: Sequence[Result]) -> list[str]:
    """Return the lines below a table."""
    ended = ended_runs(results)
    lines = [_measured(plan), *plan.paper.remarks]
    unreadable = sum(result.num_unreadable for result in ended)
    if unreadable:
        lines.append(f"{count(unreadable, 'photograph')} could not be read and was left out.")
    lines += _recipes(plan)
    lines += [
        f"Not counted: {each.id}, made with other settings than those of {each.row} here."
        for each in others
    ]
    every = (result for each in (*results.values(), others) for result in each)
    lines += [f"{each}." for each in name_same_weights(every)]
    return lines + made_by(ended)


def _recipes(plan: Plan) -> list[str]:
    """Return where the recipe departs from the paper; that of some rows names them."""
    departures = {row.name: row.config.recipe.departures for row in plan.rows if row.config}
    changed = any(key.startswith("recipe.") for row in plan.rows for key, _, _ in row.changes)
    before = ", before the changes noted here" if changed else ""
    lines = []
    for text in dict.fromkeys(text for texts in departures.values() for text in texts):
        have = [name for name, texts in departures.items() if text in texts]
        lack = [name for name in departures if name not in have]
        of = f" of {', '.join(have)}" if len(have) < len(lack) else " of all but " + ", ".join(lack)
        lines.append(f"The recipe{of if lack else ''}{before}: {text}")
    return lines


def ended_runs(results: dict[str, list[Result]]) -> list[Result]:
    """Return each run that ended once: rows may differ in its last test only."""
    ended = [result for each in results.values() for result in each if result.ended]
    return list({result.run: result for result in ended if result.sessions}.values())


def _measured(plan: Plan) -> str:
    data = [row.config.data for row in plan.rows if row.config]
    tested = {f"{d.title}, {_which(d)} images" for d in data}
    protocols = dict.fromkeys(protocol_text(row.protocol) for row in plan.rows if not row.is_cited)
    compared = (
        f" Difference: ours less the paper's. Verdict: by the 95 % interval of the difference of "
        f"expected errors (in brackets); matches: within {plan.paper.margin:g} points."
    )
    return (
        f"Error: top-1 error on {'; '.join(sorted(tested))}; last iteration, "
        f"{' or '.join(protocols)}, in %. "
        "Training error: over the augmented mini-batches of the last epoch. Several seeds: mean +- "
        "standard deviation." + (compared if plan.paper.cite else "")
    )


def _which(data: DataConfig) -> str:
    """Return the name of the images that a network is tested on."""
    if data.num_validation:
        return "held-out"
    return "validation" if data.name == "imagenet" else "test"


def protocol_text(protocol: str) -> str:
    """Return what a protocol's key means: `ten_crop 224/256` -> `ten crops (224/256)`."""
    name, _, rest = protocol.partition(" ")
    words = {"single_view": "one view", "one_crop": "one crop", "ten_crop": "ten crops"}
    rest = rest.replace(" flip", ", mirrored too").replace(" reestimated:", ", batch norm over ")
    rest = rest.replace(" bicubic", ", bicubic")
    return words.get(name, "fully convolutional at several scales") + (f" ({rest})" if rest else "")


def made_by(ended: Iterable[Result]) -> list[str]:
    """Return by what code, where, how long, when and with which commands runs were made."""
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
        + (f", {energy / 3.6e6:.2f} kWh of the GPU" if energy else ""),
        days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
    ]
    commands = Counter(session["command"] for session in sessions).most_common()
    more = f" and {len(commands) - MAX_COMMANDS} others" if len(commands) > MAX_COMMANDS else ""
    shown = ", ".join(f"`{command}`" for command, _ in commands[:MAX_COMMANDS])
    return [f"Made by {'; '.join(facts)}.", f"Commands: {shown}{more}."]


def code(session: dict[str, Any]) -> str:
    """Return the version of this program in a session, and its commit, or why that is unknown."""
    if "commit" not in session:
        why = f" (no commit: {session['no_commit']})" if "no_commit" in session else ""
        return f"{session['resnet_repro']}{why}"
    changed = ", changed since" if session["dirty"] else ""
    return f"{session['resnet_repro']} ({session['commit'][:8]}{changed})"


def machine(session: dict[str, Any]) -> str:
    """Return the GPU's name, or the CPU's."""
    return str(session["cpu"] if session["device"] == "cpu" else session["device"])
