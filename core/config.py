"""What config.yaml may say, as frozen models; `configfile` reads it."""

import difflib
from typing import Annotated

from pydantic import Field, model_validator

from core.errors import ConfigError
from core.pipeline import DeltaSection, ParquetSection, Pipeline, StreamSection, TopicsSection
from core.sections import (
    Aws,
    Batching,
    Endpoints,
    Gateway,
    Kafka,
    Lake,
    Located,
    Model,
    Producer,
    Tls,
)

__all__ = [
    "Aws",
    "Batching",
    "Config",
    "DeltaSection",
    "Endpoints",
    "Gateway",
    "Kafka",
    "Lake",
    "Located",
    "Model",
    "ParquetSection",
    "Pipeline",
    "Producer",
    "StreamSection",
    "Tls",
    "TopicsSection",
    "nearest",
]


class Config(Located):
    """All of config.yaml."""

    id: str = Field(pattern=r"^[A-Za-z0-9]+$")
    kafka: Kafka | None = None
    aws: Aws = Aws()
    lake: Lake = Lake()
    gateway: Gateway = Gateway()
    producer: Producer = Producer()
    batching: Batching = Batching()
    pipelines: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], Pipeline] = Field(
        min_length=1
    )

    @model_validator(mode="after")
    def _brokers_of_topics(self) -> "Config":
        for name, pipeline in self.pipelines.items():
            if self.kafka is None and pipeline.source.topics:
                raise ValueError(f"kafka: pipeline {name} reads topics: name the brokers")
        return self

    @model_validator(mode="after")
    def _places_of_their_own(self) -> "Config":
        """Two writers of one table or chain would fence each other off for ever."""
        owners: dict[str, str] = {}
        for name, pipeline in self.pipelines.items():
            for place in pipeline.places(self.lake):
                if place in owners:
                    both = " and ".join(dict.fromkeys([owners[place], name]))
                    raise ValueError(f"pipelines: {both} would write {place} twice")
                owners[place] = name
        return self

    def pipeline(self, name: str) -> Pipeline:
        """Return the pipeline called `name`; raise ConfigError with the nearest name otherwise."""
        if name not in self.pipelines:
            known = ", ".join(self.pipelines)
            raise ConfigError(
                f"no pipeline is called {name!r}{nearest(name, list(self.pipelines))}",
                f"{self.file.path} has: {known}",
            )
        return self.pipelines[name]


def nearest(name: str, known: list[str]) -> str:
    """Guess what `name` should have been, as an ending for a message."""
    match = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
