"""Job kinds: plain generators that yield requests and receive outcomes. No I/O, no clock."""
