// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The story of a change follows its boards: the page is fetched again and what differs is altered in place, so that focus, scroll
// and an opened description stay. No text becomes markup here: the browser reads the answer as a document.
import { alter } from "/static/alter.js";
import { connect } from "/static/feed.js";
import { read, setHead } from "/static/page.js";

// The story asks the board for much, so a page asks once a second at most, and seldom for what others pushed.
const SOON_MS = 200, PAUSE_MS = 1000, OTHERS_MS = 30000, AGAIN_MS = 10000, SHORT = 12;
const story = document.getElementById("story"), { after, age } = story.dataset;
const trees = new Map(), needs = { boards: JSON.parse(story.dataset.repos), topics: ["hg.push.#"], rows: true, after, age };
let timer, due = Infinity, loaded = 0, busy = false;

// What is read: what has the focus, else what is at the top of the window.
function held() {
  const focused = document.activeElement, top = focused?.getBoundingClientRect().top;
  if (story.contains(focused) && top >= 0 && top < innerHeight) return focused;
  const seen = [...story.querySelectorAll("h1, h2, p, li, .l, dt")];
  return scrollY > 0 && seen.find((each) => each.getBoundingClientRect().top >= 0);
}

function draw(page) {
  const fresh = page.getElementById("story");
  if (!fresh) return;
  const before = document.querySelector(".verdict strong")?.textContent;
  const at = held(), top = at && at.getBoundingClientRect().top;
  alter(story, fresh);
  setHead(page);
  if (at?.isConnected) scrollBy(0, at.getBoundingClientRect().top - top);
  const now = document.querySelector(".verdict strong").textContent;
  if (now !== before) document.getElementById("said").textContent = `${now}. ${document.querySelector(".verdict p").textContent}`;
  // The change may have come to another tree.
  needs.boards = JSON.parse(story.dataset.repos);
  changed();
}

async function load() {
  due = Infinity;
  if (busy || document.hidden) return soon(busy ? PAUSE_MS : OTHERS_MS);
  busy = true;
  loaded = performance.now();
  try { draw(await read(location.href)); } catch ({ message }) {
    if (message === "404") location.reload();
    soon(AGAIN_MS);
  }
  busy = false;
}

// An earlier time counts, so that no row of updates puts it off.
function soon(ms) {
  const at = Math.max(performance.now() + ms, loaded + PAUSE_MS);
  if (at >= due) return;
  due = at;
  clearTimeout(timer);
  timer = setTimeout(load, at - performance.now());
}

function onBoard({ tree, pushes }) {
  const state = JSON.stringify([tree.state, tree.since, tree.reason, tree.until, tree.overdue, tree.refused]);
  const concerns = pushes.some((push) => story.querySelector(`[data-key="push-${push.id}"]`)) || trees.get(tree.repo) !== state;
  trees.set(tree.repo, state);
  soon(concerns ? SOON_MS : OTHERS_MS);
}

// A push to a tree of which the story has none: of this change, if its last node begins as this one; else it may be.
function onRow({ type, parts }) {
  if (!type.startsWith("hg.push.")) return false;
  const node = story.dataset.node.slice(0, SHORT);
  soon(parts.some(([, text]) => text.slice(0, SHORT) === node) ? SOON_MS : OTHERS_MS);
  return false;
}

document.addEventListener("visibilitychange", () => document.hidden || due === Infinity || soon(SOON_MS));
const changed = connect(needs, { onBoard, onRow, onReset: () => soon(SOON_MS), onWithdraw: () => soon(SOON_MS) });
