"""The socket types of generators.

GENERATOR is a `generators.GeneratorFile`; GENERATOR_LATENT is `Styles`; GENERATOR_CAMERAS is `Poses`.
"""

from __future__ import annotations

from comfy_api.latest import io

GeneratorIO = io.Custom("GENERATOR")
GeneratorLatentIO = io.Custom("GENERATOR_LATENT")
GeneratorCamerasIO = io.Custom("GENERATOR_CAMERAS")

SEED_MAX = 2**64 - 1  # as of the host's samplers
