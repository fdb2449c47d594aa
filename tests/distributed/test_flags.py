"""Flags that processes exchange while they compute."""

from resnet_repro.distributed.flags import SharedFlags
from resnet_repro.distributed.group import Group


class Wire:
    """Two processes' exchanges: the result of one is there when both have started it."""

    size = 2

    def __init__(self, rounds, own):
        self.rounds, self.own, self.number = rounds, own, 0

    def start_any(self, *flags):
        number, self.number = self.number, self.number + 1
        self.rounds.setdefault(number, {})[self.own] = flags

        def result():
            assert len(self.rounds[number]) == 2, "it waits for the other process's iteration"
            return [any(both) for both in zip(*self.rounds[number].values(), strict=True)]

        return result


def test_processes_learn_of_a_flag_in_the_next_iteration_together_and_once():
    rounds = {}
    first, second = (SharedFlags(Wire(rounds, own)) for own in ("first", "second"))
    seen = []
    for iteration in range(8):
        late = iteration in (1, 2)  # of the first: it goes on until a checkpoint is saved
        stop = iteration >= 5  # of the second
        known = [first.exchange(False, late), second.exchange(stop, False)]
        assert known[0] == known[1]
        seen.append(known[0])
    nothing = [False, False]
    assert seen == [nothing, nothing, [False, True], nothing, nothing, nothing, [True, False],
                    nothing]  # fmt: skip


def test_one_process_knows_at_once():
    assert SharedFlags(Group()).exchange(True, False) == [True, False]
