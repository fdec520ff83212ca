"""A budget whose cap holds."""

import pytest
from docreduce.desk.budget import Budget
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule


def test_a_refused_reservation_sets_nothing_aside_and_earlier_runs_count() -> None:
    budget = Budget(100)
    budget.carry(charged=30, unknown=20)
    assert not budget.reserve(51)
    assert budget.left == 50
    assert budget.reserve(50)
    assert not budget.reserve(1)
    budget.settle(50, charged=10)
    assert (budget.left, budget.charged, budget.unknown, budget.reserved) == (40, 40, 20, 0)


def test_over_billing_is_booked_as_it_is_and_stops_further_calls() -> None:
    budget = Budget(100)
    assert budget.reserve(90)
    budget.settle(90, charged=150)
    assert (budget.charged, budget.left) == (150, -50)
    assert not budget.reserve(0)


def test_without_a_cap_everything_is_reserved_and_still_counted() -> None:
    budget = Budget()
    assert budget.left is None
    assert budget.reserve(10**18)
    assert budget.reserved == 10**18


def test_settling_what_was_never_reserved_is_a_fault() -> None:
    with pytest.raises(ValueError, match="reserved"):
        Budget(100).settle(1, charged=1)


class Spending(RuleBasedStateMachine):
    """Calls reserved and settled in any order, with time-outs, under a provider that bills within its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1_000)
        self.open: list[int] = []
        self.charged = self.unknown = 0

    @rule(amount=st.integers(0, 400))
    def reserve(self, amount: int) -> None:
        before = self.budget.left
        assert before is not None
        if self.budget.reserve(amount):
            self.open.append(amount)
            assert amount <= before
        else:
            assert amount > before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        amount = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        charged = data.draw(st.integers(0, amount))
        unknown = data.draw(st.sampled_from([0, amount - charged]))
        self.budget.settle(amount, charged, unknown)
        self.charged += charged
        self.unknown += unknown

    @invariant()
    def the_cap_holds_and_nothing_is_lost(self) -> None:
        budget = self.budget
        assert (budget.charged, budget.unknown, budget.reserved) == (self.charged, self.unknown, sum(self.open))
        assert budget.charged + budget.unknown + budget.reserved <= 1_000


TestSpending = Spending.TestCase
TestSpending.pytestmark = pytest.mark.long
