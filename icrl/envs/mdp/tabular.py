"""Random tabular MDPs: a few states and actions, rewards and transitions drawn from a known prior.

Legend of the shape suffixes: H steps of an episode, N tasks or lanes, S states, A actions, Z the states that follow.
The functions on whole MDPs are pure, and a row of their result depends on that row's MDP only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import (
    Anchors,
    Axis,
    ReferencePolicy,
    Split,
    Task,
    TaskFamily,
    check_count,
    ood_numbers,
    split_numbers,
    split_sizes,
    varying_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

START_STATE = 0
REWARD_MEAN, CONCENTRATION = 1.0, 1.0
"""The prior: a mean reward is N(REWARD_MEAN, 1), a row of transitions Dirichlet(CONCENTRATION, …)."""
SHIFTED_REWARD_MEAN, SPARSE_CONCENTRATION = 2.0, 0.1
"""Those of the out-of-distribution sets "extrapolation" and "sparse"."""
HELD_KEY = 0
"""The key of the rewards, or the transitions, that all tasks share where that axis is held."""


class TabularMdp(TaskFamily):
    """RL²'s random MDPs: ten states, five actions, ten steps from state 0, noisy rewards.

    The mean reward of every (state, action) is drawn from N(1, 1), its transitions from Dirichlet(1, …, 1), and a
    reward is its mean plus Gaussian noise.

    A task names its two parts by the keys of the random streams that they are drawn from, and by their priors: under
    the same numbers of states and actions the same parameters are the same MDP, whatever the split's seed.

    Args:
        states, actions, horizon: sizes.
        noise: standard deviation of a reward.
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks.
        hold: "reward" or "dynamics": that part is then the same in all tasks.
    """

    picture_shows = (
        "States and, in their rings, the mean reward of each action, the darker the more; those taken "
        "are outlined. Arrows are steps, from dark to bright."
    )
    name = "tabular-mdp"
    version = 1
    source = "Duan et al. 2016 (RL²)"
    axes: tuple[Axis, ...] = ("reward", "dynamics")

    def __init__(
        self,
        *,
        states: int = 10,
        actions: int = 5,
        horizon: int = 10,
        noise: float = 1.0,
        train: int = 10_000,
        validation: int = 100,
        test: int = 1_000,
        hold: Sequence[str] = (),
    ) -> None:
        check_count("states", states, at_least=2)
        check_count("actions", actions, at_least=2)
        check_count("horizon", horizon, at_least=1)
        self.num_tasks = split_sizes(train, validation, test)
        if not 0 < noise < np.inf:
            raise UsageError(f"noise={noise}: expected a standard deviation above 0")
        self.axes = varying_axes(self.name, type(self).axes, hold)
        self.states, self.actions, self.horizon, self.noise = states, actions, horizon, float(noise)
        self.observation_space = gym.spaces.Discrete(states)
        self.action_space = gym.spaces.Discrete(actions)
        self.ood_sets = {}
        if "dynamics" in self.axes:
            self.ood_sets["sparse"] = f"transitions from Dirichlet({SPARSE_CONCENTRATION:g}) rather than Dirichlet(1)"
        if "reward" in self.axes:
            self.ood_sets["extrapolation"] = f"mean rewards from N({SHIFTED_REWARD_MEAN:g}, 1) rather than N(1, 1)"

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        ood = {
            name: self._tasks(ood_numbers(position, self.num_tasks["test"]), seed, name)
            for position, name in enumerate(self.ood_sets)
        }
        return split_numbers(numbers, self.num_tasks, self._tasks(numbers, seed, "").__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        """Tasks of these numbers, from the prior, or from the out-of-distribution set `where`."""
        # 53 bits: every reader of JSON brings such a number back as it was.
        reward_N, dynamics_N = (
            (stream_keys(seed, f"{self.name} {axis}", numbers) >> np.uint64(11)).tolist()
            if axis in self.axes
            else [HELD_KEY] * len(numbers)
            for axis in type(self).axes
        )
        priors = {
            "reward_mean": SHIFTED_REWARD_MEAN if where == "extrapolation" else REWARD_MEAN,
            "concentration": SPARSE_CONCENTRATION if where == "sparse" else CONCENTRATION,
        }
        return [
            Task(number, {"reward_key": reward, "dynamics_key": dynamics, **priors})
            for number, reward, dynamics in zip(numbers.tolist(), reward_N, dynamics_N, strict=True)
        ]

    def mean_rewards(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Of every state and action, shape `(N, S, A)`."""
        streams = Streams(np.array([task.params["reward_key"] for task in tasks], np.uint64))
        count = self.states * self.actions
        uniform = streams.uniform_block(2 * count)
        # Box and Muller, as in `Streams.normal`.
        normal = np.sqrt(-2.0 * np.log1p(-uniform[:count])) * np.cos(2.0 * np.pi * uniform[count:])
        mean_N = np.array([task.params["reward_mean"] for task in tasks], np.float64)
        return (mean_N + normal).T.reshape(-1, self.states, self.actions)

    def transitions(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Probabilities of the states that follow every state and action, shape `(N, S, A, Z)`."""
        streams = Streams(np.array([task.params["dynamics_key"] for task in tasks], np.uint64))
        uniform = streams.uniform_block(self.states * self.actions * self.states)
        alpha_N = np.array([task.params["concentration"] for task in tasks], np.float64)
        shape = (-1, self.states, self.actions, self.states)
        return dirichlet(np.broadcast_to(alpha_N, uniform.shape).T.reshape(shape), uniform.T.reshape(shape))

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "TabularMdpEnv":
        return TabularMdpEnv(self, self.mean_rewards(tasks), self.transitions(tasks), seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected return, shape `(N,)`, of acting at random with probability ε and else optimally."""
        reward_NSA, transition_NSAZ = self.mean_rewards(tasks), self.transitions(tasks)
        best_HNS = optimal_actions(reward_NSA, transition_NSAZ, self.horizon)
        value_NS = np.zeros(reward_NSA.shape[:2])
        for best_NS in best_HNS[::-1]:
            q_NSA = action_values(reward_NSA, transition_NSAZ, value_NS)
            chosen_NS = np.take_along_axis(q_NSA, best_NS[..., None], axis=2)[..., 0]
            value_NS = epsilon * q_NSA.mean(axis=2) + (1.0 - epsilon) * chosen_NS
        return value_NS[:, START_STATE]

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return StepwiseActions(optimal_actions(self.mean_rewards(tasks), self.transitions(tasks), self.horizon))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mdp.drawing import draw_mdp

        draw_mdp(axes, self.mean_rewards([task])[0], history)


class TabularMdpEnv(BatchedEnv):
    """One MDP per lane; every step draws one successor and one normal variate, whatever the action.

    Args:
        family: gives the spaces, the horizon and the noise.
        reward_NSA: mean rewards.
        transition_NSAZ: probabilities of the states that follow.
        seed, index: as in `TaskFamily.make`.
    """

    # Of the tables `_base_N` alone says which rows are whose.
    vouched = True
    per_lane = ("_base_N", "_state_N")

    def __init__(
        self,
        family: TabularMdp,
        reward_NSA: NDArray[np.float64],
        transition_NSAZ: NDArray[np.float64],
        seed: int,
        index: Sequence[int] | None,
    ) -> None:
        num_lanes, states, actions = reward_NSA.shape
        super().__init__(family.observation_space, family.action_space, num_lanes, family.horizon, seed, index)
        self._noise = family.noise
        self._actions = actions
        self._base_N = np.arange(num_lanes) * (states * actions)
        self._reward = reward_NSA.reshape(-1)
        # The last state's bound is 1 and needs no comparison: rounding cannot lead out of the table.
        bounds = np.cumsum(transition_NSAZ, axis=3)[..., :-1].reshape(-1, states - 1)
        self._bounds = np.ascontiguousarray(bounds)  # `take` would copy all of a view in every step.
        self._state_N = np.zeros(num_lanes, np.int64)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._state_N[lanes] = START_STATE

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        row_N = self._base_N + self._state_N * self._actions + actions
        reward_N = self._reward[row_N] + self._noise * self.streams.normal()
        below = self._bounds.take(row_N, axis=0) <= self.streams.uniform()[:, None]
        self._state_N = below.sum(axis=1)
        return reward_N.astype(np.float32), np.zeros(self.num_envs, bool)

    def _observe(self) -> NDArray[np.int64]:
        return self._state_N.copy()


class StepwiseActions(PerLane):
    """A policy that depends on the step of the episode: shape `(H, N, S)`, one action each."""

    per_lane = (("_action_HNS", 1), "_step_N")
    lane_counters = ("_lane_N",)

    def __init__(self, action_HNS: NDArray[np.int64]) -> None:
        self._action_HNS = action_HNS
        self._step_N = np.zeros(action_HNS.shape[1], np.int64)
        self._lane_N = np.arange(action_HNS.shape[1])

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return self._action_HNS[self._step_N, self._lane_N, observations]

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        self._step_N = np.where(terminated | truncated, 0, self._step_N + 1)


def action_values(
    reward_NSA: NDArray[np.float64], transition_NSAZ: NDArray[np.float64], value_NS: NDArray[np.float64]
) -> NDArray[np.float64]:
    """q(s, a) = r(s, a) + Σ_z p(z | s, a) v(z), shape `(N, S, A)`."""
    # Not a matrix product: its rounding may depend on how many MDPs stand in the batch.
    return reward_NSA + np.einsum("nsaz,nz->nsa", transition_NSAZ, value_NS)


def optimal_values(
    reward_NSA: NDArray[np.float64], transition_NSAZ: NDArray[np.float64], horizon: int
) -> NDArray[np.float64]:
    """Action values of acting optimally from each step on, shape `(H, N, S, A)`, by backward induction."""
    q_HNSA = np.empty((horizon, *reward_NSA.shape))
    value_NS = np.zeros(reward_NSA.shape[:2])
    for step in range(horizon - 1, -1, -1):
        q_HNSA[step] = action_values(reward_NSA, transition_NSAZ, value_NS)
        value_NS = q_HNSA[step].max(axis=2)
    return q_HNSA


def optimal_actions(
    reward_NSA: NDArray[np.float64], transition_NSAZ: NDArray[np.float64], horizon: int
) -> NDArray[np.int64]:
    """The best action of every step and state, shape `(H, N, S)`."""
    return optimal_values(reward_NSA, transition_NSAZ, horizon).argmax(axis=3)


def dirichlet(alpha: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dirichlet variates along the last axis, from one uniform each: gamma variates by inversion, then normalised.

    Args:
        alpha: concentrations, above 0. uniform: on [0, 1); the same shape.
    """
    from scipy.special import gammaincinv

    # A sum is rounded in the order of the memory, which must not depend on how many rows there are.
    uniform = np.ascontiguousarray(uniform)
    gamma = -np.log1p(-uniform)  # of concentration 1: far cheaper, and most are.
    other = alpha != 1.0
    gamma[other] = gammaincinv(alpha[other], uniform[other])
    return gamma / gamma.sum(axis=-1, keepdims=True)
