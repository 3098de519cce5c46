// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The page of hooks: what it shows is read again while somebody sees it, and the form is checked once it is used.

const POLL_MS = 5000;
const form = document.getElementById("form");
let use;

// Errors of a form that was sent without script are there already.
form?.addEventListener("focusin", () => { use ??= import("/static/hooks/form.js").then(({ watch }) => watch(form)); });
form?.querySelector("[aria-invalid], #form-error")?.focus();

async function poll() {
  if (document.hidden) return;
  const [{ alter }, { read }] = await Promise.all([import("/static/alter.js"), import("/static/page.js")]);
  const address = new URL(location.href);
  for (const name of ["did", "count", "left"]) address.searchParams.delete(name);
  try {
    const page = await read(address), now = page.getElementById("now");
    if (!now) return;
    alter(document.getElementById("now"), now);
    document.title = page.title;
  } catch { /* The head says that there is no connection. */ }
}

setInterval(poll, POLL_MS);
addEventListener("visibilitychange", poll);
