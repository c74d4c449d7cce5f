"""In-context reinforcement learning: record learning histories, pretrain a transformer, prompt it frozen.

    import icrl

    icrl.generate("dark-room-q-learning", out="data/dark-room")
    icrl.train("ad-small", data="data/dark-room", out="runs/dark-room")
    summary = icrl.evaluate("runs/dark-room", out="runs/dark-room/eval")
    agent = icrl.load_agent("runs/dark-room")        # agent.reset / agent.act / agent.observe

Everything is imported where it is first used: `import icrl` alone loads neither torch nor transformers.
"""

import os
from importlib import import_module
from typing import Any

from icrl.moved import find_earlier_names

find_earlier_names()

# Threads that wait at a barrier sleep rather than spin, unless the user says otherwise: a core that another process
# keeps busy then delays training by that core's share, and not by far more (benchmarks/shared_cores.py). OpenMP reads
# it once, when torch is loaded; processes that this one starts inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_PUBLIC = {
    "FAMILIES": "icrl.envs",
    "HistoryStore": "icrl.store",
    "LearningHistory": "icrl.history",
    "Task": "icrl.tasks",
    "TaskFamily": "icrl.tasks",
    "evaluate": "icrl.eval.evaluate",
    "generate": "icrl.data_gen.generate",
    "load_agent": "icrl.models.agent",
    "make_family": "icrl.envs",
    "mix": "icrl.data_gen.mix",
}
# `icrl.train` is both the sub-package and the public function: the package itself can be called.
_PACKAGES = ("data_gen", "envs", "eval", "models", "train")

__all__ = sorted([*_PUBLIC, "train"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _PACKAGES:
        return import_module(f"icrl.{name}")
    raise AttributeError(f"module 'icrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_PACKAGES]
