// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The live page: rows that come are put on top at once, or wait behind the button while somebody reads.
import { end, isReading, show } from "/static/banners.js";
import { el, get, many } from "/static/el.js";
import { connect } from "/static/feed.js";
import { why } from "/static/state.js";
import { setTitle } from "/static/tab.js";

const KEPT_MAX = 500, PAINT_MS = 1000, TITLE = document.title, now = () => performance.now();
const list = get("rows"), newer = get("newer"), pause = get("pause"), keys = get("keys"), field = get("q");
const query = () => new URLSearchParams(location.search), all = (name) => query().getAll(name);
const needs = { topics: all("key"), exclude: all("not"), types: all("type"), sources: all("source"), rows: true, after: list.dataset.place, age: list.dataset.age ?? Infinity };
const wantsBeats = `${needs.topics}${needs.types}`.includes("heartbeat");
let held = [], painted = 0, stopped = "", added = "";

export const rows = () => [...list.querySelectorAll(".row:not([hidden])")];
const of = ({ id, source }) => [...list.querySelectorAll(".row")].filter(({ dataset }) => dataset.id === id && dataset.source === source);
const isPaused = () => pause.ariaPressed === "true";
const isBusy = () => isPaused() || isReading();
const link = (text, href, className) => el("a", { class: className, href }, text);

const drawn = (parts) => parts.map(([kind, text, href]) => (kind === "" ? text : href ? link(el("bdi", null, text), href, kind) : kind === "name" ? el("b", null, el("bdi", null, text)) : el("bdi", kind, text)));

function draw({ time, kind, parts, key, type, source, id, epoch, sequence, replayed, withdrawn }, position) {
  const place = epoch ? { "data-epoch": epoch, "data-sequence": sequence } : {};
  const row = el("li", { class: "row", "data-type": type, "data-source": source, "data-id": id, "data-key": key, ...place, "data-replayed": replayed && "true" },
    link(el("time", { datetime: time }, time.slice(11, 19)), `/events.json?after=${position - 1}&limit=1`, "time"), el("span", null, kind), el("p", null, drawn(parts)), el("code", null, key));
  if (withdrawn) withdraw(row);
  return row;
}

function hatched({ name, text }) {
  const line = el("span", null, el("b", null, name), " ", el("bdi", null, text));
  if (name === "Gap") line.append(" ", link("Why, and what to do", "#gaps"));
  return el("li", "hatch", line);
}

function put(line, time) {
  const date = time?.slice(0, 10), top = list.firstElementChild;
  if (date && top?.dataset.date !== date) {
    const day = el("li", { class: "day", "data-date": date }, `${new Date(time).toLocaleDateString("en-GB", { timeZone: "UTC", dateStyle: "full" }).replace(",", "")}, times in UTC · newest first`);
    list.prepend(day, line);
  } else if (top?.dataset.date) top.after(line);
  else list.prepend(line);
}

export function flush() {
  const top = rows().find((row) => row.getBoundingClientRect().bottom > 0), before = top?.getBoundingClientRect().top;
  const come = held.filter(({ row }) => row);
  for (const { row, position, gap } of held) {
    // After a reset, what is known may come again; a replay is another row.
    if (row && !row.replayed && of(row).length) continue;
    if (gap) put(hatched(gap), row?.time);
    if (row) put(draw(row, position), row.time);
  }
  held = [];
  painted = now();
  if (scrollY > 0 && top && !CSS.supports("overflow-anchor", "auto")) scrollBy(0, top.getBoundingClientRect().top - before);
  added = scrollY > 0 && come.length ? `${many(come.length, "event")} added above` : "";
  while (list.childElementCount > KEPT_MAX && list.lastElementChild.getBoundingClientRect().top > innerHeight) list.lastElementChild.remove();
  sift();
  say();
}

function say() {
  const waiting = held.filter(({ row }) => row).length;
  newer.hidden = !held.length;
  setTitle(`${waiting ? `↑ ${waiting} · ` : ""}${TITLE}`);
  newer.textContent = waiting ? `↑ ${many(waiting, "newer event")}` : "↑ newer";
  get("slot").textContent = held.length ? "" : stopped || (isPaused() ? "paused" : added || "nothing newer");
}

function arrived() {
  if (held.length && !isBusy() && now() - painted >= PAINT_MS) requestAnimationFrame(flush);
  else say();
}

function sift() {
  const text = field.value.trim().toLowerCase();
  for (const row of list.querySelectorAll(".row")) row.hidden = !`${row.textContent} ${row.dataset.source}`.toLowerCase().includes(text);
  get("empty").hidden = rows().length;
  if (text) get("empty").textContent = `No row here matches "${field.value}". Enter looks further back.`;
}

export const opened = (row) => (row?.nextElementSibling?.matches(".open") ? row.nextElementSibling : null);

export function close(row) {
  const open = opened(row);
  open?.remove();
  row.firstElementChild.ariaExpanded = "false";
  return open;
}

function withdraw(row) {
  close(row);
  row.classList.add("gone");
  row.children[2].textContent = "withdrawn: no longer public";
}

export async function open(row) {
  if (close(row)) return;
  row.firstElementChild.ariaExpanded = "true";
  const { drawOpened } = await import("/static/live/opened.js");
  if (row.isConnected && !opened(row) && row.firstElementChild.ariaExpanded === "true") row.after(drawOpened(row, why(needs, row.dataset)));
}

function onBanner({ about, look, tag, parts, when }) {
  if (tag) show(about, el("div", { class: `banner ${look}`, role: "alert" }, el("b", "tag", tag), el("p", null, drawn(parts)), el("span", "when", when)));
  else end(about, about.startsWith("system:") ? "UP AGAIN" : "OPEN AGAIN");
}

list.onclick = (event) => {
  const time = event.target.closest(".time");
  if (time && !event.ctrlKey && !event.metaKey) { event.preventDefault(); open(time.parentElement); }
};
field.oninput = () => {
  const asked = query();
  asked.set("q", field.value);
  if (!field.value) asked.delete("q");
  history.replaceState(null, "", `/?${asked}`);
  sift();
};
// The keys come with the first sign of somebody.
let press;
const use = async () => {
  try { ({ press } = await import("/static/live/keys.js")); } catch { /* at the next sign */ }
};
for (const kind of ["pointermove", "pointerdown", "focusin"]) addEventListener(kind, use, { once: true });
addEventListener("keydown", async (event) => {
  if (press) return;
  await use();
  press?.(event);
});
newer.onclick = flush;
pause.hidden = false;
pause.onclick = () => { pause.ariaPressed = String(!isPaused()); if (!isPaused()) flush(); say(); };
keys.checked = localStorage.keys !== "off";
keys.onchange = () => { localStorage.keys = keys.checked ? "on" : "off"; };
setInterval(arrived, PAINT_MS);
connect(needs, {
  onRow(row, id) {
    if (row.type.endsWith(".heartbeat.v1") && !wantsBeats) return;
    held.push({ row, position: Number(id.split(".")[1]), gap: row.gap });
    arrived();
  },
  onBanner,
  onReset({ lost, reason }) {
    held.push({ gap: { name: "Reset", text: `${lost === null ? "An unknown number of events" : many(lost, "event")} before this will not come here (${reason}).` } });
    arrived();
  },
  onWithdraw({ withdrawn }) {
    for (const gone of withdrawn) {
      held = held.filter(({ row }) => row?.id !== gone.id || row.source !== gone.source);
      of(gone).forEach(withdraw);
    }
    say();
  },
  onState(word) {
    stopped = word === "broken" ? stopped || `stopped at ${new Date().toISOString().slice(11, 19)}` : "";
    say();
  },
});
