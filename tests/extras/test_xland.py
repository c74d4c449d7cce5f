"""XLand-MiniGrid: its steps against the package's own, its rulesets, and what a lane owes to its neighbours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from icrl.envs import make_family
from icrl.envs.kit.measured import ANCHOR_SEED
from icrl.envs.xland.drawing import put_together
from icrl.envs.xland.rulesets import HELD_GOAL, every_goal, goal_in_words
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.seeding import Streams, stream_keys
from icrl.tasks import SPLIT_NAMES, Task

benchmarks = pytest.importorskip("xminigrid.benchmarks")
game_module = pytest.importorskip("xminigrid.envs.xland")
jax = pytest.importorskip("jax")
jnp = jax.numpy

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]

SMALL = {"train": 40, "validation": 4, "test": 8}


def family_of(name: str = "xland-trivial", **options):
    return make_family(name, **{**SMALL, **options})


def tasks_of(split) -> list:
    return [task for name in split.names for task in split.named(name)]


def roll(env, actions_TN) -> list[np.ndarray]:
    """Observations before every step and after the last, rewards, terminated, truncated."""
    rows = [(env.reset()[0],)]
    rows += [env.step(actions)[:4] for actions in actions_TN]
    observations = np.array([row[0] for row in rows])
    return [observations, *(np.array([row[k] for row in rows[1:]]) for k in (1, 2, 3))]


def actions_of(steps: int, lanes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 6, (steps, lanes))


@pytest.mark.parametrize("name", ["xland-trivial", "xland-medium"])
def test_a_lane_is_the_packages_own_environment(name):
    """Kills: views that are flattened otherwise, a reward or an end of our own, a layout from no stream."""
    family = family_of(name, horizon=60)
    task = family.split(0).train[0]
    rules, tiles = family.capacity(task)
    padded = np.zeros((rules, 7), np.uint8)
    padded[: len(task.params["rules"])] = np.array(task.params["rules"], np.uint8).reshape(-1, 7)
    room = np.zeros((tiles, 2), np.uint8)
    room[: len(task.params["tiles"])] = task.params["tiles"]
    ruleset = benchmarks.RuleSet(jnp.array(task.params["goal"], jnp.uint8), jnp.asarray(padded), jnp.asarray(room))
    game = game_module.XLandMiniGrid()
    params = game.default_params(height=9, width=9, grid_type="R1", max_steps=60, ruleset=ruleset)
    reset, step = jax.jit(game.reset), jax.jit(game.step)

    stream = Streams(stream_keys(3, "environment", [7]))
    actions = actions_of(400, 1)
    observations, rewards, terminated, truncated = roll(family.make([task], 3, index=[7]), actions)
    timestep = reset(params, jnp.asarray(stream.bits().view(np.uint32)))
    for t, action in enumerate(actions[:, 0]):
        assert np.array_equal(observations[t, 0], np.asarray(timestep.observation).ravel())
        timestep = step(params, timestep, int(action))
        assert rewards[t, 0] == pytest.approx(float(timestep.reward), abs=1e-6)
        assert terminated[t, 0] == (float(timestep.discount) == 0.0)
        assert (terminated | truncated)[t, 0] == bool(timestep.last())
        if timestep.last():
            timestep = reset(params, jnp.asarray(stream.bits().view(np.uint32)))
    assert (terminated | truncated).sum() >= 6


def test_a_lane_is_the_same_in_any_company():
    """Kills: arrays padded for the longest ruleset of a batch, which would move the agent; keys drawn per batch."""
    family = family_of("xland-small", horizon=30)
    mixed = tasks_of(family.split(0))
    actions = actions_of(70, len(mixed))
    together = roll(family.make(mixed, 5), actions)
    sizes = {task.params["size"] for task in mixed}
    assert sizes == {9, 13}
    for lane in (0, len(mixed) - 20, len(mixed) - 1):
        alone = roll(family.make([mixed[lane]], 5, index=[lane]), actions[:, lane : lane + 1])
        assert all(np.array_equal(a[:, lane], b[:, 0]) for a, b in zip(together, alone, strict=True))


def test_many_lanes_start_alike_in_parts():
    """Kills: a lane that is left out, or started twice, where more lanes start than are compiled together."""
    family = family_of(horizon=2)
    train = family.split(0).train
    tasks = [train[i % 40] for i in range(1100)]
    env = family.make(tasks, 0)
    observations, _ = env.reset()
    few = family.make([tasks[i] for i in (0, 511, 512, 1099)], 0, index=[0, 511, 512, 1099])
    assert np.array_equal(observations[[0, 511, 512, 1099]], few.reset()[0])
    stay = np.ones(1100, int)  # they turn
    env.step(stay)
    truncated = env.step(stay)[3]
    assert truncated.all()
    few.step(stay[:4])
    assert np.array_equal(env._seen[[0, 511, 512, 1099]], few.step(stay[:4])[0])


def test_rules_are_the_packages_own():
    """Kills: a rule that looks at the wrong neighbour, that another action sets off, or that undoes the one before."""
    from xminigrid.core.rules import check_rule
    from xminigrid.types import AgentState

    from icrl.envs.xland.rules import apply_rules

    def theirs(rules, grid, pocket, action, position):
        # Both take the agent to stand where it acted, which is all that its rules ask.
        grid, agent = check_rule(rules, grid, AgentState(position, jnp.asarray(0), pocket), action, position)
        return grid, agent.pocket

    generator = np.random.default_rng(0)
    count, things = 4000, np.array([[1, 7], [3, 1], [3, 2], [4, 1], [6, 1]], np.uint8)
    grids = things[generator.integers(0, 5, (count, 6, 6))]
    grids[:, [0, -1]] = grids[:, :, [0, -1]] = (2, 6)
    rules = np.concatenate(
        (
            generator.integers(0, 4, (count, 3, 1)),
            things[generator.integers(1, 5, (count, 3, 3))].reshape(count, 3, 6),
        ),
        axis=2,
    ).astype(np.uint8)
    rules[:, :, 1:][rules[:, :, 0] == 0] = 0
    pockets = things[generator.integers(0, 5, count)]
    # An action on a wall moves nobody, so only what is picked up or put down is acted on there.
    actions = generator.integers(0, 6, count)
    positions = generator.integers(1, 5, (count, 2))
    walls = (actions >= 3) & (generator.random(count) < 0.2)
    positions[walls, generator.integers(0, 2, count)[walls]] = generator.choice([0, 5], walls.sum())
    given = [jnp.asarray(part) for part in (rules, grids, pockets, actions, positions)]
    ours, expected = (jax.jit(jax.vmap(rule))(*given) for rule in (apply_rules, theirs))
    assert np.array_equal(ours[0], expected[0])
    assert np.array_equal(ours[1], expected[1])
    changed = (np.asarray(ours[0]) != grids).any(axis=(1, 2, 3))
    assert changed[actions == 0].mean() > 0.05
    assert changed[actions == 4].mean() > 0.05
    assert (np.asarray(ours[1]) != pockets).any(axis=1)[actions == 3].mean() > 0.05


def test_rules_of_other_kinds_are_left_to_the_package():
    """Kills: a rule of the extended benchmarks that is passed over."""
    family = family_of("xland-small", horizon=20)
    own = family.split(0).train[0].params
    params = dict(own, rules=[[8, 4, 1, 5, 2, 0, 0]], tiles=[[4, 1]] * 8, goal=[1, 7, 1, 0, 0])
    plain = dict(params, rules=[])
    actions = actions_of(200, 16)
    seen = [roll(family.make([Task(0, each)] * 16, 0), actions)[0] for each in (params, plain)]
    made = [(each.reshape(*each.shape[:2], 25, 2) == (5, 2)).all(axis=-1).any() for each in seen]
    assert made == [True, False]


def can_be_made(params) -> bool:
    """Whether the rules make what the goal needs out of what lies in the room, amounts aside."""
    have = {tuple(tile) for tile in params["tiles"]}
    while True:
        made = set()
        for kind, *rest in params["rules"]:
            pairs = [tuple(rest[i : i + 2]) for i in (0, 2, 4)]
            inputs, product = (pairs[:2], pairs[2]) if kind == 3 else (pairs[:1], pairs[1])
            if have.issuperset(inputs):
                made.add(product)
        if made <= have:
            break
        have |= made
    kind, *rest = params["goal"]
    return have.issuperset([tuple(rest[:2]), tuple(rest[2:])] if kind == 4 else [tuple(rest[:2])])


@pytest.mark.parametrize("name", ["xland-trivial", "xland-small", "xland-medium"])
def test_rulesets_are_as_the_protocol_says(name):
    """Kills: a goal that cannot be reached, more rules than the arrays have room for."""
    family = family_of(name, train=300)
    split = family.split(0)
    goals = set(every_goal())
    for task in tasks_of(split):
        params = task.params
        assert tuple(params["goal"]) in goals
        assert can_be_made(params)
        rules, tiles = family.capacity(task)
        assert len(params["rules"]) <= rules
        assert len(params["tiles"]) <= tiles
    own = [task.params for part in SPLIT_NAMES for task in split.named(part)]
    assert max(len(params["rules"]) for params in own) <= family.protocol.most_rules
    if name == "xland-trivial":
        assert not any(params["rules"] for params in own)
        assert {len(params["tiles"]) for params in own} == {4, 5}
        kinds = np.array([params["goal"][0] for params in own])
        assert all(abs((kinds == kind).mean() - 1 / 3) < 0.1 for kind in (1, 3, 4))
    else:
        assert {bool(params["rules"]) for params in own} == {True, False}


@pytest.mark.parametrize("name", ["xland-trivial", "xland-small"])
def test_the_sets_out_of_distribution_are_outside(name):
    """Kills: an unseen goal that was trained on, a "deeper" task without rules, a "larger" one of the usual size."""
    split = family_of(name, train=2000).split(0)
    seen = {tuple(task.params["goal"]) for part in SPLIT_NAMES for task in split.named(part)}
    assert len(seen) > 350
    assert not seen & {tuple(task.params["goal"]) for task in split.ood["unseen-goals"]}
    least = 1 if name == "xland-trivial" else 3  # a chain of two levels has at least two rules and their like
    assert min(len(task.params["rules"]) for task in split.ood["deeper"]) >= min(least, 2)
    assert {task.params["size"] for task in split.ood["larger"]} == {13}


def test_more_training_tasks_leave_the_held_out_ones_alone():
    """Kills: a split that is dealt out anew when `train` grows."""
    few, many = family_of().split(1), family_of(train=500, validation=0).split(1)
    assert few.test == many.test
    assert dict(few.ood) == dict(many.ood)


def test_axes_can_be_held():
    """Kills: an axis that is said to be held and is not."""
    with_one_goal = family_of(hold=["reward"]).split(0)
    assert {tuple(task.params["goal"]) for task in tasks_of(with_one_goal)} == {HELD_GOAL}
    assert set(with_one_goal.ood) == {"larger", "deeper"}
    without_rules = family_of("xland-small", hold=["dynamics"])
    assert not any(task.params["rules"] for task in tasks_of(without_rules.split(0)))
    assert "deeper" not in without_rules.ood_sets
    one_layout = family_of(hold=["start"], horizon=5)
    task = one_layout.split(0).train[0]
    observations = roll(one_layout.make([task] * 3, 0), np.ones((10, 3), int))[0]
    assert (observations[[0, 5, 10]] == observations[0, 0]).all()
    free = roll(family_of(horizon=5).make([task] * 3, 0), np.ones((10, 3), int))[0]
    assert len(np.unique(free[[0, 5, 10]].reshape(9, -1), axis=0)) == 9


def test_rulesets_of_a_file(tmp_path, monkeypatch):
    """Kills: padding taken for rules, a duplicate in two splits, a download where a file was named."""
    monkeypatch.setattr("urllib.request.urlretrieve", lambda *a, **k: pytest.fail("nothing is to be downloaded"))
    tasks = family_of("xland-small", train=40).split(0)
    params = [task.params for part in SPLIT_NAMES for task in tasks.named(part)]
    params.append(params[0])
    pad = [np.zeros((len(params), n, k), np.uint8) for n, k in ((5, 7), (12, 2))]
    for i, each in enumerate(params):
        pad[0][i, : len(each["rules"])] = np.array(each["rules"]).reshape(-1, 7)
        pad[1][i, : len(each["tiles"])] = each["tiles"]
    path = str(tmp_path / "rulesets.npz")
    goals = np.array([each["goal"] for each in params], np.uint8)
    np.savez(path, goals=goals, rules=pad[0], init_tiles=pad[1])
    family = family_of("xland-small", benchmark_file=path)
    read = [task.params for part in SPLIT_NAMES for task in family.split(3).named(part)]
    assert sorted(map(repr, read)) == sorted(map(repr, params[:-1]))
    assert set(family.split(3).ood) == {"larger"}
    family.make(family.split(3).test, 0).reset()
    with pytest.raises(UsageError, match="ask for fewer"):
        family_of("xland-small", benchmark_file=path, train=41)
    with pytest.raises(UsageError, match="has rules"):
        family_of("xland-trivial", benchmark_file=path)
    with pytest.raises(UsageError, match="there is no file"):
        family_of(benchmark_file=str(tmp_path / "missing"))
    (tmp_path / "text").write_text("no rulesets")
    with pytest.raises(UsageError, match="holds no rulesets"):
        family_of(benchmark_file=str(tmp_path / "text"))


def test_wrong_options_are_refused():
    """Kills: objects put into walls because the room has no free cell left."""
    with pytest.raises(UsageError, match="size=7 is too small: expected at least 8"):
        family_of("xland-medium", size=7, rooms="R2")
    with pytest.raises(UsageError, match="ask for fewer"):
        family_of(hold=["reward"], train=8_000).split(0)
    with pytest.raises(UsageError, match="it states no policy_kinds"):
        family_of().reference_policy("optimal", [])


def test_the_goal_in_words():
    """Kills: a caption that names another goal than the task's."""
    assert len(set(every_goal())) == len(every_goal()) == 28 + 35 + 28 * 29 // 2 + 28 * 7
    assert goal_in_words([1, 3, 1, 0, 0]) == "pick up the red ball"
    assert goal_in_words([4, 4, 3, 7, 9]) == "put the blue square next to the white key"


def test_the_random_anchor_is_what_random_play_earns():
    """Kills: an anchor of other rooms than the task's, one that changes from call to call."""
    family = family_of()
    tasks = list(family.split(0).test[:2])
    anchors = family.anchors(tasks)
    assert anchors.measured
    assert np.isnan(anchors.optimum).all()
    assert np.array_equal(anchors.random, family.anchors(tasks[::-1]).random[::-1])
    episodes = 200
    env = family.make(np.repeat(tasks, episodes).tolist(), ANCHOR_SEED + 1)
    env.reset()
    total, running = np.zeros(2 * episodes), np.ones(2 * episodes, bool)
    for actions in actions_of(family.horizon, 2 * episodes, seed=1):
        _, rewards, terminated, truncated, _ = env.step(actions)
        total += rewards * running
        running &= ~(terminated | truncated)
    returns = total.reshape(2, episodes)
    error = returns.std(axis=1) * np.sqrt(1 / episodes + 1 / family.anchor_episodes)
    assert (np.abs(returns.mean(axis=1) - anchors.random) < 4 * error).all()


def history_of(family, task, steps: int = 400) -> tuple[LearningHistory, np.ndarray]:
    """A random agent's first whole episode, and where it really stood before every step."""
    env = family.make([task], 0)
    observations, _ = env.reset()
    rows, places = [], []
    for action in actions_of(steps, 1)[:, 0]:
        places.append(np.asarray(env._groups[0]._room.position)[0].copy())
        after, reward, terminated, truncated, info = env.step(np.array([action]))
        rows.append((observations[0], action, reward[0], terminated[0], truncated[0]))
        if info:
            break
        observations = after
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    count = len(rows)
    history = LearningHistory(
        observations=columns[0], actions=columns[1], rewards=columns[2], terminated=columns[3],
        truncated=columns[4], episode=np.zeros(count, np.int32), step_in_episode=np.arange(count, dtype=np.int32),
        final_observations=info["final_obs"], task_id=task.id, task_params=task.params, learner="random",
        learner_seed=0,
    )  # fmt: skip
    return history, np.array(places)


@pytest.mark.parametrize("rooms", ["R1", "R4"])
def test_the_room_is_put_together_as_it_is(rooms):
    """Kills: a picture that turns the wrong way, or walks through walls."""
    family = family_of(rooms=rooms)
    for task in family.split(0).train[:3]:
        history, places = history_of(family, task)
        views = np.concatenate((history.observations, history.final_observations)).reshape(-1, 5, 5, 2)
        seen = put_together(views, history.actions)
        moved, turned = places - places[0], seen.path[: len(places)]
        turns = [np.linalg.matrix_power([[0, -1], [1, 0]], k) for k in range(4)]
        assert any(np.array_equal(turned @ turn, moved) for turn in turns)
        axes = Figure().subplots()
        family.draw(axes, task, history)
        assert goal_in_words(task.params["goal"])[:7] in axes.get_xlabel()
