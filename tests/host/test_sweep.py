"""Domain Guidance Sweep in the real host: every cell is KSampler's picture, nothing is computed twice, and Cancel keeps
what is done.
"""

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
import torch
from cancelling import cancel_at
from host_process import PromptError
from prompts import Graph, ksampler
from scenes import assert_one_sentence
from watchers import watch_evaluations

STEPS = 3
CELL_DONE = "100%|"  # the end of one sampling's bar in the host's log
SETTINGS = {"seed": 5, "steps": STEPS, "sampler_name": "euler", "scheduler": "normal"}


class Toy:
    """The toy world with one domain on its base."""

    def __init__(self, weight=2.0, batch=2):
        self.graph = Graph()
        self.world = self.graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=batch)
        self.guided = self.guide(self.world[0], weight)

    def guide(self, model, weight):
        return self.graph.add("DomainGuidanceApply", model=model, domain_model=self.world[1], weight=weight)

    def sweep(self, weights="0, 1.5", cfgs="1, 4", model=None, **changes):
        return self.graph.add(
            "DomainGuidanceSweep",
            model=model or self.guided,
            positive=self.world[3],
            negative=self.world[4],
            latent_image=self.world[5],
            vae=self.world[2],
            weights=weights,
            cfgs=cfgs,
            **{**SETTINGS, "denoise": 1.0, **changes},
        )

    def cell(self, model, cfg):
        latent = ksampler(self.graph, model, self.world[3], self.world[4], self.world[5], cfg=cfg, **SETTINGS)
        return self.graph.add("VAEDecode", samples=latent, vae=self.world[2])


def outputs(host, toy, node, **running):
    """(grid, cells, settings) of the node, or None after an interrupted prompt."""
    graph = toy.graph.copy()
    probes = [graph.add("ProbeCapture", value=node[index]).id for index in range(3)]
    found = host.run(graph, **running)
    return tuple(found[probe] for probe in probes) if len(found) == 3 else None


def test_every_cell_is_what_ksampler_draws_at_its_weight_and_cfg(host):
    """Row by row: cfgs go down, weights go across."""
    toy = Toy()
    _, cells, settings = outputs(host, toy, toy.sweep())
    models = [toy.world[0], toy.guide(toy.world[0], 1.5)]
    expected = torch.cat([host.value(toy.graph, toy.cell(model, cfg)) for cfg in (1.0, 4.0) for model in models])
    assert torch.equal(cells, expected)
    assert settings.splitlines() == [
        "1: domain weight 0, cfg 1",
        "2: domain weight 1.5, cfg 1",
        "3: domain weight 0, cfg 4",
        "4: domain weight 1.5, cfg 4",
    ]


def test_the_grid_shows_the_cells_in_their_order(host):
    """Each cell's own mean colour is found in its place: two rows, two columns, batch side by side."""
    toy = Toy(batch=1)
    grid, cells, _ = outputs(host, toy, toy.sweep(weights="0, 3"))
    height, width = grid.shape[1:3]
    left, top, side = width - 2 * 150, height - 2 * 150, 144
    for number, cell in enumerate(cells):
        x, y = left + number % 2 * 150, top + number // 2 * 150
        assert (grid[0, y : y + side, x : x + side].mean((0, 1)) - cell.mean((0, 1))).abs().max() < 0.02


def test_weight_zero_asks_no_domain_model_and_equal_numbers_are_one_cell(host):
    toy = Toy(batch=1)
    with watch_evaluations() as seen:
        _, cells, _ = outputs(host, toy, toy.sweep(weights="0, 1, 0.0, 1, -0", cfgs="4, 4.0"), fresh=True)
    assert len(cells) == 2
    assert seen.elements(1, STEPS) == 2 + 3


def test_the_last_of_two_domains_takes_the_weights_or_all_are_scaled(host):
    toy = Toy(weight=1.0)
    two = toy.guide(toy.guided, -0.5)
    _, last, _ = outputs(host, toy, toy.sweep(weights="2", cfgs="4", model=two))
    assert torch.equal(last, host.value(toy.graph, toy.cell(toy.guide(toy.guided, 2.0), 4.0)))
    _, scaled, _ = outputs(host, toy, toy.sweep(weights="1, 2", cfgs="4", model=two, vary="all, in proportion"))
    doubled = toy.guide(toy.guide(toy.world[0], 2.0), -1.0)
    assert torch.equal(scaled, torch.cat([host.value(toy.graph, toy.cell(model, 4.0)) for model in (two, doubled)]))


def test_the_connected_model_keeps_its_own_weight(host):
    toy = Toy(weight=2.0)
    model = host.value(toy.graph, toy.guided)
    host.library("nodes.comfy_host.guidance.sweep").weighted(model, 0.5, "last")
    assert [term.weight for term in host.library("nodes.comfy_host.guidance.terms").terms_of(model)] == [2.0]


def test_no_cell_says_that_it_burns_and_a_sampler_of_the_same_model_does(host, caplog):
    toy = Toy(weight=9.0)
    outputs(host, toy, toy.sweep("9, 12", "4, 8"))
    assert not [record for record in caplog.records if "tend to burn" in record.getMessage()]
    host.value(toy.graph, toy.cell(toy.guided, 4.0))
    assert [record for record in caplog.records if "tend to burn" in record.getMessage()]


def test_the_bar_runs_once_over_all_cells_with_a_preview_of_each_step(host):
    import comfy.utils
    import latent_preview

    toy, calls = Toy(batch=1), []
    hook = patch.object(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: calls.append((value, total, preview is not None)),
    )
    shown = patch.object(latent_preview, "default_preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    with hook, shown:
        outputs(host, toy, toy.sweep(), fresh=True)
    values = [value for value, _, _ in calls]
    assert values == sorted(values) and values[-1] == 4 * STEPS
    assert {total for _, total, _ in calls} == {4 * STEPS}
    assert [value for value, _, preview in calls if preview] == list(range(1, 4 * STEPS + 1))


def test_a_cancel_gives_the_cells_that_are_done_and_the_next_queue_makes_all(host):
    toy = Toy(batch=1)
    node = toy.sweep(seed=51)
    whole_grid, whole, _ = outputs(host, toy, node, fresh=True)
    with cancel_at(9) as begun:  # at cfg 1, three evaluations without the domain and nine with it
        grid, cells, settings = outputs(host, toy, node)
    assert len(begun) == 9
    assert len(settings.splitlines()) == 1
    assert torch.equal(cells, whole[:1])
    assert grid.shape == whole_grid.shape and not torch.equal(grid, whole_grid)
    assert "execution_success" in [event for event, _ in host._executor.status_messages]
    assert torch.equal(outputs(host, toy, node)[0], whole_grid)
    with watch_evaluations() as seen:
        assert torch.equal(outputs(host, toy, node)[0], whole_grid)
    assert not seen, "a whole sweep is kept"


def test_a_cancel_before_the_first_cell_interrupts_the_prompt(host):
    toy = Toy(batch=1)
    with cancel_at(2):
        assert outputs(host, toy, toy.sweep(seed=52)) is None
    assert "execution_interrupted" in [event for event, _ in host._executor.status_messages]


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": ""},
        {"weights": "1, two"},
        {"weights": "1; 21"},
        {"cfgs": "-1"},
        {"cfgs": "nan"},
        {"weights": ",".join(map(str, range(20))), "cfgs": ",".join(map(str, range(20)))},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_a_bad_list_is_refused_in_one_sentence(host, changes):
    toy = Toy()
    with pytest.raises(PromptError) as caught:
        outputs(host, toy, toy.sweep(**changes))
    assert_one_sentence(caught.value.message)


def test_a_model_without_guidance_is_told_what_to_connect(host):
    toy = Toy()
    with pytest.raises(PromptError) as caught:
        outputs(host, toy, toy.sweep(model=toy.world[0]))
    assert_one_sentence(caught.value.message)
    assert "Apply Domain Guidance" in caught.value.message


def test_cancel_on_the_real_server_ends_the_prompt_with_a_saved_grid(server):
    """Interrupted over HTTP while the cells after the first are made."""
    toy = Toy(batch=1)
    node = toy.sweep(weights=" ".join(map(str, range(20))), cfgs=" ".join(map(str, range(1, 13))))
    saved = toy.graph.add("PreviewImage", images=node)
    with ThreadPoolExecutor(1) as pool:
        before = server.log.read_text(errors="replace").count(CELL_DONE)
        running = pool.submit(server.run, toy.graph)
        while server.log.read_text(errors="replace").count(CELL_DONE) < before + 2 and not running.done():
            time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(server.address + "/interrupt", b"")).close()
        record = running.result()
    assert record["status"]["status_str"] == "success"
    assert len(record["outputs"][saved.id]["images"]) == 1
    assert "the grid has" in server.log.read_text(errors="replace")
