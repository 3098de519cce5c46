// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// One EventSource for all tabs: a SharedWorker, or imported by a tab where there is none.
// A tab posts {needs} now and then, "retry", "close". It gets ["frame", name, data, id, ago], ["state", open, wait, ago] in milliseconds,
// ["floor"] before anything may come a second time.
import { SILENT_MS } from "/static/state.js";

// What every page must know: how services are, which trees are closed, what is not public any more.
const ALWAYS = ["system.#", "hg.tree.#", "bugzilla.*.hidden.#", "bugzilla.bug.deleted.#"];
// A hidden tab may post once a minute only.
const FORGOTTEN_MS = 200000, TICK_MS = 5000, PAUSE_MAX_S = 30;
// The gateway refuses more. Tabs that ask for more topics get everything.
const BOARDS_MAX = 50, TOPICS_MAX = 40, TOPICS_MAX_CHARACTERS = 3000;
const ports = new Map();
let stream, timer, place, asked, open = false, pause = 1, due = 0, hint = 0, heard = 0, wall = 0, alive;

const now = () => performance.now();
const number = (id) => Number(id.split(".")[1]);
const state = () => ["state", open, Math.max(0, due - now()), now() - heard];
const post = (message) => ports.forEach((_, port) => port.postMessage(message));

// Each tab keeps its part.
function joined() {
  const all = [...ports.values()].map(({ needs }) => needs), rows = all.filter((needs) => needs.rows);
  const query = new URLSearchParams({ view: "rows" }), union = (list, key) => [...new Set(list.flatMap((needs) => needs[key] || []))].sort();
  for (const repo of union(all, "boards").slice(0, BOARDS_MAX)) query.append("board", repo);
  const topics = new Set([...ALWAYS, ...union(rows, "topics")]), fit = topics.size <= TOPICS_MAX && [...topics].join().length <= TOPICS_MAX_CHARACTERS;
  if (fit && rows.every((needs) => needs.topics?.length)) for (const topic of topics) query.append("topic", topic);
  return query.toString();
}

function reopen() {
  clearTimeout(timer);
  stream?.close();
  stream = undefined;
  if (!ports.size) return;
  asked = joined();
  post(["floor"]);
  // Where the log no longer has what follows, the last minutes come.
  const source = (stream = new EventSource(`/events?${asked}${place ? `&last-event-id=${place}&since=5m` : ""}`));
  wall = Date.now();
  for (const name of ["row", "board", "hello", "reset", "withdraw", "bye", "alive"]) source.addEventListener(name, ({ data, lastEventId }) => {
    if (source !== stream) return;
    heard = now();
    wall = Date.now();
    hint = name === "bye" ? JSON.parse(data).retry_ms : 0;
    place = lastEventId || place;
    if (!open && name !== "bye") { open = true; pause = 1; post(state()); }
    if (name === "alive") alive = [data, heard];
    post(["frame", name, data, lastEventId, 0]);
  });
  source.onerror = () => {
    if (source !== stream) return;
    again(hint || pause * 1000);
    pause = Math.min(PAUSE_MAX_S, pause * 2);
    hint = 0;
  };
}

// The browser would try again itself, but not after every failure, and would not say when.
function again(ms) {
  stream?.close();
  open = false;
  due = now() + ms;
  clearTimeout(timer);
  timer = setTimeout(reopen, ms);
  post(state());
}

export function attach(port) {
  port.onmessage = ({ data }) => {
    if (data === "retry") { pause = 1; again(0); }
    else if (data === "close") { ports.delete(port); if (!ports.size) reopen(); }
    else {
      const after = data.needs.after, isNew = !ports.has(port), lacks = isNew && after && (!place || number(after) < number(place));
      ports.set(port, { needs: data.needs, at: Date.now() });
      // What a new tab lacks is sent again.
      if (lacks) place = after;
      if (!stream || (open && (lacks || joined() !== asked))) reopen();
      port.postMessage(state());
      if (isNew && open && alive) port.postMessage(["frame", "alive", alive[0], "", now() - alive[1]]);
    }
  };
}

setInterval(() => {
  ports.forEach(({ at }, port) => Date.now() - at > FORGOTTEN_MS && ports.delete(port));
  // After a sleep the connection may look open; only the wall clock went on.
  if (open && Math.max(now() - heard, Date.now() - wall) > SILENT_MS) again(0);
}, TICK_MS);

self.onconnect = (event) => attach(event.ports[0]);
