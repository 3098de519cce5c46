// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// A page that the server draws again: its head takes the place of this one's.
import { alter } from "/static/alter.js";
import { end, show } from "/static/banners.js";
import { get } from "/static/el.js";
import { setTitle } from "/static/tab.js";

const WAIT_MS = 30000;

// Nothing runs in such a document, and it is no text that becomes HTML here.
export const read = (address) => new Promise((done, failed) => {
  const request = new XMLHttpRequest();
  request.open("GET", address);
  request.setRequestHeader("Accept", "text/html");
  request.responseType = "document";
  request.timeout = WAIT_MS;
  request.onloadend = () => (request.status === 200 && request.response ? done(request.response) : failed(new Error(request.status)));
  request.send();
});

export function setBanner(fresh) {
  const old = get("tree");
  if (old && fresh) alter(old, fresh);
  else if (fresh) show(fresh.dataset.about, fresh);
  else if (old) end(old.dataset.about, "OPEN AGAIN");
}

export function setHead(page) {
  setBanner(page.getElementById("tree"));
  setTitle(page.title, page.getElementById("icon").href);
}
