"""`icrl tasks`: the task families and the packaged presets, with what one needs to choose among them.

What is listed of the built-in families is shipped, so that the list comes at once and names those, too, whose packages
are not installed; `python benchmarks/catalogue.py` makes it again. Naming a family describes it afresh.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icrl.abilities import bayes_play
from icrl.errors import FamilyError
from icrl.own_code import in_one_line
from icrl.spaces import describe_space, space_to_dict

if TYPE_CHECKING:
    from icrl.tasks import TaskFamily

CATALOGUE_FILE = Path(__file__).parent.parent / "envs" / "catalogue.json"


def describe_family(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a family with these options stands for; anchors are means over its first test tasks, per episode."""
    from icrl.envs import make_family

    family = make_family(name, **(options or {}))
    test = family.split(seed=0).test[: family.anchor_tasks]
    anchors = family.anchors(test)
    if not np.isfinite(anchors.random).all():
        raise FamilyError(f"{name} gives random actions returns that are not finite: icrl check-family tells more")
    described = definition(name, family)
    described |= {"anchors": {}, "anchors_measured": anchors.measured, "anchor_tasks": len(test)}
    stated = {"random": anchors.random, "zero action": anchors.zero_action}
    if anchors.known:
        stated[f"task-known {family.best_policy}"] = anchors.optimum
    if bayes := bayes_play(family):
        described["bayes_optimal"] = {
            "rule": bayes.rule, "episodes": len(bayes.returns), "return": float(bayes.returns.sum())
        }  # fmt: skip
    for key, values in stated.items():
        if values is not None:
            error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
            described["anchors"][key] = {"mean": float(values.mean()), "standard_error": error}
    return described


def definition(name: str, family: "TaskFamily") -> dict[str, Any]:
    """What can be said of a family without a step in it."""
    from icrl.envs import FAMILIES

    return {
        "name": name,
        "version": family.version,
        "source": family.source,
        "extra": FAMILIES.extra(name),
        "observation": describe_space(space_to_dict(family.observation_space)),
        "action": describe_space(space_to_dict(family.action_space)),
        "horizon": family.horizon,
        "tasks": dict(family.num_tasks),
        "varies": list(family.axes),
        "out_of_distribution": dict(family.ood_sets),
        "reference_policies": list(family.policy_kinds),
        "options": dict(family.options),
    }


def shipped() -> dict[str, dict[str, Any]]:
    """The built-in families as they were described when this release was made, by name."""
    return json.loads(CATALOGUE_FILE.read_text())


def catalogue() -> list[dict[str, Any]]:
    """All families: the built-in ones as shipped, plug-ins and those of the program at hand as they are here."""
    from icrl.envs import FAMILIES

    known, found = shipped(), []
    for name in FAMILIES.hidden():
        print(f"icrl: an entry point {name} is not used, since a built-in family has that name", file=sys.stderr)
    for name in FAMILIES:
        if name in known:
            found.append(known[name])
        elif not FAMILIES.extra(name):
            try:
                found.append(describe_family(name))
            except Exception as error:  # Whatever a plug-in does wrong, the others are listed.
                print(f"icrl: {name} cannot be described: {in_one_line(error)}", file=sys.stderr)
    return found


def short_space(space: str) -> str:
    """A space of many numbers by their count."""
    kind, _, sizes = space.partition("(")
    many = sizes.count(",") >= 4 and set(sizes) <= set("0123456789, )")
    return f"{kind} of {sizes.count(',') + 1}" if many else space


def main(argv: Sequence[str]) -> int:
    """Prints the catalogue, or describes one family; `--json` prints JSON instead."""
    from icrl.cli import UsageParser, family_options
    from icrl.config import preset_names

    parser = UsageParser(prog="icrl tasks", description=__doc__.partition("\n")[0])
    parser.add_argument("family", nargs="?", metavar="FAMILY", help="only this one, described afresh: a name or place")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of FAMILY")
    parser.add_argument("--json", action="store_true", help="as JSON")
    arguments = parser.parse_args(list(argv))
    options = family_options(arguments.option)
    if options and not arguments.family:
        parser.error("--option needs the FAMILY that it is of")
    for command, config_class in _stages():
        if arguments.family in preset_names(config_class):
            parser.error(f"{arguments.family} is a preset of `icrl {command} --config`, not a family")
    families = [describe_family(arguments.family, options)] if arguments.family else catalogue()
    if arguments.json:
        print(json.dumps(families, indent=2))
        return 0
    print("An anchor is the return of one episode, a mean over test tasks ± its standard error over them.\n")
    for family in families:
        print(_in_words(family), end="\n\n")
    if not arguments.family:
        _print_presets()
    return 0


def _in_words(family: Mapping[str, Any]) -> str:
    tasks = family["tasks"]
    anchors = " · ".join(f"{name} {_with_error(**anchor)}" for name, anchor in family["anchors"].items())
    measured = " (measured)" if family["anchors_measured"] else ""
    few = f" over {family['anchor_tasks']} tasks" if family["anchor_tasks"] < tasks["test"] else ""
    if bayes := family.get("bayes_optimal"):
        few += f"; {bayes['rule']} over all {bayes['episodes']} episodes of a trial {bayes['return']:.4g}"
    beyond = "; ".join(f"{name}: {what}" for name, what in family["out_of_distribution"].items()) or "none"
    options = ", ".join(f"{key}={value}" for key, value in family["options"].items())
    extra = f"    needs  pip install 'icrl[{family['extra']}]'\n" if family["extra"] else ""
    spaces = " · ".join(f"{what} {short_space(family[what])}" for what in ("observation", "action"))
    return (
        f"{family['name']}@{family['version']}  {family['source']}\n{extra}"
        f"    {spaces} · horizon {family['horizon']:,}"
        f" · varies {', '.join(family['varies'])}\n"
        f"    tasks {tasks['train']:,} train, {tasks['validation']:,} validation, {tasks['test']:,} test\n"
        f"    out of distribution  {beyond}\n"
        f"    anchors  {anchors}{measured}{few}\n"
        f"    options  {options}"
    )


def _with_error(mean: float, standard_error: float) -> str:
    """ "-21.9 ± 0.7": both to the error's first digit; without an error that is only the sums' rounding."""
    if standard_error <= 1e-9 * max(1.0, abs(mean)):
        return f"{mean:.4g}"
    digits = max(0, -int(np.floor(np.log10(standard_error))))
    return f"{mean:,.{digits}f} ± {standard_error:,.{digits}f}"


def _print_presets() -> None:
    from icrl.config import preset_names

    for title, config_class in _stages():
        print(f"Presets of `icrl {title} --config`")
        for name, comment in preset_names(config_class).items():
            print(f"    {name:24} {comment}")
        print()


def _stages() -> list[tuple[str, type]]:
    """The commands that take a config; imported here because they stand above this floor."""
    from icrl.data_gen.config import GenerateConfig
    from icrl.eval.config import EvaluateConfig
    from icrl.train.config import TrainConfig

    return [("generate", GenerateConfig), ("train", TrainConfig), ("evaluate", EvaluateConfig)]
