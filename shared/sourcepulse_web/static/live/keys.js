// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The single keys of the live page.
import { get } from "/static/el.js";
import { close, flush, open, opened, rows } from "/static/live.js";

const keys = get("keys");

function step(row, way) {
  const all = rows();
  all[Math.min(all.length - 1, Math.max(0, all.indexOf(row) + way))]?.firstElementChild.focus();
}

async function click(row, name) {
  if (!row) return;
  if (!opened(row)) await open(row);
  opened(row)?.querySelector(name).click();
}

export function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search]") || !keys.checked) return;
  const at = document.activeElement, row = at.closest(".row") ?? at.closest(".open")?.previousElementSibling;
  const does = {
    j: () => step(row, 1), k: () => step(row, -1), ".": flush, "/": () => get("q").focus(),
    i: () => click(row, ".only"), x: () => click(row, ".hide"), y: () => click(row, ".copy"),
    "?": () => { get("help").open = true; keys.focus(); }, Escape: () => row && close(row) && row.firstElementChild.focus(),
  }[event.key];
  if (does) { event.preventDefault(); does(); }
}

addEventListener("keydown", press);
