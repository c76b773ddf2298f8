"""Where one request ends and the next begins: the gateway beside h11, on a corpus of odd framing.

`make fuzz` reads 100,000 cases.
"""

import asyncio
import os
import sys
from collections import Counter

import pytest

from tests.support.desync import Case, case
from tests.support.parsers import Ours, ParserOutcome, h11_reads

CASES = int(os.environ.get("PINPIP_FUZZ_REQUESTS", "3000"))
RIGHT = {"equal", "neither serves", "stricter"}


def verdict(given: Case, ours: ParserOutcome) -> str:
    """How `ours` stands to what h11 reads; a verdict that is not in RIGHT is a fault."""
    theirs = h11_reads(given.stream)
    if ours.requests != theirs[: len(ours.requests)]:
        return "another request"
    refusals = [status for status in ours.statuses if status >= 400]
    if len(ours.statuses) - len(refusals) != len(ours.requests) or len(refusals) > 1:
        return "another number of answers"
    if len(ours.requests) == len(theirs):
        return "equal" if theirs else "neither serves"
    return "stricter" if ours.says_close else "silent"


async def verdicts(seeds: range) -> Counter[tuple[str, int]]:
    """Verdicts, and for a fault the seed that shows it."""
    found: Counter[tuple[str, int]] = Counter()
    gateway = Ours()
    for seed in seeds:
        given = case(seed)
        said = verdict(given, await gateway.read(given.segments))
        found[said, -1 if said in RIGHT else seed] += 1
    return found


@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_every_request_begins_and_ends_where_h11_sees_it_or_is_refused() -> None:
    found = asyncio.run(verdicts(range(CASES)))

    sys.stdout.write(f"{found.total():,} cases: {dict(found)}\n")
    assert {said for said, _ in found} == RIGHT, found
    assert min(found[said, -1] for said in RIGHT) > CASES / 10
