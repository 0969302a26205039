"""Scene classification with frozen features."""
