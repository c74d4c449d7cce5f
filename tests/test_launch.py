"""Launch presets by name and path, how many processes they start, and what is done when others come."""

from types import SimpleNamespace

import pytest

from icrl.errors import LaunchError, UsageError
from icrl.train.launch import LAUNCHES, check_processes, count_processes, read_launch

KINDS = {"cpu": "NO", "ddp": "MULTI_GPU", "zero1": "DEEPSPEED", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED",
         "fsdp2": "FSDP"}  # fmt: skip


def accelerator(kind, num_processes, zero_stage=None):
    return SimpleNamespace(
        distributed_type=SimpleNamespace(name=kind),
        num_processes=num_processes,
        deepspeed_plugin=SimpleNamespace(zero_stage=zero_stage),
    )


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", LAUNCHES)
def test_packaged_launches(name):
    """Kills: a preset of another kind or stage than its name says."""
    launch = read_launch(name)
    assert launch.kind == KINDS[name]
    assert launch.zero_stage == (int(name[-1]) if name.startswith("zero") else None)
    assert launch.in_this_process == (name == "cpu")


def test_a_launch_by_path(tmp_path):
    """Kills: a path that is taken for a name, and a kind that training cannot use."""
    (tmp_path / "my.yaml").write_text("distributed_type: MULTI_CPU\nnum_processes: 3\n")
    launch = read_launch(str(tmp_path / "my.yaml"))
    assert (launch.kind, count_processes(launch, None), count_processes(launch, 5)) == ("MULTI_CPU", 3, 5)
    (tmp_path / "tpu.yaml").write_text("distributed_type: XLA\n")
    with pytest.raises(UsageError, match="distributed_type XLA: expected NO"):
        read_launch(str(tmp_path / "tpu.yaml"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_launch(str(tmp_path / "none.yaml"))


def test_wrong_names_and_numbers():
    """Kills: a typing error that trains on one process."""
    with pytest.raises(UsageError, match="did you mean 'fsdp2'"):
        read_launch("fsdp")
    with pytest.raises(UsageError, match="single process, --num-processes asks for 2"):
        count_processes(read_launch("cpu"), 2)
    with pytest.raises(UsageError, match="expected at least 1"):
        count_processes(read_launch("ddp"), 0)


def test_processes_that_were_asked_for_pass(monkeypatch):
    """Kills: a check that refuses gloo where there is no GPU."""
    check_processes(accelerator("NO", 1), read_launch("cpu"), None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_processes(accelerator("MULTI_CPU", 2), read_launch("ddp"), 2)
    check_processes(accelerator("DEEPSPEED", 2, 2), read_launch("zero2"), 2)
    check_processes(accelerator("FSDP", 2), None, None)


@pytest.mark.parametrize(
    ("found", "name", "asked", "message"),
    [
        (
            accelerator("MULTI_CPU", 2),
            "zero2",
            2,
            "should give processes of type DEEPSPEED, accelerate says MULTI_CPU",
        ),
        (accelerator("DEEPSPEED", 2, 3), "zero2", 2, "is ZeRO stage 2, DeepSpeed runs stage 3"),
        (accelerator("MULTI_CPU", 2), "ddp", 4, "asks for 4, 2 are running"),
        (accelerator("NO", 1), "ddp", 2, "started 2 processes, accelerate sees 1"),
    ],
)
def test_other_processes_than_asked_for(monkeypatch, found, name, asked, message):
    """Kills: a DeepSpeed config that is silently dropped to DDP; two runs that know nothing of each other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(LaunchError, match=message):
        check_processes(found, read_launch(name), asked)


def test_accelerate_launch_that_started_one_process_of_several(monkeypatch):
    """Kills: `accelerate launch` on a CPU, which starts one process where two were asked for."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(LaunchError, match="asked for several CPU processes and has started one"):
        check_processes(accelerator("NO", 1), None, None)


def test_what_the_environment_asks_for_holds_without_launch_too(monkeypatch):
    """Kills: `ACCELERATE_USE_CPU=true torchrun` that drops DeepSpeed, trains as plain DDP and says nothing."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    check_processes(accelerator("DEEPSPEED", 2, 2), None, None)
    with pytest.raises(LaunchError, match="asks for processes of type DEEPSPEED, accelerate says MULTI_CPU"):
        check_processes(accelerator("MULTI_CPU", 2), None, None)
