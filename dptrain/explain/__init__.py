"""Pictures and figures of trained networks: arrays in, matplotlib figures or text out. Knows no run directory."""
