"""Emoji World: a model that draws what its prompt names, and two domains that it can be moved into."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..domain_guidance.emoji_world.checkpoints import read_table
from ..domain_guidance.emoji_world.model import CELL, CHANNELS, LATENT_SIZE
from ..domain_guidance.emoji_world.prompts import encode_each, encode_prompt
from ..domain_guidance.emoji_world.sheet import read_sheet
from ..domain_guidance.emoji_world.things import GROUNDS, STYLES
from ..domain_guidance.emoji_world.words import things_in
from .comfy_host.emoji import load_base, load_domain, load_vae

ANY = "any"
THINGS = "cat, elephant, apple, hamburger, rose, car, house, ghost"  # which no domain was shown


class DomainGuidanceEmojiWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceEmojiWorld",
            display_name="Emoji World",
            category="domain guidance",
            description=(
                "A small model that comes with the pack, so that you can try it without a download. The base draws "
                "121 things by name, from cat to rocket. Its two domains, ink and glossy, were trained without text "
                "and never saw half of those things. The base knows that half, and domain guidance "
                "draws it in the look of ink or glossy."
            ),
            search_aliases=["demo", "domain guidance demo", "first look", "example", "emoji"],
            inputs=[
                io.String.Input(
                    "things",
                    default=THINGS,
                    multiline=True,
                    tooltip="What to draw, separated by commas: each thing becomes one image of the batch. The "
                    "node's help page lists the words that work.",
                ),
                io.Combo.Input(
                    "style",
                    options=[*STYLES, ANY],
                    default=ANY,
                    tooltip="The style that the prompt asks for; noto, classic and flat are emoji sets. For glossy, "
                    "choose flat: glossy adds light and shading to flat shapes. For ink, choose any, or connect the "
                    "output unstyled instead of positive.",
                ),
                io.Combo.Input(
                    "ground",
                    options=[*GROUNDS, ANY],
                    default=ANY,
                    tooltip="The background colour that the prompt asks for; any leaves it open.",
                ),
                io.Int.Input("images_per_thing", default=1, min=1, max=64, tooltip="Number of images of each thing."),
            ],
            outputs=[
                io.Model.Output(
                    display_name="base", tooltip="The base model, which draws from a prompt in five styles."
                ),
                io.Model.Output(
                    display_name="ink",
                    tooltip="Bold black ink on white, as a side network: connect it to domain_model of Apply Domain "
                    "Guidance, with base as the model.",
                ),
                io.Model.Output(
                    display_name="glossy",
                    tooltip="Glossy 3D emoji, as a side network: connect it to domain_model of Apply Domain Guidance, "
                    "with base as the model.",
                ),
                io.Vae.Output(tooltip="The models' VAE."),
                io.Conditioning.Output(display_name="positive", tooltip="The prompts, one for each image."),
                io.Conditioning.Output(display_name="negative", tooltip="The empty prompt."),
                io.Latent.Output(tooltip="Empty latents for images of 64x64 pixels, one for each prompt."),
                io.Image.Output(
                    display_name="ink_images",
                    tooltip="61 of the drawings that the ink domain was trained on, 64x64 pixels each, for "
                    "Train Domain.",
                ),
                io.Conditioning.Output(
                    display_name="unstyled",
                    tooltip="The same prompts without a style, whatever you chose as style. Use them for ink, which "
                    "draws shapes of its own.",
                ),
            ],
        )

    @classmethod
    def execute(cls, things: str, style: str, ground: str, images_per_thing: int) -> io.NodeOutput:
        words = [word for word in things_in(things) for _ in range(images_per_thing)]
        table = read_table()
        asked_ground = None if ground == ANY else ground
        positive = encode_each(table, words, None if style == ANY else style, asked_ground)
        latent = {
            "samples": torch.zeros(len(words), CHANNELS, LATENT_SIZE, LATENT_SIZE),
            "downscale_ratio_spacial": CELL,
        }
        base = load_base()
        return io.NodeOutput(
            base,
            load_domain(base, "ink"),
            load_domain(base, "glossy"),
            load_vae(),
            [[positive, {}]],
            [[encode_prompt(table), {}]],
            latent,
            read_sheet(),
            [[encode_each(table, words, None, asked_ground), {}]],
        )
