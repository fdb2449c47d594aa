"""What may be wrong with the folder of a run."""

from resnet_repro.errors import UserError


class DamagedError(UserError):
    """A file of a run cannot be read; the message names it."""


class MissingWeightsError(UserError):
    """A run needs weights that are not here, and the message says which; others can go on."""


class LockedError(Exception):
    """Another process is using the run."""
