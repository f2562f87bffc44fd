"""Domain training in a running graph."""
