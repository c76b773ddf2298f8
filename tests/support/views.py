"""Status pages as data, for tests and screenshots, in their good, bad, huge and hostile states."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.view import (
    CommitView,
    FilesView,
    GatewayView,
    OutageView,
    PageView,
    PartitionView,
    PipelineView,
    ReasonView,
    Sample,
    SeriesView,
    State,
    VerdictView,
)

NOW = datetime(2026, 11, 27, 12, 3, 4, tzinfo=UTC)
HOUR = 3600
STEP = 5
HOSTILE = (
    "<script>alert(1)</script>",
    "\u202ereversed \"quoted\" 'names' & more",
    "é" * 249,
    "🙂 " * 20,
    "{{ 7 * 7 }} ${x} `y` </main>",
    "'\"><img src=x onerror=alert(1)>",
)


def before(seconds: float) -> datetime:
    """Return the time that many seconds before the page's."""
    return NOW - timedelta(seconds=seconds)


def series(
    rate: Callable[[float], float | None],
    lag: Callable[[float], float | None],
    late: Callable[[float], float | None],
) -> SeriesView:
    """Return an hour of points; each function takes the share of the hour that has passed."""
    at = tuple(NOW.timestamp() - HOUR + n for n in range(0, HOUR + 1, STEP))
    shares = [n / HOUR for n in range(0, HOUR + 1, STEP)]
    return SeriesView(
        at, tuple(map(rate, shares)), tuple(map(lag, shares)), tuple(map(late, shares))
    )


def partitions(source: str, n: int, lag: int, first: int = 1_204_511) -> tuple[PartitionView, ...]:
    """Return Kafka partitions, each a little further behind than the one before."""
    behind = [lag * i // max(n - 1, 1) for i in range(n)]
    return tuple(
        PartitionView(
            source,
            str(i),
            str(first + 731 * i),
            str(first + 731 * i + own),
            own,
            own / 400 + 0.8,
            before(own / 400 + 0.8),
        )
        for i, own in enumerate(behind)
    )


def commits(source: str, newest: int, n: int = 10, read: int = 2_000) -> tuple[CommitView, ...]:
    """Return commits, the newest first."""
    return tuple(
        CommitView(
            newest - i,
            before(2.4 + 5 * i),
            read,
            read - i % 3,
            i % 3,
            tuple(f"{source}/{p} {1_204_511 - i * 500} .. {1_205_011 - i * 500}" for p in range(4)),
            f"part-{newest - i:05d}-6f1c.parquet",
        )
        for i in range(n)
    )


def noisy(base: float, swing: float) -> Callable[[float], float]:
    """Return a course around `base` that looks like a measured one and is always the same."""
    return lambda x: max(
        0.0, base + swing * (math.sin(x * 21) + 0.4 * math.sin(x * 97) + 0.3 * math.sin(x * 331))
    )


REASONS = (
    ReasonView(
        "not_json",
        31,
        before(12),
        (
            Sample("demo.pin/2 offset 1205044", "expected `,` at column 48", '{"index": 7528, "un'),
            Sample("demo.pin/0 offset 1204871", "the value is empty", ""),
            Sample("demo.pin/3 offset 1204730", "expected value at column 1", "hello world"),
        ),
    ),
    ReasonView(
        "missing_key",
        3,
        before(1_930),
        (Sample("demo.pin/1 offset 1198213", "`unique_id` is null", '{"index": 12, "title": "A'),),
    ),
)

PIN = PipelineView(
    name="pin",
    reads="kafka demo.pin",
    table="s3://demo-lake/pin",
    state=State("ok", "up to date", before(5_400)),
    clean=1_204_477,
    quarantined=34,
    filtered=0,
    expired=0,
    counted_since=before(5_420),
    rate=412.6,
    lag=96,
    lag_seconds=1.2,
    queryable_until=before(1.2),
    last_commit=before(2.4),
    partitions=partitions("demo.pin", 4, 60),
    commits=commits("demo.pin", 10_842),
    reasons=REASONS,
    series=series(noisy(410, 40), noisy(100, 45), noisy(1.3, 0.5)),
    files=(FilesView("clean", 214, 12, 18_412_000_000), FilesView("quarantine", 9, 9, 31_400)),
    verdict=VerdictView(before(7_300), "ok", "every record is there exactly once"),
)

GEO = replace(
    PIN,
    name="geo",
    reads="kafka demo.geo",
    table="s3://demo-lake/geo",
    quarantined=0,
    clean=1_203_998,
    lag=12,
    lag_seconds=0.4,
    queryable_until=before(0.4),
    partitions=partitions("demo.geo", 4, 8),
    commits=commits("demo.geo", 10_839),
    reasons=(),
    series=series(noisy(405, 30), noisy(40, 20), noisy(0.8, 0.3)),
)

SHARDS = tuple(
    PartitionView(
        "demo-user",
        f"shardId-00000000000{n}",
        f"4965{n}{'0' * 12}1834221904410{n}77193520{'4' * 17}",
        None,
        None,
        3.4 + n,
        before(3.4 + n),
    )
    for n in range(2)
)

USER = replace(
    PIN,
    name="user",
    reads="kinesis demo-user",
    table="s3://demo-lake/user",
    quarantined=0,
    lag=None,
    lag_seconds=4.4,
    queryable_until=before(4.4),
    partitions=SHARDS,
    commits=tuple(
        replace(c, ranges=(f"demo-user/{SHARDS[0].id} .. {SHARDS[0].position}",))
        for c in commits("demo-user", 902, 4)
    ),
    reasons=(),
    series=series(noisy(120, 15), lambda _: None, noisy(4, 1)),
    verdict=None,
    unknown={"lag": "Kinesis does not tell how many records there are"},
)

CATCHING_UP = replace(
    GEO,
    state=State(
        "warn",
        "catching up",
        before(1_260),
        "The consumer started 21 min ago, 4,200,000 records behind; it reads 6,200 records/s.",
        "Nothing: at this pace it has caught up in about 3 min.",
    ),
    rate=6_214.0,
    lag=1_203_412,
    lag_seconds=1_130.0,
    queryable_until=before(1_130),
    partitions=partitions("demo.geo", 4, 410_000),
    series=series(
        lambda x: None if x < 0.65 else noisy(6_200, 300)(x),
        lambda x: None if x < 0.65 else 4_200_000 - (x - 0.65) * 8_550_000,
        lambda x: None if x < 0.65 else 9_000 - (x - 0.65) * 22_400,
    ),
)

STOPPED = replace(
    PIN,
    state=State(
        "bad",
        "stopped",
        before(2_520),
        "5,120 of the last 10,000 records were rejected: the limit is half of them.",
        "Look at the samples below: when the schema changed, change `schema`, then start it again.",
    ),
    quarantined=61_204,
    reasons=(replace(REASONS[0], rows=61_201), REASONS[1]),
    rate=0.0,
    lag=1_031_377,
    lag_seconds=2_531.0,
    queryable_until=before(2_531),
    last_commit=before(2_522),
    partitions=partitions("demo.pin", 4, 412_551),
    series=series(
        lambda x: noisy(410, 40)(x) if x < 0.3 else 0.0,
        lambda x: noisy(100, 45)(x) if x < 0.3 else (x - 0.3) * 1_473_000,
        lambda x: noisy(1.3, 0.5)(x) if x < 0.3 else (x - 0.3) * HOUR,
    ),
    verdict=VerdictView(
        before(190_000),
        "bad",
        "2 findings",
        (
            "demo.pin/3: offsets 812,004 to 812,019 are in neither table",
            "the clean table has 2 rows of demo.pin/1 offset 44,102",
        ),
    ),
)

WAITING = replace(
    USER,
    rate=0.0,
    lag_seconds=98.6,
    queryable_until=before(98.6),
    last_commit=before(97),
    series=series(
        lambda x: noisy(120, 15)(x) if x < 1 - 97 / HOUR else 0.0,
        lambda _: None,
        lambda x: noisy(4, 1)(x) if x < 1 - 97 / HOUR else (x - 1) * HOUR + 98.6,
    ),
    state=State(
        "bad",
        "waiting for the source",
        before(95),
        "Kinesis has not answered for 1 min 35 s.",
        "Check the network and the credentials; it continues by itself when the stream answers.",
    ),
    outages=(
        OutageView(
            "kinesis demo-user",
            before(95),
            'Could not connect to the endpoint URL: "https://kinesis.eu-west-1.amazonaws.com/"',
            "check the network, and `aws.endpoint` in config.yaml",
        ),
    ),
    unknown={
        "lag": "Kinesis does not tell how many records there are",
        "files": "the table could not be listed: the bucket did not answer within 10 s",
    },
    files=(),
)

VANISHED = replace(
    GEO,
    name="board",
    reads="kafka demo.board",
    table="s3://demo-lake/board",
    state=State(
        "bad",
        "table gone",
        before(38),
        "s3://demo-lake/board has no Delta log any more.",
        "Restore it, or start a new table with another name: pinpip does not read from the start.",
    ),
    clean=None,
    quarantined=None,
    rate=None,
    lag=None,
    lag_seconds=None,
    queryable_until=None,
    last_commit=None,
    partitions=(),
    commits=(),
    files=(),
    verdict=None,
    series=SeriesView(),
    unknown={
        "table": "s3://demo-lake/board/_delta_log is not there",
        "quarantined": "Not known: the table is not there.",
        "commits": "Not known: the table is not there.",
        "files": "Not known: the table is not there.",
    },
)

UNASSIGNED = replace(
    GEO,
    state=State(
        "ok", "standing by", before(600), "Other members of the group read every partition.", ""
    ),
    clean=0,
    quarantined=0,
    rate=0.0,
    lag=None,
    lag_seconds=None,
    queryable_until=None,
    last_commit=None,
    partitions=(),
    commits=(),
    files=(),
    series=SeriesView(),
    verdict=None,
)


def page(*pipelines: PipelineView, gateway: GatewayView | None = None) -> PageView:
    """Return the page of a consumer."""
    return PageView("demo", "consumer", "0.9.0", NOW, before(5_420), pipelines, gateway)


def ui(*pipelines: PipelineView) -> PageView:
    """Return the page of `pinpip ui`: no process, no charts."""
    still = tuple(
        replace(p, series=SeriesView(), rate=None, counted_since=None, outages=())
        for p in pipelines
    )
    return PageView("demo", "ui", "0.9.0", NOW, before(60), still)


def many(n: int, each: int, topic: str = "demo") -> PageView:
    """Return a page of n pipelines with that many partitions each, in every commit."""
    return page(*(_large(f"p{i}", f"{topic}.p{i}", each) for i in range(n)))


def _large(name: str, source: str, each: int) -> PipelineView:
    ranges = tuple(f"{source}/{p} 1204511 .. 1205011" for p in range(each))
    return replace(
        PIN,
        name=name,
        partitions=partitions(source, each, 9_000),
        commits=tuple(replace(c, ranges=ranges) for c in commits(source, 10_842, 20)),
    )


def hostile() -> PageView:
    """Return a page whose every text is hostile."""
    return page(*(_hostile(text) for text in HOSTILE))


def _hostile(text: str) -> PipelineView:
    return replace(
        STOPPED,
        name=text,
        reads=f"kafka {text}",
        table=f"s3://{text}",
        state=State("bad", text, before(3), text, text),
        partitions=tuple(replace(p, source=text, id=text) for p in STOPPED.partitions),
        commits=tuple(
            replace(c, ranges=(f"{text}/0 1 .. 2",), file=text) for c in STOPPED.commits[:2]
        ),
        reasons=(ReasonView(text, 1, before(3), (Sample(text, text, text),)),),
        outages=(OutageView(text, before(3), text, text),),
        verdict=VerdictView(before(3), "bad", text, (text,)),
        unknown={text: text},
    )


GATEWAY = GatewayView(
    "http://127.0.0.1:8082", 1_204_511, 1_803_412_004, 41_200, {"200": 1_204_480, "429": 31}
)

VIEWS: dict[str, PageView] = {
    "good": page(PIN, GEO, USER, gateway=GATEWAY),
    "one": page(PIN),
    "catching-up": page(PIN, CATCHING_UP, USER),
    "broken": page(STOPPED, CATCHING_UP, WAITING, VANISHED),
    "empty": page(),
    "standing-by": page(UNASSIGNED),
    "ui": ui(PIN, GEO, USER),
    "huge": many(1, 500),
    "long": many(1, 500, "t" * 246),
    "twenty": many(20, 500),
    "hostile": hostile(),
}
