"""A seeded world around the real machines: clock, network, disk, processes, and all that goes wrong with them."""
