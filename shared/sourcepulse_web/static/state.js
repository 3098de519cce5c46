// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The state word with its age text, and which events are wanted. Pure: times are milliseconds of one clock, passed in.

export const SILENT_MS = 35000;
const QUIET_MS = 600000, LATE_S = 60, BEHIND_S = 10, SILENT_BEATS = 3;

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000)), minutes = Math.floor(s / 60), hours = Math.floor(minutes / 60);
  if (hours > 47) return `${Math.floor(hours / 24)} days`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return s % 60 && minutes < 10 ? `${minutes} min ${s % 60} s` : `${minutes} min`;
  return `${s} s`;
}

export const isSilent = (beat, now) => now - beat.at > SILENT_BEATS * beat.interval_s * 1000;

// {now, open, heard, last, beats, late_s} -> [word, before, what a phone shows too, after]; the worst wins, and the oldest of these.
export function condition({ now, open, heard, last, beats, late_s }) {
  if (!open || now - heard > SILENT_MS) return ["broken", "nothing heard for ", span(now - heard), ""];
  const lost = beats.filter((beat) => isSilent(beat, now)).sort((a, b) => a.at - b.at)[0];
  if (lost) return ["broken", `no word from ${lost.names} for `, span(now - lost.at), ""];
  const late = beats.filter((beat) => beat.late_s > LATE_S).sort((a, b) => b.late_s - a.late_s)[0];
  if (late) return ["behind", "", `${span(late.late_s * 1000)} late`, `: ${late.waiting} events of ${late.worst} on their way`];
  if (late_s > BEHIND_S) return ["behind", "", `${span(late_s * 1000)} late`, ": the gateway reads too slowly"];
  if (now - last <= QUIET_MS) return ["live", "last event ", `${span(now - last)} ago`, ""];
  const beat = Math.max(...beats.map((each) => each.at)), none = last === -Infinity;
  return ["quiet", none ? "" : "no event for ", none ? "no event yet" : span(now - last), `; the ${beats.length ? "bus" : "gateway"} answered ${span(now - (beats.length ? beat : heard))} ago, so nothing is wrong`];
}

// A pattern of the bus: `*` is one word, `#` any number of them.
const fits = (pattern, key) =>
  new RegExp(`^${pattern.split(".").map((word) => ({ "#": "(\\.[^.]+)*", "*": "\\.[^.]+" })[word] ?? `\\.${word}`).join("")}$`).test(`.${key}`);

// The pattern, type or source by which a row passes, "#" if nothing was asked for; "" if it does not.
export function why({ topics = [], exclude = [], types = [], sources = [] }, { key, type, source }) {
  if (exclude.some((each) => fits(each, key))) return "";
  const asked = [[topics, (each) => fits(each, key)], [types, (each) => fits(each, type)], [sources, (each) => each === source]].filter(([list]) => list.length);
  const found = asked.map(([list, test]) => list.find(test));
  return found.every(Boolean) ? found[0] ?? "#" : "";
}
