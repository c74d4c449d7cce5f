"""Bernoulli bandits with action sets of varying size: one model for 4 arms and for 50, as in Headless-AD."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.bandits.multi_armed import FAVOURED_SHARE, Bandit, BanditEnv, favoured_halves
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Task, check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

LARGER = (20, 30, 40, 50)
"""Numbers of arms of Headless-AD's larger action sets."""


class HeadlessBandit(Bandit):
    """Headless-AD's Bernoulli bandits: 4 to 20 arms to train on, up to 50 to test on.

    The number of arms is uniform from `min_arms` to `max_arms`, and it is what an agent observes. In 95% of the tasks
    the odd arms (counted from 0) draw p from U(.5, 1) and the even ones from U(0, .5), in the others it is the other
    way round. The actions are those of the largest action set; an arm that a task does not have pays 0 for sure.

    Out-of-distribution sets: "inverse", where the even arms are good in 95% of the tasks; "uniform", every p from
    U(0, 1); "20-arms", "30-arms", "40-arms" and "50-arms", so many arms of p from U(0, 1).

    Args:
        min_arms, max_arms: of the tasks to train, select and test on.
        largest: arms in the action space; the sets of more arms than that are left out.
        train, validation, test: as in `Bandit`.
    """

    name = "headless-bandit"
    source = "Sinii et al. 2024 (Headless-AD)"

    def __init__(
        self,
        *,
        min_arms: int = 4,
        max_arms: int = 20,
        largest: int = 50,
        train: int = 10_000,
        validation: int = 100,
        test: int = 1_000,
    ) -> None:
        check_count("min_arms", min_arms, at_least=2)
        if not min_arms <= max_arms <= largest:
            raise UsageError(
                f"min_arms={min_arms}, max_arms={max_arms} and largest={largest} are out of order: expected "
                "min_arms ≤ max_arms ≤ largest"
            )
        super().__init__(num_arms=largest, train=train, validation=validation, test=test)
        self.min_arms, self.max_arms = min_arms, max_arms
        self.observation_space = gym.spaces.Discrete(largest + 1)
        self.ood_sets = {
            "inverse": f"the even arms are good in {FAVOURED_SHARE:.0%} of the tasks rather than the odd ones",
            "uniform": "every p from 0 to 1, odd or even",
            **{f"{arms}-arms": f"{arms} arms, every p from 0 to 1" for arms in LARGER if arms <= largest},
        }

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        streams = Streams(stream_keys(seed, f"{self.name} {where}", numbers))
        mean_NK = streams.uniform_block(self.num_arms).T
        is_usual_N, share_N = streams.uniform() < FAVOURED_SHARE, streams.uniform()
        count_N = self.min_arms + (share_N * (self.max_arms - self.min_arms + 1)).astype(np.int64)
        if where in ("tasks", "inverse"):
            mean_NK = favoured_halves(mean_NK, is_usual_N if where == "tasks" else ~is_usual_N)
        elif where != "uniform":
            count_N[:] = int(where.removesuffix("-arms"))
        rows = zip(numbers, mean_NK, count_N, strict=True)
        return [Task(int(number), {"means": mean_K[:count].tolist()}) for number, mean_K, count in rows]

    def valid_actions(self, tasks: Sequence[Task]) -> NDArray[np.int64]:
        return np.array([len(task.params["means"]) for task in tasks], np.int64)

    def means(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """The arms' means, shape `(N, K)`: 0 for those that a task does not have."""
        mean_NK = np.zeros((len(tasks), self.num_arms))
        for mean_K, task in zip(mean_NK, tasks, strict=True):
            mean_K[: len(task.params["means"])] = task.params["means"]
        return mean_NK

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected reward of one pull, shape `(N,)`: with probability ε of any arm that the task has."""
        mean_NK = self.means(tasks)
        return epsilon * mean_NK.sum(axis=1) / self.valid_actions(tasks) + (1.0 - epsilon) * mean_NK.max(axis=1)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> BanditEnv:
        return BanditEnv(self, self.means(tasks), seed, index, seen_N=self.valid_actions(tasks))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_pulls

        shown = max(len(task.params["means"]), int(history.actions.max(initial=0)) + 1)
        draw_pulls(axes, self.means([task])[0, :shown], history)
