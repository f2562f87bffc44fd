"""The results as Markdown tables: pure functions of the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import mean, stdev

from ..evaluation.scores import as_read
from ..toy_world.comparison import BEST
from ..toy_world.methods import METHODS, Weights
from .plan import CONTROLLED, EARLY, EDITED, FEW, LARGEST, STOPPED, STRENGTHS
from .results import Entry, NotDone, Results

Write = Callable[[float], str]


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def number(value: float) -> str:
    return f"{value:.3f}"


def times(value: float) -> str:
    return f"{value:.2f}"


MEASURES: dict[str, tuple[str, Write]] = {
    "digit": ("digit as asked", percent),
    "colour": ("colour as asked", percent),
    "distance": ("distance", as_read),
    "diversity": ("diversity", times),
    "memorised": ("near a training picture", percent),
}


def all_tables(results: Results) -> dict[str, str]:
    """Every table of the plan by name; tables whose jobs are not all done are left out."""
    makers = {
        "about": about,
        "methods": methods,
        "sizes": sizes,
        "early": early,
        "shipped": shipped,
        "control": control,
        "editing": editing,
        "two": two_domains,
    }
    tables = {}
    for name, make in makers.items():
        try:
            tables[name] = make(results)
        except NotDone:
            continue
    return tables


def about(results: Results) -> str:
    """One sentence on what was run, where and how long, all jobs one after another."""
    plan, machines = results.plan, "; ".join(_machines(results))
    seconds = sum(entry["seconds"] for entry in results.jobs.values())
    seeds = (
        "one training seed"
        if len(plan["seeds"]) == 1
        else f"{len(plan['seeds'])} training seeds, mean ± standard deviation"
    )
    size = f"{plan['steps']} training steps, {plan['sampling']} sampling steps, N = {50 * plan['repeats']} a cell"
    return f"The {plan['name']} run: {seeds}, {size}, {seconds / 60:.0f} minutes ({machines})."


def _machines(results: Results) -> Iterator[str]:
    commits: dict[str, list[str]] = {}
    for found in results.machines:
        commits.setdefault(found["machine"], []).extend(filter(None, [found.get("commit")]))
    for machine, known in commits.items():
        yield machine + (f", commit{'s' * (len(known) > 1)} {', '.join(known)}" if known else "")


def methods(results: Results) -> str:
    """All methods on the largest domain, each at its best weights."""
    header = ["method", "weights", *(title for title, _ in MEASURES.values())]
    rows = [["real plates of the same kinds", "", *_cells([results.found("measure", "real")])]]
    for name in METHODS:
        found = measured(results, name, LARGEST)
        rows.append([METHODS[name].title, words(found[0]["weights"]), *_cells(found)])
    return markdown(header, rows)


def sizes(results: Results) -> str:
    """Digit as asked and distance of every method as the domain shrinks."""
    header = ["method", *(f"{size} pictures" for size in results.plan["sizes"])]
    rows = []
    for name in METHODS:
        if name != "base":
            rows.append(
                [METHODS[name].title, *(_brief(measured(results, name, size)) for size in results.plan["sizes"])]
            )
    return markdown(header, rows)


def early(results: Results) -> str:
    """A few pictures: the last file of each training, and the one that was best on held-out pictures."""
    names = ("digit", "distance", "memorised")
    header = ["method", *(f"{which}: {MEASURES[name][0]}" for which in ("last file", "best file") for name in names)]
    rows = [
        [
            METHODS[name].title,
            *(cell for file in ("", EARLY) for cell in _cells(measured(results, name + file, FEW), names)),
        ]
        for name in STOPPED
    ]
    return markdown(header, rows)


def shipped(results: Results) -> str:
    """The models that come with the pack, at the weights of the demo."""
    rows = []
    for name in BEST:
        found = [results.found("measure", "shipped", name)]
        rows.append([METHODS[name].title, words(found[0]["weights"]), *_cells(found, ("digit", "colour", "distance"))])
    return markdown(["method", "weights", *(MEASURES[name][0] for name in ("digit", "colour", "distance"))], rows)


def control(results: Results) -> str:
    """The mask that only the base was trained to follow."""
    header = ["method", "kept, mask seen", "kept, mask not seen", "digit as asked", "distance"]
    rows = [["real plates with their own masks", number(results.found("control", "real")["kept"]), "", "", ""]]
    for name in CONTROLLED:
        seen, unseen = (_of_seeds(results, "control", "{seed}", name, sight) for sight in ("seen", "unseen"))
        kept = (spread([entry["kept"] for entry in entries], number) for entries in (seen, unseen))
        rows.append([METHODS[name].title, *kept, *_cells(seen, ("digit", "distance"))])
    return markdown(header, rows)


def editing(results: Results) -> str:
    """Image-to-image: kept structure and distance at every strength."""
    header = ["method", *(f"strength {strength:g}: kept, digit, distance" for strength in STRENGTHS)]
    rows = [["the pictures as they were", _edited([results.found("editing", "source")]), *[""] * (len(STRENGTHS) - 1)]]
    for name in EDITED:
        rows.append(
            [
                METHODS[name].title,
                *(_edited(_of_seeds(results, "editing", "{seed}", name, strength)) for strength in STRENGTHS),
            ]
        )
    return markdown(header, rows)


def two_domains(results: Results) -> str:
    """Plates in the left half and notes in the right."""
    titles = {
        "plates": "plates everywhere",
        "notes": "notes everywhere",
        "halves": "plates in the left half, notes in the right",
    }
    rows = []
    for case, title in titles.items():
        found = _of_seeds(results, "two", "{seed}", case)
        shares = [
            spread([entry[name] for entry in found], percent)
            for name in ("left plates", "right plates", "digit", "colour")
        ]
        rows.append([title, *shares])
    return markdown(
        [
            "domains",
            "left half nearest to a plate",
            "right half nearest to a plate",
            "digit as asked",
            "colour as asked",
        ],
        rows,
    )


def measured(results: Results, method: str, size: int) -> list[Entry]:
    """A method's cells, one for each training seed; the base, which is not trained here, has one."""
    if method == "base":
        return [results.found("measure", "base")]
    return _of_seeds(results, "measure", size, "{seed}", method)


def spread(values: Sequence[float], write: Write) -> str:
    """One value, or mean ± standard deviation of several."""
    if len(values) == 1:
        return write(values[0])
    return f"{write(mean(values))} ± {write(stdev(values))}"


def words(weights: Weights) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in weights.items())


def fill(text: str, blocks: dict[str, str]) -> str:
    """The text with each block between its marks, `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises ValueError if one is missing.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(
                f"The page has no place for '{name}': put '{begin.strip()}' and '{end.strip()}' on two lines."
            )
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}{block}{end}{after}"
    return text


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads as well in a terminal."""
    lines = [header, *rows]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def _of_seeds(results: Results, *key: object) -> list[Entry]:
    return [results.found(*(seed if part == "{seed}" else part for part in key)) for seed in results.plan["seeds"]]


def _cells(found: Sequence[Entry], names: Iterable[str] = tuple(MEASURES)) -> list[str]:
    return [
        "–" if found[0][name] is None else spread([entry[name] for entry in found], MEASURES[name][1]) for name in names
    ]


def _brief(found: Sequence[Entry]) -> str:
    return ", ".join(_cells(found, ("digit", "distance")))


def _edited(found: Sequence[Entry]) -> str:
    return ", ".join([spread([entry["kept"] for entry in found], times), *_cells(found, ("digit", "distance"))])
