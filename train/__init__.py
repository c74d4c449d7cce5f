"""Pretraining. The package itself can be called: `icrl.train("ad-small", data=…, out=…)` is `train.train`."""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A module whose call is the public function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from icrl.train.train import train

        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
