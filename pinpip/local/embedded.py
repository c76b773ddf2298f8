"""Run Kafka and AWS inside this process: no Docker, no Java.

The Kafka is librdkafka's mock cluster: a topic is created with four partitions on first use, and
each partition drops its oldest records beyond about 5 MB: it is for bounded runs only.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import AdminClient

from core.errors import ConfigError
from pinpip.folders import writing

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PARTITIONS = 4
_LOGGERS = ("werkzeug", "moto")


@contextmanager
def embedded_kafka() -> Iterator[str]:
    """Run a mock cluster while the block runs; yields its bootstrap servers."""
    settings: dict[str, str | int | float | bool] = {
        "test.mock.num.brokers": 1,
        "bootstrap.servers": "mock:9092",
        "log_level": 4,
    }
    cluster = AdminClient(settings)
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    del cluster


@contextmanager
def embedded_aws(log: Path | None = None) -> Iterator[str]:
    """Run moto's server (S3, Kinesis, DynamoDB) on a free port of 127.0.0.1; yields its URL.

    Its errors go to the file `log`; None: to standard error. Raises ConfigError when moto is not
    installed.
    """
    application, handler = _moto()
    from werkzeug.serving import make_server  # comes with moto

    with _logging_to(log):
        server = make_server(
            "127.0.0.1", 0, one_at_a_time(application), threaded=True, request_handler=handler
        )
        thread = Thread(target=server.serve_forever, name="moto", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _moto() -> tuple["WSGIApplication", Any]:
    """Return moto's application and its class of request handlers."""
    try:
        from moto.moto_server import werkzeug_app as moto  # heavy, and an extra
    except ImportError as error:
        raise ConfigError(
            "the embedded AWS needs moto, which is not installed",
            "pip install 'pinpip[local]'",
        ) from error
    return moto.DomainDispatcherApplication(moto.create_backend_app), moto.MotoRequestHandler


def one_at_a_time(application: "WSGIApplication") -> "WSGIApplication":
    """Let `application` see one request at a time: moto's backends are not thread-safe.

    A body is received before, and a response sent after its turn, so a slow client delays nobody.
    """
    from werkzeug.wsgi import get_input_stream

    turn = Lock()

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body = get_input_stream(environ).read()
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        environ.pop("wsgi.input_terminated", None)
        with turn:
            return list(application(environ, start_response))

    return serve


@contextmanager
def _logging_to(log: Path | None) -> Iterator[None]:
    """Append errors, and no line for each request, to `log`."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    if log is None:
        yield
        return
    with writing(log.parent):
        handler = logging.FileHandler(log, encoding="utf-8", delay=True)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
