# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
from __future__ import annotations

import json
from typing import get_args

from sourcepulse_web.board.documents import WordState
from support.web import board_examples


def test_the_examples_have_a_word_in_each_state_and_are_json() -> None:
    board = board_examples.board()
    drawn = {word["state"] for push in board["pushes"] for line in push["lines"] for word in line["words"]}
    assert drawn == set(get_args(WordState))
    assert json.loads(json.dumps(board)) == board
    assert json.loads(json.dumps(board_examples.trees())) == board_examples.trees()
