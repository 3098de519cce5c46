// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// For pages without a list of their own: the head's state word only.
import { connect } from "/static/feed.js";

connect({ topics: ["system.*.heartbeat"], rows: true }, {});
