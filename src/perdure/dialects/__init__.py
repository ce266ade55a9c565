"""How clients and engines speak: pure translators over one item model."""
