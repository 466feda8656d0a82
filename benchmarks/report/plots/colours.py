"""Colours of roles, on light and on dark paper; told apart by people who confuse red and green, too.

After Okabe and Ito, Color Universal Design (2008), darkened or lightened until text in them has a contrast of 4.5.
"""

from __future__ import annotations

from collections.abc import Mapping

from visiondeploy.benchmarks.report.plots.scene import Role

Palette = Mapping[Role, str]

LIGHT: Palette = {
    "ink": "#1b1f24",
    "muted": "#59626c",
    "grid": "#e1e5ea",
    "paper": "#ffffff",
    "band": "#f2f4f7",
    "good": "#0069a8",
    "bad": "#b8480a",
    "own": "#4b545e",
    "one": "#0069a8",
    "two": "#b04e0a",
    "three": "#007a5a",
    "four": "#a1478a",
    "five": "#8a6700",
    "six": "#3f5bd8",
}
DARK: Palette = {
    "ink": "#e8ebee",
    "muted": "#a3adb8",
    "grid": "#333b44",
    "paper": "#15191e",
    "band": "#1d2329",
    "good": "#62b6ee",
    "bad": "#f59a5f",
    "own": "#b9c2cb",
    "one": "#62b6ee",
    "two": "#f59a5f",
    "three": "#4ac8a0",
    "four": "#e0a0cf",
    "five": "#dcb84e",
    "six": "#9aaefc",
}
