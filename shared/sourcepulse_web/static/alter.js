// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Makes one element like another of the same name; children with a data-key are recognised wherever they stand.
// What the page itself sets.
const KEPT = ["hidden", "style", "tabindex"];

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
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !KEPT.includes(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
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
