"""The console command `weir`.

Exit status: 0 done; 1 a model, broker or service is gone; 2 a wrong call or configuration; 3 done, but not everything
could be moderated, read or delivered, where the command tells; 4 `weir assess` found the response harmful; 130
interrupted.
"""

import os
import sys

import typer

from pipelines.commands import bench, data, dead_letters, demo, evaluate, inspect, models, policy, train
from pipelines.commands.answer import answer
from pipelines.commands.assess import assess
from pipelines.commands.exit_statuses import holds_the_process, tell_and_find_status
from pipelines.commands.moderate import moderate
from pipelines.commands.rewrite import rewrite
from pipelines.commands.serve import serve

app = typer.Typer(
    name="weir",
    help="Streaming moderation of conversations with multimodal LLMs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(demo.app, name="demo")
app.command()(serve)
app.command()(moderate)
app.command()(answer)
app.command()(assess)
app.command()(rewrite)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.add_typer(evaluate.app, name="eval")
app.add_typer(bench.app, name="bench")
app.add_typer(models.app, name="models")
app.add_typer(policy.app, name="policy")
app.command()(inspect.schema)
app.command()(inspect.version)
app.add_typer(inspect.config_app, name="config")


def main() -> None:
    """Run the command line; errors that Weir knows end in one line on standard error and an exit status."""
    try:
        app()
    except Exception as error:
        status = tell_and_find_status(error, command="weir")
        if status is None:
            raise
        if holds_the_process(error):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        sys.exit(status)


if __name__ == "__main__":
    main()
