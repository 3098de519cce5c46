# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Programs and forms without script do all that the page does, for the user whom the proxy names, and only for him."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from sourcepulse.catalogue import example_of
from sourcepulse_web.pages.hooks.actions import ACTIONS
from sourcepulse_web.webhooks.hook import State
from support.brokers.embedded_log import wait_until
from support.webhooks.hooked_site import ALICE, BOB, FORM, HEADER, JSON, HookedSite

TAKEN = "A hook has this name already; choose another name."
URL = "http://127.0.0.1/in"
SECRET = "whsec_"
#: What another user must not see anywhere.
PRIVATE = ("alices-hook", "quiet-place", ALICE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path_factory.mktemp("hooks"), settings="owner_hooks_max = 10\n")) as site:
        site.start()
        yield site


def secrets(site: HookedSite, name: str) -> list[str]:
    with site.opened_store() as store:
        return [each.value for each in store.secrets(name)]


def test_a_program_signs_up_and_gets_the_secret_once(site: HookedSite) -> None:
    answer = site.post("/hooks", {"name": "program", "url": URL, "topics": ["hg.#"], "test": True})
    assert (answer.status, answer.headers["Location"], answer.headers["Cache-Control"]) == (
        201,
        "/hooks/program",
        "no-store",
    )
    assert answer.document["secret"].startswith(SECRET)
    assert answer.document["test"] > 0
    for path in ("/hooks", "/hooks/program", "/hooks?format=json", "/hooks/program?format=json"):
        assert SECRET not in site.ask("GET", path).text
    listed = site.ask("GET", "/hooks?format=json").document
    assert (listed["user"], listed["hooks_max"]) == (ALICE, 10)
    assert [hook["state"] for hook in listed["hooks"] if hook["name"] == "program"] == ["not tried yet"]
    # No sender runs here.
    for path in ("/hooks", "/hooks/program"):
        page = site.page(path)
        assert ("Nothing is sent now." in page, "not sent now" in page, "</i> working" in page) == (True, True, False)
    again = site.post("/hooks", {"name": "program", "url": URL, "topics": ["hg.#"]})
    assert (again.status, again.document["errors"]) == (400, {"name": TAKEN})


def test_a_form_without_script_signs_up_and_shows_the_secret_on_its_answer_only(site: HookedSite) -> None:
    fields = {"name": "by-form", "url": URL, "topics": "hg.#\r\n\r\nbugzilla.#\r\n"}
    token = site.tokens("/hooks")["/hooks"]
    answer = site.send_form("/hooks", {**fields, "token": token})
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    (secret,) = secrets(site, "by-form")
    assert secret in answer.text
    # Loaded again, it is the same form, and makes nothing.
    again = site.send_form("/hooks", {**fields, "token": token})
    assert again.status == 403
    assert "was sent already" in again.text
    assert secrets(site, "by-form") == [secret]
    assert site.ask("GET", "/hooks/by-form?format=json").document["topics"] == ["hg.#", "bugzilla.#"]


def test_what_is_wrong_is_said_at_each_field_and_nothing_is_made(site: HookedSite) -> None:
    wrong = {"name": "No Name", "url": "http://10.0.0.8/x", "topics": "hg.push.$"}
    answer = site.send_form("/hooks", wrong, of="/hooks")
    assert answer.status == 400
    assert answer.text.count("aria-invalid") == 3
    assert answer.text.count("autofocus") == 1
    assert 'value="No Name"' in answer.text
    checked = site.post("/hooks", {"check": True, "url": "ftp://x", "topics": ["hg.#"]}).document
    assert set(checked["errors"]) == {"url"}
    site.append(example_of("hg.push"))
    counted = site.post("/hooks", {"check": True, "topics": ["hg.push.#"]}).document
    assert counted["matches"] >= 1
    assert (
        counted["said"]
        == f"Would have matched {counted['matches']} event{'s' * (counted['matches'] > 1)} in the last 24 hours."
    )
    looked = site.send_form("/hooks", {"name": "checked", "url": URL, "topics": "hg.push.#", "check": "1"}, of="/hooks")
    assert looked.status == 200
    assert counted["said"] in looked.text
    assert site.ask("GET", "/hooks/checked?format=json").status == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nme": "x"}, "unknown member"),
        ({"name": ["x"]}, "name must be a string"),
        ({"check": "yes"}, "check must be true or false"),
        ({"name": "x", "url": URL, "topics": "hg.#", "handshake": "maybe"}, "The handshake is one of"),
    ],
)
def test_json_that_is_wrong_is_refused_with_a_sentence(site: HookedSite, fields: dict[str, object], words: str) -> None:
    answer = site.post("/hooks", fields)
    assert answer.status == 400
    assert words.lower() in answer.text.lower()


def test_every_action_is_done_over_json(site: HookedSite) -> None:
    first = site.add("worked", URL, "hg.#")
    site.append(example_of("hg.push"), example_of("hg.push"))
    site.set_aside("worked")
    document = site.ask("GET", "/hooks/worked?format=json").document
    assert (document["waiting"], document["set_aside"]) == (1, 1)
    letter = document["set_aside_events"][0]["letter"]

    def do(action: str, **fields: object) -> dict[str, object]:
        answer = site.post(f"/hooks/worked/{action}", fields)
        assert answer.status == (202 if action == "test" else 200), answer.text
        return dict(answer.document)

    assert do("pause")["said"] == "Paused: nothing is sent, and events wait."
    assert site.ask("GET", "/hooks/worked?format=json").document["state"] == "paused"
    do("resume")
    assert do("test")["test"]
    assert do("redeliver", since="1h")["count"]
    assert do("redeliver", failed=True)["count"] in (0, 1)
    rotated = do("rotate")
    assert secrets(site, "worked") == [rotated["secret"], first]
    assert secrets(site, "worked") != [first]
    do("edit", topics=["bugzilla.#"], handshake="try")
    changed = site.ask("GET", "/hooks/worked?format=json").document
    assert (changed["topics"], changed["handshake"], changed["url"]) == (["bugzilla.#"], "try", URL)
    missing = site.post("/hooks/worked/drop", {"letter": letter + 99})
    assert (missing.status, missing.document["error"]) == (404, "This event is not set aside any more.")
    assert do("rotate", now=True)["secret"] == secrets(site, "worked")[0]
    assert len(secrets(site, "worked")) == 1
    do("remove")
    assert site.ask("GET", "/hooks/worked?format=json").status == 404


def test_an_event_that_waits_already_is_not_called_sent_again_and_the_button_that_sends_it_is_named(
    site: HookedSite,
) -> None:
    site.add("waiting", URL, "hg.#")
    site.append(example_of("hg.push"))
    position = site.set_aside("waiting")
    (event,) = site.ask("GET", "/hooks/waiting?format=json").document["set_aside_events"]
    fields = {"id": event["id"]}
    site.record("waiting", position=position, source=event["source"], **fields)

    def send_again() -> str:
        answer = site.send_form("/hooks/waiting/redeliver", fields, of="/hooks/waiting")
        assert answer.status == 303
        page = site.page(str(answer.headers["Location"]))
        return re.search(r'role="status">([^<]*)<', page)[1]  # type: ignore[index]

    assert send_again() == "✓ 1 event is sent again."
    waits = "△ Nothing is sent twice: this event waits already. It is sent in its turn"
    assert send_again() == f"{waits}."
    for button, changes in (
        ("Try now", {"failing_since": 1.0}),
        ("Resume", {"state": State.PAUSED, "reason": "its owner paused it"}),
    ):
        site.set_standing("waiting", **changes)
        assert send_again() == f"{waits}, or at once with {button}."
        assert site.post("/hooks/waiting/redeliver", fields).document["said"].endswith(f"with {button}.")


def test_a_time_that_cannot_be_used_comes_back_in_its_form_with_what_is_wrong(site: HookedSite) -> None:
    site.add("since", URL, "hg.#")
    for text, words in (("yesterday", "is not a time before now"), ("2231-01-01T00:00Z", "name an earlier one")):
        answer = site.send_form("/hooks/since/redeliver", {"since": text}, of="/hooks/since")
        assert answer.status == 400
        assert f'name="since" value="{text}" required' in answer.text
        assert words in re.search(r'id="since-error">(.*?)</p>', answer.text)[1]  # type: ignore[index]
        assert '<details class="since" open>' in answer.text


def test_what_is_published_of_a_hook_is_explained_behind_a_link(site: HookedSite) -> None:
    page = site.ask("GET", "/hooks").text
    link = re.search(r'What happens to a hook is an event too.*href="([^"]+)"', page)[1]  # type: ignore[index]
    assert "system.webhook.failing" in site.page(link)


@pytest.mark.parametrize(
    ("action", "fields", "status"),
    [
        ("redeliver", {}, 400),
        ("redeliver", {"id": "1", "failed": True}, 400),
        ("redeliver", {"since": "soon"}, 400),
        ("redeliver", {"since": "17"}, 400),
        ("redeliver", {"id": "no-such-event"}, 404),
        ("drop", {"letter": "first"}, 400),
        ("drop", {}, 400),
        ("drop", {"letter": "9" * 5000}, 400),
        ("drop", {"letter": "9" * 19}, 400),
        ("drop", {"letter": 10**4000}, 400),
        ("drop", {"letter": "9" * 18}, 404),
        ("redeliver", {"id": "9" * 5000}, 404),
        ("redeliver", {"id": "\ud800"}, 400),
        ("redeliver", {"since": "\udfff"}, 400),
        ("edit", {"topics": ["hg.\ud800"]}, 400),
        ("edit", {"url": "http://127.0.0.1/\ud800"}, 400),
        ("edit", {"\ud800": 1}, 400),
        ("edit", {}, 400),
        ("edit", {"url": "http://user:secret@127.0.0.1/"}, 400),
        ("edit", {"topics": []}, 400),
        ("edit", {"owner": "bob"}, 400),
        ("edit", {"bearer_file": "/etc/shadow"}, 400),
        ("rotate", {"now": "yes"}, 400),
        ("explode", {}, 404),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    site: HookedSite, action: str, fields: dict[str, object], status: int
) -> None:
    if site.ask("GET", "/hooks/wrong?format=json").status == 404:
        site.add("wrong")
    before = site.ask("GET", "/hooks/wrong?format=json").text
    answer = site.post(f"/hooks/wrong/{action}", fields)
    assert answer.status == status
    assert answer.document["error"].endswith(".")
    assert "secret@" not in answer.text
    assert site.ask("GET", "/hooks/wrong?format=json").text == before


def test_another_user_sees_nothing_of_a_hook_on_any_page_in_any_document_or_error(site: HookedSite) -> None:
    site.add("alices-hook", "http://127.0.0.1/quiet-place")
    site.append(example_of("hg.push"))
    site.set_aside("alices-hook")
    site.add("bobs-hook", user=BOB)
    paths = ["", "?open=1", "/edit", "/look?letter=1", *(f"/{name}?letter=1" for name in ACTIONS)]
    for path in ["/hooks", "/hooks?format=json", "/hooks/bobs-hook", "/hooks/bobs-hook?format=json"]:
        text = site.ask("GET", path, user=BOB).text
        assert "bobs-hook" in text
        assert [each for each in PRIVATE if each in text] == []
    for path in [*paths, "?format=json"]:
        theirs = site.ask("GET", f"/hooks/alices-hook{path}", user=BOB)
        none = site.ask("GET", f"/hooks/no-such-hook{path}", user=BOB)
        assert (theirs.status, theirs.body) == (none.status, none.body) == (404, none.body)
    good = {"drop": {"letter": 1}, "redeliver": {"since": "1h"}, "edit": {"topics": ["#"]}}
    before = site.ask("GET", "/hooks/alices-hook?format=json").text
    for action in ACTIONS:
        theirs = site.post(f"/hooks/alices-hook/{action}", good.get(action), user=BOB)
        none = site.post(f"/hooks/no-such-hook/{action}", good.get(action), user=BOB)
        assert (theirs.status, theirs.body) == (none.status, none.body) == (404, none.body)
        # A token of one's own is one for one's own hook.
        token = site.tokens("/hooks", user=BOB)["/hooks"]
        assert site.send_form(f"/hooks/alices-hook/{action}", {"token": token}, user=BOB).status == 403
    assert site.ask("GET", "/hooks/alices-hook?format=json").text == before
    taken = {"name": "alices-hook", "url": URL, "topics": ["hg.#"]}
    # A host stays as it is written.
    inside = site.post("/hooks", {"url": "https://localhost/in", "check": True}).document["errors"]
    assert inside["url"].startswith("The host localhost is a name inside a network")
    # The check of a program refuses what the add refuses.
    for more, status in (({}, 400), ({"check": True}, 200)):
        answer = site.post("/hooks", {**taken, **more}, user=BOB)
        assert (answer.status, answer.document["errors"]) == (status, {"name": TAKEN})


def test_a_form_needs_its_token_and_json_an_origin_of_ours(site: HookedSite) -> None:
    site.add("guarded")
    own = site.tokens("/hooks/guarded")
    ask_first = site.tokens("/hooks/guarded/remove")["/hooks/guarded/remove"]
    elsewhere = {"Origin": "https://evil.example"}

    def state() -> str:
        return str(site.ask("GET", "/hooks/guarded?format=json").document["state"])

    for token in ("", "x", own["/hooks/guarded/test"], ask_first, own["/hooks/guarded/pause"][:-1]):
        answer = site.send_form("/hooks/guarded/pause", {"token": token})
        assert (answer.status, state()) == (403, "not tried yet")
    foreign = site.send_form("/hooks/guarded/pause", {"token": own["/hooks/guarded/pause"]}, **elsewhere)
    assert (foreign.status, state()) == (403, "not tried yet")
    assert site.send_form("/hooks/guarded/pause", {"token": own["/hooks/guarded/pause"]}, user=BOB).status == 403
    for headers in (elsewhere, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        assert (site.post("/hooks/guarded/pause", **headers).status, state()) == (403, "not tried yet")
    # A page of another site must ask before it sends JSON, and is refused.
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type", **elsewhere}
    preflight = site.ask("OPTIONS", "/hooks/guarded/pause", headers=asked)
    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]
    for content_type in ("text/plain", "multipart/form-data; boundary=b", ""):
        body = json.dumps({})
        assert site.ask("POST", "/hooks/guarded/pause", body, content_type=content_type).status == 400
    assert state() == "not tried yet"
    done = site.send_form("/hooks/guarded/pause", of="/hooks/guarded")
    assert (done.status, done.headers["Location"], state()) == (303, "/hooks/guarded?did=pause", "paused")
    assert "Paused: nothing is sent" in site.page("/hooks/guarded?did=pause")


def test_a_doubted_topic_older_attempts_and_refusals_lead_on(site: HookedSite) -> None:
    doubt = "'hg.push' matches no event type; did you mean 'hg.push.#'?"
    added = site.post("/hooks", {"name": "doubted", "url": URL, "topics": ["hg.push"]})
    checked = site.post("/hooks", {"check": True, "topics": ["hg.push"]})
    assert (added.document["doubt"], checked.document["topics_doubt"]) == (doubt, doubt)
    assert doubt in site.page("/hooks/doubted")
    numbers = [site.record("doubted", id=str(number)) for number in range(25)]
    page = site.page("/hooks/doubted")
    assert f'href="/hooks/doubted?before={numbers[5]}">Older attempts' in page
    older = site.ask("GET", f"/hooks/doubted?before={numbers[5]}&format=json").document["attempts"]
    assert [each["number"] for each in older] == numbers[4::-1]
    assert "The event is no longer in the log." in site.page(f"/hooks/doubted?open={numbers[0]}&before={numbers[5]}")
    form = site.send_form("/hooks/doubted/pause", {"token": "x"}, Accept="text/html")
    assert (form.status, "Send it once more" in form.text, 'href="/hooks/doubted"' in form.text) == (403, True, True)
    assert "there are test, pause" in site.post("/hooks/doubted/fly").text
    curl = site.ask("POST", "/hooks", '{"name": "a"}', content_type="application/x-www-form-urlencoded")
    assert (curl.status, "Content-Type: application/json" in curl.text) == (400, True)
    assert site.post("/hooks/doubted/remove").status == 200


def test_what_cannot_be_undone_is_asked_once_in_words(site: HookedSite) -> None:
    first = site.add("asked")
    site.append(example_of("hg.push"))
    site.set_aside("asked")
    letter = site.ask("GET", "/hooks/asked?format=json").document["set_aside_events"][0]["letter"]
    assert '"specversion"' in site.page(f"/hooks/asked/look?letter={letter}")
    for action, words in (
        (f"drop?letter={letter}", "Drop this event? It will not be sent."),
        ("rotate", "Make a new secret?"),
        ("remove", "Remove this hook?"),
    ):
        assert words in site.page(f"/hooks/asked/{action}")
    dropped = site.send_form("/hooks/asked/drop", {"letter": str(letter)}, of=f"/hooks/asked/drop?letter={letter}")
    assert dropped.status == 303
    assert site.ask("GET", f"/hooks/asked/drop?letter={letter}").status == 404
    rotated = site.send_form("/hooks/asked/rotate", of="/hooks/asked/rotate")
    assert (rotated.status, rotated.headers["Cache-Control"]) == (200, "no-store")
    newest, former = secrets(site, "asked")
    assert former == first
    assert newest in rotated.text
    assert first not in rotated.text
    assert site.send_form("/hooks/asked/remove", of="/hooks/asked/remove").headers["Location"] == "/hooks?did=remove"


def test_a_form_changes_address_and_events_and_names_what_is_wrong(site: HookedSite) -> None:
    site.add("edited")
    good = {"url": "http://127.0.0.1/other", "topics": "bugzilla.#", "handshake": "off"}
    wrong = site.send_form("/hooks/edited/edit", {**good, "url": "nonsense"}, of="/hooks/edited/edit")
    assert wrong.status == 400
    assert 'value="nonsense"' in wrong.text
    assert wrong.text.count("aria-invalid") == 1
    assert (
        site.send_form("/hooks/edited/edit", good, of="/hooks/edited/edit").headers["Location"]
        == "/hooks/edited?did=edit"
    )
    changed = site.ask("GET", "/hooks/edited?format=json").document
    assert (changed["url"], changed["topics"]) == (good["url"], ["bugzilla.#"])


def test_one_user_has_so_many_hooks_and_no_more(site: HookedSite) -> None:
    for number in range(10):
        site.add(f"many-{number}", user="carol@example.org")
    fields = {"name": "many-10", "url": URL, "topics": ["#"]}
    answer = site.post("/hooks", fields, user="carol@example.org")
    assert (answer.status, "10" in answer.document["error"]) == (400, True)


def test_who_did_not_sign_in_gets_a_sentence_and_so_does_a_proxy_that_names_two(site: HookedSite) -> None:
    for method, path in (
        ("GET", "/hooks"),
        ("GET", "/hooks/x?format=json"),
        ("POST", "/hooks"),
        ("POST", "/hooks/x/test"),
    ):
        body = "{}" if method == "POST" else ""
        answer = site.ask(method, path, body, user="", content_type=JSON if body else "")
        assert answer.status == 403
        assert "sign in" in answer.text
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
        connection.putrequest("GET", "/hooks")
        for name in (ALICE, BOB):
            connection.putheader(HEADER, name)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 403
        assert "more than once" in answer.read().decode()


def test_without_a_proxy_the_operator_reads_all_and_nobody_changes_any(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with closing(HookedSite(tmp_path_factory.mktemp("operator"))) as site:
        site.start()
        site.add("alices-hook")
        site.add("bobs-hook", user=BOB)
        site.stop()
        site.configuration.write_text('[webhooks]\nallow = ["127.0.0.1"]\n')
        site.start()
        page = site.page("/hooks", user="")
        for words in ("alices-hook", "bobs-hook", ALICE, BOB, "webhook.alices-hook"):
            assert words in page
        one = site.page("/hooks/alices-hook", user="")
        assert "<form" not in one
        assert 'method="post"' not in page
        listed = site.ask("GET", "/hooks?format=json", user="").document["hooks"]
        assert [hook["owner"] for hook in listed] == [ALICE, BOB]
        # The header is a text like any other now.
        for user in ("", ALICE):
            assert site.post("/hooks/alices-hook/pause", user=user).status == 403
            assert site.ask("POST", "/hooks", "name=x", user=user, content_type=FORM).status == 403
            assert site.ask("GET", "/hooks/alices-hook/edit", user=user).status == 404
        assert site.ask("GET", "/hooks", user="", headers={"X-Forwarded-For": "192.0.2.7"}).status == 403


def test_an_answer_that_needs_the_store_says_so_while_it_cannot_be_read(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with closing(HookedSite(tmp_path_factory.mktemp("broken"))) as site:
        site.store.write_bytes(b"not a database" * 1000)
        site.store.chmod(0o600)
        site.start()
        answer = site.ask("GET", "/hooks")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert str(site.folder) not in answer.text
        assert str(site.store) in site.stderr()


def test_a_store_that_is_replaced_while_the_gateway_runs_is_opened_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with closing(HookedSite(tmp_path_factory.mktemp("replaced"))) as site:
        site.start()
        site.add("before")
        for path in site.folder.glob("webhooks.db*"):
            if path.suffix != ".sender":
                path.unlink()
        first = site.ask("GET", "/hooks?format=json")
        assert first.status in (200, 503)
        assert site.ask("GET", "/hooks?format=json").document["hooks"] == []
        site.add("after")
        with site.opened_store() as store:
            assert [hook.name for hook in store.hooks()] == ["after"]


def test_one_user_who_asks_for_much_at_once_is_refused_and_another_is_answered(site: HookedSite) -> None:
    site.add("busy", user="dave@example.org")

    def change() -> int:
        return site.post("/hooks/busy/pause", user="dave@example.org").status

    with closing(sqlite3.connect(site.store, isolation_level=None)) as db, ThreadPoolExecutor(20) as threads:
        # While another program writes, changes wait.
        db.execute("BEGIN IMMEDIATE")
        asked = [threads.submit(change) for _ in range(20)]
        wait_until(lambda: sum(each.done() for each in asked) >= 12)
        assert {each.result() for each in asked if each.done()} == {503}
        assert site.ask("GET", "/hooks?format=json", user=BOB).status == 200
        db.execute("ROLLBACK")
        answers = [each.result() for each in asked]
    assert answers.count(200) + answers.count(503) == 20
    assert answers.count(200) >= 1
