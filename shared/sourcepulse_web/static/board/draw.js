// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// A push as elements: the same as templates/push.html draws.
import { el } from "/static/el.js";
import { VERDICTS, bannerNote, bugLink, clock, day, detail, lineClass, lineName, link, linked, others, pushLabel, short, shown, spoken, story, testName } from "/static/board/texts.js";

export const pieces = (parts) => parts.map((part) =>
  part.href ? el("a", { href: part.href, class: part.struck ? "shut" : part.mono ? "mono" : null, title: part.title }, part.text) : part.text);

export const drawWord = (each, address) =>
  el("a", { class: `w ${each.state}`, "data-key": shown(each.place), href: link(each.url) || address, "aria-label": spoken(each), "data-n": each.number, "data-i": detail(each), "data-o": others(each) }, shown(each.label));

function failure(each) {
  const [folders, file] = testName(each);
  const state = each.verdict === "broke" ? "exception" : each.verdict;
  const bug = each.bug && pieces([bugLink(each.bug, `Bug ${each.bug.id}`)]);
  return el("p", { class: `f ${each.verdict}` },
    el("span", { class: `s ${state}` }, VERDICTS[each.verdict]),
    el(link(each.link) ? "a" : "span", { class: "test mono", href: link(each.link) }, folders && el("bdi", { class: "dir" }, folders), el("bdi", { class: "file" }, file)),
    each.where && el("bdi", { class: "where" }, shown(each.where)),
    each.message && el("bdi", { class: "msg mono" }, shown(each.message)),
    el("span", { class: "note" }, bug, bug && each.note && " · ", shown(each.note)));
}

function rail(push) {
  const gone = push.stripped_at ? " gone" : "";
  const node = (each, more) => el("a", { class: "mono" + more, href: story(each.node) }, short(each.node));
  return el("div", { class: "rail" },
    el("p", { class: "who" }, el("time", { datetime: push.time }, clock(push.time)),
      push.withdrawn ? el("span", { class: "muted" }, "withdrawn: no longer public")
        : [el("b", { class: gone.trim() }, el("bdi", null, shown(push.user || "somebody"))), node(push, gone)]),
    push.stripped_at && el("p", { class: "more" }, `stripped at ${clock(push.stripped_at)}, its builds stay readable`),
    push.descs.map((desc) => el("p", { class: (push.descs.length === 1 ? "d one" : "d") + gone }, el("bdi", null, pieces(linked(desc.text, desc.bugs, desc.backs_out))))),
    push.more && el("p", { class: "more" }, shown(push.more)),
    push.backed_out && !push.failures.length && el("p", { class: "more" }, "backed out by ", node(push.backed_out, "")),
    push.summary.length > 0 && el("p", { class: "sum" }, push.summary.map((each) => el("span", { class: `s ${each.state}` }, shown(each.text)))));
}

export const drawLine = (line, address) =>
  el("div", { class: lineClass(line), "data-key": lineName(line), role: "group", "aria-label": lineName(line) },
    el("span", { class: "n" }, lineName(line)), line.words.map((each) => drawWord(each, address)));

export function drawPush(push) {
  const address = story(push.node);
  const fails = push.failures.map(failure);
  if (fails.length && push.more_failures) fails.push(el("p", { class: "f" }, el("a", { href: `${address}#fails` }, `and ${push.more_failures} more`)));
  return el("li", { id: `p${push.id}`, class: push.is_new ? "p hot" : "p", "data-c": push.changed, "data-f": shown(push.sought) },
    el("article", { "aria-label": pushLabel(push) }, rail(push), el("div", { class: "builds" },
      push.lines.map((line) => drawLine(line, address)),
      fails.length > 0 && el("div", { class: "fails" }, fails))));
}

export const drawDay = (time) => el("li", { class: "day", "data-day": time.slice(0, 10) }, el("h2", null, `${day(time)}, times in UTC`));

const BANNERS = { closed: "closed", "approval required": "approval" };
export const drawTree = (tree, now) => tree.state in BANNERS && el("div", { class: `banner ${BANNERS[tree.state]}`, id: "tree", "data-about": shown(tree.repo), "data-until": !tree.overdue && tree.until },
  el("span", { class: "tag" }, tree.state.toUpperCase()),
  el("p", null, el("bdi", null, pieces(linked(tree.reason || "no reason was published", tree.reason_bugs, [])))),
  el("span", { class: "when" }, bannerNote(tree, now)));
