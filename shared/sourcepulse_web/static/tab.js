// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The tab: its title and its picture say how the page is, also while another tab is in front.
import { get } from "/static/el.js";

const STATES = { behind: "◐ behind · ", broken: "✖ broken · " };
const icon = get("icon");
let title = document.title, own = icon.href, word = "";

// The same as `picture` of pages/trees/picture.py.
export const picture = (shape, text, ink) => "data:image/svg+xml," + encodeURIComponent(
  `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${shape}<text x='8' y='12' font-size='11' text-anchor='middle' fill='${ink || "#fff"}'>${text}</text></svg>`);
const BROKEN = picture("<circle cx='8' cy='8' r='7' fill='#fff' stroke='#b3261e' stroke-width='2'/>", "✖", "#b3261e");

function draw() {
  document.title = (STATES[word] || "") + title;
  const now = word === "broken" ? BROKEN : own;
  if (icon.href !== now) icon.href = now;
}

export function setTitle(text, href = own) { title = text; own = href; draw(); }
export function setWord(now) { word = now; draw(); }
