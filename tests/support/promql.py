"""PromQL of dashboards and alerts: does what an expression names exist in `core.metrics`."""

import promql_parser
import yaml
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, VectorSelector

from core import metrics
from tests.support.places import ROOT

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
RULES = [
    rule
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
LIMITS = {rule["record"]: set[str]() for rule in RULES if "record" in rule}
TARGET = {"job", "instance", "namespace", "pod"}
"""Labels that the scrape adds."""
OTHERS: dict[str, set[str]] = {  # of Prometheus, and of every process on Linux
    "up": set(),
    "process_start_time_seconds": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "pipeline", "part"},
}


def series() -> dict[str, set[str]]:
    """Return the labels of each series that consumers, gateways and the rules make, by its name."""
    found = OTHERS | LIMITS
    for metric in (*metrics.CONSUMER, *metrics.GATEWAY):
        own = set(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{metric.name}_bucket": own | {"le"}}
            found |= {f"{metric.name}{suffix}": own for suffix in ("_sum", "_count")}
        else:
            found[metric.name] = own
    return {name: labels | TARGET for name, labels in found.items()}


def nodes(expression: str) -> list[Expr]:
    """Return all parts of an expression; ValueError if it is none."""
    found: list[Expr] = []
    promql_parser.walk(promql_parser.parse(expression), pre_visit=found.append)
    return found


def names(expression: str) -> set[str]:
    """Return the metrics that are named, not those of a pattern."""
    return {n.name for n in nodes(expression) if isinstance(n, VectorSelector) and n.name}


def calls(expression: str) -> set[str]:
    """Return the functions that are called."""
    return {node.func.name for node in nodes(expression) if isinstance(node, Call)}


def strangers(expression: str) -> list[str]:
    """Return the metrics that do not exist, and the labels that the metrics do not have."""
    known, found = series(), set[str]()
    everywhere = set[str]().union(*(known.get(name, set()) for name in names(expression)))
    for node in nodes(expression):
        if isinstance(node, VectorSelector) and node.name:
            own = {matcher.name for matcher in node.matchers.matchers}
            found |= own - known[node.name] if node.name in known else {node.name}
        elif isinstance(node, AggregateExpr) and node.modifier:
            found |= set(node.modifier.labels) - everywhere
        elif isinstance(node, BinaryExpr) and node.modifier and node.modifier.matching:
            own = {*node.modifier.matching.labels, *(node.modifier.group_labels or ())}
            found |= own - everywhere
    return sorted(found)
