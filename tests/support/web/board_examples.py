# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A board as documents: the pushes of the design's picture, with every state that a word can have."""

from __future__ import annotations

from sourcepulse_web.board.documents import (
    BoardDoc,
    BugDoc,
    DescDoc,
    FailureDoc,
    LineDoc,
    PlaceLineDoc,
    PushDoc,
    PushRef,
    SummaryDoc,
    TreeDoc,
    Verdict,
    WordDoc,
    WordState,
)

REPO = "integration/inbound"
HG_WEB = "https://hg.example.org/integration/inbound"
BUGZILLA = "https://bugs.example.org"
DAY = "2026-11-22"
ARENA = "Bug 1291 - use the arena allocator in the tokenizer"
LINES: dict[tuple[str, str], str] = {
    (
        "linux64",
        "debug",
    ): "build unit jit reftest-1 reftest-2 ui-1 ui-2 ui-3 accessibility-screenreader-integration memory",
    ("linux64", "opt"): "build lint unit jit reftest-1 reftest-2 ui-1 ui-2 ui-3 perf package docs",
    ("macos-arm64", "opt"): "build unit jit reftest-1 ui-1 ui-2 ui-3 perf package",
    ("win64", "opt"): "build unit jit reftest-1 ui-1 ui-2 ui-3 perf package",
}
SAID: dict[WordState, str] = {
    "passed": "passed",
    "new": "failed, new here",
    "known": "failed, known",
    "alone": "failed, nothing to compare with",
    "warnings": "passed with warnings",
    "exception": "broke",
    "retry": "starts again",
    "running": "running",
    "waiting": "waiting",
    "cancelled": "cancelled",
    "skipped": "skipped",
    "unknown": "outcome mystified",
    "none": "not asked for",
}
OUTCOMES: dict[WordState, str] = {
    "passed": "success",
    "new": "failure",
    "known": "failure",
    "alone": "failure",
    "unknown": "mystified",
}
FAILED_WORDS: dict[WordState, str] = {
    "new": "{} new",
    "known": "{} known",
    "alone": "{} failed",
    "exception": "{} broke",
    "cancelled": "{} cancelled",
    "running": "{} running",
    "waiting": "{} waiting",
}
BUGS = {
    1187: ("test_paste_rich.py fails now and then", True),
    1234: ("Crash on empty input", False),
    1279: ("Restore windows after sleep", True),
    1288: ("Font metrics are slow", True),
    1305: ("parse.t crashes with signal 11", True),
}


def at(clock: str) -> str:
    return f"{DAY}T{clock}.000000Z"


def node(beginning: str) -> str:
    return beginning + "0d04b7f83c6a7702be4d9135fa86c3e0"[: 40 - len(beginning)]


def bug(number: int) -> BugDoc:
    summary, is_open = BUGS.get(number, (None, None))
    return BugDoc(id=number, url=f"{BUGZILLA}/show_bug.cgi?id={number}", open=is_open, summary=summary)


def word(platform: str, buildtype: str, label: str, state: WordState) -> WordDoc:
    has_build = state not in ("waiting", "none")
    ended = has_build and state != "running"
    place = f"{platform}-{buildtype}-{label}"
    return WordDoc(
        place=place,
        label=label,
        state=state,
        said=SAID[state],
        number=57 if has_build else None,
        url=f"https://ci.example.org/#/builders/3/builds/57?{place}" if has_build else None,
        duration_s=455 if ended else None,
        waited_s=9 if has_build else None,
        started_at=at("10:59:30") if has_build else None,
        complete_at=at("11:07:05") if ended else None,
        worker="w12" if has_build else None,
        state_string="failed tests (1 of 2,114)" if state in ("new", "known", "alone") else None,
        outcome=OUTCOMES.get(state, state) if ended else None,
        build=5731 if has_build else None,
        tier=2 if label == "docs" else 1,
        others=[],
    )


def lines(usual: WordState, other: dict[str, WordState]) -> list[LineDoc]:
    """Return all lines; `other` names what is not as usual: a place, a label, or a platform with its build type."""
    return [
        LineDoc(
            platform=platform,
            buildtype=buildtype,
            words=[
                word(
                    platform,
                    buildtype,
                    label,
                    other.get(
                        f"{platform}-{buildtype}-{label}", other.get(label, other.get(f"{platform}-{buildtype}", usual))
                    ),
                )
                for label in labels.split()
            ],
        )
        for (platform, buildtype), labels in LINES.items()
    ]


def failure(verdict: Verdict, test: str, where: str, message: str | None, note: str, **more: object) -> FailureDoc:
    said = {"new": "new here", "known": "known", "alone": "nothing to compare with", "broke": "broke"}[verdict]
    document = FailureDoc(
        verdict=verdict,
        said=said,
        test=test,
        is_test="#" not in test,
        tier=1,
        line=None,
        where=where,
        places=[],
        message=message,
        bug=None,
        note=note,
        link="https://ci.example.org/#/builders/3/builds/57",
        since=None,
    )
    return {**document, **more}  # type: ignore[typeddict-item]


def push(
    number: int,
    clock: str,
    user: str,
    beginning: str,
    descs: list[tuple[str, list[int]]],
    usual: WordState,
    other: dict[str, WordState],
    **more: object,
) -> PushDoc:
    drawn = lines(usual, other)
    states = [each["state"] for line in drawn for each in line["words"]]
    summary = [
        SummaryDoc(state=state, text=text.format(states.count(state)))
        for state, text in FAILED_WORDS.items()
        if state in states
    ]
    passed = states.count("passed")
    if passed:
        summary.append(SummaryDoc(state="passed", text=f"{passed} of {len(states)}"))
    document = PushDoc(
        id=number,
        changed=number + 400,
        repo=REPO,
        time=at(clock),
        user=user or None,
        node=node(beginning),
        count=len(descs),
        descs=[
            DescDoc(
                node=node(f"{beginning[:10]}{index}"),
                author=f"{user} <{user}@example.org>",
                text=text,
                bugs=[bug(each) for each in bugs],
                backs_out=["e1b9440c7f20"] if text.startswith("Backed out") else [],
            )
            for index, (text, bugs) in enumerate(descs)
        ],
        more=None,
        backed_out=None,
        stripped_at=None,
        withdrawn=False,
        summary=summary,
        passed=passed,
        of=len(states),
        lines=drawn,
        failures=[],
        more_failures=0,
        is_new="new" in states,
        sought="src/parse.c tests/parse.t",
    )
    return {**document, **more}  # type: ignore[typeddict-item]


def ref(number: int, clock: str, user: str, beginning: str) -> PushRef:
    return PushRef(id=number, repo=REPO, node=node(beginning), user=user, time=at(clock))


SINCE_ALICE = ref(800, "10:59:21", "alice", "1f0c5a2be9d0")
PARSE = failure(
    "new",
    "tests/parse.t",
    "on linux64 opt, linux64 debug, win64 opt: unit",
    "expected exit 0, got 139",
    "first failure in 12 runs",
    line=41,
    since=SINCE_ALICE,
)
PASTE = failure(
    "known",
    "ui/clipboard/test_paste_rich.py",
    "on linux64 debug: ui-2",
    "AssertionError: clipboard is empty",
    "6 of the last 20 pushes",
    bug=bug(1187),
    since=ref(610, "08:12:40", "erin", "9b7cf6d1c04e"),
)
BROKE = failure("broke", "linux64-debug-memory #57", "no test result", "worker w12 lost", "asked for again at 11:09")
RESTORE = failure(
    "new",
    "ui/windows/restore/test_restore_after_sleep_with_two_displays_and_scaling.py",
    "on macos-arm64 opt, win64 opt: ui-3",
    "timed out after 330 s",
    "backed out by 77ab03fe5c61",
    bug=bug(1279),
)


def tree(**more: object) -> TreeDoc:
    document = TreeDoc(
        name="inbound",
        repo=REPO,
        state="closed",
        since=at("11:26:00"),
        by="bob",
        reason="unit fails on three platforms since 1f0c5a2be9d0, bug 1305",
        reason_bugs=[bug(1305)],
        until=at("12:30:00"),
        overdue=False,
        refused=2,
        failing=[PARSE, PASTE, BROKE],
        more_failing=0,
        running=15,
        waiting=49,
        last_build_at=at("11:27:48"),
        newest={
            "id": 1000,
            "node": node("c47e90b1d2a3"),
            "user": "dave",
            "time": at("11:24:02"),
            "text": ARENA,
            "bugs": [bug(1291)],
        },
        hg_web=HG_WEB,
        bugzilla=BUGZILLA,
    )
    return {**document, **more}  # type: ignore[typeddict-item]


def pushes() -> list[PushDoc]:
    """Return pushes, newest first, that have every state of a word and every oddity of a push between them."""
    bad: dict[str, WordState] = {
        "linux64-opt-unit": "new",
        "linux64-debug-unit": "new",
        "win64-opt-unit": "new",
        "linux64-debug-ui-2": "known",
        "linux64-debug-memory": "exception",
        "macos-arm64-opt-ui-1": "retry",
        "linux64-opt-perf": "warnings",
        "docs": "skipped",
    }
    return [
        push(1000, "11:24:02", "dave", "c47e90b1d2a3", [(ARENA, [1291])], "waiting",
             {"linux64-opt-build": "running", "linux64-opt-lint": "running", "linux64-debug-build": "running"}),
        push(900, "11:12:40", "carol", "5b09d7e2f418",
             [("Bug 1288 - cache font metrics per process", [1288]), ("Bug 1288 - more tests", [1288])],
             "passed", {"linux64-debug-ui-2": "known", "docs": "skipped", "win64-opt": "running", "memory": "waiting"},
             count=4, more="and 2 more changes", failures=[PASTE]),
        push(800, "10:59:21", "alice", "1f0c5a2be9d0",
             [("Bug 1234 - handle empty input", [1234]), ("Bug 1234 - tests for empty input", [1234]),
              ("No bug - fix a typo in a comment", [])],
             "passed", bad, failures=[PARSE, PASTE, BROKE]),
        push(790, "10:57:00", "", "", [], "passed", {}, withdrawn=True, node="", lines=[], summary=[], sought=""),
        push(700, "10:41:13", "bob", "77ab03fe5c61",
             [("Backed out e1b9440c7f20 (Bug 1279) for ui-3 failures on win64", [1279])], "passed", {"docs": "none"}),
        push(600, "10:17:55", "maximilian-alexander.vonderweidenberg", "e1b9440c7f20",
             [("Merge default into inbound", [])], "passed",
             {"macos-arm64-opt-ui-3": "new", "win64-opt-ui-3": "new", "perf": "cancelled", "package": "cancelled",
              "memory": "cancelled"},
             count=112, more="and 111 more changes; 100 are listed", failures=[RESTORE], more_failures=12,
             backed_out={"push": 700, "node": node("77ab03fe5c61"), "user": "bob", "time": at("10:41:13")}),
        push(500, "09:58:00", "erin", "9b7cf6d1c04e", [("try <b>bold</b> & \u202eevil", [])], "unknown",
             {"build": "alone", "unit": "retry"}, stripped_at=at("11:40:00")),
    ]  # fmt: skip


def board() -> BoardDoc:
    """Return the page of a closed tree."""
    return BoardDoc(
        tree=tree(),
        places=[
            PlaceLineDoc(
                platform=line["platform"],
                buildtype=line["buildtype"],
                places=[
                    {"place": each["place"], "label": each["label"], "tier": each["tier"]} for each in line["words"]
                ],
            )
            for line in lines("none", {})
        ],
        pushes=pushes(),
        since="2026-11-21T11:24:02.000000Z",
        total=200,
        older=500,
        position=1404,
    )


def trees() -> list[TreeDoc]:
    """Return trees in each state, as on /trees."""
    quiet: dict[str, object] = {
        "until": None, "refused": 0, "failing": [], "running": 0, "waiting": 0, "reason": None, "reason_bugs": [],
    }  # fmt: skip
    return [
        tree(),
        tree(**quiet | {"name": "release", "repo": "releases/2.4", "state": "approval required", "by": "carol",
                        "reason": "release candidate, ask carol"}),
        tree(**quiet | {"name": "main", "repo": "main", "state": "open", "by": "bob", "running": 4}),
        tree(**quiet | {"name": "toolkit", "repo": "projects/toolkit", "state": "open", "failing": [PASTE]}),
        tree(name="late", repo="late", until=at("09:00:00"), overdue=True, reason="<script>alert(1)</script>"),
        tree(**quiet | {"name": "docs", "repo": "docs", "state": "not known", "since": None, "by": None,
                        "last_build_at": None, "newest": None, "hg_web": None, "bugzilla": None}),
    ]  # fmt: skip
