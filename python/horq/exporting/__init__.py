"""From PyTorch modules to `.horq` files: trace and fold, add the nodes to a builder, compare the answers."""
