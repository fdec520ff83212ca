"""Every chunk to items with evidence, the items of a document to its records."""
