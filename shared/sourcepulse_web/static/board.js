// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The board of a tree: what is painted at once, and what waits while somebody reads.
import { connect } from "/static/feed.js";
import { get, many } from "/static/board/el.js";
import { filter, startFilter } from "/static/board/filter.js";
import { rove, startKeys } from "/static/board/keys.js";

const IDLE_MS = 30000, REPAINT_MS = 1000, SAY_MS = 20000, FRAME_MS = 16, PUSHES_MAX = 200;
const list = get("list"), slot = get("slot"), button = document.createElement("button");
// New pushes, and updates that are not painted yet.
const waiting = new Map(), updates = [];
// The module that paints; it comes after the first paint.
let painter, used = -IDLE_MS, flushed = 0, sayable = 0, timer = 0, word = "", stopped = "", idle = slot.textContent;

export const pushes = () => [...list.querySelectorAll(".p")];
export const load = async (query) => (await fetch(`${location.pathname}?format=json&${query}`)).json();
const parts = async () => { painter ||= await import("/static/board/paint.js"); };
const reading = () => scrollY > 0 || list.contains(document.activeElement) || performance.now() - used < IDLE_MS;

export async function insert(documents, anchored) {
  await parts();
  painter.insert(documents, anchored);
}

function drawSlot() {
  if ("before" in list.dataset) return;
  const count = waiting.size, changed = painter?.held.size;
  if (!count && !changed) { slot.textContent = word === "broken" ? `stopped at ${stopped}` : idle; return; }
  const text = count ? `↑ ${many(count, "newer push", "newer pushes")}` : `↑ ${many(changed, "push", "pushes")} changed`;
  if (button.textContent !== text) button.textContent = text;
  if (button.parentNode !== slot) slot.replaceChildren(button);
}

function showNewer(byHand) {
  const count = waiting.size, documents = [...waiting.values()], changed = [...painter.held.values()];
  waiting.clear();
  painter.insert(documents, byHand);
  for (const push of changed) painter.paint(push, false);
  flushed = performance.now();
  if (count && byHand) {
    idle = `${many(count, "push", "pushes")} added above`;
    setTimeout(() => { idle = "nothing newer"; drawSlot(); }, IDLE_MS);
  }
  drawSlot();
}

function tick() {
  if (!painter) return;
  if (!reading()) {
    if (waiting.size || painter.held.size) showNewer(false);
    painter.settle();
  }
  if (painter.news.length && performance.now() >= sayable) {
    get("said").textContent = `${many(painter.news.length, "build")} failed, new here: ${painter.news.splice(0).join(", ")}`;
    sayable = performance.now() + SAY_MS;
  }
}

async function frame() {
  await parts();
  timer = 0;
  const reads = reading();
  for (const update of updates.splice(0)) {
    for (const id of update.gone || []) {
      const old = get(`p${id}`);
      if (old && (!reads || old.getBoundingClientRect().top > innerHeight)) old.remove();
      waiting.delete(id);
    }
    const all = pushes(), newest = Number(all[0]?.id.slice(1) || 0), oldest = Number(all.at(-1)?.id.slice(1) || 0);
    for (const push of update.pushes) {
      if (get(`p${push.id}`)) painter.paint(push, reads);
      else if (push.id > newest) waiting.set(push.id, push);
      else if (push.id > oldest) painter.insert([push], true);
    }
    painter.setTree(update.tree, reads, word);
  }
  if ("before" in list.dataset) waiting.clear();
  if (!reads && performance.now() - flushed >= REPAINT_MS) tick();
  filter();
  drawSlot();
}

async function again() {
  try { hear(await load(`limit=${Math.max(1, Math.min(PUSHES_MAX, pushes().length))}`)); } catch { location.reload(); }
}

export function hear(update) {
  updates.push(update);
  timer ||= setTimeout(frame, FRAME_MS);
}

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"])
  addEventListener(kind, () => { used = performance.now(); }, { passive: true });
button.className = "main pill";
button.onclick = () => showNewer(true);
pushes().forEach(rove);
get("tray").hidden = false;
startFilter();
startKeys(list, () => button.isConnected && showNewer(true));
setInterval(tick, REPAINT_MS);
setTimeout(() => { parts(); import("/static/board/tray.js"); }, REPAINT_MS);
connect({ boards: [list.dataset.repo], topics: ["system.*.heartbeat"], rows: true, after: list.dataset.after }, {
  onBoard: hear,
  // Of another log nothing here holds.
  onReset: ({ reason }) => (reason === "older-than-kept" ? again() : location.reload()),
  onState(now) {
    if (now === "broken" && word !== "broken") stopped = new Date().toISOString().slice(11, 19);
    word = now;
    painter?.drawTitle(word);
    drawSlot();
  },
});
