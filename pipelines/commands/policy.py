"""`weir policy check`: whether a policy file can be used, and what it changes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS
from pipelines.commands.exit_statuses import EXIT_MISCONFIGURED
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import load_settings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy.policy import Policy
from protector_models.policies.policy_differences import Difference, find_differences
from protector_models.policies.policy_file import PolicyFileError, load_policy

app = typer.Typer(no_args_is_help=True, help="Policies: what is done about which finding.")

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A policy that can be used, and another that it is compared with."""

    file: Path
    policy: Policy
    against: str
    other: Policy
    differences: list[Difference]


@app.callback()
def policy() -> None:
    """Policies: what is done about which finding."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tell what is different from this policy. Default: from the one that ships."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a policy file: that it is one, and that it fits the models that are configured.

    Prints its revision as verdicts name it, its rules and tenants, where its rules let harm of no category pass, and
    what it says differently. Nothing is changed, and no model is loaded.

    Exit codes: 0 it can be used; 2 it cannot, or the other policy or the configuration cannot; what is wrong is told
    with its line and key.
    """
    try:
        checked = _check(file, against, config)
    except ConfigurationError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"file": str(file), "valid": False, "faults": _faults(error)}))
        raise typer.Exit(EXIT_MISCONFIGURED) from error
    if as_json:
        typer.echo(json.dumps(_as_json(checked)))
    else:
        _print(checked)


def _check(file: Path, against: Path | None, config: Path | None) -> _Checked:
    from services.policies_in_force import require_fitting_policy  # noqa: PLC0415  # takes detectors along

    settings = load_settings(config)
    checked, other = load_policy(file), load_policy(against)
    require_fitting_policy(checked, settings)
    return _Checked(
        file=file,
        policy=checked,
        against="the policy that ships" if against is None else str(against),
        other=other,
        differences=find_differences(other, checked),
    )


def _faults(error: ConfigurationError) -> list[dict[str, object]]:
    """Return what is wrong, one by one; line and key are null where it is told of the whole."""
    if isinstance(error, PolicyFileError):
        return [{"line": fault.line, "key": fault.key or None, "message": fault.text} for fault in error.faults]
    return [{"line": None, "key": None, "message": str(error)}]


def _as_json(checked: _Checked) -> dict[str, object]:
    return {
        "file": str(checked.file),
        "valid": True,
        "revision": checked.policy.revision,
        "rules": [rule.model_dump(mode="json") for rule in checked.policy.rules],
        "tenants": list(checked.policy.tenants),
        "partial_rules": checked.policy.partial_rules(),
        "against": {"policy": checked.against, "revision": checked.other.revision},
        "differences": [asdict(difference) for difference in checked.differences],
    }


def _print(checked: _Checked) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    facts = Table(show_header=False)
    facts.add_row("revision", Text(checked.policy.revision))
    for rule in checked.policy.rules:
        facts.add_row("rule", Text(f"{rule.category} from {rule.threshold:g} on: {rule.action.value}"))
    facts.add_row("tenants", Text(", ".join(checked.policy.tenants) or "-"))
    if partial := checked.policy.partial_rules():
        facts.add_row("harm of no category passes", Text(", ".join(partial)))
    console.print(Text(f"{checked.file} can be used"))
    console.print(facts)
    if not checked.differences:
        console.print(Text(f"It says the same as {checked.against} ({checked.other.revision})"))
        return
    table = Table(title=f"What differs from {checked.against} ({checked.other.revision})")
    for column in ("key", "there", "here"):
        table.add_column(column)
    for difference in checked.differences:
        table.add_row(Text(difference.key), _shown(difference.before), _shown(difference.after))
    console.print(table)


def _shown(value: object) -> Text:
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return Text(text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…")
