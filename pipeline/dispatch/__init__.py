"""One request on its way: ledger → budget → limiter → provider, with retries, every attempt booked."""

from pipeline.dispatch.booking import Answered, Forms
from pipeline.dispatch.call import Dispatch
from pipeline.dispatch.gate import Gate

__all__ = ["Answered", "Dispatch", "Forms", "Gate"]
