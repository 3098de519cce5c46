// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The filter and the views: what they show is in the URL, so that it can be sent to somebody.
import { insert, load, pushes } from "/static/board.js";
import { el, get, many } from "/static/el.js";

const root = document.documentElement;
const box = get("q"), none = get("none"), list = get("list"), older = get("older");
let isTyped = false;

// As `sought` of pages/trees/view.py.
function sought(push) {
  const texts = [...push.querySelectorAll(".who b, .d, .f")].map((each) => each.textContent);
  const words = [...push.querySelectorAll(".w")].map((each) => each.getAttribute("aria-label"));
  const node = push.querySelector(".who a")?.getAttribute("href");
  return [push.dataset.f || "", node, ...texts, ...words].join("\n").toLowerCase();
}

function explain(found, all) {
  const show = root.dataset.show, newest = all[0];
  let text = null;
  if (!all.length) text = none.hidden ? null : [...none.childNodes];
  else if (!found.length) {
    const clear = el("a", { href: "?" }, "Clear the filter");
    text = [el("b", null, "No push matches “", el("bdi", null, box.value), "”."), ` ${many(all.length, "push", "pushes")} looked at. `, clear];
    if (!older.hidden) text.push(" ", el("a", { href: older.firstElementChild.href }, "Look further back"));
  } else if (/new|problems/.test(show) && !list.querySelector(show === "new" ? ".w.new" : ".l:not(.calm)")) {
    const still = [...newest.querySelectorAll(".sum .running, .sum .waiting")].map((each) => each.textContent).join(", ");
    text = [el("b", null, `${show === "new" ? "Nothing new here" : "No problems"} in the last ${many(all.length, "push", "pushes")}.`),
      ` The newest, ${newest.querySelector(".who a")?.textContent || ""}, ${still ? `still has ${still}` : newest.querySelector(".sum") ? "has ended" : "has no result"}.`];
  }
  none.hidden = !text;
  if (text) none.replaceChildren(...text);
}

// Whether the filter shows a push; it is drawn only where there is a filter.
export function passes(draw) {
  const needle = box.value.toLowerCase().split(/\s+/).filter(Boolean).join(" ");
  return !needle || sought(draw()).includes(needle);
}

export function filter() {
  const all = pushes();
  for (const push of all) push.hidden = !passes(() => push);
  let shown = false;
  for (const item of [...list.children].reverse()) {
    if (item.dataset.day) { item.hidden = !shown; shown = false; }
    else shown ||= !item.hidden;
  }
  explain(all.filter((push) => !push.hidden), all);
  list.dispatchEvent(new Event("filtered"));
}

function remember(how) {
  isTyped = how === "replaceState";
  const query = new URLSearchParams(location.search);
  for (const [key, value] of [["show", root.dataset.show], ["q", box.value.trim()]]) if (value) query.set(key, value); else query.delete(key);
  history[how](null, "", `?${query}`);
}

function view(name) {
  root.dataset.show = name;
  for (const link of document.querySelectorAll(".seg a"))
    if (new URLSearchParams(link.search).get("show") === (name || "everything")) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
}

// The server sends only what matches the URL; another filter needs the rest.
async function whole() {
  if (!("part" in list.dataset)) return;
  delete list.dataset.part;
  const late = setTimeout(() => { none.hidden = false; none.replaceChildren(el("b", null, "Reading the last 200 pushes …")); }, 500);
  await insert((await load("limit=200")).pushes, true);
  clearTimeout(late);
}

async function more(event) {
  if (pushes().length >= 200) return;
  event.preventDefault();
  const page = await load(`before=${list.dataset.older}`);
  insert(page.pushes, false);
  list.dataset.older = page.older || "";
  older.hidden = !page.older;
}

export function startFilter() {
  const phone = matchMedia("(max-width: 50rem)").matches;
  if (!root.dataset.show && phone) view("problems");
  // The first letter makes an entry of its own, so that Back returns to what was before it; Enter ends that entry.
  box.addEventListener("input", async () => {
    remember(isTyped ? "replaceState" : "pushState");
    isTyped = true;
    await whole();
    filter();
  });
  box.form.addEventListener("submit", (event) => { event.preventDefault(); isTyped = false; });
  document.querySelector(".seg").addEventListener("click", (event) => {
    if (!event.target.search || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    view(new URLSearchParams(event.target.search).get("show"));
    remember("pushState");
    filter();
  });
  addEventListener("popstate", () => {
    const query = new URLSearchParams(location.search);
    isTyped = false;
    box.value = query.get("q") || "";
    view(query.get("show") || (phone ? "problems" : ""));
    filter();
  });
  older.addEventListener("click", more);
  // What was typed before this module came.
  if (box.value.trim() !== (new URLSearchParams(location.search).get("q") || "")) box.dispatchEvent(new Event("input"));
}
