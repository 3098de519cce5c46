// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The list of trees: rows are painted in place, and sorted when the page is loaded.
import "/static/wall.js";

const box = document.getElementById("q");
box.addEventListener("input", () => {
  const needle = box.value.toLowerCase().trim();
  for (const row of document.querySelectorAll("tbody tr")) {
    const [name, state] = row.cells;
    row.hidden = !`${name.innerText} ${state.firstElementChild.textContent}`.toLowerCase().includes(needle);
  }
  const query = new URLSearchParams(location.search);
  if (needle) query.set("q", needle); else query.delete("q");
  history.replaceState(null, "", `?${query}`);
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
  event.preventDefault();
  box.focus();
});
