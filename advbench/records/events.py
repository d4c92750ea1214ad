"""The log of a run's events, read while the run may be writing to it. No torch."""

import json
from pathlib import Path
from typing import Any


class EventLog:
    """Reads `events.jsonl` piece by piece: each call gives the events since the last one.

    Args:
        path: Path of the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self.damaged = 0
        """Number of lines so far that hold no event."""

    def new(self) -> list[dict[str, Any]]:
        """The events that were written since the last call, in order.

        A line that is still being written waits for the next call. A damaged line is counted and left out. A file that
        became shorter is another one, and is read from its start.

        Example:
            >>> EventLog(Path("no such file")).new()
            []
        """
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:
                    self._read, self.damaged = 0, 0
                file.seek(self._read)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        found = [_event(line) for line in whole.splitlines()]
        self.damaged += found.count(None)
        return [event for event in found if event is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None if it is damaged."""
    try:
        event = json.loads(line)
        event["time"], event["event"] = float(event["time"]), str(event["event"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
