// Pieces of the page, made of text only: nothing that the server sends is read as HTML.

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...content);
  return made;
}

export function clip(row, href, near) {
  const picture = element("span", { class: "picture" });
  if (row.playable) {
    const image = element("img", { src: `/still/${row.row}.jpg`, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => explain(image), { once: true });
    picture.append(image);
  } else {
    picture.append(element("span", { class: "reason" }, row.problem));
  }
  const said = element("span", { class: "said" },
    element("span", { class: "called" }, row.name),
    element("span", { class: "time" }, row.when));
  if (row.playable && row.problem) said.append(element("span", { class: "note" }, row.problem));
  const words = Object.entries(row.labels).filter(([, value]) => value !== null).map(([name, value]) =>
    element("span", { title: name, class: near && near.labels[name] === value ? "shared" : null }, value));
  if (words.length) said.append(element("span", { class: "words" }, ...words));
  if (row.score !== undefined) said.append(scores(row));
  const link = element("a", {
    class: "clip", href, "data-row": row.row, "data-preview": row.playable ? `/preview/${row.row}.mp4` : null,
  }, picture, said);
  return element("li", {}, link);
}

export function facts(list, values) {
  list.replaceChildren(...Object.entries(values).filter(([, value]) => value !== null && value !== "")
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

export function chooser(name, values, chosen) {
  const select = element("select", { "aria-label": name, "data-label": name },
    element("option", { value: "" }, `${name}: all`),
    ...values.map(([value, count]) => element("option", { value }, `${value} (${count.toLocaleString("en")})`)));
  select.value = chosen ?? "";
  return select;
}

function scores(row) {
  const line = (name, kind, value) => [
    element("span", {}, name),
    element("meter", { class: kind, min: 0, max: 1, value: Math.max(0, value), "aria-hidden": "true" }),
    element("span", {}, value.toFixed(2)),
  ];
  return element("span", { class: "scores" },
    element("b", {}, "score"), element("b", {}, row.score.toFixed(2)),
    ...line("appearance", "looks", row.appearance), ...line("motion", "moves", row.motion));
}

// Why there is no still: the server says it in words.
async function explain(image) {
  const link = image.closest(".clip");
  if (link) delete link.dataset.preview;
  let reason = "cannot be shown";
  try {
    reason = (await (await fetch(image.src)).text()).trim();
  } catch { /* the server is gone: the page says so at the next step */ }
  image.replaceWith(element("span", { class: "reason" }, reason));
}
