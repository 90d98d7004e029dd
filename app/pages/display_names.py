"""Names for people: of categories, whose labels are a dataset's own words, and of models.

    display("Tshirts")                        # "T-shirts"
    model_title("fashion", 141)               # "Clothing, 141 types"

A visitor's own names, from the sheet "Your categories", come on top of these in the browser (assets/names.js); every
label on the page therefore stands in an element with `data-label`, as the macro `label` of templates/macros.html makes.
"""

from ..model_files import read_categories
from ..service import Service

DISPLAY_NAMES = {
    "Accessory Gift Set": "Accessory gift sets",
    "Apparel Set": "Sets",
    "Bangle": "Bangles",
    "Bath Robe": "Bathrobes",
    "Body Wash and Scrub": "Body wash and scrubs",
    "Bra": "Bras",
    "Bracelet": "Bracelets",
    "Clothing Set": "Clothing sets",
    "Dress": "Dresses",
    "Duffel Bag": "Duffel bags",
    "Dupatta": "Dupattas",
    "Flip Flops": "Flip-flops",
    "Hat": "Hats",
    "Headband": "Headbands",
    "Innerwear": "Underwear",
    "Innerwear Vests": "Undershirts",
    "Ipad": "iPads",
    "Jewellery Set": "Jewellery sets",
    "Jumpsuit": "Jumpsuits",
    "Key chain": "Key chains",
    "Laptop Bag": "Laptop bags",
    "Lounge Tshirts": "Lounge T-shirts",
    "Messenger Bag": "Messenger bags",
    "Mobile Pouch": "Phone pouches",
    "Night suits": "Pajamas",
    "Nightdress": "Nightdresses",
    "Pendant": "Pendants",
    "Rain Jacket": "Rain jackets",
    "Ring": "Rings",
    "Robe": "Robes",
    "Shrug": "Shrugs",
    "Stationary": "Stationery",
    "Tablet Sleeve": "Tablet sleeves",
    "Topwear": "Tops",
    "Trolley Bag": "Trolley bags",
    "Trunk": "Trunks",
    "Tshirts": "T-shirts",
    "Waist Pouch": "Waist pouches",
    "Waistcoat": "Waistcoats",
    "Water Bottle": "Water bottles",
}
ATTRIBUTES = {"baseColour": "Color"}
# Of the shipped models: what they know, and what their categories are.
MODELS = {"fashion": ("Clothing", "types"), "slash8": ("Shopping app", "departments")}
CATEGORIES = "categories"


def display(label: str) -> str:
    """What people call this category."""
    return DISPLAY_NAMES.get(label, label)


def in_a_sentence(label: str) -> str:
    """The name inside a sentence: "It's topwear", "casual shoes", but "T-shirts" and "USB cables"."""
    name = label if label.endswith("wear") else display(label)
    return " ".join(word.lower() if word[1:].isalpha() and word[1:].islower() else word for word in name.split(" "))


def attribute_name(name: str) -> str:
    return ATTRIBUTES.get(name, name[:1].upper() + name[1:])


def model_title(name: str, num_labels: int) -> str:
    """What people call this model: what it knows, and how many categories of that."""
    subject, of = MODELS.get(name, (name.replace("_", " ").strip().capitalize() or name, CATEGORIES))
    return f"{subject}, {num_labels} {of}"


def model_choices(service: Service) -> list[tuple[str, str]]:
    """For a dropdown, the default one first: what it shows and what it says."""
    return [(title_of(service, name), name) for name in service.names]


def title_of(service: Service, name: str) -> str:
    """What people call this model of a service."""
    labels, _ = read_categories(service.folders[name])
    return model_title(name, len(labels))
