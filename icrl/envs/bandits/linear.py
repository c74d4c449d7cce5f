"""Linear bandits: what an arm pays is the product of its features with a vector θ that is the task.

Features are either the same for ever and nowhere to be seen, or drawn anew at every pull and observed. Suffixes: N
tasks or lanes, K arms, D dimensions of a feature vector.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.bandits.multi_armed import Bandit, BanditEnv, pull_blocks
from icrl.envs.kit.base import BatchedEnv
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import (
    Anchors,
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

SCALES: Mapping[str, float] = MappingProxyType({"scaled": 2.0, "weak": 0.2})
"""The out-of-distribution sets: θ that many times as long."""
SETS = MappingProxyType({"scaled": "θ twice as long", "weak": "θ a fifth as long"})


def theta_tasks(name: str, dimension: int, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
    """Tasks of these numbers: θ ~ N(0, I/D), or longer or shorter for the out-of-distribution set `where`."""
    streams = Streams(stream_keys(seed, f"{name} {where}", numbers))
    theta_ND = np.stack([streams.normal() for _ in range(dimension)], axis=1) / np.sqrt(dimension)
    rows = (SCALES.get(where, 1.0) * theta_ND).tolist()
    return [Task(int(number), {"theta": row}) for number, row in zip(numbers, rows, strict=True)]


def theta_split(family: TaskFamily, dimension: int, seed: int) -> Split:
    """The split of a family whose tasks are their θ."""
    numbers = np.arange(sum(family.num_tasks.values()))
    ood = {
        where: theta_tasks(family.name, dimension, ood_numbers(position, family.num_tasks["test"]), seed, where)
        for position, where in enumerate(SETS)
    }
    tasks = theta_tasks(family.name, dimension, numbers, seed, "tasks")
    return split_numbers(numbers, family.num_tasks, tasks.__getitem__, seed, ood)


def thetas(tasks: Sequence[Task], dimension: int) -> NDArray[np.float64]:
    """θ of the tasks, shape `(N, D)`."""
    return np.array([task.params["theta"] for task in tasks], np.float64).reshape(-1, dimension)


def inner(feature_NKD: NDArray, theta_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """φ · θ of every arm, shape `(N, K)`: summed in the same order whatever the batch, which a BLAS product is not."""
    return sum(feature_NKD[..., d].astype(np.float64) * theta_ND[:, None, d] for d in range(theta_ND.shape[1]))


def arm_features(num_arms: int, dimension: int) -> NDArray[np.float64]:
    """The features of arms that never change, shape `(K, D)`: drawn once from N(0, I/D), whatever the split's seed."""
    streams = Streams(stream_keys(0, "linear-bandit arms", np.arange(num_arms)))
    return np.stack([streams.normal() for _ in range(dimension)], axis=1) / np.sqrt(dimension)


def normal_pairs(radius_share_PN: NDArray[np.float64], angle_share_PN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two independent standard normal numbers of two uniform ones, as Box and Muller have it: shape `(2P, N)`.

    Cosine and sine come from the tangent of half the angle, which lies within ±π/2, and from a sign: NumPy takes a
    fifth of the time for that.
    """
    is_left_PN = angle_share_PN >= 0.5
    tangent_PN = np.tan((2.0 * angle_share_PN - is_left_PN - 0.5) * (np.pi / 2))
    square_PN = tangent_PN * tangent_PN
    scale_PN = np.sqrt(-2.0 * np.log1p(-radius_share_PN)) / (1.0 + square_PN)
    cosine_PN = scale_PN * (1.0 - square_PN)
    return np.concatenate((np.where(is_left_PN, -cosine_PN, cosine_PN), 2.0 * scale_PN * tangent_PN))


@cache
def expected_largest_normal(count: int) -> float:
    """The expectation of the largest of that many standard normal numbers, by quadrature, to about 1e-12."""
    from scipy.integrate import quad
    from scipy.special import ndtr

    # E max = ∫ (1 - Φ^K) over x > 0, less ∫ Φ^K over x < 0.
    return quad(lambda x: 1.0 - ndtr(x) ** count - ndtr(-x) ** count, 0.0, 40.0, epsabs=1e-13, limit=200)[0]


def _check_options(dimension: int, noise: float) -> None:
    check_count("dimension", dimension, at_least=1)
    if not 0 <= noise < np.inf:
        raise UsageError(f"noise={noise} is not a standard deviation: expected a number from 0")


class LinearBandit(Bandit):
    """The linear bandit of the Decision-Pretrained Transformer: arm a pays θ · φ(a) plus Gaussian noise.

    The features φ(a) ~ N(0, I/D) are drawn once for the family: all tasks of all splits share them, and they are not
    observed. A task is θ ~ N(0, I/D). A trial has 200 pulls. Out-of-distribution sets: "scaled", θ twice as long;
    "weak", a fifth as long, so that the arms differ by less than the noise.

    Args:
        num_arms: K.
        dimension: D, of features and of θ.
        noise: standard deviation σ of a reward.
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks.
    """

    name = "linear-bandit"
    source = "Lee et al. 2023 (Decision-Pretrained Transformer)"
    ood_sets = SETS
    picture_shows = (
        "Points are the arms by their features, darker and larger the more often pulled; the best is outlined, the "
        "arrow is θ."
    )

    def __init__(
        self,
        *,
        num_arms: int = 10,
        dimension: int = 2,
        noise: float = 0.3,
        train: int = 10_000,
        validation: int = 100,
        test: int = 200,
    ) -> None:
        super().__init__(num_arms=num_arms, train=train, validation=validation, test=test)
        _check_options(dimension, noise)
        self.dimension, self.noise = dimension, float(noise)
        self.arm_features = arm_features(num_arms, dimension)

    def split(self, seed: int) -> Split:
        return theta_split(self, self.dimension, seed)

    def means(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        return inner(self.arm_features[None], thetas(tasks, self.dimension))

    def features(self, observations: NDArray) -> NDArray[np.float64]:
        """The arms' features at these pulls, shape `(N, K, D)`; hidden from agents, known to the linear learners."""
        return np.broadcast_to(self.arm_features, (len(observations), *self.arm_features.shape))

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> BanditEnv:
        return BanditEnv(self, self.means(tasks), seed, index)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.bandits.linear_drawing import draw_arms

        draw_arms(axes, np.array(task.params["theta"]), self.arm_features, history.actions.astype(np.int64))


class ContextualLinearBandit(TaskFamily):
    """A linear bandit whose arms have new features at every pull, all of them observed before it.

    An observation is the K feature vectors φ(a) ~ N(0, I/D), one after the other; arm a pays θ · φ(a) plus Gaussian
    noise. A task is θ ~ N(0, I/D): what an agent has to find out, whereas no arm is good for long. With
    hold=["start"] the features are those of `LinearBandit` at every pull, and still observed. Out-of-distribution
    sets are those of `LinearBandit`.

    Args:
        num_arms: K.
        dimension: D, of features and of θ.
        noise: standard deviation σ of a reward.
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks.
        hold: "start" holds the features.
    """

    name = "contextual-linear-bandit"
    version = 1
    source = "Li et al. 2010 (the linear model of LinUCB); sizes and priors of Lee et al. 2023"
    axes = ("reward", "start")
    ood_sets = SETS
    picture_shows = "Points are arms by their features, blue those that were pulled; the arrow is θ."
    horizon = 1

    def __init__(
        self,
        *,
        num_arms: int = 10,
        dimension: int = 2,
        noise: float = 0.3,
        train: int = 10_000,
        validation: int = 100,
        test: int = 200,
        hold: Sequence[str] = (),
    ) -> None:
        check_count("num_arms", num_arms, at_least=2)
        _check_options(dimension, noise)
        self.num_tasks = split_sizes(train, validation, test)
        self.axes = varying_axes(self.name, type(self).axes, hold)
        if "reward" not in self.axes:
            raise UsageError(f"{self.name} with hold={list(hold)} leaves one task: its tasks differ in their reward")
        hold = [axis for axis in type(self).axes if axis not in self.axes]
        self.num_arms, self.dimension, self.noise = num_arms, dimension, float(noise)
        self.held_features = arm_features(num_arms, dimension) if hold else None
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (num_arms * dimension,), np.float32)
        self.action_space = gym.spaces.Discrete(num_arms)

    def split(self, seed: int) -> Split:
        return theta_split(self, self.dimension, seed)

    def features(self, observations: NDArray) -> NDArray[np.float64]:
        """The arms' features at these pulls, shape `(N, K, D)`."""
        return observations.reshape(-1, self.num_arms, self.dimension).astype(np.float64)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "ContextualLinearEnv":
        return ContextualLinearEnv(self, thetas(tasks, self.dimension), seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected reward of one pull, shape `(N,)`: at random with probability ε, else of the best arm.

        The K products θ · φ are independent N(0, |θ|²/D): their best is |θ|/sqrt(D) times the expected largest of K
        standard normal numbers.
        """
        theta_ND = thetas(tasks, self.dimension)
        if self.held_features is not None:
            mean_NK = inner(self.held_features[None], theta_ND)
            return epsilon * mean_NK.mean(axis=1) + (1.0 - epsilon) * mean_NK.max(axis=1)
        deviation_N = np.sqrt((theta_ND**2).sum(axis=1) / self.dimension)
        return (1.0 - epsilon) * deviation_N * expected_largest_normal(self.num_arms)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return BestFeatures(self, thetas(tasks, self.dimension))

    def expected_regret(self, task: Task, history: "LearningHistory") -> NDArray[np.float64]:
        theta_D = thetas([task], self.dimension)
        mean_TK = inner(self.features(history.observations), theta_D)
        chosen_T1 = history.actions.astype(np.int64)[:, None]
        return mean_TK.max(axis=1) - np.take_along_axis(mean_TK, chosen_T1, axis=1)[:, 0]

    def episode_groups(self, num_episodes: int, pictures: int = 6) -> list[slice]:
        return pull_blocks(num_episodes, pictures)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.bandits.linear_drawing import draw_choices

        theta = np.array(task.params["theta"])
        draw_choices(axes, theta, self.features(history.observations), history.actions.astype(np.int64))


class ContextualLinearEnv(BatchedEnv):
    """One contextual bandit per lane.

    Args:
        family: gives the spaces, the noise and the held features.
        theta_ND: shape `(N, D)`.
        seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_theta_ND", "_seen_NF")

    def __init__(
        self,
        family: ContextualLinearBandit,
        theta_ND: NDArray[np.float64],
        seed: int,
        index: Sequence[int] | None = None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(theta_ND), family.horizon, seed, index)
        self._theta_ND, self._noise, self._dimension = theta_ND, family.noise, family.dimension
        self._is_held = family.held_features is not None
        features = np.zeros((family.num_arms, family.dimension)) if not self._is_held else family.held_features
        self._seen_NF = np.tile(features.ravel().astype(np.float32), (len(theta_ND), 1))
        """What is observed: features, shape `(N, K · D)`."""

    def _start(self, lanes: NDArray[np.int64]) -> None:
        # A pull is an episode: all lanes start at once, always.
        if self._is_held:
            return
        count = self._seen_NF.shape[1]
        uniform_UN = self.streams.uniform_block(2 * ((count + 1) // 2))
        normal_FN = normal_pairs(*np.split(uniform_UN, 2))[:count] / np.sqrt(self._dimension)
        self._seen_NF = np.ascontiguousarray(normal_FN.T, np.float32)

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        first_N = actions.astype(np.int64) * self._dimension
        reward_N = self._noise * self.streams.normal()
        for d in range(self._dimension):
            reward_N += self._seen_NF[self._all_lanes, first_N + d].astype(np.float64) * self._theta_ND[:, d]
        return reward_N.astype(np.float32), np.ones(self.num_envs, bool)

    def _observe(self) -> NDArray:
        return self._seen_NF.copy()


class BestFeatures(PerLane):
    """The optimal policy of a known θ: the arm whose features pay the most."""

    per_lane = ("_theta_ND",)

    def __init__(self, family: ContextualLinearBandit, theta_ND: NDArray[np.float64]) -> None:
        self._family, self._theta_ND = family, theta_ND

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return inner(self._family.features(observations), self._theta_ND).argmax(axis=1)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the next features do not depend on the last ones."""
