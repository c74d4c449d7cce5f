"""What is saved as a model's `config.json`: its size, and the spaces that it speaks."""

from dataclasses import asdict, fields
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from icrl.errors import UsageError, did_you_mean
from icrl.models.options import ModelOptions
from icrl.ranges import Scales
from icrl.spaces import space_from_dict

# What transformers itself writes into a config.json or passes along while it loads one.
_FROM_TRANSFORMERS = {
    "model_type",
    "name_or_path",
    "attn_implementation",
    "experts_implementation",
    "output_attentions",
    "torch_dtype",
    "_commit_hash",
}


class InContextConfig(PreTrainedConfig):
    """Config of an `InContextTransformer`; make it with `InContextConfig.of`.

    No field but `scales` has a default, so that config.json states all of them: a default changed later changes no
    saved model.

    Raises:
        UsageError: for a key that is not a field, where transformers would silently take it, and for values that
            `ModelOptions` refuses.
    """

    model_type = "icrl"
    # transformers before 5.20 otherwise makes an instance of defaults in order to save one of values.
    has_no_defaults_at_init: ClassVar[bool] = True
    attribute_map = {"hidden_size": "width", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}  # noqa: RUF012

    n_layer: int
    n_head: int
    width: int
    mlp_ratio: float
    mlp: str
    context_length: int
    context_keep: float
    attention_dropout: float
    residual_dropout: float
    embedding_dropout: float
    observation_space: dict[str, Any]
    """As `icrl.spaces.space_to_dict` gives it; likewise `action_space`."""
    action_space: dict[str, Any]
    horizon: int
    """Largest number of steps in an episode: the step embedding has that many rows."""
    method: str
    """Registered name of the method that the model was trained with."""
    scales: dict[str, Any] | None = None
    """As `icrl.ranges.measure` gives them. None, as in models of before there were any, maps a Box by its bounds."""

    def __post_init__(self, **kwargs: Any) -> None:
        known = {field.name for field in fields(self)}
        for key in kwargs:
            if key not in _FROM_TRANSFORMERS:
                raise UsageError(
                    f"unknown key {key!r} in a model config{did_you_mean(key, known)}; "
                    f"expected {', '.join(sorted(known - {field.name for field in fields(PreTrainedConfig)}))}"
                )
        _ = self.options  # validates
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise UsageError(f"horizon is {self.horizon!r}: expected the largest number of steps in an episode")
        for space in (self.observation_space, self.action_space):
            space_from_dict(space)
        _ = self.maps
        if self.action_space.get("kind") not in ("discrete", "box"):
            raise UsageError(f"action space {self.action_space} is not supported: expected Discrete or Box actions")
        super().__post_init__(**kwargs)

    @classmethod
    def of(
        cls,
        options: ModelOptions,
        *,
        observation_space: dict[str, Any],
        action_space: dict[str, Any],
        horizon: int,
        method: str = "ad",
        scales: dict[str, Any] | None = None,
    ) -> "InContextConfig":
        """The config of a model of that size for a family's spaces (given as `space_to_dict` gives them)."""
        return cls(
            **asdict(options),
            observation_space=observation_space,
            action_space=action_space,
            horizon=horizon,
            method=method,
            scales=scales,
        )

    @property
    def maps(self) -> Scales:
        """From the numbers of data and environments to those of tokens and outputs."""
        if self.scales is None:
            return Scales.none(self.observation_space, self.action_space)
        return Scales.read(self.scales, self.observation_space, self.action_space)

    @property
    def options(self) -> ModelOptions:
        """The size and regularisation alone."""
        return ModelOptions(**{field.name: getattr(self, field.name) for field in fields(ModelOptions)})

    @property
    def kept(self) -> int:
        """Transitions that a full context keeps: floor(context_keep · context_length)."""
        return int(self.context_keep * self.context_length)


AutoConfig.register(InContextConfig.model_type, InContextConfig)
