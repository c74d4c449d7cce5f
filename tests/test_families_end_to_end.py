"""Every task family that needs no extra goes the whole way: generate, train, evaluate."""

import pytest
from family_pipeline import check_summary, pipeline

from icrl.envs import FAMILIES


@pytest.mark.parametrize("name", [name for name in FAMILIES if not FAMILIES.extra(name)])
def test_generate_train_evaluate(name, tmp_path):
    """Kills: a family whose spaces, anchors or pictures a later stage cannot take."""
    check_summary(name, pipeline(name, tmp_path))
    assert (tmp_path / "run" / "eval" / "report.html").stat().st_size > 10_000
