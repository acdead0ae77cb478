"""A bare FastAPI route as a deployment: what the HTTP front is compared with where its speed is measured."""

from fastapi import FastAPI, Request, Response
from ray.serve import Application
from starlette.types import ASGIApp

from services.deployments.application import deploy
from services.settings import HttpDeploymentSettings


class EchoFront:
    """Answers each POST to its root with what that has as its body."""

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application; called by Serve."""
        app = FastAPI(openapi_url=None)

        @app.post("/")
        async def echo(request: Request) -> Response:
            return Response(await request.body(), media_type="application/json")

        return app


def bind_echo(settings: HttpDeploymentSettings) -> Application:
    """Bind it with the options of the HTTP front, except that it reserves no CPU: it has to fit in beside."""
    return deploy(EchoFront, settings.model_copy(update={"num_cpus": 0.0}))
