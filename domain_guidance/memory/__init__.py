"""Device memory: what a run will take, and activations that are computed again instead of kept."""
