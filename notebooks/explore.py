# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: pinpip
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explore the tables
#
# pinpip writes records from Kafka and Kinesis into Delta tables. This notebook opens them, asks
# nine questions, and looks at what was rejected and when the rows arrived.
#
# `make demo` fills a lake on this machine, and `make notebook` opens this notebook on it. It only
# reads. For your own lake, set `PINPIP_CONFIG` to the path of your config.yaml before you start.

# %%
import os
from datetime import timedelta
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
from IPython.display import Markdown, display
from pandas.io.formats.style import Styler
from polars import selectors as cs
from vl_convert import vegalite_to_svg

from pinpip import configfile
from pinpip.cli.report import answers
from pinpip.inspection import commits_of
from pinpip.pipelines import tables_of
from sinks.delta.table import find

ROOT = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()


def find_config() -> Path:
    """Return PINPIP_CONFIG, or the first configuration here whose lake is a folder that exists."""
    if named := os.environ.get("PINPIP_CONFIG"):
        return ROOT / named
    for path in (ROOT / "config.yaml", ROOT / ".pinpip/demo/config.yaml"):
        if path.exists() and Path(configfile.load(path).lake.root).is_dir():
            return path
    raise FileNotFoundError("there are no tables yet: run `make demo` first")


config = configfile.load(find_config())
tables = {name: tables_of(config, name) for name in config.pipelines}
Chart = alt.Chart | alt.LayerChart | alt.FacetChart

# %% [markdown]
# Helpers draw tables, bars and lines; their code is folded in JupyterLab. A chart is a picture with
# a text: it needs no network, and GitHub shows it too.

# %% jupyter={"source_hidden": true}
BLUE, RED, INK, GREY = "#3b6fb6", "#c4503c", "#1f2933", "#52606d"
alt.data_transformers.disable_max_rows()
NUMBERS = count()  # tell the styles of tables apart


def table(frame: pl.DataFrame) -> Styler:
    """Show a frame: text to the left, thousands separated, nothing where a value is missing.

    Text of records is escaped: it may be HTML.
    """
    left = [{"selector": "th, td", "props": "text-align: left"}]
    words = frame.select(cs.string() | cs.temporal()).columns
    style = frame.to_pandas().style.format(escape="html", thousands=",", precision=1, na_rep="")
    return (
        style.hide(axis="index")
        .set_table_styles(dict.fromkeys(words, left))
        .set_uuid(f"{next(NUMBERS)}")
    )


def picture(spec: dict[str, Any]) -> dict[str, str]:
    """Draw a chart as SVG, with its description for those who do not see it."""
    told = escape(spec["description"])
    label = f'<svg role="img" aria-label="{told}" '
    return {"image/svg+xml": vegalite_to_svg(spec).replace("<svg ", label, 1)}


alt.renderers.register("picture", picture)
alt.renderers.enable("picture")


def spoken(value: object) -> str:
    """Return a value as a description has it."""
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def finished(chart: Chart, title: str, frame: pl.DataFrame) -> Chart:
    """Return the chart of the frame with its title, in the style of this notebook."""
    told = "; ".join(" ".join(map(spoken, row)) for row in frame.rows())
    return (
        chart.properties(title=title, background="white", padding=12)
        .properties(description=f"{title}: {told}")
        .configure_view(strokeWidth=0, continuousWidth=560, discreteWidth=560)
        .configure_title(anchor="start", fontSize=15, offset=14, color=INK)
        .configure_axis(
            domain=False,
            gridColor="#e6e9ee",
            labelColor=GREY,
            labelFontSize=12,
            labelLimit=320,
            labelPadding=6,
            ticks=False,
            titleColor=GREY,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
        )
        .configure_legend(labelFontSize=12, titleFontSize=12, labelColor=GREY, titleColor=GREY)
        .configure_header(labelFontSize=12, labelColor=INK, labelAnchor="start", title=None)
    )


def bars(frame: pl.DataFrame, title: str, unit: str, color: str = BLUE) -> Chart:
    """Draw a bar for each row, in the frame's order: the first column names it, the second counts.

    `unit`: what is counted.
    """
    own = frame.select(name=pl.nth(0).cast(pl.String), number=pl.nth(1))
    most = max(own["number"].to_list(), default=1)
    base = alt.Chart(own, height=alt.Step(24)).encode(
        alt.Y("name:N", sort=None, title=None),
        alt.X("number:Q", title=unit, axis=COUNTS, scale=alt.Scale(domain=[0, most * 1.14])),
    )
    bar = base.mark_bar(color=color, cornerRadiusEnd=2, height={"band": 0.72})
    text = base.mark_text(align="left", dx=5, fontSize=12, color=INK)
    return finished(bar + text.encode(alt.Text("number:Q", format=",")), title, own)


def lines(frame: pl.DataFrame, title: str, unit: str) -> Chart:
    """Draw a line over the years for each age group: columns `age_group, post_year`, a number."""
    colors = alt.Scale(range=[BLUE, "#d98a1f", "#3f8f5b", "#8b5aa8"])
    chart = alt.Chart(frame.rename({frame.columns[2]: "number"}), height=260).encode(
        alt.X("post_year:O", title="year", axis=alt.Axis(labelAngle=0)),
        alt.Y("number:Q", title=unit, axis=COUNTS),
        alt.Color("age_group:N", title="age group", scale=colors),
    )
    drawn = chart.mark_line(strokeWidth=2.5, point={"size": 55, "filled": True})
    return finished(drawn, title, frame)


COUNTS = alt.Axis(format=",d", tickCount=5, tickMinStep=1)

# %% [markdown]
# ## What is there
#
# Each pipeline has a clean table, and a quarantine for the records that it could not take. `up
# to` is the broker's time of the newest row.


# %%
def overview(name: str) -> dict[str, object]:
    """Count the rows, rejects and files of a pipeline's tables by their logs alone."""
    clean, rejected = (
        find(uri, tables[name].options) for uri in (tables[name].clean, tables[name].quarantine)
    )
    files = pl.DataFrame(clean.get_add_actions(flatten=True)) if clean else pl.DataFrame()
    return {
        "pipeline": name,
        "source": ", ".join(config.pipelines[name].reads),
        "rows": int(clean.count()) if clean else 0,
        "rejected": int(rejected.count()) if rejected else 0,
        "files": files.height,
        "up to": files["max._timestamp"].max() if files.height else None,
    }


known = pl.DataFrame([overview(name) for name in tables])
table(known.with_columns(pl.col("up to").dt.strftime("%Y-%m-%d %H:%M:%S UTC")))

# %% [markdown]
# ## One question, three libraries
#
# How many pins has each category? A table may hold a key (`ind`) more than once, because pinpip
# keeps every record. So each query takes the **newest row of each key** first.
#
# ### polars

# %%
pin = tables["pin"]
NEWEST = ["_timestamp", "_topic", "_partition", "_offset"]

by_polars = (
    pl.scan_delta(pin.clean, storage_options=pin.options())
    .sort(NEWEST)
    .unique("ind", keep="last")
    .drop_nulls("category")
    .group_by("category")
    .agg(pins=pl.len().cast(pl.Int64))
    .sort("pins", "category", descending=[True, False])
    .collect()
)
bars(by_polars, "Pins by category, from the Kafka topic", "pins")

# %% [markdown]
# ### DuckDB

# %%
import duckdb
from deltalake import DeltaTable

pin_rows = DeltaTable(pin.clean, storage_options=pin.options()).to_pyarrow_dataset()
query = """
    WITH newest AS (
        SELECT ind, category FROM pin_rows
        QUALIFY row_number() OVER (
            PARTITION BY ind
            ORDER BY _timestamp DESC, _topic DESC, _partition DESC, _offset DESC
        ) = 1
    )
    SELECT category, count(*) AS pins FROM newest
    WHERE category IS NOT NULL
    GROUP BY category
    ORDER BY pins DESC, category
"""
by_duckdb = duckdb.connect().sql(query).pl()
table(by_duckdb.head(3))

# %% [markdown]
# ### pandas

# %%
import pandas as pd

frame = DeltaTable(pin.clean, storage_options=pin.options()).to_pandas(types_mapper=pd.ArrowDtype)
newest_pins = frame.sort_values(NEWEST).drop_duplicates("ind", keep="last")
by_pandas = newest_pins.groupby("category").size().reset_index(name="pins")
by_pandas = by_pandas.sort_values(["pins", "category"], ascending=[False, True])
table(pl.from_pandas(by_pandas.head(3)))

# %%
same = (
    sorted(by_polars.rows())
    == sorted(by_duckdb.rows())
    == sorted(by_pandas.itertuples(index=False, name=None))
)
print("all three agree" if same else "the three differ: rows came between the queries")

# %% [markdown]
# ## The nine answers
#
# `answers` runs the SQL files of `reports/questions` with DuckDB over the tables of all
# pipelines, as `pinpip report` does. Below each title stand the definitions of its words.

# %%
found = {answer.question.label: answer for answer in answers(config, None)}


def ask(label: str) -> pl.DataFrame:
    """Show a question with its definitions; return the answer."""
    question = found[label].question
    display(Markdown(f"### {label}. {question.title}\n\n{question.definitions}"))
    return found[label].frame


table(ask("0"))

# %%
popular = ask("1")
wins = (
    popular.group_by("category")
    .agg(countries=pl.len())
    .sort("countries", "category", descending=[True, False])
)
display(bars(wins, "In how many countries each category leads", "countries"))
table(popular.head(8))

# %%
yearly = ask("2.1")
cells = alt.Chart(yearly, height=alt.Step(24)).encode(
    alt.X("post_year:O", title="year", axis=alt.Axis(labelAngle=0)),
    alt.Y("category:N", title=None),
)
shades = alt.Color("category_count:Q", title="posts", legend=alt.Legend(format=",d"))
middle = (yearly["category_count"].quantile(0.7) or 0) + 0.5
on_dark = alt.when(alt.datum.category_count > middle).then(alt.value("white"))
figures = cells.mark_text(fontSize=12).encode(
    alt.Text("category_count:Q", format=","), color=on_dark.otherwise(alt.value(INK))
)
squares = cells.mark_rect(stroke="white").encode(shades.scale(scheme="blues"))
finished(squares + figures, "Posts by category and year", yearly)

# %%
leading = ask("2.2").select(pl.format("{}  {}", "post_year", "category"), "category_count")
bars(leading, "The most popular category of each year", "posts")

# %%
followed = ask("3.1")
most = followed.sort("follower_count", "country", descending=[True, False]).head(15)
posters = most.select(pl.format("{}, {}", "country", "poster_name"), "follower_count")
display(bars(posters, "The 15 leaders with the most followers", "followers"))
table(followed.head(8))

# %%
table(ask("3.2"))

# %%
preferred = ask("4").select(pl.format("{}  {}", "age_group", "category"), "category_count")
bars(preferred, "The most popular category of each age group", "posts")

# %%
bars(ask("5"), "Median followers by age group", "followers")

# %%
bars(ask("6"), "Users by the year in which they joined", "users")

# %%
bars(ask("7"), "Median followers by the year in which a user joined", "followers")

# %%
lines(ask("8"), "Median followers by age group and year joined", "followers")

# %%
lines(ask("9"), "Median followers by age group and year of the post", "followers")

# %% [markdown]
# ## What was rejected, and why
#
# A record that cannot be decoded, or that the transform fails on, is in `<table>_quarantine` with
# its bytes, where it came from, the reason and a detail. Nothing is thrown away.
# `pinpip quarantine list pin --newest 20` shows the newest ones on the command line.


# %%
def rejects(name: str) -> pl.DataFrame:
    """Read the quarantine of a pipeline; no rows where it has none."""
    own = tables[name]
    if find(own.quarantine, own.options) is None:
        return pl.DataFrame()
    rows = pl.scan_delta(own.quarantine, storage_options=own.options()).collect()
    return rows.select(pl.lit(name).alias("pipeline"), "_timestamp", "reason", "detail", "_value")


rejected = pl.concat([rejects(name) for name in tables], how="diagonal")
if rejected.is_empty():
    print("Nothing was rejected. `pinpip demo --bad 0.03` sends bad records too.")
else:
    reasons = rejected["reason"].value_counts().sort("count", "reason", descending=[True, False])
    display(bars(reasons, f"{rejected.height:,} rejected records by reason", "records", RED))

# %% [markdown]
# One record of each reason, and how its bytes begin:


# %%
def beginning(value: bytes | None) -> str:
    """Return the first bytes of a record as text."""
    return "(no value)" if value is None else value[:50].decode(errors="replace")


if not rejected.is_empty():
    sample = rejected.sort("_timestamp", "pipeline").unique("reason", keep="first").sort("reason")
    begins = pl.Series("begins", map(beginning, sample["_value"].to_list()))
    display(table(sample.select("reason", "pipeline", "detail", begins)))

# %% [markdown]
# ## When it arrived: the ledger
#
# Each commit of a table says what it covers: which records were read, how many were kept and
# rejected, and the broker's times of the first and the last one. These are the commits of the last
# day, as `pinpip inspect` prints them.

# %%
since = max(known["up to"].drop_nulls().to_list()) - timedelta(days=1)
ledger = pl.DataFrame(
    [commit for name in tables for commit in commits_of(config, name, since, None)],
    infer_schema_length=None,
).filter(pl.col("table").is_in([own.clean for own in tables.values()]))

span = pl.element().struct
ranges = pl.format(
    "{}: {} to {}", span["partition"], span["start"].fill_null("the start"), span["end"]
)
commits = ledger.filter(pipeline="pin").sort("version", descending=True)
table(
    commits.head(8).select(
        "version",
        pl.col("committed_at").dt.strftime("%Y-%m-%d %H:%M:%S").alias("committed at (UTC)"),
        "read",
        "clean",
        "quarantined",
        pl.col("ranges").list.eval(ranges).list.join(", ").alias("records of partitions"),
    )
)

# %%
time = alt.X("committed_at:T", title="time, UTC", scale=alt.Scale(type="utc"))
LINE, DOT = {"color": BLUE}, {"color": BLUE, "size": 16, "opacity": 1}
growing = (
    alt.Chart(ledger.select("pipeline", "version", "committed_at", "clean"), width=175, height=120)
    .transform_window(rows="sum(clean)", groupby=["pipeline"], sort=[alt.SortField("version")])
    .mark_area(interpolate="step-after", color=BLUE, opacity=0.3, line=LINE, point=DOT)
    .encode(
        time.axis(format="%H:%M:%S", tickCount=2),
        alt.Y("rows:Q", title="rows", axis=COUNTS),
        alt.Facet("pipeline:N", columns=3, sort=list(tables)),
    )
)
rows = ledger.group_by("pipeline", maintain_order=True).agg(pl.col("clean").sum())
finished(growing, "Rows that came into each table", rows)

# %% [markdown]
# How old was the newest record of a commit when readers could see it? In seconds, from the broker's
# stamp to the commit:

# %%
delay = (pl.col("committed_at") - pl.col("last_event")).dt.total_milliseconds() / 1000
table(
    ledger.drop_nulls("last_event")
    .group_by("pipeline", maintain_order=True)
    .agg(
        pl.len().alias("commits"),
        delay.median().alias("median, s"),
        delay.max().alias("longest, s"),
    )
)

# %% [markdown]
# ## An earlier state
#
# Delta keeps the earlier versions of a table: a query can be run again on the rows as they were.


# %%
def rows_at(version: int) -> int:
    """Count the rows of the table `pin` in one of its versions."""
    rows = pl.scan_delta(pin.clean, version=version, storage_options=pin.options())
    return int(rows.select(pl.len()).collect().item())


versions = sorted(commits["version"])
some = sorted(versions[:: -max(1, len(versions) // 4)])
states = [{"version": f"version {version}", "rows": rows_at(version)} for version in some]
bars(pl.DataFrame(states), "The table pin at some of its versions", "rows")
