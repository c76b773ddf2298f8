"""Each library's allocator is told its own settings before it is loaded."""

import os

import pytest

from pinpip import runtime

_VARIABLE = "_RJEM_MALLOC_CONF"


def test_polars_keeps_freed_pages_and_delta_rs_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, str] = {}
    monkeypatch.setenv(_VARIABLE, "narenas:2")
    monkeypatch.setattr(
        runtime, "import_module", lambda name: read.update({name: os.environ[_VARIABLE]})
    )
    runtime.tune_allocators()
    assert list(read) == ["polars", "deltalake"]
    assert "dirty_decay_ms:3000," in read["polars"]
    assert "dirty_decay_ms:0," in read["deltalake"]
    assert {text.rpartition(",")[2] for text in read.values()} == {"narenas:2"}  # the user's word
