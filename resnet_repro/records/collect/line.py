"""What `collect` did with one run, test or result."""

from dataclasses import dataclass

ACTIONS = ("copied", "updated", "kept", "skipped", "damaged", "conflict", "packed")


@dataclass(frozen=True)
class Action:
    """What was done with one run, test or result of a source.

    Attributes:
        action: One of `ACTIONS`.
        what: The id of the run, or the name of a file or folder in the source.
        source: The folder or packed file that it comes from, as it was named.
        reason: Why, or with which exception; None where the action says it all.
    """

    action: str
    what: str
    source: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.action}: {self.what}" + (f", {self.reason}" if self.reason else "")
