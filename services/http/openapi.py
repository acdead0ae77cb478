"""`GET /openapi.json`: what the routes take and give, with the bodies that they read themselves."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.http.refusals import STATUSES, ErrorEnvelope

_REFERENCE = "#/components/schemas/{model}"

Responses = dict[int | str, dict[str, Any]]
Bodies = type[BaseModel] | tuple[type[BaseModel], ...]
"""What a request has as its body, one of several where these are named."""


def error_responses(*codes: str) -> Responses:
    """Return what a route may answer instead of a result, by status."""
    statuses: dict[int, list[str]] = {}
    for code in codes:
        statuses.setdefault(int(STATUSES[code]), []).append(code)
    return {
        status: {"model": ErrorEnvelope, "description": ", ".join(named)} for status, named in sorted(statuses.items())
    }


def describe(app: FastAPI, bodies: Mapping[str, Bodies]) -> dict[str, Any]:
    """Return the OpenAPI description of an application.

    Args:
        app: its routes.
        bodies: what a POST to each path has as its body.
    """
    described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    forms = {path: (form,) if isinstance(form, type) else form for path, form in bodies.items()}
    models = [(model, "validation") for named in forms.values() for model in named]
    _, schemas = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]  # it takes any mode
    described["components"]["schemas"].update(schemas["$defs"])
    for path, named in forms.items():
        references = [{"$ref": _REFERENCE.format(model=model.__name__)} for model in named]
        schema = references[0] if len(references) == 1 else {"anyOf": references}
        described["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    described["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    described["security"] = [{}, {"key": []}, {"x-api-key": []}]
    return described
