"""Networks that the engine's tests build, and how pytest names them: (config, image, samples)."""

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 64.0, 70.0]


def named(case):
    config, image, samples = case
    kind = config.shortcut if config.residual else "plain"
    return f"n{config.n}-f{config.filters}-{kind}-{image[0]}x{image[1]}x{image[2]}-shard{samples}-{config.convolution}"
