// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The list of trees: rows are painted in place, and sorted when the page is loaded.
import "/static/wall.js";

const get = (id) => document.getElementById(id), box = get("q");
// As `trees_values` of pages/trees/view.py.
function sift() {
  const needle = box.value.toLowerCase().trim(), rows = [...document.querySelectorAll("tbody tr")];
  for (const row of rows) {
    const [name, state] = row.cells;
    row.hidden = ![...name.children, state.firstElementChild].map((each) => each.textContent).join(" ").toLowerCase().includes(needle);
  }
  if (!get("none")) return;
  get("none").hidden = rows.some((row) => !row.hidden);
  get("sought").textContent = box.value;
}

box.addEventListener("input", () => {
  sift();
  const query = new URLSearchParams(location.search);
  if (box.value.trim()) query.set("q", box.value); else query.delete("q");
  history.replaceState(null, "", `?${query}`);
});
addEventListener("repainted", sift);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  event.preventDefault();
  box.focus();
});
