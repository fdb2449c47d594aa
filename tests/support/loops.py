"""Loops that tests have run in processes of their own, which import nothing else."""

import itertools


def endless(failure=None, after=0):
    """Yield for ever, or fail after some times."""
    for number in itertools.count():
        if failure and number == after:
            raise failure
        yield
