// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Keys, and one tab stop for each push: the arrows move among its links. Loaded when somebody comes.
import { get } from "/static/el.js";

const OFF = "sourcepulse.keys";
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

function step(way) {
  const all = visible(), at = all.indexOf(here());
  stopOf(document.activeElement.closest(".p") ? all[at + way] : all[at])?.focus();
}
function sideways(way) {
  const links = [...here().querySelectorAll("a")].filter(seen), at = links.indexOf(document.activeElement);
  if (at < 0) step(0); else links[at + way]?.focus();
}
const rows = (push) => [...push.querySelectorAll(".who, .d, .more, .l, .f")].map((row) => [...row.querySelectorAll("a")].filter(seen)).filter((row) => row.length);
function upright(way) {
  const from = document.activeElement, push = from.closest(".p"), all = visible();
  if (!push) { step(0); return; }
  const near = all.slice(Math.max(0, all.indexOf(push) - 1), all.indexOf(push) + 2).flatMap(rows);
  const row = near[near.findIndex((each) => each.includes(from)) + way];
  const x = (each) => { const box = each.getBoundingClientRect(); return box.left + box.width / 2; };
  row?.reduce((best, each) => (Math.abs(x(each) - x(from)) < Math.abs(x(best) - x(from)) ? each : best)).focus();
}
function seek(way, what) {
  const words = [...list.querySelectorAll(what)].filter(seen), from = document.activeElement.closest("a") || here();
  const after = words.filter((each) => from.compareDocumentPosition(each) & (way > 0 ? 4 : 2) && each !== from);
  (way > 0 ? after[0] : after.at(-1))?.focus();
}

export function startKeys(of, newer) {
  list = of;
  const keys = {
    j: () => step(1), k: () => step(-1), ArrowLeft: () => sideways(-1), ArrowRight: () => sideways(1), ArrowUp: () => upright(-1), ArrowDown: () => upright(1),
    n: () => seek(1, ".w.new"), p: () => seek(-1, ".w.new"), N: () => seek(1, BAD), P: () => seek(-1, BAD), o: () => here()?.querySelector(".who a")?.click(),
    ".": newer, "/": () => get("q").focus(), c: async () => (await import("/static/board/sheet.js")).copy(here()), "?": async () => (await import("/static/board/sheet.js")).sheet(),
    1: () => view(0), 2: () => view(1), 3: () => view(2),
  };
  const view = (index) => document.querySelectorAll(".seg a")[index].click();
  const phone = matchMedia("(max-width: 50rem)"), choose = async (word) => (await import("/static/board/tray.js")).choose(word);
  list.addEventListener("focusin", ({ target }) => {
    const push = target.closest(".p"), link = target.closest("a");
    if (!push || !link) return;
    for (const each of push.querySelectorAll("a[tabindex='0']")) if (each !== link) each.tabIndex = -1;
    link.tabIndex = 0;
    if (link.matches(".w")) choose(link);
  });
  list.addEventListener("click", async (event) => {
    const word = event.target.closest(".w");
    if (!word || !phone.matches) return;
    event.preventDefault();
    word.focus();
    await choose(word);
    get("tray").classList.add("open");
  });
  list.addEventListener("pointerover", ({ target }) => {
    if (target.matches(".w")) target.title = target.getAttribute("aria-label");
  });
  const press = (event) => {
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
  };
  addEventListener("keydown", press);
  if (document.activeElement.matches(".w")) choose(document.activeElement);
  return press;
}
