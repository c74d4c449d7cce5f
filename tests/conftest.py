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
