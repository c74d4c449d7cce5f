"""The learning history: the record of one learner on one task, and the one place that states how it is indexed.

Index convention, for row `t` of a history of `T` transitions:

- `observations[t]` is what the learner saw when it chose `actions[t]`;
- `rewards[t]`, `terminated[t]` and `truncated[t]` are what the environment answered to `actions[t]`;
- `episode[t]` is the learner's own episode number, so it has gaps where only every k-th episode was kept;
- `step_in_episode[t]` counts from 0;
- within an episode, `observations[t + 1]` is the observation that followed; the observation that followed an
  episode's last action is `final_observations[e]`, `e` counting the *finished* episodes of this history from 0.

Nothing here is a fake step: the reset that an autoreset environment makes is not a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.transitions import DERIVED, NEXT_OBSERVATIONS, RETURN_TO_GO, returns_to_go, successors


@dataclass(frozen=True, eq=False)
class LearningHistory:
    """How one source learner learned one task: a sequence of whole episodes, from its first to its last.

    Raises:
        ValueError: where the arrays' lengths, the episode order, the step counts or the flags contradict each other.
    """

    observations: NDArray
    """Shape `(T, *observation_shape)`."""
    actions: NDArray
    """Shape `(T,)` for a Discrete action space, `(T, *action_shape)` for others."""
    rewards: NDArray[np.float32]
    """Shape `(T,)`."""
    terminated: NDArray[np.bool_]
    """Shape `(T,)`: the episode ended by the task's own rule; its value afterwards is zero."""
    truncated: NDArray[np.bool_]
    """Shape `(T,)`: the episode was cut, by the time limit for instance; its value afterwards is not zero."""
    episode: NDArray[np.int32]
    """Shape `(T,)`: the learner's episode number, not decreasing."""
    step_in_episode: NDArray[np.int32]
    """Shape `(T,)`: 0 at the start of each episode."""
    final_observations: NDArray
    """Shape `(E, *observation_shape)`: what followed the last action of each finished episode."""
    task_id: int
    """The task's number within its family."""
    task_params: Mapping[str, Any]
    """The task's parameters, as the family names them."""
    learner: str
    """The source learner's registered name."""
    learner_seed: int
    """The history's number: with the dataset's seed it fixes every random number that was drawn."""
    success: NDArray[np.bool_] | None = None
    """Shape `(E,)`: whether each finished episode succeeded; None where the environment does not tell."""
    extras: Mapping[str, NDArray] = field(default_factory=dict)
    """By name, each of shape `(T, …)`: what was recorded by request, such as `expert_actions`."""

    def __post_init__(self) -> None:
        steps = len(self.observations)
        for name in ("actions", "rewards", "terminated", "truncated", "episode", "step_in_episode"):
            if len(getattr(self, name)) != steps:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} rows where observations has {steps}: "
                    "every per-step array of a history has one row per transition"
                )
        for name, values in self.extras.items():
            if len(values) != steps:
                raise ValueError(
                    f"the extra {name} has {len(values)} rows where observations has {steps}: one per transition"
                )
        if np.any(self.terminated & self.truncated):
            t = int(np.argmax(self.terminated & self.truncated))
            raise ValueError(f"step {t} is both terminated and truncated: a terminated episode is not truncated")
        done = self.terminated | self.truncated
        if len(self.final_observations) != np.count_nonzero(done):
            raise ValueError(
                f"final_observations has {len(self.final_observations)} rows for {np.count_nonzero(done)} "
                "finished episodes: each finished episode has one"
            )
        if self.success is not None and len(self.success) != len(self.final_observations):
            raise ValueError(
                f"success has {len(self.success)} rows for {len(self.final_observations)} finished episodes: each "
                "finished episode has one"
            )
        if steps == 0:
            return
        starts = np.concatenate(([True], done[:-1]))
        if np.any(self.step_in_episode[starts] != 0):
            raise ValueError("step_in_episode must be 0 at the first transition and after every finished episode")
        inside = np.flatnonzero(~starts)
        if np.any(self.step_in_episode[inside] != self.step_in_episode[inside - 1] + 1):
            raise ValueError("step_in_episode must rise by 1 within an episode")
        if np.any(self.episode[inside] != self.episode[inside - 1]):
            raise ValueError("episode changed where the episode before had neither terminated nor been truncated")
        boundary = np.flatnonzero(starts)[1:]
        if np.any(self.episode[boundary] <= self.episode[boundary - 1]):
            raise ValueError("episode must rise from one episode to the next")

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def dones(self) -> NDArray[np.bool_]:
        """Shape `(T,)`: the episode ended here, for either reason."""
        return self.terminated | self.truncated

    def derived(self, name: str) -> NDArray:
        """A column that any history has (`icrl.transitions.DERIVED`): shape `(T, …)`."""
        if name == RETURN_TO_GO:
            return returns_to_go(self.rewards, self.dones)
        if name == NEXT_OBSERVATIONS:
            return successors(self.observations, self.dones, self.final_observations)
        raise KeyError(f"{name} is not derived: expected one of {', '.join(DERIVED)}")

    def episode_returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each finished episode, in order: shape `(E,)`."""
        ends = np.flatnonzero(self.dones) + 1
        if not len(ends):
            return np.zeros(0)
        starts = np.concatenate(([0], ends[:-1]))
        return np.add.reduceat(self.rewards[: ends[-1]], starts, dtype=np.float64)

    def take_episodes(self, episodes: slice) -> "LearningHistory":
        """A history of some finished episodes only, counted from 0; `slice(3, 4)` is the fourth."""
        ends = np.flatnonzero(self.dones) + 1
        first, last, step = episodes.indices(len(ends))
        if step != 1:
            raise ValueError(f"episodes must be consecutive, got the slice's step {step}")
        rows = slice(ends[first - 1] if first else 0, ends[last - 1]) if first < last else slice(0, 0)
        parts = {
            name: getattr(self, name)[rows]
            for name in ("observations", "actions", "rewards", "terminated", "truncated", "episode", "step_in_episode")
        }
        finished = slice(first, max(first, last))
        success = None if self.success is None else self.success[finished]
        extras = {name: values[rows] for name, values in self.extras.items()}
        finals = self.final_observations[finished]
        return replace(self, **parts, final_observations=finals, success=success, extras=extras)

    def __repr__(self) -> str:
        arrays = {f.name: getattr(self, f.name) for f in fields(self)} | self.extras
        shapes = ", ".join(f"{name}{list(a.shape)}" for name, a in arrays.items() if isinstance(a, np.ndarray))
        return f"LearningHistory(task {self.task_id}, {self.learner} #{self.learner_seed}: {shapes})"
