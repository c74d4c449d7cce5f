"""`icrl inspect` on how large the numbers of a dataset are."""

import numpy as np
from test_ranges import DISCRETE, Store, box

from icrl.data_gen.ranges_table import ranges_in_words


def words_of(observation_space, observations, rewards, action_space=DISCRETE, actions=None):
    actions = np.zeros(rewards.shape, np.uint8) if actions is None else actions
    store = Store(observation_space, action_space, observations, actions, rewards)
    store.num_transitions = rewards.size
    return ranges_in_words(store)


def test_the_table_typed_in():
    """Kills: columns that are swapped or mixed up, a clock that is printed as 1.7e+09."""
    clock = np.broadcast_to(1.7e9 + np.arange(5), (3, 5))
    x = np.stack([clock, np.broadcast_to([-1.0, -0.5, 0.25, 0.5, 1.0], (3, 5))], axis=-1)
    table, words = words_of(box(2, dtype="float64"), x, np.broadcast_to([0.0, 0, 0, 0, 1], (3, 5)))
    assert [line.split() for line in table] == [
        ["least", "median", "most", "centre", "unit"],
        ["observation", "0", "1,700,000,000", "1,700,000,002", "1,700,000,004", "1,700,000,002", "2"],
        ["observation", "1", "-1", "0.25", "1", "0.25", "0.75"],
        ["reward", "0", "0", "1", "0", "1"],
    ]
    assert words == []


def test_what_is_worth_a_second_look():
    """Kills: wide bounds, sentinels, constant columns and rewards that nobody hears of; words about what is fine."""
    generator = np.random.default_rng(0)
    for n in (3, 30):
        for _ in range(5):
            x, rewards = generator.uniform(-1, 1, (6, 40, n)).astype(np.float32), generator.normal(size=(6, 40))
            place = int(generator.integers(n))
            assert words_of(box(n, bound=2.0), x, rewards)[1] == []
            table, words = words_of(box(n, bound=10.0 ** generator.uniform(2.5, 38)), x, rewards)
            assert (len(table), len(words)) == (5 if n == 3 else 3, 1)
            assert "by the bounds and is -0.9" in words[0]
            x[:, ::3, place] = 10.0 ** generator.uniform(5, 30)
            _, words = words_of(box(n), x, rewards)
            assert len(words) == 1
            assert words[0].startswith(f"observation {place} has values up to ")
            x[..., place] = 7.5
            _, words = words_of(box(n, bound=10.0), x, 0.0 * rewards)
            assert words == [
                f"observation {place} never changes: 7.5 throughout",
                "reward never changes: 0 throughout",
            ]
    actions = generator.uniform(-1, 1, (6, 40, 1))
    words = words_of(DISCRETE, np.zeros((6, 40), int), rewards, box(1, bound=1e6), actions)[1]
    assert words[0].startswith("action may be -1,000,000 to 1,000,000 by the bounds and is -0.9")


def test_pixels_are_one_row_and_a_corner_that_stays_black_is_no_news():
    """Kills: seven thousand rows for a picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 8, 8)).astype(np.uint8)
    pixels[..., 0] = 0
    table, words = words_of(box(8, 8, bound=255, dtype="uint8"), pixels, np.random.default_rng(1).normal(size=(2, 20)))
    assert [line.split()[0] for line in table] == ["least", "observation", "reward"]
    assert words == []
