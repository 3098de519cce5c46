# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `/events` and `/events.json` have in common: who may ask, and what a wrong question is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from sourcepulse.errors import ConfigError
from sourcepulse_web.server.cors import check_origin
from sourcepulse_web.server.page import bad_request

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

METHODS = b"GET, HEAD"


class LogResource(Resource):
    """Answers pages of this gateway and of the listed origins; ConfigError of `answer` names what to correct."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render(self, request: Request) -> Any:
        settled = check_origin(request, self._services.settings().origins, METHODS)
        if settled is not None:
            return settled
        try:
            return self.answer(request)
        except ConfigError as error:
            return bad_request(request, str(error))

    def answer(self, request: Request) -> Any:
        """Return the answer to a GET or HEAD, or NOT_DONE_YET."""
        raise NotImplementedError
