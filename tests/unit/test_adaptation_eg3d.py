"""The same adaptation drives an EG3D generator, seen by cameras of the ellipse."""

from dataclasses import replace

import pytest
import tiny_adaptation as tiny
import torch

from domain_guidance.adaptation import AdaptedPair
from domain_guidance.generators import (
    Eg3dConfig,
    Eg3dGenerator,
    GeneratorCard,
    GeneratorConfig,
    GeneratorFile,
    read_generator_file,
)
from domain_guidance.generators.eg3d import Rendering
from domain_guidance.runs import RunFiles, Share, Step

BACKBONE = GeneratorConfig(16, (6, 6, 6), z_dim=5, w_dim=6, c_dim=25, mapping_layers=2, channels=12)
CONFIG = Eg3dConfig(
    BACKBONE,
    resolution=32,
    superresolution_widths=(6, 4),
    decoder_width=8,
    rendering=Rendering(resolution=8, samples=6, importance_samples=6),
)


@pytest.fixture
def file():
    torch.manual_seed(0)
    weights = {name: tensor.detach().clone() for name, tensor in Eg3dGenerator(CONFIG).state_dict().items()}
    return GeneratorFile(GeneratorCard(CONFIG), weights)


def test_planes_and_super_resolution_move_towards_the_critic_and_all_else_stays(tmp_path, file):
    before = {name: tensor.clone() for name, tensor in file.weights.items()}
    pair, critic = AdaptedPair(file, "cpu"), tiny.GaussianCritic()
    events = tiny.run_tiny(
        tmp_path, pair=pair, critic=critic, steps=25, learning_rate=0.01, resolution=32, directional=0.5
    )
    curve = [event.loss for event in events if isinstance(event, Step)]
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])
    after = read_generator_file(RunFiles(tmp_path, "run").result)
    assert after.card.config == CONFIG
    moved = {name for name in before if not torch.equal(after.weights[name], before[name])}
    assert moved == {name for name, parameter in pair.module.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in moved} == {"backbone", "superresolution"}
    assert not [name for name in moved if name.endswith("bias") or "mapping" in name]
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.source.state_dict().items())


def test_a_left_run_goes_on_exactly(tmp_path, file):
    for folder, parts in (("whole", (5,)), ("parts", (2, 5))):
        for steps in parts:
            tiny.run_tiny(tmp_path / folder, pair=AdaptedPair(file, "cpu"), steps=steps, resolution=32)
    whole, parts = (
        read_generator_file(RunFiles(tmp_path / folder, "run").result).weights for folder in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_super_resolution_that_draws_its_noise_is_adapted_with_the_files(tmp_path, file):
    config = replace(CONFIG, superresolution_noise="random")
    pair, before = AdaptedPair(GeneratorFile(GeneratorCard(config), file.weights), "cpu"), torch.get_rng_state()
    tiny.run_tiny(tmp_path, pair=pair, steps=2, resolution=32)
    assert torch.equal(torch.get_rng_state(), before)
    after = read_generator_file(RunFiles(tmp_path, "run").result)
    assert after.card.config == config
    assert not torch.equal(
        after.weights["superresolution.block1.conv1.noise_strength"],
        file.weights["superresolution.block1.conv1.noise_strength"],
    )


def test_every_picture_has_a_camera_of_its_own_which_source_and_adapted_share(file):
    pair = AdaptedPair(file, "cpu")
    adapted, source = pair.draw(3, torch.Generator().manual_seed(1), with_source=True)
    assert torch.equal(adapted, source)
    ws, cameras = pair.draw_inputs(3, torch.Generator().manual_seed(1))
    assert cameras.shape == (3, 25) and len({tuple(camera.tolist()) for camera in cameras}) == 3
    halves = [pair.draw_inputs(1, torch.Generator().manual_seed(1), share=Share(index, 3)) for index in range(3)]
    torch.testing.assert_close(torch.cat([w for w, _ in halves]), ws)
    assert torch.equal(torch.cat([camera for _, camera in halves]), cameras)
