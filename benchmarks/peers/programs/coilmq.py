"""CoilMQ, with a reader that waits for the rest of a frame: its own fails on one that comes in two pieces, as in every
burst of more than 4 KB, and reads nothing more after a heartbeat."""

from typing import Any

from coilmq import start
from coilmq.server import socket_server
from coilmq.util.frames import BodyNotTerminated, FrameBuffer


class _Patient(FrameBuffer):  # type: ignore[misc]
    def extract_frame(self) -> Any:
        while (unread := bytes(self._buffer.getbuffer()[self._pointer :])).startswith(b"\n"):
            self._pointer += 1
        if b"\n\n" in unread:
            try:
                return super().extract_frame()
            except BodyNotTerminated:
                pass
        self._buffer.seek(0, 2)  # where more is appended
        return None


if __name__ == "__main__":
    socket_server.FrameBuffer = _Patient
    start.main()
