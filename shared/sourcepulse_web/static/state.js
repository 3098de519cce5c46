// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// The state word and its age text, and which events are wanted. Pure: times are milliseconds of one clock, passed in.

export const KEEP_ALIVE_MS = 15000;
export const SILENT_MS = 2 * KEEP_ALIVE_MS + 5000;
const QUIET_MS = 600000, LATE_S = 60, BEHIND_S = 10, SILENT_BEATS = 3;

export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000)), minutes = Math.floor(s / 60), hours = Math.floor(minutes / 60);
  if (s < 60) return `${s} s`;
  if (hours > 47) return `${Math.floor(hours / 24)} days`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return s % 60 && minutes < 10 ? `${minutes} min ${s % 60} s` : `${minutes} min`;
}

export const namesOf = (beat) => {
  const names = beat.sources.map((each) => each.source);
  return names.length ? names[0] + (names.length > 1 ? ` and ${names.length - 1} more` : "") : beat.source;
};

// Relays that sent nothing for three intervals; what is sent for all their sources by another one since is not missed.
export function silent(now, beats) {
  const fresh = beats.filter((beat) => now - beat.at <= SILENT_BEATS * beat.interval_s * 1000);
  const served = new Set(fresh.flatMap((beat) => beat.sources.map((each) => each.source)));
  return beats.filter((beat) => !fresh.includes(beat) && !(beat.sources.length && beat.sources.every((each) => served.has(each.source))));
}

// {now, open, heard, last, beats, late_s} -> {word, age: [before, what a phone shows, after]}; the worst wins.
export function condition({ now, open, heard, last, beats, late_s }) {
  if (!open || now - heard > SILENT_MS) return { word: "broken", age: ["nothing heard for ", span(now - heard), ""] };
  const lost = silent(now, beats).sort((a, b) => a.at - b.at)[0];
  if (lost) return { word: "broken", age: [`no word from ${namesOf(lost)} for `, span(now - lost.at), ""] };
  const late = beats.filter((beat) => beat.oldest_age_s > LATE_S).sort((a, b) => b.oldest_age_s - a.oldest_age_s)[0];
  if (late) {
    const worst = late.sources.reduce((most, each) => (each.oldest_age_s > (most.oldest_age_s ?? -1) ? each : most), late);
    return { word: "behind", age: ["", `${span(late.oldest_age_s * 1000)} late`, `: ${worst.pending} events of ${worst.source} on their way`] };
  }
  if (late_s > BEHIND_S) return { word: "behind", age: ["", `${span(late_s * 1000)} late`, ": the gateway reads its log too slowly"] };
  if (now - last <= QUIET_MS) return { word: "live", age: ["last event ", `${span(now - last)} ago`, ""] };
  const answered = Math.max(...beats.map((beat) => beat.at));
  const who = beats.length ? `the bus answered ${span(now - answered)}` : `the gateway answered ${span(now - heard)}`;
  return { word: "quiet", age: [isFinite(last) ? "no event for " : "no event ", isFinite(last) ? span(now - last) : "yet", `; ${who} ago, so nothing is wrong`] };
}

const patterns = new Map();

// A pattern of the bus as a regular expression: `*` is one word, `#` any number of them.
export function fits(pattern, key) {
  if (!patterns.has(pattern)) {
    const words = pattern.split(".").map((word) => (word === "#" ? "(?:\\.[^.]+)*" : word === "*" ? "\\.[^.]+" : `\\.${word}`));
    patterns.set(pattern, new RegExp(`^${words.join("")}$`));
  }
  return patterns.get(pattern).test(`.${key}`);
}

// The pattern, type or source by which a row passes; "" if it does not.
export function why(needs, row) {
  const of = (list, test) => (list && list.length ? list.find(test) : "#");
  if ((needs.exclude || []).some((each) => fits(each, row.key))) return "";
  const found = [of(needs.topics, (each) => fits(each, row.key)), of(needs.types, (each) => fits(each, row.type)), of(needs.sources, (each) => each === row.source)];
  return found.every(Boolean) ? found.find((each) => each !== "#") || "#" : "";
}
