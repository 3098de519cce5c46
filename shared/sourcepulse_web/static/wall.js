// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The wall and the list of trees: drawn by the server, read again when something changed, at most once in REPAINT_MS.
import { connect } from "/static/feed.js";
import { morph } from "/static/board/morph.js";

const REPAINT_MS = 2000, AGAIN_MS = 60000;
const get = (id) => document.getElementById(id), list = get("list"), version = list?.dataset.version;
let timer, asked = 0;

// Nothing runs in such a document, and it is no text that becomes HTML here.
const read = () => new Promise((done, failed) => {
  const request = new XMLHttpRequest();
  request.open("GET", version ? location.href : location.pathname);
  request.responseType = "document";
  request.onload = () => (request.status === 200 && request.response ? done(request.response) : failed(new Error(request.status)));
  request.onerror = failed;
  request.send();
});

function repaint(fresh) {
  if (version && fresh.getElementById("list").dataset.version !== version) location.reload();
  if (version) for (const id of ["failing", "others", "list"]) morph(get(id), fresh.getElementById(id));
  for (const row of [...(fresh.getElementById("rows")?.rows || [])]) {
    const old = [...get("rows").rows].find((each) => each.dataset.repo === row.dataset.repo);
    if (old) morph(old, row); else get("rows").append(row);
  }
  if (get("total")) morph(get("total"), fresh.getElementById("total"));
  const old = get("tree"), tree = fresh.getElementById("tree");
  if (old && tree) morph(old, tree);
  else if (old || tree) { old?.remove(); if (tree) get("banners").append(tree); }
  document.title = fresh.title;
  get("icon").href = fresh.getElementById("icon").href;
  dispatchEvent(new Event("repainted"));
}

function again() {
  timer ||= setTimeout(async () => {
    timer = 0;
    asked = performance.now();
    try { repaint(await read()); } catch { /* the state word says that there is no connection */ }
  }, Math.max(0, asked + REPAINT_MS - performance.now()));
}

if (get("clock")) setInterval(() => { get("clock").textContent = new Date().toISOString().slice(11, 16); }, 1000);
// How long something has been failing grows without an event.
setInterval(again, AGAIN_MS);
if (list) connect({ boards: JSON.parse(list.dataset.repos), after: list.dataset.after }, { onBoard: again, onReset: again, onHello: again });
