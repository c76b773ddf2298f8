"""What `pinpip chaos` makes of a pipeline that takes some records of a shared topic."""

from pathlib import Path

from core.config import Config
from pinpip.chaos.content import content_of


def test_chaos_tests_a_pipeline_without_its_where(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text('{"ind": 1, "country": "Norway"}\n' * 2)
    pipeline = {
        "source": {"topics": ["all"], "where": {"key": "geo"}},
        "schema": "transforms.geo:SCHEMA",
        "transform": "transforms.geo:clean",
        "sinks": [{"delta": "geo"}],
    }
    tree = {"id": "demo", "kafka": {"bootstrap.servers": "x:1"}, "pipelines": {"geo": pipeline}}
    content = content_of(Config.model_validate(tree), "geo", lines)
    assert (len(content.templates), content.dropped) == (2, frozenset())
