// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Keys, and one tab stop for each push: the arrows move among its links.
import { el } from "/static/board/draw.js";

const OFF = "sourcepulse.keys";
const SHEET = { "j k": "push", "← → ↑ ↓": "build", "n p": "next, last failure new here", "N P": "next, last problem", Enter: "open", o: "story of the change", ".": "show newer", "/": "filter", "1 2 3": "everything, problems, new here", c: "copy the push for a bug", Esc: "close, clear", "?": "all keys" };
const get = (id) => document.getElementById(id);
const BAD = ".w:is(.new, .known, .alone, .warnings, .exception, .retry, .cancelled)";
let list;

export function rove(push) {
  const links = [...push.querySelectorAll("a")];
  const stop = links.find((each) => each.tabIndex === 0 && each.hasAttribute("tabindex")) || push.querySelector(".w.new") || push.querySelector(BAD) || push.querySelector(".w") || links[0];
  for (const link of links) if (link.getAttribute("tabindex") !== (link === stop ? "0" : "-1")) link.setAttribute("tabindex", link === stop ? "0" : "-1");
}

const seen = (each) => each.checkVisibility();
const visible = () => [...list.querySelectorAll(".p")].filter(seen);
const here = () => document.activeElement.closest(".p") || visible().find((each) => each.getBoundingClientRect().bottom > 100);
const stopOf = (push) => push?.querySelector("a[tabindex='0']");
function go(link) {
  if (!link) return;
  const push = link.closest(".p");
  for (const each of push.querySelectorAll("a[tabindex='0']")) each.tabIndex = -1;
  link.tabIndex = 0;
  link.focus();
}

function step(way) {
  const all = visible(), at = all.indexOf(here());
  go(stopOf(document.activeElement.closest(".p") ? all[at + way] : all[at]));
}
function sideways(way) {
  const links = [...here().querySelectorAll("a")].filter(seen), at = links.indexOf(document.activeElement);
  if (at < 0) step(0); else go(links[at + way]);
}
const rows = (push) => [...push.querySelectorAll(".who, .d, .more, .l, .f")].map((row) => [...row.querySelectorAll("a")].filter(seen)).filter((row) => row.length);
function upright(way) {
  const from = document.activeElement, push = from.closest(".p"), all = visible();
  if (!push) { step(0); return; }
  const near = all.slice(Math.max(0, all.indexOf(push) - 1), all.indexOf(push) + 2).flatMap(rows);
  const row = near[near.findIndex((each) => each.includes(from)) + way];
  const x = (each) => { const box = each.getBoundingClientRect(); return box.left + box.width / 2; };
  if (row) go(row.reduce((best, each) => (Math.abs(x(each) - x(from)) < Math.abs(x(best) - x(from)) ? each : best)));
}
function seek(way, what) {
  const words = [...list.querySelectorAll(what)].filter(seen), from = document.activeElement.closest("a") || here();
  const after = words.filter((each) => from.compareDocumentPosition(each) & (way > 0 ? 4 : 2) && each !== from);
  go(way > 0 ? after[0] : after.at(-1));
}

function copy(push) {
  const text = (what) => [...push.querySelectorAll(what)].map((each) => each.innerText.trim());
  const fails = [...push.querySelectorAll(".f")].map((each) => [...each.children].map((part) => part.textContent).filter(Boolean).join(" "));
  const time = push.querySelector("time").dateTime, node = push.querySelector(".who a");
  if (!node) return;
  const lines = [`${text(".who b")} pushed ${node.textContent} to ${list.dataset.repo} at ${time.slice(0, 10)} ${time.slice(11, 16)} UTC`, ...text(".d"), ...text(".p .more"), [...push.querySelectorAll(".sum span")].map((each) => each.textContent).join(", "), ...fails, node.href];
  navigator.clipboard?.writeText(lines.filter(Boolean).join("\n")).then(() => { get("said").textContent = "Copied."; });
}

export function sheet() {
  const old = get("keys");
  if (old) { old.remove(); return; }
  const box = el("input", { type: "checkbox", checked: localStorage.getItem(OFF) === null });
  box.onchange = () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "off"));
  const close = el("button", null, "Close");
  const made = el("section", { id: "keys", class: "keys", role: "dialog", "aria-label": "Keys", tabindex: "-1" }, el("h2", null, "Keys"),
    el("dl", null, Object.entries(SHEET).flatMap(([key, text]) => [el("dt", null, key.split(" ").map((each) => el("kbd", null, each))), el("dd", null, text)])),
    el("p", null, el("label", null, box, " single keys do this")), close);
  const from = document.activeElement;
  close.onclick = () => { sheet(); from.focus(); };
  document.body.append(made);
  made.focus();
}

export function startKeys(of, newer) {
  list = of;
  const keys = {
    j: () => step(1), k: () => step(-1), ArrowLeft: () => sideways(-1), ArrowRight: () => sideways(1), ArrowUp: () => upright(-1), ArrowDown: () => upright(1),
    n: () => seek(1, ".w.new"), p: () => seek(-1, ".w.new"), N: () => seek(1, BAD), P: () => seek(-1, BAD), o: () => here()?.querySelector(".who a")?.click(),
    ".": newer, "/": () => get("q").focus(), c: () => copy(here()), "?": sheet,
    1: () => view(0), 2: () => view(1), 3: () => view(2),
  };
  const view = (index) => document.querySelectorAll(".seg a")[index].click();
  addEventListener("keydown", (event) => {
    const { key, target } = event, field = target.matches?.("input, textarea, select");
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (key === "Escape") {
      if (get("keys")) get("keys").querySelector("button").click();
      else if (field) { target.value = ""; target.dispatchEvent(new Event("input")); target.blur(); } else document.activeElement.blur();
      return;
    }
    if (field || !(key in keys) || (key.length === 1 && localStorage.getItem(OFF))) return;
    if (key.startsWith("Arrow") && !list.contains(target)) return;
    event.preventDefault();
    keys[key]();
  });
}
