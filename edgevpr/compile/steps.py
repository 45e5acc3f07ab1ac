"""Steps of a compilation: each under a progress bar, its seconds kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from edgevpr.progress import Track

T = TypeVar("T")


@dataclass
class Steps:
    """Runs steps and keeps their seconds by name."""

    track: Track
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, description: str, work: Callable[[], T], *, bar: bool = True) -> T:
        """Run one step; without ``bar`` it draws its own."""
        started = time.perf_counter()
        result = [work() for _ in (self.track([None], description, 1) if bar else [None])]
        self.seconds[name] = round(time.perf_counter() - started, 3)
        return result[0]
