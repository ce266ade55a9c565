"""Facts about hardware and models, as TOML, every figure with its unit and its source."""
