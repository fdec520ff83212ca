"""One file a family of formats, and the registry that finds them by extension and content."""
