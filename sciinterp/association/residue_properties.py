"""Numbers of the amino acids: hydropathy, charge, volume, and propensity for helices."""

from __future__ import annotations

# Kyte and Doolittle 1982, hydropathy (AAindex KYTJ820101).
HYDROPATHY = {
    "A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4, "H": -3.2, "I": 4.5,
    "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8, "T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2,
}  # fmt: skip
# Klein, Kanehisa and DeLisi 1984, net charge (AAindex KLEP840101).
CHARGE = {"R": 1.0, "K": 1.0, "D": -1.0, "E": -1.0}
# Grantham 1974, volume (AAindex GRAR740103).
VOLUME = {
    "A": 31.0, "R": 124.0, "N": 56.0, "D": 54.0, "C": 55.0, "Q": 85.0, "E": 83.0, "G": 3.0, "H": 96.0, "I": 111.0,
    "L": 111.0, "K": 119.0, "M": 105.0, "F": 132.0, "P": 32.5, "S": 32.0, "T": 61.0, "W": 170.0, "Y": 136.0,
    "V": 84.0,
}  # fmt: skip
# What a residue costs a helix, kcal/mol more than alanine (Pace and Scholtz 1998); the property is its negative.
_COST = {
    "A": 0.0, "L": 0.21, "R": 0.21, "M": 0.24, "K": 0.26, "Q": 0.39, "E": 0.40, "I": 0.41, "W": 0.49, "S": 0.50,
    "Y": 0.53, "F": 0.54, "H": 0.61, "V": 0.61, "N": 0.65, "T": 0.66, "C": 0.68, "D": 0.69, "G": 1.0, "P": 3.16,
}  # fmt: skip
HELIX = {letter: -cost for letter, cost in _COST.items()}
PROPERTIES = {"hydropathy": HYDROPATHY, "charge": CHARGE, "volume": VOLUME, "helix": HELIX}
