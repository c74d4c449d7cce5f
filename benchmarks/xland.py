"""XLand-MiniGrid: steps a second of the family and of the package on its own; prints a Markdown table.

    python benchmarks/xland.py

Random actions drawn beforehand, rooms of 9×9. The family answers every step in NumPy,
which a Python learner reads, and starts the lanes anew whose episode ended. The package is measured three times: with
its own automatic reset, which computes a reset of every lane at every step, stepped from Python and in one `lax.scan`
that never leaves JAX; and in a scan that never resets, which bounds what its rules cost.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from xminigrid.envs.xland import XLandMiniGrid
from xminigrid.types import RuleSet
from xminigrid.wrappers import GymAutoResetWrapper

from icrl.envs import make_family

CASES = (("xland-trivial", 512), ("xland-trivial", 4096), ("xland-medium", 512), ("xland-medium", 4096))
STEPS, REPEATS = 128, 3


def family_run(name: str, lanes: int) -> Callable[[], None]:
    family = make_family(name)
    env = family.make(family.split(0).train[:lanes], seed=0)
    actions_TN = np.random.default_rng(0).integers(0, 6, (STEPS, lanes))
    env.reset()

    def run() -> None:
        for actions in actions_TN:
            env.step(actions)

    return run


def package_runs(name: str, lanes: int) -> list[Callable[[], None]]:
    family = make_family(name)
    tasks = family.split(0).train[:lanes]
    rules = np.zeros((lanes, max(1, family.protocol.most_rules), 7), np.uint8)
    tiles = np.zeros((lanes, family.protocol.most_tiles, 2), np.uint8)
    for lane, task in enumerate(tasks):
        rules[lane, : len(task.params["rules"])] = np.array(task.params["rules"], np.uint8).reshape(-1, 7)
        tiles[lane, : len(task.params["tiles"])] = task.params["tiles"]
    goals = jnp.array([task.params["goal"] for task in tasks], jnp.uint8)
    rulesets = RuleSet(goals, jnp.asarray(rules), jnp.asarray(tiles))
    keys = jax.random.split(jax.random.PRNGKey(0), lanes)
    actions_TN = jax.random.randint(jax.random.key(0), (STEPS, lanes), 0, 6)
    resetting, bare = GymAutoResetWrapper(XLandMiniGrid()), XLandMiniGrid()
    ways = ((stepped, resetting), (scanned, resetting), (scanned, bare))
    return [way(game, rulesets, keys, actions_TN) for way, game in ways]


def functions(game, rulesets: RuleSet, keys: jax.Array):
    """The batch's first time steps, and the function that steps it."""
    params = game.default_params(height=9, width=9, grid_type="R1")
    first = jax.jit(jax.vmap(lambda ruleset, key: game.reset(params.replace(ruleset=ruleset), key)))(rulesets, keys)
    step = jax.vmap(lambda ruleset, before, action: game.step(params.replace(ruleset=ruleset), before, action))
    return first, lambda timestep, actions: step(rulesets, timestep, actions)


def stepped(game, rulesets: RuleSet, keys: jax.Array, actions_TN: jax.Array) -> Callable[[], None]:
    first, step = functions(game, rulesets, keys)
    step, rows = jax.jit(step), list(actions_TN)

    def run() -> None:
        timestep = first
        for actions in rows:
            timestep = step(timestep, actions)
        jax.block_until_ready(timestep)

    return run


def scanned(game, rulesets: RuleSet, keys: jax.Array, actions_TN: jax.Array) -> Callable[[], None]:
    first, step = functions(game, rulesets, keys)

    @jax.jit
    def scan(timestep, actions_TN):
        def body(timestep, actions):
            timestep = step(timestep, actions)
            return timestep, (timestep.reward, timestep.observation)

        return jax.lax.scan(body, timestep, actions_TN)

    return lambda: jax.block_until_ready(scan(first, actions_TN))


def steps_a_second(run: Callable[[], None], lanes: int) -> float:
    """The best of a few runs: what the machine gives when it is left alone."""
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return STEPS * lanes / min(seconds)


def main() -> None:
    columns = ("rulesets", "lanes", "the family", "package, stepped", "package, scan", "package, scan without resets")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, lanes in CASES:
        runs = (family_run(name, lanes), *package_runs(name, lanes))
        cells = (f"{steps_a_second(run, lanes) / 1e6:.3f}" for run in runs)
        print(f"| {name} | {lanes:,} | {' | '.join(cells)} |", flush=True)
    print(f"\nMillion steps a second; jax {jax.__version__} on {jax.devices()[0].platform}.")


if __name__ == "__main__":
    main()
