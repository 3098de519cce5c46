// SPDX-FileCopyrightText: The sourcepulse developers
// SPDX-License-Identifier: MPL-2.0
// What every part of a board uses.

export function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {}))
    if (value !== null && value !== undefined && value !== "" && value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...children.flat().filter((child) => child || child === 0));
  return made;
}

export const get = (id) => document.getElementById(id);
export const many = (count, one, several) => `${count.toLocaleString("en")} ${count === 1 ? one : several || one + "s"}`;
