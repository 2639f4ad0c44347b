"""Times for people in a zone that is named beside them; UTC where none was asked for."""

from __future__ import annotations

from datetime import UTC, datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

NS = 10**9


class Zone:
    """
    name: of the IANA data base, as "Asia/Karachi".

    Raises ValueError where there is no such zone.
    """

    def __init__(self, name: str = "UTC") -> None:
        self.name = name
        self.is_utc = name.upper() == "UTC"
        self._zone: tzinfo = UTC
        if not self.is_utc:
            from zoneinfo import ZoneInfo

            try:
                self._zone = ZoneInfo(name)
            except (OSError, ValueError, KeyError):
                raise ValueError(f"no time zone is called so: {name}") from None

    def _at(self, time_ns: int) -> datetime:
        try:
            return datetime.fromtimestamp(time_ns // NS, self._zone)
        except (OverflowError, OSError, ValueError):  # the last days of the calendar, in a zone that is ahead
            return datetime.fromtimestamp(0, self._zone)

    def offset(self, time_ns: int) -> int:
        """Minutes ahead of UTC."""
        ahead = self._at(time_ns).utcoffset()
        return int(ahead.total_seconds() // 60) if ahead else 0

    def short(self, time_ns: int, days: bool = False) -> str:
        """Hours and minutes, with the day where asked for."""
        return self._at(time_ns).strftime("%m-%d %H:%M" if days else "%H:%M")

    def utc_short(self, time_ns: int) -> str:
        return datetime.fromtimestamp(time_ns // NS, UTC).strftime("%H:%M")

    def full(self, time_ns: int | None) -> str:
        """Date, time and zone."""
        if time_ns is None:
            return "not known"
        at = self._at(time_ns)
        return f"{at.strftime('%Y-%m-%d %H:%M:%S')} {self.words(time_ns)}"

    def words(self, time_ns: int) -> str:
        """The zone as it was at that time: "UTC", "PKT (UTC+05:00)"."""
        if self.is_utc:
            return "UTC"
        minutes = self.offset(time_ns)
        ahead = f"UTC{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        short = self._at(time_ns).tzname() or ""
        return f"{short} ({ahead})" if short.isalpha() else ahead
