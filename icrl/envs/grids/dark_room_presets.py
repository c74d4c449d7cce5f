"""Further Dark Rooms of the literature: the same room with other splits and rules, each under a name of its own."""

from typing import Any

from icrl.envs.grids.dark_room import DarkRoom, DarkRoomDptPermuted, Reward


class DarkRoomDicp(DarkRoom):
    """The room of DICP: 9×9, 20 steps from the centre, 73 goals to train on and 8 to test on.

    Of the 73 goals `validation` are kept to select models on.
    """

    name = "dark-room-dicp"
    source = "Son et al. 2025 (Distilling Reinforcement Learning Algorithms for In-Context Model-Based Planning)"

    def __init__(self, *, test: int = 8, **options: Any) -> None:
        super().__init__(test=test, **options)


class DarkRoomDicpPermuted(DarkRoomDptPermuted):
    """The permuted room of DICP: 9×9 from corner to corner, 120 wirings, 12 of them to test on.

    50 steps and nine tenths of the wirings to train on, 8 of those for validation: the best return is 35.
    """

    name = "dark-room-dicp-permuted"
    source = "Son et al. 2025 (Distilling Reinforcement Learning Algorithms for In-Context Model-Based Planning)"

    def __init__(self, *, size: int = 9, horizon: int = 50, validation: int = 8, test: int = 12) -> None:
        super().__init__(size=size, horizon=horizon, validation=validation, test=test)


class DarkRoomQl(DarkRoom):
    """The room in which offline Q-learning heads were compared with distillation: it ends at the goal.

    9×9, 70 goals to train on (5 of them for validation) and 11 to test on; the best return is 1. Start and horizon are
    those of Algorithm Distillation.
    """

    name = "dark-room-ql"
    source = (
        "Tarasov et al. 2025 (Yes, Q-learning Helps Offline In-Context RL); start and horizon of Laskin et al. 2022"
    )

    def __init__(self, *, reward: Reward = "ends", test: int = 11, **options: Any) -> None:
        super().__init__(reward=reward, test=test, **options)


class DarkRoomQl19(DarkRoomQl):
    """The same at 19×19: 300 goals to train on (11 of them for validation) and 61 to test on.

    60 steps, more than three times what the farthest goal takes; the paper's own number was not at hand.
    """

    name = "dark-room-ql-19"
    source = "Tarasov et al. 2025 (Yes, Q-learning Helps Offline In-Context RL); the horizon is ours"

    def __init__(
        self, *, size: int = 19, horizon: int = 60, validation: int = 11, test: int = 61, **options: Any
    ) -> None:
        super().__init__(size=size, horizon=horizon, validation=validation, test=test, **options)
