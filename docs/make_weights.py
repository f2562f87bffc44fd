"""Draws the pictures of weights.md and of template 12 in the real host: run it in ComfyUI's folder, `python
PACK/docs/make_weights.py`.

Half a minute on a CPU; the pack needs not be installed there.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path.cwd()), str(ROOT / "tests" / "host")]

import host_process
from prompts import Graph

SETTINGS = {"seed": 1, "steps": 20, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0}
BAD, ADVISED = (6.0, 8.0), (1.4, 3.6)  # weight and cfg; the second is what the report on the first says
THUMBNAIL, CELL, GAP = 384, 120, 6


def graph_of(weight, batch=4):
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=batch)
    guided = graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=weight)
    return graph, {
        "model": guided,
        "positive": toy[3],
        "negative": toy[4],
        "latent_image": toy[5],
        "vae": toy[2],
        **SETTINGS,
    }


def reported(host, weight, cfg):
    """(report, advice, pictures) of the template's graph."""
    graph, inputs = graph_of(weight)
    node = graph.add("DomainGuidanceReport", cfg=cfg, **inputs)
    pictures = graph.add("VAEDecode", samples=node, vae=inputs["vae"])
    return tuple(host.value(graph, link) for link in (node[1], node[2], pictures))


def as_picture(image):
    return Image.fromarray((image * 255).round().to(torch.uint8).numpy())


def thumbnail(rows):
    canvas = Image.new("RGB", (THUMBNAIL, len(rows) * (CELL + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row[:3]):
            canvas.paste(
                as_picture(image).resize((CELL, CELL), Image.Resampling.NEAREST),
                (GAP + x * (CELL + GAP), GAP + y * (CELL + GAP)),
            )
    return canvas


def main():
    with tempfile.TemporaryDirectory() as base:
        base = host_process.make_base_directory(Path(base))
        host_process.start(base)
        host_process.install_pack(base)
        host = host_process.Host(host_process.load_pack(base / "custom_nodes" / "domain-guidance"))
        register_probe()
        rows = []
        for name, setting in (("before", BAD), ("after", ADVISED)):
            report, advice, pictures = reported(host, *setting)
            rows.append(pictures)
            as_picture(report[0]).quantize(128).save(ROOT / "docs" / f"weights-{name}.png", optimize=True)
            sys.stdout.write(f"{name}, weight {setting[0]:g}, cfg {setting[1]:g}\n{advice}\n\n")
        graph, inputs = graph_of(1.0, batch=1)
        grid = host.value(
            graph, graph.add("DomainGuidanceSweep", weights="0, 0.5, 1, 1.5, 2, 3, 6", cfgs="1, 2, 4, 8", **inputs)
        )
        as_picture(grid[0]).quantize(128).save(ROOT / "docs" / "weights-sweep.png", optimize=True)
        thumbnail(rows).save(ROOT / "workflows" / "12-which-weights.jpg", quality=92)


def register_probe():
    from probe_nodes import NODES

    import nodes

    nodes.NODE_CLASS_MAPPINGS.update(NODES)


if __name__ == "__main__":
    main()
