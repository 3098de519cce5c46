// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What a page hears of the bus; also the head's state word and age, and the banners of a broken stream. `connect(needs, hears)`:
// needs {topics, exclude, types, sources, boards: [text], rows: bool, after: "<token>.<position>", age: seconds since the newest event that
// the page shows, without which any event counts}, hears {onRow(row, id), onBoard(update, id), onBanner(banner), onNotice(row), onReset, onWithdraw,
// onHello(frame), onState(word)}, each optional; onRow and onBoard return false for what the page does not show.
// Returns what asks for changed needs.
import { end, show } from "/static/banners.js";
import { el, get } from "/static/el.js";
import { condition, isSilent, SILENT_MS, why } from "/static/state.js";
import { setWord } from "/static/tab.js";

addEventListener("pointerover", async ({ target }) => {
  const near = target.closest?.("time, :has(> time)");
  if (near) (await import("/static/times.js")).zone(near);
});

const TICK_MS = 1000, POST_MS = 15000, BANNER_AFTER_MS = 3000, WORKER = "/static/worker.js";
const number = (id) => Number(id?.split(".")[1] ?? 0), now = () => performance.now();

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
  const begun = now(), banners = new Map();
  let port, isOpen = false, isKnown = false, heard = begun, wall = Date.now(), last = begun - (needs.age ?? Infinity) * 1000, beats = [], late_s = 0, due = 0, since = new Date(), floor = number(needs.after), place = needs.after, drawn = "";

  const frames = {
    row(row, id) {
      if (number(id) <= floor) return;
      if (row.banner) hears.onBanner?.(row.banner);
      if (row.ends) hears.onNotice?.(row);
      if (!needs.rows || !why(needs, row)) return;
      if (hears.onRow?.(row, id) !== false && !row.type.endsWith(".heartbeat.v1")) last = now();
    },
    board(update, id) {
      if (!needs.boards?.includes(update.tree.repo)) return;
      if (hears.onBoard?.(update, id) !== false) last = now();
    },
    alive(alive, _, ago) {
      isKnown = true;
      late_s = alive.late_s;
      if (needs.age === undefined) last = Math.max(last, now() - ago - (alive.last_s ?? Infinity) * 1000);
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

  const banner = (about, text, when, ended, ...more) => {
    const held = banners.get(about);
    if (held && text) held.lastChild.firstChild.data = when;
    else if (text) {
      banners.set(about, el("div", "banner broken", el("b", "tag", "✖ BROKEN"), el("p", null, text), el("span", "when", when, ...more)));
      show(about, banners.get(about));
    } else if (held) { end(about, ended); banners.delete(about); }
  };
  const button = el("button", "link", "Try now");
  button.onclick = () => port.postMessage("retry");

  const tick = () => {
    // At first nothing is known, and the page says as of when it is.
    if (!isKnown && now() - begun < BANNER_AFTER_MS) return;
    const open = isOpen && Date.now() - wall < SILENT_MS, [word, ...age] = condition({ now: now(), open, heard, last, beats, late_s });
    const seconds = Math.ceil((due - now()) / 1000);
    banner("stream", !open && now() - heard > BANNER_AFTER_MS && `No connection since ${since.toISOString().slice(11, 19)}. What you see ends there.`, `trying again${seconds > 0 ? ` in ${seconds} s` : ""} `, "CONNECTED", button);
    for (const beat of beats) {
      const from = new Date(Date.now() - now() + beat.at).toISOString().slice(11, 16);
      banner(`relay:${beat.source}`, open && isSilent(beat, now()) && `No word from ${beat.names} since ${from}. ${beat.names.startsWith("buildbot") ? "Its builds may have ended since." : "What happened there since may be missing here."}`, " ", "HEARD AGAIN");
    }
    for (const about of banners.keys()) if (about !== "stream" && !beats.some((beat) => about === `relay:${beat.source}`)) banner(about, "", "", "NOT EXPECTED");
    if (drawn === word + age) return;
    drawn = word + age;
    const state = get("state");
    if (state) {
      get("age").replaceChildren(el("i", null, age[0]), age[1], el("i", null, age[2]));
      if (state.textContent !== word) { state.className = `state ${word}`; state.textContent = word; }
    }
    setWord(word);
    hears.onState?.(word);
  };

  const post = () => port?.postMessage({ needs: { ...needs, after: place } });
  open(hear).then((found) => { port = found; post(); });
  setInterval(tick, TICK_MS);
  setInterval(post, POST_MS);
  addEventListener("pagehide", () => port?.postMessage("close"));
  addEventListener("pageshow", (event) => event.persisted && post());
  addEventListener("visibilitychange", () => document.hidden || post());
  return post;
}
