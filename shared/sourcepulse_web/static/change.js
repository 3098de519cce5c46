// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The story of a change follows its boards: the page is fetched again and what differs is altered in place, so that focus, scroll
// and an opened description stay. No text becomes markup here: the browser reads the answer as a document.
import { alter } from "/static/alter.js";
import { connect } from "/static/feed.js";

// The story asks the board for much, so a page asks once a second at most, and seldom for what others pushed.
const SOON_MS = 200, PAUSE_MS = 1000, OTHERS_MS = 30000, AGAIN_MS = 10000;
const story = document.getElementById("story");
const trees = new Map();
let timer, due = Infinity, loaded = 0, busy = false;

// What is read: what has the focus, else what is at the top of the window.
function read() {
  const focused = document.activeElement, top = focused?.getBoundingClientRect().top;
  if (story.contains(focused) && top >= 0 && top < innerHeight) return focused;
  const seen = [...story.querySelectorAll("h1, h2, p, li, .l, dt")];
  return scrollY > 0 && seen.find((each) => each.getBoundingClientRect().top >= 0);
}

function draw(page) {
  const fresh = page.getElementById("story");
  if (!fresh) return;
  const before = document.querySelector(".verdict strong")?.textContent;
  const held = read(), top = held && held.getBoundingClientRect().top;
  alter(story, fresh);
  document.title = page.title;
  const banner = document.getElementById("tree"), other = page.getElementById("tree");
  if (banner && other) alter(banner, other);
  else if (other) document.getElementById("banners").append(document.importNode(other, true));
  else banner?.remove();
  if (held?.isConnected) scrollBy(0, held.getBoundingClientRect().top - top);
  const now = document.querySelector(".verdict strong").textContent;
  if (now !== before) document.getElementById("said").textContent = `${now}. ${document.querySelector(".verdict p").textContent}`;
}

function load() {
  due = Infinity;
  if (busy || document.hidden) return soon(busy ? PAUSE_MS : OTHERS_MS);
  busy = true;
  loaded = performance.now();
  const request = new XMLHttpRequest();
  request.open("GET", location.pathname + location.search);
  request.setRequestHeader("Accept", "text/html");
  request.responseType = "document";
  request.timeout = 30000;
  request.onload = () => {
    if (request.status === 200 && request.response) draw(request.response);
    else if (request.status === 404) location.reload();
  };
  request.onloadend = () => {
    busy = false;
    if (request.status !== 200) soon(AGAIN_MS);
  };
  request.send();
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

document.addEventListener("visibilitychange", () => document.hidden || due === Infinity || soon(SOON_MS));
const { repos, after, age } = story.dataset;
connect({ boards: JSON.parse(repos), after, age: Number(age) }, { onBoard, onReset: () => soon(SOON_MS), onWithdraw: () => soon(SOON_MS) });
