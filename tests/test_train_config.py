"""What the training config accepts, and what the packaged presets resolve to."""

import pytest

from icrl.config import config_to_dict, load_config, preset_names
from icrl.errors import UsageError
from icrl.train.config import TrainConfig, lasting


@pytest.mark.parametrize("name", preset_names(TrainConfig))
def test_presets_load_and_begin_with_a_comment(name):
    """Kills: a preset with a key that the config no longer has."""
    assert isinstance(load_config(TrainConfig, name), TrainConfig)
    assert preset_names(TrainConfig)[name]


def test_the_demo_preset_is_the_stated_one():
    """Kills: a changed default that silently changes the demo."""
    config = load_config(TrainConfig, "ad-small")
    model, options = config.model.options, config.train
    assert (config.model.name, config.method.name) == ("transformer", "ad")
    assert (model.n_layer, model.width, model.n_head, model.context_length) == (3, 64, 2, 200)
    assert (options.batch_size, options.steps, options.learning_rate) == (64, 1750, 3e-3)
    assert (options.betas, options.weight_decay, options.clip) == ((0.9, 0.95), 0.01, 1.0)
    assert (options.schedule, options.decay_fraction, model.attention_dropout) == ("wsd", 0.3, 0.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.steps", 0, "train.steps is 0: expected at least 1"),
        ("train.batch_size", 5, "batch_size 5 does not divide into train.accumulation 2"),
        ("train.learning_rate", -1.0, "learning_rate is -1.0: expected a number above 0"),
        ("method.label_smoothing", 1.0, "label_smoothing is 1.0: expected at least 0 and below 1"),
        ("train.betas", [0.9, 1.5], "two numbers of at least 0 and below 1"),
        ("train.schedule", "linear", "schedule"),
        ("seed", -1, "seed is -1"),
    ],
)
def test_values_out_of_range_are_refused(key, value, message):
    """Kills: a value that fails an hour later, or never."""
    with pytest.raises(UsageError, match=message):
        load_config(TrainConfig, None, {"train.accumulation": 2, key: value})


def test_an_unknown_key_names_its_neighbour():
    """Kills: a typing error that trains with the default."""
    with pytest.raises(UsageError, match=r"did you mean .*train\.learning_rate"):
        load_config(TrainConfig, None, {"train.learning_rat": 1e-3})


def test_what_changes_no_weights_may_change_on_resume():
    """Kills: a resume refused because of the number of reading workers, or of more steps."""
    a = config_to_dict(load_config(TrainConfig, None))
    b = config_to_dict(load_config(TrainConfig, None, {"train.workers": 3, "train.steps": 3000}))
    assert a != b
    assert lasting(a) == lasting(b)
    assert lasting(a) != lasting(config_to_dict(load_config(TrainConfig, None, {"train.learning_rate": 3.0})))
