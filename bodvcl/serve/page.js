// The page: what the address says is asked of the server and shown.

import { chooser, element, facts, clip } from "./pieces.js";
import { listen } from "./keys.js";
import { readState, searchOf, writeState } from "./state.js";
import { calmly, playAll, watchClips } from "./clips.js";

const PER_PAGE = 60;
const NEIGHBOURS = 24;
const at = (id) => document.getElementById(id);
let about = null;
let asked = new AbortController();
let shownRow = null;
let gridHash = "#";
let depth = 0; // steps of the history since this page was opened

async function ask(path, parameters) {
  asked.abort();
  asked = new AbortController();
  const response = await fetch(parameters ? `${path}?${parameters}` : path, { signal: asked.signal });
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

// Show a list of clips. A picture that is there already is kept, so that it neither flickers nor starts again.
function show(list) {
  const before = [...at("clips").querySelectorAll(".clip")];
  const focused = before.indexOf(document.activeElement);
  const shown = new Map(before.map((clip) => [clip.dataset.row, clip]));
  for (const clip of list.map((item) => item.firstElementChild)) {
    const old = shown.get(clip.dataset.row);
    if (!old) continue;
    clip.querySelector(".picture").replaceWith(old.querySelector(".picture"));
    if (!old.dataset.preview) delete clip.dataset.preview;
  }
  at("clips").replaceChildren(...list);
  watchClips();
  if (focused >= 0) list[Math.min(focused, list.length - 1)]?.querySelector(".clip").focus();
}

const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

async function render() {
  const state = readState(location.hash);
  syncForm(state);
  at("chosen").hidden = at("weights").hidden = state.row === null;
  try {
    await (state.row === null ? showGrid(state) : showNear(state));
  } catch (error) {
    if (error.name === "AbortError") return;
    at("chosen").hidden = at("weights").hidden = true;
    at("pages").hidden = true;
    at("clips").replaceChildren();
    const gone = error instanceof TypeError;
    say(gone ? "The server does not answer. Is bodvcl serve still running?" : `${error.message}.`, true);
  }
}

async function showGrid(state) {
  const found = await ask("/api/rows", `${searchOf(state)}&count=${PER_PAGE}`);
  gridHash = writeState(state);
  leaveVideo();
  document.title = `${about.name} - bodvcl`;
  show(found.rows.map((row) => clip(row, writeState({ ...state, row: row.row }))));
  const last = found.from + found.rows.length;
  const noun = about.window === null ? "video" : "window";
  say(found.total ? `${counted(found.total, noun)}${found.total < about.rows ? " found" : ""}`
    : "No video has these words and labels.");
  at("pages").hidden = found.total <= PER_PAGE && !found.from;
  at("place").textContent = `${(found.from + 1).toLocaleString("en")} to ${last.toLocaleString("en")}`;
  page("previous", found.from > 0, { ...state, from: Math.max(0, found.from - PER_PAGE) });
  page("next", last < found.total, { ...state, from: found.from + PER_PAGE });
}

function page(id, there, state) {
  if (there) at(id).href = writeState(state);
  else at(id).removeAttribute("href");
}

async function showNear(state) {
  const found = await ask("/api/near", new URLSearchParams({
    row: state.row, motion: state.motion, count: NEIGHBOURS, same: state.same ? 1 : 0,
  }));
  const { of: video, hits } = found;
  at("pages").hidden = true;
  at("back").href = gridHash;
  if (shownRow !== video.row) {
    shownRow = video.row;
    document.title = `${video.name} - bodvcl`;
    at("name").textContent = video.name;
    at("path").textContent = video.path;
    facts(at("facts"), {
      ...video.labels, time: video.when, shown: video.part, note: video.playable ? video.problem : "",
    });
    playChosen(video);
    scrollTo(0, 0);
  }
  show(hits.map((row) => clip(row, writeState({ ...state, row: row.row }), video)));
  say(hits.length ? `${counted(hits.length, "neighbour")}, nearest first: ${Math.round(100 * (1 - state.motion))} % `
    + `appearance, ${Math.round(100 * state.motion)} % motion` : "There is no other video in this file.");
}

function playChosen(video) {
  const player = at("player");
  at("problem").hidden = player.hidden = true;
  if (!video.playable) return explainPlayer(video.problem);
  player.hidden = false;
  player.setAttribute("aria-label", `Video ${video.name}`);
  player.poster = `/still/${video.row}.jpg`;
  player.src = `/video/${video.row}.mp4`;
  if (!calmly()) player.play().catch(() => {});
}

function explainPlayer(reason) {
  at("player").hidden = true;
  at("problem").hidden = false;
  at("problem").textContent = reason;
}

function leaveVideo() {
  shownRow = null;
  at("player").pause();
  at("player").removeAttribute("src");
  at("player").load();
}

function syncForm(state) {
  if (at("text").value !== state.text) at("text").value = state.text;
  for (const select of at("labels").querySelectorAll("select")) {
    select.value = state.labels[select.dataset.label] ?? "";
  }
  at("motion").value = state.motion;
  at("motion").setAttribute("aria-valuetext",
    `${Math.round(100 * (1 - state.motion))} % appearance, ${Math.round(100 * state.motion)} % motion`);
  at("same").checked = state.same;
}

// Change what is shown: a new step of the history, or the present one anew.
function go(change, { replace = false } = {}) {
  const hash = writeState({ ...readState(location.hash), ...change });
  if (hash === (location.hash || "#")) return;
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(history.state, "", hash);
  render();
}

function countStep() {
  if (history.state === null) history.replaceState({ depth: depth + 1 }, "");
  depth = history.state.depth;
}

const slide = (motion) => {
  if (shownRow !== null) go({ motion: Math.min(1, Math.max(0, motion)) }, { replace: true });
};
const motion = () => readState(location.hash).motion;

function search() {
  const labels = {};
  for (const select of at("labels").querySelectorAll("select")) {
    if (select.value) labels[select.dataset.label] = select.value;
  }
  go({ row: null, from: 0, text: at("text").value, labels }, { replace: readState(location.hash).row === null });
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("bodvcl-theme", root.dataset.theme);
  nameTheme();
}

function nameTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  at("theme").textContent = dark ? "Light" : "Dark";
}

function togglePlay() {
  const on = at("play").getAttribute("aria-pressed") !== "true";
  at("play").setAttribute("aria-pressed", on);
  playAll(on);
}

function back(target) {
  if (target === at("text")) at("text").blur();
  else if (depth > 0) history.back();
  else go({ row: null });
}

// What sticks below the head of the page must know how high it is.
function measureHead() {
  const head = document.querySelector("header");
  new ResizeObserver(() => {
    document.documentElement.style.setProperty("--head", `${head.offsetHeight}px`);
  }).observe(head);
}

async function start() {
  measureHead();
  const theme = localStorage.getItem("bodvcl-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  nameTheme();
  try {
    about = await ask("/api/about");
  } catch (error) {
    return say(`${error.message}.`, true);
  }
  at("lead").textContent = `${about.name}: ${counted(about.videos, "video")}`
    + (about.window === null ? "" : `, ${counted(about.rows, "window")} of ${about.window} s`);
  at("same-row").hidden = about.window === null;
  for (const [name, values] of Object.entries(about.labels)) {
    if (values && values.length > 1) at("labels").append(chooser(name, values));
  }
  at("find").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  at("text").addEventListener("input", search);
  at("labels").addEventListener("change", search);
  at("motion").addEventListener("input", () => slide(at("motion").valueAsNumber));
  at("by-appearance").addEventListener("click", () => slide(0));
  at("by-motion").addEventListener("click", () => slide(1));
  at("same").addEventListener("change", () => go({ same: at("same").checked }, { replace: true }));
  at("play").addEventListener("click", togglePlay);
  at("theme").addEventListener("click", toggleTheme);
  at("help").addEventListener("click", () => at("keys").showModal());
  at("player").addEventListener("error", async () => {
    if (at("player").hasAttribute("src")) explainPlayer((await (await fetch(at("player").src)).text()).trim());
  });
  listen({
    appearance: () => slide(0), motion: () => slide(1), less: () => slide(motion() - 0.1), more: () => slide(motion() + 0.1),
    search: () => at("text").focus(), help: () => at("keys").showModal(), play: togglePlay, theme: toggleTheme, back,
  });
  depth = (history.state?.depth ?? 0) - 1;
  countStep();
  addEventListener("hashchange", () => { countStep(); render(); });
  await render();
}

start();
