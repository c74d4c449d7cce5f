"""What is saved as a model's `config.json`: its method, its backbone, and the groups of spaces that it speaks."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from icrl.choices import Choice, to_dict
from icrl.errors import UsageError, did_you_mean
from icrl.models.backbones import BACKBONES
from icrl.models.backbones.base import Backbone
from icrl.models.methods import METHODS
from icrl.models.methods.base import Method
from icrl.models.spec import Spec
from icrl.registry import PlaceRegistry

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
_SPEC = ("observation_space", "action_space", "horizon", "scales")


class InContextConfig(PreTrainedConfig):
    """Config of an `InContextModel`; make it with `InContextConfig.of`.

    Every option of the method and the backbone is in it, so that a default changed later changes no saved model.

    Raises:
        UsageError: for a key that is not a field, where transformers would silently take it, and for values that a
            method, a backbone or a `Spec` refuses.
    """

    model_type = "icrl"
    # transformers before 5.20 otherwise makes an instance of defaults in order to save one of values.
    has_no_defaults_at_init: ClassVar[bool] = True

    method: dict[str, Any]
    """Its name and its options."""
    backbone: dict[str, Any]
    """Its name and its options."""
    specs: dict[str, Any]
    """By group of spaces, what a `Spec` holds."""

    def __post_init__(self, **kwargs: Any) -> None:
        known = {field.name for field in fields(self)}
        for key in kwargs:
            if key not in _FROM_TRANSFORMERS:
                raise UsageError(
                    f"unknown key {key!r} in a model config{did_you_mean(key, known)}; "
                    f"expected {', '.join(sorted(known - {field.name for field in fields(PreTrainedConfig)}))}"
                )
        _ = self.make_method(), self.backbone_choice, self.groups  # validates
        super().__post_init__(**kwargs)

    @classmethod
    def of(cls, method: Choice, backbone: Choice, specs: Mapping[str, Spec]) -> "InContextConfig":
        """The config of a model of that method and backbone for some groups of spaces."""
        groups = {group: spec.to_dict() for group, spec in specs.items()}
        return cls(method=to_dict(method), backbone=to_dict(backbone), specs=groups)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "InContextConfig":
        return super().from_dict(upgraded(config_dict), **kwargs)

    @property
    def groups(self) -> dict[str, Spec]:
        """What is known of each group of spaces."""
        try:
            return {group: Spec(**values) for group, values in self.specs.items()}
        except (TypeError, AttributeError) as error:
            raise UsageError(f"specs hold {self.specs}: expected {', '.join(_SPEC)} of each group ({error})") from None

    @property
    def backbone_choice(self) -> Choice:
        return _choice(BACKBONES, self.backbone)

    def make_method(self) -> Method:
        chosen = _choice(METHODS, self.method)
        return METHODS[chosen.name](chosen.options)

    def make_backbone(self, method: Method) -> Backbone:
        chosen = self.backbone_choice
        return BACKBONES[chosen.name](
            chosen.options, tokens_per_decision=method.tokens_per_decision, positions=method.positions
        )

    @property
    def context_length(self) -> int:
        """Transitions that the context holds."""
        return self.backbone_choice.options.context_length

    @property
    def hidden_size(self) -> int:
        """Channels, for DeepSpeed's own settings."""
        return self.backbone_choice.options.width


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model of an earlier release, which had one backbone, one group, and methods without options."""
    if "backbone" in values or "n_layer" not in values:
        return dict(values)
    sizes = {f.name for f in fields(BACKBONES["transformer"].Options)}
    rest = {key: value for key, value in values.items() if key not in sizes and key not in (*_SPEC, "method")}
    return {
        **rest,
        "method": to_dict(_choice(METHODS, {"name": values.get("method", "ad")})),
        "backbone": {"name": "transformer", **{key: values[key] for key in sizes if key in values}},
        "specs": {"0": {key: values[key] for key in _SPEC if key in values}},
    }


def _choice(registry: PlaceRegistry, stored: Any) -> Choice:
    if not isinstance(stored, Mapping) or not isinstance(stored.get("name"), str):
        raise UsageError(f"a model config has the {registry.kind} {stored!r}: expected its name and its options")
    known = registry[stored["name"]].Options
    options = {key: value for key, value in stored.items() if key != "name"}
    names = {f.name for f in fields(known)}
    if unknown := sorted(set(options) - names):
        raise UsageError(f"{registry.kind} {stored['name']} has no option {unknown[0]!r}: expected {', '.join(names)}")
    # Lists are what JSON makes of tuples.
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return Choice(stored["name"], known(**options))


AutoConfig.register(InContextConfig.model_type, InContextConfig)
