// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Paints what changed into the page. Loaded with the first change.
import { alter } from "/static/alter.js";
import { drawDay, drawPush, drawTree } from "/static/board/draw.js";
import { get } from "/static/el.js";
import { filter } from "/static/board/filter.js";
import { rove } from "/static/board/keys.js";
import { PROBLEMS, icon, shown, title } from "/static/board/texts.js";
import { setBanner } from "/static/page.js";
import { setTitle } from "/static/tab.js";

export { filter };

const PUSHES_MAX = 200, list = get("list");
// Pushes whose failed tests wait, and builds that failed, new here, since the last announcement.
export const held = new Map(), news = [];
export const pushes = () => [...list.querySelectorAll(".p")];
const dayOf = (item) => item.dataset.day || item.querySelector("time").dateTime.slice(0, 10);
let tree;

// Where the place has room, whatever the view leaves out, a word that got well stays until the next load.
function keep(old, fresh) {
  const show = document.documentElement.dataset.show, wanted = show === "new" ? ["new"] : PROBLEMS;
  const has = (word) => wanted.some((state) => word.classList.contains(state));
  const lines = [...fresh.querySelectorAll(".l")];
  for (const line of old.querySelectorAll(".l")) {
    const name = line.getAttribute("aria-label"), now = lines.find((each) => each.getAttribute("aria-label") === name);
    const words = now ? [...now.children] : [];
    for (const was of line.querySelectorAll(".w")) {
      const is = words.find((each) => each.textContent === was.textContent);
      if (!is) continue;
      if (is.classList.contains("new") && !/, tier \d/.test(is.ariaLabel) && !was.classList.contains("new")) news.push(`${name} ${is.textContent}`);
      if ((show && show !== "everything" && has(was) && !has(is)) || was.classList.contains("kept")) {
        is.classList.add("kept");
        now.classList.remove("calm", "old");
      }
    }
  }
}

export function paint(push, mayWait) {
  const old = get(`p${push.id}`), fresh = drawPush(push);
  if (!old || Number(old.dataset.c) > push.changed) return;
  keep(old, fresh);
  const was = old.querySelector(".fails"), is = fresh.querySelector(".fails");
  held.delete(push.id);
  if (mayWait && !push.withdrawn && (was?.children.length || 0) !== (is?.children.length || 0) && old.getBoundingClientRect().top < innerHeight) {
    held.set(push.id, push);
    is?.remove();
    if (was) fresh.querySelector(".builds").append(was.cloneNode(true));
    // The summary of a bug may not be public any more.
    for (const each of fresh.querySelectorAll(".fails [title]")) each.removeAttribute("title");
  }
  if (push.withdrawn) old.style.minHeight = `${old.offsetHeight}px`;
  alter(old, fresh);
  rove(old);
  list.dispatchEvent(new CustomEvent("painted", { detail: old }));
}

function place(push) {
  const item = drawPush(push);
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

export function setTree(now) {
  const wasClosed = tree ? tree.state === "closed" : get("tree")?.classList.contains("closed");
  tree = now;
  if (now.state === "closed" && !wasClosed) get("alert").textContent = `${shown(now.name)} is closed: ${shown(now.reason || "")}`;
  setBanner(drawTree(now, new Date().toISOString()));
  setTitle(title(now), icon(now));
}
