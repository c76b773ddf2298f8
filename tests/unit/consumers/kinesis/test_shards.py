"""Shards are listed whole and read parents first."""

from hypothesis import given
from hypothesis import strategies as st

from consumers.kinesis.shards import Shard, children, list_shards, readable
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis


def graph(parents: dict[str, set[str]]) -> dict[str, Shard]:
    return {name: Shard(name, frozenset(above)) for name, above in parents.items()}


def names(shards: list[Shard]) -> list[str]:
    return [shard.id for shard in shards]


def test_both_halves_of_a_split_wait_for_their_parent() -> None:
    shards = graph({"0": set(), "1": {"0"}, "2": {"0"}})
    assert names(readable(shards, set())) == ["0"]
    assert names(readable(shards, {"0"})) == ["1", "2"]


def test_a_merged_shard_waits_for_both_parents() -> None:
    shards = graph({"0": set(), "1": set(), "2": {"0", "1"}})
    assert names(readable(shards, {"0"})) == ["1"]
    assert names(readable(shards, {"0", "1"})) == ["2"]


def test_a_parent_that_is_not_listed_counts_as_done() -> None:
    assert names(readable(graph({"7": {"3"}}), set())) == ["7"]


@given(st.data())
def test_every_shard_has_its_turn_after_its_parents(data: st.DataObject) -> None:
    parents: dict[str, set[str]] = {}
    for n in range(data.draw(st.integers(1, 12))):
        parents[f"{n:02d}"] = data.draw(st.sets(st.sampled_from([*parents, "gone"]), max_size=2))
    shards, drained = graph(parents), list[str]()
    while turn := names(readable(shards, drained)):
        drained.append(data.draw(st.sampled_from(turn)))
        assert parents[drained[-1]] & parents.keys() <= set(drained)
    assert set(drained) == set(parents)


def test_all_pages_of_the_listing_are_read() -> None:
    kinesis = FakeKinesis(FakeClock(), shards=5)
    assert len(list_shards(kinesis.client, STREAM)) == 5


def test_the_listing_knows_parents_and_closed_shards() -> None:
    kinesis = FakeKinesis(FakeClock(), shards=2)
    old = tuple(kinesis.shards)
    (merged,) = kinesis.reshard(old, 1)
    listed = list_shards(kinesis.client, STREAM)
    assert listed[merged] == Shard(merged, frozenset(old), closed=False)
    assert listed[old[0]] == Shard(old[0], frozenset(), closed=True)


def test_child_shards_of_an_answer_are_understood() -> None:
    entry = {"ShardId": "b", "ParentShards": ["a"], "HashKeyRange": {}}
    assert children([entry]) == {"b": Shard("b", frozenset({"a"}))}
