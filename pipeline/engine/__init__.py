"""Documents through the desk to results: intake, the loop, the forecast."""
