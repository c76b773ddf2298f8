"""Write the configuration of a measured pinpip: one pipeline, `pin`, otherwise defaults."""

from collections.abc import Mapping
from pathlib import Path

import yaml


def write(
    folder: Path,
    bootstrap: str,
    source: Mapping[str, object],
    *,
    root: str | None = None,
    archive: str | None = None,
    **sections: object,
) -> Path:
    """Write config.yaml into `folder`; the tables are below `root`, by default in the folder.

    `archive`: where the raw records go, too.
    """
    raw = [{"parquet": archive, "stage": "raw"}] if archive else []
    pipelines = {"pin": _pipeline(source, {"delta": "pin"}, *raw)}
    return _written(folder, bootstrap, root or str(folder), pipelines, sections)


def _pipeline(source: Mapping[str, object], *sinks: object) -> dict[str, object]:
    return {
        "source": dict(source),
        "schema": "transforms.pin:SCHEMA",
        "transform": "transforms.pin:clean",
        "sinks": list(sinks),
    }


def _written(
    folder: Path,
    bootstrap: str,
    root: str,
    pipelines: Mapping[str, object],
    sections: Mapping[str, object],
) -> Path:
    tree = {
        "id": "bench",
        "kafka": {"bootstrap.servers": bootstrap},
        "lake": {"root": root},
        **sections,
        "pipelines": dict(pipelines),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def of_topic(
    folder: Path,
    bootstrap: str,
    topic: str,
    *,
    root: str | None = None,
    archive: str | None = None,
    **sections: object,
) -> Path:
    """Write the configuration for a topic of pins; the group is named after the folder."""
    source = {"topics": [topic], "group": f"pinpip-{folder.name}"}
    return write(folder, bootstrap, source, root=root, archive=archive, **sections)


def of_topics(
    folder: Path, bootstrap: str, topics: Mapping[str, str], *, root: str, **sections: object
) -> Path:
    """Write the configuration of a pipeline per entry, with an archive: from its name its topic."""
    pipelines = {
        name: _pipeline(
            {"topics": [topic], "group": f"pinpip-{folder.name}-{name}"},
            {"delta": name},
            {"parquet": f"{root}/archive/{name}", "stage": "raw"},
        )
        for name, topic in topics.items()
    }
    return _written(folder, bootstrap, root, pipelines, sections)
