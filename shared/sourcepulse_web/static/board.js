// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The board of a tree: what is painted at once, and what waits while somebody reads.
import { isReading } from "/static/banners.js";
import { get, many } from "/static/el.js";
import { connect } from "/static/feed.js";

const IDLE_MS = 30000, REPAINT_MS = 1000, SAY_MS = 20000, FRAME_MS = 16, PUSHES_MAX = 200;
const list = get("list"), total = document.querySelector(".total"), slot = get("slot"), button = document.createElement("button");
// New pushes, and updates that are not painted yet.
const waiting = new Map(), updates = [];
// The module that paints comes with the first update; filter and keys come with the first sign of somebody, who gets them once.
let painter, hands, press, flushed = 0, sayable = 0, timer = 0, word = "", stopped = "", idle = slot.textContent;

export const pushes = () => [...list.querySelectorAll(".p")];
export const load = async (query) => (await fetch(`${location.pathname}?format=json&${query}`)).json();
const parts = async () => { painter ||= await import("/static/board/paint.js"); };

export function use() {
  return (hands ||= Promise.all([import("/static/board/keys.js"), import("/static/board/filter.js")]).then(([{ rove, startKeys }, { startFilter }]) => {
    pushes().forEach(rove);
    startFilter();
    press = startKeys(list, () => button.isConnected && showNewer(true));
  }, () => { hands = undefined; }));
}

export async function insert(documents, anchored) {
  await parts();
  painter.insert(documents, anchored);
}

const matching = () => [...waiting.values()].filter((push) => painter.passes(push)).length;

function drawTotal(number) {
  total.textContent = total.textContent.replace(/^[\d,]+ \w+/, many(number, "push", "pushes"));
}
const known = () => Number(total.textContent.replaceAll(",", "").match(/^\d+/));

function drawSlot() {
  if ("before" in list.dataset) return;
  const count = matching(), changed = [...(painter?.held.keys() ?? [])].filter((id) => !get(`p${id}`)?.hidden).length;
  if (!count && !changed) { slot.textContent = word === "broken" ? `stopped at ${stopped}` : idle; return; }
  const text = count ? `↑ ${many(count, "newer push", "newer pushes")}` : `↑ ${many(changed, "push", "pushes")} changed`;
  if (button.textContent !== text) button.textContent = text;
  if (button.parentNode !== slot) slot.replaceChildren(button);
}

function showNewer(byHand) {
  const count = matching(), documents = [...waiting.values()], changed = [...painter.held.values()];
  waiting.clear();
  painter.showPlaces();
  drawTotal(known() + documents.length);
  painter.insert(documents, byHand);
  for (const push of changed) painter.paint(push, false);
  flushed = performance.now();
  if (count && byHand) {
    idle = `${many(count, "push", "pushes")} added above`;
    setTimeout(() => { idle = "nothing newer"; drawSlot(); }, IDLE_MS);
  }
  drawSlot();
}

// That a tree was not opened in time is no event.
function overdue() {
  const banner = get("tree"), when = banner?.querySelector(".when");
  if (!(Date.parse(banner?.dataset.until) < Date.now())) return;
  when.textContent = when.textContent.replace(/opens again at (.*?\d\d:\d\d)/, "was to open at $1, has not been opened");
  delete banner.dataset.until;
}

function tick() {
  overdue();
  if (!painter) return;
  if (!isReading() && (waiting.size || painter.held.size)) showNewer(false);
  if (painter.news.length && performance.now() >= sayable) {
    get("said").textContent = `${many(painter.news.length, "build")} failed, new here: ${painter.news.splice(0).join(", ")}`;
    sayable = performance.now() + SAY_MS;
  }
}

async function frame() {
  // The gateway sends updates and does not send the module: the page begins again, and is whole.
  try { await parts(); } catch { location.reload(); return; }
  timer = 0;
  const reads = isReading();
  for (const update of updates.splice(0)) {
    for (const id of update.gone || []) {
      const old = get(`p${id}`);
      if (old && (!reads || old.getBoundingClientRect().top > innerHeight)) old.remove();
      if (!waiting.delete(id)) drawTotal(Math.max(0, known() - 1));
    }
    painter.begin(update, reads);
    const all = pushes(), newest = Number(all[0]?.id.slice(1) || 0), oldest = Number(all.at(-1)?.id.slice(1) || 0);
    for (const push of update.pushes) {
      if (get(`p${push.id}`)) painter.paint(push, reads);
      else if (push.id > newest) waiting.set(push.id, push);
      else if (push.id > oldest) painter.insert([push], true);
    }
    if ("total" in update) drawTotal(update.total - waiting.size);
  }
  if ("before" in list.dataset) waiting.clear();
  if (!reads && performance.now() - flushed >= REPAINT_MS) tick();
  painter.filter();
  drawSlot();
}

async function again() {
  try { hear(await load(`limit=${Math.max(1, Math.min(PUSHES_MAX, pushes().length))}`)); } catch { location.reload(); }
}

export function hear(update) {
  updates.push(update);
  timer ||= setTimeout(frame, FRAME_MS);
  return !get("q").value.trim() || !painter || update.pushes.some((push) => painter.passes(push));
}

for (const kind of ["pointermove", "pointerdown", "focusin"]) addEventListener(kind, use);
addEventListener("keydown", async (event) => {
  if (press) return;
  await use();
  press?.(event);
});
list.addEventListener("filtered", drawSlot);
button.className = "pill";
button.onclick = () => showNewer(true);
get("tray").hidden = false;
// A phone begins with problems.
if (matchMedia("(max-width: 50rem)").matches) use();
setInterval(tick, REPAINT_MS);
connect({ boards: [list.dataset.repo], after: list.dataset.after, age: list.dataset.age ?? Infinity }, {
  onBoard: hear,
  // Of another log nothing here holds.
  onReset: ({ reason }) => (reason === "older-than-kept" ? again() : location.reload()),
  onState(now) {
    if (now === "broken" && word !== "broken") stopped = new Date().toISOString().slice(11, 19);
    word = now;
    drawSlot();
  },
});
