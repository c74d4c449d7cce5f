"""Provenance travels unchanged, and what cannot be trusted is refused in one line."""

import json
from dataclasses import replace

import pytest

from icrl.envs import FAMILIES, make_family
from icrl.errors import DatasetError
from icrl.provenance import Provenance, read_provenance, read_split, write_provenance
from icrl.spaces import space_from_dict, space_to_dict
from icrl.stored_family import family_of

SMALL = {"key-to-door": 30, "key-to-door-ad-eps": 30, "bernoulli-bandit": 30, "gaussian-bandit": 30}


def provenance_of(family) -> Provenance:
    return Provenance(
        family=family.name,
        family_version=family.version,
        family_options=dict(family.options),
        horizon=family.horizon,
        observation_space=space_to_dict(family.observation_space),
        action_space=space_to_dict(family.action_space),
        split_seed=3,
        recorded_split="train",
        learner="q-learning",
        learner_options={"step_size": 0.1},
        histories_per_task=2,
        episodes=7,
        keep_every=3,
        seed=1,
    )


@pytest.mark.parametrize("name", [name for name in FAMILIES if not FAMILIES.extra(name)])
def test_it_comes_back_as_it_was_written(name, tmp_path):
    """Kills: a float that JSON rounds, a split that is drawn again rather than read, a space that changes."""
    family = make_family(name, **({"train": SMALL[name]} if name in SMALL else {}))
    provenance, split = provenance_of(family), family.split(3)
    write_provenance(tmp_path, provenance, split)
    assert read_provenance(tmp_path) == provenance
    assert read_split(tmp_path) == split
    again = family_of(read_provenance(tmp_path))
    assert again.options == family.options
    assert again.split(3) == split
    assert space_from_dict(provenance.observation_space) == family.observation_space
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_trusted_is_refused(tmp_path):
    """Kills: tasks of another format or release read as if they were these; a traceback from JSON or Parquet."""
    family = make_family("dark-room")
    with pytest.raises(DatasetError, match=r"has no provenance.json: expected a folder made by"):
        read_provenance(tmp_path)
    write_provenance(tmp_path, provenance_of(family), family.split(3))
    good = json.loads((tmp_path / "provenance.json").read_text())
    for text, message in (
        ("{", "not readable as JSON"),
        ("[]", "not of format 1"),
        (json.dumps({**good, "format": 2}), "not of format 1"),
        (json.dumps({**good, "sede": 0}), "not of format 1"),
    ):
        (tmp_path / "provenance.json").write_text(text)
        with pytest.raises(DatasetError, match=message):
            read_provenance(tmp_path)
    (tmp_path / "provenance.json").write_text(json.dumps(good))
    for damage in (b"", b"PAR1 and no more"):
        (tmp_path / "tasks.parquet").write_bytes(damage)
        with pytest.raises(DatasetError, match=r"tasks.parquet is missing or damaged"):
            read_split(tmp_path)
    with pytest.raises(DatasetError, match=r"of dark-room@9, this release defines dark-room@\d+: generate"):
        family_of(replace(provenance_of(family), family_version=9))
