"""The checks of `icrl check-method`: what training, evaluation and the agent take for granted of a method.

Each is run on a tiny model of the method, on a few recorded histories of a small family.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from icrl.checks import expect
from icrl.choices import Choice
from icrl.history import LearningHistory
from icrl.models.agent import InContextAgent
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.methods.base import Sampler
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.saved import quiet
from icrl.models.spec import Spec
from icrl.ranges import measure
from icrl.store import HistoryStore

TOLERANCE = 1e-4
"""Between what two ways of computing the same give, in float32."""
SMALL = ModelOptions(n_layer=2, n_head=2, width=16, context_length=24)


@dataclass
class Subject:
    """The method under test, and the data that it is tested on."""

    name: str
    options: Mapping[str, Any]
    data: Path
    """A small dataset."""

    @cached_property
    def store(self) -> HistoryStore:
        return HistoryStore.open(self.data)

    @cached_property
    def choice(self) -> Choice:
        return Choice(self.name, METHODS[self.name].Options(**self.options))

    @cached_property
    def spec(self) -> Spec:
        provenance, method = self.store.provenance, METHODS[self.name](self.choice.options)
        scales = measure(self.store, range(len(self.store)), method.needs)
        return Spec(provenance.observation_space, provenance.action_space, provenance.horizon, scales)

    def model(self) -> InContextModel:
        """A new one: always of the same weights, in eval mode."""
        torch.manual_seed(0)
        config = InContextConfig.of(self.choice, Choice("transformer", SMALL), {"0": self.spec})
        model = InContextModel(config)
        # What blocks give to the residual stream starts at zero: a model that mixes nothing would hide a fault.
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        return model.eval()

    def sampler(self, model: InContextModel) -> Sampler:
        histories = np.arange(len(self.store))
        return model.method.sampler(self.store, histories, SMALL.context_length, 0, self.spec.maps)

    def loss(self, model: InContextModel, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """With the same random numbers each time."""
        torch.manual_seed(0)
        return model.method.loss(model, batch, torch.Generator().manual_seed(0))


def options_are_a_dataclass(subject: Subject) -> None:
    """Options is a frozen dataclass whose fields all have defaults, so that flags and configs are made from it."""
    options = METHODS[subject.name].Options
    expect(isinstance(options, type) and is_dataclass(options), f"Options is {options!r}")
    expect(options.__dataclass_params__.frozen, "Options is not frozen: @dataclass(frozen=True)")
    _ = [getattr(options(), field.name) for field in fields(options)]


def samples_are_functions_of_their_numbers(subject: Subject) -> None:
    """A sampler gives the same samples for the same numbers, whatever else is asked for and in whatever order."""
    sampler = subject.sampler(subject.model())
    expect(len(sampler) > 0, "the sampler has no samples")
    numbers = np.unique(np.linspace(0, len(sampler) - 1, 6).round().astype(np.int64))
    forward, backward = sampler.batch(numbers), subject.sampler(subject.model()).batch(numbers[::-1].copy())
    expect(forward.shape[0] == len(numbers), f"{len(numbers)} numbers gave {forward.shape[0]} rows")
    ours, theirs = _leaves(vars(forward)), _leaves(vars(backward))
    for name, values in ours.items():
        same = torch.equal(values, theirs[name].flip(0))
        expect(same, f"{name} differs where the same samples are asked for in another order")
    lengths = forward.lengths
    expect(bool((lengths >= 1).all() and (lengths <= sampler.length).all()), f"lengths are {lengths.tolist()}")


def losses_are_finite_and_reported(subject: Subject) -> None:
    """A loss is one finite number, reported among the metrics as "loss", and the same when it is computed again."""
    model = subject.model()
    batch = subject.sampler(model).batch(np.arange(4))
    (loss, metrics), (again, _) = subject.loss(model, batch), subject.loss(model, batch)
    expect(loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss is {loss}")
    expect("loss" in metrics, f"metrics are {', '.join(metrics)}: expected loss among them")
    expect(torch.equal(loss, again), f"the loss is {loss.item()}, then {again.item()}")


def padding_weighs_nothing(subject: Subject) -> None:
    """What stands in a row beyond its length changes no loss."""
    model = subject.model()
    batch = subject.sampler(model).batch(np.arange(4))
    if batch.shape[1] < 4:
        return
    short = type(batch)(**{**vars(batch), "lengths": batch.lengths.clamp(max=batch.shape[1] - 2)})
    other = type(batch)(**{**vars(short), "rewards": short.rewards.clone(), "steps": short.steps.clone()})
    other.rewards[:, -2:] += 1.0
    other.steps[:, -2:] = 0
    one, two = (subject.loss(model, of)[0].item() for of in (short, other))
    expect(abs(one - two) <= TOLERANCE * max(1.0, abs(one)), f"the loss is {one}, with other padding {two}")


def every_weight_is_trained(subject: Subject) -> None:
    """Every weight has a gradient, as training in several processes demands."""
    model = subject.model().train()
    loss, _ = subject.loss(model, subject.sampler(model).batch(np.arange(4)))
    loss.backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    expect(not without, f"no gradient reaches {', '.join(without[:5])}")


def training_lowers_the_loss(subject: Subject) -> None:
    """Forty steps on one batch lower its loss; after_step is called after each."""
    model = subject.model().train()
    batch = subject.sampler(model).batch(np.linspace(0, len(subject.sampler(model)) - 1, 8).astype(np.int64))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    first = subject.loss(model, batch)[0].item()
    for step in range(40):
        optimizer.zero_grad()
        subject.loss(model, batch)[0].backward()
        optimizer.step()
        model.method.after_step(model.net, step + 1)
    last = subject.loss(model, batch)[0].item()
    expect(last < first - 0.01 * abs(first), f"the loss was {first:.4f} and is {last:.4f}")


def lanes_are_alone(subject: Subject) -> None:
    """What a lane does depends neither on the other lanes nor on its place, and lanes may leave."""
    agent = InContextAgent(subject.model())
    histories = [subject.store.history(h) for h in range(3)]
    steps = min(30, *(len(history) for history in histories))
    together = _follow(agent, histories, steps)
    alone = _follow(agent, histories[2:], steps, index=[2])
    _expect_close(together[:, 2:], alone, "a lane acts otherwise in a batch of three than alone")
    left = _follow(agent, histories, steps, leave_at=steps // 2, stay=[0, 2])
    _expect_close(together[:, [0, 2]], left, "lanes act otherwise once another has left")


def a_new_start_forgets(subject: Subject) -> None:
    """`begin` forgets everything: a second life is as the first."""
    agent = InContextAgent(subject.model())
    histories = [subject.store.history(h) for h in range(2)]
    steps = min(12, *(len(history) for history in histories))
    _expect_close(_follow(agent, histories, steps), _follow(agent, histories, steps), "a second life differs")


def a_prompt_is_as_if_lived(subject: Subject) -> None:
    """Acting after a prompt of whole episodes is acting after having lived them."""
    agent = InContextAgent(subject.model())
    histories = [subject.store.history(h).take_episodes(slice(0, 2)) for h in range(2)]
    prompts = [history.take_episodes(slice(0, 1)) for history in histories]
    later = [history.take_episodes(slice(1, 2)) for history in histories]
    start = {len(prompt) for prompt in prompts}
    if len(start) > 1:  # The check follows lanes in step.
        prompts, later, histories = prompts[:1], later[:1], histories[:1]
    # Having lived the episode towards the return that it came to is what a prompt of it says.
    targets = [float(prompt.episode_returns()[0]) for prompt in prompts] if agent.model.method.takes_target else None
    first = len(prompts[0])
    steps = min(len(later[0]), 4)
    lived = _follow(agent, histories, first + steps, targets=targets)[first:]
    prompted = _follow(agent, later, steps, prompts=prompts, targets=targets)
    _expect_close(lived, prompted, "after a prompt a lane acts otherwise than after having lived it")


def saved_models_act_alike(subject: Subject) -> None:
    """A model that was saved and loaded acts as the one that was saved."""
    model = subject.model()
    histories = [subject.store.history(0)]
    with tempfile.TemporaryDirectory(prefix="icrl-") as folder, quiet():
        model.save_pretrained(folder)
        loaded = InContextModel.from_pretrained(folder, local_files_only=True)
    steps = min(12, len(histories[0]))
    ours, theirs = (_follow(InContextAgent(of), histories, steps) for of in (model, loaded))
    _expect_close(ours, theirs, "a loaded model acts otherwise than the one that was saved")


CHECKS = (
    options_are_a_dataclass, samples_are_functions_of_their_numbers, losses_are_finite_and_reported,
    padding_weighs_nothing, every_weight_is_trained, training_lowers_the_loss, lanes_are_alone, a_new_start_forgets,
    a_prompt_is_as_if_lived, saved_models_act_alike,
)  # fmt: skip


def _follow(
    agent: InContextAgent,
    histories: list[LearningHistory],
    steps: int,
    *,
    index: list[int] | None = None,
    leave_at: int | None = None,
    stay: list[int] | None = None,
    **reset: Any,
) -> NDArray[np.float64]:
    """What the network says at each of the first steps of some histories, `(steps, lanes, numbers)`: the agent sees
    what the histories hold, whatever it would have played."""
    said: list[NDArray] = []
    actor = agent._actor
    act = actor.act

    def listening(now: Any) -> Any:
        outputs = act(now)
        said.append(np.concatenate([part.float().flatten(1).numpy() for part in _leaves({"": outputs}).values()], 1))
        return outputs

    actor.act = listening
    try:
        agent.reset(len(histories), index=index, **reset)
        for t in range(steps):
            agent.act(np.stack([history.observations[t] for history in histories]))
            agent._actions = np.stack([history.actions[t] for history in histories]).astype(agent._actions.dtype)
            agent.observe(*(np.array([getattr(history, name)[t] for history in histories])
                            for name in ("rewards", "terminated", "truncated")))  # fmt: skip
            if t + 1 == leave_at:
                agent.keep(np.array(stay))
                histories = [histories[lane] for lane in stay]
                said = [row[stay] for row in said]
    finally:
        del actor.act
    return np.stack(said)


def _expect_close(a: NDArray, b: NDArray, message: str) -> None:
    off = float(np.abs(a - b).max())
    expect(off <= TOLERANCE * max(1.0, float(np.abs(a).max())), f"{message}: by {off:.2g}")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of nested mappings and dataclasses."""
    found = {}
    for key, value in values.items():
        inner = vars(value) if is_dataclass(value) else value
        if isinstance(inner, Mapping):
            found |= _leaves(inner, f"{prefix}{key}.")
        elif isinstance(value, torch.Tensor):
            found[f"{prefix}{key}"] = value
    return found
