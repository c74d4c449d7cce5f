"""An environment that was made for extras fails where one of them is missing, rather than skip its tests."""

import os

from icrl.envs import FAMILIES


def pytest_sessionstart(session):
    for extra in filter(None, os.environ.get("ICRL_EXPECTED_EXTRAS", "").split(",")):
        for name in FAMILIES:
            if FAMILIES.extra(name) == extra:
                FAMILIES[name]  # Raises MissingExtra.
