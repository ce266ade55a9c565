"""What hardware costs: chips, rooflines, and how far measured kernels fall short of them."""
