# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A push becomes one event that says what was pushed, by whom, how, and nothing that others may not see."""

from __future__ import annotations

import base64
import json
import os
import pwd
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site, serve, serve_wsgi

#: hg with this extension commits the bytes it is given, as versions before 1.0 and converters did.
_RAW_BYTES = "from mercurial import encoding\ndef uisetup(ui):\n    encoding.fromlocal = lambda text: text\n"


def _data(repository: Repository) -> dict[str, Any]:
    return dict(repository.event().data)


def test_a_push_over_ssh_is_one_event_with_everything_hg_log_knows(each_site: Site) -> None:
    server = each_site.server("srv/integration/inbound", f"root = {each_site.folder}/srv\nsource = hg://hg.example.org")
    work = each_site.repository("work")
    work.commit("Bug 1 - fïrst\n\nsecond paragraph", "--date", "1700000000 -3600", name="dir/a file")
    work.hg("branch", "stable")
    work.commit("second", "--user", "Bob <bob@example.org>", "--date", "1700000100 18000", name="b")
    result = work.push_ssh(server, "--new-branch")
    event = server.event()
    first, last = work.nodes()
    txnid = event.data["change_set"]
    assert event.type == "hg.push.v1"
    assert event.source == "hg://hg.example.org/integration/inbound"
    assert event.subject == "integration/inbound"
    assert event.routing_key == "hg.push.integration.inbound"
    assert event.id == event_id(event.source, "hg.push.v1", txnid)
    assert event.numbers is not None
    # The repository itself is published before.
    assert event.numbers.sequence == 2
    logged = json.loads(work.hg("log", "--rev", "sort(all(), rev)", "--template", "json", "--verbose").stdout)
    changesets = [
        {
            "node": entry["node"],
            "parents": [node for node in entry["parents"] if node != "0" * 40],
            "author": entry["user"],
            "date": entry["date"],
            "branch": entry["branch"],
            "desc": entry["desc"],
            "phase": "public",
            "files": entry["files"],
            "added": entry["files"],
            "modified": [],
            "removed": [],
            "copies": [],
            "extras": {},
        }
        for entry in logged
    ]
    assert event.data == {
        "repo": "integration/inbound",
        "repo_url": None,
        "user": "sshuser",
        "source": "serve",
        "url": "remote:ssh",
        "change_set": txnid,
        "count": 2,
        "first": first,
        "last": last,
        "heads": [{"node": last, "branch": "stable", "closed": False}],
        "query": None,
        "changesets": changesets,
        "recovered": False,
        "truncated": [],
        "raw": [],
    }
    assert changesets[0]["date"] == [1700000000, -3600]
    assert changesets[0]["desc"] == "Bug 1 - fïrst\n\nsecond paragraph"
    # The user sees nothing of us, and nothing of ours is left to clean up.
    assert "sourcepulse" not in result.stdout + result.stderr
    assert server.first_copies() == []


def test_a_push_through_wsgi_names_the_user_whom_the_web_server_authenticated(site: Site) -> None:
    server = site.server(other="[web]\nallow-push = *\npush_ssl = no")
    work = site.repository("work")
    work.commit()
    # PEP 3333: the bytes that the web server got, as if they were Latin-1.
    with serve_wsgi(server, "Jürgen@example.org".encode().decode("latin-1")) as url:
        work.hg("push", url)
    data = _data(server)
    assert data["url"] == "remote:http"
    assert data["user"] == "Jürgen@example.org"


def test_an_anonymous_push_over_http_names_no_user(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit()
    with serve(server) as url:
        work.hg("push", url)
        work.commit()
        work.hg("push", url)
    events = server.events()
    assert [event.data["user"] for event in events] == [None, None]
    assert [event.data["url"] for event in events] == ["remote:http", "remote:http"]
    assert [event.data["source"] for event in events] == ["serve", "serve"]
    assert [event.data["last"] for event in events] == work.nodes()


def test_remote_user_comes_before_the_user_of_the_process(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    work.push(server, env={"REMOTE_USER": "remote@example.org"})
    assert _data(server)["user"] == "remote@example.org"


def test_a_local_push_and_an_unbundle_are_distinguished(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit()
    work.push(server)
    work.commit()
    bundle = each_site.folder / "changes.hg"
    work.hg("bundle", "--base", "0", bundle)
    server.hg("unbundle", bundle)
    pushed, unbundled = server.events()
    assert (pushed.data["source"], pushed.data["url"], pushed.data["user"]) == ("push", "file", "localuser")
    assert (unbundled.data["source"], unbundled.data["url"]) == ("unbundle", "bundle")
    assert [pushed.data["last"], unbundled.data["last"]] == work.nodes()


def test_without_user_variables_the_account_of_the_process_acted(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    del site.environ["USER"]
    work.push(server)
    assert _data(server)["user"] == pwd.getpwuid(os.geteuid()).pw_name


def test_the_default_source_is_this_machine_and_the_last_component_of_the_path(site: Site) -> None:
    server = site.server("some/where/project one")
    work = site.repository("work")
    work.commit()
    work.push(server)
    event = server.event()
    assert event.source == f"hg://{socket.gethostname()}/project%20one"
    assert event.subject == "project one"
    assert event.routing_key == "hg.push.project_20one"


def test_a_whole_source_and_a_name_are_taken_as_configured(site: Site) -> None:
    server = site.server(
        "x", "source = hg://hg.example.org/special\nrepository = a/b.c\nrepo_url = https://hg.example.org/pub/{repo}"
    )
    work = site.repository("work")
    work.commit()
    work.push(server)
    event = server.event()
    assert event.source == "hg://hg.example.org/special"
    assert event.routing_key == "hg.push.a.b_2Ec"
    assert event.data["repo"] == "a/b.c"
    assert event.data["repo_url"] == "https://hg.example.org/pub/a/b.c"


def test_a_repository_that_is_not_below_the_root_is_silent(site: Site) -> None:
    server = site.server("elsewhere", f"root = {site.folder}/srv")
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert server.events() == []
    assert server.first_copies() == []


def test_a_path_of_300_bytes_gives_a_key_of_255(site: Site) -> None:
    name = "/".join(["d" * 75] * 4)
    server = site.server(f"srv/{name}", f"root = {site.folder}/srv")
    work = site.repository("work")
    work.commit()
    work.push(server)
    event = server.event()
    assert len(event.routing_key) == 255
    assert event.routing_key.startswith("hg.push.ddd")
    assert event.subject == event.data["repo"] == name


def test_a_merge_and_closed_heads_and_branches_are_published(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit("base", name="base")
    work.hg("branch", "feature")
    work.commit("on feature", name="feature")
    work.commit("close feature", "--close-branch", name="closing")
    work.hg("update", "--rev", "0")
    work.commit("on default", name="default")
    work.hg("merge", "--rev", "1")
    work.hg("commit", "--message", "merge")
    work.push(server, "--new-branch")
    base, feature, closed, default, merge = work.nodes()
    data = _data(server)
    assert data["heads"] == [
        {"node": closed, "branch": "feature", "closed": True},
        {"node": merge, "branch": "default", "closed": False},
    ]
    assert [changeset["parents"] for changeset in data["changesets"]] == [
        [],
        [base],
        [feature],
        [base],
        [default, feature],
    ]


def test_secret_changesets_are_in_no_list_and_no_count(each_site: Site) -> None:
    server = each_site.server(other="[phases]\npublish = no")
    work = each_site.repository("work")
    work.build("+2")
    work.push(server)
    draft = server.event()
    assert [changeset["phase"] for changeset in draft.data["changesets"]] == ["draft", "draft"]
    # A bundle carries secret changesets, which no push does.
    work.hg("update", "--rev", "1")
    work.commit("draft one")
    work.commit("secret one", "--secret")
    bundle = each_site.folder / "secret.hg"
    work.hg(
        *("bundle", "--base", "1", "--rev", "all()", "--type", "none-v2", bundle),
        *("--config", "experimental.bundle-phases=yes"),
    )
    server.hg("unbundle", bundle)
    event = server.events()[1]
    assert server.nodes("secret()") == work.nodes("desc('secret one')")
    assert event.data["count"] == 1
    assert event.data["first"] == event.data["last"] == work.nodes("desc('draft one')")[0]
    assert event.data["heads"] == [{"node": event.data["last"], "branch": "default", "closed": False}]
    assert len(event.data["changesets"]) == 1


def test_a_push_of_secret_changesets_only_has_no_event(site: Site) -> None:
    server = site.server()
    server.commit("hidden", "--secret")
    assert server.events() == []


def test_bytes_that_are_not_utf8_are_kept_beside_the_readable_text(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    extension = each_site.folder / "rawbytes.py"
    extension.write_text(_RAW_BYTES, encoding="utf-8")
    raw = ("--config", f"extensions.rawbytes={extension}")
    work.commit(b"Gr\xfc\xdfe", *raw, "--user", b"J\xfcrgen <j@example.org>", name=b"na\xefve.txt")
    work.push(server)
    data = _data(server)
    (changeset,) = data["changesets"]
    assert changeset["author"] == "J\ufffdrgen <j@example.org>"
    assert changeset["desc"] == "Gr\ufffd\ufffde"
    assert changeset["files"] == ["na\ufffdve.txt"]
    assert {note["field"]: base64.b64decode(note["base64"]) for note in data["raw"]} == {
        "/changesets/0/author": b"J\xfcrgen <j@example.org>",
        "/changesets/0/desc": b"Gr\xfc\xdfe",
        "/changesets/0/files/0": b"na\xefve.txt",
        "/changesets/0/added/0": b"na\xefve.txt",
    }


def test_a_push_to_a_path_that_is_not_utf8_is_published(site: Site) -> None:
    root = site.folder / "srv"
    root.mkdir()
    path = Path(str(root / "caf\udce9"))
    site.hg("init", path)
    server = Repository(site, path)
    server.configure(f"[extensions]\nsourcepulse_hg =\n[sourcepulse]\nroot = {root}\n")
    work = site.repository("work")
    work.commit()
    work.push(server)
    event = server.event()
    assert event.data["repo"] == "caf\ufffd"
    assert event.routing_key == "hg.push.caf_E9"
    assert event.source.endswith("/caf%E9")
    assert event.data["raw"] == [{"field": "/repo", "base64": base64.b64encode(b"caf\xe9").decode()}]


def test_of_250_changesets_100_are_listed_and_the_query_yields_them_all(each_site: Site) -> None:
    server = each_site.server()
    # Two lines from one place, merged, and a third head: 250 changesets in all.
    work = each_site.repository("work")
    work.build("+20:base +120:a <base +60:b *a/b <base +69")
    work.push(server, "--rev", "19")
    work.push(server)
    data = server.events()[1].data
    pushed = work.nodes()[20:]
    assert data["count"] == 250
    assert (data["first"], data["last"]) == (pushed[0], pushed[-1])
    assert [changeset["node"] for changeset in data["changesets"]] == pushed[:100]
    assert data["truncated"] == [{"field": "/changesets", "kept": 100, "total": 250}]
    assert [head["node"] for head in data["heads"]] == work.nodes("head()")
    # The same set in every clone, also where the numbers differ.
    assert server.nodes(data["query"]) == pushed
    other = each_site.repository("other")
    other.hg("pull", "--rev", pushed[-1], work.path)
    other.hg("pull", work.path)
    assert sorted(other.nodes(data["query"])) == sorted(pushed)


def test_with_more_than_32_heads_the_query_goes_by_number(site: Site) -> None:
    server = site.server(keys="max_changesets = 3")
    work = site.repository("work")
    work.build("+1:base " + "<base +1 " * 33)
    work.push(server)
    data = _data(server)
    assert data["query"] == f"{data['first']}:{data['last']}"
    assert server.nodes(data["query"]) == work.nodes()
    assert len(data["heads"]) == 33
    assert len(data["changesets"]) == 3


def test_detail_decides_how_much_is_listed(site: Site) -> None:
    work = site.repository("work")
    work.build("+3")
    refs, changesets = site.server("refs", "detail = refs"), site.server("changesets", "detail = changesets")
    work.push(refs)
    work.push(changesets)
    data = _data(refs)
    assert data["changesets"] == []
    assert data["truncated"] == [{"field": "/changesets", "kept": 0, "total": 3}]
    assert data["count"] == 3
    assert refs.nodes(data["query"]) == work.nodes()
    for name in ("files", "added", "modified", "removed", "copies"):
        assert [changeset[name] for changeset in _data(changesets)["changesets"]] == [None, None, None]
    assert _data(changesets)["query"] is None


def test_a_description_of_5_megabytes_is_cut_and_says_so(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.build("+1")
    message = site.folder / "message"
    message.write_text("é" * 2_500_000, encoding="utf-8")
    work.hg("update", "--rev", "0")
    (work.path / "file").touch()
    work.hg("commit", "--addremove", "--logfile", message)
    work.push(server)
    data = _data(server)
    assert data["changesets"][1]["desc"] == "é" * (64 * 1024 // 2)
    assert data["truncated"] == [{"field": "/changesets/1/desc", "kept": 64 * 1024, "total": 5_000_000}]


def test_many_files_are_cut_and_counted(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    for number in range(300):
        (work.path / f"file{number:03}").touch()
    work.commit()
    work.push(server)
    data = _data(server)
    assert len(data["changesets"][0]["files"]) == 200
    assert data["truncated"] == [
        {"field": f"/changesets/0/{name}", "kept": 200, "total": total}
        for name, total in (("added", 301), ("files", 301))
    ]
    assert data["query"] is None


def test_a_push_without_changesets_has_no_event(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit()
    work.push(server)
    work.hg("bookmark", "here")
    work.push(server, check=False)
    work.push(server, "--bookmark", "here", check=False)
    assert "here" in server.hg("bookmarks").stdout
    assert len(server.events()) == 1


def test_moving_phases_is_not_a_push(site: Site) -> None:
    server = site.server(other="[phases]\npublish = no")
    work = site.repository("work")
    work.commit()
    work.push(server)
    work.hg("phase", "--public", "--rev", "0")
    work.push(server, check=False)
    assert server.nodes("public()") == work.nodes()
    assert len(server.events()) == 1


def test_an_old_client_with_three_transactions_makes_one_event(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit()
    work.hg("bookmark", "here")
    bundle1 = ("--config", "devel.legacy.exchange=bundle1")
    work.push_ssh(server, *bundle1)
    work.push_ssh(server, "--bookmark", "here", *bundle1, check=False)
    event = server.event()
    assert (event.data["source"], event.data["url"]) == ("serve", "remote:ssh")
    assert event.data["last"] == work.nodes()[0]


def test_local_commits_and_pulls_are_published_unless_that_is_not_wanted(each_site: Site) -> None:
    quiet, loud = each_site.server("quiet", "commits = no"), each_site.server("loud")
    upstream = each_site.repository("upstream")
    upstream.commit()
    for repository in (quiet, loud):
        repository.hg("pull", upstream.path)
        repository.hg("update")
        repository.commit("local")
        repository.hg("commit", "--amend", "--message", "amended")
    assert quiet.every_event() == []
    events = loud.events()
    assert [event.data["source"] for event in events] == ["pull", "commit", "amend"]
    assert [event.data["url"] for event in events] == ["file", None, None]
    assert [event.data["changesets"][0]["desc"] for event in events] == ["change", "local", "amended"]
    assert events[2].data["last"] == loud.nodes("desc('amended')")[0]


def test_a_pull_names_the_peer_without_credentials(site: Site) -> None:
    mirror = site.server()
    upstream = site.repository("upstream")
    upstream.commit()
    with serve(upstream) as url:
        mirror.hg("pull", url.replace("http://", "http://eve:hunter2@"))
    data = _data(mirror)
    assert data["url"] == url
    assert "hunter2" not in json.dumps(data)


def test_pull_with_rebase_publishes_each_transaction_once_with_the_right_changesets(each_site: Site) -> None:
    server = each_site.server(other="[extensions]\nrebase =")
    upstream = each_site.repository("upstream")
    upstream.commit("base", name="base")
    server.hg("pull", "--update", upstream.path)
    server.commit("mine", name="mine")
    upstream.commit("theirs", name="theirs")
    server.hg("pull", "--rebase", upstream.path)
    published = [
        (event.data["source"], [changeset["desc"] for changeset in event.data["changesets"]])
        for event in server.events()
    ]
    assert published == [
        ("pull", ["base"]),
        ("commit", ["mine"]),
        ("pull", ["theirs"]),
        # Which of its transactions rebase names after itself differs between versions.
        (published[3][0], ["mine"]),
    ]
    assert published[3][0] in ("commit", "rebase")
    rebased = server.events()[3].data
    assert rebased["last"] == server.nodes("desc('mine')")[0]


def test_survivors_that_strip_adds_again_are_silent(each_site: Site) -> None:
    server = each_site.server(other="[extensions]\nstrip =")
    work = each_site.repository("work")
    work.build("+1:base +1 <base +2")
    work.push(server)
    server.hg("strip", "--no-backup", "--rev", "1")
    assert len(server.nodes()) == 3
    assert len(server.events()) == 1


def test_a_push_to_a_share_is_published_by_the_repository_it_shares(each_site: Site) -> None:
    server = each_site.server("srv/shared", f"root = {each_site.folder}/srv")
    each_site.hg("share", "--config", "extensions.share=", "--noupdate", server.path, each_site.folder / "share")
    share = Repository(each_site, each_site.folder / "share")
    work = each_site.repository("work")
    work.commit()
    work.push(share)
    event = server.event()
    assert event.subject == "shared"
    assert not (share.path / ".hg" / "sourcepulse").exists()
    assert server.first_copies() == []


def test_pushes_by_threads_of_one_server_are_published_in_the_order_of_the_repository(site: Site) -> None:
    server = site.server()
    works = [site.repository(f"work{number}") for number in range(4)]
    for number, work in enumerate(works):
        work.build("+2")
        work.hg("update", "--rev", "tip")
        work.commit(f"only in {number}", name=f"only{number}")
    # Mercurial's own lazy importer is not safe in threads: without us a cold server fails here, too.
    site.environ["HGDEMANDIMPORT"] = "disable"
    with serve(server) as url, ThreadPoolExecutor(len(works)) as pool:
        list(pool.map(lambda work: work.hg("push", "--force", url), works))
    events = server.events()
    published = [changeset["node"] for event in events for changeset in event.data["changesets"]]
    assert published == server.nodes()
    assert [event.numbers.typesequence for event in events if event.numbers] == [1, 2, 3, 4]


def test_a_repository_that_only_some_may_read_publishes_to_the_restricted_stream(site: Site) -> None:
    server = site.server(other="[web]\nallow_read = alice")
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert server.events() == []
    (event,) = server.events(stream="restricted")
    assert event.source.endswith("?restricted")
    # What `hg serve` puts into this section itself closes nothing.
    served = site.server("served", other="[web]\nallow_read = *")
    with serve(served) as url:
        work.hg("push", url)
    assert len(served.events()) == 1
    open_to_all = site.server("open", "visibility = public", other="[web]\ndeny_read = mallory")
    work.push(open_to_all)
    assert len(open_to_all.events()) == 1


def test_a_changeset_says_where_it_comes_from_and_that_it_closes_its_branch(each_site: Site) -> None:
    server = each_site.server()
    server.commit("base")
    server.hg("branch", "other")
    server.commit("on the branch", name="other")
    (grafted,) = server.nodes("tip")
    server.hg("update", "default")
    server.hg("graft", "--rev", grafted)
    server.hg("update", "other")
    server.hg("commit", "--close-branch", "--message", "done")
    extras = [one["extras"] for event in server.events() for one in event.data["changesets"]]
    assert extras == [{}, {}, {"source": grafted}, {"close": "1"}]
