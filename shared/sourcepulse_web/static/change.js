// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The story of a change follows its boards: the page is fetched again and what differs is altered in place, so that focus, scroll
// and an opened description stay. No text becomes markup here: the browser reads the answer as a document.
import { connect } from "/static/feed.js";

const PAUSE_MS = 1000, AGAIN_MS = 10000;
const story = document.getElementById("story");
let timer, busy = false, again = false;

// Makes one element like another of the same name; children with a data-key are recognised wherever they stand.
export function alter(old, fresh) {
  if (old.isEqualNode(fresh)) return old;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    const made = document.importNode(fresh, true);
    old.replaceWith(made);
    return made;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return old;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const keys = new Set([...fresh.children].map((child) => child.dataset.key));
  const known = new Map();
  for (const child of [...old.children].filter((each) => each.dataset.key))
    if (keys.has(child.dataset.key)) known.set(child.dataset.key, child);
    else child.remove();
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset?.key;
    const place = key ? known.get(key) : next?.dataset?.key ? null : next;
    known.delete(key);
    // Moved only where the order changed, because what is moved loses the focus.
    if (place && place !== next) old.insertBefore(place, next);
    next = (place ? alter(place, child) : old.insertBefore(document.importNode(child, true), next)).nextSibling;
  }
  while (next) {
    const rest = next.nextSibling;
    next.remove();
    next = rest;
  }
  return old;
}

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
  if (busy) { again = true; return; }
  busy = true;
  const request = new XMLHttpRequest();
  request.open("GET", location.pathname + location.search);
  request.setRequestHeader("Accept", "text/html");
  request.responseType = "document";
  request.timeout = 30000;
  request.onload = () => {
    if (request.status === 200 && request.response) draw(request.response);
    else if (request.status === 404) location.reload();
    else again = true;
  };
  request.onloadend = () => {
    const failed = request.status !== 200;
    busy = false;
    if (failed || again) { again = false; soon(failed ? AGAIN_MS : PAUSE_MS); }
  };
  request.send();
}

function soon(ms = PAUSE_MS) {
  clearTimeout(timer);
  timer = setTimeout(load, ms);
}

connect({ boards: JSON.parse(story.dataset.repos), after: story.dataset.after }, { onBoard: () => soon(200), onReset: () => soon(), onWithdraw: () => soon() });
