"""The contract of backbones, over all of them."""

import pytest

from icrl.models.backbones.contract import CHECKS, Subject

SUBJECTS = {
    "transformer": Subject("transformer"),
    "transformer-swiglu": Subject("transformer", {"mlp": "swiglu"}),
    "gru": Subject("gru"),
    "lstm": Subject("lstm"),
    **{f"hf-{kind}": Subject("hf", {"model_type": kind}) for kind in ("llama", "qwen3", "gpt2", "mistral", "mamba")},
    "hf-few-kv-heads": Subject("hf", {"model_type": "llama", "n_kv_head": 1}),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_contract(subject, check):
    """Kills: what each check says."""
    check(subject)
