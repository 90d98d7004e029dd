"""How much is held at once, in all and for one client: bytes in memory, bytes on the disk, forms that arrive."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

from .. import limits
from ..limits import BusyError

IPV6_NETWORK = 4  # groups: a client has at least a /64


class Budget:
    """Raises BusyError for what would be too much; whatever was taken is given back at the end of the block."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, client: str) -> Iterator["Share"]:
        share = Share(self, client)
        try:
            yield share
        finally:
            share.give_back()

    def add(self, client: str, amount: int) -> None:
        """Raises BusyError."""
        with self._lock:
            most = limits.CLIENT_SHARE * self.total
            if self.held[client] + amount > most or self.held.total() + amount > self.total:
                raise BusyError
            self.held[client] += amount

    def remove(self, client: str, amount: int) -> None:
        with self._lock:
            self.held[client] -= amount
            if self.held[client] <= 0:
                del self.held[client]


class Share:
    """What one request holds of a budget."""

    def __init__(self, budget: Budget, client: str) -> None:
        self.budget, self.client, self.amount = budget, client, 0

    def take(self, amount: int) -> None:
        """Raises BusyError."""
        self.budget.add(self.client, amount)
        self.amount += amount

    def give_back(self) -> None:
        self.budget.remove(self.client, self.amount)
        self.amount = 0


def client_of(scope: Scope) -> str:
    """The caller's address; of IPv6 the network, because one caller has all addresses of it."""
    return network(scope["client"][0] if scope.get("client") else "")


def network(host: str) -> str:
    return ":".join(host.split(":")[:IPV6_NETWORK]) if ":" in host else host
