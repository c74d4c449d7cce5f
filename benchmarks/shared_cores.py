"""What another busy process on the same cores costs training: threads that spin at a barrier, and threads that sleep.

`python benchmarks/shared_cores.py`. One training process with a thread for each core, alone and beside a process that
keeps one core busy, under both values of OMP_WAIT_POLICY; `icrl` sets "passive" where nothing is set. The rounds are
interleaved, and the fastest of each counts.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS, STEPS = 3, 30
DATA = ["generate", "--config", "dark-room-q-learning", "--histories_per_task", "2", "--workers", "1"]
TRAIN = [
    "train", "--config", "ad-small", "--train.steps", str(STEPS), "--train.log_every", str(STEPS // 3),
    "--train.evaluate_every", "0", "--train.checkpoint_every", "0",
]  # fmt: skip


def run(arguments: list[str], policy: str | None = None) -> None:
    environment = {**os.environ, **({"OMP_WAIT_POLICY": policy} if policy else {})}
    command = [sys.executable, "-m", "icrl", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)


def busy() -> None:
    while True:
        pass


def tokens_per_second(folder: Path, policy: str, shared: bool) -> float:
    """Of the fastest stretch of one training run."""
    other = multiprocessing.Process(target=busy, daemon=True)
    if shared:
        other.start()
    try:
        out = Path(tempfile.mkdtemp(dir=folder)) / "run"
        run([*TRAIN, "--data", str(folder / "data"), "--out", str(out)], policy)
    finally:
        if shared:
            other.kill()
            other.join()
    rows = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    return max(row["tokens_per_second"] for row in rows)


def main() -> None:
    speeds: dict[tuple[str, bool], float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([*DATA, "--out", str(folder / "data")])
        for _ in range(ROUNDS):
            for policy in ("active", "passive"):
                for shared in (False, True):
                    speed = tokens_per_second(folder, policy, shared)
                    speeds[policy, shared] = max(speed, speeds.get((policy, shared), 0.0))
    best = speeds["active", False]
    print("| OMP_WAIT_POLICY | alone, tokens/s | beside a busy process | kept |")
    print("| --- | --- | --- | --- |")
    for policy in ("active", "passive"):
        alone, shared = speeds[policy, False], speeds[policy, True]
        print(f"| {policy} | {alone:,.0f} ({alone / best:.2f}) | {shared:,.0f} | {shared / alone:.0%} |")


if __name__ == "__main__":
    main()
