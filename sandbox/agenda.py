"""What will happen later by itself: a refund settles, a dispute opens, a mail is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Agenda:
    """What waits in this process: never stored, since it follows from the state and is set anew at a start."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def add(self, *, name: str, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` once in `seconds`; a second one of the same name is ignored while the first waits."""
        if name in self._waiting:
            return

        async def run() -> None:
            await asyncio.sleep(seconds)
            await action()

        task = self._waiting[name] = asyncio.create_task(run())
        task.add_done_callback(lambda _: self._waiting.pop(name))

    async def stop(self) -> None:
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
