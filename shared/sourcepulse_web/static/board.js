// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The board of a tree: what is painted at once, and what waits while somebody reads.
import { connect } from "/static/feed.js";
import { drawDay, drawPush, drawTree, morph } from "/static/board/draw.js";
import { filter, startFilter } from "/static/board/filter.js";
import { rove, startKeys } from "/static/board/keys.js";
import { PROBLEMS, icon, many, shown, title } from "/static/board/texts.js";
import { startTray } from "/static/board/tray.js";

const IDLE_MS = 30000, REPAINT_MS = 1000, SAY_MS = 20000, PUSHES_MAX = 200;
const get = (id) => document.getElementById(id);
const list = get("list"), slot = get("slot"), banners = get("banners"), button = document.createElement("button");
const waiting = new Map(), held = new Map(), said = [], news = [];
let used = -IDLE_MS, flushed = 0, sayable = 0, timer, tree, word = "live", stopped = "", idle = slot.textContent;

export const pushes = () => [...list.querySelectorAll(".p")];
export const load = async (query) => (await fetch(`${location.pathname}?format=json&${query}`)).json();
const reading = () => scrollY > 0 || list.contains(document.activeElement) || performance.now() - used < IDLE_MS;
const dayOf = (item) => item.dataset.day || item.querySelector("time").dateTime.slice(0, 10);

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
      if (is.classList.contains("new") && !was.classList.contains("new")) news.push(`${name} ${is.textContent}`);
      if ((show && show !== "everything" && has(was) && !has(is)) || was.classList.contains("kept")) {
        is.classList.add("kept");
        now.classList.remove("calm", "old");
      }
    }
  }
}

function paint(push, mayWait) {
  const old = get(`p${push.id}`), fresh = drawPush(push);
  if (!old || Number(old.dataset.c) > push.changed) return;
  keep(old, fresh);
  const was = old.querySelector(".fails"), is = fresh.querySelector(".fails");
  held.delete(push.id);
  if (mayWait && !push.withdrawn && (was ? was.children.length : 0) !== (is ? is.children.length : 0) && old.getBoundingClientRect().top < innerHeight) {
    held.set(push.id, push);
    is?.remove();
    if (was) fresh.querySelector(".builds").append(was.cloneNode(true));
    for (const each of fresh.querySelectorAll(".fails [title]")) each.removeAttribute("title");
  }
  if (push.withdrawn) old.style.minHeight = `${old.offsetHeight}px`;
  morph(old, fresh);
  rove(old);
}

function place(push) {
  const below = pushes().find((item) => Number(item.id.slice(1)) < push.id);
  const item = drawPush(push);
  let spot = below || null;
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

function drawSlot() {
  if ("before" in list.dataset) return;
  const count = waiting.size, text = count ? `↑ ${many(count, "newer push", "newer pushes")}` : `↑ ${many(held.size, "push", "pushes")} changed`;
  if (!count && !held.size) {
    slot.textContent = word === "broken" ? `stopped at ${stopped}` : idle;
    return;
  }
  if (button.textContent !== text) button.textContent = text;
  if (button.parentNode !== slot) slot.replaceChildren(button);
}

export function showNewer(byHand) {
  const count = waiting.size;
  const documents = [...waiting.values()], changed = [...held.values()];
  waiting.clear();
  insert(documents, byHand);
  for (const push of changed) paint(push, false);
  flushed = performance.now();
  if (count && byHand) {
    idle = `${many(count, "push", "pushes")} added above`;
    (pushes()[count] || list).focus?.({ preventScroll: true });
    setTimeout(() => { idle = "nothing newer"; drawSlot(); }, IDLE_MS);
  }
  drawSlot();
}

function setTree(now) {
  const was = tree ? tree.state : get("tree")?.classList.contains("closed") ? "closed" : "";
  const old = get("tree"), fresh = drawTree(now, new Date().toISOString());
  tree = now;
  if (now.state === "closed" && was !== "closed") get("alert").textContent = `${shown(now.name)} is closed: ${shown(now.reason || "")}`;
  if (old && fresh) morph(old, fresh);
  else if (fresh) { banners.append(fresh); banners.classList.toggle("over", reading()); }
  else if (old) old.querySelector(".tag").textContent = "OPEN AGAIN";
  get("icon").href = icon(now);
  document.title = (word === "broken" ? "broken · " : "") + title(now);
}

function tick() {
  if (!reading()) {
    if (waiting.size || held.size) showNewer(false);
    banners.classList.remove("over");
    if (tree && !drawTree(tree, "")) get("tree")?.remove();
  }
  if (news.length && performance.now() >= sayable) {
    get("said").textContent = `${many(news.length, "build")} failed, new here: ${news.splice(0).join(", ")}`;
    sayable = performance.now() + SAY_MS;
  }
}

function frame() {
  timer = 0;
  const reads = reading();
  for (const update of said.splice(0)) {
    for (const id of update.gone || []) { if (!reads) get(`p${id}`)?.remove(); waiting.delete(id); }
    const newest = Number(pushes()[0]?.id.slice(1) || 0), oldest = Number(pushes().at(-1)?.id.slice(1) || 0);
    for (const push of update.pushes) {
      if (get(`p${push.id}`)) paint(push, reads);
      else if (push.id > newest) waiting.set(push.id, push);
      else if (push.id > oldest) insert([push], true);
    }
    setTree(update.tree);
  }
  if ("before" in list.dataset) waiting.clear();
  if (!reads && performance.now() - flushed >= REPAINT_MS) tick();
  filter();
  drawSlot();
}

export function hear(update) {
  said.push(update);
  timer ||= setTimeout(frame, 16);
}

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"])
  addEventListener(kind, () => { used = performance.now(); }, { passive: true });
button.className = "main pill";
button.onclick = () => showNewer(true);
pushes().forEach(rove);
startTray(list);
startFilter();
startKeys(list, () => button.click());
setInterval(tick, REPAINT_MS);
const reload = async () => hear(await load(`limit=${Math.max(1, Math.min(PUSHES_MAX, pushes().length))}`));
connect({ boards: [list.dataset.repo], topics: ["system.*.heartbeat"], rows: true, after: list.dataset.after }, {
  onBoard: hear,
  onReset: reload,
  onState(now) {
    if (now === "broken" && word !== "broken") stopped = new Date().toISOString().slice(11, 19);
    word = now;
    if (tree) document.title = (word === "broken" ? "broken · " : "") + title(tree);
    drawSlot();
  },
});
