// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The tray: the build that has the focus, and the last runs of its builder in the rows of this page.
import { el } from "/static/el.js";
import { style } from "/static/board/style.js";

await style();

const RUNS = 12, NOT_RUN = ["waiting", "running", "none", "skipped", "cancelled"], FAILED = ["new", "known", "alone"];
const tray = document.getElementById("tray");
const stateOf = (word) => word.classList[1];

function runs(word) {
  const found = [];
  for (const same of document.querySelectorAll(`.w[data-key="${CSS.escape(word.dataset.key)}"]`)) {
    if (!NOT_RUN.includes(stateOf(same))) found.push(stateOf(same));
    if (found.length === RUNS) break;
  }
  return found;
}
function history(shown, state) {
  const found = shown.filter((each) => each !== "retry" && each !== "unknown");
  const failed = found.filter((each) => FAILED.includes(each)).length;
  if (!found.length || (found.length === 1 && state === "alone")) return failed ? "no earlier run" : "no run";
  if (failed === 1 && found.length > 1 && FAILED.includes(found[0])) return `first failure in ${found.length} runs`;
  return failed ? `${failed} of ${found.length} failed` : `none of ${found.length} failed`;
}

let chosen;
export function choose(word) {
  chosen = word;
  const { key: place, n, i, o } = word.dataset, said = word.getAttribute("aria-label").slice(place.length + 2), found = runs(word), push = word.closest(".p"), story = push.querySelector(".who a")?.getAttribute("href");
  const button = el("button", { class: "link" }, "all keys"), close = el("button", { class: "close" }, "Close");
  const key = (...names) => names.map((each) => el("kbd", null, each));
  button.onclick = async () => (await import("/static/board/sheet.js")).sheet();
  close.onclick = () => { tray.classList.remove("open"); word.focus(); };
  const href = word.getAttribute("href");
  tray.replaceChildren(
    el("p", null, el("b", null, el("bdi", null, place)), n && el("span", { class: "number" }, ` #${n}`), " ", el("span", { class: `s ${stateOf(word)}` }, said.replace(/, [\d dhmins]+$/, "")), el("br"), [i, document.querySelector("h1 bdi").textContent, o && `also ${o}`].filter(Boolean).join(" · ")),
    el("p", { class: "runs" }, `Last ${RUNS} runs here, newest first`, el("br"), found.map((state) => el("span", { class: `s ${state}` })), " ", history(found, stateOf(word))),
    el("p", { class: "links" }, href !== story && el("a", { href }, "Build page"), story && push.querySelector(".f") && el("a", { href: `${story}#fails` }, "Test list"), story && el("a", { href: story }, "Story of this change"), close,
      el("span", { class: "small keyhelp" }, key("←", "→"), " build ", key("j", "k"), " push ", key("n"), " next failure ", key("?"), " ", button)));
}

// What is not public any more, or has changed, is not in the tray either.
document.getElementById("list").addEventListener("painted", ({ detail }) => {
  if (chosen && !chosen.isConnected) { tray.replaceChildren(); chosen = null; }
  else if (detail.contains(chosen)) choose(chosen);
});
