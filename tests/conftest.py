"""Says how to install where the package is missing, and keeps every test on one thread."""

import importlib.util
import os

import pytest

# Before torch is imported: two threads on shared cores can collapse, and one thread makes sums exact.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("MPLBACKEND", "Agg")

if importlib.util.find_spec("icrl") is None or importlib.util.find_spec("icrl.models") is None:
    pytest.exit("icrl is not installed here: run `pip install -c constraints.txt -e '.[dev]'` first", returncode=2)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A small dataset: 12 histories of 3 episodes of 6 steps in a 4×4 Dark Room."""
    from icrl.data_gen.generate import generate

    room = {"size": 4, "horizon": 6, "validation": 3, "test": 7}
    return generate(
        "dark-room-q-learning",
        tmp_path_factory.mktemp("tiny") / "data",
        **{"family_options": room, "histories_per_task": 2, "episodes": 3, "keep_every": 1, "workers": 1},
    )


@pytest.fixture(scope="session")
def tiny_store(tiny_data):
    from icrl.store import HistoryStore

    return HistoryStore.open(tiny_data)
