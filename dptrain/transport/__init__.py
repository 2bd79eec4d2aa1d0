"""Real sockets, real clock, real processes: carries out what the machines of `cluster/` decide.

Not here: anything that decides the bits of a run, or who of its workers computes what.
"""
