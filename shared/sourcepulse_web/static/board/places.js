// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The places of builders: a word never moves, so one that comes while the page is open stands last until the next load.
import { drawLine, drawWord } from "/static/board/draw.js";
import { lineName, shown } from "/static/board/texts.js";

const NONE = { state: "none", said: "not asked for", url: null, number: null, duration_s: null, waited_s: null, worker: null, state_string: null, others: [] };

export const byKey = (push, what) => new Map([...push.querySelectorAll(what)].map((each) => [each.dataset.key, each]));

// Orders the words of a push just drawn as those of `model`. Places that `model` does not have come last, or wait: then
// they are left out, and it returns whether there were any.
export function arrange(model, fresh, wait) {
  const rows = byKey(fresh, ".l"), words = byKey(fresh, ".w"), builds = fresh.querySelector(".builds"), end = builds.querySelector(".fails");
  if (!words.size) return false;
  const rest = new Set(words.values()), unused = new Set(rows.values());
  let waits = false;
  for (const row of model.querySelectorAll(".l")) {
    const had = [...row.querySelectorAll(".w")].map((each) => words.get(each.dataset.key)).filter(Boolean);
    let now = rows.get(row.dataset.key);
    if (!now && wait && had.length) {
      now = row.cloneNode(false);
      now.append(row.firstChild.cloneNode(true));
    }
    if (!now) continue;
    const own = had.filter((each) => wait || each.parentNode === now);
    waits ||= own.some((each) => each.parentNode !== now);
    own.forEach((each) => rest.delete(each));
    unused.delete(now);
    now.append(...own, ...[...now.querySelectorAll(".w")].filter((each) => !own.includes(each)));
    builds.insertBefore(now, end);
  }
  for (const row of unused) builds.insertBefore(row, end);
  if (!wait) return false;
  for (const each of rest) each.remove();
  for (const row of builds.querySelectorAll(".l")) if (!row.querySelector(".w")) row.remove();
  return waits || rest.size > 0;
}

// Adds what a push has no place of; returns whether there was any.
export function fill(push, places) {
  const address = push.querySelector(".who a")?.getAttribute("href"), builds = push.querySelector(".builds");
  if (!address) return false;
  const rows = byKey(push, ".l"), words = byKey(push, ".w");
  let changed = false;
  for (const line of places) {
    let row = rows.get(lineName(line));
    for (const each of line.places) {
      const old = words.get(shown(each.place));
      if (row && old?.parentNode === row) continue;
      if (!row) row = builds.insertBefore(drawLine({ ...line, words: [] }, address), builds.querySelector(".fails"));
      row.append(old || drawWord({ ...NONE, ...each }, address));
      changed = true;
    }
  }
  if (changed) for (const row of builds.querySelectorAll(".l")) if (!row.querySelector(".w")) row.remove();
  return changed;
}

// Whether a push needs more room with these places.
export function grows(push, places) {
  const trial = push.cloneNode(true);
  Object.assign(trial.style, { position: "absolute", visibility: "hidden", contentVisibility: "visible", width: `${push.offsetWidth}px` });
  trial.removeAttribute("id");
  push.after(trial);
  const height = trial.offsetHeight;
  const changed = fill(trial, places) && trial.offsetHeight !== height;
  trial.remove();
  return changed;
}
