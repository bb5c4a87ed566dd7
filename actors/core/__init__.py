"""Pure decisions: no loop, no store, no network, no clock, no randomness."""
