"""A frozen model that acts: `reset`, then `act` and `observe` in turn, for any number of lanes at once.

Shape suffixes: N lanes, T transitions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from icrl.errors import CheckpointError, UsageError
from icrl.folders import check_source, model_folder
from icrl.history import LearningHistory
from icrl.lanes import rising
from icrl.models.model import InContextModel
from icrl.models.parts import to_torch
from icrl.models.saved import read_model
from icrl.recordings import group_of, named, read_recordings
from icrl.seeding import Streams, stream_keys
from icrl.spaces import (
    WrongValue,
    describe_space,
    empty,
    gate,
    in_short,
    memory_dtype,
    num_uniforms,
    space_from_dict,
)  # fmt: skip
from icrl.transitions import DERIVED, Before, Transitions


class InContextAgent:
    """Acts in N environments with frozen weights; what it learns, it learns in its context.

    Args:
        model: it is put into eval mode.
        greedy: the likeliest action rather than a sampled one.
        group: which of the model's groups of spaces the environments are of; the first by default.
    """

    def __init__(self, model: InContextModel, greedy: bool = False, group: str | None = None) -> None:
        self.model, self.greedy = model.eval(), greedy
        specs = model.config.groups
        self.group = next(iter(specs)) if group is None else group
        if self.group not in specs:
            raise UsageError(f"the model has no group {group!r}: expected one of {', '.join(specs)}")
        self.spec = specs[self.group]
        self._observation_space = space_from_dict(self.spec.observation_space)
        self._action_space = space_from_dict(self.spec.action_space)
        self._scales = self.spec.maps
        self._observation_type = memory_dtype(self._observation_space)
        self._observation_gate, self._action_gate = gate(self._observation_space), gate(self._action_space)
        self._num_uniforms = num_uniforms(self._action_space)
        self._to_play = self._scales.to_play(self._action_space)
        self._actor = model.method.actor(model.net, self.group)
        self._awaiting = "reset"

    def reset(
        self,
        num_envs: int,
        seed: int = 0,
        index: ArrayLike | None = None,
        prompts: Sequence[LearningHistory | None] | None = None,
        targets: ArrayLike | None = None,
    ) -> None:
        """Forgets everything and makes ready for `num_envs` lanes.

        Args:
            seed, index: lane i samples its actions from the stream (seed, "action", index[i]), index defaulting to
                0 … N-1; so what a lane does depends neither on the batch nor on its place in it.
            prompts: per lane a history to begin with, or None. Where it is longer than the context its newest part is
                read. The environment starts an episode after it, whether or not the prompt's last one had ended.
            targets: the return that each episode is to come to, one number or one per lane, for a method that takes
                one.
        """
        if num_envs < 1:
            raise UsageError(f"num_envs is {num_envs}: expected at least one environment")
        index = np.arange(num_envs) if index is None else np.asarray(index)
        if index.shape != (num_envs,):
            raise UsageError(f"index has shape {index.shape}: expected one number for each of {num_envs} environments")
        if prompts is not None and len(prompts) != num_envs:
            raise UsageError(f"got {len(prompts)} prompts for {num_envs} environments: expected one or None for each")
        self.num_envs = num_envs
        targets = self._targets(targets)
        self._streams = Streams(stream_keys(seed, "action", index))
        self._actions = np.repeat(self._scales.no_action(self._action_space)[None], num_envs, axis=0)
        self._rewards = np.full(num_envs, self._scales.rewards.centre)
        self._terminated, self._truncated = np.ones(num_envs, bool), np.zeros(num_envs, bool)
        self._steps = np.zeros(num_envs, np.int64)
        self._actor.begin(num_envs, None if prompts is None else self._read(prompts), targets)
        self._awaiting = "act"

    def act(self, observations: NDArray) -> NDArray:
        """Actions for the observations `(N, *observation_shape)` of all lanes: `(N, *action_shape)` of the action
        space's type, within its bounds."""
        self._expect("act")
        try:
            observations = self._observation_gate(observations)
        except WrongValue as error:
            raise UsageError(f"{self._place(error.row)}: the observation {error}") from None
        if len(observations) != self.num_envs:
            raise UsageError(
                f"observations have shape {observations.shape}: expected {self.num_envs} observations of "
                f"{describe_space(self.spec.observation_space)}"
            )
        none = np.empty((self.num_envs, 0))
        now = self._columns(
            observations.astype(self._observation_type, copy=False)[:, None],
            empty(self._action_space, (self.num_envs, 0)), none, none.astype(bool), none.astype(bool),
            self._steps[:, None], np.ones(self.num_envs, np.int64), self._before(), {},
        )  # fmt: skip
        outputs = self._actor.act(now)
        self._check_finite(outputs)
        drawn = self._actor.choose(outputs, None if self.greedy else self._streams.uniform_block(self._num_uniforms).T)
        self._actions = self._to_play(drawn)
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
        self._terminated, self._truncated = columns["terminated"] != 0, columns["truncated"] != 0
        self._steps = np.where(self._terminated | self._truncated, 0, self._steps + 1)
        self._actor.observe(self._rewards, self._terminated, self._truncated)
        self._awaiting = "act"

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these, places in the present batch that rise; the others go on as before."""
        self._expect("act")
        lanes = rising(lanes, self.num_envs)
        self._streams.keep(lanes)
        self._actions, self._rewards, self._terminated, self._truncated, self._steps = (
            values[lanes] for values in (self._actions, self._rewards, self._terminated, self._truncated, self._steps)
        )
        self._actor.keep(lanes)
        self.num_envs = len(lanes)

    def _targets(self, targets: ArrayLike | None) -> NDArray[np.float64] | None:
        if targets is None:
            return None
        if not self.model.method.takes_target:
            raise UsageError(f"the method {self.model.config.method['name']} takes no target return: leave it out")
        values = np.asarray(targets, np.float64)
        if values.shape not in ((), (self.num_envs,)) or not np.isfinite(values).all():
            raise UsageError(
                f"targets are {in_short(targets)}: expected one finite number, or one for each of {self.num_envs} "
                "environments"
            )
        return np.broadcast_to(values, (self.num_envs,)).copy()

    def _expect(self, call: str) -> None:
        if self._awaiting != call:
            first = "agent.reset(num_envs)" if self._awaiting == "reset" else f"agent.{self._awaiting}(...)"
            raise UsageError(f"agent.{call}(...) was called where {first} is due: reset, then act and observe in turn")

    def _check_finite(self, outputs: Any) -> None:
        if isinstance(outputs, dict):
            for part in outputs.values():
                self._check_finite(part)
            return
        # One sum finds that something is not finite; where, is looked for then.
        if np.isfinite(float(outputs.sum())) or (finite := torch.isfinite(outputs).flatten(1).all(1)).all():
            return
        raise CheckpointError(
            f"{self._place(int(finite.int().argmin()))}: the model's outputs are not finite, so there is no action: "
            "its training diverged, or its weights are damaged; train again, or restore the folder"
        )

    def _place(self, lane: int) -> str:
        return f"lane {lane}, step {self._steps[lane]} of its episode"

    def _before(self) -> Before:
        return Before(self._actions, self._rewards, self._terminated, self._truncated)

    def _columns(
        self, observations, actions, rewards, terminated, truncated, steps, lengths, before, extras
    ) -> Transitions:
        columns = Transitions(
            observations, actions, rewards, terminated, truncated, steps, before, lengths, extras, self.group
        )
        columns = self._scales.of(columns).map(to_torch)
        return columns if self.model.device.type == "cpu" else columns.to(self.model.device)

    def _read(self, prompts: Sequence[LearningHistory | None]) -> Transitions | None:
        """What each context begins with of its prompt; the last transition is taken over."""
        rows = [np.arange(0) if p is None else self._rows(lane, p) for lane, p in enumerate(prompts)]
        lengths = np.array([len(of) for of in rows])
        shape = (self.num_envs, int(lengths.max()))
        if not shape[1]:
            return None
        observations, actions = empty(self._observation_space, shape), empty(self._action_space, shape)
        numbers, flags = np.zeros((1, *shape)), np.zeros((2, *shape), bool)
        steps, extras = np.zeros(shape, np.int64), {}
        before = Before(*(values.copy() for values in vars(self._before()).values()))
        for lane, (prompt, of) in enumerate(zip(prompts, rows, strict=True)):
            if prompt is None or not len(of):
                continue
            here, start = (lane, slice(len(of))), int(of[0])
            observations[here], actions[here] = prompt.observations[of], prompt.actions[of]
            numbers[0][here], steps[here] = prompt.rewards[of], prompt.step_in_episode[of]
            flags[0][here], flags[1][here] = prompt.terminated[of], prompt.truncated[of]
            for name in (name for name in self.model.method.needs if name in DERIVED):
                values = prompt.derived(name)[of]
                if name not in extras:
                    # Padding is of some value of the space.
                    extras[name] = np.empty(shape + values.shape[1:], values.dtype)
                    extras[name][...] = values[0]
                extras[name][here] = values
            if start:
                before.actions[lane], before.rewards[lane] = prompt.actions[start - 1], prompt.rewards[start - 1]
                before.terminated[lane] = prompt.terminated[start - 1]
                before.truncated[lane] = prompt.truncated[start - 1]
            self._actions[lane], self._rewards[lane] = prompt.actions[-1], prompt.rewards[-1]
        return self._columns(observations, actions, numbers[0], *flags, steps, lengths, before, extras)

    def _rows(self, lane: int, prompt: LearningHistory) -> NDArray[np.int64]:
        """The transitions of a prompt that the context begins with."""
        self._check_prompt(lane, prompt)
        start, context = self.model.window_start(len(prompt)), self.model.config.context_length
        return self.model.method.read_of_prompt(prompt, start, context)

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
    path: str | Path,
    device: str = "cpu",
    greedy: bool = False,
    checkpoint: str | int | None = None,
    group: str | None = None,
    trust_code: bool = False,
    recording: str | None = None,
    acting: Mapping[str, Any] | None = None,
) -> InContextAgent:
    """The agent of a finished run, or of a checkpoint of any.

    Args:
        path: a run folder, as `icrl train` writes it, or a model folder with `config.json` and `model.safetensors`.
        checkpoint: the step of one, or "latest"; None is the finished model.
        group: which of the model's groups of spaces the environments are of; the first by default.
        trust_code: run the code of a method or a backbone of somebody's own, which the model names.
        recording: of a run on several datasets, the one whose environments it is to act in; in place of `group`.
        acting: options of the method that say how it acts, other than it was trained with (`Method.acting`).

    Raises:
        UntrustedCode: where there is such code, and it is not trusted.
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
    if recording is not None:
        recordings = read_recordings(path)
        group = group_of(recordings, named(recordings, recording, path).name)
    model = read_model(folder, trust_code).to(device)
    model.method.act_with(**(acting or {}))
    return InContextAgent(model, greedy, group)
