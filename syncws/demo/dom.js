// Making elements. Text goes in as text, never as HTML.

export const find = (id) => document.getElementById(id);

// Returns an element with a class and children: elements, or texts.
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children); // strings become text nodes
  return element;
}

// Tells whether a pane is scrolled to its end, and should be again once there is more in it.
export function isAtEnd(pane) {
  return pane.scrollHeight - pane.scrollTop - pane.clientHeight < 60;
}

export function scrollToEnd(pane) {
  pane.scrollTop = pane.scrollHeight;
}

// What the browser keeps for the next visit. It may refuse to: then nothing is kept.
export function remember(key, value) {
  try {
    localStorage.setItem(`syncws-demo-${key}`, value);
  } catch { /* private windows, full or forbidden storage */ }
}

export function recall(key) {
  try {
    return localStorage.getItem(`syncws-demo-${key}`) ?? "";
  } catch {
    return "";
  }
}
