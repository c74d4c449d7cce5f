"""What is saved is what is loaded; a folder without a whole model is refused in words."""

import json

import pytest
import torch
from small_models import config_of, make_model, random_transitions
from transformers import AutoConfig, AutoModel

from icrl.errors import CheckpointError, UsageError
from icrl.models.agent import load_agent
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.saved import sign_model


@pytest.fixture
def folder(tmp_path):
    model = make_model()
    # Weights that no initialisation would make, so that a fresh one in their place is seen.
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(100.0 + number)
    model.save_pretrained(tmp_path / "model")
    model.expected = {name: value.clone() for name, value in model.state_dict().items()}
    return tmp_path / "model", model


def test_from_pretrained_returns_the_saved_weights_exactly(folder):
    """Kills: `_init_weights` writing over loaded weights, which gives a random model without a word."""
    path, model = folder
    for loaded in (InContextModel.from_pretrained(path), AutoModel.from_pretrained(path)):
        assert isinstance(loaded, InContextModel)
        assert loaded.state_dict().keys() == model.expected.keys()
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, model.expected[name]), name
        batch = random_transitions(2, 12)
        with torch.no_grad():
            assert torch.equal(loaded.eval()(batch), model(batch))


def test_a_box_model_survives_saving(tmp_path):
    """Kills: bounds of a Box kept in a buffer that is not saved and comes back as whatever was in memory."""
    space = {"kind": "box", "shape": [2], "low": [-3.0, None], "high": [5.0, None]}
    spec = {"observation_space": space, "action_space": {"kind": "discrete", "n": 3}, "horizon": 4}
    model = InContextModel(config_of(spec, n_layer=1, width=16, context_length=4)).eval()
    model.save_pretrained(tmp_path)
    loaded = InContextModel.from_pretrained(tmp_path)
    observations = torch.randn(2, 4, 2)
    with torch.no_grad():
        found, expected = (of.net.embedding["0"].observation(observations) for of in (loaded, model))
        assert torch.equal(found, expected)


def test_initial_weights_have_the_stated_spread():
    """Kills: an initialisation that a later call of post_init undoes."""
    model = InContextModel(make_model(width=64, n_layer=3).config)
    block, embedding = model.net.backbone.blocks[1], model.net.embedding["0"]
    assert block.attention.qkv.weight.std().item() == pytest.approx(0.4 * 64**-0.5, rel=0.05)
    assert block.mlp.up.weight.std().item() == pytest.approx(0.4 * 64**-0.5, rel=0.05)
    assert block.attention.out.weight.abs().max().item() == 0
    assert block.mlp.down.weight.abs().max().item() == 0
    assert embedding.step.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert embedding.previous_reward.weight.std().item() == pytest.approx(0.05, rel=0.5)


def test_config_json_states_every_field(folder):
    """Kills: a default left out of the file, which changes a saved model when the default changes."""
    path, _ = folder
    saved = json.loads((path / "config.json").read_text())
    options = {"n_layer": 2, "n_head": 2, "width": 16, "context_length": 12, "context_keep": 0.5}
    assert saved["backbone"] == {"name": "transformer", **vars(ModelOptions()), **options}
    assert saved["method"] == {"name": "ad", **vars(METHODS["ad"].Options())}
    assert saved["model_type"] == "icrl"
    assert saved["specs"] == {
        "0": {
            "observation_space": {"kind": "multi_discrete", "nvec": [9, 7]},
            "action_space": {"kind": "discrete", "n": 5},
            "horizon": 6,
            "scales": None,
        }
    }
    assert AutoConfig.from_pretrained(path).to_diff_dict() == InContextConfig.from_pretrained(path).to_diff_dict()


@pytest.mark.parametrize("key", ["context_lenght", "max_length", "dropout"])
def test_unknown_config_keys_are_refused(folder, key):
    """Kills: a misspelt key, or one of generation's, that transformers swallows."""
    path, _ = folder
    values = json.loads((path / "config.json").read_text()) | {key: 5}
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=f"unknown key '{key}'"):
        InContextConfig.from_pretrained(path)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("backbone", {"context_lenght": 5}, "backbone transformer has no option 'context_lenght'"),
        ("backbone", {"context_keep": 1.5}, "model.context_keep is 1.5"),
        ("backbone", {"name": "transfomer"}, "unknown backbone 'transfomer' .did you mean 'transformer'"),
        ("backbone", {"name": None}, "has the backbone .*expected its name"),
        ("method", {"label_smooth": 0.1}, "method ad has no option 'label_smooth'"),
        ("method", {"label_smoothing": 2.0}, "method.label_smoothing is 2.0"),
        ("method", {"name": "da"}, "unknown method 'da'"),
        ("specs", {"0": {"horizon": 6}}, "specs hold .*action_space"),
        ("specs", {"1": 3}, "specs hold"),
    ],
)
def test_what_is_wrong_within_a_part_is_refused(folder, part, change, message):
    """Kills: an option of a method or backbone that is misspelt or out of range, and taken without a word."""
    path, _ = folder
    values = json.loads((path / "config.json").read_text())
    values[part] |= change
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=message):
        InContextConfig.from_pretrained(path)


def test_load_agent_takes_a_run_or_a_model_folder(folder):
    """Kills: an agent with other weights than the run's, or in training mode."""
    path, model = folder
    for source in (path, path.parent, str(path.parent)):
        agent = load_agent(source)
        assert not agent.model.training
        assert all(torch.equal(v, model.expected[k]) for k, v in agent.model.state_dict().items())
    assert load_agent(path, greedy=True).greedy


def test_load_agent_refuses_what_is_not_whole(folder, tmp_path):
    """Kills: a traceback from inside transformers, and a half-written model that loads."""
    path, _ = folder
    with pytest.raises(UsageError, match="is not there"):
        load_agent(tmp_path / "nothing")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="training has not finished; continue with `icrl train --resume`"):
        load_agent(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"has no model/config\.json and no config\.json"):
        load_agent(tmp_path / "empty")
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[: len(whole) // 2], b""):
        weights.write_bytes(part)
        with pytest.raises(CheckpointError, match="holds no model that this release can load"):
            load_agent(path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="holds no model"):
        load_agent(path)
    weights.write_bytes(whole)
    (path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="holds no model"):
        load_agent(path)


def test_load_agent_refuses_weights_of_another_size(folder):
    """Kills: missing or misfitting weights replaced by random ones with a warning only."""
    path, _ = folder
    config = json.loads((path / "config.json").read_text())
    for key, value in (("n_layer", 3), ("width", 32), ("horizon", 9), ("n_layer", 1)):
        changed = json.loads(json.dumps(config))
        (changed["specs"]["0"] if key == "horizon" else changed["backbone"])[key] = value
        (path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match="holds no model"):
            load_agent(path)


def test_files_of_two_models_do_not_pass_for_one(folder, tmp_path):
    """Kills: a config of another model, which fits in every shape, or another's weights, taken without a word."""
    import shutil

    path, _ = folder
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / "tasks.parquet").write_text("")
    sign_model(path, tmp_path)
    load_agent(path)
    other = shutil.copytree(path, tmp_path / "other")
    for name, change in (("config.json", b"\n"), ("model.safetensors", b"")):
        content = (path / name).read_bytes()
        (other / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]) + change)
        with pytest.raises(CheckpointError, match=f"{name} "):
            load_agent(other)
        (other / name).write_bytes(content)
    load_agent(other)
    for text in ("[]", "{", '{"config.json": 3}', '{"config.json": {"bytes": -1, "sha256": ""}}'):
        (other / "digests.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"digests.json is damaged"):
            load_agent(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    """Kills: a model of NaN that acts, badly."""
    path, model = folder
    with torch.no_grad():
        model.net.backbone.blocks[-1].mlp.down.weight[0, 0] = value
    model.save_pretrained(path)
    with pytest.raises(CheckpointError, match=r"blocks\.\d+\.mlp\.down\.weight have values that are not finite"):
        load_agent(path)
