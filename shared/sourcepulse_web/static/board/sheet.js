// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The list of keys with its switch, and a push as plain text. Loaded when it is asked for.
import { style } from "/static/board/style.js";
import { el, get } from "/static/el.js";

await style();

const OFF = "sourcepulse.keys";
const SHEET = { "j k": "push", "← → ↑ ↓": "build", "n p": "next, last failure new here", "N P": "next, last problem", Enter: "open", o: "story of the change", ".": "show newer", "/": "filter", "1 2 3": "everything, problems, new here", c: "copy the push for a bug", Esc: "close, clear", "?": "all keys" };

export function copy(push) {
  const text = (what) => [...push.querySelectorAll(what)].map((each) => each.innerText.trim());
  const fails = [...push.querySelectorAll(".f")].map((each) => [...each.children].map((part) => part.textContent).filter(Boolean).join(" "));
  const time = push.querySelector("time").dateTime, node = push.querySelector(".who a");
  if (!node) return;
  const lines = [`${text(".who b")} pushed ${node.textContent} to ${get("list").dataset.repo} at ${time.slice(0, 10)} ${time.slice(11, 16)} UTC`, ...text(".d"), ...text(".p .more"), [...push.querySelectorAll(".sum span")].map((each) => each.textContent).join(", "), ...fails, node.href];
  navigator.clipboard?.writeText(lines.filter(Boolean).join("\n")).then(() => { get("said").textContent = "Copied."; });
}

export function sheet() {
  const old = get("keys");
  if (old) { old.remove(); return; }
  const box = el("input", { type: "checkbox", checked: localStorage.getItem(OFF) === null });
  box.onchange = () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "off"));
  const close = el("button", null, "Close");
  const made = el("section", { id: "keys", class: "keys", role: "dialog", "aria-label": "Keys", tabindex: "-1" }, el("h2", null, "Keys"),
    el("dl", null, Object.entries(SHEET).flatMap(([key, text]) => [el("dt", null, key.split(" ").map((each) => el("kbd", null, each))), el("dd", null, text)])),
    el("p", null, el("label", null, box, " single keys do this")), close);
  const from = document.activeElement;
  close.onclick = () => { sheet(); from.focus(); };
  document.body.append(made);
  made.focus();
}
