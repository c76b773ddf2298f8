"""`pinpip config init`: a configuration, and a pipeline's code, that run as they are."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import indent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, FatalError
from pinpip import checking, configfile, scaffold
from pinpip.extending import extended
from pinpip.scaffold import initialise
from tests.support.places import ROOT

SECTION = "boards:\n  sinks:\n    # clean rows\n    - delta: boards\n"
OWN = {"boards": {"sinks": [{"delta": "boards"}]}}


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the folders of code that a test loads, and those that other tests have loaded."""
    temporary = tempfile.gettempdir()
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.startswith(temporary)])


def names(folder: Path) -> set[str]:
    """Return the names of the files, less the schema that config.yaml names for editors."""
    return {path.name for path in folder.iterdir()} - {"config.schema.json"}


def refused(path: Path, pipeline: str | None) -> str:
    """Return the error, which must leave every file as it is."""
    before = {each: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
    with pytest.raises(ConfigError) as caught:
        initialise(path, pipeline)
    assert {each: each.read_bytes() for each in path.parent.iterdir() if each.is_file()} == before
    assert caught.value.hint
    return caught.value.message


def test_without_a_pipeline_it_is_the_documented_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert initialise(path, None)[0] == path
    assert path.read_text("utf-8") == (ROOT / "config.yaml").read_text("utf-8")
    assert names(tmp_path) == {"config.yaml"}


def test_what_the_first_line_names_for_editors_is_there(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, "boards")
    schema = tmp_path / path.read_text("utf-8").splitlines()[0].partition("$schema=")[2]
    assert "pipelines" in json.loads(schema.read_text("utf-8"))["properties"]
    path.unlink()
    schema.write_text("mine", encoding="utf-8")
    initialise(path, None)
    assert schema.read_text("utf-8") == "mine"


def test_a_pipeline_comes_with_its_code_and_sample_records(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, "boards")
    assert names(tmp_path) == {"config.yaml", "boards.py", "test_boards.py", "boards.ndjson"}
    config = configfile.load(path, {})
    assert list(config.pipelines) == ["boards"]
    found = checking.check(config)["boards"]
    assert (found.problems, set(found.outcomes)) == ([], {"clean"})


@pytest.mark.parametrize(
    ("pipeline", "stem"),
    [
        ("boards", "boards"),
        ("my-boards", "my_boards"),
        ("class", "class_records"),
        ("json", "json_records"),
        ("polars", "polars_records"),
        ("transforms", "transforms_records"),
        ("test_x", "test_x_records"),
        ("2024", "records_2024"),
        ("on", "on"),
        ("-", "_"),
    ],
)
def test_a_name_that_is_no_module_gets_one_that_is(
    tmp_path: Path, pipeline: str, stem: str
) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, "first")
    initialise(path, pipeline)
    assert names(tmp_path) >= {f"{stem}.py", f"test_{stem}.py", f"{stem}.ndjson"}
    config = configfile.load(path, {})
    assert list(config.pipelines) == ["first", pipeline]
    assert config.pipelines[pipeline].table == pipeline
    assert not checking.check(config)[pipeline].problems


def test_the_generated_tests_pass_with_plain_pytest(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for pipeline in ("boards", "class", "2024"):
        initialise(path, pipeline)
    page = (ROOT / "docs/pipelines.md").read_text("utf-8")
    snippet = page.partition("```python\n")[2].partition("```")[0]
    test = f"def test_of_the_documentation():\n{indent(snippet, '    ')}"
    (tmp_path / "test_page.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q"]
    plain = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False
    )
    assert "10 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("pipeline", ["../boards", "a b", "", "ü", "a/b", "a.b"])
def test_a_name_that_no_pipeline_may_have_is_refused(tmp_path: Path, pipeline: str) -> None:
    assert "cannot be the name of a pipeline" in refused(tmp_path / "config.yaml", pipeline)


@pytest.mark.parametrize("name", ["boards.py", "test_boards.py", "boards.ndjson"])
def test_no_file_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    assert name in refused(tmp_path / "config.yaml", "boards")


def test_no_configuration_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mine", encoding="utf-8")
    assert "config.yaml" in refused(path, None)
    path.unlink()
    path.symlink_to(tmp_path / "absent.yaml")
    assert "config.yaml" in refused(path, None)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="absent cannot be written"):
        initialise(tmp_path / "absent/config.yaml", None)


# --- An existing configuration


def test_a_pipeline_is_added_to_the_documented_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, None)
    path.chmod(0o600)
    before = path.read_text("utf-8")
    written = initialise(path, "boards")
    after = path.read_text("utf-8")
    assert after.startswith(before)
    assert [each.name for each in written] == [
        "config.yaml",
        "boards.py",
        "test_boards.py",
        "boards.ndjson",
    ]
    assert list(configfile.load(path, {}).pipelines)[-1] == "boards"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == {each.name for each in written}


def test_a_link_to_a_configuration_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real/config.yaml"
    real.parent.mkdir()
    initialise(real, None)
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    initialise(link, "boards")
    assert link.is_symlink()
    assert "boards" in configfile.load(real, {}).pipelines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("id: demo", "idd: demo"), "config.yaml"),
        (("- delta: user", "- delta: boards"), "would write"),
        (("port: 8082", "port: ${ABSENT}"), "ABSENT"),
    ],
)
def test_a_configuration_that_would_not_load_stays_as_it_is(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, None)
    path.write_text(path.read_text("utf-8").replace(*change), encoding="utf-8")
    message = refused(path, "boards")
    assert said in message
    assert ".new" not in message


def test_a_pipeline_that_is_there_already_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, None)
    assert "'pin' is in config.yaml already" in refused(path, "pin")


@pytest.mark.parametrize(
    "text",
    [
        "pipelines:\n  a: {x: 1}\n",
        "pipelines:\n  a: {x: 1}",
        "pipelines:\n    a:\n        x: |\n          text\n          more\n\nid: demo\n",
        "pipelines:\n  a:\n    x: [1,\n      2]  # why\n    # incarnation: 2\n# end\nid: demo\n",
        "pipelines:\n  a: {x: 1}\r\n# ü\r\nid: demo\r\n",
        "id: demo\npipelines:\n  # nothing yet\nkafka: {}\n",
        "pipelines:\n",
        "pipelines:\n  a:\n    - x\n    -\n      y: 1\n      z:\nid: 1\n",
        "pipelines:\n  a:\n  - x\n  - y\n",
        "base: &b {x: 1}\npipelines:\n  a: *b\nid: 1\n",
    ],
)
def test_a_pipeline_becomes_the_last_one_and_the_rest_stays(text: str) -> None:
    added = extended(text, "boards", SECTION)
    before, after = yaml.safe_load(text), yaml.safe_load(added)
    assert after == before | {"pipelines": (before["pipelines"] or {}) | OWN}
    assert list(after["pipelines"])[-1] == "boards"
    left = list(added.splitlines())
    for line in text.splitlines():  # in their order, none changed
        left = left[left.index(line) + 1 :]
    assert "# clean rows" in added


@pytest.mark.parametrize(
    "text", ["pipelines: {a: {x: 1}}\n", "id: 1\n", "{pipelines: {}}", "pipelines: [1]\n"]
)
def test_where_nothing_can_be_added_the_text_to_add_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        extended(text, "boards", SECTION)
    assert "boards: {sinks: [{delta: boards}]}" in caught.value.hint


@given(
    st.recursive(
        st.none() | st.integers() | st.text("ab: #\n-'", max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner)
        ),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_whatever_the_last_pipeline_is_the_rest_stays(last: object, follows: bool) -> None:  # noqa: FBT001
    tree = {"id": "demo", "pipelines": {"a": last}} | ({"kafka": {"x": "y"}} if follows else {})
    text = yaml.safe_dump(tree, sort_keys=False)
    added = extended(text, "boards", SECTION)
    assert yaml.safe_load(added) == tree | {"pipelines": {"a": last, **OWN}}


def test_a_fault_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    initialise(path, None)
    before = path.read_bytes()

    def fail() -> str:
        return "\ud800"  # cannot be encoded

    monkeypatch.setattr(scaffold, "_sample", fail)
    with pytest.raises(UnicodeEncodeError):
        initialise(path, "boards")
    assert path.read_bytes() == before
    assert names(tmp_path) == {"config.yaml"}
