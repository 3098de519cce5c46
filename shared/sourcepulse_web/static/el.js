// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What every module that draws uses.

// Makes an element; `attributes` may be its class alone. Children that are empty are left out.
export function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(typeof attributes === "string" ? { class: attributes } : attributes || {}))
    if (value !== null && value !== undefined && value !== "" && value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...children.flat().filter((child) => child || child === 0));
  return made;
}

export const get = (id) => document.getElementById(id);
export const many = (count, one, several) => `${count.toLocaleString("en")} ${count === 1 ? one : several || one + "s"}`;
