"""Make README.md beside this file, and the tables of docs/evidence.md, of the JSON files in `results`: python
benchmarks/page.py
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACK = FOLDER.parent
RESULTS, PAGE, EVIDENCE = FOLDER / "results", FOLDER / "README.md", PACK / "docs" / "evidence.md"
EMOJI = RESULTS / "emoji_world_full.json"
sys.path.append(str(PACK))

# In the order of the page: the benchmark, its title, and what its ratios are.
BENCHMARKS = {
    "guidance": (
        "What guidance costs while sampling",
        "Guided over plain CFG in the real ComfyUI; a small SD 1.5, euler, cfg 5.",
    ),
    "loading": (
        "What loading a domain takes",
        "Load Domain UNet over ComfyUI's own loader on the same file: UNets of true size, in a process each.",
    ),
    "training": (
        "What training costs",
        "A miniature of SD 1.5, its VAE and its text encoder; steps per second above 1 are faster.",
    ),
    "adaptation": (
        "What adapting a generator costs",
        "Over the way of the StyleGAN-Fusion release; StyleGAN2 at 256 px and the miniature as its critic.",
    ),
    "generator": (
        "What the generator costs",
        "Time over the usual formulation by grouped convolutions; StyleGAN2 at 256 px. Below 1 is faster.",
    ),
    "eg3d": (
        "What a view of a volume costs",
        "Over a view by 128x128 rays with 48 + 48 samples, 4,096 rays at once; EG3D of 512 px, the "
        "super-resolution included.",
    ),
    "side_network": (
        "How good a side network is",
        "Against the whole domain on the same prompts and noise: what is lost at most, with a confidence of 95 %.",
    ),
    "true_sizes": (
        "What training takes at true size, over what Train Domain says beforehand",
        "Private memory at its peak, beyond the loaded base; an adapter of rank 16, one step at 512 px, on the CPU. "
        "glibc gives freed blocks back at once (MALLOC_MMAP_THRESHOLD_), which it does not by default.",
    ),
    "few_steps": (
        "What a domain does at cfg 1",
        "The toy world's student of 8 steps, with domains that were trained on the base that it was distilled from, "
        "and with some of its own; shares from 0 to 1, and kernel distances to the domain.",
    ),
    "another_base": (
        "How far a domain travels",
        "The toy world's domains on another training of their base; shares from 0 to 1, and kernel distances to the "
        "domain.",
    ),
    "meshes": (
        "What a mesh costs",
        "Over a mesh of 2,500 triangles, eight views of 512 px and a texture of 1,024; and what one agreement of eight "
        "views takes, which each step of the sampling has once.",
    ),
    "resolver": (
        "What installing changes",
        "Packages that pip would add to ComfyUI's Python, and those whose version it would move.",
    ),
    "toy_world": (
        "What the methods draw",
        "Not costs: shares from 0 to 1, and kernel distances to the domain. "
        "[docs/evidence.md](../docs/evidence.md) explains them.",
    ),
}
HEAD = """# Benchmarks

Made by `python benchmarks/page.py` from `benchmarks/results/*.json`, which the benchmarks write with `--json FILE`. Two
things are compared in turn on the same machine, so a busy one slows both. Empty cells have not been measured;
`python benchmarks/every.py --gpu` fills those of a GPU.
"""


def main():
    PAGE.write_text(page(read_runs(RESULTS)), encoding="utf-8")
    EVIDENCE.write_text(evidence(EVIDENCE.read_text(encoding="utf-8")), encoding="utf-8")


def read_runs(folder):
    """The runs of every benchmark: {benchmark: {on a GPU: run}}."""
    runs = {}
    for file in sorted(folder.glob("*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        if "ratios" in run:  # the toy world's raw results lie beside them
            runs.setdefault(run["benchmark"], {})[run["gpu"]] = run
    return runs


def page(runs):
    parts = [HEAD]
    for name, (title, text) in BENCHMARKS.items():
        parts.append(_section(title, text, runs.get(name, {}), f"python benchmarks/{name}.py"))
    return "\n".join(parts)


def _section(title, text, runs, command):
    lines = [f"## {title}", "", text, ""]
    if not runs:
        return "\n".join([*lines, f"Not measured yet: `{command}`.", ""])
    gpu = runs[True]["machine"] if True in runs else "GPU"
    columns = [runs.get(on, {}).get("ratios", {}) for on in (False, True)]
    lines += [f"| | CPU | {gpu} |", "| --- | --- | --- |"]
    for what in {what: None for ratios in columns for what in ratios}:
        lines.append(f"| {what} | " + " | ".join(_written(what, ratios.get(what)) for ratios in columns) + " |")
    return "\n".join([*lines, "", *map(_made, runs.values()), ""])


def _written(what, value):
    if value is None:
        return ""
    if "distance" in what and "gained" not in what:  # without bias, so it may fall below 0 by chance
        value = max(value, 0)
    return f"{value:g}" if float(value).is_integer() else f"{value:.3f}"


def _made(run):
    commit = f", commit {run['commit']}" if run["commit"] else ""
    return f"`{run['command']}`: {run['minutes']:g} minutes on {run['machine']}{commit}."


def evidence(text):
    """docs/evidence.md with the tables of the committed results."""
    from domain_guidance.emoji_world.things import DOMAINS
    from domain_guidance.evidence.emoji import COMPARED
    from domain_guidance.evidence.emoji_table import about as emoji_about
    from domain_guidance.evidence.emoji_table import table as emoji_table
    from domain_guidance.evidence.results import read_results
    from domain_guidance.evidence.tables import all_tables, fill

    for file in sorted(RESULTS.glob("toy_world_*.json")):
        plan = file.stem.removeprefix("toy_world_")
        marked = {f"{plan} {name}": table for name, table in all_tables(read_results(file)).items()}
        text = fill(text, {name: table for name, table in marked.items() if f"<!-- begin {name} -->" in text})
    if EMOJI.exists():
        found = json.loads(EMOJI.read_text(encoding="utf-8"))
        measured = [hand for hand in DOMAINS if f"{hand}/{list(COMPARED)[-1]}" in found["chosen"]]
        tables = {f"emoji {hand}": emoji_table(found, hand) for hand in measured}
        text = fill(text, {"emoji about": emoji_about(found), **tables})
    pairs = read_pairs(json.loads((RESULTS / "side_network.json").read_text(encoding="utf-8"))["ratios"])
    return fill(text, {"pairs": _pairs_table(pairs)})


PAIRS = ": pairs"


def read_pairs(ratios):
    """What side_network.py found, {row: Paired}."""
    from domain_guidance.evidence.pairs import Loss, Paired

    def loss(row, what):
        return Loss(ratios[f"{row}: {what}"], ratios[f"{row}: {what}, upper 95 % bound"])

    rows = [what.removesuffix(PAIRS) for what in ratios if what.endswith(PAIRS)]
    return {
        row: Paired(
            loss(row, "digits lost"),
            loss(row, "distance gained"),
            ratios[f"{row}: diversity, side over whole"],
            int(ratios[row + PAIRS]),
        )
        for row in rows
    }


def _pairs_table(pairs):
    lines = [
        "| trained on, drawn with | pairs | digits lost | distance gained | diversity | by the rule |",
        "|" + " --- |" * 6,
    ]
    for row, found in pairs.items():
        digits = f"{100 * found.digits.found:.1f} % (at most {100 * found.digits.upper:.1f} %)"
        distance = f"{found.distance.found:.4f} (at most {found.distance.upper:.4f})"
        verdict = "not worse" if found.not_worse else "not shown"
        lines.append(f"| {row} | {found.count} | {digits} | {distance} | {found.diversity:.2f} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
