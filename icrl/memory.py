"""What this machine has no memory for: one line that says so, whichever library found out."""

from collections.abc import Iterator
from contextlib import contextmanager

from icrl.errors import SizeError

# Of NumPy and PyTorch, whose other errors have the same types.
_SAYINGS = (
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "array is too big",
    "maximum allowed dimension exceeded",
    "maximum allowed size exceeded",
    "storage size calculation overflowed",
    "too large to convert to c",
)


@contextmanager
def memory_fails_in_one_line() -> Iterator[None]:
    """Raises SizeError where memory could not be had, or a size is beyond what any machine has."""
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, MemoryError) and not any(saying in told.lower() for saying in _SAYINGS):
            raise
        raise SizeError(
            f"this machine has no memory for that ({told[:160]}): lower the sizes, such as those of the family, the "
            "model, the batch or the shards"
        ) from error
