"""The socket types of generators. GENERATOR is a `generators.GeneratorFile`; GENERATOR_LATENT is `Styles`."""

from __future__ import annotations

from comfy_api.latest import io

GeneratorIO = io.Custom("GENERATOR")
GeneratorLatentIO = io.Custom("GENERATOR_LATENT")
