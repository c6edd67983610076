"""`predict`, `compare`, `explain`, `export`: what a model finds, costs, and looks at."""

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs to the root of the command line."""
