// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The wall and the list of trees: drawn by the server, read again when something changed, at most once in REPAINT_MS.
import { alter } from "/static/alter.js";
import { get } from "/static/el.js";
import { connect } from "/static/feed.js";
import { read, setHead } from "/static/page.js";

const REPAINT_MS = 2000, AGAIN_MS = 60000;
const list = get("list"), version = list?.dataset.version;
let timer, asked = 0;

function repaint(fresh) {
  if (version && fresh.getElementById("list").dataset.version !== version) location.reload();
  if (version) for (const id of ["failing", "others", "list"]) alter(get(id), fresh.getElementById(id));
  for (const row of [...(fresh.getElementById("rows")?.rows || [])]) {
    const old = [...get("rows").rows].find((each) => each.dataset.repo === row.dataset.repo);
    if (old) alter(old, row); else get("rows").append(row);
  }
  if (get("total")) alter(get("total"), fresh.getElementById("total"));
  setHead(fresh);
  dispatchEvent(new Event("repainted"));
}

function again() {
  timer ||= setTimeout(async () => {
    timer = 0;
    asked = performance.now();
    try { repaint(await read(version ? location.href : location.pathname)); } catch { /* the state word says that there is no connection */ }
  }, Math.max(0, asked + REPAINT_MS - performance.now()));
}

if (get("clock")) setInterval(() => { get("clock").textContent = new Date().toISOString().slice(11, 16); }, 1000);
// How long something has been failing grows without an event.
setInterval(again, AGAIN_MS);
if (list) connect({ boards: JSON.parse(list.dataset.repos), after: list.dataset.after, age: list.dataset.age ?? Infinity }, { onBoard: again, onReset: again, onHello: again });
else connect({}, {});
