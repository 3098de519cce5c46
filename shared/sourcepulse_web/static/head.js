// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// For pages without a list of their own: the state word, title and banners only.
import { connect } from "/static/feed.js";

connect({}, {});
