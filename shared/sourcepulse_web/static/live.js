// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The live page: rows that come are put on top at once, or wait behind the button while somebody reads.
import { end, isReading, show } from "/static/banners.js";
import { el, get, many } from "/static/el.js";
import { connect } from "/static/feed.js";
import { why } from "/static/state.js";
import { setTitle } from "/static/tab.js";

const KEPT_MAX = 500, HELD_MAX = 500, PAINT_MS = 1000, TITLE = document.title, now = () => performance.now();
const list = get("rows"), newer = get("newer"), pause = get("pause"), keys = get("keys"), field = get("q");
const query = () => new URLSearchParams(location.search), all = (name) => query().getAll(name);
const needs = { topics: all("key"), exclude: all("not"), types: all("type"), sources: all("source"), rows: true, after: list.dataset.place, age: list.dataset.age ?? Infinity };
const wantsBeats = `${needs.topics}${needs.types}`.includes("heartbeat");
const LOST = { "older-than-kept": "the log has dropped them already", "unknown-log": "the gateway reads another log now", ahead: "the gateway's log does not reach as far as this page", malformed: "the place where this page was could not be read" };
const name = ({ source, id }) => `${source} ${id}`, every = () => [...list.querySelectorAll(".row")];
// What is on the page or waits. Of more than HELD_MAX that wait only the number of those that match is kept.
const known = new Set(every().map(({ dataset }) => name(dataset)));
let held = [], dropped = 0, painted = 0, pending = 0, due = 0, stopped = "", added = "";

export const rows = () => every().filter((row) => !row.hidden);
const matches = (...texts) => !field.value || texts.join(" ").toLowerCase().includes(field.value.trim().toLowerCase());
const isWanted = ({ time, kind, parts, key, source }) => matches(time.slice(11, 19), kind, parts.map(([, text]) => text).join(""), key, source);
const isPaused = () => pause.ariaPressed === "true";
const isBusy = () => isPaused() || isReading();
const link = (text, href, className) => el("a", { class: className, href }, text);

const drawn = (parts) => parts.map(([kind, text, href]) => (kind === "" ? text : href ? link(el("bdi", null, text), href, kind) : kind === "name" ? el("b", null, el("bdi", null, text)) : el("bdi", kind, text)));

function draw({ time, kind, parts, key, type, source, id, epoch, sequence, replayed, withdrawn, about }, position) {
  const place = epoch ? { "data-epoch": epoch, "data-sequence": sequence } : {};
  const row = el("li", { class: "row", "data-type": type, "data-source": source, "data-id": id, "data-key": key, "data-about": about?.join(" "), ...place, "data-replayed": replayed && "true" },
    link(el("time", { datetime: time }, time.slice(11, 19)), `/events.json?after=${position - 1}&limit=1`, "time"), el("span", null, kind), el("p", null, drawn(parts)), el("code", null, key));
  if (withdrawn) withdraw(row);
  return row;
}

function hatched(title, text, className = "") {
  const line = el("span", null, el("b", null, title), " ", el("bdi", null, text));
  if (title === "Gap") line.append(" ", link("Why, and what to do", "#gaps"));
  return el("li", `hatch ${className}`, line);
}

function put(line, time) {
  const date = time?.slice(0, 10), top = list.firstElementChild;
  if (date && top?.dataset.date !== date) {
    const day = el("li", { class: "day", "data-date": date }, `${new Date(time).toLocaleDateString("en-GB", { timeZone: "UTC", dateStyle: "full" }).replace(",", "")}, times in UTC · newest first`);
    list.prepend(day, line);
  } else if (top?.dataset.date) top.after(line);
  else list.prepend(line);
}

// All is measured once, because each measure after a change makes the browser lay out the page.
export function flush() {
  const anchor = scrollY > 0 && !CSS.supports("overflow-anchor", "auto") && rows().find((row) => row.getBoundingClientRect().bottom > 0);
  const before = anchor && anchor.getBoundingClientRect().top, come = wanted();
  if (dropped) put(hatched("Left out", `${many(dropped, "event")}, because this page keeps ${KEPT_MAX} rows.`, "apart"));
  for (const { row, position, gap, reset, isShown } of held) {
    if (reset) put(hatched("Reset", reset, "apart"));
    if (!row) continue;
    const line = draw(row, position), hatch = gap && hatched(gap.name, gap.text);
    line.hidden = !isShown;
    if (hatch) { hatch.hidden = line.hidden; put(hatch, row.time); }
    put(line, row.time);
  }
  held = [];
  dropped = 0;
  painted = now();
  trim();
  if (anchor) scrollBy(0, anchor.getBoundingClientRect().top - before);
  added = scrollY > 0 && come ? `${many(come, "event")} added above` : "";
  get("empty").hidden = rows().length;
  say();
}

// Hidden rows go first, then the oldest, only below the window.
function trim() {
  const lines = [...list.children].reverse(), extra = lines.length - KEPT_MAX;
  if (extra <= 0) return;
  const below = lines.filter((line) => !line.hidden && line.getBoundingClientRect().top > innerHeight);
  for (const line of [...lines.filter((each) => each.hidden), ...below].slice(0, extra)) {
    known.delete(name(line.dataset));
    line.remove();
  }
}

const wanted = () => dropped + held.filter(({ isShown }) => isShown).length;

function say() {
  const waiting = wanted(), isOffered = waiting || held.some(({ reset }) => reset);
  newer.hidden = !isOffered;
  setTitle(`${waiting ? `↑ ${waiting} · ` : ""}${TITLE}`);
  newer.textContent = waiting ? `↑ ${many(waiting, "newer event")}` : "↑ newer";
  get("slot").textContent = isOffered ? "" : stopped || (isPaused() ? "paused" : added || "nothing newer");
}

function hold(line) {
  held.push(line);
  if (held.length > HELD_MAX) {
    const useless = held.findIndex(({ row, isShown }) => row && !isShown), [gone] = held.splice(Math.max(0, useless), 1);
    if (gone.row) { known.delete(name(gone.row)); dropped += useless < 0; }
  }
  arrived();
}

// Frames do not come while the tab is hidden, so one is asked for at a time.
function arrived() {
  if (held.length && !isBusy() && now() - painted >= PAINT_MS) pending ||= requestAnimationFrame(() => { pending = 0; if (!isPaused()) flush(); });
  else due ||= setTimeout(() => { due = 0; say(); });
}

export function sift() {
  for (const each of held) each.isShown = each.row && isWanted(each.row);
  let isShown = true;
  for (const line of list.children) {
    if (line.matches(".row")) isShown = matches(...[...line.children].map((each) => each.textContent), line.dataset.source);
    if (!line.matches(".day, .apart")) line.hidden = !isShown;
  }
  get("empty").hidden = rows().length;
  if (field.value.trim()) get("empty").textContent = `No row here matches "${field.value}". Enter looks further back.`;
  say();
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

function gone(test) {
  held = held.filter(({ row }) => !row || !test(row));
  for (const row of every()) if (test(row.dataset)) withdraw(row);
  say();
}

export async function open(row) {
  if (close(row)) return;
  row.firstElementChild.ariaExpanded = "true";
  const { drawOpened } = await import("/static/live/opened.js");
  if (row.isConnected && !opened(row) && row.firstElementChild.ariaExpanded === "true") row.after(drawOpened(row, why(needs, row.dataset)));
}

function onBanner({ about, look, tag, parts, when, until }) {
  if (tag) show(about, el("div", { class: `banner ${look}`, role: "alert", "data-until": until }, el("b", "tag", tag), el("p", null, drawn(parts)), el("span", "when", when)));
  else end(about, about.startsWith("system:") ? "UP AGAIN" : "OPEN AGAIN");
}

list.onclick = (event) => {
  const time = event.target.closest(".time");
  if (time && !event.ctrlKey && !event.metaKey) { event.preventDefault(); open(time.parentElement); }
};
// The keys and the filter come with the first sign of somebody.
let press;
const use = async () => {
  try { [{ press }] = await Promise.all([import("/static/live/keys.js"), import("/static/live/filter.js")]); } catch { /* at the next sign */ }
};
for (const kind of ["pointermove", "pointerdown", "focusin"]) addEventListener(kind, use, { once: true });
addEventListener("keydown", async (event) => {
  if (press) return;
  await use();
  press?.(event);
});
addEventListener("submit", (event) => { event.target.dataset.sent = ""; });
// Back may come first; the server has the rows.
addEventListener("popstate", () => press || location.reload());
newer.onclick = flush;
pause.hidden = false;
pause.onclick = () => { pause.ariaPressed = String(!isPaused()); if (!isPaused()) flush(); say(); };
keys.checked = localStorage.keys !== "off";
keys.onchange = () => { localStorage.keys = keys.checked ? "on" : "off"; };
setInterval(arrived, PAINT_MS);
setInterval(() => document.querySelector("[data-until]") && import("/static/times.js"), PAINT_MS);
connect(needs, {
  onRow(row, id) {
    if (row.type.endsWith(".heartbeat.v1") && !wantsBeats) return false;
    // After a reset, what is known may come again; a replay is another row.
    if (!row.replayed && known.has(name(row))) return false;
    known.add(name(row));
    const isShown = isWanted(row);
    hold({ row, position: Number(id.split(".")[1]), gap: row.gap, isShown });
    return isShown;
  },
  onBanner,
  onReset({ lost: number, reason }) {
    hold({ reset: `${number === null ? "An unknown number of events" : many(number, "event")} before this will not come here: ${LOST[reason] ?? reason}.` });
  },
  onWithdraw: ({ withdrawn }) => withdrawn.forEach((each) => gone((row) => name(row) === name(each))),
  // The log may have dropped what it withdraws, and names it no more.
  onNotice: ({ source, ends }) => gone((row) => row.source === source && `${row.about}`.split(/[ ,]/).includes(ends)),
  onState(word) {
    stopped = word === "broken" ? stopped || `stopped at ${new Date().toISOString().slice(11, 19)}` : "";
    say();
  },
});
