// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0

const same = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;
// Turns an element into another with as few changes as possible, so that the focus stays.
export function morph(old, fresh) {
  if (old.nodeType !== 1) { if (old.data !== fresh.data) old.data = fresh.data; return; }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !["tabindex", "hidden", "style"].includes(name)) old.removeAttribute(name);
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((child, index) => {
    const was = before[index];
    if (!was) old.append(child);
    else if (same(was, child)) morph(was, child);
    else was.replaceWith(child);
  });
  before.slice(after.length).forEach((child) => child.remove());
}
