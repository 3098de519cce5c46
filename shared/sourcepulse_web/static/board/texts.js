// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// Documents of the board in words: the same as pages/trees/texts.py.
import { many } from "/static/el.js";
import { picture } from "/static/tab.js";

const UNSEEN = /[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;
const BUG = "(?<![A-Za-z0-9_])bug[ \\t]+([0-9]+)(?![A-Za-z0-9_])";
export const PROBLEMS = ["new", "known", "alone", "warnings", "exception", "retry", "cancelled"];
export const VERDICTS = { new: "new here", known: "known", alone: "failed", broke: "broke" };

export const shown = (text) => text.replace(UNSEEN, (c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
export const link = (url) => (url && /^https?:\/\//i.test(url) && shown(url) === url ? url : null);
export const story = (node) => "/changes/" + encodeURIComponent(node);
export const short = (node) => shown(node.slice(0, 12));
export const clock = (time) => time.slice(11, 16);

export function lasting(seconds) {
  seconds = Math.max(0, seconds);
  const parts = [[Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
  const first = parts.findIndex(([count]) => count);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", weekday: "long", day: "numeric", month: "long", year: "numeric" });
export const day = (time) => DAY.format(new Date(time)).replace(",", "");
export function when(time, now) {
  const [, number, month] = day(time).split(" ");
  return time.slice(0, 10) === now.slice(0, 10) ? clock(time) : `${number} ${month.slice(0, 3)} ${clock(time)}`;
}

export const lineName = (line) => shown([line.platform, line.buildtype].filter(Boolean).join(" ") || "not yet known");
export function lineClass(line) {
  const some = (states) => line.words.some((word) => states.includes(word.state));
  return "l" + (some(PROBLEMS) ? "" : " calm") + (some(["new"]) ? "" : " old");
}
export const spoken = (word) =>
  `${shown(word.place)}: ${shown(word.said)}` + (word.tier > 1 ? `, tier ${word.tier}` : "") + (word.duration_s === null ? "" : `, ${lasting(word.duration_s)}`);
export function detail(word) {
  const time = [word.duration_s === null ? "" : lasting(word.duration_s), word.worker ? `on ${shown(word.worker)}` : ""].filter(Boolean);
  const waited = word.waited_s === null ? "" : `waited ${lasting(word.waited_s)}`;
  return [shown(word.state_string || ""), time.join(" "), waited].filter(Boolean).join(" · ");
}
export const others = (word) => word.others.map((run) => `#${run.number} ${shown(run.said)}`).join(", ");

export const bugLink = (bug, text) =>
  ({ text, href: link(bug.url), struck: bug.open === false, title: bug.summary === null ? null : shown(bug.summary) });
export function linked(text, bugs, backsOut) {
  text = shown(text);
  const nodes = backsOut.filter(Boolean).sort((a, b) => b.length - a.length).map((node) => node.replace(/[^0-9a-z]/gi, "\\$&")).join("|");
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(new RegExp(nodes ? `${BUG}|(${nodes})` : BUG, "gi"))) {
    const bug = bugs.find((each) => each.id === Number(found[1]));
    if (!found[2] && !bug) continue;
    if (found.index > end) parts.push({ text: text.slice(end, found.index) });
    parts.push(found[2] ? { text: found[0], href: story(found[0]), mono: true } : bugLink(bug, found[0]));
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

export function testName(failure) {
  const text = shown(failure.test) + (failure.line === null ? "" : `:${failure.line}`);
  const cut = text.lastIndexOf("/");
  return cut > 0 ? [text.slice(0, cut), text.slice(cut)] : ["", text];
}
export const pushLabel = (push) =>
  [push.withdrawn ? "withdrawn" : shown(push.user || "somebody"), clock(push.time), short(push.node)].filter(Boolean).join(", ");

export function until(tree, now) {
  if (tree.until === null) return "";
  const time = when(tree.until, now);
  return tree.overdue ? `was to open at ${time}, has not been opened` : `opens again at ${time}`;
}
export function bannerNote(tree, now) {
  const parts = [];
  if (tree.by) parts.push(`by ${shown(tree.by)}`);
  if (tree.since) parts.push((tree.since.slice(0, 10) === now.slice(0, 10) ? "at " : "on ") + when(tree.since, now));
  return [parts.join(" "), until(tree, now), tree.refused ? `${many(tree.refused, "push", "pushes")} refused` : ""].filter(Boolean).join(" · ");
}
export const newFailures = (tree) => tree.failing.filter((failure) => failure.verdict === "new").length;
export function title(tree) {
  const count = newFailures(tree);
  return (count ? `✖ ${count}${tree.more_failing ? "+" : ""} new · ` : "") + (tree.state === "closed" ? "■ closed · " : "") + shown(tree.name);
}
export function icon(tree) {
  const count = newFailures(tree), closed = tree.state === "closed";
  const fill = count || closed ? "#b3261e" : "#57606a";
  return picture(closed ? `<rect width='16' height='16' rx='2' fill='${fill}'/>` : `<circle cx='8' cy='8' r='8' fill='${fill}'/>`, Math.min(count, 99) || "");
}
