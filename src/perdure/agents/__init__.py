"""Who works for days: the context, tools, sandbox and loop of a durable session."""
