"use strict";
// The server formats every number: this script takes its HTML every two seconds and replaces what
// changed, tells times in the viewer's zone, draws the charts, and says when nobody answers.
(() => {
  const EVERY = 2000, PATIENCE = 4000;
  const LEAST = 300; // seconds that a chart spans
  const root = document.documentElement;
  const main = () => document.getElementById("main");
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  // Times in the viewer's zone; the attribute `title` keeps UTC.
  const two = (n) => String(n).padStart(2, "0");
  const hours = (t) => `${two(t.getHours())}:${two(t.getMinutes())}`;
  const day = (t) => `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
  function told(t, now) {
    const time = `${hours(t)}:${two(t.getSeconds())}`;
    return day(t) === day(now) ? time : `${day(t)} ${time}`;
  }
  function localize(tree) {
    const now = new Date(tree.dataset.at);
    for (const time of tree.querySelectorAll("time")) {
      time.textContent = told(new Date(time.dateTime), now);
    }
  }

  // Make `old` like `next`, touching only what differs: focus, selection, scroll and what is open stay.
  const alike = (a, b) => a && a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.id === b.id;
  function morph(old, next) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== next.data) old.data = next.data;
      return;
    }
    for (const { name, value } of next.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    if (!next.hasAttribute("data-keep")) children(old, next);
  }
  function children(old, next) {
    let at = old.firstChild;
    for (const wanted of [...next.childNodes]) {
      if (!alike(at, wanted)) {
        const found = wanted.id && [...old.children].find((child) => alike(child, wanted));
        at = old.insertBefore(found || wanted, at);
      }
      if (at !== wanted) morph(at, wanted);
      at = at.nextSibling;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  // Asking the server, and its silence.
  const silence = document.getElementById("silence");
  let last = new Date();
  async function ask() {
    const url = new URL(location.href);
    url.searchParams.set("part", "main");
    url.hash = "";
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`the response was ${response.status}`);
    const parsed = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = parsed.getElementById("main");
    if (!next) throw new Error("the response was not this page");
    return next;
  }
  function heard(next) {
    localize(next);
    const before = document.getElementById("headline").textContent;
    morph(main(), next);
    const after = document.getElementById("headline").textContent;
    if (before !== after) document.getElementById("said").textContent = after;
    document.title = main().dataset.title;
    silence.replaceChildren();
    root.classList.remove("old");
    last = new Date();
    charts();
  }
  function unheard(error) {
    if (silence.firstChild) return;
    const why = error.message.startsWith("the response") ? ` (${error.message})` : "";
    const since = told(last, new Date());
    silence.append(element("p", `No response since ${since}${why}: these numbers are old.`));
    document.title = `✕ no response · ${main().dataset.title}`;
    root.classList.add("old");
  }
  async function poll() {
    if (!document.hidden) {
      try { heard(await ask()); } catch (error) { unheard(error); }
    }
    setTimeout(poll, EVERY);
  }

  // Charts.
  const drawn = new Map();
  const rounded = (v) => v.toLocaleString("en-US", { maximumFractionDigits: Math.abs(v) < 10 ? 1 : 0 });
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const TIMES = [.1, .2, .5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 432800, 864000];
  const COUNTS = [...Array(13).keys()].flatMap((p) => [1, 2, 5].map((n) => n * 10 ** p));
  function ticks(unit) {
    if (unit !== "s") return (_, values) => values.map((v) => (v === null ? "" : rounded(v)));
    return (_, values, _axis, _space, step) => {
      const [per, name] = UNITS.find(([size]) => step >= size && step % size === 0) || [1, "s"];
      return values.map((v) => (v === null ? "" : `${rounded(v / per)} ${name}`));
    };
  }
  function value(v, unit) {
    if (v === null || v === undefined) return "not known";
    if (unit !== "s") return `${rounded(v)} ${unit}`;
    const [per, name] = UNITS.find(([size]) => v >= 2 * size) || [1, "s"];
    return `${rounded(v / per)} ${name}`;
  }
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  function tooltip(unit) {
    const tip = element("div", "", "tip");
    return { hooks: {
      init: (u) => { tip.hidden = true; u.over.append(tip); },
      setCursor: (u) => {
        const { idx, left } = u.cursor;
        tip.hidden = idx === null || idx === undefined || left < 0;
        if (tip.hidden) return;
        const at = new Date(u.data[0][idx] * 1000);
        tip.textContent = `${value(u.data[1][idx], unit)} at ${told(at, new Date())}`;
        const room = u.over.clientWidth - tip.offsetWidth;
        tip.style.left = `${Math.max(0, Math.min(left - tip.offsetWidth / 2, room))}px`;
        tip.style.top = "4px";
      },
    } };
  }
  function axis(more) {
    const font = `12px ${colour("--sans")}`;
    const line = { stroke: () => colour("--grid"), width: 1 };
    return { font, stroke: () => colour("--muted"), grid: line, ticks: { show: false }, ...more };
  }
  function width(u, values, index, cycle) {
    const known = u.axes[index];
    if (cycle > 1) return known._size;
    u.ctx.font = known.font[0];
    const widest = Math.max(0, ...(values || []).map((text) => u.ctx.measureText(text).width));
    return Math.ceil(widest / devicePixelRatio) + 12;
  }
  function moments(_, values, _axis, _space, step) {
    return values.map((s) => (step < 60 ? told : hours)(new Date(s * 1000), new Date(s * 1000)));
  }
  function plot(place, data, unit, group) {
    const top = unit === "s" ? 1 : 10;
    return new uPlot({
      width: place.clientWidth, height: place.clientHeight, padding: [8, 8, 0, 0],
      legend: { show: false }, cursor: { y: false, sync: { key: group }, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: (_, from, to) => [Math.min(from, to - LEAST), to] }, y: { range: (_, low, high) => [0, Math.max(high * 1.08, top)] } },
      axes: [
        axis({ space: 70, size: 24, grid: { show: false }, values: moments }),
        axis({ space: 34, gap: 6, size: width, incrs: unit === "s" ? TIMES : COUNTS, values: ticks(unit) }),
      ],
      series: [{}, { stroke: () => colour("--chart"), fill: () => colour("--fill"), width: 1.75, points: { show: false } }],
      plugins: [tooltip(unit)],
    }, data, place);
  }
  function columns(group) {
    const raw = JSON.parse(document.getElementById(`series-${group.dataset.charts}`).textContent);
    const at = [raw.first];
    for (const step of raw.steps) at.push(at[at.length - 1] + step);
    return (key) => [at, raw[key]];
  }
  function draw(group) {
    const data = columns(group);
    for (const place of group.querySelectorAll(".plot")) {
      const known = drawn.get(place), { values, unit } = place.dataset;
      if (known) known.setData(data(values));
      else drawn.set(place, plot(place, data(values), unit, `g${group.dataset.charts}`));
    }
  }
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { seen.add(target); draw(target); } else seen.delete(target);
    }
  }, { rootMargin: "200px" });
  function charts() {
    for (const [place, chart] of drawn) {
      if (!place.isConnected) { chart.destroy(); drawn.delete(place); }
    }
    for (const group of document.querySelectorAll(".charts")) watch.observe(group);
    for (const group of seen) { if (group.isConnected) draw(group); else seen.delete(group); }
  }
  function resize() {
    for (const [place, chart] of drawn) chart.setSize({ width: place.clientWidth, height: place.clientHeight });
  }
  const repaint = () => { for (const chart of drawn.values()) chart.redraw(); };

  // The theme.
  const button = document.getElementById("theme");
  const THEMES = ["auto", "light", "dark"];
  const theme = () => root.dataset.theme || "auto";
  function choose(name) {
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    try { localStorage.setItem("pinpip-theme", name === "auto" ? "" : name); } catch { /* not kept */ }
    repaint();
  }

  // The ledger search of `pinpip ui`.
  async function find(event) {
    event.preventDefault();
    const form = event.target, found = form.querySelector(".found");
    found.replaceChildren(element("p", "Looking…", "muted"));
    try {
      const query = new URLSearchParams(new FormData(form));
      const response = await fetch(`search?${query}`, { cache: "no-store" });
      show(found, await response.json());
    } catch { found.replaceChildren(element("p", "No response.")); }
  }
  function shape(fact) {
    if (Array.isArray(fact)) return element("span", fact.join(", "));
    if (typeof fact === "object") {
      const lines = Object.entries(fact).map(([name, one]) => `${name}: ${JSON.stringify(one)}`);
      return element("pre", lines.join("\n"));
    }
    if (!/^\d{4}-\d\d-\d\dT.*Z$/.test(fact)) return element("span", String(fact));
    const time = element("time", told(new Date(fact), new Date()));
    time.title = fact;
    return time;
  }
  function show(found, tree) {
    const { status, reason, next, outcome, places = [], ...facts } = tree;
    found.replaceChildren(element("p", status === "error" ? reason : outcome, "outcome"));
    if (next) found.append(element("p", `What to do: ${next}`));
    const list = element("dl", undefined, "facts");
    const entries = [...Object.entries(facts), ...places.flatMap((place) => Object.entries(place))];
    for (const [name, fact] of entries) {
      if (fact === null || (Array.isArray(fact) && !fact.length)) continue;
      const cell = element("dd");
      cell.append(shape(fact));
      list.append(element("dt", name.replaceAll("_", " ")), cell);
    }
    found.append(list);
  }

  button.hidden = false;
  choose(theme());
  button.addEventListener("click", () => choose(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  addEventListener("resize", resize);
  document.addEventListener("submit", find);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  document.getElementById("zone").textContent = `Times are those of ${zone}; hover over one for UTC.`;
  localize(main());
  charts();
  setTimeout(poll, EVERY);
})();
