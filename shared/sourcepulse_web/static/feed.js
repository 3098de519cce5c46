// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What a page hears of the bus; also the head's state word and age, and the banners of a broken stream. `connect(needs, hears)`:
// needs {topics, exclude, types, sources, boards: [text], rows: bool, after: "<token>.<position>", age: seconds since the newest event},
// hears {onRow(row, id), onBoard(update, id), onBanner(banner), onReset, onWithdraw, onHello(frame), onState(word, age)}, each optional.
import { condition, isSilent, SILENT_MS, why } from "/static/state.js";

const TICK_MS = 1000, POST_MS = 15000, BANNER_AFTER_MS = 3000, WORKER = "/static/worker.js";
const number = (id) => Number(id?.split(".")[1] ?? 0), now = () => performance.now(), $ = (id) => document.getElementById(id);

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

async function open(hear) {
  let port;
  const own = async () => {
    const { attach } = await import("/static/worker.js"), channel = new MessageChannel();
    attach(channel.port1);
    port = channel.port2;
    port.onmessage = hear;
    return port;
  };
  try {
    // A policy of any name may be made; this one can only make the address of our own worker.
    const url = self.trustedTypes?.createPolicy("sourcepulse", { createScriptURL: () => WORKER }).createScriptURL("") ?? WORKER;
    // The number is that of the messages: a worker of an older page goes on beside this one.
    port = new SharedWorker(url, { type: "module", name: "sourcepulse 1" }).port;
    port.onmessage = hear;
    return port;
  } catch { return own(); }
}

export function connect(needs, hears) {
  const banners = new Map();
  let port, isOpen = false, heard = now(), wall = Date.now(), last = now() - (needs.age ?? Infinity) * 1000, beats = [], late_s = 0, due = 0, since = new Date(), floor = number(needs.after), place = needs.after, drawn = "";

  const frames = {
    row(row, id) {
      if (number(id) <= floor) return;
      if (row.banner) hears.onBanner?.(row.banner);
      if (!needs.rows || !why(needs, row)) return;
      if (!row.type.endsWith(".heartbeat.v1")) last = now();
      hears.onRow?.(row, id);
    },
    board(update, id) {
      if (!needs.boards?.includes(update.tree.repo)) return;
      last = now();
      hears.onBoard?.(update, id);
    },
    alive(alive, _, ago) {
      late_s = alive.late_s;
      beats = alive.beats.map((beat) => ({ ...beat, at: now() - ago - beat.ago_s * 1000 }));
    },
    reset(reset) { floor = 0; hears.onReset?.(reset); },
    hello: (hello) => hears.onHello?.(hello),
    withdraw: (withdrawn) => hears.onWithdraw?.(withdrawn),
    bye() {},
  };

  const hear = ({ data: [kind, ...rest] }) => {
    if (kind === "state") {
      const [open, wait, ago] = rest;
      if (isOpen && !open) since = new Date();
      isOpen = open;
      due = now() + wait;
      if (open) { heard = now() - ago; wall = Date.now() - ago; }
    } else if (kind === "floor") floor = number(place);
    else {
      const [name, data, id, ago] = rest;
      heard = Math.max(heard, now() - ago);
      wall = Math.max(wall, Date.now() - ago);
      frames[name](JSON.parse(data), id, ago);
      if (name === "reset" || number(id) > number(place)) place = id;
    }
    tick();
  };

  const banner = (key, text, when, ...end) => {
    const held = banners.get(key);
    if (held && text) held.lastChild.firstChild.data = when;
    else if (text) {
      banners.set(key, make("div", "banner broken", make("b", "tag", "× BROKEN"), make("p", "", text), make("span", "when", when, ...end)));
      $("banners").prepend(banners.get(key));
    } else if (held) { held.remove(); banners.delete(key); }
  };
  const button = make("button", "link", "Try now");
  button.onclick = () => port.postMessage("retry");

  const tick = () => {
    const open = isOpen && Date.now() - wall < SILENT_MS, [word, ...age] = condition({ now: now(), open, heard, last, beats, late_s });
    const seconds = Math.ceil((due - now()) / 1000);
    banner("", !open && now() - heard > BANNER_AFTER_MS && `No connection since ${since.toISOString().slice(11, 19)}. What you see ends there.`, `trying again${seconds > 0 ? ` in ${seconds} s` : ""} `, button);
    for (const beat of beats) {
      const from = new Date(Date.now() - now() + beat.at).toISOString().slice(11, 16);
      banner(beat.source, open && isSilent(beat, now()) && `No word from ${beat.names} since ${from}. ${beat.names.startsWith("buildbot") ? "Its builds may have ended since." : "What happened there since is not shown."}`, " ");
    }
    if (drawn === word + age) return;
    drawn = word + age;
    const state = $("state");
    if (state) {
      $("age").replaceChildren(make("i", "", age[0]), age[1], make("i", "", age[2]));
      if (state.textContent !== word) { state.className = `state ${word}`; state.textContent = word; }
    }
    hears.onState?.(word, age.join(""));
  };

  const post = () => port?.postMessage({ needs: { ...needs, after: place } });
  open(hear).then((found) => { port = found; post(); });
  setInterval(tick, TICK_MS);
  setInterval(post, POST_MS);
  addEventListener("pagehide", () => port?.postMessage("close"));
  addEventListener("pageshow", (event) => event.persisted && post());
  addEventListener("visibilitychange", () => document.hidden || post());
}
