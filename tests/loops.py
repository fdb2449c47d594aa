"""Loops that tests have run in processes of their own, which import nothing else."""


def endless(failure=None):
    """Yield for ever, or fail at once."""
    while True:
        if failure:
            raise failure
        yield
