// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Paints what changed into the page. Loaded with the first change.
import { alter } from "/static/alter.js";
import { drawDay, drawPush, drawTree } from "/static/board/draw.js";
import { get } from "/static/el.js";
import { filter, passes as shows } from "/static/board/filter.js";
import { rove } from "/static/board/keys.js";
import { arrange, byKey, fill, grows } from "/static/board/places.js";
import { PROBLEMS, icon, shown, title } from "/static/board/texts.js";
import { setBanner } from "/static/page.js";
import { setTitle } from "/static/tab.js";

export { filter };

const PUSHES_MAX = 200, list = get("list");
// Pushes whose failed tests wait, and builds that failed, new here, since the last announcement.
export const held = new Map(), news = [];
export const pushes = () => [...list.querySelectorAll(".p")];
const dayOf = (item) => item.dataset.day || item.querySelector("time").dateTime.slice(0, 10);
const drawn = new WeakMap();
// The places that the pushes have, as text, and those that wait.
let tree, placed = "", coming = null;

// Whether the filter shows a push that is not on the page.
export const passes = (push) => shows(() => {
  if (!drawn.has(push)) drawn.set(push, drawPush(push));
  return drawn.get(push);
});

// Where the place has room, whatever the view leaves out, a word that got well stays until the next load.
function keep(old, fresh) {
  const show = document.documentElement.dataset.show, wanted = show === "new" ? ["new"] : PROBLEMS;
  const has = (word) => wanted.some((state) => word.classList.contains(state));
  const words = byKey(fresh, ".w");
  for (const line of old.querySelectorAll(".l")) {
    for (const was of line.querySelectorAll(".w")) {
      const is = words.get(was.dataset.key), now = is?.parentNode;
      if (!is) continue;
      if (is.classList.contains("new") && !/, tier \d/.test(is.ariaLabel) && !was.classList.contains("new")) news.push(`${now.dataset.key} ${is.textContent}`);
      if ((show && show !== "everything" && has(was) && !has(is)) || was.classList.contains("kept")) {
        is.classList.add("kept");
        now.classList.remove("calm", "old");
      }
    }
  }
}

// The focus stays on the same push and place, also where its element is replaced or moved.
function keepFocus(push) {
  const from = document.activeElement, inside = push.contains(from);
  return () => {
    if (!inside || document.activeElement === from) return;
    (byKey(push, ".w").get(from.dataset.key) || push.querySelector("a[tabindex='0']"))?.focus({ preventScroll: true });
  };
}

// A new builder is on every push from its first event on; where that needs room, it waits while somebody reads.
function setPlaces(places, mayWait) {
  const text = JSON.stringify(places);
  if (text === placed) return;
  const model = pushes().find((each) => each.querySelector(".w") && each.getBoundingClientRect().bottom > 0);
  coming = mayWait && model && grows(model, places) ? places : null;
  if (coming) return;
  placed = text;
  for (const push of pushes()) {
    const focus = keepFocus(push);
    if (fill(push, places)) rove(push);
    focus();
  }
}
export const showPlaces = () => coming && setPlaces(coming, false);

export function paint(push, mayWait) {
  const old = get(`p${push.id}`), fresh = drawPush(push);
  if (!old || Number(old.dataset.c) > push.changed) return;
  keep(old, fresh);
  const later = arrange(old, fresh, mayWait && Boolean(coming));
  const was = old.querySelector(".fails"), is = fresh.querySelector(".fails");
  held.delete(push.id);
  if (later) held.set(push.id, push);
  if (mayWait && !push.withdrawn && (was?.children.length || 0) !== (is?.children.length || 0) && old.getBoundingClientRect().top < innerHeight) {
    held.set(push.id, push);
    is?.remove();
    if (was) fresh.querySelector(".builds").append(was.cloneNode(true));
    // The summary of a bug may not be public any more.
    for (const each of fresh.querySelectorAll(".fails [title]")) each.removeAttribute("title");
  }
  if (push.withdrawn) old.style.minHeight = `${old.offsetHeight}px`;
  const focus = keepFocus(old);
  alter(old, fresh);
  rove(old);
  focus();
  list.dispatchEvent(new CustomEvent("painted", { detail: old }));
}

function place(push) {
  const item = drawPush(push), model = pushes().find((each) => each.querySelector(".w"));
  if (model) arrange(model, item, false);
  let spot = pushes().find((each) => Number(each.id.slice(1)) < push.id) || null;
  if (spot?.previousElementSibling?.dataset.day && dayOf(spot) !== dayOf(item)) spot = spot.previousElementSibling;
  list.insertBefore(item, spot);
  if (!item.previousElementSibling || dayOf(item.previousElementSibling) !== dayOf(item)) list.insertBefore(drawDay(push.time), item);
  rove(item);
}

// What was at the top of the window stays there.
export function insert(documents, anchored) {
  const top = anchored && pushes().find((item) => item.getBoundingClientRect().bottom > 0), was = top && top.getBoundingClientRect().top;
  list.style.overflowAnchor = "none";
  for (const push of documents) if (!get(`p${push.id}`)) place(push);
  for (const extra of pushes().slice(PUSHES_MAX)) if (extra.getBoundingClientRect().top > innerHeight) extra.remove();
  if (top) scrollBy(0, top.getBoundingClientRect().top - was);
  list.style.overflowAnchor = "";
  filter();
}

function setTree(now) {
  const wasClosed = tree ? tree.state === "closed" : get("tree")?.classList.contains("closed");
  tree = now;
  if (now.state === "closed" && !wasClosed) get("alert").textContent = `${shown(now.name)} is closed: ${shown(now.reason || "")}`;
  setBanner(drawTree(now, new Date().toISOString()));
  setTitle(title(now), icon(now));
}

export function begin(update, mayWait) {
  setPlaces(update.places, mayWait);
  setTree(update.tree);
}
