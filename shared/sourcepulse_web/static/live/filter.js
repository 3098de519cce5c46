// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The filter of the live page that is typed. Loaded with the first sign of somebody.
import { get } from "/static/el.js";
import { sift } from "/static/live.js";

const field = get("q"), query = () => new URLSearchParams(location.search);
// The server sends only rows that have the text of the address.
const part = query().get("q");
let isTyped = false;

function address() {
  const asked = query();
  if (field.value.trim()) asked.set("q", field.value); else asked.delete("q");
  return `/?${asked}`;
}

// The first letter makes an entry of its own, so that Back returns to what was before it; Enter stays in that entry.
function typed() {
  history[isTyped ? "replaceState" : "pushState"](null, "", address());
  isTyped = true;
  sift();
}

// What the address says, after Back.
function recall() {
  if (part && query().get("q") !== part) { location.reload(); return; }
  isTyped = false;
  field.value = query().get("q") ?? "";
  sift();
}

field.oninput = typed;
field.form.onsubmit = (event) => {
  event.preventDefault();
  location[isTyped ? "replace" : "assign"](address());
};
addEventListener("popstate", recall);
addEventListener("pageshow", (event) => event.persisted && recall());
// What was typed before this module came, unless Enter has already sent it: an entry for it would be one too many.
if (!("sent" in field.form.dataset) && field.value.trim() !== (query().get("q") ?? "")) typed();
