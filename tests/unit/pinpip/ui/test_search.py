"""The search names what is wrong with a query, and takes no longer than it may."""

import threading
from pathlib import Path
from typing import Any

import pytest

from core.errors import FatalError, TransientError
from pinpip import configfile
from pinpip.ui import search
from tests.support.places import ROOT

RECORD = {"pipeline": "pin", "partition": "demo.pin/0", "offset": "5"}


@pytest.fixture
def find(tmp_path: Path) -> search.Search:
    path = tmp_path / "config.yaml"
    path.write_text((ROOT / "config.yaml").read_text())
    return search.Search(configfile.load(path, {}), patience=0.05)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pipeline": ""}, "names no pipeline"),
        ({"pipeline": "pins"}, "no pipeline is called 'pins'"),
        ({"offset": " "}, "names no offset"),
        ({"offset": "five"}, "is no PARTITION:OFFSET"),
        ({"offset": str(2**64)}, "beyond what any source numbers"),
        ({"partition": "x" * 301}, "partition is too long"),
    ],
)
def test_a_query_that_names_no_record_is_refused_with_a_hint(
    find: search.Search, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(FatalError, match=said) as refused:
        find(RECORD | changed)
    assert refused.value.hint


def test_a_search_that_takes_too_long_is_given_up_and_not_piled_up(
    find: search.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()

    def slow(*_: Any) -> dict[str, Any]:
        end.wait()
        return {}

    monkeypatch.setattr(search, "where_is", slow)
    for _ in range(search._AT_ONCE):
        with pytest.raises(TransientError, match="not found within"):
            find(RECORD)
    with pytest.raises(TransientError, match="still running"):
        find(RECORD)
    end.set()


def test_what_is_found_is_said_as_json_can_say_it(
    find: search.Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"value": b"\xff", "long": "x" * 3_000, "pair": (1.5, None), "at": True}
    monkeypatch.setattr(search, "where_is", lambda *_: {"places": [row]})
    [told] = find(RECORD)["places"]
    assert told["value"] == "\N{REPLACEMENT CHARACTER}"
    assert len(told["long"]) == 2_001
    assert (told["pair"], told["at"]) == ([1.5, None], True)
