"""What `icrl inspect` says of how large the numbers of a dataset are, and which of them ask for a second look."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icrl.ranges import centre_and_unit, pixels, sample
from icrl.spaces import described, kind_of
from icrl.store import HistoryStore

MANY = 8
"""So many numbers of an observation or action, or fewer, have a row each."""
WIDER = 100.0
"""So many times as wide as what is seen, declared bounds are worth a word."""
TAIL = 1e4
"""Values so many units away from the centre are."""


@dataclass(frozen=True)
class Ranges:
    """Of the numbers of one column, in a sample of transitions: every array `(N,)`."""

    name: str
    """ "observation", "action" or "reward"; of a tree with the path of the leaf, "observation.position"."""
    least: NDArray
    median: NDArray
    most: NDArray
    centre: NDArray
    unit: NDArray

    @classmethod
    def of(cls, name: str, column_MN: NDArray, whose: str) -> "Ranges":
        pairs = np.array([centre_and_unit(values, whose) for values in column_MN.T]).reshape(-1, 2)
        middle = np.quantile(column_MN, 0.5, axis=0, method="inverted_cdf")
        return cls(name, column_MN.min(axis=0), middle, column_MN.max(axis=0), pairs[:, 0], pairs[:, 1])

    def rows(self) -> list[tuple[str, ...]]:
        """Name, least, median, most, centre and unit; of many numbers one row with the extremes of each."""
        columns = (self.least, self.median, self.most, self.centre, self.unit)
        if len(self.unit) > MANY:
            ends = [(column.min(), column.max()) for column in columns]
            least, most = _short(ends[0][0]), _short(ends[2][1])
            between = [f"{_short(low)} … {_short(high)}" for low, high in (ends[1], *ends[3:])]
            return [(f"{self.name} 0 … {len(self.unit) - 1}", least, between[0], most, *between[1:])]
        numbered = self.name if len(self.unit) == 1 else None
        return [
            (numbered or f"{self.name} {n}", *(_short(column[n]) for column in columns)) for n in range(len(self.unit))
        ]

    def words(self, low: list[float | None], high: list[float | None]) -> list[str]:
        """What is worth a second look; `low` and `high` are the declared bounds, None where a side is open."""
        with np.errstate(over="ignore"):
            width = self.most.astype(np.float64) - self.least
            reach = np.maximum(self.most - self.centre, self.centre - self.least)
        lines = []
        if len(fixed := np.flatnonzero(width == 0.0)):
            lines.append(f"{self._list(fixed)} never changes: {_values(self.least[fixed])} throughout")
        declared = np.array(
            [np.inf if None in pair else float(pair[1]) - pair[0] for pair in zip(low, high, strict=True)]
        )
        wide = np.flatnonzero(np.isfinite(declared) & (width > 0) & (declared >= WIDER * width))
        if len(wide):
            n = wide[np.argmax(declared[wide] / width[wide])]
            lines.append(
                f"{self._list(wide)} may be {_short(low[n])} to {_short(high[n])} by the bounds and is "
                f"{_short(self.least[n])} to {_short(self.most[n])}"
            )
        if len(tails := np.flatnonzero(reach > TAIL * self.unit)):
            n = tails[np.argmax(reach[tails] / self.unit[tails])]
            lines.append(
                f"{self._list(tails)} has values up to {_short(reach[n] / self.unit[n])} units from the centre: of "
                "these a model sees only the logarithm"
            )
        return lines

    def _list(self, numbers: NDArray) -> str:
        """ "observation 3", "observations 1, 2 and 27 more"."""
        if len(self.unit) == 1:
            return self.name
        shown = ", ".join(map(str, numbers[:MANY]))
        more = f" and {len(numbers) - MANY} more" if len(numbers) > MANY else ""
        return f"{self.name} {shown}{more}"


def ranges_in_words(store: HistoryStore) -> tuple[list[str], list[str]]:
    """A table of ranges, and what is worth a second look, one line each."""
    columns, provenance = sample(store, range(len(store))), store.provenance
    spaces = described("observation", provenance.observation_space) | described("action", provenance.action_space)
    rows: list[tuple[str, ...]] = [("", "least", "median", "most", "centre", "unit")]
    words = []
    for name, space in spaces.items():
        if bounds := kind_of(space).bounds(space):
            whose, *path = name.split(".")
            column_name = ".".join((f"{whose}s", *path))
            column, alike = columns[column_name], pixels(column_name, space)
            ranges = Ranges.of(name, column.reshape(-1, 1) if alike else column, f"{whose}s")
            rows += ranges.rows()
            words += [] if alike else ranges.words(*bounds)
    reward = Ranges.of("reward", columns["rewards"], "rewards")
    rows += reward.rows()
    words += reward.words([None], [None])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(columns["rewards"]) < store.num_transitions:
        table[0] += f"  of {len(columns['rewards']):,} transitions"
    return table, words


def _short(number: float) -> str:
    """Six digits, or all that tell a large whole number from the next."""
    number = float(number) + 0.0  # of -0 it makes 0
    return f"{number:,.0f}" if abs(number) < 1e15 and number == round(number) else f"{number:.6g}"


def _values(numbers: NDArray) -> str:
    distinct = np.unique(numbers)
    return _short(distinct[0]) if len(distinct) == 1 else "each a value of its own"
