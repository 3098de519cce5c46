// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The live page: rows that come are put on top at once, or behind the button while somebody reads.
import { connect, make } from "/static/feed.js";
import { why } from "/static/state.js";

const KEPT_MAX = 500, IDLE_MS = 30000, PAINT_MS = 1000;
const $ = (id) => document.getElementById(id);
const list = $("rows"), newer = $("newer"), pause = $("pause"), slot = $("slot"), field = document.querySelector("#filter input[type=search]");
const asked = new URLSearchParams(location.search);
const needs = { topics: asked.getAll("key"), exclude: asked.getAll("not"), types: asked.getAll("type"), sources: asked.getAll("source"), rows: true, after: list.dataset.place, age: list.dataset.age };
const isWhole = ![...needs.topics, ...needs.exclude, ...needs.types].length;
const wantsBeats = [...needs.topics, ...needs.types].some((each) => each.includes("heartbeat"));
const last = new Map();
let held = [], touched = -Infinity, painted = 0, stopped = "";

const rowOf = (id) => $(`e${id.split(".")[1] || id}`);
const every = (selector) => [...list.querySelectorAll(selector)];
const number = (value) => Number(value).toLocaleString("en");

function drawn(parts) {
  return parts.map(([kind, text, href]) => {
    if (!kind) return text;
    const element = make(kind === "name" ? "b" : href ? "a" : "bdi", kind === "name" ? "" : kind, text);
    if (href) element.href = href;
    if (element.tagName !== "BDI") element.dir = "auto";
    return element;
  });
}

function drawRow(row, id) {
  const position = Number(id.split(".")[1]);
  const when = make("time", "", row.time.slice(11, 19)), time = make("a", "time", when);
  when.dateTime = row.time;
  time.href = `/events.json?after=${position - 1}&limit=1`;
  const element = make("li", "row", time, make("span", "", row.kind), make("p", "", ...drawn(row.parts)), make("code", "", row.key));
  element.id = `e${position}`;
  const { type, source, key, epoch, sequence } = row;
  Object.assign(element.dataset, { type, source, key, id: row.id }, epoch && { epoch, sequence }, row.replayed && { replayed: "" });
  if (row.withdrawn) withdraw(element);
  return element;
}

function hatched(name, text, link) {
  const line = make("span", "", make("b", "", name), " ", text);
  if (link) { const more = make("a", "", "Why, and what to do"); more.href = "#gaps"; line.append(" ", more); }
  return make("li", "hatch", line);
}

// What a source's numbers say: nothing, a gap, or that it began again.
function between({ epoch, sequence, source, replayed }, time) {
  if (!isWhole || !epoch || replayed !== undefined) return;
  const before = last.get(source), now = Number(sequence);
  if (!before || before.epoch !== epoch || now > before.now) last.set(source, { epoch, now });
  if (before && before.epoch !== epoch) return hatched("New numbering", `${source} began again at ${number(now)} at ${time.slice(11, 19)}.`);
  const lost = before ? now - before.now - 1 : 0;
  if (lost > 0) return hatched("Gap", `${number(lost)} event${lost > 1 ? "s" : ""} of ${source} between ${number(before.now)} and ${number(now)} will not come here.`, true);
}

function put(element, time) {
  const date = time.slice(0, 10);
  if (date && list.firstElementChild?.dataset.date !== date) {
    const day = new Date(time).toLocaleDateString("en-GB", { timeZone: "UTC", weekday: "long", day: "numeric", month: "long", year: "numeric" });
    const line = make("li", "day", `${day.replace(",", "")}, times in UTC · newest first`);
    line.dataset.date = date;
    list.prepend(line);
  }
  if (date) list.firstElementChild.after(element); else list.prepend(element);
}

const isReading = () => pause.ariaPressed === "true" || scrollY > 0 || list.contains(document.activeElement) || performance.now() - touched < IDLE_MS;

function flush() {
  painted = performance.now();
  const count = held.length, top = every(".row").find((row) => row.getBoundingClientRect().bottom > 0), before = top?.getBoundingClientRect().top;
  for (const { row, id, line } of held) {
    if (line) { put(line, ""); continue; }
    if (rowOf(id)) continue;
    const element = drawRow(row, id), gap = between(element.dataset, row.time);
    if (gap) put(gap, row.time);
    put(element, row.time);
  }
  held = [];
  if (scrollY > 0 && top && !CSS.supports("overflow-anchor", "auto")) scrollBy(0, top.getBoundingClientRect().top - before);
  const rows = every(".row");
  for (const old of rows.slice(KEPT_MAX).reverse()) if (old.getBoundingClientRect().top > innerHeight) { close(old); old.remove(); }
  sift();
  say(scrollY > 0 && count ? `${count} event${count > 1 ? "s" : ""} added above` : "");
}

function say(text) {
  const waiting = held.filter((each) => each.row).length;
  newer.hidden = !waiting;
  newer.textContent = `↑ ${waiting} newer event${waiting > 1 ? "s" : ""}`;
  slot.textContent = stopped || (waiting ? "" : text || (pause.ariaPressed === "true" ? "paused" : "nothing newer"));
}

function arrived() {
  if (held.length && !isReading() && performance.now() - painted >= PAINT_MS) requestAnimationFrame(() => flush());
  else say("");
}

function sift() {
  const text = field.value.trim().toLowerCase();
  let seen = 0;
  for (const row of every(".row")) {
    row.hidden = Boolean(text) && !`${row.textContent} ${row.dataset.source}`.toLowerCase().includes(text);
    seen += !row.hidden;
  }
  $("empty").hidden = seen > 0;
  if (!seen && text) $("empty").textContent = `No row here matches "${field.value}". Enter looks further back.`;
}

function withdraw(row) {
  close(row);
  row.classList.add("gone");
  row.querySelector("p").textContent = "withdrawn: no longer public";
}

function close(row) {
  if (row.nextElementSibling?.className !== "open") return false;
  row.nextElementSibling.remove();
  row.querySelector(".time").ariaExpanded = "false";
  return true;
}

// JSON has an escape for what has no shape or turns the direction of text.
const shaped = (event) => JSON.stringify(event, null, 2).replace(/[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);

async function open(row) {
  if (close(row)) return;
  const { type, source, key, id, sequence, replayed } = row.dataset, time = row.querySelector(".time");
  const json = make("pre", "", "Reading …"), facts = make("dl");
  const address = (...more) => { const query = new URLSearchParams(location.search); more.forEach(([how, name]) => (how === "set" ? query.set(name, key) : query.append(name, key))); return `/?${query}`; };
  const link = (text, href, className) => { const made = make("a", className, text); made.href = href; return made; };
  const fact = (name, ...values) => facts.append(make("dt", "", name), make("dd", "", ...values));
  fact("Why here", "matches ", make("code", "", why(needs, { type, source, key }) || "#"));
  fact("Key", make("code", "", key));
  if (sequence) fact("Number", `${number(sequence)} of `, make("bdi", "", source));
  fact("Id", make("code", "", id));
  fact("Sent", replayed === undefined ? "live, not repeated" : "again, on request");
  fact("Type", link(type, `/schemas/${type}.json`));
  const copy = make("button", "copy", "Copy JSON");
  copy.onclick = () => copied(copy, json);
  row.after(make("li", "open", json, make("div", "", facts, link("Only events like this", address(["set", "key"]), "button only"), link("Hide events like this", address(["add", "not"]), "button hide"), copy)));
  time.ariaExpanded = "true";
  try {
    const answer = await (await fetch(time.href)).json();
    json.textContent = shaped(answer.events[0].event);
  } catch { json.textContent = "This event cannot be read now."; }
}

async function copied(button, json) {
  try { await navigator.clipboard.writeText(json.textContent); button.textContent = "Copied"; }
  catch { getSelection().selectAllChildren(json); button.textContent = "Selected, copy it"; }
}

function banner({ about, look, tag, parts, when }) {
  [...$("banners").children].find((each) => each.dataset.about === about)?.remove();
  if (!tag) return;
  const element = make("div", `banner ${look}`, make("b", "tag", tag), make("p", "", ...drawn(parts)), make("span", "when", when));
  element.dataset.about = about;
  element.role = "alert";
  $("banners").append(element);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), textarea")) { if (event.key === "Escape") event.target.blur?.(); return; }
  if (!$("keys").checked) return;
  const row = document.activeElement.closest(".row") || document.activeElement.closest(".open")?.previousElementSibling, rows = every(".row:not([hidden])");
  const to = (step) => rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + step))]?.querySelector(".time").focus();
  const press = (name) => { if (!row) return; if (row.nextElementSibling?.className !== "open") open(row); row.nextElementSibling.querySelector(`.${name}`).click(); };
  const does = { j: () => to(1), k: () => to(-1), ".": flush, "/": () => field.focus(), i: () => press("only"), x: () => press("hide"), y: () => press("copy"), "?": () => { $("help").open = true; $("help").querySelector("summary").focus(); }, Escape: () => row && close(row) && row.querySelector(".time").focus() }[event.key];
  if (does) { event.preventDefault(); does(); }
}

every(".row").forEach(({ dataset }) => { if (dataset.epoch && !last.has(dataset.source)) last.set(dataset.source, { epoch: dataset.epoch, now: Number(dataset.sequence) }); });
list.addEventListener("click", (event) => { const time = event.target.closest(".time"); if (time && !event.ctrlKey && !event.metaKey) { event.preventDefault(); open(time.closest(".row")); } });
for (const name of ["pointermove", "keydown"]) addEventListener(name, () => { touched = performance.now(); }, { passive: true });
addEventListener("keydown", key);
field.addEventListener("input", () => { const query = new URLSearchParams(location.search); query.set("q", field.value); if (!field.value) query.delete("q"); history.replaceState(null, "", `/?${query}`); sift(); });
newer.onclick = flush;
pause.hidden = false;
pause.onclick = () => { pause.ariaPressed = String(pause.ariaPressed !== "true"); if (pause.ariaPressed === "false") flush(); say(""); };
$("keys").checked = localStorage.getItem("keys") !== "off";
$("keys").onchange = () => localStorage.setItem("keys", $("keys").checked ? "on" : "off");
document.querySelectorAll(".below pre").forEach((pre) => pre.replaceChildren(pre.textContent.replace(/http:\/\/[^/"']+/, location.origin)));
setInterval(arrived, PAINT_MS);
connect(needs, {
  onRow(row, id) { if (row.type.endsWith(".heartbeat.v1") && !wantsBeats) return; held.push({ row, id }); arrived(); },
  onBanner: banner,
  onReset(reset) { held.push({ line: hatched("Reset", `${reset.lost === null || reset.lost === undefined ? "An unknown number of" : number(reset.lost)} events before this did not come here: ${reset.reason}.`) }); arrived(); },
  onWithdraw({ withdrawn }) {
    for (const { position } of withdrawn) {
      held = held.filter((each) => !each.id?.endsWith(`.${position}`));
      const row = $(`e${position}`);
      if (row) withdraw(row);
    }
    say("");
  },
  onState(word) { stopped = word !== "broken" ? "" : stopped || `stopped at ${new Date().toISOString().slice(11, 19)}`; say(""); },
});
