"""`weir eval detoxifier` and `weir eval blind-pairs`: rewrites measured, and laid out for reading."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.commands.detoxifier_tables import print_detoxifier_report
from pipelines.commands.exit_statuses import BAD_FILES, ending_in_one_line
from pipelines.commands.half_option import HalfChoice, HalfOption
from pipelines.commands.options import ConfigOption
from pipelines.settings import WeirSettings, load_settings
from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from protector_models.detoxification.detoxifier import TextEditor
    from protector_models.evaluation.detoxification.report import DetoxifierReport

_EditModelOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights directory of the edit model; default: the configured one.")
]
_JudgesOption = Annotated[
    Path | None, typer.Option("--judges", help="Weights directory of the judges; default: those that Weir ships.")
]


def detoxifier(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="A record file (.jsonl, .jsonl.gz) or a directory; may be repeated. Without it: the behaviours alone."
        ),
    ] = None,
    behaviour: Annotated[list[str] | None, typer.Option(help="Measure this behaviour alone; may be repeated.")] = None,
    half: HalfOption = HalfChoice.ALL,
    show_failures: Annotated[
        int, typer.Option(min=0, help="Show so many rows of each behaviour that did not end as wanted, with texts.")
    ] = 0,
    config: ConfigOption = None,
    weights: _EditModelOption = None,
    judges: _JudgesOption = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Take at most so many texts of each set, drawn at random.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure rewrites, with judges that are not the detector: see docs/evaluation-detoxifier.md for every figure.

    Three kinds of sets are known by their names, and others passed over: toxic texts with human rewrites
    (paradetox_eval, appdia), harmless answers (alpaca_eval_benign, xstest_v2_completions, llava_benign), and harmful
    answers (jbb_family_eval, harmbench_response, xstest_response, mllm_recorded), which go through the whole Moderator
    as configured. No text of any record is printed or written. The table of behaviours is measured on rows that come
    with Weir, whose texts may be shown; without --data it is all that is measured, in a few minutes.

    Exit codes: 0 done; 1 a model is gone; 2 the data, the weights or the configuration cannot be used.
    """
    with ending_in_one_line("weir eval detoxifier"):
        report = _evaluate(
            data or [],
            behaviours=behaviour or [],
            half=half,
            num_shown=show_failures,
            settings=_choose_weights(load_settings(config), weights),
            judges=judges,
            num_threads=threads,
            max_rows=max_rows,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        print_detoxifier_report(report)


def blind_pairs(
    data: Annotated[Path, typer.Option(help="Toxic texts with rewrites: a record file, or a directory with one set.")],
    out: Annotated[Path, typer.Option(help="Table to read: number, source, first, second, with tabs between.")],
    key: Annotated[Path, typer.Option(help="Which row wrote what, as JSON: to be opened after the reading.")],
    rows: Annotated[
        str, typer.Option(help="Two of duplicate, delete, reference, weir, with a comma between.")
    ] = "weir,delete",
    num: Annotated[int, typer.Option(min=1, help="How many pairs.")] = 100,
    seed: Annotated[int, typer.Option(help="Draws texts and order; the same seed draws the same.")] = 1,
    config: ConfigOption = None,
    weights: _EditModelOption = None,
    judges: _JudgesOption = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Write pairs of two rows' rewrites in random order, to be read without knowing which is which.

    Only texts that the two rows rewrite differently are drawn. The table holds texts of the records.

    Exit codes: 0 done; 2 the data or the weights cannot be used, or a file cannot be written.
    """
    with ending_in_one_line("weir eval blind-pairs", also=BAD_FILES):
        _write_blind_pairs(
            data,
            out=out,
            key=key,
            rows=rows,
            num_pairs=num,
            seed=seed,
            settings=_choose_weights(load_settings(config), weights),
            judges=judges,
            num_threads=threads,
        )


def _choose_weights(settings: WeirSettings, weights: Path | None) -> WeirSettings:
    """Puts other weights of the edit model in place of the configured ones, for the rows and for the Moderator."""
    if weights is None:
        return settings
    return settings.model_copy(
        update={"detoxifier": settings.detoxifier.model_copy(update={"edit": True, "checkpoint": weights})}
    )


def _load_editor(settings: WeirSettings, num_threads: int) -> "TextEditor":
    from protector_models.detoxification.edit_model import SHIPPED_EDIT_MODEL, EditModel  # noqa: PLC0415  # heavy, see below

    return EditModel.load(settings.detoxifier.checkpoint or SHIPPED_EDIT_MODEL, num_threads=num_threads)


def _evaluate(
    data: list[Path],
    *,
    behaviours: list[str],
    half: HalfChoice,
    num_shown: int,
    settings: WeirSettings,
    judges: Path | None,
    num_threads: int,
    max_rows: int | None,
) -> "DetoxifierReport":
    # Imported here, not above: the models' libraries take seconds, and every other command would pay for them.
    from protector_models.detectors.choice import find_weights  # noqa: PLC0415
    from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector  # noqa: PLC0415
    from protector_models.evaluation.detoxification.behaviours.measuring import BehaviourPlan  # noqa: PLC0415
    from protector_models.evaluation.detoxification.behaviours.row_files import load_sets  # noqa: PLC0415
    from protector_models.evaluation.detoxification.bench import Bench  # noqa: PLC0415
    from protector_models.evaluation.detoxification.evaluation import evaluate_detoxifier  # noqa: PLC0415
    from protector_models.evaluation.detoxification.record_kinds import DetoxificationSets, read_sets  # noqa: PLC0415
    from protector_models.judges.shipped_judges import SHIPPED_JUDGES, load_judges  # noqa: PLC0415
    from services.moderators import trial_moderator  # noqa: PLC0415
    from services.policies_in_force import load_policy_in_force  # noqa: PLC0415

    # All data is read before any is measured: a fault in the last file shows at once, and the bar knows its end.
    sets = read_sets(data, max_rows=max_rows) if data else DetoxificationSets(pairs={}, safe={}, harmful={})
    plan = BehaviourPlan(
        sets=load_sets(half=half.to_half(), names=behaviours, max_rows=max_rows), half=half.value, num_shown=num_shown
    )
    policy = load_policy_in_force(settings)
    found = load_judges(judges or SHIPPED_JUDGES, encoder_directory=find_base_encoder(), num_threads=num_threads)
    editor = _load_editor(settings, num_threads)
    detector = OnnxHarmDetector.load(
        find_weights(settings.detector),
        num_threads=num_threads,
        weights=settings.detector.weights,
        max_windows=settings.detector.max_windows,
        engine=settings.detector.engine,
        device=settings.detector.device,
    )

    async def measure() -> "DetoxifierReport":
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        async with trial_moderator(settings, policy) as moderator:
            bench = Bench(
                editor=editor,
                moderator=moderator,
                detector=detector,
                policy=policy,
                judges=found,
                clock=time.perf_counter,
            )
            with Progress(*columns, console=Console(stderr=True)) as progress:
                task = progress.add_task("reading", total=sets.count_steps() + plan.count_steps())
                return await evaluate_detoxifier(
                    bench,
                    sets,
                    plan,
                    max_rows=max_rows,
                    report_set=lambda name: progress.update(task, description=name),
                    report_rows=lambda num_rows: progress.advance(task, num_rows),
                )

    return asyncio.run(measure())


def _write_blind_pairs(
    data: Path,
    *,
    out: Path,
    key: Path,
    rows: str,
    num_pairs: int,
    seed: int,
    settings: WeirSettings,
    judges: Path | None,
    num_threads: int,
) -> None:
    from protector_models.evaluation.detoxification.blind_pairs import TSV_HEADER, draw_blind_pairs  # noqa: PLC0415
    from protector_models.evaluation.detoxification.pair_sets import (  # noqa: PLC0415
        ROWS,
        WEIR,
        edit_texts,
        group_pairs,
        write_rows,
    )
    from protector_models.judges.shipped_judges import SHIPPED_JUDGES, TOXIC_WORDS_FILE  # noqa: PLC0415
    from protector_models.judges.toxic_words import ToxicWords  # noqa: PLC0415
    from protector_models.records.record_sets import find_sets, read_rows  # noqa: PLC0415

    names = rows.split(",")
    if len(set(names)) != 2 or not set(names) <= set(ROWS):
        raise ConfigurationError(f"--rows: expected two of {', '.join(ROWS)} with a comma between, got {rows!r}")
    items = group_pairs([record for found in find_sets([data]) for record in read_rows(found, max_rows=None).labelled])
    edited = None
    if WEIR in names:
        sources = [item.source for item in items]
        edited = edit_texts(
            _load_editor(settings, num_threads), sources, clock=time.perf_counter, report_rows=lambda _: None
        )
    words = ToxicWords.load((judges or SHIPPED_JUDGES) / TOXIC_WORDS_FILE)
    outputs = write_rows(items, words, edited)
    pairs = draw_blind_pairs(items, {name: outputs[name] for name in names}, num_pairs=num_pairs, seed=seed)
    numbered = list(enumerate(pairs, start=1))
    out.write_text(TSV_HEADER + "".join(pair.to_line(number) for number, pair in numbered), encoding="utf-8")
    answers = {str(number): {"first": pair.first_row, "second": pair.second_row} for number, pair in numbered}
    key.write_text(json.dumps({"rows": names, "seed": seed, "pairs": answers}, indent=2) + "\n", encoding="utf-8")
