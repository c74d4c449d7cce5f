"""Methods by name. A method is one file: its token layout, its objective, its way to act."""

from typing import Protocol

from icrl.models.methods.ad import AD
from icrl.registry import Registry


class Method(Protocol):
    """What training and acting ask of a method; `icrl.models.methods.ad` says what each does."""

    def tokens(self, *args): ...

    def loss(self, model, batch, *, label_smoothing=0.0, token_mask=0.0, generator=None): ...

    def act(self, outputs, uniforms, distribution): ...


METHODS: Registry[Method] = Registry("method")
METHODS.add("ad", AD)
