"""What a process opened or decoded last."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class ProcessCache(Generic[Value]):
    """The values that were used last. They are neither pickled nor kept across a fork, as file
    handles must not be.

    Args:
        capacity: largest sum of what the values weigh; the latest one is kept whatever it weighs.
        weight: what a value weighs, 1 by default.
        drop: called with a value that has to go.
    """

    def __init__(
        self,
        capacity: int,
        *,
        weight: Callable[[Value], int] | None = None,
        drop: Callable[[Value], object] | None = None,
    ) -> None:
        self.capacity, self._weight, self._drop = capacity, weight, drop
        self._clear()

    def get(self, key: Any, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not at hand."""
        if self._process != os.getpid():
            self._clear()
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self._total += self._weight(value) if self._weight else 1
        while self._total > self.capacity and len(self._values) > 1:
            oldest = self._values.popitem(last=False)[1]
            self._total -= self._weight(oldest) if self._weight else 1
            if self._drop:
                self._drop(oldest)
        return value

    def _clear(self) -> None:
        self._values: OrderedDict[Any, Value] = OrderedDict()
        self._total, self._process = 0, os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": OrderedDict(), "_total": 0, "_process": -1}
