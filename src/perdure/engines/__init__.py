"""Who runs a model: other people's engines, in processes of their own."""
