"""Backbones by name: what mixes the embedded tokens of a context over time. `base` says what each must do."""

from typing import Any

from icrl.registry import PlaceRegistry


def _is_backbone(found: Any) -> bool:
    from icrl.models.backbones.base import Backbone

    return isinstance(found, type) and issubclass(found, Backbone) and found is not Backbone


BACKBONES: PlaceRegistry[type] = PlaceRegistry(
    "backbone",
    group="icrl.backbones",
    built_in={
        "": {
            "transformer": "icrl.models.backbones.transformer:Transformer",
            "gru": "icrl.models.backbones.recurrent:GRU",
            "lstm": "icrl.models.backbones.recurrent:LSTM",
            "hf": "icrl.models.backbones.hf:HF",
        }
    },
    accepts=_is_backbone,
    expected="a subclass of icrl.models.backbones.base.Backbone",
)
"""Classes by the name that `--model` takes; a class's `Options` are what `--model.…` sets."""
