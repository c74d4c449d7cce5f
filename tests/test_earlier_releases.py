"""Models and runs of the releases before methods and backbones had options of their own: they load, act and go on."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_models import SPACES, make_model, random_transitions

import icrl
from icrl.errors import CheckpointError, UsageError
from icrl.models.agent import InContextAgent, load_agent
from icrl.models.model import EARLIER_NAMES, InContextModel
from icrl.spaces import num_uniforms, random, space_from_dict
from icrl.train.checkpoint_state import seal

EARLIER = {"net.embedding.0.": "embedding.", "net.backbone.blocks.": "blocks.", "net.head.0.": "head."}
"""Typed in: the names that weights have in those models."""
BOX = {
    "observation_space": {"kind": "box", "shape": [3], "low": [-1.0] * 3, "high": [1.0] * 3, "dtype": "float32"},
    "action_space": {"kind": "box", "shape": [2], "low": [-1.0, 0.0], "high": [1.0, 10.0], "dtype": "float32"},
    "horizon": 6,
    "scales": {
        "observations": {"centre": [0.5, 0.0, 0.0], "unit": [1.0, 2.0, 3.0]},
        "actions": {"centre": [0.0, 5.0], "unit": [0.5, 2.0]},
        "rewards": {"centre": [0.0], "unit": [2.0]},
    },
}
TINY = {
    "model.n_layer": 1, "model.width": 16, "model.context_length": 8, "train.steps": 10, "train.batch_size": 8,
    "train.warmup": 2, "train.log_every": 1, "train.evaluate_every": 5, "train.evaluate_episodes": 2,
    "train.evaluate_tasks": 2, "train.checkpoint_every": 5, "model.residual_dropout": 0.1,
}  # fmt: skip


def make_earlier(folder: Path) -> None:
    """Rewrites a model folder as those releases wrote it."""
    config = json.loads((folder / "config.json").read_text())
    (method, backbone, specs) = (config.pop(name) for name in ("method", "backbone", "specs"))
    assert (method["name"], backbone.pop("name"), list(specs)) == ("ad", "transformer", ["0"])
    flat = {**config, **backbone, **specs["0"], "method": "ad", "architectures": ["InContextTransformer"]}
    (folder / "config.json").write_text(json.dumps(flat, indent=2))
    weights = load_file(folder / "model.safetensors")
    for now, then in EARLIER.items():
        weights = {re.sub(f"^{re.escape(now)}", then, name): value for name, value in weights.items()}
    assert not any(name.startswith("net.") for name in weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "digests.json").unlink(missing_ok=True)


def played(agent: InContextAgent, seed: int = 0) -> list[np.ndarray]:
    """Actions, and outputs, far past the context."""
    rng, lanes, found = np.random.default_rng(seed), 3, []
    agent.reset(lanes, seed=5)
    act = agent._actor.act
    agent._actor.act = lambda now: (found.append((outputs := act(now)).numpy()), outputs)[1]
    space = space_from_dict(agent.spec.observation_space)
    for t in range(40):
        found.append(agent.act(random(space, rng.random((lanes, num_uniforms(space))))))
        ends = np.full(lanes, t % 6 == 5)
        agent.observe(rng.random(lanes), ends & (rng.random(lanes) < 0.5), ends & False)
    return found


@pytest.mark.parametrize("spec", [SPACES, BOX], ids=["discrete", "box"])
def test_an_earlier_model_folder_loads_and_acts_as_it_did(spec, tmp_path):
    """Kills: weights that are not found under their earlier names and come back random; scales, sizes or a share of
    the context to keep that are lost on the way from the flat config."""
    model = make_model(spec=spec, keep=0.25, mlp="swiglu")
    model.save_pretrained(tmp_path)
    make_earlier(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert {"n_layer", "context_keep", "observation_space", "scales"} <= set(saved)
    agent = load_agent(tmp_path)
    for name in ("method", "backbone", "specs"):
        assert getattr(agent.model.config, name) == getattr(model.config, name), name
    for name, value in model.state_dict().items():
        assert torch.equal(agent.model.state_dict()[name], value), name
    for found, expected in zip(played(agent), played(InContextAgent(model)), strict=True):
        assert np.array_equal(found, expected)
    # Whatever is saved from here on is of this release.
    agent.model.save_pretrained(tmp_path / "again")
    assert set(load_file(tmp_path / "again" / "model.safetensors")) == set(model.state_dict())
    assert "backbone" in json.loads((tmp_path / "again" / "config.json").read_text())


def test_an_earlier_config_without_scales_and_by_pytorchs_own_door(tmp_path):
    """Kills: a model older than scales that is refused; a state dict of such names that only `load_agent` can read."""
    model = make_model()
    model.save_pretrained(tmp_path)
    make_earlier(tmp_path)
    path = tmp_path / "config.json"
    flat = json.loads(path.read_text())
    del flat["scales"]
    path.write_text(json.dumps(flat))
    other = load_agent(tmp_path).model
    assert other.config.groups["0"].scales is None
    batch = random_transitions(2, 12)
    fresh = InContextModel(other.config).eval()
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(other(batch), model(batch))
        assert torch.equal(fresh(batch), model(batch))
    assert set(EARLIER_NAMES) == {rf"^{then[:-1]}\." for then in EARLIER.values()}


def test_a_damaged_earlier_model_is_refused_in_words(tmp_path):
    """Kills: missing weights replaced by random ones, an unknown key that an old config may have."""
    make_model().save_pretrained(tmp_path)
    make_earlier(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, flat = load_file(weights), json.loads(config.read_text())
    fewer = {name: value for name, value in whole.items() if name != "blocks.1.mlp.up.weight"}
    save_file(fewer, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"net\.backbone\.blocks\.1\.mlp\.up\.weight has the shape None"):
        load_agent(tmp_path)
    save_file(whole, weights, metadata={"format": "pt"})
    for change, message in (({"n_layer": 3}, "its weights are not"), ({"method": "at"}, "unknown method")):
        config.write_text(json.dumps(flat | change))
        with pytest.raises(CheckpointError, match=message):
            load_agent(tmp_path)
    config.write_text(json.dumps(flat | {"context_lenght": 9}))
    with pytest.raises(CheckpointError, match="unknown key 'context_lenght'"):
        load_agent(tmp_path)


@pytest.fixture(scope="module")
def options() -> dict:
    return {**TINY, "method.token_mask": 0.2, "method.label_smoothing": 0.1}


@pytest.fixture(scope="module")
def whole(tiny_data, options, tmp_path_factory) -> Path:
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("runs") / "whole", **options)


def as_earlier_run(run: Path) -> Path:
    """Rewrites a finished run, as if an earlier release had been stopped after step 5; its config is returned."""
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    checkpoint = run / "checkpoints" / "step-00000005"
    state = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").unlink()
    make_earlier(checkpoint)
    state = {key: value for key, value in state.items() if key not in ("files", "sha256")}
    seal(checkpoint, {**state, "scales": state["scales"]["0"]})
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["method"].pop("name"), config["model"].pop("name")) == ("ad", "transformer")
    config = {**config, "method": "ad", "train": config["train"] | config["method"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return run / "config.yaml"


def test_an_earlier_run_goes_on_bit_for_bit(whole, options, tiny_data, tmp_path):
    """Kills: a checkpoint whose weights do not load under their new names, whose optimiser belongs to other weights,
    or a config that is taken for another one; a loss of options that were training's."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    config = as_earlier_run(run)
    agent = load_agent(run, checkpoint=5)
    expected = load_agent(whole, checkpoint=5)
    assert all(np.array_equal(a, b) for a, b in zip(played(agent), played(expected), strict=True))
    with pytest.raises(UsageError, match=r"method\.token_mask was 0\.2, now 0\.3"):
        icrl.train(None, tiny_data, run, resume=True, **options | {"method.token_mask": 0.3})
    copied = Path(shutil.copytree(run, tmp_path / "by its own file"))
    icrl.train(None, tiny_data, run, resume=True, **options)
    icrl.train(shutil.copy(config, tmp_path / "old.yaml"), tiny_data, copied, resume=True)
    for found in (run, copied):
        assert (found / "model" / "model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
        assert (found / "model" / "config.json").read_bytes() == (whole / "model" / "config.json").read_bytes()


def test_a_finished_earlier_run_becomes_longer(whole, options, tiny_data, tmp_path):
    """Kills: a run of an earlier release that cannot be trained further, or is said to be of another config."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    longer = icrl.train(None, tiny_data, shutil.copytree(whole, tmp_path / "now"), resume=True,
                        **options | {"train.steps": 12})  # fmt: skip
    shutil.copytree(run / "model", tmp_path / "model")
    config = as_earlier_run(run)
    shutil.copytree(whole / "checkpoints" / "step-00000010", ten := run / "checkpoints" / "step-00000010")
    state = json.loads((ten / "state.json").read_text())
    make_earlier(ten)
    (ten / "state.json").unlink()
    seal(ten, {**{k: v for k, v in state.items() if k not in ("files", "sha256")}, "scales": state["scales"]["0"]})
    make_earlier(Path(shutil.move(tmp_path / "model", run / "model")))
    assert icrl.train(config, tiny_data, run, resume=True) == run  # It is complete.
    icrl.train(config, tiny_data, run, resume=True, **{"train.steps": 12})
    assert (run / "model/model.safetensors").read_bytes() == (longer / "model/model.safetensors").read_bytes()
