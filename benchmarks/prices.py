"""What S3 requests cost at AWS's list prices of us-east-1, in US dollars."""

from collections import Counter
from collections.abc import Mapping

PER_THOUSAND = {"PUT": 0.005, "POST": 0.005, "LIST": 0.005, "GET": 0.0004, "HEAD": 0.0004}
FREE = {"DELETE"}
MONTH_S = 730 * 3600


def price(requests: Mapping[str, int]) -> float:
    """Return the price of requests by kind, such as `PUT log`; raises KeyError for others."""
    methods = Counter[str]()
    for kind, number in requests.items():
        methods[kind.partition(" ")[0]] += number
    return sum(PER_THOUSAND[m] * n / 1000 for m, n in methods.items() if m not in FREE)


def monthly(requests: Mapping[str, int], seconds: float) -> float:
    """Return the price of a month with as many requests per second as in these seconds."""
    return price(requests) * MONTH_S / seconds
