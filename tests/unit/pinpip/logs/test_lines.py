"""One event is one line, whatever is in it: for programs JSON, for people words, never a secret."""

import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from core.config import LOG_FORMAT, LOG_LEVEL, Log
from core.kafka import LOGGER
from core.repeats import AGAIN_AFTER_S, Repeats
from pinpip import logs
from pinpip.logs import Lines, Stream
from pinpip.logs.foreign import Forward
from pinpip.logs.render import MAX_TEXT, Form, Hider
from tests.support.clock import ManualClock
from tests.support.logs import reset

HUSH = "hush-hush-hush"
HOSTILE = "a\nb\r\x1b[31mred\x9b\x00 \u2028\u202e\ud800 ü 😀"
FORMS: list[Form] = ["json", "text", "terminal"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    reset()


class Stderr:
    """Standard error and output, which are no terminals here."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def read(self) -> tuple[str, str]:
        """Return what was written to standard output and error since the last call."""
        return self._capsys.readouterr()

    @property
    def text(self) -> str:
        return self.read()[1]


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Stderr:
    return Stderr(capsys)


def rendered(form: Form, **fields: object) -> str:
    lines = Lines(form, logging.DEBUG, ManualClock(), Hider([HUSH]))
    stream = Stream(io.BytesIO(), lines.lock, access=False)
    return lines.render(stream, "warning", {"event": "some_thing", **fields}).decode()


def test_a_line_for_programs_has_time_level_event_and_the_fields_that_are_known() -> None:
    assert json.loads(rendered("json", pipeline="pin", records=3, lag=None, rate=1.23456)) == {
        "timestamp": "2026-01-01T00:00:00.000Z",
        "level": "warning",
        "event": "some_thing",
        "pipeline": "pin",
        "records": 3,
        "rate": 1.235,
    }


def test_a_line_for_people_has_words_and_what_is_known() -> None:
    line = rendered("text", pipeline="pin", records=3, lag=None, next="look at it", at=["a", "b"])
    assert line == (
        '2026-01-01T00:00:00Z warning some thing pipeline=pin records=3 next="look at it" at="a, b"'
    )


def test_a_terminal_shows_the_local_time_and_colours_unless_it_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33mwarning\x1b[0m" in rendered("terminal", pipeline="pin")
    monkeypatch.setenv("NO_COLOR", "1")
    words = rendered("terminal", pipeline="pin").split()
    assert len(words[0]) == len("12:00:00")
    assert words[1:] == ["warning", "some", "thing", "pipeline=pin"]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in rendered("terminal", pipeline="pin")


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text(alphabet=st.characters(codec=None)) | st.just(HOSTILE))
def test_any_text_is_one_line_without_a_code_for_the_terminal(form: Form, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        line = rendered(form, value=text, **{"odd key": text})
    assert line.isprintable()
    if form == "json" and len(text) <= MAX_TEXT:
        assert json.loads(line)["value"] == text


@pytest.mark.parametrize("form", FORMS)
def test_a_megabyte_is_shortened(form: Form) -> None:
    line = rendered(form, value="x" * 1_000_000, items=list(range(100_000)), raw=b"y" * 1_000_000)
    assert len(line) < 5 * MAX_TEXT
    assert "(1,000,000 characters)" in line
    assert "99980 more" in line


def test_a_value_that_cannot_be_shown_is_no_fault() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    told = json.loads(rendered("json", value=Odd(), number=math.nan, more=math.inf))
    assert told["value"] == "(Odd without a text: RuntimeError)"
    assert (told["number"], told["more"]) == ("nan", "inf")


@pytest.mark.parametrize("form", FORMS)
def test_secrets_are_hidden_by_their_text_by_their_name_and_by_their_look(form: Form) -> None:
    line = rendered(
        form,
        error=f"login failed with {HUSH}",
        long="x" * (MAX_TEXT - 5) + HUSH,
        **{"sasl.password": "another"},
        at="https://me:third-one@host/x?a=1&X-Amz-Signature=fourth&b=2",
        listed=[HUSH],
    )
    for secret in ("hush-", "another", "third-one", "fourth"):
        assert secret not in line
    assert "b=2" in line


def test_the_secrets_of_a_configuration_are_those_that_it_does_not_show() -> None:
    from core.config import Config  # noqa: PLC0415
    from pinpip import configfile  # noqa: PLC0415

    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "b:9092", "sasl.password": "kafka-pass"},
        "aws": {"access_key_id": "AKIA1234", "secret_access_key": "aws-secret"},
        "producer": {"api_key": "gateway-key"},
        "pipelines": {
            "pin": {
                "source": {"topics": ["t"]},
                "schema": "transforms.pin:SCHEMA",
                "transform": "transforms.pin:clean",
                "sinks": [{"delta": "pin"}],
            }
        },
    }
    config = Config.model_validate(tree)
    assert configfile.secrets(config) == {"kafka-pass", "AKIA1234", "aws-secret", "gateway-key"}


@pytest.mark.parametrize(
    ("format_", "terminal", "form"),
    [
        ("auto", True, "terminal"),
        ("auto", False, "json"),
        ("text", False, "text"),
        ("text", True, "terminal"),
        ("json", True, "json"),
    ],
)
def test_the_format_is_that_of_the_configuration_or_fits_the_stream(
    format_: Any, terminal: object, form: Form
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return bool(terminal)

    assert logs.form_of(Log(format=format_), Terminal()) == form


@pytest.mark.parametrize(
    ("level", "daemon", "debug", "seen"),
    [
        ("info", True, False, "info warning error"),
        ("info", False, False, "warning error"),
        ("debug", False, False, "warning error"),
        ("debug", True, False, "debug info warning error"),
        ("error", True, False, "error"),
        ("error", False, False, "error"),
        ("error", False, True, "debug info warning error"),
    ],
)
def test_only_daemons_log_that_all_is_well_and_debug_wins(
    err: Stderr, level: Any, daemon: object, debug: object, seen: str
) -> None:
    logs.configure(Log(level=level), daemon=bool(daemon), debug=bool(debug))
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert [json.loads(line)["level"] for line in err.text.splitlines()] == seen.split()


def test_the_environment_counts_before_the_configuration_is_read() -> None:
    assert logs.first_settings({LOG_LEVEL: "DEBUG", LOG_FORMAT: "text"}) == Log(
        level="debug", format="text"
    )
    assert logs.first_settings({LOG_LEVEL: "loud"}) == Log()
    assert logs.first_settings({}) == Log()


def test_a_line_names_the_pipeline_in_whose_context_it_is_written(err: Stderr) -> None:
    logs.configure(Log())
    log = structlog.get_logger()
    with bound_contextvars(pipeline="pin"):
        log.warning("one")
        log.warning("two", pipeline="geo")
    log.warning("three")
    told = [json.loads(line) for line in err.text.splitlines()]
    assert [line.get("pipeline") for line in told] == ["pin", "geo", None]


def test_the_access_log_is_json_on_standard_output_whatever_the_others_are(
    err: Stderr,
) -> None:
    logs.configure(Log(level="error", format="text"), daemon=True, access=True)
    structlog.get_logger(logs.ACCESS).info("request", status=200)
    structlog.get_logger("gateway").info("other")
    logs.configure(Log(), daemon=True, access=False)
    structlog.get_logger(logs.ACCESS, "again").info("request", status=500)
    out, others = err.read()
    assert json.loads(out).items() >= {"event": "request", "level": "info", "status": 200}.items()
    assert others == ""


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "disk full"), ValueError("closed")]
)
def test_a_stream_that_takes_nothing_costs_the_line_and_not_the_process(error: Exception) -> None:
    class Broken(io.BytesIO):
        def write(self, _: object) -> int:
            raise error

    lines = Lines("json", logging.INFO, ManualClock(), Hider())
    Stream(Broken(), lines.lock, access=False).msg(b"line")


def test_a_stream_that_takes_a_part_gets_the_rest() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data[:3]))

    slow, lines = Slow(), Lines("json", logging.INFO, ManualClock(), Hider())
    Stream(slow, lines.lock, access=False).msg(b"a whole line")
    assert slow.getvalue() == b"a whole line\n"


@pytest.fixture
def told(err: Stderr) -> Callable[[], list[dict[str, Any]]]:
    logs.configure(Log(), daemon=True)
    return lambda: [json.loads(line) for line in err.text.splitlines()]


def test_a_warning_of_a_library_is_a_line_of_ours_and_its_repeats_are_counted(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    for n in range(100):
        logging.getLogger("urllib3.connectionpool").warning("Connection pool is full: %s", n)
    logging.getLogger("botocore").info("nothing to see")
    logging.getLogger("botocore.hooks").debug("with a key")
    [line] = told()
    assert (
        line.items()
        >= {
            "level": "warning",
            "event": "library",
            "library": "urllib3.connectionpool",
            "said": "Connection pool is full: 0",
        }.items()
    )


def test_a_library_s_exception_is_named_without_its_text(
    told: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = logging.getLogger("uvicorn.error")
    for name, value in (("level", logging.NOTSET), ("propagate", True), ("disabled", False)):
        monkeypatch.setattr(server, name, value)  # a server of another test has set them
    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]
    try:
        int("a record of somebody")
    except ValueError:
        server.exception("Exception in ASGI application")
    [line] = told()
    assert (line["level"], line["error"]) == ("error", "ValueError")
    assert "somebody" not in str(line)


def test_an_exception_of_ours_is_its_class_and_its_place(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    try:
        int("a record of somebody")
    except ValueError:
        structlog.get_logger().exception("page_failed", path="/")
    [line] = told()
    assert (line["level"], line["event"], line["error"]) == ("error", "page_failed", "ValueError")
    assert "test_lines.py:" in line["where"]
    assert "somebody" not in str(line)


def test_a_message_with_arguments_that_do_not_fit_is_still_told(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    odd = {"name": "odd", "levelno": logging.WARNING, "msg": "only %s and %s", "args": ("one",)}
    Forward(ManualClock()).emit(logging.makeLogRecord(odd))
    assert told()[0]["said"] == "only %s and %s"


def test_a_warning_of_python_is_a_line_of_ours(told: Callable[[], list[dict[str, Any]]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("an old call", UserWarning, stacklevel=1)
    assert "an old call" in told()[0]["said"]


def kafka_says(facility: str, level: int, text: str) -> None:
    """Log as confluent-kafka's clients do."""
    LOGGER.log(level, "%s [%s] %s", facility, "rdkafka#consumer-1", text)


def test_a_line_of_librdkafka_names_the_broker_and_what_an_outage_tells_is_left_out(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    kafka_says("FAIL", logging.ERROR, "[thrd:b:9092/1]: b:9092/1: Connect failed")
    kafka_says("REQTMOUT", logging.WARNING, "[thrd:b:9092/1]: b:9092/1: Timed out 1 in-flight")
    kafka_says("REQTMOUT", logging.WARNING, "[thrd:b:9092/1]: b:9092/1: Timed out 2 in-flight")
    [line] = told()
    assert (line["event"], line["facility"], line["level"]) == (
        "kafka_client",
        "REQTMOUT",
        "warning",
    )
    assert "b:9092/1: Timed out 1 in-flight" in line["said"]


def test_librdkafka_s_own_debug_lines_are_all_there_with_debug(err: Stderr) -> None:
    logs.configure(Log(), debug=True)
    for _ in range(3):
        kafka_says("FETCH", logging.DEBUG, "fetching")
    logging.getLogger("botocore.auth").debug("Authorization: hush")
    assert len(err.text.splitlines()) == 3


def test_what_repeats_is_due_once_a_minute_with_the_number_held_back() -> None:
    clock = ManualClock()
    repeats = Repeats(clock)
    assert [repeats.due("line") for _ in range(3)] == [0, None, None]
    assert repeats.due("another") == 0
    clock.advance(AGAIN_AFTER_S)
    assert [repeats.due("line") for _ in range(2)] == [2, None]


def test_the_log_is_set_up_again_without_a_line_twice(err: Stderr) -> None:
    logs.configure(Log(), daemon=True)
    logs.configure(Log(), daemon=True)
    logging.getLogger("odd").warning("once")
    assert len(err.text.splitlines()) == 1
    assert sum(isinstance(own, Forward) for own in logging.getLogger().handlers) == 1
