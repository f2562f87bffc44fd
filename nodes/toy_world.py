"""Toy World: a whole small world with its domain, so that the first template needs no download."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..domain_guidance.toy_world.checkpoints import read_base
from ..domain_guidance.toy_world.model import CHANNELS, IMAGE_SIZE
from ..domain_guidance.toy_world.plates import read_sheet
from ..domain_guidance.toy_world.prompts import encode_prompt
from ..domain_guidance.toy_world.scenes import GROUNDS, STROKES
from .comfy_host.toy import load_base, load_domain, load_generator, pixel_vae
from .generator_types import GeneratorIO

ANY = "any"


class DomainGuidanceToyWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceToyWorld",
            display_name="Toy World",
            category="model/loaders",
            description=(
                "A small real model that comes with the pack: handwritten digits in coloured strokes, drawn from a "
                "prompt, a domain model trained on pictures of blue-rimmed plates alone, such pictures, and a GAN. "
                "Everything that a sampler, a training and an adaptation need."
            ),
            search_aliases=["domain guidance demo", "first look", "example", "digits"],
            inputs=[
                io.Combo.Input(
                    "digit", options=[*map(str, range(10)), ANY], default="3", tooltip="The digit the prompt asks for."
                ),
                io.Combo.Input(
                    "stroke",
                    options=[*STROKES, ANY],
                    default="red",
                    tooltip="The colour of the stroke that the prompt asks for.",
                ),
                io.Combo.Input(
                    "ground",
                    options=[*GROUNDS, ANY],
                    default=ANY,
                    tooltip="The colour of the ground that the prompt asks for.",
                ),
                io.Int.Input("batch_size", default=8, min=1, max=256, tooltip="How many pictures to draw at once."),
            ],
            outputs=[
                io.Model.Output(display_name="base", tooltip="Draws digits on any ground from a prompt."),
                io.Model.Output(display_name="domain", tooltip="Draws plates; it reads no prompt at all."),
                io.Vae.Output(tooltip="Pixels are latents here."),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The empty prompt."),
                io.Latent.Output(tooltip="An empty picture of 16x16 pixels."),
                io.Image.Output(
                    display_name="plates", tooltip="256 pictures of the domain, 16x16 pixels each, to train one from."
                ),
                GeneratorIO.Output(
                    display_name="generator",
                    tooltip="A StyleGAN2 that draws such digits by seed, to adapt, blend and project into.",
                ),
            ],
        )

    @classmethod
    def execute(cls, digit: str, stroke: str, ground: str, batch_size: int) -> io.NodeOutput:
        _, table = read_base()
        positive = encode_prompt(
            table,
            digit=None if digit == ANY else int(digit),
            stroke=None if stroke == ANY else stroke,
            ground=None if ground == ANY else ground,
        )
        latent = {"samples": torch.zeros(batch_size, CHANNELS, IMAGE_SIZE, IMAGE_SIZE), "downscale_ratio_spacial": 1}
        return io.NodeOutput(
            load_base(),
            load_domain(),
            pixel_vae(),
            [[positive, {}]],
            [[encode_prompt(table), {}]],
            latent,
            read_sheet(),
            load_generator(),
        )
