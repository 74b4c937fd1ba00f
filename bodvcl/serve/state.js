// What is shown, as the part of the address after '#': so that back, forward and links work.

const START = { row: null, motion: 0.5, same: false, text: "", from: 0, labels: {} };

export function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { ...START, labels: {} };
  if (given.has("row")) state.row = given.get("row");
  const motion = Number.parseFloat(given.get("motion"));
  if (motion >= 0 && motion <= 1) state.motion = motion;
  state.same = given.get("same") === "1";
  state.text = given.get("text") ?? "";
  state.from = Math.max(0, Number.parseInt(given.get("from"), 10) || 0);
  for (const [key, value] of given) if (key.startsWith("label.")) state.labels[key.slice(6)] = value;
  return state;
}

export function writeState(state) {
  const out = new URLSearchParams();
  if (state.row !== null) {
    out.set("row", state.row);
    out.set("motion", String(Math.round(state.motion * 100) / 100));
    if (state.same) out.set("same", "1");
  } else {
    if (state.from) out.set("from", state.from);
  }
  if (state.text) out.set("text", state.text);
  for (const [name, value] of Object.entries(state.labels)) out.set(`label.${name}`, value);
  return `#${out}`;
}

// The part of a state that a search of the server takes.
export function searchOf(state) {
  const out = new URLSearchParams({ from: state.from });
  if (state.text) out.set("text", state.text);
  for (const [name, value] of Object.entries(state.labels)) out.set(`label.${name}`, value);
  return out;
}
