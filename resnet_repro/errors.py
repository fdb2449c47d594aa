"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake of the user's; the message says in one or two lines what to change.

    The command line prints it without a traceback and ends with exit code 1. Anything else that
    is raised is a mistake of ours and keeps its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise a UserError unless a condition holds."""
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a UserError unless a setting is one of its choices."""
    require(value in choices, f"{key}={value}: it can be {', '.join(choices)}")
