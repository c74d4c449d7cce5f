"""A frozen model that acts: `reset`, then `act` and `observe` in turn, for any number of lanes at once.

Shape suffixes: N lanes, T transitions, A actions.
"""

from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from icrl.errors import CheckpointError, UsageError
from icrl.folders import check_source, model_folder
from icrl.history import LearningHistory
from icrl.lanes import rising
from icrl.models.actions import distribution_of
from icrl.models.backbones.base import window_start
from icrl.models.methods import METHODS
from icrl.models.saved import read_model
from icrl.models.tokens import Tokens
from icrl.models.transformer import Context, InContextTransformer
from icrl.seeding import Streams, stream_keys
from icrl.spaces import BoxActions, WrongValue, describe_space, gate, in_short, memory_dtype, space_from_dict


class InContextAgent:
    """Acts in N environments with frozen weights; what it learns, it learns in its context.

    Args:
        model: the transformer; it is put into eval mode.
        greedy: the likeliest action rather than a sampled one.
    """

    def __init__(self, model: InContextTransformer, greedy: bool = False) -> None:
        self.model, self.greedy = model.eval(), greedy
        self.method = METHODS[model.config.method]
        self._observation_space = space_from_dict(model.config.observation_space)
        self._action_space = space_from_dict(model.config.action_space)
        self._scales = model.config.maps
        self._observation_type = memory_dtype(self._observation_space)
        self._observation_gate, self._action_gate = gate(self._observation_space), gate(self._action_space)
        self._distribution = distribution_of(model.config.action_space)
        self._box = BoxActions(self._action_space) if isinstance(self._action_space, gym.spaces.Box) else None
        self._context: Context | None = None
        self._awaiting = "reset"

    def reset(
        self,
        num_envs: int,
        seed: int = 0,
        index: ArrayLike | None = None,
        prompts: Sequence[LearningHistory | None] | None = None,
    ) -> None:
        """Forgets everything and makes ready for `num_envs` lanes.

        Args:
            seed, index: lane i samples its actions from the stream (seed, "action", index[i]), index defaulting to
                0 … N-1; so what a lane does depends neither on the batch nor on its place in it.
            prompts: per lane a history to begin with, or None. Where it is longer than the context its newest part is
                read. The environment starts an episode after it, whether or not the prompt's last one had ended.
        """
        if num_envs < 1:
            raise UsageError(f"num_envs is {num_envs}: expected at least one environment")
        index = np.arange(num_envs) if index is None else np.asarray(index)
        if index.shape != (num_envs,):
            raise UsageError(f"index has shape {index.shape}: expected one number for each of {num_envs} environments")
        if prompts is not None and len(prompts) != num_envs:
            raise UsageError(f"got {len(prompts)} prompts for {num_envs} environments: expected one or None for each")
        self.num_envs = num_envs
        self._streams = Streams(stream_keys(seed, "action", index))
        self._context = Context(self.model, num_envs)
        self._actions = np.repeat(self._scales.no_action(self._action_space)[None], num_envs, axis=0)
        self._rewards = np.full(num_envs, self._scales.rewards.centre)
        self._dones = np.ones(num_envs, bool)
        self._steps = np.zeros(num_envs, np.int64)
        if prompts is not None:
            self._read(prompts)
        self._awaiting = "act"

    def act(self, observations: NDArray) -> NDArray:
        """Actions for the observations `(N, *observation_shape)` of all lanes: `(N,)` int64 for a Discrete space,
        `(N, *action_shape)` of the type of a Box and within its bounds."""
        self._expect("act")
        shape = (self.num_envs, *self._observation_space.shape)
        observations = np.asarray(observations)
        if observations.shape != shape:
            raise UsageError(
                f"observations have shape {observations.shape}: expected {shape}, {self.num_envs} observations "
                f"of {describe_space(self.model.config.observation_space)}"
            )
        try:
            observations = self._observation_gate(observations)
        except WrongValue as error:
            raise UsageError(f"{self._place(error.row)}: the observation {error}") from None
        none = np.empty((self.num_envs, 0))
        tokens = self._tokens(
            observations.astype(self._observation_type, copy=False)[:, None], none, none, none,
            self._steps[:, None], self._actions, self._rewards, self._dones,
        )  # fmt: skip
        outputs = self._context.step(tokens)
        # One sum finds that something is not finite; where, is looked for then.
        if not np.isfinite(float(outputs.sum())):
            self._check_finite(outputs)
        self._actions = self.method.act(outputs, None if self.greedy else self._uniforms(), self._distribution)
        if self._box is not None:
            self._actions = self._box.within(self._scales.actions.undo(self._actions))
        self._awaiting = "observe"
        return self._actions.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """The environments' answer to the last `act`, each `(N,)`."""
        self._expect("observe")
        columns = {"rewards": rewards, "terminated": terminated, "truncated": truncated}
        for name, values in columns.items():
            values = columns[name] = np.asarray(values)
            if values.shape != (self.num_envs,):
                raise UsageError(
                    f"{name} has shape {values.shape}: expected ({self.num_envs},), one for each environment"
                )
            if values.dtype.kind not in "biuf":
                raise UsageError(f"{name} has the type {values.dtype}: expected numbers")
            good = np.isfinite(values) if name == "rewards" else (values == 0) | (values == 1)
            if not good.all():
                lane, what = int(np.argmin(good)), "a finite number" if name == "rewards" else "a boolean"
                raise UsageError(f"{self._place(lane)}: {name} has {in_short(values[lane])}: expected {what}")
        self._rewards = columns["rewards"].astype(np.float64)
        self._dones = (columns["terminated"] != 0) | (columns["truncated"] != 0)
        self._steps = np.where(self._dones, 0, self._steps + 1)
        self._awaiting = "act"

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these, places in the present batch that rise; the others go on as before."""
        self._expect("act")
        lanes = rising(lanes, self.num_envs)
        self._streams.keep(lanes)
        self._actions, self._rewards, self._dones, self._steps = (
            values[lanes] for values in (self._actions, self._rewards, self._dones, self._steps)
        )
        self._context.keep(lanes)
        self.num_envs = len(lanes)

    def _uniforms(self) -> NDArray[np.float64]:
        """One for each lane's action, or one for each number of it."""
        if self._box is not None:
            return self._streams.uniform_block(self._action_space.low.size).T
        return self._streams.uniform()

    def _expect(self, call: str) -> None:
        if self._awaiting != call:
            first = "agent.reset(num_envs)" if self._awaiting == "reset" else f"agent.{self._awaiting}(...)"
            raise UsageError(f"agent.{call}(...) was called where {first} is due: reset, then act and observe in turn")

    def _check_finite(self, outputs: torch.Tensor) -> None:
        if (finite := torch.isfinite(outputs).flatten(1).all(1)).all():
            return  # Finite numbers whose sum is not.
        raise CheckpointError(
            f"{self._place(int(finite.int().argmin()))}: the model's outputs are not finite, so there is no action: "
            "its training diverged, or its weights are damaged; train again, or restore the folder"
        )

    def _place(self, lane: int) -> str:
        return f"lane {lane}, step {self._steps[lane]} of its episode"

    def _tokens(self, *columns: NDArray) -> Tokens:
        columns = self._scales.columns(*columns)
        return self.method.tokens(*map(torch.from_numpy, columns)).to(self.model.device)

    def _read(self, prompts: Sequence[LearningHistory | None]) -> None:
        """Prefills the context with the newest part of each prompt, and takes over its last transition."""
        config = self.model.config
        starts = [0 if p is None else window_start(len(p), config.context_length, config.kept) for p in prompts]
        lengths = np.array([0 if p is None else len(p) - s for p, s in zip(prompts, starts, strict=True)])
        shape = (self.num_envs, int(lengths.max()))
        columns = {
            "observations": np.zeros(shape + self._observation_space.shape, self._observation_type),
            "actions": np.zeros(shape + self._action_space.shape, memory_dtype(self._action_space)),
            "rewards": np.zeros(shape),
            "dones": np.zeros(shape, bool),
            "step_in_episode": np.zeros(shape, np.int64),
        }
        before = [self._actions.copy(), self._rewards.copy(), self._dones.copy()]
        for lane, (prompt, start, length) in enumerate(zip(prompts, starts, lengths, strict=True)):
            if prompt is None or not len(prompt):
                continue
            self._check_prompt(lane, prompt)
            for name, column in columns.items():
                column[lane, :length] = getattr(prompt, name)[start:]
            if start:
                before[0][lane] = prompt.actions[start - 1]
                before[1][lane] = prompt.rewards[start - 1]
                before[2][lane] = prompt.dones[start - 1]
            self._actions[lane], self._rewards[lane] = prompt.actions[-1], prompt.rewards[-1]
        if shape[1]:
            self._context.prefill(self._tokens(*columns.values(), *before), lengths)

    def _check_prompt(self, lane: int, prompt: LearningHistory) -> None:
        """Raises UsageError where a prompt is not of the model's spaces."""
        remedy = "take the prompt from data of the model's own family"
        for what, gate_of in (("observations", self._observation_gate), ("actions", self._action_gate)):
            try:
                gate_of(getattr(prompt, what))
            except WrongValue as error:
                raise UsageError(f"prompt {lane}, step {error.row}: {what} hold {error}; {remedy}") from None
        if not (finite := np.isfinite(prompt.rewards)).all():
            step = int(np.argmin(finite))
            raise UsageError(f"prompt {lane}, step {step}: the reward is {prompt.rewards[step]}: expected a number")


def load_agent(
    path: str | Path, device: str = "cpu", greedy: bool = False, checkpoint: str | int | None = None
) -> InContextAgent:
    """The agent of a finished run, or of a checkpoint of any.

    Args:
        path: a run folder, as `icrl train` writes it, or a model folder with `config.json` and `model.safetensors`.
        checkpoint: the step of one, or "latest"; None is the finished model.

    Raises:
        UsageError: where there is no such folder or checkpoint, or it is one of another kind.
        CheckpointError: where there is no whole model.
    """
    path = Path(path)
    found = check_source(path, "model")
    folder = model_folder(path, checkpoint)
    if not (folder / "config.json").is_file():
        if checkpoint is not None or found.kind == "model":
            raise CheckpointError(
                f"{folder} has no config.json: it is damaged, or a checkpoint of an earlier release; "
                "restore it, or go on from it with `icrl train --resume`"
            )
        if found.kind == "run":
            raise CheckpointError(
                f"{path} has no model/config.json: training has not finished; continue with `icrl train --resume`, or "
                'take what it has learned so far: `icrl evaluate --checkpoint latest`, load_agent(checkpoint="latest")'
            )
        raise CheckpointError(f"{path} has no model/config.json and no config.json: expected a run or a model folder")
    return InContextAgent(read_model(folder).to(device), greedy=greedy)
