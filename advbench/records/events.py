"""Reads the event log of a run, also while the run is writing to it. Does not import torch."""

import json
from pathlib import Path
from typing import Any


class EventLog:
    """Reads `events.jsonl` incrementally: each call returns the events since the last one.

    Args:
        path: Path of the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self.damaged = 0
        """Number of lines so far without a valid event."""

    def new(self) -> list[dict[str, Any]]:
        """The events that were written since the last call, in order.

        A line that is still being written is left for the next call. A damaged line is counted and skipped. A file that
        has become shorter was replaced, and is read from its start.

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
