"""The errors a user can cause. Each message says what was got, what was expected, and how to fix it.

The command line prints the message as one line: exit code 2 for `UsageError`, 1 for the rest.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class IcrlError(Exception):
    """Base class: anything that is for the user to fix rather than a fault of the framework."""


class UsageError(IcrlError, ValueError):
    """A wrong flag, an unknown key, a value of the wrong type or out of range."""


class UntrustedCode(UsageError):
    """Code that came with data, and that nobody has said may run."""


class FamilyError(IcrlError):
    """A task family of the user's own whose code fails, or does not do what a family's must."""


class DatasetError(IcrlError):
    """A dataset that is missing, half-written, damaged, or of other spaces than expected."""


class ChangedFamily(DatasetError):
    """A task family that does not do what it did when the data were recorded."""


class CheckpointError(IcrlError):
    """A run or checkpoint that is missing, half-written or damaged."""


class SizeError(IcrlError):
    """Something that does not fit into this machine's memory."""


class TrainingError(IcrlError):
    """A training that has come to nothing."""


class LaunchError(IcrlError):
    """The processes that started are not the processes that were asked for."""


def did_you_mean(wrong: str, choices: Iterable[str]) -> str:
    """Returns `" (did you mean 'x'?)"` for the nearest of `choices`, or an empty string where none is near."""
    near = get_close_matches(wrong, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
