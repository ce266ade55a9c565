"""What must not be lost: append-only events and the ledger of effects."""
