"""Files that are damaged in every way that a generator draws: one line, or the result that there would have been."""

import json
import pickle
import shutil

import numpy as np
import pytest

import icrl
from icrl import cli
from icrl.cli import run_main
from icrl.errors import CheckpointError
from icrl.provenance import check_run_files, read_provenance, read_split
from icrl.schema import Fault
from icrl.store import HistoryStore
from icrl.store_check import check_store
from icrl.train.checkpoint_state import read_whole

OPTIONS = {
    "model.n_layer": 1, "model.width": 16, "model.context_length": 8, "train.steps": 4, "train.batch_size": 4,
    "train.log_every": 2, "train.evaluate_every": 0, "train.checkpoint_every": 2,
}  # fmt: skip
QUICK = {"episodes": 2, "seeds": 1, "bootstrap": 100, "pictures": 1, "tasks": 2, "source": False}
VALUES = [
    None, True, False, 0, 1, -1, 2**31, -(2**63), 10**30, 0.5, 1e308, -0.0, float("nan"), float("inf"), "", "x",
    "../data", "/etc/passwd", "a\nb", "\x00", [], [[]], {}, {"a": 1}, [None], list(range(99)),
]  # fmt: skip


# What a command makes of a folder, as something that can be compared.


def of_dataset(folder):
    store = HistoryStore.open(folder)
    check_store(store)
    arrays = [
        array.tobytes() for index in range(len(store)) for array in store.window(index, 0, int(store.lengths[index]))
    ]
    finals = [store.history(index).final_observations.tobytes() for index in range(len(store))]
    return store.provenance, store.split, store.task_ids.tolist(), store.learner_seeds.tolist(), arrays, finals


def of_run(folder):
    check_run_files(folder)
    model = icrl.load_agent(folder).model
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    config = {**json.loads(model.config.to_json_string(use_diff=False)), "_name_or_path": ""}
    return read_provenance(folder), read_split(folder), weights, config


def of_checkpoint(folder):
    try:
        state = read_whole(folder)
    except Fault as fault:
        raise CheckpointError(str(fault)) from None
    return state, {name: (folder / name).read_bytes() for name in state.get("files", ())}


def of_evaluation(folder):
    summary = icrl.evaluate(folder.parent / "run", folder, resume=True, **QUICK)
    return json.dumps({key: value for key, value in summary.items() if key != "run"})


READ = {"data": of_dataset, "run": of_run, "checkpoint": of_checkpoint, "eval": of_evaluation}


def make(folder, seed):
    data = icrl.generate(
        "dark-room-q-learning", folder / "data", seed=seed, split_seed=seed, episodes=3, keep_every=1, workers=1,
        histories_per_task=2, histories_per_shard=9,
        **{"family_options": {"size": 4, "horizon": 6, "validation": 3, "test": 5}},
    )  # fmt: skip
    run = icrl.train(None, data, folder / "run", seed=seed, **OPTIONS)
    shutil.copytree(run / "checkpoints" / "step-00000004", folder / "step-00000004")
    shutil.rmtree(run / "checkpoints")
    icrl.evaluate(run, folder / "eval", **QUICK)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of two seeds: the first is damaged, the second gives files of another's."""
    return make(tmp_path_factory.mktemp("one"), 0), make(tmp_path_factory.mktemp("two"), 1)


@pytest.fixture(scope="module")
def expected(folders):
    return {kind: read(folders[0] / at(kind)) for kind, read in READ.items()}


def at(kind):
    return "step-00000004" if kind == "checkpoint" else kind


# Damage.


def damage_bytes(generator, path, other):
    content = bytearray(path.read_bytes())
    place = int(generator.integers(len(content) + 1))
    kind = int(generator.integers(6))
    if kind == 0 and content:
        content[place % len(content)] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        content = content[:place]
    elif kind == 2:
        content += generator.bytes(int(generator.integers(1, 40)))
    elif kind == 3:
        content[place:place] = generator.bytes(8)
    elif kind == 4:
        content[place : place + 8] = b"\xff" * len(content[place : place + 8])
    else:
        content = bytearray(generator.bytes(int(generator.integers(200))))
    path.write_bytes(content)


def damage_json(generator, path, other):
    value = json.loads(path.read_text())
    places = list(walk(value))
    holder, key = places[int(generator.integers(len(places)))]
    new = VALUES[int(generator.integers(len(VALUES)))]
    kind = int(generator.integers(5))
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder["added"] = new
    elif kind == 1:
        holder.append(holder[0])
    elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = [-holder[key], holder[key] + 1, holder[key] * 10**6, str(holder[key])][
            int(generator.integers(4))
        ]
    else:
        holder[key] = new
    path.write_text(json.dumps(value if int(generator.integers(30)) else new))


def walk(value):
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from walk(value[key])


def damage_file(generator, path, other):
    kind = int(generator.integers(9))
    outside = path.parents[1] / f"outside-{path.name}"
    neighbours = sorted(file for file in path.parent.iterdir() if file.is_file() and file != path)
    neighbour = neighbours[int(generator.integers(len(neighbours)))]
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.unlink()
        path.mkdir()
    elif kind == 2:
        path.rename(outside)
        path.symlink_to(outside)
    elif kind == 3:
        path.unlink()
        path.symlink_to(path)
    elif kind == 4:
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == 5:
        shutil.copy(neighbour, path)
    elif kind == 6:
        path.rename(outside)
        neighbour.rename(path)
        outside.rename(neighbour)
    elif kind == 7:
        path.rename(path.with_name("renamed" + path.suffix))
    elif other.is_file():
        shutil.copy(other, path)


DAMAGE = [damage_bytes, damage_json, damage_file]


def damaged(folders, kind, number, tmp_path, older=False):
    """A copy of a folder with one thing wrong in it; `older` has no digests, as an earlier release wrote it."""
    generator = np.random.default_rng([number, *kind.encode()])
    whole = folders[0] / at(kind)
    copy = shutil.copytree(whole, tmp_path / str(number) / at(kind))
    if kind == "eval":
        (tmp_path / str(number) / "run").symlink_to(folders[0] / "run")
    if older:
        for file in copy.rglob("digests.json"):
            file.unlink()
        if (copy / "state.json").is_file():
            state = json.loads((copy / "state.json").read_text())
            (copy / "state.json").write_text(
                json.dumps({k: v for k, v in state.items() if k not in ("files", "sha256")})
            )
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    change = DAMAGE[int(generator.integers(len(DAMAGE)))]
    if change is damage_json:
        files = [path for path in files if path.suffix == ".json"]
    path = files[int(generator.integers(len(files)))]
    change(generator, path, folders[1] / at(kind) / path.relative_to(copy))
    return copy, f"{change.__name__} of {path.relative_to(copy)}, number {number}"


@pytest.mark.parametrize("older", [False, True], ids=["digests", "older"])
@pytest.mark.parametrize("kind", READ)
def test_damage_is_one_line_or_changes_nothing(kind, older, folders, expected, tmp_path, capsys):
    """Kills: a traceback, a message of several lines, and above all a result that is another one."""
    wrong = []
    for number in range(15 if kind == "eval" else 60):  # An evaluation is looked at with its model.
        folder, what = damaged(folders, kind, number, tmp_path, older)
        results = []
        capsys.readouterr()
        try:
            code = run_main(lambda argv, folder=folder, results=results: results.append(READ[kind](folder)), [])
        except Exception as error:
            wrong.append((what, repr(error)))
            continue
        told = capsys.readouterr().err.splitlines()
        if code:
            if code not in (1, 2) or len(told) != 1 or not told[0].startswith("icrl: "):
                wrong.append((what, told))
        elif not older and results != [expected[kind]]:  # Without digests some damage is a legal value.
            wrong.append((what, "another result"))
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True], ids=["digests", "older"])
def test_the_commands_themselves(older, folders, expected, tmp_path, capsys):
    """Kills: what opens, and then ends in a traceback deep in a command."""
    wrong = []
    for number in range(40):
        for kind, argv in (
            ("data", ["inspect", "{}", "--picture", f"{tmp_path}/picture.png"]),
            ("data", ["train", "--data", "{}", "--out", f"{tmp_path}/{number}/new", *flags(OPTIONS)]),
            ("run", ["evaluate", "{}", "--out", f"{tmp_path}/{number}/result", *flags(QUICK)]),
        ):
            place = tmp_path / argv[0]
            folder, what = damaged(folders, kind, 1000 + number, place, older)
            capsys.readouterr()
            try:
                code = cli.main([word.format(folder) for word in argv])
            except Exception as error:
                wrong.append((argv[0], what, repr(error)))
                continue
            finally:
                shutil.rmtree(place)
            told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("icrl: ", "Traceback"))]
            told = [line for line in told if "longest history" not in line]
            if code not in (0, 1, 2) or (code and len(told) != 1):
                wrong.append((argv[0], what, told))
    assert not wrong


def test_digests_that_are_left_out_are_damage(folders, tmp_path):
    """Kills: digests emptied, and with them every check of what they were of."""
    run = shutil.copytree(folders[0] / "run", tmp_path / "run")
    for name in ("config.json", "model.safetensors", "provenance.json", "tasks.parquet"):
        digests = json.loads((folders[0] / "run" / "model" / "digests.json").read_text())
        del digests[name]
        (run / "model" / "digests.json").write_text(json.dumps(digests))
        with pytest.raises(CheckpointError, match=f"digests.json is damaged: it leaves out {name}"):
            of_run(run)
    checkpoint = shutil.copytree(folders[0] / "step-00000004", tmp_path / "step-00000004")
    state = json.loads((checkpoint / "state.json").read_text())
    for name in ("files", "sha256"):
        (checkpoint / "state.json").write_text(json.dumps({key: state[key] for key in state if key != name}))
        with pytest.raises(CheckpointError, match=r"state.json is not the file that was written"):
            of_checkpoint(checkpoint)


def flags(options):
    return [f"--{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in options.items()]
