"""Every chunk to a summary, the summaries to one."""
