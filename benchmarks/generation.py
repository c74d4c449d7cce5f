"""Recording and reading: transitions a second on one core, the write to the disk included, and windows a second.

Run by hand on a quiet machine: `python benchmarks/generation.py`. The recording stands beside its limits in the same
run: the environment alone under the same number of actions, and the store's write alone.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from pathlib import Path

import numpy as np

from icrl.data_gen.generate import generate
from icrl.data_gen.record import record
from icrl.envs import make_family
from icrl.store import HistoryStore
from icrl.store_writer import shard_name, write_shard

LANES, EPISODES = 1000, 400
REPEATS = 3


def best(function) -> float:
    """Seconds of the fastest of a few calls: the others were disturbed."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    family = make_family("dark-room")
    tasks = (family.split(0).train * 17)[:LANES]
    transitions = LANES * EPISODES * family.horizon

    def environment_alone() -> None:
        env = family.make(tasks, 0)
        env.reset()
        actions = np.random.default_rng(0).integers(0, 5, (EPISODES * family.horizon, LANES))
        for row in actions:
            env.step(row)

    def recorded(keep_every: int):
        return record(
            family, tasks, "q-learning", {}, episodes=EPISODES, keep_every=keep_every, seed=0, index=range(LANES)
        )

    with tempfile.TemporaryDirectory() as folder:
        columns = recorded(1)
        shard = Path(folder) / shard_name(0, 1)

        def whole() -> None:
            out = Path(tempfile.mkdtemp(dir=folder)) / "data"
            generate(
                "dark-room-q-learning", out, histories_per_task=17, keep_every=1, histories_per_shard=LANES, workers=1
            )

        rows = [
            ("environment alone, random actions", transitions / best(environment_alone)),
            ("Q-learning, every 20th episode kept in memory", transitions / best(lambda: recorded(20))),
            ("Q-learning, every transition kept in memory", transitions / best(lambda: recorded(1))),
            ("the store's write and sync alone", transitions / best(lambda: write_shard(shard, columns))),
            ("`icrl generate`, every transition, on the disk", 60 * 17 * EPISODES * family.horizon / best(whole)),
        ]
        print(f"\n9×9 Dark Room, {LANES:,} tasks at once, one core, best of {REPEATS}\n")
        print("| what | transitions a second |")
        print("| --- | --- |")
        for what, speed in rows:
            print(f"| {what} | {speed / 1e6:.2f} million |")
        print_windows(next(Path(folder).glob("*/data")))


def print_windows(data: Path) -> None:
    """Reading a window of 300 steps, all columns, at random places of the dataset."""
    import datasets

    store, rows = HistoryStore.open(data), datasets.load_from_disk(str(data)).with_format("numpy")
    generator = np.random.default_rng(0)

    def per_call(function, calls: int) -> float:
        places = [(int(h), int(s)) for h, s in zip(
            generator.integers(0, len(store), calls), generator.integers(0, 7000, calls), strict=True
        )]  # fmt: skip
        return best(lambda: [function(history, start) for history, start in places]) / calls * 1e3

    ours = per_call(lambda history, start: store.window(history, start, 300), 20_000)
    theirs = per_call(lambda history, start: {k: v[start : start + 300] for k, v in rows[history].items()
                                              if k not in ("task_id", "learner_seed")}, 50)  # fmt: skip
    print("\n| a window of 300 steps, all columns | ms | ratio |")
    print("| --- | --- | --- |")
    print(f"| `HistoryStore.window` (views of the Arrow map) | {ours:.4f} | 1 |")
    print(f"| `datasets` in numpy format, the row sliced | {theirs:.3f} | {theirs / ours:,.0f} |")


if __name__ == "__main__":
    main()
