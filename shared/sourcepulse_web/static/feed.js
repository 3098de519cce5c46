// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What a page hears of the bus. `connect(needs, hears)`:
//   needs  {topics, exclude, types, sources: [text], rows: bool, boards: [repo], after: "<token>.<position>"}
//   hears  {onRow, onEvent, onBoard, onReset, onWithdraw, onHello, onState(word, age)}, each optional; `id` is the second argument of the first three
// It returns {change(needs), close(), retry()}. The head's state word and age are drawn here, on every page.

const CONTROLS = { hello: "onHello", reset: "onReset", withdraw: "onWithdraw", board: "onBoard", row: "onRow" };

export function address(needs) {
  const query = new URLSearchParams();
  for (const [name, key] of [["topic", "topics"], ["exclude", "exclude"], ["type", "types"], ["source", "sources"], ["board", "boards"]])
    for (const value of needs[key] || []) query.append(name, value);
  if (needs.rows) query.set("view", "rows");
  if (needs.after) query.set("since", needs.after);
  return `/events?${query}`;
}

export function connect(needs, hears) {
  let stream, timer, pause = 1;
  const show = (word, age) => {
    const state = document.getElementById("state");
    if (state) { state.className = `state ${word}`; state.textContent = word; document.getElementById("age").textContent = age; }
    if (hears.onState) hears.onState(word, age);
  };
  const open = () => {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = new EventSource(address(needs));
    stream.onopen = () => { pause = 1; show("live", "connected"); };
    stream.onerror = () => {
      show("broken", "trying again");
      if (stream.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, pause * 1000);
      pause = Math.min(30, pause * 2);
    };
    stream.onmessage = (message) => hears.onEvent && hears.onEvent(JSON.parse(message.data), message.lastEventId);
    for (const [name, handler] of Object.entries(CONTROLS))
      stream.addEventListener(name, (message) => hears[handler] && hears[handler](JSON.parse(message.data), message.lastEventId));
  };
  open();
  return {
    change(more) { needs = more; open(); },
    close() { clearTimeout(timer); stream.close(); },
    retry() { pause = 1; open(); },
  };
}
