// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What a page hears of the bus. `connect(needs, hears)`:
//   needs  {topics, exclude, types, sources: [text], rows: bool, boards: [repo], after: "<token>.<position>", age: seconds since the newest event}
//   hears  {onRow(row, id), onBoard(update, id), onReset(reset), onWithdraw(withdrawal), onHello(hello), onBanner(banner), onState(word, age)}, each optional
// It returns {change(needs), retry(), close()}. It draws the head's state word and age, and the banners of a broken stream.
import { condition, namesOf, silent, SILENT_MS, why } from "/static/state.js";

const TICK_MS = 1000, POST_MS = 15000, BANNER_AFTER_MS = 3000;
const number = (id) => Number((id || "").split(".")[1] || 0);

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// Any name of a policy is allowed; what it makes can only be our own worker.
function worker() {
  const path = "/static/worker.js";
  const url = self.trustedTypes ? trustedTypes.createPolicy("sourcepulse", { createScriptURL: () => path }).createScriptURL("") : path;
  return new SharedWorker(url, { type: "module", name: "sourcepulse" });
}

async function local() {
  const { attach } = await import("/static/worker.js");
  const channel = new MessageChannel();
  attach(channel.port1);
  return channel.port2;
}

export function connect(needs, hears) {
  const beats = new Map(), banners = new Map(), clock = () => performance.now();
  let port, open = false, heard = clock(), wall = Date.now(), last = clock() - (needs.age ?? Infinity) * 1000, late_s = 0, due = 0, since = new Date(), floor = number(needs.after), place = needs.after, shown = "";

  const frames = {
    row(row, id) {
      if (row.beat) beats.set(row.source, { source: row.source, at: clock(), ...row.beat });
      if (number(id) <= floor) return;
      if (row.banner) hears.onBanner?.(row.banner);
      if (!needs.rows || !why(needs, row)) return;
      if (!row.beat) last = clock();
      hears.onRow?.(row, id);
    },
    board(update, id) {
      if (!(needs.boards || []).includes(update.tree.repo) || number(id) <= floor) return;
      last = clock();
      hears.onBoard?.(update, id);
    },
    hello(hello) { late_s = hello.late_s || 0; hears.onHello?.(hello); },
    alive(alive) { late_s = alive.late_s || 0; },
    reset(reset) { floor = 0; hears.onReset?.(reset); },
    withdraw(withdrawal) { hears.onWithdraw?.(withdrawal); },
    bye() {},
  };

  const hear = ({ data: [kind, ...rest] }) => {
    if (kind === "state") {
      const [now_] = rest;
      if (open && !now_.open) { floor = number(place); since = new Date(); }
      open = now_.open;
      due = clock() + now_.wait;
      if (open && now_.ago < SILENT_MS) { heard = clock() - now_.ago; wall = Date.now() - now_.ago; }
    } else {
      const [name, data, id] = rest;
      heard = clock();
      wall = Date.now();
      frames[name](JSON.parse(data), id);
      if (id) place = id;
    }
    tick();
  };

  const banner = (key, text, when) => {
    const held = banners.get(key);
    if (!text) { held?.remove(); banners.delete(key); return; }
    if (held) { held.lastChild.firstChild.data = when; return; }
    const end = make("span", "when", when);
    if (key === "stream") {
      const button = make("button", "link", "Try now");
      button.onclick = () => port?.postMessage("retry");
      end.append(" ", button);
    }
    const element = make("div", "banner broken", make("b", "tag", "× BROKEN"), make("p", "", text), end);
    banners.set(key, element);
    document.getElementById("banners").prepend(element);
  };

  const tick = () => {
    const now = clock(), asleep = Date.now() - wall > SILENT_MS, all = [...beats.values()];
    const isOpen = open && !asleep;
    const { word, age } = condition({ now, open: isOpen, heard, last, beats: all, late_s });
    const cut = !isOpen && now - heard > BANNER_AFTER_MS, seconds = Math.ceil((due - now) / 1000);
    banner("stream", cut && `No connection since ${since.toISOString().slice(11, 19)}. What you see ends there.`, seconds > 0 ? `trying again in ${seconds} s` : "trying again");
    const lost = silent(now, isOpen ? all : []);
    for (const beat of all) {
      const from = new Date(Date.now() - (now - beat.at)).toISOString().slice(11, 16);
      const after = namesOf(beat).startsWith("buildbot") ? "Its builds may have ended since." : "What happened there since is not shown.";
      banner(beat.source, lost.includes(beat) && `No word from ${namesOf(beat)} since ${from}. ${after}`, "");
    }
    const state = document.getElementById("state");
    if (state) {
      document.getElementById("age").replaceChildren(make("i", "", age[0]), age[1], make("i", "", age[2]));
      if (state.textContent !== word) { state.className = `state ${word}`; state.textContent = word; }
    }
    if (shown !== word + age.join("")) hears.onState?.(word, age.join(""));
    shown = word + age.join("");
  };

  const post = () => port?.postMessage({ needs: { ...needs, after: place } });
  const start = async () => {
    try {
      const shared = worker();
      shared.onerror = async () => { port = await local(); port.onmessage = hear; post(); };
      port = shared.port;
    } catch { port = await local(); }
    port.onmessage = hear;
    post();
  };
  const close = () => port?.postMessage("close");
  start();
  const timers = [setInterval(tick, TICK_MS), setInterval(post, POST_MS)];
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && post());
  addEventListener("visibilitychange", () => document.hidden || post());
  return {
    change(more) { needs = { ...needs, ...more }; post(); },
    retry() { port?.postMessage("retry"); },
    close() { timers.forEach(clearInterval); close(); },
  };
}
