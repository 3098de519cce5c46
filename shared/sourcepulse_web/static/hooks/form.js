// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The form of a hook: each field is checked when it is left, by the gateway, and nothing is made by that.
import { el, get } from "/static/el.js";

const HEADERS = { "Content-Type": "application/json" };
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const value = (field) => (field.id === "topics" ? lines(field.value) : field.value);

async function check(fields) {
  const body = JSON.stringify({ check: true, ...Object.fromEntries(fields.map((field) => [field.id, value(field)])) });
  const answer = await fetch("/hooks", { method: "POST", headers: HEADERS, body });
  if (!answer.ok) throw new Error(answer.status);
  return answer.json();
}

function mark(field, text) {
  const id = `${field.id}-error`, hint = `${field.id}-hint`;
  get(id)?.remove();
  if (text) {
    field.after(el("p", { class: "error", id }, el("i", { "aria-hidden": "true" }, "×"), ` ${text}`));
    field.setAttribute("aria-invalid", "true");
  } else field.removeAttribute("aria-invalid");
  field.setAttribute("aria-describedby", text ? `${hint} ${id}` : hint);
}

// About what is right, but worth a look: a receiver that is not found yet, and how much would have come.
function note(form, field, { doubt, topics_doubt, said }) {
  const text = { url: doubt, topics: topics_doubt }[field.id];
  form.querySelector(`.doubt[data-of=${field.id}]`)?.remove();
  if (text) field.after(el("p", { class: "doubt", "data-of": field.id }, `△ ${text}`));
  if (field.id !== "topics") return;
  const live = `/?${new URLSearchParams(value(field).map((topic) => ["key", topic]))}`;
  get("matches").replaceChildren(...(said ? [`${said} `, el("a", { href: live }, "Show them live")] : []));
}

export function watch(form) {
  const fields = ["name", "url", "topics"].map((name) => form.elements[name]).filter(Boolean);
  let sent = false;

  async function look(asked) {
    const were = asked.map((field) => field.value), found = await check(asked);
    // What was typed meanwhile is checked when it is left.
    const same = asked.filter((field, index) => field.value === were[index]);
    for (const field of same) {
      mark(field, found.errors[field.id]);
      note(form, field, found);
    }
    return fields.find((field) => field.hasAttribute("aria-invalid"));
  }

  // An empty field is not wrong before the form is sent, and what cannot be checked now is checked then.
  for (const field of fields) field.addEventListener("change", () => value(field).length && look([field]).catch(() => {}));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // A second click would be refused, and its answer would hide the secret.
    if (sent) return;
    sent = true;
    const only = event.submitter?.name === "check";
    let wrong;
    try { wrong = await look(fields); } catch { /* The gateway checks the form itself. */ }
    sent = !wrong && !only;
    if (wrong) wrong.focus();
    else if (sent) form.submit();
  });
  // Of a page that comes back, the form was used.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
