"""Meta-World's families: the benchmark's own tasks, apart, hidden goals, and the scripted experts."""

import io
import os
import pickle

import numpy as np
import pytest

metaworld = pytest.importorskip("metaworld")

from icrl.envs import make_family  # noqa: E402
from icrl.envs.kit.pool import make_pooled  # noqa: E402
from icrl.envs.meta_world.benchmark import (  # noqa: E402
    _OwnBytes,
    benchmark_goals,
    make_environments,
    set_goal,
    target_positions,
    wider_goals,
)
from icrl.envs.meta_world.family import NEW_ENVIRONMENTS, goal_of  # noqa: E402
from icrl.errors import UsageError  # noqa: E402
from icrl.tasks import SPLIT_NAMES  # noqa: E402


def vectors(tasks) -> list[tuple[str, tuple[float, ...]]]:
    """Environment and vector of the package's own tasks."""
    return [(task.env_name, tuple(_OwnBytes(io.BytesIO(task.data)).load()["rand_vec"].tolist())) for task in tasks]


def expert_episode(family, tasks) -> tuple[np.ndarray, np.ndarray]:
    """Return and success of the scripted expert's first episode."""
    env, policy = family.make(tasks, seed=0), family.reference_policy("expert", tasks)
    observations, _ = env.reset()
    total = np.zeros(len(tasks))
    for _ in range(family.horizon):
        observations, rewards, _, truncated, info = env.step(policy.act(observations))
        total += rewards
    assert truncated.all()
    return total, info["success"]


@pytest.mark.parametrize("seed", [0, 3])
def test_ml1_has_the_benchmarks_train_and_test_goals(seed):
    """Kills: the test goals trained on, which is what Meta-World 3.1.1's `gym.make_vec` of ML1-train yields."""
    split = make_family("metaworld-ml1").split(seed)
    benchmark = metaworld.ML1("reach-v3", seed=2 * seed)
    train, test = vectors(benchmark.train_tasks), vectors(benchmark.test_tasks)
    assert {goal_of(task) for task in (*split.train, *split.validation)} == set(train)
    assert [goal_of(task) for task in split.test] == test
    assert not set(train) & set(test)


def test_one_split_seeds_test_goals_are_no_others_training_goals():
    """Kills: ML1(s) tests on the training goals of ML1(s + 1), so that a model of split 1 knows those of split 0."""
    splits = [make_family("metaworld-ml1").split(seed) for seed in range(3)]
    goals = [goal_of(task) for split in splits for name in SPLIT_NAMES for task in split.named(name)]
    assert len(set(goals)) == len(goals) == 300


def test_ml10_tests_on_the_benchmarks_five_other_environments():
    """Kills: another list of environments, a goal given twice, tasks that come one environment after the other."""
    family = make_family("metaworld-ml10")
    split = family.split(0)
    assert {name: len(split.named(name)) for name in SPLIT_NAMES} == {"train": 450, "validation": 50, "test": 250}
    trained = {task.params["env"] for task in split.train}
    first = [task.params["env"] for task in split.test[:5]]
    assert sorted(first) == sorted(
        f"{name}-v3" for name in ("drawer-open", "door-close", "shelf-place", "sweep-into", "lever-pull")
    )
    assert trained == set(metaworld.env_dict.ML10_V3["train"])
    unseen = {task.params["env"] for task in split.ood["new-environment"]}
    assert unseen == set(NEW_ENVIRONMENTS)
    assert not unseen & (trained | set(first))


def test_ml45_tests_on_the_five_environments_of_the_paper():
    """Kills: another list of environments."""
    assert sorted({task.params["env"] for task in make_family("metaworld-ml45").split(0).test}) == sorted(
        f"{name}-v3" for name in ("bin-picking", "box-close", "hand-insert", "door-lock", "door-unlock")
    )


def test_mt10_splits_by_goal_within_the_same_environments():
    """Kills: an MT benchmark, which has no test tasks, tested on the goals it was trained on."""
    split = make_family("metaworld-mt10").split(0)
    parts = [{goal_of(task) for task in split.named(name)} for name in SPLIT_NAMES]
    assert [len(part) for part in parts] == [350, 50, 100]
    assert len(set.union(*parts)) == 500
    for part in parts:
        assert {name for name, _ in part} == set(metaworld.env_dict.MT10_V3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ML10", "ML45", "MT10", "MT50"])
def test_the_larger_benchmarks_have_the_packages_tasks(name):
    """Kills: the quick sampling of vectors drawing others than the package does in some environment."""
    split = make_family(f"metaworld-{name.lower()}").split(1)
    benchmark = getattr(metaworld, name)(seed=2)
    train, test = set(vectors(benchmark.train_tasks)), set(vectors(benchmark.test_tasks))
    trained = {goal_of(task) for task in (*split.train, *split.validation)}
    tested = {goal_of(task) for task in split.test}
    assert len(train | test) == len(trained | tested) == len(trained) + len(tested)
    assert (trained | tested) == train if name.startswith("MT") else (trained, tested) == (train, test)


@pytest.mark.parametrize("name", ["metaworld-ml1", "metaworld-mt10"])
def test_a_lane_is_the_packages_environment(name):
    """Kills: another task than the number says, a goal shown or hidden wrongly, a reward or start that is altered."""
    family = make_family(name, horizon=60)
    task = family.split(0).test[1]
    raw = metaworld.env_dict.ALL_V3_ENVIRONMENTS[task.params["env"]]()
    set_goal(raw, goal_of(task), goal_observed=name == "metaworld-mt10")
    env = family.make([family.split(0).test[0], task], seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (130, 2, 4)).astype(np.float32)
    observations, _ = env.reset()
    for step, row in enumerate(actions):
        if step % 60 == 0:
            start = raw.reset()[0].astype(np.float32)
            assert np.array_equal(observations[1], start)
            assert (start[36:39] != 0).any() == (name == "metaworld-mt10")
        expected, reward, *_ = raw.step(row[1])
        observations, rewards, terminated, truncated, info = env.step(row)
        assert rewards[1] == np.float32(reward)
        assert not terminated.any()
        assert truncated.all() == (step % 60 == 59)
        last = info["final_obs"] if info else observations
        assert np.array_equal(last[1], expected.astype(np.float32))


def test_a_task_is_the_same_in_every_episode_and_environment():
    """Kills: a copied model that keeps what an earlier task wrote into it."""
    names = ["door-open-v3", "push-v3", "door-open-v3"]
    goal, other = benchmark_goals("ML1", 0, "door-open-v3")[0][:2]
    runs = []
    for env, played in ((make_environments(names)[2], [other, goal]), (make_environments(names[:1])[0], [goal])):
        for task in played:
            set_goal(env, task, goal_observed=False)
            for _ in range(2):
                run = [env.reset()[0]] + [env.step(np.full(4, 0.3, np.float32))[0] for _ in range(40)]
                runs.append(np.array(run))
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert all(np.array_equal(runs[2], run) for run in runs[3:])


def test_golden_reach_expert():
    """Kills: the expert shown zeros instead of the goal, a success that is lost: 4,840 and 1.0 over 500 steps."""
    family = make_family("metaworld-ml1")
    tasks = family.split(0).test[:3]
    total, success = expert_episode(family, tasks)
    assert success.all()
    assert total.mean() == pytest.approx(4840, abs=40)
    anchors = family.anchors(tasks[:1])
    assert anchors.measured
    assert anchors.optimum[0] == pytest.approx(total[0], rel=1e-6)
    assert anchors.random[0] < anchors.zero_action[0] < anchors.optimum[0]


def test_success_is_told_once_the_episode_has_ended():
    """Kills: success of the next episode, or of a lane that is still at it."""
    family = make_family("metaworld-ml1", horizon=80)
    tasks = family.split(0).test[:2]
    env, policy = family.make(tasks, seed=0), family.reference_policy("expert", tasks)
    observations, _ = env.reset()
    told = []
    for step in range(160):
        actions = policy.act(observations)
        actions[1] = 0.0
        if step >= 80:
            actions[:] = 0.0
        observations, *_, info = env.step(actions)
        if info:
            told.append(info["success"].tolist())
    assert told == [[True, False], [False, False]]


def test_a_pool_tells_success_too():
    """Kills: what `info` says of the lanes, lost on the way between processes."""
    family = make_family("metaworld-ml1", horizon=60)
    tasks = family.split(0).test[:3]
    infos = []
    for workers in (1, 2):
        env = make_pooled("metaworld-ml1", {"horizon": 60}, tasks, 0, workers=workers)
        policy = family.reference_policy("expert", tasks)
        observations, _ = env.reset()
        for _ in range(60):
            observations, *_, info = env.step(policy.act(observations))
        infos.append(info)
        env.close()
    assert infos[0].keys() == infos[1].keys() == {"final_obs", "_final_obs", "success"}
    for key in infos[0]:
        assert infos[0][key].dtype == infos[1][key].dtype
        assert np.array_equal(infos[0][key], infos[1][key])
    assert infos[0]["success"].any()


def test_bytes_of_other_classes_are_not_read():
    """Kills: a task whose bytes run a program of somebody's."""
    with pytest.raises(pickle.UnpicklingError, match=r"posix.system in a task"):
        _OwnBytes(io.BytesIO(pickle.dumps(os.system))).load()


def test_goals_of_the_extrapolation_set_lie_outside_the_box():
    """Kills: an out-of-distribution set from within the distribution, or one whose goals cannot be seen."""
    family = make_family("metaworld-ml1")
    split = family.split(0)
    box = make_environments(["reach-v3"])[0]._random_reset_space
    assert len(split.ood["extrapolation"]) == 50
    for task in split.ood["extrapolation"]:
        vector = np.array(task.params["vector"])
        assert ((vector < box.low) | (vector > box.high)).any()
    for task in (*split.train, *split.test):
        assert box.contains(np.array(task.params["vector"]))
    assert wider_goals("reach-v3", 1, 3) != wider_goals("reach-v3", 2, 3)
    shown = make_family("metaworld-mt10")
    task = next(task for task in shown.split(0).ood["extrapolation"] if task.params["env"] == "reach-v3")
    env = shown.make([task], seed=0)
    env.reset()
    observations, *_ = env.step(np.zeros((1, 4), np.float32))
    assert observations[0, 36:39] == pytest.approx(target_positions([goal_of(task)])[0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(metaworld.ML1.ENV_NAMES))
def test_experts_solve_most_goals(name):
    """Kills: an expert wired to another environment; it fails on some goals of a few environments."""
    family = make_family("metaworld-ml1", env=name)
    _, success = expert_episode(family, family.split(0).test[:4])
    assert success.sum() >= 2


def test_options_out_of_range_are_refused():
    """Kills: a misspelt environment, a split that leaves nothing to train on, steps that the package does not play."""
    with pytest.raises(UsageError, match="did you mean 'reach-v3'"):
        make_family("metaworld-ml1", env="reach-v2")
    with pytest.raises(UsageError, match="do not fit"):
        make_family("metaworld-mt10", test=45)
    with pytest.raises(UsageError, match="do not fit"):
        make_family("metaworld-ml10", test=51)
    with pytest.raises(UsageError, match="stop after 500"):
        make_family("metaworld-ml1", horizon=501)
    with pytest.raises(UsageError, match="metaworld-ml1 varies"):
        make_family("metaworld-ml10", hold=["dynamics"])
    with pytest.raises(UsageError, match="choose from expert"):
        make_family("metaworld-ml1").reference_policy("optimal", [])
