"""What a folder is, and which command may write into it."""

import json

import pytest

from icrl.errors import CheckpointError, UsageError
from icrl.folders import check_out, check_source, checkpoints_of, look, model_folder, read_training

FILES = {
    "missing": None,
    "file": None,
    "empty": [".hidden"],
    "dataset": ["config.yaml", "provenance.json", "tasks.parquet", "dataset_info.json", "data-0.arrow", "state.json"],
    "recording": ["config.yaml: family: dark-room"],
    "run": ["config.yaml: method: ad", "provenance.json", "tasks.parquet", "model/config.json"],
    "started run": ["config.yaml: method: ad", "provenance.json", "checkpoints/step-00000005/state.json"],
    "begun run": ["config.yaml: method: ad"],
    "evaluation": ["config.yaml: prompt: empty", "scores.parquet", "summary.json"],
    "begun evaluation": ["config.yaml: prompt: empty"],
    "model": ["config.json", "model.safetensors"],
    "other": ["thesis.tex"],
    "config of another's": ["config.yaml: [1, 2]"],
    "config that is not text": ["config.yaml"],
}
KINDS = {
    "recording": "dataset",
    "started run": "run",
    "begun run": "run",
    "begun evaluation": "evaluation",
    "config of another's": "other",
    "config that is not text": "other",
}


def make(folder, name):
    if name == "missing":
        return folder
    if name == "file":
        folder.write_text("x")
        return folder
    for entry in FILES[name]:
        file, _, content = entry.partition(": ")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content.encode() or b"\xff\xfe\x00")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_every_folder_is_told_and_only_its_own_command_may_go_on_in_it(name, tmp_path):
    """Kills: a command that writes into what another has made, or takes a half-written folder for a whole one."""
    folder = make(tmp_path / "folder", name)
    found = look(folder)
    assert found.kind == KINDS.get(name, name)
    assert found.complete == (name in ("dataset", "run", "evaluation", "model"))
    for kind in ("dataset", "run", "evaluation"):
        if found.kind in ("missing", "empty"):
            assert check_out(folder, kind, resume=False) == "new"
        elif found.kind == kind:
            assert check_out(folder, kind, resume=True) == ("complete" if found.complete else "started")
            if name != "begun evaluation":  # It is made in one go: what is there is written anew.
                with pytest.raises(UsageError, match=r"^--out .*(another folder|--resume)"):
                    check_out(folder, kind, resume=False)
        else:
            with pytest.raises(UsageError, match=r"^--out .*: expected ") as caught:
                check_out(folder, kind, resume=True)
            assert "\n" not in str(caught.value)
    for kind in ("dataset", "run", "model"):
        if found.kind in ("empty", "other", kind) or (kind, found.kind) == ("model", "run"):
            assert check_source(folder, kind) == found  # Whoever reads it says what is missing.
        else:
            with pytest.raises(UsageError, match=r"(is not there|is a|is an) .*expected a|: expected a "):
                check_source(folder, kind)


def test_a_checkpoint_is_of_the_step_in_its_name(tmp_path):
    """Kills: a checkpoint renamed or edited, evaluated as of another step; a name without a number, a traceback."""
    for name, step in (("step-00000002", 2), ("step-00000004", 10**9), ("step-x", 4), ("step--0000003", -3)):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "state.json").write_text(json.dumps({"step": step}))
    assert [folder.name for folder in checkpoints_of(tmp_path)] == ["step-00000002", "step-00000004"]
    with pytest.raises(UsageError, match="no checkpoint of step -3: expected latest, or one of 2, 4"):
        model_folder(tmp_path, -3)
    assert read_training(model_folder(tmp_path, 2)) == {"step": 2}
    with pytest.raises(CheckpointError, match=r"step-00000004/state.json is not readable .it is of step 1000000000"):
        read_training(model_folder(tmp_path, "latest"))


def test_json_is_told_from_what_only_looks_like_it(tmp_path):
    """Kills: NaN, a file that is no text, or a thousand brackets, as a traceback or as a value."""
    from icrl.schema import Fault, read_json

    path = tmp_path / "file.json"
    for content in (b"\xff{}", b'{"a": NaN}', b"[" * 100_000, b"", b"{", json.dumps({"a": 1}).encode() + b"x"):
        path.write_bytes(content)
        with pytest.raises(Fault, match="not readable as JSON"):
            read_json(path)
