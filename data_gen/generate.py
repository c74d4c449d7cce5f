"""`icrl generate`: records the learning histories of a source learner over the tasks of a split.

Histories are numbered 0 … N-1. History h is of task h mod (number of tasks), so that every shard shows every task
alike, and its number fixes its random numbers: the same bytes come out whatever the number of processes, and a
recording that was killed goes on with the shards that are missing.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from icrl.config import load_config, parse_command, save_config
from icrl.data_gen.before import check_config_trust, is_complete
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.plan import make_plan
from icrl.data_gen.shards import prepare, record_shards, undo
from icrl.files import size_in_words
from icrl.folders import CONFIG_FILE
from icrl.places import portable
from icrl.progress import progress


def generate(
    config: str | Path | GenerateConfig = "dark-room-q-learning",
    out: str | Path = "data/dark-room",
    *,
    resume: bool = False,
    dry_run: bool = False,
    trust_code: bool = False,
    accept_changed_family: bool = False,
    **overrides: Any,
) -> Path:
    """Records a dataset into the folder `out`, and returns it.

    Args:
        config: a preset's name, a YAML file, or a `GenerateConfig`.
        resume: go on with what an earlier call with the same config has left; start where there is nothing.
        dry_run: print what would be done, and write nothing.
        trust_code: run a family's or a learner's code that the config of a dataset names, which came with the data.
        accept_changed_family: with `resume`, go on though the family does not do what it did.
        overrides: fields of the config; dotted ones as `**{"family_options.size": 7}`.

    Raises:
        UsageError: for a config that is wrong, or an `out` that is in use or holds data of another config.
    """
    # 1. What to record.
    source, out = config, Path(out)
    config = load_config(GenerateConfig, source, overrides)
    if isinstance(source, str | Path):
        check_config_trust(Path(source), config, trust_code, overrides)
    config = replace(config, family=portable(config.family), learner=portable(config.learner))
    plan = make_plan(config, out)
    shards, num_histories = plan.shards, plan.shards.num_histories

    # 2. What is there already, and whether there is room for the rest.
    if is_complete(plan, resume, accept_changed_family):
        print(f"{out} is complete: {num_histories:,} histories of {shards.num_tasks:,} tasks; nothing to do")
        return out
    plan.check_space()
    if told := plan.leak():
        print(f"{config.family}: {told}", file=sys.stderr)
    if dry_run:
        plan.say()
        return out

    from icrl.provenance import PROVENANCE_FILE, read_provenance, write_provenance
    from icrl.store_writer import list_shards

    # 3. What is being recorded, written first, so that a resumed recording is the same one.
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG_FILE)
    provenance = plan.provenance
    if (out / PROVENANCE_FILE).is_file():
        before = read_provenance(out)
        provenance = replace(provenance, behaviour=before.behaviour, about=before.about)
    write_provenance(out, provenance, plan.split)

    # 4. The shards that are not there yet, in any order.
    missing = prepare(shards)
    done = num_histories - sum(len(shards.histories(shard)) for shard in missing)
    try:
        with (
            progress("recording", num_histories, unit="histories", done=done) as advance,
            closing(record_shards(shards, missing)) as recorded,
        ):
            for shard in recorded:
                advance(len(shards.histories(shard)))
    except BaseException as error:
        undo(shards, missing, made, error)
        raise

    # 5. The listing, which makes it a dataset.
    list_shards(out, len(shards))
    size = sum(path.stat().st_size for path in out.glob("*.arrow"))
    print(f"{out}: {num_histories:,} histories of {shards.num_tasks:,} {config.split} tasks, {size_in_words(size)}")
    return out


def main(argv: Sequence[str]) -> int:
    """The command line."""

    def add_arguments(parser) -> None:
        parser.add_argument("--out", required=True, metavar="FOLDER", help="the dataset's folder")
        parser.add_argument("--resume", action="store_true", help="go on with what an earlier run has left in --out")
        parser.add_argument("--dry-run", action="store_true", help="print what would be done and write nothing")
        parser.add_argument(
            "--trust-code", action="store_true", help="run code that the config of somebody's data names"
        )
        parser.add_argument(
            "--accept-changed-family", action="store_true", help="go on though the family does not do what it did"
        )

    arguments, config = parse_command("icrl generate", __doc__, GenerateConfig, argv, add_arguments)
    if arguments.config:
        said = {token.partition("=")[0].removeprefix("--") for token in argv}
        check_config_trust(Path(arguments.config), config, arguments.trust_code, said)
    generate(
        config,
        arguments.out,
        resume=arguments.resume,
        dry_run=arguments.dry_run,
        accept_changed_family=arguments.accept_changed_family,
    )
    return 0
