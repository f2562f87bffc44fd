"""What adapting a generator costs beside the original's call pattern: speed and peak memory, in one run.

    python benchmarks/adaptation.py [--gpu] [--rounds 12] [--json FILE]

The critic is `miniature.py`'s: UNet and VAE of Stable Diffusion 1.5's shape and proportions at 512 pixels. The
generator is a StyleGAN2 of 256 pixels whose operations stand to the UNet's nearly as those of the published 1024 pixels
do. All are counted and printed. One picture a step, a text scale of 100, the reconstruction regulariser on, Adam, fp32
where nothing else is said:

    original              score and regulariser each encode both pictures and ask the critic, which records a graph
                          that nobody walks; generators by grouped convolutions. Written from what is known of the
                          release of arXiv 2212.04473
    without UNet graphs   the same, the critic asked without a graph
    asked once            the same, and two encodings and one question to the critic for both terms
    ours                  `adapt_generator`
    ours, all kept        the same, but the VAE keeps for its gradient whatever PyTorch keeps
    ours, bf16            critic, VAE and feature maps in bfloat16

Where the release leaves a choice the cheaper one is taken for it: a term's graphs are freed before the next term's are
made, the UNet is frozen, the source is drawn and encoded without a graph. Before, the gradients of `original` and of
ours are compared on the same draws, and their operations counted. Ours makes none that the formula does not ask for
(two predictions of the UNet, two encodings, two passes back through the VAE because the score alone is clipped, two
drawings, one pass back), so that in one arithmetic no way of calling the same networks has much less to do. Times and
memory are measured as `side_by_side.py` says. `generator.py` compares the generator alone.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.append(str(PACK))

import torch
from generator import grouped_synthesis
from miniature import PROMPT_WIDTH, RESOLUTION, TOKENS, critic_operations, make_unet, make_vae, operations, whole_parts
from result_file import add_json_option, save
from side_by_side import median_seconds, peak_bytes, serve
from torch.nn import functional as F

CFG, RECONSTRUCTION = 100.0, 1.0


def main():
    options = _options()
    if options.way:
        serve(partial(WAYS[options.way], options), options.gpu)
        return
    started = time.monotonic()
    _print_sizes()
    fewer = _print_agreement()
    commands = {way: [__file__, f"--way={way}", *["--gpu"] * options.gpu] for way in WAYS}
    seconds = median_seconds(commands, options.rounds)
    peaks = {way: peak_bytes(command) for way, command in commands.items()}
    _print_table(seconds, peaks)
    first, *others = WAYS
    ratios = {f"operations, {first} over ours": fewer}
    ratios |= {f"iterations/s, {way} over {first}": seconds[first] / seconds[way] for way in others}
    ratios |= {f"peak memory, {way} over {first}": peaks[way] / peaks[first] for way in others}
    save(options.json, "adaptation", ratios, started=started, gpu=options.gpu)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="run on the GPU instead of the CPU")
    parser.add_argument("--rounds", type=int, default=12, help="iterations of each way, after two that only warm up")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    add_json_option(parser)
    return parser.parse_args()


# --- the models ------------------------------------------------------------------------------------------------------


class Models:
    """Critic, generators and optimiser, for whoever needs the parts."""

    def __init__(self, device="cpu", dtype=torch.float32):
        from domain_guidance.adaptation import AdaptedPair
        from domain_guidance.diffusion.noise_schedule import scaled_linear

        # Not through diffusers' own cast, which warns.
        self.unet, self.vae = (
            torch.nn.Module.to(make_unet().requires_grad_(False).eval(), device, dtype),
            make_vae().to(device),
        )
        self.empty, self.prompt = torch.randn(
            2, 1, TOKENS, PROMPT_WIDTH, generator=torch.Generator().manual_seed(0)
        ).to(device, dtype)
        self.schedule = scaled_linear()
        self.pair = AdaptedPair(_generator_file(), device)
        self.trained = [parameter for parameter in self.pair.module.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def draw_styles(self, generator=None):
        latents = torch.randn(1, self.pair.config.z_dim, generator=generator)
        return self.pair.source.styles(latents.to(self.pair.device))


def generator_config():
    """Two resolutions fewer than the published 1024 pixels have, at 3/16 of their channels."""
    from domain_guidance.generators import standard_config

    return standard_config(256, base=1536, widest=96, z_dim=96, w_dim=96)


def _generator_file():
    from domain_guidance.generators import Generator, GeneratorCard, GeneratorFile

    torch.manual_seed(0)
    state = Generator(generator_config()).state_dict()
    state |= {name: torch.full_like(tensor, 0.1) for name, tensor in state.items() if name.endswith("noise_strength")}
    return GeneratorFile(GeneratorCard(generator_config()), state)


def _print_sizes():
    from domain_guidance.generators import standard_config

    with torch.device("meta"):
        unet, vae, _ = whole_parts()
        _print_shares(
            "SD1.5 at 512 pixels, StyleGAN2 of 1024", critic_operations(unet, vae, 77, 512), standard_config(1024)
        )
        _print_shares(
            f"here at {RESOLUTION} pixels, StyleGAN2 of 256",
            critic_operations(make_unet(), make_vae(), TOKENS, RESOLUTION),
            generator_config(),
        )


def _print_shares(name, critic, config):
    """Operations of the forward passes of one picture. Call it with meta tensors."""
    from domain_guidance.generators import Synthesis

    synthesis = Synthesis(config)
    ours = operations(lambda: synthesis(torch.empty(1, config.style_count, config.w_dim)))
    print(
        f"{name}: UNet : VAE encoder : generator 1 : {critic[1] / critic[0]:.3g} : {ours / critic[0]:.3g} in operations"
    )


# --- the original's pattern ------------------------------------------------------------------------------------------


def original(options, device, **pattern):
    models = Models(device)
    optimizer = torch.optim.Adam(models.trained, lr=8e-4, betas=(0.0, 0.992))
    while True:
        ws = models.draw_styles()
        noise = torch.randn(1, 4, RESOLUTION // 8, RESOLUTION // 8).to(device)
        original_gradient(models, ws, int(torch.randint(10, 501, ())), noise, **pattern)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


def original_gradient(models, ws, timestep, noise, *, unet_graphs=True, anew=True):
    """Leave the gradient of one iteration in the generator. anew: each term makes what it needs, used or not."""
    kept = float(1 / (1 + models.schedule.sigmas[timestep] ** 2))  # the cumulative alpha
    with torch.no_grad():
        source = _seen(grouped_synthesis(models.pair.source.synthesis, ws))
    adapted = _seen(grouped_synthesis(models.pair.module.synthesis, ws))
    pixels = adapted.detach().requires_grad_()

    def asked():
        latent, of_source = _encoded(models, pixels), _encoded(models, source)
        noisy = kept**0.5 * latent + (1 - kept) ** 0.5 * noise
        with nullcontext() if unet_graphs else torch.no_grad():
            both = models.unet(
                torch.cat([noisy, noisy]), timestep, torch.cat([models.empty, models.prompt]), return_dict=False
            )[0]
            empty, prompted = both.chunk(2)
            return latent, of_source, noisy, empty + CFG * (prompted - empty)

    latent, of_source, noisy, estimate = asked()
    score = ((1 - kept) * (estimate - noise)).detach().clamp(-1, 1)
    (score,) = torch.autograd.grad(latent, pixels, score, retain_graph=not anew)
    limit = score.abs().flatten().kthvalue(round(0.95 * score.numel())).values
    if anew:
        del latent, of_source, noisy, estimate
        latent, of_source, noisy, estimate = asked()
    clean = (noisy - (1 - kept) ** 0.5 * estimate) / kept**0.5
    regulariser = (RECONSTRUCTION * (1 - kept) * (_unit(estimate) + _unit(clean - of_source))).detach().clamp(-1, 1)
    (regulariser,) = torch.autograd.grad(latent, pixels, regulariser)
    adapted.backward(score.clamp(-limit, limit) + regulariser)


def _seen(image):
    return F.interpolate(image, size=(RESOLUTION, RESOLUTION), mode="bilinear", align_corners=False).clamp(-1, 1)


def _encoded(models, pixels):
    return models.vae.encode(pixels).latent_dist.mode() * models.vae.config.scaling_factor


def _unit(values):
    return values / values.square().mean().sqrt()


# --- ours ------------------------------------------------------------------------------------------------------------


def ours(options, device, *, precision="fp32", all_kept=False):
    from domain_guidance.adaptation import AdaptationSettings, adapt_generator
    from domain_guidance.memory.frozen_gradient import frozen_gradient
    from domain_guidance.runs import RunFiles, Step

    models = Models(device, DTYPES[precision])
    critic, distillation = _critic(models, DTYPES[precision])
    settings = AdaptationSettings(steps=10**6, precision=precision, distillation=distillation)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if not all_kept:
            stack.enter_context(frozen_gradient(critic.encoder))
        for event in adapt_generator(models.pair, critic, settings, RunFiles(folder, "run")):
            if isinstance(event, Step):
                yield


def _critic(models, dtype=torch.float32):
    from domain_guidance.data import Size
    from domain_guidance.diffusers_host.critic import DiffusersCritic, PosteriorMode
    from domain_guidance.diffusers_host.denoiser import PromptedUNet
    from domain_guidance.distillation import Distillation
    from domain_guidance.domains.prompt import Prompt

    unet = PromptedUNet(models.unet, models.schedule, "epsilon", Size(RESOLUTION, RESOLUTION))
    empty, prompt = Prompt(models.empty), Prompt(models.prompt)
    scaling = models.vae.config.scaling_factor
    critic = DiffusersCritic(
        unet, PosteriorMode(models.vae, dtype), empty, prompt, cfg=CFG, scaling=scaling, identity={}
    )
    return critic, Distillation(resolution=RESOLUTION, reconstruction=RECONSTRUCTION)


def _print_agreement():
    """Compare the generator's gradient by both ways, from the same styles, timestep and noise.

    Operations of the original's over ours.
    """
    settings, draws = _critic(Models())[1], torch.Generator().manual_seed(1)
    found, made = Models(), Models()
    ours_made = operations(lambda: _our_gradient(found, torch.Generator().manual_seed(1)), graph=True)
    timestep = int(settings.noise.timesteps(1, made.schedule, draws))
    noise = torch.randn(1, 4, RESOLUTION // 8, RESOLUTION // 8, generator=draws)
    ws = made.draw_styles(torch.Generator().manual_seed(0))
    original_made = operations(lambda: original_gradient(made, ws, timestep, noise), graph=True)
    apart = sum(float((a.grad - b.grad).square().sum()) for a, b in zip(found.trained, made.trained))
    length = sum(float(parameter.grad.square().sum()) for parameter in made.trained)
    print(f"relative difference of the two gradients of the generator: {(apart / length) ** 0.5:.1e}")
    print(f"operations of an iteration, original over ours: {original_made / ours_made:.2f}")
    return original_made / ours_made


def _our_gradient(models, draws):
    from domain_guidance.distillation import distill
    from domain_guidance.memory.frozen_gradient import frozen_gradient

    critic, settings = _critic(models)
    with frozen_gradient(critic.encoder):
        images, source = models.pair.draw(1, torch.Generator().manual_seed(0), with_source=True)
        loss, _ = distill(images, source, critic, settings, draws)
        loss.backward()


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAYS = {
    "original": original,
    "without UNet graphs": partial(original, unet_graphs=False),
    "asked once": partial(original, unet_graphs=False, anew=False),
    "ours": ours,
    "ours, all kept": partial(ours, all_kept=True),
    "ours, bf16": partial(ours, precision="bf16"),
}


def _print_table(seconds, peaks):
    first = next(iter(WAYS))
    print(f"\n{'way':>20} {'iterations/s':>12} {'speed':>6} {'peak MB':>8} {'memory':>7}")
    for way in WAYS:
        speed, memory = seconds[first] / seconds[way], peaks[way] / peaks[first]
        print(f"{way:>20} {1 / seconds[way]:>12.2f} {speed:>5.2f}x {peaks[way] / 1e6:>8.0f} {memory:>6.2f}x")


if __name__ == "__main__":
    main()
