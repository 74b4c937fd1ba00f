// The keyboard. Keys that a field or a slider needs itself are left to it.

const clips = () => [...document.querySelectorAll(".clip")];

function columns(all) {
  const top = all[0].offsetTop;
  const below = all.findIndex((clip) => clip.offsetTop > top);
  return below < 0 ? all.length : below;
}

function move(key) {
  const all = clips();
  if (!all.length) return;
  const at = all.indexOf(document.activeElement);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(all), ArrowDown: columns(all) }[key];
  const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1);
  all[next].focus();
}

// actions: appearance, motion, less, more, search, help, play, theme, back.
export function listen(actions) {
  const names = {
    a: "appearance", m: "motion", "[": "less", "]": "more", "/": "search", "?": "help", p: "play", d: "theme",
    Escape: "back",
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const field = event.target.closest("input, select, video");
    const typing = field?.matches('input[type="search"]');
    if (event.key.startsWith("Arrow") && (!field || (typing && event.key === "ArrowDown"))) {
      event.preventDefault();
      move(event.key);
    } else if (names[event.key] && (!typing || event.key === "Escape")) {
      event.preventDefault();
      actions[names[event.key]](event.target);
    }
  });
}
