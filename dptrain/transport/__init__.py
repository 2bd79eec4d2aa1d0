"""Real sockets, real clock, real processes: carries out what the machines of `cluster/` decide. Decides nothing."""
