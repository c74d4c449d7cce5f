"""`icrl inspect`: what is in a dataset, whether it is sound, and how its source learner learned."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.known_anchors import KnownAnchors, known_anchors
from icrl.data_gen.learning_curve import Description, draw
from icrl.data_gen.ranges_table import ranges_in_words
from icrl.errors import DatasetError, UsageError
from icrl.extras import EXPERT_ACTIONS
from icrl.recordings import datasets_in
from icrl.spaces import describe_space
from icrl.store import HistoryStore
from icrl.store_check import check_store
from icrl.stored_family import Consent

PICTURE_FILE = "learning_curve.png"


def inspect(
    path: str | Path,
    picture: str | Path | None = None,
    full: bool = False,
    *,
    trust_code: bool = False,
    family: str | None = None,
) -> Description:
    """Checks a dataset, prints what is in it, and draws its learning curve.

    Args:
        path: a dataset's folder.
        picture: where to draw; `learning_curve.png` in the dataset's folder by default.
        full: also hash shards of more than 256 MiB together, which opening does not.
        trust_code: run the code of the family where it came with the data, to measure what returns mean.
        family: where the family is now, `path/file.py:Class`: your own code.

    Raises:
        DatasetError: where the dataset is missing, half-written or damaged.
    """
    store = HistoryStore.open(path)
    provenance = store.provenance
    returns, success = _check(store, full)
    known = known_anchors(store, Consent(trust_code, family))
    description = _describe(store, known, returns, success)
    picture = Path(picture) if picture else store.path / PICTURE_FILE

    sizes = ", ".join(f"{len(store.split.named(name)):,} {name}" for name in store.split.names)
    print(f"{store.path}: {description.histories:,} histories, {description.transitions:,} transitions")
    family_label = provenance.label
    of_place = "" if provenance.family in family_label else f" of {provenance.family}"
    print(f"  family       {family_label}{of_place} {provenance.family_options}")
    print(f"  observation  {describe_space(provenance.observation_space)}")
    print(f"  action       {describe_space(provenance.action_space)}")
    print(f"  tasks        {sizes}; recorded: {provenance.recorded_split}, {len(np.unique(store.task_ids)):,} of them")
    print(f"  learner      {provenance.learner} {provenance.learner_options}, seed {provenance.seed}")
    kept = "all" if provenance.keep_every == 1 else f"one of every {provenance.keep_every}"
    print(f"  episodes     {provenance.episodes:,} lived, {kept} recorded")
    print(f"  lengths      {store.lengths.min():,} to {store.lengths.max():,} transitions a history")
    for label, line in zip(("extras", *[""] * len(store.extras)), _extras_in_words(store), strict=False):
        print(f"  {label:12} {line}")
    curve, numbers = description.learning_curve, description.episode_numbers
    marks = sorted({round(share * (len(curve) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)})
    print("  returns      " + ", ".join(f"{curve[k]:.2f} in episode {numbers[k]:,}" for k in marks))
    print(f"               {known.in_words()}")
    if (rate := description.success) is not None:
        print("  success      " + ", ".join(f"{rate[k]:.0%} in episode {numbers[k]:,}" for k in marks))
    table, words = ranges_in_words(store)
    for label, lines in (("numbers", table), ("look at", words)):
        for place, line in enumerate(lines):
            print(f"  {label if place == 0 else '':12} {line}")
    print("  checks       the listing and every shard are whole; recorded tasks are of their split,")
    print(f"               the splits are disjoint; all {len(store):,} histories keep the index convention")
    draw(description, f"{family_label}, {provenance.learner}", picture)
    print(f"  picture      {picture}")
    return description


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser

    parser = UsageParser(prog="icrl inspect", description=__doc__)
    parser.add_argument("data", help="a dataset's folder, as `icrl generate` makes it")
    parser.add_argument("--picture", metavar="FILE", help=f"where to draw (default: {PICTURE_FILE} beside the data)")
    parser.add_argument("--trust-code", action="store_true", help="run the family's code that came with the data")
    parser.add_argument("--family", metavar="PLACE", help="where the data's family is now: your own code, run as such")
    parser.add_argument("--full", action="store_true", help="also check the SHA-256 of every shard of a large dataset")
    arguments = parser.parse_args(list(argv))
    if arguments.picture and Path(arguments.picture).suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--picture {arguments.picture}: expected a file that ends in .png, .svg or .pdf")
    datasets = datasets_in(Path(arguments.data))
    if len(datasets) > 1 and (arguments.picture or arguments.family):
        raise UsageError(f"--picture and --family are for one dataset: inspect one of {', '.join(map(str, datasets))}")
    for data in datasets:
        inspect(
            data,
            arguments.picture,
            arguments.full,
            trust_code=arguments.trust_code,
            family=arguments.family,
        )
    return 0


def _check(store: HistoryStore, full: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Checks spaces, tasks and every history, row by row; returns the episodes' returns `(num_histories, K)`, and
    whether they succeeded where that is told."""
    provenance = store.provenance
    check_store(store, full)
    returns = np.empty((len(store), -(-provenance.episodes // provenance.keep_every)))
    success: list[NDArray[np.bool_]] = []
    for index in range(len(store)):
        try:
            history = store.history(index)
        except ValueError as error:
            raise DatasetError(f"{store.path}, history {index}: {error}; generate the data again") from None
        if len(finished := history.episode_returns()) != returns.shape[1]:
            raise DatasetError(
                f"{store.path}, history {index}: {len(finished)} episodes where {returns.shape[1]} were recorded; "
                "generate the data again"
            )
        returns[index] = finished
        if history.success is not None:
            success.append(history.success)
    return returns, np.stack(success) if success else None


def _extras_in_words(store: HistoryStore) -> list[str]:
    """What the columns that not every dataset has say."""
    words = []
    for name in store.extras:
        said = 0.0
        for index in range(len(store)):
            values = store.extra(name, index, 0, int(store.lengths[index]))
            if name == EXPERT_ACTIONS:
                values = (values == store.history(index).actions).reshape(len(values), -1).all(axis=1)
            said += float(np.sum(values.reshape(len(values), -1).mean(axis=1)))
        share = f"{said / store.num_transitions:.1%}"
        told = f"the action played in {share} of steps" if name == EXPERT_ACTIONS else f"{share} of actions are valid"
        words.append(f"{name}: {told}")
    return words


def _describe(
    store: HistoryStore, known: KnownAnchors, returns: NDArray[np.float64], success: NDArray[np.bool_] | None
) -> Description:
    return Description(
        histories=len(store),
        transitions=store.num_transitions,
        episode_numbers=np.arange(returns.shape[1]) * store.provenance.keep_every,
        learning_curve=returns.mean(axis=0),
        quartiles=np.quantile(returns, [0.25, 0.75], axis=0),
        success=None if success is None else success.mean(axis=0),
        random=known.random,
        optimum=known.optimum,
    )
