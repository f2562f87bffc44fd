"""What the emoji world knows: things, the hands that drew them, the grounds they lie on, and what domains were shown.

The word is what a prompt says; beside it stands the name of the drawing in the emoji sets.
"""

from __future__ import annotations

ANIMALS = {
    "bear": "bear",
    "bee": "honeybee",
    "butterfly": "butterfly",
    "cat": "cat-face",
    "chick": "baby-chick",
    "cow": "cow-face",
    "crab": "crab",
    "crocodile": "crocodile",
    "dog": "dog-face",
    "dolphin": "dolphin",
    "duck": "duck",
    "elephant": "elephant",
    "fish": "fish",
    "fox": "fox",
    "frog": "frog",
    "horse": "horse-face",
    "koala": "koala",
    "ladybug": "lady-beetle",
    "lion": "lion",
    "monkey": "monkey-face",
    "mouse": "mouse-face",
    "octopus": "octopus",
    "owl": "owl",
    "panda": "panda",
    "penguin": "penguin",
    "pig": "pig-face",
    "rabbit": "rabbit-face",
    "rooster": "rooster",
    "sheep": "ewe",
    "shark": "shark",
    "snail": "snail",
    "snake": "snake",
    "tiger": "tiger-face",
    "turtle": "turtle",
    "unicorn": "unicorn",
    "whale": "whale",
}
PLANTS = {
    "cactus": "cactus",
    "fir tree": "evergreen-tree",
    "maple leaf": "maple-leaf",
    "mushroom": "mushroom",
    "palm tree": "palm-tree",
    "rose": "rose",
    "sunflower": "sunflower",
    "tree": "deciduous-tree",
    "tulip": "tulip",
}
FOOD = {
    "apple": "red-apple",
    "avocado": "avocado",
    "banana": "banana",
    "birthday cake": "birthday-cake",
    "bread": "bread",
    "carrot": "carrot",
    "cheese": "cheese-wedge",
    "cherries": "cherries",
    "cookie": "cookie",
    "croissant": "croissant",
    "doughnut": "doughnut",
    "eggplant": "eggplant",
    "french fries": "french-fries",
    "grapes": "grapes",
    "hamburger": "hamburger",
    "hot dog": "hot-dog",
    "ice cream": "ice-cream",
    "lemon": "lemon",
    "lollipop": "lollipop",
    "orange": "tangerine",
    "peach": "peach",
    "pear": "pear",
    "pineapple": "pineapple",
    "pizza": "pizza",
    "popcorn": "popcorn",
    "strawberry": "strawberry",
    "tomato": "tomato",
    "watermelon": "watermelon",
}
TRAVEL = {
    "ambulance": "ambulance",
    "anchor": "anchor",
    "bicycle": "bicycle",
    "bus": "bus",
    "car": "automobile",
    "castle": "castle",
    "fire": "fire",
    "helicopter": "helicopter",
    "house": "house",
    "moon": "crescent-moon",
    "rainbow": "rainbow",
    "rocket": "rocket",
    "sailboat": "sailboat",
    "star": "star",
    "tractor": "tractor",
    "train": "train",
    "volcano": "volcano",
}
OBJECTS = {
    "alarm clock": "alarm-clock",
    "backpack": "backpack",
    "balloon": "balloon",
    "basketball": "basketball",
    "bell": "bell",
    "bomb": "bomb",
    "books": "books",
    "camera": "camera",
    "crown": "crown",
    "diamond": "gem-stone",
    "drum": "drum",
    "football": "soccer-ball",
    "gift": "wrapped-gift",
    "glasses": "glasses",
    "guitar": "guitar",
    "hammer": "hammer",
    "headphones": "headphone",
    "key": "key",
    "light bulb": "light-bulb",
    "lock": "locked",
    "ring": "ring",
    "shirt": "t-shirt",
    "shoe": "running-shoe",
    "top hat": "top-hat",
    "trophy": "trophy",
}
CHARACTERS = {
    "alien": "alien",
    "clown": "clown-face",
    "ghost": "ghost",
    "robot": "robot",
    "santa": "santa-claus",
    "skull": "skull",
}
THINGS = {**ANIMALS, **PLANTS, **FOOD, **TRAVEL, **OBJECTS, **CHARACTERS}

HANDS = {"noto": "noto", "classic": "noto-v1", "flat": "fluent-emoji-flat"}
SKETCH, SOFT = "sketch", "soft"  # what `variations` makes of the hands' drawings
STYLES = (*HANDS, SKETCH, SOFT)  # what a prompt may ask for
ON_WHITE = "ink"  # the one hand that lies on nothing but white
DOMAINS = {ON_WHITE: "fluent-emoji-high-contrast", "glossy": "fluent-emoji-3d"}
# The style that a prompt asks for beside a domain: glossy's artists gave light to the shapes of flat; ink's lines are
# nobody else's, so the style is left open.
ASKED_STYLE = {ON_WHITE: None, "glossy": "flat"}
GROUNDS = {
    "white": (0.97, 0.97, 0.96),
    "cream": (0.97, 0.91, 0.74),
    "pink": (0.98, 0.78, 0.82),
    "lilac": (0.82, 0.77, 0.95),
    "sky": (0.68, 0.86, 0.98),
    "mint": (0.70, 0.92, 0.78),
    "sand": (0.80, 0.68, 0.52),
    "navy": (0.12, 0.16, 0.36),
}


def shown() -> list[int]:
    """Which of THINGS the domains are trained on: every second one, so that both halves hold things of every kind."""
    return list(range(0, len(THINGS), 2))


def held_out() -> list[int]:
    """Which of THINGS no domain, and nothing else that ships, was shown in a domain's hand."""
    return list(range(1, len(THINGS), 2))


# Words of drawings that look like a held-out thing without bearing its name, and a word that says nothing of the thing.
LOOKALIKES = {"taxi", "vehicle", "truck", "hut", "building", "mammoth", "wilted", "unlocked"}
GENERIC = {"face"}


def told_apart(drawing: str) -> bool:
    """Whether the name of a drawing shares no word with a held-out thing, so that a domain may be shown it."""
    named = list(THINGS.items())
    held = {word for place in held_out() for name in named[place] for word in name.replace("-", " ").split()}
    return not set(drawing.split("-")) & (held | LOOKALIKES) - GENERIC
