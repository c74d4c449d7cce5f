"""Flags in either spelling: `--train.batch-size` is `--train.batch_size`, `--dry_run` is `--dry-run`."""

from collections.abc import Iterable, Sequence


def as_spelled(argv: Sequence[str], flags: Iterable[str]) -> list[str]:
    """The argument list with every flag as the parser knows it; values stay as they are.

    Of a flag below one that takes names of the user's own (`--family_options.my-option`) the part that is known is
    spelled, and the rest left alone.

    Args:
        flags: all flags of the parser, dashes included.
    """
    known = {_key(flag): flag for flag in flags if flag.startswith("--")}
    spelled = list(argv)
    end = spelled.index("--") if "--" in spelled else len(spelled)
    for i, token in enumerate(spelled[:end]):
        if not token.startswith("--"):
            continue
        name, equals, value = token.partition("=")
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            if (flag := known.get(_key(".".join(parts[:count])))) is not None:
                spelled[i] = ".".join([flag, *parts[count:]]) + equals + value
                break
    return spelled


def _key(flag: str) -> str:
    return flag.replace("-", "_")
