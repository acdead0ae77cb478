"""`weir schema`, `weir config` and `weir version`: what this installation speaks, uses and is."""

import importlib.metadata
import json
from enum import StrEnum

import typer
import yaml
from pydantic import BaseModel

from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.files.jsonl import ErrorRecord
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import ModeratedConversation

config_app = typer.Typer(help="Show what is configured.", no_args_is_help=True)


class Format(StrEnum):
    """What can be described by a JSON Schema."""

    EVENT = "event"
    MODERATED = "moderated"
    ERROR = "error"
    POLICY = "policy"
    CONFIG = "config"


_READ: dict[Format, type[BaseModel]] = {
    Format.EVENT: ConversationEvent,
    Format.POLICY: Policy,
    Format.CONFIG: WeirSettings,
}
_WRITTEN: dict[Format, type[BaseModel]] = {Format.MODERATED: ModeratedConversation, Format.ERROR: ErrorRecord}


def schema(what: Format) -> None:
    """Print the JSON Schema of a format.

    event: what comes in. moderated: what goes out. error: what stands in a JSONL output for a line that failed.
    policy and config: the two files that can be written.
    """
    if what in _READ:
        content = _READ[what].model_json_schema(mode="validation")
    else:
        content = _WRITTEN[what].model_json_schema(mode="serialization")
    typer.echo(json.dumps(content, indent=2))


@config_app.command("show")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the configuration in force: defaults, the file, WEIR_... variables. Secrets are masked."""
    settings = load_settings(config)
    content = settings.model_dump(mode="json")
    typer.echo(json.dumps(content, indent=2) if as_json else yaml.safe_dump(content, sort_keys=False).rstrip())


def version(as_json: JsonOption = False) -> None:
    """Print the versions of Weir and of what it stands on."""
    names = ("weir", "ray", "kafka-python", "redis", "onnxruntime", "pydantic")
    versions = {name: importlib.metadata.version(name) for name in names}
    typer.echo(json.dumps(versions) if as_json else "\n".join(f"{name} {number}" for name, number in versions.items()))
