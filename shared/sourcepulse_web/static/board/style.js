// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
import { el } from "/static/el.js";

let loaded;

// The style of the tray and of the list of keys.
export const style = () => (loaded ||= new Promise((done) => {
  const link = el("link", { rel: "stylesheet", href: "/static/tray.css" });
  link.onload = link.onerror = done;
  document.head.append(link);
}));
