// Keeps the order page up to date: asks whether it has changed (If-None-Match) and replaces what has.
"use strict";

// Milliseconds. Soon after an order things move within a second or two; a page that lies open asks ever less.
const FIRST = 1000;
const LONGEST = { soon: 10000, later: 60000, rarely: 300000 };
const GROWTH = 1.25;

const page = document.querySelector("[data-order]");
const offline = document.querySelector("[data-offline]");
let wait = FIRST;
let timer;

async function look() {
  let answer;
  try {
    answer = await fetch(location.href, {
      headers: { "If-None-Match": page.dataset.etag },
      cache: "no-store",
      signal: AbortSignal.timeout(LONGEST.soon),
    });
    if (answer.status === 200) replace(await answer.text());
    offline.hidden = answer.status === 200 || answer.status === 304;
  } catch {
    offline.hidden = false;
  }
  if (page.dataset.poll === "never") return;
  wait = Math.min(answer?.status === 200 ? FIRST : wait * GROWTH, LONGEST[page.dataset.poll]);
  plan();
}

function plan() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, wait);
}

function replace(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const now = fresh.querySelector("[data-order]");
  if (!now) return;
  // A form comes with scripts of its own, and leaves with them.
  if (now.dataset.form !== page.dataset.form) {
    location.reload();
    return;
  }
  page.dataset.etag = now.dataset.etag;
  page.dataset.poll = now.dataset.poll;
  for (const region of page.querySelectorAll("[data-live]")) {
    const next = now.querySelector(`[data-live="${region.dataset.live}"]`);
    // What somebody has opened, or is about to press, stays as long as it means the same.
    if (!next || (next.dataset.stays && next.dataset.stays === region.dataset.stays)) continue;
    if (next.dataset.stays) region.dataset.stays = next.dataset.stays;
    region.replaceChildren(...next.childNodes);
  }
  localize();
}

function localize() {
  for (const time of page.querySelectorAll("time[data-local]")) {
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

// Who comes back to the page wants to know now.
document.addEventListener("visibilitychange", () => {
  if (document.hidden || page.dataset.poll === "never") return;
  clearTimeout(timer);
  wait = FIRST;
  look();
});
localize();
if (page.dataset.poll !== "never") plan();
