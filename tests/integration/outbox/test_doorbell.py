"""Who is woken, and who is not."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from outbox import doorbell
from outbox.doorbell import Doorbell, Woken
from outbox.relay import LOG, bell, relay_once
from tests.integration.outbox.things import Poisoned, Stepped, step, subscribed

# Seconds in which a bell that rang would have been heard: it rings before `ring` returns.
AT_ONCE = 0.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path, override_settings(DOORBELL_DIR=path):
        doorbell.folder.cache_clear()
        yield Path(path)
    doorbell.folder.cache_clear()


@pytest.fixture
def switched_off() -> Iterator[None]:
    with override_settings(DOORBELL_DIR="off"):
        doorbell.folder.cache_clear()
        yield
    doorbell.folder.cache_clear()


@pytest.fixture
def other(folder: Path) -> Iterator[socket.socket]:
    """The bell `work` of another process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "work.1.1"))
        listener.setblocking(False)
        yield listener


def rang(mine: Doorbell) -> bool:
    return mine.wait(AT_ONCE) is not Woken.BY_NOBODY


@pytest.mark.usefixtures("folder")
def test_a_ring_wakes_those_of_that_name_only() -> None:
    work, works, play = Doorbell("work"), Doorbell("work.more"), Doorbell("play")
    try:
        doorbell.ring("work", "play")
        assert (rang(work), rang(works), rang(play)) == (True, False, True)
        assert not rang(work)
    finally:
        for each in (work, works, play):
            each.close()


def test_other_processes_are_woken_by_the_folder(other: socket.socket, folder: Path) -> None:
    doorbell.ring("play")
    with pytest.raises(BlockingIOError):
        other.recv(1)
    doorbell.ring("work")
    assert other.recv(1) == b"1"
    other.close()
    doorbell.ring("work")
    assert list(folder.iterdir()) == []  # what a dead process has left is taken away


@pytest.mark.usefixtures("switched_off")
def test_loops_of_one_process_wake_each_other_without_a_folder() -> None:
    work = Doorbell("work")
    try:
        doorbell.ring("work")
        work.ring()
        assert work.wait(AT_ONCE) is Woken.BY_OTHERS
        work.ring()
        assert work.wait(AT_ONCE) is Woken.BY_ITSELF
        assert work.wait(AT_ONCE) is Woken.BY_NOBODY
    finally:
        work.close()
    doorbell.ring("work")


def test_the_relay_wakes_the_readers_of_what_it_has_moved() -> None:
    """The others' cursors come after at their next look."""
    with subscribed("steps", types=[Stepped]), subscribed("poison", types=[Poisoned]):
        steps, poison, everything = Doorbell(bell("steps")), Doorbell(bell("poison")), Doorbell(LOG)
        try:
            step(1)
            assert relay_once() == 1
            assert (rang(steps), rang(poison), rang(everything)) == (True, False, True)
            assert relay_once() == 0
            assert (rang(steps), rang(poison), rang(everything)) == (False, False, False)
        finally:
            for each in (steps, poison, everything):
                each.close()
