"""Models of transformers as backbones: sizes, weights of others, what is refused, and several processes."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing
from transformers import AutoConfig, AutoModelForCausalLM

import icrl
from icrl.errors import UsageError
from icrl.models.backbones.hf import HF
from icrl.models.backbones.options import HFOptions

KINDS = ("llama", "qwen3", "gpt2", "mistral", "mamba")
SIZES = {"n_layer": 2, "n_head": 2, "width": 16, "context_length": 6}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of a small language model, and the model."""
    folder = tmp_path_factory.mktemp("language") / "model"
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = AutoConfig.for_model("llama", vocab_size=30, max_position_embeddings=20, num_key_value_heads=2, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_options(kind):
    """Kills: a head of 128 channels, a window or a dropout of the model's defaults, a vocabulary that is kept."""
    backbone = HF(HFOptions(model_type=kind, dropout=0.25, **SIZES))
    config = backbone.model.config
    assert (config.num_hidden_layers, config.hidden_size, backbone.width) == (2, 16, 16)
    assert not any("embed" in name or name.startswith("wte") for name, _ in backbone.model.named_parameters())
    if kind != "mamba":
        assert config.num_attention_heads == 2
        assert getattr(config, "head_dim", None) in (None, 8)
        assert getattr(config, "sliding_window", None) is None
        dropouts = {key: value for key, value in config.to_dict().items() if "drop" in key and "summary" not in key}
        assert dropouts
        assert set(dropouts.values()) == {0.25}
    assert json.loads(json.dumps(backbone.options.overrides)) == backbone.options.overrides


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_transformers(kind):
    """Kills: a mask, positions or a norm that differ from the model's own."""
    torch.manual_seed(0)
    backbone = HF(HFOptions(model_type=kind, **SIZES)).eval()
    x_BTD = torch.randn(2, 6, 16)
    with torch.no_grad():
        assert torch.equal(backbone(x_BTD), backbone.model(inputs_embeds=x_BTD).last_hidden_state)


def test_pretrained_weights_are_taken(written):
    """Kills: random weights in their place, a language head or a table that is kept, options that need the folder."""
    folder, model = written
    backbone = HF(HFOptions(pretrained=str(folder), context_length=20)).eval()
    assert backbone.width == 16
    x_BTD = torch.randn(2, 20, 16)
    with torch.no_grad():
        expected = model.model(inputs_embeds=x_BTD).last_hidden_state
        assert torch.equal(backbone(x_BTD), expected)
    assert backbone.options.pretrained is None
    again = HF(backbone.options).eval()
    again.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x_BTD), expected)


def test_a_run_from_pretrained_weights(written, tiny_data, tmp_path):
    """Kills: first weights that the model around a backbone draws anew; a run that needs the folder when it acts."""
    _, model = written
    model.save_pretrained(tmp_path / "language")
    options = {"model": "hf", "model.pretrained": str(tmp_path / "language"), "model.context_length": 8}
    quick = {"train.steps": 2, "train.batch_size": 4, "train.evaluate_every": 0, "train.learning_rate": 1e-12}
    run = icrl.train(None, tiny_data, tmp_path / "run", **options, **quick)
    (tmp_path / "language").rename(tmp_path / "gone")
    weights = icrl.load_agent(run).model.state_dict()
    for name, weight in model.model.state_dict().items():
        if "embed_tokens" not in name:
            torch.testing.assert_close(weights[f"net.backbone.model.{name}"], weight, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "lama"}, "did you mean 'llama'"),
        ({"model_type": "bloom"}, "bloom is not supported"),
        ({"model_type": "qwen3_next"}, "qwen3_next is not supported"),
        ({"overrides": {"rope_thetta": 1.0}}, "'rope_thetta', which the config of llama does not have"),
        ({"pretrained": "x", "width": 32}, "model.width is set beside model.pretrained"),
        ({"pretrained": "/no/such/folder"}, "there is no such folder"),
        ({"n_head": 3, "width": 16}, "transformers refuses this llama"),
        ({"mlp_ratio": 0}, "model.mlp_ratio is 0"),
        ({"context_keep": 1.0}, "below 1"),
    ],
)
def test_what_is_refused(options, message):
    """Kills: a model whose state would be wrong without a word, a traceback where a line would do."""
    with pytest.raises(UsageError, match=message):
        HF(
            HFOptions(**{"context_length": 6, "n_layer": 1} | options)
            if "pretrained" not in options
            else HFOptions(**options)
        )


def test_a_model_that_is_too_short_is_refused(written):
    """Kills: positions past what the model was trained with, a sliding window narrower than the context."""
    folder, _ = written
    with pytest.raises(UsageError, match="reads 20 tokens, and the context has 21"):
        HF(HFOptions(pretrained=str(folder), context_length=21))
    with pytest.raises(UsageError, match="reads 20 tokens, and the context has 24"):
        HF(HFOptions(pretrained=str(folder), context_length=8), tokens_per_decision=3)


def _rank(rank: int, port: int, found) -> None:
    """One of two processes: the mean gradient of each kind of model."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    gradients = {}
    for kind in KINDS:
        torch.manual_seed(0)
        backbone = HF(HFOptions(model_type=kind, **SIZES)).train()
        net = torch.nn.parallel.DistributedDataParallel(backbone)
        x_BTD = torch.randn(4, 6, 16)[2 * rank : 2 * rank + 2]
        for _ in range(2):  # The second forward fails where a parameter had no gradient in the first.
            net(x_BTD).square().mean().backward()
        gradients[kind] = [parameter.grad / 2 for parameter in backbone.parameters()]
    found[rank] = gradients
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_gradients():
    """Kills: a parameter without a gradient, on which DistributedDataParallel stops."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.get_context("spawn").Manager() as manager:
        found = manager.dict()
        multiprocessing.spawn(_rank, (port, found), nprocs=2)
        one, two = found[0], found[1]
    for kind in KINDS:
        torch.manual_seed(0)
        alone = HF(HFOptions(model_type=kind, **SIZES)).train()
        alone(torch.randn(4, 6, 16)).square().mean().backward()
        for ours, theirs, parameter in zip(one[kind], two[kind], alone.parameters(), strict=True):
            assert torch.equal(ours, theirs)
            torch.testing.assert_close(ours, parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "zero2"])
def test_a_llama_learns_in_two_processes_what_it_learns_in_one(launch, tiny_data, tmp_path):
    """Kills: a model of transformers that a launcher refuses, shards wrongly, or saves in part."""
    flags = {
        "--model": "hf", "--model.model_type": "llama", "--model.n_layer": "2", "--model.width": "16",
        "--model.context_length": "8", "--train.steps": "4", "--train.batch_size": "8", "--train.log_every": "1",
        "--train.evaluate_every": "0", "--train.checkpoint_every": "2",
    }  # fmt: skip
    rows, weights = [], []
    for name, more in (("alone", []), ("two", ["--launch", launch, "--num-processes", "2"])):
        out = tmp_path / name
        command = [sys.executable, "-m", "icrl", "train", "--data", str(tiny_data), "--out", str(out), *more]
        command += [f"{flag}={value}" for flag, value in flags.items()]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        rows.append([json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])
        weights.append(load_file(out / "model" / "model.safetensors"))
        icrl.load_agent(out)
    for ours, theirs in zip(*rows, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert torch.allclose(weights[1][name], weight, atol=1e-3), name
