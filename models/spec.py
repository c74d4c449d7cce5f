"""What a model has to know of a group of tasks: their spaces, their horizon, how large their numbers are."""

from dataclasses import asdict, dataclass
from typing import Any

from icrl.errors import UsageError
from icrl.ranges import Scales
from icrl.spaces import space_from_dict
from icrl.transitions import RETURN_TO_GO


@dataclass(frozen=True)
class Spec:
    """One group of spaces. What is made of it is saved with the model, so all of it is plain data.

    Raises:
        UsageError: where it is not what the framework writes.
    """

    observation_space: dict[str, Any]
    """As `icrl.spaces.space_to_dict` gives it; likewise `action_space`."""
    action_space: dict[str, Any]
    horizon: int
    """Largest number of steps in an episode."""
    scales: dict[str, Any] | None = None
    """As `icrl.ranges.measure` gives them. None, as in models of before there were any, maps a Box by its bounds."""

    def __post_init__(self) -> None:
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise UsageError(f"horizon is {self.horizon!r}: expected the largest number of steps in an episode")
        for space in (self.observation_space, self.action_space):
            space_from_dict(space)
        _ = self.maps

    @property
    def maps(self) -> Scales:
        """From the numbers of data and environments to those that a model sees, and back."""
        if self.scales is None:
            return Scales.none(self.observation_space, self.action_space)
        return Scales.read(self.scales, self.observation_space, self.action_space)

    @property
    def best_return(self) -> float | None:
        """The best return of an episode in the data; None where the method takes no target return."""
        return (self.scales or {}).get(RETURN_TO_GO, {}).get("best")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
