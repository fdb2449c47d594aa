"""Flags of the processes that train one network, exchanged while they compute."""

from collections.abc import Callable

from resnet_repro.distributed.group import Group


class SharedFlags:
    """Flags that any process may set, of which all learn in the same iteration.

    No process waits for the network: an iteration's flags are read in the next one. In a group of
    one they are known at once.

    Args:
        group: The processes, each of which calls `exchange` in every iteration.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._before: Callable[[], list[bool]] | None = None  # waits for the last exchange

    def exchange(self, *flags: bool) -> list[bool]:
        """Return, for each flag, whether any process set it in the iteration before.

        After an iteration in which any was set, the flags of this call are ignored, so that what
        they ask for is done once: a process sets them again if they still hold.
        """
        if self._group.size == 1:
            return list(flags)
        known = self._before() if self._before else [False] * len(flags)
        self._before = None if any(known) else self._group.start_any(*flags)
        return known
