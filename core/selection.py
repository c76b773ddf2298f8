"""Which records of a shared topic or stream a pipeline takes: `where` in config.yaml.

A topic or stream may carry several record types that are told apart by the key or by a header.
"""

import json
from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from core.sections import Model


class TextTest(Model):
    """The texts that are taken: one, one of several, or all that begin with a prefix."""

    equals: str | None = None
    in_: tuple[str, ...] | None = Field(None, alias="in", min_length=1)
    prefix: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "TextTest":
        given = [t for t in (self.equals, self.in_, self.prefix) if t is not None]
        if len(given) != 1:
            raise ValueError("give one of equals, in and prefix")
        if self.prefix == "":
            raise ValueError("every text begins with an empty prefix: leave `where` out")
        return self


def _kind_of_test(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "several texts"
    return "a test" if isinstance(value, (dict, TextTest)) else "one text"


Test = Annotated[
    Annotated[str, Tag("one text")]
    | Annotated[tuple[str, ...], Field(min_length=1), Tag("several texts")]
    | Annotated[TextTest, Tag("a test")],
    Discriminator(_kind_of_test),
]


class Where(Model):
    """One test of each record's key, partition key, or one header; without that text it fails.

    A text stands for `{equals: text}`, a list for `{in: list}`. A header that a record has several
    times counts with its last value, as in Kafka's `Headers.lastHeader`.
    """

    key: Test | None = None
    partition_key: Test | None = None
    header: dict[str, Test] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Where":
        if len([name for name, test in self if test is not None]) != 1:
            raise ValueError("give one of key, header (of a topic) and partition_key (of a stream)")
        if self.header is not None and len(self.header) != 1:
            raise ValueError("header: name one header")
        return self

    @property
    def header_name(self) -> str | None:
        """The header that is tested."""
        return None if self.header is None else next(iter(self.header))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are taken; none for a prefix."""
        test = self._test
        if isinstance(test, TextTest):
            return test.in_ or (() if test.equals is None else (test.equals,))
        return (test,) if isinstance(test, str) else test

    @property
    def prefix(self) -> str | None:
        """How the texts that are taken begin."""
        return self._test.prefix if isinstance(self._test, TextTest) else None

    @property
    def tested(self) -> str:
        """What is tested, in words."""
        if self.header is not None:
            return f"header {self.header_name}"
        return "key" if self.key is not None else "partition_key"

    def __str__(self) -> str:
        """Return the test in words."""
        if self.prefix is not None:
            return f"{self.tested} begins with {self.prefix!r}"
        return f"{self.tested} is {' or '.join(map(repr, self.texts))}"

    @property
    def canonical(self) -> str:
        """The test as JSON that this model reads, the same for all spellings of one test."""
        test = {"prefix": self.prefix} if self.prefix else {"in": sorted({*self.texts})}
        named = {"header": {self.header_name: test}} if self.header else {self.tested: test}
        return json.dumps(named, ensure_ascii=False)

    def takes(self, text: str) -> bool:
        """Return whether a record with this text is taken."""
        return text in self.texts if self.prefix is None else text.startswith(self.prefix)

    def overlap(self, other: "Where") -> str | None:
        """Return a text that both take; None: there is none, or they test different things."""
        if self.tested != other.tested:
            return None
        texts = [t for t in self.texts if other.takes(t)] + [
            t for t in other.texts if self.takes(t)
        ]
        if self.prefix is not None and other.prefix is not None:
            longer = max(self.prefix, other.prefix, key=len)
            texts += [longer] if self.takes(longer) and other.takes(longer) else []
        return next(iter(texts), None)

    @property
    def _test(self) -> str | tuple[str, ...] | TextTest:
        if self.header is not None:
            return next(iter(self.header.values()))
        test = self.key if self.key is not None else self.partition_key
        assert test is not None  # noqa: S101  # `_one` holds
        return test
