// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Banners, by what they are about, and whether somebody reads. While somebody does, a banner that comes is laid over what is below the
// head, and one that ends says so; they take and leave their room once the page is at rest.
import { get } from "/static/el.js";

const IDLE_MS = 30000, SETTLE_MS = 1000;
const main = get("main"), room = get("banners"), over = get("over");
let used = -IDLE_MS;

export function isReading() {
  // A wall has no reader.
  if (document.documentElement.className === "wall") return false;
  const focus = document.activeElement;
  return scrollY > 0 || (focus !== main && main.contains(focus)) || performance.now() - used < IDLE_MS;
}

const find = (about) => [...room.children, ...over.children].find((each) => each.dataset.about === about);

export function show(about, banner) {
  const old = find(about);
  banner.dataset.about = about;
  if (old) old.replaceWith(banner);
  else (isReading() ? over : room).append(banner);
}

export function end(about, said) {
  const old = find(about);
  if (!old) return;
  if (old.parentNode === over || !isReading()) { old.remove(); return; }
  old.dataset.ended = "";
  old.querySelector(".tag").textContent = said;
}

function settle() {
  if (isReading()) return;
  room.append(...over.children);
  for (const ended of room.querySelectorAll("[data-ended]")) ended.remove();
}

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"])
  addEventListener(kind, () => { used = performance.now(); }, { passive: true });
setInterval(settle, SETTLE_MS);
