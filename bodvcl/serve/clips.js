// Clips that play while the pointer is on them, while they have the focus, or, if asked, while they are on the screen.
// The attribute data-preview of a clip is the address of its moving picture.

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const seen = new WeakSet();
let all = false;

function wanted(clip) {
  return !calm.matches && (clip.matches(":hover, :focus") || (all && seen.has(clip)));
}

function refresh(clip) {
  if (!clip.isConnected) return;
  const picture = clip.querySelector(".picture");
  const playing = picture.querySelector("video");
  if (playing && wanted(clip)) {
    playing.play().catch(() => {}); // it pauses when it is moved on the page
  } else if (playing) {
    playing.removeAttribute("src");
    playing.load(); // stops what is still being loaded
    playing.remove();
  } else if (wanted(clip)) {
    picture.append(player(clip.dataset.preview));
  }
}

function player(source) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, loop: true, playsInline: true, src: source });
  video.setAttribute("aria-hidden", "true");
  video.addEventListener("error", () => video.remove());
  video.play().catch(() => {});
  return video;
}

const clips = () => document.querySelectorAll(".clip[data-preview]");
const screen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) seen.add(entry.target);
    else seen.delete(entry.target);
    refresh(entry.target);
  }
});

for (const kind of ["pointerover", "pointerout", "focusin", "focusout"]) {
  document.addEventListener(kind, (event) => {
    const clip = event.target.closest?.(".clip[data-preview]");
    if (clip) requestAnimationFrame(() => refresh(clip));
  });
}
calm.addEventListener("change", () => clips().forEach(refresh));

// Call it after clips have been added.
export function watchClips() {
  screen.disconnect();
  clips().forEach((clip) => screen.observe(clip));
}

export function playAll(on) {
  all = on;
  clips().forEach(refresh);
}

export const calmly = () => calm.matches;
watchClips();
