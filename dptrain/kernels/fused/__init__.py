"""The passes of the engine: what is between two BatchNorm barriers, over all images of a shard, in one compiled loop.

Images go through a pass in small groups, so what one kernel writes the next reads from the near caches. Maps lie as
`dptrain.engine.geometry` says: even sides, outputs of convolutions bare, inputs in a frame of zeros. float32 only: the
readable twin of every pass is the same step in `dptrain.nn`, and tests/engine holds the whole against it.
"""
