"""A pretend warehouse: reads its feed, picks, reports; over HTTP only, with a file of its own.

Everything is in the file before it has a consequence outside: a page before it is acknowledged, a report before it
is sent. So a kill at any moment repeats at most what the store must recognize as said before.
"""

import random
import time
from dataclasses import dataclass, replace
from typing import Any

import requests

from shop.simulation.warehouse_file import Json, WarehouseFile

# Seconds to connect, and between two bytes.
TIMEOUT = (5.0, 30.0)
# Events asked for at once; under chaos few, so that there are many pages.
PAGE, SMALL_PAGES = 100, (1, 2, 5)
CARRIERS = ("Harbour Post", "Pine Parcel")
# Under chaos: how often an answer is taken for lost, a report is held back, an old one is sent again.
LOST, HELD_BACK, AGAIN = 0.25, 0.3, 0.2


class Unreachable(Exception):
    """The store did not answer, or asked to be asked later: try again."""


class Broken(Exception):
    """The store refused, or said something that it must never say: no repetition helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """`short` is the percentage of orders whose goods are not found; `seed` decides which. `picking` is how long an
    order takes, in seconds."""

    seed: int = 1
    short: float = 0.0
    picking: float = 0.0
    chaos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """An order's last picklist, counted by `round`; `closed` once there is nothing left to say about it. `ready_at`:
    when it is picked, by this process's clock."""

    round: int
    ready_at: float = 0.0
    traceparent: str = ""
    withdrawn: bool = False
    closed: bool = False


class Warehouse:
    """One warehouse at one file. Raises Broken where the store breaks its word, Unreachable where it is away."""

    def __init__(self, *, file: WarehouseFile, base_url: str, token: str, habits: Habits) -> None:
        self._file = file
        self._base_url = base_url.rstrip("/")
        self._habits = habits
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._moods = random.Random()  # noqa: S311 - chaos is to differ from run to run
        self._through: int | None = None
        self._acknowledged = True
        self._picks: dict[int, Pick] = {}
        self._sequence = 0
        self._unsent: dict[str, Json] = {}
        self._sent: list[Json] = []
        for line in file.lines:
            self._remember(line)

    def turn(self) -> bool:
        """Read, pick and report once; False when there was nothing to do and nothing is left over."""
        moved = self._read() + self._decide() + self._send()
        being_picked = any(not pick.closed and time.monotonic() < pick.ready_at for pick in self._picks.values())
        return moved > 0 or bool(self._unsent) or being_picked

    def close(self) -> None:
        self._session.close()
        self._file.close()

    # --- the file -----------------------------------------------------------------------------------

    def _write(self, line: Json) -> None:
        self._remember(self._file.append(line))

    def _remember(self, line: Json) -> None:
        """The one way that anything becomes known: from the file, or when it has just been written there."""
        match line["line"]:
            case "page":
                self._through = line["through"]
                self._acknowledged = False
                for event in line["events"]:
                    self._hear(event)
            case "report":
                self._sequence = line["sequence"]
                self._unsent[line["reference"]] = line
                self._close(line["order_id"])
            case "answer":
                self._sent.append(self._unsent.pop(line["reference"]))

    def _hear(self, event: Json) -> None:
        order_id = event["data"]["order_id"]
        known = self._picks.get(order_id, Pick(round=0))
        match event["type"]:
            case "PicklistRequested":
                ready_at = time.monotonic() + self._habits.picking
                known = Pick(round=known.round + 1, ready_at=ready_at, traceparent=event.get("traceparent", ""))
            case "PicklistWithdrawn":
                known = replace(known, withdrawn=True)
        self._picks[order_id] = known

    def _close(self, order_id: int) -> None:
        self._picks[order_id] = replace(self._picks[order_id], closed=True)

    # --- the feed -----------------------------------------------------------------------------------

    def _read(self) -> int:
        """Accept page after page until the store has no more, and acknowledge each; returns their number."""
        pages = 0
        self._acknowledge()
        while (page := self._page()) is not None:
            self._write({"line": "page", **page})
            self._acknowledge()
            pages += 1
        return pages

    def _page(self) -> Json | None:
        """The next page, which proves that nothing lies between it and the last one; None when it is empty."""
        query: dict[str, Any] = {"limit": self._moods.choice(SMALL_PAGES) if self._habits.chaos else PAGE}
        if self._through is not None:
            query["after"] = self._through
        page: Json = self._ask("GET", "/feeds/warehouse", expected=(200,), params=query).json()
        after, through = page["after"], page["through"]
        if self._through is not None and after != self._through:
            raise Broken(f"Asked for what follows {self._through}, got what follows {after}.")
        positions = [after, *(int(event["sequence"]) for event in page["events"])]
        if positions != sorted(set(positions)) or positions[-1] > through:
            raise Broken(f"Positions out of order in the page from {after} through {through}: {positions[1:]}.")
        return page if through > after else None

    def _acknowledge(self) -> None:
        if not self._acknowledged:
            answer = self._ask("POST", "/feeds/warehouse/ack", expected=(200, 409), json={"through": self._through})
            # Somebody went on from here with another file; what this one has it has.
            if answer.status_code == 409 and answer.json()["code"] != "already_acknowledged":
                raise Broken(answer.json()["detail"])
            self._acknowledged = True

    # --- the work -----------------------------------------------------------------------------------

    def _decide(self) -> int:
        """Find the goods of every open picklist, and write down what is to be reported; returns how much."""
        known = self._sequence
        for order_id, pick in list(self._picks.items()):
            if not pick.closed and (kind := self._look_for_goods(order_id, pick)):
                self._write(self._report(order_id, kind, pick))
        return self._sequence - known

    def _look_for_goods(self, order_id: int, pick: Pick) -> str | None:
        """What became of it; None where nothing is to be said, or not yet."""
        if pick.withdrawn:
            return "withdrawn"
        if time.monotonic() < pick.ready_at:
            return None
        answer = self._ask("GET", f"/warehouse/picklists/{order_id}", expected=(200, 410))
        match answer.json()["state"]:
            case "requested":
                return "short" if self._dice(order_id, pick).uniform(0, 100) < self._habits.short else "shipped"
            case "done":
                self._close(order_id)  # answered already, by a warehouse that had another file
        return None  # withdrawn: the feed is about to say so

    def _report(self, order_id: int, kind: str, pick: Pick) -> Json:
        sequence = self._sequence + 1
        carrier = self._dice(order_id, pick).choice(CARRIERS) if kind == "shipped" else ""
        return {
            "line": "report",
            "reference": f"{self._file.warehouse}-{sequence:06d}",
            "sequence": sequence,
            "order_id": order_id,
            "kind": kind,
            "carrier": carrier,
            "tracking": f"{carrier[:1]}P{order_id:08d}{pick.round}" if carrier else "",
            "traceparent": pick.traceparent,
        }

    def _dice(self, order_id: int, pick: Pick) -> random.Random:
        """The same for one picklist, whenever and however often it is looked at."""
        return random.Random(f"{self._habits.seed}:{order_id}:{pick.round}")  # noqa: S311 - repeatable on purpose

    # --- the reports --------------------------------------------------------------------------------

    def _send(self) -> int:
        """Send what was not answered yet, always with the same reference; returns how much was answered."""
        reports = self._in_some_order(list(self._unsent.values()))
        for report in reports:
            status = self._tell(report, expected=(200, 201))
            if self._habits.chaos and self._moods.random() < LOST:
                self._tell(report, expected=(200,))
            self._write({"line": "answer", "reference": report["reference"], "status": status})
        if self._habits.chaos and self._sent and self._moods.random() < AGAIN:
            self._tell(self._moods.choice(self._sent), expected=(200,))
        return len(reports)

    def _in_some_order(self, reports: list[Json]) -> list[Json]:
        if not self._habits.chaos:
            return reports
        self._moods.shuffle(reports)
        return [report for report in reports if self._moods.random() > HELD_BACK]

    def _tell(self, report: Json, *, expected: tuple[int, ...]) -> int:
        body = {name: report[name] for name in ("reference", "sequence", "order_id", "kind", "carrier", "tracking")}
        headers = {"traceparent": report["traceparent"]}
        return self._ask("POST", "/warehouse/shipments", expected=expected, json=body, headers=headers).status_code

    # --- HTTP ---------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, *, expected: tuple[int, ...], **options: Any) -> requests.Response:
        """The answer, of an expected status. Raises Unreachable or Broken."""
        try:
            answer = self._session.request(
                method, self._base_url + path, timeout=TIMEOUT, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status_code in expected:
            return answer
        said = f"{method} {path}: HTTP {answer.status_code}: {answer.text[:300]}"
        raise (Unreachable if answer.status_code >= 500 or answer.status_code == 429 else Broken)(said)
