"""Webhooks on their way: signed, retried while the target fails, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from sandbox.faults import Faults, Kind
from sandbox.stats import Stats

AT_ONCE = 16
"""Deliveries under way at the same time: enough to arrive out of order, too few to flood a laptop."""
TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One request to make: its body, and what to call once it was accepted."""

    body: bytes
    accepted: Callable[[], None]
    twin: Callable[[], Parcel]
    """Makes the same news as another event."""


class Deliveries:
    """Sends parcels to one address. `sign` returns the headers for a body, `forge` wrong ones."""

    def __init__(
        self,
        *,
        op: str,
        url: str,
        sign: Callable[[bytes], dict[str, str]],
        forge: Callable[[bytes], dict[str, str]],
        faults: Faults,
        stats: Stats,
    ) -> None:
        self._op = op
        self._url = url
        self._sign = sign
        self._forge = forge
        self._faults = faults
        self._stats = stats
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._overtaken = asyncio.Event()
        self._http: aiohttp.ClientSession | None = None

    def send(self, parcel: Parcel) -> None:
        """Deliver the parcel in the background."""
        task = asyncio.create_task(self._deliver(parcel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    async def _deliver(self, parcel: Parcel) -> None:
        fault = self._faults.take(group="webhook", op=self._op, text=parcel.body.decode())
        match fault.kind if fault else None:
            case Kind.DROP:
                self._stats.count(self._op, "dropped")
                parcel.accepted()
                return
            case Kind.DUPLICATE:
                await self._until_accepted(parcel)
            case Kind.DUPLICATE_EVENT:
                await self._until_accepted(parcel.twin())
            case Kind.FORGE:
                await self._post(parcel.body, self._forge(parcel.body))
            case Kind.DELAY if fault is not None:
                await asyncio.sleep(fault.seconds)
            case Kind.REORDER if fault is not None:
                await self._let_one_overtake(fault.seconds)
        await self._until_accepted(parcel)

    async def _let_one_overtake(self, seconds: float) -> None:
        self._overtaken.clear()
        try:
            await asyncio.wait_for(self._overtaken.wait(), seconds)
        except TimeoutError:
            return

    async def _until_accepted(self, parcel: Parcel) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not await self._post(parcel.body, self._sign(parcel.body)):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        parcel.accepted()
        self._overtaken.set()

    async def _post(self, body: bytes, headers: dict[str, str]) -> bool:
        """Make one attempt; say whether it was answered with 2xx."""
        async with self._places:
            if self._http is None:
                timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
                self._http = aiohttp.ClientSession(timeout=timeout)
            try:
                async with self._http.post(
                    self._url, data=body, headers={"Content-Type": "application/json", **headers}
                ) as response:
                    self._stats.count(self._op, response.status)
                    return response.ok
            except (aiohttp.ClientError, TimeoutError):
                self._stats.count(self._op, "unreachable")
                return False
