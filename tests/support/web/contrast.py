# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether the texts of a page can be read: their contrast as the browser draws them."""

from __future__ import annotations

from playwright.sync_api import Page

#: The least contrast of text (WCAG 2.2, 1.4.3).
LEAST = 4.5
_POOR = """(least) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = rgb(colour).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!says || !element.checkVisibility()) continue;
    const both = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    const ratio = (both[0] + 0.05) / (both[1] + 0.05);
    const text = element.textContent.trim().slice(0, 30);
    if (ratio < least) poor.push(`${element.className}: ${text} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def poor_contrast(page: Page) -> list[str]:
    """Return the visible texts whose contrast with what is behind them is too low."""
    found: list[str] = page.evaluate(_POOR, LEAST)
    return found
