"""Toy World: a whole small world with its domain, so that the first template needs no download."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..domain_guidance.toy_world.checkpoints import read_table
from ..domain_guidance.toy_world.model import CHANNELS, IMAGE_SIZE
from ..domain_guidance.toy_world.plates import read_sheet
from ..domain_guidance.toy_world.prompts import encode_prompt
from ..domain_guidance.toy_world.scenes import GROUNDS, STROKES
from ..domain_guidance.toy_world.vase import vase
from .comfy_host.meshes.mesh import as_mesh
from .comfy_host.toy import load_base, load_domain, load_generator, load_side_network, pixel_vae
from .generator_types import GeneratorIO

ANY = "any"


class DomainGuidanceToyWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceToyWorld",
            display_name="Toy World",
            category="domain guidance",
            description=(
                "A small trained model that comes with the pack, so that everything can be tried without a download: a "
                "base that draws handwritten digits from a prompt, a domain model trained only on pictures of "
                "blue-rimmed plates, those pictures, and a GAN."
            ),
            search_aliases=["demo", "domain guidance demo", "first look", "example", "digits"],
            inputs=[
                io.Combo.Input(
                    "digit",
                    options=[*map(str, range(10)), ANY],
                    default="3",
                    tooltip="The digit that the prompt asks for; any leaves it open.",
                ),
                io.Combo.Input(
                    "stroke",
                    options=[*STROKES, ANY],
                    default="red",
                    tooltip="The stroke colour that the prompt asks for; any leaves it open.",
                ),
                io.Combo.Input(
                    "ground",
                    options=[*GROUNDS, ANY],
                    default=ANY,
                    tooltip="The background colour that the prompt asks for. With a domain, leave it at any: the "
                    "plate is the background.",
                ),
                io.Int.Input("batch_size", default=8, min=1, max=256, tooltip="Number of images to draw at once."),
            ],
            outputs=[
                io.Model.Output(
                    display_name="base", tooltip="The base model, which draws digits on any background from a prompt."
                ),
                io.Model.Output(
                    display_name="domain", tooltip="The domain model, which draws plates and reads no prompt at all."
                ),
                io.Vae.Output(tooltip="A VAE for the sampler's graph. Here, pixels are their own latents."),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The empty prompt."),
                io.Latent.Output(tooltip="Empty latents of 16x16 pixels, as many as batch_size."),
                io.Image.Output(
                    display_name="plates", tooltip="256 images of the domain, 16x16 pixels each, for Train Domain."
                ),
                GeneratorIO.Output(
                    display_name="generator",
                    tooltip="A StyleGAN2 that draws digits on coloured backgrounds by seed, for the generator nodes.",
                ),
                io.Mesh.Output(display_name="mesh", tooltip="A vase with texture coordinates, to paint."),
                io.Model.Output(
                    display_name="side_network",
                    tooltip="The domain once more, as a side network: connect it to domain_model of Apply Domain "
                    "Guidance, with base as the model.",
                ),
            ],
        )

    @classmethod
    def execute(cls, digit: str, stroke: str, ground: str, batch_size: int) -> io.NodeOutput:
        table = read_table()
        positive = encode_prompt(
            table,
            digit=None if digit == ANY else int(digit),
            stroke=None if stroke == ANY else stroke,
            ground=None if ground == ANY else ground,
        )
        latent = {"samples": torch.zeros(batch_size, CHANNELS, IMAGE_SIZE, IMAGE_SIZE), "downscale_ratio_spacial": 1}
        base = load_base()
        return io.NodeOutput(
            base,
            load_domain(),
            pixel_vae(),
            [[positive, {}]],
            [[encode_prompt(table), {}]],
            latent,
            read_sheet(),
            load_generator(),
            as_mesh(vase()),
            load_side_network(base),
        )
