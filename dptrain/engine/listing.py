"""The plan of a network as text: what is fused into which passes, and what runs layer by layer (`describe --plan`)."""

from __future__ import annotations

from collections.abc import Iterator

from dptrain.engine.lines import METHODS, Lines, Op, Segment
from dptrain.engine.plan import Plan


def listing(plan: Lines) -> Iterator[str]:
    """Lines of text: every segment of the forward and of the backward pass, then what is not fused."""
    for way, parts in (("forward", plan.forward), ("backward", plan.backward)):
        for number, part in enumerate(parts, 1):
            yield f"{way} {number}: {_group(part)}"
            for line in part.lines:
                yield f"  {line.text(plan.values)}"
                if line.op == Op.CHAIN and plan.chain:
                    yield from _chain(plan.chain)
    layers = [layer for line in plan.lines() if line.op == Op.LAYERS for layer in line.layers]
    names = [f"{type(layer).__name__} {getattr(layer, 'name', '')}".strip() for layer in layers]
    passes = sum(line.fused for line in plan.lines())
    yield f"{passes} fused passes; layer by layer: {', '.join(names) or 'nothing'}"


def _group(segment: Segment) -> str:
    if segment.lines[0].op in (Op.CHAIN, Op.CHAIN_BACK, Op.LAYERS, Op.LAYERS_BACK):
        return "all images of the shard"
    return f"{segment.group} image{'s' * (segment.group > 1)} at a time"


def _chain(chain: Plan) -> Iterator[str]:
    """The convolutions of a chain of the paper's blocks, each with all that lies between it and the next one."""
    for layer in chain.convolutions:
        together = f"{layer.group} image{'s' * (layer.group > 1)} at a time"
        yield f"    {layer.name}: {layer.inputs} -> {layer.outputs} {METHODS[layer.tile][0]}, {together}"
