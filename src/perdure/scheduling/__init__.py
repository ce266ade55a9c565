"""The decisions, as pure functions of facts: admit, order, place, retain."""
