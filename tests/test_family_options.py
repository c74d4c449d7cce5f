"""A family's options are kept by themselves, and what a constructor says of them stands."""

import gymnasium as gym
import numpy as np
import pytest

from icrl.envs import FAMILIES, make_family
from icrl.envs.grids.dark_room import DarkRoom
from icrl.errors import UsageError
from icrl.tasks import Anchors, Task, TaskFamily, split_numbers


class Lamps(TaskFamily):
    """One of several lamps is lit; nothing is drawn and nothing is kept by hand."""

    name, version, source, horizon = "lamps", 1, "a test", 1

    def __init__(self, *, lamps: int = 9, glow: float = 1, colours: tuple[str, ...] = ("red",)) -> None:
        self.seen_by_the_body = dict(self.options)
        self.num_tasks = {"train": lamps - 2, "validation": 1, "test": 1}
        self.observation_space, self.action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(lamps)

    def split(self, seed):
        return split_numbers(np.arange(9), self.num_tasks, lambda lamp: Task(lamp, {"lamp": lamp}), seed)

    def make(self, tasks, seed, index=None):
        raise NotImplementedError

    def anchors(self, tasks):
        return Anchors(np.zeros(len(tasks)), np.ones(len(tasks)))

    def reference_policy(self, kind, tasks):
        raise NotImplementedError


class Fixed(Lamps):
    """Takes fewer options, and gives the class above a value of its own."""

    def __init__(self, *, glow: float = 2.5, **more) -> None:
        super().__init__(glow=glow * 2, **more)


class Alone(Lamps):
    """Takes one option, and passes nothing on."""

    def __init__(self, *, size: int = 3) -> None:
        super().__init__(lamps=size * size)


class ByHand(DarkRoom):
    """As families were written when options were kept by hand, before and after the class above."""

    def __init__(self, *, side: int = 4, test: int = 3) -> None:
        self.options = {"side": side}
        super().__init__(size=side, validation=1, test=test)
        del self.options["largest"]
        self.options = {"side": side, "test": test, "more": 1}


def test_options_are_the_constructors_arguments_with_their_defaults():
    """Kills: a default that is not recorded; a 1 for a float and a tuple, which JSON gives back as something else;
    options that are not there yet where the constructor runs."""
    family = Lamps(lamps=5)
    assert family.options == {"lamps": 5, "glow": 1.0, "colours": ["red"]}
    assert type(family.options["glow"]) is float
    assert family.seen_by_the_body == family.options
    assert vars(family).keys() == {"options", "seen_by_the_body", "num_tasks", "observation_space", "action_space"}


def test_the_outermost_argument_counts():
    """Kills: the value that a class gives to the one above in place of the one that it was given; options that the
    class does not take, so that nothing recorded could be made again."""
    assert Fixed().options == {"lamps": 9, "glow": 2.5, "colours": ["red"]}
    assert Fixed(lamps=4, glow=1).options == {"lamps": 4, "glow": 1.0, "colours": ["red"]}
    assert Alone().options == {"size": 3}


def test_what_a_constructor_says_of_its_options_stands():
    """Kills: a family written for the old contract whose own options are lost."""
    assert ByHand().options == {"side": 4, "test": 3, "more": 1}
    assert make_family("dark-room", size=5).options["largest"] == 5


def test_a_failing_constructor_leaves_nothing_open():
    """Kills: a second try on the same object that takes itself for an inner constructor."""
    family = Lamps.__new__(Lamps)
    with pytest.raises(TypeError, match="lamp"):
        family.__init__(lamp=3)
    assert vars(family).keys() == {"options"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if not FAMILIES.extra(name)])
def test_every_family_is_made_again_from_its_options(name):
    """Kills: an option that comes back as another value, so that a resumed recording is taken for another one."""
    family = make_family(name)
    assert make_family(name, **family.options).options == family.options
    with pytest.raises(UsageError, match="has no option 'colour'"):
        make_family(name, colour="red")
