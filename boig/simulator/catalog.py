"""What the simulated world sells: industries, product kinds with their looks, colors, occasions.

A look is a list of primitives in the unit square of the product's box (x to the right, y down), each painted with a
role of the product's color: `body`, `dark`, `light`, or the fixed `ink` and `paper`.
"""

INDUSTRIES: dict[str, tuple[str, str]] = {
    "beauty": ("lipstick", "perfume"),
    "fashion": ("handbag", "shoe"),
    "food": ("cup", "cake"),
    "tech": ("phone", "laptop"),
    "travel": ("suitcase", "camera"),
    "home": ("lamp", "chair"),
}
KINDS: tuple[str, ...] = tuple(kind for kinds in INDUSTRIES.values() for kind in kinds)
INDUSTRY_OF: dict[str, str] = {kind: industry for industry, kinds in INDUSTRIES.items() for kind in kinds}

BACKGROUND_COLORS = (
    "White", "Cream", "Black", "Gray", "Red", "Orange", "Yellow", "Green", "Light_Blue", "Blue", "Dark_Blue", "Purple", "Pink", "Brown",
)  # fmt: skip
PRODUCT_COLORS = ("Red", "Orange", "Yellow", "Green", "Blue", "Purple", "Pink", "Black", "White", "Brown")
BACKGROUNDS = ("plain", "gradient", "stripes", "dots")
SLOGANS = ("NEW", "SALE", "NOW", "LOVE", "GO")
SEASONS = ("winter", "spring", "summer", "autumn")
OCCASIONS = ("morning", "weekend", "party", "work", "holiday", "gift")
OCCASION_COLORS: dict[str, tuple[str, str, str]] = {
    "morning": ("Cream", "Yellow", "White"), "weekend": ("Green", "Blue", "Light_Blue"), "party": ("Purple", "Black", "Orange"),
    "work": ("Gray", "Dark_Blue", "White"), "holiday": ("Red", "Green", "Brown"), "gift": ("Pink", "Red", "Cream"),
}  # fmt: skip
"""Backgrounds that pictures for an occasion are given, by whoever posts them."""

# Families: the reference classifier and the prompt-agreement score compare these, not the 40 names.
FAMILY: dict[str, str] = {
    "White": "white", "Off_White": "white", "Cream": "cream", "Beige": "cream",
    "Black": "black", "Dark_Gray": "gray", "Gray": "gray", "Silver": "gray",
    "Red": "red", "Dark_Red": "red", "Maroon": "red", "Orange": "orange",
    "Yellow": "yellow", "Gold": "yellow", "Mustard": "yellow",
    "Green": "green", "Bright_Green": "green", "Dark_Green": "green", "Light_Green": "green", "Emerald": "green",
    "Olive": "green", "Mud_Green": "green", "Khaki": "cream",
    "Light_Blue": "light blue", "Cyan": "light blue", "Turquoise": "light blue",
    "Blue": "blue", "Royal_Blue": "blue", "Dark_Blue": "dark blue",
    "Purple": "purple", "Violet": "purple", "Plum": "purple", "Lavender": "purple", "Lilac": "purple",
    "Pink": "pink", "Dark_Pink": "pink", "Magenta": "pink", "Brown": "brown", "Dark_Brown": "brown", "Tan": "brown",
}  # fmt: skip

Primitive = tuple[str, tuple[float, ...], str]
LOOKS: dict[str, tuple[tuple[Primitive, ...], ...]] = {
    "lipstick": (
        (("rect", (0.3, 0.5, 0.7, 1.0), "ink"), ("rect", (0.34, 0.36, 0.66, 0.52), "paper"), ("poly", (0.37, 0.36, 0.37, 0.12, 0.63, 0.0, 0.63, 0.36), "body")),
        (("rect", (0.28, 0.55, 0.72, 1.0), "dark"), ("rect", (0.36, 0.1, 0.64, 0.55), "body"), ("ellipse", (0.36, 0.0, 0.64, 0.24), "body")),
    ),
    "perfume": (
        (("rect", (0.12, 0.36, 0.88, 1.0), "body"), ("rect", (0.38, 0.14, 0.62, 0.36), "ink"), ("rect", (0.3, 0.56, 0.7, 0.78), "paper")),
        (("ellipse", (0.08, 0.28, 0.92, 1.0), "body"), ("rect", (0.4, 0.1, 0.6, 0.32), "ink"), ("ellipse", (0.34, 0.0, 0.66, 0.16), "dark")),
    ),
    "handbag": (
        (("arc", (0.25, 0.0, 0.75, 0.7), "dark"), ("poly", (0.12, 0.36, 0.88, 0.36, 1.0, 1.0, 0.0, 1.0), "body"), ("rect", (0.42, 0.46, 0.58, 0.6), "light")),
        (("arc", (0.18, 0.0, 0.82, 0.8), "ink"), ("rect", (0.04, 0.4, 0.96, 1.0), "body"), ("poly", (0.04, 0.4, 0.96, 0.4, 0.5, 0.74), "dark")),
    ),
    "shoe": (
        (("poly", (0.0, 0.3, 0.3, 0.3, 0.5, 0.52, 0.92, 0.62, 1.0, 0.84, 0.0, 0.84), "body"), ("rect", (0.0, 0.82, 1.0, 0.94), "paper"), ("rect", (0.34, 0.42, 0.5, 0.54), "light")),
        (("poly", (0.0, 0.1, 0.34, 0.1, 0.4, 0.5, 1.0, 0.66, 1.0, 0.84, 0.0, 0.84), "body"), ("rect", (0.0, 0.82, 1.0, 0.92), "ink"), ("rect", (0.06, 0.2, 0.28, 0.3), "dark")),
    ),
    "cup": (
        (("arc", (0.6, 0.3, 1.0, 0.75), "body"), ("poly", (0.08, 0.2, 0.78, 0.2, 0.68, 0.95, 0.18, 0.95), "body"), ("ellipse", (0.08, 0.1, 0.78, 0.3), "dark")),
        (("poly", (0.2, 0.18, 0.8, 0.18, 0.7, 1.0, 0.3, 1.0), "paper"), ("poly", (0.235, 0.42, 0.765, 0.42, 0.735, 0.7, 0.265, 0.7), "body"), ("rect", (0.16, 0.06, 0.84, 0.2), "ink")),
    ),
    "cake": (
        (("rect", (0.1, 0.5, 0.9, 1.0), "paper"), ("rect", (0.1, 0.66, 0.9, 0.78), "body"), ("ellipse", (0.1, 0.38, 0.9, 0.62), "body"), ("rect", (0.46, 0.1, 0.54, 0.46), "dark")),
        (("poly", (0.0, 0.9, 1.0, 0.9, 1.0, 0.6, 0.0, 0.4), "paper"), ("poly", (0.0, 0.4, 1.0, 0.6, 0.75, 0.22), "body"), ("ellipse", (0.5, 0.02, 0.78, 0.28), "dark")),
    ),
    "phone": (
        (("rect", (0.24, 0.0, 0.76, 1.0), "ink"), ("rect", (0.3, 0.1, 0.7, 0.84), "body"), ("ellipse", (0.45, 0.88, 0.55, 0.97), "paper")),
        (("rect", (0.22, 0.0, 0.78, 1.0), "body"), ("rect", (0.28, 0.05, 0.52, 0.3), "ink"), ("ellipse", (0.31, 0.08, 0.49, 0.26), "light")),
    ),
    "laptop": (
        (("rect", (0.14, 0.14, 0.86, 0.72), "ink"), ("rect", (0.19, 0.2, 0.81, 0.66), "body"), ("poly", (0.0, 0.9, 1.0, 0.9, 0.86, 0.72, 0.14, 0.72), "paper")),
        (("poly", (0.2, 0.1, 1.0, 0.1, 0.86, 0.66, 0.06, 0.66), "ink"), ("poly", (0.26, 0.17, 0.91, 0.17, 0.8, 0.6, 0.14, 0.6), "body"), ("rect", (0.0, 0.66, 0.9, 0.8), "dark")),
    ),
    "suitcase": (
        (("rect", (0.36, 0.0, 0.64, 0.24), "ink"), ("rect", (0.14, 0.18, 0.86, 0.94), "body"), ("rect", (0.32, 0.18, 0.38, 0.94), "dark"), ("rect", (0.62, 0.18, 0.68, 0.94), "dark")),
        (("rect", (0.38, 0.14, 0.62, 0.36), "ink"), ("rect", (0.0, 0.28, 1.0, 0.92), "body"), ("rect", (0.0, 0.52, 1.0, 0.62), "light"), ("rect", (0.44, 0.48, 0.56, 0.66), "ink")),
    ),
    "camera": (
        (("rect", (0.34, 0.14, 0.66, 0.34), "ink"), ("rect", (0.0, 0.28, 1.0, 0.88), "body"), ("ellipse", (0.28, 0.34, 0.72, 0.82), "ink"), ("ellipse", (0.38, 0.45, 0.62, 0.71), "light")),
        (("rect", (0.04, 0.2, 0.96, 0.86), "ink"), ("rect", (0.04, 0.2, 0.96, 0.36), "body"), ("ellipse", (0.3, 0.34, 0.76, 0.84), "paper"), ("ellipse", (0.4, 0.46, 0.66, 0.72), "dark")),
    ),
    "lamp": (
        (("rect", (0.46, 0.4, 0.54, 0.92), "ink"), ("poly", (0.3, 0.0, 0.7, 0.0, 0.95, 0.46, 0.05, 0.46), "body"), ("ellipse", (0.26, 0.86, 0.74, 1.0), "ink")),
        (("rect", (0.46, 0.0, 0.54, 0.4), "ink"), ("ellipse", (0.1, 0.26, 0.9, 0.98), "body"), ("ellipse", (0.3, 0.44, 0.7, 0.8), "light")),
    ),
    "chair": (
        (("rect", (0.12, 0.0, 0.26, 1.0), "body"), ("rect", (0.12, 0.48, 0.88, 0.62), "body"), ("rect", (0.76, 0.6, 0.88, 1.0), "dark"), ("rect", (0.26, 0.08, 0.32, 0.48), "dark")),
        (("ellipse", (0.14, 0.0, 0.86, 0.56), "body"), ("rect", (0.1, 0.5, 0.9, 0.66), "dark"), ("poly", (0.2, 0.66, 0.3, 0.66, 0.16, 1.0, 0.06, 1.0), "ink"), ("poly", (0.7, 0.66, 0.8, 0.66, 0.94, 1.0, 0.84, 1.0), "ink")),
    ),
}  # fmt: skip
