"""A seeded world around the real machines: clock, network, disk, processes, and all that goes wrong with them.

Not here: a machine, or a rule about one; those under test are the real ones.
"""
