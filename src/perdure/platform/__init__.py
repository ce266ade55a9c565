"""Who may ask, and what it costs: keys, limits, queue, recorder, and the HTTP app."""
