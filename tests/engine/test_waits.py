"""Every wait hears the end; a service that is dead ends the run with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from checking import check

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "state",
    [
        "one request a minute, grace 30",
        "a stated wait of 600 s",
        "the budget's queue",
        "a reader that hangs",
        "a long text being cut",
        "signals of timeout",
        "a wrong key at three a minute",
    ],
)
def test_a_run_ends_in_time_from_every_state_in_which_it_waits(lab: Any, state: str) -> None:
    import waits

    check(waits.ended(lab, state))


@pytest.mark.parametrize("how", ["closed port", "constant 500", "a wait of 31 years"])
def test_a_dead_service_ends_the_run_with_its_reason(lab: Any, how: str) -> None:
    import waits

    check(waits.dead(lab, how))


def test_a_model_that_is_loading_is_waited_for(lab: Any) -> None:
    import waits

    check(waits.loading(lab))
