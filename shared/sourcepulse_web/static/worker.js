// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// One EventSource for all tabs. As a SharedWorker it serves every tab of this browser; without one, each tab imports it.
// A tab posts {needs} now and then, "retry" or "close". It gets ["frame", name, data, id] and ["state", {open, wait, ago}].
import { SILENT_MS } from "/static/state.js";

const FRAMES = ["row", "board", "hello", "reset", "withdraw", "bye", "alive"];
// Every page knows how the relays are and which trees are closed.
const ALWAYS = ["system.#", "hg.tree.#"];
// A hidden tab may post once a minute only.
const FORGOTTEN_MS = 200000, TICK_MS = 5000, PAUSE_MAX_S = 30;
const ports = new Map();
let stream, timer, place, asked, open = false, pause = 1, due = 0, hint = 0, heard = 0, heardWall = 0;

const number = (id) => Number(id.split(".")[1]);
const post = (message) => ports.forEach((_, port) => port.postMessage(message));
const state = () => ["state", { open, wait: open ? 0 : Math.max(0, due - performance.now()), ago: performance.now() - heard }];

// A superset of what all tabs need; each takes its own part.
function joined() {
  const all = [...ports.values()].map((port) => port.needs);
  const query = new URLSearchParams({ view: "rows" });
  for (const repo of new Set(all.flatMap((needs) => needs.boards || []))) query.append("board", repo);
  const rows = all.filter((needs) => needs.rows);
  const every = (key) => rows.every((needs) => (needs[key] || []).length);
  const union = (key) => [...new Set(rows.flatMap((needs) => needs[key] || []))].sort();
  if (every("topics")) for (const topic of new Set([...ALWAYS, ...union("topics")])) query.append("topic", topic);
  return query.toString();
}

function reopen() {
  clearTimeout(timer);
  if (stream) stream.close();
  stream = undefined;
  if (!ports.size) return;
  asked = joined();
  const source = (stream = new EventSource(`/events?${asked}${place ? `&since=${place}` : ""}`));
  heardWall = Date.now();
  const hear = (name) => (message) => {
    if (source !== stream) return;
    heard = performance.now();
    heardWall = Date.now();
    hint = name === "bye" ? JSON.parse(message.data).retry_ms || 0 : 0;
    if (message.lastEventId) place = message.lastEventId;
    if (!open) { open = true; pause = 1; post(state()); }
    post(["frame", name, message.data, message.lastEventId]);
  };
  for (const name of FRAMES) source.addEventListener(name, hear(name));
  source.onerror = () => {
    if (source !== stream) return;
    source.close();
    again(hint || pause * 1000 * (0.75 + Math.random() / 2));
    pause = Math.min(PAUSE_MAX_S, pause * 2);
  };
}

function again(ms) {
  open = false;
  due = performance.now() + ms;
  clearTimeout(timer);
  timer = setTimeout(reopen, ms);
  post(state());
}

export function attach(port) {
  port.onmessage = ({ data }) => {
    if (data === "close") ports.delete(port);
    else if (data === "retry") { pause = 1; again(0); }
    else {
      const isNew = !ports.has(port), after = data.needs.after;
      ports.set(port, { needs: data.needs, at: Date.now() });
      // What this tab lacks is sent again; the others know which positions they had.
      const older = isNew && after && place && after.split(".")[0] === place.split(".")[0] && number(after) < number(place);
      if (!place || older) place = after || place;
      if (older || !stream || joined() !== asked) { if (open || !stream) reopen(); }
      port.postMessage(state());
    }
    if (!ports.size) reopen();
  };
}

setInterval(() => {
  ports.forEach((held, port) => { if (Date.now() - held.at > FORGOTTEN_MS) ports.delete(port); });
  // After a sleep the connection may look open; the wall clock went on.
  if (open && Math.max(performance.now() - heard, Date.now() - heardWall) > SILENT_MS) again(0);
}, TICK_MS);

self.onconnect = (event) => attach(event.ports[0]);
