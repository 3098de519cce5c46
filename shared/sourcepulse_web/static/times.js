// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Times on every page: the reader's own zone in the tooltip, and a tree that was to open by now and has not been opened.

const TICK_MS = 1000, OPENS = /opens again at ((?:\d+ \w+ )?\d\d:\d\d)/;
const ZONED = { dateStyle: "full", timeStyle: "long" };

// Of a time, or of the one in an element.
export function zone(near) {
  const time = near.closest("time") ?? near.querySelector(":scope > time"), at = new Date(time?.dateTime || NaN);
  if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString([], ZONED);
}

setInterval(() => {
  for (const banner of document.querySelectorAll("[data-until]")) {
    const when = banner.querySelector(".when");
    if (when && Date.parse(banner.dataset.until) <= Date.now() && OPENS.test(when.textContent)) when.textContent = when.textContent.replace(OPENS, "was to open at $1, has not been opened");
  }
}, TICK_MS);
