"""Methods by name. A method is one file: its options, its token layout, its objective, its way to act."""

from icrl.models.methods.base import Method
from icrl.registry import PlaceRegistry

METHODS: PlaceRegistry[type[Method]] = PlaceRegistry(
    "method",
    "icrl.methods",
    {
        "": {
            "ad": "icrl.models.methods.ad:AlgorithmDistillation",
            "dt": "icrl.models.methods.dt:DecisionTransformer",
            "dpt": "icrl.models.methods.dpt:DecisionPretrained",
        }
    },
    accepts=lambda found: issubclass(found, Method),
    expected="a subclass of icrl.models.methods.base.Method",
)
