"""`pinpip config`: what would run, and keys for the gateway."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of, show

if TYPE_CHECKING:
    from core.config import Config

commands = typer.Typer(help="Look at the configuration.", no_args_is_help=True)


@commands.command()
def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Read the configuration, load its transforms, and say what would run.

    Example: pinpip config check
    """
    from pinpip import configfile
    from pinpip.pipelines import process_of

    config = configfile.load(settings_of(context).config_path)
    for pipeline in config.pipelines.values():
        process_of(pipeline, keep_values=False)
    if as_json:
        typer.echo(json.dumps(configfile.shown(config)))
        return
    show("Pipelines", [_row(config, name) for name in config.pipelines], as_json=False)


@commands.command("api-key")
def api_key(
    name: Annotated[str, typer.Argument(help="Who will hold the key: it appears in the log.")],
) -> None:
    """Make a key for the gateway: hand the key out, and put its hash into config.yaml.

    Example: pinpip config api-key phone-app
    """
    from gateway.http.middleware import new_key

    key, digest = new_key()
    typer.echo(f"key, shown only now: {key}")
    typer.echo(f"for config.yaml:     gateway: {{api_keys: {{{json.dumps(name)}: {digest}}}}}")


def _row(config: "Config", name: str) -> dict[str, Any]:
    from pinpip.connectors import connector_of
    from pinpip.pipelines import archives, tables_of

    pipeline = config.pipeline(name)
    return {
        "pipeline": name,
        "reads": connector_of(config, name).described,
        "cleans with": pipeline.transform,
        "table": tables_of(config, name).clean,
        "archives": ", ".join(f"{a.parquet} ({a.stage})" for a in archives(pipeline)) or None,
    }
