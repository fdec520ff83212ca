"""`kind = "map"`: a user's prompt over each document or row, giving text, a label of a closed set, or typed columns."""

from __future__ import annotations

from docreduce.kinds.kind import Plan, Work
from docreduce.kinds.map.settings import MapSettings

__all__ = ["KIND", "MapKind"]


class MapKind:
    """The kind, as `kinds.kind.Kind`."""

    name = "map"
    settings = MapSettings

    def prepare(self, settings: MapSettings, plan: Plan) -> Work:
        from docreduce.kinds.map.steps import prepare

        return prepare(settings, plan)


KIND = MapKind()
