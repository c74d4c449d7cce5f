"""Generate → train a few steps → evaluate, for one task family, as small as can be."""

import numpy as np

import icrl
from icrl.data_gen.config import GenerateConfig
from icrl.envs import make_family

SMALL = {"train": 4, "validation": 1, "test": 3}
SHORT = 60


def small_options(name: str) -> dict[str, int]:
    """Options that make a family small and its episodes short, where it takes them."""
    options = make_family(name).options
    small = {key: value for key, value in SMALL.items() if key in options}
    return small | ({"horizon": min(SHORT, options["horizon"])} if "horizon" in options else {})


def pipeline(name: str, folder, **options) -> dict:
    """Runs all three stages into `folder`, and returns what `summary.json` holds."""
    options = options or small_options(name)
    family = make_family(name, **options)
    single = family.horizon == 1
    config = GenerateConfig(
        family=name,
        family_options=options,
        learner="noise-distillation" if family.policy_kinds else "random",
        # Some benchmarks fix how many tasks there are to train on: their validation tasks are fewer.
        split="train" if family.num_tasks["train"] <= 100 and family.lanes_at_once > 10 else "validation",
        episodes=40 if single else 2,
        histories_per_shard=8,
        workers=1,
    )
    data = icrl.generate(config, folder / "data")
    icrl.train(
        "ad-small",
        data,
        folder / "run",
        **{
            "model.n_layer": 1, "model.width": 32, "model.context_length": 24, "train.steps": 3, "train.batch_size": 4,
            "train.evaluate_every": 0, "train.checkpoint_every": 0,
        },
    )  # fmt: skip
    return icrl.evaluate(folder / "run", episodes=30 if single else 1, seeds=1, tasks=2, bootstrap=100, pictures=2)


def check_summary(name: str, summary: dict) -> None:
    """What every evaluation must hold, whatever the family."""
    assert summary["family"] == make_family(name).label
    assert summary["tasks"] == 2
    assert not summary["seen_in_training"]
    assert np.isfinite(summary["raw"]["last5"]["mean"])
    assert (summary["normalised"] is None) == (summary["anchors"]["optimum"] is None)
    assert "with no weight update, the frozen model" in summary["result"]
