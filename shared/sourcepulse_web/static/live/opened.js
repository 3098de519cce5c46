// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What an opened row shows: the event as JSON, and why it is here. Loaded with the first one.
import { el } from "/static/el.js";

const link = (text, href, className) => el("a", { class: className, href }, text);

// JSON has an escape for what has no shape or turns the direction of text.
const shaped = (event) => JSON.stringify(event, null, 2).replace(/[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);

async function read(address, json) {
  try { json.textContent = shaped((await (await fetch(address)).json()).events[0].event); }
  catch { json.textContent = "This event cannot be read now."; }
}

export function drawOpened(row, why) {
  const { key, type, source, id, sequence, replayed } = row.dataset, json = el("pre", null, "Reading …"), facts = el("dl"), copy = el("button", "copy", "Copy JSON");
  const only = new URLSearchParams(location.search), hide = new URLSearchParams(location.search);
  const fact = (name, ...values) => facts.append(el("dt", null, name), el("dd", null, ...values));
  fact("Why here", "matches ", el("code", null, why || "#"));
  fact("Key", el("code", null, key));
  if (sequence) fact("Number", `${Number(sequence).toLocaleString("en")} of `, el("bdi", null, source));
  fact("Id", el("code", null, id));
  fact("Sent", replayed ? "again, on request" : "live, not repeated");
  fact("Type", link(type, `/schemas/${type}.json`));
  only.set("key", key);
  hide.append("not", key);
  copy.onclick = () => navigator.clipboard.writeText(json.textContent).then(() => { copy.textContent = "Copied"; }, () => getSelection().selectAllChildren(json));
  read(row.firstElementChild.href, json);
  return el("li", "open", json, el("div", null, facts, link("Only events like this", `/?${only}`, "button only"), link("Hide events like this", `/?${hide}`, "button hide"), copy));
}
