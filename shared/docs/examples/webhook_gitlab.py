# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One receiver for the hooks of GitLab (or Heptapod) with a signing token and for those of sourcepulse.

python3 webhook_gitlab.py SECRETS PORT, beside webhook_receiver.py; SECRETS has GitLab's signing token and our secret,
each in a line of its own. Both sign in the same way, and differ in the body.
"""

from typing import Any

from webhook_receiver import Receiver, serve


class PushReceiver(Receiver):
    """Prints pushes alike, wherever they come from."""

    def handle_event(self, event: dict[str, Any]) -> None:
        if event.get("object_kind") == "push":
            repository, user = event["project"]["path_with_namespace"], event["user_username"]
            nodes = [commit["id"] for commit in event["commits"]]
        elif event.get("type") == "hg.push.v1":
            repository, user = event["data"]["repo"], event["data"]["user"]
            nodes = [changeset["node"] for changeset in event["data"]["changesets"]]
        else:
            return
        print(f"{user} pushed {len(nodes)} to {repository}, up to {nodes[-1][:12] if nodes else 'nothing'}", flush=True)


if __name__ == "__main__":
    serve(PushReceiver)
