"""`weir eval protector`: the paper's experiment."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.commands.drawn_files import require_drawable, write_drawing
from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.interrupts import EXIT_INTERRUPTED
from pipelines.commands.options import ConfigOption
from pipelines.commands.protector_tables import print_protector_report
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings

if TYPE_CHECKING:
    from protector_models.evaluation.protector.answer_judges import AnswerJudge
    from protector_models.evaluation.protector.experiment import Experiment
    from protector_models.evaluation.protector.report import ProtectorReport
    from protector_models.evaluation.protector.trials import TrialSet
    from protector_models.moderation.policy.policy import Policy

_ALL_VARIANTS = "SD,TYPO,SD+TYPO"
_JUDGE_TIMEOUT_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is asked for on the command line."""

    settings: WeirSettings
    sets: "Sequence[TrialSet]"
    judge_config: Path | None
    work: Path | None
    num_threads: int
    max_rows: int | None


def protector(
    data: Annotated[
        list[Path] | None, typer.Option(help="Recorded answers: a record file or a directory; may be repeated.")
    ] = None,
    benign: Annotated[
        list[Path] | None, typer.Option(help="Answers to harmless questions, as record files; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Only records of --data whose source begins so; may be repeated.")
    ] = None,
    mm_safetybench: Annotated[
        Path | None, typer.Option("--mm-safetybench", help="Folder in MM-SafetyBench's layout; asks the MLLM.")
    ] = None,
    variants: Annotated[str, typer.Option(help="Its kinds of pictures, with commas between.")] = _ALL_VARIANTS,
    figstep: Annotated[Path | None, typer.Option(help="Folder in FigStep's layout; asks the MLLM.")] = None,
    figstep_prompt: Annotated[
        str | None, typer.Option(help="Text put with each of FigStep's pictures; default: one of our own.")
    ] = None,
    config: ConfigOption = None,
    judge_config: Annotated[
        Path | None,
        typer.Option(help="Configuration whose detector judges; default: the judge of harm that Weir ships."),
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Directory that keeps every result: started again, the run goes on there.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw before and after to this SVG file.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the judge.")] = 2,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Take at most so many rows of each set, drawn at random.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure unsafe answers per scenario before and after detector and detoxifier, and benign answers left alone.

    Everything goes through the Moderator as configured: detector, detoxifier, policy, and the reading of images. What
    has no recorded answer is put to the configured MLLM. Who judged stands in the result; it is never the detector
    under test. docs/evaluation-protector.md says what each figure means. No text of any record is printed or written.

    Exit codes: 0 done; 1 a model is gone; 2 the data or the configuration cannot be used; 130 interrupted.
    """
    with ending_in_one_line("weir eval protector"):
        try:
            if plot is not None:
                require_drawable(plot, option="--plot", drawn_by="protector_models.evaluation.protector.plot")
                if not (data or mm_safetybench or figstep):
                    raise ConfigurationError(
                        "--plot: expected --data, --mm-safetybench or --figstep: there is nothing to draw"
                    )
            settings = load_settings(config)
            plan = _Plan(
                settings=settings,
                sets=_read_sets(
                    settings,
                    data=data or [],
                    benign=benign or [],
                    sources=source or [],
                    mm_safetybench=mm_safetybench,
                    variants=variants,
                    figstep=figstep,
                    figstep_prompt=figstep_prompt,
                    max_rows=max_rows,
                ),
                judge_config=judge_config,
                work=work,
                num_threads=threads,
                max_rows=max_rows,
            )
            report = asyncio.run(_measure(plan))
            if as_json:
                typer.echo(report.model_dump_json(indent=2))
            else:
                print_protector_report(report)
            if plot is not None:
                # Imported here, not above: it takes seconds, and needs the "eval" extra.
                from protector_models.evaluation.protector.plot import draw_before_and_after  # noqa: PLC0415

                write_drawing(plot, draw_before_and_after(report) + "\n", option="--plot")
        except KeyboardInterrupt:
            where = "without --work nothing is kept" if work is None else f"what is done is kept in {work}"
            typer.echo(f"interrupted; {where}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _read_sets(
    settings: WeirSettings,
    *,
    data: list[Path],
    benign: list[Path],
    sources: list[str],
    mm_safetybench: Path | None,
    variants: str,
    figstep: Path | None,
    figstep_prompt: str | None,
    max_rows: int | None,
) -> "list[TrialSet]":
    from protector_models.evaluation.protector import benchmark_folders  # noqa: PLC0415  # heavy, see below
    from protector_models.evaluation.protector.trials import read_recorded_sets  # noqa: PLC0415

    is_live = settings.mllm.kind != "off"
    if (mm_safetybench or figstep) and not is_live:
        raise ConfigurationError("--mm-safetybench and --figstep: expected mllm.kind to name a model, got 'off'")
    if figstep_prompt is not None and figstep is None:
        raise ConfigurationError("--figstep-prompt: expected --figstep with it")
    sets: list[TrialSet] = []
    if data:
        sets += read_recorded_sets(data, is_benign=False, sources=sources, is_live=is_live, max_trials=max_rows)
    if mm_safetybench is not None:
        sets += benchmark_folders.read_mm_safetybench(mm_safetybench, variants=variants.split(","), max_trials=max_rows)
    if figstep is not None:
        prompt = figstep_prompt or benchmark_folders.FIGSTEP_PROMPT
        sets.append(benchmark_folders.read_figstep(figstep, prompt=prompt, max_trials=max_rows))
    if benign:
        sets += read_recorded_sets(benign, is_benign=True, sources=(), is_live=is_live, max_trials=max_rows)
    names = [found.name for found in sets]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{', '.join(repeated)}: expected each set once, in --data or in --benign")
    if not sets:
        raise ConfigurationError("expected --data, --benign, --mm-safetybench or --figstep")
    return sets


async def _measure(plan: _Plan) -> "ProtectorReport":
    # Imported here, not above: the models' libraries take seconds, and every other command would pay for them.
    from protector_models.evaluation.protector.experiment import Experiment  # noqa: PLC0415
    from protector_models.evaluation.protector.trial_results import KeptResults, MemoryResults  # noqa: PLC0415
    from services.moderators import trial_moderator  # noqa: PLC0415
    from services.policies_in_force import load_policy_in_force  # noqa: PLC0415

    # Rewritten and withheld answers are judged as they were, so the Moderator has to give them.
    output = plan.settings.output.model_copy(update={"include_original_response": True})
    settings = plan.settings.model_copy(update={"output": output})
    policy = load_policy_in_force(settings)
    async with AsyncExitStack() as stack:
        judge = await stack.enter_async_context(_open_judge(plan))
        results = MemoryResults()
        if plan.work is not None:
            results = KeptResults.open(plan.work, identity=_identify(settings, policy, judge))
        moderator = await stack.enter_async_context(trial_moderator(settings, policy))
        experiment = Experiment(moderator=moderator, judge=judge, results=results)
        return await _run_all(experiment, plan, policy)


async def _run_all(experiment: "Experiment", plan: _Plan, policy: "Policy") -> "ProtectorReport":
    from protector_models.evaluation.protector.evaluation import evaluate_protector  # noqa: PLC0415  # heavy, see above

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=sum(len(found.trials) for found in plan.sets))
        return await evaluate_protector(
            experiment,
            plan.sets,
            policy=policy,
            max_rows=plan.max_rows,
            report_set=lambda name: progress.update(task, description=name),
            report_trials=lambda num_trials: progress.advance(task, num_trials),
        )


@asynccontextmanager
async def _open_judge(plan: _Plan) -> "AsyncIterator[AnswerJudge]":
    from protector_models.evaluation.protector.answer_judges import (  # noqa: PLC0415
        CharacterAnswerJudge,
        DetectorAnswerJudge,
    )
    from protector_models.judges.shipped_judges import SHIPPED_JUDGES  # noqa: PLC0415  # heavy, see above

    if plan.judge_config is None:
        yield CharacterAnswerJudge.load(SHIPPED_JUDGES)
        return
    from protector_models.detectors.choice import load_detector  # noqa: PLC0415

    settings = load_settings(plan.judge_config).detector
    if settings in _name_parts(plan.settings.detector):
        raise ConfigurationError(
            f"--judge-config: expected another detector than the one under test, got the same in {plan.judge_config}"
        )
    detector = load_detector(settings, num_threads=plan.num_threads, timeout_s=_JUDGE_TIMEOUT_S)
    try:
        yield DetectorAnswerJudge(detector, threshold=detector.threshold)
    finally:
        await detector.close()


def _name_parts(settings: DetectorSettings) -> list[DetectorSettings]:
    """Returns a detector's settings and those of each detector in it."""
    if settings.cascade is None:
        return [settings]
    return [settings, *_name_parts(settings.cascade.first), *_name_parts(settings.cascade.second)]


def _identify(settings: WeirSettings, policy: "Policy", judge: "AnswerJudge") -> str:
    """Returns a digest of everything that decides a result, besides the trial itself."""
    asked = settings.model_dump(mode="json", include={"detector", "detoxifier", "mllm", "images"})
    identity = [asked, policy.model_dump(mode="json"), judge.revision]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
