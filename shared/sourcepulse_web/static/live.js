// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The live page: rows that come are put on top at once, or wait behind the button while somebody reads.
import { connect, make } from "/static/feed.js";
import { why } from "/static/state.js";

const KEPT_MAX = 500, IDLE_MS = 30000, PAINT_MS = 1000;
const $ = (id) => document.getElementById(id), now = () => performance.now();
const list = $("rows"), newer = $("newer"), pause = $("pause"), keys = $("keys"), field = $("q"), banners = $("banners");
const query = () => new URLSearchParams(location.search), all = (name) => query().getAll(name);
const needs = { topics: all("key"), exclude: all("not"), types: all("type"), sources: all("source"), rows: true, after: list.dataset.place, age: list.dataset.age };
const wantsBeats = `${needs.topics}${needs.types}`.includes("heartbeat");
let held = [], touched = -Infinity, painted = 0, stopped = "", added = "";

const rows = () => [...list.querySelectorAll(".row:not([hidden])")];
const of = ({ id, source }) => [...list.querySelectorAll(".row")].filter(({ dataset }) => dataset.id === id && dataset.source === source);
const isPaused = () => pause.ariaPressed === "true";
const isReading = () => isPaused() || scrollY > 0 || list.contains(document.activeElement) || now() - touched < IDLE_MS;
const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

function link(text, href, className) {
  const made = make("a", className, text);
  made.href = href;
  return made;
}

const drawn = (parts) => parts.map(([kind, text, href]) => (kind === "" ? text : href ? link(make("bdi", "", text), href, kind) : kind === "name" ? make("b", "", make("bdi", "", text)) : make("bdi", kind, text)));

function draw({ time, kind, parts, key, type, source, id, epoch, sequence, replayed, withdrawn }, position) {
  const when = make("time", "", time.slice(11, 19)), row = make("li", "row", link(when, `/events.json?after=${position - 1}&limit=1`, "time"), make("span", "", kind), make("p", "", ...drawn(parts)), make("code", "", key));
  when.dateTime = time;
  Object.assign(row.dataset, { key, type, source, id }, epoch && { epoch, sequence }, replayed && { replayed });
  if (withdrawn) withdraw(row);
  return row;
}

function hatched({ name, text }) {
  const line = make("span", "", make("b", "", name), " ", make("bdi", "", text));
  if (name === "Gap") line.append(" ", link("Why, and what to do", "#gaps"));
  return make("li", "hatch", line);
}

function put(line, time) {
  const date = time?.slice(0, 10), top = list.firstElementChild;
  if (date && top?.dataset.date !== date) {
    const day = make("li", "day", `${new Date(time).toLocaleDateString("en-GB", { timeZone: "UTC", dateStyle: "full" }).replace(",", "")}, times in UTC · newest first`);
    day.dataset.date = date;
    list.prepend(day, line);
  } else if (top?.dataset.date) top.after(line);
  else list.prepend(line);
}

function flush() {
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
  added = scrollY > 0 && come.length ? `${counted(come.length, "event")} added above` : "";
  while (list.childElementCount > KEPT_MAX && list.lastElementChild.getBoundingClientRect().top > innerHeight) list.lastElementChild.remove();
  sift();
  say();
}

function say() {
  const waiting = held.filter(({ row }) => row).length;
  newer.hidden = !held.length;
  document.title = `${waiting ? `(${waiting}) ` : ""}Live - sourcepulse`;
  newer.textContent = waiting ? `↑ ${counted(waiting, "newer event")}` : "↑ newer";
  $("slot").textContent = held.length ? "" : stopped || (isPaused() ? "paused" : added || "nothing newer");
}

function arrived() {
  if (held.length && !isReading() && now() - painted >= PAINT_MS) requestAnimationFrame(flush);
  else say();
}

function sift() {
  const text = field.value.trim().toLowerCase();
  for (const row of list.querySelectorAll(".row")) row.hidden = !`${row.textContent} ${row.dataset.source}`.toLowerCase().includes(text);
  $("empty").hidden = rows().length;
  if (text) $("empty").textContent = `No row here matches "${field.value}". Enter looks further back.`;
}

const opened = (row) => row?.nextElementSibling?.matches(".open") && row.nextElementSibling;

function close(row) {
  const open = opened(row);
  if (open) { open.remove(); row.firstElementChild.ariaExpanded = "false"; }
  return open;
}

function withdraw(row) {
  close(row);
  row.classList.add("gone");
  row.children[2].textContent = "withdrawn: no longer public";
}

// JSON has an escape for what has no shape or turns the direction of text.
const shaped = (event) => JSON.stringify(event, null, 2).replace(/[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);

async function open(row) {
  if (close(row)) return;
  const { key, type, source, id, sequence, replayed } = row.dataset, json = make("pre", "", "Reading …"), facts = make("dl"), only = query(), hide = query(), copy = make("button", "copy", "Copy JSON");
  const fact = (name, ...values) => facts.append(make("dt", "", name), make("dd", "", ...values));
  fact("Why here", "matches ", make("code", "", why(needs, row.dataset) || "#"));
  fact("Key", make("code", "", key));
  if (sequence) fact("Number", `${Number(sequence).toLocaleString("en")} of `, make("bdi", "", source));
  fact("Id", make("code", "", id));
  fact("Sent", replayed ? "again, on request" : "live, not repeated");
  fact("Type", link(type, `/schemas/${type}.json`));
  only.set("key", key);
  hide.append("not", key);
  copy.onclick = () => navigator.clipboard.writeText(json.textContent).then(() => { copy.textContent = "Copied"; }, () => getSelection().selectAllChildren(json));
  row.after(make("li", "open", json, make("div", "", facts, link("Only events like this", `/?${only}`, "button only"), link("Hide events like this", `/?${hide}`, "button hide"), copy)));
  row.firstElementChild.ariaExpanded = "true";
  try { json.textContent = shaped((await (await fetch(row.firstElementChild.href)).json()).events[0].event); }
  catch { json.textContent = "This event cannot be read now."; }
}

function banner({ about, look, tag, parts, when }) {
  [...banners.children].find((each) => each.dataset.about === about)?.remove();
  if (!tag) return;
  const element = make("div", `banner ${look}`, make("b", "tag", tag), make("p", "", ...drawn(parts)), make("span", "when", when));
  element.dataset.about = about;
  element.role = "alert";
  banners.append(element);
}

function press(event) {
  touched = now();
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search]") || !keys.checked) return;
  const at = document.activeElement, row = at.closest(".row") ?? at.closest(".open")?.previousElementSibling;
  const to = (step) => { const each = rows(); each[Math.min(each.length - 1, Math.max(0, each.indexOf(row) + step))]?.firstElementChild.focus(); };
  const click = (name) => { if (row) { opened(row) || open(row); opened(row).querySelector(name).click(); } };
  const does = { j: () => to(1), k: () => to(-1), ".": flush, "/": () => field.focus(), i: () => click(".only"), x: () => click(".hide"), y: () => click(".copy"), "?": () => { $("help").open = true; keys.focus(); }, Escape: () => close(row) && row.firstElementChild.focus() }[event.key];
  if (does) { event.preventDefault(); does(); }
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
addEventListener("keydown", press);
addEventListener("pointermove", () => { touched = now(); }, { passive: true });
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
  onBanner: banner,
  onReset({ lost, reason }) {
    held.push({ gap: { name: "Reset", text: `${lost === null ? "An unknown number of events" : counted(lost, "event")} before this will not come here (${reason}).` } });
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
