"""The cap that holds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget"]


@dataclass(slots=True)
class Budget:
    """A cap in pico-dollars (None: no cap) and what counts against it.

    charged + unknown + reserved never passes the cap, unless a provider bills a call above its bound: that is booked as
    it is, and nothing further is reserved."""

    cap_pusd: int | None = None
    charged: int = 0
    unknown: int = 0
    reserved: int = 0

    @property
    def left(self) -> int | None:
        """Pico-dollars still to be reserved, negative after over-billing; None without a cap."""
        return None if self.cap_pusd is None else self.cap_pusd - self.charged - self.unknown - self.reserved

    def reserve(self, bound: int) -> bool:
        """Set `bound` aside for a call. False, and nothing set aside, if the cap could be passed."""
        left = self.left
        if left is not None and bound > left:
            return False
        self.reserved += bound
        return True

    def too_dear(self, bound: int) -> str:
        """Why `bound` could not be set aside, in words."""
        return (
            f"the next call could pass budget.max_cost_usd: it is bounded by {bound / 1e12:.6f} USD, and "
            f"{max(0, self.left or 0) / 1e12:.6f} USD are left"
        )

    def settle(self, bound: int, charged: int, unknown: int = 0) -> None:
        """End a reservation of `bound`: what was charged for it and what may have been."""
        if bound > self.reserved:
            raise ValueError(f"{bound} to settle, {self.reserved} reserved")
        self.reserved -= bound
        self.carry(charged, unknown)

    def carry(self, charged: int, unknown: int = 0) -> None:
        """Count what earlier runs under the same cap were charged, or may have been."""
        self.charged += charged
        self.unknown += unknown
