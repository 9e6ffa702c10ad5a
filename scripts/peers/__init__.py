"""What scripts/bench-peers is made of: one checkpoint, one module an engine, one table."""
