"""Draws the templates' thumbnails from the small worlds: `python docs/make_thumbnails.py`, two minutes on a CPU.

Each shows, above, what goes in or what the base draws, and below, the same prompts and noise with domain guidance;
where there are two domains, each alone comes first.
"""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch.nn import functional

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from domain_guidance.adaptation import AdaptationSettings, AdaptedPair, adapt_generator
from domain_guidance.diffusion import sampling
from domain_guidance.distillation import Distillation, NoiseRange
from domain_guidance.emoji_world.first_look import drawn_rows
from domain_guidance.emoji_world.sheet import read_sheet as read_ink
from domain_guidance.generators import latents
from domain_guidance.generators.eg3d import Rendering, cameras, normals
from domain_guidance.generators.eg3d.rays import rays
from domain_guidance.generators.eg3d.renderer import render
from domain_guidance.generators.invert import Inversion, invert
from domain_guidance.guidance import GuidedDenoiser, Term, compose, schedule
from domain_guidance.meshes import arrange, correspond, draw_views, paint
from domain_guidance.pictures.labelled_grid import to_picture
from domain_guidance.pictures.pixels import as_picture
from domain_guidance.runs import RunFiles
from domain_guidance.side_networks import SideGuidedDenoiser
from domain_guidance.toy_world import checkpoints, comparison
from domain_guidance.toy_world.critics import domain_critic, prompt_critic
from domain_guidance.toy_world.plates import read_sheet
from domain_guidance.toy_world.prompts import Prompts, encode
from domain_guidance.toy_world.vase import vase

SIZE, CELL, GAP = 384, 120, 6
CFG, WEIGHT, SEED = 4.0, 1.5, 31
SEEDS = (2, 3, 1)  # of the generator's pictures


def prompts(digits, strokes, grounds=(-1, -1, -1)):
    return Prompts(torch.tensor(digits), torch.tensor(strokes), torch.tensor(grounds))


@torch.no_grad()
def draw(models, asked, weight, start=None, strength=1.0):
    """Pictures [N, 3, 16, 16]; `start`, from which the last `strength` of the noise levels are run, is an
    image-to-image source.
    """
    noise = torch.randn(len(asked), 3, 16, 16, generator=torch.Generator().manual_seed(SEED))
    guided = GuidedDenoiser(models.base, models.domain, models.empty, models.empty, weight, CFG)
    told = encode(asked, models.table)
    return sampling.draw(lambda x, s: guided(x, s, told), noise, models.schedule, 20, start, strength)


@torch.no_grad()
def draw_two_domains(models, asked, second, plates=lambda share: 1.0, other=lambda share: 1.0, sides=None):
    """The plates beside a domain made of the prompt `second`: each with its own factor over the sampling, or its own
    side.
    """
    sigmas = sampling.karras_sigmas(20, models.schedule.sigmas[0].item(), models.schedule.sigmas[-1].item())
    noise = torch.randn(len(asked), 3, 16, 16, generator=torch.Generator().manual_seed(SEED))
    told, words = encode(asked, models.table), encode(second, models.table)
    left, right = (None, None) if sides is None else sides

    def denoise(x, sigma):
        share = float((sigmas > sigma.max()).sum()) / 20
        empty = models.base(x, sigma, models.empty)
        return compose(
            empty,
            [
                Term(models.base(x, sigma, told), empty, CFG),
                Term(models.domain(x, sigma, models.empty), empty, WEIGHT * plates(share), left),
                Term(models.base(x, sigma, words), empty, 2 * WEIGHT * other(share), right),
            ],
        )

    return sampling.draw(denoise, noise, models.schedule, 20)


@torch.no_grad()
def draw_with_a_side_network(models, asked):
    noise = torch.randn(len(asked), 3, 16, 16, generator=torch.Generator().manual_seed(SEED))
    network, told = checkpoints.load_side_network().network, encode(asked, models.table)
    guided = SideGuidedDenoiser(models.base, network, "epsilon", models.empty, WEIGHT, CFG)
    return sampling.draw(lambda x, s: guided(x, s, told), noise, models.schedule, 20)


@torch.no_grad()
def draw_at_the_prompt(models, asked, weight, steps=8):
    """cfg 1, and what the fine-tune adds to the base where both read the prompt."""
    noise = torch.randn(len(asked), 3, 16, 16, generator=torch.Generator().manual_seed(SEED))
    told = encode(asked, models.table)

    def denoise(x, sigma):
        plain = models.base(x, sigma, told)
        return compose(plain, [Term(models.fine_tune(x, sigma, told), plain, weight)])

    return sampling.draw(denoise, noise, models.schedule, steps)


@torch.no_grad()
def unconditional(models, count):
    guided = GuidedDenoiser(models.base, models.domain, models.empty, models.empty, WEIGHT, CFG)
    noise = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(SEED))
    return sampling.draw(lambda x, s: guided(x, s, None), noise, models.schedule, 20)


def adapted_by(critic, steps, **look):
    """The toy's generator and what it becomes, as the pair of networks; settings as docs/adaptation.md chose them."""
    look = Distillation(resolution=16, **look)
    pair = AdaptedPair(checkpoints.load_generator(), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        for _ in adapt_generator(
            pair,
            critic,
            AdaptationSettings(steps, learning_rate=1e-3, batch_size=8, distillation=look),
            RunFiles(folder, "thumbnail"),
        ):
            pass
    return pair


@torch.no_grad()
def by_seed(generator, seeds):
    return generator(latents(seeds, generator.config.z_dim), psi=0.7)


def projected(pair, pictures):
    """What the adapted generator draws where the source draws the pictures."""
    found = [list(invert(pair.source, picture[None], Inversion(steps=300)))[-1] for picture in pictures]
    with torch.no_grad():
        return pair.module.synthesis(torch.cat([one.ws for one in found]))


def bust(points):
    """A head of three balls as a field of densities and colours, because the toy world has no third dimension."""
    points = 2.0 * points + points.new_tensor([0, -0.1, -0.2])  # the cameras see little more than a face
    balls = [((0, 0.05, 0), 0.46), ((0, -0.02, 0.46), 0.09), ((0, -0.78, -0.05), 0.46)]
    inside = torch.stack([radius - (points - points.new_tensor(centre)).norm(dim=-1) for centre, radius in balls]).amax(
        0
    )
    x, y, z = points.unbind(-1)
    eyes = ((x.abs() - 0.16) ** 2 + (y - 0.12) ** 2 < 0.05**2) & (z > 0)
    cloth = y < -0.36
    colour = torch.where(cloth[..., None], points.new_tensor([0.15, 0.3, 0.7]), points.new_tensor([0.9, 0.65, 0.5]))
    colour = torch.where(eyes[..., None], torch.zeros(3), colour) * (0.55 + 0.45 * (z / 0.5).clamp(0, 1))[..., None]
    return 60 * inside, 2 * colour - 1


@torch.no_grad()
def from_all_sides():
    """The bust from three sides, and its normals."""
    seen, side = cameras(torch.tensor([[-0.6, -0.05], [0.0, -0.05], [0.6, -0.05]])), 60
    found = render(bust, *rays(seen, side), Rendering(resolution=side))
    hit, depth = found.opacity.reshape(-1, 1, side, side) > 0.5, found.depth.reshape(-1, 1, side, side)
    colour = found.colour.transpose(1, 2).unflatten(2, (side, side))
    return torch.where(hit, colour, 1.0), torch.where(hit, normals(depth, seen), 1.0)


@torch.no_grad()
def painted_vase(models):
    """Views of a vase, drawn in the domain as pictures of one thing, and the vase that they paint, turned."""
    surface, lens = vase(), {"field_of_view": math.radians(40), "height": 16, "width": 16}
    views = arrange(surface, "ring", count=8, **lens)
    found, asked = correspond(surface, views), prompts([8] * 8, [0] * 8, [-1] * 8)
    guided = GuidedDenoiser(models.base, models.domain, models.empty, models.empty, WEIGHT, CFG)
    noise = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    told = encode(asked, models.table)
    drawn = sampling.draw(lambda x, s: found.average(guided(x, s, told)), noise, models.schedule, 20)
    texture = paint(surface, views, drawn.movedim(1, -1) / 2 + 0.5, 256).image
    shown = []
    turned = arrange(surface, "ring from above", count=12, **lens).at(CELL, CELL)
    for fragments in draw_views(surface, turned)[:3]:
        places = fragments.interpolate(surface.uvs, surface.faces) * 2 - 1
        colours = functional.grid_sample(
            texture.movedim(-1, 0)[None], places[None], padding_mode="border", align_corners=False
        )[0]
        shown.append(torch.where(fragments.covered, colours * 2 - 1, 1.0))
    return [drawn[:3], shown]


def sketch(plate):
    """The stroke on a plate, white on black, as a ControlNet would be given it."""
    y, x = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="ij")
    ink = (plate.min(0).values < 0.2) & (x**2 + y**2 < 5.2**2)
    return (2 * ink.float() - 1).expand(3, -1, -1)


def sheet(rows):
    """Rows of three pictures each on white."""
    canvas = Image.new("RGB", (SIZE, len(rows) * (CELL + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            canvas.paste(enlarged(image), (GAP + x * (CELL + GAP), GAP + y * (CELL + GAP)))
    return canvas


def enlarged(image):
    """The toy world's pixels stay square; larger pictures are scaled smoothly."""
    if image.shape[-1] <= 16:
        return to_picture(image, CELL)
    return as_picture(image).resize((CELL, CELL), Image.Resampling.LANCZOS)


def masked(image):
    """The lower half, marked as the part to be drawn anew."""
    hidden = image.clone()
    hidden[:, 8:] = 0.6 * hidden[:, 8:] + 0.4
    return hidden


def main():
    models, three = comparison.load_models(), prompts([3, 7, 5], [0, 1, 4])
    emoji = drawn_rows(words=("panda", "apple", "alien"))
    base, plates = draw(models, three, 0.0), draw(models, three, WEIGHT)
    sources = draw(models, prompts([2, 6, 5], [1, 2, 0], [1, 2, 0]), 0.0)
    changed = draw(models, prompts([2, 6, 5], [1, 2, 0]), WEIGHT, start=sources, strength=0.7)
    inpainted = torch.cat([sources[2][:, :8], changed[2][:, 8:]], 1)
    pictures = read_sheet()[:3].movedim(-1, 1) * 2 - 1
    fine_tune_as_domain = replace(models, domain=models.fine_tune)
    sky = prompts([-1], [-1], [2])
    unsaid, others = prompts([-1] * 3, [-1] * 3), prompts([1, 4, 8], [2, 3, 0])
    left = torch.zeros(1, 1, 16, 16)
    left[..., :8] = 1.0
    to_plates, to_sky = (
        adapted_by(domain_critic(models, 4.0), 150, reconstruction=1.0),
        adapted_by(prompt_critic(models, 7.5, ground="sky"), 60, noise=NoiseRange(0.01, 0.3), directional=1.0),
    )
    drawn_by_gan = by_seed(to_plates.source, SEEDS)
    sheets = {
        "01-first-look": [emoji["base"], emoji["ink"], emoji["glossy"]],
        "02-unconditional": [draw(models, unsaid, 0.0), unconditional(models, 3)],
        "03-on-your-own-checkpoint": [draw(models, others, 0.0), draw(models, others, WEIGHT)],
        "04-controlnet": [[sketch(image) for image in plates], plates],
        "05-ip-adapter": [[base[0]] * 3, draw(models, prompts([3, 3, 3], [0, 0, 0]), WEIGHT)],
        "06-image-to-image-and-inpaint": [[*sources[:2], masked(sources[2])], [*changed[:2], inpainted]],
        "07-train-a-domain": [read_ink()[:3].movedim(-1, 1) * 2 - 1, emoji["ink"]],
        "08-save-a-domain": [base, draw(fine_tune_as_domain, three, WEIGHT)],
        "09-two-domains-with-masks": [base, draw_two_domains(models, three, sky, sides=(left, 1 - left))],
        "10-away-from-a-domain": [base, plates, draw(models, three, -1.0)],
        "11-one-domain-after-the-other": [
            plates,
            draw_two_domains(models, three, sky, lambda share: 0.0),
            draw_two_domains(models, three, sky, schedule.interval(0, 0.3), schedule.interval(0.3, 1)),
        ],
        "14-adapt-a-generator-to-a-domain": [drawn_by_gan, by_seed(to_plates.module, SEEDS)],
        "15-adapt-a-generator-to-a-prompt": [drawn_by_gan, by_seed(to_sky.module, SEEDS)],
        "16-generator-pictures-train-a-domain": [
            by_seed(to_plates.module, SEEDS),
            by_seed(to_plates.module, (8, 10, 11)),
        ],
        "20-a-side-network": [base, draw_with_a_side_network(models, three)],
        "21-paint-a-mesh-in-a-domain": (painted := painted_vase(models)),
        "22-picture-to-mesh-in-a-domain": [plates, painted[1]],
        "17-my-picture-in-this-style": [base, projected(to_plates, base)],
        "18-how-good-is-a-domain": [pictures, plates],
        "19-a-head-from-all-sides": from_all_sides(),
        "13-few-steps-at-cfg-1": [draw_at_the_prompt(models, three, 0.0), draw_at_the_prompt(models, three, 1.0)],
    }
    for name, rows in sheets.items():
        picture = sheet(rows)
        for y in range(GAP // 2 + CELL + GAP, picture.height - GAP, CELL + GAP):
            ImageDraw.Draw(picture).line([(0, y), (SIZE, y)], fill=(200, 200, 205), width=1)
        picture.save(ROOT / "workflows" / f"{name}.jpg", quality=92)


if __name__ == "__main__":
    main()
