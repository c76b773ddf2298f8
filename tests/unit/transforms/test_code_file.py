"""A pipeline's code by file: a module of its own, with the files beside it."""

import inspect
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest

from core.errors import ConfigError
from pinpip import configfile
from transforms import code_file
from transforms.load import load, load_schema, load_transform, rules_of

BOARDS = """
    import polars as pl
    from transforms.schema import Schema

    SCHEMA = Schema("boards", "id", {"id": pl.Int64(), "name": pl.String()})

    def clean(rows):
        return rows
"""
CONFIG = """
    id: demo
    kafka: {bootstrap.servers: local}
    pipelines:
      boards:
        source: {topics: [boards]}
        schema: boards.py:SCHEMA
        transform: code/boards.py:clean
        sinks: [{delta: boards}]
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Forget the modules and the folders of a test."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if "@" in name or name in {"tidying", "lib", "lib.tidying"}:
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def refused(reference: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(reference)
    assert caught.value.hint
    return caught.value.message


def test_a_pipeline_names_its_code_relative_to_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "boards.py", BOARDS)
    write(tmp_path / "code/boards.py", BOARDS)
    path = write(tmp_path / "config.yaml", CONFIG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = configfile.load(path, {})
    pipeline = config.pipelines["boards"]
    written_elsewhere = config.model_dump(mode="json", by_alias=True)["pipelines"]["boards"]
    assert written_elsewhere["transform"] == f"{tmp_path}/code/boards.py:clean"  # as chaos does
    assert load_schema(pipeline.schema_).key == "id"
    assert load_transform(pipeline.transform).__qualname__ == "clean"


def test_a_path_may_be_absolute_or_begin_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert code_file.resolved("~/b.py:x", Path("any")) == f"{tmp_path}/b.py:x"
    assert code_file.resolved("/a/b.py:x", Path("any")) == "/a/b.py:x"
    assert code_file.resolved("boards:x", Path("any")) == "boards:x"


def test_the_home_folder_of_an_unknown_user_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"~nobody-here/b\.py:x: .* unknown user"):
        code_file.resolved("~nobody-here/b.py:x", Path("any"))


def test_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    one = write(tmp_path / "a/boards.py", "def clean(rows):\n    return 1\n")
    two = write(tmp_path / "b/boards.py", "def clean(rows):\n    return 2\n")
    rows = pl.LazyFrame()
    assert [load_transform(f"{path}:clean")(rows) for path in (one, two, one)] == [1, 2, 1]


def test_a_file_is_executed_once_until_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "boards.py", BOARDS)
    first = load(f"{path}:clean")
    assert load(f"{path}:clean") is first
    write(path, BOARDS + "\n    MORE = 1\n")
    assert load(f"{path}:clean") is not first
    assert load(f"{path}:MORE") == 1


@pytest.mark.parametrize("name", ["transforms", "json", "class", "my-boards", "boards.v2", "ü b"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"{name}.py", BOARDS)
    assert load_schema(f"{path}:SCHEMA").name == "boards"
    assert load_transform(f"{path}:clean").__module__ in sys.modules
    assert __import__("json").dumps({}) == "{}"


def test_python_finds_the_source_and_the_name_of_what_was_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "boards.py", BOARDS)
    clean = load_transform(f"{path}:clean")
    assert "def clean" in inspect.getsource(clean)
    assert pickle.loads(pickle.dumps(clean)) is clean  # noqa: S301  # made here
    assert code_file.label(clean.__module__) == "boards.py"
    assert code_file.label("transforms.geo") == "transforms.geo"


def test_a_traceback_names_the_file_and_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "boards.py", "def clean(rows):\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        load_transform(f"{path}:clean")(pl.LazyFrame())
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno) == (str(path), 2)
    assert frame.line == "return 1 / 0"


def test_the_digest_of_the_rules_changes_with_the_file_and_not_with_its_place(
    tmp_path: Path,
) -> None:
    def digest(folder: str, text: str) -> str:
        path = write(tmp_path / folder / "boards.py", text)
        return rules_of(load_schema(f"{path}:SCHEMA"), load_transform(f"{path}:clean"), [])

    first = digest("a", BOARDS)
    assert digest("b", BOARDS) == first
    assert digest("a", BOARDS.replace("return rows", "return rows.head(1)")) != first


# --- Files beside it


SIBLING = "from {name} import tidy\n\ndef clean(rows):\n    return tidy()\n"


@pytest.mark.parametrize("name", ["tidying", "lib.tidying"])
def test_a_file_imports_the_files_beside_it(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"{name.replace('.', '/')}.py", "def tidy():\n    return 7\n")
    path = write(tmp_path / "boards.py", SIBLING.format(name=name))
    assert load_transform(f"{path}:clean")(pl.LazyFrame()) == 7


def test_two_files_beside_two_pipelines_are_not_mixed_up(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "tidying.py", f"def tidy():\n    return {folder!r}\n")
        write(tmp_path / folder / "boards.py", SIBLING.format(name="tidying"))
    load(f"{tmp_path}/a/boards.py:clean")
    said = refused(f"{tmp_path}/b/boards.py:clean")
    assert f"{tmp_path}/a/tidying.py" in said
    assert f"{tmp_path}/b/tidying.py" in said


@pytest.mark.parametrize("name", ["json", "transforms.geo", "polars"])
def test_a_file_beside_it_that_python_finds_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"{name.replace('.', '/')}.py", "tidy = 1\n")
    lazily = f"def clean(rows):\n    from {name} import tidy\n    return tidy\n"
    path = write(tmp_path / "boards.py", lazily)
    assert f"imports {name}" in refused(f"{path}:clean")


def test_an_ambiguous_import_of_a_file_beside_it_is_found_too(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "")
    write(tmp_path / "tidying.py", "import json\n\ntidy = json\n")
    path = write(tmp_path / "boards.py", SIBLING.format(name="tidying"))
    assert "tidying.py imports json" in refused(f"{path}:clean")


def test_a_folder_called_like_a_package_of_pinpip_is_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path / "transforms/mine.py", BOARDS)
    path = write(tmp_path / "boards.py", BOARDS)
    assert load_schema(f"{path}:SCHEMA").name == "boards"
    assert load_schema(f"{tmp_path}/transforms/mine.py:SCHEMA").name == "boards"


# --- What cannot be loaded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("def other():\n    pass\n", "no 'clean' in it"),
        ("clen = 1\n", "(did you mean 'clen'?)"),
        ("import absent_module\n", "No module named 'absent_module' (boards.py, line 1)"),
        ("x = 1\ny = 1 / 0\n", "ZeroDivisionError: division by zero (boards.py, line 2)"),
        ("x = y\n", "NameError: name 'y' is not defined (boards.py, line 1)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (boards.py, line 2)"),
        ("import polars\npolars.select(1, x_=polars.lit(1), *2)\n", "(boards.py, line 2)"),
        ("import polars\npolars.DataFrame({'a': [1]}).select('b')\n", "(boards.py, line 2)"),
        ("def clean(:\n", "(boards.py, line 1)"),
        ("from .tidying import tidy\n", "relative import"),
        ("\x00", "null bytes"),
        ("# coding: nope\n", "nope"),
        ("raise ValueError('bad')\n", "bad (boards.py, line 1)"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_error(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "boards.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    before = set(sys.modules)
    message = refused(f"{path}:clean")
    assert f"'{path}:clean' cannot be loaded: " in message
    assert said in message
    assert "\n" not in message
    left = {name for name in set(sys.modules) - before if "@" in name}
    assert not left or "in it" in message  # the code itself is fine then


def test_a_schema_that_cannot_be_used_is_named_by_its_own_error(tmp_path: Path) -> None:
    path = write(tmp_path / "boards.py", BOARDS.replace('"id",', '"absent",'))
    assert "no field for its key 'absent'" in refused(f"{path}:SCHEMA")


def test_a_callable_without_a_name_is_no_transform(tmp_path: Path) -> None:
    text = "from functools import partial\nclean = partial(print)\n"
    path = write(tmp_path / "boards.py", text)
    with pytest.raises(ConfigError, match="is not a function"):
        load_transform(f"{path}:clean")
