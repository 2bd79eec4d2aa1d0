"""Coordinator and worker as state machines: events in, actions out. No socket, no clock, no randomness in here.

Networks are known only as `dptrain.model`, messages as `dptrain.wire`. Beside the machines lives the world that
simulates everything around them (`simulation/`): seeded, and imported by no machine.
"""
