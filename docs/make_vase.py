"""Draws docs/vase.png from the toy world: `python docs/make_vase.py`, half a minute on a CPU.

A vase painted in the domain, from all sides and from above, by cameras between those of its eight views: once with the
views sampled each by itself, once synchronised.
"""

import math
import sys
from pathlib import Path

import torch
from torch.nn import functional

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from domain_guidance.diffusion import sampling
from domain_guidance.guidance import GuidedDenoiser
from domain_guidance.meshes import arrange, correspond, draw_views, paint
from domain_guidance.pictures.labelled_grid import Row, labelled_grid
from domain_guidance.toy_world import comparison
from domain_guidance.toy_world.prompts import Prompts, encode
from domain_guidance.toy_world.vase import vase

VIEWS, PIXELS, FINER, SEED = 8, 96, 3, 5
LENS = math.radians(40)


def main():
    models, surface = comparison.load_models(), vase()
    views = arrange(surface, "ring", count=VIEWS, field_of_view=LENS, height=16, width=16)
    rows = []
    for name, agree in (("Each view by itself", None), ("Synchronised", correspond(surface, views).average)):
        pictures = sample(models, agree)
        texture = paint(surface, views, pictures.movedim(1, -1) / 2 + 0.5, 512).image
        rows += [
            Row(name, ["the eight views, as sampled"], pictures),
            Row("", ["the painted vase"], turned(surface, texture, "ring")),
            Row("", ["from above"], turned(surface, texture, "ring from above")),
        ]
    columns = [f"{360 * number // VIEWS}°" for number in range(VIEWS)]
    footer = "The prompt is a red 8, the domain blue-rimmed plates; the vase is seen from between the views."
    picture = labelled_grid(rows, columns, footer=footer)
    picture.save(ROOT / "docs" / "vase.png")


@torch.no_grad()
def sample(models, agree):
    """Pictures [V, 3, 16, 16] in [-1, 1], guided by the domain; `agree` averages the predictions of a step."""
    asked = Prompts(*(torch.full((VIEWS,), value) for value in (8, 0, -1)))
    guided = GuidedDenoiser(models.base, models.domain, models.empty, models.empty, 1.5, 4.0)
    told = encode(asked, models.table)
    noise = torch.randn(VIEWS, 3, 16, 16, generator=torch.Generator().manual_seed(SEED))

    def denoise(x, sigma):
        predicted = guided(x, sigma, told)
        return predicted if agree is None else agree(predicted)

    return sampling.draw(denoise, noise, models.schedule, 20)


def turned(surface, texture, arrangement):
    """The painted vase before white, [VIEWS, 3, P, P] in [-1, 1], by cameras halfway between those of the views."""
    size = {"height": FINER * PIXELS, "width": FINER * PIXELS}
    cameras = arrange(surface, arrangement, count=2 * VIEWS, field_of_view=LENS, **size)
    shown = []
    for fragments in draw_views(surface, cameras)[1::2]:
        places = fragments.interpolate(surface.uvs, surface.faces) * 2 - 1
        colours = functional.grid_sample(
            texture.movedim(-1, 0)[None], places[None], padding_mode="border", align_corners=False
        )
        seen = torch.where(fragments.covered, colours[0] * 2 - 1, 1.0)
        shown.append(functional.avg_pool2d(seen, FINER))
    return torch.stack(shown)


if __name__ == "__main__":
    main()
