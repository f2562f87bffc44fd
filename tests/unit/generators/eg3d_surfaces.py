"""A small EG3D generator of random weights whose volume has surfaces instead of fog."""

import eg3d_sheet as sheet
import torch

from domain_guidance.generators import empty_generator
from domain_guidance.generators.eg3d import infer_eg3d


def generator_of(weights, **told):
    generator = empty_generator(infer_eg3d({name: tuple(tensor.shape) for name, tensor in weights.items()}, **told))
    generator.load_state_dict(weights, assign=True)
    return generator.requires_grad_(False)


def surfaces(seed=0, sharpness=1e5, share=0.3, **told):
    """Generator and styles of one latent; the densest `share` of its box is opaque, and all is empty outside of it."""
    weights = sheet.weights(dtype=torch.float64, seed=seed)
    generator = generator_of(weights, **told)
    random = torch.Generator().manual_seed(seed)
    ws = generator.styles(torch.randn(1, sheet.Z, generator=random, dtype=torch.float64))
    points = torch.rand(1, 5000, 3, generator=random, dtype=torch.float64) - 0.5
    field, last = generator.field(generator.planes(ws)), generator.decoder.net[2]
    raw, outside = field(points)[0], field(2 + points)[0]
    sign = 1 if outside[0, 0] < raw.median() else -1
    last.bias[0] -= sign * (sign * raw).quantile(1 - share)
    last.weight[0] *= sign * sharpness
    last.bias[0] *= sign * sharpness
    assert (field(2 + points)[0] < 0).all()
    return generator, ws
