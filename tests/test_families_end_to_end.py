"""Task families that need no extra go the whole way: one of each kind, and with `-m slow` all of them."""

import pytest
from family_pipeline import check_summary, pipeline

from icrl.envs import FAMILIES

KINDS = (
    "dark-room", "key-to-door", "maze", "passive-t-maze", "bernoulli-bandit", "contextual-linear-bandit",
    "tabular-mdp", "point-robot", "cartpole", "pendulum",
)  # fmt: skip
"""One of each kind of observation, of action, of anchors and of picture."""
CASES = [
    name if name in KINDS else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILIES
    if not FAMILIES.extra(name)
]


@pytest.mark.parametrize("name", CASES)
def test_generate_train_evaluate(name, tmp_path):
    """Kills: a family whose spaces, anchors or pictures a later stage cannot take."""
    check_summary(name, pipeline(name, tmp_path))
    assert (tmp_path / "run" / "eval" / "report.html").stat().st_size > 10_000
