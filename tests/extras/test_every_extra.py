"""Every family of the extras that are installed here: the contract, and the whole way from data to report."""

from contextlib import closing

import numpy as np
import pytest
from family_pipeline import check_summary, pipeline, small_options
from lanes_alone import check_goes_on

from icrl.commands.tasks import definition, shipped
from icrl.envs import FAMILIES, MissingExtra, make_family
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.stepping import Watching

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def installed() -> list[str]:
    """Families whose packages are here."""
    found = []
    for name in FAMILIES:
        if FAMILIES.extra(name):
            try:
                FAMILIES[name]
            except MissingExtra:
                continue
            found.append(name)
    return found


SUBJECTS: dict[str, Subject] = {}


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
@pytest.mark.parametrize("name", installed())
def test_it_keeps_the_contract(name, check):
    """Kills: whatever `icrl check-family` finds."""
    if name not in SUBJECTS:
        SUBJECTS[name] = Subject(name, small_options(name), seconds=0.5)
    check(SUBJECTS[name])


@pytest.mark.parametrize("name", [n for n in installed() if not n.startswith("metaworld") or n == "metaworld-ml1"])
def test_policies_go_on_with_the_lanes_that_are_left(name):
    """Kills: a policy that acts on what another lane's task, or another lane's past, says."""
    family = make_family(name, **small_options(name))
    tasks = (family.split(0).train * 5)[:5]
    for kind in family.policy_kinds:
        whole, fewer = (Watching(family.reference_policy(kind, tasks)) for _ in range(2))
        with closing(family.make(tasks, 0)) as env:
            check_goes_on(env, whole, fewer, np.random.default_rng(1), steps=25)


@pytest.mark.parametrize("name", installed())
def test_the_catalogue_is_that_of_this_release(name):
    """Kills: a listing of a definition that has changed since; run `python benchmarks/catalogue.py` then."""
    then = shipped()[name]
    for key, value in definition(name, make_family(name)).items():
        assert then[key] == value, key


@pytest.mark.parametrize("name", installed())
def test_generate_train_evaluate(name, tmp_path):
    """Kills: a family whose spaces, anchors or pictures a later stage cannot take."""
    check_summary(name, pipeline(name, tmp_path))
