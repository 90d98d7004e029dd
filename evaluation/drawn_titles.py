"""Titles that no shop wrote: real ones spoiled in known ways, and drawn ones in the words of other shops.

spoiled(["Puma Men Blue T-shirt"], "typos", seed=0)      # ["Puma Mne Blue T-shrit"]
drawn(["t-shirt", "shoes"], "other words", seed=0)       # ["slim fit tee in petrol, size M", "retro runners …"]
"""

import random
from collections.abc import Callable, Sequence

SPOILED = (
    "upper case",
    "other word order",
    "half the words",
    "typos",
    "markup",
    "10,000 characters",
    "Cyrillic letters",
)
LOOKALIKES = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
BRANDS = ("Nordby", "Calla & Finn", "Tresor", "OHK", "Marlow", "Studio 9")
COLORS = ("petrol", "navy", "off-white", "charcoal", "rust", "sage green", "black", "cream")
TEMPLATES = (
    "{noun} in {color}, size {size}",
    "{brand} {color} {noun}",
    "{noun} by {brand} - {color} - {size}",
    "barely worn {noun} ({color})",
    "NEW! {brand} {noun} {size} {color}",
)
SIZES = ("S", "M", "L", "XL", "38", "42")
# The usual words of ten classes of clothes, and words for the same that the catalogue hardly has.
USUAL = {
    "dress": ("dress", "summer dress"),
    "hat": ("hat", "cap"),
    "longsleeve": ("sweater", "sweatshirt"),
    "outwear": ("jacket", "rain jacket"),
    "pants": ("jeans", "trousers"),
    "shirt": ("shirt", "checked shirt"),
    "shoes": ("shoes", "sports shoes"),
    "shorts": ("shorts", "cotton shorts"),
    "skirt": ("skirt", "pleated skirt"),
    "t-shirt": ("t-shirt", "printed t-shirt"),
}
OTHER = {
    "dress": ("frock", "maxi gown", "sundress"),
    "hat": ("beanie", "fedora", "bucket hat"),
    "longsleeve": ("long sleeve jersey", "jumper", "longsleeve tee"),
    "outwear": ("parka", "anorak", "trench coat"),
    "pants": ("chinos", "slacks", "joggers"),
    "shirt": ("button-down", "oxford blouse", "flannel overshirt"),
    "shoes": ("trainers", "sneakers", "loafers"),
    "shorts": ("bermudas", "board shorts", "cut-offs"),
    "skirt": ("midi skirt", "kilt", "miniskirt"),
    "t-shirt": ("tee", "crew neck tee", "graphic tee"),
}
GERMAN = {
    "dress": ("Sommerkleid",),
    "hat": ("Mütze",),
    "longsleeve": ("Langarmshirt",),
    "outwear": ("Übergangsjacke",),
    "pants": ("Stoffhose",),
    "shirt": ("Oberhemd",),
    "shoes": ("Turnschuhe",),
    "shorts": ("kurze Hose",),
    "skirt": ("Faltenrock",),
    "t-shirt": ("T-Shirt kurzarm",),
}
DRAWN = ("usual words", "other words", "typos", "German", "brand and color only", "of another class")


def spoiled(titles: Sequence[str], how: str, seed: int = 0) -> list[str]:
    """how: one of SPOILED."""
    generator = random.Random(seed)
    return [_spoil(title, how, generator) for title in titles]


def _spoil(title: str, how: str, generator: random.Random) -> str:
    words = title.split()
    if how == "other word order":
        return " ".join(generator.sample(words, len(words)))
    if how == "half the words":
        kept = sorted(generator.sample(range(len(words)), (len(words) + 1) // 2))
        return " ".join(words[place] for place in kept)
    plain: dict[str, Callable[[], str]] = {
        "upper case": title.upper,
        "typos": lambda: " ".join(typo(word, generator) for word in words),
        "markup": lambda: f"<p class='name'>{title.replace(' ', '&nbsp;')}</p>\x00\x1b[0m",
        "10,000 characters": lambda: f"{title} " + "free delivery and returns " * 400,
        "Cyrillic letters": lambda: title.translate(LOOKALIKES),
    }
    return plain[how]()


def typo(word: str, generator: random.Random) -> str:
    """Every other longer word has two neighboring letters swapped."""
    if len(word) < 4 or generator.random() < 0.5:
        return word
    place = generator.randrange(1, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def drawn(classes: Sequence[str], how: str, seed: int = 0) -> list[str]:
    """A title for each product of these classes of clothes; how: one of DRAWN."""
    generator = random.Random(seed)
    nouns = {"other words": OTHER, "German": GERMAN}.get(how, USUAL)
    titles = []
    for name in classes:
        if how == "of another class":
            name = generator.choice([other for other in USUAL if other != name])
        noun = "item" if how == "brand and color only" else generator.choice(nouns[name])
        title = generator.choice(TEMPLATES).format(
            noun=noun,
            brand=generator.choice(BRANDS),
            color=generator.choice(COLORS),
            size=generator.choice(SIZES),
        )
        titles.append(" ".join(typo(word, generator) for word in title.split()) if how == "typos" else title)
    return titles
