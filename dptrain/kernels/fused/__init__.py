"""The passes of the engine: all work between two BatchNorm barriers, over all images of a shard, in one compiled loop.

Images go through a pass in small groups, so the next kernel reads from the near caches what the last one wrote.
Activations lie in memory as `dptrain.engine.plan.Shape` says: sides are even, outputs of convolutions are bare, inputs
have a frame of zeros. float32 only. The readable form of every pass is the same step in `dptrain.nn`; tests/engine
compares the two, and tests/test_layout.py names the tests for each file.
"""
