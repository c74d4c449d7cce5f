"""`icrl tasks`: the task families and the packaged presets, with what one needs to choose among them."""

from collections.abc import Sequence
from typing import Any

from icrl.spaces import describe_space, space_to_dict

ANCHOR_TASKS = 200
"""Test tasks that the listed anchors are averaged over, at most: enough for two digits, and quick."""


def describe_family(name: str) -> dict[str, Any]:
    """What a family's defaults stand for; the anchors are means over its test tasks, per episode."""
    from icrl.envs import make_family

    family = make_family(name)
    test = family.split(seed=0).test[:ANCHOR_TASKS]
    anchors = family.anchors(test)
    return {
        "name": family.name,
        "version": family.version,
        "source": family.source,
        "observation": describe_space(space_to_dict(family.observation_space)),
        "action": describe_space(space_to_dict(family.action_space)),
        "horizon": family.horizon,
        "tasks": dict(family.num_tasks),
        "varies": list(family.axes),
        "random": float(anchors.random.mean()),
        "optimum": float(anchors.optimum.mean()),
        "options": dict(family.options),
    }


def main(argv: Sequence[str]) -> int:
    """Prints the catalogue; `--json` prints the families as JSON instead."""
    from icrl.cli import UsageParser

    parser = UsageParser(prog="icrl tasks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the families as JSON")
    arguments = parser.parse_args(list(argv))
    from icrl.envs import FAMILIES

    families = [describe_family(name) for name in FAMILIES]
    if arguments.json:
        import json

        print(json.dumps(families, indent=2))
        return 0
    print("Task families (an anchor is the expected return of one episode, a mean over test tasks)\n")
    for family in families:
        tasks = family["tasks"]
        options = ", ".join(f"{key}={value}" for key, value in family["options"].items())
        print(f"{family['name']}@{family['version']}  {family['source']}")
        print(
            f"    observation {family['observation']} · action {family['action']} · horizon {family['horizon']}"
            f" · varies {', '.join(family['varies'])}\n"
            f"    tasks {tasks['train']:,} train, {tasks['validation']:,} validation, {tasks['test']:,} test"
            f" · random {family['random']:.2f} · task-known optimum {family['optimum']:.2f}\n"
            f"    options {options}\n"
        )
    for title, config_class in _stages():
        from icrl.config import preset_names

        print(f"Presets of `icrl {title} --config`")
        for name, comment in preset_names(config_class).items():
            print(f"    {name:24} {comment}")
        print()
    return 0


def _stages() -> list[tuple[str, type]]:
    """The commands that take a config; imported here because they stand above this floor."""
    from icrl.data_gen.generate import GenerateConfig
    from icrl.eval.config import EvaluateConfig
    from icrl.train.config import TrainConfig

    return [("generate", GenerateConfig), ("train", TrainConfig), ("evaluate", EvaluateConfig)]
